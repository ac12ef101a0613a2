/*
 * mremap.c - mremap(2): shrink, grow in place, and move, without copying.
 *
 * Anonymous private memory and copied pages of private file mappings move on the host (page tables move);
 * shared mappings are mapped again from their pages, which is cheaper to get right and the same to see.
 */
#include "libos/mm/internal.h"

#define MREMAP_ALL (MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)

/*
 * Gives the file mapping v a page table of its own, long enough for nr pages. The old one keeps nothing of
 * v's. Of anonymous shared memory the table is the object itself: its size stays.
 */
static int smap_own(struct vma *v, u64 nr)
{
	u64 have = (v->end - v->start) >> PAGE_SHIFT;
	struct smap *s;

	if (!v->smap || !v->file)
		return 0;
	s = smap_alloc(max(nr, have));
	if (!s)
		return -ENOMEM;
	for (u64 i = 0; i < have; i++) {
		s->page[i] = v->smap->page[v->smap_index + i];
		v->smap->page[v->smap_index + i] = 0;
	}
	smap_put(v->smap);
	v->smap = s;
	v->smap_index = 0;
	return 0;
}

/* Grows v, the last byte of which is at old_end, where it is. */
static s64 grow_in_place(struct mm *mm, struct vma *v, u64 new_end)
{
	u64 old_end = v->end;
	s64 r;

	if (smap_own(v, (new_end - v->start) >> PAGE_SHIFT) < 0)
		return -ENOMEM;
	vma_resize(mm, v, v->start, new_end);
	if (v->hole == old_end) {
		r = map_host(v, old_end, new_end, v->flags & VM_LOCKED ? MAP_POPULATE : 0);
		if (r < 0) {
			host_munmap(old_end, new_end - old_end);
			vma_resize(mm, v, v->start, old_end);
			return r;
		}
		v->hole = r;
		if (v->flags & (VM_HUGEPAGE | VM_NOHUGEPAGE))
			host_madvise(old_end, new_end - old_end, v->flags & VM_HUGEPAGE ?
				     MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	vma_merge(mm, v);
	return 0;
}

/*
 * Moves the host's pages [from, from + len) to `to`, as one area or, where a file lies scattered in the
 * page store, run by run.
 */
static long move_host(struct vma *v, u64 from, u64 len, u64 to, int flags)
{
	long r = host_mremap(from, len, len, flags, to);
	u64 pos = 0;

	if (r != -EFAULT || !v->file || !v->smap)
		return r < 0 ? r : 0;
	while (pos < len) {
		u64 i = v->smap_index + ((from + pos - v->start) >> PAGE_SHIFT), n = 1;
		u32 first = v->smap->page[i];

		while (pos + (n << PAGE_SHIFT) < len &&
		       v->smap->page[i + n] == (first ? first + n : 0))
			n++;
		r = host_mremap(from + pos, n << PAGE_SHIFT, n << PAGE_SHIFT, flags, to + pos);
		if (r < 0)
			return r;
		pos += n << PAGE_SHIFT;
	}
	return 0;
}

/*
 * Moves v, which is exactly the old range, to `to` with new_len bytes there (at least its own length). The
 * destination is free in the tree; the host may have nothing there.
 */
static s64 move_area(struct mm *mm, struct vma *v, u64 to, u64 new_len, bool keep)
{
	u64 from = v->start, len = v->end - v->start, backed = v->hole - v->start;
	struct vma *n = vma_alloc(mm);
	s64 r;

	if (!n)
		return -ENOMEM;
	if (smap_own(v, new_len >> PAGE_SHIFT) < 0) {
		vma_free(mm, n);
		return -ENOMEM;
	}
	n->start = to;
	n->end = to + new_len;
	n->hole = to + backed;
	n->prot = v->prot;
	n->flags = v->flags;
	/* Memory that was never touched has no history: as Linux does, so that it can merge where it goes. */
	n->off = v->file || v->smap || backed ? v->off : to;
	vma_hold_file(n, v->file);
	if (v->flags & VM_SHARED) {
		/* The references go along; the old place is unmapped below. */
		n->smap = v->smap;
		n->smap_index = v->smap_index;
		v->smap = NULL;
		r = map_host(n, to, n->end, 0);
		if (r < 0) {
			host_munmap(to, new_len);
			v->smap = n->smap;
			n->smap = NULL;
			vma_free(mm, n);
			return r;
		}
		n->hole = r;
		host_munmap(from, backed);
	} else if (backed) {
		r = move_host(v, from, backed, to,
			      MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0));
		if (r < 0) {
			vma_free(mm, n);
			return r;
		}
		n->smap = v->smap;
		n->smap_index = v->smap_index;
		v->smap = NULL;
	}
	if (!keep) {
		vma_remove(mm, v);
		vma_free(mm, v);
	}
	vma_insert(mm, n);
	/* What is new at the end. */
	if (!(n->flags & VM_SHARED) && new_len > len && n->hole == to + len && backed) {
		r = map_host(n, to + len, n->end, 0);
		if (r < 0) {
			/* The move itself is done and cannot fail any more: give what there was. */
			vma_resize(mm, n, to, to + len);
			return r;
		}
		n->hole = r;
		if (n->flags & (VM_HUGEPAGE | VM_NOHUGEPAGE))
			host_madvise(to + len, new_len - len, n->flags & VM_HUGEPAGE ?
				     MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	vma_merge(mm, n);
	return to;
}

/* old_len 0: a second mapping of the same shared pages. */
static s64 duplicate(struct mm *mm, struct vma *v, u64 old, u64 new_len, u64 to)
{
	struct vma *d;
	s64 r;

	if (!(v->flags & VM_SHARED))
		return -EINVAL;
	if (v->file)
		return add_area(mm, to, to + new_len, v->prot, v->flags, v->file, v->off + (old - v->start), 0);
	d = vma_alloc(mm);
	if (!d)
		return -ENOMEM;
	d->start = to;
	d->end = to + new_len;
	d->prot = v->prot;
	d->flags = v->flags;
	d->off = v->off + (old - v->start);
	d->smap = v->smap;
	d->smap->refs++;
	d->smap_index = v->smap_index + ((old - v->start) >> PAGE_SHIFT);
	r = map_host(d, to, d->end, 0);
	if (r < 0) {
		host_munmap(to, new_len);
		vma_free(mm, d);
		return r;
	}
	d->hole = r;
	vma_insert(mm, d);
	return to;
}

/*
 * Several areas move together if their size stays (Linux does it since 6.17; older kernels answer EFAULT). The
 * gaps between them do not: what stands there at the destination stays.
 */
static s64 move_areas(struct mm *mm, u64 old, u64 len, u64 to)
{
	struct vma *v = vma_isolate(mm, old, old + len);

	if (is_err(v))
		return ptr_err(v);
	while (v && v->start < old + len) {
		u64 start = v->start, end = v->end, dest = to + (start - old);
		s64 r = v->flags & VM_SPECIAL ? -EFAULT : unmap_range(mm, dest, dest + (end - start));

		if (!r)
			r = move_area(mm, v, dest, end - start, false);
		if (r < 0)
			return r;
		v = vma_find(mm, end);
	}
	return to;
}

static s64 do_mremap(struct mm *mm, u64 old, u64 old_len, u64 new_len, int flags, u64 to)
{
	bool resize = old_len != new_len;
	struct vma *v, *next;
	s64 r;

	if (flags & MREMAP_FIXED) {
		if (to & ~PAGE_MASK)
			return -EINVAL;
		if (to > USER_ADDR_MAX || new_len > USER_ADDR_MAX - to || to < USER_ADDR_MIN)
			return -EINVAL;
		if (to < old + old_len && old < to + new_len)
			return -EINVAL;
		if (touches_special(mm, to, to + new_len))
			return -EINVAL;
	}
	v = vma_at(mm, old);
	if (!v || (v->flags & VM_SPECIAL))
		return -EFAULT;
	if ((flags & MREMAP_DONTUNMAP) && ((v->flags & VM_SHARED) || v->file))
		return -EINVAL;
	if (!old_len && !(v->flags & VM_SHARED))
		return -EINVAL;
	/* What stays must be one area; where it only shrinks in place, or moves as it is, it need not be. */
	if (min(old_len, new_len) > v->end - old &&
	    (flags & MREMAP_DONTUNMAP || (flags & MREMAP_FIXED ? resize : new_len > old_len)))
		return -EFAULT;
	/* Shrinking is unmapping; with MREMAP_FIXED the rest still moves. */
	if (new_len < old_len) {
		r = unmap_range(mm, old + new_len, old + old_len);
		if (r < 0)
			return r;
		old_len = new_len;
		v = vma_at(mm, old);
	}
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && new_len == old_len)
		return old;
	if (new_len > old_len) {
		u64 more = new_len - old_len;

		if ((v->flags & VM_LOCKED) && mm->locked + more > rlimit_cur(RLIMIT_MEMLOCK))
			return -EAGAIN;
		r = may_map(mm, more, v->prot, v->flags, false);
		if (r < 0)
			return r;
	}
	next = v->next;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && old_len && old + old_len == v->end &&
	    new_len <= USER_ADDR_MAX - old && (!next || next->start >= old + new_len)) {
		r = grow_in_place(mm, v, old + new_len);
		return r < 0 ? r : (s64)old;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	if (!resize && old_len > v->end - old)
		return move_areas(mm, old, old_len, to);
	if (flags & MREMAP_FIXED) {
		r = unmap_range(mm, to, to + new_len);
		if (r < 0)
			return r;
	} else {
		to = find_place(mm, to, new_len, 0);
		if (!to)
			return -ENOMEM;
	}
	v = vma_at(mm, old); /* it may have been cut */
	if (!old_len)
		return duplicate(mm, v, old, new_len, to);
	v = vma_isolate(mm, old, old + old_len);
	if (is_err(v))
		return ptr_err(v);
	return move_area(mm, v, to, new_len, flags & MREMAP_DONTUNMAP);
}

long sys_mremap(u64 old, u64 old_len, u64 new_len, int flags, u64 new_addr)
{
	struct mm *mm = current_proc()->mm;
	s64 r;

	if (flags & ~MREMAP_ALL)
		return -EINVAL;
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && old_len != new_len)
		return -EINVAL;
	if (old & ~PAGE_MASK)
		return -EINVAL;
	if (old_len > USER_ADDR_MAX || new_len > USER_ADDR_MAX)
		return -EINVAL;
	old_len = page_up(old_len);
	new_len = page_up(new_len);
	if (!new_len)
		return -EINVAL;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		new_addr = 0;
	mutex_lock(&mm->lock);
	r = do_mremap(mm, old, old_len, new_len, flags, new_addr);
	mutex_unlock(&mm->lock);
	return r;
}
