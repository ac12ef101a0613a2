/*
 * protocol.h - between junctiond and the zygote, the process that starts and minds instances.
 *
 * A Unix SOCK_SEQPACKET socket, RUNDIR/zygote.sock, mode 0600. One message a packet: struct zy_msg and behind it
 * `text_len` bytes of strings; file descriptors by SCM_RIGHTS as said. One client at a time, junctiond; when it
 * goes, the zygote goes on and keeps events until the next one has listed everything.
 *
 *   START  name, kthreads, memory, address wish, strings; fd: image (sealed memfd)
 *     ->   STARTED with times, or ERROR; both carry `request`
 *   STOP   instance: SIGTERM, after grace_ms SIGKILL. The end comes as EXITED.
 *   LIST   -> an INSTANCE for each, then END
 *   events, at any time: LISTENING (a port accepts), EXITED (status, reason)
 *
 * After a LIST events wait until END was sent; a client that connects while there are instances, or ends that were
 * not told, hears of events only once it has sent LIST. An instance that has ended is not listed. A malformed packet
 * is answered with ERROR and the end of the connection; what cannot be done, with ERROR (`request`, `instance`). STOP
 * and ADOPT have no other answer than ERROR.
 *
 * What an instance needs to live on when the zygote dies is given to junctiond with STARTED and INSTANCE, and comes
 * back to a new zygote with ADOPT, the message as INSTANCE or STARTED had it (type and request apart): fds pidfd, control memfd, NIC region memfd, scheduler connection (in this order).
 */
#ifndef JUNCTIOND_ZYGOTE_PROTOCOL_H
#define JUNCTIOND_ZYGOTE_PROTOCOL_H

#include <stdint.h>

#include "libos/abi/control.h"

#define ZY_MAGIC 0x3147595a434e554aull
#define ZY_MAX_PACKET (320u << 10)
#define ZY_NAME_MAX 128

enum zy_type {
	ZY_START = 1,
	ZY_STARTED,
	ZY_STOP,
	ZY_LIST,
	ZY_INSTANCE,
	ZY_END,
	ZY_ADOPT,
	ZY_LISTENING,
	ZY_EXITED,
	ZY_ERROR,
	ZY_STATS, /* instance; -> ZY_STATS with memory_used, cpu_ns */
};

struct zy_msg {
	uint64_t magic;
	uint32_t type; /* enum zy_type */
	uint32_t request; /* START, STATS: chosen by junctiond, comes back */
	uint64_t instance; /* junctiond's number of it; never used twice */
	uint32_t nr_kthreads; /* START: 0: what the image says */
	uint32_t guaranteed_cores;
	uint64_t memory; /* limit, bytes; START 0: what the image says, and if that is 0: none */
	struct ctl_addr addr; /* START: wish, family 0: any; STARTED, INSTANCE: what it got */
	int32_t pid; /* STARTED, INSTANCE */
	uint32_t wstatus; /* EXITED: as of wait(2) */
	uint32_t port; /* LISTENING: each that it listens on, once; INSTANCE: the first, 0: none */
	uint32_t grace_ms; /* STOP; 0: SIGKILL at once */
	uint32_t nr_args, nr_env, nr_files; /* START: strings in `text`, see below */
	/*
	 * CLOCK_MONOTONIC ns: asked for (START: may be set by junctiond), NIC attached, process cloned, first
	 * instruction, port accepts. The last two are known only from LISTENING or INSTANCE on.
	 */
	uint64_t asked_ns, attached_ns, cloned_ns, first_ns, listening_ns;
	uint64_t memory_used, cpu_ns;
	char name[ZY_NAME_MAX]; /* function.namespace; names the log too */
	uint32_t text_len;
	/*
	 * text: START: NUL-terminated args (0: the image's), then env K=V, then files: path, NUL, 4 bytes of
	 * length (little-endian), bytes; mode 0600. EXITED, ERROR: one line, what happened.
	 */
};

#endif
