/*
 * sched_calls.c - scheduling policy, priority and affinity as system calls.
 *
 * The scheduler is a fair round robin over virtual cores. Nice values, the batch and idle policies and affinity
 * masks are checked, kept and told again, but do not steer it yet; a real-time policy is refused with -EPERM,
 * as without CAP_SYS_NICE.
 */
#include <linux/capability.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/sched/types.h>

#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/sched/uthread.h"
#include "libos/time/clock.h"

#define RT_PRIO_MAX 99
#define RR_SLICE_NS (100 * NSEC_PER_MSEC)
#define SCHED_RESET_ON_FORK_FLAG 0x40000000

/* The thread that a pid argument means (0: the caller), with a reference; NULL: none. */
static struct uthread *target(int pid)
{
	if (!pid) {
		uthread_get(current());
		return current();
	}
	return uthread_find(pid);
}

static bool may_change(struct uthread *ut)
{
	struct cred *me = &current_proc()->cred;

	return me->euid == ut->proc->cred.uid || me->euid == ut->proc->cred.euid || capable(CAP_SYS_NICE);
}

static u64 all_cores(void)
{
	return nr_kthreads >= 64 ? ~0ull : (1ull << nr_kthreads) - 1;
}

long sys_sched_yield(void)
{
	uthread_yield();
	return 0;
}

long sys_sched_getaffinity(int pid, u32 len, void *umask)
{
	struct uthread *ut;
	u64 mask;

	if ((u64)len * 8 < nr_kthreads || len & 7)
		return -EINVAL;
	ut = target(pid);
	if (!ut)
		return -ESRCH;
	mask = ut->affinity & all_cores();
	if (!mask)
		mask = all_cores();
	uthread_put(ut);
	if (put_user_u64(mask, umask))
		return -EFAULT;
	return sizeof(mask);
}

long sys_sched_setaffinity(int pid, u32 len, const void *umask)
{
	struct uthread *ut;
	u64 mask = 0;
	long r = 0;

	if (copy_from_user(&mask, umask, min(len, (u32)sizeof(mask))))
		return -EFAULT;
	ut = target(pid);
	if (!ut)
		return -ESRCH;
	mask &= all_cores();
	if (!may_change(ut))
		r = -EPERM;
	else if (!mask)
		r = -EINVAL;
	else
		ut->affinity = mask;
	uthread_put(ut);
	if (!r && ut == current() && !(mask & 1ull << this_kthread()->id))
		uthread_yield();
	return r;
}

static bool policy_known(int policy)
{
	return policy == SCHED_NORMAL || policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_BATCH ||
	       policy == SCHED_IDLE || policy == SCHED_DEADLINE;
}

