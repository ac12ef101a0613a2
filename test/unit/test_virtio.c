/*
 * test_virtio.c - the driver of the NIC against a device written here from virtio 1.2, 2.8 and 5.1.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "libos/net/poll.h"
#include "libos/platform/hostcall.h"
#include "libos/sched/uthread.h"
#include "pkt_host.h"
#include "test_seed.h"

#define PAIRS 2
#define BUFS 1200u
#define RING NIC_RING_SIZE
#define POSTED 64u /* receive buffers of a queue at first */

/* Stand-ins */

__thread struct uthread *hosted_current;
struct kthread kthreads[CTL_MAX_KTHREADS];
static u32 rings; /* FUTEX_WAKEs */
static struct list_head received = LIST_HEAD_INIT(received);
static bool parked_now[NIC_MAX_PAIRS];

long host_futex_wake(u32 *word, int n, bool shared)
{
	cr_assert(shared);
	rings++;
	return 0;
}

long host_madvise(u64 addr, u64 len, int advice)
{
	return 0;
}

void netif_receive(struct netif *nif, struct pkt *p)
{
	cr_assert_eq(p->nif, nif);
	list_add_tail(&p->link, &received);
}

static bool parked(u32 i)
{
	return parked_now[i];
}

/* The device: one side of a queue, with nothing but the ring in common with the driver. */

struct dev_queue {
	struct nic_desc *ring;
	struct nic_events *ev;
	u32 next, used;
	bool next_wrap, used_wrap;
};

struct chain {
	u16 id, slots;
	u32 len;
	u64 addr[NIC_MAX_CHAIN];
	u32 n[NIC_MAX_CHAIN];
};

static u8 *region;
static size_t region_size;
static struct dev_queue dq[2 * PAIRS];

static struct nic_region *header(void)
{
	return (struct nic_region *)region;
}

static void make_region(void)
{
	region_size = nic_region_bufs_off(PAIRS) + BUFS * NIC_BUF_SIZE;
	region = aligned_alloc(4096, region_size);
	memset(region, 0, nic_region_bufs_off(PAIRS));
	memset(region + nic_region_bufs_off(PAIRS), 0x5a, BUFS * NIC_BUF_SIZE);
	*header() = (struct nic_region){
		.magic = NIC_MAGIC,
		.version = NIC_VERSION,
		.nr_pairs = PAIRS,
		.features = NIC_FEATURES,
		.region_size = region_size,
		.bufs_off = nic_region_bufs_off(PAIRS),
		.mac = {2, 1, 2, 3, 4, 5},
		.mtu = 1500,
	};
	for (u32 q = 0; q < 2 * PAIRS; q++) {
		u8 *block = region + NIC_QUEUE_OFF(q);

		dq[q] = (struct dev_queue){
			(void *)block, (void *)(block + NIC_EVENT_OFF), 0, 0, true, true};
		dq[q].ev->device.flags = NIC_EVENT_DISABLE;
	}
}

static void start(void)
{
	make_region();
	cr_assert_eq(virtio_add(region, region_size, PAIRS), 0);
	cr_assert_eq(nbuf_free_count(), BUFS - PAIRS * POSTED);
}

static bool bit(u16 flags, u16 f)
{
	return flags & f;
}

/* Takes the next available chain; false: there is none. */
static bool dev_pop(struct dev_queue *q, struct chain *c)
{
	struct nic_desc *d = &q->ring[q->next];

	if (bit(d->flags, NIC_DESC_F_AVAIL) != q->next_wrap ||
	    bit(d->flags, NIC_DESC_F_USED) == q->next_wrap)
		return false;
	c->slots = 0;
	c->len = 0;
	for (;;) {
		d = &q->ring[q->next];
		cr_assert_lt(c->slots, NIC_MAX_CHAIN);
		cr_assert_eq(bit(d->flags, NIC_DESC_F_AVAIL), q->next_wrap);
		cr_assert_neq(bit(d->flags, NIC_DESC_F_USED), q->next_wrap);
		cr_assert(d->addr >= header()->bufs_off && d->addr + d->len <= region_size);
		cr_assert_leq(d->len, NIC_BUF_SIZE);
		c->addr[c->slots] = d->addr;
		c->n[c->slots++] = d->len;
		c->len += d->len;
		c->id = d->id;
		if (++q->next == RING) {
			q->next = 0;
			q->next_wrap = !q->next_wrap;
		}
		if (!(d->flags & NIC_DESC_F_NEXT))
			break;
	}
	return true;
}

