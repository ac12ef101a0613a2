/*
 * inet_stream.c - sockets of AF_INET, SOCK_STREAM: making them, connecting, accepting, closing; tcp(7).
 */
#include "libos/net/inet_stream.h"

#include <asm/ioctls.h>
#include <asm/sockios.h>
#include <linux/capability.h>
#include <linux/eventpoll.h>
#include <linux/in.h>

#include "libos/abi/control.h"
#include "libos/fs/vfs.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/net/inet.h"
#include "libos/platform/log.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define SIOCOUTQNSD 0x894b /* linux/sockios.h */
#define FIRST_FREE_PORT 1024u /* net.ipv4.ip_unprivileged_port_start */

static const struct socket_ops inet_stream_ops;

/* A socket around tp, whose reference it takes over on success. */
static struct inet_stream *stream_new(struct tcp_sock *tp, u16 family)
{
	struct inet_stream *is = kzalloc(sizeof(*is));

	if (!is)
		return NULL;
	is->sock = (struct socket){
		.ops = &inet_stream_ops, .family = family, .type = SOCK_STREAM, .protocol = IPPROTO_TCP
	};
	sock_common_init(&is->sock.c);
	mutex_init(&is->read_lock);
	spin_lock(tcp_lock(tp));
	tcp_opts(tp)->ino = is->sock.c.ino;
	tcp_opts(tp)->uid = current_proc()->cred.euid;
	spin_unlock(tcp_lock(tp));
	is->pmtudisc = IP_PMTUDISC_WANT;
	is->tp = tp;
	return is;
}

int inet_stream_create(u16 family, int protocol, struct socket **s)
{
	struct inet_stream *is;
	struct tcp_sock *tp;
	int err;

	if (protocol && protocol != IPPROTO_TCP)
		return -EPROTONOSUPPORT;
	err = net_start();
	if (err)
		return err;
	tp = tcp_create(family);
	if (!tp)
		return -ENOMEM;
	is = stream_new(tp, family);
	if (!is) {
		tcp_put(tp);
		return -ENOMEM;
	}
	*s = &is->sock;
	return 0;
}

static bool in_handshake(struct tcp_sock *tp)
{
	enum tcp_state st = tcp_state(tp);

	return st == TCP_SYN_SENT || st == TCP_SYN_RECV;
}

/* SO_LINGER with a time: close(2) waits until the peer has everything, or for that long; socket(7). */
static void linger(struct inet_stream *is)
{
	u64 ns = (u64)READ_ONCE(is->sock.c.linger_s) * NSEC_PER_SEC;

	if (!sock_flag(&is->sock.c, SOCKF_LINGER) || !ns)
		return;
	socket_net_poll();
	wait_event(tcp_waitq(is->tp), tcp_close_done(is->tp), sock_deadline(ns));
}

static void inet_stream_release(struct socket *s)
{
	struct inet_stream *is = stream_of(s);

	tcp_close(is->tp);
	linger(is);
	tcp_put(is->tp);
	kfree(is, sizeof(*is));
}

static int inet_stream_bind(struct socket *s, const void *addr, u32 len)
{
	struct endpoint e;
	int err = endpoint_from_sockaddr(&e, addr, len);

	if (err)
		return err;
	if (!netaddr_is_any(&e.addr) && !netaddr_is_local(&e.addr))
		return -EADDRNOTAVAIL;
	if (e.port && e.port < FIRST_FREE_PORT && !fs_capable(CAP_NET_BIND_SERVICE))
		return -EACCES;
	return tcp_bind(stream_of(s)->tp, &e);
}

static int disconnect(struct inet_stream *is)
{
	int err = tcp_disconnect(is->tp);

	WRITE_ONCE(is->state, STREAM_UNCONNECTED);
	WRITE_ONCE(is->sock.c.listening, 0);
	return err;
}

