/*
 * vring.c - device side of one virtqueue (virtio 1.2, 2.8 "Packed Virtqueues"), against a hostile
 * driver.
 */
#include "junctiond/scheduler/vring.h"

#include <errno.h>
#include <string.h>

#define KNOWN_FLAGS (NIC_DESC_F_NEXT | NIC_DESC_F_WRITE | NIC_DESC_F_AVAIL | NIC_DESC_F_USED)

/* Where a walk over the ring stands; becomes the ring's own state only when the walk succeeded. */
struct cursor {
	uint16_t next;
	bool wrap;
};

static void cursor_advance(struct cursor *c)
{
	if (++c->next == NIC_RING_SIZE) {
		c->next = 0;
		c->wrap = !c->wrap;
	}
}

void vring_init(struct vring *v, void *region, uint64_t size, uint64_t bufs_off, uint32_t q)
{
	uint8_t *block = (uint8_t *)region + NIC_QUEUE_OFF(q);

	*v = (struct vring){
		.base = region,
		.size = size,
		.bufs_off = bufs_off,
		.desc = (volatile struct nic_desc *)block,
		.events = (volatile struct nic_events *)(block + NIC_EVENT_OFF),
		.wrap = true,
		.receive = q % 2 == 0,
	};
	v->events->device.flags = NIC_EVENT_DISABLE;
}

static int stop(struct vring *v, const char *why)
{
	v->stop = why;
	return -EBADMSG;
}

/* Is the descriptor at c the driver's? virtio 1.2, 2.8.1: AVAIL equals the wrap counter, USED does
 * not. */
static bool available(const struct vring *v, const struct cursor *c)
{
	uint16_t flags = __atomic_load_n(&v->desc[c->next].flags, __ATOMIC_ACQUIRE);

	return !!(flags & NIC_DESC_F_AVAIL) == c->wrap && !!(flags & NIC_DESC_F_USED) != c->wrap;
}

/* Copies the chain at *c into iov[0..], checked, and moves *c behind it. Descriptors read, or
 * -EBADMSG. */
static int read_chain(struct vring *v, struct cursor *c, struct iovec *iov, uint16_t *id)
{
	unsigned n = 0;

	for (;;) {
		volatile struct nic_desc *d = &v->desc[c->next];
		uint16_t flags = d->flags;
		uint64_t addr = d->addr, len = d->len;

		*id = d->id;
		cursor_advance(c);
		if (flags & ~KNOWN_FLAGS)
			return stop(v, "descriptor with unknown flags");
		if (!!(flags & NIC_DESC_F_WRITE) != v->receive)
			return stop(v, "descriptor of the wrong direction");
		if (len == 0)
			return stop(v, "descriptor of length 0");
		if (addr < v->bufs_off || addr >= v->size || len > v->size - addr)
			return stop(v, "descriptor outside the region's buffers");
		iov[n].iov_base = v->base + addr;
		iov[n].iov_len = len;
		n++;
		if (!(flags & NIC_DESC_F_NEXT))
			break;
		if (n == NIC_MAX_CHAIN)
			return stop(v, "chain too long");
	}
	if (*id >= NIC_RING_SIZE)
		return stop(v, "buffer id out of range");
	return (int)n;
}

/* Writes the used descriptor for a chain that began at c. Its flags last: they hand it over. */
static void write_used(struct vring *v, const struct cursor *c, uint16_t id, uint32_t len)
{
	volatile struct nic_desc *d = &v->desc[c->next];
	uint16_t flags = v->receive ? NIC_DESC_F_WRITE : 0;

	if (c->wrap)
		flags |= NIC_DESC_F_AVAIL | NIC_DESC_F_USED;
	d->id = id;
	d->len = len;
	__atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
}

