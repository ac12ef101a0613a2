/*
 * internal.h - what the files of mm/ share among themselves. All with mm->lock held.
 */
#ifndef LIBOS_MM_INTERNAL_H
#define LIBOS_MM_INTERNAL_H

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/resource.h>

#include "libos/abi/control.h"
#include "libos/fs/file.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/mm.h"
#include "libos/mm/shm.h"
#include "libos/mm/vma.h"
#include "libos/platform/hostcall.h"
#include "libos/proc/proc.h"

#define STACK_GUARD (256 * PAGE_SIZE) /* left free below the stack, as Linux does */
#define PROT_RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

static inline u64 rlimit_cur(int which)
{
	return READ_ONCE(current_proc()->rlim[which].cur);
}

/*
 * Maps the part [start, end) of v on the host, with host_flags (MAP_POPULATE) besides. Returns the address
 * up to which there is something (below end: the file ends there), or -errno with part of it mapped.
 */
s64 map_host(struct vma *v, u64 start, u64 end, int host_flags);
/* Removes everything in [start, end) from the tree and the host. 0 or -ENOMEM (nothing was unmapped). */
int unmap_range(struct mm *mm, u64 start, u64 end);
/* Whether len more bytes with that prot and flags are allowed: limits and overcommit. 0 or -ENOMEM. */
int may_map(struct mm *mm, u64 len, int prot, u32 vmflags, bool noreserve);
/* A free place for len bytes, best at hint; 0: none. */
u64 find_place(struct mm *mm, u64 hint, u64 len, int flags);
/* Whether [start, end) touches what the application cannot have. */
bool touches_special(struct mm *mm, u64 start, u64 end);
/* Adds an area whose fields but the account are set, mapped on the host as far as it needs to be. */
s64 add_area(struct mm *mm, u64 start, u64 end, int prot, u32 vmflags, struct file *file, u64 off,
	     int host_flags);
/* An empty address space but for what is not the application's. */
void mm_reset(struct mm *mm);
/* Unmaps everything of the application. Without the lock; no other thread is left. */
void mm_clear(struct mm *mm);
/* Where mappings go, below a stack that may grow to stack_size bytes. */
void mm_set_layout(struct mm *mm, u64 stack_top, u64 stack_size);
/* Fills pages of the host in, as MAP_POPULATE and mlock do; errors are of no interest. */
void populate(struct mm *mm, u64 start, u64 end);

#endif
