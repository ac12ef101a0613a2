/* tcpsock.c - TCP sockets over loopback: calls in every state, blocking and not, epoll edges, urgent data. */
#include "t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SA(a) ((struct sockaddr *)&(a))

static volatile int pipes, alarms;

static void on_pipe(int sig)
{
	pipes++;
}

static void on_alarm(int sig)
{
	alarms++;
}

static struct sockaddr_in lo(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
}

static int port_of(int fd)
{
	struct sockaddr_in a = {};
	socklen_t len = sizeof(a);

	getsockname(fd, SA(a), &len);
	return ntohs(a.sin_port);
}

static int tcp(int flags)
{
	int s = socket(AF_INET, SOCK_STREAM | flags, 0);

	NEED(s >= 0);
	return s;
}

static int listener(int flags, int backlog)
{
	struct sockaddr_in a = lo(0);
	int s = tcp(flags);

	NEED(bind(s, SA(a), sizeof(a)) == 0);
	NEED(listen(s, backlog) == 0);
	return s;
}

static int connect_to(int s, int port)
{
	struct sockaddr_in a = lo(port);

	return connect(s, SA(a), sizeof(a));
}

static void pair(int p[2])
{
	int l = listener(0, 1);

	p[0] = tcp(0);
	NEED(connect_to(p[0], port_of(l)) == 0);
	NEED((p[1] = accept(l, NULL, NULL)) >= 0);
	close(l);
}

static int so_error(int fd)
{
	int v = -1;
	socklen_t len = sizeof(v);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len);
	return v;
}

/* Until poll says something of the kind (packets take their time), at most 2 s. */
static void wait_for(int fd, int events)
{
	struct pollfd p = { fd, events, 0 };

	poll(&p, 1, 2000);
}

static void show_poll(const char *what, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
	int n = poll(&p, 1, 0);

	say("%s: %d%s%s%s%s%s%s", what, n, p.revents & POLLIN ? " IN" : "", p.revents & POLLPRI ? " PRI" : "",
	    p.revents & POLLOUT ? " OUT" : "", p.revents & POLLRDHUP ? " RDHUP" : "",
	    p.revents & POLLHUP ? " HUP" : "", p.revents & POLLERR ? " ERR" : "");
}

static int by_id(const void *a, const void *b)
{
	return ((const struct epoll_event *)a)->data.fd - ((const struct epoll_event *)b)->data.fd;
}

static void show_edge(const char *what, int ep)
{
	struct epoll_event e[8];
	int n;

	sleep_ms(20); /* what is on its way has come then */
	n = epoll_wait(ep, e, 8, 0);
	if (n <= 0)
		say("%s: %d", what, n);
	qsort(e, n > 0 ? n : 0, sizeof(e[0]), by_id); /* which came first is nobody's business */
	for (int i = 0; i < n; i++)
		say("%s: %d:%s%s%s%s%s%s", what, e[i].data.fd, e[i].events & EPOLLIN ? " IN" : "",
		    e[i].events & EPOLLPRI ? " PRI" : "", e[i].events & EPOLLOUT ? " OUT" : "",
		    e[i].events & EPOLLRDHUP ? " RDHUP" : "", e[i].events & EPOLLHUP ? " HUP" : "",
		    e[i].events & EPOLLERR ? " ERR" : "");
}

static void watch(int ep, int fd, int id)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET, .data.fd = id };

	NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void show_addr(const char *what, int fd, int peer, int expect)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	int r;

	memset(&a, 0xff, sizeof(a));
	errno = 0;
	r = peer ? getpeername(fd, SA(a), &len) : getsockname(fd, SA(a), &len);
	if (r)
		say("%s: %s", what, t_errname(errno));
	else
		say("%s: len %u family %d %s port %s zero %02x", what, len, a.sin_family, inet_ntoa(a.sin_addr),
		    ntohs(a.sin_port) == expect ? "as expected" : a.sin_port ? "some" : "none", a.sin_zero[3]);
}

