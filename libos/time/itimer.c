/*
 * itimer.c - setitimer, getitimer, alarm; and timers on the CPU clocks, which posix timers share.
 */
#include "libos/time/itimer.h"

#include <linux/signal.h>
#undef NSIG
#define NSIG 64
#include <linux/time.h>

#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/sched/uthread.h"
#include "libos/signal/signal.h"

#define CPU_POLL_MIN_NS (1 * NSEC_PER_MSEC)
#define CPU_POLL_IDLE_NS (20 * NSEC_PER_MSEC) /* while the clock stands still */
/* A periodic timer does not fire more often; what expires in between is an overrun. */
#define PERIOD_MIN_NS (20 * NSEC_PER_USEC)
#define SI_KERNEL_CODE 0x80

static bool on_cpu_clock(const struct clock_timer *ct)
{
	return ct->clock == CLOCK_PROCESS_CPUTIME_ID || ct->clock == CLOCK_THREAD_CPUTIME_ID;
}

u64 clock_timer_now(struct clock_timer *ct)
{
	u64 now = 0;

	if (ct->clock == CLOCK_THREAD_CPUTIME_ID)
		return uthread_cpu_ns(ct->ut);
	if (ct->clock == CLOCK_PROCESS_CPUTIME_ID)
		return proc_cpu_ns(ct->proc);
	clock_read(ct->clock, &now);
	return now;
}

static int start_cpu(struct clock_timer *ct)
{
	u64 now = clock_timer_now(ct);
	u64 left = ct->expires > now ? ct->expires - now : 0;
	u32 threads = ct->clock == CLOCK_THREAD_CPUTIME_ID ? 1 : nr_kthreads;

	left = max(left / threads, (u64)CPU_POLL_MIN_NS);
	if (now != ct->seen)
		ct->poll_ns = 0;
	else
		ct->poll_ns = min(max(2 * ct->poll_ns, (u64)CPU_POLL_MIN_NS), (u64)CPU_POLL_IDLE_NS);
	ct->seen = now;
	return timer_arm(&ct->timer, deadline_after(clock_monotonic_ns(), max(left, ct->poll_ns)));
}

int clock_timer_start(struct clock_timer *ct)
{
	if (!ct->expires) {
		timer_try_cancel(&ct->timer);
		return 0;
	}
	if (on_cpu_clock(ct))
		return start_cpu(ct);
	return timer_arm(&ct->timer, clock_to_monotonic(ct->clock, ct->expires));
}

u64 clock_timer_expire(struct clock_timer *ct)
{
	u64 now = clock_timer_now(ct), n = 1, next;

	if (!ct->expires)
		return 0; /* disarmed while its function was on the way */
	if (now < ct->expires) {
		clock_timer_start(ct);
		return 0;
	}
	if (!ct->interval) {
		ct->expires = 0;
		return 1;
	}
	n += (now - ct->expires) / ct->interval;
	if (__builtin_mul_overflow(n, ct->interval, &next) || __builtin_add_overflow(ct->expires, next, &next)) {
		ct->expires = 0;
		return n;
	}
	ct->expires = next;
	if (on_cpu_clock(ct) || next - now >= PERIOD_MIN_NS)
		clock_timer_start(ct);
	else
		timer_arm(&ct->timer, clock_monotonic_ns() + PERIOD_MIN_NS);
	return n;
}

u64 clock_timer_left(struct clock_timer *ct)
{
	u64 now;

	if (!ct->expires)
		return 0;
	now = clock_timer_now(ct);
	return ct->expires > now ? ct->expires - now : 1;
}

/* The timers of setitimer */

static void fire(struct itimers *its, struct clock_timer *ct, int sig)
{
	struct siginfo_k info;
	u64 n;

	spin_lock(&its->lock);
	n = clock_timer_expire(ct);
	spin_unlock(&its->lock);
	if (!n)
		return;
	memset(&info, 0, sizeof(info));
	info.signo = sig;
	info.code = SI_KERNEL_CODE;
	signal_send_proc(its->proc, &info);
}

static void fire_real(struct timer *t)
{
	struct itimers *its = container_of(t, struct itimers, real.timer);

	fire(its, &its->real, SIGALRM);
}

static void fire_virt(struct timer *t)
{
	struct itimers *its = container_of(t, struct itimers, virt.timer);

	fire(its, &its->virt, SIGVTALRM);
}

static void fire_prof(struct timer *t)
{
	struct itimers *its = container_of(t, struct itimers, prof.timer);

	fire(its, &its->prof, SIGPROF);
}

static void fire_cpu_limit(struct timer *t)
{
	struct itimers *its = container_of(t, struct itimers, cpu_limit.timer);
	bool over;

	spin_lock(&its->lock);
	over = clock_timer_now(&its->cpu_limit) >= its->cpu_max;
	spin_unlock(&its->lock);
	fire(its, &its->cpu_limit, over ? SIGKILL : SIGXCPU);
}

