/*
 * ipv4_route.c - our addresses, where packets go, and how long they may be on the way.
 *
 * There is one network at most: loopback, the NIC's link, and a gateway for the rest. What was
 * learnt of paths (RFC 1191) stands in a small table; entries are forgotten after 10 minutes, and a
 * full table gives up the oldest, so that whoever forges errors can fill no more than it.
 *
 * pmtu.lock is a leaf. The configuration is written before the first packet and then only read.
 */
#include "libos/abi/control.h"
#include "libos/lib/spinlock.h"
#include "libos/net/ipv4.h"
#include "libos/sched/timer.h"
#include "libos/time/clock.h"

#define PMTU_ENTRIES 64u
#define PMTU_LIFE_NS (600 * NSEC_PER_SEC)

struct ipv4_conf ipv4_conf;
struct ipv4_stats ipv4_stats;
static u32 generation;

static struct {
	spinlock_t lock;
	u32 used; /* entries from the start that may be in use; 0: nobody need look */
	struct pmtu_entry {
		u32 dst, mtu; /* mtu 0: free */
		u64 expires;
	} entries[PMTU_ENTRIES];
	struct timer timer;
} pmtu;

u32 route_gen(void)
{
	return __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
}

static void routes_changed(void)
{
	__atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE);
}

struct netif *ipv4_loopback(void)
{
	static struct netif *lo;
	struct netif *n = __atomic_load_n(&lo, __ATOMIC_RELAXED);

	if (unlikely(!n)) {
		for (n = netif_next(NULL); n && !(n->flags & NETIF_LOOPBACK); n = netif_next(n))
			;
		__atomic_store_n(&lo, n, __ATOMIC_RELAXED);
	}
	return n;
}

int ipv4_configure(const struct ctl_net *net, struct netif *nif)
{
	u32 addr, mask, gateway = 0;

	if (!net || !nif || net->addr.family != AF_INET)
		return 0;
	addr = ip4_load(net->addr.bytes);
	if (net->addr.prefix > 32)
		return -EINVAL;
	mask = net->addr.prefix ? ~0u << (32 - net->addr.prefix) : 0;
	/* Zero net, loopback, multicast and what is behind it are nobody's address. */
	if (!(addr >> 24) || ip4_is_loopback(addr) || addr >> 28 >= 14)
		return -EINVAL;
	/* Nor are the first and the last of a network (RFC 3021 excepts a pair). */
	if (net->addr.prefix < 31 && ((addr & ~mask) == 0 || (addr & ~mask) == ~mask))
		return -EINVAL;
	if (net->gateway.family == AF_INET)
		gateway = ip4_load(net->gateway.bytes);
	if (gateway && ((gateway & mask) != (addr & mask) || gateway == addr))
		return -EINVAL;
	ipv4_conf = (struct ipv4_conf){nif, addr, mask, gateway};
	routes_changed();
	return 0;
}

bool ip4_is_ours(u32 a)
{
	return ip4_is_loopback(a) || (a && a == ipv4_conf.addr);
}

bool ip4_is_broadcast(u32 a)
{
	const struct ipv4_conf *c = &ipv4_conf;

	if (a == IP4_BROADCAST || a == 0x7fffffffu)
		return true;
	return c->nif && ~c->mask > 1 && (a | c->mask) == ~0u && ((a ^ c->addr) & c->mask) == 0;
}

