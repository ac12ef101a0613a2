/*
 * netns.h - a network namespace of one's own, and addresses in it.
 */
#ifndef JUNCTION_BUILDER_NETNS_H
#define JUNCTION_BUILDER_NETNS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "builder/err.h"

/*
 * Moves the calling process, which has one thread, into a new network namespace with its loopback up. Who may
 * not do that gets a user namespace, too, and is root in it. 0, or -1 with one line in `e`.
 */
int netns_enter(struct err *e);

/* Gives an interface an address with its prefix length, and takes it up. 0, or -1 with one line in `e`. */
int netns_add_address(const char *ifname, struct in_addr addr, unsigned int prefix, struct err *e);

/*
 * True when this namespace sends to `addr` from an address that is inside addr/prefix: it is at the same
 * network, not somewhere behind a router.
 */
bool netns_is_neighbour(struct in_addr addr, unsigned int prefix);

#endif
