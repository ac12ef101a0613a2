/*
 * net_host.c - clock, timers' owner, memory, locks and threads for libos/net on the host.
 */
#include "net_host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "libos/lib/printf.h"
#include "libos/lib/random.h"
#include "libos/mm/alloc.h"
#include "libos/platform/log.h"
#include "libos/sched/sched.h"
#include "libos/time/clock.h"

#define START (1000 * SEC + 123456789) /* an odd time, so that nothing is zero by chance */
#define MAX_STEPS 50000000ul /* of one net_advance(): more is a loop */

__thread struct uthread *hosted_current;
struct kthread kthreads[CTL_MAX_KTHREADS];
u32 nr_kthreads = 1;
void (*net_fail_hook)(const char *text);

static struct uthread thread;
static u64 now = START, realtime = 1700000000 * SEC;
static u64 rng = 1;

void net_fail(const char *fmt, ...)
{
	static char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (net_fail_hook)
		net_fail_hook(text);
	fprintf(stderr, "%s\n", text);
	abort();
}

void net_host_start(u64 seed, u32 nbufs)
{
	u8 key[RANDOM_SEED_LEN] = {0};
	void *pool;

	memcpy(key, &seed, sizeof(seed));
	random_reseed(key);
	rng = seed * 2 + 1;
	kthreads[0].self = &kthreads[0];
	kthreads[0].timers.first = NEVER;
	thread.kt = &kthreads[0];
	hosted_current = kthreads[0].current = &thread;
	nbufs = nbufs ? nbufs : 4096;
	pool = mmap(NULL, (size_t)nbufs * NBUF_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	if (pool == MAP_FAILED || nbuf_init(pool, nbufs))
		net_fail("net_host: no pool of %u nbufs", nbufs);
}

u32 net_random(u32 n)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (u32)((rng * 0x2545f4914f6cdd1dull >> 32) * n >> 32);
}

/* Time */

struct event {
	u64 when, order;
	void (*fn)(void *arg);
	void *arg;
};

/* A heap by (when, order). */
static struct event *events;
static u32 nr_events, cap_events;
static u64 events_made;

static bool earlier(const struct event *a, const struct event *b)
{
	return a->when < b->when || (a->when == b->when && a->order < b->order);
}

void net_at(u64 when, void (*fn)(void *arg), void *arg)
{
	struct event e = { when, events_made++, fn, arg };
	u32 i = nr_events++;

	if (nr_events > cap_events) {
		cap_events = cap_events ? cap_events * 2 : 256;
		events = realloc(events, cap_events * sizeof(*events));
	}
	for (; i && earlier(&e, &events[(i - 1) / 2]); i = (i - 1) / 2)
		events[i] = events[(i - 1) / 2];
	events[i] = e;
}

static struct event event_pop(void)
{
	struct event first = events[0], last = events[--nr_events];
	u32 i = 0;

	for (;;) {
		u32 c = 2 * i + 1;

		if (c >= nr_events)
			break;
		if (c + 1 < nr_events && earlier(&events[c + 1], &events[c]))
			c++;
		if (!earlier(&events[c], &last))
			break;
		events[i] = events[c];
		i = c;
	}
	events[i] = last;
	return first;
}

u32 net_events_waiting(void)
{
	return nr_events;
}

void net_events_drop(void (*drop)(void *arg))
{
	while (nr_events)
		drop(event_pop().arg);
}

u64 net_now(void)
{
	return now;
}

u64 net_next_timer(void)
{
	return kthreads[0].timers.first;
}

u32 net_timers_armed(void)
{
	return kthreads[0].timers.len;
}

long net_timer_heap_bytes(void)
{
	return (long)(kthreads[0].timers.cap * sizeof(struct timer *));
}

bool net_step(u64 until)
{
	u64 timer = net_next_timer(), event = nr_events ? events[0].when : NEVER;

	if (min(timer, event) > until) {
		now = max(now, until);
		return false;
	}
	now = max(now, min(timer, event));
	if (timer <= event) {
		timers_run(&kthreads[0], now);
	} else {
		struct event e = event_pop();

		e.fn(e.arg);
	}
	return true;
}

