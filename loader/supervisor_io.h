/*
 * supervisor_io.h - standard streams of an instance: rings on one side, file descriptors on the other.
 */
#ifndef JUNCTION_LOADER_SUPERVISOR_IO_H
#define JUNCTION_LOADER_SUPERVISOR_IO_H

#include <pthread.h>

#include "loader/ring.h"
#include "loader/supervisor.h"

enum sio_out { SIO_STDOUT, SIO_STDERR, SIO_LOG, SIO_NR_OUT };

/* Bits of the poller's request. */
#define SIO_POLL_STDIN 1u
#define SIO_POLL_STDOUT 2u
#define SIO_POLL_STDERR 4u

struct sio_stream {
	struct ring_end ring;
	int fd;
	bool regular; /* a write does not wait for anybody */
	bool blocked; /* until the poller says otherwise */
	int error; /* errno that closed it; what comes later is thrown away */
};

struct sio {
	struct control *control;
	int pidfd;
	struct sio_stream out[SIO_NR_OUT];
	struct ring_end in;
	uint32_t in_kind;
	/* A thread that polls what could not be read or written; made when first needed. */
	pthread_t poller;
	bool has_poller;
	int poller_event; /* eventfd: the request has grown */
	uint32_t poller_request; /* SIO_POLL_*, atomic */
	bool must_retry; /* there is no poller: look again in a while */
};

void sio_init(struct sio *io, struct loader_instance *inst, const struct supervisor_streams *streams);

/*
 * Moves what can be moved without waiting. Returns 1 when something moved, 0 when not, -1 when the
 * instance broke the protocol of a ring.
 */
int sio_pump(struct sio *io);

/* The instance is dead: are there bytes left in the rings that somebody may still take? */
bool sio_has_output(const struct sio *io);

/* The instance is dead: writes out what is left in the rings, waiting as long as the readers need. */
void sio_drain(struct sio *io);

#endif
