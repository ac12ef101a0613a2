/*
 * virtq.h - the driver's side of one packed virtqueue (virtio 1.2, 2.8).
 *
 * The ring is shared with the device, which may write anything there at any time. All that the
 * driver must be able to rely on stands in struct virtq: which buffer ids are in flight, and how
 * many descriptors each took.
 *
 * Locking is the caller's.
 */
#ifndef LIBOS_NET_VIRTQ_H
#define LIBOS_NET_VIRTQ_H

#include "libos/abi/nic.h"
#include "libos/lib/types.h"

struct virtq {
	struct nic_desc *ring;
	struct nic_events *events;
	u32 used;  /* slot where the device writes next | VIRTQ_WRAP; one word, for virtq_pending()
		      without a lock */
	u16 avail; /* slot that is made available next */
	u16 avail_flags; /* of the present round: AVAIL or USED */
	u16 nr_free;	 /* descriptors */
	u16 nr_ids;	 /* in ids[] */
	bool broken;	 /* the device wrote what cannot be: the queue is not used any more */
	u16 ids[NIC_RING_SIZE];	  /* free buffer ids, last in, first out */
	u16 chain[NIC_RING_SIZE]; /* by id: descriptors in flight, 0: not in flight */
};
#define VIRTQ_WRAP 0x10000u

/* One piece of a buffer. */
struct virtq_seg {
	u64 addr; /* offset into the region */
	u32 len;
};

/* block: the queue's two pages (NIC_QUEUE_OFF), all zero. */
void virtq_init(struct virtq *q, void *block);
/*
 * Makes n >= 1 pieces, read by the device or (write) written by it, available as one buffer.
 * Returns its id, under which virtq_get() gives it back, or -ENOSPC: no room for as many.
 */
int virtq_add(struct virtq *q, const struct virtq_seg *segs, u32 n, bool write);
/* The next buffer that the device has used; *len: bytes written, as it says. -1: none; or the queue
 * is broken. */
int virtq_get(struct virtq *q, u32 *len);
/* Would virtq_get() find one? Any kthread, no lock: an answer that was true a moment ago. */
bool virtq_pending(const struct virtq *q);
/* Does the device want to hear of what was made available? A full fence stands before the look. */
bool virtq_wants_kick(const struct virtq *q);
/* Does the driver want to hear of used buffers? Followed by a full fence. */
void virtq_events(struct virtq *q, bool on);

#endif
