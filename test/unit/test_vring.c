/*
 * test_vring.c - the device side of the packed ring: a correct driver, each way to be incorrect,
 * and a hostile one.
 *
 * The region lies between pages that cannot be touched.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/vring.h"
#include "test/unit/test_seed.h"

#define BUFS 512u
#define OFF nic_region_bufs_off(1)
#define SIZE (OFF + BUFS * NIC_BUF_SIZE)

static uint8_t *region;
static struct vring dev;

/* The driver of one queue, as the library OS has one: state of its own, wrap counters, chains. */
static struct driver {
	struct nic_desc *desc;
	struct nic_events *ev;
	uint16_t next, used;
	bool wrap, used_wrap, receive;
	uint16_t chain[NIC_RING_SIZE]; /* descriptors of buffer id */
} drv;

static void setup(uint32_t q)
{
	if (!region) {
		region = mmap(NULL, SIZE + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		cr_assert(region != MAP_FAILED);
		region += 4096;
		cr_assert(mprotect(region, SIZE, PROT_READ | PROT_WRITE) == 0);
	}
	memset(region, 0, OFF);
	vring_init(&dev, region, SIZE, OFF, q);
	drv = (struct driver){.desc = (void *)(region + NIC_QUEUE_OFF(q)),
			      .ev = (void *)(region + NIC_QUEUE_OFF(q) + NIC_EVENT_OFF),
			      .wrap = true,
			      .used_wrap = true,
			      .receive = q % 2 == 0};
}

static uint64_t buf(unsigned i)
{
	return OFF + (uint64_t)i * NIC_BUF_SIZE;
}

/* Makes n pieces available as one chain. */
static void add(const struct iovec *pieces, unsigned n, uint16_t id)
{
	struct nic_desc *head = &drv.desc[drv.next];
	uint16_t head_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		struct nic_desc *d = &drv.desc[drv.next];
		uint16_t flags = (i + 1 < n ? NIC_DESC_F_NEXT : 0) |
				 (drv.receive ? NIC_DESC_F_WRITE : 0) |
				 (drv.wrap ? NIC_DESC_F_AVAIL : NIC_DESC_F_USED);

		d->addr = (uint64_t)(uintptr_t)pieces[i].iov_base;
		d->len = (uint32_t)pieces[i].iov_len;
		d->id = id;
		if (i)
			d->flags = flags;
		else
			head_flags = flags;
		if (++drv.next == NIC_RING_SIZE) {
			drv.next = 0;
			drv.wrap = !drv.wrap;
		}
	}
	drv.chain[id] = n;
	head->flags = head_flags;
}

static void add_one(uint64_t addr, uint32_t len, uint16_t id)
{
	struct iovec io = {(void *)(uintptr_t)addr, len};

	add(&io, 1, id);
}

/* The next used descriptor. */
static bool get_used(uint16_t *id, uint32_t *len)
{
	struct nic_desc *d = &drv.desc[drv.used];

	if (!!(d->flags & NIC_DESC_F_AVAIL) != drv.used_wrap ||
	    !!(d->flags & NIC_DESC_F_USED) != drv.used_wrap)
		return false;
	*id = d->id;
	*len = d->len;
	drv.used += drv.chain[*id];
	if (drv.used >= NIC_RING_SIZE) {
		drv.used -= NIC_RING_SIZE;
		drv.used_wrap = !drv.used_wrap;
	}
	return true;
}

Test(vring, transmit_wraps_with_chains_of_each_length)
{
	uint16_t id;
	uint32_t used_len;

	setup(1);
	for (unsigned round = 0; round < 3000; round++) {
		unsigned n = 1 + round % 7, len = 0;
		struct iovec io[7];
		struct vring_pkt p;
		uint8_t got[7 * 64];

		for (unsigned i = 0; i < n; i++) {
			uint32_t piece = i ? 1 + (round + i) % 60 : 13 + round % 40;

			io[i].iov_base = (void *)(uintptr_t)buf(i);
			io[i].iov_len = piece;
			memset(region + buf(i), (int)(round + i), piece);
			len += piece;
		}
		cr_assert_eq(vring_peek(&dev, &p), 0, "round %u: a packet before there is one",
			     round);
		add(io, n, round % NIC_RING_SIZE);
		cr_assert_eq(vring_peek(&dev, &p), 1, "round %u", round);
		cr_assert_eq(p.len, len - sizeof(struct nic_hdr), "round %u: %u bytes", round,
			     p.len);
		cr_assert_eq(p.hdr.flags, (uint8_t)round);
		len = 0;
		for (unsigned i = 0; i < p.niov; i++) {
			memcpy(got + len, p.iov[i].iov_base, p.iov[i].iov_len);
			len += p.iov[i].iov_len;
		}
		cr_assert_eq(len, p.len);
		cr_assert(len == 0 || got[len - 1] == (uint8_t)(round + n - 1),
			  "round %u: last byte", round);
		vring_done(&dev, &p);
		cr_assert(get_used(&id, &used_len) && id == round % NIC_RING_SIZE,
			  "round %u: not returned", round);
	}
}

