/*
 * alloc.c - memory of the library OS: a buddy allocator of arena pages, slabs of small objects above it.
 *
 * The arena is a sparse shared memfd: what was never used costs nothing, so pages are taken from free
 * lists first and else from the frontier, behind which nothing was ever touched. All bookkeeping
 * of pages stands in an array of its own, so free pages are not touched either.
 *
 * Small objects come from slabs of a size class, through a cache per kthread (a kthread is never
 * preempted inside the library OS, so its cache needs no lock). The caller says the size again
 * when it frees, so there are no headers.
 *
 * Lock order: class lock -> page lock. Any context.
 */
#include "libos/mm/alloc.h"

#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/lib/string.h"
#ifndef LIBOS_HOSTED
#include <linux/mman.h>

#include "libos/platform/hostcall.h"
#include "libos/sched/uthread.h"
#endif

#define MAX_ORDER 22 /* 16 GiB */
#define RELEASE_ORDER 8 /* freed blocks from 1 MiB on go back to the host */
#define FILL_PAGES 32
#define SLAB_MAX 2048ul
#define CACHE_MAX 32

enum page_kind { PAGE_USED, PAGE_FREE, PAGE_SLAB };

/* Per arena page; only the first page of a block counts. Indices are of pages; 0 is no page. */
struct page {
	u32 next, prev; /* free list, or list of slabs with room */
	u16 inuse; /* slab: objects handed out */
	u16 free; /* slab: 1 + index of the first free object, 0: none */
	u16 carved; /* slab: objects that were ever handed out */
	u8 order;
	u8 kind;
};

struct slab_class {
	spinlock_t lock;
	u32 partial; /* slabs with room */
	u16 size, per_slab;
	u8 order, batch;
} cacheline_aligned;

/* Objects at hand for one kthread. */
struct slab_cache {
	u32 n;
	void *v[CACHE_MAX];
};

static const u16 class_sizes[] = { 16, 32, 48, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048 };
#define NR_CLASSES ARRAY_SIZE(class_sizes)

static struct slab_class classes[NR_CLASSES];
static u8 class_of[SLAB_MAX / 16 + 1]; /* by (size + 15) / 16 */

static spinlock_t page_lock;
static struct page *pages;
static u64 base; /* address of page 0 */
static u32 frontier, nr_pages;
static u32 filled; /* pages up to here were touched, or the host was asked to fill them */
static u32 free_heads[MAX_ORDER + 1];
static u64 used_pages, peak_pages;

#ifdef LIBOS_HOSTED
int alloc_test_cache = -1; /* unit tests: the cache to use, -1: none */
static struct slab_cache caches[4][NR_CLASSES];

static struct slab_cache *this_cache(unsigned class)
{
	return alloc_test_cache < 0 ? NULL : &caches[alloc_test_cache][class];
}

static void host_release(void *p, unsigned order)
{
}

static void host_fill(u32 from, u32 n)
{
}
#else
static struct slab_cache (*caches)[NR_CLASSES]; /* per kthread; large, and mostly unused */

/* NULL while booting, when there is no kthread yet. */
static inline struct slab_cache *this_cache(unsigned class)
{
	struct kthread *k = (struct kthread *)__builtin_ia32_rdgsbase64();

	return unlikely(!k) ? NULL : &caches[k->id][class];
}

static void host_release(void *p, unsigned order)
{
	host_madvise((u64)p, PAGE_SIZE << order, MADV_REMOVE);
}

/* Many pages in one host call: a page fault for each would take ten times as long. */
static void host_fill(u32 from, u32 n)
{
	host_madvise(base + ((u64)from << PAGE_SHIFT), (u64)n << PAGE_SHIFT, MADV_POPULATE_WRITE);
}
#endif

static inline u32 page_index(const void *p)
{
	return ((u64)p - base) >> PAGE_SHIFT;
}

static inline void *page_addr(u32 i)
{
	return (void *)(base + ((u64)i << PAGE_SHIFT));
}

static void list_push(u32 *head, u32 i)
{
	pages[i].prev = 0;
	pages[i].next = *head;
	if (*head)
		pages[*head].prev = i;
	*head = i;
}

static void list_remove(u32 *head, u32 i)
{
	struct page *p = &pages[i];

	if (p->prev)
		pages[p->prev].next = p->next;
	else
		*head = p->next;
	if (p->next)
		pages[p->next].prev = p->prev;
}

/* Gives block i back to the free lists, joined with its buddies. page_lock held. */
static void block_free(u32 i, unsigned order)
{
	while (order < MAX_ORDER) {
		u32 buddy = i ^ (1u << order);

		if (buddy >= frontier || buddy + (1u << order) > frontier ||
		    pages[buddy].kind != PAGE_FREE || pages[buddy].order != order)
			break;
		list_remove(&free_heads[order], buddy);
		pages[buddy].kind = PAGE_USED;
		i &= ~(1u << order);
		order++;
	}
	pages[i].kind = PAGE_FREE;
	pages[i].order = order;
	list_push(&free_heads[order], i);
}

