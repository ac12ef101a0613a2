/*
 * rw.c - read, write and their vector and positioned forms; lseek.
 */
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/mm/usercopy.h"

/* A file with an offset; the others are streams. */
static inline bool seekable(struct file *f)
{
	return f->ops->llseek != NULL;
}

/*
 * The offset of an open file is shared by all its descriptors. Where this descriptor is the only
 * one and the process has one thread, nobody else can move it.
 */
static inline bool pos_lock(struct file *f, bool ref)
{
	if (likely(!ref && READ_ONCE(f->refs) == 1))
		return false;
	mutex_lock(&f->pos_lock);
	return true;
}

static inline void pos_unlock(struct file *f, bool locked)
{
	if (unlikely(locked))
		mutex_unlock(&f->pos_lock);
}

/* A transfer may not reach beyond the largest offset. */
static inline bool range_ok(u64 pos, size_t n)
{
	return (s64)(pos + n) >= 0;
}

typedef ssize_t (*transfer_fn)(struct file *f, struct iov_iter *it, u64 *pos);

/* One read or write at the file's own offset. */
static inline long transfer(struct file *f, bool ref, struct iov_iter *it, transfer_fn op)
{
	u64 pos;
	bool locked;
	long r;

	if (!op)
		return -EINVAL;
	if (!seekable(f))
		return op(f, it, NULL);
	locked = pos_lock(f, ref);
	pos = f->pos;
	if (likely(range_ok(pos, it->count))) {
		r = op(f, it, &pos);
		f->pos = pos;
	} else {
		r = -EINVAL;
	}
	pos_unlock(f, locked);
	return r;
}

static long read_iter(struct file *f, bool ref, struct iov_iter *it)
{
	return FMODE_CAN_READ(f) ? transfer(f, ref, it, f->ops->read) : -EBADF;
}

static long write_iter(struct file *f, bool ref, struct iov_iter *it)
{
	return FMODE_CAN_WRITE(f) ? transfer(f, ref, it, f->ops->write) : -EBADF;
}

long sys_read(int fd, u64 buf, size_t n)
{
	struct iov_iter it;
	bool ref;
	struct file *f = fd_get_fast(fd, &ref);
	long r;

	if (!f)
		return -EBADF;
	if (!access_ok(buf, n)) {
		r = FMODE_CAN_READ(f) ? -EFAULT : -EBADF;
	} else {
		iov_iter_user(&it, buf, min(n, MAX_RW_COUNT));
		r = read_iter(f, ref, &it);
	}
	fd_put_fast(f, ref);
	return r;
}

long sys_write(int fd, u64 buf, size_t n)
{
	struct iov_iter it;
	bool ref;
	struct file *f = fd_get_fast(fd, &ref);
	long r;

	if (!f)
		return -EBADF;
	if (!access_ok(buf, n)) {
		r = FMODE_CAN_WRITE(f) ? -EFAULT : -EBADF;
	} else {
		iov_iter_user(&it, buf, min(n, MAX_RW_COUNT));
		r = write_iter(f, ref, &it);
	}
	fd_put_fast(f, ref);
	return r;
}

static long pread_iter(struct file *f, struct iov_iter *it, u64 pos)
{
	if (!seekable(f))
		return f->flags & O_PATH ? -EBADF : -ESPIPE;
	if (!FMODE_CAN_READ(f))
		return -EBADF;
	if (!f->ops->read)
		return -EINVAL;
	return range_ok(pos, it->count) ? f->ops->read(f, it, &pos) : -EINVAL;
}

static long pwrite_iter(struct file *f, struct iov_iter *it, u64 pos)
{
	if (!seekable(f))
		return f->flags & O_PATH ? -EBADF : -ESPIPE;
	if (!FMODE_CAN_WRITE(f))
		return -EBADF;
	if (!f->ops->write)
		return -EINVAL;
	return range_ok(pos, it->count) ? f->ops->write(f, it, &pos) : -EINVAL;
}

long sys_pread64(int fd, u64 buf, size_t n, s64 pos)
{
	struct iov_iter it;
	struct file *f;
	bool ref;
	long r;

	if (pos < 0)
		return -EINVAL;
	f = fd_get_fast(fd, &ref);
	if (!f)
		return -EBADF;
	if (!access_ok(buf, n)) {
		r = -EFAULT;
	} else {
		iov_iter_user(&it, buf, min(n, MAX_RW_COUNT));
		r = pread_iter(f, &it, (u64)pos);
	}
	fd_put_fast(f, ref);
	return r;
}

