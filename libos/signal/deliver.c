/*
 * deliver.c - signals on the way to user mode: default actions, handlers, and what becomes of the
 * system call that they interrupted.
 *
 * Restarting. Linux makes a call again by moving rip back over the SYSCALL instruction. Behind a
 * rewritten site there is no such instruction to go back to, so the library OS makes the call again
 * itself: at once if no handler runs, else when sigreturn finds the mark that frame.c left in the
 * frame.
 */
#include "libos/mm/mm.h"
#include "libos/proc/proc.h"
#include "libos/signal/internal.h"
#include "libos/signal/signal.h"
#include "libos/syscall/syscall.h"

static bool must_stop(struct proc *p)
{
	return READ_ONCE(p->stopped) && !(READ_ONCE(current()->work) & UT_WORK_EXIT);
}

/* All threads stop here until SIGCONT or SIGKILL, or until another one replaces the program. */
static void stop(struct proc *p)
{
	while (must_stop(p)) {
		uthread_prepare(UT_STOPPED);
		if (must_stop(p))
			uthread_schedule(NEVER);
		uthread_running();
	}
}

static void start_stop(struct proc *p, int sig)
{
	struct uthread *t;

	WRITE_ONCE(p->stopped, sig);
	list_for_each_entry(t, &p->threads, proc_link) {
		uthread_set_work(t, UT_WORK_SIGNAL);
		if (t != current())
			uthread_kick(t);
	}
}

/* The next signal that has a handler, with its action; 0 if there is none. Default actions happen
 * here. */
static int get_signal(struct siginfo_k *info, struct ksigaction *action)
{
	struct uthread *ut = current();
	struct proc *p = ut->proc;
	struct sigqueue *q;
	int sig;

	spin_lock(&p->sig_lock);
	for (;;) {
		if (must_stop(p)) {
			spin_unlock(&p->sig_lock);
			stop(p);
			spin_lock(&p->sig_lock);
			continue;
		}
		/* SIGKILL is no matter of order */
		if ((ut->sig.pending.set | p->pending.set) & sigbit(SIGKILL)) {
			spin_unlock(&p->sig_lock);
			proc_exit_group(SIGKILL);
		}
		sig = signal_take(ut, ~ut->sig.blocked, info, &q);
		if (!sig)
			break;
		signal_free(q);
		*action = p->actions[sig - 1];
		if (action->handler == SIGACT_IGN)
			continue;
		if (action->handler != SIGACT_DFL) {
			if (action->flags & SA_RESETHAND)
				p->actions[sig - 1].handler = SIGACT_DFL;
			break;
		}
		if (sigbit(sig) & SIGMASK_IGNORE)
			continue;
		if (sigbit(sig) & SIGMASK_STOP) {
			start_stop(p, sig);
			continue;
		}
		spin_unlock(&p->sig_lock);
		if (this_kthread()->trace)
			strace_signal(info, "killed");
		proc_exit_group(sig); /* no core is written: no WCOREFLAG */
	}
	signal_recalc(ut);
	spin_unlock(&p->sig_lock);
	return sig;
}

static bool in_syscall(const struct trapframe *tf)
{
	return (s64)tf->orig_rax >= 0;
}

/* Linux's force_sigsegv(): the frame of `sig` could not be written. */
static void frame_failed(int sig)
{
	struct siginfo_k info = { .signo = SIGSEGV, .code = SI_CODE_KERNEL };
	struct proc *p = current_proc();

	if (sig == SIGSEGV) {
		spin_lock(&p->sig_lock);
		p->actions[SIGSEGV - 1].handler = SIGACT_DFL;
		spin_unlock(&p->sig_lock);
	}
	signal_force(current(), &info);
}

static void run_handler(struct trapframe *tf, int sig, const struct siginfo_k *info,
			const struct ksigaction *action)
{
	struct uthread *ut = current();
	struct sigframe_request rq = {
		.sig = sig,
		.info = info,
		.action = action,
		.in_syscall = in_syscall(tf),
		.mask = ut->sig.restore_saved ? ut->sig.saved_mask : ut->sig.blocked,
	};
	ksigset_t mask;

	if (rq.in_syscall) {
		switch ((s64)tf->rax) {
		case -ERESTARTSYS:
			rq.restart = action->flags & SA_RESTART;
			break;
		case -ERESTARTNOINTR:
			rq.restart = true;
			break;
		case -ERESTARTNOHAND:
		case -ERESTART_RESTARTBLOCK:
			break;
		default:
			goto frame; /* it is done */
		}
		if (!rq.restart)
			tf->rax = -EINTR;
	}
frame:
	if (ut->rseq.uaddr)
		rseq_exit_work(tf);
	if (!signal_setup_frame(tf, &rq)) {
		frame_failed(sig);
		return;
	}
	tf->orig_rax = (u64)-1;
	ut->sig.restore_saved = false;
	mask = ut->sig.blocked | action->mask;
	if (!(action->flags & SA_NODEFER))
		mask |= sigbit(sig);
	signal_set_blocked(mask);
}

static long call_again(struct trapframe *tf)
{
	if (this_kthread()->trace)
		syscall_dispatch_traced(tf);
	else
		syscall_dispatch(tf);
	return tf->rax;
}

long signal_restart_syscall(struct trapframe *tf)
{
	return call_again(tf);
}

void signal_deliver(struct trapframe *tf)
{
	struct uthread *ut = current();
	struct siginfo_k info;
	struct ksigaction action;
	int sig = get_signal(&info, &action);

	if (sig) {
		if (this_kthread()->trace)
			strace_signal(&info, "handler");
		run_handler(tf, sig, &info, &action);
		return;
	}
	if (ut->sig.restore_saved) {
		ut->sig.restore_saved = false;
		signal_set_blocked(ut->sig.saved_mask);
	}
	if (!in_syscall(tf))
		return;
	switch ((s64)tf->rax) {
	case -ERESTART_RESTARTBLOCK:
		tf->orig_rax = 219; /* restart_syscall */
		break;
	case -ERESTARTSYS:
	case -ERESTARTNOINTR:
	case -ERESTARTNOHAND:
		break;
	default:
		return;
	}
	call_again(tf);
}

static long no_restart(struct uthread *ut)
{
	return -EINTR;
}

long sys_restart_syscall(void)
{
	struct uthread *ut = current();
	long (*fn)(struct uthread *) = ut->restart_fn ? ut->restart_fn : no_restart;

	return fn(ut);
}