static void dev_use(struct dev_queue *q, u16 id, u32 len, u16 slots)
{
	struct nic_desc *d = &q->ring[q->used];

	d->id = id;
	d->len = len;
	d->flags = q->used_wrap ? NIC_DESC_F_AVAIL | NIC_DESC_F_USED : 0;
	q->used += slots;
	if (q->used >= RING) {
		q->used -= RING;
		q->used_wrap = !q->used_wrap;
	}
}

static void dev_read(const struct chain *c, u8 *to)
{
	for (u32 i = 0; i < c->slots; i++) {
		memcpy(to, region + c->addr[i], c->n[i]);
		to += c->n[i];
	}
}

/* A frame of n bytes, byte i being (u8)(seed + i), into as many buffers as it takes. Buffers used,
 * 0: too few. */
static u32 dev_send(u32 queue, u32 n, u8 seed, struct nic_hdr h, u32 first_buffers)
{
	struct chain c[40];
	u32 bufs = (n + sizeof(h) + NIC_BUF_SIZE - 1) / NIC_BUF_SIZE, done = 0;

	h.num_buffers = bufs;
	for (u32 i = 0; i < bufs; i++) {
		if (!dev_pop(&dq[queue], &c[i]))
			cr_assert_fail("the driver posted only %u buffers of %u", i, bufs);
		cr_assert_eq(c[i].slots, 1);
		cr_assert_eq(c[i].len, NIC_BUF_SIZE);
	}
	for (u32 i = 0; i < bufs; i++) {
		u32 off = i ? 0 : sizeof(h), part = min(NIC_BUF_SIZE - off, n - done);
		u8 *to = region + c[i].addr[0];

		if (!i)
			memcpy(to, &h, sizeof(h));
		for (u32 k = 0; k < part; k++)
			to[off + k] = seed + done + k;
		done += part;
		if (i == first_buffers) /* the rest comes later: the driver has a look between */
			cr_assert(virtio_poll(0, parked));
		dev_use(&dq[queue], c[i].id, off + part, 1);
	}
	return bufs;
}

static void check_pkt(struct pkt *p, u32 n, u8 seed)
{
	u8 *buf = malloc(n);

	cr_assert_eq(p->total, n);
	pkt_copy_out(p, 0, buf, n);
	for (u32 i = 0; i < n; i++)
		cr_assert_eq(buf[i], (u8)(seed + i));
	free(buf);
}

static struct pkt *next_received(void)
{
	struct pkt *p;

	if (list_empty(&received))
		return NULL;
	p = list_first(&received, struct pkt, link);
	list_del(&p->link);
	return p;
}

static int xmit(struct pkt *p)
{
	return virtio_netif()->xmit(virtio_netif(), p);
}

/* What was sent is n bytes from seed on; its header. */
static struct nic_hdr check_sent(const struct chain *c, u32 n, u8 seed)
{
	struct nic_hdr h;
	u8 *buf;

	cr_assert_eq(c->len, n + sizeof(h));
	buf = malloc(c->len);
	dev_read(c, buf);
	memcpy(&h, buf, sizeof(h));
	for (u32 i = 0; i < n; i++)
		cr_assert_eq(buf[sizeof(h) + i], (u8)(seed + i));
	free(buf);
	return h;
}