/* The first connect(2): sends the SYN. */
static int start(struct inet_stream *is, const void *addr, u32 len)
{
	struct endpoint e;
	int err;

	if (tcp_state(is->tp) != TCP_CLOSE)
		return -EISCONN;
	err = endpoint_from_sockaddr(&e, addr, len);
	if (!err)
		err = tcp_connect(is->tp, &e);
	if (!err)
		WRITE_ONCE(is->state, STREAM_CONNECTING);
	return err;
}

static int inet_stream_connect(struct socket *s, const void *addr, u32 len, bool nonblock)
{
	struct inet_stream *is = stream_of(s);
	u64 timeo = READ_ONCE(s->c.sndtimeo);
	int err = -EALREADY;
	u16 family;
	long r;

	if (len < sizeof(family))
		return -EINVAL;
	memcpy(&family, addr, sizeof(family));
	if (!family) /* AF_UNSPEC */
		return disconnect(is);
	switch (READ_ONCE(is->state)) {
	case STREAM_CONNECTED:
		return -EISCONN;
	case STREAM_UNCONNECTED:
		err = start(is, addr, len);
		if (err)
			return err;
		err = -EINPROGRESS;
		/* Even if the peer is in this very instance: sys_connect() lets the packets arrive, afterwards. */
		if (nonblock)
			return err;
		socket_net_poll();
	}
	if (in_handshake(is->tp)) {
		if (nonblock)
			return err;
		r = wait_event(tcp_waitq(is->tp), !in_handshake(is->tp), sock_deadline(timeo));
		if (r == -ETIMEDOUT)
			return err;
		if (r)
			return (int)sock_wait_result(r, timeo);
	}
	if (tcp_state(is->tp) == TCP_CLOSE) {
		err = -tcp_take_error(is->tp);
		disconnect(is);
		return err ?: -ECONNABORTED;
	}
	WRITE_ONCE(is->state, STREAM_CONNECTED);
	return 0;
}

/* Tells whoever started the instance (ctl_listen), the first time that others can reach the port. */
static void announce_port(const struct endpoint *local)
{
	static spinlock_t lock;
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;
	struct ctl_listen *l = &ctl->listen;
	u16 n, i = 0;

	if (netaddr_is_loopback(&local->addr))
		return;
	spin_lock(&lock);
	n = min(l->count, (u16)CTL_MAX_PORTS);
	while (i < n && l->ports[i] != local->port)
		i++;
	if (i == n && n < CTL_MAX_PORTS) {
		l->ports[n] = local->port;
		__atomic_store_n(&l->count, (u16)(n + 1), __ATOMIC_RELEASE);
	}
	spin_unlock(&lock);
	if (i == n && n < CTL_MAX_PORTS)
		ring_doorbell();
}

static int inet_stream_listen(struct socket *s, int backlog)
{
	struct inet_stream *is = stream_of(s);
	struct endpoint local;
	int err;

	if (READ_ONCE(is->state) != STREAM_UNCONNECTED)
		return -EINVAL;
	err = tcp_listen(is->tp, backlog);
	if (err)
		return err;
	WRITE_ONCE(s->c.listening, 1);
	local = tcp_local(is->tp);
	announce_port(&local);
	return 0;
}

static struct socket *inet_stream_accept(struct socket *s, bool nonblock)
{
	struct inet_stream *is = stream_of(s), *n;
	u64 timeo = READ_ONCE(s->c.rcvtimeo), deadline = nonblock ? NEVER : sock_deadline(timeo);
	struct tcp_sock *child;
	u64 ino;
	long r;

