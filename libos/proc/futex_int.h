/*
 * futex_int.h - between futex.c and futex_pi.c.
 */
#ifndef LIBOS_PROC_FUTEX_INT_H
#define LIBOS_PROC_FUTEX_INT_H

#include "libos/proc/futex.h"
#include "libos/proc/futex_hash.h"
#include "libos/proc/proc.h"

struct futex_bucket {
	spinlock_t lock;
	u32 waiters; /* on head; readable without the lock */
	struct list_head head;
} cacheline_aligned;

/* A waiter, on its libOS stack. */
struct futex_q {
	struct list_head link;
	struct uthread *ut;
	struct futex_key key;
	struct futex_bucket *bucket; /* whose lock guards this */
	u32 bitset;
	bool woken; /* off the queue, by a waker */
	/* FUTEX_LOCK_PI */
	bool pi; /* waits to become owner */
	int owner; /* tid that holds the lock now */
	u64 uaddr;
};

extern struct futex_bucket futex_buckets[];
struct futex_bucket *futex_bucket(struct futex_key key);
int futex_key(u64 uaddr, bool shared, struct futex_key *key);
void futex_queue(struct futex_bucket *b, struct futex_q *q);
void futex_wake_one(struct futex_bucket *b, struct futex_q *q);
long futex_sleep(struct futex_q *q, u64 deadline);

/* futex_pi.c */
long futex_lock_pi(u64 uaddr, bool shared, u64 deadline, bool try);
long futex_unlock_pi(u64 uaddr, bool shared);

#endif
