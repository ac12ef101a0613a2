/* udp.c - UDP over loopback: borders of datagrams, addresses, errors, waiting, options. */
#include "t.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef IP_PMTUDISC_INTERFACE
#define IP_PMTUDISC_INTERFACE 4
#endif

static struct sockaddr_in lo(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int port_of(int s)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	NEED(getsockname(s, (void *)&in, &len) == 0);
	return ntohs(in.sin_port);
}

static int bound(int *port)
{
	struct sockaddr_in in = lo(0);
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	NEED(s >= 0);
	NEED(bind(s, (void *)&in, sizeof(in)) == 0);
	*port = port_of(s);
	return s;
}

static int get_int(int s, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(s, level, name, &v, &len) ? -errno : v;
}

static int set_int(int s, int level, int name, int v)
{
	return setsockopt(s, level, name, &v, sizeof(v));
}

/* A port that nobody has. */
static int closed_port(void)
{
	int port, s = bound(&port);

	close(s);
	return port;
}

static char buf[70000];

static void basics(void)
{
	int pa, pb, a = bound(&pa), b = bound(&pb), v;
	struct sockaddr_in to = lo(pa), from;
	socklen_t len = sizeof(from);

	HEAD("basics");
	V(get_int(a, SOL_SOCKET, SO_TYPE));
	V(get_int(a, SOL_SOCKET, SO_DOMAIN));
	V(get_int(a, SOL_SOCKET, SO_PROTOCOL));
	V(get_int(a, SOL_SOCKET, SO_ACCEPTCONN));
	T(pa > 0 && pb > 0 && pa != pb);
	R(sendto(b, "hello", 5, 0, (void *)&to, sizeof(to)));
	R(sendto(b, "", 0, 0, (void *)&to, sizeof(to)));
	R(sendto(b, "third", 5, 0, (void *)&to, sizeof(to)));
	R(ioctl(a, FIONREAD, &v));
	V(v);
	R(recvfrom(a, buf, 2, MSG_PEEK | MSG_TRUNC, NULL, NULL));
	R(recvfrom(a, buf, 2, MSG_TRUNC, (void *)&from, &len));
	T(from.sin_port == htons(pb) && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	V(len);
	R(ioctl(a, FIONREAD, &v));
	V(v);
	R(recv(a, buf, 100, 0));
	R(recv(a, buf, 100, 0));
	R(recv(a, buf, 100, MSG_DONTWAIT));
	R(fcntl(a, F_SETFL, O_NONBLOCK));
	R(read(a, buf, 1));
	R(listen(a, 1));
	R(accept(a, NULL, NULL));
	R(send(b, "x", 1, 0));
	R(getpeername(b, (void *)&from, &len));
	to.sin_port = 0;
	R(sendto(b, "x", 1, 0, (void *)&to, sizeof(to)));
	R(sendto(b, "x", 1, 0, (void *)&to, 8));
	to = lo(pa);
	to.sin_family = AF_UNIX;
	R(sendto(b, "x", 1, 0, (void *)&to, sizeof(to)));
	to.sin_family = AF_UNSPEC;
	R(sendto(b, "x", 1, 0, (void *)&to, sizeof(to)));
	to = lo(pa);
	R(sendto(b, "x", 1, MSG_OOB, (void *)&to, sizeof(to)));
	to.sin_addr.s_addr = 0; /* this host */
	R(sendto(b, "any", 3, 0, (void *)&to, sizeof(to)));
	R(recv(a, buf, 100, 0));
	R(recv(a, buf, 100, 0));
	R(send(-1, "x", 1, 0));
	R(lseek(a, 0, SEEK_CUR));
	close(a);
	close(b);
}

static void binding(void)
{
	struct sockaddr_in in = lo(0);
	int port, a = bound(&port), b = socket(AF_INET, SOCK_DGRAM, 0),
		  c = socket(AF_INET, SOCK_DGRAM, 0);

	HEAD("binding");
	in.sin_port = htons(port);
	R(bind(a, (void *)&in, sizeof(in)));
	R(bind(b, (void *)&in, sizeof(in)));
	R(bind(b, (void *)&in, 8));
	in.sin_family = AF_UNIX;
	R(bind(b, (void *)&in, sizeof(in)));
	in.sin_family = AF_UNSPEC;
	R(bind(b, (void *)&in, sizeof(in)));
	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(0xc0000221); /* TEST-NET-1: nobody's */
	R(bind(b, (void *)&in, sizeof(in)));
	in.sin_addr.s_addr = 0;
	R(bind(b, (void *)&in, sizeof(in)));
	R(set_int(b, SOL_SOCKET, SO_REUSEADDR, 1));
	R(bind(b, (void *)&in, sizeof(in)));
	R(set_int(a, SOL_SOCKET, SO_REUSEADDR, 1));
	R(bind(b, (void *)&in, sizeof(in)));
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1); /* all of 127.0.0.0/8 is this host */
	R(bind(c, (void *)&in, sizeof(in)));
	T(get_int(b, SOL_SOCKET, SO_REUSEADDR) == 1);
	close(a);
	close(b);
	close(c);
	a = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
	R(close(a));
	R(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
	R(socket(AF_INET, SOCK_DGRAM, 300));
	R(socketpair(AF_INET, SOCK_DGRAM, 0, (int[2]){}));
}

static void names(void)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *res = NULL;
	struct sockaddr_in *in;

	HEAD("names");
	R(getaddrinfo("localhost", "4711", &hints, &res));
	NEED(res);
	in = (void *)res->ai_addr;
	T(in->sin_addr.s_addr == htonl(INADDR_LOOPBACK) && in->sin_port == htons(4711));
	V(res->ai_socktype);
	V(res->ai_protocol);
	freeaddrinfo(res);
	R(getaddrinfo("10.1.2.3", NULL, &hints, &res));
	freeaddrinfo(res);
}

