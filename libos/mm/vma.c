/*
 * vma.c - the tree of memory areas: lookup, gaps, splitting and merging.
 *
 * Each area knows the gap below it, and each subtree its largest gap, so finding room and finding an
 * area are both logarithmic. Areas never overlap. Caller holds mm->lock.
 */
#include "libos/mm/vma.h"

#include <linux/mman.h>

#include "libos/abi/layout.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/shm.h"
#ifndef LIBOS_HOSTED
#include <linux/stat.h>

#include "libos/fs/vfs.h"
#endif

#define SMAP_JOIN_MAX 4096 /* pages */
#define to_vma(n) container_of(n, struct vma, node)

static void vma_augment(struct avl_node *n)
{
	struct vma *v = to_vma(n);

	v->max_gap = v->gap;
	if (n->left && to_vma(n->left)->max_gap > v->max_gap)
		v->max_gap = to_vma(n->left)->max_gap;
	if (n->right && to_vma(n->right)->max_gap > v->max_gap)
		v->max_gap = to_vma(n->right)->max_gap;
}

void mm_init_tree(struct mm *mm)
{
	mm->tree.root = NULL;
	mm->tree.augment = vma_augment;
	mm->first = mm->last = NULL;
	mm->nr_vmas = 0;
}

struct vma *vma_find(struct mm *mm, u64 addr)
{
	struct avl_node *n = mm->tree.root;
	struct vma *best = NULL;

