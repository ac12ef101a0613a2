/*
 * inet_stream_opt.c - options of TCP sockets: tcp(7), ip(7), and what those of socket(7) mean to TCP.
 *
 * What the protocol does not do is ENOPROTOOPT: fast open, upper layer protocols, signatures, repair, zero copy.
 */
#include <asm/socket.h>
#include <linux/in.h>
#include <linux/tcp.h>

#include "libos/lib/string.h"
#include "libos/net/inet_stream.h"

#define CONGESTION_MAX 16u /* TCP_CA_NAME_MAX */
#define MAX_KEEP_TIME 32767 /* s */
#define MAX_KEEP_COUNT 127
#define MAX_SYN_COUNT 127
#define MIN_MSS 88
#define MAX_MSS 32767
#define DEFAULT_MSS 536
#define FIN_TIMEOUT_S 60
#define FIN_TIMEOUT_MAX_S 120
#define RTO_INIT_S 1u
#define RTO_MAX_S 120u
#define DEFAULT_TTL 64
#define ECN_MASK 3u
#define RCVBUF_MAX 6291456u /* net.ipv4.tcp_rmem[2] */

/*
 * TCP_DEFER_ACCEPT counts in retransmissions of the SYN-ACK: seconds are rounded up to what so many take, as Linux
 * does, and that is what getsockopt(2) shows.
 */
static u32 round_defer(int seconds)
{
	u32 timeout = RTO_INIT_S, period = RTO_INIT_S, n = 1;

	if (seconds <= 0)
		return 0;
	while ((u32)seconds > period && n < 255) {
		n++;
		timeout = min(timeout << 1, RTO_MAX_S);
		period += timeout;
	}
	return period;
}

/* tcp_info(), as far as the field `end` ends. */
static void get_info(struct inet_stream *is, struct tcp_info *ti)
{
	memset(ti, 0, sizeof(*ti));
	tcp_info(is->tp, ti, sizeof(*ti));
}

static int set_congestion(struct inet_stream *is, const void *val, u32 len)
{
	char name[CONGESTION_MAX] = "";

	if (len < 1)
		return -EINVAL;
	memcpy(name, val, min(len, CONGESTION_MAX - 1));
	if (strcmp(name, "cubic") && strcmp(name, "reno"))
		return -ENOENT;
	spin_lock(tcp_lock(is->tp));
	memcpy(tcp_opts(is->tp)->congestion, name, sizeof(name));
	spin_unlock(tcp_lock(is->tp));
	tcp_opts_changed(is->tp);
	return 0;
}

/* An int option of level IPPROTO_TCP into o; the protocol's lock is held. */
static int set_tcp_int(struct inet_stream *is, struct tcp_opts *o, int name, int v)
{
	switch (name) {
	case TCP_NODELAY:
		o->nodelay = v;
		return 0;
	case TCP_CORK:
		o->cork = v;
		return 0;
	case TCP_QUICKACK:
		o->quickack = v & 1;
		return 0;
	case TCP_MAXSEG:
		if (v && (v < MIN_MSS || v > MAX_MSS))
			return -EINVAL;
		o->maxseg = (u32)v;
		return 0;
	case TCP_KEEPIDLE:
	case TCP_KEEPINTVL:
		if (v < 1 || v > MAX_KEEP_TIME)
			return -EINVAL;
		*(name == TCP_KEEPIDLE ? &o->keep_idle_ns : &o->keep_intvl_ns) = (u64)v * NSEC_PER_SEC;
		return 0;
	case TCP_KEEPCNT:
		if (v < 1 || v > MAX_KEEP_COUNT)
			return -EINVAL;
		o->keep_cnt = (u32)v;
		return 0;
	case TCP_SYNCNT:
		if (v < 1 || v > MAX_SYN_COUNT)
			return -EINVAL;
		o->syn_retries = (u32)v;
		return 0;
	case TCP_LINGER2:
		is->linger2 = v < 0 ? -1 : 0;
		o->linger2_ns = v < 0 ? 0 : v ? (u64)min(v, FIN_TIMEOUT_MAX_S) * NSEC_PER_SEC :
						FIN_TIMEOUT_S * NSEC_PER_SEC;
		return 0;
	case TCP_DEFER_ACCEPT:
		o->defer_accept_s = round_defer(v);
		return 0;
	case TCP_USER_TIMEOUT:
		if (v < 0)
			return -EINVAL;
		o->user_timeout_ns = (u64)v * NSEC_PER_MSEC;
		return 0;
	case TCP_NOTSENT_LOWAT:
		is->notsent_lowat = v;
		o->notsent_lowat = v ? (u32)v : UINT32_MAX;
		return 0;
	}
	return -ENOPROTOOPT;
}

