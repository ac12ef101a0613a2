/*
 * futex_pi.c - futexes that name their owner: the PI operations, and robust lists.
 *
 * FUTEX_LOCK_PI and relatives keep Linux's protocol of the user word (owner's tid, FUTEX_WAITERS,
 * FUTEX_OWNER_DIED) and hand the lock to the waiter that came first. There is no priority to
 * inherit: uthreads are scheduled round robin. Requeueing onto a PI futex is not implemented
 * (ENOSYS); no current libc uses it.
 */
#include <linux/futex.h>

#include "libos/mm/usercopy.h"
#include "libos/proc/futex_int.h"
#include "libos/signal/signal.h"

static u32 nr_pi_waiters; /* threads in futex_lock_pi(), atomic: 0 spares dying threads a search */

/* The first PI waiter of key and whether there are more; with the lock. */
static struct futex_q *top_waiter(struct futex_bucket *b, struct futex_key key, bool *more)
{
	struct futex_q *q, *top = NULL;

	*more = false;
	list_for_each_entry(q, &b->head, link) {
		if (!q->pi || !futex_match(q->key, key))
			continue;
		if (top) {
			*more = true;
			break;
		}
		top = q;
	}
	return top;
}

/*
 * Tries to take the lock, else announces a waiter in the word. With the bucket's lock. 1: taken. 0:
 * the caller is to be queued. -EAGAIN: held (try). -EBUSY: held by a thread that ends. -EDEADLK,
 * -ESRCH, -EFAULT.
 */
static int take_or_announce(struct futex_bucket *b, struct futex_key key, u64 uaddr, bool try,
			    int *held_by)
{
	u32 tid = current()->tid, old, new, seen;
	bool more, taking;

	if (get_user_u32(&old, (void *)uaddr))
		return -EFAULT;
	for (;;) {
		u32 owner = old & FUTEX_TID_MASK;

		if (owner == tid)
			return -EDEADLK;
		taking = !owner;
		if (taking) {
			new = tid | (old & FUTEX_OWNER_DIED);
			if (top_waiter(b, key, &more))
				new |= FUTEX_WAITERS;
		} else if (try) {
			return -EAGAIN;
		} else {
			struct uthread *t = uthread_find(owner);
			bool dying = t && t->exiting;

			if (t)
				uthread_put(t);
			if (!t)
				return -ESRCH;
			if (dying) /* it may have looked for its waiters already */
				return -EBUSY;
			*held_by = owner;
			new = old | FUTEX_WAITERS;
		}
		if (user_cmpxchg_u32((void *)uaddr, old, new, &seen))
			return -EFAULT;
		if (seen == old)
			return taking;
		old = seen;
	}
}

long futex_lock_pi(u64 uaddr, bool shared, u64 deadline, bool try)
{
	struct futex_q q = { .ut = current(), .pi = true, .uaddr = uaddr };
	struct futex_bucket *b;
	u32 dummy;
	long r = futex_key(uaddr, shared, &q.key);

	if (r)
		return r;
	if (get_user_u32(&dummy, (void *)uaddr))
		return -EFAULT;
	b = futex_bucket(q.key);
	__atomic_fetch_add(&nr_pi_waiters, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		spin_lock(&b->lock);
		r = take_or_announce(b, q.key, uaddr, try, &q.owner);
		if (!r)
			futex_queue(b, &q);
		spin_unlock(&b->lock);
		if (r != -EBUSY)
			break;
		uthread_yield(); /* its end is at hand */
	}
	if (!r)
		r = futex_sleep(&q, deadline); /* 0: who let go has written our tid */
	else
		r = min(r, 0l);
	__atomic_fetch_sub(&nr_pi_waiters, 1, __ATOMIC_SEQ_CST);
	return r == -ERESTARTSYS ? -ERESTARTNOINTR : r;
}

/*
 * Gives the lock, whose word is `old`, to the first waiter (0: there is none, the word becomes 0);
 * with the lock. -EAGAIN: the word has changed.
 */
