/*
 * ending.h - how an instance came to its end.
 */
#ifndef JUNCTION_LOADER_ENDING_H
#define JUNCTION_LOADER_ENDING_H

#include "loader/loader.h"

enum loader_how {
	LOADER_EXITED, /* value: the program's exit status */
	LOADER_SIGNALED, /* value: the signal that killed the program */
	LOADER_NOT_STARTED, /* it died before it entered the library OS */
	LOADER_FORBIDDEN, /* it made a host system call that the filter does not allow; value: SIGSYS */
	LOADER_KILLED, /* from outside; value: SIGKILL */
	LOADER_BROKEN, /* the library OS failed */
};

struct loader_ending {
	enum loader_how how;
	int value;
};

/* wstatus of a process that somebody else has reaped. */
#define LOADER_NO_WSTATUS (-1)

/*
 * To be called once the process is dead. Where the fault is not the program's (all but the first two), one line
 * in `text` says what happened.
 */
void loader_ended(const struct loader_instance *inst, int wstatus, struct loader_ending *end,
		  struct loader_error *text);

#endif
