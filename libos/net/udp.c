/*
 * udp.c - UDP (RFC 768; RFC 1122, 4.1): ports, who gets a datagram, queues, errors.
 *
 * Ports hash to buckets, each a list with a lock of its own. A datagram goes to the socket that
 * says most of what it is: bound to the address, connected to the sender (as Linux scores them);
 * among sockets of one SO_REUSEPORT group a hash of the sender decides. A socket found is used by
 * reference, without its bucket's lock.
 */
#include "libos/net/udp.h"

#include <linux/eventpoll.h>
#include <linux/in.h>

#include "libos/lib/random.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/net/ipv4.h"
#include "libos/time/clock.h"

#define BUCKETS 256u
#define PORT_FIRST 32768u /* net.ipv4.ip_local_port_range */
#define PORT_LAST 60999u
/* As Linux charges a socket: an sk_buff, its end, and the data in powers of two are about that. */
#define CHARGE_OVERHEAD 640u
#define CHARGE_MIN 768u
/* A queue of that length may keep its place when buffers run short. */
#define FAIR_QUEUE 4u

struct udp_stats udp_stats;

static struct bucket {
	spinlock_t lock;
	struct udp_sock *first;
} buckets[BUCKETS];

static struct bucket *bucket_of(u16 port)
{
	return &buckets[port % BUCKETS];
}

void udp_get(struct udp_sock *u)
{
	__atomic_fetch_add(&u->refs, 1, __ATOMIC_RELAXED);
}

void udp_put(struct udp_sock *u)
{
	if (__atomic_fetch_sub(&u->refs, 1, __ATOMIC_ACQ_REL) == 1)
		kfree(u, sizeof(*u));
}

/* Binding. Bucket lock held. */

static bool may_share(const struct udp_sock *a, const struct udp_sock *b)
{
	u32 fa = READ_ONCE(a->sock.c.flags), fb = READ_ONCE(b->sock.c.flags);

	if (a->sock.c.ifindex && b->sock.c.ifindex && a->sock.c.ifindex != b->sock.c.ifindex)
		return true;
	if (fa & fb & SOCKF_REUSEADDR)
		return true;
	return fa & fb & SOCKF_REUSEPORT && a->uid == b->uid;
}

static bool in_use(const struct bucket *b, const struct udp_sock *u, const struct endpoint *local)
{
	for (const struct udp_sock *o = b->first; o; o = o->next)
		if (o != u && o->local.port == local->port && !may_share(u, o) &&
		    (netaddr_is_any(&o->local.addr) || netaddr_is_any(&local->addr) ||
		     netaddr_equal(&o->local.addr, &local->addr)))
			return true;
	return false;
}

static int try_port(struct udp_sock *u, const struct endpoint *local)
{
	struct bucket *b = bucket_of(local->port);
	int err = 0;

	spin_lock(&b->lock);
	if (in_use(b, u, local)) {
		err = -EADDRINUSE;
	} else {
		spin_lock(&u->lock);
		u->local = *local;
		u->hashed = true;
		spin_unlock(&u->lock);
		u->next = b->first; /* the latest of equals is the first that is found */
		b->first = u;
	}
	spin_unlock(&b->lock);
	return err;
}

int udp_bind_port(struct udp_sock *u, const struct endpoint *local)
{
	struct endpoint e = *local;
	u32 span = PORT_LAST - PORT_FIRST + 1, start;

	if (e.port)
		return try_port(u, &e);
	/* Unpredictable (RFC 6056): whoever forges answers must guess it. */
	random_bytes(&start, sizeof(start));
	for (u32 i = 0; i < span; i++) {
		e.port = PORT_FIRST + (start % span + i) % span;
		if (!try_port(u, &e))
			return 0;
	}
	return -EADDRINUSE;
}

void udp_unbind(struct udp_sock *u)
{
	struct bucket *b;

	if (!u->hashed)
		return;
	b = bucket_of(u->local.port);
	spin_lock(&b->lock);
	for (struct udp_sock **at = &b->first; *at; at = &(*at)->next)
		if (*at == u) {
			*at = u->next;
			break;
		}
	spin_lock(&u->lock);
	u->hashed = false;
	u->local.port = 0;
	spin_unlock(&u->lock);
	spin_unlock(&b->lock);
}

void udp_set_addrs(struct udp_sock *u, const struct netaddr *local, const struct endpoint *remote)
{
	struct bucket *b = bucket_of(u->local.port);

	spin_lock(&b->lock);
	spin_lock(&u->lock);
	u->local.addr = *local;
	u->remote = *remote;
	u->route_valid = false;
	spin_unlock(&u->lock);
	spin_unlock(&b->lock);
}