Test(vring, header_over_many_descriptors)
{
	struct iovec io[13];
	struct vring_pkt p;

	setup(1);
	for (unsigned i = 0; i < 13; i++) {
		io[i].iov_base = (void *)(uintptr_t)buf(i);
		io[i].iov_len = 1;
		region[buf(i)] = (uint8_t)(i + 1);
	}
	add(io, 13, 3);
	cr_assert_eq(vring_peek(&dev, &p), 1);
	cr_assert_eq(p.len, 1);
	cr_assert_eq(p.niov, 1);
	cr_assert_eq(*(uint8_t *)p.iov[0].iov_base, 13);
	cr_assert_eq(p.hdr.num_buffers, 11 | 12 << 8);
}

static int put(uint32_t len, uint8_t fill)
{
	static uint8_t frame[66000];
	struct iovec io[2] = {{frame, len / 3}, {frame + len / 3, len - len / 3}};
	struct nic_hdr h = {0};

	memset(frame, fill, len);
	return vring_put(&dev, &h, io, 2, len);
}

Test(vring, receive_merges_buffers_and_wraps)
{
	uint16_t id;
	uint32_t len, posted = 0;

	setup(0);
	for (; posted < NIC_RING_SIZE; posted++)
		add_one(buf(posted), NIC_BUF_SIZE, posted);
	for (unsigned round = 0; round < 2000; round++) {
		uint32_t size = 60 + round * 977 % 65000, total = size + sizeof(struct nic_hdr), n;
		struct nic_hdr h;

		cr_assert_eq(put(size, (uint8_t)round), 0, "round %u", round);
		n = (total + NIC_BUF_SIZE - 1) / NIC_BUF_SIZE;
		for (unsigned i = 0; i < n; i++) {
			cr_assert(get_used(&id, &len), "round %u: buffer %u of %u", round, i, n);
			cr_assert_eq(len, total < NIC_BUF_SIZE ? total : NIC_BUF_SIZE);
			if (i == 0) {
				memcpy(&h, region + buf(id), sizeof(h));
				cr_assert_eq(h.num_buffers, n);
			}
			cr_assert_eq(region[buf(id) + len - 1], (uint8_t)round);
			total -= len;
			add_one(buf(id), NIC_BUF_SIZE, id);
		}
		cr_assert(!get_used(&id, &len));
	}
}

Test(vring, a_full_ring_changes_nothing)
{
	struct nic_desc before[NIC_RING_SIZE];
	uint16_t id;
	uint32_t len;

	setup(0);
	cr_assert_eq(put(100, 1), -ENOSPC);
	add_one(buf(0), NIC_BUF_SIZE, 0);
	add_one(buf(1), NIC_BUF_SIZE, 1);
	memcpy(before, drv.desc, sizeof(before));
	cr_assert_eq(put(5000, 2), -ENOSPC);
	cr_assert_eq(memcmp(before, drv.desc, sizeof(before)), 0);
	cr_assert_eq(region[buf(0)], 0);
	cr_assert_eq(put(3000, 3), 0);
	cr_assert(get_used(&id, &len) && id == 0 && get_used(&id, &len) && id == 1);
	cr_assert_eq(put(60, 3), -ENOSPC);
}

Test(vring, tiny_buffers_do_not_hold_a_large_frame)
{
	setup(0);
	for (unsigned i = 0; i < NIC_RING_SIZE; i++)
		add_one(buf(i), 16, i);
	cr_assert_eq(put(1500, 1), -ENOSPC);
	cr_assert_eq(put(100, 1), 0);
	cr_assert_null(dev.stop);
}

