/*
 * prctl.c - prctl(2) and capabilities(7).
 */
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>

#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/sched/uthread.h"
#include "libos/signal/sigtypes.h"

#define TIMER_SLACK_DEFAULT 50000
#define ALL_CAPS (CAPBIT(CAP_LAST_CAP + 1) - 1)

/* Newer than the headers of Debian 12. */
#ifndef PR_GET_AUXV
#define PR_GET_AUXV 0x41555856
#endif

void cred_init_caps(struct cred *c)
{
	c->cap_permitted = c->uid && c->euid ? 0 : CAPS_OF_ROOT;
	c->cap_effective = c->euid ? 0 : c->cap_permitted;
	c->cap_inheritable = c->cap_ambient = 0;
	c->cap_dropped = ALL_CAPS & ~CAPS_OF_ROOT;
	c->securebits = 0;
}

void cred_fix_caps(struct cred *c, const struct cred *old)
{
	bool was_root = !old->uid || !old->euid || !old->suid;
	bool is_root = !c->uid || !c->euid || !c->suid;

	if (c->securebits & SECBIT_NO_SETUID_FIXUP)
		return;
	if (was_root && !is_root) {
		if (!(c->securebits & SECBIT_KEEP_CAPS))
			c->cap_permitted = c->cap_effective = 0;
		c->cap_ambient = 0;
	}
	if (!old->euid && c->euid)
		c->cap_effective = 0;
	if (old->euid && !c->euid)
		c->cap_effective = c->cap_permitted;
}

static long set_name(u64 uname)
{
	char name[16] = "";
	size_t n = 0;

	/* At most 15 bytes, however long the string is. */
	while (n < sizeof(name) - 1) {
		if (get_user_u8((u8 *)&name[n], (void *)(uname + n)))
			return -EFAULT;
		if (!name[n++])
			break;
	}
	memcpy(current()->comm, name, sizeof(name));
	return 0;
}

static long set_securebits(struct cred *c, u64 bits)
{
	u32 locked = c->securebits & SECURE_ALL_LOCKS;

	if (((c->securebits & SECURE_ALL_LOCKS) >> 1) & (c->securebits ^ bits))
		return -EPERM;
	if (locked & ~bits || bits & ~(u64)(SECURE_ALL_LOCKS | SECURE_ALL_BITS))
		return -EPERM;
	if (!capable(CAP_SETPCAP))
		return -EPERM;
	c->securebits = bits;
	return 0;
}

static long ambient(struct cred *c, u64 op, u64 cap)
{
	if (op == PR_CAP_AMBIENT_CLEAR_ALL) {
		if (cap)
			return -EINVAL;
		c->cap_ambient = 0;
		return 0;
	}
	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	switch (op) {
	case PR_CAP_AMBIENT_IS_SET:
		return !!(c->cap_ambient & CAPBIT(cap));
	case PR_CAP_AMBIENT_LOWER:
		c->cap_ambient &= ~CAPBIT(cap);
		return 0;
	case PR_CAP_AMBIENT_RAISE:
		if (!(c->cap_permitted & c->cap_inheritable & CAPBIT(cap)) ||
		    c->securebits & SECBIT_NO_CAP_AMBIENT_RAISE)
			return -EPERM;
		c->cap_ambient |= CAPBIT(cap);
		return 0;
	}
	return -EINVAL;
}

/* The options about capabilities and security; -ENOENT: not one of them. */
static long prctl_cred(int option, u64 a2, u64 a3, u64 a4, u64 a5)
{
	struct proc *p = current_proc();
	struct cred *c = &p->cred;

	switch (option) {
	case PR_SET_NO_NEW_PRIVS:
		if (a2 != 1 || a3 || a4 || a5)
			return -EINVAL;
		p->no_new_privs = true;
		return 0;
	case PR_GET_NO_NEW_PRIVS:
		return a2 || a3 || a4 || a5 ? -EINVAL : p->no_new_privs;
	case PR_SET_KEEPCAPS:
		if (a2 > 1)
			return -EINVAL;
		if (c->securebits & SECBIT_KEEP_CAPS_LOCKED)
			return -EPERM;
		c->securebits = a2 ? c->securebits | SECBIT_KEEP_CAPS : c->securebits & ~SECBIT_KEEP_CAPS;
		return 0;
	case PR_GET_KEEPCAPS:
		return !!(c->securebits & SECBIT_KEEP_CAPS);
	case PR_CAPBSET_READ:
		return a2 > CAP_LAST_CAP ? -EINVAL : !(c->cap_dropped & CAPBIT(a2));
	case PR_CAPBSET_DROP:
		if (!capable(CAP_SETPCAP))
			return -EPERM;
		if (a2 > CAP_LAST_CAP)
			return -EINVAL;
		c->cap_dropped |= CAPBIT(a2);
		return 0;
	case PR_GET_SECUREBITS:
		return c->securebits;
	case PR_SET_SECUREBITS:
		return set_securebits(c, a2);
	case PR_CAP_AMBIENT:
		return a4 || a5 ? -EINVAL : ambient(c, a2, a3);
	case PR_GET_SECCOMP:
		return 0; /* none of its own: the host's filter is not the program's business */
	case PR_SET_SECCOMP:
		return -EINVAL; /* as a kernel without CONFIG_SECCOMP */
	}
	return -ENOENT;
}

