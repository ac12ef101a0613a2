/*
 * timerfd.c - timerfd_create(2): timers that tell through a file descriptor.
 *
 * A periodic timer fires once and then rests until somebody reads or asks; the periods that passed meanwhile are
 * counted then, so a timer that nobody reads costs nothing.
 *
 * Lock order: tfd->set_lock -> tfd->lock -> timer heap, wait queue.
 */
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/time.h>
#include <linux/timerfd.h>

#include "libos/ipc/pipe.h"
#include "libos/ipc/pollbits.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/sched/timer.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

struct timerfd {
	struct mutex set_lock; /* one timerfd_settime at a time */
	spinlock_t lock; /* the rest */
	int clock;
	u64 expires; /* ns on `clock`; 0: disarmed */
	u64 interval; /* ns; 0: one shot */
	u64 ticks; /* expirations not read yet */
	bool fired; /* `expires` has passed and the timer was not armed again */
	struct timer timer;
	struct waitq wait;
};

static void timerfd_fire(struct timer *t)
{
	struct timerfd *tfd = container_of(t, struct timerfd, timer);
	u64 now;
	bool early;

	spin_lock(&tfd->lock);
	/* The wall clock may have been set back since. */
	early = tfd->clock != CLOCK_MONOTONIC && !clock_read(tfd->clock, &now) && now < tfd->expires;
	if (early) {
		timer_arm(t, clock_to_monotonic(tfd->clock, tfd->expires));
	} else {
		tfd->ticks++;
		tfd->fired = true;
	}
	spin_unlock(&tfd->lock);
	if (!early)
		waitq_wake(&tfd->wait, POLLIN_BITS, 0);
}

/* Under lock: counts the periods that went by since the timer fired, and arms it for the next. */
static void timerfd_forward(struct timerfd *tfd)
{
	u64 now, n;

	if (!tfd->fired || !tfd->interval || clock_read(tfd->clock, &now))
		return;
	n = now < tfd->expires ? 0 : (now - tfd->expires) / tfd->interval + 1;
	tfd->expires += n * tfd->interval;
	tfd->ticks += n ? n - 1 : 0;
	tfd->fired = false;
	timer_arm(&tfd->timer, clock_to_monotonic(tfd->clock, tfd->expires));
}

static ssize_t timerfd_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct timerfd *tfd = f->priv;
	u64 ticks;

	if (to->count < sizeof(ticks))
		return -EINVAL;
	for (;;) {
		long r;

		spin_lock(&tfd->lock);
		if (tfd->ticks) {
			timerfd_forward(tfd);
			ticks = tfd->ticks;
			tfd->ticks = 0;
			spin_unlock(&tfd->lock);
			break;
		}
		spin_unlock(&tfd->lock);
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&tfd->wait, READ_ONCE(tfd->ticks), NEVER);
		if (r)
			return r;
	}
	timer_commit();
	return iov_copy_to(to, &ticks, sizeof(ticks)) == sizeof(ticks) ? (ssize_t)sizeof(ticks) : -EFAULT;
}

static u32 timerfd_poll(struct file *f, struct poll_table *pt)
{
	struct timerfd *tfd = f->priv;

	poll_wait(pt, f, &tfd->wait);
	return READ_ONCE(tfd->ticks) ? EPOLLIN : 0;
}

static void timerfd_release(struct file *f)
{
	struct timerfd *tfd = f->priv;

	if (!tfd)
		return;
	timer_cancel(&tfd->timer);
	kfree(tfd, sizeof(*tfd));
}

static const struct file_ops timerfd_ops = {
	.name = "timerfd",
	.read = timerfd_read,
	.poll = timerfd_poll,
	.lseek_zero = true,
	.getattr = anon_getattr,
	.release = timerfd_release,
};

long sys_timerfd_create(int clock, int flags)
{
	struct timerfd *tfd;
	int fd;

	if (flags & ~(TFD_CLOEXEC | TFD_NONBLOCK))
		return -EINVAL;
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
		break;
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
		if (!capable(CAP_WAKE_ALARM))
			return -EPERM;
		break;
	default:
		return -EINVAL;
	}
	tfd = kzalloc(sizeof(*tfd));
	if (!tfd)
		return -ENOMEM;
	mutex_init(&tfd->set_lock);
	waitq_init(&tfd->wait);
	timer_init(&tfd->timer, timerfd_fire);
	tfd->clock = clock;
	fd = anon_install(&timerfd_ops, tfd, O_RDWR | (flags & TFD_NONBLOCK), flags & TFD_CLOEXEC);
	if (fd < 0)
		kfree(tfd, sizeof(*tfd));
	return fd;
}

/* The timer behind fd with a reference to its file, or an errno. */
static int timerfd_get(int fd, struct file **f)
{
	*f = fd_get(fd);
	if (!*f)
		return -EBADF;
	if ((*f)->ops == &timerfd_ops)
		return 0;
	file_put(*f);
	return -EINVAL;
}

/* Under lock. */
static struct itimerspec_k timerfd_left(struct timerfd *tfd)
{
	struct itimerspec_k its = { .interval = ns_to_timespec(tfd->interval) };
	u64 now;

	timerfd_forward(tfd);
	if (tfd->expires && !tfd->fired && !clock_read(tfd->clock, &now))
		/* Armed and due, but not run yet: never 0, which would say disarmed. */
		its.value = ns_to_timespec(tfd->expires > now ? tfd->expires - now : 1);
	return its;
}

long sys_timerfd_settime(int fd, int flags, const void *unew, void *uold)
{
	struct itimerspec_k new, old;
	struct timerfd *tfd;
	struct file *f;
	u64 value, now;
	long r;

	if (copy_from_user(&new, unew, sizeof(new)))
		return -EFAULT;
	if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) || !timespec_valid(&new.value) ||
	    !timespec_valid(&new.interval))
		return -EINVAL;
	r = timerfd_get(fd, &f);
	if (r)
		return r;
	tfd = f->priv;
	value = timespec_to_ns(&new.value);
	mutex_lock(&tfd->set_lock);
	spin_lock(&tfd->lock);
	old = timerfd_left(tfd);
	spin_unlock(&tfd->lock);
	timer_cancel(&tfd->timer);
	spin_lock(&tfd->lock);
	/* A read that came between may have armed it again. */
	timer_try_cancel(&tfd->timer);
	tfd->ticks = 0;
	tfd->fired = false;
	tfd->interval = timespec_to_ns(&new.interval);
	tfd->expires = value;
	if (value) {
		if (!(flags & TFD_TIMER_ABSTIME)) {
			/* A relative time does not follow changes of the wall clock, but its reports do. */
			clock_read(tfd->clock, &now);
			tfd->expires = deadline_after(now, value);
		}
		r = timer_arm(&tfd->timer, clock_to_monotonic(tfd->clock, tfd->expires));
	}
	spin_unlock(&tfd->lock);
	mutex_unlock(&tfd->set_lock);
	timer_commit();
	file_put(f);
	if (!r && uold)
		r = copy_to_user(uold, &old, sizeof(old));
	return r;
}

long sys_timerfd_gettime(int fd, void *uold)
{
	struct itimerspec_k its;
	struct timerfd *tfd;
	struct file *f;
	long r = timerfd_get(fd, &f);

	if (r)
		return r;
	tfd = f->priv;
	spin_lock(&tfd->lock);
	its = timerfd_left(tfd);
	spin_unlock(&tfd->lock);
	timer_commit();
	file_put(f);
	return copy_to_user(uold, &its, sizeof(its));
}
