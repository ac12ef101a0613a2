/*
 * run_net.h - the network of `junction run --net`: options, a NIC from a scheduler, published ports.
 */
#ifndef JUNCTION_BUILDER_RUN_NET_H
#define JUNCTION_BUILDER_RUN_NET_H

#include <stdbool.h>

#include "builder/err.h"
#include "builder/net_helper.h"
#include "builder/publish.h"
#include "libos/abi/control.h"
#include "loader/supervisor.h"

struct run_net {
	/* as the command line says */
	bool wanted, publish_remote;
	struct ctl_addr ip, dns; /* family 0: not said */
	const char *scheduler; /* socket; NULL: not said */
	const char *publish[PUBLISH_MAX];
	int nr_publish;
	/* while it runs */
	struct publish ports[PUBLISH_MAX];
	int conn, nic_fd; /* to the scheduler; the region. 0: none */
	bool private_scheduler;
	struct net_helper helper; /* pid 0: none */
};

/* Reads "10.0.0.2". 0, or -1 with a line that names the option in `e`. */
int run_net_parse_addr(const char *option, const char *text, struct ctl_addr *addr, struct err *e);

/* After the command line: options that need --net, and what --publish says. 0, or -1 with a line in `e`. */
int run_net_check(struct run_net *n, struct err *e);

/*
 * Gets a NIC for an instance called `name` with cfg->nr_kthreads queue pairs, from the scheduler that runs,
 * or from a private one that it starts. Fills in cfg's nic_fd and net, and the hooks of the supervisor.
 * 0, or -1 with one line in `e` and nothing left behind.
 */
int run_net_join(struct run_net *n, const char *name, struct loader_config *cfg, struct supervisor_net *hooks,
		 struct err *e);

#endif
