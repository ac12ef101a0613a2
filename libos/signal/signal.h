/*
 * signal.h - sending and delivering signals; semantics of signal(7).
 */
#ifndef LIBOS_SIGNAL_SIGNAL_H
#define LIBOS_SIGNAL_SIGNAL_H

#include "libos/sched/uthread.h"

struct proc;

/* True if an unblocked signal (or process exit) waits for ut: interruptible sleeps must end. */
static inline bool signal_pending(struct uthread *ut)
{
	return READ_ONCE(ut->work) & (UT_WORK_SIGNAL | UT_WORK_EXIT);
}

/* Sends to a process / one thread. info->signo says which; 0 or -EAGAIN (queue limit, RLIMIT_SIGPENDING). */
int signal_send_proc(struct proc *p, const struct siginfo_k *info);
int signal_send_thread(struct uthread *ut, const struct siginfo_k *info);
/* si_code SI_KERNEL / SI_USER short forms. */
int signal_send_proc_simple(struct proc *p, int sig);
/* A synchronous fault of current(): unblocks, resets an ignored or blocked action to default, as Linux does. */
void signal_force(struct uthread *ut, const struct siginfo_k *info);
/* SIGPIPE to current(). */
void signal_sigpipe(void);
/* From the exit path: delivers what is pending to current(); may change tf, may not return (death). */
void signal_deliver(struct trapframe *tf);
/* Recomputes UT_WORK_SIGNAL of ut from its pending and blocked sets; call with proc->sig_lock. */
void signal_recalc(struct uthread *ut);
/*
 * For ppoll, pselect, sigsuspend, epoll_pwait: installs mask until the call ends; the old mask comes
 * back after a handler has run (or at the end of the call: signal_restore_mask). -EINVAL/-EFAULT.
 */
int signal_set_mask_for_call(u64 uset, size_t sigsetsize);
void signal_restore_mask_if(bool interrupted);
/* A signal from outside the instance (supervisor): called with bits of control.host_signals. */
void signal_from_host(u64 bits);

#endif
