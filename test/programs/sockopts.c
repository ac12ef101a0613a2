/* sockopts.c - socket options of every family and level: defaults, what set and get answer, bad lengths. */
#include "t.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define OPT(level, name) { level, name, #name }

/* Options whose value is an int, and what is tried with each. */
static const struct opt {
	int level, name;
	const char *text;
} opts[] = {
	OPT(SOL_SOCKET, SO_TYPE),	     OPT(SOL_SOCKET, SO_DOMAIN),
	OPT(SOL_SOCKET, SO_PROTOCOL),	     OPT(SOL_SOCKET, SO_ERROR),
	OPT(SOL_SOCKET, SO_ACCEPTCONN),	     OPT(SOL_SOCKET, SO_REUSEADDR),
	OPT(SOL_SOCKET, SO_KEEPALIVE),	     OPT(SOL_SOCKET, SO_BROADCAST),
	OPT(SOL_SOCKET, SO_OOBINLINE),	     OPT(SOL_SOCKET, SO_SNDLOWAT),
	OPT(SOL_SOCKET, 9999),
};
static const struct opt tcp_opts[] = {
	OPT(SOL_SOCKET, SO_REUSEPORT),
	OPT(IPPROTO_TCP, TCP_NODELAY),	     OPT(IPPROTO_TCP, TCP_MAXSEG),
	OPT(IPPROTO_TCP, TCP_CORK),	     OPT(IPPROTO_TCP, TCP_KEEPIDLE),
	OPT(IPPROTO_TCP, TCP_KEEPINTVL),     OPT(IPPROTO_TCP, TCP_KEEPCNT),
	OPT(IPPROTO_TCP, TCP_SYNCNT),	     OPT(IPPROTO_TCP, TCP_LINGER2),
	OPT(IPPROTO_TCP, TCP_DEFER_ACCEPT),  OPT(IPPROTO_TCP, TCP_USER_TIMEOUT),
	OPT(IPPROTO_TCP, 25 /* NOTSENT_LOWAT */), OPT(IPPROTO_TCP, 9999),
	OPT(IPPROTO_IP, IP_TTL),	     OPT(IPPROTO_IP, IP_TOS),
	OPT(IPPROTO_IP, IP_MTU),	     OPT(IPPROTO_IP, 9999),
	OPT(IPPROTO_IPV6, 26 /* V6ONLY */),  OPT(4711, 1),
};

static void try_value(int s, const struct opt *o, int value)
{
	int v = 0x5a5a5a5a, r;
	socklen_t len = sizeof(v);
	char line[160];
	int n;

	errno = 0;
	r = setsockopt(s, o->level, o->name, &value, sizeof(value));
	n = snprintf(line, sizeof(line), "%s := %d: %s", o->text, value, r ? t_errname(errno) : "0");
	errno = 0;
	r = getsockopt(s, o->level, o->name, &v, &len);
	if (r)
		snprintf(line + n, sizeof(line) - n, ", get %s", t_errname(errno));
	else
		snprintf(line + n, sizeof(line) - n, ", get %d len %u", v, len);
	say("%s", line);
}

static void try_option(int s, const struct opt *o)
{
	static const int values[] = { 1, 0, 7, -1, 100000 };
	int v = 0x5a5a5a5a, r;
	socklen_t len = sizeof(v);

	errno = 0;
	r = getsockopt(s, o->level, o->name, &v, &len);
	if (r)
		say("%s: get %s", o->text, t_errname(errno));
	else
		say("%s: get %d len %u", o->text, v, len);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		try_value(s, o, values[i]);
	len = 0;
	errno = 0;
	r = getsockopt(s, o->level, o->name, &v, &len);
	say("%s: no room: %s len %u", o->text, r ? t_errname(errno) : "0", len);
	if (o->level <= IPPROTO_TCP) { /* an unknown level is found first, or not: no matter */
		len = -1;
		errno = 0;
		r = getsockopt(s, o->level, o->name, &v, &len);
		say("%s: room -1: %s", o->text, r ? t_errname(errno) : "0");
	}
	errno = 0;
	r = setsockopt(s, o->level, o->name, &v, 0);
	say("%s: set nothing: %s", o->text, r ? t_errname(errno) : "0");
}