static bool policy_rt(int policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

/* policy -1: as it is. Checks arguments as Linux does, then refuses what is not there. */
static long set_policy(int pid, int policy, int prio)
{
	struct uthread *ut = target(pid);
	long r = 0;

	if (!ut)
		return -ESRCH;
	if (policy == -1)
		policy = ut->policy;
	policy &= ~SCHED_RESET_ON_FORK_FLAG;
	if (!policy_known(policy) || policy == SCHED_DEADLINE || prio < 0 || prio > RT_PRIO_MAX ||
	    policy_rt(policy) != (prio != 0))
		r = -EINVAL;
	else if (policy_rt(policy) || !may_change(ut))
		r = -EPERM;
	else
		ut->policy = policy;
	uthread_put(ut);
	return r;
}

long sys_sched_setscheduler(int pid, int policy, const void *uparam)
{
	s32 prio;

	if (policy < 0 || pid < 0 || !uparam)
		return -EINVAL;
	if (get_user_u32((u32 *)&prio, uparam))
		return -EFAULT;
	return set_policy(pid, policy, prio);
}

long sys_sched_setparam(int pid, const void *uparam)
{
	s32 prio;

	if (pid < 0 || !uparam)
		return -EINVAL;
	if (get_user_u32((u32 *)&prio, uparam))
		return -EFAULT;
	return set_policy(pid, -1, prio);
}

long sys_sched_getparam(int pid, void *uparam)
{
	struct uthread *ut;
	s32 prio;

	if (pid < 0 || !uparam)
		return -EINVAL;
	ut = target(pid);
	if (!ut)
		return -ESRCH;
	prio = ut->rt_priority;
	uthread_put(ut);
	return put_user_u32(prio, uparam);
}

long sys_sched_getscheduler(int pid)
{
	struct uthread *ut;
	long r;

	if (pid < 0)
		return -EINVAL;
	ut = target(pid);
	if (!ut)
		return -ESRCH;
	r = ut->policy;
	uthread_put(ut);
	return r;
}

long sys_sched_get_priority_max(int policy)
{
	return !policy_known(policy) ? -EINVAL : policy_rt(policy) ? RT_PRIO_MAX : 0;
}

long sys_sched_get_priority_min(int policy)
{
	return !policy_known(policy) ? -EINVAL : policy_rt(policy) ? 1 : 0;
}

long sys_sched_rr_get_interval(int pid, void *uts)
{
	struct timespec_k ts = ns_to_timespec(4 * NSEC_PER_MSEC);
	struct uthread *ut;

	if (pid < 0)
		return -EINVAL;
	ut = target(pid);
	if (!ut)
		return -ESRCH;
	uthread_put(ut);
	return copy_to_user(uts, &ts, sizeof(ts));
}

long sys_sched_getattr(int pid, void *uattr, u32 size, u32 flags)
{
	struct sched_attr a;
	struct uthread *ut;

	if (!uattr || pid < 0 || size > PAGE_SIZE || size < SCHED_ATTR_SIZE_VER0 || flags)
		return -EINVAL;
	ut = target(pid);
	if (!ut)
		return -ESRCH;
	memset(&a, 0, sizeof(a));
	a.size = min(size, (u32)sizeof(a));
	a.sched_policy = ut->policy;
	a.sched_nice = ut->nice;
	a.sched_util_max = 1024;
	uthread_put(ut);
	return copy_to_user(uattr, &a, a.size);
}

long sys_sched_setattr(int pid, void *uattr, u32 flags)
{
	struct sched_attr a;
	u32 size;
	long r;

	if (!uattr || pid < 0 || flags)
		return -EINVAL;
	if (get_user_u32(&size, uattr))
		return -EFAULT;
	if (!size)
		size = SCHED_ATTR_SIZE_VER0;
	if (size < SCHED_ATTR_SIZE_VER0 || size > PAGE_SIZE) {
		(void)put_user_u32(sizeof(a), uattr);
		return -E2BIG;
	}
	memset(&a, 0, sizeof(a));
	if (copy_from_user(&a, uattr, min(size, (u32)sizeof(a))))
		return -EFAULT;
	for (u32 i = sizeof(a); i < size; i++) { /* a newer caller: what we do not know must be zero */
		u8 b;

		if (get_user_u8(&b, (u8 *)uattr + i))
			return -EFAULT;
		if (b) {
			(void)put_user_u32(sizeof(a), uattr);
			return -E2BIG;
		}
	}
	if ((s32)a.sched_policy < 0)
		return -EINVAL;
	if (a.sched_policy == SCHED_DEADLINE)
		return -EPERM;
	r = set_policy(pid, a.sched_policy, a.sched_priority);
	if (!r && a.sched_policy == SCHED_NORMAL) {
		struct uthread *ut = target(pid);

		if (ut) {
			if (a.sched_nice < ut->nice && !capable(CAP_SYS_NICE))
				r = -EPERM;
			else
				ut->nice = min(max(a.sched_nice, -20), 19);
			uthread_put(ut);
		}
	}
	return r;
}

/* Calls fn for each thread that (which, who) means; -ESRCH if there is none. */
static long for_each_prio(int which, int who, long (*fn)(struct uthread *, long, long), long arg)
{
	struct proc *p = current_proc();
	struct uthread *ut;
	long r = -ESRCH;

	switch (which) {
	case PRIO_PROCESS:
		ut = target(who);
		if (!ut)
			return -ESRCH;
		r = fn(ut, r, arg);
		uthread_put(ut);
		return r;
	case PRIO_PGRP:
		if (who && who != p->pgid)
			return -ESRCH;
		break;
	case PRIO_USER:
		if (who && (u32)who != p->cred.uid)
			return -ESRCH;
		break;
	default:
		return -EINVAL;
	}
	spin_lock(&p->lock);
	list_for_each_entry(ut, &p->threads, proc_link)
		r = fn(ut, r, arg);
	spin_unlock(&p->lock);
	return r;
}

static long get_nice(struct uthread *ut, long r, long arg)
{
	return max(r, 20l - ut->nice);
}

static long set_nice(struct uthread *ut, long r, long nice)
{
	long lowest = 20 - (long)min(ut->proc->rlim[RLIMIT_NICE].cur, (u64)40);

	if (!may_change(ut))
		return -EPERM;
	if (nice < ut->nice && nice < lowest && !capable(CAP_SYS_NICE))
		return -EACCES;
	ut->nice = nice;
	return r == -ESRCH ? 0 : r;
}

long sys_getpriority(int which, int who)
{
	return for_each_prio(which, who, get_nice, 0);
}

long sys_setpriority(int which, int who, int nice)
{
	return for_each_prio(which, who, set_nice, min(max(nice, -20), 19));
}
