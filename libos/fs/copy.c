/*
 * copy.c - calls that move bytes between descriptors: sendfile, copy_file_range, splice, vmsplice;
 * sync and advice.
 */
#include <linux/fadvise.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/vfs.h"
#include "libos/ipc/pipe.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define COPY_BUFFER 65536ul

/*
 * Moves up to n bytes from in (at *in_pos, or its stream) to out, through a buffer. What was read
 * from a file but could not be written is not counted and read again next time; a stream is written
 * out, come what may.
 */
static ssize_t move(struct file *in, u64 *in_pos, struct file *out, u64 *out_pos, size_t n)
{
	char *buf = kmalloc(COPY_BUFFER);
	ssize_t total = 0, r = 0;

	if (!buf)
		return -ENOMEM;
	while ((size_t)total < n) {
		struct iov_iter it;
		u64 pos = in_pos ? *in_pos : 0;
		ssize_t got, put = 0;

		iov_iter_kernel(&it, buf, min(n - (size_t)total, COPY_BUFFER));
		got = in->ops->read(in, &it, in_pos ? &pos : NULL);
		if (got <= 0) {
			r = got;
			break;
		}
		while (put < got) {
			iov_iter_kernel(&it, buf + put, (size_t)(got - put));
			r = out->ops->write(out, &it, out_pos);
			if (r <= 0)
				break;
			put += r;
			if (in_pos && put < got) {
				r = 0;
				break;
			}
		}
		if (in_pos)
			*in_pos += (u64)put;
		total += put;
		if (put < got || !in_pos || signal_pending(current()))
			break;
	}
	kfree(buf, COPY_BUFFER);
	return total ? total : r;
}

static bool regular(const struct file *f)
{
	return f->inode && S_ISREG(f->inode->mode);
}

/* Reads the user's offset, or takes the file's own. */
static int get_pos(struct file *f, u64 upos, u64 *pos)
{
	if (!upos) {
		*pos = f->pos;
		return 0;
	}
	if (copy_from_user(pos, (void *)upos, sizeof(*pos)))
		return -EFAULT;
	return (s64)*pos < 0 ? -EINVAL : 0;
}

static int put_pos(struct file *f, u64 upos, u64 pos)
{
	if (upos)
		return copy_to_user((void *)upos, &pos, sizeof(pos));
	f->pos = pos;
	return 0;
}

long sys_sendfile(int out_fd, int in_fd, u64 uoff, size_t count)
{
	struct file *in = fd_get(in_fd), *out = NULL;
	u64 pos, out_pos;
	long r = -EBADF;

	if (!in || !FMODE_CAN_READ(in))
		goto out;
	if (uoff && !in->ops->llseek) {
		r = -ESPIPE;
		goto out;
	}
	out = fd_get(out_fd);
	if (!out || !FMODE_CAN_WRITE(out))
		goto out;
	r = -EINVAL;
	if (!in->ops->read || !in->ops->llseek || !out->ops->write || out->flags & O_APPEND)
		goto out;
	r = get_pos(in, uoff, &pos);
	if (r)
		goto out;
	out_pos = out->pos;
	r = move(in, &pos, out, out->ops->llseek ? &out_pos : NULL, min(count, MAX_RW_COUNT));
	if (r > 0) {
		if (out->ops->llseek)
			out->pos = out_pos;
		if (put_pos(in, uoff, pos))
			r = -EFAULT;
	}
out:
	if (in)
		file_put(in);
	if (out)
		file_put(out);
	return r;
}

long sys_copy_file_range(int in_fd, u64 uin, int out_fd, u64 uout, size_t len, u32 flags)
{
	struct file *in = fd_get(in_fd), *out = fd_get(out_fd);
	u64 in_pos, out_pos;
	long r = -EBADF;

	if (!in || !out)
		goto out;
	r = get_pos(in, uin, &in_pos);
	if (!r)
		r = get_pos(out, uout, &out_pos);
	if (r)
		goto out;
	r = -EINVAL;
	if (flags)
		goto out;
	r = -EISDIR;
	if ((in->inode && S_ISDIR(in->inode->mode)) || (out->inode && S_ISDIR(out->inode->mode)))
		goto out;
	r = -EINVAL;
	if (!regular(in) || !regular(out))
		goto out;
	r = -EBADF;
	if (!FMODE_CAN_READ(in) || !FMODE_CAN_WRITE(out) || out->flags & O_APPEND)
		goto out;
	r = -EINVAL;
	if (!in->ops->read || !out->ops->write)
		goto out;
	r = -EOVERFLOW;
	if (in_pos + len < in_pos || out_pos + len < out_pos)
		goto out;
	/* The overlap that counts is of what there is to copy. */
	len = in_pos < in->inode->size ? min(len, in->inode->size - in_pos) : 0;
	r = -EINVAL;
	if (in->inode == out->inode && in_pos < out_pos + len && out_pos < in_pos + len)
		goto out;
	r = move(in, &in_pos, out, &out_pos, min(len, MAX_RW_COUNT));
	if (r > 0) {
		if (put_pos(in, uin, in_pos) || put_pos(out, uout, out_pos))
			r = -EFAULT;
	}
out:
	if (in)
		file_put(in);
	if (out)
		file_put(out);
	return r;
}