/* Frees pages [i, i + n) as the largest aligned blocks. page_lock held. */
static void range_free(u32 i, u32 n)
{
	while (n) {
		unsigned order = i ? __builtin_ctz(i) : MAX_ORDER;

		while ((1u << order) > n)
			order--;
		block_free(i, order);
		i += 1u << order;
		n -= 1u << order;
	}
}

/* Page index of a block, 0: no memory. page_lock held. */
static u32 block_alloc(unsigned order)
{
	u32 i, skipped, n = 1u << order;

	for (unsigned o = order; o <= MAX_ORDER; o++) {
		if (!free_heads[o])
			continue;
		i = free_heads[o];
		list_remove(&free_heads[o], i);
		while (o > order) {
			u32 half = i + (1u << --o);

			pages[half].kind = PAGE_FREE;
			pages[half].order = o;
			list_push(&free_heads[o], half);
		}
		goto out;
	}
	i = align_up(frontier, n);
	if (i < frontier || i > nr_pages || n > nr_pages - i)
		return 0;
	skipped = frontier;
	frontier = i + n;
	if (frontier > filled) {
		u32 from = max(filled, skipped), to = min(frontier + FILL_PAGES, nr_pages);

		/* Large blocks are left to whoever touches them. */
		if (n <= FILL_PAGES)
			host_fill(from, to - from);
		filled = n <= FILL_PAGES ? to : frontier;
	}
	pages[i].kind = PAGE_USED; /* before it may be looked at as a buddy */
	range_free(skipped, i - skipped);
out:
	pages[i].kind = PAGE_USED;
	pages[i].order = order;
	return i;
}

static void account(s64 n)
{
	used_pages += n;
	if (used_pages > peak_pages)
		peak_pages = used_pages;
}

void *pages_alloc(unsigned order)
{
	u32 i;

	if (order > MAX_ORDER)
		return NULL;
	spin_lock(&page_lock);
	i = block_alloc(order);
	if (i)
		account(1l << order);
	spin_unlock(&page_lock);
	return i ? page_addr(i) : NULL;
}

void pages_free(void *p, unsigned order)
{
	u32 i = page_index(p);

	BUG_ON(!p || ((u64)p & ~PAGE_MASK) || i >= frontier || pages[i].kind != PAGE_USED);
	if (order >= RELEASE_ORDER)
		host_release(p, order);
	spin_lock(&page_lock);
	block_free(i, order);
	account(-(1l << order));
	spin_unlock(&page_lock);
}

/* n pages that need not be a power of two: what is left of the block goes back at once. */
static void *range_alloc(u64 n)
{
	unsigned order = n > 1 ? 64 - __builtin_clzl(n - 1) : 0;
	u32 i;

	if (order > MAX_ORDER)
		return NULL;
	spin_lock(&page_lock);
	i = block_alloc(order);
	if (i) {
		range_free(i + n, (1u << order) - n);
		account(n);
	}
	spin_unlock(&page_lock);
	return i ? page_addr(i) : NULL;
}

void *alloc_untouched(size_t size)
{
	u32 i, n = page_up(size) >> PAGE_SHIFT;

	spin_lock(&page_lock);
	i = frontier;
	if (n > nr_pages - i) {
		spin_unlock(&page_lock);
		return NULL;
	}
	frontier += n; /* not accounted: these tables are sparse */
	spin_unlock(&page_lock);
	return page_addr(i);
}

static void range_release(void *p, u64 n)
{
	u32 i = page_index(p);

	BUG_ON(((u64)p & ~PAGE_MASK) || i >= frontier || n > frontier - i || pages[i].kind != PAGE_USED);
#ifndef LIBOS_HOSTED
	if (n >> RELEASE_ORDER)
		host_madvise((u64)p, n << PAGE_SHIFT, MADV_REMOVE);
#endif
	spin_lock(&page_lock);
	range_free(i, n);
	account(-(s64)n);
	spin_unlock(&page_lock);
}

/* Takes an object out of a slab of the class. Class lock held. NULL: no memory. */
static void *slab_take(struct slab_class *c)
{
	u32 i = c->partial;
	struct page *pg;
	void *obj;

	if (!i) {
		spin_lock(&page_lock);
		i = block_alloc(c->order);
		if (i)
			account(1l << c->order);
		spin_unlock(&page_lock);
		if (!i)
			return NULL;
		pg = &pages[i];
		pg->kind = PAGE_SLAB;
		pg->inuse = pg->free = pg->carved = 0;
		list_push(&c->partial, i);
	}
	pg = &pages[i];
	if (pg->free) {
		obj = page_addr(i) + (u64)(pg->free - 1) * c->size;
		pg->free = *(u16 *)obj;
	} else {
		obj = page_addr(i) + (u64)pg->carved++ * c->size;
	}
	if (++pg->inuse == c->per_slab)
		list_remove(&c->partial, i);
	return obj;
}