static int hand_over(struct futex_bucket *b, struct futex_key key, u64 uaddr, u32 old, u32 flags)
{
	bool more;
	struct futex_q *q, *top = top_waiter(b, key, &more);
	u32 new = top ? (u32)top->ut->tid | (more ? FUTEX_WAITERS : 0) | flags : 0, seen;

	if (user_cmpxchg_u32((void *)uaddr, old, new, &seen))
		return -EFAULT;
	if (seen != old)
		return -EAGAIN;
	if (!top)
		return 0;
	list_for_each_entry(q, &b->head, link)
		if (q->pi && futex_match(q->key, key))
			q->owner = top->ut->tid;
	futex_wake_one(b, top);
	return 0;
}

long futex_unlock_pi(u64 uaddr, bool shared)
{
	struct futex_key key;
	struct futex_bucket *b;
	long r = futex_key(uaddr, shared, &key);
	u32 v;

	if (r)
		return r;
	b = futex_bucket(key);
	do {
		if (get_user_u32(&v, (void *)uaddr))
			return -EFAULT;
		if ((v & FUTEX_TID_MASK) != (u32)current()->tid)
			return -EPERM;
		spin_lock(&b->lock);
		r = hand_over(b, key, uaddr, v, 0);
		spin_unlock(&b->lock);
	} while (r == -EAGAIN);
	return r;
}

/* Robust lists: set_robust_list(2), Documentation/locking/robust-futex-ABI. */

/* One futex of a thread that ends. False: bad pointer, stop the walk. */
static bool futex_death(u64 uaddr, bool pi, bool pending_op)
{
	struct uthread *ut = current();
	u32 v, new, seen;

	if (uaddr % sizeof(u32) || get_user_u32(&v, (void *)uaddr))
		return false;
	for (;;) {
		if (pending_op && !pi && !(v & FUTEX_TID_MASK)) {
			/* It was unlocking: the word is free, but the wake-up may not have been
			 * made. */
			futex_wake(uaddr, 1);
			return true;
		}
		if ((v & FUTEX_TID_MASK) != (u32)ut->tid)
			return true;
		new = (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
		if (user_cmpxchg_u32((void *)uaddr, v, new, &seen))
			return false;
		if (seen == v)
			break;
		v = seen;
	}
	if (!pi && v & FUTEX_WAITERS)
		futex_wake(uaddr, 1); /* PI: futex_exit_pi() */
	return true;
}

void futex_exit_robust_list(void)
{
	struct uthread *ut = current();
	struct {
		u64 next;
		s64 futex_offset;
		u64 pending;
	} head;
	u64 uhead = ut->robust_list, entry, next, pending;
	bool pi, next_pi;

	ut->robust_list = 0;
	if (!uhead || copy_from_user(&head, (void *)uhead, sizeof(head)))
		return;
	/* bit 0 of a pointer says PI */
	entry = head.next & ~1ull;
	pi = head.next & 1;
	pending = head.pending & ~1ull;
	for (int limit = ROBUST_LIST_LIMIT; entry != uhead && limit; limit--) {
		/* fetched before the futex is given up: its memory may go at once */
		bool bad = get_user_u64(&next, (void *)entry);

		if (bad)
			next = uhead;
		next_pi = next & 1;
		next &= ~1ull;
		if (entry != pending && !futex_death(entry + head.futex_offset, pi, false))
			return;
		if (bad)
			return;
		entry = next;
		pi = next_pi;
	}
	if (pending)
		futex_death(pending + head.futex_offset, head.pending & 1, true);
}

/* The first waiter in b that waits for tid; with the lock. */
static struct futex_q *waits_for(struct futex_bucket *b, int tid)
{
	struct futex_q *q;

	list_for_each_entry(q, &b->head, link)
		if (q->pi && q->owner == tid)
			return q;
	return NULL;
}

/* A thread ends: the PI locks that others wait for go to them, robust or not. */
void futex_exit_pi(void)
{
	int tid = current()->tid;

	if (!READ_ONCE(nr_pi_waiters))
		return;
	for (u32 i = 0; i < FUTEX_BUCKETS; i++) {
		struct futex_bucket *b = &futex_buckets[i];
		struct futex_q *q;
		u32 v;

		spin_lock(&b->lock);
		while ((q = waits_for(b, tid))) {
			if (get_user_u32(&v, (void *)q->uaddr) ||
			    hand_over(b, q->key, q->uaddr, v, FUTEX_OWNER_DIED) == -EFAULT)
				q->owner = 0; /* the word is gone: nobody can hand it on */
		}
		spin_unlock(&b->lock);
	}
}