static void init_one(struct clock_timer *ct, struct proc *p, int clock, void (*fn)(struct timer *))
{
	timer_init(&ct->timer, fn);
	ct->proc = p;
	ct->clock = clock;
}

struct itimers *itimers_get(void)
{
	struct proc *p = current_proc();
	struct itimers *its = __atomic_load_n(&p->itimers, __ATOMIC_ACQUIRE), *other = NULL;

	if (likely(its))
		return its;
	its = kzalloc(sizeof(*its));
	if (!its)
		return NULL;
	its->proc = p;
	init_one(&its->real, p, CLOCK_MONOTONIC, fire_real);
	init_one(&its->virt, p, CLOCK_PROCESS_CPUTIME_ID, fire_virt);
	init_one(&its->prof, p, CLOCK_PROCESS_CPUTIME_ID, fire_prof);
	init_one(&its->cpu_limit, p, CLOCK_PROCESS_CPUTIME_ID, fire_cpu_limit);
	if (!__atomic_compare_exchange_n(&p->itimers, &other, its, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		kfree(its, sizeof(*its));
		return other;
	}
	return its;
}

static struct clock_timer *by_which(struct itimers *its, int which)
{
	return which == ITIMER_REAL ? &its->real : which == ITIMER_VIRTUAL ? &its->virt : &its->prof;
}

struct itimerval_k {
	struct timeval_k interval, value;
};

static struct timeval_k to_timeval(u64 ns)
{
	/* Rounded up: a timer that runs never shows 0. */
	u64 us = ns / NSEC_PER_USEC + (ns % NSEC_PER_USEC != 0);

	return (struct timeval_k){ us / 1000000, us % 1000000 };
}

static bool from_timeval(const struct timeval_k *tv, u64 *ns)
{
	struct timespec_k ts = { tv->sec, tv->usec * 1000 };

	if (tv->sec < 0 || tv->usec < 0 || tv->usec >= 1000000)
		return false;
	*ns = timespec_to_ns(&ts);
	return true;
}

/* Under its->lock. */
static struct itimerval_k read_itimer(struct clock_timer *ct)
{
	return (struct itimerval_k){ to_timeval(ct->interval), to_timeval(clock_timer_left(ct)) };
}

/* Sets a timer to value ns from now, then every interval ns; *old is what it was. */
static int set_itimer(int which, u64 value, u64 interval, struct itimerval_k *old)
{
	struct itimers *its = itimers_get();
	struct clock_timer *ct;
	int r;

	if (!its)
		return -ENOMEM;
	ct = by_which(its, which);
	spin_lock(&its->lock);
	*old = read_itimer(ct);
	ct->interval = interval;
	ct->expires = value ? deadline_after(clock_timer_now(ct), value) : 0;
	r = clock_timer_start(ct);
	spin_unlock(&its->lock);
	timer_commit();
	return r;
}

long sys_setitimer(int which, const void *unew, void *uold)
{
	struct itimerval_k new, old;
	u64 value, interval;
	int r;

	/* Linux takes NULL for a stopped timer. */
	memset(&new, 0, sizeof(new));
	if (unew && copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	if (which < ITIMER_REAL || which > ITIMER_PROF || !from_timeval(&new.value, &value) ||
	    !from_timeval(&new.interval, &interval))
		return -EINVAL;
	r = set_itimer(which, value, interval, &old);
	if (r || !uold)
		return r;
	return copy_to_user(uold, &old, sizeof(old));
}

long sys_getitimer(int which, void *uval)
{
	struct itimers *its = current_proc()->itimers;
	struct itimerval_k val;

	if (which < ITIMER_REAL || which > ITIMER_PROF)
		return -EINVAL;
	memset(&val, 0, sizeof(val));
	if (its) {
		spin_lock(&its->lock);
		val = read_itimer(by_which(its, which));
		spin_unlock(&its->lock);
	}
	return copy_to_user(uval, &val, sizeof(val));
}

long sys_alarm(u32 seconds)
{
	struct itimerval_k old;
	int r = set_itimer(ITIMER_REAL, min(seconds, 0x7fffffffu) * NSEC_PER_SEC, 0, &old);

	if (r)
		return 0;
	/* Rounded to the nearest, but what runs does not look like 0. */
	return old.value.sec + (old.value.usec >= 500000 || (!old.value.sec && old.value.usec));
}

int itimers_set_cpu_limit(u64 cur, u64 max)
{
	struct itimers *its = itimers_get();
	int r;

	if (!its)
		return -ENOMEM;
	spin_lock(&its->lock);
	/* A limit of nothing counts as one second, as on Linux. */
	its->cpu_limit.expires = cur < NEVER / NSEC_PER_SEC ? (cur ? cur : 1) * NSEC_PER_SEC : 0;
	its->cpu_limit.interval = NSEC_PER_SEC;
	its->cpu_max = max < NEVER / NSEC_PER_SEC ? (max ? max : 1) * NSEC_PER_SEC : NEVER;
	r = clock_timer_start(&its->cpu_limit);
	spin_unlock(&its->lock);
	timer_commit();
	return r;
}