static int set_tcp(struct inet_stream *is, int name, const void *val, u32 len)
{
	int v, err;

	if (name == TCP_CONGESTION)
		return set_congestion(is, val, len);
	if (name == TCP_ULP)
		return -ENOPROTOOPT;
	err = sock_opt_int(val, len, &v);
	if (err)
		return err;
	spin_lock(tcp_lock(is->tp));
	err = set_tcp_int(is, tcp_opts(is->tp), name, v);
	spin_unlock(tcp_lock(is->tp));
	if (!err)
		tcp_opts_changed(is->tp);
	return err;
}

static int get_tcp(struct inet_stream *is, int name, void *val, u32 *len)
{
	enum tcp_state st = tcp_state(is->tp);
	struct tcp_info ti;
	struct tcp_opts o;
	u32 n;
	int v;

	spin_lock(tcp_lock(is->tp));
	o = *tcp_opts(is->tp);
	spin_unlock(tcp_lock(is->tp));
	switch (name) {
	case TCP_INFO:
		memset(&ti, 0, sizeof(ti));
		n = tcp_info(is->tp, &ti, sizeof(ti));
		sock_answer(val, len, &ti, n);
		return 0;
	case TCP_CONGESTION:
		sock_answer(val, len, o.congestion, CONGESTION_MAX);
		return 0;
	case TCP_NODELAY:
		v = o.nodelay;
		break;
	case TCP_CORK:
		v = o.cork;
		break;
	case TCP_QUICKACK:
		v = o.quickack;
		break;
	case TCP_MAXSEG:
		if (st == TCP_CLOSE || st == TCP_LISTEN) {
			v = o.maxseg ? (int)o.maxseg : DEFAULT_MSS;
		} else {
			get_info(is, &ti);
			v = (int)ti.tcpi_snd_mss;
		}
		break;
	case TCP_KEEPIDLE:
		v = (int)(o.keep_idle_ns / NSEC_PER_SEC);
		break;
	case TCP_KEEPINTVL:
		v = (int)(o.keep_intvl_ns / NSEC_PER_SEC);
		break;
	case TCP_KEEPCNT:
		v = (int)o.keep_cnt;
		break;
	case TCP_SYNCNT:
		v = (int)o.syn_retries;
		break;
	case TCP_LINGER2:
		v = is->linger2 < 0 ? -1 : (int)(o.linger2_ns / NSEC_PER_SEC);
		break;
	case TCP_DEFER_ACCEPT:
		v = (int)o.defer_accept_s;
		break;
	case TCP_USER_TIMEOUT:
		v = (int)(o.user_timeout_ns / NSEC_PER_MSEC);
		break;
	case TCP_NOTSENT_LOWAT:
		v = is->notsent_lowat;
		break;
	default:
		return -ENOPROTOOPT;
	}
	sock_answer(val, len, &v, sizeof(v));
	return 0;
}

/* ip(7): an int, or a single byte; none is 0. */
static int set_ip(struct inet_stream *is, int name, const void *val, u32 len)
{
	struct tcp_opts *o = tcp_opts(is->tp);
	int v = 0;

	if (name != IP_TOS && name != IP_TTL && name != IP_MTU_DISCOVER)
		return -ENOPROTOOPT;
	memcpy(&v, val, len >= sizeof(v) ? sizeof(v) : min(len, 1u));
	switch (name) {
	case IP_TOS: /* the two bits of explicit congestion notification are the protocol's */
		spin_lock(tcp_lock(is->tp));
		o->tos = (u8)(((u32)v & ~ECN_MASK) | (o->tos & ECN_MASK));
		spin_unlock(tcp_lock(is->tp));
		break;
	case IP_TTL:
		if (v != -1 && (v < 1 || v > 255))
			return -EINVAL;
		spin_lock(tcp_lock(is->tp));
		o->ttl = v == -1 ? 0 : (u8)v;
		spin_unlock(tcp_lock(is->tp));
		break;
	case IP_MTU_DISCOVER:
		if (v < IP_PMTUDISC_DONT || v > IP_PMTUDISC_OMIT)
			return -EINVAL;
		if (v != IP_PMTUDISC_WANT && v != IP_PMTUDISC_DO)
			return -ENOPROTOOPT; /* TCP always finds out the path's MTU */
		is->pmtudisc = (u8)v;
	}
	return 0;
}

