/*
 * ids.c - process, group and session ids: getpid(2) and relatives.
 */
#include "libos/proc/proc.h"

long sys_getpid(void)
{
	return current_proc()->pid;
}

long sys_gettid(void)
{
	return current()->tid;
}

long sys_getppid(void)
{
	return current_proc()->ppid;
}

long sys_getpgrp(void)
{
	return current_proc()->pgid;
}

/* pid 0 is the caller. There are no children, so setpgid(2) can name only the process itself. */
static struct proc *find(int pid)
{
	return pid ? proc_find(pid) : current_proc();
}

long sys_getpgid(int pid)
{
	struct proc *p = find(pid);

	return p ? p->pgid : -ESRCH;
}

long sys_getsid(int pid)
{
	struct proc *p = find(pid);

	return p ? p->sid : -ESRCH;
}

long sys_setpgid(int pid, int pgid)
{
	struct proc *p = find(pid);
	long r = 0;

	if (!pgid)
		pgid = pid ? pid : current_proc()->pid;
	if (pgid < 0)
		return -EINVAL;
	if (!p)
		return -ESRCH;
	spin_lock(&p->lock);
	if (p->sid == p->pid)
		r = -EPERM; /* a session leader */
	else if (pgid != p->pid && pgid != p->pgid)
		r = -EPERM; /* no such group in the session */
	else
		p->pgid = pgid;
	spin_unlock(&p->lock);
	return r;
}

long sys_setsid(void)
{
	struct proc *p = current_proc();
	long r = p->pid;

	spin_lock(&p->lock);
	if (p->pgid == p->pid)
		r = -EPERM; /* already leads a group */
	else
		p->sid = p->pgid = p->pid;
	spin_unlock(&p->lock);
	return r;
}
