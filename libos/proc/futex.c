/*
 * futex.c - futex(2): sleeping on a word of user memory.
 *
 * A waiter stands in the hash bucket of its key (futex_hash.h).
 *
 * A waiter is queued and counted first and then compares the word, both under the bucket lock; a waker
 * changes the word first and then looks whether anyone is counted, without the lock, a fence between on
 * either side: so either the waiter sees the new value or the waker the waiter. The word was read
 * before without the lock, so that a page fault of the host inside it is rare.
 *
 * A waker takes the waiter off, sets `woken` and wakes the thread, all with the lock of the bucket;
 * and a waiter takes that lock once more before it returns, so that its queue entry and thread
 * outlive the waker's use. Lock order: bucket with the lower address first -> uthread.slock.
 */
#include <linux/futex.h>

#include "libos/lib/printf.h"
#include "libos/mm/mm.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/futex.h"
#include "libos/proc/futex_int.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

struct futex_bucket futex_buckets[FUTEX_BUCKETS];

void futex_init(void)
{
	for (u32 i = 0; i < FUTEX_BUCKETS; i++)
		list_init(&futex_buckets[i].head);
}

struct futex_bucket *futex_bucket(struct futex_key key)
{
	return &futex_buckets[futex_hash(key)];
}

/* -EINVAL or -EFAULT, as Linux's get_futex_key(). */
int futex_key(u64 uaddr, bool shared, struct futex_key *key)
{
	struct mm *mm = current_proc()->mm;
	u32 dummy;

	if (uaddr % sizeof(u32))
		return -EINVAL;
	if (!access_ok(uaddr, sizeof(u32)))
		return -EFAULT;
	if (!shared) {
		*key = (struct futex_key){ (u64)mm, uaddr };
		return 0;
	}
	/* What a shared futex lies in must exist, on Linux, to name it. */
	if (get_user_u32(&dummy, (void *)uaddr))
		return -EFAULT;
	if (!mm_shared_object(mm, uaddr, &key->object, &key->addr))
		*key = (struct futex_key){ (u64)mm + 1, uaddr };
	return 0;
}

/* With the bucket's lock. */
void futex_queue(struct futex_bucket *b, struct futex_q *q)
{
	q->bucket = b;
	list_add_tail(&q->link, &b->head);
	WRITE_ONCE(b->waiters, b->waiters + 1);
}

static void dequeue(struct futex_bucket *b, struct futex_q *q)
{
	list_del(&q->link);
	WRITE_ONCE(b->waiters, b->waiters - 1);
}

/* With the bucket's lock. */
void futex_wake_one(struct futex_bucket *b, struct futex_q *q)
{
	dequeue(b, q);
	WRITE_ONCE(q->woken, true);
	uthread_wake(q->ut);
}

/* True if q was still waiting. */
static bool unqueue(struct futex_q *q)
{
	for (;;) {
		struct futex_bucket *b = READ_ONCE(q->bucket);
		bool waiting;

		spin_lock(&b->lock);
		if (q->bucket != b) { /* requeued meanwhile */
			spin_unlock(&b->lock);
			continue;
		}
		waiting = !q->woken;
		if (waiting)
			dequeue(b, q);
		spin_unlock(&b->lock);
		return waiting;
	}
}

/* Sleeps until q, which is queued, is woken: 0, -ETIMEDOUT or -ERESTARTSYS. */
long futex_sleep(struct futex_q *q, u64 deadline)
{
	long r = 0;

	for (;;) {
		uthread_prepare(UT_INTERRUPTIBLE);
		if (READ_ONCE(q->woken))
			break;
		if (signal_pending(q->ut)) {
			r = -ERESTARTSYS;
			break;
		}
		if (uthread_schedule(deadline)) {
			r = -ETIMEDOUT;
			break;
		}
	}
	uthread_running();
	return unqueue(q) ? r : 0;
}

static long wait_once(u64 uaddr, bool shared, u32 val, u64 deadline, u32 bitset)
{
	struct futex_q q = { .ut = current(), .bitset = bitset };
	struct futex_bucket *b;
	u32 now;
	int r;

	if (!bitset)
		return -EINVAL;
	r = futex_key(uaddr, shared, &q.key);
	if (r)
		return r;
	if (get_user_u32(&now, (void *)uaddr))
		return -EFAULT;
	if (now != val)
		return -EAGAIN;
	b = futex_bucket(q.key);
	spin_lock(&b->lock);
	/* Counted before the word is read: any_waiter() looks without the lock, after it was changed. */
	futex_queue(b, &q);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (get_user_u32(&now, (void *)uaddr))
		r = -EFAULT;
	else if (now != val)
		r = -EAGAIN;
	if (r)
		dequeue(b, &q);
	spin_unlock(&b->lock);
	return r ? r : futex_sleep(&q, deadline);
}

