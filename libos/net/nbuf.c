/*
 * nbuf.c - the pool of packet buffers, known by their index.
 *
 * The buffers may stand in memory that the device writes, so everything about them stands in the
 * arena: a reference count and a link per buffer. Each kthread keeps some free ones at hand, last
 * in, first out: a few buffers then serve a busy instance, and a pool of many MiB costs no more
 * memory than was ever in use at once. Behind the caches are a list and, behind that, the frontier
 * of buffers never used.
 *
 * A kthread is never preempted inside the library OS, so its cache needs no lock. The pool lock is
 * a leaf.
 */
#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/mm/alloc.h"
#include "libos/net/pkt.h"
#ifndef LIBOS_HOSTED
#include "libos/sched/uthread.h"
#endif

#define CACHE_MAX 62u /* a cache is four lines */
#define BATCH 31u     /* moved between a cache and the pool at a time */

struct nbuf {
	u32 refs; /* 0: free */
	u32 next; /* in the pool's list of free ones */
};

struct nbuf_cache {
	u32 n;
	u32 v[CACHE_MAX];
} cacheline_aligned;

static struct {
	spinlock_t lock;
	u32 free;     /* list, NBUF_NONE: empty */
	u32 nr_free;  /* in the list */
	u32 frontier; /* never used from here on */
	u32 total;
	u8 *base;
	struct nbuf *meta;
	struct nbuf_cache *caches; /* per kthread */
} pool;

static inline struct nbuf_cache *this_cache(void)
{
#ifdef LIBOS_HOSTED
	return &pool.caches[0];
#else
	return &pool.caches[this_kthread()->id];
#endif
}

int nbuf_init(void *base, u32 count)
{
	BUG_ON(pool.total);
	/* Untouched: pages of them come to be only for kthreads and buffers in use. */
	pool.meta = alloc_untouched((size_t)count * sizeof(struct nbuf));
	pool.caches = alloc_untouched(CTL_MAX_KTHREADS * sizeof(struct nbuf_cache));
	if (!pool.meta || !pool.caches)
		return -ENOMEM;
	spin_init(&pool.lock);
	pool.free = NBUF_NONE;
	pool.nr_free = 0;
	pool.frontier = 0;
	pool.base = base;
	pool.total = count;
	return 0;
}

static void cache_fill(struct nbuf_cache *c)
{
	spin_lock(&pool.lock);
	/* Known memory before fresh one, and the list's front, freed last, on top of the cache. */
	while (c->n < BATCH && pool.free != NBUF_NONE) {
		c->v[c->n++] = pool.free;
		pool.free = pool.meta[pool.free].next;
		pool.nr_free--;
	}
	for (u32 i = 0; i < c->n / 2; i++) {
		u32 t = c->v[i];

		c->v[i] = c->v[c->n - 1 - i];
		c->v[c->n - 1 - i] = t;
	}
	/* Of fresh ones only few: each is memory that the instance then has. */
	if (!c->n) {
		u32 n = min(8u, pool.total - pool.frontier);

		pool.frontier += n;
		for (u32 i = 1; i <= n; i++)
			c->v[c->n++] = pool.frontier - i;
	}
	spin_unlock(&pool.lock);
}

static void cache_drain(struct nbuf_cache *c)
{
	spin_lock(&pool.lock);
	/* The oldest: what was freed last is still in the processor's cache. */
	for (u32 i = 0; i < BATCH; i++) {
		pool.meta[c->v[i]].next = pool.free;
		pool.free = c->v[i];
	}
	pool.nr_free += BATCH;
	spin_unlock(&pool.lock);
	c->n -= BATCH;
	for (u32 i = 0; i < c->n; i++)
		c->v[i] = c->v[i + BATCH];
}

u32 nbuf_alloc(void)
{
	struct nbuf_cache *c;
	u32 nb;

	if (unlikely(!pool.total))
		return NBUF_NONE;
	c = this_cache();
	if (unlikely(!c->n)) {
		cache_fill(c);
		if (!c->n)
			return NBUF_NONE;
	}
	nb = c->v[--c->n];
	pool.meta[nb].refs = 1;
	return nb;
}

void nbuf_get(u32 nb)
{
	u32 before = __atomic_fetch_add(&pool.meta[nb].refs, 1, __ATOMIC_RELAXED);

	BUG_ON(!before);
}

void nbuf_put(u32 nb)
{
	u32 *refs = &pool.meta[nb].refs;
	struct nbuf_cache *c;

	/* Whoever holds the only reference races with nobody: no locked instruction. */
	if (likely(__atomic_load_n(refs, __ATOMIC_ACQUIRE) == 1)) {
		*refs = 0;
	} else {
		u32 before = __atomic_fetch_sub(refs, 1, __ATOMIC_ACQ_REL);

		BUG_ON(!before);
		if (before != 1)
			return;
	}
	c = this_cache();
	if (unlikely(c->n == CACHE_MAX))
		cache_drain(c);
	c->v[c->n++] = nb;
}

u32 nbuf_refs(u32 nb)
{
	return __atomic_load_n(&pool.meta[nb].refs, __ATOMIC_ACQUIRE);
}

u8 *nbuf_addr(u32 nb)
{
	return pool.base + (size_t)nb * NBUF_SIZE;
}

u32 nbuf_of(const void *p)
{
	return ((const u8 *)p - pool.base) / NBUF_SIZE;
}

u32 nbuf_free_count(void)
{
	/* Not what other kthreads have at hand: that is theirs. */
	return READ_ONCE(pool.nr_free) + pool.total - READ_ONCE(pool.frontier) +
	       (pool.total ? this_cache()->n : 0);
}

u32 nbuf_total(void)
{
	return pool.total;
}
