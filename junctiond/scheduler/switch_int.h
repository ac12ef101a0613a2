/*
 * switch_int.h - what switch.c (frames of instances) and uplink.c (frames of the uplink) share.
 */
#ifndef JUNCTION_SCHEDULER_SWITCH_INT_H
#define JUNCTION_SCHEDULER_SWITCH_INT_H

#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/switch.h"

static inline uint32_t addr_of(const struct instance *in)
{
	return get_raw32(in->addr.bytes);
}

/* The queue pair that a flow belongs to. */
static inline uint32_t pair_of(const struct instance *in, uint32_t hash)
{
	return (uint32_t)((uint64_t)hash * in->nr_pairs >> 32);
}

/* The instance that has this MAC address, or NULL. */
struct instance *switch_find_mac(const uint8_t *mac);
/* A frame from or for `in` (NULL: nobody's) was dropped. */
void switch_drop(struct instance *in, enum sstats_drop why);
/*
 * Puts a frame into a receive queue. False: there is no room for it, and nothing was counted. Other
 * failures are counted here.
 */
bool switch_put(struct instance *to, uint32_t pair, const struct frame *f);
/* Class D, broadcast, "this network". */
bool switch_is_broadcast(uint32_t addr);
/* Writes an ARP answer that what f asks for is at the MAC address of `owner`. */
void switch_arp_answer(uint8_t out[ETH_LEN + ARP_LEN], const struct frame *f,
		       const struct instance *owner);

#endif