int route_lookup(const struct netaddr *dst, const struct netaddr *src, struct route *r)
{
	const struct ipv4_conf *c = &ipv4_conf;
	u32 d = ip4_of(dst), s = src && src->family == AF_INET ? ip4_of(src) : 0, hop;

	if (dst->family != AF_INET || (src && src->family && src->family != AF_INET))
		return -EAFNOSUPPORT;
	r->gen = route_gen();
	r->hdr_len = IP_HDR_LEN;
	if (!d) /* this host (RFC 1122, 3.2.1.3 (a)), as Linux understands it in connect(2) */
		d = s ? s : IP4_LOOPBACK;
	if (ip4_is_ours(d)) {
		r->nif = ipv4_loopback();
		if (!r->nif)
			goto unreachable;
		if (s && !ip4_is_ours(s))
			return -EINVAL;
		if (!s)
			s = ip4_is_loopback(d) ? IP4_LOOPBACK : d;
		r->src = ip4_addr(s);
		r->next_hop = ip4_addr(d);
		r->mtu = min(r->nif->mtu, IP_MAX_PACKET);
		return 0;
	}
	if (!c->nif)
		goto unreachable;
	if (s && s != c->addr)
		return -EINVAL;
	hop = d;
	if (!ip4_is_broadcast(d) && !ip4_is_multicast(d) && ((d ^ c->addr) & c->mask)) {
		if (!c->gateway)
			goto unreachable;
		hop = c->gateway;
	}
	r->nif = c->nif;
	r->src = ip4_addr(c->addr);
	r->next_hop = ip4_addr(hop);
	r->mtu = pmtu_of(d, c->nif->mtu);
	return 0;
unreachable:
	stat_inc(&ipv4_stats.out_no_routes);
	return -ENETUNREACH;
}

/* Path MTU. Lock held below. */

static void pmtu_rearm(void)
{
	u64 first = NEVER;
	u32 used = 0;

	for (u32 i = 0; i < PMTU_ENTRIES; i++) {
		if (!pmtu.entries[i].mtu)
			continue;
		used = i + 1;
		first = min(first, pmtu.entries[i].expires);
	}
	WRITE_ONCE(pmtu.used, used);
	/* Without memory for the timer the entries stay, which costs throughput, not correctness.
	 */
	if (first != NEVER)
		timer_arm(&pmtu.timer, first);
}

static void pmtu_expire(struct timer *t)
{
	u64 now = clock_monotonic_ns();

	spin_lock(&pmtu.lock);
	for (u32 i = 0; i < PMTU_ENTRIES; i++)
		if (pmtu.entries[i].mtu && pmtu.entries[i].expires <= now)
			pmtu.entries[i].mtu = 0;
	pmtu_rearm();
	spin_unlock(&pmtu.lock);
	routes_changed();
}

u32 pmtu_of(u32 dst, u32 mtu)
{
	if (likely(!READ_ONCE(pmtu.used)))
		return mtu;
	spin_lock(&pmtu.lock);
	for (u32 i = 0; i < pmtu.used; i++)
		if (pmtu.entries[i].mtu && pmtu.entries[i].dst == dst)
			mtu = min(mtu, pmtu.entries[i].mtu);
	spin_unlock(&pmtu.lock);
	return mtu;
}

void route_pmtu_update(const struct netaddr *dst, u32 mtu)
{
	u32 d = ip4_of(dst), i, slot = 0;
	struct pmtu_entry *e;
	bool changed;

	if (dst->family != AF_INET || !ipv4_conf.nif || ip4_is_ours(d) || mtu >= ipv4_conf.nif->mtu)
		return;
	mtu = max(mtu, IP_MIN_PMTU);
	spin_lock(&pmtu.lock);
	if (!pmtu.timer.fn)
		timer_init(&pmtu.timer, pmtu_expire);
	for (i = 0; i < PMTU_ENTRIES; i++)
		if (pmtu.entries[i].mtu && pmtu.entries[i].dst == d)
			break;
	if (i == PMTU_ENTRIES) {
		for (i = 0; i < PMTU_ENTRIES && pmtu.entries[i].mtu; i++)
			if (pmtu.entries[i].expires < pmtu.entries[slot].expires)
				slot = i;
		if (i == PMTU_ENTRIES)
			i = slot;
		pmtu.entries[i].mtu = 0;
	}
	e = &pmtu.entries[i];
	/* An error never says that a path got wider: only time does. */
	changed = !e->mtu || mtu < e->mtu;
	if (changed) {
		*e = (struct pmtu_entry){d, mtu, clock_monotonic_ns() + PMTU_LIFE_NS};
		pmtu_rearm();
	}
	spin_unlock(&pmtu.lock);
	if (changed)
		routes_changed();
}
