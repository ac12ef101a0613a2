/*
 * latency.h - a small histogram of recent latencies: eight buckets an octave, old ones fade.
 */
#ifndef JUNCTION_SCHEDULER_LATENCY_H
#define JUNCTION_SCHEDULER_LATENCY_H

#include <stdint.h>
#include <string.h>

#define LATENCY_BUCKETS 256u
#define LATENCY_MEMORY 2048u /* samples after which the older half counts half */

struct latency {
	uint32_t total;
	uint16_t buckets[LATENCY_BUCKETS];
};

static inline uint32_t latency_bucket(uint64_t ns)
{
	uint32_t top, b;

	if (ns < 16)
		return (uint32_t)ns / 2;
	top = 63u - (uint32_t)__builtin_clzll(ns);
	b = (top - 3) * 8 + (uint32_t)(ns >> (top - 3) & 7);
	return b < LATENCY_BUCKETS ? b : LATENCY_BUCKETS - 1;
}

/* The highest value of a bucket, in ns. */
static inline uint64_t latency_value(uint32_t b)
{
	if (b < 8)
		return 2ull * b + 1;
	return ((8ull + (b & 7) + 1) << (b / 8)) - 1;
}

static inline void latency_add(struct latency *l, uint64_t ns)
{
	l->buckets[latency_bucket(ns)]++;
	if (++l->total < LATENCY_MEMORY)
		return;
	l->total = 0;
	for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
		l->buckets[i] /= 2;
		l->total += l->buckets[i];
	}
}

/* The value that `permille` of the samples do not exceed; 0: no samples. */
static inline uint64_t latency_quantile(const struct latency *l, uint32_t permille)
{
	uint64_t want = ((uint64_t)l->total * permille + 999) / 1000, seen = 0;

	if (!l->total)
		return 0;
	for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
		seen += l->buckets[i];
		if (seen >= want && seen)
			return latency_value(i);
	}
	return latency_value(LATENCY_BUCKETS - 1);
}

#endif