	while (n) {
		struct vma *v = to_vma(n);

		if (v->end > addr) {
			best = v;
			if (v->start <= addr)
				break;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

bool vma_overlaps(struct mm *mm, u64 start, u64 end)
{
	struct vma *v = vma_find(mm, start);

	return v && v->start < end;
}

static u64 gap_in(struct avl_node *n, u64 len, u64 low, u64 high)
{
	while (n && to_vma(n)->max_gap >= len) {
		struct vma *v = to_vma(n);
		u64 lo = max(v->start - v->gap, low), hi = min(v->start, high);

		/* The gaps on the right begin at or above v->end. */
		if (v->end < high && high - v->end >= len) {
			u64 a = gap_in(n->right, len, low, high);

			if (a)
				return a;
		}
		if (hi > lo && hi - lo >= len)
			return hi - len;
		n = n->left;
	}
	return 0;
}

u64 vma_gap_below(struct mm *mm, u64 len, u64 low, u64 high)
{
	u64 top = max(mm->last ? mm->last->end : 0, low);

	if (high > top && high - top >= len)
		return high - len;
	return gap_in(mm->tree.root, len, low, high);
}

#ifdef LIBOS_HOSTED
void vma_hold_file(struct vma *v, struct file *f)
{
	v->file = f;
}

static void drop_file(struct vma *v)
{
}
#else
/*
 * Files tell mm of changes of their size only if they are mapped; memory files ask whether a writable
 * shared mapping exists before they take F_SEAL_WRITE.
 */
static void count_map(struct vma *v, u32 n)
{
	struct inode *i = v->file->inode;

	if (!i || !S_ISREG(i->mode))
		return;
	__atomic_fetch_add(&i->reg.maps, n, __ATOMIC_RELAXED);
	if ((v->flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE))
		__atomic_fetch_add(&i->reg.writable_maps, n, __ATOMIC_RELAXED);
}

void vma_hold_file(struct vma *v, struct file *f)
{
	v->file = f;
	if (f) {
		file_get(f);
		count_map(v, 1);
	}
}

static void drop_file(struct vma *v)
{
	if (v->file) {
		count_map(v, -1u);
		file_put(v->file);
	}
}
#endif

struct vma *vma_alloc(struct mm *mm)
{
	struct vma *v = mm->spare;

	if (!v)
		return kzalloc(sizeof(*v));
	mm->spare = NULL;
	memset(v, 0, sizeof(*v));
	return v;
}

void vma_free(struct mm *mm, struct vma *v)
{
	drop_file(v);
	smap_put(v->smap);
	if (mm->spare)
		kfree(v, sizeof(*v));
	else
		mm->spare = v;
}

void vma_account(struct mm *mm, const struct vma *v, int sign)
{
	u64 n = sign * (v->end - v->start);

	if (v->flags & VM_SPECIAL)
		return;
	mm->total += n;
	if (v->flags & VM_LOCKED)
		mm->locked += n;
	if (v->flags & VM_STACK)
		mm->stack += n;
	else if ((v->prot & PROT_WRITE) && !(v->flags & VM_SHARED))
		mm->data += n;
	else if ((v->prot & PROT_EXEC) && v->file)
		mm->text += n;
}

static void set_gap(struct mm *mm, struct vma *v)
{
	v->gap = v->start - (v->prev ? v->prev->end : 0);
	avl_augment_up(&mm->tree, &v->node);
}

void vma_insert(struct mm *mm, struct vma *v)
{
	struct avl_node **link = &mm->tree.root, *parent = NULL;

	v->prev = NULL;
	v->next = mm->first;
	while (*link) {
		struct vma *p = to_vma(*link);

		parent = *link;
		if (v->start < p->start) {
			v->next = p;
			link = &parent->left;
		} else {
			v->prev = p;
			link = &parent->right;
		}
	}
	v->next = v->prev ? v->prev->next : mm->first;
	if (v->prev)
		v->prev->next = v;
	else
		mm->first = v;
	if (v->next)
		v->next->prev = v;
	else
		mm->last = v;
	v->gap = v->start - (v->prev ? v->prev->end : 0);
	avl_insert(&mm->tree, &v->node, parent, link);
	if (v->next)
		set_gap(mm, v->next);
	mm->nr_vmas++;
	vma_account(mm, v, 1);
}

void vma_remove(struct mm *mm, struct vma *v)
{
	vma_account(mm, v, -1);
	mm->nr_vmas--;
	avl_remove(&mm->tree, &v->node);
	if (v->prev)
		v->prev->next = v->next;
	else
		mm->first = v->next;
	if (v->next)
		v->next->prev = v->prev;
	else
		mm->last = v->prev;
	if (v->next)
		set_gap(mm, v->next);
}

void vma_resize(struct mm *mm, struct vma *v, u64 start, u64 end)
{
	vma_account(mm, v, -1);
	v->start = start;
	v->end = end;
	vma_account(mm, v, 1);
	set_gap(mm, v);
	if (v->next)
		set_gap(mm, v->next);
}

struct vma *vma_split(struct mm *mm, struct vma *v, u64 addr)
{
	struct vma *up = vma_alloc(mm);
	u64 end = v->end, hole = v->hole;

	if (!up)
		return NULL;
	up->start = addr;
	up->end = end;
	up->prot = v->prot;
	up->flags = v->flags;
	vma_hold_file(up, v->file);
	up->off = v->off + (addr - v->start);
	up->smap = v->smap;
	if (up->smap) {
		up->smap->refs++;
		up->smap_index = v->smap_index + ((addr - v->start) >> PAGE_SHIFT);
	}
	up->hole = max(hole, addr);
	vma_resize(mm, v, v->start, addr);
	v->hole = min(hole, addr);
	vma_insert(mm, up);
	return up;
}

struct vma *vma_isolate(struct mm *mm, u64 start, u64 end)
{
	struct vma *v = vma_find(mm, start), *w;

	if (!v || v->start >= end)
		return NULL;
	if (v->start < start) {
		v = vma_split(mm, v, start);
		if (!v)
			return err_ptr(-ENOMEM);
	}
	w = v->end >= end ? v : vma_find(mm, end - 1);
	if (w && w->start < end && w->end > end && !vma_split(mm, w, end))
		return err_ptr(-ENOMEM);
	return v;
}

/*
 * Two mappings of one file got a page table each: gives them one, if that is not too much work. Anonymous
 * shared memory stays apart, as each is an object of its own.
 */
static bool join_smaps(struct vma *a, struct vma *b)
{
	u64 na = (a->end - a->start) >> PAGE_SHIFT, nb = (b->end - b->start) >> PAGE_SHIFT;
	struct smap *s;

	if (!a->file || na + nb > SMAP_JOIN_MAX)
		return false;
	s = smap_alloc(na + nb);
	if (!s)
		return false;
	for (u64 i = 0; i < na + nb; i++) {
		struct vma *v = i < na ? a : b;
		u32 *from = v->smap ? &v->smap->page[v->smap_index + (i < na ? i : i - na)] : NULL;

		if (from) {
			s->page[i] = *from;
			*from = 0;
		}
	}
	s->refs = 2;
	smap_put(a->smap);
	smap_put(b->smap);
	a->smap = b->smap = s;
	a->smap_index = 0;
	b->smap_index = na;
	return true;
}

/* Whether b, right above a, could be part of it. */
static bool mergeable(struct vma *a, struct vma *b)
{
	return a->end == b->start && a->prot == b->prot && a->flags == b->flags &&
	       !(a->flags & VM_SPECIAL) && a->file == b->file &&
	       a->off + (a->end - a->start) == b->off && (a->hole == a->end || b->hole == b->start) &&
	       ((a->smap == b->smap &&
		 (!a->smap || a->smap_index + ((a->end - a->start) >> PAGE_SHIFT) == b->smap_index)) ||
		join_smaps(a, b));
}

/* Lets a swallow b. */
static void join(struct mm *mm, struct vma *a, struct vma *b)
{
	u64 end = b->end, hole = a->hole == a->end ? b->hole : a->hole;

	vma_remove(mm, b);
	vma_free(mm, b);
	vma_resize(mm, a, a->start, end);
	a->hole = hole;
}

struct vma *vma_merge(struct mm *mm, struct vma *v)
{
	struct vma *prev = v->prev;

	if (v->next && mergeable(v, v->next))
		join(mm, v, v->next);
	if (prev && mergeable(prev, v)) {
		join(mm, prev, v);
		v = prev;
	}
	return v;
}

void vma_merge_range(struct mm *mm, u64 start, u64 end)
{
	struct vma *v = vma_find(mm, start ? start - 1 : 0);

	while (v && v->start <= end) {
		v = vma_merge(mm, v);
		v = v->next;
	}
}

struct smap *smap_alloc(u64 nr_pages)
{
	struct smap *s = kzalloc(sizeof(*s) + nr_pages * sizeof(s->page[0]));

	if (s) {
		s->refs = 1;
		s->nr_pages = nr_pages;
	}
	return s;
}

void smap_drop(struct smap *s, u64 index, u64 n)
{
	u64 end = min(index + n, s->nr_pages);

	while (index < end) {
		u64 first = s->page[index], run = 0;

		while (index < end && first && s->page[index] == first + run) {
			s->page[index++] = 0;
			run++;
		}
		if (run)
			shm_put_range(first, run);
		else
			index++;
	}
}

void smap_put(struct smap *s)
{
	if (!s || --s->refs)
		return;
	smap_drop(s, 0, s->nr_pages);
	kfree(s, sizeof(*s) + s->nr_pages * sizeof(s->page[0]));
}