int vring_peek(struct vring *v, struct vring_pkt *p)
{
	struct cursor c = {v->next, v->wrap};
	uint64_t total = 0;
	int n, i, skip;
	size_t hdr = 0;

	if (v->stop)
		return -EBADMSG;
	if (!available(v, &c))
		return 0;
	n = read_chain(v, &c, p->iov, &p->id);
	if (n < 0)
		return n;
	for (i = 0; i < n; i++)
		total += p->iov[i].iov_len;
	if (total < sizeof(p->hdr))
		return stop(v, "packet shorter than its header");
	if (total > sizeof(p->hdr) + 65536 + 64)
		return stop(v, "packet longer than any can be");

	/* The header may be spread over descriptors. */
	for (skip = 0; hdr < sizeof(p->hdr); skip++) {
		struct iovec *io = &p->iov[skip];
		size_t take =
			sizeof(p->hdr) - hdr < io->iov_len ? sizeof(p->hdr) - hdr : io->iov_len;

		memcpy((uint8_t *)&p->hdr + hdr, io->iov_base, take);
		hdr += take;
		io->iov_base = (uint8_t *)io->iov_base + take;
		io->iov_len -= take;
		if (io->iov_len)
			break;
	}
	if (skip)
		memmove(p->iov, p->iov + skip, (n - skip) * sizeof(p->iov[0]));
	p->niov = n - skip;
	p->nr_desc = n;
	p->len = total - sizeof(p->hdr);
	return 1;
}

void vring_done(struct vring *v, const struct vring_pkt *p)
{
	struct cursor c = {v->next, v->wrap};

	write_used(v, &c, p->id, 0);
	v->next += p->nr_desc;
	if (v->next >= NIC_RING_SIZE) {
		v->next -= NIC_RING_SIZE;
		v->wrap = !v->wrap;
	}
}

/* A position in the buffers that a frame is written to. */
struct sink {
	struct iovec *iov;
	size_t off;
};

static void sink_write(struct sink *s, const void *from, size_t len)
{
	while (len) {
		size_t room = s->iov->iov_len - s->off;
		size_t take = len < room ? len : room;

		memcpy((uint8_t *)s->iov->iov_base + s->off, from, take);
		from = (const uint8_t *)from + take;
		len -= take;
		s->off += take;
		if (s->off == s->iov->iov_len) {
			s->iov++;
			s->off = 0;
		}
	}
}

int vring_put(struct vring *v, const struct nic_hdr *hdr, const struct iovec *from, unsigned nfrom,
	      size_t len)
{
	struct chain {
		struct cursor at;
		uint16_t id;
		uint32_t len;
	} used[NIC_MAX_CHAIN];
	struct iovec bufs[2 * NIC_MAX_CHAIN];
	struct cursor c = {v->next, v->wrap};
	struct nic_hdr h = *hdr;
	struct sink sink = {bufs, 0};
	size_t left = sizeof(h) + len;
	unsigned nbufs = 0, nused = 0, looked = 0, i;

	if (v->stop)
		return -EBADMSG;
	while (left) {
		uint64_t room = 0;
		int n;

		/* Many tiny buffers cannot hold a large frame, however many there are. */
		if (nused == NIC_MAX_CHAIN || nbufs > NIC_MAX_CHAIN || looked >= NIC_RING_SIZE ||
		    !available(v, &c))
			return -ENOSPC;
		used[nused].at = c;
		n = read_chain(v, &c, bufs + nbufs, &used[nused].id);
		if (n < 0)
			return n;
		for (i = 0; i < (unsigned)n; i++)
			room += bufs[nbufs + i].iov_len;
		used[nused].len = room < left ? room : left;
		left -= used[nused].len;
		nbufs += n;
		looked += n;
		nused++;
	}

	h.num_buffers = nused;
	sink_write(&sink, &h, sizeof(h));
	for (i = 0; i < nfrom && len; i++) {
		size_t take = from[i].iov_len < len ? from[i].iov_len : len;

		sink_write(&sink, from[i].iov_base, take);
		len -= take;
	}

	/* The first descriptor last: when the driver sees it, all num_buffers of them are there. */
	for (i = nused; i-- > 0;)
		write_used(v, &used[i].at, used[i].id, used[i].len);
	v->next = c.next;
	v->wrap = c.wrap;
	return 0;
}

bool vring_wants_event(const struct vring *v)
{
	/* The used flags must be seen before we look, as the driver sets its flag and then looks.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return v->events->driver.flags != NIC_EVENT_DISABLE;
}

void vring_device_events(struct vring *v, bool enable)
{
	v->events->device.flags = enable ? NIC_EVENT_ENABLE : NIC_EVENT_DISABLE;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool vring_pending(const struct vring *v)
{
	struct cursor c = {v->next, v->wrap};

	return !v->stop && available(v, &c);
}
