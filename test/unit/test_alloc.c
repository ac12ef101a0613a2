/*
 * test_alloc.c - the arena allocator and the page store against simple models, with random operations.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/mm/alloc.h"
#include "libos/mm/shm.h"
#include "test_seed.h"

#define ARENA_SIZE (64ul << 20)
#define MAX_BLOCKS 2000
#define SHM_PAGES 4096ul

extern int alloc_test_cache;
extern void *shm_test_base;

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	abort();
}

void spin_lock_slow(spinlock_t *l)
{
	panic("a lock is taken twice");
}

static char *arena(size_t offset)
{
	char *p = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	alloc_test_cache = -1;
	alloc_init((u64)p + offset, (u64)p + ARENA_SIZE);
	return p;
}

struct block {
	unsigned char *p;
	size_t size;
	unsigned char fill;
};

static void check(const struct block *b)
{
	size_t i = 0;

	while (i < b->size && b->p[i] == b->fill)
		i++;
	cr_assert_eq(i, b->size, "byte %zu of a block of %zu was overwritten", i, b->size);
}

static size_t random_size(void)
{
	switch (test_random(10)) {
	case 0:
		return 1 + test_random(1u << 20);
	case 1:
	case 2:
		return 1 + test_random(20000);
	default:
		return 1 + test_random(2300);
	}
}

static void churn(bool caches)
{
	static struct block blocks[MAX_BLOCKS];
	u64 before;
	u32 n = 0;

	arena(12345);
	before = alloc_used();
	for (int op = 0; op < 20000; op++) {
		if (caches)
			alloc_test_cache = (int)test_random(4);
		if (n < MAX_BLOCKS && test_random(100) < (op % 4000 < 2000 ? 60 : 40)) {
			struct block *b = &blocks[n];

			b->size = random_size();
			b->p = kmalloc(b->size);
			if (!b->p)
				continue;
			cr_assert_eq((u64)b->p % (b->size >= 4096 ? 4096 : b->size >= 64 ? 64 : 16), 0,
				     "block of %zu at %p", b->size, (void *)b->p);
			b->fill = (unsigned char)op;
			memset(b->p, b->fill, b->size);
			n++;
		} else if (n) {
			u32 i = test_random(n);

			check(&blocks[i]);
			kfree(blocks[i].p, blocks[i].size);
			blocks[i] = blocks[--n];
		}
	}
	for (u32 i = 0; i < n; i++) {
		check(&blocks[i]);
		kfree(blocks[i].p, blocks[i].size);
	}
	/* What stays is one slab a class at most, and what the caches hold. */
	cr_assert_leq(alloc_used() - before, caches ? 8ul << 20 : 13 * 8 * 4096ul);
	cr_assert_geq(alloc_peak(), alloc_used());
}

Test(alloc, random_blocks)
{
	churn(false);
}

Test(alloc, random_blocks_with_caches)
{
	churn(true);
}

Test(alloc, pages_come_back_whole)
{
	void *p[1000];
	void *big;
	int n = 0;

	arena(0);
	while (n < 1000 && (p[n] = pages_alloc(3)))
		n++;
	cr_assert_eq(n, 1000);
	for (int i = 0; i < n; i++)
		cr_assert_eq((u64)p[i] % 32768, 0);
	test_shuffle(p, (size_t)n);
	for (int i = 0; i < n; i++)
		pages_free(p[i], 3);
	cr_assert_eq(alloc_used(), 0);
	/* Buddies have joined again: nearly all of it is one block. */
	big = pages_alloc(12);
	cr_assert_not_null(big);
	pages_free(big, 12);
}

Test(alloc, runs_out_and_recovers)
{
	struct node {
		struct node *next;
	} *list = NULL, *n;
	u32 count = 0;

	arena(0);
	while ((n = kmalloc(1u << 16))) {
		n->next = list;
		list = n;
		count++;
	}
	cr_assert_gt(count, 950);
	cr_assert_null(pages_alloc(4));
	cr_assert_null(kmalloc(1ul << 40));
	for (; list; list = n) {
		n = list->next;
		kfree(list, 1u << 16);
	}
	cr_assert_eq(alloc_used(), 0);
	cr_assert_not_null(kmalloc(1u << 24));
}

static void store(void)
{
	arena(0);
	shm_test_base = mmap(NULL, SHM_PAGES << PAGE_SHIFT, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert_neq(shm_test_base, MAP_FAILED);
	shm_init(SHM_PAGES << PAGE_SHIFT);
}

Test(shm, random_pages)
{
	static u32 refs[SHM_PAGES];
	u64 used = 0;

	store();
	for (int op = 0; op < 30000; op++) {
		u64 i = 1 + test_random(SHM_PAGES - 1);

		switch (test_random(4)) {
		case 0: {
			u64 n = test_random(5) ? 1 : 1 + test_random(40);
			s64 page = shm_alloc(n, test_random(2) ? i : 0);

			if (page < 0) {
				/* Only if there is no such gap. */
				u64 run = 0, best = 0;

				for (u64 k = 1; k < SHM_PAGES; k++) {
					run = refs[k] ? 0 : run + 1;
					best = run > best ? run : best;
				}
				cr_assert_lt(best, n);
				break;
			}
			cr_assert_gt(page, 0);
			for (u64 k = 0; k < n; k++) {
				const u64 *c = (u64 *)((char *)shm_test_base + (((u64)page + k) << PAGE_SHIFT));

				cr_assert_eq(refs[(u64)page + k], 0, "page %lu given twice", (u64)page + k);
				cr_assert(c[0] == 0 && c[511] == 0, "page %lu is not zero", (u64)page + k);
				memset((void *)c, 0xff, PAGE_SIZE);
				refs[(u64)page + k] = 1;
			}
			used += n;
			break;
		}
		case 1:
			if (refs[i]) {
				shm_get(i);
				refs[i]++;
			}
			break;
		default:
			if (refs[i]) {
				shm_put(i);
				if (!--refs[i])
					used--;
			}
		}
		cr_assert_eq(shm_pages_used(), used);
	}
}

Test(shm, prefers_the_next_page)
{
	s64 a, b, c;

	store();
	a = shm_alloc(1, 0);
	b = shm_alloc(1, (u64)a);
	cr_assert_eq(b, a + 1);
	shm_put((u64)a);
	c = shm_alloc(3, (u64)b);
	cr_assert_eq(c, b + 1);
	cr_assert_eq(shm_alloc(SHM_PAGES, 0), -ENOSPC);
	cr_assert_eq(shm_alloc(0, 0), -ENOSPC);
}
