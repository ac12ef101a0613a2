/*
 * futex.h - what the rest of the library OS wants of futexes.
 */
#ifndef LIBOS_PROC_FUTEX_H
#define LIBOS_PROC_FUTEX_H

#include "libos/lib/types.h"

/* Once at boot. */
void futex_init(void);
/* FUTEX_WAKE (shared) in current()'s address space. Returns how many, -EINVAL or -EFAULT. */
long futex_wake(u64 uaddr, int n);
/* Marks the robust futexes of current(), which ends, as ownerless and wakes a waiter of each. */
void futex_exit_robust_list(void);
/* Hands the PI futexes that current(), which ends, holds to those who wait for them. After the
 * robust list. */
void futex_exit_pi(void);

#endif
