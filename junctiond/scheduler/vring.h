/*
 * vring.h - device side of one virtqueue of an instance: virtio 1.2 packed ring, hostile driver.
 *
 * Everything in the region may change at any time and hold anything. The device keeps its own
 * indexes here, outside the region; it copies each descriptor once, checks the copy and uses
 * nothing else. What a correct driver cannot have written stops the queue for good, with a reason;
 * what it can have written never makes the device read or write outside the region, wait, or loop
 * for longer than a ring.
 *
 * The region's memfd is sealed against shrinking, so no access to it faults.
 */
#ifndef JUNCTION_SCHEDULER_VRING_H
#define JUNCTION_SCHEDULER_VRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "libos/abi/nic.h"

struct vring {
	uint8_t *base;		 /* the region */
	uint64_t size, bufs_off; /* buffers lie in [bufs_off, size) */
	volatile struct nic_desc *desc;
	volatile struct nic_events *events;
	uint16_t next; /* descriptor that is read, and returned, next: the device works in order */
	bool wrap;     /* our wrap counter (virtio 1.2, 2.8.1) */
	bool receive;  /* buffers are for the device to write */
	const char *stop; /* NULL: works; else why it was stopped */
};

/* One packet from a transmit ring. iov points into the region: hostile, but mapped. */
struct vring_pkt {
	struct nic_hdr hdr; /* private copy, unchecked */
	uint32_t len;	    /* bytes of the frame, without hdr */
	uint32_t niov;
	uint16_t id, nr_desc;
	struct iovec iov[NIC_MAX_CHAIN];
};

/* Virtqueue q of a region of `size` bytes whose buffers begin at bufs_off. Resets the device area.
 */
void vring_init(struct vring *v, void *region, uint64_t size, uint64_t bufs_off, uint32_t q);

/*
 * Transmit: looks at the next packet. 1: *p holds it, and vring_done() must follow before the next
 * look; 0: none; -EBADMSG: stopped.
 */
int vring_peek(struct vring *v, struct vring_pkt *p);
/* Returns the buffers of the packet that vring_peek() gave. */
void vring_done(struct vring *v, const struct vring_pkt *p);

/*
 * Receive: puts one frame of `len` bytes, gathered from iov, behind *hdr into as many buffers as it
 * takes (num_buffers is set here). 0; -ENOSPC: not enough buffers, nothing happened; -EBADMSG:
 * stopped.
 */
int vring_put(struct vring *v, const struct nic_hdr *hdr, const struct iovec *iov, unsigned niov,
	      size_t len);

/* After buffers were returned: does the driver want an event? Fences. */
bool vring_wants_event(const struct vring *v);
/* Asks the driver to ring the doorbell for new descriptors, or not to. Fences. */
void vring_device_events(struct vring *v, bool enable);
/* Is there a descriptor to read? True for a stopped ring's never. */
bool vring_pending(const struct vring *v);

#endif
