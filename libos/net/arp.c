/*
 * arp.c - link-layer addresses of neighbours (RFC 826; RFC 1122, 2.3.2).
 *
 * A table of 64 sets of 4 entries, chosen by the low bits of the address, so that a /24 fits
 * exactly and nothing can make it grow. Senders read it without a lock: each entry has a sequence
 * number, odd while it changes. Everything that changes an entry holds arp.lock.
 *
 *   free -> INCOMPLETE -> REACHABLE -> STALE -> PROBE -> REACHABLE
 *                |                                 |
 *                +-> free (no answer: queued packets are reported to the transports) <-+
 *
 * INCOMPLETE asks by broadcast, PROBE asks the known address alone, each once a second, three
 * times. An entry is REACHABLE for 60 s; STALE costs nothing: no timer runs until it is used again,
 * so an idle instance is not woken for its neighbours.
 *
 * Who may change the table: a reply fills an entry that asked; anything from a neighbour refreshes
 * an entry that exists, but what names another link-layer address is believed at most once a second
 * and makes the entry STALE, so that it is asked about; a request for our address makes a STALE
 * entry if there is room that no REACHABLE entry wants. So who forges packets can confuse for a
 * moment, and fill nothing.
 *
 * arp.lock is taken inside socket locks (sending), and takes none but timers' and the allocator's;
 * packets are sent and transports called without it.
 */
#include "libos/lib/spinlock.h"
#include "libos/net/ipv4.h"
#include "libos/sched/timer.h"
#include "libos/time/clock.h"

#define SETS 64u
#define WAYS 4u
#define QUEUE_MAX 16u /* packets that wait for one address */
#define TRIES 3u
#define RETRY_NS NSEC_PER_SEC
#define REACHABLE_NS (60 * NSEC_PER_SEC)
#define CHANGE_NS NSEC_PER_SEC /* between two changes of a link-layer address */

#define ARP_REQUEST 1
#define ARP_REPLY 2

/* RFC 826 for Ethernet and IPv4 */
struct arp_packet {
	u16 hw_type, proto;
	u8 hw_len, proto_len;
	u16 op;
	u8 sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __packed;
_Static_assert(sizeof(struct arp_packet) == 28, "RFC 826");

struct entry {
	u32 seq;
	u32 addr;
	u8 mac[6];
	u8 state; /* 0: free */
	u8 tries;
	u64 deadline; /* INCOMPLETE, PROBE: next try; REACHABLE: until then; else NEVER */
	u64 changed;  /* when mac was last set */
	u64 used;     /* when it was last looked at under the lock: what goes first */
	struct pkt *first, *last; /* INCOMPLETE: waiting, chained by link.next */
	u32 queued;
};

static struct {
	spinlock_t lock;
	struct timer timer;
	u32 waiting; /* packets in all queues */
	struct entry set[SETS][WAYS];
} arp;

static const u8 broadcast_mac[6] = {255, 255, 255, 255, 255, 255};

/* Writers' side of an entry's sequence number. */
static void change_begin(struct entry *e)
{
	__atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void change_end(struct entry *e)
{
	__atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_RELEASE);
}

/* Without the lock: the link-layer address of addr, and the state. 0: look again under the lock. */
static u8 peek(u32 addr, u8 mac[6])
{
	for (u32 w = 0; w < WAYS; w++) {
		struct entry *e = &arp.set[addr % SETS][w];
		u32 seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
		u8 state = READ_ONCE(e->state);

		if (seq & 1 || READ_ONCE(e->addr) != addr || !state)
			continue;
		memcpy(mac, e->mac, 6);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (READ_ONCE(e->seq) == seq)
			return state;
	}
	return 0;
}

/* Under the lock, from here on */

static struct entry *find(u32 addr)
{
	for (u32 w = 0; w < WAYS; w++) {
		struct entry *e = &arp.set[addr % SETS][w];

		if (e->state && e->addr == addr)
			return e;
	}
	return NULL;
}

/* Moves what waits for e to the end of the chain. */
static void take_queue(struct entry *e, struct list_head *to)
{
	while (e->first) {
		struct pkt *p = e->first;

		e->first = p->link.next ? list_entry(p->link.next, struct pkt, link) : NULL;
		list_add_tail(&p->link, to);
	}
	e->last = NULL;
	arp.waiting -= e->queued;
	e->queued = 0;
}

static void set_state(struct entry *e, u8 state, u64 deadline)
{
	change_begin(e);
	e->state = state;
	change_end(e);
	e->deadline = deadline;
	e->tries = 0;
	if (deadline != NEVER && (!arp.timer.kt || deadline < arp.timer.expires))
		timer_arm(&arp.timer, deadline);
}

static void set_mac(struct entry *e, const u8 mac[6], u64 now)
{
	change_begin(e);
	memcpy(e->mac, mac, 6);
	change_end(e);
	e->changed = now;
}

/* How gladly an entry is given up: the lowest goes. */
static u32 worth(const struct entry *e)
{
	static const u8 order[] = {
		[ARP_INCOMPLETE] = 2, [ARP_STALE] = 1, [ARP_PROBE] = 3, [ARP_REACHABLE] = 4};

	return e->state ? order[e->state] : 0;
}

/* An entry for addr, INCOMPLETE or STALE as the caller then says; what it evicts goes to dead. */
static struct entry *create(u32 addr, u64 now, u32 max_worth, struct list_head *dead)
{
	struct entry *best = &arp.set[addr % SETS][0];

