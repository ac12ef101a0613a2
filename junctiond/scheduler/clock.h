/*
 * clock.h - CLOCK_MONOTONIC from the TSC.
 */
#ifndef JUNCTION_SCHEDULER_CLOCK_H
#define JUNCTION_SCHEDULER_CLOCK_H

#include <stdint.h>

/* Calibrates; takes about 2 ms. */
void clock_init(void);
/* Corrects the drift; every 100 ms or so. Polling thread only. */
void clock_sync(void);
/* Ticks a second, as measured so far. */
uint64_t clock_tsc_hz(void);

static inline uint64_t clock_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

#endif
