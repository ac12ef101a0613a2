/*
 * tcp_bind.c - ports: who holds which, and picking free ones (RFC 6056: at random, so that nobody
 * guesses them).
 *
 * A port may be held by several sockets: connections of a listener have its port, connect() shares
 * ports between different peers, and SO_REUSEADDR and SO_REUSEPORT allow more, by Linux's rules
 * (socket(7), ip(7)).
 */
#include "libos/net/tcp_internal.h"

#include "libos/lib/random.h"

#define NR_PORT_BUCKETS 1024u

/* All zero at first: the pages of ports that nobody uses are never touched. */
static struct {
	spinlock_t lock;
	struct tcp_port *first;
} ports[NR_PORT_BUCKETS] __cold_data;
static u64 taken[65536 / 64]; /* a bit for each port that anybody holds; under the bucket's lock,
				 read without */

static u32 nr_strict[65536] __cold_data; /* of those, the ones that were not chosen by connect(); the same */
#define WALK_MAX 64u	     /* more holders than this are not looked at one by one */

#define bucket_of(port) (&ports[(port) & (NR_PORT_BUCKETS - 1)])

static bool is_taken(u16 port)
{
	return __atomic_load_n(&taken[port / 64], __ATOMIC_RELAXED) >> port % 64 & 1;
}

static bool addrs_meet(const struct netaddr *a, const struct netaddr *b)
{
	return netaddr_is_any(a) || netaddr_is_any(b) || netaddr_equal(a, b);
}

/* May p and q, who hold or want the same port, stand beside each other? */
static bool may_share(const struct tcp_port *p, const struct tcp_port *q)
{
	if (!addrs_meet(&p->addr, &q->addr))
		return true;
	if (p->reuseport && q->reuseport)
		return true;
	return p->reuseaddr && q->reuseaddr && !p->listening && !q->listening;
}

static bool port_free(const struct tcp_port *want, u16 port)
{
	for (struct tcp_port *q = bucket_of(port)->first; q; q = q->next)
		if (q->port == port && q != want && !may_share(want, q))
			return false;
	return true;
}

static void port_add(struct tcp_port *p, u16 port)
{
	p->port = port;
	p->next = bucket_of(port)->first;
	if (p->next)
		p->next->pprev = &p->next;
	p->pprev = &bucket_of(port)->first;
	bucket_of(port)->first = p;
	nr_strict[port] += !p->connected;
	__atomic_fetch_or(&taken[port / 64], 1ull << port % 64, __ATOMIC_RELAXED);
}

static void port_del(struct tcp_port *p)
{
	u16 port = p->port;

	*p->pprev = p->next;
	if (p->next)
		p->next->pprev = p->pprev;
	p->port = 0;
	nr_strict[port] -= !p->connected;
	for (struct tcp_port *q = bucket_of(port)->first; q; q = q->next)
		if (q->port == port)
			return;
	__atomic_fetch_and(&taken[port / 64], ~(1ull << port % 64), __ATOMIC_RELAXED);
}

static u32 random_port_offset(void)
{
	u32 r;

	random_bytes(&r, sizeof(r));
	return r % (TCP_PORT_HIGH - TCP_PORT_LOW + 1);
}

int tcp_port_get(struct tcp_sock *tp, u16 port)
{
	struct tcp_port *p = &tp->port;
	u32 range = TCP_PORT_HIGH - TCP_PORT_LOW + 1, at = random_port_offset();

	p->reuseaddr = tp->opts.reuseaddr;
	p->reuseport = tp->opts.reuseport;
	p->listening = p->connected = false;
	p->addr = tp->node.local.addr;
	for (u32 i = 0; i < (port ? 1 : range); i++) {
		u16 try = port ?: TCP_PORT_LOW + (at + i) % range;
		bool ok;

		/* one that nobody chose is free of everybody: sharing is for those who ask for a
		 * number */
		if (!port && is_taken(try))
			continue;
		spin_lock(&bucket_of(try)->lock);
		ok = port ? port_free(p, try) : !is_taken(try);
		if (ok)
			port_add(p, try);
		spin_unlock(&bucket_of(try)->lock);
		if (ok) {
			tp->node.local.port = try;
			return 0;
		}
	}
	return -EADDRINUSE;
}

/* A port for connect(): ports of other such connections will do, if the pair of ends is new. */
int tcp_port_connect(struct tcp_sock *tp)
{
	struct tcp_port *p = &tp->port;
	u32 range = TCP_PORT_HIGH - TCP_PORT_LOW + 1, at = random_port_offset();

	p->reuseaddr = tp->opts.reuseaddr;
	p->reuseport = tp->opts.reuseport;
	p->listening = false;
	p->connected = true;
	p->addr = tp->node.local.addr;
	for (u32 i = 0; i < range; i++) {
		u16 try = TCP_PORT_LOW + (at + i) % range;
		bool ok = true;

		if (READ_ONCE(nr_strict[try]) > WALK_MAX)
			continue;
		spin_lock(&bucket_of(try)->lock);
		if (nr_strict[try] > WALK_MAX)
			ok = false;
		else if (nr_strict[try])
			for (struct tcp_port *q = bucket_of(try)->first; q && ok; q = q->next)
				ok = q->port != try || q->connected ||
				     !addrs_meet(&q->addr, &p->addr);
		if (ok) {
			tp->node.local.port = try;
			ok = !tcp_hash_insert(&tp->node);
			if (ok)
				port_add(p, try);
		}
		spin_unlock(&bucket_of(try)->lock);
		if (ok)
			return 0;
	}
	tp->node.local.port = 0;
	return -EADDRNOTAVAIL;
}

void tcp_port_share(struct tcp_port *p, const struct tcp_port *of, const struct netaddr *addr)
{
	u16 port = of->port;

	if (!port)
		return;
	spin_lock(&bucket_of(port)->lock);
	*p = *of;
	p->addr = *addr;
	p->listening = false;
	port_add(p, port);
	spin_unlock(&bucket_of(port)->lock);
}

void tcp_port_release(struct tcp_port *p)
{
	u16 port = p->port;

	if (!port)
		return;
	spin_lock(&bucket_of(port)->lock);
	port_del(p);
	spin_unlock(&bucket_of(port)->lock);
}

int tcp_port_update(struct tcp_sock *tp, bool listening)
{
	struct tcp_port *p = &tp->port;
	int err = 0;

	if (!p->port)
		return 0;
	spin_lock(&bucket_of(p->port)->lock);
	p->reuseaddr = tp->opts.reuseaddr;
	p->reuseport = tp->opts.reuseport;
	if (listening) {
		/*
		 * Listening beside a connection that goes on, or one in TIME_WAIT, is what
		 * SO_REUSEADDR is for: only another listener stands in the way.
		 */
		if (!port_free(p, p->port))
			err = -EADDRINUSE;
	}
	if (!err)
		p->listening = listening;
	spin_unlock(&bucket_of(p->port)->lock);
	return err;
}
