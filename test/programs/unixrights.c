/* unixrights.c - what travels over AF_UNIX sockets beside bytes: descriptors, credentials; cycles of them. */
#include "t.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#define MAX_FDS 253

union control {
	struct cmsghdr h;
	char buf[CMSG_SPACE(sizeof(int) * (MAX_FDS + 1)) + CMSG_SPACE(sizeof(struct ucred))];
};

static ssize_t send_fds(int s, const char *text, const int *fds, int n, int flags)
{
	union control c = {};
	struct iovec v = { (void *)text, strlen(text) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (n) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		c.h.cmsg_len = CMSG_LEN(sizeof(int) * n);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&c.h), fds, sizeof(int) * n);
	}
	return syscall(SYS_sendmsg, s, &m, flags | MSG_NOSIGNAL); /* musl allows little control data */
}

static ssize_t send_cred(int s, int pid, int uid, int gid)
{
	union control c = {};
	struct iovec v = { "c", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf,
			    .msg_controllen = CMSG_SPACE(sizeof(struct ucred)) };
	struct ucred u = { pid, uid, gid };

	c.h.cmsg_len = CMSG_LEN(sizeof(u));
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_CREDENTIALS;
	memcpy(CMSG_DATA(&c.h), &u, sizeof(u));
	return sendmsg(s, &m, MSG_NOSIGNAL);
}

/* Receives into room for n bytes and `fds` descriptors, and says what came; descriptors go to out, or are closed. */
static void take(int s, size_t n, int fds, int flags, int *out)
{
	union control c = {};
	char buf[512] = "";
	struct iovec v = { buf, n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf,
			    .msg_controllen = fds < 0 ? 0 : CMSG_SPACE(sizeof(int) * fds) +
							    CMSG_SPACE(sizeof(struct ucred)) };
	ssize_t r;

	if (fds == 0)
		m.msg_controllen = 0;
	errno = 0;
	r = recvmsg(s, &m, flags);
	if (r < 0) {
		say("recvmsg: %s", t_errname(errno));
		return;
	}
	say("recvmsg: %zd \"%.*s\" flags %x control %zu", r, (int)(r < (ssize_t)n ? r : (ssize_t)n), buf,
	    m.msg_flags & ~MSG_CMSG_CLOEXEC, (size_t)m.msg_controllen);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		int nr = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int), fd[MAX_FDS];
		struct ucred u;

		if (h->cmsg_type == SCM_RIGHTS) {
			memcpy(fd, CMSG_DATA(h), sizeof(int) * nr);
			say("  %d descriptors, cloexec %d", nr, fcntl(fd[0], F_GETFD));
			for (int i = 0; i < nr; i++)
				if (out && i == 0)
					*out = fd[i];
				else
					close(fd[i]);
		} else if (h->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&u, CMSG_DATA(h), sizeof(u));
			say("  credentials: pid %s uid %d gid %d", u.pid == getpid() ? "own" : u.pid ? "?" : "0",
			    u.uid == getuid() ? -1 : (int)u.uid, u.gid == getgid() ? -1 : (int)u.gid);
		}
	}
}

