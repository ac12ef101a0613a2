/*
 * shm.c - the page store: reference-counted pages of one sparse memfd, allocated first-fit.
 *
 * A bitmap says which pages are taken, a bitmap above it which of its words are full. A third one says
 * which free pages still hold memory of the host: those are zeroed when they are handed out again, and
 * given back in batches once there are many, because a host call costs more than clearing a page.
 *
 * store.lock is a leaf. Host calls are made without it: pages being given back still count as taken.
 */
#include "libos/mm/shm.h"

#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#ifndef LIBOS_HOSTED
#include <linux/mman.h>

#include "libos/platform/hostcall.h"
#endif

#define WORD_BITS 64ul
#define FILL_PAGES 16ul
#define DIRTY_MAX 1024 /* free pages that may still hold memory: 4 MiB */

static struct {
	spinlock_t lock;
	u64 nr_pages; /* multiple of 64; page 0 is never handed out, so that 0 can mean none */
	u64 used, peak;
	u64 dirty_count, dirty_lo, dirty_hi; /* free pages with memory: how many, and within [lo, hi) */
	u64 *taken; /* bit per page */
	u64 *full; /* bit per word of taken */
	u64 *dirty; /* bit per page: free, but not zero */
	u32 *refs;
	u64 filled; /* pages below were taken once, or are filled by the host already */
	u64 first_word; /* no word of taken before it has room */
} store;

#ifdef LIBOS_HOSTED
void *shm_test_base; /* unit tests: memory of the store */
#define page_ptr(i) ((char *)shm_test_base + ((i) << PAGE_SHIFT))
static void host_release(u64 page, u64 n)
{
	memset(page_ptr(page), 0, n << PAGE_SHIFT);
}

static void host_fill(u64 page, u64 n)
{
}
#else
#define page_ptr(i) shm_ptr(i)
static void host_release(u64 page, u64 n)
{
	/* If the host refuses, the pages would come back dirty: clear them by hand. */
	if (host_madvise((u64)shm_ptr(page), n << PAGE_SHIFT, MADV_REMOVE) < 0)
		memset(shm_ptr(page), 0, n << PAGE_SHIFT);
}

static void host_fill(u64 page, u64 n)
{
	host_madvise((u64)shm_ptr(page), n << PAGE_SHIFT, MADV_POPULATE_WRITE);
}
#endif

static inline bool test_bit(const u64 *map, u64 i)
{
	return map[i / WORD_BITS] >> (i % WORD_BITS) & 1;
}

static inline void set_bit(u64 *map, u64 i)
{
	map[i / WORD_BITS] |= 1ul << (i % WORD_BITS);
}

static inline void clear_bit(u64 *map, u64 i)
{
	map[i / WORD_BITS] &= ~(1ul << (i % WORD_BITS));
}

static void take(u64 page)
{
	u64 w = page / WORD_BITS;

	set_bit(store.taken, page);
	if (store.taken[w] == ~0ul)
		set_bit(store.full, w);
}

static void untake(u64 page)
{
	u64 w = page / WORD_BITS;

	clear_bit(store.taken, page);
	clear_bit(store.full, w);
	if (w < store.first_word)
		store.first_word = w;
}

/* First free page at or behind `from`, or nr_pages. */
static u64 find_free(u64 from)
{
	u64 w = from / WORD_BITS, words = store.nr_pages / WORD_BITS;
	u64 room = w < words ? ~store.taken[w] & (~0ul << (from % WORD_BITS)) : 0;

	while (!room) {
		u64 f;

		if (++w >= words)
			return store.nr_pages;
		f = ~store.full[w / WORD_BITS] & (~0ul << (w % WORD_BITS));
		if (!f) {
			w |= WORD_BITS - 1;
			continue;
		}
		w = (w & ~(WORD_BITS - 1)) + __builtin_ctzl(f);
		if (w >= words)
			return store.nr_pages;
		room = ~store.taken[w];
	}
	return w * WORD_BITS + __builtin_ctzl(room);
}

/* How many pages from `page` on are free, at most max. */
static u64 run_length(u64 page, u64 max)
{
	u64 n = 0;

	while (n < max && page + n < store.nr_pages) {
		u64 i = page + n, bits = store.taken[i / WORD_BITS] >> (i % WORD_BITS);

		if (bits) {
			n += __builtin_ctzl(bits);
			break;
		}
		n += WORD_BITS - i % WORD_BITS;
	}
	return min(n, max);
}

