/* unixnames.c - AF_UNIX sockets with names: files, abstract names, connections, datagrams, epoll edges. */
#include "t.h"

#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un un(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	return a;
}

#define SA(a) ((struct sockaddr *)&(a))
#define HDR ((socklen_t)offsetof(struct sockaddr_un, sun_path))

static int bind_path(int fd, const char *path)
{
	struct sockaddr_un a = un(path);

	return bind(fd, SA(a), sizeof(a));
}

static int connect_path(int fd, const char *path)
{
	struct sockaddr_un a = un(path);

	return connect(fd, SA(a), sizeof(a));
}

/* name begins behind the NUL */
static socklen_t abstract(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	/* with the pid: the name space is that of the whole machine */
	return HDR + 1 + snprintf(a->sun_path + 1, 50, "%s.%07d", name, getpid());
}

static void show_name(const char *what, int fd, int peer)
{
	struct sockaddr_un a;
	socklen_t len = sizeof(a);
	int r;

	memset(&a, 'x', sizeof(a));
	errno = 0;
	r = peer ? getpeername(fd, SA(a), &len) : getsockname(fd, SA(a), &len);
	if (r)
		say("%s: %s", what, t_errname(errno));
	else if (len > HDR && !a.sun_path[0])
		say("%s: len %u abstract \"%.7s\"", what, len, a.sun_path + 1);
	else
		say("%s: len %u family %d \"%.*s\"", what, len, a.sun_family, (int)(len > HDR ? len - HDR : 0),
		    a.sun_path);
}

static void show_poll(const char *what, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };
	int n = poll(&p, 1, 0);

	say("%s: %d%s%s%s%s%s", what, n, p.revents & POLLIN ? " IN" : "", p.revents & POLLOUT ? " OUT" : "",
	    p.revents & POLLRDHUP ? " RDHUP" : "", p.revents & POLLHUP ? " HUP" : "",
	    p.revents & POLLERR ? " ERR" : "");
}

static void show_edge(const char *what, int ep)
{
	struct epoll_event e[8];
	int n = epoll_wait(ep, e, 8, 0);

	if (n <= 0)
		say("%s: %d", what, n);
	for (int i = 0; i < n; i++)
		say("%s: %d:%s%s%s%s%s", what, e[i].data.fd, e[i].events & EPOLLIN ? " IN" : "",
		    e[i].events & EPOLLOUT ? " OUT" : "", e[i].events & EPOLLRDHUP ? " RDHUP" : "",
		    e[i].events & EPOLLHUP ? " HUP" : "", e[i].events & EPOLLERR ? " ERR" : "");
}

static void watch(int ep, int fd, int id)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = id };

	NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
}

static int so_error(int fd)
{
	int v = -1;
	socklen_t len = sizeof(v);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len);
	return v;
}

static int so_int(int fd, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	if (getsockopt(fd, SOL_SOCKET, name, &v, &len))
		return -errno;
	return v;
}