static void creation(void)
{
	HEAD("socket");
	R(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	R(socket(AF_INET, SOCK_STREAM, 300));
	R(socket(AF_INET, SOCK_STREAM, -1));
	R(socket(AF_INET, SOCK_SEQPACKET, 0));
	R(socket(AF_INET, 15, 0));
	R(socket(AF_INET, 0, 0));
	R(socket(99, SOCK_STREAM, 0));
	R(socket(-1, SOCK_STREAM, 0));
	R(socket(AF_INET, SOCK_RAW, 0));
	R(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){}));
}

static void fresh(void)
{
	struct sockaddr_in a = lo(0);
	char buf[16];
	int s, t, v;

	HEAD("a fresh socket");
	s = tcp(0);
	show_addr("name", s, 0, 0);
	show_addr("peer", s, 1, 0);
	show_poll("poll", s);
	R(accept(s, NULL, NULL));
	R(recv(s, buf, 1, 0));
	R(recv(s, buf, 1, MSG_DONTWAIT));
	R(recv(s, buf, 0, 0));
	R(send(s, buf, 1, MSG_NOSIGNAL));
	R(write(s, buf, 1));
	V(pipes);
	R(send(s, buf, 0, MSG_NOSIGNAL));
	R(shutdown(s, SHUT_RD));
	R(shutdown(s, 7));
	R(ioctl(s, FIONREAD, &v));
	V(v);
	R(ioctl(s, TIOCOUTQ, &v));
	V(v);
	R(ioctl(s, SIOCATMARK, &v));
	V(v);
	R(lseek(s, 0, SEEK_CUR));
	R(pread(s, buf, 1, 0));
	R(read(s, buf, 0));

	HEAD("bind");
	close(s);
	s = tcp(0);
	R(bind(s, SA(a), 1));
	R(bind(s, SA(a), sizeof(a) - 1));
	a.sin_family = AF_UNIX;
	R(bind(s, SA(a), sizeof(a)));
	a = lo(0);
	a.sin_addr.s_addr = inet_addr("192.0.2.77");
	R(bind(s, SA(a), sizeof(a)));
	a = lo(0);
	R(bind(s, SA(a), sizeof(a)));
	show_addr("bound", s, 0, -1);
	R(bind(s, SA(a), sizeof(a)));
	t = tcp(0);
	a = lo(port_of(s));
	R(bind(t, SA(a), sizeof(a)));
	v = 1;
	R(setsockopt(t, SOL_SOCKET, SO_REUSEADDR, &v, sizeof(v)));
	R(bind(t, SA(a), sizeof(a)));
	R(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, sizeof(v)));
	R(bind(t, SA(a), sizeof(a)));
	R(listen(s, 1));
	R(listen(t, 1));
	close(t);
	t = tcp(0);
	R(setsockopt(t, SOL_SOCKET, SO_REUSEADDR, &v, sizeof(v)));
	R(bind(t, SA(a), sizeof(a))); /* reuse does not help against a listener */
	close(s);
	R(bind(t, SA(a), sizeof(a)));
	close(t);
	s = tcp(0);
	t = tcp(0);
	a = lo(0);
	setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &v, sizeof(v));
	setsockopt(t, SOL_SOCKET, SO_REUSEPORT, &v, sizeof(v));
	R(bind(s, SA(a), sizeof(a)));
	R(listen(s, 1));
	a = lo(port_of(s));
	R(bind(t, SA(a), sizeof(a)));
	R(listen(t, 1));
	close(s);
	close(t);
	s = tcp(0);
	R(listen(s, 1)); /* without a name: any port */
	show_addr("listening", s, 0, -1);
	R(listen(s, -1));
	close(s);
}

