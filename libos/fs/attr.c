/*
 * attr.c - calls that change attributes: chmod, chown, utimens, truncate, fallocate, umask;
 * extended attributes.
 */
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/memfs.h"
#include "libos/fs/namei.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

/* Marks an inode as about to differ from the image. -EPERM: its file system has attributes of its
 * own. */
static int begin_setattr(struct inode *i)
{
	if (!inode_is_memfs(i))
		return -EPERM;
	if (i->lower && !(i->flags & INODE_DIRTY)) {
		ns_write_lock();
		memfs_dirty(i);
		ns_write_unlock();
	}
	return 0;
}

/* mode */

int inode_chmod(struct inode *i, u32 mode)
{
	int err;

	if (!inode_owner_or_capable(i))
		return -EPERM;
	if (S_ISLNK(i->mode))
		return -EOPNOTSUPP;
	err = begin_setattr(i);
	if (err)
		return err;
	mode &= 07777;
	if (mode & S_ISGID && !in_group(i->gid) && !fs_capable(CAP_FSETID))
		mode &= ~(u32)S_ISGID;
	spin_lock(&i->lock);
	i->mode = (i->mode & S_IFMT) | mode;
	i->ctime = now_ts();
	spin_unlock(&i->lock);
	return 0;
}

/* Calls fn on the inode of a descriptor that is no O_PATH one. */
#define ON_FD(fd, call)                                                                            \
	({                                                                                         \
		struct file *_f = fd_get(fd);                                                      \
		long _r = -EBADF;                                                                  \
		if (_f) {                                                                          \
			struct inode *inode = _f->inode;                                           \
			_r = inode ? call : -EPERM;                                                \
			file_put(_f);                                                              \
		}                                                                                  \
		_r;                                                                                \
	})

#define ON_PATH(dfd, upath, wf, call)                                                              \
	({                                                                                         \
		struct dentry *_d;                                                                 \
		long _r = user_path_lookup(dfd, upath, wf, &_d, NULL);                             \
		if (!_r) {                                                                         \
			struct inode *inode = _d->inode;                                           \
			_r = call;                                                                 \
			dput(_d);                                                                  \
		}                                                                                  \
		_r;                                                                                \
	})

long sys_fchmod(int fd, u32 mode)
{
	return ON_FD(fd, inode_chmod(inode, mode));
}

long sys_fchmodat2(int dfd, u64 upath, u32 mode, int flags)
{
	u32 wf = flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (flags & AT_EMPTY_PATH)
		wf |= WALK_EMPTY;
	return ON_PATH(dfd, upath, wf, inode_chmod(inode, mode));
}

long sys_fchmodat(int dfd, u64 upath, u32 mode)
{
	return sys_fchmodat2(dfd, upath, mode, 0);
}

long sys_chmod(u64 upath, u32 mode)
{
	return sys_fchmodat2(AT_FDCWD, upath, mode, 0);
}

/* owner */

static int inode_chown(struct inode *i, u32 uid, u32 gid)
{
	const struct cred *c = &current_proc()->cred;
	int err;

	if (!fs_capable(CAP_CHOWN)) {
		if (uid != (u32)-1 && (c->fsuid != i->uid || uid != i->uid))
			return -EPERM;
		if (gid != (u32)-1 && (c->fsuid != i->uid || (!in_group(gid) && gid != i->gid)))
			return -EPERM;
	}
	err = begin_setattr(i);
	if (err)
		return err;
	spin_lock(&i->lock);
	if (uid != (u32)-1)
		i->uid = uid;
	if (gid != (u32)-1)
		i->gid = gid;
	/* chown(2): set-id bits of executables go, whoever asks. */
	if (!S_ISDIR(i->mode) && (uid != (u32)-1 || gid != (u32)-1)) {
		i->mode &= ~(u32)S_ISUID;
		if (i->mode & 010)
			i->mode &= ~(u32)S_ISGID;
	}
	i->ctime = now_ts();
	spin_unlock(&i->lock);
	return 0;
}

long sys_fchown(int fd, u32 uid, u32 gid)
{
	return ON_FD(fd, inode_chown(inode, uid, gid));
}

long sys_fchownat(int dfd, u64 upath, u32 uid, u32 gid, int flags)
{
	u32 wf = flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (flags & AT_EMPTY_PATH)
		wf |= WALK_EMPTY;
	return ON_PATH(dfd, upath, wf, inode_chown(inode, uid, gid));
}

long sys_chown(u64 upath, u32 uid, u32 gid)
{
	return sys_fchownat(AT_FDCWD, upath, uid, gid, 0);
}

