/*
 * netlink.c - AF_NETLINK sockets: to ask (NETLINK_ROUTE) what interfaces and addresses there are; netlink(7).
 *
 * The other end is always the library OS, which answers within sendmsg(2). Interfaces never change, so members
 * of multicast groups have nothing to hear.
 *
 * Locks: netlink_lock guards the port ids; n->lock the queue, a leaf.
 */
#include "libos/net/netlink.h"

#include <asm/socket.h>
#include <linux/eventpoll.h>
#include <linux/rtnetlink.h>

#include "libos/lib/random.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/net/inet.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define SOL_NETLINK 270
#define NETLINK_KINDS 32 /* MAX_LINKS */
#define SCM_CREDENTIALS 2
#define REQUEST_MAX 32768u

struct nl_datagram {
	struct list_head link;
	u32 len;
	u8 data[];
};

struct netlink_sock {
	struct socket sock;
	struct netlink_sock *next; /* of all bound ones */
	u32 portid; /* 0: not bound yet */
	u32 groups;
	bool cap_ack, pktinfo;
	spinlock_t lock;
	struct list_head queue;
	u32 queued; /* bytes */
	struct mutex send_lock;
	struct waitq wq;
};

static spinlock_t netlink_lock;
static struct netlink_sock *bound;

static struct netlink_sock *netlink_of(struct socket *s)
{
	return container_of(s, struct netlink_sock, sock);
}

/* Port ids. netlink_lock held. */

static bool portid_taken(u32 id)
{
	for (struct netlink_sock *n = bound; n; n = n->next)
		if (n->portid == id)
			return true;
	return false;
}

static int take_portid(struct netlink_sock *n, u32 id)
{
	if (portid_taken(id))
		return -EADDRINUSE;
	n->portid = id;
	n->next = bound;
	bound = n;
	return 0;
}

/* The process's id for its first socket, a large number for others. */
static void autobind(struct netlink_sock *n)
{
	u32 id = (u32)current_proc()->pid;

	spin_lock(&netlink_lock);
	while (!n->portid && take_portid(n, id)) {
		random_bytes(&id, sizeof(id));
		id |= 0x80000000u;
	}
	spin_unlock(&netlink_lock);
}

static int netlink_bind(struct socket *s, const void *addr, u32 len)
{
	struct netlink_sock *n = netlink_of(s);
	struct sockaddr_nl a;
	int err = 0;

	if (len < sizeof(a))
		return -EINVAL;
	memcpy(&a, addr, sizeof(a));
	if (a.nl_family != AF_NETLINK)
		return -EINVAL;
	if (!a.nl_pid && !n->portid) {
		autobind(n);
	} else {
		spin_lock(&netlink_lock);
		if (n->portid)
			err = n->portid == a.nl_pid ? 0 : -EINVAL;
		else
			err = take_portid(n, a.nl_pid);
		spin_unlock(&netlink_lock);
	}
	if (!err)
		n->groups = a.nl_groups;
	return err;
}

static int netlink_connect(struct socket *s, const void *addr, u32 len, bool nonblock)
{
	struct sockaddr_nl a = {};

	if (len < sizeof(a.nl_family))
		return -EINVAL;
	memcpy(&a, addr, min(len, (u32)sizeof(a)));
	if (a.nl_family == 0)
		return 0;
	if (a.nl_family != AF_NETLINK || len < sizeof(a))
		return -EINVAL;
	if (a.nl_pid || a.nl_groups)
		return -EPERM; /* there is nobody but the library OS */
	autobind(netlink_of(s));
	return 0;
}

static int netlink_getname(struct socket *s, void *addr, u32 *len, bool peer)
{
	struct netlink_sock *n = netlink_of(s);
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };

	if (!peer) {
		a.nl_pid = n->portid;
		a.nl_groups = n->groups;
	}
	memcpy(addr, &a, sizeof(a));
	*len = sizeof(a);
	return 0;
}

/* Answers */

/* Puts what r holds into the queue of its socket; without room the reader learns that something is missing. */
static void flush(struct nl_reply *r)
{
	struct netlink_sock *n = r->to;
	struct nl_datagram *d;

	if (!r->len)
		return;
	d = kmalloc(sizeof(*d) + r->len);
	spin_lock(&n->lock);
	if (d && n->queued < n->sock.c.rcvbuf) {
		d->len = r->len;
		memcpy(d->data, r->buf, r->len);
		list_add_tail(&d->link, &n->queue);
		n->queued += r->len;
		d = NULL;
	} else {
		sock_set_error(&n->sock.c, ENOBUFS);
	}
	spin_unlock(&n->lock);
	if (d)
		kfree(d, sizeof(*d) + r->len);
	r->len = 0;
	waitq_wake(&n->wq, EPOLLIN | EPOLLRDNORM, 0);
}

#define MESSAGE_ROOM 1024u /* no message of ours is longer */

