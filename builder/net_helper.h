/*
 * net_helper.h - the process beside `junction run --net` that carries published connections, and in whose
 * network namespace a private scheduler runs.
 */
#ifndef JUNCTION_BUILDER_NET_HELPER_H
#define JUNCTION_BUILDER_NET_HELPER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

#include "builder/err.h"
#include "builder/publish.h"

/* The uplink of a private scheduler, in a namespace where there is nothing else. */
#define NET_HELPER_TAP "junction0"

struct net_helper {
	pid_t pid;
	int socket; /* to the helper, which ends when this is closed, or when we die */
};

/* What the helper is told when the instance has its address. */
struct net_helper_addresses {
	struct in_addr instance, gateway;
	unsigned int prefix;
};

/*
 * Starts the helper. `ports` are open; the helper takes copies. With `sched_conn` not -1 a private scheduler
 * serves the other end of that socket: the helper makes a network namespace, starts the scheduler in it and
 * gives its tap the gateway's address. Returns at once; what goes wrong later is told by the functions below.
 * 0, or -1 with one line in `e`.
 */
int net_helper_start(struct net_helper *h, const struct publish *ports, int nr_ports, int sched_conn, struct err *e);

/* Tells the addresses and waits until connections can be carried. 0, or -1 with one line in `e`. */
int net_helper_go(struct net_helper *h, const struct net_helper_addresses *a, struct err *e);

/* What the helper says of its end, if it says something: -1 with the line in `e`; else 0. */
int net_helper_last_words(struct net_helper *h, struct err *e);

/* Ends it, and the private scheduler with it, and waits for that. */
void net_helper_stop(struct net_helper *h);

#endif
