/*
 * ptimer.c - POSIX timers: timer_create(2) and its kind.
 *
 * At each expiration a timer sends its signal. While that signal is still pending the next ones count as overruns
 * in its siginfo (signal/pending.c); what expires until the signal is taken is added then.
 */
#include <linux/capability.h>
#include <linux/signal.h>
#undef NSIG
#define NSIG 64
#include <linux/time.h>

#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/sched/uthread.h"
#include "libos/signal/signal.h"
#include "libos/time/itimer.h"

#define MAX_TIMERS 32768u
#define FIRST_TABLE 16u
#define SI_TIMER_CODE (-2)
#define OVERRUN_MAX 0x7fffffffull /* DELAYTIMER_MAX */

struct ptimer {
	struct clock_timer ct;
	struct itimers *its;
	int id, clock; /* as timer_create was given it */
	int notify, signo;
	u64 value;
	struct uthread *target; /* SIGEV_THREAD_ID, with a reference */
	u32 overrun; /* of the signal taken last */
};

struct sigevent_k {
	u64 value;
	s32 signo, notify, tid;
	u8 pad[44];
};
_Static_assert(sizeof(struct sigevent_k) == 64, "sigevent");

static u32 clip(u64 overruns)
{
	return min(overruns, OVERRUN_MAX);
}

static void ptimer_fire(struct timer *t)
{
	struct ptimer *pt = container_of(t, struct ptimer, ct.timer);
	struct siginfo_k info;
	u64 n;

	spin_lock(&pt->its->lock);
	n = clock_timer_expire(&pt->ct);
	spin_unlock(&pt->its->lock);
	if (!n || pt->notify == SIGEV_NONE)
		return;
	memset(&info, 0, sizeof(info));
	info.signo = pt->signo;
	info.code = SI_TIMER_CODE;
	info.timer.tid = pt->id;
	info.timer.overrun = clip(n - 1);
	info.timer.value = pt->value;
	if (!pt->target)
		signal_send_proc(pt->its->proc, &info);
	else if (!READ_ONCE(pt->target->exiting))
		signal_send_thread(pt->target, &info);
}

void ptimer_signal_taken(struct proc *p, struct siginfo_k *info)
{
	struct itimers *its = p->itimers;
	u32 id = info->timer.tid;
	struct ptimer *pt;

	if (!its)
		return;
	spin_lock(&its->lock);
	pt = id < its->table_size ? its->table[id] : NULL;
	if (pt) {
		u64 n = info->timer.overrun;

		/* Reading the process clock takes proc->lock, which comes before sig_lock. */
		if (pt->ct.clock != CLOCK_PROCESS_CPUTIME_ID && pt->ct.interval && pt->ct.expires &&
		    pt->ct.expires <= clock_timer_now(&pt->ct))
			n += clock_timer_expire(&pt->ct);
		info->timer.overrun = pt->overrun = clip(n);
	}
	spin_unlock(&its->lock);
}

static void ptimer_free(struct ptimer *pt)
{
	timer_cancel(&pt->ct.timer);
	if (pt->target)
		uthread_put(pt->target);
	if (pt->ct.ut)
		uthread_put(pt->ct.ut);
	kfree(pt, sizeof(*pt));
}

/* Gives pt an id. -EAGAIN: too many, -ENOMEM. */
static int table_add(struct itimers *its, struct ptimer *pt)
{
	u32 size, id;
	struct ptimer **v, **old = NULL;

	for (;;) {
		spin_lock(&its->lock);
		size = its->table_size;
		if (its->nr < size)
			break;
		spin_unlock(&its->lock);
		if (size >= MAX_TIMERS)
			return -EAGAIN;
		u32 grown = size ? 2 * size : FIRST_TABLE;

		v = kzalloc(grown * sizeof(*v));
		if (!v)
			return -EAGAIN;
		spin_lock(&its->lock);
		if (its->table_size == size) {
			if (size)
				memcpy(v, its->table, size * sizeof(*v));
			old = its->table;
			its->table = v;
			its->table_size = grown;
			v = NULL;
		}
		spin_unlock(&its->lock);
		if (v)
			kfree(v, grown * sizeof(*v));
		else if (old)
			kfree(old, size * sizeof(*old));
	}
	for (id = 0; its->table[id]; id++)
		;
	its->table[id] = pt;
	its->nr++;
	pt->id = id;
	spin_unlock(&its->lock);
	return 0;
}

/* The timer called id of the caller, with its->lock held; NULL (and not held): there is none. */
static struct ptimer *ptimer_lock(int id, struct itimers **its)
{
	*its = current_proc()->itimers;
	if (!*its)
		return NULL;
	spin_lock(&(*its)->lock);
	if ((u32)id < (*its)->table_size && (*its)->table[id])
		return (*its)->table[id];
	spin_unlock(&(*its)->lock);
	return NULL;
}

/* A thread of the caller's process with a reference, or NULL. */
static struct uthread *own_thread(int tid)
{
	struct uthread *ut = uthread_find(tid);

	if (ut && ut->proc != current_proc()) {
		uthread_put(ut);
		return NULL;
	}
	return ut;
}