void *nl_begin(struct nl_reply *r, u16 type, u16 flags, u32 size)
{
	struct nlmsghdr *h;

	if (r->len + MESSAGE_ROOM > sizeof(r->buf))
		flush(r);
	r->start = r->len;
	h = (void *)(r->buf + r->start);
	memset(h, 0, MESSAGE_ROOM);
	h->nlmsg_type = type;
	h->nlmsg_flags = flags;
	h->nlmsg_seq = r->seq;
	h->nlmsg_pid = r->portid;
	r->len += NLMSG_HDRLEN + NLMSG_ALIGN(size);
	return NLMSG_DATA(h);
}

void nl_attr(struct nl_reply *r, u16 type, const void *data, u32 len)
{
	struct nlattr *a = (void *)(r->buf + r->len);

	if (r->len + NLA_HDRLEN + NLA_ALIGN(len) > sizeof(r->buf)) {
		r->err = -EMSGSIZE;
		return;
	}
	a->nla_len = (u16)(NLA_HDRLEN + len);
	a->nla_type = type;
	memcpy((u8 *)a + NLA_HDRLEN, data, len);
	r->len += NLA_HDRLEN + NLA_ALIGN(len);
}

void nl_end(struct nl_reply *r)
{
	struct nlmsghdr *h = (void *)(r->buf + r->start);

	h->nlmsg_len = r->len - r->start;
}

/* NLMSG_ERROR: without an error the header alone of the request comes back, with one all of it. */
static void acknowledge(struct nl_reply *r, const struct nlmsghdr *h, int err)
{
	struct nlmsgerr *e;
	u32 more = err && !r->to->cap_ack ? h->nlmsg_len - NLMSG_HDRLEN : 0;

	more = min(more, MESSAGE_ROOM - (u32)NLMSG_SPACE(sizeof(*e)));
	e = nl_begin(r, NLMSG_ERROR, more ? 0 : NLM_F_CAPPED, sizeof(*e) + more);
	e->error = err;
	memcpy(&e->msg, h, NLMSG_HDRLEN + more);
	nl_end(r);
}

static void done(struct nl_reply *r)
{
	nl_begin(r, NLMSG_DONE, NLM_F_MULTI, sizeof(int));
	nl_end(r);
}

/* All requests of a datagram, as netlink(7) says; what is malformed ends it silently, as on Linux. */
static void serve(struct netlink_sock *n, const u8 *p, u32 len)
{
	struct nl_reply *r = kmalloc(sizeof(*r));

	if (!r)
		return;
	r->to = n;
	r->len = 0;
	r->err = 0;
	r->portid = n->portid;
	while (len >= NLMSG_HDRLEN) {
		const struct nlmsghdr *h = (const void *)p;
		int err = 0;
		u32 step;

		if (h->nlmsg_len < NLMSG_HDRLEN || h->nlmsg_len > len)
			break;
		r->seq = h->nlmsg_seq;
		if (h->nlmsg_flags & NLM_F_REQUEST && h->nlmsg_type >= NLMSG_MIN_TYPE)
			err = rtnetlink_request(r, h);
		if (err == -EINTR) {
			done(r);
		} else if (err || h->nlmsg_flags & NLM_F_ACK) {
			flush(r);
			acknowledge(r, h, err);
		}
		flush(r);
		step = min(NLMSG_ALIGN(h->nlmsg_len), len);
		p += step;
		len -= step;
	}
	kfree(r, sizeof(*r));
}

static ssize_t netlink_sendmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock)
{
	struct netlink_sock *n = netlink_of(s);
	u32 len = (u32)m->it.count;
	struct sockaddr_nl a;
	ssize_t r = len;
	u8 *buf;

	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (m->namelen) {
		if (m->namelen < sizeof(a))
			return -EINVAL;
		memcpy(&a, m->name, sizeof(a));
		if (a.nl_family != AF_NETLINK)
			return -EINVAL;
		if (a.nl_pid || a.nl_groups)
			return current_proc()->cred.euid ? -EPERM : -ECONNREFUSED;
	}
	if (!len)
		return -ENODATA;
	if (!n->portid)
		autobind(n);
	if (m->it.count > n->sock.c.sndbuf - 32 || m->it.count > REQUEST_MAX)
		return -EMSGSIZE;
	buf = kmalloc(len);
	if (!buf)
		return -ENOBUFS;
	if (iov_copy_from(&m->it, buf, len) != len) {
		r = -EFAULT;
	} else {
		mutex_lock(&n->send_lock);
		serve(n, buf, len);
		mutex_unlock(&n->send_lock);
	}
	kfree(buf, len);
	return r;
}

static bool can_receive(struct netlink_sock *n)
{
	return !list_empty(&n->queue) || READ_ONCE(n->sock.c.err);
}

/* The first datagram, off the queue; NULL: none. */
static struct nl_datagram *take(struct netlink_sock *n)
{
	struct nl_datagram *d = NULL;

	spin_lock(&n->lock);
	if (!list_empty(&n->queue)) {
		d = list_first(&n->queue, struct nl_datagram, link);
		list_del(&d->link);
		n->queued -= d->len;
	}
	spin_unlock(&n->lock);
	return d;
}

static void put_back(struct netlink_sock *n, struct nl_datagram *d)
{
	spin_lock(&n->lock);
	list_add(&d->link, &n->queue);
	n->queued += d->len;
	spin_unlock(&n->lock);
}