static int get_ip(struct inet_stream *is, int name, void *val, u32 *len)
{
	enum tcp_state st = tcp_state(is->tp);
	struct tcp_info ti;
	int v;

	switch (name) {
	case IP_TOS:
		v = READ_ONCE(tcp_opts(is->tp)->tos);
		break;
	case IP_TTL:
		v = READ_ONCE(tcp_opts(is->tp)->ttl) ?: DEFAULT_TTL;
		break;
	case IP_MTU_DISCOVER:
		v = is->pmtudisc;
		break;
	case IP_MTU:
		if (st == TCP_CLOSE || st == TCP_LISTEN)
			return -ENOTCONN;
		get_info(is, &ti);
		v = (int)ti.tcpi_pmtu;
		break;
	default:
		return -ENOPROTOOPT;
	}
	/* As Linux: room for less than an int gets a byte, if the value is one. */
	if (*len && *len < sizeof(v) && v >= 0 && v <= 255) {
		*(u8 *)val = (u8)v;
		*len = 1;
	} else {
		sock_answer(val, len, &v, sizeof(v));
	}
	return 0;
}

int inet_stream_setsockopt(struct socket *s, int level, int name, const void *val, u32 len)
{
	switch (level) {
	case IPPROTO_TCP:
		return set_tcp(stream_of(s), name, val, len);
	case IPPROTO_IP:
		return set_ip(stream_of(s), name, val, len);
	}
	return -ENOPROTOOPT; /* SOL_SOCKET: sock_common.c, and then option_changed */
}

int inet_stream_getsockopt(struct socket *s, int level, int name, void *val, u32 *len)
{
	struct inet_stream *is = stream_of(s);
	u32 v;

	switch (level) {
	case IPPROTO_TCP:
		return get_tcp(is, name, val, len);
	case IPPROTO_IP:
		return get_ip(is, name, val, len);
	case SOL_SOCKET:
		if (name != SO_SNDBUF && name != SO_RCVBUF)
			break;
		/* They grow by themselves until they are set. */
		v = READ_ONCE(*(name == SO_SNDBUF ? &tcp_opts(is->tp)->sndbuf : &tcp_opts(is->tp)->rcvbuf));
		sock_answer(val, len, &v, sizeof(v));
		return 0;
	default:
		return -EOPNOTSUPP; /* what Linux says of getting an option of another level */
	}
	return -ENOPROTOOPT;
}

void inet_stream_option_changed(struct socket *s, int name)
{
	struct inet_stream *is = stream_of(s);
	struct tcp_opts *o = tcp_opts(is->tp);
	struct sock_common *c = &s->c;

	spin_lock(tcp_lock(is->tp));
	o->keepalive = sock_flag(c, SOCKF_KEEPALIVE);
	o->reuseaddr = sock_flag(c, SOCKF_REUSEADDR);
	o->reuseport = sock_flag(c, SOCKF_REUSEPORT);
	o->oobinline = sock_flag(c, SOCKF_OOBINLINE);
	o->linger_on = sock_flag(c, SOCKF_LINGER);
	o->linger_ns = (u64)c->linger_s * NSEC_PER_SEC;
	/* More than the buffer ever holds would never come. */
	c->rcvlowat = min(c->rcvlowat, (o->rcvbuf_set ? o->rcvbuf : RCVBUF_MAX) / 2);
	o->rcvlowat = c->rcvlowat;
	if (name == SO_SNDBUF || name == SO_SNDBUFFORCE) {
		o->sndbuf = c->sndbuf;
		o->sndbuf_set = true;
	}
	if (name == SO_RCVBUF || name == SO_RCVBUFFORCE) {
		o->rcvbuf = c->rcvbuf;
		o->rcvbuf_set = true;
	}
	spin_unlock(tcp_lock(is->tp));
	tcp_opts_changed(is->tp);
}
