/*
 * action.c - what a process wants done with signals, and what its threads block: rt_sigaction(2),
 * rt_sigprocmask(2), sigaltstack(2), rt_sigpending(2), and the calls that wait for signals.
 */
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/sched/wait.h"
#include "libos/signal/internal.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

/* Flags that Linux knows; others are cleared, so that a program can see what is supported. */
#define SA_KNOWN \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | \
	 SA_RESETHAND | 0x800 /* SA_EXPOSE_TAGBITS */ | SA_RESTORER)

long sys_rt_sigaction(int sig, u64 uact, u64 uold, size_t sigsetsize)
{
	struct proc *p = current_proc();
	struct ksigaction new, old;
	struct list_head dead = LIST_HEAD_INIT(dead);

	if (sigsetsize != sizeof(ksigset_t))
		return -EINVAL;
	if (uact && copy_from_user(&new, (void *)uact, sizeof(new)))
		return -EFAULT;
	if (sig < 1 || sig > NSIG || (uact && sigbit(sig) & SIGMASK_UNBLOCKABLE))
		return -EINVAL;
	spin_lock(&p->sig_lock);
	old = p->actions[sig - 1];
	if (uact) {
		new.flags &= SA_KNOWN;
		new.mask &= ~SIGMASK_UNBLOCKABLE;
		p->actions[sig - 1] = new;
		/* POSIX: what is pending is discarded, blocked or not, when it is now ignored. */
		if (new.handler == SIGACT_IGN ||
		    (new.handler == SIGACT_DFL && (sigbit(sig) & SIGMASK_IGNORE)))
			signal_flush_all(p, sigbit(sig), &dead);
	}
	spin_unlock(&p->sig_lock);
	signal_free_queue(&dead);
	if (uold && copy_to_user((void *)uold, &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

void signal_exec(struct proc *p)
{
	spin_lock(&p->sig_lock);
	for (int i = 0; i < NSIG; i++)
		if (p->actions[i].handler != SIGACT_IGN)
			p->actions[i] = (struct ksigaction){ .handler = SIGACT_DFL };
		else
			p->actions[i] = (struct ksigaction){ .handler = SIGACT_IGN };
	spin_unlock(&p->sig_lock);
	current()->sig.altstack = (struct sigaltstack_k){ .flags = SS_DISABLE };
	current()->sig.restore_saved = false;
}

void signal_set_blocked(ksigset_t mask)
{
	struct uthread *ut = current();
	struct proc *p = ut->proc;
	ksigset_t newly;

	mask &= ~SIGMASK_UNBLOCKABLE;
	if (mask == ut->sig.blocked)
		return;
	spin_lock(&p->sig_lock);
	newly = mask & ~ut->sig.blocked;
	WRITE_ONCE(ut->sig.blocked, mask);
	/* A signal to the process that had been left to us is now for another thread to take. */
	if (newly & p->pending.set)
		signal_retarget(p, ut, newly);
	signal_recalc(ut);
	spin_unlock(&p->sig_lock);
}

long sys_rt_sigprocmask(int how, u64 uset, u64 uold, size_t sigsetsize)
{
	ksigset_t set, old = current()->sig.blocked;

	if (sigsetsize != sizeof(ksigset_t))
		return -EINVAL;
	if (uset) {
		if (get_user_u64(&set, (void *)uset))
			return -EFAULT;
		switch (how) {
		case SIG_BLOCK:
			set = old | set;
			break;
		case SIG_UNBLOCK:
			set = old & ~set;
			break;
		case SIG_SETMASK:
			break;
		default:
			return -EINVAL;
		}
		signal_set_blocked(set);
	}
	if (uold && put_user_u64(old, (void *)uold))
		return -EFAULT;
	return 0;
}

ksigset_t signal_pending_set(void)
{
	struct uthread *ut = current();

	return READ_ONCE(ut->sig.pending.set) | READ_ONCE(ut->proc->pending.set);
}

long sys_rt_sigpending(u64 uset, size_t sigsetsize)
{
	if (sigsetsize > sizeof(ksigset_t))
		return -EINVAL;
	ksigset_t set = signal_pending_set() & current()->sig.blocked;

	return copy_to_user((void *)uset, &set, sigsetsize);
}

bool on_altstack(const struct sigaltstack_k *as, u64 sp)
{
	if (as->flags & SS_AUTODISARM)
		return false;
	return sp > as->sp && sp - as->sp <= as->size;
}

int altstack_set(const struct sigaltstack_k *new, u64 sp)
{
	struct sigaltstack_k *as = &current()->sig.altstack;
	int mode = new->flags & ~SS_AUTODISARM;

	if (on_altstack(as, sp))
		return -EPERM;
	if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE)
		return -EINVAL;
	if (mode == SS_DISABLE) {
		*as = (struct sigaltstack_k){ .flags = new->flags };
		return 0;
	}
	if (new->size < MINSIGSTKSZ_KERNEL)
		return -ENOMEM;
	*as = (struct sigaltstack_k){ .sp = new->sp, .flags = new->flags, .size = new->size };
	return 0;
}

long sys_sigaltstack(u64 unew, u64 uold)
{
	struct sigaltstack_k *as = &current()->sig.altstack, new, old;
	u64 sp = uthread_tf(current())->rsp;
	int r;

	if (unew && copy_from_user(&new, (void *)unew, sizeof(new)))
		return -EFAULT;
	old = (struct sigaltstack_k){ .sp = as->sp, .size = as->size };
	old.flags = as->flags & SS_AUTODISARM;
	if (!as->size)
		old.flags |= SS_DISABLE;
	else if (on_altstack(as, sp))
		old.flags |= SS_ONSTACK;
	if (unew) {
		r = altstack_set(&new, sp);
		if (r)
			return r;
	}
	if (uold && copy_to_user((void *)uold, &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

static void set_saved_mask(ksigset_t set)
{
	struct uthread *ut = current();

	ut->sig.saved_mask = ut->sig.blocked;
	ut->sig.restore_saved = true;
	signal_set_blocked(set);
}

int signal_set_mask_for_call(u64 uset, size_t sigsetsize)
{
	ksigset_t set;

	if (!uset)
		return 0;
	if (sigsetsize != sizeof(ksigset_t))
		return -EINVAL;
	if (get_user_u64(&set, (void *)uset))
		return -EFAULT;
	set_saved_mask(set);
	return 0;
}

void signal_restore_mask_if(bool interrupted)
{
	struct uthread *ut = current();

	if (!ut->sig.restore_saved)
		return;
	if (interrupted) {
		/* signal_deliver() needs the mask of the call to choose, and then restores it. */
		uthread_set_work(ut, UT_WORK_SIGNAL);
		return;
	}
	ut->sig.restore_saved = false;
	signal_set_blocked(ut->sig.saved_mask);
}

static void wait_for_signal(void)
{
	for (;;) {
		uthread_prepare(UT_INTERRUPTIBLE);
		if (signal_pending(current()))
			break;
		uthread_schedule(NEVER);
	}
	uthread_running();
}

long sys_pause(void)
{
	wait_for_signal();
	return -ERESTARTNOHAND;
}

long sys_rt_sigsuspend(u64 uset, size_t sigsetsize)
{
	ksigset_t set;

	if (sigsetsize != sizeof(ksigset_t))
		return -EINVAL;
	if (get_user_u64(&set, (void *)uset))
		return -EFAULT;
	set_saved_mask(set);
	wait_for_signal();
	return -ERESTARTNOHAND;
}

int signal_dequeue(ksigset_t set, struct siginfo_k *info)
{
	struct uthread *ut = current();
	struct proc *p = ut->proc;
	struct sigqueue *q = NULL;
	int sig;

	spin_lock(&p->sig_lock);
	sig = signal_take(ut, set & ~SIGMASK_UNBLOCKABLE, info, &q);
	signal_recalc(ut);
	spin_unlock(&p->sig_lock);
	signal_free(q);
	return sig;
}

/*
 * rt_sigtimedwait(2). While it sleeps, wait_set makes the signals count as unblocked for senders,
 * though they are not delivered.
 */
long sys_rt_sigtimedwait(u64 uset, u64 uinfo, u64 uts, size_t sigsetsize)
{
	struct uthread *ut = current();
	struct proc *p = ut->proc;
	struct timespec_k ts;
	struct siginfo_k info;
	u64 deadline = NEVER;
	ksigset_t set;
	int sig;

	if (sigsetsize != sizeof(ksigset_t))
		return -EINVAL;
	if (get_user_u64(&set, (void *)uset))
		return -EFAULT;
	if (uts) {
		if (copy_from_user(&ts, (void *)uts, sizeof(ts)))
			return -EFAULT;
		if (!timespec_valid(&ts))
			return -EINVAL;
		deadline = deadline_after(clock_monotonic_ns(), timespec_to_ns(&ts));
	}
	set &= ~SIGMASK_UNBLOCKABLE;
	sig = signal_dequeue(set, &info);
	if (!sig && !(uts && !ts.sec && !ts.nsec)) {
		bool timed_out = false, interrupted;

		spin_lock(&p->sig_lock);
		ut->sig.wait_set = set;
		signal_recalc(ut);
		spin_unlock(&p->sig_lock);
		uthread_prepare(UT_INTERRUPTIBLE);
		if (!signal_pending(ut))
			timed_out = uthread_schedule(deadline);
		uthread_running();
		interrupted = !timed_out;
		spin_lock(&p->sig_lock);
		ut->sig.wait_set = 0;
		spin_unlock(&p->sig_lock);
		sig = signal_dequeue(set, &info);
		if (!sig)
			return interrupted ? -EINTR : -EAGAIN;
	}
	if (!sig)
		return -EAGAIN;
	if (uinfo && copy_to_user((void *)uinfo, &info, sizeof(info)))
		return -EFAULT;
	return sig;
}
