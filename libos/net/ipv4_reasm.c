/*
 * ipv4_reasm.c - putting fragments together again (RFC 791, 3.2; RFC 815; RFC 1122, 3.3.2).
 *
 * A datagram that waits for fragments has buffers for the places of its bytes, one for each 2 KiB
 * that a fragment has touched, and a bitmap of the 8-byte units that have come. A fragment is
 * copied to its place and given back at once: however small fragments are cut, a datagram costs no
 * more than its own length, and what a device had to give for each is not kept.
 *
 * Bounds: REASM_MAX datagrams, an eighth of the buffers of the instance, REASM_NBUFS at most, and
 * 30 s. When a bound is reached the oldest datagram goes. A fragment that lies within what has come
 * is a duplicate and is ignored; one that overlaps it in part, or contradicts the length, is an
 * attack on those who look at packets on the way (RFC 1858, RFC 5722 for IPv6): the whole datagram
 * is dropped, as Linux does.
 *
 * reasm.lock is held while a fragment is copied; it is taken under no other lock, and takes the
 * pool's.
 */
#include "libos/lib/spinlock.h"
#include "libos/mm/alloc.h"
#include "libos/net/ipv4.h"
#include "libos/sched/timer.h"
#include "libos/time/clock.h"

#define REASM_MAX 64u
#define REASM_NBUFS 512u
#define REASM_LIFE_NS (30 * NSEC_PER_SEC)
#define DGRAM_NBUFS ((IP_MAX_PACKET + 1) / NBUF_SIZE)
#define UNITS ((IP_MAX_PACKET + 1) / 8)
#define QUOTED 8u /* bytes behind the IP header that an ICMP error must have */

_Static_assert(DGRAM_NBUFS <= PKT_MAX_FRAGS, "a whole datagram is one packet");

struct datagram {
	struct list_head link; /* oldest first */
	u64 expires;
	struct netif *nif;
	u8 src[4], dst[4];
	u16 id;
	u8 proto;
	u8 hdr_len; /* of hdr; 0: the first fragment has not come */
	u32 end;    /* length of the data, once the last fragment has come; else 0 */
	u32 top;    /* end of the bytes that have come */
	u32 have;   /* how many */
	u8 hdr[IP_HDR_MAX];
	u32 nb[DGRAM_NBUFS];
	u64 map[UNITS / 64];
};

static struct {
	spinlock_t lock;
	struct list_head list; /* of struct datagram; next NULL: not initialized */
	u32 count, nbufs;
	struct timer timer;
} reasm;

u32 ipv4_reasm_count(u32 *nbufs)
{
	*nbufs = reasm.nbufs;
	return reasm.count;
}

/* Units [from, to): how many are set. */
static u32 map_count(const struct datagram *d, u32 from, u32 to)
{
	u32 n = 0;

	while (from < to) {
		u32 bit = from % 64, len = min(64 - bit, to - from);
		u64 mask = (len == 64 ? ~0ull : (1ull << len) - 1) << bit;

		/* Bit by bit is quick enough: fragments are rare. No popcount: that may want a
		 * library. */
		for (u64 w = d->map[from / 64] & mask; w; w &= w - 1)
			n++;
		from += len;
	}
	return n;
}

static void map_set(struct datagram *d, u32 from, u32 to)
{
	while (from < to) {
		u32 bit = from % 64, len = min(64 - bit, to - from);

		d->map[from / 64] |= (len == 64 ? ~0ull : (1ull << len) - 1) << bit;
		from += len;
	}
}

/* Takes d off the list; its buffers still count until they go. */
static void unlink_datagram(struct datagram *d)
{
	list_del(&d->link);
	reasm.count--;
}

static void datagram_free(struct datagram *d)
{
	unlink_datagram(d);
	for (u32 i = 0; i < DGRAM_NBUFS; i++)
		if (d->nb[i] != NBUF_NONE) {
			nbuf_put(d->nb[i]);
			reasm.nbufs--;
		}
	kfree(d, sizeof(*d));
}

/*
 * Makes a packet of the first n bytes of data that d has, behind its header; d goes. NULL: no
 * memory. What a device said of the checksum of a fragment means nothing here.
 */