static struct nic_hdr expect_sent(struct chain *c, u32 n, u8 seed)
{
	cr_assert(dev_pop(&dq[NIC_TX(0)], c));
	return check_sent(c, n, seed);
}

/* Everything is back but what is posted. */
static void nothing_leaked(u32 posted)
{
	for (int i = 0; i < 50; i++)
		virtio_poll(0, parked);
	cr_assert_eq(nbuf_free_count(), BUFS - posted);
}

/* Tests */

Test(virtio, region_is_checked)
{
	static const struct {
		size_t off, size;
		u64 value;
	} bad[] = {
		{offsetof(struct nic_region, magic), 8, 1},
		{offsetof(struct nic_region, version), 4, 99},
		{offsetof(struct nic_region, nr_pairs), 4, 0},
		{offsetof(struct nic_region, nr_pairs), 4, NIC_MAX_PAIRS + 1},
		{offsetof(struct nic_region, nr_pairs), 4, 60}, /* buffers within the queues */
		{offsetof(struct nic_region, features), 8, NIC_FEATURES & ~NIC_F_MRG_RXBUF},
		{offsetof(struct nic_region, region_size), 8, 4096},
		{offsetof(struct nic_region, bufs_off), 8, 4096},
		{offsetof(struct nic_region, bufs_off), 8, 0xfffffffffffff000},
		{offsetof(struct nic_region, mtu), 2, 100},
	};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		make_region();
		memcpy(region + bad[i].off, &bad[i].value, bad[i].size);
		cr_assert_eq(virtio_add(region, region_size, PAIRS), -EINVAL, "%u", i);
		cr_assert_null(virtio_netif());
		free(region);
	}
}

Test(virtio, interface)
{
	start();
	cr_assert_str_eq(virtio_netif()->name, "eth0");
	cr_assert_eq(virtio_netif()->mtu, 1500);
	cr_assert_arr_eq(virtio_netif()->lladdr, header()->mac, 6);
	cr_assert_eq(netif_by_name("eth0"), virtio_netif());
}

Test(virtio, sends_and_reclaims)
{
	struct chain c;
	struct nic_hdr h;

	start();
	cr_assert_eq(xmit(pkt_host_make(100, 100, 1, 7)), 0);
	h = expect_sent(&c, 100, 7);
	cr_assert_eq(c.slots, 1, "header and frame stand in one buffer");
	cr_assert_eq(h.flags, 0);
	cr_assert_eq(h.gso_type, NIC_HDR_GSO_NONE);
	cr_assert_eq(nbuf_free_count(), BUFS - PAIRS * POSTED - 1, "the device still has it");
	dev_use(&dq[NIC_TX(0)], c.id, 0, c.slots);
	nothing_leaked(PAIRS * POSTED);
}

Test(virtio, sends_round_the_ring_and_the_device_finishes_in_any_order)
{
	struct chain open[40];
	u32 nr_open = 0, sent = 0;
	struct {
		u32 n;
		u8 seed;
	} fifo[64];
	u32 head = 0, tail = 0;

	start();
	while (sent < 4000 || nr_open || head != tail) {
		u32 what = test_random(3);

		if (what == 0 && sent < 4000 && head - tail < 30) {
			u32 linear = 14 + test_random(200),
			    n = linear + test_random(2) * test_random(9000);
			u8 seed = test_random(256);

			cr_assert_eq(xmit(pkt_host_make(linear, n, 300 + test_random(1000), seed)),
				     0);
			fifo[head % 64].n = n;
			fifo[head++ % 64].seed = seed;
			sent++;
		} else if (what == 1 && head != tail && nr_open < 40 &&
			   dev_pop(&dq[NIC_TX(0)], &open[nr_open])) {
			check_sent(&open[nr_open++], fifo[tail % 64].n, fifo[tail % 64].seed);
			tail++;
		} else if (nr_open) {
			u32 i = test_random(nr_open);

			dev_use(&dq[NIC_TX(0)], open[i].id, 0, open[i].slots);
			open[i] = open[--nr_open];
			if (test_random(4) == 0)
				virtio_poll(0, parked);
		} else {
			virtio_poll(0, parked); /* what stood behind the ring moves on */
		}
	}
	cr_assert_eq(virtio_netif()->tx_packets, 4000);
	nothing_leaked(PAIRS * POSTED);
}

