/*
 * poll.h - what poll.c asks of the interfaces' drivers.
 */
#ifndef LIBOS_NET_POLL_H
#define LIBOS_NET_POLL_H

#include "libos/net/netif.h"

/* poll.c: has net_start() been called? */
bool net_started(void);

/* loopback.c. Boot: the interface. */
void loopback_add(void);
/* The first socket: the backlogs. -ENOMEM */
int loopback_start(u32 nr);
/* Receives what kthread `id` has sent to this host; called by that kthread. True if there was
 * something. */
bool loopback_poll(u32 id);
bool loopback_pending(u32 id);

/*
 * virtio.c. Boot: a NIC whose region of `size` bytes is mapped at `base`. Its buffers become the
 * pool. -EINVAL: the region is not one (which is logged), -ENOMEM.
 */
int virtio_add(void *base, u64 size, u32 nr_kthreads);
/* The interface, NULL: none. */
struct netif *virtio_netif(void);
/*
 * Queue pairs, called by kthread `id`. virtio_poll() receives and reclaims what is there, for `id`
 * and for each other kthread of which parked(i) holds. True: there was something.
 */
bool virtio_poll(u32 id, bool (*parked)(u32 i));
bool virtio_pending(u32 id, bool (*parked)(u32 i));
/* Does the device announce packets for `id`? True from the start. Followed by a full fence. */
void virtio_events(u32 id, bool on);
/* Packets wait for room in the ring of `id`: look again soon. */
bool virtio_backlogged(u32 id);
/* Is there a frame that the device has not taken yet? False without a NIC. */
bool virtio_unsent(void);
/* Tells the device side to look at rings and control words, if it sleeps. */
void virtio_doorbell(void);

#endif
