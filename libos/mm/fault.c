/*
 * fault.c - questions about the address space: what a fault means, where a rewritten call came from,
 * and what /proc shows.
 */
#include "libos/mm/internal.h"

#include "libos/abi/image.h"

/* siginfo codes, asm-generic/siginfo.h (which drags in more than we want) */
#define SEGV_MAPERR 1
#define SEGV_ACCERR 2
#define BUS_ADRERR 2
#define SIGBUS 7
#define SIGSEGV 11

/*
 * A file may have grown since it was mapped: maps what there is now. True if addr is among it.
 */
static bool fill_hole(struct vma *v, u64 addr)
{
	s64 r;

	if (!v->file || addr < v->hole)
		return false;
	r = map_host(v, v->hole, v->end, 0);
	if (r < 0)
		return false;
	v->hole = r;
	return addr < v->hole;
}

/*
 * The stack is mapped at its limit's size when a program begins; if the limit was raised since, it grows in
 * larger steps. v is the stack, addr below it.
 */
static bool grow_stack(struct mm *mm, struct vma *v, u64 addr)
{
	u64 limit = rlimit_cur(RLIMIT_STACK), start;

	if (!(v->flags & VM_STACK) || v->end - page_down(addr) > limit || v->hole != v->end)
		return false;
	start = page_down(addr) - min(limit - (v->end - page_down(addr)), 1ul << 20);
	start = page_up(start);
	if (v->prev && v->prev->end + STACK_GUARD > start)
		start = v->prev->end + STACK_GUARD;
	if (start > addr || may_map(mm, v->start - start, v->prot, v->flags, false) < 0 ||
	    host_mmap(start, v->start - start, v->prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) < 0)
		return false;
	v->off -= v->start - start;
	vma_resize(mm, v, start, v->end);
	return true;
}

int mm_classify_fault(struct mm *mm, u64 addr, int *sig)
{
	struct vma *v;
	int code = SEGV_MAPERR;

	*sig = SIGSEGV;
	if (addr >= USER_ADDR_MAX)
		return code;
	mutex_lock(&mm->lock);
	v = vma_find(mm, addr);
	if (v && v->start > addr) {
		if (grow_stack(mm, v, addr))
			*sig = code = 0;
	} else if (v && !(v->flags & VM_RESERVED)) {
		code = SEGV_ACCERR;
		if (addr >= v->hole && v->prot != PROT_NONE) {
			if (fill_hole(v, addr)) {
				*sig = code = 0;
			} else {
				*sig = SIGBUS;
				code = BUS_ADRERR;
			}
		}
	}
	mutex_unlock(&mm->lock);
	return code;
}

bool mm_shared_object(struct mm *mm, u64 addr, u64 *object, u64 *off)
{
	struct vma *v;
	bool shared;

	mutex_lock(&mm->lock);
	v = vma_at(mm, addr);
	shared = v && v->flags & VM_SHARED && (v->file || v->smap);
	if (shared) {
		*object = !v->file ? (u64)v->smap : v->file->inode ? (u64)v->file->inode : (u64)v->file;
		*off = (v->file ? v->off : v->smap_index << PAGE_SHIFT) + (addr - v->start);
	}
	mutex_unlock(&mm->lock);
	return shared;
}

void mm_file_changed(struct inode *inode, u64 from, u64 to, bool truncated)
{
	struct mm *mm = current_proc()->mm;

	mutex_lock(&mm->lock);
	for (struct vma *v = mm->first; v; v = v->next) {
		u64 lo = max(from, v->off), hi = min(to, v->off + (v->end - v->start)), a, b;
		s64 r;

		if (!v->file || v->file->inode != inode || lo >= hi)
			continue;
		a = v->start + (lo - v->off);
		b = min(v->start + (hi - v->off), v->hole);
		if (a >= b)
			continue;
		if (!truncated && !(v->flags & VM_SHARED)) {
			/* Copies that were written to live on; what is not copied shows the old page: now a hole. */
			for (u64 p = a; v->smap && p < b; p += PAGE_SIZE) {
				u32 page = v->smap->page[v->smap_index + ((p - v->start) >> PAGE_SHIFT)];

				if (page)
					memset(shm_ptr(page), 0, PAGE_SIZE);
			}
			continue;
		}
		r = map_host(v, a, b, 0);
		if (r < 0)
			r = a;
		if ((u64)r < b) {
			host_munmap(r, v->hole - r);
			if (v->smap)
				smap_drop(v->smap, v->smap_index + ((r - v->start) >> PAGE_SHIFT),
					  (v->hole - r) >> PAGE_SHIFT);
			v->hole = r;
		}
	}
	mutex_unlock(&mm->lock);
}