Test(virtio, packets_wait_behind_a_full_ring_and_are_dropped_behind_a_full_queue)
{
	u32 sent = 0, dropped = 0;
	long held;
	struct chain c;

	start();
	held = pkt_host_allocated();
	while (dropped < 10) {
		struct pkt *p = pkt_alloc(PKT_HEADROOM);
		u32 nb;

		cr_assert_not_null(p);
		memset(pkt_put(p, 20), sent, 20);
		/* Many fragments of one buffer fill the ring before the pool is empty. */
		nb = nbuf_alloc();
		for (u32 i = 0; i < 30; i++) {
			nbuf_get(nb);
			cr_assert_eq(pkt_add_frag(p, nb, 64 * i, 10), 0);
		}
		nbuf_put(nb);
		int r = xmit(p);

		cr_assert(r == 0 || r == -ENOBUFS);
		cr_assert(r || !dropped);
		dropped += r != 0;
		sent += r == 0;
	}
	cr_assert_gt(sent, 128);
	cr_assert(virtio_backlogged(0));
	cr_assert_eq(virtio_netif()->tx_dropped, 10);
	for (u32 i = 0; i < sent; i++) {
		u8 buf[400];

		for (u32 k = 0; !dev_pop(&dq[NIC_TX(0)], &c); k++) {
			cr_assert_lt(k, 2, "%u of %u came", i, sent);
			virtio_poll(0, parked);
		}
		cr_assert_eq(c.slots, 31);
		dev_read(&c, buf);
		cr_assert_eq(buf[12], (u8)i, "out of order");
		dev_use(&dq[NIC_TX(0)], c.id, 0, c.slots);
	}
	nothing_leaked(PAIRS * POSTED);
	cr_assert(!virtio_backlogged(0));
	cr_assert_eq(pkt_host_allocated(), held);
}

Test(virtio, header_of_a_shared_buffer_stands_elsewhere)
{
	struct pkt *p;
	struct chain c;
	u8 before[32];
	u32 nb;

	start();
	p = pkt_host_make(50, 200, 60, 9);
	nb = p->head;
	nbuf_get(nb);
	memcpy(before, p->data - 32, 32);
	cr_assert_eq(xmit(p), 0);
	expect_sent(&c, 200, 9);
	cr_assert_eq(c.n[0], sizeof(struct nic_hdr));
	cr_assert_arr_eq(nbuf_addr(nb) + PKT_HEADROOM - 32, before, 32);
	dev_use(&dq[NIC_TX(0)], c.id, 0, c.slots);
	virtio_poll(0, parked);
	nbuf_put(nb);
	nothing_leaked(PAIRS * POSTED);
}

Test(virtio, offloads_are_asked_for)
{
	struct pkt *p;
	struct chain c;
	struct nic_hdr h;
	u8 seed = 0x50 - 46; /* so that byte 46, TCP's data offset, says 5 words */

	start();
	for (int gso = 0; gso < 3; gso++) {
		u32 n = gso == 2 ? 54 + 1000 : 5000;

		p = pkt_host_make(54, n, 700, seed);
		p->flags = PKT_CSUM_PARTIAL;
		p->csum_start = p->data + 34 - nbuf_addr(p->head);
		p->csum_offset = 16;
		p->gso_size = gso ? 1400 : 0;
		cr_assert_eq(xmit(p), 0);
		h = expect_sent(&c, n, seed);
		cr_assert_eq(h.flags, NIC_HDR_F_NEEDS_CSUM);
		cr_assert_eq(h.csum_start, 34);
		cr_assert_eq(h.csum_offset, 16);
		cr_assert_eq(h.gso_type, gso == 1 ? NIC_HDR_GSO_TCPV4 : NIC_HDR_GSO_NONE);
		cr_assert_eq(h.gso_size, gso == 1 ? 1400 : 0);
		cr_assert_eq(h.hdr_len, gso == 1 ? 54 : 0);
		dev_use(&dq[NIC_TX(0)], c.id, 0, c.slots);
	}
	nothing_leaked(PAIRS * POSTED);
}

