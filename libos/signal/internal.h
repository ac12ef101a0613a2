/*
 * internal.h - between the files of signal/.
 */
#ifndef LIBOS_SIGNAL_INTERNAL_H
#define LIBOS_SIGNAL_INTERNAL_H

#include <linux/signal.h>
#undef NSIG
#define NSIG 64

#include "libos/proc/proc.h"
#include "libos/signal/pending.h"

/* ksigaction.handler */
#define SIGACT_DFL 0ull
#define SIGACT_IGN 1ull

#define SI_CODE_USER 0
#define SI_CODE_KERNEL 0x80
#define SI_CODE_TKILL (-6)

#define MINSIGSTKSZ_KERNEL 2048

/* All with proc->sig_lock. */

/* Takes the next signal of `set` of ut or its process; number or 0. *q is to be freed by
 * signal_free(). */
int signal_take(struct uthread *ut, ksigset_t set, struct siginfo_k *info, struct sigqueue **q);
/* Drops these signals from the queues of the process and of its threads. */
void signal_flush_all(struct proc *p, ksigset_t set, struct list_head *dead);
/* Other threads than ut look at the pending signals of the process that are in `which`. */
void signal_retarget(struct proc *p, struct uthread *ut, ksigset_t which);

/* Without it. */
void signal_free(struct sigqueue *q);
void signal_free_queue(struct list_head *dead);

/* action.c */
bool on_altstack(const struct sigaltstack_k *as, u64 sp);
/* sigaltstack(2) with the stack pointer sp. */
int altstack_set(const struct sigaltstack_k *new, u64 sp);

/* deliver.c: makes the system call tf->orig_rax; its value. */
long signal_restart_syscall(struct trapframe *tf);

/* frame.c: what of a signal frame is to be done besides saving tf; see signal_setup_frame(). */
struct sigframe_request {
	int sig;
	const struct siginfo_k *info;
	const struct ksigaction *action;
	ksigset_t mask; /* to be restored by sigreturn */
	bool in_syscall; /* tf->rip is behind a system call instruction */
	bool restart; /* and sigreturn is to make the call again */
};
/* Writes the frame and points tf to the handler. False: the stack cannot be written. */
bool signal_setup_frame(struct trapframe *tf, const struct sigframe_request *rq);

#endif
