/*
 * virtio.c - the driver of the NIC: virtio-net queue pairs (virtio 1.2, 5.1) in a shared region
 * (abi/nic.h).
 *
 * Queue pair i is kthread i's. It sends on its own only; it receives from its own and from those
 * whose kthreads do not run. A queue is served by one kthread at a time, from the ring to the end
 * of the stack, so that packets of a flow stay in order; who finds it taken leaves it to the other.
 *
 * Sending never waits: packets that find no room in the ring stand in a queue behind it, which the
 * next to come along moves on. Only when that is full are packets dropped. Sent buffers are
 * reclaimed on the way, without any interrupt.
 *
 * What the device wrote is checked as far as this side's memory is concerned: ids, lengths, numbers
 * of buffers. Contents are the stack's to doubt.
 *
 * Lock order: rx->lock -> locks of sockets -> tx->lock.
 */
#include <linux/mman.h>

#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/net/poll.h"
#include "libos/net/virtq.h"
#include "libos/platform/hostcall.h"
#include "libos/sched/uthread.h"

/*
 * Receive buffers that are posted at first: a segment of 64 KiB takes 33. Doubled whenever the
 * device was found to have used more than half of them: each is 2 KiB that an instance then has for
 * good.
 */
#define RX_FIRST 64u
#define RX_BATCH 64u			   /* packets of one queue before another gets its turn */
#define RX_BUFFERS_MAX (PKT_MAX_FRAGS + 1) /* of one packet */
#define TX_QUEUE_MAX 4096u		   /* descriptors' worth of packets behind a full ring */
#define TX_SEGS (PKT_MAX_FRAGS + 2)
#define HDR sizeof(struct nic_hdr)

struct rx {
	spinlock_t lock;
	u32 target;	     /* buffers to keep posted */
	struct pkt *partial; /* packet of which `missing` buffers have not come yet; NULL: they are
				dropped */
	u32 missing;
	struct virtq q;
	u32 nb[NIC_RING_SIZE]; /* by id */
} cacheline_aligned;

struct tx {
	spinlock_t lock;
	u32 queued;		/* descriptors that the queue needs */
	struct list_head queue; /* packets behind the ring */
	struct virtq q;
	struct {
		struct pkt *p;
		u32 hdr;       /* nbuf of a header that had no room in the packet, or NBUF_NONE */
	} sent[NIC_RING_SIZE]; /* by id */
} cacheline_aligned;

struct pair {
	struct rx rx;
	struct tx tx;
};

static struct nic {
	struct netif nif;
	u8 *region;
	u32 nr_pairs;
	struct pair *pairs;
	u32 *doorbell;
} * nic;

static void ring(void)
{
	__atomic_fetch_add(nic->doorbell, 1, __ATOMIC_SEQ_CST);
	host_futex_wake(nic->doorbell, 1, true);
}

/* Reception */

/* Posts buffers until there are as many as wanted, or none is left. rx->lock held. */
static void rx_refill(struct rx *rx)
{
	u32 posted = NIC_RING_SIZE - rx->q.nr_free;
	bool added = false;

	while (posted < rx->target) {
		u32 nb = nbuf_alloc();
		struct virtq_seg seg;
		int id;

		if (nb == NBUF_NONE)
			break;
		seg = (struct virtq_seg){nbuf_addr(nb) - nic->region, NBUF_SIZE};
		id = virtq_add(&rx->q, &seg, 1, true);
		if (id < 0) {
			nbuf_put(nb);
			break;
		}
		rx->nb[id] = nb;
		posted++;
		added = true;
	}
	if (added && virtq_wants_kick(&rx->q))
		ring();
}

/* A buffer goes the way of its packet: one more of it, or dropped with it. */
static struct pkt *rx_continue(struct rx *rx, u32 nb, u32 len)
{
	struct pkt *p = rx->partial;

	rx->missing--;
	if (!p || len > NBUF_SIZE || pkt_add_frag(p, nb, 0, len)) {
		nic->nif.rx_dropped += p != NULL;
		nbuf_put(nb);
		pkt_free(p);
		rx->partial = NULL;
		return NULL;
	}
	return rx->missing ? NULL : p;
}

