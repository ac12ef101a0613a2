/*
 * zygote.h - what the files of the zygote share: its instances, its one client, its loop.
 *
 *   main.c      options, the loop
 *   client.c    the socket, junctiond at its other end: messages in and out, lists, events that wait
 *   start.c     START: image, NIC, process
 *   instance.c  an instance from then on: output, ports, memory, stop, end; ADOPT
 *   logfile.c   its log
 *
 * One thread does everything but wait for doorbells (scheduler/doorbell.c). Whatever an instance can write (its
 * control region) is hostile.
 */
#ifndef JUNCTIOND_ZYGOTE_ZYGOTE_H
#define JUNCTIOND_ZYGOTE_ZYGOTE_H

#include "junctiond/scheduler/client.h"
#include "junctiond/scheduler/doorbell.h"
#include "junctiond/scheduler/log.h"
#include "junctiond/zygote/logfile.h"
#include "junctiond/zygote/protocol.h"
#include "loader/loader.h"
#include "loader/ring.h"

#define ZY_MAX_INSTANCES DOORBELL_MAX
/* In the order of the protocol. */
enum zy_fd { ZY_FD_PIDFD, ZY_FD_CONTROL, ZY_FD_NIC, ZY_FD_SCHED, ZY_NR_FDS };

struct zy_config {
	const char *logdir;
	const char *scheduler; /* path of its socket */
};
extern struct zy_config config;

/* Why the zygote itself ended an instance. */
enum zy_verdict { ZY_NO_VERDICT, ZY_OVER_MEMORY, ZY_BROKE_RINGS, ZY_NO_SCHEDULER, ZY_TOO_SLOW };

struct instance {
	uint64_t number; /* junctiond's */
	uint32_t slot, generation;
	struct loader_instance proc; /* adopted: without report */
	int nic_fd, sched_fd;
	bool adopted; /* another process's child: nobody here can wait for it */
	bool dead; /* only its end remains to be told */
	enum zy_verdict verdict;
	struct ring_end out[LOG_NR_STREAMS];
	struct logfile log;
	uint64_t part_since_ns; /* when its unfinished line was seen first */
	uint64_t memory_limit, check_at_ns, check_every_ns;
	uint64_t kill_at_ns; /* STOP's grace ends; 0: no STOP */
	uint16_t ports[CTL_MAX_PORTS];
	uint16_t nr_ports, nr_told;
	struct zy_msg about; /* as INSTANCE says it; EXITED once dead */
	char text[256]; /* EXITED: what happened */
};

/* What a descriptor of the epoll set is. */
enum zy_kind { ZK_LISTEN, ZK_CLIENT, ZK_SIGNAL, ZK_DOORBELL, ZK_PROCESS, ZK_SCHED };

/* main.c. -1 with errno. */
int loop_watch(int fd, enum zy_kind kind, const struct instance *in, uint32_t events);
void loop_unwatch(int fd);
/* instance_tick() is called at that time, or before. */
void loop_wake_at(uint64_t ns);

/* instance.c. The i-th slot's, or NULL. */
struct instance *instance_at(uint32_t slot);
uint32_t instance_slots(void); /* beyond the last one in use */
struct instance *instance_find(uint64_t number);
uint32_t instance_living(void);
/* A slot for it, with its log; NULL with a line in err. */
struct instance *instance_new(uint64_t number, const char *name, struct loader_error *err);
/* It runs: watched from now on. -1 with a line in err; the caller ends it. */
int instance_watch(struct instance *in, struct loader_error *err);
/* Closes all that it has, and frees the slot. Its process is dead and reaped, or never was. */
void instance_free(struct instance *in);
/* Descriptors in the order of the protocol. Takes them over; -1 with a line in err, and they are the caller's. */
struct instance *instance_adopt(const struct zy_msg *msg, const int fds[ZY_NR_FDS], struct loader_error *err);
void instance_stop(struct instance *in, uint32_t grace_ms);
void instance_usage(struct instance *in, struct zy_msg *msg);
/* Events of the loop. */
void instance_rang(void *in);
void instance_ended(struct instance *in);
void instance_lost_scheduler(struct instance *in);
/* Limits, graces, unfinished lines. Asks loop_wake_at() for its next call. */
void instance_tick(uint64_t now);
/* All are stopped; true when none is left. */
bool instance_stop_all(uint32_t grace_ms);

/* start.c. The instance runs and is watched, or NULL with a line in err. Takes image_fd over. */
struct instance *start_instance(const struct zy_msg *msg, char *text, int image_fd, struct loader_error *err);
/* Prepares what the next start needs. */
void start_prepare(void);
/* The instance has come so far that the next start can be prepared after it, if it was the last that was started. */
void start_learn(const struct instance *in);
/* msg->name is FUNCTION.NAMESPACE, and both are fit to be names of files. */
bool name_is_good(const char *name);

/* client.c */
int client_listen(const char *path, struct loader_error *err);
void client_close_socket(void);
void client_accept(void);
void client_event(uint32_t events);
/* Something is to be told of it: now, or when the client takes it. The instance may be gone after that. */
void client_tell(struct instance *in);

#endif
