/*
 * supervisor.h - `junction run`: one instance in the foreground.
 */
#ifndef JUNCTION_LOADER_SUPERVISOR_H
#define JUNCTION_LOADER_SUPERVISOR_H

#include "loader/loader.h"

/* Exit status of the runner itself, as with env(1), timeout(1) and docker run. */
#define SUPERVISOR_FAILED 125 /* the runner or the library OS failed, not the program */
#define SUPERVISOR_CANNOT_START 126

/* What the standard streams of this process are. */
struct supervisor_streams {
	uint32_t kind[3]; /* enum ctl_stream_kind */
	bool stderr_is_stdout; /* one open file: bytes must keep their order */
	struct ctl_winsize winsize;
};

enum supervisor_stats { SUPERVISOR_NO_STATS, SUPERVISOR_STATS_TEXT, SUPERVISOR_STATS_JSON };

/* What else lives as long as the instance does: its network. All zero: nothing does. */
struct supervisor_net {
	/*
	 * The instance has been spawned. -1 with a line in `err`: it is killed, and could not be started.
	 */
	int (*started)(void *arg, const struct loader_instance *inst, struct loader_error *err);
	/*
	 * From then on the instance needs the other ends of these sockets (-1: none): it is killed when one
	 * hangs up, and `lost` writes the line that says why.
	 */
	int sockets[2];
	void (*lost)(void *arg, struct loader_error *err);
	/* The instance is dead; called before the supervisor returns, or dies as the program died. */
	void (*ended)(void *arg);
	void *arg;
};

struct supervisor_options {
	enum supervisor_stats stats; /* printed to standard error at the end */
	uint64_t started_ns; /* CLOCK_MONOTONIC at the start of the command */
	uint64_t opened_ns; /* when the image was open */
	uint64_t memory_limit; /* bytes, enforced by killing; 0: none */
	const char *name; /* of the image, for lines to people */
	struct supervisor_net net;
};

/*
 * Looks at file descriptors 0 to 2 and fills holes among them with /dev/null, so that nothing opened
 * later takes the place of a standard stream. Call it before any file is opened.
 */
void supervisor_look_at_streams(struct supervisor_streams *s);

/*
 * Runs an instance to its end with the standard streams connected, signals forwarded. Fills stream
 * kinds, window size and the flags that go with them in `cfg` itself. Returns the status to exit with;
 * with a line in `err` when the fault is not the program's. When the program was killed by a signal,
 * this process kills itself with the same signal and does not return.
 * Takes over signal dispositions of the process; to be called once.
 */
int supervisor_run(struct loader_config *cfg, const struct supervisor_streams *streams,
		   const struct supervisor_options *opt, struct loader_error *err);

#endif
