/*
 * pagetree.h - which page of the page store (mm/shm.h) holds which page of a file.
 */
#ifndef LIBOS_FS_PAGETREE_H
#define LIBOS_FS_PAGETREE_H

#include "libos/lib/types.h"

#define PAGETREE_BITS 6
#define PAGETREE_FANOUT (1u << PAGETREE_BITS)
#define PAGETREE_MAX_INDEX (1ull << 51)

/* A tree of nodes of PAGETREE_FANOUT words; at the bottom page number + 1, 0: none. height 0:
 * empty. */
struct pagetree {
	void *root;
	u32 height;
	u64 nr_pages;
};

/* Page number of file page idx, or -1. */
s64 pagetree_get(const struct pagetree *t, u64 idx);
/* -ENOMEM. Replaces what was there. */
int pagetree_set(struct pagetree *t, u64 idx, u64 page);
/* Lowest index >= idx that has a page (sets *page), or UINT64_MAX. */
u64 pagetree_next(const struct pagetree *t, u64 idx, u64 *page);
/*
 * Takes out up to n pages of [*from, to), returns how many; pages[] then belongs to the caller.
 * *from moves behind the last one, so that the next call goes on there.
 */
u32 pagetree_take(struct pagetree *t, u64 *from, u64 to, u64 *pages, u32 n);
/* Frees the nodes; the tree must be empty of pages. */
void pagetree_free(struct pagetree *t);

#endif