/* Gives an object back to its slab. Class lock held. */
static void slab_give(struct slab_class *c, void *obj)
{
	u32 i = page_index(obj) & ~((1u << c->order) - 1);
	struct page *pg = &pages[i];
	u32 nr = ((u64)obj - (u64)page_addr(i)) / c->size;

	BUG_ON(i >= frontier || pg->kind != PAGE_SLAB || pg->order != c->order || !pg->inuse);
	*(u16 *)obj = pg->free;
	pg->free = nr + 1;
	if (pg->inuse-- == c->per_slab)
		list_push(&c->partial, i);
	/* An empty slab is kept only as the last one with room. */
	if (!pg->inuse && (pg->next || pg->prev)) {
		list_remove(&c->partial, i);
		pg->kind = PAGE_USED;
		spin_lock(&page_lock);
		block_free(i, c->order);
		account(-(1l << c->order));
		spin_unlock(&page_lock);
	}
}

void *kmalloc(size_t size)
{
	struct slab_cache *cache;
	struct slab_class *c;
	unsigned class;
	void *obj;

	if (unlikely(size > SLAB_MAX)) {
		if (size > (PAGE_SIZE << MAX_ORDER))
			return NULL;
		return range_alloc(page_up(size) >> PAGE_SHIFT);
	}
	class = class_of[(size + 15) / 16];
	cache = this_cache(class);
	if (likely(cache && cache->n))
		return cache->v[--cache->n];
	c = &classes[class];
	spin_lock(&c->lock);
	obj = slab_take(c);
	if (cache) {
		while (obj && cache->n < c->batch) {
			void *more = slab_take(c);

			if (!more)
				break;
			cache->v[cache->n++] = more;
		}
	}
	spin_unlock(&c->lock);
	return obj;
}

void *kzalloc(size_t size)
{
	void *p = kmalloc(size);

	if (p)
		memset(p, 0, size);
	return p;
}

void kfree(void *p, size_t size)
{
	struct slab_cache *cache;
	struct slab_class *c;
	unsigned class;

	if (!p)
		return;
	if (unlikely(size > SLAB_MAX)) {
		range_release(p, page_up(size) >> PAGE_SHIFT);
		return;
	}
	class = class_of[(size + 15) / 16];
	cache = this_cache(class);
	c = &classes[class];
	if (likely(cache && cache->n < 2u * c->batch)) {
		cache->v[cache->n++] = p;
		return;
	}
	spin_lock(&c->lock);
	slab_give(c, p);
	while (cache && cache->n > c->batch)
		slab_give(c, cache->v[--cache->n]);
	spin_unlock(&c->lock);
}

char *kstrdup(const char *s)
{
	size_t n = strlen(s) + 1;
	char *p = kmalloc(n);

	if (p)
		memcpy(p, s, n);
	return p;
}

void kfree_str(char *s)
{
	if (s)
		kfree(s, strlen(s) + 1);
}

u64 alloc_used(void)
{
	return READ_ONCE(used_pages) << PAGE_SHIFT;
}

u64 alloc_peak(void)
{
	return READ_ONCE(peak_pages) << PAGE_SHIFT;
}

void alloc_init(u64 start, u64 end)
{
	u64 meta;

	start = page_up(start);
	base = align_down(start, 2ul << 20);
	nr_pages = (min(end - base, PAGE_SIZE << MAX_ORDER)) >> PAGE_SHIFT;
	meta = page_up(nr_pages * sizeof(struct page));
	pages = (struct page *)start;
	/* Page 0 is never handed out: the metadata or .bss stands there, or it is skipped. */
	frontier = max(((start + meta) - base) >> PAGE_SHIFT, 1ul);
	BUG_ON(frontier >= nr_pages);
	memset(free_heads, 0, sizeof(free_heads));
	used_pages = peak_pages = 0;
	filled = frontier;

	for (unsigned i = 0, s = 0; i < NR_CLASSES; i++) {
		struct slab_class *c = &classes[i];

		spin_init(&c->lock);
		c->partial = 0;
		c->size = class_sizes[i];
		c->order = c->size <= 256 ? 0 : c->size <= 512 ? 1 : c->size <= 1024 ? 2 : 3;
		c->per_slab = (PAGE_SIZE << c->order) / c->size;
		c->batch = c->size <= 256 ? CACHE_MAX / 2 : c->size <= 1024 ? 8 : 4;
		for (; s <= c->size / 16; s++)
			class_of[s] = i;
	}
#ifdef LIBOS_HOSTED
	memset(caches, 0, sizeof(caches));
#else
	caches = alloc_untouched(CTL_MAX_KTHREADS * sizeof(caches[0]));
	BUG_ON(!caches);
	filled = frontier;
#endif
}
