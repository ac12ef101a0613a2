/*
 * futex_hash.h - how futexes are named and spread over buckets; pure.
 */
#ifndef LIBOS_PROC_FUTEX_HASH_H
#define LIBOS_PROC_FUTEX_HASH_H

#include "libos/lib/types.h"

#define FUTEX_BUCKET_BITS 8
#define FUTEX_BUCKETS (1u << FUTEX_BUCKET_BITS)

/*
 * Private futexes: (mm, address). Shared ones: what is mapped there and the offset in it, or, in
 * memory that is not shared, (mm + 1, address): as on Linux neither kind finds waiters of the
 * other.
 */
struct futex_key {
	u64 object;
	u64 addr;
};

static inline bool futex_match(struct futex_key a, struct futex_key b)
{
	return a.addr == b.addr && a.object == b.object;
}

/* Words of one structure and the same word of many page-aligned structures must both spread. */
static inline u32 futex_hash(struct futex_key k)
{
	return ((k.addr >> 2) + k.object) * 0x9e3779b97f4a7c15ull >> (64 - FUTEX_BUCKET_BITS);
}

#endif