/* The first buffer of a packet: header, then frame. */
static struct pkt *rx_begin(struct rx *rx, u32 nb, u32 len)
{
	struct nic_hdr h;
	struct pkt *p;

	memcpy(&h, nbuf_addr(nb), HDR); /* once: the device may change it */
	if (len <= HDR || len > NBUF_SIZE || !h.num_buffers) {
		nbuf_put(nb);
		nic->nif.rx_dropped++;
		return NULL;
	}
	rx->missing = h.num_buffers - 1;
	p = h.num_buffers <= RX_BUFFERS_MAX ? pkt_alloc_bare() : NULL;
	if (!p) {
		nbuf_put(nb);
		nic->nif.rx_dropped++;
		rx->partial = NULL;
		return NULL;
	}
	p->nif = &nic->nif;
	p->head = nb;
	p->data = nbuf_addr(nb) + HDR;
	p->len = p->total = len - HDR;
	/* Checked by the device, or made by a neighbour on this host and never on a wire. */
	if (h.flags & (NIC_HDR_F_DATA_VALID | NIC_HDR_F_NEEDS_CSUM))
		p->flags = PKT_CSUM_OK;
	if (h.gso_type == NIC_HDR_GSO_TCPV4)
		p->gso_size = h.gso_size;
	rx->partial = p;
	return rx->missing ? NULL : p;
}

/* One queue. True: something had come. */
static bool rx_poll(struct rx *rx)
{
	struct list_head batch = LIST_HEAD_INIT(batch);
	u32 n = 0, buffers = 0, len;
	int id;

	/* The second look is for a queue that ran out of memory to post. */
	if (!virtq_pending(&rx->q) &&
	    (rx->q.broken || NIC_RING_SIZE - READ_ONCE(rx->q.nr_free) >= rx->target / 2))
		return false;
	if (!spin_trylock(&rx->lock))
		return false;
	while (n < RX_BATCH && (id = virtq_get(&rx->q, &len)) >= 0) {
		struct pkt *p = rx->missing ? rx_continue(rx, rx->nb[id], len)
					    : rx_begin(rx, rx->nb[id], len);

		buffers++;
		if (!p)
			continue;
		rx->partial = NULL;
		nic->nif.rx_packets++;
		nic->nif.rx_bytes += p->total;
		list_add_tail(&p->link, &batch);
		n++;
	}
	if (buffers > rx->target / 2)
		rx->target = min(2 * rx->target, NIC_RING_SIZE);
	rx_refill(rx);
	while (!list_empty(&batch)) {
		struct pkt *p = list_first(&batch, struct pkt, link);

		list_del(&p->link);
		netif_receive(&nic->nif, p);
	}
	spin_unlock(&rx->lock);
	return buffers;
}

/* Transmission */

/* Gives back what the device has sent. tx->lock held. True: there was something. */
static bool tx_reclaim(struct tx *tx)
{
	bool did = false;
	u32 len;
	int id;

	while ((id = virtq_get(&tx->q, &len)) >= 0) {
		if (tx->sent[id].hdr != NBUF_NONE)
			nbuf_put(tx->sent[id].hdr);
		pkt_free(tx->sent[id].p);
		did = true;
	}
	return did;
}

static struct nic_hdr tx_header(const struct pkt *p)
{
	struct nic_hdr h = {.gso_type = NIC_HDR_GSO_NONE};
	u32 start;

	if (!(p->flags & PKT_CSUM_PARTIAL))
		return h;
	start = nbuf_addr(p->head) + p->csum_start - p->data;
	h.flags = NIC_HDR_F_NEEDS_CSUM;
	h.csum_start = start;
	h.csum_offset = p->csum_offset;
	if (p->gso_size && start + 20 <= p->len) {
		u32 hdr_len = start + (p->data[start + 12] >> 4) *
					      4u; /* TCP's data offset, RFC 9293, 3.1 */

		if (hdr_len < p->total && p->total - hdr_len > p->gso_size) {
			h.gso_type = NIC_HDR_GSO_TCPV4;
			h.gso_size = p->gso_size;
			h.hdr_len = hdr_len;
		}
	}
	return h;
}

/* Descriptors that it takes at most. */
static u32 tx_need(const struct pkt *p)
{
	return p->nr_frags + 2u;
}