static long wait_restart(struct uthread *ut);

static long futex_wait(u64 uaddr, bool shared, u32 val, u64 deadline, u32 bitset)
{
	struct uthread *ut = current();
	long r = wait_once(uaddr, shared, val, deadline, bitset);

	if (r != -ERESTARTSYS || deadline == NEVER)
		return r;
	ut->restart_fn = wait_restart;
	ut->restart_args[0] = uaddr;
	ut->restart_args[1] = val;
	ut->restart_args[2] = deadline;
	ut->restart_args[3] = bitset;
	ut->restart_args[4] = shared;
	return -ERESTART_RESTARTBLOCK;
}

static long wait_restart(struct uthread *ut)
{
	u64 *a = ut->restart_args;

	ut->restart_fn = NULL;
	return futex_wait(a[0], a[4], a[1], a[2], a[3]);
}

static bool any_waiter(struct futex_bucket *b)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return READ_ONCE(b->waiters);
}

/* Wakes those of key; with the lock. Linux wakes one even if n is 0. */
static long wake_bucket(struct futex_bucket *b, struct futex_key key, int n, u32 bitset)
{
	struct futex_q *q, *next;
	long woken = 0;

	list_for_each_entry_safe(q, next, &b->head, link) {
		if (!futex_match(q->key, key))
			continue;
		if (q->pi)
			return -EINVAL;
		if (!(q->bitset & bitset))
			continue;
		futex_wake_one(b, q);
		if (++woken >= n)
			break;
	}
	return woken;
}

static long wake_key(struct futex_key key, int n, u32 bitset)
{
	struct futex_bucket *b = futex_bucket(key);
	long r;

	if (!any_waiter(b))
		return 0;
	spin_lock(&b->lock);
	r = wake_bucket(b, key, n, bitset);
	spin_unlock(&b->lock);
	return r;
}

static long wake_user(u64 uaddr, bool shared, int n, u32 bitset)
{
	struct futex_key key;
	int r;

	if (!bitset)
		return -EINVAL;
	r = futex_key(uaddr, shared, &key);
	if (r)
		return r;
	return wake_key(key, n, bitset);
}

long futex_wake(u64 uaddr, int n)
{
	return wake_user(uaddr, true, n, FUTEX_BITSET_MATCH_ANY);
}

static void lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
	spin_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		spin_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

static long requeue(u64 uaddr, u64 uaddr2, bool shared, int nr_wake, int nr_requeue,
		    const u32 *expected)
{
	struct futex_key k1, k2;
	struct futex_bucket *b1, *b2;
	struct futex_q *q, *next;
	long count = 0;
	u32 v;
	int r;

	if (nr_wake < 0 || nr_requeue < 0)
		return -EINVAL;
	r = futex_key(uaddr, shared, &k1);
	if (!r)
		r = futex_key(uaddr2, shared, &k2);
	if (r)
		return r;
	if (expected && get_user_u32(&v, (void *)uaddr))
		return -EFAULT;
	b1 = futex_bucket(k1);
	b2 = futex_bucket(k2);
	lock_two(b1, b2);
	if (expected) {
		if (get_user_u32(&v, (void *)uaddr))
			r = -EFAULT;
		else if (v != *expected)
			r = -EAGAIN;
		if (r)
			goto out;
	}
	list_for_each_entry_safe(q, next, &b1->head, link) {
		if (count - nr_wake >= nr_requeue)
			break;
		if (!futex_match(q->key, k1))
			continue;
		if (q->pi) {
			r = -EINVAL;
			break;
		}
		if (++count <= nr_wake) {
			futex_wake_one(b1, q);
		} else if (!futex_match(k1, k2)) {
			dequeue(b1, q);
			q->key = k2;
			futex_queue(b2, q);
		}
	}
out:
	unlock_two(b1, b2);
	return r ? r : count;
}

