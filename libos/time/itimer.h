/*
 * itimer.h - the timers of a process that end in signals: setitimer(2) and timer_create(2).
 */
#ifndef LIBOS_TIME_ITIMER_H
#define LIBOS_TIME_ITIMER_H

#include "libos/lib/spinlock.h"
#include "libos/sched/timer.h"
#include "libos/signal/sigtypes.h"
#include "libos/time/clock.h"

struct proc;
struct ptimer;

/*
 * A timer on any clock of a process. Time is in ns on that clock. The owner's lock guards it.
 * CPU clocks cannot be waited for: the host timer polls them, at the earliest moment when they can be due.
 */
struct clock_timer {
	struct timer timer;
	int clock; /* CLOCK_*; CLOCK_THREAD_CPUTIME_ID: of ut, CLOCK_PROCESS_CPUTIME_ID: of proc */
	struct uthread *ut;
	struct proc *proc;
	u64 expires; /* 0: disarmed */
	u64 interval; /* 0: one shot */
	u64 seen; /* CPU clocks: at the last poll */
	u64 poll_ns; /* and how long until the next */
};

/* The three of setitimer, and the table of timer_create. Made when first asked for. */
struct itimers {
	spinlock_t lock; /* after sig_lock, before timer heaps; never held while a signal is sent */
	struct proc *proc;
	struct clock_timer real, virt, prof;
	struct clock_timer cpu_limit; /* RLIMIT_CPU */
	u64 cpu_max; /* its hard limit, ns */
	struct ptimer **table; /* by timer id; NULL: free */
	u32 table_size, nr;
};

/* Of current_proc(), made if need be; NULL: no memory. */
struct itimers *itimers_get(void);

u64 clock_timer_now(struct clock_timer *ct);
/* Arms the host's side for ct->expires; disarms it if that is 0. Under the owner's lock. -ENOMEM. */
int clock_timer_start(struct clock_timer *ct);
/*
 * In the timer's function, under the owner's lock: how many times ct has expired by now, with ct armed for the
 * next time. 0: too early, it is armed again.
 */
u64 clock_timer_expire(struct clock_timer *ct);
/* What is left until the next expiration: 0 if disarmed, else at least 1. */
u64 clock_timer_left(struct clock_timer *ct);

/*
 * A timer's signal is being taken from its queue: adds what expired since it was sent to info->timer.overrun and
 * remembers it for timer_getoverrun(2). Called with proc->sig_lock.
 */
void ptimer_signal_taken(struct proc *p, struct siginfo_k *info);
/*
 * RLIMIT_CPU of current_proc() changed, in seconds: SIGXCPU at cur and each second from there, SIGKILL at max.
 * -ENOMEM.
 */
int itimers_set_cpu_limit(u64 cur, u64 max);
/* execve(2): POSIX timers go, interval timers stay. */
void ptimers_delete_all(struct proc *p);

#endif
