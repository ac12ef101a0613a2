/*
 * ring.h - a ring of bytes of any power-of-two size: the arithmetic of pipes.
 *
 * head and tail run freely modulo 2^32: head - tail bytes are inside. Locking is the owner's business, but
 * ring_used_peek() may be called without: it sees a state that was.
 */
#ifndef LIBOS_IPC_RING_H
#define LIBOS_IPC_RING_H

#include "libos/lib/string.h"
#include "libos/lib/types.h"

struct byte_ring {
	u8 *buf;
	u32 size; /* of buf; 0 or a power of two */
	union {
		struct {
			u32 head, tail;
		};
		u64 both; /* so that a reset is one store */
	};
};

static inline u32 ring_used(const struct byte_ring *r)
{
	return r->head - r->tail;
}

static inline u32 ring_used_peek(const struct byte_ring *r)
{
	u64 both = READ_ONCE(r->both);

	return (u32)both - (u32)(both >> 32);
}

static inline u32 ring_free(const struct byte_ring *r)
{
	return r->size - ring_used(r);
}

/* The longest piece that can be read at once: its start in *p. 0: empty. */
static inline u32 ring_read_span(const struct byte_ring *r, u8 **p)
{
	u32 at = r->tail & (r->size - 1);

	*p = r->buf + at;
	return min(ring_used(r), r->size - at);
}

/* The longest piece that can be written at once. 0: full. */
static inline u32 ring_write_span(const struct byte_ring *r, u8 **p)
{
	u32 at = r->head & (r->size - 1);

	*p = r->buf + at;
	return min(ring_free(r), r->size - at);
}

static inline void ring_produced(struct byte_ring *r, u32 n)
{
	r->head += n;
}

/* Takes n bytes out; an empty ring starts from its beginning again, so that little of it is touched. */
static inline void ring_consumed(struct byte_ring *r, u32 n)
{
	if (r->tail + n == r->head)
		WRITE_ONCE(r->both, 0);
	else
		r->tail += n;
}

/* Moves the contents into `buf` of `size` >= ring_used(r); the old buffer is the caller's again. */
static inline void ring_move(struct byte_ring *r, u8 *buf, u32 size)
{
	u32 used = ring_used(r), n;
	u8 *p;

	if (used) {
		n = ring_read_span(r, &p);
		memcpy(buf, p, n);
		memcpy(buf + n, r->buf, used - n);
	}
	r->buf = buf;
	r->size = size;
	WRITE_ONCE(r->both, used); /* head = used, tail = 0 */
}

#endif
