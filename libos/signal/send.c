/*
 * send.c - making signals pending, and finding the thread that is to take them.
 *
 * Invariants
 *   - proc->sig_lock guards the actions, all pending queues, wait_set and the masks (which only
 * their own thread writes). Lists of threads change with proc->lock and sig_lock held, so sig_lock
 * is enough to walk them.
 *   - UT_WORK_SIGNAL of a thread is set, under sig_lock, by whoever makes a signal takeable for it:
 * a sender that chose it, its own mask change. It is cleared only by the thread itself, under
 *     sig_lock, when nothing is takeable (signal_recalc). Hence a system call that saw
 * signal_pending() and returned a restart code is always followed by signal_deliver(), and no
 * signal is lost between "nothing pending" and user mode: the exit path looks at the flag last, and
 * a kick that comes after that look sends it back (entry.S).
 *   - A signal pending for the process that some thread does not block has at least one such thread
 * with UT_WORK_SIGNAL set. When that thread blocks the signal or ends, signal_retarget() passes it
 * on. Lock order: proc->lock -> sig_lock -> uthread.slock; wait queue locks are taken after
 * sig_lock is released.
 */
#include <linux/resource.h>

#include "libos/mm/alloc.h"
#include "libos/proc/proc.h"
#include "libos/signal/internal.h"
#include "libos/signal/signal.h"
#include "libos/time/itimer.h"

void signal_free(struct sigqueue *q)
{
	if (q)
		kfree(q, sizeof(*q));
}

void signal_free_queue(struct list_head *dead)
{
	while (!list_empty(dead)) {
		struct sigqueue *q = list_first(dead, struct sigqueue, link);

		list_del(&q->link);
		signal_free(q);
	}
}

static ksigset_t takeable(struct uthread *ut)
{
	return (ut->sig.pending.set | ut->proc->pending.set) &
	       (~ut->sig.blocked | ut->sig.wait_set);
}

void signal_recalc(struct uthread *ut)
{
	if (takeable(ut) || ut->proc->stopped)
		uthread_set_work(ut, UT_WORK_SIGNAL);
	else if (READ_ONCE(ut->work) & UT_WORK_SIGNAL)
		uthread_clear_work(ut, UT_WORK_SIGNAL);
}

static void notify(struct uthread *ut)
{
	uthread_set_work(ut, UT_WORK_SIGNAL);
	uthread_kick(ut);
}

int signal_take(struct uthread *ut, ksigset_t set, struct siginfo_k *info, struct sigqueue **q)
{
	struct sigpending *from = &ut->sig.pending;
	int sig = sigpending_next(from, set);

	*q = NULL;
	if (!sig) {
		from = &ut->proc->pending;
		sig = sigpending_next(from, set);
	}
	if (sig) {
		*q = sigpending_take(from, sig, info);
		if (*q)
			ut->proc->nr_sigqueued--;
		if (info->code == SI_TIMER)
			ptimer_signal_taken(ut->proc, info);
	}
	return sig;
}

void signal_flush_all(struct proc *p, ksigset_t set, struct list_head *dead)
{
	struct uthread *ut;

	p->nr_sigqueued -= sigpending_flush(&p->pending, set, dead);
	list_for_each_entry(ut, &p->threads, proc_link)
		p->nr_sigqueued -= sigpending_flush(&ut->sig.pending, set, dead);
}

static bool wants(struct uthread *ut, int sig)
{
	if (READ_ONCE(ut->sig.blocked) & ~ut->sig.wait_set & sigbit(sig))
		return false;
	if (ut->exiting)
		return false;
	if (sig == SIGKILL)
		return true;
	if (READ_ONCE(ut->state) == UT_STOPPED)
		return false;
	return READ_ONCE(ut->on_cpu) || !signal_pending(ut);
}

void signal_retarget(struct proc *p, struct uthread *ut, ksigset_t which)
{
	struct uthread *t;

	which &= p->pending.set;
	list_for_each_entry(t, &p->threads, proc_link) {
		if (!which)
			return;
		if (t == ut || t->exiting || !(which & ~t->sig.blocked))
			continue;
		which &= t->sig.blocked;
		if (!signal_pending(t))
			notify(t);
	}
}

void signal_thread_exit(struct uthread *ut)
{
	struct proc *p = ut->proc;
	struct list_head dead = LIST_HEAD_INIT(dead);

	p->nr_sigqueued -= sigpending_flush(&ut->sig.pending, ~0ull, &dead);
	signal_retarget(p, ut, ~ut->sig.blocked);
	signal_free_queue(&dead);
}

void signal_thread_init(struct uthread *child, const struct uthread *parent, bool keep_altstack)
{
	sigpending_init(&child->sig.pending);
	child->sig.blocked = parent->sig.blocked;
	child->sig.restore_saved = false;
	child->sig.wait_set = 0;
	if (keep_altstack)
		child->sig.altstack = parent->sig.altstack;
	else
		child->sig.altstack = (struct sigaltstack_k){ .flags = SS_DISABLE };
}

/* Would t throw it away? A blocked signal never is: the action may change before it is taken. */
static bool ignored(struct proc *p, struct uthread *t, int sig)
{
	u64 h = p->actions[sig - 1].handler;

	if ((t->sig.blocked | t->sig.wait_set) & sigbit(sig))
		return false;
	return h == SIGACT_IGN || (h == SIGACT_DFL && sigbit(sig) & SIGMASK_IGNORE);
}

