/*
 * switch.h - where a frame goes, and whether it may.
 */
#ifndef JUNCTION_SCHEDULER_SWITCH_H
#define JUNCTION_SCHEDULER_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "junctiond/scheduler/scheduler.h"

struct rte_mbuf;

/* An instance begins or ends to be known by its addresses. Its address must be free. */
void switch_add(struct instance *in);
void switch_remove(struct instance *in);
/* The instance that has this IPv4 address (network byte order), or NULL. */
struct instance *switch_find(uint32_t addr);
/* The MAC address of whoever has `addr`. */
void switch_mac(uint32_t addr, uint8_t mac[6]);

/* Takes what is in its transmit rings, up to a burst in all. True if anything was. */
bool switch_from_instance(struct instance *in, uint64_t now);
/* The instance has ended: takes what it had left to send, at most what its rings hold. */
void switch_last_words(struct instance *in);
/* A frame that came from the uplink. Takes it over. */
void switch_from_uplink(struct rte_mbuf *m);
/* A frame from the uplink that fault injection has passed. Takes it over, until
 * switch_uplink_done(). */
void switch_deliver_uplink(struct rte_mbuf *m);
/* Hands over what waits to be put together with what follows: nothing follows for now. */
void switch_uplink_done(void);
/* Tries again with what waits for buffers of instances. True if anything was taken. */
bool switch_uplink_retry(void);
/* Events for all that was put into receive queues since the last call. */
void switch_notify(uint64_t now);

#endif
