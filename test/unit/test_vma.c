/*
 * test_vma.c - the tree of memory areas against a model with one entry a page, with random operations.
 */
#include <criterion/criterion.h>
#include <linux/mman.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/abi/layout.h"
#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/mm/alloc.h"
#include "libos/mm/shm.h"
#include "libos/mm/vma.h"
#include "test_seed.h"

#define NR 600u /* pages of the model */
#define BASE 0x10000000ul
#define AT(i) (BASE + ((u64)(i) << PAGE_SHIFT))

/* Memory for areas comes from malloc(), so that the sanitizers see each of them. */
void *kmalloc(size_t n) { return malloc(n); }
void *kzalloc(size_t n) { return calloc(1, n); }
void kfree(void *p, size_t n) { free(p); }
void shm_put_range(u64 page, u64 n) { cr_assert_fail("no pages are used here"); }
void spin_lock_slow(spinlock_t *l) { abort(); }

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	abort();
}

struct page_model {
	int prot; /* -1: not mapped */
	u64 off; /* - address, so that it is the same in one mapping */
	bool shared;
	bool hole;
};

static struct page_model model[NR];
static struct mm mm;

static int subtree(struct avl_node *n, u64 *max_gap)
{
	int l, r;
	u64 gap_l = 0, gap_r = 0;
	struct vma *v;

	*max_gap = 0;
	if (!n)
		return 0;
	v = container_of(n, struct vma, node);
	l = subtree(n->left, &gap_l);
	r = subtree(n->right, &gap_r);
	cr_assert(abs(l - r) <= 1, "unbalanced");
	cr_assert(!n->left || n->left->parent == n);
	cr_assert(!n->right || n->right->parent == n);
	*max_gap = max(max(gap_l, gap_r), v->gap);
	cr_assert_eq(v->max_gap, *max_gap);
	cr_assert_eq(n->height, 1 + max(l, r));
	return n->height;
}

static bool same(u32 a, u32 b)
{
	return model[a].prot == model[b].prot && model[a].off == model[b].off && model[a].shared == model[b].shared;
}

/* Tree, list and totals say what the model says, and nothing that could be one area is two. */
static void verify(void)
{
	u64 end = 0, total = 0, data = 0, gap;
	u32 n = 0, count = 0;

	subtree(mm.tree.root, &gap);
	for (struct vma *v = mm.first; v; v = v->next) {
		u32 first = (u32)((v->start - BASE) >> PAGE_SHIFT), last = (u32)((v->end - BASE) >> PAGE_SHIFT);

		cr_assert(v->start < v->end && v->start >= end);
		cr_assert_eq(v->gap, v->start - end);
		cr_assert(v->hole >= v->start && v->hole <= v->end);
		for (; n < first; n++)
			cr_assert_eq(model[n].prot, -1, "page %u is not in the tree", n);
		for (; n < last; n++) {
			cr_assert_eq(model[n].prot, v->prot, "page %u", n);
			cr_assert_eq(AT(n) + model[n].off, v->off + (AT(n) - v->start));
			cr_assert_eq(model[n].hole, AT(n) >= v->hole, "page %u of [%u, %u)", n, first, last);
			cr_assert_eq(model[n].shared, !!(v->flags & VM_SHARED));
			total += PAGE_SIZE;
			if ((v->prot & PROT_WRITE) && !model[n].shared)
				data += PAGE_SIZE;
		}
		/* A border where nothing changes must be one between a hole and pages behind it. */
		if (v->prev && v->prev->end == v->start && same(first - 1, first))
			cr_assert(v->prev->hole < v->prev->end && v->hole > v->start);
		end = v->end;
		count++;
		cr_assert_eq(v->next ? v->next->prev : mm.last, v);
	}
	for (; n < NR; n++)
		cr_assert_eq(model[n].prot, -1);
	cr_assert_eq(count, mm.nr_vmas);
	cr_assert_eq(mm.total, total);
	cr_assert_eq(mm.data, data);
}

static void op_map(u32 from, u32 to)
{
	struct vma *v = vma_alloc(&mm);
	bool hole = test_random(4) == 0, shared = test_random(4) == 0;

	v->start = AT(from);
	v->end = AT(to);
	v->prot = (int)test_random(4);
	v->flags = VM_MAYWRITE | (shared ? VM_SHARED : 0);
	v->off = v->start + (test_random(3) ? 0 : PAGE_SIZE * test_random(3));
	v->hole = hole ? AT(from + test_random(to - from)) : v->end;
	for (u32 i = from; i < to; i++)
		model[i] = (struct page_model){ v->prot, v->off - v->start, shared, AT(i) >= v->hole };
	vma_insert(&mm, v);
	vma_merge(&mm, v);
}

static void op_unmap(u32 from, u32 to)
{
	struct vma *v = vma_isolate(&mm, AT(from), AT(to)), *next;

	for (; v && v->start < AT(to); v = next) {
		next = v->next;
		vma_remove(&mm, v);
		vma_free(&mm, v);
	}
	for (u32 i = from; i < to; i++)
		model[i] = (struct page_model){ .prot = -1 };
}

static void op_protect(u32 from, u32 to)
{
	struct vma *v = vma_isolate(&mm, AT(from), AT(to));
	int prot = (int)test_random(4);

	for (; v && v->start < AT(to); v = v->next) {
		vma_account(&mm, v, -1);
		v->prot = prot;
		vma_account(&mm, v, 1);
	}
	for (u32 i = from; i < to; i++)
		if (model[i].prot >= 0)
			model[i].prot = prot;
	vma_merge_range(&mm, AT(from), AT(to));
}

static void check_search(void)
{
	u32 len = 1 + test_random(30), low = test_random(NR), high = low + test_random(NR - low + 1), run = 0;
	u64 want = 0;

	for (u32 i = low; i < high; i++) {
		run = model[i].prot < 0 ? run + 1 : 0;
		if (run >= len)
			want = AT(i + 1 - len);
	}
	cr_assert_eq(vma_gap_below(&mm, (u64)len << PAGE_SHIFT, AT(low), AT(high)), want,
		     "%u pages within [%u, %u)", len, low, high);
	for (u32 i = 0; i < 5; i++) {
		u32 p = test_random(NR);

		cr_assert_eq(!!vma_at(&mm, AT(p) + 17), model[p].prot >= 0);
		cr_assert_eq(vma_overlaps(&mm, AT(p), AT(p + 1)), model[p].prot >= 0);
	}
}

Test(vma, random_operations)
{
	memset(&mm, 0, sizeof(mm));
	mm_init_tree(&mm);
	for (u32 i = 0; i < NR; i++)
		model[i].prot = -1;
	for (int op = 0; op < 30000; op++) {
		u32 from = test_random(NR), to = from + 1 + test_random(min(NR - from, 40u));

		switch (test_random(4)) {
		case 0:
			op_unmap(from, to);
			break;
		case 1:
			op_protect(from, to);
			break;
		default:
			op_unmap(from, to);
			op_map(from, to);
		}
		verify();
		check_search();
	}
	op_unmap(0, NR);
	verify();
	cr_assert_null(mm.first);
	cr_assert_eq(mm.total, 0);
	free(mm.spare);
}
