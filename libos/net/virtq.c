/*
 * virtq.c - the driver's side of one packed virtqueue (virtio 1.2, 2.8).
 *
 * Driver and device go round the same ring, each with a wrap counter that flips at its end. A
 * descriptor whose AVAIL bit is the driver's counter, and USED its inverse, is available; one whose
 * two bits both are the device's counter is used (2.8.1). The device writes one used descriptor a
 * buffer, in the slot where it stood when it went that far, and skips as many slots as the buffer's
 * chain had (2.8.6).
 */
#include "libos/net/virtq.h"

#include "libos/lib/printf.h"
#include "libos/lib/string.h"

void virtq_init(struct virtq *q, void *block)
{
	q->ring = block;
	q->events = (struct nic_events *)((u8 *)block + NIC_EVENT_OFF);
	q->used = VIRTQ_WRAP; /* both counters start at 1 (2.8.1) */
	q->avail = 0;
	q->avail_flags = NIC_DESC_F_AVAIL;
	q->nr_free = q->nr_ids = NIC_RING_SIZE;
	q->broken = false;
	for (u32 i = 0; i < NIC_RING_SIZE; i++) {
		q->ids[i] = NIC_RING_SIZE - 1 - i;
		q->chain[i] = 0;
	}
}

int virtq_add(struct virtq *q, const struct virtq_seg *segs, u32 n, bool write)
{
	struct nic_desc *first = &q->ring[q->avail];
	u16 first_flags = 0, id;

	/* There are as many ids as descriptors, so one is free if a descriptor is. */
	if (!n || n > q->nr_free || q->broken)
		return -ENOSPC;
	id = q->ids[--q->nr_ids];
	q->chain[id] = n;
	q->nr_free -= n;
	for (u32 i = 0; i < n; i++) {
		struct nic_desc *d = &q->ring[q->avail];
		u16 flags = q->avail_flags | (write ? NIC_DESC_F_WRITE : 0) |
			    (i + 1 < n ? NIC_DESC_F_NEXT : 0);

		d->addr = segs[i].addr;
		d->len = segs[i].len;
		d->id = id;
		if (i)
			d->flags = flags;
		else
			first_flags = flags;
		if (++q->avail == NIC_RING_SIZE) {
			q->avail = 0;
			q->avail_flags ^= NIC_DESC_F_AVAIL | NIC_DESC_F_USED;
		}
	}
	/* The head comes last: with it the device may take the whole chain (2.8.21.1). */
	__atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE);
	return id;
}

bool virtq_pending(const struct virtq *q)
{
	u32 used = READ_ONCE(q->used);
	u16 flags = __atomic_load_n(&q->ring[used & (NIC_RING_SIZE - 1)].flags, __ATOMIC_ACQUIRE);
	u16 want = used & VIRTQ_WRAP ? NIC_DESC_F_AVAIL | NIC_DESC_F_USED : 0;

	return (flags & (NIC_DESC_F_AVAIL | NIC_DESC_F_USED)) == want && !q->broken;
}

int virtq_get(struct virtq *q, u32 *len)
{
	u32 slot = q->used & (NIC_RING_SIZE - 1), wrap = q->used & VIRTQ_WRAP;
	u16 id;

	if (!virtq_pending(q))
		return -1;
	*len = READ_ONCE(q->ring[slot].len);
	id = READ_ONCE(q->ring[slot].id);
	if (id >= NIC_RING_SIZE || !q->chain[id]) {
		q->broken = true;
		klog("net", "the NIC used buffer %u, which it was not given; the queue is stopped",
		     id);
		return -1;
	}
	slot += q->chain[id];
	if (slot >= NIC_RING_SIZE) {
		slot -= NIC_RING_SIZE;
		wrap ^= VIRTQ_WRAP;
	}
	WRITE_ONCE(q->used, slot | wrap);
	q->nr_free += q->chain[id];
	q->chain[id] = 0;
	q->ids[q->nr_ids++] = id;
	return id;
}

bool virtq_wants_kick(const struct virtq *q)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* 2.8.14; a value that does not exist counts as "yes", which harms nobody */
	return READ_ONCE(q->events->device.flags) != NIC_EVENT_DISABLE;
}

void virtq_events(struct virtq *q, bool on)
{
	__atomic_store_n(&q->events->driver.flags, on ? NIC_EVENT_ENABLE : NIC_EVENT_DISABLE,
			 __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
