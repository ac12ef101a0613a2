/*
 * doorbell.h - threads that sleep on the doorbells of instances and tell the polling thread.
 */
#ifndef JUNCTION_SCHEDULER_DOORBELL_H
#define JUNCTION_SCHEDULER_DOORBELL_H

#include <stdbool.h>

#include "junctiond/scheduler/scheduler.h"

/* 0, or -1 with errno. */
int doorbell_init(void);
/* Ends the threads. */
void doorbell_exit(void);

/* From now on, or no longer, somebody waits for its doorbell. After remove the region may be
 * unmapped. */
int doorbell_add(struct instance *in);
void doorbell_remove(struct instance *in);

/* Has any doorbell rung that doorbell_take() has not given yet? One load. */
bool doorbell_rung(void);
/* Calls fn for each instance whose doorbell rang. */
void doorbell_take(void (*fn)(struct instance *in));

/* Becomes readable when a doorbell rings while doorbell_sleep(true) holds. */
int doorbell_fd(void);
/* Fences: look at doorbell_rung() after doorbell_sleep(true). False also empties the descriptor. */
void doorbell_sleep(bool sleeping);

#endif
