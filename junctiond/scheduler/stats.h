/*
 * stats.h - what the scheduler counts, in shared memory that others may only read (`junction top`).
 *
 * Written by the scheduler alone with plain 64-bit stores; a reader sees each counter whole, not all of them
 * at one moment. A slot is in use while `id` is not 0; `generation` changes when it is taken anew.
 */
#ifndef JUNCTION_SCHEDULER_STATS_H
#define JUNCTION_SCHEDULER_STATS_H

#include <stdint.h>

#define SSTATS_MAGIC 0x3153544154534a00ull
#define SSTATS_VERSION 1
#define SSTATS_MAX_INSTANCES 8192u
#define SSTATS_MAX_CORES 256u

/* Why a packet was dropped: one counter each. */
#define SSTATS_DROPS(D) \
	D(MALFORMED, "malformed frame") \
	D(SRC_MAC, "forged source MAC") \
	D(SRC_IP, "forged source IP") \
	D(ARP, "forged or useless ARP") \
	D(NO_ROUTE, "no such destination") \
	D(NOT_ALLOWED, "instance to instance, not allowed") \
	D(BROADCAST, "broadcast or multicast") \
	D(PROTOCOL, "not IPv4 or ARP") \
	D(RX_FULL, "no receive buffers at the destination") \
	D(UPLINK_FULL, "uplink queue full") \
	D(NO_MBUF, "out of packet buffers") \
	D(STOPPED, "queue pair stopped") \
	D(FAULT, "fault injection")

enum sstats_drop {
#define D(name, text) SDROP_##name,
	SSTATS_DROPS(D)
#undef D
	SDROP_NR
};

struct sstats_instance {
	uint32_t id; /* 0: free slot */
	uint32_t generation;
	char name[64];
	int32_t pid;
	uint32_t nr_pairs;
	uint8_t mac[6];
	uint8_t addr_len;
	uint8_t stopped; /* a queue pair was stopped for its contents */
	uint8_t addr[16];
	char stop_reason[64];
	uint64_t cores; /* held now */
	uint64_t rx_packets, rx_bytes; /* to the instance */
	uint64_t tx_packets, tx_bytes; /* from it */
	uint64_t drops[SDROP_NR]; /* of packets from it, or for it */
	uint64_t wakes, preemptions, core_ns; /* grants after parking; forced; time that it held cores (adaptive: CPU time) */
	uint64_t queue_delay_ns; /* oldest runnable uthread or packet at the last look */
	uint64_t wake_ns_p50, wake_ns_p99; /* from "wants a core" to running, over the recent ones */
	uint64_t spare[8];
};

struct sstats {
	uint64_t magic;
	uint32_t version, max_instances;
	uint64_t started_ns, updated_ns; /* CLOCK_MONOTONIC */
	uint32_t pid, poll_mode; /* 0 adaptive, 1 dedicated */
	uint32_t nr_cores, nr_instances;
	char uplink[64];
	uint64_t loops, busy_loops, sleeps;
	uint64_t loop_cycles, tsc_hz; /* cycles in loops that found nothing to do: cost of one = loop_cycles / (loops - busy_loops) */
	uint64_t uplink_rx_packets, uplink_rx_bytes, uplink_tx_packets, uplink_tx_bytes;
	uint64_t drops[SDROP_NR];
	uint64_t fault_dup, fault_reorder, fault_corrupt, fault_delay; /* frames; the lost ones are in drops */
	uint32_t core_instance[SSTATS_MAX_CORES]; /* who holds it; 0: idle */
	struct sstats_instance instances[SSTATS_MAX_INSTANCES];
};

#endif
