/*
 * wait.h - wait queues: uthreads (and poll/epoll callbacks) that wait for an event.
 */
#ifndef LIBOS_SCHED_WAIT_H
#define LIBOS_SCHED_WAIT_H

#include "libos/lib/list.h"
#include "libos/lib/spinlock.h"
#include "libos/sched/uthread.h"

struct waitq {
	spinlock_t lock;
	struct list_head head;
};

/*
 * A waiter. fn is called with the queue's lock held and returns true if it consumed an exclusive wake-up.
 * The default, waiter_wake_uthread, wakes w->ut. events are EPOLL* bits (0: not said).
 */
struct waiter {
	struct list_head link;
	struct uthread *ut;
	bool (*fn)(struct waiter *w, u32 events);
	bool exclusive;
};

#define WAITQ_INIT(name) { SPINLOCK_INIT, LIST_HEAD_INIT((name).head) }

void waitq_init(struct waitq *q);
bool waiter_wake_uthread(struct waiter *w, u32 events);
/* Prepares w for current() and puts it on q (exclusive ones behind the others). */
void waitq_add(struct waitq *q, struct waiter *w, bool exclusive);
/* For callbacks: w->fn, w->exclusive are set by the caller. */
void waitq_add_waiter(struct waitq *q, struct waiter *w);
/* Takes w off; harmless if it is off already. */
void waitq_del(struct waitq *q, struct waiter *w);
/* Wakes all non-exclusive waiters and at most nr_exclusive exclusive ones (0: all). */
void waitq_wake(struct waitq *q, u32 events, int nr_exclusive);
static inline bool waitq_active(struct waitq *q)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !list_empty(&q->head);
}
#define waitq_wake_all(q) waitq_wake(q, 0, 0)

/*
 * Sleeps until cond holds. cond is evaluated without locks, several times. Value: 0, -ERESTARTSYS when a
 * signal is pending (cond false), or -ETIMEDOUT when deadline_ns has passed (cond false).
 */
#define wait_event(q, cond, deadline_ns) wait_event_state(q, cond, deadline_ns, UT_INTERRUPTIBLE, false)
#define wait_event_exclusive(q, cond, deadline_ns) \
	wait_event_state(q, cond, deadline_ns, UT_INTERRUPTIBLE, true)

#define wait_event_state(q, cond, deadline_ns, how, excl) \
	({ \
		long _r = 0; \
		if (!(cond)) { \
			struct waiter _w; \
			waitq_add(q, &_w, excl); \
			for (;;) { \
				uthread_prepare(how); \
				if (cond) \
					break; \
				if ((how) == UT_INTERRUPTIBLE && signal_pending(current())) { \
					_r = -ERESTARTSYS; \
					break; \
				} \
				if (uthread_schedule(deadline_ns)) { \
					if (!(cond)) \
						_r = -ETIMEDOUT; \
					break; \
				} \
			} \
			uthread_running(); \
			waitq_del(q, &_w); \
			/* the wake-up that we do not use belongs to the next */ \
			if ((excl) && _r) \
				waitq_wake(q, 0, 1); \
		} \
		_r; \
	})

/* A lock that may be held across sleeping: mutual exclusion between uthreads. Not interruptible. */
struct mutex {
	u32 locked;
	struct waitq wq;
};
void mutex_init(struct mutex *m);
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);

#endif