static void rights(int type)
{
	int s[2], q[2], fd = -1, many[MAX_FDS + 1], v;
	char buf[16] = "";

	NEED(socketpair(AF_UNIX, type, 0, s) == 0 && pipe(q) == 0);
	R(send_fds(s[0], "one", q, 1, 0));
	take(s[1], 100, 1, 0, &fd);
	R(write(q[1], "piped", 5));
	R(read(fd, buf, 10));
	T(fd != q[0]);
	close(fd);
	R(send_fds(s[0], "two", q, 2, 0));
	take(s[1], 100, 1, MSG_CMSG_CLOEXEC, &fd); /* room for more than one, because of alignment */
	close(fd);
	R(send_fds(s[0], "peeked", q, 1, 0));
	take(s[1], 100, 1, MSG_PEEK, NULL);
	take(s[1], 100, 1, 0, NULL);
	R(send_fds(s[0], "lost", q, 1, 0));
	R(recv(s[1], buf, 16, 0)); /* nobody asks for it: closed */
	R(send_fds(s[0], "none", q, 1, 0));
	take(s[1], 100, 0, 0, NULL);
	R(send_fds(s[0], "a", q, 1, 0));
	R(send_fds(s[0], "b", NULL, 0, 0));
	R(send_fds(s[0], "c", q, 1, 0));
	R(send_fds(s[0], "d", NULL, 0, 0));
	for (int i = 0; i < 4; i++)
		take(s[1], 100, 1, MSG_DONTWAIT, NULL);
	v = -1;
	R(send_fds(s[0], "bad", &v, 1, 0));
	for (int i = 0; i <= MAX_FDS; i++)
		many[i] = q[0];
	R(send_fds(s[0], "many", many, MAX_FDS, 0));
	take(s[1], 100, MAX_FDS, 0, NULL);
	R(send_fds(s[0], "too many", many, MAX_FDS + 1, 0));
	R(send_fds(s[0], "", q, 1, 0));
	take(s[1], 100, 1, MSG_DONTWAIT, NULL);
	/* A write end that only a queue refers to keeps the pipe open. */
	R(send_fds(s[0], "end", q + 1, 1, 0));
	close(q[1]);
	fcntl(q[0], F_SETFL, O_NONBLOCK);
	R(read(q[0], buf, 1));
	close(s[1]);
	R(read(q[0], buf, 1));
	close(s[0]);
	close(q[0]);
}

static void credentials(void)
{
	int s[2], v = 1;

	HEAD("credentials");
	NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
	R(send(s[0], "before", 6, 0));
	R(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &v, sizeof(v)));
	take(s[1], 100, 1, 0, NULL);
	R(send(s[0], "after", 5, 0));
	take(s[1], 100, 1, 0, NULL);
	R(send_cred(s[0], getpid(), getuid(), getgid()));
	take(s[1], 100, 1, 0, NULL);
	if (getuid() == 0) {
		R(seteuid(1234));
		R(send_cred(s[0], getpid(), 4321, getgid()));
		R(send_cred(s[0], 1, 1234, getgid()));
		R(send_cred(s[0], getpid(), 0, getgid()));
		R(seteuid(0));
		take(s[1], 100, 1, 0, NULL);
	}
	close(s[0]);
	close(s[1]);
	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &v, sizeof(v));
	send(s[0], "one", 3, 0);
	send(s[0], "two", 3, 0);
	take(s[1], 100, 1, 0, NULL);
	close(s[0]);
	close(s[1]);
}

static void control_errors(void)
{
	struct iovec v = { "x", 1 };
	union control c = {};
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c) };
	int s[2];

	HEAD("malformed control data");
	NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
	c.h.cmsg_len = 3;
	R(syscall(SYS_sendmsg, s[0], &m, 0));
	c.h.cmsg_len = sizeof(c) + 1;
	R(syscall(SYS_sendmsg, s[0], &m, 0));
	c.h.cmsg_len = CMSG_LEN(4);
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = 99;
	m.msg_controllen = CMSG_SPACE(4);
	R(syscall(SYS_sendmsg, s[0], &m, 0));
	c.h.cmsg_level = 4711;
	R(syscall(SYS_sendmsg, s[0], &m, 0));
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_CREDENTIALS;
	R(syscall(SYS_sendmsg, s[0], &m, 0));
	m.msg_control = (void *)8;
	R(syscall(SYS_sendmsg, s[0], &m, 0));
	m.msg_control = c.buf;
	m.msg_controllen = 4;
	R(syscall(SYS_sendmsg, s[0], &m, 0));
	close(s[0]);
	close(s[1]);
}

/* Garbage is looked for when a socket ends. */
static void end_a_socket(void)
{
	close(socket(AF_UNIX, SOCK_DGRAM, 0));
}

