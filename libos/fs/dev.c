/*
 * dev.c - character devices: null, zero, full, random, urandom, tty; what opening a special file
 * does.
 */
#include <linux/fcntl.h>
#include <linux/random.h>
#include <linux/stat.h>

#include "libos/fs/change.h"
#include "libos/fs/pseudo.h"
#include "libos/fs/stdio.h"
#include "libos/ipc/pipe.h"
#include "libos/lib/random.h"
#include "libos/mm/usercopy.h"

static ssize_t null_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	return 0;
}

static ssize_t null_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	size_t n = from->count;

	iov_advance(from, n);
	return (ssize_t)n;
}

static ssize_t zero_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	size_t n = to->count, done = iov_zero(to, n);

	return done || !n ? (ssize_t)done : -EFAULT;
}

static ssize_t full_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	return -ENOSPC;
}

static ssize_t random_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	u8 buf[256];
	size_t n = to->count, done = 0;

	while (done < n) {
		size_t chunk = min(n - done, sizeof(buf)), c;

		random_bytes(buf, chunk);
		c = iov_copy_to(to, buf, chunk);
		done += c;
		if (c < chunk)
			break;
	}
	return done || !n ? (ssize_t)done : -EFAULT;
}

static long random_ioctl(struct file *f, unsigned cmd, u64 arg)
{
	if (cmd == RNDGETENTCNT)
		return put_user_u32(256, (void *)arg);
	return -ENOTTY;
}

/* These devices take a seek and stay where they are. */
static s64 null_llseek(struct file *f, s64 off, int whence)
{
	return 0;
}

static s64 zero_map_pages(struct file *f, u64 pgoff, u64 n, bool shared_write, int *fd, u64 *off)
{
	*fd = -1;
	*off = 0;
	return (s64)n;
}

static const struct file_ops null_fops = {
	.name = "null",
	.read = null_read,
	.write = null_write,
	.llseek = null_llseek,
};
static const struct file_ops zero_fops = {
	.name = "zero",
	.read = zero_read,
	.write = null_write,
	.llseek = null_llseek,
	.map_pages = zero_map_pages,
};
static const struct file_ops full_fops = {
	.name = "full",
	.read = zero_read,
	.write = full_write,
	.llseek = null_llseek,
};
static const struct file_ops random_fops = {
	.name = "random",
	.read = random_read,
	.write = null_write,
	.llseek = null_llseek,
	.ioctl = random_ioctl,
};

static const struct device {
	const char *path;
	u64 rdev;
	u32 mode;
	const struct file_ops *fops;
} devices[] = {
	{"/dev/null", MKDEV(1, 3), 0666, &null_fops},
	{"/dev/zero", MKDEV(1, 5), 0666, &zero_fops},
	{"/dev/full", MKDEV(1, 7), 0666, &full_fops},
	{"/dev/random", MKDEV(1, 8), 0666, &random_fops},
	{"/dev/urandom", MKDEV(1, 9), 0666, &random_fops},
	{"/dev/tty", MKDEV(5, 0), 0666, NULL},
};

int special_open(struct inode *inode, struct file *f)
{
	if (S_ISFIFO(inode->mode))
		return fifo_open(f, &inode->fifo);
	if (!S_ISCHR(inode->mode))
		return -ENXIO;
	if (inode->rdev == MKDEV(5, 0))
		return stdio_open_tty(f);
	for (u32 i = 0; i < ARRAY_SIZE(devices); i++)
		if (devices[i].rdev == inode->rdev && devices[i].fops) {
			f->ops = devices[i].fops;
			return 0;
		}
	return -ENXIO;
}

int dev_populate(void)
{
	static const char *const links[][2] = {
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	};
	int err = 0;

	for (u32 i = 0; i < ARRAY_SIZE(devices) && !err; i++)
		err = do_mknodat(AT_FDCWD, devices[i].path, S_IFCHR | devices[i].mode,
				 devices[i].rdev);
	for (u32 i = 0; i < ARRAY_SIZE(links) && !err; i++)
		err = do_symlinkat(links[i][0], AT_FDCWD, links[i][1]);
	return err;
}

struct file *null_file(u32 flags)
{
	struct dentry *d;
	struct file *f;

	if (path_lookup(AT_FDCWD, "/dev/null", 0, &d, NULL))
		return NULL;
	f = dentry_open(d, flags);
	dput(d);
	return is_err(f) ? NULL : f;
}