	for (;;) {
		if (tcp_state(is->tp) != TCP_LISTEN)
			return err_ptr(-EINVAL);
		child = tcp_accept(is->tp);
		if (child)
			break;
		if (nonblock)
			return err_ptr(-EAGAIN);
		r = wait_event_exclusive(tcp_waitq(is->tp),
					 tcp_poll_mask(is->tp) & EPOLLIN || tcp_state(is->tp) != TCP_LISTEN,
					 deadline);
		if (r)
			return err_ptr(sock_wait_result(r, timeo));
	}
	n = stream_new(child, (u16)s->family);
	if (!n) {
		tcp_close(child);
		tcp_put(child);
		return err_ptr(-ENOMEM);
	}
	/* A connection has the options of the socket that it came to. */
	ino = n->sock.c.ino;
	n->sock.c = s->c;
	n->sock.c.ino = ino;
	n->sock.c.err = 0;
	n->sock.c.listening = 0;
	n->pmtudisc = is->pmtudisc;
	n->linger2 = is->linger2;
	n->notsent_lowat = is->notsent_lowat;
	n->state = STREAM_CONNECTED;
	return &n->sock;
}

static int inet_stream_getname(struct socket *s, void *addr, u32 *len, bool peer)
{
	struct inet_stream *is = stream_of(s);
	enum tcp_state st = tcp_state(is->tp);
	struct endpoint e;

	if (peer) {
		e = tcp_remote(is->tp);
		if (!e.port || st == TCP_CLOSE || st == TCP_SYN_SENT || st == TCP_LISTEN)
			return -ENOTCONN;
	} else {
		e = tcp_local(is->tp);
	}
	*len = endpoint_to_sockaddr(&e, addr);
	return 0;
}

static int inet_stream_shutdown(struct socket *s, int how)
{
	struct inet_stream *is = stream_of(s);
	enum tcp_state st = tcp_state(is->tp);
	int err = tcp_shutdown(is->tp, how);

	if (st == TCP_LISTEN ? how != SHUT_WR : st == TCP_SYN_SENT) {
		WRITE_ONCE(is->state, STREAM_UNCONNECTED);
		WRITE_ONCE(s->c.listening, 0);
	}
	return err;
}

static u32 inet_stream_poll(struct socket *s, struct poll_table *pt)
{
	struct inet_stream *is = stream_of(s);

	poll_wait(pt, s->file, tcp_waitq(is->tp));
	return tcp_poll_mask(is->tp);
}

static long inet_stream_ioctl(struct socket *s, unsigned cmd, u64 arg)
{
	struct tcp_sock *tp = stream_of(s)->tp;
	enum tcp_state st = tcp_state(tp);
	u64 v;

	switch (cmd) {
	case FIONREAD:
		if (st == TCP_LISTEN)
			return -EINVAL;
		v = st == TCP_SYN_SENT || st == TCP_SYN_RECV ? 0 : tcp_recv_avail(tp, NULL);
		break;
	case SIOCATMARK:
		v = tcp_at_mark(tp);
		break;
	case TIOCOUTQ:
	case SIOCOUTQNSD:
		if (st == TCP_LISTEN)
			return -EINVAL;
		v = cmd == TIOCOUTQ ? tcp_outq(tp) : tcp_outq_unsent(tp);
		break;
	default:
		return -ENOTTY;
	}
	return put_user_u32((u32)min(v, (u64)INT32_MAX), (void *)arg);
}

static int inet_stream_take_error(struct socket *s)
{
	int err = sock_take_error(&s->c);

	return err ?: tcp_take_error(stream_of(s)->tp);
}

static const struct socket_ops inet_stream_ops = {
	.bind = inet_stream_bind,
	.connect = inet_stream_connect,
	.listen = inet_stream_listen,
	.accept = inet_stream_accept,
	.getname = inet_stream_getname,
	.sendmsg = inet_stream_sendmsg,
	.recvmsg = inet_stream_recvmsg,
	.shutdown = inet_stream_shutdown,
	.setsockopt = inet_stream_setsockopt,
	.getsockopt = inet_stream_getsockopt,
	.option_changed = inet_stream_option_changed,
	.take_error = inet_stream_take_error,
	.features = SOCK_FEAT_RCVLOWAT | SOCK_FEAT_REUSEPORT,
	.poll = inet_stream_poll,
	.ioctl = inet_stream_ioctl,
	.release = inet_stream_release,
};