static void names(void)
{
	struct sockaddr_un a;
	struct stat st;
	socklen_t len;
	int s, t;

	HEAD("paths");
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	show_name("unbound", s, 0);
	show_name("unbound peer", s, 1);
	R(listen(s, 5));
	R(bind_path(s, "nodir/sock"));
	put_file("plain", "x");
	R(bind_path(s, "plain"));
	R(bind_path(s, "plain/sock"));
	R(bind_path(s, "sock"));
	show_name("bound", s, 0);
	R(stat("sock", &st));
	say("mode %o", st.st_mode);
	R(bind_path(s, "sock"));
	R(bind_path(s, "other"));
	R(stat("other", &st));
	NEED((t = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	R(bind_path(t, "sock"));
	R(connect_path(t, "sock")); /* nobody listens */
	R(connect_path(t, "none"));
	R(connect_path(t, "plain"));
	R(connect_path(t, "plain/x"));
	R(open("sock", O_RDONLY));
	R(listen(s, 5));
	V(so_int(s, SO_ACCEPTCONN));
	R(connect_path(t, "./sock"));
	show_name("connected", t, 0);
	show_name("connected peer", t, 1);
	R(connect_path(t, "sock"));
	R(listen(t, 5));
	R(bind_path(t, "late"));
	show_name("bound late", t, 0);
	close(t);
	NEED((t = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	R(connect_path(t, "sock"));
	close(t);
	R(unlink("sock"));
	NEED((t = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	R(connect_path(t, "sock"));
	R(rename("late", "later"));
	R(connect_path(t, "later"));
	close(t);
	close(s);
	R(stat("later", &st));
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	R(bind_path(s, "later"));
	umask(0);
	R(bind_path(s, "open"));
	umask(022);
	R(stat("open", &st));
	say("mode %o", st.st_mode);
	R(listen(s, 1));
	R(symlink("open", "link"));
	NEED((t = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	R(connect_path(t, "link"));
	show_name("through a link", t, 1);
	close(t);
	close(s);

	HEAD("lengths");
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	a = un("x");
	R(bind(s, SA(a), 0));
	R(bind(s, SA(a), 1));
	R(bind(s, SA(a), sizeof(a) + 1));
	R(bind(s, SA(a), 200));
	R(bind(s, SA(a), -1));
	R(connect(s, SA(a), 2));
	R(connect(s, SA(a), 0));
	a.sun_family = AF_INET;
	R(bind(s, SA(a), sizeof(a)));
	R(connect(s, SA(a), sizeof(a)));
	a.sun_family = AF_UNIX;
	memset(a.sun_path, 'p', sizeof(a.sun_path));
	R(bind(s, SA(a), sizeof(a)));
	show_name("full path", s, 0);
	len = 5;
	memset(&a, 'x', sizeof(a));
	R(getsockname(s, SA(a), &len));
	V(len);
	say("%.5s", (char *)&a + 2);
	R(getsockname(s, SA(a), NULL));
	len = -1;
	R(getsockname(s, SA(a), &len));
	len = 4;
	R(getsockname(s, NULL, &len));
	close(s);
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	a = un("cut");
	R(bind(s, SA(a), HDR + 2));
	show_name("cut", s, 0);
	close(s);

	HEAD("abstract");
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	NEED((t = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	len = abstract(&a, "t.names");
	R(bind(s, SA(a), len));
	show_name("abstract", s, 0);
	R(bind(s, SA(a), len));
	R(bind(t, SA(a), len));
	R(connect(t, SA(a), len));
	R(listen(s, 1));
	R(connect(t, SA(a), len - 1));
	R(connect(t, SA(a), len + 1));
	R(connect(t, SA(a), len));
	show_name("peer", t, 1);
	close(t);
	NEED((t = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	R(connect(t, SA(a), len));
	R(bind(t, SA(a), len));
	close(t);
	close(s);
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	R(connect(s, SA(a), len));
	R(bind(s, SA(a), len));
	close(s);

	HEAD("autobind");
	NEED((s = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	a.sun_family = AF_UNIX;
	R(bind(s, SA(a), sizeof(sa_family_t)));
	len = sizeof(a);
	R(getsockname(s, SA(a), &len));
	V(len);
	V(a.sun_path[0]);
	V(strspn(a.sun_path + 1, "0123456789abcdef"));
	R(bind(s, SA(a), sizeof(sa_family_t)));
	R(bind_path(s, "auto"));
	close(s);
}

static const char *peer_path;

static void *late_accept(void *arg)
{
	int s = *(int *)arg, c;

	sleep_ms(30);
	c = accept(s, NULL, NULL);
	sleep_ms(10);
	close(c);
	return NULL;
}

static void *late_connect(void *arg)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	sleep_ms(20);
	connect_path(s, peer_path);
	return (void *)(long)s;
}

static void streams(void)
{
	struct sockaddr_un a;
	struct timeval tv = { 0, 30000 };
	struct ucred uc;
	struct stat st;
	socklen_t len;
	char buf[100] = "", name[64];
	int s, c[8], n, ep, i;
	pthread_t t;
	void *ret;

	HEAD("listen and accept");
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	NEED(bind_path(s, "srv") == 0);
	R(accept(s, NULL, NULL));
	R(listen(s, 1));
	show_poll("idle listener", s);
	R(syscall(SYS_accept4, s, NULL, NULL, 1));
	fcntl(s, F_SETFL, O_NONBLOCK);
	R(accept(s, NULL, NULL));
	for (i = 0; i < 4; i++)
		NEED((c[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
	show_poll("fresh", c[0]);
	for (i = 0; i < 4; i++)
		R(connect_path(c[i], "srv"));
	show_poll("listener", s);
	show_poll("connected", c[0]);
	show_poll("refused for now", c[2]);
	R(write(c[0], "early", 5));
	len = sizeof(a);
	Z(n = accept4(s, SA(a), &len, SOCK_CLOEXEC | SOCK_NONBLOCK));
	V(len);
	V(fcntl(n, F_GETFD));
	V(fcntl(n, F_GETFL) & O_NONBLOCK);
	show_name("accepted", n, 0);
	show_name("accepted peer", n, 1);
	R(read(n, buf, sizeof(buf)));
	S(buf);
	R(read(n, buf, sizeof(buf)));
	R(connect_path(c[2], "srv"));
	R(ioctl(s, FIONREAD, &i));
	len = sizeof(uc);
	R(getsockopt(n, SOL_SOCKET, SO_PEERCRED, &uc, &len));
	T(uc.pid == getpid() && uc.uid == geteuid() && uc.gid == getegid());
	len = sizeof(uc);
	R(getsockopt(c[0], SOL_SOCKET, SO_PEERCRED, &uc, &len));
	T(uc.pid == getpid());
	len = sizeof(uc);
	R(getsockopt(c[3], SOL_SOCKET, SO_PEERCRED, &uc, &len));
	say("%d %d %d", uc.pid, uc.uid, uc.gid);
	R(fstat(n, &st));
	say("type %o", st.st_mode & S_IFMT);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", n);
	memset(buf, 0, sizeof(buf));
	NEED(readlink(name, buf, sizeof(buf)) > 0);
	snprintf(name, sizeof(name), "socket:[%llu]", (unsigned long long)st.st_ino);
	T(!strcmp(name, buf));
	R(lseek(n, 0, SEEK_SET));
	R(pread(n, buf, 1, 0));
	close(s); /* c[1], c[2] were never accepted */
	show_poll("never accepted", c[1]);
	V(so_error(c[1]));
	R(read(c[1], buf, 1));
	R(send(c[1], "x", 1, MSG_NOSIGNAL));
	R(connect_path(c[3], "srv"));
	for (i = 0; i < 4; i++)
		close(c[i]);
	close(n);

	HEAD("blocking");
	unlink("srv");
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	NEED(bind_path(s, "srv") == 0 && listen(s, 0) == 0);
	peer_path = "srv";
	t = spawn(late_connect, NULL);
	Z(n = accept(s, NULL, NULL));
	pthread_join(t, &ret);
	close((int)(long)ret);
	R(read(n, buf, 1));
	close(n);
	NEED((c[0] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	NEED((c[1] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	R(connect_path(c[0], "srv"));
	t = spawn(late_accept, &s);
	R(connect_path(c[1], "srv")); /* waits for the backlog */
	R(read(c[0], buf, 1));
	pthread_join(t, NULL);
	NEED((c[2] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	setsockopt(c[2], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	R(connect_path(c[2], "srv"));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	Z(n = accept(s, NULL, NULL));
	R(accept(s, NULL, NULL));
	R(shutdown(s, SHUT_RD));
	R(accept(s, NULL, NULL));
	R(connect_path(c[2], "srv"));
	for (i = 0; i < 3; i++)
		close(c[i]);
	close(n);
	close(s);

	HEAD("edges");
	unlink("srv");
	NEED((ep = epoll_create1(0)) >= 0);
	NEED((s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
	NEED(bind_path(s, "srv") == 0 && listen(s, 5) == 0);
	watch(ep, s, 1);
	show_edge("listener", ep);
	NEED((c[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
	watch(ep, c[0], 2);
	show_edge("unconnected", ep);
	R(connect_path(c[0], "srv"));
	show_edge("after connect", ep);
	NEED((n = accept(s, NULL, NULL)) >= 0);
	watch(ep, n, 3);
	show_edge("accepted", ep);
	R(write(c[0], "a", 1));
	show_edge("a byte", ep);
	show_edge("no more", ep);
	R(write(c[0], "b", 1));
	show_edge("another", ep);
	R(read(n, buf, 1));
	show_edge("half read", ep);
	R(read(n, buf, 10));
	R(shutdown(c[0], SHUT_WR));
	show_edge("shutdown", ep);
	R(read(n, buf, 10));
	R(write(n, "c", 1));
	show_edge("other way", ep);
	R(close(c[0]));
	show_edge("closed", ep);
	V(so_error(n));
	close(n);
	close(s);
	close(ep);
	unlink("srv");

	HEAD("full");
	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, c) == 0);
	NEED((ep = epoll_create1(0)) >= 0);
	watch(ep, c[0], 1);
	show_edge("empty", ep);
	while (write(c[0], buf, sizeof(buf)) > 0)
		;
	V(errno == EAGAIN);
	show_poll("full", c[0]);
	show_edge("full", ep);
	R(read(c[1], buf, sizeof(buf)));
	show_edge("a little read", ep);
	show_poll("a little read", c[0]);
	while (read(c[1], buf, sizeof(buf)) > 0)
		;
	show_edge("all read", ep);
	R(write(c[0], "", 0));
	R(ioctl(c[0], TIOCOUTQ, &i));
	V(i);
	close(c[0]);
	close(c[1]);
	close(ep);
}

static void dgrams(void)
{
	struct sockaddr_un a, from;
	struct timeval tv = { 0, 20000 };
	socklen_t len, alen;
	char buf[100] = "";
	int s, c, d, i, p[2], ep;

	HEAD("datagrams");
	NEED((s = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	NEED((c = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	NEED((d = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	NEED(bind_path(s, "dg") == 0);
	show_poll("fresh", c);
	R(listen(s, 1));
	R(accept(s, NULL, NULL));
	R(send(c, "x", 1, 0));
	R(recv(c, buf, 1, 0));
	a = un("dg");
	R(sendto(c, "one", 3, 0, SA(a), sizeof(a)));
	len = sizeof(from);
	memset(&from, 0, sizeof(from));
	R(recvfrom(s, buf, sizeof(buf), 0, SA(from), &len));
	V(len);
	NEED(bind_path(c, "dc") == 0);
	R(sendto(c, "two", 3, 0, SA(a), sizeof(a)));
	len = sizeof(from);
	R(recvfrom(s, buf, sizeof(buf), MSG_PEEK, SA(from), &len));
	say("%u %s", len, from.sun_path);
	R(recv(s, buf, 1, MSG_TRUNC));
	R(sendto(c, "", 0, 0, SA(a), sizeof(a)));
	R(recv(s, buf, sizeof(buf), 0));
	R(recv(s, buf, sizeof(buf), 0));
	a = un("none");
	R(sendto(c, "x", 1, 0, SA(a), sizeof(a)));
	R(sendto(c, "x", 1, 0, SA(a), 1));
	a = un("dg");
	R(connect(c, SA(a), sizeof(a)));
	show_name("peer", c, 1);
	R(send(c, "three", 5, 0));
	R(recv(s, buf, sizeof(buf), 0));
	a = un("dc");
	R(sendto(s, "back", 4, 0, SA(a), sizeof(a)));
	R(sendto(d, "foreign", 7, 0, SA(a), sizeof(a))); /* c is connected to s */
	R(connect(d, SA(a), sizeof(a)));
	R(recv(c, buf, sizeof(buf), 0));
	R(connect_path(s, "dc"));
	R(send(s, "x", 1, 0));
	a.sun_family = AF_UNSPEC;
	R(connect(c, SA(a), sizeof(a)));
	show_name("peer", c, 1);
	V(so_error(s));
	V(so_error(s));
	R(recv(c, buf, sizeof(buf), 0)); /* what was left is gone */
	R(close(c));
	R(send(s, "x", 1, 0));
	R(send(s, "x", 1, 0));
	close(d);

	HEAD("queue length");
	NEED((c = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	R(connect_path(c, "dg"));
	NEED((ep = epoll_create1(0)) >= 0);
	watch(ep, c, 1);
	show_edge("room", ep);
	for (i = 0; send(c, "x", 1, 0) == 1; i++)
		;
	T(errno == EAGAIN);
	V(i);
	show_poll("full", c);
	show_edge("full", ep);
	R(recv(s, buf, 1, 0));
	show_edge("one read", ep);
	show_poll("one read", c);
	NEED((d = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	setsockopt(d, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	a = un("dg");
	R(sendto(d, "y", 1, 0, SA(a), sizeof(a)));
	R(sendto(d, "y", 1, 0, SA(a), sizeof(a)));
	R(send(c, buf, 300000, 0));
	close(d);
	close(c);
	close(s);
	close(ep);

	HEAD("shutdown of datagrams");
	NEED(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p) == 0);
	R(shutdown(p[0], SHUT_RD));
	show_poll("read end shut", p[0]);
	R(recv(p[0], buf, 1, 0));
	fcntl(p[0], F_SETFL, 0);
	R(recv(p[0], buf, 1, 0));
	R(send(p[1], "x", 1, MSG_NOSIGNAL));
	R(shutdown(p[1], SHUT_RDWR));
	show_poll("all shut", p[1]);
	close(p[0]);
	R(send(p[1], "x", 1, MSG_NOSIGNAL));
	close(p[1]);
	NEED(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p) == 0);
	close(p[0]);
	show_poll("alone", p[1]);
	R(send(p[1], "x", 1, MSG_NOSIGNAL));
	R(send(p[1], "x", 1, MSG_NOSIGNAL));
	close(p[1]);

	HEAD("seqpacket");
	NEED((s = socket(AF_UNIX, SOCK_SEQPACKET, 0)) >= 0);
	alen = abstract(&a, "t.seq");
	R(bind(s, SA(a), alen));
	R(listen(s, 2));
	NEED((c = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0)) >= 0);
	show_poll("fresh", c);
	R(send(c, "x", 1, 0));
	R(recv(c, buf, 1, 0));
	R(connect(c, SA(a), alen));
	Z(d = accept(s, NULL, NULL));
	R(send(c, "first", 5, 0));
	R(send(c, "second", 6, 0));
	R(sendto(c, "named", 5, 0, SA(a), alen));
	R(recv(d, buf, 3, 0));
	R(recv(d, buf, 100, 0));
	R(recv(d, buf, 100, 0));
	R(recv(c, buf, 100, 0));
	R(shutdown(d, SHUT_WR));
	show_poll("half closed", c);
	R(recv(c, buf, 100, 0));
	close(d);
	show_poll("closed", c);
	R(send(c, "x", 1, MSG_NOSIGNAL));
	V(so_error(c));
	close(c);
	close(s);
}

static void perms(void)
{
	int s, t;

	HEAD("permission");
	NEED((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	NEED((t = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	NEED(bind_path(s, "private") == 0 && listen(s, 1) == 0);
	R(chmod("private", 0600));
	chmod(".", 0777);
	if (geteuid() == 0)
		NEED(seteuid(1234) == 0);
	else
		chmod("private", 0);
	R(connect_path(t, "private"));
	if (geteuid() == 1234)
		NEED(seteuid(0) == 0);
	chmod("private", 0666);
	R(connect_path(t, "private"));
	close(s);
	close(t);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	enter_scratch("unixnames");
	names();
	streams();
	dgrams();
	perms();
	return 0;
}
