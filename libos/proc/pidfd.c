/*
 * pidfd.c - a process as a file descriptor: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).
 *
 * It becomes readable when the process has ended. There is only the caller's own, which is never
 * seen dead; pidfd_poll() is where that changes with fork.
 */
#include <linux/fcntl.h>

#include "libos/fs/file.h"
#include "libos/ipc/pipe.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define PIDFD_NONBLOCK_FLAG O_NONBLOCK
#define SI_CODE_TKILL (-6)

static u32 pidfd_poll(struct file *f, struct poll_table *pt)
{
	struct proc *p = f->priv;

	poll_wait(pt, f, &p->exit_wait);
	return 0;
}

static const struct file_ops pidfd_ops = {
	.name = "pidfd",
	.poll = pidfd_poll,
	.getattr = anon_getattr,
};

long sys_pidfd_open(int pid, u32 flags)
{
	struct uthread *ut;
	struct proc *p;

	if (flags & ~PIDFD_NONBLOCK_FLAG || pid <= 0)
		return -EINVAL;
	p = proc_find(pid);
	if (!p) {
		ut = uthread_find(pid);
		if (!ut)
			return -ESRCH;
		uthread_put(ut);
		return -EINVAL; /* a thread, but not the first of its process */
	}
	return anon_install(&pidfd_ops, p, O_RDWR | flags, true);
}

struct proc *pidfd_proc(int fd)
{
	struct file *f = fd_get(fd);
	struct proc *p = NULL;

	if (f) {
		if (f->ops == &pidfd_ops)
			p = f->priv;
		file_put(f);
	}
	return p;
}

long sys_pidfd_send_signal(int fd, int sig, u64 uinfo, u32 flags)
{
	struct siginfo_k info = { .signo = sig };
	struct proc *p;
	long r = 0;

	if (flags)
		return -EINVAL;
	p = pidfd_proc(fd);
	if (!p)
		return -EBADF;
	if (uinfo) {
		if (copy_from_user(&info, (void *)uinfo, sizeof(info)))
			r = -EFAULT;
		else if (info.signo != sig)
			r = -EINVAL;
		else if (p != current_proc() && (info.code >= 0 || info.code == SI_CODE_TKILL))
			r = -EPERM;
	} else {
		info.rt.pid = current_proc()->pid;
		info.rt.uid = current_proc()->cred.uid;
	}
	if (!r && (sig < 0 || sig > NSIG))
		r = -EINVAL;
	if (!r && sig)
		r = signal_send_proc(p, &info);
	return r;
}

/* Only out of the caller's own table. */
long sys_pidfd_getfd(int pidfd, int target, u32 flags)
{
	struct file *t;
	long r;

	if (flags)
		return -EINVAL;
	if (!pidfd_proc(pidfd))
		return -EBADF;
	t = fd_get_path(target);
	if (!t)
		return -EBADF;
	r = fd_install(t, 0, FD_CLOEXEC);
	if (r < 0)
		file_put(t);
	return r;
}