Test(virtio, rings_only_when_the_device_wants_to_hear)
{
	u32 *bell, before;

	start();
	bell = &dq[NIC_DOORBELL_QUEUE].ev->doorbell;
	before = *bell;
	cr_assert_eq(*bell, before);
	cr_assert_eq(xmit(pkt_host_make(60, 60, 1, 0)), 0);
	cr_assert_eq(rings, 0);
	dq[NIC_TX(0)].ev->device.flags = NIC_EVENT_ENABLE;
	cr_assert_eq(xmit(pkt_host_make(60, 60, 1, 0)), 0);
	cr_assert_eq(rings, 1);
	cr_assert_eq(*bell, before + 1);
	virtio_doorbell();
	cr_assert_eq(rings, 2);
	dq[NIC_TX(0)].ev->device.flags = NIC_EVENT_DISABLE;
	virtio_doorbell();
	cr_assert_eq(rings, 2);
	/* The queue of another kthread, the same bell. */
	kthreads[0].id = 1;
	dq[NIC_TX(1)].ev->device.flags = NIC_EVENT_ENABLE;
	cr_assert_eq(xmit(pkt_host_make(60, 60, 1, 0)), 0);
	cr_assert_eq(rings, 3);
	cr_assert_eq(*bell, before + 3);
}

Test(virtio, says_whether_it_wants_to_hear)
{
	start();
	cr_assert_eq(dq[NIC_RX(0)].ev->driver.flags, NIC_EVENT_ENABLE);
	cr_assert_eq(dq[NIC_TX(0)].ev->driver.flags, NIC_EVENT_DISABLE);
	virtio_events(1, false);
	cr_assert_eq(dq[NIC_RX(0)].ev->driver.flags, NIC_EVENT_ENABLE);
	cr_assert_eq(dq[NIC_RX(1)].ev->driver.flags, NIC_EVENT_DISABLE);
	virtio_events(1, true);
	cr_assert_eq(dq[NIC_RX(1)].ev->driver.flags, NIC_EVENT_ENABLE);
}

Test(virtio, receives_round_the_ring)
{
	start();
	cr_assert(!virtio_poll(0, parked));
	for (u32 i = 0; i < 3000; i++) {
		u32 n = 14 + test_random(NIC_BUF_SIZE - 12 - 14 + 1), burst = 1 + test_random(20);

		for (u32 k = 0; k < burst; k++)
			dev_send(NIC_RX(0), n, i + k, (struct nic_hdr){0}, 99);
		cr_assert(virtio_pending(0, parked));
		cr_assert(virtio_poll(0, parked));
		for (u32 k = 0; k < burst; k++) {
			struct pkt *p = next_received();

			cr_assert_not_null(p);
			check_pkt(p, n, i + k);
			cr_assert_eq(p->flags, 0);
			cr_assert_eq(p->nr_frags, 0);
			pkt_free(p);
		}
		cr_assert(!virtio_pending(0, parked));
	}
	cr_assert_null(next_received());
	nothing_leaked(PAIRS * POSTED);
}

