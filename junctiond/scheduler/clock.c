/*
 * clock.c - CLOCK_MONOTONIC in nanoseconds from the TSC, kept close to the kernel's by looking now
 * and then.
 */
#include "junctiond/scheduler/clock.h"

#include <time.h>

#include "junctiond/scheduler/scheduler.h"

static uint64_t start_tsc, start_ns; /* what the rate is measured from */
static uint64_t base_tsc, base_ns;
static uint64_t ns_per_tick; /* in 2^-32 ns */
static uint64_t last;

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec;
}

void clock_sync(void)
{
	uint64_t tsc = clock_tsc(), ns = monotonic_ns();

	if (tsc <= start_tsc || ns <= start_ns)
		return;
	ns_per_tick = (uint64_t)(((unsigned __int128)(ns - start_ns) << 32) / (tsc - start_tsc));
	base_tsc = tsc;
	base_ns = ns;
}

void clock_init(void)
{
	start_ns = monotonic_ns();
	start_tsc = clock_tsc();
	while (monotonic_ns() - start_ns < 2000000)
		;
	clock_sync();
}

uint64_t clock_tsc_hz(void)
{
	return (uint64_t)(((unsigned __int128)1000000000u << 32) / ns_per_tick);
}

uint64_t now_ns(void)
{
	uint64_t ticks = clock_tsc() - base_tsc;
	uint64_t now = base_ns + (uint64_t)(((unsigned __int128)ticks * ns_per_tick) >> 32);

	/* A correction may step back by a little, and so may the TSC of another core; nobody shall
	 * see that. */
	if ((int64_t)ticks < 0 || now < last)
		return last;
	return last = now;
}