void mm_file_grown(struct inode *inode)
{
	struct mm *mm = current_proc()->mm;

	mutex_lock(&mm->lock);
	for (struct vma *v = mm->first; v; v = v->next)
		if (v->file && v->file->inode == inode && v->hole < v->end)
			fill_hole(v, v->hole);
	mutex_unlock(&mm->lock);
}

/* The area through which file offset off of v's file is executed, nearest to v; NULL: none. */
static struct vma *find_text(struct mm *mm, struct vma *v, u64 off)
{
	struct vma *w;

	for (w = mm->first; w; w = w->next)
		if (w->file && (w->file == v->file || (w->file->inode && w->file->inode == v->file->inode)) &&
		    (w->prot & PROT_EXEC) && off >= w->off && off - w->off < w->end - w->start)
			return w;
	return NULL;
}

/* Index of the last pair whose value (trampoline, or original) is at most off; -1: none. Both ascend. */
static s64 last_pair(const struct jfs_site *pairs, u32 n, u64 off, bool by_trampoline)
{
	s64 lo = 0, hi = n;

	while (lo < hi) {
		s64 mid = lo + (hi - lo) / 2;

		if ((by_trampoline ? pairs[mid].trampoline : pairs[mid].original) <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo - 1;
}

u64 mm_translate_site(struct mm *mm, u64 rip, bool to_original)
{
	const struct jfs_site *pairs;
	struct vma *v, *w;
	u64 off, result = rip;
	u32 n = 0;
	s64 i;

	mutex_lock(&mm->lock);
	v = vma_at(mm, rip);
	if (!v || !v->file || !(v->prot & PROT_EXEC))
		goto out;
	pairs = file_sites(v->file, &n);
	if (!pairs || !n)
		goto out;
	off = v->off + (rip - v->start);
	i = last_pair(pairs, n, off, to_original);
	if (i < 0)
		goto out;
	if (to_original) {
		/* Anywhere in the segment of the trampolines, which begins with the first of them. */
		if (pairs[0].trampoline < v->off)
			goto out;
		off = pairs[i].original;
	} else {
		if (pairs[i].original != off)
			goto out;
		off = pairs[i].trampoline;
	}
	w = find_text(mm, v, off);
	if (w)
		result = w->start + (off - w->off);
out:
	mutex_unlock(&mm->lock);
	return result;
}

void mm_for_each_area(struct mm *mm, void (*emit)(void *arg, const struct mm_area_info *a), void *arg)
{
	mutex_lock(&mm->lock);
	for (struct vma *v = mm->first; v; v = v->next) {
		struct mm_area_info a = {
			.start = v->start,
			.end = v->end,
			.off = v->file ? v->off : v->smap ? v->smap_index << PAGE_SHIFT : 0,
			.prot = v->prot,
			.shared = v->flags & VM_SHARED,
			.file = v->file,
		};

		if (v->flags & VM_RESERVED)
			continue;
		if (v->flags & VM_HEAP)
			a.name = "[heap]";
		else if (v->flags & VM_STACK)
			a.name = "[stack]";
		else if (v->flags & VM_VDSO)
			a.name = "[vdso]";
		else if (!v->file && (v->flags & VM_SHARED))
			a.name = "/dev/zero (deleted)";
		emit(arg, &a);
	}
	mutex_unlock(&mm->lock);
}

void mm_get_stats(struct mm *mm, struct mm_stats *st)
{
	mutex_lock(&mm->lock);
	st->total = mm->total;
	st->data = mm->data;
	st->stack = mm->stack;
	st->text = mm->text;
	st->locked = mm->locked;
	mutex_unlock(&mm->lock);
}