Test(virtio, mergeable_buffers)
{
	start();
	for (u32 i = 0; i < 300; i++) {
		u32 n = 2000 + test_random(63000),
		    pieces = (n + 12 + NIC_BUF_SIZE - 1) / NIC_BUF_SIZE;
		struct nic_hdr h = {.flags = NIC_HDR_F_NEEDS_CSUM,
				    .gso_type = NIC_HDR_GSO_TCPV4,
				    .gso_size = 1448};
		struct pkt *p;

		/* Now and then the device is interrupted in the middle. */
		dev_send(NIC_RX(0), n, i, h, i % 2 ? 1 + test_random(pieces) : 99);
		cr_assert(virtio_poll(0, parked) || pieces == 1);
		p = next_received();
		cr_assert_not_null(p);
		cr_assert_null(next_received());
		check_pkt(p, n, i);
		cr_assert_eq(p->flags, PKT_CSUM_OK);
		cr_assert_eq(p->gso_size, 1448);
		pkt_free(p);
	}
}

Test(virtio, posts_more_when_much_comes)
{
	struct chain c;
	u32 n = 0;

	start();
	for (u32 i = 0; i < 10; i++) {
		dev_send(NIC_RX(0), 65000, 0, (struct nic_hdr){.flags = NIC_HDR_F_DATA_VALID}, 99);
		dev_send(NIC_RX(0), 20000, 0, (struct nic_hdr){0}, 99);
		virtio_poll(0, parked);
		while (!list_empty(&received))
			pkt_free(next_received());
	}
	while (dev_pop(&dq[NIC_RX(0)], &c))
		n++;
	cr_assert_geq(n, 2 * POSTED);
	cr_assert_leq(n, RING);
}

Test(virtio, what_the_device_writes_is_doubted)
{
	struct chain c;
	static const struct {
		u32 len, buffers;
	} bad[] = {{0, 1}, {11, 1}, {12, 1}, {2049, 1}, {0xffffffff, 1}, {100, 0}};
	struct nic_hdr h = {0};

	start();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert(dev_pop(&dq[NIC_RX(0)], &c));
		h.num_buffers = bad[i].buffers;
		memcpy(region + c.addr[0], &h, sizeof(h));
		dev_use(&dq[NIC_RX(0)], c.id, bad[i].len, 1);
		cr_assert(virtio_poll(0, parked));
		cr_assert_null(next_received(), "%u", i);
	}
	/* A packet of too many buffers: all of them are skipped, and the next packet is whole. */
	for (u32 i = 0; i < 200; i++) {
		cr_assert(dev_pop(&dq[NIC_RX(0)], &c));
		h.num_buffers = 200;
		memcpy(region + c.addr[0], &h, sizeof(h));
		dev_use(&dq[NIC_RX(0)], c.id, 500, 1);
		virtio_poll(0, parked);
	}
	/* A later piece that is too long. */
	for (u32 i = 0; i < 3; i++) {
		cr_assert(dev_pop(&dq[NIC_RX(0)], &c));
		h.num_buffers = 3;
		memcpy(region + c.addr[0], &h, sizeof(h));
		dev_use(&dq[NIC_RX(0)], c.id, i == 1 ? 4000 : 500, 1);
	}
	virtio_poll(0, parked);
	cr_assert_null(next_received());
	dev_send(NIC_RX(0), 500, 3, (struct nic_hdr){0}, 99);
	cr_assert(virtio_poll(0, parked));
	pkt_free(next_received());
	cr_assert_null(next_received());
	nothing_leaked(PAIRS * POSTED);
}

