/*
 * backlog.h - frames of the uplink that wait until their instance has receive buffers again.
 *
 * A receive ring holds what comes in a few milliseconds; an instance that is not run for longer
 * would lose frames, in bursts. A bounded number waits here instead, for each instance and in all.
 */
#ifndef JUNCTION_SCHEDULER_BACKLOG_H
#define JUNCTION_SCHEDULER_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

struct instance;
struct rte_mbuf;

/* Frames wait for it: later ones must go behind them. */
bool backlog_waits(const struct instance *in);
/* Takes over m; false: no room, m stays the caller's. */
bool backlog_add(struct instance *in, struct rte_mbuf *m);
/*
 * Offers what waits: give() gets n frames in order and returns how many of them it has taken over.
 * True if any was taken.
 */
bool backlog_retry(unsigned (*give)(struct instance *in, struct rte_mbuf **m, unsigned n));
/* It goes: frees what waits for it. */
void backlog_forget(const struct instance *in);
void backlog_exit(void);
/* Does anything wait? */
bool backlog_any(void);

#endif
