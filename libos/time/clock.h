/*
 * clock.h - clocks of the library OS.
 */
#ifndef LIBOS_TIME_CLOCK_H
#define LIBOS_TIME_CLOCK_H

#include "libos/lib/types.h"
#include "libos/platform/hostcall.h"

struct proc;

static inline u64 clock_monotonic_ns(void)
{
	return host_clock_ns(1);
}
static inline u64 clock_realtime_ns(void)
{
	return host_clock_ns(0);
}

struct timespec_k {
	s64 sec, nsec;
};
/* Valid and to ns (saturating at NEVER - 1): false for negative seconds or nsec out of range. */
static inline bool timespec_valid(const struct timespec_k *t)
{
	return t->sec >= 0 && (u64)t->nsec < NSEC_PER_SEC;
}
static inline u64 timespec_to_ns(const struct timespec_k *t)
{
	u64 ns;

	if (__builtin_mul_overflow((u64)t->sec, NSEC_PER_SEC, &ns) || ns + t->nsec < ns ||
	    ns + t->nsec == NEVER)
		return NEVER - 1;
	return ns + t->nsec;
}
static inline struct timespec_k ns_to_timespec(u64 ns)
{
	return (struct timespec_k){ ns / NSEC_PER_SEC, ns % NSEC_PER_SEC };
}
/* now + ns, saturating. */
static inline u64 deadline_after(u64 now, u64 ns)
{
	return now + ns < now ? NEVER - 1 : now + ns;
}

/* Boot: keys the random number generator from the boot record. */
void time_init(void);

struct itimerspec_k {
	struct timespec_k interval, value;
};
struct timeval_k {
	s64 sec, usec;
};

/*
 * Reads clock `id` of clock_gettime(2), CPU clocks of processes and threads included, in ns.
 * -EINVAL: no such clock.
 */
int clock_read(int id, u64 *ns);
/*
 * When a clock that runs with time (CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI or an _ALARM clock)
 * shows `abs` ns, as CLOCK_MONOTONIC ns. Past times give a past time.
 */
u64 clock_to_monotonic(int id, u64 abs);
/* CPU time of all threads of p, dead ones included, in ns. */
u64 proc_cpu_ns(struct proc *p);

/*
 * Sleeps until `deadline` (CLOCK_MONOTONIC ns). 0, or -ERESTARTSYS when a signal is pending first.
 */
long sleep_until(u64 deadline);
/*
 * The timeout arguments of poll, select and their kind. *deadline is in CLOCK_MONOTONIC ns, NEVER for a NULL
 * pointer, 0 for a zero timeout (do not sleep). -EFAULT, -EINVAL.
 */
int timeout_from_timespec(u64 uts, u64 *deadline);
int timeout_from_timeval(u64 utv, u64 *deadline);
/* Writes what is left until deadline; does nothing for NULL. False: could not be written. */
bool timeout_left_timespec(u64 uts, u64 deadline);
bool timeout_left_timeval(u64 utv, u64 deadline);

#endif
