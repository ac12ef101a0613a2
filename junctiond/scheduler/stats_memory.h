/*
 * stats_memory.h - the memory of stats.h.
 */
#ifndef JUNCTION_SCHEDULER_STATS_MEMORY_H
#define JUNCTION_SCHEDULER_STATS_MEMORY_H

/* Makes and fills sstats from config. 0, or -1 with errno. */
int stats_init(void);
/* A descriptor through which nobody can write. */
int stats_fd(void);

#endif