static int so_int(int s, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(s, level, name, &v, &len) ? -errno : v;
}

static int set_int(int s, int level, int name, int v)
{
	return setsockopt(s, level, name, &v, sizeof(v));
}

static void generic(int s)
{
	struct timeval tv = { 1, 500000 };
	struct linger lg = { 1, 5 };
	socklen_t len;
	uint64_t cookie = 0, again = 1;
	char small[3];
	int v;

	for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++)
		try_option(s, &opts[i]);
	HEAD("buffers");
	R(set_int(s, SOL_SOCKET, SO_SNDBUF, 1));
	V(so_int(s, SOL_SOCKET, SO_SNDBUF));
	R(set_int(s, SOL_SOCKET, SO_SNDBUF, 50000));
	V(so_int(s, SOL_SOCKET, SO_SNDBUF));
	R(set_int(s, SOL_SOCKET, SO_RCVBUF, 1));
	V(so_int(s, SOL_SOCKET, SO_RCVBUF));
	R(set_int(s, SOL_SOCKET, SO_RCVBUF, 50000));
	V(so_int(s, SOL_SOCKET, SO_RCVBUF));
	HEAD("times");
	len = sizeof(tv);
	R(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	memset(&tv, 0, sizeof(tv));
	R(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &len));
	say("%ld %ld %u", (long)tv.tv_sec, (long)tv.tv_usec, len);
	R(getsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, &len));
	say("%ld %ld %u", (long)tv.tv_sec, (long)tv.tv_usec, len);
	tv.tv_usec = 1000000;
	R(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
	R(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, 8));
	len = 8;
	R(getsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, &len));
	V(len);
	HEAD("linger");
	len = sizeof(lg);
	R(getsockopt(s, SOL_SOCKET, SO_LINGER, &lg, &len));
	say("%d %d", lg.l_onoff, lg.l_linger);
	lg = (struct linger){ 1, 5 };
	R(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
	memset(&lg, 0, sizeof(lg));
	R(getsockopt(s, SOL_SOCKET, SO_LINGER, &lg, &len));
	say("%d %d", lg.l_onoff, lg.l_linger);
	lg.l_onoff = 0;
	R(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
	R(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, 4));
	HEAD("the rest");
	len = sizeof(cookie);
	R(getsockopt(s, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	R(getsockopt(s, SOL_SOCKET, SO_COOKIE, &again, &len));
	T(cookie && cookie == again);
	len = 4;
	R(getsockopt(s, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	R(set_int(s, SOL_SOCKET, SO_PRIORITY, 6));
	V(so_int(s, SOL_SOCKET, SO_PRIORITY));
	R(set_int(s, SOL_SOCKET, SO_MARK, 42));
	V(so_int(s, SOL_SOCKET, SO_MARK));
	len = 3;
	R(getsockopt(s, SOL_SOCKET, SO_TYPE, small, &len));
	V(len);
	R(getsockopt(s, SOL_SOCKET, SO_TYPE, NULL, &len));
	R(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, NULL));
	R(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, NULL, 4));
	R(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, -1));
	R(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 3));
	R(setsockopt(-1, SOL_SOCKET, SO_REUSEADDR, &v, 4));
	R(setsockopt(1, SOL_SOCKET, SO_REUSEADDR, &v, 4));
}

