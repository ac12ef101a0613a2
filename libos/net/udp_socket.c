/*
 * udp_socket.c - SOCK_DGRAM sockets of the Internet family: udp(7), ip(7).
 *
 * A datagram goes out within the call that sends it, so there is always room to write, as far as
 * poll knows. A blocking socket waits while packets of this kthread queue behind a full ring, which
 * stands for Linux's waiting for SO_SNDBUF; from another one, what the device has no room for is
 * lost, as Linux loses it unless IP_RECVERR is set.
 */
#include <asm/ioctls.h>
#include <asm/socket.h>
#include <linux/capability.h>
#include <linux/eventpoll.h>
#include <linux/in.h>
#include <linux/sockios.h>

#include "libos/fs/vfs.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/net/inet.h"
#include "libos/net/ipv4.h"
#include "libos/net/pkt_iov.h"
#include "libos/net/udp.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

#define PORT_UNPRIVILEGED 1024 /* net.ipv4.ip_unprivileged_port_start */
#define RCV_SHUTDOWN 1u
#define SEND_SHUTDOWN 2u
#define AF_UNSPEC 0

static int udp_bind(struct socket *s, const void *addr, u32 len)
{
	struct udp_sock *u = udp_of(s);
	struct endpoint e;
	u16 family = AF_UNSPEC;
	int err;

	if (len >= sizeof(family))
		memcpy(&family, addr, sizeof(family));
	err = endpoint_from_sockaddr(&e, addr, len);
	/* Linux, for old programs: no family will do for any address. */
	if (err == -EAFNOSUPPORT && family == AF_UNSPEC) {
		u8 copy[SOCKADDR_MAX];

		memcpy(copy, addr, min(len, (u32)sizeof(copy)));
		family = AF_INET;
		memcpy(copy, &family, sizeof(family));
		err = endpoint_from_sockaddr(&e, copy, len);
		if (!err && !netaddr_is_any(&e.addr))
			err = -EAFNOSUPPORT;
	}
	if (err)
		return err;
	if (!netaddr_is_any(&e.addr) && !netaddr_is_local(&e.addr) &&
	    !netaddr_is_broadcast(&e.addr))
		return -EADDRNOTAVAIL;
	if (e.port && e.port < PORT_UNPRIVILEGED && !fs_capable(CAP_NET_BIND_SERVICE))
		return -EACCES;
	mutex_lock(&u->ctl);
	err = u->local.port || u->addr_bound ? -EINVAL : udp_bind_port(u, &e);
	if (!err) {
		u->addr_bound = !netaddr_is_any(&e.addr);
		u->port_bound = e.port;
	}
	mutex_unlock(&u->ctl);
	return err;
}

/* A port for who sends without having asked for one. Under u->ctl. -EAGAIN: none free. */
static int autobind(struct udp_sock *u)
{
	struct endpoint e = {.addr = u->local.addr};

	if (u->local.port)
		return 0;
	return udp_bind_port(u, &e) ? -EAGAIN : 0;
}

/* connect(AF_UNSPEC): from everybody again. Under u->ctl. */
static int disconnect(struct udp_sock *u)
{
	struct endpoint none = {};
	struct netaddr local = u->local.addr;

	if (!u->addr_bound)
		netaddr_any(&local, u->sock.family);
	udp_set_addrs(u, &local, &none);
	if (!u->port_bound)
		udp_unbind(u);
	return 0;
}

