/*
 * eventfd.c - eventfd(2): a counter that can be waited for.
 */
#include <linux/fcntl.h>

#include "libos/ipc/pipe.h"
#include "libos/ipc/pollbits.h"
#include "libos/mm/alloc.h"
#include "libos/signal/signal.h"

/* include/linux/eventfd.h is not part of the uapi of Debian 12 */
#define EFD_SEMAPHORE 1
#define EFD_CLOEXEC O_CLOEXEC
#define EFD_NONBLOCK O_NONBLOCK
#define COUNT_MAX (UINT64_MAX - 1)

struct eventfd {
	spinlock_t lock;
	bool semaphore;
	u64 count;
	struct waitq wait; /* readers and writers */
};

static ssize_t eventfd_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct eventfd *e = f->priv;
	u64 v;

	if (to->count < sizeof(v))
		return -EINVAL;
	for (;;) {
		long r;

		spin_lock(&e->lock);
		if (e->count) {
			v = e->semaphore ? 1 : e->count;
			e->count -= v;
			spin_unlock(&e->lock);
			break;
		}
		spin_unlock(&e->lock);
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&e->wait, READ_ONCE(e->count), NEVER);
		if (r)
			return r;
	}
	waitq_wake(&e->wait, POLLOUT_BITS, 0);
	return iov_copy_to(to, &v, sizeof(v)) == sizeof(v) ? (ssize_t)sizeof(v) : -EFAULT;
}

static ssize_t eventfd_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct eventfd *e = f->priv;
	u64 v;

	if (from->count < sizeof(v))
		return -EINVAL;
	if (iov_copy_from(from, &v, sizeof(v)) != sizeof(v))
		return -EFAULT;
	if (v == UINT64_MAX)
		return -EINVAL;
	for (;;) {
		long r;

		spin_lock(&e->lock);
		if (COUNT_MAX - e->count >= v) {
			e->count += v;
			spin_unlock(&e->lock);
			break;
		}
		spin_unlock(&e->lock);
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&e->wait, COUNT_MAX - READ_ONCE(e->count) >= v, NEVER);
		if (r)
			return r;
	}
	waitq_wake(&e->wait, POLLIN_BITS, 0);
	return sizeof(v);
}

static u32 eventfd_poll(struct file *f, struct poll_table *pt)
{
	struct eventfd *e = f->priv;
	u64 count;

	poll_wait(pt, f, &e->wait);
	count = READ_ONCE(e->count);
	return (count ? EPOLLIN : 0) | (count < COUNT_MAX ? EPOLLOUT : 0);
}

static void eventfd_release(struct file *f)
{
	if (f->priv)
		kfree(f->priv, sizeof(struct eventfd));
}

static const struct file_ops eventfd_ops = {
	.name = "eventfd",
	.read = eventfd_read,
	.write = eventfd_write,
	.poll = eventfd_poll,
	.lseek_zero = true,
	.getattr = anon_getattr,
	.release = eventfd_release,
};

long sys_eventfd2(u32 count, u32 flags)
{
	struct eventfd *e;
	int fd;

	if (flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK))
		return -EINVAL;
	e = kzalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	waitq_init(&e->wait);
	e->count = count;
	e->semaphore = flags & EFD_SEMAPHORE;
	fd = anon_install(&eventfd_ops, e, O_RDWR | (flags & EFD_NONBLOCK), flags & EFD_CLOEXEC);
	if (fd < 0)
		kfree(e, sizeof(*e));
	return fd;
}

long sys_eventfd(u32 count)
{
	return sys_eventfd2(count, 0);
}
