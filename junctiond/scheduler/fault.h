/*
 * fault.h - a bad network between uplink and instances, for tests: seeded, so that a run can be
 * repeated.
 */
#ifndef JUNCTION_SCHEDULER_FAULT_H
#define JUNCTION_SCHEDULER_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct rte_mbuf;

/*
 * Reads "seed=N,loss=P,dup=P,reorder=P,corrupt=P,delay_us=N,jitter_us=N"; P: 0..1, of each frame.
 * 0, or -1 with one line in `err`. NULL: no faults.
 */
int fault_init(const char *spec, char *err, unsigned err_size);
/* Frees what is held. */
void fault_exit(void);

/* A frame on its way to the uplink, or from it: does to it what chance says and hands it on. Takes
 * it over. */
void fault_to_uplink(struct rte_mbuf *m);
void fault_from_uplink(struct rte_mbuf *m);

/* Hands on the held frames whose time has come. True if there were any. */
bool fault_tick(uint64_t now);
/* When fault_tick() must be called; UINT64_MAX: nothing is held. */
uint64_t fault_deadline(void);

#endif