s64 shm_alloc(u64 n, u64 near)
{
	u64 page, run;

	if (!n || n >= store.nr_pages)
		return -ENOSPC;
	spin_lock(&store.lock);
	page = near + 1;
	if (!near || page >= store.nr_pages || run_length(page, n) < n) {
		/* Page 0 is never given. */
		page = find_free(max(store.first_word * WORD_BITS, 1ul));
		store.first_word = page / WORD_BITS;
		while (page < store.nr_pages && (run = run_length(page, n)) < n)
			page = find_free(page + run);
		if (page >= store.nr_pages) {
			spin_unlock(&store.lock);
			return -ENOSPC;
		}
	}
	for (u64 i = page; i < page + n; i++) {
		take(i);
		__atomic_store_n(&store.refs[i], 1, __ATOMIC_RELAXED);
	}
	if (page + n > store.filled) {
		/* A file that grows page by page: the next few in one host call, instead of a fault each. */
		u64 to = min(page + FILL_PAGES, store.nr_pages);

		if (n == 1)
			host_fill(page, to - page);
		store.filled = n == 1 ? to : page + n;
	}
	store.used += n;
	store.peak = max(store.peak, store.used);
	if (store.dirty_count) {
		for (u64 i = max(page, store.dirty_lo); i < min(page + n, store.dirty_hi); i++) {
			if (!test_bit(store.dirty, i))
				continue;
			clear_bit(store.dirty, i);
			store.dirty_count--;
			/* Under the lock, but rare for more than a few pages: files grow by one. */
			memset(page_ptr(i), 0, PAGE_SIZE);
		}
	}
	spin_unlock(&store.lock);
	return page;
}

void shm_get(u64 page)
{
	BUG_ON(page >= store.nr_pages);
	__atomic_fetch_add(&store.refs[page], 1, __ATOMIC_RELAXED);
}

/*
 * Gives the memory of the free pages back to the host. Called and returns with the lock held. The pages of
 * a run count as taken while the host works on them.
 */
static void release_dirty(void)
{
	u64 page = store.dirty_lo, hi = store.dirty_hi;

	while (page < hi) {
		u64 n = 0;

		if (!store.dirty[page / WORD_BITS]) {
			page = (page | (WORD_BITS - 1)) + 1;
			continue;
		}
		for (; page + n < hi && test_bit(store.dirty, page + n); n++) {
			clear_bit(store.dirty, page + n);
			take(page + n);
		}
		if (n) {
			store.dirty_count -= n;
			spin_unlock(&store.lock);
			host_release(page, n);
			spin_lock(&store.lock);
			for (u64 i = page; i < page + n; i++)
				untake(i);
		}
		page += max(n, 1ul);
	}
	if (!store.dirty_count)
		store.dirty_lo = store.dirty_hi = 0;
}

static void free_page(u64 page)
{
	untake(page);
	set_bit(store.dirty, page);
	if (!store.dirty_count++) {
		store.dirty_lo = page;
		store.dirty_hi = page + 1;
	} else {
		store.dirty_lo = min(store.dirty_lo, page);
		store.dirty_hi = max(store.dirty_hi, page + 1);
	}
	store.used--;
}

void shm_put(u64 page)
{
	shm_put_range(page, 1);
}

void shm_put_range(u64 page, u64 n)
{
	BUG_ON(page >= store.nr_pages || n > store.nr_pages - page);
	for (u64 i = page; i < page + n; i++) {
		u32 old = __atomic_fetch_sub(&store.refs[i], 1, __ATOMIC_ACQ_REL);

		BUG_ON(!old);
		if (old > 1)
			continue;
		spin_lock(&store.lock);
		free_page(i);
		if (store.dirty_count > DIRTY_MAX)
			release_dirty();
		spin_unlock(&store.lock);
	}
}

u64 shm_pages_used(void)
{
	return READ_ONCE(store.used);
}

u64 shm_pages_peak(void)
{
	return READ_ONCE(store.peak);
}

u64 shm_pages_total(void)
{
	return store.nr_pages - 1;
}

void shm_init(u64 size)
{
	u64 words, nr = align_down(size >> PAGE_SHIFT, WORD_BITS);
	size_t map_size, refs_size = nr * sizeof(u32);

	BUG_ON(nr < WORD_BITS || nr > UINT32_MAX);
	memset(&store, 0, sizeof(store));
	store.nr_pages = nr;
	words = nr / WORD_BITS;
	map_size = words * sizeof(u64);
	/* Fresh memory of the arena is zero, and must stay untouched: it is large and mostly unused. */
	store.taken = alloc_untouched(map_size);
	store.dirty = alloc_untouched(map_size);
	store.full = alloc_untouched(align_up(words, WORD_BITS) / 8);
	store.refs = alloc_untouched(refs_size);
	BUG_ON(!store.taken || !store.dirty || !store.full || !store.refs);
}