/* Stop signals and SIGCONT cancel each other, and SIGCONT works even if it is blocked or ignored.
 */
static void cancel_opposites(struct proc *p, int sig, struct list_head *dead)
{
	struct uthread *t;

	if (sigbit(sig) & SIGMASK_STOP)
		signal_flush_all(p, sigbit(SIGCONT), dead);
	if (sig == SIGCONT)
		signal_flush_all(p, SIGMASK_STOP, dead);
	if ((sig == SIGCONT || sig == SIGKILL) && p->stopped) {
		WRITE_ONCE(p->stopped, 0);
		list_for_each_entry(t, &p->threads, proc_link)
			uthread_wake_state(t, 1u << UT_STOPPED);
	}
}

/* Puts it on the queue; with sig_lock. 1: pending now. 0: nothing more to do. -EAGAIN: over the
 * limit. */
static int queue_signal(struct proc *p, struct sigpending *to, const struct siginfo_k *info)
{
	struct sigqueue *q = NULL;
	bool kernel_made =
		info->code > 0 || info->code == SI_CODE_USER || info->code == SI_CODE_TKILL;

	if (sigpending_check(to, info) != SIGPENDING_QUEUE)
		return 0;
	/* Signals of the kernel, and standard signals by kill(2), are not subject to the limit. */
	if (info->signo != SIGKILL && (p->nr_sigqueued < p->rlim[RLIMIT_SIGPENDING].cur ||
				       (info->signo < SIGRT_FIRST && info->code >= 0)))
		q = kmalloc(sizeof(*q));
	if (q) {
		q->info = *info;
		p->nr_sigqueued++;
	} else if (info->signo >= SIGRT_FIRST && !kernel_made) {
		return -EAGAIN;
	}
	sigpending_add(to, info->signo, q);
	return 1;
}

/* The thread that is to take a signal to the process: the first, if it wants it, as on Linux. */
static struct uthread *choose(struct proc *p, int sig)
{
	struct uthread *t;

	if (p->leader && wants(p->leader, sig))
		return p->leader;
	list_for_each_entry(t, &p->threads, proc_link)
		if (wants(t, sig))
			return t;
	return NULL;
}

int signal_send_proc(struct proc *p, const struct siginfo_k *info)
{
	struct list_head dead = LIST_HEAD_INIT(dead);
	struct uthread *t;
	int r = 0;

	spin_lock(&p->sig_lock);
	if (p->exiting || list_empty(&p->threads))
		goto out;
	cancel_opposites(p, info->signo, &dead);
	t = p->leader ? p->leader : list_first(&p->threads, struct uthread, proc_link);
	if (ignored(p, t, info->signo))
		goto out;
	r = queue_signal(p, &p->pending, info);
	if (r > 0) {
		/* Nobody wants it: all block it, or will look at the queue anyway. */
		t = choose(p, info->signo);
		if (t)
			notify(t);
	}
out:
	spin_unlock(&p->sig_lock);
	signal_free_queue(&dead);
	if (r > 0)
		waitq_wake_all(&p->signalfd_wait);
	return min(r, 0);
}

int signal_send_thread(struct uthread *ut, const struct siginfo_k *info)
{
	struct proc *p = ut->proc;
	struct list_head dead = LIST_HEAD_INIT(dead);
	int r = 0;

	spin_lock(&p->sig_lock);
	if (p->exiting || ut->exiting)
		goto out;
	cancel_opposites(p, info->signo, &dead);
	if (ignored(p, ut, info->signo))
		goto out;
	r = queue_signal(p, &ut->sig.pending, info);
	if (r > 0 && takeable(ut) & sigbit(info->signo))
		notify(ut);
out:
	spin_unlock(&p->sig_lock);
	signal_free_queue(&dead);
	if (r > 0)
		waitq_wake_all(&p->signalfd_wait);
	return min(r, 0);
}

int signal_send_proc_simple(struct proc *p, int sig)
{
	struct siginfo_k info = { .signo = sig, .code = SI_CODE_KERNEL };

	return signal_send_proc(p, &info);
}

void signal_force(struct uthread *ut, const struct siginfo_k *info)
{
	struct proc *p = ut->proc;
	struct ksigaction *a = &p->actions[info->signo - 1];
	ksigset_t bit = sigbit(info->signo);

	spin_lock(&p->sig_lock);
	if (ut->sig.blocked & bit || a->handler == SIGACT_IGN) {
		a->handler = SIGACT_DFL;
		WRITE_ONCE(ut->sig.blocked, ut->sig.blocked & ~bit);
	}
	queue_signal(p, &ut->sig.pending, info);
	uthread_set_work(ut, UT_WORK_SIGNAL);
	spin_unlock(&p->sig_lock);
}

void signal_sigpipe(void)
{
	struct siginfo_k info = {
		.signo = SIGPIPE,
		.code = SI_CODE_USER,
		.rt.pid = current_proc()->pid,
		.rt.uid = current_proc()->cred.uid,
	};

	signal_send_thread(current(), &info);
}

void signal_from_host(u64 bits)
{
	while (bits) {
		struct siginfo_k info = {
			.signo = __builtin_ctzll(bits) + 1,
			.code = SI_CODE_USER, /* of a sender outside our pid name space: pid 0 */
		};

		bits &= bits - 1;
		signal_send_proc(init_proc, &info);
	}
}
