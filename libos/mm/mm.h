/*
 * mm.h - the application's address space: what is mapped where, and the mmap family.
 */
#ifndef LIBOS_MM_MM_H
#define LIBOS_MM_MM_H

#include "libos/lib/types.h"

struct file;
struct mm;

struct mm *mm_create(void);

/*
 * What a file gives to mmap. map_pages is asked for the backing of file pages [pgoff, pgoff + n):
 * it fills *fd (CTL_FD_IMAGE, CTL_FD_SHM or -1: reads as zeros) and *off (bytes in that fd) and returns how many
 * pages from pgoff on are contiguous there (1..n), or -errno (-ENXIO: beyond end of file: SIGBUS).
 * for_write: MAP_SHARED writable or not: allocate holes, pages stay referenced as shm_get() per page.
 */

/* In-kernel mmap: flags MAP_*, prot PROT_*; returns address or -errno. */
s64 mm_mmap(struct mm *mm, u64 addr, u64 len, int prot, int flags, struct file *file, u64 off);
int mm_munmap(struct mm *mm, u64 addr, u64 len);
int mm_mprotect(struct mm *mm, u64 addr, u64 len, int prot);

/*
 * For siginfo of a fault at addr: SEGV_MAPERR, SEGV_ACCERR, or BUS_ADRERR; sets *sig. *sig 0: it was for
 * memory that could be put there now (a file has grown, the stack grows): resume. May sleep.
 */
int mm_classify_fault(struct mm *mm, u64 addr, int *sig);
/*
 * Pages [from, to) of a file (bytes, whole pages) are gone: cut off (truncated), or punched out. Mappings show
 * what map_pages says now; beyond the end of the file, SIGBUS. May sleep; no lock of the file held.
 */
struct inode;
void mm_file_changed(struct inode *inode, u64 from, u64 to, bool truncated);
/* A file may be longer now: what of its mappings was beyond the end is there at once, for usercopy too. */
void mm_file_grown(struct inode *inode);
/*
 * to_original: if rip lies in a trampoline of a rewritten ELF file, the address where the original program
 * would be; else (back from a signal handler) if rip is a displaced address of the original, its place in
 * the trampoline. Else rip itself. See builder/rewrite.md. May sleep.
 */
u64 mm_translate_site(struct mm *mm, u64 rip, bool to_original);

/*
 * For shared futexes: names the object mapped at addr and the offset of addr in it, the same for every mapping of it.
 * False: not shared memory. May sleep.
 */
bool mm_shared_object(struct mm *mm, u64 addr, u64 *object, u64 *off);

/* /proc/self/maps and smaps: calls emit for each area in order. */
struct mm_area_info {
	u64 start, end, off;
	int prot;
	bool shared;
	struct file *file; /* or NULL */
	const char *name; /* "[heap]", "[stack]", "[vdso]" or NULL */
};
void mm_for_each_area(struct mm *mm, void (*emit)(void *arg, const struct mm_area_info *a), void *arg);
struct mm_stats {
	u64 total, data, stack, text, locked; /* bytes mapped */
};
void mm_get_stats(struct mm *mm, struct mm_stats *st);

/* exec.c: loads the program of the boot record into init_proc and sets tf to its first instruction. */
struct trapframe;
int exec_load(const char *path, char **argv, char **envp, struct trapframe *tf);

#endif
