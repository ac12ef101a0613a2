/*
 * spinlock.h - locks between kthreads.
 *
 * The library OS is not preemptible by itself, so a lock is held for a few instructions; it is never
 * held across uthread_sleep() or a copy from or to the application (which may block on a page fault
 * of the host, never on us; keep it short). The host may deschedule a holder, so a waiter that has
 * spun for long lets go of the core for a moment.
 */
#ifndef LIBOS_LIB_SPINLOCK_H
#define LIBOS_LIB_SPINLOCK_H

#include "libos/lib/types.h"

typedef struct {
	u32 v;
} spinlock_t;

#define SPINLOCK_INIT { 0 }

static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

void spin_lock_slow(spinlock_t *l);

static inline void spin_init(spinlock_t *l)
{
	l->v = 0;
}

static inline bool spin_trylock(spinlock_t *l)
{
	return !__atomic_load_n(&l->v, __ATOMIC_RELAXED) &&
	       !__atomic_exchange_n(&l->v, 1, __ATOMIC_ACQUIRE);
}

static inline void spin_lock(spinlock_t *l)
{
	if (unlikely(__atomic_exchange_n(&l->v, 1, __ATOMIC_ACQUIRE)))
		spin_lock_slow(l);
}

static inline void spin_unlock(spinlock_t *l)
{
	__atomic_store_n(&l->v, 0, __ATOMIC_RELEASE);
}

#endif
