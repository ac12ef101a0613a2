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

/*
 * Sends to a process / one thread. info->signo says which; 0 or -EAGAIN (queue limit,
 * RLIMIT_SIGPENDING). From any context that holds none of proc->lock, proc->sig_lock,
 * uthread.slock.
 */
int signal_send_proc(struct proc *p, const struct siginfo_k *info);
int signal_send_thread(struct uthread *ut, const struct siginfo_k *info);
/* si_code SI_KERNEL / SI_USER short forms. */
int signal_send_proc_simple(struct proc *p, int sig);
/* A synchronous fault of current(): unblocks, resets an ignored or blocked action to default, as
 * Linux does. */
void signal_force(struct uthread *ut, const struct siginfo_k *info);
/* SIGPIPE to current(). */
void signal_sigpipe(void);
/* From the exit path: delivers what is pending to current(); may change tf, may not return (death).
 */
void signal_deliver(struct trapframe *tf);
/*
 * Recomputes UT_WORK_SIGNAL of ut from its pending and blocked sets; call with proc->sig_lock. Only
 * for ut == current(): another thread's flag may only be set (see send.c).
 */
void signal_recalc(struct uthread *ut);
/*
 * For ppoll, pselect, sigsuspend, epoll_pwait: installs mask until the call ends; the old mask
 * comes back after a handler has run (or at the end of the call: signal_restore_mask).
 * -EINVAL/-EFAULT.
 */
int signal_set_mask_for_call(u64 uset, size_t sigsetsize);
/* At the end of such a call, without harm if it set no mask. interrupted: it ends because of a
 * signal. */
void signal_restore_mask_if(bool interrupted);
/* Sets the mask of current(). */
void signal_set_blocked(ksigset_t mask);
/* A signal from outside the instance (supervisor): called with bits of control.host_signals. */
void signal_from_host(u64 bits);

/*
 * For signalfd: takes one signal of `set` that is pending for current() or its process; its number,
 * or 0. Readers wait on proc->signalfd_wait and look again with signal_pending_set().
 */
int signal_dequeue(ksigset_t set, struct siginfo_k *info);
ksigset_t signal_pending_set(void);
/* execve: handlers are gone, what is ignored stays ignored; no alternate stack. */
void signal_exec(struct proc *p);
/* What a handler must at least have of stack, bytes, for AT_MINSIGSTKSZ. */
u64 signal_min_stack(void);

/* proc/exit.c: ut has left its process; with proc->lock and sig_lock. */
void signal_thread_exit(struct uthread *ut);
/* proc/clone.c: the signal state of a new thread of current()'s process. */
void signal_thread_init(struct uthread *child, const struct uthread *parent, bool keep_altstack);

#endif
