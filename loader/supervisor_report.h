/*
 * supervisor_report.h - what `junction run --stats` prints.
 */
#ifndef JUNCTION_LOADER_SUPERVISOR_REPORT_H
#define JUNCTION_LOADER_SUPERVISOR_REPORT_H

#include "loader/loader.h"

/* CLOCK_MONOTONIC, ns. */
struct supervisor_times {
	uint64_t started, opened, spawned, dead;
};

/* To standard error: a table, or one line of JSON. `stats` may be hostile: they are numbers only. */
void supervisor_print_stats(const struct control_stats *stats, const struct supervisor_times *times,
			    uint64_t memory_used, bool json);

#endif
