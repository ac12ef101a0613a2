/*
 * shm.h - the page store: contents of tmpfs files, memfds, and shared anonymous memory.
 *
 * One sparse memfd (CTL_FD_SHM), wholly mapped at LIBOS_SHM_BASE; a page is named by its index in it, so
 * it can be read and written in place and mapped into the application. Pages are reference counted.
 */
#ifndef LIBOS_MM_SHM_H
#define LIBOS_MM_SHM_H

#include "libos/abi/layout.h"
#include "libos/lib/types.h"

void shm_init(u64 size);
/*
 * Allocates `n` contiguous zeroed pages (refcount 1 each) and returns the index of the first, or
 * -ENOSPC. Callers that can live with scattered pages ask for one at a time with a hint: the page after
 * `near` (0: none) is preferred so that files stay contiguous and map with few host calls.
 */
s64 shm_alloc(u64 n, u64 near);
void shm_get(u64 page);
void shm_put(u64 page); /* last reference: memory goes back to the host */
void shm_put_range(u64 page, u64 n); /* the same for n pages in a row */
static inline void *shm_ptr(u64 page)
{
	return (void *)(LIBOS_SHM_BASE + (page << PAGE_SHIFT));
}
u64 shm_pages_used(void);
u64 shm_pages_peak(void);
u64 shm_pages_total(void);

#endif
