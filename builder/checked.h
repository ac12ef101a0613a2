/*
 * checked.h - arithmetic on numbers that come from outside; none of it can overflow unnoticed.
 */
#ifndef JUNCTION_BUILDER_CHECKED_H
#define JUNCTION_BUILDER_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

#include "libos/abi/image.h"
#include "libos/abi/layout.h"

/* [off, off + len) lies inside [0, limit). */
static inline bool range_inside(uint64_t off, uint64_t len, uint64_t limit)
{
	return off <= limit && len <= limit - off;
}

/* [off, off + count * size) lies inside [0, limit). */
static inline bool table_inside(uint64_t off, uint64_t count, uint64_t size, uint64_t limit)
{
	uint64_t len;

	return !__builtin_mul_overflow(count, size, &len) && range_inside(off, len, limit);
}

static inline bool page_aligned(uint64_t v)
{
	return !(v & (JUNCTION_PAGE_SIZE - 1));
}

/* Rounds up to a page; false when that overflows. */
static inline bool page_round(uint64_t v, uint64_t *out)
{
	if (__builtin_add_overflow(v, JUNCTION_PAGE_SIZE - 1, out))
		return false;
	*out &= ~(JUNCTION_PAGE_SIZE - 1);
	return true;
}

/* As page_round(), for sizes that are our own and bounded by a limit of image.h. */
static inline uint64_t page_up(uint64_t v)
{
	return (v + JUNCTION_PAGE_SIZE - 1) & ~(JUNCTION_PAGE_SIZE - 1);
}

static inline bool all_zero(const void *p, uint64_t len)
{
	const unsigned char *b = p;

	for (uint64_t i = 0; i < len; i++)
		if (b[i])
			return false;
	return true;
}

#endif
