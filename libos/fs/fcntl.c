/*
 * fcntl.c - calls on descriptors: close, dup, fcntl, ioctl.
 */
#include <linux/fcntl.h>
#include <linux/close_range.h>
#include <linux/resource.h>
#include <asm/ioctls.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/locks.h"
#include "libos/fs/vfs.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

/* ipc/pipe.c: F_SETPIPE_SZ and F_GETPIPE_SZ. */
__attribute__((weak)) long pipe_fcntl(struct file *f, unsigned cmd, u64 arg)
{
	return -EBADF;
}

long sys_close(int fd)
{
	return fd_close(fd);
}

long sys_dup(int fd)
{
	struct file *f = fd_get_path(fd);
	int r;

	if (!f)
		return -EBADF;
	r = fd_install(f, 0, 0);
	if (r < 0)
		file_put(f);
	return r;
}

static u64 nofile_limit(void)
{
	u64 lim = current_proc()->rlim[RLIMIT_NOFILE].cur;

	return lim < FD_LIMIT ? lim : FD_LIMIT;
}

static long do_dup3(int from, int to, u32 fdflags)
{
	struct file *f;
	int r;

	if (to < 0 || (u64)to >= nofile_limit())
		return -EBADF;
	f = fd_get_path(from);
	if (!f)
		return -EBADF;
	r = fd_install_at(current_proc()->fdt, f, to, fdflags);
	if (r < 0)
		file_put(f);
	return r;
}

long sys_dup2(int from, int to)
{
	if (from == to)
		return fd_get_flags(current_proc()->fdt, from) < 0 ? -EBADF : to;
	return do_dup3(from, to, 0);
}

long sys_dup3(int from, int to, int flags)
{
	if (flags & ~O_CLOEXEC || from == to)
		return -EINVAL;
	return do_dup3(from, to, flags & O_CLOEXEC ? FD_CLOEXEC : 0);
}

/* close_range(2). CLOSE_RANGE_UNSHARE: the table is this process's alone already. */
long sys_close_range(u32 first, u32 last, u32 flags)
{
	struct fdtable *t = current_proc()->fdt;

	if (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) || first > last)
		return -EINVAL;
	if (first >= FD_LIMIT)
		return 0;
	for (int fd = (int)first; (fd = fd_next_open(t, fd)) >= 0 && (u32)fd <= last; fd++) {
		if (flags & CLOSE_RANGE_CLOEXEC)
			fd_set_flags(t, fd, FD_CLOEXEC);
		else
			fd_close(fd);
	}
	return 0;
}

/* What F_SETFL may change (fcntl(2)). O_DIRECT is not: nothing here has a page cache to go round.
 */
#define SETFL_MASK (O_APPEND | O_NONBLOCK | O_NOATIME | FASYNC | O_DIRECT)

static long set_flags(struct file *f, u32 arg)
{
	u32 old = READ_ONCE(f->flags), new;

	do
		new = (old & ~(u32)SETFL_MASK) | (arg & SETFL_MASK);
	while (!__atomic_compare_exchange_n(&f->flags, &old, new, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
	return 0;
}

static long do_fcntl(struct file *f, int fd, unsigned cmd, u64 arg)
{
	struct fdtable *t = current_proc()->fdt;
	long r;

	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if ((u32)arg >= nofile_limit())
			return -EINVAL;
		file_get(f);
		r = fd_install(f, (int)arg, cmd == F_DUPFD_CLOEXEC ? FD_CLOEXEC : 0);
		if (r < 0)
			file_put(f);
		return r;
	case F_GETFD:
		return fd_get_flags(t, fd);
	case F_SETFD:
		return fd_set_flags(t, fd, (u32)arg & FD_CLOEXEC);
	case F_GETFL:
		return f->flags & ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
	}
	if (f->flags & O_PATH)
		return -EBADF;
	switch (cmd) {
	case F_SETFL:
		return set_flags(f, (u32)arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return fcntl_lock(f, fd, cmd, arg);
	case F_GETOWN:
		return f->owner;
	case F_SETOWN:
		f->owner = (int)arg;
		return 0;
	case F_GETSIG:
		return 0;
	case F_SETSIG:
		return arg ? -EINVAL : 0;
	case F_SETPIPE_SZ:
	case F_GETPIPE_SZ:
		return pipe_fcntl(f, cmd, arg);
	case F_ADD_SEALS:
	case F_GET_SEALS:
		return memfd_seals(f, cmd, arg);
	case F_GETLEASE:
		return F_UNLCK;
	}
	return -EINVAL;
}

long sys_fcntl(int fd, unsigned cmd, u64 arg)
{
	struct file *f = fd_get_path(fd);
	long r;

	if (!f)
		return -EBADF;
	r = do_fcntl(f, fd, cmd, arg);
	file_put(f);
	return r;
}

long sys_ioctl(int fd, unsigned cmd, u64 arg)
{
	struct fdtable *t = current_proc()->fdt;
	struct file *f = fd_get(fd);
	u32 on;
	long r = 0;

	if (!f)
		return -EBADF;
	switch (cmd) {
	case FIOCLEX:
		r = fd_set_flags(t, fd, FD_CLOEXEC);
		break;
	case FIONCLEX:
		r = fd_set_flags(t, fd, 0);
		break;
	case FIONBIO:
		r = get_user_u32(&on, (void *)arg);
		if (!r)
			set_flags(f, on ? f->flags | O_NONBLOCK : f->flags & ~(u32)O_NONBLOCK);
		break;
	case FIOASYNC:
		r = get_user_u32(&on, (void *)arg);
		if (!r)
			set_flags(f, on ? f->flags | FASYNC : f->flags & ~(u32)FASYNC);
		break;
	default:
		r = f->ops->ioctl ? f->ops->ioctl(f, cmd, arg) : -ENOTTY;
	}
	file_put(f);
	return r;
}