static void connecting(void)
{
	int pa, pb, a = bound(&pa), b = bound(&pb), c = socket(AF_INET, SOCK_DGRAM, 0), v;
	struct sockaddr_in to = lo(pa), none = {.sin_family = AF_UNSPEC}, in;
	socklen_t len = sizeof(in);
	struct pollfd p;

	HEAD("connecting");
	R(connect(c, (void *)&to, 8));
	R(connect(c, (void *)&to, 1));
	R(connect(c, (void *)&to, sizeof(to)));
	T(port_of(c) != 0);
	R(getsockname(c, (void *)&in, &len));
	T(in.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	R(getpeername(c, (void *)&in, &len));
	T(in.sin_port == htons(pa));
	R(send(c, "one", 3, 0));
	R(write(c, "two", 3));
	R(recv(a, buf, 100, 0));
	R(recv(a, buf, 100, 0));
	to = lo(port_of(c));
	R(sendto(b, "stranger", 8, 0, (void *)&to, sizeof(to)));
	R(sendto(a, "friend", 6, 0, (void *)&to, sizeof(to)));
	R(recv(c, buf, 100, MSG_DONTWAIT));
	R(recv(c, buf, 100, MSG_DONTWAIT));
	to = lo(pb);
	R(sendto(c, "elsewhere", 9, 0, (void *)&to, sizeof(to)));
	R(recv(b, buf, 100, 0));
	R(connect(c, (void *)&none, sizeof(none)));
	R(getpeername(c, (void *)&in, &len));
	R(send(c, "x", 1, 0));

	HEAD("refused");
	to = lo(closed_port());
	R(connect(c, (void *)&to, sizeof(to)));
	R(send(c, "x", 1, 0));
	p = (struct pollfd){c, POLLIN | POLLOUT, 0};
	R(poll(&p, 1, 1000));
	V(p.revents);
	R(send(c, "x", 1, 0));
	R(send(c, "x", 1, 0));
	R(recv(c, buf, 100, 0));
	R(send(c, "x", 1, 0));
	V(get_int(c, SOL_SOCKET, SO_ERROR));
	V(get_int(c, SOL_SOCKET, SO_ERROR));
	R(recv(c, buf, 100, MSG_DONTWAIT));
	R(connect(c, (void *)&none, sizeof(none)));
	R(sendto(c, "x", 1, 0, (void *)&to, sizeof(to)));
	V(get_int(c, SOL_SOCKET, SO_ERROR));
	R(ioctl(c, TIOCOUTQ, &v));
	V(v);
	close(a);
	close(b);
	close(c);
}

static void *late(void *arg)
{
	struct sockaddr_in to = lo(*(int *)arg);
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	sleep_ms(20);
	sendto(s, "late", 4, 0, (void *)&to, sizeof(to));
	close(s);
	return NULL;
}

static void *shut(void *arg)
{
	sleep_ms(20);
	shutdown(*(int *)arg, SHUT_RD);
	return NULL;
}

static void waiting(void)
{
	int port, a = bound(&port), ep = epoll_create1(0);
	struct timeval tv = {0, 20000};
	struct sockaddr_in to = lo(port);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u32 = 7};
	struct pollfd p = {a, POLLIN, 0};
	pthread_t t;
	long t0;

	HEAD("waiting");
	R(poll(&p, 1, 0));
	t0 = now_ns(CLOCK_MONOTONIC);
	R(poll(&p, 1, 20));
	T(now_ns(CLOCK_MONOTONIC) - t0 >= 20 * NS_PER_MS);
	t = spawn(late, &port);
	R(poll(&p, 1, -1));
	V(p.revents);
	R(recv(a, buf, 100, 0));
	pthread_join(t, NULL);
	t = spawn(late, &port);
	R(recv(a, buf, 100, 0));
	pthread_join(t, NULL);
	R(epoll_ctl(ep, EPOLL_CTL_ADD, a, &ev));
	R(epoll_wait(ep, &ev, 1, 0));
	t = spawn(late, &port);
	R(epoll_wait(ep, &ev, 1, -1));
	V(ev.events);
	R(epoll_wait(ep, &ev, 1, 0));
	pthread_join(t, NULL);
	R(recv(a, buf, 100, 0));
	close(ep);
	R(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	R(recv(a, buf, 100, 0));
	p.events = POLLIN | POLLOUT;
	R(poll(&p, 1, -1));
	V(p.revents);

	HEAD("shutdown");
	R(shutdown(a, SHUT_WR));
	R(connect(a, (void *)&to, sizeof(to)));
	R(send(a, "x", 1, MSG_NOSIGNAL));
	close(a);
	a = bound(&port);
	to = lo(port);
	R(connect(a, (void *)&to, sizeof(to))); /* to itself */
	R(send(a, "self", 4, 0));
	t = spawn(shut, &a);
	R(recv(a, buf, 100, 0));
	R(recv(a, buf, 100, 0));
	pthread_join(t, NULL);
	p = (struct pollfd){a, POLLIN | POLLOUT | POLLRDHUP, 0};
	R(poll(&p, 1, 0));
	V(p.revents);
	R(shutdown(a, SHUT_WR));
	R(poll(&p, 1, 0));
	V(p.revents);
	R(shutdown(a, 7));
	close(a);
}

static void sizes(void)
{
	int port, a = bound(&port), b = socket(AF_INET, SOCK_DGRAM, 0), bad = 0;
	struct sockaddr_in to = lo(port);
	static char big[70000];

	HEAD("sizes");
	for (int i = 0; i < 70000; i++)
		big[i] = i * 31 + i / 255;
	R(sendto(b, big, 60000, 0, (void *)&to, sizeof(to)));
	R(recv(a, buf, sizeof(buf), 0));
	T(!memcmp(buf, big, 60000));
	R(sendto(b, big, 65507, 0, (void *)&to, sizeof(to)));
	R(recv(a, buf, sizeof(buf), 0));
	T(!memcmp(buf, big, 65507));
	R(sendto(b, big, 65508, 0, (void *)&to, sizeof(to)));
	R(sendto(b, big, 70000, 0, (void *)&to, sizeof(to)));
	for (int n = 0; n < 5000; n += 61) {
		if (sendto(b, big, n, 0, (void *)&to, sizeof(to)) != n ||
		    recv(a, buf, sizeof(buf), 0) != n || memcmp(buf, big, n))
			bad++;
	}
	V(bad);
	R(sendto(b, (void *)8, 10, 0, (void *)&to, sizeof(to)));
	R(sendto(b, "x", 1, 0, (void *)8, sizeof(to)));
	R(sendto(b, "hello", 5, 0, (void *)&to, sizeof(to)));
	R(recv(a, (void *)8, 10, 0));
	R(recv(a, buf, 10, MSG_DONTWAIT)); /* it is gone */
	close(a);
	close(b);
}

/* Prints the control messages of m. */
static void show_control(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *i = (void *)CMSG_DATA(c);

			say("IP_PKTINFO %d %x %x", i->ipi_ifindex, ntohl(i->ipi_addr.s_addr),
			    ntohl(i->ipi_spec_dst.s_addr));
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
			say("IP_TTL %d", *(int *)CMSG_DATA(c));
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			say("IP_TOS %d (%d bytes)", *CMSG_DATA(c),
			    (int)(c->cmsg_len - CMSG_LEN(0)));
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) {
			uint32_t *e = (void *)CMSG_DATA(c);
			unsigned char *k = (void *)(e + 1);
			struct sockaddr_in *off = (void *)(e + 4);

			say("IP_RECVERR errno %s origin %d type %d code %d info %d offender %x",
			    t_errname(e[0]), k[0], k[1], k[2], e[2],
			    off->sin_family == AF_INET ? ntohl(off->sin_addr.s_addr) : 0);
		} else {
			say("control %d %d", c->cmsg_level, c->cmsg_type);
		}
	}
}