long sys_prctl(int option, u64 a2, u64 a3, u64 a4, u64 a5)
{
	struct uthread *ut = current();
	struct proc *p = ut->proc;
	long r = prctl_cred(option, a2, a3, a4, a5);

	if (r != -ENOENT)
		return r;
	switch (option) {
	case PR_SET_NAME:
		return set_name(a2);
	case PR_GET_NAME:
		return copy_to_user((void *)a2, ut->comm, sizeof(ut->comm));
	case PR_SET_PDEATHSIG:
		if (a2 > NSIG)
			return -EINVAL;
		p->pdeathsig = a2;
		return 0;
	case PR_GET_PDEATHSIG:
		return put_user_u32(p->pdeathsig, (void *)a2);
	case PR_SET_DUMPABLE:
		if (a2 > 1)
			return -EINVAL;
		p->dumpable = a2;
		return 0;
	case PR_GET_DUMPABLE:
		return p->dumpable;
	case PR_SET_TIMERSLACK: /* timers fire as near as they can; the value is only kept */
		ut->timer_slack = a2 ? a2 : TIMER_SLACK_DEFAULT;
		return 0;
	case PR_GET_TIMERSLACK:
		return ut->timer_slack ? ut->timer_slack : TIMER_SLACK_DEFAULT;
	case PR_GET_TIMING:
		return PR_TIMING_STATISTICAL;
	case PR_SET_TIMING:
		return a2 == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
	case PR_SET_THP_DISABLE:
		if (a3 || a4 || a5)
			return -EINVAL;
		p->thp_disabled = !!a2;
		return 0;
	case PR_GET_THP_DISABLE:
		return a2 || a3 || a4 || a5 ? -EINVAL : p->thp_disabled;
	case PR_SET_CHILD_SUBREAPER:
		p->child_subreaper = !!a2;
		return 0;
	case PR_GET_CHILD_SUBREAPER:
		return put_user_u32(p->child_subreaper, (void *)a2);
	case PR_GET_TSC:
		return put_user_u32(PR_TSC_ENABLE, (void *)a2);
	case PR_SET_TSC:
		return a2 == PR_TSC_ENABLE ? 0 : -EINVAL;
	case PR_GET_TID_ADDRESS:
		return put_user_u64(ut->clear_child_tid, (void *)a2);
	case PR_SET_VMA: /* names of anonymous areas: as a kernel without CONFIG_ANON_VMA_NAME */
		return -EINVAL;
	case PR_MCE_KILL:
		return a2 > 1 || a4 || a5 ? -EINVAL : 0;
	case PR_MCE_KILL_GET:
		return a2 || a3 || a4 || a5 ? -EINVAL : PR_MCE_KILL_DEFAULT;
	case PR_SET_PTRACER:
		return 0; /* nobody traces in here: ptrace(2) answers EPERM */
	case PR_GET_AUXV:
		if (a4 || a5)
			return -EINVAL;
		if (copy_to_user((void *)a2, p->auxv, min(a3, (u64)p->auxv_len * 8)))
			return -EFAULT;
		return p->auxv_len * 8;
	}
	return -EINVAL;
}

/*
 * capget and capset: version 3 has two 32-bit halves, version 1 one. An unknown version is answered
 * with the newest, and -EINVAL unless the caller only asked (capget with NULL data).
 */
static int cap_version(void *uhdr, int *pid, int *halves)
{
	struct {
		u32 version;
		s32 pid;
	} h;

	if (get_user_u32(&h.version, uhdr))
		return -EFAULT;
	switch (h.version) {
	case _LINUX_CAPABILITY_VERSION_1:
		*halves = 1;
		break;
	case _LINUX_CAPABILITY_VERSION_2:
	case _LINUX_CAPABILITY_VERSION_3:
		*halves = 2;
		break;
	default:
		if (put_user_u32(_LINUX_CAPABILITY_VERSION_3, uhdr))
			return -EFAULT;
		return -EINVAL;
	}
	return get_user_u32((u32 *)pid, (u8 *)uhdr + 4);
}

long sys_capget(void *uhdr, void *udata)
{
	struct __user_cap_data_struct d[2];
	struct cred *c = &current_proc()->cred;
	int pid, halves, r = cap_version(uhdr, &pid, &halves);

	if (r)
		return r == -EINVAL && !udata ? 0 : r;
	if (!udata)
		return 0;
	if (pid < 0)
		return -EINVAL;
	if (pid) {
		struct uthread *ut = uthread_find(pid);

		if (!ut)
			return -ESRCH;
		c = &ut->proc->cred;
		uthread_put(ut);
	}
	for (int i = 0; i < 2; i++) {
		d[i].effective = c->cap_effective >> 32 * i;
		d[i].permitted = c->cap_permitted >> 32 * i;
		d[i].inheritable = c->cap_inheritable >> 32 * i;
	}
	return copy_to_user(udata, d, halves * sizeof(d[0]));
}

long sys_capset(void *uhdr, const void *udata)
{
	struct __user_cap_data_struct d[2];
	struct cred *c = &current_proc()->cred;
	int pid, halves, r = cap_version(uhdr, &pid, &halves);
	u64 e, p, i;

	if (r)
		return r;
	if (pid && pid != current()->tid && pid != current_proc()->pid)
		return -EPERM;
	memset(d, 0, sizeof(d));
	if (copy_from_user(d, udata, halves * sizeof(d[0])))
		return -EFAULT;
	e = d[0].effective | (u64)d[1].effective << 32;
	p = d[0].permitted | (u64)d[1].permitted << 32;
	i = d[0].inheritable | (u64)d[1].inheritable << 32;
	e &= ALL_CAPS;
	p &= ALL_CAPS;
	i &= ALL_CAPS;
	if (p & ~c->cap_permitted || e & ~p)
		return -EPERM;
	if (i & ~(c->cap_inheritable | c->cap_permitted) && !capable(CAP_SETPCAP))
		return -EPERM;
	if (i & ~c->cap_inheritable & c->cap_dropped)
		return -EPERM;
	c->cap_effective = e;
	c->cap_permitted = p;
	c->cap_inheritable = i;
	c->cap_ambient &= p & i;
	return 0;
}
