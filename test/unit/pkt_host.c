/*
 * pkt_host.c - what packet buffers need around them, for the host: memory, a pool, the end of the
 * road.
 */
#include "pkt_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/mm/alloc.h"

static long allocated;
static int fail_in;

long pkt_host_allocated(void)
{
	return allocated;
}

void pkt_host_fail_alloc(int n)
{
	fail_in = n;
}

void *kmalloc(size_t n)
{
	if (fail_in && !--fail_in)
		return NULL;
	allocated += n;
	/* Whoever forgets to set a field sees nonsense. */
	return memset(malloc(n), 0xa5, n);
}

void *kzalloc(size_t n)
{
	void *p = kmalloc(n);

	return p ? memset(p, 0, n) : NULL;
}

void kfree(void *p, size_t n)
{
	if (!p)
		return;
	allocated -= n;
	free(p);
}

void *alloc_untouched(size_t n)
{
	return calloc(1, n);
}

void spin_lock_slow(spinlock_t *l)
{
	panic("a lock is taken twice");
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	abort();
}

void klog(const char *module, const char *fmt, ...)
{
}

void pkt_host_pool(u32 count)
{
	void *base = aligned_alloc(NBUF_SIZE, (size_t)count * NBUF_SIZE);

	memset(base, 0x5a, (size_t)count * NBUF_SIZE);
	if (nbuf_init(base, count))
		abort();
}

struct pkt *pkt_host_make(u32 linear, u32 n, u32 frag, u8 seed)
{
	struct pkt *p = pkt_alloc(PKT_HEADROOM);
	u8 *b = pkt_put(p, linear);
	u32 i;

	for (i = 0; i < linear; i++)
		b[i] = seed + i;
	while (i < n) {
		u32 nb = nbuf_alloc(), part = min(frag, n - i), off = i % 64;

		for (u32 k = 0; k < part; k++)
			nbuf_addr(nb)[off + k] = seed + i + k;
		if (pkt_add_frag(p, nb, off, part))
			abort();
		i += part;
	}
	return p;
}