static int udp_connect(struct socket *s, const void *addr, u32 len, bool nonblock)
{
	struct udp_sock *u = udp_of(s);
	struct netaddr local;
	struct endpoint e;
	struct route r;
	u16 family;
	int err;

	if (len < sizeof(family))
		return -EINVAL;
	memcpy(&family, addr, sizeof(family));
	mutex_lock(&u->ctl);
	if (family == AF_UNSPEC) {
		err = disconnect(u);
		goto out;
	}
	err = autobind(u);
	if (!err)
		err = endpoint_from_sockaddr(&e, addr, len);
	if (err)
		goto out;
	local = u->local.addr; /* of an earlier connect, perhaps, as on Linux */
	err = route_lookup(&e.addr, netaddr_is_broadcast(&local) ? NULL : &local, &r);
	if (!err && s->c.ifindex && r.nif->index != s->c.ifindex)
		err = -ENETUNREACH;
	if (!err && netaddr_is_broadcast(&e.addr) && !sock_flag(&s->c, SOCKF_BROADCAST))
		err = -EACCES;
	if (err)
		goto out;
	if (netaddr_is_any(&e.addr))
		e.addr = r.next_hop;
	if (netaddr_is_any(&local))
		local = r.src;
	udp_set_addrs(u, &local, &e);
out:
	mutex_unlock(&u->ctl);
	return err;
}

static int udp_getname(struct socket *s, void *addr, u32 *len, bool peer)
{
	struct udp_sock *u = udp_of(s);
	struct endpoint e;

	spin_lock(&u->lock);
	e = peer ? u->remote : u->local;
	spin_unlock(&u->lock);
	if (peer && (!e.addr.family || !e.port))
		return -ENOTCONN;
	*len = endpoint_to_sockaddr(&e, addr);
	return 0;
}

/* Sending */

/* Where a message goes: a name, or what the socket is connected to. */
static int destination(struct udp_sock *u, struct sock_msg *m, struct endpoint *to, bool *connected)
{
	u16 family;
	int err;

	*connected = !m->namelen;
	if (!m->namelen) {
		spin_lock(&u->lock);
		*to = u->remote;
		spin_unlock(&u->lock);
		return to->addr.family ? 0 : -EDESTADDRREQ;
	}
	if (m->namelen >= sizeof(family)) {
		memcpy(&family, m->name, sizeof(family));
		if (family == AF_UNSPEC) { /* as Linux */
			family = u->sock.family;
			memcpy(m->name, &family, sizeof(family));
		}
	}
	err = endpoint_from_sockaddr(to, m->name, m->namelen);
	if (!err && !to->port)
		err = -EINVAL;
	return err;
}

/* The route of a message, and its source address. */
static int find_route(struct udp_sock *u, const struct ip_send *how, struct endpoint *to,
		      bool connected, struct route *r, struct netaddr *src)
{
	struct netaddr local;
	bool cached;
	int err = 0;

	spin_lock(&u->lock);
	local = how->src.family && !netaddr_is_any(&how->src) ? how->src : u->local.addr;
	cached = connected && u->route_valid && u->route.gen == route_gen() && !how->src.family;
	if (cached)
		*r = u->route;
	spin_unlock(&u->lock);
	/* Who is bound to a broadcast address hears there, but speaks as himself. */
	if (netaddr_is_broadcast(&local))
		netaddr_any(&local, u->sock.family);
	if (!cached)
		err = route_lookup(&to->addr, &local, r);
	if (err)
		return err;
	if (how->ifindex && r->nif->index != how->ifindex)
		return -ENETUNREACH;
	if (netaddr_is_broadcast(&to->addr) && !sock_flag(&u->sock.c, SOCKF_BROADCAST))
		return -EACCES;
	if (connected && !cached && !how->src.family) {
		spin_lock(&u->lock);
		if (u->remote.port == to->port && netaddr_equal(&u->remote.addr, &to->addr)) {
			u->route = *r;
			u->route_valid = true;
		}
		spin_unlock(&u->lock);
	}
	if (netaddr_is_any(&to->addr))
		to->addr = r->next_hop;
	*src = netaddr_is_any(&local) ? r->src : local;
	return 0;
}