static ssize_t netlink_recvmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock)
{
	const struct sock_cred from = { 0, 0, 0 };
	const struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	const struct nl_pktinfo info = { 0 };
	struct netlink_sock *n = netlink_of(s);
	u64 deadline = nonblock ? NEVER : sock_deadline(s->c.rcvtimeo);
	struct nl_datagram *d;
	ssize_t r;
	u32 copy;

	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	while (!(d = take(n))) {
		r = -sock_take_error(&s->c);
		if (!r && nonblock)
			r = -EAGAIN;
		if (!r)
			r = sock_wait_result(wait_event_exclusive(&n->wq, can_receive(n), deadline),
					     s->c.rcvtimeo);
		if (r)
			return r;
	}
	copy = (u32)min((size_t)d->len, m->it.count);
	if (iov_copy_to(&m->it, d->data, copy) != copy) {
		put_back(n, d);
		return -EFAULT;
	}
	memcpy(m->name, &a, sizeof(a));
	m->namelen = sizeof(a);
	if (n->pktinfo)
		sock_put_cmsg(m, SOL_NETLINK, NETLINK_PKTINFO, &info, sizeof(info));
	if (sock_flag(&s->c, SOCKF_PASSCRED))
		sock_put_cmsg(m, SOL_SOCKET, SCM_CREDENTIALS, &from, sizeof(from));
	if (copy < d->len)
		m->flags |= MSG_TRUNC;
	r = flags & MSG_TRUNC ? d->len : copy;
	if (flags & MSG_PEEK)
		put_back(n, d);
	else
		kfree(d, sizeof(*d) + d->len);
	return r;
}

/* Options of level SOL_NETLINK: netlink(7). */

static int netlink_setsockopt(struct socket *s, int level, int name, const void *val, u32 len)
{
	struct netlink_sock *n = netlink_of(s);
	int v = 0;

	if (level != SOL_NETLINK)
		return -ENOPROTOOPT;
	if (sock_opt_int(val, len, &v))
		return -EINVAL;
	switch (name) {
	case NETLINK_ADD_MEMBERSHIP:
	case NETLINK_DROP_MEMBERSHIP:
		if (v <= 0 || v > RTNLGRP_MAX)
			return -EINVAL;
		if (v <= 32 && name == NETLINK_ADD_MEMBERSHIP)
			n->groups |= 1u << (v - 1);
		else if (v <= 32)
			n->groups &= ~(1u << (v - 1));
		return 0;
	case NETLINK_PKTINFO:
		n->pktinfo = v;
		return 0;
	case NETLINK_CAP_ACK:
		n->cap_ack = v;
		return 0;
	}
	return -ENOPROTOOPT;
}

static int netlink_getsockopt(struct socket *s, int level, int name, void *val, u32 *len)
{
	struct netlink_sock *n = netlink_of(s);
	int v;

	if (level != SOL_NETLINK)
		return -ENOPROTOOPT;
	if (name == NETLINK_PKTINFO)
		v = n->pktinfo;
	else if (name == NETLINK_CAP_ACK)
		v = n->cap_ack;
	else
		return -ENOPROTOOPT;
	if (*len < sizeof(v))
		return -EINVAL;
	sock_answer(val, len, &v, sizeof(v));
	return 0;
}

static u32 netlink_poll(struct socket *s, struct poll_table *pt)
{
	struct netlink_sock *n = netlink_of(s);
	u32 mask = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;

	poll_wait(pt, s->file, &n->wq);
	if (!list_empty(&n->queue))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(s->c.err))
		mask |= EPOLLERR;
	return mask;
}

static void netlink_release(struct socket *s)
{
	struct netlink_sock *n = netlink_of(s), **p;
	struct nl_datagram *d;

	spin_lock(&netlink_lock);
	for (p = &bound; *p; p = &(*p)->next)
		if (*p == n) {
			*p = n->next;
			break;
		}
	spin_unlock(&netlink_lock);
	while ((d = take(n)))
		kfree(d, sizeof(*d) + d->len);
	kfree(n, sizeof(*n));
}

static const struct socket_ops netlink_ops = {
	.bind = netlink_bind,
	.connect = netlink_connect,
	.getname = netlink_getname,
	.sendmsg = netlink_sendmsg,
	.recvmsg = netlink_recvmsg,
	.setsockopt = netlink_setsockopt,
	.getsockopt = netlink_getsockopt,
	.features = SOCK_FEAT_PASSCRED,
	.poll = netlink_poll,
	.release = netlink_release,
};

int netlink_create(int type, int protocol, struct socket **s)
{
	struct netlink_sock *n;

	if (type != SOCK_RAW && type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol < 0 || protocol >= NETLINK_KINDS || protocol != NETLINK_ROUTE)
		return -EPROTONOSUPPORT;
	n = kzalloc(sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->sock = (struct socket){ .ops = &netlink_ops, .family = AF_NETLINK, .type = type, .protocol = protocol };
	sock_common_init(&n->sock.c);
	list_init(&n->queue);
	mutex_init(&n->send_lock);
	waitq_init(&n->wq);
	*s = &n->sock;
	return 0;
}
