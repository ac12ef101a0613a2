/*
 * loop.h - the polling loop.
 */
#ifndef JUNCTION_SCHEDULER_LOOP_H
#define JUNCTION_SCHEDULER_LOOP_H

#include "junctiond/scheduler/scheduler.h"

/* Runs until loop_stop(). */
void loop_run(void);
void loop_stop(void);
/* The instance goes: it stands in no list any more. */
void loop_forget(struct instance *in);

#endif