/* The header, and a checksum or what the interface needs to make one. p: data is the payload. */
static int add_header(struct pkt *p, const struct route *r, const struct netaddr *src, u16 sport,
		      const struct endpoint *to)
{
	u8 *h = pkt_push(p, UDP_HDR_LEN);
	u32 len = p->total;
	u16 sum;

	if (!h)
		return -ENOBUFS;
	h[0] = sport >> 8;
	h[1] = sport;
	h[2] = to->port >> 8;
	h[3] = to->port;
	h[4] = len >> 8;
	h[5] = len;
	sum = csum_fold(pseudo_sum(src, &to->addr, IPPROTO_UDP, len));
	memcpy(h + 6, &sum, sizeof(sum));
	p->flags |= PKT_CSUM_PARTIAL;
	p->csum_start = h - nbuf_addr(p->head);
	p->csum_offset = 6;
	return 0;
}

/* With IP_RECVERR, what is too long is also an error in the queue, that says how much would fit. */
static void too_long(struct udp_sock *u, const struct endpoint *to, u32 mtu)
{
	struct icmp_event ev = {.err = EMSGSIZE, .hard = true, .mtu = mtu};

	if (u->opts.recverr)
		udp_post_error(u, &ev, to);
}

/* Waits, at most a second, until the ring of r's interface has room. -EINTR, -ERESTARTSYS: a
 * signal. */
static int wait_for_ring(struct udp_sock *u, const struct route *r)
{
	u64 now, end = 0, limit = min(u->sock.c.sndtimeo, NSEC_PER_SEC), next;
	int err;

	while (r->nif->flags & NETIF_ARP) {
		now = clock_monotonic_ns();
		next = net_deadline(this_kthread(), now);
		end = end ? end : now + limit;
		if (likely(next == NEVER) || now >= end)
			break;
		err = sleep_until(next);
		if (err)
			return sock_wait_result(err, u->sock.c.sndtimeo);
	}
	return 0;
}

static ssize_t udp_sendmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock)
{
	struct udp_sock *u = udp_of(s);
	struct ip_send how = {.ttl = u->opts.ttl, .tos = u->opts.tos, .ifindex = s->c.ifindex};
	size_t len = m->it.count;
	bool connected;
	struct endpoint to;
	struct netaddr src;
	struct route r;
	struct pkt *p;
	u32 ipflags;
	int err;

	if (len > UINT16_MAX)
		return -EMSGSIZE;
	/* Nothing is collected over several calls. */
	if (flags & (MSG_OOB | MSG_MORE))
		return -EOPNOTSUPP;
	err = destination(u, m, &to, &connected);
	if (!err && m->controllen)
		err = ipv4_send_cmsgs(m, &how);
	if (err)
		return err;
	if (!u->local.port) {
		mutex_lock(&u->ctl);
		err = autobind(u);
		mutex_unlock(&u->ctl);
	}
	if (!err)
		err = find_route(u, &how, &to, connected, &r, &src);
	if (!err)
		err = -sock_take_error(&s->c);
	if (err)
		return err;
	if (u->shutdown & SEND_SHUTDOWN)
		return -EPIPE;
	if (len > UDP_MAX_DATA)
		return -EMSGSIZE;
	err = ipv4_pmtu_rule(&u->opts, &r, r.hdr_len + UDP_HDR_LEN + len, &ipflags);
	if (err) {
		too_long(u, &to, r.mtu);
		return err;
	}
	if (!nonblock) {
		err = wait_for_ring(u, &r);
		if (err)
			return err;
	}
	p = pkt_from_iter(&m->it, len);
	if (is_err(p))
		return ptr_err(p);
	err = add_header(p, &r, &src, u->local.port, &to);
	if (err) {
		pkt_free(p);
		return err;
	}
	err = ip_output(p, &r, &src, &to.addr, IPPROTO_UDP, how.ttl ? how.ttl : IP_DEFAULT_TTL,
			how.tos, ipflags);
	if (err == -ENOBUFS && !u->opts.recverr)
		err = 0;
	if (!err)
		stat_inc(&udp_stats.out_datagrams);
	return err ? err : (ssize_t)len;
}

/* Receiving */

