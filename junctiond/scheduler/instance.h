/*
 * instance.h - the instances that have a NIC of ours.
 */
#ifndef JUNCTION_SCHEDULER_INSTANCE_H
#define JUNCTION_SCHEDULER_INSTANCE_H

#include "junctiond/scheduler/protocol.h"
#include "junctiond/scheduler/scheduler.h"
#include "junctiond/scheduler/vring.h"

/*
 * Makes address and region for a request, whose fields are checked here. Fills *answer and
 * *region_fd (the caller's). NULL with one line in err[SCHED_TEXT_MAX].
 */
struct instance *instance_attach(const struct sched_msg *req, struct sched_msg *answer,
				 int *region_fd, char *err);

/* It runs: takes over both descriptors. 0; -1 with one line in err, and the instance as before. */
int instance_start(struct instance *in, int control_fd, int pidfd, char *err);

/* Gives everything back, at any point of its life. */
void instance_detach(struct instance *in);

/* Looks for threads not yet found of instances that started not long ago; cheap if there are none.
 */
void instance_tick(uint64_t now);
/* When that must be called; UINT64_MAX: never. */
uint64_t instance_deadline(void);

/* Its ring v of that pair was bad: takes the pair out of use and says so. */
void instance_stopped(struct instance *in, uint32_t pair, const struct vring *v);

/* For each: for (in = instance_next(NULL); in; in = instance_next(in)) */
struct instance *instance_next(const struct instance *after);

#endif
