/*
 * futex_hash.h - how futexes are named and spread over buckets; pure.
 */
#ifndef LIBOS_PROC_FUTEX_HASH_H
#define LIBOS_PROC_FUTEX_HASH_H

#include "libos/lib/types.h"

#define FUTEX_BUCKET_BITS 8
#define FUTEX_BUCKETS (1u << FUTEX_BUCKET_BITS)

struct mm;

struct futex_key {
	struct mm *mm;
	u64 addr;
};

static inline bool futex_match(struct futex_key a, struct futex_key b)
{
	return a.addr == b.addr && a.mm == b.mm;
}

/* Words of one structure and the same word of many page-aligned structures must both spread. */
static inline u32 futex_hash(struct futex_key k)
{
	return ((k.addr >> 2) + (u64)k.mm) * 0x9e3779b97f4a7c15ull >> (64 - FUTEX_BUCKET_BITS);
}

#endif
