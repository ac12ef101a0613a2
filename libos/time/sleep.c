/*
 * sleep.c - nanosleep, clock_nanosleep, and the timeouts of other calls.
 *
 * An interrupted relative sleep goes on through restart_syscall(2) until its first deadline, so that signals
 * without a handler (SIGSTOP, SIGCONT) do not make it longer.
 */
#include <linux/time.h>

#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/sched/uthread.h"
#include "libos/sched/wait.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

#define CPU_POLL_MIN_NS 100000ull

long sleep_until(u64 deadline)
{
	for (;;) {
		uthread_prepare(UT_INTERRUPTIBLE);
		if (signal_pending(current())) {
			uthread_running();
			return clock_monotonic_ns() >= deadline ? 0 : -ERESTARTSYS;
		}
		if (uthread_schedule(deadline))
			return 0;
		if (clock_monotonic_ns() >= deadline)
			return 0;
	}
}

/* Until CPU clock `id` shows `target`: it can advance by at most one second a kthread and second. */
static long sleep_until_cpu(int id, u64 target)
{
	u64 now;
	long r = clock_read(id, &now);

	while (!r && now < target) {
		u64 step = max((target - now) / nr_kthreads, (u64)CPU_POLL_MIN_NS);

		r = sleep_until(deadline_after(clock_monotonic_ns(), step));
		if (!r)
			r = clock_read(id, &now);
	}
	return r;
}

static bool is_cpu_clock(int id)
{
	return id < 0 || id == CLOCK_PROCESS_CPUTIME_ID;
}

/* Sleeps until `id` shows `abs` ns; a clock that was set meanwhile is looked at again. */
static long sleep_clock(int id, u64 abs)
{
	for (;;) {
		u64 now;
		long r;

		if (is_cpu_clock(id))
			return sleep_until_cpu(id, abs);
		r = sleep_until(clock_to_monotonic(id, abs));
		if (r || id == CLOCK_MONOTONIC)
			return r;
		r = clock_read(id, &now);
		if (r || now >= abs)
			return r;
	}
}

/* restart_args: clock, absolute end on that clock, user address for the remaining time. */
static long sleep_relative(struct uthread *ut)
{
	int id = ut->restart_args[0];
	u64 end = ut->restart_args[1], now;
	void *urem = (void *)ut->restart_args[2];
	long r = sleep_clock(id, end);

	if (r != -ERESTARTSYS)
		return r;
	if (urem) {
		struct timespec_k rem;

		if (clock_read(id, &now) || now >= end)
			return 0;
		rem = ns_to_timespec(end - now);
		if (copy_to_user(urem, &rem, sizeof(rem)))
			return -EFAULT;
	}
	ut->restart_fn = sleep_relative;
	return -ERESTART_RESTARTBLOCK;
}

static long start_relative(int id, const struct timespec_k *ts, void *urem)
{
	struct uthread *ut = current();
	u64 now;
	int r = clock_read(id, &now);

	if (r)
		return r;
	ut->restart_args[0] = id;
	ut->restart_args[1] = deadline_after(now, timespec_to_ns(ts));
	ut->restart_args[2] = (u64)urem;
	return sleep_relative(ut);
}

long sys_nanosleep(const void *uts, void *urem)
{
	struct timespec_k ts;

	if (copy_from_user(&ts, uts, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	return start_relative(CLOCK_MONOTONIC, &ts, urem);
}

long sys_clock_nanosleep(int id, int flags, const void *uts, void *urem)
{
	struct timespec_k ts;
	u64 now;
	long r = clock_read(id, &now);

	if (r)
		return r;
	if (id == CLOCK_THREAD_CPUTIME_ID || id == CLOCK_MONOTONIC_RAW ||
	    id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE)
		return -EOPNOTSUPP;
	if (copy_from_user(&ts, uts, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	if (id < 0 && (id & 4) && (~(id >> 3) == 0 || ~(id >> 3) == current()->tid))
		return -EINVAL; /* would wait for itself */
	if (!(flags & TIMER_ABSTIME)) {
		/* A relative sleep does not follow changes of the wall clock. */
		if (id == CLOCK_REALTIME || id == CLOCK_TAI)
			id = CLOCK_MONOTONIC;
		return start_relative(id, &ts, urem);
	}
	r = sleep_clock(id, timespec_to_ns(&ts));
	return r == -ERESTARTSYS ? -ERESTARTNOHAND : r;
}

int timeout_from_timespec(u64 uts, u64 *deadline)
{
	struct timespec_k ts;

	*deadline = NEVER;
	if (!uts)
		return 0;
	if (copy_from_user(&ts, (void *)uts, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	*deadline = ts.sec || ts.nsec ? deadline_after(clock_monotonic_ns(), timespec_to_ns(&ts)) : 0;
	return 0;
}

int timeout_from_timeval(u64 utv, u64 *deadline)
{
	struct timeval_k tv;
	struct timespec_k ts;

	*deadline = NEVER;
	if (!utv)
		return 0;
	if (copy_from_user(&tv, (void *)utv, sizeof(tv)))
		return -EFAULT;
	/* Linux normalises: more than a second of microseconds is fine here. */
	ts.sec = (u64)tv.sec + tv.usec / 1000000;
	ts.nsec = tv.usec % 1000000 * 1000;
	if (tv.sec < 0 || !timespec_valid(&ts))
		return -EINVAL;
	*deadline = ts.sec || ts.nsec ? deadline_after(clock_monotonic_ns(), timespec_to_ns(&ts)) : 0;
	return 0;
}

static struct timespec_k left(u64 deadline)
{
	u64 now = clock_monotonic_ns();

	return ns_to_timespec(deadline > now ? deadline - now : 0);
}

bool timeout_left_timespec(u64 uts, u64 deadline)
{
	struct timespec_k ts;

	if (!uts)
		return true;
	ts = left(deadline);
	return !copy_to_user((void *)uts, &ts, sizeof(ts));
}

bool timeout_left_timeval(u64 utv, u64 deadline)
{
	struct timespec_k ts;
	struct timeval_k tv;

	if (!utv)
		return true;
	ts = left(deadline);
	tv = (struct timeval_k){ ts.sec, ts.nsec / NSEC_PER_USEC };
	return !copy_to_user((void *)utv, &tv, sizeof(tv));
}
