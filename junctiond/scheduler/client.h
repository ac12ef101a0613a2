/*
 * client.h - the other end of the scheduler's socket: attach an instance, read the statistics.
 *
 * Every function returns 0 (or a descriptor) or -1 with one line in `err`: what is wrong, what to
 * do. All descriptors are close-on-exec. No answer is waited for longer than
 * SCHED_CLIENT_TIMEOUT_MS.
 */
#ifndef JUNCTION_SCHEDULER_CLIENT_H
#define JUNCTION_SCHEDULER_CLIENT_H

#include <stddef.h>

#include "junctiond/scheduler/protocol.h"
#include "junctiond/scheduler/stats.h"

#define SCHED_CLIENT_TIMEOUT_MS 10000

struct sched_error {
	char text[512]; /* no newline */
};

/*
 * Where the scheduler listens: `path`, else $JUNCTION_SCHEDULER, else the default of root or of
 * this user. Written to buf. -1: there is no such place (no $XDG_RUNTIME_DIR), or it is longer than
 * a socket's name.
 */
int sched_client_path(const char *path, char *buf, size_t size, struct sched_error *err);

/* Connects; path NULL: as sched_client_path() finds it. Returns the connection. */
int sched_client_connect(const char *path, struct sched_error *err);

/*
 * Asks for a NIC. *msg holds name, nr_pairs, addr (family 0: any), cores and weight; magic and type
 * are set here. On success *msg is the answer (ATTACHED) and *region_fd the memfd of the NIC
 * region.
 */
int sched_client_attach(int fd, struct sched_msg *msg, int *region_fd, struct sched_error *err);

/* The instance runs: its control region and its pidfd. Both stay the caller's. Keep fd open for its
 * life. */
int sched_client_start(int fd, int control_fd, int pidfd, struct sched_error *err);

/* Maps the statistics, read-only, at *stats; sched_client_stats_unmap() gives them back. */
int sched_client_stats(int fd, const struct sstats **stats, struct sched_error *err);
void sched_client_stats_unmap(const struct sstats *stats);

#endif