void udp_for_each(void (*fn)(struct udp_sock *u, void *arg), void *arg)
{
	for (u32 i = 0; i < BUCKETS; i++) {
		struct bucket *b = &buckets[i];

		spin_lock(&b->lock);
		for (struct udp_sock *u = b->first; u; u = u->next)
			fn(u, arg);
		spin_unlock(&b->lock);
	}
}

/* Finding. Bucket lock held. */

/* How well u fits a datagram from `remote` to `local`; -1: not at all. */
static int score(const struct udp_sock *u, const struct endpoint *local,
		 const struct endpoint *remote, u32 ifindex)
{
	int s = 0;

	if (u->local.port != local->port)
		return -1;
	if (!netaddr_is_any(&u->local.addr)) {
		if (!netaddr_equal(&u->local.addr, &local->addr))
			return -1;
		s += 4;
	}
	if (u->remote.addr.family) {
		if (!netaddr_equal(&u->remote.addr, &remote->addr))
			return -1;
		s += 4;
		if (u->remote.port) {
			if (u->remote.port != remote->port)
				return -1;
			s += 4;
		}
	}
	if (u->sock.c.ifindex) {
		if (ifindex && u->sock.c.ifindex != ifindex)
			return -1;
		s += 4;
	}
	return s;
}

static u32 flow_hash(const struct endpoint *local, const struct endpoint *remote)
{
	u32 h = local->port << 16 | remote->port;

	for (u32 i = 0; i < sizeof(remote->addr.b); i += 4) {
		u32 w;

		memcpy(&w, remote->addr.b + i, 4);
		h = (h ^ w) * 0x9e3779b1u;
		h ^= h >> 15;
	}
	return h;
}

/* The i-th socket of the score `best` that shares its port, or how many there are (i UINT32_MAX).
 */
static struct udp_sock *nth_of_group(const struct bucket *b, const struct endpoint *local,
				     const struct endpoint *remote, u32 ifindex, int best, u32 i,
				     u32 *count)
{
	u32 n = 0;

	for (struct udp_sock *u = b->first; u; u = u->next)
		if (sock_flag(&u->sock.c, SOCKF_REUSEPORT) &&
		    score(u, local, remote, ifindex) == best && n++ == i)
			return u;
	*count = n;
	return NULL;
}

/* With a reference. */
static struct udp_sock *lookup(const struct endpoint *local, const struct endpoint *remote,
			       u32 ifindex)
{
	struct bucket *b = bucket_of(local->port);
	struct udp_sock *found = NULL;
	int best = -1;
	u32 count = 0;

	spin_lock(&b->lock);
	for (struct udp_sock *u = b->first; u; u = u->next) {
		int s = score(u, local, remote, ifindex);

		if (s > best) {
			best = s;
			found = u;
		}
	}
	if (found && sock_flag(&found->sock.c, SOCKF_REUSEPORT)) {
		nth_of_group(b, local, remote, ifindex, best, UINT32_MAX, &count);
		if (count > 1)
			found = nth_of_group(b, local, remote, ifindex, best,
					     flow_hash(local, remote) % count, &count);
	}
	if (found)
		udp_get(found);
	spin_unlock(&b->lock);
	return found;
}

/* Receiving */

static bool queue_full(const struct udp_sock *u)
{
	if (u->rxq_bytes > READ_ONCE(u->sock.c.rcvbuf))
		return true;
	return u->rxq_len >= FAIR_QUEUE && nbuf_free_count() < nbuf_total() / 4;
}

/* Takes over p, whose data is the payload and whose cb is filled in. */
static void queue_datagram(struct udp_sock *u, struct pkt *p)
{
	struct udp_cb *cb = udp_cb(p);
	bool queued = false;

	cb->charge = max(CHARGE_MIN, p->total + CHARGE_OVERHEAD);
	cb->realtime = sock_flag(&u->sock.c, SOCKF_TSTAMP) ? clock_realtime_ns() : 0;
	spin_lock(&u->lock);
	if (!u->dead && !queue_full(u)) {
		list_add_tail(&p->link, &u->rxq);
		u->rxq_len++;
		u->rxq_bytes += cb->charge;
		queued = true;
	} else {
		u->drops++;
	}
	spin_unlock(&u->lock);
	if (queued) {
		stat_inc(&udp_stats.in_datagrams);
		waitq_wake(&u->wq, EPOLLIN | EPOLLRDNORM, 1);
	} else {
		stat_inc(&udp_stats.rcvbuf_errors);
		pkt_free(p);
	}
}

/* A broadcast: a clone to each socket that would take it. Takes over p. */
static void deliver_all(struct pkt *p, const struct endpoint *local, const struct endpoint *remote)
{
	struct bucket *b = bucket_of(local->port);
	struct udp_sock *who[16];
	u32 n = 0, i;

	spin_lock(&b->lock);
	for (struct udp_sock *u = b->first; u && n < ARRAY_SIZE(who); u = u->next)
		if (score(u, local, remote, p->nif->index) >= 0) {
			udp_get(u);
			who[n++] = u;
		}
	spin_unlock(&b->lock);
	for (i = 0; i < n; i++) {
		struct pkt *c = i + 1 < n ? pkt_clone(p) : p;

		if (c)
			queue_datagram(who[i], c);
		udp_put(who[i]);
	}
	if (!n) {
		stat_inc(&udp_stats.no_ports);
		pkt_free(p);
	}
}