long sys_lchown(u64 upath, u32 uid, u32 gid)
{
	return sys_fchownat(AT_FDCWD, upath, uid, gid, AT_SYMLINK_NOFOLLOW);
}

/* times */

#define UTIME_NOW_K ((1l << 30) - 1)
#define UTIME_OMIT_K ((1l << 30) - 2)

/* t: NULL: both now. */
static int inode_utimens(struct inode *i, const struct timespec_k *t)
{
	struct timespec_k now = now_ts();
	int err;

	if (t && t[0].nsec == UTIME_OMIT_K && t[1].nsec == UTIME_OMIT_K)
		return 0;
	/* utimensat(2): to set both to now, write permission will do. */
	if (!t || (t[0].nsec == UTIME_NOW_K && t[1].nsec == UTIME_NOW_K)) {
		if (!inode_owner_or_capable(i)) {
			err = inode_permission(i, MAY_WRITE);
			if (err)
				return err;
		}
	} else if (!inode_owner_or_capable(i)) {
		return -EPERM;
	}
	err = begin_setattr(i);
	if (err)
		return err;
	spin_lock(&i->lock);
	if (!t || t[0].nsec != UTIME_OMIT_K)
		i->atime = !t || t[0].nsec == UTIME_NOW_K ? now : t[0];
	if (!t || t[1].nsec != UTIME_OMIT_K)
		i->mtime = !t || t[1].nsec == UTIME_NOW_K ? now : t[1];
	i->ctime = now;
	spin_unlock(&i->lock);
	return 0;
}

static bool nsec_valid(s64 nsec)
{
	return nsec == UTIME_NOW_K || nsec == UTIME_OMIT_K || (u64)nsec < NSEC_PER_SEC;
}

static long do_utimens(int dfd, u64 upath, const struct timespec_k *t, int flags)
{
	u32 wf = flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW;

	if (t && (!nsec_valid(t[0].nsec) || !nsec_valid(t[1].nsec)))
		return -EINVAL;
	if (!upath && dfd != AT_FDCWD) {
		if (flags)
			return -EINVAL;
		return ON_FD(dfd, inode_utimens(inode, t));
	}
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (flags & AT_EMPTY_PATH)
		wf |= WALK_EMPTY;
	return ON_PATH(dfd, upath, wf, inode_utimens(inode, t));
}

long sys_utimensat(int dfd, u64 upath, u64 utimes, int flags)
{
	struct timespec_k t[2];

	if (utimes && copy_from_user(t, (void *)utimes, sizeof(t)))
		return -EFAULT;
	if (utimes && t[0].nsec == UTIME_OMIT_K && t[1].nsec == UTIME_OMIT_K)
		return 0;
	return do_utimens(dfd, upath, utimes ? t : NULL, flags);
}

long sys_futimesat(int dfd, u64 upath, u64 utimes)
{
	struct timespec_k t[2]; /* struct timeval, then corrected */

	if (utimes) {
		if (copy_from_user(t, (void *)utimes, sizeof(t)))
			return -EFAULT;
		for (int k = 0; k < 2; k++) {
			if ((u64)t[k].nsec >= 1000000)
				return -EINVAL;
			t[k].nsec *= 1000;
		}
	}
	return do_utimens(dfd, upath, utimes ? t : NULL, 0);
}

long sys_utimes(u64 upath, u64 utimes)
{
	return sys_futimesat(AT_FDCWD, upath, utimes);
}

long sys_utime(u64 upath, u64 ubuf)
{
	struct timespec_k t[2] = {{0, 0}, {0, 0}};
	s64 sec[2];

	if (ubuf) {
		if (copy_from_user(sec, (void *)ubuf, sizeof(sec)))
			return -EFAULT;
		t[0].sec = sec[0];
		t[1].sec = sec[1];
	}
	return do_utimens(AT_FDCWD, upath, ubuf ? t : NULL, 0);
}

/* size */

static int inode_truncate(struct inode *i, u64 size)
{
	int err;

	if (S_ISDIR(i->mode))
		return -EISDIR;
	if (!S_ISREG(i->mode))
		return -EINVAL;
	err = inode_permission(i, MAY_WRITE);
	if (err)
		return err;
	return inode_is_memfs(i) ? memfs_truncate(i, size) : -EPERM;
}

long sys_truncate(u64 upath, s64 size)
{
	if (size < 0)
		return -EINVAL;
	return ON_PATH(AT_FDCWD, upath, WALK_FOLLOW, inode_truncate(inode, (u64)size));
}

