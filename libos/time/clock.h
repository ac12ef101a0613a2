/*
 * clock.h - clocks of the library OS.
 */
#ifndef LIBOS_TIME_CLOCK_H
#define LIBOS_TIME_CLOCK_H

#include "libos/lib/types.h"
#include "libos/platform/hostcall.h"

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

#endif