void udp_input(struct pkt *p, const struct ip_info *ip)
{
	struct endpoint local = {.addr = ip->dst}, remote = {.addr = ip->src};
	struct udp_sock *u = NULL;
	u32 len;
	u8 *h = pkt_linear(p, UDP_HDR_LEN);

	if (!h)
		goto bad;
	remote.port = h[0] << 8 | h[1];
	local.port = h[2] << 8 | h[3];
	len = h[4] << 8 | h[5];
	if (len < UDP_HDR_LEN || len > p->total || !local.port)
		goto bad;
	pkt_trim(p, len);
	/* A sum of zero: the sender made none. */
	if ((h[6] | h[7]) && !(p->flags & PKT_CSUM_OK) &&
	    pkt_csum(p, 0, len, pseudo_sum(&ip->src, &ip->dst, IPPROTO_UDP, len)) != 0xffff) {
		stat_inc(&udp_stats.csum_errors);
		goto bad;
	}
	if (!ip->broadcast) {
		u = lookup(&local, &remote, p->nif->index);
		if (!u) {
			stat_inc(&udp_stats.no_ports);
			icmp_port_unreachable(p, ip);
			pkt_free(p);
			return;
		}
	}
	pkt_pull(p, UDP_HDR_LEN);
	*udp_cb(p) = (struct udp_cb){
		.from = remote,
		.dst = ip->dst,
		.ifindex = p->nif->index,
		.ttl = ip->ttl,
		.tos = ip->tos,
	};
	if (ip->broadcast) {
		deliver_all(p, &local, &remote);
		return;
	}
	queue_datagram(u, p);
	udp_put(u);
	return;
bad:
	stat_inc(&udp_stats.in_errors);
	pkt_free(p);
}

struct pkt *udp_take(struct udp_sock *u, bool peek, int *err)
{
	struct pkt *p = NULL;

	*err = READ_ONCE(u->sock.c.err) ? sock_take_error(&u->sock.c) : 0;
	if (*err)
		return NULL;
	spin_lock(&u->lock);
	if (!list_empty(&u->rxq)) {
		p = list_first(&u->rxq, struct pkt, link);
		if (peek) {
			p = pkt_clone(p);
			if (!p)
				*err = ENOMEM;
		} else {
			list_del(&p->link);
			u->rxq_len--;
			u->rxq_bytes -= udp_cb(p)->charge;
		}
	}
	spin_unlock(&u->lock);
	return p;
}

/* Errors */

void udp_post_error(struct udp_sock *u, const struct icmp_event *ev, const struct endpoint *dst)
{
	struct udp_err *e = NULL;

	if (u->opts.recverr && u->errq_len < UDP_ERRQ_MAX)
		e = kmalloc(sizeof(*e));
	if (e) {
		e->ev = *ev;
		e->dst = *dst;
		spin_lock(&u->lock);
		if (u->dead) {
			spin_unlock(&u->lock);
			kfree(e, sizeof(*e));
			return;
		}
		list_add_tail(&e->link, &u->errq);
		u->errq_len++;
		spin_unlock(&u->lock);
	}
	sock_set_error(&u->sock.c, ev->err);
	waitq_wake(&u->wq, EPOLLERR, 0);
}

void udp_icmp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8],
		    const struct icmp_event *ev)
{
	struct endpoint l = {*local, hdr[0] << 8 | hdr[1]}, r = {*remote, hdr[2] << 8 | hdr[3]};
	struct icmp_event e = *ev;
	struct udp_sock *u;
	bool connected;

	/* Only who can have sent that packet hears of it. */
	u = l.port ? lookup(&l, &r, 0) : NULL;
	if (!u)
		return;
	connected = READ_ONCE(u->remote.addr.family);
	if (e.err == EMSGSIZE) {
		route_pmtu_update(remote, e.mtu);
		if (u->opts.pmtudisc == IP_PMTUDISC_DONT)
			goto out;
		e.hard = true;
	}
	/* RFC 1122, 4.1.3.3; but an unconnected socket cannot know which of its packets is meant.
	 */
	if (u->opts.recverr || (e.hard && connected))
		udp_post_error(u, &e, &r);
out:
	udp_put(u);
}

void udp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8], int err,
	       u32 mtu, bool hard)
{
	struct icmp_event ev = {.err = err, .hard = hard, .mtu = mtu, .from = *local};

	udp_icmp_error(local, remote, hdr, &ev);
}