void net_advance(u64 ns)
{
	u64 until = now + ns, steps = 0;

	while (net_step(until))
		if (++steps > MAX_STEPS)
			net_fail("net_host: timers do not come to rest");
}

u64 host_clock_ns(int clock)
{
	return clock ? now : realtime + (now - START);
}

void kthread_arm_timers(void)
{
}

/* Memory: the size given back must be the one asked for, and nobody writes behind the end. */

#define CANARY 0x5ca1ab1e0ddba11ull

struct block {
	void *base;
	size_t size;
	u64 canary;
	u64 pad;
};

static long allocated, limit;

void *kmalloc(size_t size)
{
	size_t align = size >= PAGE_SIZE ? PAGE_SIZE : 64;
	const u64 canary = CANARY;
	struct block *b;
	u8 *base, *p;

	if (limit && allocated + (long)size > limit)
		return NULL;
	base = aligned_alloc(align, align_up(size + align + sizeof(canary), align));
	p = base + align;
	b = (struct block *)p - 1;
	*b = (struct block){ base, size, CANARY, 0 };
	memset(p, 0xa5, size);
	memcpy(p + size, &canary, sizeof(canary));
	allocated += size;
	return p;
}

void *kzalloc(size_t size)
{
	void *p = kmalloc(size);

	return p ? memset(p, 0, size) : NULL;
}

void kfree(void *p, size_t size)
{
	struct block *b = (struct block *)p - 1;
	const u64 canary = CANARY;

	if (!p)
		return;
	if (b->canary != CANARY)
		net_fail("kfree(%p, %zu): not allocated, or freed already", p, size);
	if (b->size != size)
		net_fail("kfree(%p, %zu): allocated with %zu", p, size, b->size);
	if (memcmp((u8 *)p + size, &canary, sizeof(canary)))
		net_fail("kfree(%p, %zu): somebody wrote behind the end", p, size);
	memset(p, 0xdd, size);
	b->canary = 0;
	allocated -= size;
	free(b->base);
}

void *alloc_untouched(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

long net_allocated(void)
{
	return allocated;
}

void net_memory_limit(long bytes)
{
	limit = bytes;
}

/* One thread: whoever finds a lock taken holds it himself. */
void spin_lock_slow(spinlock_t *l)
{
	net_fail("net_host: spin lock %p is taken twice", (void *)l);
}

/* Nobody sleeps. */
bool uthread_wake(struct uthread *ut)
{
	return false;
}

void uthread_prepare(enum uthread_state state)
{
	net_fail("net_host: the code under test would sleep");
}

void uthread_running(void)
{
}

bool uthread_schedule(u64 deadline_ns)
{
	net_fail("net_host: the code under test would sleep");
}

/* Wait queues: the real wait.c; a watcher counts. */

static bool watch_fn(struct waiter *w, u32 events)
{
	struct net_watch *n = container_of(w, struct net_watch, w);

	n->calls++;
	n->in += !!(events & EPOLLIN);
	n->out += !!(events & EPOLLOUT);
	n->rdhup += !!(events & EPOLLRDHUP);
	n->hup += !!(events & EPOLLHUP);
	n->err += !!(events & EPOLLERR);
	return false;
}

void net_watch(struct waitq *q, struct net_watch *w)
{
	memset(w, 0, sizeof(*w));
	w->w.fn = watch_fn;
	waitq_add_waiter(q, &w->w);
}

void net_unwatch(struct waitq *q, struct net_watch *w)
{
	waitq_del(q, &w->w);
}

/* Log and the end of the road */

void klog(const char *module, const char *fmt, ...)
{
	va_list ap;

	if (!getenv("NET_LOG"))
		return;
	fprintf(stderr, "%s: ", module);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void panic(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	net_fail("panic: %s", text);
}

/* Not in older C libraries. */
size_t strlcpy(char *dst, const char *src, size_t n)
{
	snprintf(dst, n, "%s", src);
	return strlen(src);
}

size_t scnprintf_at(char *buf, size_t size, size_t pos, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf + pos, size - pos, fmt, ap);
	va_end(ap);
	return min(pos + (size_t)n, size - 1);
}
