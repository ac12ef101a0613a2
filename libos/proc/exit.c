/*
 * exit.c - the end of threads and of the process: exit(2), exit_group(2), wait(2).
 *
 * The instance has one process, so its end is the end of the host process: nothing of it survives
 * that another process could see half done, and no thread needs to be stopped in an orderly way.
 * The first one to set proc->exiting decides the status; what other kthreads still do is cut off by
 * host_exit(). What the program has sent gets time to leave (net/netexit.c).
 */
#include <linux/wait.h>

#include "libos/abi/control.h"
#include "libos/mm/alloc.h"
#include "libos/mm/shm.h"
#include "libos/mm/usercopy.h"
#include "libos/net/netif.h"
#include "libos/platform/hostcall.h"
#include "libos/platform/log.h"
#include "libos/proc/futex.h"
#include "libos/proc/proc.h"
#include "libos/sched/sched.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

/* Tells the supervisor how it ended and ends the host process. */
static noreturn void instance_exit(int wait_status)
{
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;
	int sig = wait_status & 0x7f;

	sched_publish_stats();
	WRITE_ONCE(ctl->exit_status, wait_status);
	__atomic_store_n(&ctl->state, CTL_EXITED, __ATOMIC_SEQ_CST);
	ring_doorbell();
	host_exit(sig ? 128 + sig : wait_status >> 8 & 0xff);
}

/* Nothing of the program runs any more while the network finishes. */
static void stop_others(struct proc *p)
{
	struct uthread *ut = current(), *t;

	spin_lock(&p->lock);
	list_for_each_entry(t, &p->threads, proc_link) {
		if (t == ut)
			continue;
		uthread_set_work(t, UT_WORK_EXIT);
		uthread_kick(t);
	}
	spin_unlock(&p->lock);
}

void proc_exit_group(int wait_status)
{
	struct proc *p = current_proc();

	if (__atomic_exchange_n(&p->exiting, 1, __ATOMIC_SEQ_CST))
		for (;;) { /* another thread is at it */
			uthread_prepare(UT_UNINTERRUPTIBLE);
			uthread_schedule(NEVER);
		}
	p->exit_status = wait_status;
	if (net_exit_begin()) {
		stop_others(p);
		net_exit_wait();
	}
	instance_exit(wait_status);
}

/* Takes current() out of its process. Its user memory must not be touched any more. */
static void leave_process(struct uthread *ut)
{
	struct proc *p = ut->proc;

	spin_lock(&p->lock);
	spin_lock(&p->sig_lock);
	list_del(&ut->proc_link);
	p->nr_threads--;
	p->dead_cpu_ns += uthread_cpu_ns(ut);
	if (p->leader == ut)
		p->leader = NULL;
	signal_thread_exit(ut);
	spin_unlock(&p->sig_lock);
	spin_unlock(&p->lock);
	tid_free(ut->tid);
	if (READ_ONCE(p->execing))
		waitq_wake_all(&p->exit_wait);
}

int proc_stop_other_threads(void)
{
	struct uthread *ut = current(), *t;
	struct proc *p = ut->proc;

	if (__atomic_exchange_n(&p->execing, 1, __ATOMIC_SEQ_CST))
		return -EAGAIN;
	/* Again and again, since one of them may just be making another. */
	while (READ_ONCE(p->nr_threads) > 1) {
		spin_lock(&p->lock);
		list_for_each_entry(t, &p->threads, proc_link) {
			if (t == ut)
				continue;
			uthread_set_work(t, UT_WORK_EXIT);
			uthread_wake_state(t, 1u << UT_STOPPED);
			uthread_kick(t);
		}
		spin_unlock(&p->lock);
		wait_event_state(&p->exit_wait, READ_ONCE(p->nr_threads) == 1,
				 deadline_after(clock_monotonic_ns(), NSEC_PER_MSEC),
				 UT_UNINTERRUPTIBLE, false);
	}
	tid_become_leader(ut);
	WRITE_ONCE(p->execing, 0);
	return 0;
}

void thread_exit(int code)
{
	struct uthread *ut = current();
	struct proc *p = ut->proc;
	int status = (code & 0xff) << 8;

	if (p->leader == ut)
		p->leader_status = status;
	/* The count cannot grow behind our back if it is 1, and of several last ones each sees the
	 * other. */
	spin_lock(&p->lock);
	ut->exiting = 1;
	bool last = true;
	struct uthread *t;
	list_for_each_entry(t, &p->threads, proc_link)
		if (!t->exiting)
			last = false;
	spin_unlock(&p->lock);
	if (last)
		proc_exit_group(p->leader_status);

	futex_exit_robust_list();
	futex_exit_pi();
	if (ut->clear_child_tid) {
		u64 addr = ut->clear_child_tid;

		ut->clear_child_tid = 0;
		if (!put_user_u32(0, (void *)addr))
			futex_wake(addr, 1);
	}
	leave_process(ut);
	uthread_exit();
}

long sys_exit(int code)
{
	thread_exit(code);
}

long sys_exit_group(int code)
{
	proc_exit_group((code & 0xff) << 8);
}

/* There are no children before fork(2) exists; arguments are checked as wait(2) says. */
long sys_wait4(int pid, u64 ustatus, int options, u64 rusage)
{
	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
		return -EINVAL;
	return pid == INT32_MIN ? -ESRCH : -ECHILD;
}

static long check_waitid(int which, int pid, int options)
{
	if (options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD |
			__WCLONE | __WALL))
		return -EINVAL;
	if (!(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	switch (which) {
	case P_ALL:
		break;
	case P_PID:
		if (pid <= 0)
			return -EINVAL;
		break;
	case P_PGID:
	case P_PIDFD:
		if (pid < 0)
			return -EINVAL;
		if (which == P_PIDFD && !pidfd_proc(pid))
			return -EBADF;
		break;
	default:
		return -EINVAL;
	}
	return -ECHILD;
}

long sys_waitid(int which, int pid, u64 uinfo, int options, u64 rusage)
{
	/* si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status: Linux writes them in any
	 * case */
	u32 none[7] = { 0 };

	if (uinfo &&
	    (copy_to_user((void *)uinfo, none, 12) || copy_to_user((void *)(uinfo + 16), none, 12)))
		return -EFAULT;
	return check_waitid(which, pid, options);
}