static struct pkt *datagram_packet(struct datagram *d, u32 n)
{
	struct pkt *p = pkt_alloc(PKT_HEADROOM);
	struct ip_hdr *h;

	if (!p) {
		datagram_free(d);
		return NULL;
	}
	p->nif = d->nif;
	h = (struct ip_hdr *)pkt_put(p, d->hdr_len);
	memcpy(h, d->hdr, d->hdr_len);
	h->len = net16(d->hdr_len + n);
	h->frag = 0;
	h->csum = 0;
	h->csum = ~csum_fold(csum_add(h, d->hdr_len, 0));
	for (u32 i = 0; i < DGRAM_NBUFS && i * NBUF_SIZE < n; i++) {
		pkt_add_frag(p, d->nb[i], 0, min(n - i * NBUF_SIZE, NBUF_SIZE));
		d->nb[i] = NBUF_NONE;
		reasm.nbufs--;
	}
	datagram_free(d);
	return p;
}

static void rearm(void)
{
	if (!list_empty(&reasm.list))
		timer_arm(&reasm.timer, list_first(&reasm.list, struct datagram, link)->expires);
}

/* RFC 1122, 3.3.2: whose first fragment has come, its sender is told. */
static void tell_sender(struct pkt *p)
{
	u8 hdr[IP_HDR_MAX];
	struct ip_info ip = {.hdr = hdr};

	ip.hdr_len = (p->data[0] & 15) * 4;
	memcpy(hdr, p->data, ip.hdr_len);
	ip.src = ip4_addr(ip4_load(hdr + 12));
	ip.dst = ip4_addr(ip4_load(hdr + 16));
	ip.proto = hdr[9];
	ip.broadcast = !ip4_is_ours(ip4_of(&ip.dst));
	pkt_pull(p, ip.hdr_len);
	icmp_send_error(ICMP_TIME_EXCEEDED, ICMP_EXCEEDED_REASSEMBLY, p, &ip);
}

static void reasm_expire(struct timer *t)
{
	u64 now = clock_monotonic_ns();
	struct list_head late;
	struct pkt *p;

	list_init(&late);
	spin_lock(&reasm.lock);
	while (!list_empty(&reasm.list)) {
		struct datagram *d = list_first(&reasm.list, struct datagram, link);

		if (d->expires > now)
			break;
		stat_inc(&ipv4_stats.reasm_timeout);
		stat_inc(&ipv4_stats.reasm_fails);
		if (!d->hdr_len || map_count(d, 0, QUOTED / 8) < QUOTED / 8) {
			datagram_free(d);
			continue;
		}
		p = datagram_packet(d, QUOTED);
		if (p)
			list_add_tail(&p->link, &late);
	}
	rearm();
	spin_unlock(&reasm.lock);
	while (!list_empty(&late)) {
		p = list_first(&late, struct pkt, link);
		list_del(&p->link);
		tell_sender(p);
		pkt_free(p);
	}
}

static struct datagram *find(const struct netif *nif, const struct ip_hdr *h)
{
	struct datagram *d;

	list_for_each_entry (d, &reasm.list, link)
		if (d->id == h->id && d->proto == h->proto && d->nif == nif &&
		    !memcmp(d->src, h->src, 4) && !memcmp(d->dst, h->dst, 4))
			return d;
	return NULL;
}

/* Drops the oldest datagram but `keep`. False: there is no other. */
static bool drop_oldest(const struct datagram *keep)
{
	struct datagram *d;

	list_for_each_entry (d, &reasm.list, link)
		if (d != keep) {
			stat_inc(&ipv4_stats.reasm_fails);
			datagram_free(d);
			return true;
		}
	return false;
}

static struct datagram *create(struct netif *nif, const struct ip_hdr *h)
{
	struct datagram *d;

