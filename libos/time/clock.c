/*
 * clock.c - the clocks: clock_gettime and its kind, clock_getres, and what may not be set.
 *
 * Time comes from the host's vDSO. CPU clocks count what the scheduler measured: the time that a uthread
 * spent on a kthread, libOS included.
 */
#include "libos/time/clock.h"

#include <linux/capability.h>
#include <linux/time.h>
#include <linux/timex.h>

#include "libos/abi/control.h"
#include "libos/lib/random.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/sched/uthread.h"

#define NR_CLOCKS 12
#define COARSE_RES_NS 4000000 /* of a host with HZ=250, if its vDSO does not say */

/* A negative clock id names a CPU clock: ~pid << 3 | per-thread << 2 | kind (kernel/time/posix-timers). */
#define CPUCLOCK_PID(id) (~((id) >> 3))
#define CPUCLOCK_PERTHREAD(id) ((id) & 4)
#define CPUCLOCK_WHICH(id) ((id) & 3)
#define CPUCLOCK_FD 3

void time_init(void)
{
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;

	random_reseed(ctl->boot.seed);
}

u64 proc_cpu_ns(struct proc *p)
{
	struct uthread *ut;
	u64 sum;

	spin_lock(&p->lock);
	sum = p->dead_cpu_ns;
	list_for_each_entry(ut, &p->threads, proc_link)
		sum += uthread_cpu_ns(ut);
	spin_unlock(&p->lock);
	return sum;
}

static int cpuclock_read(int id, u64 *ns)
{
	int pid = CPUCLOCK_PID(id);

	if (CPUCLOCK_WHICH(id) >= CPUCLOCK_FD)
		return -EINVAL;
	if (CPUCLOCK_PERTHREAD(id)) {
		struct uthread *ut;

		if (!pid || pid == current()->tid) {
			*ns = uthread_cpu_ns(current());
			return 0;
		}
		ut = uthread_find(pid);
		if (!ut)
			return -EINVAL;
		if (ut->proc != current_proc()) {
			uthread_put(ut);
			return -EINVAL;
		}
		*ns = uthread_cpu_ns(ut);
		uthread_put(ut);
	} else {
		struct proc *p = pid ? proc_find(pid) : current_proc();

		if (!p)
			return -EINVAL;
		*ns = proc_cpu_ns(p);
	}
	return 0;
}

int clock_read(int id, u64 *ns)
{
	if (id < 0)
		return cpuclock_read(id, ns);
	switch (id) {
	case CLOCK_PROCESS_CPUTIME_ID:
		*ns = proc_cpu_ns(current_proc());
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		*ns = uthread_cpu_ns(current());
		return 0;
	case CLOCK_REALTIME_ALARM:
		*ns = host_clock_ns(CLOCK_REALTIME);
		return 0;
	case CLOCK_BOOTTIME_ALARM:
		*ns = host_clock_ns(CLOCK_BOOTTIME);
		return 0;
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_TAI:
		*ns = host_clock_ns(id);
		return 0;
	}
	return -EINVAL;
}

u64 clock_to_monotonic(int id, u64 abs)
{
	u64 now, mono;

	if (id == CLOCK_MONOTONIC || clock_read(id, &now))
		return abs;
	mono = clock_monotonic_ns();
	if (abs <= now)
		return mono;
	return deadline_after(mono, abs - now);
}

long sys_clock_gettime(int id, void *uts)
{
	struct timespec_k ts;
	u64 ns;
	int r = clock_read(id, &ns);

	if (r)
		return r;
	ts = ns_to_timespec(ns);
	return copy_to_user(uts, &ts, sizeof(ts));
}

static int clock_res(int id, struct timespec_k *res)
{
	int (*vdso)(int, void *) = this_kthread()->vdso_clock_getres;
	u64 ns;
	int r;

	*res = (struct timespec_k){ 0, 1 };
	if (id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE) {
		if (!vdso || vdso(id, res))
			res->nsec = COARSE_RES_NS;
		return 0;
	}
	r = clock_read(id, &ns);
	return r;
}

long sys_clock_getres(int id, void *uts)
{
	struct timespec_k res;
	int r = clock_res(id, &res);

	if (r || !uts)
		return r;
	return copy_to_user(uts, &res, sizeof(res));
}

long sys_gettimeofday(void *utv, void *utz)
{
	if (utv) {
		u64 ns = clock_realtime_ns();
		struct timeval_k tv = { ns / NSEC_PER_SEC, ns % NSEC_PER_SEC / NSEC_PER_USEC };

		if (copy_to_user(utv, &tv, sizeof(tv)))
			return -EFAULT;
	}
	if (utz)
		return clear_user(utz, 8); /* struct timezone: UTC */
	return 0;
}

long sys_time(void *ut)
{
	u64 sec = clock_realtime_ns() / NSEC_PER_SEC;

	if (ut && put_user_u64(sec, ut))
		return -EFAULT;
	return sec;
}

/*
 * An instance has no clock of its own to set: a wrong argument is answered as Linux does, a right one with
 * -EPERM, as without CAP_SYS_TIME.
 */
long sys_clock_settime(int id, const void *uts)
{
	struct timespec_k ts;

	if (id != CLOCK_REALTIME)
		return -EINVAL;
	if (copy_from_user(&ts, uts, sizeof(ts)))
		return -EFAULT;
	return timespec_valid(&ts) ? -EPERM : -EINVAL;
}

long sys_settimeofday(const void *utv, const void *utz)
{
	struct timeval_k tv;
	u64 tz;

	if (utv) {
		if (copy_from_user(&tv, utv, sizeof(tv)))
			return -EFAULT;
		if (tv.sec < 0 || (u64)tv.usec > 1000000)
			return -EINVAL;
	}
	if (utz && copy_from_user(&tz, utz, sizeof(tz)))
		return -EFAULT;
	return -EPERM;
}

long sys_clock_adjtime(int id, void *utx)
{
	struct __kernel_timex tx;
	u64 now;

	if (id < 0 || id >= NR_CLOCKS)
		return -EINVAL;
	if (id != CLOCK_REALTIME)
		return -EOPNOTSUPP;
	if (copy_from_user(&tx, utx, sizeof(tx)))
		return -EFAULT;
	if (tx.modes)
		return -EPERM;
	/* A clock of which nothing is known but the time: as a kernel that nobody has disciplined yet. */
	memset(&tx, 0, sizeof(tx));
	now = clock_realtime_ns();
	tx.maxerror = tx.esterror = 16000000;
	tx.status = STA_UNSYNC;
	tx.constant = 2;
	tx.precision = 1;
	tx.tolerance = 32768000;
	tx.tick = 10000;
	tx.time.tv_sec = now / NSEC_PER_SEC;
	tx.time.tv_usec = now % NSEC_PER_SEC / NSEC_PER_USEC;
	if (copy_to_user(utx, &tx, sizeof(tx)))
		return -EFAULT;
	return TIME_ERROR;
}

long sys_adjtimex(void *utx)
{
	return sys_clock_adjtime(CLOCK_REALTIME, utx);
}
