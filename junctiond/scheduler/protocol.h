/*
 * protocol.h - the control socket of the scheduler: how instances get a NIC, and how people look inside.
 *
 * A Unix SOCK_SEQPACKET socket, mode 0600. One message a packet: struct sched_msg, with file descriptors by
 * SCM_RIGHTS as said. The scheduler checks every field; a bad message is answered with an error and the
 * connection is closed. Texts are NUL-terminated.
 *
 *   client                                         scheduler
 *   ATTACH {name, pairs, ip wish, cores}  ----->   address and NIC region made
 *                                         <-----   ATTACHED {mac, ip, ...} + fd of the region
 *   (spawns the instance with the region)
 *   START {} + fds: control memfd, pidfd  ----->   the instance is known, its queues are polled
 *                                         <-----   STARTED
 *   ... the connection stays open for the instance's life ...
 *   close, or death of the pidfd           ----->  detached: region unmapped, address free again
 *
 *   STATS {}                               ----->
 *                                         <-----   STATS + fd of the statistics (stats.h), read-only
 */
#ifndef JUNCTION_SCHEDULER_PROTOCOL_H
#define JUNCTION_SCHEDULER_PROTOCOL_H

#include <stdint.h>

#include "libos/abi/control.h"

#define SCHED_MAGIC 0x3144484353434e4aull
#define SCHED_NAME_MAX 64
#define SCHED_TEXT_MAX 256

enum sched_msg_type {
	SCHED_ATTACH = 1,
	SCHED_ATTACHED,
	SCHED_START,
	SCHED_STARTED,
	SCHED_STATS,
	SCHED_ERROR, /* text says what is wrong and what to do */
};

struct sched_msg {
	uint64_t magic;
	uint32_t type; /* enum sched_msg_type */
	uint32_t nr_pairs; /* ATTACH: kthreads of the instance */
	struct ctl_addr addr; /* ATTACH: wish, family 0: any; ATTACHED: given */
	struct ctl_addr gateway, dns; /* ATTACHED */
	uint8_t mac[6]; /* ATTACHED */
	uint16_t mtu;
	uint64_t region_size; /* ATTACHED */
	uint32_t guaranteed_cores, max_cores; /* ATTACH */
	uint32_t weight; /* ATTACH: fair share, 0: 1 */
	uint32_t instance_id; /* ATTACHED: as in the statistics */
	char name[SCHED_NAME_MAX]; /* ATTACH */
	char text[SCHED_TEXT_MAX]; /* ERROR */
};

/* Where the scheduler listens if nothing else is said: root, others. %s: $XDG_RUNTIME_DIR */
#define SCHED_SOCKET_ENV "JUNCTION_SCHEDULER"
#define SCHED_SOCKET_ROOT "/run/junction/scheduler.sock"
#define SCHED_SOCKET_USER "%s/junction/scheduler.sock"

#endif
