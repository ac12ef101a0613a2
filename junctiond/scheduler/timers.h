/*
 * timers.h - when parked kthreads want to be woken: a heap of (instance, kthread) by time.
 */
#ifndef JUNCTION_SCHEDULER_TIMERS_H
#define JUNCTION_SCHEDULER_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

struct cores_instance;

/* Makes room for so many more kthreads. -1: no memory. */
int timers_reserve(uint32_t nr);
void timers_unreserve(uint32_t nr);
void timers_exit(void);
/* Arms, moves or (UINT64_MAX) disarms kthread k's. */
void timers_set(struct cores_instance *ci, uint32_t k, uint64_t at);
/* Takes out one that is due. False: none is. */
bool timers_due(uint64_t now, struct cores_instance **ci, uint32_t *k);
/* The first; UINT64_MAX: there is none. */
uint64_t timers_first(void);

#endif