static void control(void)
{
	int port, a = bound(&port), b = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = lo(port), from;
	char ctl[256];
	struct iovec iov[2] = {{"ab", 2}, {"cde", 3}}, in[2] = {{buf, 2}, {buf + 10, 2}};
	struct msghdr m = {
		.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = iov, .msg_iovlen = 2};
	struct msghdr r = {.msg_name = &from, .msg_iov = in, .msg_iovlen = 2, .msg_control = ctl};
	struct cmsghdr *c;

	HEAD("control messages");
	R(set_int(a, IPPROTO_IP, IP_PKTINFO, 1));
	R(set_int(a, IPPROTO_IP, IP_RECVTTL, 1));
	R(set_int(a, IPPROTO_IP, IP_RECVTOS, 1));
	R(set_int(b, IPPROTO_IP, IP_TTL, 9));
	R(set_int(b, IPPROTO_IP, IP_TOS, 0x28));
	R(sendmsg(b, &m, 0));
	r.msg_namelen = sizeof(from);
	r.msg_controllen = sizeof(ctl);
	R(recvmsg(a, &r, 0));
	V(r.msg_flags);
	V(r.msg_namelen);
	V(r.msg_controllen);
	show_control(&r);
	memset(ctl, 0, sizeof(ctl));
	m.msg_control = ctl;
	m.msg_controllen = CMSG_SPACE(4) * 2;
	c = CMSG_FIRSTHDR(&m);
	*c = (struct cmsghdr){
		.cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL, .cmsg_len = CMSG_LEN(4)};
	*(int *)CMSG_DATA(c) = 33;
	c = CMSG_NXTHDR(&m, c);
	*c = (struct cmsghdr){
		.cmsg_level = IPPROTO_IP, .cmsg_type = IP_TOS, .cmsg_len = CMSG_LEN(4)};
	*(int *)CMSG_DATA(c) = 0x10;
	R(sendmsg(b, &m, 0));
	*(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)) = 0;
	R(sendmsg(b, &m, 0));
	c->cmsg_type = 99;
	*(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)) = 1;
	R(sendmsg(b, &m, 0));
	r.msg_controllen = sizeof(ctl);
	R(recvmsg(a, &r, 0));
	show_control(&r);
	m.msg_control = NULL;
	m.msg_controllen = 0;
	R(sendmsg(b, &m, 0));
	r.msg_controllen = 10;
	R(recvmsg(a, &r, 0));
	T((r.msg_flags & MSG_CTRUNC) != 0);

	HEAD("error queue");
	R(set_int(b, IPPROTO_IP, IP_RECVERR, 1));
	to = lo(closed_port());
	R(sendto(b, "x", 1, 0, (void *)&to, sizeof(to)));
	struct pollfd p = {b, POLLIN, 0};
	R(poll(&p, 1, 1000));
	V(p.revents);
	R(sendto(b, "x", 1, 0, (void *)&to, sizeof(to)));
	r.msg_controllen = sizeof(ctl);
	r.msg_namelen = sizeof(from);
	memset(&from, 0, sizeof(from));
	R(recvmsg(b, &r, MSG_ERRQUEUE) >= 0);
	T(from.sin_port == to.sin_port);
	T((r.msg_flags & MSG_ERRQUEUE) != 0);
	show_control(&r);
	R(recvmsg(b, &r, MSG_ERRQUEUE));
	R(poll(&p, 1, 0));
	close(a);
	close(b);
}