Test(vring, receive_into_chains)
{
	struct iovec io[4];
	uint16_t id;
	uint32_t len;

	setup(0);
	for (unsigned i = 0; i < 4; i++)
		io[i] = (struct iovec){(void *)(uintptr_t)buf(i), 500};
	add(io, 4, 9);
	add_one(buf(5), 2048, 10);
	cr_assert_eq(put(2100, 0x5a), 0);
	cr_assert(get_used(&id, &len) && id == 9 && len == 2000);
	cr_assert(get_used(&id, &len) && id == 10 && len == 112);
	cr_assert_eq(region[buf(5) + 111], 0x5a);
	cr_assert_eq(region[buf(5) + 112], 0);
}

Test(vring, events)
{
	setup(1);
	cr_assert_eq(drv.ev->device.flags, NIC_EVENT_DISABLE);
	vring_device_events(&dev, true);
	cr_assert_eq(drv.ev->device.flags, NIC_EVENT_ENABLE);
	cr_assert(vring_wants_event(&dev));
	drv.ev->driver.flags = NIC_EVENT_DISABLE;
	cr_assert(!vring_wants_event(&dev));
	cr_assert(!vring_pending(&dev));
	add_one(buf(0), 100, 0);
	cr_assert(vring_pending(&dev));
}

/* Each thing that a correct driver cannot have written: it stops the ring for good, and says why.
 */
static void stops(uint32_t q, struct nic_desc bad, unsigned n, const char *why)
{
	struct vring_pkt p;

	setup(q);
	for (unsigned i = 0; i < n; i++) {
		drv.desc[i] = bad;
		if (i + 1 == n && n <= NIC_MAX_CHAIN)
			drv.desc[i].flags &= ~NIC_DESC_F_NEXT;
	}
	cr_assert_eq(q ? vring_peek(&dev, &p) : put(100, 1), -EBADMSG, "%s", why);
	cr_assert_str_eq(dev.stop, why);
	/* Its memory in order again does not start it again. */
	memset(drv.desc, 0, NIC_RING_SIZE * sizeof(*drv.desc));
	add_one(buf(0), 2048, 0);
	cr_assert_eq(q ? vring_peek(&dev, &p) : put(100, 1), -EBADMSG, "%s: works again", why);
	cr_assert(!vring_pending(&dev));
}

Test(vring, violations)
{
	const uint16_t ok = NIC_DESC_F_AVAIL, w = ok | NIC_DESC_F_WRITE;
	const char *out = "descriptor outside the region's buffers";

	stops(1, (struct nic_desc){buf(0), 100, 0, w}, 1, "descriptor of the wrong direction");
	stops(0, (struct nic_desc){buf(0), 2048, 0, ok}, 1, "descriptor of the wrong direction");
	stops(1, (struct nic_desc){buf(0), 0, 0, ok}, 1, "descriptor of length 0");
	stops(1, (struct nic_desc){buf(0), 100, 0, ok | 4}, 1, "descriptor with unknown flags");
	stops(1, (struct nic_desc){buf(0), 100, NIC_RING_SIZE, ok}, 1, "buffer id out of range");
	stops(1, (struct nic_desc){buf(0), 100, 0, ok | NIC_DESC_F_NEXT}, NIC_MAX_CHAIN + 1,
	      "chain too long");
	stops(0, (struct nic_desc){buf(0), 100, 0, w | NIC_DESC_F_NEXT}, NIC_MAX_CHAIN + 1,
	      "chain too long");
	stops(1, (struct nic_desc){buf(0), 11, 0, ok}, 1, "packet shorter than its header");
	stops(1, (struct nic_desc){OFF, SIZE - OFF, 0, ok}, 1, "packet longer than any can be");
	stops(1, (struct nic_desc){OFF - 1, 100, 0, ok}, 1, out);
	stops(1, (struct nic_desc){SIZE, 1, 0, ok}, 1, out);
	stops(1, (struct nic_desc){SIZE - 1, 2, 0, ok}, 1, out);
	stops(0, (struct nic_desc){SIZE - 1, 0xffffffff, 0, w}, 1, out);
	stops(1, (struct nic_desc){UINT64_MAX, 0xffffffff, 0, ok}, 1, out);
	stops(1, (struct nic_desc){UINT64_MAX - 50, 100, 0, ok}, 1, out);
	stops(1, (struct nic_desc){0, 100, 0, ok}, 1, out);
}

