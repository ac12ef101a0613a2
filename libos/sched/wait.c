/*
 * wait.c - wait queues and mutexes.
 */
#include "libos/sched/wait.h"

#include "libos/signal/signal.h"

void waitq_init(struct waitq *q)
{
	spin_init(&q->lock);
	list_init(&q->head);
}

bool waiter_wake_uthread(struct waiter *w, u32 events)
{
	return uthread_wake(w->ut);
}

void waitq_add_waiter(struct waitq *q, struct waiter *w)
{
	spin_lock(&q->lock);
	if (w->exclusive)
		list_add_tail(&w->link, &q->head);
	else
		list_add(&w->link, &q->head);
	spin_unlock(&q->lock);
}

void waitq_add(struct waitq *q, struct waiter *w, bool exclusive)
{
	w->ut = current();
	w->fn = waiter_wake_uthread;
	w->exclusive = exclusive;
	waitq_add_waiter(q, w);
}

void waitq_del(struct waitq *q, struct waiter *w)
{
	spin_lock(&q->lock);
	list_del(&w->link);
	spin_unlock(&q->lock);
}

void waitq_wake(struct waitq *q, u32 events, int nr_exclusive)
{
	struct waiter *w, *n;

	if (!waitq_active(q))
		return;
	spin_lock(&q->lock);
	list_for_each_entry_safe(w, n, &q->head, link) {
		bool exclusive = w->exclusive;

		if (w->fn(w, events) && exclusive && --nr_exclusive == 0)
			break;
	}
	spin_unlock(&q->lock);
}

void mutex_init(struct mutex *m)
{
	m->locked = 0;
	waitq_init(&m->wq);
}

bool mutex_trylock(struct mutex *m)
{
	return !__atomic_exchange_n(&m->locked, 1, __ATOMIC_ACQUIRE);
}

void mutex_lock(struct mutex *m)
{
	if (likely(mutex_trylock(m)))
		return;
	wait_event_state(&m->wq, mutex_trylock(m), NEVER, UT_UNINTERRUPTIBLE, true);
}

void mutex_unlock(struct mutex *m)
{
	__atomic_store_n(&m->locked, 0, __ATOMIC_RELEASE);
	waitq_wake(&m->wq, 0, 1);
}