static void connecting(void)
{
	struct sockaddr_in a = lo(0);
	int l, s, t, port, ep;
	char buf[16] = "";

	HEAD("refused");
	l = listener(0, 1);
	port = port_of(l);
	close(l);
	s = tcp(0);
	R(connect(s, SA(a), 1));
	R(connect(s, SA(a), 8));
	a.sin_family = AF_UNIX;
	R(connect(s, SA(a), sizeof(a)));
	R(connect_to(s, port));
	V(so_error(s));
	show_poll("poll", s);
	R(connect_to(s, port));
	R(send(s, buf, 1, MSG_NOSIGNAL));
	R(recv(s, buf, 1, 0));
	close(s);

	HEAD("refused, non-blocking");
	s = tcp(SOCK_NONBLOCK);
	NEED((ep = epoll_create1(0)) >= 0);
	watch(ep, s, 1);
	show_edge("fresh", ep);
	connect_to(s, port); /* refused at once or later */
	wait_for(s, POLLOUT);
	show_edge("refused", ep);
	show_poll("poll", s);
	show_addr("peer", s, 1, port);
	T(so_error(s) == ECONNREFUSED);
	V(so_error(s));
	show_poll("error taken", s);
	R(recv(s, buf, 1, 0));
	R(send(s, buf, 1, MSG_NOSIGNAL));
	R(connect_to(s, port));
	close(s);
	close(ep);

	HEAD("connected");
	l = listener(0, 4);
	port = port_of(l);
	show_addr("listener", l, 0, port);
	show_addr("listener's peer", l, 1, 0);
	R(connect_to(l, port));
	R(recv(l, buf, 1, 0));
	R(send(l, buf, 1, MSG_NOSIGNAL));
	s = tcp(SOCK_NONBLOCK);
	NEED((ep = epoll_create1(0)) >= 0);
	watch(ep, l, 1);
	show_edge("listening", ep);
	watch(ep, s, 2);
	show_edge("unconnected", ep);
	R(connect_to(s, port) == -1 && errno == EINPROGRESS ? 0 : -1);
	wait_for(s, POLLOUT);
	show_edge("connecting", ep);
	V(so_error(s));
	show_addr("peer", s, 1, port);
	R(connect_to(s, port)); /* the first call after it says success */
	R(connect_to(s, port));
	R(listen(s, 1));
	R(bind(s, SA(a), sizeof(a)));
	show_poll("client", s);
	show_poll("listener", l);
	socklen_t len = sizeof(a);
	Z(t = accept4(l, SA(a), &len, SOCK_NONBLOCK | SOCK_CLOEXEC));
	T(len == sizeof(a) && a.sin_port == htons(port_of(s)));
	V(fcntl(t, F_GETFL) & O_NONBLOCK);
	V(fcntl(t, F_GETFD));
	R(syscall(SYS_accept4, l, NULL, NULL, 1));
	fcntl(l, F_SETFL, O_NONBLOCK);
	R(accept(l, NULL, NULL));
	show_addr("accepted", t, 0, port);
	R(recv(t, buf, 1, 0));

	HEAD("edges");
	watch(ep, t, 3);
	show_edge("accepted", ep);
	R(send(s, "abc", 3, 0));
	show_edge("data", ep);
	show_edge("again", ep);
	R(send(s, "def", 3, 0));
	show_edge("more", ep);
	R(recv(t, buf, 2, 0));
	show_edge("part read", ep);
	R(recv(t, buf, 16, 0));
	R(recv(t, buf, 16, 0));
	R(shutdown(s, SHUT_WR));
	show_edge("half closed", ep);
	show_poll("half closed", t);
	R(recv(t, buf, 16, 0));
	R(send(t, "xyz", 3, 0));
	show_edge("other way", ep);
	R(send(s, "x", 1, MSG_NOSIGNAL));
	R(close(t));
	show_edge("closed", ep);
	show_poll("closed", s);
	R(recv(s, buf, 16, 0));
	R(recv(s, buf, 16, 0));
	R(shutdown(s, SHUT_RDWR));
	close(s);

	HEAD("reset");
	s = tcp(SOCK_NONBLOCK);
	connect_to(s, port);
	wait_for(l, POLLIN);
	NEED((t = accept(l, NULL, NULL)) >= 0);
	watch(ep, t, 3);
	show_edge("new", ep);
	struct linger lg = { 1, 0 };
	R(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
	R(close(s));
	show_edge("reset", ep);
	show_poll("reset", t);
	R(send(t, "x", 1, MSG_NOSIGNAL));
	R(recv(t, buf, 1, 0));
	R(send(t, "x", 1, MSG_NOSIGNAL));
	show_addr("peer", t, 1, 0);
	close(t);
	s = tcp(0);
	connect_to(s, port);
	wait_for(l, POLLIN);
	NEED((t = accept(l, NULL, NULL)) >= 0);
	send(s, "unread", 6, 0);
	wait_for(t, POLLIN);
	close(t); /* with data unread: a reset */
	wait_for(s, POLLIN);
	sleep_ms(10);
	R(recv(s, buf, 1, 0));
	R(recv(s, buf, 1, 0));
	close(s);

	HEAD("disconnect");
	s = tcp(0);
	connect_to(s, port);
	a.sin_family = AF_UNSPEC;
	R(connect(s, SA(a), sizeof(a)));
	show_addr("peer", s, 1, 0);
	R(send(s, "x", 1, MSG_NOSIGNAL));
	R(connect_to(s, port));
	R(send(s, "x", 1, MSG_NOSIGNAL));
	close(s);
	R(shutdown(l, SHUT_RDWR));
	R(accept(l, NULL, NULL));
	s = tcp(0);
	R(connect_to(s, port));
	close(s);
	close(l);
	close(ep);
}

static int p[2];

static void *late_send(void *arg)
{
	sleep_ms(20);
	send(p[1], "12345", 5, 0);
	sleep_ms(20);
	send(p[1], "67890", 5, 0);
	return NULL;
}

static void *late_close(void *arg)
{
	sleep_ms(20);
	send(p[1], "123", 3, 0);
	shutdown(p[1], SHUT_WR);
	return NULL;
}

static void *drain(void *arg)
{
	char buf[10000];
	long total = 0, n;

	sleep_ms(30);
	while ((n = recv(p[1], buf, sizeof(buf), 0)) > 0)
		total += n;
	return (void *)total;
}

static void data(void)
{
	struct iovec v[3] = { { "ab", 2 }, { "", 0 }, { "cde", 3 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 3 };
	struct timeval tv = { 0, 30000 }, none = {};
	static char big[3000000], buf[100000];
	struct sockaddr_in from;
	struct itimerval it = { .it_value.tv_usec = 20000 };
	struct sigaction sa = { .sa_handler = on_alarm };
	socklen_t len = sizeof(from);
	pthread_t t;
	void *ret;
	long n, sum;
	int v1, f;

	HEAD("messages");
	pair(p);
	R(sendmsg(p[0], &m, 0));
	wait_for(p[1], POLLIN);
	R(ioctl(p[1], FIONREAD, &v1));
	V(v1);
	R(recv(p[1], buf, 2, MSG_PEEK));
	R(recv(p[1], buf, 100, MSG_PEEK));
	say("%.5s", buf);
	R(recvfrom(p[1], buf, 3, 0, SA(from), &len));
	V(len);
	R(recv(p[1], NULL, 1, MSG_TRUNC));
	R(recv(p[1], buf, 100, 0));
	say("%.1s", buf);
	R(recv(p[1], buf, 100, MSG_DONTWAIT));
	R(recv(p[1], buf, 100, MSG_DONTWAIT | MSG_ERRQUEUE));
	from = lo(9);
	R(sendto(p[0], "to", 2, 0, SA(from), sizeof(from)));
	R(recv(p[1], buf, 2, MSG_WAITALL));
	R(send(p[0], (void *)8, 4, 0));
	send(p[0], "fault", 5, 0);
	wait_for(p[1], POLLIN);
	R(recv(p[1], (void *)8, 4, 0));
	R(recv(p[1], buf, 100, 0));
	R(send(p[0], "x", 1, MSG_MORE));
	R(send(p[0], "y", 1, 0));
	R(recv(p[1], buf, 2, MSG_WAITALL));
	v1 = 1;
	R(setsockopt(p[0], IPPROTO_TCP, TCP_CORK, &v1, sizeof(v1)));
	R(send(p[0], "corked", 6, 0));
	sleep_ms(20);
	R(recv(p[1], buf, 100, MSG_DONTWAIT));
	v1 = 0;
	R(setsockopt(p[0], IPPROTO_TCP, TCP_CORK, &v1, sizeof(v1)));
	R(recv(p[1], buf, 6, MSG_WAITALL));

	HEAD("waiting");
	t = spawn(late_send, NULL);
	R(recv(p[0], buf, 10, MSG_WAITALL));
	pthread_join(t, NULL);
	t = spawn(late_send, NULL);
	R(recv(p[0], buf, 10, 0));
	pthread_join(t, NULL);
	R(recv(p[0], buf, 5, MSG_WAITALL));
	v1 = 8;
	R(setsockopt(p[0], SOL_SOCKET, SO_RCVLOWAT, &v1, sizeof(v1)));
	t = spawn(late_send, NULL);
	R(recv(p[0], buf, 20, 0));
	pthread_join(t, NULL);
	v1 = 1;
	setsockopt(p[0], SOL_SOCKET, SO_RCVLOWAT, &v1, sizeof(v1));
	R(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	R(recv(p[0], buf, 10, 0));
	t = spawn(late_send, NULL);
	tv.tv_usec = 100000;
	setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	R(recv(p[0], buf, 100, MSG_WAITALL));
	pthread_join(t, NULL);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	R(recv(p[0], buf, 10, 0));
	setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
	setitimer(ITIMER_REAL, &it, NULL);
	R(recv(p[0], buf, 10, 0));
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	t = spawn(late_send, NULL);
	R(recv(p[0], buf, 10, MSG_WAITALL) > 0);
	pthread_join(t, NULL);
	while (recv(p[0], buf, 10, MSG_DONTWAIT) > 0)
		;
	t = spawn(late_close, NULL);
	R(recv(p[0], buf, 10, MSG_WAITALL));
	R(recv(p[0], buf, 10, MSG_WAITALL));
	pthread_join(t, NULL);
	close(p[0]);
	close(p[1]);

	HEAD("full");
	pair(p);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7 + i / 251);
	tv.tv_usec = 30000;
	setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	v1 = 65536;
	setsockopt(p[0], SOL_SOCKET, SO_SNDBUF, &v1, sizeof(v1));
	setsockopt(p[1], SOL_SOCKET, SO_RCVBUF, &v1, sizeof(v1));
	n = send(p[0], big, sizeof(big), 0);
	T(n > 0 && n < (long)sizeof(big));
	R(ioctl(p[0], TIOCOUTQ, &v1));
	T(v1 > 0);
	setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	for (sum = 0; sum < n; sum += v1) {
		v1 = recv(p[1], buf, n - sum < (long)sizeof(buf) ? n - sum : (long)sizeof(buf), 0);
		NEED(v1 > 0);
		if (memcmp(buf, big + sum, v1))
			say("differs at %ld", sum);
	}
	wait_for(p[0], POLLOUT);
	show_poll("drained", p[0]);
	t = spawn(drain, NULL);
	R(send(p[0], big, sizeof(big), 0));
	R(shutdown(p[0], SHUT_WR));
	pthread_join(t, &ret);
	V((long)ret);
	R(send(p[0], big, 1, MSG_NOSIGNAL));
	pipes = 0;
	R(write(p[0], big, 1));
	V(pipes);
	close(p[0]);
	close(p[1]);

	HEAD("sendfile and splice");
	pair(p);
	put_file("file", "0123456789");
	NEED((f = open("file", O_RDONLY)) >= 0);
	R(sendfile(p[0], f, NULL, 100));
	R(recv(p[1], buf, 10, MSG_WAITALL));
	off_t off = 3;
	R(sendfile(p[0], f, &off, 4));
	V(off);
	R(recv(p[1], buf, 4, MSG_WAITALL));
	say("%.4s", buf);
	R(sendfile(f, p[0], NULL, 1));
	int q[2];
	NEED(pipe(q) == 0);
	R(write(q[1], "piped", 5));
	R(splice(q[0], NULL, p[0], NULL, 5, 0));
	R(recv(p[1], buf, 5, MSG_WAITALL));
	say("%.5s", buf);
	send(p[0], "back", 4, 0);
	wait_for(p[1], POLLIN);
	R(splice(p[1], NULL, q[1], NULL, 100, 0));
	R(read(q[0], buf, 10));
	say("%.4s", buf);
	close(p[0]);
	close(p[1]);

	HEAD("shutdown for reading");
	pair(p);
	R(send(p[1], "kept", 4, 0));
	wait_for(p[0], POLLIN);
	R(shutdown(p[0], SHUT_RD));
	show_poll("shut", p[0]);
	R(recv(p[0], buf, 10, 0));
	R(recv(p[0], buf, 10, 0));
	R(send(p[0], "x", 1, 0));
	close(p[0]);
	close(p[1]);
}

static void urgent(void)
{
	char buf[16] = "";
	int v;

	HEAD("urgent");
	pair(p);
	R(recv(p[1], buf, 1, MSG_OOB));
	R(send(p[0], "ab", 2, 0));
	R(send(p[0], "cU", 2, MSG_OOB));
	R(send(p[0], "de", 2, 0));
	wait_for(p[1], POLLPRI);
	sleep_ms(20);
	show_poll("urgent", p[1]);
	R(ioctl(p[1], SIOCATMARK, &v));
	V(v);
	R(recv(p[1], buf, 1, MSG_OOB | MSG_PEEK));
	R(recv(p[1], buf, 1, MSG_OOB));
	say("%.1s", buf);
	R(recv(p[1], buf, 1, MSG_OOB));
	R(recv(p[1], buf, 10, 0)); /* stops at the mark */
	say("%.3s", buf);
	R(ioctl(p[1], SIOCATMARK, &v));
	V(v);
	R(recv(p[1], buf, 10, 0));
	say("%.2s", buf);
	R(ioctl(p[1], SIOCATMARK, &v));
	V(v);
	v = 1;
	R(setsockopt(p[1], SOL_SOCKET, SO_OOBINLINE, &v, sizeof(v)));
	R(send(p[0], "I", 1, MSG_OOB));
	wait_for(p[1], POLLIN);
	R(recv(p[1], buf, 1, MSG_OOB));
	R(recv(p[1], buf, 10, 0));
	say("%.1s", buf);
	close(p[0]);
	close(p[1]);
}

static void descriptors(void)
{
	struct stat st;
	char path[64], link[64] = "", want[64];
	int s = tcp(0);

	HEAD("descriptors");
	R(fstat(s, &st));
	say("type %o", st.st_mode & S_IFMT);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s);
	NEED(readlink(path, link, sizeof(link) - 1) > 0);
	snprintf(want, sizeof(want), "socket:[%llu]", (unsigned long long)st.st_ino);
	T(!strcmp(link, want));
	R(open(path, O_RDONLY));
	R(bind(0x7ffffff, NULL, 0));
	R(listen(open("/dev/null", O_RDONLY), 1));
	R(fsync(s));
	R(ftruncate(s, 0));
	close(s);
}

int main(void)
{
	signal(SIGPIPE, on_pipe);
	enter_scratch("tcpsock");
	creation();
	fresh();
	connecting();
	data();
	urgent();
	descriptors();
	return 0;
}