/* What /proc/net/udp says of the socket bound to port: state, addresses, queue. */
static void show_proc(int port)
{
	char line[512];
	FILE *f = fopen("/proc/net/udp", "r");
	unsigned slot, la, lp, ra, rp, st, tx, rx;

	NEED(f && fgets(line, sizeof(line), f));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%u: %x:%x %x:%x %x %x:%x", &slot, &la, &lp, &ra, &rp, &st, &tx,
			   &rx) == 8 &&
		    lp == (unsigned)port)
			say("local %08x remote %08x:%d state %d tx %u rx %s", la, ra, rp != 0, st,
			    tx, rx ? "some" : "none");
	fclose(f);
}

static void stamps(void)
{
	int port, other, a = bound(&port), b = bound(&other);
	struct sockaddr_in to = lo(port);
	char ctl[256];
	struct iovec iov = {buf, 10};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl,
			   .msg_controllen = sizeof(ctl)};
	struct cmsghdr *c;
	struct timespec now, ts;

	HEAD("time stamps");
	R(set_int(a, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	R(sendto(b, "x", 1, 0, (void *)&to, sizeof(to)));
	clock_gettime(CLOCK_REALTIME, &now);
	sleep_ms(30);
	R(recvmsg(a, &m, 0));
	c = CMSG_FIRSTHDR(&m);
	NEED(c);
	V(c->cmsg_level);
	T(c->cmsg_type == SO_TIMESTAMPNS);
	memcpy(&ts, CMSG_DATA(c), sizeof(ts));
	T((now.tv_sec - ts.tv_sec) * NS_PER_S + now.tv_nsec - ts.tv_nsec < 20 * NS_PER_MS);
	HEAD("/proc/net/udp");
	show_proc(port);
	R(sendto(b, "x", 1, 0, (void *)&to, sizeof(to)));
	show_proc(port);
	R(connect(b, (void *)&to, sizeof(to)));
	show_proc(other);
	close(a);
	show_proc(port);
	close(b);
}

static void options(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), port, a = bound(&port), many = 0;
	struct sockaddr_in to = lo(port), bcast = {.sin_family = AF_INET,
						   .sin_port = htons(9),
						   .sin_addr.s_addr = htonl(0x7fffffff)};

	HEAD("options");
	V(get_int(s, SOL_SOCKET, SO_RCVBUF));
	V(get_int(s, SOL_SOCKET, SO_SNDBUF));
	R(set_int(s, SOL_SOCKET, SO_RCVBUF, 10000));
	V(get_int(s, SOL_SOCKET, SO_RCVBUF));
	V(get_int(s, SOL_SOCKET, SO_BROADCAST));
	R(sendto(s, "x", 1, 0, (void *)&bcast, sizeof(bcast)));
	R(connect(s, (void *)&bcast, sizeof(bcast)));
	R(set_int(s, SOL_SOCKET, SO_BROADCAST, 1));
	R(sendto(s, "x", 1, 0, (void *)&bcast, sizeof(bcast)));
	V(get_int(s, IPPROTO_IP, IP_TTL));
	V(get_int(s, IPPROTO_IP, IP_TOS));
	V(get_int(s, IPPROTO_IP, IP_MTU_DISCOVER));
	V(get_int(s, IPPROTO_IP, IP_RECVERR));
	V(get_int(s, IPPROTO_IP, IP_PKTINFO));
	R(set_int(s, IPPROTO_IP, IP_TTL, 0));
	R(set_int(s, IPPROTO_IP, IP_TTL, 300));
	R(set_int(s, IPPROTO_IP, IP_TTL, -1));
	R(set_int(s, IPPROTO_IP, IP_MTU_DISCOVER, 6));
	R(set_int(s, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	V(get_int(s, IPPROTO_IP, IP_MTU));
	R(connect(s, (void *)&to, sizeof(to)));
	V(get_int(s, IPPROTO_IP, IP_MTU));
	R(set_int(s, IPPROTO_TCP, 1, 1));
	R(set_int(s, 12345, 1, 1));
	/* A full queue drops what comes, and keeps what it has. */
	for (int i = 0; i < 2000; i++)
		many += send(s, "0123456789", 10, 0) == 10;
	V(many);
	for (many = 0; recv(a, buf, 100, MSG_DONTWAIT) == 10; many++)
		;
	T(many > 100 && many < 2000);
	close(s);
	close(a);
}

int main(void)
{
	basics();
	binding();
	names();
	connecting();
	waiting();
	sizes();
	control();
	stamps();
	options();
	return 0;
}