/* Sets the clock of a timer. */
static int choose_clock(struct clock_timer *ct, int clock)
{
	ct->proc = current_proc();
	ct->clock = clock;
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_TAI:
	case CLOCK_PROCESS_CPUTIME_ID:
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		ct->ut = current();
		uthread_get(ct->ut);
		return 0;
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
		return capable(CAP_WAKE_ALARM) ? 0 : -EPERM;
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
		return -EOPNOTSUPP;
	}
	if (clock >= 0 || (clock & 3) == 3)
		return -EINVAL;
	/* A CPU clock by number, as clock_getcpuclockid(3) makes it. */
	int pid = ~(clock >> 3);

	if (clock & 4) {
		ct->clock = CLOCK_THREAD_CPUTIME_ID;
		ct->ut = own_thread(pid ? pid : current()->tid);
		return ct->ut ? 0 : -EINVAL;
	}
	ct->clock = CLOCK_PROCESS_CPUTIME_ID;
	if (pid)
		ct->proc = proc_find(pid);
	return ct->proc ? 0 : -EINVAL;
}

/* Takes over what timer_create was told about the signal. */
static int choose_event(struct ptimer *pt, const struct sigevent_k *ev)
{
	pt->notify = ev->notify;
	pt->signo = ev->signo;
	pt->value = ev->value;
	switch (ev->notify) {
	case SIGEV_NONE:
		return 0;
	case SIGEV_THREAD_ID:
		pt->target = own_thread(ev->tid);
		if (!pt->target)
			return -EINVAL;
		/* fall through */
	case SIGEV_SIGNAL:
	case SIGEV_THREAD:
		return ev->signo <= 0 || ev->signo > NSIG ? -EINVAL : 0;
	}
	return -EINVAL;
}

long sys_timer_create(int clock, const void *uev, void *uid)
{
	struct itimers *its = itimers_get();
	struct sigevent_k ev;
	struct ptimer *pt;
	int r;

	if (uev && copy_from_user(&ev, uev, sizeof(ev)))
		return -EFAULT;
	pt = its ? kzalloc(sizeof(*pt)) : NULL;
	if (!pt)
		return -EAGAIN;
	pt->its = its;
	pt->clock = clock;
	timer_init(&pt->ct.timer, ptimer_fire);
	r = choose_clock(&pt->ct, clock);
	if (!r && uev)
		r = choose_event(pt, &ev);
	if (r)
		goto fail;
	if (!uev)
		pt->signo = SIGALRM;
	r = table_add(its, pt);
	if (r)
		goto fail;
	if (!uev)
		pt->value = pt->id;
	if (!put_user_u32(pt->id, uid))
		return 0;
	r = -EFAULT;
	spin_lock(&its->lock);
	its->table[pt->id] = NULL;
	its->nr--;
	spin_unlock(&its->lock);
fail:
	ptimer_free(pt);
	return r;
}

static struct itimerspec_k read_ptimer(struct ptimer *pt)
{
	struct clock_timer *ct = &pt->ct;
	u64 left = clock_timer_left(ct);

	/* Due but not fired yet, as it may be for a while on a busy core: show the time to the one after. */
	if (left == 1 && ct->interval) {
		u64 now = clock_timer_now(ct);

		left = now < ct->expires ? ct->expires - now : ct->interval - (now - ct->expires) % ct->interval;
	}
	return (struct itimerspec_k){ ns_to_timespec(ct->interval), ns_to_timespec(left) };
}

long sys_timer_settime(int id, int flags, const void *unew, void *uold)
{
	struct itimerspec_k new, old;
	struct itimers *its;
	struct ptimer *pt;
	u64 value;
	int r;

	if (!unew)
		return -EINVAL;
	if (copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	if (!timespec_valid(&new.value) || !timespec_valid(&new.interval))
		return -EINVAL;
	pt = ptimer_lock(id, &its);
	if (!pt)
		return -EINVAL;
	old = read_ptimer(pt);
	value = timespec_to_ns(&new.value);
	pt->overrun = 0;
	pt->ct.interval = timespec_to_ns(&new.interval);
	/* A relative time does not follow changes of the wall clock. */
	if (pt->clock == CLOCK_REALTIME)
		pt->ct.clock = flags & TIMER_ABSTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	if (value && !(flags & TIMER_ABSTIME))
		value = deadline_after(clock_timer_now(&pt->ct), value);
	pt->ct.expires = value;
	r = clock_timer_start(&pt->ct);
	spin_unlock(&its->lock);
	timer_commit();
	if (!r && uold)
		r = copy_to_user(uold, &old, sizeof(old));
	return r;
}

long sys_timer_gettime(int id, void *uval)
{
	struct itimerspec_k val;
	struct itimers *its;
	struct ptimer *pt = ptimer_lock(id, &its);

	if (!pt)
		return -EINVAL;
	val = read_ptimer(pt);
	spin_unlock(&its->lock);
	return copy_to_user(uval, &val, sizeof(val));
}

long sys_timer_getoverrun(int id)
{
	struct itimers *its;
	struct ptimer *pt = ptimer_lock(id, &its);
	long r;

	if (!pt)
		return -EINVAL;
	r = pt->overrun;
	spin_unlock(&its->lock);
	return r;
}

static void table_remove(struct itimers *its, struct ptimer *pt)
{
	its->table[pt->id] = NULL;
	its->nr--;
	pt->ct.expires = 0;
	pt->ct.interval = 0;
}

long sys_timer_delete(int id)
{
	struct itimers *its;
	struct ptimer *pt = ptimer_lock(id, &its);

	if (!pt)
		return -EINVAL;
	table_remove(its, pt);
	spin_unlock(&its->lock);
	ptimer_free(pt);
	return 0;
}

void ptimers_delete_all(struct proc *p)
{
	struct itimers *its = p->itimers;

	for (u32 id = 0; its && id < its->table_size; id++) {
		struct ptimer *pt;

		spin_lock(&its->lock);
		pt = its->table[id];
		if (pt)
			table_remove(its, pt);
		spin_unlock(&its->lock);
		if (pt)
			ptimer_free(pt);
	}
}