/* splice(2) copies here; what it saves on Linux are page table tricks that memory to memory does
 * not need. */
long sys_splice(int in_fd, u64 uin, int out_fd, u64 uout, size_t len, u32 flags)
{
	struct file *in, *out;
	u64 in_pos, out_pos;
	bool in_pipe, out_pipe;
	long r = -EBADF;

	if (flags & ~15u)
		return -EINVAL;
	if (!len)
		return 0;
	in = fd_get(in_fd);
	out = fd_get(out_fd);
	if (!in || !out)
		goto out;
	in_pipe = file_is_pipe(in);
	out_pipe = file_is_pipe(out);
	r = -ESPIPE;
	if ((in_pipe && uin) || (out_pipe && uout))
		goto out;
	/* A bad offset pointer is found before anything else about the files. */
	r = get_pos(out, uout, &out_pos);
	if (!r)
		r = get_pos(in, uin, &in_pos);
	if (r)
		goto out;
	r = -EBADF;
	if (!FMODE_CAN_READ(in) || !FMODE_CAN_WRITE(out))
		goto out;
	r = -EINVAL;
	if ((!in_pipe && !out_pipe) || (in_pipe && out_pipe && in->priv == out->priv) ||
	    (uin && !in->ops->llseek) || (uout && !out->ops->llseek) || !in->ops->read ||
	    !out->ops->write || (out->flags & O_APPEND && !out_pipe))
		goto out;
	r = move(in, in->ops->llseek ? &in_pos : NULL, out, out->ops->llseek ? &out_pos : NULL,
		 min(len, COPY_BUFFER));
	if (r > 0 && ((in->ops->llseek && put_pos(in, uin, in_pos)) ||
		      (out->ops->llseek && put_pos(out, uout, out_pos))))
		r = -EFAULT;
out:
	if (in)
		file_put(in);
	if (out)
		file_put(out);
	return r;
}

long sys_readv(int fd, u64 iov, u64 nr);
long sys_writev(int fd, u64 iov, u64 nr);

long sys_vmsplice(int fd, u64 iov, u64 nr, u32 flags)
{
	struct file *f;
	bool ok, writing;

	if (flags & ~15u)
		return -EINVAL;
	f = fd_get(fd);
	ok = f && file_is_pipe(f);
	writing = f && FMODE_CAN_WRITE(f);
	if (f)
		file_put(f);
	if (!ok)
		return -EBADF;
	return writing ? sys_writev(fd, iov, nr) : sys_readv(fd, iov, nr);
}

/* Everything is in memory already. */

long sys_fsync(int fd)
{
	struct file *f = fd_get(fd);
	long r;

	if (!f)
		return -EBADF;
	r = f->ops->fsync ? f->ops->fsync(f) : -EINVAL;
	file_put(f);
	return r;
}

long sys_fdatasync(int fd)
{
	return sys_fsync(fd);
}

long sys_sync(void)
{
	return 0;
}

/* Calls check(f) on an open descriptor. */
#define ON_FILE(fd, result)                                                                        \
	({                                                                                         \
		struct file *f = fd_get(fd);                                                       \
		long _r = -EBADF;                                                                  \
		if (f) {                                                                           \
			_r = (result);                                                             \
			file_put(f);                                                               \
		}                                                                                  \
		_r;                                                                                \
	})

long sys_syncfs(int fd)
{
	return ON_FILE(fd, 0);
}

long sys_sync_file_range(int fd, s64 off, s64 len, u32 flags)
{
	if (flags & ~7u || off < 0 || len < 0 || off + len < off)
		return ON_FILE(fd, -EINVAL);
	return ON_FILE(fd, f->ops->llseek ? 0 : -ESPIPE);
}

long sys_readahead(int fd, s64 off, size_t len)
{
	return ON_FILE(fd, !FMODE_CAN_READ(f) ? -EBADF : regular(f) ? 0 : -EINVAL);
}

long sys_fadvise64(int fd, s64 off, s64 len, int advice)
{
	if (len < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE)
		return ON_FILE(fd, f->ops->llseek ? -EINVAL : -ESPIPE);
	return ON_FILE(fd, f->ops->llseek ? 0 : -ESPIPE);
}
