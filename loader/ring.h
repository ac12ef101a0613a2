/*
 * ring.h - the supervisor's ends of the byte rings, against a peer that may be hostile.
 *
 * Our own index lives in private memory and is only published to the shared ring, never read back; the
 * peer's index is read once per look and must lie within one ring of ours.
 */
#ifndef JUNCTION_LOADER_RING_H
#define JUNCTION_LOADER_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "libos/abi/control.h"

struct ring_end {
	struct ctl_ring *shared;
	uint8_t *data; /* CTL_RING_SIZE bytes, shared */
	uint32_t index; /* ours: tail of a consumer, head of a producer */
};

void ring_init(struct ring_end *r, struct control *control, enum ctl_ring_id id);

/*
 * Consumer: how many bytes are there. At most CTL_RING_SIZE, or -1 when the producer's index is
 * impossible.
 */
int64_t ring_readable(const struct ring_end *r);

/* Producer: how many bytes have room; -1 when the consumer's index is impossible. */
int64_t ring_writable(const struct ring_end *r);

/* The next `len` bytes as one or two pieces; len is at most what the functions above gave. */
int ring_pieces(const struct ring_end *r, uint32_t len, struct iovec iov[2]);

/* Consumer: gives `len` bytes back. True: the producer waits for room and must be woken. */
bool ring_consume(struct ring_end *r, uint32_t len);

/* Producer: publishes `len` bytes. */
void ring_produce(struct ring_end *r, uint32_t len);

/* Wakes whoever waits for a word of the control region. */
void ring_wake(uint32_t *word);

/* Kicks the instance, if it is ready for kicks; may be called from signal handlers. */
void ring_kick(struct control *control, int pidfd);

/* Hands a signal to the program. False: it has not taken the one before yet. May be called from signal handlers. */
bool ring_signal(struct control *control, int pidfd, int sig);

#endif
