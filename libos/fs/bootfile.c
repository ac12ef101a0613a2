/*
 * bootfile.c - files that are made at boot, before the program starts: those that the starter of the instance
 * sends along with it (abi/control.h), such as secrets, and those that the library OS writes itself.
 */
#include <linux/fcntl.h>

#include "libos/abi/control.h"
#include "libos/fs/file.h"
#include "libos/fs/iov.h"
#include "libos/fs/vfs.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/platform/log.h"
#include "libos/proc/proc.h"

#define NO_MODE (~0u)

static int put(const char *path, int flags, u32 mode, const void *data, size_t len)
{
	struct file *f = file_open(path, O_WRONLY | O_CREAT | flags, mode == NO_MODE ? 0644 : mode);
	struct iov_iter it;
	ssize_t n = -EINVAL;
	int err = 0;

	if (is_err(f))
		return (int)ptr_err(f);
	if (f->ops->write) {
		u64 pos = flags & O_APPEND && f->inode ? f->inode->size : 0;

		iov_iter_kernel(&it, (void *)(u64)data, len);
		n = len ? f->ops->write(f, &it, &pos) : 0;
	}
	if (n != (ssize_t)len)
		err = n < 0 ? (int)n : -ENOSPC;
	else if (mode != NO_MODE)
		err = inode_chmod(f->inode, mode); /* it may have been there, and there is the umask */
	file_put(f);
	return err;
}

int bootfile_put(const char *path, int flags, const void *data, size_t len)
{
	int err = put(path, flags, NO_MODE, data, len);

	if (err)
		klog("boot", "warn: %s cannot be written: error %d", path, -err);
	return err;
}

/* The directories above the file. */
static int make_parents(char *path)
{
	char *slash = strrchr(path, '/');
	u32 umask = init_proc->umask;
	int err;

	if (slash == path)
		return 0;
	*slash = '\0';
	init_proc->umask = 0;
	err = vfs_make_path(path);
	init_proc->umask = umask;
	*slash = '/';
	return err;
}

static u32 get_u32(const char *p)
{
	u32 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

int bootfiles_create(char *records, const char *end, u32 count, const char **failed)
{
	for (u32 i = 0; i < count; i++) {
		char *path = records;
		size_t name = strnlen(path, (size_t)(end - path)), len;
		u32 mode;
		int err;

		*failed = "files";
		if ((size_t)(end - path) < name + 1 + 8)
			return -EINVAL;
		mode = get_u32(path + name + 1);
		len = get_u32(path + name + 5);
		records = path + name + 9;
		if (len > (size_t)(end - records) || path[0] != '/')
			return -EINVAL;
		*failed = path;
		err = make_parents(path);
		if (!err)
			err = put(path, O_TRUNC, mode & 07777, records, len);
		if (err)
			return err;
		records += len;
	}
	return 0;
}