long sys_ftruncate(int fd, s64 size)
{
	struct file *f;
	long r;

	if (size < 0)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (!FMODE_CAN_WRITE(f) || !f->ops->truncate)
		r = -EINVAL;
	else
		r = f->ops->truncate(f, (u64)size);
	file_put(f);
	return r;
}

long sys_fallocate(int fd, int mode, s64 off, s64 len)
{
	struct file *f = fd_get(fd);
	long r;

	if (!f)
		return -EBADF;
	if (off < 0 || len <= 0)
		r = -EINVAL;
	else if (!FMODE_CAN_WRITE(f))
		r = -EBADF;
	else if (off + (u64)len > INT64_MAX)
		r = -EFBIG;
	else if (f->inode && S_ISDIR(f->inode->mode))
		r = -EISDIR;
	else if (!f->ops->fallocate)
		r = f->inode && S_ISREG(f->inode->mode) ? -EOPNOTSUPP
		    : !f->ops->llseek			? -ESPIPE
							: -ENODEV;
	else
		r = f->ops->fallocate(f, mode, (u64)off, (u64)len);
	file_put(f);
	return r;
}

long sys_umask(u32 mask)
{
	return __atomic_exchange_n(&current_proc()->umask, mask & 0777, __ATOMIC_RELAXED);
}

/*
 * Extended attributes: as a tmpfs answers that was built without them. The arguments are still
 * checked in Linux's order: name, then file.
 */

static long xattr_name(u64 uname)
{
	char name[256];
	ssize_t n = strncpy_from_user(name, (const char *)uname, sizeof(name));

	if (n == -ENAMETOOLONG || n == 0)
		return -ERANGE;
	return n < 0 ? n : 0;
}

static long xattr_none(struct inode *i, long answer)
{
	return answer;
}

#define XATTR_CALL(what, answer)                                                                   \
	({                                                                                         \
		long _e = xattr_name(uname);                                                       \
		_e ? _e : what(answer);                                                            \
	})
#define XATTR_PATH(answer) ON_PATH(AT_FDCWD, upath, WALK_FOLLOW, xattr_none(inode, answer))
#define XATTR_LPATH(answer) ON_PATH(AT_FDCWD, upath, 0, xattr_none(inode, answer))
#define XATTR_FD(answer) ON_FD(fd, xattr_none(inode, answer))

static long setxattr_args(u64 value, size_t size, int flags)
{
	u8 byte;

	if (flags & ~3)
		return -EINVAL;
	if (size > 65536)
		return -E2BIG;
	return size && get_user_u8(&byte, (void *)value) ? -EFAULT : 0;
}

long sys_setxattr(u64 upath, u64 uname, u64 value, size_t size, int flags)
{
	long e = setxattr_args(value, size, flags);

	return e ? e : XATTR_CALL(XATTR_PATH, -EOPNOTSUPP);
}
long sys_lsetxattr(u64 upath, u64 uname, u64 value, size_t size, int flags)
{
	long e = setxattr_args(value, size, flags);

	return e ? e : XATTR_CALL(XATTR_LPATH, -EOPNOTSUPP);
}
long sys_fsetxattr(int fd, u64 uname, u64 value, size_t size, int flags)
{
	long e = setxattr_args(value, size, flags);

	return e ? e : XATTR_CALL(XATTR_FD, -EOPNOTSUPP);
}
long sys_getxattr(u64 upath, u64 uname)
{
	return XATTR_CALL(XATTR_PATH, -EOPNOTSUPP);
}
long sys_lgetxattr(u64 upath, u64 uname)
{
	return XATTR_CALL(XATTR_LPATH, -EOPNOTSUPP);
}
long sys_fgetxattr(int fd, u64 uname)
{
	return XATTR_CALL(XATTR_FD, -EOPNOTSUPP);
}
long sys_listxattr(u64 upath)
{
	return XATTR_PATH(0);
}
long sys_llistxattr(u64 upath)
{
	return XATTR_LPATH(0);
}
long sys_flistxattr(int fd)
{
	return XATTR_FD(0);
}
long sys_removexattr(u64 upath, u64 uname)
{
	return XATTR_CALL(XATTR_PATH, -EOPNOTSUPP);
}
long sys_lremovexattr(u64 upath, u64 uname)
{
	return XATTR_CALL(XATTR_LPATH, -EOPNOTSUPP);
}
long sys_fremovexattr(int fd, u64 uname)
{
	return XATTR_CALL(XATTR_FD, -EOPNOTSUPP);
}