long sys_pwrite64(int fd, u64 buf, size_t n, s64 pos)
{
	struct iov_iter it;
	struct file *f;
	bool ref;
	long r;

	if (pos < 0)
		return -EINVAL;
	f = fd_get_fast(fd, &ref);
	if (!f)
		return -EBADF;
	if (!access_ok(buf, n)) {
		r = -EFAULT;
	} else {
		iov_iter_user(&it, buf, min(n, MAX_RW_COUNT));
		r = pwrite_iter(f, &it, (u64)pos);
	}
	fd_put_fast(f, ref);
	return r;
}

/*
 * The flags of preadv2(2). HIPRI is a hint; DSYNC and SYNC ask for what memory does anyway. NOWAIT
 * means that the call may not sleep, APPEND that a write goes to the end.
 */
#define RWF_KNOWN (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND)

enum vec_op { VEC_READ, VEC_WRITE };

/* positioned: pos says where; else the file's own offset. */
static long do_vec(int fd, u64 uiov, u64 nr, bool positioned, u64 pos, enum vec_op op, int rwf)
{
	struct iovec_k small[8], *heap;
	struct iov_iter it;
	struct file *f;
	bool ref;
	long r;

	if (positioned && (s64)pos < 0)
		return -EINVAL;
	f = fd_get_fast(fd, &ref);
	if (!f || f->flags & O_PATH) {
		r = -EBADF;
		goto out;
	}
	if (positioned && !seekable(f)) {
		r = -ESPIPE;
		goto out;
	}
	r = op == VEC_READ ? FMODE_CAN_READ(f) : FMODE_CAN_WRITE(f);
	if (!r) {
		r = -EBADF;
		goto out;
	}
	if (rwf & ~RWF_KNOWN || (op == VEC_READ && rwf & RWF_APPEND)) {
		r = -EOPNOTSUPP;
		goto out;
	}
	r = iov_iter_import(&it, uiov, nr, small, &heap);
	if (r)
		goto out;
	if (rwf & RWF_APPEND) {
		/* The end is looked up under the inode's lock by writers that see O_APPEND. */
		u64 end = UINT64_MAX;

		r = seekable(f) ? f->ops->write(f, &it, &end) : f->ops->write(f, &it, NULL);
	} else if (positioned) {
		r = op == VEC_READ ? pread_iter(f, &it, pos) : pwrite_iter(f, &it, pos);
	} else {
		r = op == VEC_READ ? read_iter(f, ref, &it) : write_iter(f, ref, &it);
	}
	iov_iter_free(heap, nr);
out:
	if (f)
		fd_put_fast(f, ref);
	return r;
}

long sys_readv(int fd, u64 iov, u64 nr)
{
	return do_vec(fd, iov, nr, false, 0, VEC_READ, 0);
}

long sys_writev(int fd, u64 iov, u64 nr)
{
	return do_vec(fd, iov, nr, false, 0, VEC_WRITE, 0);
}

/* The offset comes in two halves; on x86-64 the low one is all of it. */
long sys_preadv(int fd, u64 iov, u64 nr, u64 pos)
{
	return do_vec(fd, iov, nr, true, pos, VEC_READ, 0);
}

long sys_pwritev(int fd, u64 iov, u64 nr, u64 pos)
{
	return do_vec(fd, iov, nr, true, pos, VEC_WRITE, 0);
}

long sys_preadv2(int fd, u64 iov, u64 nr, u64 pos, u64 high, int flags)
{
	return do_vec(fd, iov, nr, pos != (u64)-1, pos, VEC_READ, flags);
}

long sys_pwritev2(int fd, u64 iov, u64 nr, u64 pos, u64 high, int flags)
{
	return do_vec(fd, iov, nr, pos != (u64)-1, pos, VEC_WRITE, flags);
}

long sys_lseek(int fd, s64 off, int whence)
{
	bool ref, locked;
	struct file *f = fd_get_fast(fd, &ref);
	long r;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (whence < 0 || whence > SEEK_MAX)
		r = -EINVAL;
	else if (!seekable(f))
		r = f->ops->lseek_zero ? 0 : -ESPIPE;
	else {
		locked = pos_lock(f, ref);
		r = f->ops->llseek(f, off, whence);
		pos_unlock(f, locked);
	}
	fd_put_fast(f, ref);
	return r;
}