/* Makes p available. tx->lock held, and tx_need() descriptors are free. -ENOBUFS: no memory for the
 * header. */
static int tx_post(struct tx *tx, struct pkt *p)
{
	struct nic_hdr h = tx_header(p);
	struct virtq_seg segs[TX_SEGS];
	u32 n = 0, hdr = NBUF_NONE;
	u8 *room = pkt_push(p, HDR);
	int id;

	if (!room) {
		/* The buffer is shared, or full up to its front. */
		hdr = nbuf_alloc();
		if (hdr == NBUF_NONE)
			return -ENOBUFS;
		room = nbuf_addr(hdr);
		segs[n++] = (struct virtq_seg){room - nic->region, HDR};
	}
	memcpy(room, &h, HDR);
	if (p->len)
		segs[n++] = (struct virtq_seg){p->data - nic->region, p->len};
	for (u32 i = 0; i < p->nr_frags; i++) {
		const struct pkt_frag *f = &p->frags[i];

		segs[n++] = (struct virtq_seg){nbuf_addr(f->nb) + f->off - nic->region, f->len};
	}
	id = virtq_add(&tx->q, segs, n, false);
	if (id < 0) { /* only a broken queue */
		if (hdr != NBUF_NONE)
			nbuf_put(hdr);
		return -ENOBUFS;
	}
	tx->sent[id].p = p;
	tx->sent[id].hdr = hdr;
	return 0;
}

/* Moves the queue on into the ring. tx->lock held. True: something moved. */
static bool tx_flush(struct tx *tx)
{
	bool moved = false;

	while (!list_empty(&tx->queue)) {
		struct pkt *p = list_first(&tx->queue, struct pkt, link);
		u32 need = tx_need(p);

		if (need > tx->q.nr_free && !tx->q.broken)
			break;
		list_del(&p->link);
		tx->queued -= need;
		if (tx_post(tx, p)) {
			nic->nif.tx_dropped++;
			pkt_free(p);
			continue;
		}
		moved = true;
	}
	if (moved && virtq_wants_kick(&tx->q))
		ring();
	return moved;
}

static int nic_xmit(struct netif *nif, struct pkt *p)
{
	struct tx *tx = &nic->pairs[this_kthread()->id % nic->nr_pairs].tx;
	u32 need = tx_need(p), bytes = p->total;
	int err = 0;

	spin_lock(&tx->lock);
	if (tx->q.nr_free < NIC_RING_SIZE / 2) {
		tx_reclaim(tx);
		tx_flush(tx);
	}
	if (tx->q.broken || tx->queued + need > TX_QUEUE_MAX) {
		err = -ENOBUFS;
	} else if (tx->queued || tx->q.nr_free < need) {
		list_add_tail(&p->link, &tx->queue);
		tx->queued += need;
	} else {
		err = tx_post(tx, p);
		if (!err && virtq_wants_kick(&tx->q))
			ring();
	}
	spin_unlock(&tx->lock);
	if (err) {
		nif->tx_dropped++;
		pkt_free(p);
		return err;
	}
	nif->tx_packets++;
	nif->tx_bytes += bytes;
	return 0;
}

static bool tx_poll(struct tx *tx)
{
	bool did;

	if (!virtq_pending(&tx->q) && !READ_ONCE(tx->queued))
		return false;
	if (!spin_trylock(&tx->lock))
		return false;
	did = tx_reclaim(tx);
	did |= tx_flush(tx);
	spin_unlock(&tx->lock);
	return did;
}

/* For poll.c */

bool virtio_poll(u32 id, bool (*parked)(u32 i))
{
	struct pair *own = &nic->pairs[id % nic->nr_pairs];
	bool did = rx_poll(&own->rx);

	tx_poll(&own->tx);
	for (u32 k = 1; k < nic->nr_pairs; k++) {
		u32 i = (id + k) % nic->nr_pairs;

		if (!parked(i))
			continue;
		did |= rx_poll(&nic->pairs[i].rx);
		tx_poll(&nic->pairs[i].tx);
	}
	return did;
}

bool virtio_pending(u32 id, bool (*parked)(u32 i))
{
	if (virtq_pending(&nic->pairs[id % nic->nr_pairs].rx.q))
		return true;
	for (u32 k = 1; k < nic->nr_pairs; k++) {
		u32 i = (id + k) % nic->nr_pairs;

		if (virtq_pending(&nic->pairs[i].rx.q) && parked(i))
			return true;
	}
	return false;
}