/* What is inherited, and what a connection knows. */
static void tcp_connection(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval tv = { 3, 0 };
	socklen_t len = sizeof(a);
	char name[32] = "", info[512];
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s;

	HEAD("a connection");
	V(so_int(l, SOL_SOCKET, SO_RCVLOWAT));
	R(set_int(l, SOL_SOCKET, SO_RCVLOWAT, 5));
	V(so_int(l, SOL_SOCKET, SO_RCVLOWAT));
	R(set_int(l, SOL_SOCKET, SO_RCVLOWAT, 0));
	V(so_int(l, SOL_SOCKET, SO_RCVLOWAT));
	len = sizeof(name);
	R(getsockopt(l, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	V(len);
	R(setsockopt(l, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	R(setsockopt(l, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
	R(setsockopt(l, IPPROTO_TCP, TCP_CONGESTION, "", 0));
	R(getsockopt(l, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	S(name);
	R(set_int(l, IPPROTO_TCP, TCP_NODELAY, 1));
	R(set_int(l, IPPROTO_TCP, TCP_KEEPIDLE, 99));
	R(set_int(l, SOL_SOCKET, SO_KEEPALIVE, 1));
	R(set_int(l, IPPROTO_IP, IP_TTL, 33));
	R(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	len = sizeof(a);
	NEED(bind(l, (void *)&a, len) == 0 && listen(l, 3) == 0);
	V(so_int(l, SOL_SOCKET, SO_ACCEPTCONN));
	getsockname(l, (void *)&a, &len);
	NEED(connect(c, (void *)&a, len) == 0);
	NEED((s = accept(l, NULL, NULL)) >= 0);
	V(so_int(s, SOL_SOCKET, SO_ACCEPTCONN));
	V(so_int(s, IPPROTO_TCP, TCP_NODELAY));
	V(so_int(s, IPPROTO_TCP, TCP_KEEPIDLE));
	V(so_int(s, SOL_SOCKET, SO_KEEPALIVE));
	V(so_int(s, IPPROTO_IP, IP_TTL));
	V(so_int(c, IPPROTO_IP, IP_TTL));
	len = sizeof(tv);
	R(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &len));
	V(tv.tv_sec);
	len = sizeof(name);
	R(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	S(name);
	V(so_int(c, IPPROTO_IP, IP_MTU));
	len = sizeof(info);
	R(getsockopt(s, IPPROTO_TCP, TCP_INFO, info, &len));
	T(len >= 104);
	V(info[0]); /* tcpi_state */
	len = 8;
	R(getsockopt(s, IPPROTO_TCP, TCP_INFO, info, &len));
	V(len);
	R(getsockopt(l, IPPROTO_TCP, TCP_INFO, info, &len));
	V(info[0]);
	R(set_int(c, IPPROTO_TCP, TCP_QUICKACK, 1));
	R(set_int(c, IPPROTO_IP, IP_TTL, 0));
	R(set_int(c, IPPROTO_IP, IP_TTL, 256));
	R(set_int(c, IPPROTO_IP, IP_TTL, -1));
	V(so_int(c, IPPROTO_IP, IP_TTL));
	close(l);
	close(c);
	close(s);
}

int main(void)
{
	static const struct {
		int family, type;
		const char *text;
	} kinds[] = {
		{ AF_INET, SOCK_STREAM, "TCP" },	  { AF_INET, SOCK_DGRAM, "UDP" },
		{ AF_UNIX, SOCK_STREAM, "Unix stream" }, { AF_UNIX, SOCK_DGRAM, "Unix datagram" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int s = socket(kinds[i].family, kinds[i].type, 0);

		NEED(s >= 0);
		HEAD(kinds[i].text);
		generic(s);
		close(s);
		s = socket(kinds[i].family, kinds[i].type, 0);
		if (kinds[i].family == AF_INET && kinds[i].type == SOCK_STREAM)
			for (size_t k = 0; k < sizeof(tcp_opts) / sizeof(tcp_opts[0]); k++)
				try_option(s, &tcp_opts[k]);
		close(s);
	}
	tcp_connection();
	return 0;
}
