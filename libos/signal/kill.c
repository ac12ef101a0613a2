/*
 * kill.c - the system calls that send signals: kill(2), tkill(2), tgkill(2), rt_sigqueueinfo(2).
 *
 * All processes of an instance have one owner, so there is no permission to check beyond existence.
 */
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/signal/internal.h"
#include "libos/signal/signal.h"

static struct siginfo_k info_from_self(int sig, int code)
{
	return (struct siginfo_k){
		.signo = sig,
		.code = code,
		.rt.pid = current_proc()->pid,
		.rt.uid = current_proc()->cred.uid,
	};
}

static bool valid(int sig)
{
	return sig >= 0 && sig <= NSIG;
}

long sys_kill(int pid, int sig)
{
	struct proc *self = current_proc(), *p = NULL;
	struct siginfo_k info = info_from_self(sig, SI_CODE_USER);

	if (!valid(sig))
		return -EINVAL;
	if (pid > 0) {
		struct uthread *ut = uthread_find(pid);

		/* any thread's id names its process here, as on Linux */
		p = ut ? ut->proc : proc_find(pid);
		if (ut)
			uthread_put(ut);
	} else if (pid == 0 || (pid > INT32_MIN && -pid == self->pgid)) {
		p = self;
	}
	/* -1 is everybody but the caller and process 1: nobody. */
	if (!p)
		return -ESRCH;
	if (sig)
		signal_send_proc(p, &info);
	return 0;
}

static long send_thread(int tgid, int tid, struct siginfo_k *info)
{
	struct uthread *ut;
	long r = -ESRCH;

	if (tid <= 0 || (tgid <= 0 && tgid != -1))
		return -EINVAL;
	if (!valid(info->signo))
		return -EINVAL;
	ut = uthread_find(tid);
	if (!ut)
		return -ESRCH;
	if (ut->proc && (tgid == -1 || ut->proc->pid == tgid))
		r = info->signo ? signal_send_thread(ut, info) : 0;
	uthread_put(ut);
	return r;
}

long sys_tkill(int tid, int sig)
{
	struct siginfo_k info = info_from_self(sig, SI_CODE_TKILL);

	return send_thread(-1, tid, &info);
}

long sys_tgkill(int tgid, int tid, int sig)
{
	struct siginfo_k info = info_from_self(sig, SI_CODE_TKILL);

	if (tgid <= 0)
		return -EINVAL;
	return send_thread(tgid, tid, &info);
}

/* Only the kernel may say that it, or kill(2), made a signal; to itself a process may say anything.
 */
static bool forged(const struct siginfo_k *info, int pid)
{
	return (info->code >= 0 || info->code == SI_CODE_TKILL) && pid != current_proc()->pid;
}

static long read_info(u64 uinfo, int sig, struct siginfo_k *info)
{
	if (copy_from_user(info, (void *)uinfo, sizeof(*info)))
		return -EFAULT;
	info->signo = sig;
	return 0;
}

long sys_rt_sigqueueinfo(int pid, int sig, u64 uinfo)
{
	struct siginfo_k info;
	struct proc *p;
	long r = read_info(uinfo, sig, &info);

	if (r)
		return r;
	if (forged(&info, pid))
		return -EPERM;
	if (!valid(sig))
		return -EINVAL;
	p = proc_find(pid);
	if (!p)
		return -ESRCH;
	return sig ? signal_send_proc(p, &info) : 0;
}

long sys_rt_tgsigqueueinfo(int tgid, int tid, int sig, u64 uinfo)
{
	struct siginfo_k info;
	long r = read_info(uinfo, sig, &info);

	if (r)
		return r;
	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	if (forged(&info, tgid))
		return -EPERM;
	return send_thread(tgid, tid, &info);
}