void virtio_events(u32 id, bool on)
{
	virtq_events(&nic->pairs[id % nic->nr_pairs].rx.q, on);
}

bool virtio_backlogged(u32 id)
{
	return READ_ONCE(nic->pairs[id % nic->nr_pairs].tx.queued);
}

bool virtio_unsent(void)
{
	for (u32 i = 0; nic && i < nic->nr_pairs; i++) {
		struct tx *tx = &nic->pairs[i].tx;

		/* What it has taken but we have not reclaimed is gone: look at that first. */
		tx_poll(tx);
		if (!tx->q.broken && (READ_ONCE(tx->queued) || READ_ONCE(tx->q.nr_free) != NIC_RING_SIZE))
			return true;
	}
	return false;
}

void virtio_doorbell(void)
{
	if (virtq_wants_kick(&nic->pairs[0].tx.q))
		ring();
}

struct netif *virtio_netif(void)
{
	return nic ? &nic->nif : NULL;
}

/* Boot */

static bool region_ok(const struct nic_region *r, u64 size)
{
	return r->magic == NIC_MAGIC && r->version == NIC_VERSION && r->nr_pairs &&
	       r->nr_pairs <= NIC_MAX_PAIRS && (r->features & NIC_FEATURES) == NIC_FEATURES &&
	       r->region_size == size && size <= NIC_MAX_REGION && !(r->bufs_off % PAGE_SIZE) &&
	       r->bufs_off >= nic_region_bufs_off(r->nr_pairs) && r->bufs_off < size && size - r->bufs_off >= PAGE_SIZE &&
	       r->mtu >= 576;
}

static void pair_init(struct pair *pair, u32 i)
{
	spin_init(&pair->rx.lock);
	virtq_init(&pair->rx.q, nic->region + NIC_QUEUE_OFF(NIC_RX(i)));
	pair->rx.target = RX_FIRST;
	pair->rx.partial = NULL;
	pair->rx.missing = 0;
	spin_init(&pair->tx.lock);
	virtq_init(&pair->tx.q, nic->region + NIC_QUEUE_OFF(NIC_TX(i)));
	pair->tx.queued = 0;
	list_init(&pair->tx.queue);
	virtq_events(&pair->tx.q, false); /* reclaimed on the way */
	virtq_events(&pair->rx.q, true);
	rx_refill(&pair->rx);
}

int virtio_add(void *base, u64 size, u32 nr_kthreads)
{
	struct nic_region r =
		*(const struct nic_region *)base; /* one copy: the device may change it */
	int err;

	if (!region_ok(&r, size)) {
		klog("net", "the NIC region is not one that this library OS can drive");
		return -EINVAL;
	}
	err = nbuf_init((u8 *)base + r.bufs_off, (size - r.bufs_off) / NBUF_SIZE);
	if (err)
		return err;
	nic = kzalloc(sizeof(*nic));
	if (!nic)
		return -ENOMEM;
	nic->region = base;
	nic->nr_pairs = min(r.nr_pairs, nr_kthreads);
	nic->doorbell = &((struct nic_events *)(nic->region + NIC_QUEUE_OFF(NIC_DOORBELL_QUEUE) +
						NIC_EVENT_OFF))
				 ->doorbell;
	nic->pairs = kmalloc(nic->nr_pairs * sizeof(*nic->pairs));
	if (!nic->pairs)
		return -ENOMEM;
	/* All queues are written now: one host call instead of a page fault each. */
	host_madvise((u64)base, NIC_QUEUE_OFF(2 * nic->nr_pairs), MADV_POPULATE_WRITE);
	for (u32 i = 0; i < nic->nr_pairs; i++)
		pair_init(&nic->pairs[i], i);
	nic->nif = (struct netif){
		.name = "eth0",
		.flags = NETIF_UP | NETIF_CSUM | NETIF_TSO | NETIF_ARP,
		.mtu = r.mtu,
		.xmit = nic_xmit,
	};
	memcpy(nic->nif.lladdr, r.mac, 6);
	netif_add(&nic->nif);
	return 0;
}
