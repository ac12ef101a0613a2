/*
 * vma.h - virtual memory areas of a process: an ordered tree that knows its gaps. Internal to mm/.
 *
 * Nothing here talks to the host or to files except for references. Under mm->lock.
 */
#ifndef LIBOS_MM_VMA_H
#define LIBOS_MM_VMA_H

#include "libos/lib/avltree.h"
#include "libos/lib/types.h"
#ifdef LIBOS_HOSTED
struct mutex {
	int locked;
};
#else
#include "libos/sched/wait.h"
#endif

struct file;

/* vma.flags */
#define VM_SHARED 1u
#define VM_MAYWRITE 2u /* mprotect may add PROT_WRITE */
#define VM_RESERVED 4u /* not the application's: library OS window, host vDSO; never listed nor touched */
#define VM_STACK 8u
#define VM_HEAP 16u
#define VM_LOCKED 32u
#define VM_HUGEPAGE 64u /* as told to the host, which splits its areas by these two */
#define VM_NOHUGEPAGE 128u
#define VM_DONTFORK 256u
#define VM_WIPEONFORK 512u
#define VM_VDSO 1024u
#define VM_SPECIAL (VM_RESERVED | VM_VDSO)

/*
 * Pages of the page store behind a shared or file mapping: one reference to each that is not 0. Areas that
 * were one mapping share it; an area's first page is page[vma->smap_index]. Of anonymous shared memory it is
 * the object itself, and all of it lives until the last area goes.
 */
struct smap {
	u32 refs; /* areas */
	u64 nr_pages;
	u32 page[];
};

struct vma {
	struct avl_node node;
	struct vma *prev, *next;
	u64 start, end;
	u64 gap; /* unmapped bytes between prev and this */
	u64 max_gap; /* largest gap in this subtree */
	/*
	 * From here on the host has nothing mapped: pages beyond the end of a file, or PROT_NONE memory
	 * that was never anything else (start: none of it is backed; end: all of it).
	 */
	u64 hole;
	int prot; /* PROT_READ | WRITE | EXEC */
	u32 flags; /* VM_* */
	struct file *file; /* with a reference, or NULL */
	u64 off; /* of start: bytes in the file; anonymous: the address where it was made (as Linux's vm_pgoff) */
	struct smap *smap; /* or NULL */
	u64 smap_index;
};

struct mm {
	struct mutex lock;
	struct avl_tree tree;
	struct vma *first, *last;
	struct vma *spare; /* one in hand, so that unmapping seldom allocates */
	u32 nr_vmas;
	u32 def_flags; /* VM_LOCKED after mlockall(MCL_FUTURE) */
	u64 mmap_base; /* search for free addresses goes down from here */
	u64 brk_start, brk;
	u64 stack_top;
	u64 exe_start, exe_end; /* of the program, for /proc */
	/* Bytes, kept by vma_account() */
	u64 total, data, stack, text, locked;
};

#define MM_MAX_VMAS 65530

void mm_init_tree(struct mm *mm);

/* First area with end > addr, or NULL: addr lies in it if it also starts at or below addr. */
struct vma *vma_find(struct mm *mm, u64 addr);
static inline struct vma *vma_at(struct mm *mm, u64 addr)
{
	struct vma *v = vma_find(mm, addr);

	return v && v->start <= addr ? v : NULL;
}
/* True if an area overlaps [start, end). */
bool vma_overlaps(struct mm *mm, u64 start, u64 end);
/* Highest address a with [a, a + len) free and within [low, high), or 0. */
u64 vma_gap_below(struct mm *mm, u64 len, u64 low, u64 high);

struct vma *vma_alloc(struct mm *mm); /* zeroed, or NULL */
/* Sets v->file (NULL is fine) with a reference; v->flags are set already. */
void vma_hold_file(struct vma *v, struct file *f);
void vma_free(struct mm *mm, struct vma *v); /* drops file and smap */
/* Links v, whose fields are set; nothing may overlap it. */
void vma_insert(struct mm *mm, struct vma *v);
void vma_remove(struct mm *mm, struct vma *v);
/* Moves the ends of v, which stays between its neighbours. */
void vma_resize(struct mm *mm, struct vma *v, u64 start, u64 end);
/* Makes addr, strictly inside v, a border; v stays the lower part. Returns the upper, or NULL: no memory. */
struct vma *vma_split(struct mm *mm, struct vma *v, u64 addr);
/* Makes start and end borders of areas. Returns the first area in [start, end) (NULL if none), or err_ptr(-ENOMEM). */
struct vma *vma_isolate(struct mm *mm, u64 start, u64 end);
/* Joins v with its neighbours where one area says the same; returns the area that v is in now. */
struct vma *vma_merge(struct mm *mm, struct vma *v);
/* Merges across the borders in [start, end]. */
void vma_merge_range(struct mm *mm, u64 start, u64 end);
/* Removes v's bytes from the totals, or adds them (sign +1, -1); before and after prot or flags change. */
void vma_account(struct mm *mm, const struct vma *v, int sign);

struct smap *smap_alloc(u64 nr_pages);
void smap_put(struct smap *s);
/* Drops the references to pages [index, index + n). */
void smap_drop(struct smap *s, u64 index, u64 n);

#endif