Test(virtio, a_buffer_that_was_not_given_stops_the_queue)
{
	struct chain c;
	u16 ids[] = {300, 0};

	start();
	for (u32 q = 0; q < 2; q++) {
		struct dev_queue *d = &dq[q ? NIC_TX(0) : NIC_RX(0)];

		if (q) {
			cr_assert_eq(xmit(pkt_host_make(60, 60, 1, 0)), 0);
			cr_assert(dev_pop(d, &c));
			dev_use(d, c.id, 0, 1);
			ids[1] = c.id;
		} else {
			cr_assert(dev_pop(d, &c));
		}
		dev_use(d, ids[q], 100, 1); /* tx: the same twice */
		for (int i = 0; i < 5; i++)
			virtio_poll(0, parked);
		cr_assert_null(next_received());
		cr_assert(!virtio_pending(0, parked), "a kthread would never park");
	}
	cr_assert_eq(xmit(pkt_host_make(60, 60, 1, 0)), -ENOBUFS);
	cr_assert_eq(nbuf_free_count(), BUFS - PAIRS * POSTED);
}

Test(virtio, forged_ring_contents)
{
	start();
	for (u32 i = 0; i < 20000; i++) {
		u32 q = test_random(2 * PAIRS);
		u8 *ring = (u8 *)dq[q].ring;

		ring[test_random(test_random(4) ? 256 : 4096)] = test_random(256);
		if (!(i % 4)) {
			struct pkt *p = pkt_alloc(PKT_HEADROOM);

			if (p && pkt_put(p, 60))
				xmit(p);
		}
		parked_now[1] = i % 2;
		virtio_poll(0, parked);
		while (!list_empty(&received))
			pkt_free(next_received());
	}
}

Test(virtio, goes_on_when_there_is_memory_again)
{
	static u32 taken[BUFS];
	u32 n = 0;

	start();
	while ((taken[n] = nbuf_alloc()) != NBUF_NONE)
		n++;
	for (u32 i = 0; i < POSTED; i++)
		dev_send(NIC_RX(0), 1000, i, (struct nic_hdr){0}, 99);
	virtio_poll(0, parked);
	cr_assert_null(pkt_alloc(0), "all is with packets");
	for (u32 i = 0; i < POSTED; i++) {
		struct pkt *p = next_received();

		cr_assert_not_null(p);
		check_pkt(p, 1000, i);
		pkt_free(p);
	}
	while (n)
		nbuf_put(taken[--n]);
	/* Nothing came, but an idle kthread polls before it parks. */
	virtio_poll(0, parked);
	for (u32 i = 0; i < POSTED / 2; i++)
		dev_send(NIC_RX(0), 1000, i, (struct nic_hdr){0}, 99);
	cr_assert(virtio_poll(0, parked));
	while (!list_empty(&received))
		pkt_free(next_received());
}

Test(virtio, packets_without_memory_for_a_packet)
{
	start();
	pkt_host_fail_alloc(1);
	dev_send(NIC_RX(0), 5000, 1, (struct nic_hdr){0}, 99);
	virtio_poll(0, parked);
	cr_assert_null(next_received());
	dev_send(NIC_RX(0), 5000, 1, (struct nic_hdr){0}, 99);
	virtio_poll(0, parked);
	check_pkt(list_first(&received, struct pkt, link), 5000, 1);
	pkt_free(next_received());
	nothing_leaked(PAIRS * POSTED);
}

Test(virtio, queues_of_parked_siblings_are_served)
{
	start();
	dev_send(NIC_RX(1), 100, 1, (struct nic_hdr){0}, 99);
	cr_assert(!virtio_pending(0, parked));
	cr_assert(!virtio_poll(0, parked));
	parked_now[1] = true;
	cr_assert(virtio_pending(0, parked));
	cr_assert(virtio_poll(0, parked));
	check_pkt(list_first(&received, struct pkt, link), 100, 1);
	pkt_free(next_received());
	/* What the sibling had sent is reclaimed, too. */
	kthreads[0].id = 1;
	cr_assert_eq(xmit(pkt_host_make(60, 60, 1, 0)), 0);
	kthreads[0].id = 0;
	struct chain c;

	cr_assert(dev_pop(&dq[NIC_TX(1)], &c));
	dev_use(&dq[NIC_TX(1)], c.id, 0, c.slots);
	nothing_leaked(PAIRS * POSTED);
}