	if (reasm.count >= REASM_MAX)
		drop_oldest(NULL);
	d = kzalloc(sizeof(*d));
	if (!d)
		return NULL;
	d->nif = nif;
	d->id = h->id;
	d->proto = h->proto;
	memcpy(d->src, h->src, 4);
	memcpy(d->dst, h->dst, 4);
	for (u32 i = 0; i < DGRAM_NBUFS; i++)
		d->nb[i] = NBUF_NONE;
	d->expires = clock_monotonic_ns() + REASM_LIFE_NS;
	list_add_tail(&d->link, &reasm.list);
	reasm.count++;
	if (reasm.count == 1)
		rearm();
	return d;
}

/* Buffers for bytes [from, to) of d. */
static bool make_room(struct datagram *d, u32 from, u32 to)
{
	u32 most = min(REASM_NBUFS, nbuf_total() / 8);

	for (u32 i = from / NBUF_SIZE; i * NBUF_SIZE < to; i++) {
		if (d->nb[i] != NBUF_NONE)
			continue;
		while (reasm.nbufs >= most)
			if (!drop_oldest(d))
				return false;
		d->nb[i] = nbuf_alloc();
		if (d->nb[i] == NBUF_NONE)
			return false;
		reasm.nbufs++;
	}
	return true;
}

/* Copies the n bytes of p's data to their place. */
static void fill(struct datagram *d, const struct pkt *p, u32 from, u32 n)
{
	for (u32 off = 0; off < n;) {
		u32 at = from + off, part = min(n - off, NBUF_SIZE - at % NBUF_SIZE);

		pkt_copy_out(p, off, nbuf_addr(d->nb[at / NBUF_SIZE]) + at % NBUF_SIZE, part);
		off += part;
	}
	map_set(d, from / 8, (from + n + 7) / 8);
	d->have += n;
	d->top = max(d->top, from + n);
}

/* Adds the data of p, [from, to), to d. False: the datagram is spoilt. */
static bool insert(struct datagram *d, const struct pkt *p, u32 from, u32 to, bool last)
{
	u32 set = map_count(d, from / 8, (to + 7) / 8);

	/* Ends that contradict each other, or data behind the end. */
	if (d->end && (to > d->end || (last && to != d->end)))
		return false;
	if (last && d->top > to)
		return false;
	if (set == (to + 7) / 8 - from / 8)
		return true; /* all of it is there: a duplicate */
	if (set || !make_room(d, from, to))
		return false;
	fill(d, p, from, to - from);
	if (last)
		d->end = to;
	return true;
}

struct pkt *ipv4_reassemble(struct netif *nif, struct pkt *p)
{
	struct ip_hdr h;
	u32 hlen, from, to;
	struct pkt *whole = NULL;
	struct datagram *d;
	bool more;

	stat_inc(&ipv4_stats.reasm_reqds);
	memcpy(&h, p->data, sizeof(h));
	hlen = (h.vihl & 15) * 4;
	more = net16(h.frag) & IP_FRAG_MF;
	from = (net16(h.frag) & IP_FRAG_OFFSET) * 8;
	to = from + p->total - hlen;
	/* Pieces but the last are of whole units; none is empty or ends where no datagram can. */
	if (from == to || (more && to % 8) || to + hlen > IP_MAX_PACKET) {
		stat_inc(&ipv4_stats.reasm_fails);
		pkt_free(p);
		return NULL;
	}
	spin_lock(&reasm.lock);
	if (!reasm.list.next) {
		list_init(&reasm.list);
		timer_init(&reasm.timer, reasm_expire);
	}
	d = find(nif, &h);
	if (!d)
		d = create(nif, &h);
	if (d) {
		if (!from && !d->hdr_len) {
			memcpy(d->hdr, p->data, hlen);
			d->hdr_len = hlen;
		}
		pkt_pull(p, hlen);
		if (!insert(d, p, from, to, !more)) {
			stat_inc(&ipv4_stats.reasm_fails);
			datagram_free(d);
		} else if (d->end && d->have == d->end && d->hdr_len + d->end <= IP_MAX_PACKET) {
			whole = datagram_packet(d, d->end);
			stat_inc(whole ? &ipv4_stats.reasm_oks : &ipv4_stats.reasm_fails);
		}
	}
	spin_unlock(&reasm.lock);
	pkt_free(p);
	return whole;
}
