/*
 * top.h - `junction top`: samples of the scheduler's statistics, and how they are shown.
 */
#ifndef JUNCTION_BUILDER_TOP_H
#define JUNCTION_BUILDER_TOP_H

#include <stdint.h>
#include <stdio.h>

#include "junctiond/scheduler/stats.h"

/* What the scheduler said at one moment: the head of its statistics, and the slots in use. */
struct top_sample {
	uint64_t at; /* CLOCK_MONOTONIC ns */
	struct {
		uint64_t started_ns;
		uint32_t pid, poll_mode, nr_cores;
		char uplink[64];
		uint64_t loops, busy_loops, sleeps, loop_cycles, tsc_hz;
		uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
		uint64_t drops[SDROP_NR];
		uint32_t core_instance[SSTATS_MAX_CORES];
	} head;
	uint32_t nr; /* of instances */
	struct sstats_instance *instances;
};

extern const char *const top_drop_texts[SDROP_NR];

/* Fills *s; what it held before is given back. -1: no memory. */
int top_take(const struct sstats *stats, struct top_sample *s);
void top_free(struct top_sample *s);
/* The instance of `now` as it was in `then`; one of zeros if it was not there. */
const struct sstats_instance *top_before(const struct top_sample *then,
					 const struct sstats_instance *now);
/* Growth of a counter in a second. */
double top_rate(const struct top_sample *then, const struct top_sample *now, uint64_t before,
		uint64_t after);
/* ns that a turn of the loop which found nothing took. */
double top_loop_ns(const struct top_sample *then, const struct top_sample *now);
/* "10.1.2.3" into buf. */
void top_address(const struct sstats_instance *in, char *buf, size_t size);

/* For people: at most rows lines of at most cols columns (0: no limit); eol ends each line. */
void top_print(FILE *f, const struct top_sample *then, const struct top_sample *now, unsigned rows,
	       unsigned cols, const char *eol);
/* For programs: one JSON object on one line. */
void top_print_json(FILE *f, const struct top_sample *then, const struct top_sample *now);

#endif
