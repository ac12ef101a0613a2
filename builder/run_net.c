/*
 * run_net.c - the network of `junction run --net`: options, a NIC from a scheduler, published ports.
 *
 * The order of a start: published sockets are opened first, so that a port that is taken costs nothing;
 * the scheduler gives address and NIC region (ATTACH); the helper learns the address; the instance is
 * spawned with the region; the scheduler is told of it (START). The connection to the scheduler and the
 * helper both live as long as the instance: when one of them goes, so does the instance.
 */
#include "builder/run_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "builder/netns.h"
#include "junctiond/scheduler/client.h"

int run_net_parse_addr(const char *option, const char *text, struct ctl_addr *addr, struct err *e)
{
	*addr = (struct ctl_addr){.family = AF_INET, .prefix = 32};
	if (inet_pton(AF_INET, text, addr->bytes) != 1)
		return err_set(e, "%s %s: not an IPv4 address", option, text);
	return 0;
}

int run_net_check(struct run_net *n, struct err *e)
{
	if (!n->wanted) {
		const char *option = n->ip.family	 ? "--ip"
				     : n->dns.family	 ? "--dns"
				     : n->scheduler	 ? "--scheduler"
				     : n->nr_publish	 ? "--publish"
				     : n->publish_remote ? "--publish-remote"
							 : NULL;

		return option ? err_set(e, "%s: only with --net", option) : 0;
	}
	for (int i = 0; i < n->nr_publish; i++)
		if (publish_parse(n->publish[i], n->publish_remote, &n->ports[i], e) == -1)
			return -1;
	return 0;
}

static struct in_addr in_addr_of(const struct ctl_addr *a)
{
	struct in_addr in;

	memcpy(&in, a->bytes, sizeof(in));
	return in;
}

static void leave(void *arg)
{
	struct run_net *n = arg;

	if (n->conn > 0)
		close(n->conn);
	n->conn = 0;
	if (n->nic_fd > 0)
		close(n->nic_fd);
	n->nic_fd = 0;
	for (int i = 0; i < n->nr_publish; i++)
		if (n->ports[i].fd > 0)
			close(n->ports[i].fd);
	if (n->helper.pid)
		net_helper_stop(&n->helper);
}

/* The scheduler's error; a private one's helper may know better. */
static int scheduler_error(struct run_net *n, const char *text, struct err *e)
{
	if (n->private_scheduler && net_helper_last_words(&n->helper, e))
		return -1;
	return err_set(e, "%s", text);
}

static int started(void *arg, const struct loader_instance *inst, struct loader_error *err)
{
	struct run_net *n = arg;
	struct sched_error se;
	struct err e = {};

	if (!sched_client_start(n->conn, inst->control_fd, inst->pidfd, &se))
		return 0;
	scheduler_error(n, se.text, &e);
	snprintf(err->text, sizeof(err->text), "%.*s", (int)sizeof(err->text) - 1, e.text);
	return -1;
}

static void lost(void *arg, struct loader_error *err)
{
	struct run_net *n = arg;
	struct err e = {};

	if (!n->helper.pid || !net_helper_last_words(&n->helper, &e))
		err_set(&e, "%s", n->private_scheduler ? "its private scheduler, or the process beside it, was killed"
						       : "the scheduler that it had its network from has gone");
	snprintf(err->text, sizeof(err->text), "%.*s", (int)sizeof(err->text) - 1, e.text);
}

/*
 * The connection to the scheduler that was named, or that runs at the usual place; or a private one's. For
 * that one *other is its end of the connection; else -1.
 */
static int connect_scheduler(struct run_net *n, int *other, struct err *e)
{
	const char *env = getenv(SCHED_SOCKET_ENV);
	struct sched_error se;
	int pair[2];

	*other = -1;
	n->conn = sched_client_connect(n->scheduler, &se);
	if (n->conn > 0)
		return 0;
	if (n->scheduler || (env && *env))
		return err_set(e, "%s", se.text);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return err_errno(e, "socketpair");
	n->private_scheduler = true;
	n->conn = pair[0];
	*other = pair[1];
	return 0;
}

static int start_helper(struct run_net *n, int sched_conn, struct err *e)
{
	int ret = net_helper_start(&n->helper, n->ports, n->nr_publish, sched_conn, e);

	if (sched_conn != -1)
		close(sched_conn);
	/* They live on in the helper, and only there, so that they end with it. */
	for (int i = 0; i < n->nr_publish; i++) {
		close(n->ports[i].fd);
		n->ports[i].fd = -1;
	}
	return ret;
}

static int join(struct run_net *n, const char *name, struct loader_config *cfg, struct err *e)
{
	struct sched_msg msg = {.nr_pairs = cfg->nr_kthreads, .addr = n->ip, .max_cores = cfg->nr_kthreads};
	struct net_helper_addresses addresses;
	struct sched_error se;
	int other;

	for (int i = 0; i < n->nr_publish; i++)
		if (publish_open(&n->ports[i], e) == -1)
			return -1;
	if (connect_scheduler(n, &other, e) == -1)
		return -1;
	if ((n->private_scheduler || n->nr_publish) && start_helper(n, other, e) == -1)
		return -1;
	snprintf(msg.name, sizeof(msg.name), "%s", name);
	if (sched_client_attach(n->conn, &msg, &n->nic_fd, &se) == -1)
		return scheduler_error(n, se.text, e);
	if (msg.addr.family != AF_INET || msg.gateway.family != AF_INET)
		return err_set(e, "the scheduler gave no IPv4 address; is it of another version?");

	addresses = (struct net_helper_addresses){in_addr_of(&msg.addr), in_addr_of(&msg.gateway), msg.addr.prefix};
	if (n->nr_publish && !n->private_scheduler && !netns_is_neighbour(addresses.instance, addresses.prefix))
		return err_set(e, "--publish %s: the scheduler's network (%s/%u) cannot be reached from here; run it in "
			       "the network namespace of the scheduler's uplink, or give that uplink's interface an "
			       "address", n->publish[0], inet_ntoa(addresses.instance), addresses.prefix);
	if (n->helper.pid && net_helper_go(&n->helper, &addresses, e) == -1)
		return -1;
	cfg->nic_fd = n->nic_fd;
	cfg->net = (struct ctl_net){.region_size = msg.region_size, .addr = msg.addr, .gateway = msg.gateway,
				    .dns = n->dns.family ? n->dns : msg.dns};
	return 0;
}

int run_net_join(struct run_net *n, const char *name, struct loader_config *cfg, struct supervisor_net *hooks,
		 struct err *e)
{
	if (join(n, name, cfg, e) == -1) {
		leave(n);
		return -1;
	}
	*hooks = (struct supervisor_net){
		.started = started,
		.sockets = {n->conn, n->helper.pid ? n->helper.socket : -1},
		.lost = lost,
		.ended = leave,
		.arg = n,
	};
	return 0;
}