/* Does the operation of FUTEX_WAKE_OP on a user word. 1 or 0: the comparison; -ENOSYS, -EFAULT. */
static int user_op(u32 enc, u64 uaddr)
{
	u32 op = enc >> 28 & 7, cmp = enc >> 24 & 15, old, new, seen;
	s32 arg = (s32)(enc << 8) >> 20, cmparg = (s32)(enc << 20) >> 20;

	if (enc >> 28 & FUTEX_OP_OPARG_SHIFT)
		arg = 1u << (arg & 31);
	if (op > FUTEX_OP_XOR || cmp > FUTEX_OP_CMP_GE)
		return -ENOSYS;
	if (get_user_u32(&old, (void *)uaddr))
		return -EFAULT;
	for (;;) {
		switch (op) {
		case FUTEX_OP_SET:
			new = arg;
			break;
		case FUTEX_OP_ADD:
			new = old + arg;
			break;
		case FUTEX_OP_OR:
			new = old | arg;
			break;
		case FUTEX_OP_ANDN:
			new = old & ~arg;
			break;
		default:
			new = old ^ arg;
			break;
		}
		if (user_cmpxchg_u32((void *)uaddr, old, new, &seen))
			return -EFAULT;
		if (seen == old)
			break;
		old = seen;
	}
	switch (cmp) {
	case FUTEX_OP_CMP_EQ:
		return (s32)old == cmparg;
	case FUTEX_OP_CMP_NE:
		return (s32)old != cmparg;
	case FUTEX_OP_CMP_LT:
		return (s32)old < cmparg;
	case FUTEX_OP_CMP_LE:
		return (s32)old <= cmparg;
	case FUTEX_OP_CMP_GT:
		return (s32)old > cmparg;
	default:
		return (s32)old >= cmparg;
	}
}

static long wake_op(u64 uaddr, u64 uaddr2, bool shared, int nr_wake, int nr_wake2, u32 enc)
{
	struct futex_key k1, k2;
	struct futex_bucket *b1, *b2;
	long woken, more;
	int r = futex_key(uaddr, shared, &k1);
	u32 dummy;

	if (!r)
		r = futex_key(uaddr2, shared, &k2);
	if (r)
		return r;
	if (get_user_u32(&dummy, (void *)uaddr2))
		return -EFAULT;
	b1 = futex_bucket(k1);
	b2 = futex_bucket(k2);
	lock_two(b1, b2);
	r = user_op(enc, uaddr2);
	woken = r < 0 ? r : wake_bucket(b1, k1, nr_wake, FUTEX_BITSET_MATCH_ANY);
	if (r > 0 && woken >= 0) {
		more = wake_bucket(b2, k2, nr_wake2, FUTEX_BITSET_MATCH_ANY);
		woken = more < 0 ? more : woken + more;
	}
	unlock_two(b1, b2);
	return woken;
}

static bool has_timeout(int cmd)
{
	return cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI ||
	       cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_REQUEUE_PI;
}

/* The deadline in CLOCK_MONOTONIC ns of a timeout that is relative (FUTEX_WAIT) or absolute. */
static int read_timeout(u64 utime, bool relative, bool realtime, u64 *deadline)
{
	struct timespec_k ts;
	u64 ns, base;

	if (copy_from_user(&ts, (void *)utime, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	ns = timespec_to_ns(&ts);
	if (relative) {
		*deadline = deadline_after(clock_monotonic_ns(), ns);
	} else if (realtime) {
		base = clock_realtime_ns();
		*deadline = ns <= base ? 0 : deadline_after(clock_monotonic_ns(), ns - base);
	} else {
		*deadline = ns;
	}
	return 0;
}

long sys_futex(u64 uaddr, int op, u32 val, u64 utime, u64 uaddr2, u32 val3)
{
	int cmd = op & FUTEX_CMD_MASK, r;
	bool realtime = op & FUTEX_CLOCK_REALTIME, shared = !(op & FUTEX_PRIVATE_FLAG);
	u64 deadline = NEVER;

	if (utime && has_timeout(cmd)) {
		r = read_timeout(utime, cmd == FUTEX_WAIT, realtime || cmd == FUTEX_LOCK_PI,
				 &deadline);
		if (r)
			return r;
	}
	if (realtime && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_WAIT_REQUEUE_PI &&
	    cmd != FUTEX_LOCK_PI2)
		return -ENOSYS;
	switch (cmd) {
	case FUTEX_WAIT:
		return futex_wait(uaddr, shared, val, deadline, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAIT_BITSET:
		return futex_wait(uaddr, shared, val, deadline, val3);
	case FUTEX_WAKE:
		return wake_user(uaddr, shared, val, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAKE_BITSET:
		return wake_user(uaddr, shared, val, val3);
	case FUTEX_REQUEUE:
		return requeue(uaddr, uaddr2, shared, val, (u32)utime, NULL);
	case FUTEX_CMP_REQUEUE:
		return requeue(uaddr, uaddr2, shared, val, (u32)utime, &val3);
	case FUTEX_WAKE_OP:
		return wake_op(uaddr, uaddr2, shared, val, (u32)utime, val3);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return futex_lock_pi(uaddr, shared, deadline, false);
	case FUTEX_TRYLOCK_PI:
		return futex_lock_pi(uaddr, shared, NEVER, true);
	case FUTEX_UNLOCK_PI:
		return futex_unlock_pi(uaddr, shared);
	}
	return -ENOSYS;
}
