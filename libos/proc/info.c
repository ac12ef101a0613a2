/*
 * info.c - uname, sysinfo, rusage and times: what the instance tells about itself.
 */
#include "libos/proc/info.h"

#include <linux/capability.h>
#include <linux/personality.h>
#include <linux/resource.h>
#include <linux/sysinfo.h>
#include <linux/time.h>

#include "libos/abi/control.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/mm.h"
#include "libos/mm/shm.h"
#include "libos/mm/usercopy.h"
#include "libos/time/clock.h"

#define USER_HZ 100
#define LOG_BUF_LEN 0x40000

static struct {
	spinlock_t lock;
	bool changed_node, changed_domain; /* else: of the boot record, "(none)" */
	char node[UTS_LEN], domain[UTS_LEN];
} uts;

static const struct control_boot *boot(void)
{
	return &((struct control *)LIBOS_CONTROL_BASE)->boot;
}

void uts_nodename(char buf[UTS_LEN])
{
	spin_lock(&uts.lock);
	if (uts.changed_node)
		memcpy(buf, uts.node, UTS_LEN);
	else
		strlcpy(buf, boot()->hostname[0] ? boot()->hostname : "junction", UTS_LEN);
	spin_unlock(&uts.lock);
}

void uts_domainname(char buf[UTS_LEN])
{
	spin_lock(&uts.lock);
	if (uts.changed_domain)
		memcpy(buf, uts.domain, UTS_LEN);
	else
		strlcpy(buf, "(none)", UTS_LEN);
	spin_unlock(&uts.lock);
}

long sys_uname(void *ubuf)
{
	char u[6][UTS_LEN];

	memset(u, 0, sizeof(u));
	strlcpy(u[0], UTS_SYSNAME, UTS_LEN);
	uts_nodename(u[1]);
	strlcpy(u[2], UTS_RELEASE, UTS_LEN);
	strlcpy(u[3], UTS_VERSION, UTS_LEN);
	strlcpy(u[4], UTS_MACHINE, UTS_LEN);
	uts_domainname(u[5]);
	return copy_to_user(ubuf, u, sizeof(u));
}

static long set_name(char *name, bool *changed, const void *ubuf, int len)
{
	char buf[UTS_LEN] = "";

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (len < 0 || len >= UTS_LEN)
		return -EINVAL;
	if (copy_from_user(buf, ubuf, len))
		return -EFAULT;
	spin_lock(&uts.lock);
	memcpy(name, buf, UTS_LEN);
	*changed = true;
	spin_unlock(&uts.lock);
	return 0;
}

long sys_sethostname(const void *ubuf, int len)
{
	return set_name(uts.node, &uts.changed_node, ubuf, len);
}

long sys_setdomainname(const void *ubuf, int len)
{
	return set_name(uts.domain, &uts.changed_domain, ubuf, len);
}

u64 mem_total_bytes(void)
{
	const struct control_boot *b = boot();

	return b->memory_limit ? b->memory_limit : b->arena_size + b->shm_size;
}

u64 mem_free_bytes(void)
{
	u64 used = alloc_used() + (shm_pages_used() << PAGE_SHIFT), total = mem_total_bytes();

	return used < total ? total - used : 0;
}

long sys_sysinfo(void *ubuf)
{
	struct sysinfo si;

	memset(&si, 0, sizeof(si));
	si.uptime = (host_clock_ns(CLOCK_BOOTTIME) + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
	si.totalram = mem_total_bytes();
	si.freeram = mem_free_bytes();
	si.sharedram = shm_pages_used() << PAGE_SHIFT;
	si.procs = current_proc()->nr_threads;
	si.mem_unit = 1;
	return copy_to_user(ubuf, &si, sizeof(si));
}

static struct timeval_k ns_to_timeval(u64 ns)
{
	return (struct timeval_k){ ns / NSEC_PER_SEC, ns % NSEC_PER_SEC / NSEC_PER_USEC };
}

/* All CPU time counts as user time: the library OS is part of the program's process on the host. */
long sys_getrusage(int who, void *ubuf)
{
	struct uthread *ut = current(), *t;
	struct proc *p = ut->proc;
	struct timeval_k tv;
	struct mm_stats ms;
	struct rusage ru;

	memset(&ru, 0, sizeof(ru));
	switch (who) {
	case RUSAGE_SELF:
		tv = ns_to_timeval(proc_cpu_ns(p));
		ru.ru_minflt = p->nr_minor_faults;
		spin_lock(&p->lock);
		list_for_each_entry(t, &p->threads, proc_link) {
			ru.ru_nvcsw += t->nr_voluntary;
			ru.ru_nivcsw += t->nr_involuntary;
		}
		spin_unlock(&p->lock);
		break;
	case RUSAGE_THREAD:
		tv = ns_to_timeval(uthread_cpu_ns(ut));
		ru.ru_nvcsw = ut->nr_voluntary;
		ru.ru_nivcsw = ut->nr_involuntary;
		break;
	case RUSAGE_CHILDREN:
		return copy_to_user(ubuf, &ru, sizeof(ru));
	default:
		return -EINVAL;
	}
	ru.ru_utime.tv_sec = tv.sec;
	ru.ru_utime.tv_usec = tv.usec;
	/* What is mapped: the host alone knows what of it is resident. */
	mm_get_stats(p->mm, &ms);
	ru.ru_maxrss = ms.total >> 10;
	return copy_to_user(ubuf, &ru, sizeof(ru));
}

long sys_times(void *ubuf)
{
	if (ubuf) {
		u64 t[4] = { proc_cpu_ns(current_proc()) / (NSEC_PER_SEC / USER_HZ) };

		if (copy_to_user(ubuf, t, sizeof(t)))
			return -EFAULT;
	}
	return clock_monotonic_ns() / (NSEC_PER_SEC / USER_HZ);
}

long sys_getcpu(void *ucpu, void *unode)
{
	if (ucpu && put_user_u32(this_kthread()->id, ucpu))
		return -EFAULT;
	if (unode && put_user_u32(0, unode))
		return -EFAULT;
	return 0;
}

/* Addresses are not randomised to begin with; other personalities are other systems. */
long sys_personality(u32 persona)
{
	struct proc *p = current_proc();
	u32 old = p->personality;

	if (persona == 0xffffffff)
		return old;
	if (persona & ~(u32)ADDR_NO_RANDOMIZE)
		return -EINVAL;
	p->personality = persona;
	return old;
}

/* There is no kernel log in here: an empty one, for those who may read it. */
long sys_syslog(int type, void *ubuf, int len)
{
	switch (type) {
	case 10: /* SYSLOG_ACTION_SIZE_BUFFER */
		return capable(CAP_SYSLOG) ? LOG_BUF_LEN : -EPERM;
	case 0:
	case 1:
		return capable(CAP_SYSLOG) ? 0 : -EPERM;
	case 2: /* reads */
	case 3:
	case 4:
		if (!capable(CAP_SYSLOG))
			return -EPERM;
		return !ubuf || len < 0 ? -EINVAL : 0;
	case 5:
	case 6:
	case 7:
	case 8:
	case 9:
		return capable(CAP_SYSLOG) ? 0 : -EPERM;
	}
	return capable(CAP_SYSLOG) ? -EINVAL : -EPERM;
}

/* What takes power over the machine or over other processes that an instance does not have. */
long sys_reboot(void)
{
	return -EPERM;
}

long sys_ptrace(long request, int pid)
{
	return !request || proc_find(pid) ? -EPERM : -ESRCH;
}

long sys_bpf(void)
{
	return -EPERM;
}

long sys_perf_event_open(void)
{
	return -EACCES;
}
