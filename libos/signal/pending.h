/*
 * pending.h - the queue of pending signals of a thread or a process; pure data, no locks.
 */
#ifndef LIBOS_SIGNAL_PENDING_H
#define LIBOS_SIGNAL_PENDING_H

#include "libos/signal/sigtypes.h"

#define SIGRT_FIRST 32 /* from here on signals queue */

/* Signals that a fault of the thread itself makes: they go before all others. */
#define SIGMASK_SYNC \
	(sigbit(SIGSEGV) | sigbit(SIGBUS) | sigbit(SIGILL) | sigbit(SIGTRAP) | sigbit(SIGFPE) | \
	 sigbit(SIGSYS))
#define SIGMASK_STOP (sigbit(SIGSTOP) | sigbit(SIGTSTP) | sigbit(SIGTTIN) | sigbit(SIGTTOU))
/* Default action: ignore. */
#define SIGMASK_IGNORE (sigbit(SIGCONT) | sigbit(SIGCHLD) | sigbit(SIGWINCH) | sigbit(SIGURG))
#define SIGMASK_UNBLOCKABLE (sigbit(SIGKILL) | sigbit(SIGSTOP))

struct sigqueue {
	struct list_head link;
	struct siginfo_k info;
};

enum sigpending_how {
	SIGPENDING_COALESCED, /* a standard signal that was pending already: q is not used */
	SIGPENDING_OVERRUN, /* a timer's signal that was pending still: counted there */
	SIGPENDING_QUEUE, /* to be queued */
};

void sigpending_init(struct sigpending *p);
/* What has to be done to add this signal. An overrun has been counted when this returns. */
enum sigpending_how sigpending_check(struct sigpending *p, const struct siginfo_k *info);
/* Adds it; q NULL: only the bit, its siginfo is lost. */
void sigpending_add(struct sigpending *p, int sig, struct sigqueue *q);
/* The signal to take next of those in `set`, or 0. */
int sigpending_next(const struct sigpending *p, ksigset_t set);
/*
 * Takes one instance of sig off: its siginfo goes to *info (SI_USER with pid 0 if it was lost).
 * Returns the queue element to be freed, or NULL.
 */
struct sigqueue *sigpending_take(struct sigpending *p, int sig, struct siginfo_k *info);
/* Moves all elements of the signals in set to `dead` and clears their bits; returns how many there
 * were. */
u32 sigpending_flush(struct sigpending *p, ksigset_t set, struct list_head *dead);

#endif
