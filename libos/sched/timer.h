/*
 * timer.h - one-shot timers in CLOCK_MONOTONIC, kept in a heap per kthread.
 *
 * The function runs on some kthread with no lock held, outside any uthread (current() is whoever was
 * interrupted: do not use it), must not sleep, and may arm the timer again or free what it stands in.
 */
#ifndef LIBOS_SCHED_TIMER_H
#define LIBOS_SCHED_TIMER_H

#include "libos/lib/spinlock.h"
#include "libos/lib/types.h"

struct kthread;

struct timer {
	u64 expires; /* ns */
	void (*fn)(struct timer *);
	struct kthread *kt; /* whose heap it is in; NULL: not armed */
	u32 index; /* in that heap */
};

struct timer_heap {
	spinlock_t lock;
	u32 len, cap;
	struct timer **v;
	u64 first; /* expires of v[0], NEVER if empty; readable without the lock */
	struct timer *running; /* whose function this kthread is calling, whichever heap it came from */
};

static inline void timer_init(struct timer *t, void (*fn)(struct timer *))
{
	t->expires = NEVER;
	t->fn = fn;
	t->kt = NULL;
	t->index = 0;
}

/* Arms (or moves) t to fire at `expires` ns. Past times fire soon. -ENOMEM if the heap cannot grow. */
int timer_arm(struct timer *t, u64 expires);
/*
 * Disarms t. When it returns, fn does not run and will not. Do not hold a lock that fn takes.
 * Returns true if it was armed.
 */
bool timer_cancel(struct timer *t);
/* As timer_cancel, but does not wait for a running fn: for callers that hold fn's lock. */
bool timer_try_cancel(struct timer *t);
/*
 * Must be called by a system call that armed a timer and returns without sleeping (setitimer,
 * timerfd_settime, ...), so that the timer can interrupt application code.
 */
void timer_commit(void);
/* Runs what is due on this kthread. */
void timers_run(struct kthread *kt, u64 now);

#endif
