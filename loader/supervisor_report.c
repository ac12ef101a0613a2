/*
 * supervisor_report.c - what `junction run --stats` prints.
 */
#include "loader/supervisor_report.h"

#include <inttypes.h>
#include <stdio.h>

#define NR(a) (sizeof(a) / sizeof((a)[0]))

struct line {
	const char *key, *text;
	uint64_t value;
	bool is_us; /* else a plain number */
};

static uint64_t between(uint64_t from, uint64_t to)
{
	return from && to > from ? (to - from) / 1000 : 0;
}

void supervisor_print_stats(const struct control_stats *stats, const struct supervisor_times *times,
			    uint64_t memory_used, bool json)
{
	struct control_stats s = *stats;
	uint64_t first = s.first_instruction_ns;
	const struct line lines[] = {
		{"open_us", "open image", between(times->started, times->opened), true},
		{"spawn_us", "spawn process", between(times->opened, times->spawned), true},
		{"boot_us", "boot to the program's first instruction", between(times->spawned, first),
		 true},
		{"run_us", "run to the end", between(first ? first : times->spawned, times->dead), true},
		{"total_us", "total", between(times->started, times->dead), true},
		{"syscalls_fast", "system calls, rewritten sites", s.syscalls_fast, false},
		{"syscalls_trapped", "system calls, trapped", s.syscalls_trapped, false},
		{"syscalls_unknown", "system calls answered ENOSYS", s.syscalls_unknown, false},
		{"host_calls", "host calls", s.host_calls, false},
		{"preemptions", "preemptions", s.preemptions, false},
		{"context_switches", "context switches", s.context_switches, false},
		{"page_faults", "faults seen by the library OS", s.page_faults, false},
		{"arena_peak", "arena peak, bytes", s.arena_peak, false},
		{"shm_peak", "page store peak, bytes", s.shm_peak, false},
		{"memory_at_exit", "arena and page store at exit, bytes", memory_used, false},
	};

	if (json)
		fputc('{', stderr);
	for (size_t i = 0; i < NR(lines); i++)
		if (json)
			fprintf(stderr, "%s\"%s\": %" PRIu64, i ? ", " : "", lines[i].key,
				lines[i].value);
		else
			fprintf(stderr, "  %-44s %12" PRIu64 "%s\n", lines[i].text, lines[i].value,
				lines[i].is_us ? " us" : "");
	if (json)
		fputs("}\n", stderr);
}
