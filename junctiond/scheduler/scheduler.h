/*
 * scheduler.h - the scheduler process: what its parts share.
 *
 *   main.c      options, EAL, start and stop                loop.c     one turn: uplink, queues, cores, control
 *   port.c      DPDK uplink ports by name                   switch.c   where a frame goes, and may go
 *   vring.c     device side of one virtqueue (hostile ring) instance.c attach, start, detach
 *   control.c   the control socket                          cores.c    grants, preemption, agents
 *   policy.c    pure: who shall have which core             agent.c    core agents
 *   fault.c     seeded loss, reordering ...                 pcap.c     capture
 *   frame.c     headers of a frame; pure                    segment.c  segmentation, checksums
 *   uplink.c    switch: frames from the uplink            gro.c      segments put together; pure
 *   backlog.c   frames that wait for receive buffers
 *   doorbell.c  threads that wait for doorbells             stats.c    the counters' memory
 *   rules.c     which instances may talk                    log.c, clock.c
 *
 * One thread, the polling one, owns all of it; helpers (agents, doorbell waiters) touch only what is said.
 */
#ifndef JUNCTION_SCHEDULER_SCHEDULER_H
#define JUNCTION_SCHEDULER_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "junctiond/scheduler/stats.h"
#include "libos/abi/control.h"
#include "libos/abi/nic.h"

struct vring; /* vring.h */
struct cores_instance; /* cores.c's own state of an instance */

struct instance {
	uint32_t id; /* slot + 1 */
	int conn_fd, pidfd; /* -1: none */
	pid_t pid; /* in our pid namespace; 0: not started */
	uint32_t nr_pairs;
	struct nic_region *region; /* our mapping: everything in it may be hostile */
	size_t region_size;
	struct control *control; /* NULL before START; hostile */
	pid_t tids[CTL_MAX_KTHREADS]; /* of its kthreads, in our pid namespace */
	uint8_t mac[6];
	struct ctl_addr addr;
	uint32_t guaranteed_cores, max_cores, weight;
	uint64_t allow_left, allow_right; /* rules of --allow whose left, right side it matches */
	struct vring *rx[NIC_MAX_PAIRS], *tx[NIC_MAX_PAIRS];
	struct sstats_instance *stats;
	struct cores_instance *cores;
	bool active; /* its transmit queues are polled */
	uint32_t active_index; /* in the list of active ones */
	uint32_t next_tx; /* queue pair whose transmit ring is looked at first */
	bool stopped; /* its rings were bad: no packet goes in or out any more */
};

struct scheduler_config {
	const char *uplink; /* tap:NAME, af_xdp:IFACE, pci:ADDR; NULL: none */
	const char *socket;
	int client_fd; /* -1: none; serve this connection alone, and end with it */
	const char *pcap;
	const char *fault;
	bool dedicated;
	int own_core; /* -1: any */
	uint32_t nr_cores;
	int cores[SSTATS_MAX_CORES]; /* managed ones, dedicated mode */
	struct ctl_addr net, gateway, dns; /* net: prefix of the instances' addresses */
	bool allow_all; /* instances may talk to one another */
	uint32_t mtu;
	uint32_t nr_buffers; /* of an instance's region */
	uint64_t pcap_limit; /* bytes of the file */
};

extern struct scheduler_config config;
extern struct sstats *sstats;

/* CLOCK_MONOTONIC in ns, from the TSC: cheap. */
uint64_t now_ns(void);

/*
 * The data path's list of instances whose transmit queues may hold something: those that hold a core, or
 * that rang. loop.c drains an instance once more after it left the list and asks for its doorbell.
 */
void loop_activate(struct instance *in);
void loop_deactivate(struct instance *in);

/* cores.c, called by the polling thread only. -1 with errno. */
int cores_init(void);
void cores_exit(void);
int cores_attach(struct instance *in); /* at START: its kthread 0 runs already */
void cores_detach(struct instance *in);
/* Packets went into receive queue `pair` and the driver wants an event: see that a kthread runs. */
void cores_rx(struct instance *in, uint32_t pair, uint64_t now);
/* Its doorbell rang (adaptive mode, or `wanted` was raised): look at its words. */
void cores_doorbell(struct instance *in, uint64_t now);
/* Once a turn of the loop: park words of active instances, timers, policy every few us. True: did something. */
bool cores_tick(uint64_t now);
/* When it must be called again at the latest, though nothing happens; UINT64_MAX: never. */
uint64_t cores_deadline(void);

#endif