static ssize_t receive_error(struct udp_sock *u, struct sock_msg *m)
{
	struct udp_err *e = NULL;
	int next = 0;

	spin_lock(&u->lock);
	if (!list_empty(&u->errq)) {
		e = list_first(&u->errq, struct udp_err, link);
		list_del(&e->link);
		u->errq_len--;
		if (!list_empty(&u->errq))
			next = list_first(&u->errq, struct udp_err, link)->ev.err;
	}
	spin_unlock(&u->lock);
	if (!e)
		return -EAGAIN;
	/* The pending error is that of the next in the queue. */
	sock_take_error(&u->sock.c);
	if (next)
		sock_set_error(&u->sock.c, next);
	m->namelen = endpoint_to_sockaddr(&e->dst, m->name);
	ipv4_error_cmsg(&e->ev, m);
	m->flags |= MSG_ERRQUEUE;
	kfree(e, sizeof(*e));
	return 0; /* no more is kept of the packet than its ports */
}

static ssize_t give(struct udp_sock *u, struct pkt *p, struct sock_msg *m, int flags)
{
	const struct udp_cb *cb = udp_cb(p);
	u32 len = p->total, n = min((size_t)len, m->it.count);
	ssize_t r = n;

	if (pkt_to_iter(p, 0, &m->it, n) != n) {
		r = -EFAULT;
		goto out;
	}
	if (n < len) {
		m->flags |= MSG_TRUNC;
		if (flags & MSG_TRUNC)
			r = len;
	}
	m->namelen = endpoint_to_sockaddr(&cb->from, m->name);
	sock_put_timestamp(&u->sock, m, cb->realtime);
	ipv4_recv_cmsgs(&u->opts, cb, m);
out:
	pkt_free(p);
	return r;
}

static bool can_receive(struct udp_sock *u)
{
	return !list_empty(&u->rxq) || READ_ONCE(u->sock.c.err) ||
	       READ_ONCE(u->shutdown) & RCV_SHUTDOWN;
}

static ssize_t udp_recvmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock)
{
	struct udp_sock *u = udp_of(s);
	u64 deadline = nonblock ? 0 : sock_deadline(s->c.rcvtimeo);
	bool polled = false;
	struct pkt *p;
	int err;
	long r;

	if (flags & MSG_ERRQUEUE)
		return receive_error(u, m);
	for (;;) {
		p = udp_take(u, flags & MSG_PEEK, &err);
		if (p)
			return give(u, p, m, flags);
		if (err)
			return -err;
		if (READ_ONCE(u->shutdown) & RCV_SHUTDOWN)
			return 0;
		if (!polled) { /* perhaps it has come, but nobody has looked */
			polled = true;
			socket_net_poll();
			continue;
		}
		if (nonblock)
			return -EAGAIN;
		r = wait_event_exclusive(&u->wq, can_receive(u), deadline);
		if (r)
			return sock_wait_result(r, s->c.rcvtimeo);
	}
}

/* The rest */

static int udp_shutdown(struct socket *s, int how)
{
	struct udp_sock *u = udp_of(s);
	bool connected;

	spin_lock(&u->lock);
	u->shutdown |= how + 1;
	connected = u->remote.addr.family;
	spin_unlock(&u->lock);
	waitq_wake(&u->wq, EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLHUP, 0);
	return connected ? 0 : -ENOTCONN; /* it took effect all the same, as on Linux */
}

static u32 connected_mtu(struct udp_sock *u)
{
	struct endpoint remote;
	struct route r;

	spin_lock(&u->lock);
	remote = u->remote;
	spin_unlock(&u->lock);
	if (!remote.addr.family || route_lookup(&remote.addr, NULL, &r))
		return 0;
	return r.mtu;
}

static int udp_setsockopt(struct socket *s, int level, int name, const void *val, u32 len)
{
	return level == IPPROTO_IP ? ipv4_setsockopt(&udp_of(s)->opts, name, val, len)
				   : -ENOPROTOOPT;
}

