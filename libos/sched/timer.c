/*
 * timer.c - binary heaps of timers, one a kthread.
 *
 * A timer is armed on the kthread that arms it and fires there: in the idle loop, which sleeps no longer
 * than until the first, or on the way to user mode after the host's timer kicked.
 */
#include "libos/sched/timer.h"

#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/sched/sched.h"

static void place(struct timer_heap *h, u32 i, struct timer *t)
{
	h->v[i] = t;
	t->index = i;
}

static void sift_up(struct timer_heap *h, u32 i)
{
	struct timer *t = h->v[i];

	for (; i && h->v[(i - 1) / 2]->expires > t->expires; i = (i - 1) / 2)
		place(h, i, h->v[(i - 1) / 2]);
	place(h, i, t);
}

static void sift_down(struct timer_heap *h, u32 i)
{
	struct timer *t = h->v[i];

	for (;;) {
		u32 c = 2 * i + 1;

		if (c >= h->len)
			break;
		if (c + 1 < h->len && h->v[c + 1]->expires < h->v[c]->expires)
			c++;
		if (h->v[c]->expires >= t->expires)
			break;
		place(h, i, h->v[c]);
		i = c;
	}
	place(h, i, t);
}

static void heap_changed(struct timer_heap *h)
{
	WRITE_ONCE(h->first, h->len ? h->v[0]->expires : NEVER);
}

static void heap_remove(struct timer_heap *h, struct timer *t)
{
	struct timer *last = h->v[--h->len];

	if (last != t) {
		u32 i = t->index;

		place(h, i, last);
		sift_up(h, i);
		sift_down(h, last->index);
	}
	WRITE_ONCE(t->kt, NULL);
	heap_changed(h);
}

static int heap_grow(struct timer_heap *h)
{
	u32 cap = h->cap ? h->cap * 2 : 32;
	struct timer **v = kmalloc(cap * sizeof(*v));

	if (!v)
		return -ENOMEM;
	if (h->v) {
		memcpy(v, h->v, h->len * sizeof(*v));
		kfree(h->v, h->cap * sizeof(*v));
	}
	h->v = v;
	h->cap = cap;
	return 0;
}

bool timer_try_cancel(struct timer *t)
{
	for (;;) {
		struct kthread *kt = READ_ONCE(t->kt);

		if (!kt)
			return false;
		spin_lock(&kt->timers.lock);
		bool armed = t->kt == kt;

		if (armed)
			heap_remove(&kt->timers, t);
		spin_unlock(&kt->timers.lock);
		if (armed)
			return true;
	}
}

bool timer_cancel(struct timer *t)
{
	bool was = timer_try_cancel(t);

	/* fn may have armed it again meanwhile */
	for (u32 i = 0; i < nr_kthreads; i++)
		while (__atomic_load_n(&kthreads[i].timers.running, __ATOMIC_ACQUIRE) == t)
			cpu_relax();
	return timer_try_cancel(t) || was;
}

int timer_arm(struct timer *t, u64 expires)
{
	struct timer_heap *h;
	int err = 0;

	timer_try_cancel(t);
	h = &this_kthread()->timers;
	spin_lock(&h->lock);
	if (h->len == h->cap)
		err = heap_grow(h);
	if (!err) {
		t->expires = expires;
		WRITE_ONCE(t->kt, container_of(h, struct kthread, timers));
		h->v[h->len] = t;
		sift_up(h, h->len++);
		heap_changed(h);
	}
	spin_unlock(&h->lock);
	return err;
}

void timer_commit(void)
{
	kthread_arm_timers();
}

void timers_run(struct kthread *kt, u64 now)
{
	struct timer_heap *h = &kt->timers;
	struct timer **running = &this_kthread()->timers.running;

	spin_lock(&h->lock);
	while (h->len && h->v[0]->expires <= now) {
		struct timer *t = h->v[0];

		__atomic_store_n(running, t, __ATOMIC_SEQ_CST);
		heap_remove(h, t);
		spin_unlock(&h->lock);
		t->fn(t);
		__atomic_store_n(running, NULL, __ATOMIC_RELEASE); /* t may be gone */
		spin_lock(&h->lock);
	}
	spin_unlock(&h->lock);
}
