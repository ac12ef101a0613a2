/*
 * clone.c - new threads: clone(2), clone3(2).
 *
 * Only threads: a clone without CLONE_THREAD is a process (fork, vfork, posix_spawn) and answers
 * ENOSYS. Nor can a thread have a working directory or descriptors of its own.
 */
#include <linux/capability.h>
#include <linux/resource.h>
#include <linux/sched.h>

#include "libos/abi/layout.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/signal/signal.h"

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NEW_NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)

struct clone_request {
	u64 flags;
	u64 parent_tid, child_tid; /* user addresses */
	u64 stack; /* new stack pointer, 0: the parent's */
	u64 tls;
};

/* As Linux's copy_process() checks; then what we cannot do. */
static int check(u64 f)
{
	if ((f & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS) ||
	    (f & (CLONE_NEWUSER | CLONE_FS)) == (CLONE_NEWUSER | CLONE_FS))
		return -EINVAL;
	if (f & CLONE_THREAD && !(f & CLONE_SIGHAND))
		return -EINVAL;
	if (f & CLONE_SIGHAND && !(f & CLONE_VM))
		return -EINVAL;
	if (f & CLONE_THREAD && f & (CLONE_NEWUSER | CLONE_NEWPID | CLONE_PIDFD))
		return -EINVAL;
	if (f & NEW_NAMESPACES)
		return capable(CAP_SYS_ADMIN) ? -ENOSYS : -EPERM;
	if ((f & THREAD_FLAGS) != THREAD_FLAGS)
		return -ENOSYS;
	return 0;
}

static bool over_limit(struct proc *p)
{
	return p->nr_threads >= p->rlim[RLIMIT_NPROC].cur && p->cred.uid &&
	       !capable(CAP_SYS_RESOURCE);
}

/* Vector state and registers as of the caller's system call. */
static void copy_state(struct uthread *child, struct uthread *parent)
{
	uthread_save_xstate(parent);
	memcpy(child->xsave, parent->xsave, xsave_size);
	*uthread_tf(child) = *uthread_tf(parent);
	uthread_tf(child)->orig_rax = (u64)-1;
	uthread_tf(child)->rax = 0;
	child->fsbase = thread_get_fsbase();
	memcpy(child->comm, parent->comm, sizeof(child->comm));
	child->affinity = parent->affinity;
	child->nice = parent->nice;
	child->policy = parent->policy;
	child->rt_priority = parent->rt_priority;
}

static long do_clone(const struct clone_request *rq)
{
	struct uthread *cur = current(), *child;
	struct proc *p = cur->proc;
	int r = check(rq->flags), tid;

	if (r)
		return r;
	if (rq->flags & CLONE_SETTLS && rq->tls >= USER_ADDR_MAX)
		return -EPERM;
	if (over_limit(p))
		return -EAGAIN;
	child = uthread_create(p);
	if (!child)
		return -ENOMEM;
	copy_state(child, cur);
	if (rq->stack)
		uthread_tf(child)->rsp = rq->stack;
	if (rq->flags & CLONE_SETTLS)
		child->fsbase = rq->tls;
	if (rq->flags & CLONE_CHILD_CLEARTID)
		child->clear_child_tid = rq->child_tid;
	signal_thread_init(child, cur, (rq->flags & (CLONE_VM | CLONE_VFORK)) != CLONE_VM);
	r = proc_add_thread(child);
	if (r) {
		uthread_put(child);
		return r;
	}
	tid = child->tid;
	/* Linux does not look whether these can be written. */
	if (rq->flags & CLONE_PARENT_SETTID)
		(void)put_user_u32(tid, (void *)rq->parent_tid);
	if (rq->flags & CLONE_CHILD_SETTID)
		(void)put_user_u32(tid, (void *)rq->child_tid);
	uthread_start(child);
	return tid;
}

long sys_clone(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls)
{
	struct clone_request rq = {
		.flags = (u32)flags & ~CSIGNAL,
		.parent_tid = parent_tid,
		.child_tid = child_tid,
		.stack = stack,
		.tls = tls,
	};

	if (flags & CLONE_PIDFD && flags & CLONE_PARENT_SETTID)
		return -EINVAL; /* both would go to parent_tid */
	return do_clone(&rq);
}

/* struct clone_args in its versions: later members are zero if the caller does not know them. */
static int read_args(u64 uargs, size_t size, struct clone_args *a)
{
	u8 byte;

	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < CLONE_ARGS_SIZE_VER0)
		return -EINVAL;
	memset(a, 0, sizeof(*a));
	for (size_t i = sizeof(*a); i < size; i++) {
		if (get_user_u8(&byte, (void *)(uargs + i)))
			return -EFAULT;
		if (byte)
			return -E2BIG;
	}
	if (copy_from_user(a, (void *)uargs, min(size, sizeof(*a))))
		return -EFAULT;
	return 0;
}

long sys_clone3(u64 uargs, size_t size)
{
	struct clone_args a;
	struct clone_request rq;
	int r = read_args(uargs, size, &a);

	if (r)
		return r;
	if (a.set_tid_size > 32 || (!a.set_tid && a.set_tid_size) || (a.set_tid && !a.set_tid_size))
		return -EINVAL;
	if (a.exit_signal & ~(u64)CSIGNAL || a.exit_signal > NSIG)
		return -EINVAL;
	if (a.flags & CLONE_INTO_CGROUP && (a.cgroup > INT32_MAX || size < CLONE_ARGS_SIZE_VER2))
		return -EINVAL;
	if (a.set_tid)
		return capable(CAP_SYS_ADMIN) ? -EINVAL : -EPERM;
	if (a.flags & ~(0xffffffffull | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP))
		return -EINVAL;
	if (a.flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME)))
		return -EINVAL;
	if ((a.flags & (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND)) ==
	    (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND))
		return -EINVAL;
	if (a.flags & (CLONE_THREAD | CLONE_PARENT) && a.exit_signal)
		return -EINVAL;
	if (!a.stack != !a.stack_size)
		return -EINVAL;
	if (a.stack && !access_ok(a.stack, a.stack_size))
		return -EINVAL;
	rq = (struct clone_request){
		.flags = a.flags,
		.parent_tid = a.parent_tid,
		.child_tid = a.child_tid,
		.stack = a.stack ? a.stack + a.stack_size : 0,
		.tls = a.tls,
	};
	return do_clone(&rq);
}