static int udp_getsockopt(struct socket *s, int level, int name, void *val, u32 *len)
{
	struct udp_sock *u = udp_of(s);

	if (level != IPPROTO_IP)
		return -ENOPROTOOPT;
	return ipv4_getsockopt(&u->opts, name == IP_MTU ? connected_mtu(u) : 0, name, val, len);
}

static u32 udp_poll(struct socket *s, struct poll_table *pt)
{
	struct udp_sock *u = udp_of(s);
	u32 mask = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND, shut;

	poll_wait(pt, s->file, &u->wq);
	shut = READ_ONCE(u->shutdown);
	if (READ_ONCE(s->c.err) || !list_empty(&u->errq))
		mask |= EPOLLERR;
	if (shut & RCV_SHUTDOWN)
		mask |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
	if (shut == (RCV_SHUTDOWN | SEND_SHUTDOWN))
		mask |= EPOLLHUP;
	if (!list_empty(&u->rxq))
		mask |= EPOLLIN | EPOLLRDNORM;
	return mask;
}

static long udp_ioctl(struct socket *s, unsigned cmd, u64 arg)
{
	struct udp_sock *u = udp_of(s);
	u32 v = 0;

	switch (cmd) {
	case FIONREAD: /* of the next datagram */
		spin_lock(&u->lock);
		if (!list_empty(&u->rxq))
			v = list_first(&u->rxq, struct pkt, link)->total;
		spin_unlock(&u->lock);
		break;
	case TIOCOUTQ: /* all has left */
		break;
	default:
		return -ENOTTY;
	}
	return put_user_u32(v, (void *)arg);
}

static void udp_release(struct socket *s)
{
	struct udp_sock *u = udp_of(s);
	struct list_head rxq, errq;

	udp_unbind(u);
	list_init(&rxq);
	list_init(&errq);
	spin_lock(&u->lock);
	u->dead = true; /* who has found it before may still want to queue something */
	while (!list_empty(&u->rxq))
		list_move_tail(u->rxq.next, &rxq);
	while (!list_empty(&u->errq))
		list_move_tail(u->errq.next, &errq);
	spin_unlock(&u->lock);
	while (!list_empty(&rxq)) {
		struct pkt *p = list_first(&rxq, struct pkt, link);

		list_del(&p->link);
		pkt_free(p);
	}
	while (!list_empty(&errq)) {
		struct udp_err *e = list_first(&errq, struct udp_err, link);

		list_del(&e->link);
		kfree(e, sizeof(*e));
	}
	udp_put(u);
}

static const struct socket_ops udp_ops = {
	.bind = udp_bind,
	.connect = udp_connect,
	.getname = udp_getname,
	.sendmsg = udp_sendmsg,
	.recvmsg = udp_recvmsg,
	.shutdown = udp_shutdown,
	.setsockopt = udp_setsockopt,
	.getsockopt = udp_getsockopt,
	.features = SOCK_FEAT_REUSEPORT | SOCK_FEAT_BINDTODEVICE | SOCK_FEAT_TIMESTAMP,
	.poll = udp_poll,
	.ioctl = udp_ioctl,
	.release = udp_release,
};

int inet_dgram_create(u16 family, int protocol, struct socket **s)
{
	struct udp_sock *u;

	if (protocol ==
	    IPPROTO_ICMP) /* as Linux, whose net.ipv4.ping_group_range is empty by default */
		return -EACCES;
	if (protocol && protocol != IPPROTO_UDP)
		return -EPROTONOSUPPORT;
	u = kzalloc(sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->sock = (struct socket){
		.ops = &udp_ops,
		.family = family,
		.type = SOCK_DGRAM,
		.protocol = IPPROTO_UDP,
	};
	sock_common_init(&u->sock.c);
	u->refs = 1;
	u->uid = sock_own_cred().uid;
	u->opts.pmtudisc = IP_PMTUDISC_WANT;
	netaddr_any(&u->local.addr, family);
	mutex_init(&u->ctl);
	list_init(&u->rxq);
	list_init(&u->errq);
	waitq_init(&u->wq);
	*s = &u->sock;
	return 0;
}