/* Sockets that hold each other, and a pipe's end in the middle: when all are closed, the pipe must end. */
static void cycles(void)
{
	int a[2], b[2], q[2], n, gone = 0;
	struct pollfd p;
	char c;

	HEAD("cycles");
	for (n = 0; n < 50; n++) {
		NEED(pipe(q) == 0);
		NEED(socketpair(AF_UNIX, n % 2 ? SOCK_STREAM : SOCK_DGRAM, 0, a) == 0);
		NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, b) == 0);
		NEED(send_fds(a[0], "self", a, 2, 0) == 4); /* both ends in its own queue */
		NEED(send_fds(b[0], "other", a, 2, 0) == 5);
		NEED(send_fds(a[0], "other", b, 2, 0) == 5);
		NEED(send_fds(a[0], "pipe", q + 1, 1, 0) == 4);
		close(q[1]);
		close(a[0]);
		close(a[1]);
		p = (struct pollfd){ q[0], POLLIN, 0 };
		if (poll(&p, 1, 0)) /* b can still be read */
			say("too early");
		close(b[0]);
		close(b[1]);
		end_a_socket();
		poll(&p, 1, 2000);
		gone += read(q[0], &c, 1) == 0;
		close(q[0]);
	}
	V(gone);
	/* One inside the next, hundreds deep. */
	NEED(pipe(q) == 0);
	NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, a) == 0);
	NEED(send_fds(a[0], "p", q + 1, 1, 0) == 1);
	close(q[1]);
	for (n = 0; n < 400; n++) {
		NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, b) == 0);
		NEED(send_fds(b[0], "n", a, 2, 0) == 1);
		close(a[0]);
		close(a[1]);
		memcpy(a, b, sizeof(a));
	}
	p = (struct pollfd){ q[0], POLLIN, 0 };
	R(poll(&p, 1, 0));
	close(a[0]);
	close(a[1]);
	poll(&p, 1, 5000);
	R(read(q[0], &c, 1));
	close(q[0]);
}

static void many_messages(void)
{
	struct mmsghdr m[4] = {};
	struct iovec v[4];
	char buf[4][8] = {};
	struct timespec ts = { 1, 0 };
	struct timeval tv = { 0, 30000 };
	int s[2];

	HEAD("sendmmsg and recvmmsg");
	NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
	for (int i = 0; i < 4; i++) {
		v[i] = (struct iovec){ "abcdefgh" + i, i + 1 };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	R(sendmmsg(s[0], m, 4, 0));
	say("%u %u %u %u", m[0].msg_len, m[1].msg_len, m[2].msg_len, m[3].msg_len);
	for (int i = 0; i < 4; i++)
		v[i] = (struct iovec){ buf[i], 3 };
	R(recvmmsg(s[1], m, 2, 0, NULL));
	say("%u %s %u %s", m[0].msg_len, buf[0], m[1].msg_len, buf[1]);
	R(recvmmsg(s[1], m, 4, MSG_WAITFORONE, &ts));
	T(ts.tv_sec == 0 && ts.tv_nsec > 0);
	say("%u flags %x %u flags %x", m[0].msg_len, m[0].msg_hdr.msg_flags, m[1].msg_len,
	    m[1].msg_hdr.msg_flags);
	R(recvmmsg(s[1], m, 4, MSG_DONTWAIT, NULL));
	ts.tv_nsec = NS_PER_S;
	R(syscall(SYS_recvmmsg, s[1], m, 1, 0, &ts));
	ts = (struct timespec){ -1, 0 };
	R(syscall(SYS_recvmmsg, s[1], m, 1, 0, &ts));
	R(syscall(SYS_recvmmsg, s[1], m, 1, 0, (void *)8));
	ts = (struct timespec){ 0, 0 };
	send(s[0], "1", 1, 0);
	send(s[0], "2", 1, 0);
	R(recvmmsg(s[1], m, 4, 0, &ts)); /* the time is looked at after each message */
	R(recvmmsg(s[1], m, 4, MSG_DONTWAIT, NULL));
	setsockopt(s[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	send(s[0], "3", 1, 0);
	R(recvmmsg(s[1], m, 4, 0, NULL));
	R(recvmmsg(s[1], m, 0, 0, NULL));
	R(sendmmsg(s[0], m, 0, 0));
	R(syscall(SYS_sendmmsg, s[0], (void *)8, 1, 0));
	R(syscall(SYS_recvmmsg, -1, m, 1, 0, NULL));
	close(s[0]);
	close(s[1]);
}

int main(void)
{
	HEAD("stream");
	rights(SOCK_STREAM);
	HEAD("datagram");
	rights(SOCK_DGRAM);
	HEAD("seqpacket");
	rights(SOCK_SEQPACKET);
	credentials();
	control_errors();
	cycles();
	many_messages();
	return 0;
}
