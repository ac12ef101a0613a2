/*
 * rlimit.c - resource limits: getrlimit, setrlimit, prlimit64.
 *
 * Kept here, enforced where the resource is: descriptors in fs, file size in fs, stack and address space
 * in mm, signals in signal, CPU time in libos/time.
 */
#include <linux/capability.h>
#include <linux/resource.h>

#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/time/itimer.h"

#define NOFILE_CUR 1024
#define NOFILE_MAX 1048576 /* also fs.nr_open: nobody goes above it */
#define STACK_CUR (8ul << 20)
#define MEMLOCK (8ul << 20)
#define MSGQUEUE 819200
#define NPROC_MAX 4096

void rlimits_init(struct proc *p)
{
	for (int i = 0; i < NR_RLIMITS; i++)
		p->rlim[i] = (struct rlimit_k){ RLIM64_INFINITY, RLIM64_INFINITY };
	p->rlim[RLIMIT_NOFILE] = (struct rlimit_k){ NOFILE_CUR, NOFILE_MAX };
	p->rlim[RLIMIT_STACK].cur = STACK_CUR;
	p->rlim[RLIMIT_CORE].cur = 0;
	p->rlim[RLIMIT_NPROC] = (struct rlimit_k){ NPROC_MAX, NPROC_MAX };
	p->rlim[RLIMIT_SIGPENDING] = (struct rlimit_k){ NPROC_MAX, NPROC_MAX };
	p->rlim[RLIMIT_MEMLOCK] = (struct rlimit_k){ MEMLOCK, MEMLOCK };
	p->rlim[RLIMIT_MSGQUEUE] = (struct rlimit_k){ MSGQUEUE, MSGQUEUE };
	p->rlim[RLIMIT_NICE] = (struct rlimit_k){ 0, 0 };
	p->rlim[RLIMIT_RTPRIO] = (struct rlimit_k){ 0, 0 };
}

static long set_limit(struct proc *p, u32 which, const struct rlimit_k *new)
{
	struct rlimit_k *old = &p->rlim[which];
	long r = 0;

	if (new->cur > new->max)
		return -EINVAL;
	if (which == RLIMIT_NOFILE && new->max > NOFILE_MAX)
		return -EPERM;
	spin_lock(&p->lock);
	/* Root of an instance may not exceed what the instance was given, as in a container. */
	if (new->max > old->max && !capable(CAP_SYS_RESOURCE))
		r = -EPERM;
	else
		*old = *new;
	spin_unlock(&p->lock);
	if (!r && which == RLIMIT_CPU && p == current_proc())
		r = itimers_set_cpu_limit(new->cur, new->max);
	return r;
}

static void get_limit(struct proc *p, u32 which, struct rlimit_k *out)
{
	spin_lock(&p->lock);
	*out = p->rlim[which];
	spin_unlock(&p->lock);
}

long sys_getrlimit(u32 which, void *urlim)
{
	struct rlimit_k r;

	if (which >= NR_RLIMITS)
		return -EINVAL;
	get_limit(current_proc(), which, &r);
	return copy_to_user(urlim, &r, sizeof(r));
}

long sys_setrlimit(u32 which, const void *urlim)
{
	struct rlimit_k r;

	if (copy_from_user(&r, urlim, sizeof(r)))
		return -EFAULT;
	if (which >= NR_RLIMITS)
		return -EINVAL;
	return set_limit(current_proc(), which, &r);
}

long sys_prlimit64(int pid, u32 which, const void *unew, void *uold)
{
	struct proc *p = pid ? proc_find(pid) : current_proc();
	struct rlimit_k new, old;
	long r;

	if (which >= NR_RLIMITS)
		return -EINVAL;
	if (unew && copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	if (!p) {
		struct uthread *ut = uthread_find(pid); /* a thread's id does as well */

		if (!ut)
			return -ESRCH;
		p = ut->proc;
		uthread_put(ut);
	}
	get_limit(p, which, &old);
	if (unew) {
		r = set_limit(p, which, &new);
		if (r)
			return r;
	}
	return uold ? copy_to_user(uold, &old, sizeof(old)) : 0;
}