	for (u32 w = 1; w < WAYS; w++) {
		struct entry *e = &arp.set[addr % SETS][w];

		if (worth(e) < worth(best) || (worth(e) == worth(best) && e->used < best->used))
			best = e;
	}
	if (worth(best) > max_worth)
		return NULL;
	take_queue(best, dead);
	change_begin(best);
	best->addr = addr;
	best->state = 0;
	memset(best->mac, 0, 6);
	change_end(best);
	best->used = now;
	best->changed = 0;
	return best;
}

static void enqueue(struct entry *e, struct pkt *p, struct list_head *dead)
{
	if (e->queued == QUEUE_MAX) { /* the oldest is the one whose sender has waited too long */
		struct pkt *old = e->first;

		e->first = list_entry(old->link.next, struct pkt, link);
		e->queued--;
		arp.waiting--;
		list_add_tail(&old->link, dead);
	}
	p->link.next = NULL;
	if (e->first)
		e->last->link.next = &p->link;
	else
		e->first = p;
	e->last = p;
	e->queued++;
	arp.waiting++;
}

/* Without the lock, from here on */

/* Puts an Ethernet header in front of p and sends it. Takes over p. */
static int send_frame(struct netif *nif, struct pkt *p, const u8 to[6], u16 type)
{
	u8 *eth = pkt_push(p, ETH_HDR_LEN);

	if (!eth) {
		pkt_free(p);
		return -ENOBUFS;
	}
	memcpy(eth, to, 6);
	memcpy(eth + 6, nif->lladdr, 6);
	eth[12] = type >> 8;
	eth[13] = type & 255;
	return nif->xmit(nif, p);
}

static void send_arp(struct netif *nif, u16 op, const u8 to[6], u32 sender, const u8 target_mac[6],
		     u32 target)
{
	struct pkt *p = pkt_alloc(PKT_HEADROOM);
	struct arp_packet a = {
		.hw_type = net16(1),
		.proto = net16(ETH_TYPE_IP),
		.hw_len = 6,
		.proto_len = 4,
		.op = net16(op),
	};

	if (!p)
		return;
	memcpy(a.sender_mac, nif->lladdr, 6);
	ip4_store(a.sender_ip, sender);
	if (target_mac)
		memcpy(a.target_mac, target_mac, 6);
	ip4_store(a.target_ip, target);
	memcpy(pkt_put(p, sizeof(a)), &a, sizeof(a));
	send_frame(nif, p, to, ETH_TYPE_ARP);
}

static void send_request(struct netif *nif, u32 target, const u8 to[6])
{
	send_arp(nif, ARP_REQUEST, to, ipv4_conf.addr, NULL, target);
}

static void free_all(struct list_head *dead, bool tell)
{
	while (!list_empty(dead)) {
		struct pkt *p = list_first(dead, struct pkt, link);

		list_del(&p->link);
		if (tell)
			icmp_local_unreachable(p);
		pkt_free(p);
	}
}

static void arp_timer(struct timer *t)
{
	struct ask {
		u32 addr;
		u8 mac[6];
	} asks[16];
	u32 nr_asks = 0;
	u64 now = clock_monotonic_ns(), next = NEVER;
	struct list_head dead;

	list_init(&dead);
	spin_lock(&arp.lock);
	for (u32 i = 0; i < SETS * WAYS; i++) {
		struct entry *e = &arp.set[i / WAYS][i % WAYS];

		if (!e->state || e->deadline == NEVER)
			continue;
		if (e->deadline <= now && e->state == ARP_REACHABLE) {
			set_state(e, ARP_STALE, NEVER);
		} else if (e->deadline <= now && e->tries >= TRIES) {
			take_queue(e, &dead);
			set_state(e, 0, NEVER);
		} else if (e->deadline <= now && nr_asks < ARRAY_SIZE(asks)) {
			asks[nr_asks].addr = e->addr;
			memcpy(asks[nr_asks++].mac, e->state == ARP_PROBE ? e->mac : broadcast_mac,
			       6);
			e->tries++;
			e->deadline = now + RETRY_NS;
		} else if (e->deadline <= now) {
			e->deadline = now + 10 * NSEC_PER_MSEC; /* too many at once */
		}
		next = min(next, e->deadline);
	}
	if (next != NEVER)
		timer_arm(&arp.timer, next);
	spin_unlock(&arp.lock);
	for (u32 i = 0; i < nr_asks; i++)
		send_request(ipv4_conf.nif, asks[i].addr, asks[i].mac);
	free_all(&dead, true);
}

/* The link-layer address of a group or of everybody; false: addr is a host's. */
static bool group_mac(u32 addr, u8 mac[6])
{
	if (ip4_is_broadcast(addr)) {
		memcpy(mac, broadcast_mac, 6);
		return true;
	}
	if (!ip4_is_multicast(addr))
		return false;
	mac[0] = 1; /* RFC 1112, 6.4 */
	mac[1] = 0;
	mac[2] = 0x5e;
	mac[3] = addr >> 16 & 0x7f;
	mac[4] = addr >> 8;
	mac[5] = addr;
	return true;
}

/* What arp_output() does when the address is not simply known. *ask: send a request to mac. */
static int output_slow(u32 addr, struct pkt **p, u8 mac[6], bool *ask, struct list_head *dead)
{
	u64 now = clock_monotonic_ns();
	struct entry *e;
	int err = 0;

	spin_lock(&arp.lock);
	if (!arp.timer.fn)
		timer_init(&arp.timer, arp_timer);
	e = find(addr);
	if (!e) {
		e = create(addr, now, UINT32_MAX, dead);
		set_state(e, ARP_INCOMPLETE, now + RETRY_NS);
		e->tries = 1;
		memcpy(mac, broadcast_mac, 6);
		*ask = true;
	} else if (e->state == ARP_STALE) {
		set_state(e, ARP_PROBE, now + RETRY_NS);
		e->tries = 1;
		*ask = true;
	}
	e->used = now;
	if (e->state == ARP_INCOMPLETE) {
		enqueue(e, *p, dead);
		*p = NULL;
	} else {
		memcpy(mac, e->mac, 6);
	}
	spin_unlock(&arp.lock);
	return err;
}

int arp_output(struct netif *nif, u32 next_hop, struct pkt *p)
{
	struct list_head dead;
	bool ask = false;
	u8 mac[6];
	u8 state;
	int err = 0;

	if (group_mac(next_hop, mac))
		return send_frame(nif, p, mac, ETH_TYPE_IP);
	state = peek(next_hop, mac);
	if (likely(state == ARP_REACHABLE || state == ARP_PROBE))
		return send_frame(nif, p, mac, ETH_TYPE_IP);
	list_init(&dead);
	output_slow(next_hop, &p, mac, &ask, &dead);
	if (ask)
		send_request(nif, next_hop, mac);
	if (p)
		err = send_frame(nif, p, mac, ETH_TYPE_IP);
	/* A lock of the sender's may be held: transports hear nothing of what was pushed out. */
	free_all(&dead, false);
	return err;
}

/* From a neighbour: addr is at mac. `asked`: a reply to us; `for_us`: a request for our address. */
static void learn(u32 addr, const u8 mac[6], bool asked, bool for_us, struct list_head *ready,
		  u8 out[6])
{
	u64 now = clock_monotonic_ns();
	struct list_head dead;
	struct entry *e;

	list_init(&dead);
	spin_lock(&arp.lock);
	if (!arp.timer.fn)
		timer_init(&arp.timer, arp_timer);
	e = find(addr);
	if (e && e->state == ARP_INCOMPLETE) {
		set_mac(e, mac, now);
		take_queue(e, ready);
		set_state(e, asked ? ARP_REACHABLE : ARP_STALE, asked ? now + REACHABLE_NS : NEVER);
	} else if (e && !memcmp(e->mac, mac, 6)) {
		if (asked)
			set_state(e, ARP_REACHABLE, now + REACHABLE_NS);
	} else if (e && now - e->changed >= CHANGE_NS) {
		set_mac(e, mac, now);
		set_state(e, ARP_STALE, NEVER);
	} else if (!e && for_us) {
		/* Who asks for us will be answered soon: RFC 826 has us remember it. */
		e = create(addr, now, 1, &dead);
		if (e) {
			set_mac(e, mac, now);
			set_state(e, ARP_STALE, NEVER);
		}
	}
	memcpy(out, mac, 6);
	spin_unlock(&arp.lock);
	free_all(&dead, false);
}

void arp_input(struct netif *nif, struct pkt *p)
{
	const struct ipv4_conf *c = &ipv4_conf;
	struct list_head ready;
	struct arp_packet a;
	u32 sender, target;
	u8 mac[6];
	u16 op;

	if (!pkt_linear(p, sizeof(a)))
		goto drop;
	memcpy(&a, p->data, sizeof(a));
	op = net16(a.op);
	sender = ip4_load(a.sender_ip);
	target = ip4_load(a.target_ip);
	if (a.hw_type != net16(1) || a.proto != net16(ETH_TYPE_IP) || a.hw_len != 6 ||
	    a.proto_len != 4 || (op != ARP_REQUEST && op != ARP_REPLY) || nif != c->nif)
		goto drop;
	/* Nobody is a group, and nobody else is us (RFC 5227, 2.4 would have us defend; the switch
	 * does). */
	if (a.sender_mac[0] & 1 || !memcmp(a.sender_mac, nif->lladdr, 6) || ip4_is_ours(sender))
		goto drop;
	if (!sender) { /* RFC 5227, 2.1.1: is the address free? */
		if (op != ARP_REQUEST || target != c->addr)
			goto drop;
	} else if (((sender ^ c->addr) & c->mask) || ip4_is_broadcast(sender)) {
		goto drop;
	}
	pkt_free(p);
	if (sender) {
		list_init(&ready);
		learn(sender, a.sender_mac, op == ARP_REPLY && target == c->addr,
		      op == ARP_REQUEST && target == c->addr, &ready, mac);
		while (!list_empty(&ready)) {
			p = list_first(&ready, struct pkt, link);
			list_del(&p->link);
			send_frame(nif, p, mac, ETH_TYPE_IP);
		}
	}
	if (op == ARP_REQUEST && target == c->addr)
		send_arp(nif, ARP_REPLY, a.sender_mac, c->addr, a.sender_mac, sender);
	return;
drop:
	nif->rx_dropped++;
	pkt_free(p);
}

bool arp_next(u32 *at, struct arp_info *info)
{
	bool found = false;

	spin_lock(&arp.lock);
	while (*at < SETS * WAYS && !found) {
		const struct entry *e = &arp.set[*at / WAYS][*at % WAYS];

		++*at;
		if (e->state) {
			info->addr = e->addr;
			memcpy(info->mac, e->mac, 6);
			info->state = e->state;
			found = true;
		}
	}
	spin_unlock(&arp.lock);
	return found;
}

u32 arp_waiting(void)
{
	return READ_ONCE(arp.waiting);
}