Test(vring, longest_chain_is_fine)
{
	struct iovec io[NIC_MAX_CHAIN];
	struct vring_pkt p;

	setup(1);
	for (unsigned i = 0; i < NIC_MAX_CHAIN; i++)
		io[i] = (struct iovec){(void *)(uintptr_t)buf(i), 1000};
	add(io, NIC_MAX_CHAIN, 255);
	cr_assert_eq(vring_peek(&dev, &p), 1);
	cr_assert_eq(p.len, NIC_MAX_CHAIN * 1000 - sizeof(struct nic_hdr));
}

static bool hostile_stop;

/* Writes random things over rings, events and buffers while the device works: mostly likely ones.
 */
static void *hostile(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;

	while (!__atomic_load_n(&hostile_stop, __ATOMIC_RELAXED)) {
		volatile struct nic_desc *d;
		uint64_t r;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		r = seed >> 16;
		d = (void *)(region + NIC_QUEUE_OFF(r & 1) + ((r >> 1) % NIC_RING_SIZE) * 16);
		switch ((r >> 16) % 8) {
		case 0:
			d->addr = seed;
			break;
		case 1:
			d->len = (uint32_t)(seed >> 32);
			break;
		case 2:
			region[NIC_QUEUE_OFF(0) + seed % (SIZE - NIC_QUEUE_OFF(0))] =
				(uint8_t)(seed >> 40);
			break;
		case 3:
			d->id = (uint16_t)(seed >> 48);
			break;
		default:
			d->addr = OFF + (seed >> 24) % (SIZE - OFF - 2048);
			d->len = 1 + (uint32_t)(seed >> 40) % 2048;
			d->id = (r >> 20) % NIC_RING_SIZE;
			d->flags = ((r & 1) ? 0 : NIC_DESC_F_WRITE) | ((r >> 30) & 1) |
				   ((r >> 31) & 1 ? NIC_DESC_F_AVAIL : NIC_DESC_F_USED);
		}
	}
	return NULL;
}

Test(vring, hostile_driver_in_another_thread, .timeout = 60)
{
	uint64_t seed = test_random64(), first = seed, packets = 0, puts = 0, stopped = 0;
	static struct frame f;
	struct timespec t0, t;
	struct vring rx, tx;
	pthread_t thread;

	setup(0);
	vring_init(&rx, region, SIZE, OFF, 0);
	vring_init(&tx, region, SIZE, OFF, 1);
	cr_assert_eq(pthread_create(&thread, NULL, hostile, &seed), 0);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		for (unsigned i = 0; i < 1000; i++) {
			static uint8_t copy[70000];
			struct vring_pkt p;
			uint32_t len = 0;

			/* A device that has a new instance each time the last one was stopped. */
			if (rx.stop || tx.stop) {
				stopped++;
				vring_init(&rx, region, SIZE, OFF, 0);
				vring_init(&tx, region, SIZE, OFF, 1);
			}
			if (vring_peek(&tx, &p) == 1) {
				for (unsigned k = 0; k < p.niov; k++) {
					memcpy(copy + len, p.iov[k].iov_base, p.iov[k].iov_len);
					len += p.iov[k].iov_len;
				}
				cr_assert_eq(len, p.len);
				frame_load(&f, p.iov, p.niov, p.len);
				if (frame_parse(&f))
					frame_offload(&f, &p.hdr, 1500);
				vring_done(&tx, &p);
				packets++;
			}
			{
				struct iovec io = {copy, (i * 131) % 65000};
				struct nic_hdr h = {0};

				puts += vring_put(&rx, &h, &io, 1, io.iov_len) == 0;
			}
			cr_assert(tx.next < NIC_RING_SIZE && rx.next < NIC_RING_SIZE);
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while ((t.tv_sec - t0.tv_sec) * 1000 + (t.tv_nsec - t0.tv_nsec) / 1000000 < 1500);
	__atomic_store_n(&hostile_stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	cr_assert(stopped > 0 && packets > 0 && puts > 0,
		  "seed %llu: stopped %llu, packets %llu, puts %llu", (unsigned long long)first,
		  (unsigned long long)stopped, (unsigned long long)packets,
		  (unsigned long long)puts);
}
