/*
 * stat.c - stat and statx, access, readlink, statfs.
 */
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/jfs.h"
#include "libos/fs/memfs.h"
#include "libos/fs/namei.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

void generic_getattr(struct inode *inode, struct kstat *st)
{
	spin_lock(&inode->lock);
	st->dev = inode->sb ? inode->sb->dev : 0;
	st->rdev = inode->rdev;
	st->ino = inode->ino;
	st->size = inode->size;
	st->blocks = 0;
	st->mode = inode->mode;
	st->nlink = inode->nlink;
	st->uid = inode->uid;
	st->gid = inode->gid;
	st->blksize = 4096;
	st->atime = inode->atime;
	st->mtime = inode->mtime;
	st->ctime = inode->ctime;
	st->btime = inode->btime;
	spin_unlock(&inode->lock);
	if (inode->ops->getattr)
		inode->ops->getattr(inode, st);
}

int file_getattr(struct file *f, struct kstat *st)
{
	if (f->inode) {
		generic_getattr(f->inode, st);
		return 0;
	}
	if (f->ops->getattr)
		return f->ops->getattr(f, st);
	/* An anonymous inode. */
	memset(st, 0, sizeof(*st));
	st->dev = MKDEV(0, 14);
	st->ino = 1;
	st->mode = 0600;
	st->nlink = 1;
	st->blksize = 4096;
	return 0;
}

/* The attributes of what a path (or, with WALK_EMPTY and an empty path, a descriptor) names. */
static int path_getattr(int dfd, u64 upath, u32 flags, struct kstat *st)
{
	struct dentry *d;
	struct file *f;
	int err = user_path_lookup(dfd, upath, flags, &d, &f);

	if (err)
		return err;
	if (d) {
		generic_getattr(d->inode, st);
		dput(d);
		return 0;
	}
	err = file_getattr(f, st);
	file_put(f);
	return err;
}

/* struct stat of x86-64. */
struct stat_k {
	u64 dev, ino, nlink;
	u32 mode, uid, gid, pad0;
	u64 rdev;
	s64 size, blksize, blocks;
	struct timespec_k atime, mtime, ctime;
	s64 unused[3];
};
_Static_assert(sizeof(struct stat_k) == 144, "struct stat");

static long put_stat(const struct kstat *st, u64 ubuf)
{
	struct stat_k k = {
		.dev = st->dev,
		.ino = st->ino,
		.nlink = st->nlink,
		.mode = st->mode,
		.uid = st->uid,
		.gid = st->gid,
		.rdev = st->rdev,
		.size = (s64)st->size,
		.blksize = st->blksize,
		.blocks = (s64)st->blocks,
		.atime = st->atime,
		.mtime = st->mtime,
		.ctime = st->ctime,
	};

	return copy_to_user((void *)ubuf, &k, sizeof(k));
}

long sys_fstat(int fd, u64 ubuf)
{
	bool ref;
	struct file *f = fd_get_fast(fd, &ref);
	struct kstat st;
	long r;

	if (!f)
		return -EBADF;
	r = file_getattr(f, &st);
	fd_put_fast(f, ref);
	return r ? r : put_stat(&st, ubuf);
}

/* Flags of the *at calls to those of a walk. -EINVAL for others. */
static int walk_flags_of(int flags, int allowed)
{
	if (flags & ~allowed)
		return -EINVAL;
	return (int)((flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) |
		     (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0));
}

long sys_newfstatat(int dfd, u64 upath, u64 ubuf, int flags)
{
	int wf = walk_flags_of(flags, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH);
	struct kstat st;
	u8 first;
	int err;

	if (wf < 0)
		return wf;
	if (flags & AT_EMPTY_PATH && dfd >= 0 && !get_user_u8(&first, (void *)upath) && !first)
		return sys_fstat(dfd, ubuf);
	err = path_getattr(dfd, upath, (u32)wf, &st);
	return err ? err : put_stat(&st, ubuf);
}

long sys_stat(u64 upath, u64 ubuf)
{
	return sys_newfstatat(AT_FDCWD, upath, ubuf, 0);
}

long sys_lstat(u64 upath, u64 ubuf)
{
	return sys_newfstatat(AT_FDCWD, upath, ubuf, AT_SYMLINK_NOFOLLOW);
}

static void statx_time(struct statx_timestamp *to, const struct timespec_k *from)
{
	to->tv_sec = from->sec;
	to->tv_nsec = (u32)from->nsec;
}

static u32 dev_major(u64 dev)
{
	return (u32)(dev >> 8 & 0xfff);
}

static u32 dev_minor(u64 dev)
{
	return (u32)((dev & 0xff) | (dev >> 12 & 0xfff00));
}

long sys_statx(int dfd, u64 upath, int flags, u32 mask, u64 ubuf)
{
	int wf = walk_flags_of(flags, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH |
					      AT_STATX_SYNC_TYPE);
	struct statx sx;
	struct kstat st;
	int err;

	if (wf < 0)
		return wf;
	if (mask & STATX__RESERVED || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
		return -EINVAL;
	err = path_getattr(dfd, upath, (u32)wf, &st);
	if (err)
		return err;
	memset(&sx, 0, sizeof(sx));
	sx.stx_mask = STATX_BASIC_STATS | (st.btime.sec ? STATX_BTIME : 0);
	sx.stx_blksize = st.blksize;
	sx.stx_nlink = st.nlink;
	sx.stx_uid = st.uid;
	sx.stx_gid = st.gid;
	sx.stx_mode = (u16)st.mode;
	sx.stx_ino = st.ino;
	sx.stx_size = st.size;
	sx.stx_blocks = st.blocks;
	statx_time(&sx.stx_atime, &st.atime);
	statx_time(&sx.stx_btime, &st.btime);
	statx_time(&sx.stx_ctime, &st.ctime);
	statx_time(&sx.stx_mtime, &st.mtime);
	sx.stx_rdev_major = dev_major(st.rdev);
	sx.stx_rdev_minor = dev_minor(st.rdev);
	sx.stx_dev_major = dev_major(st.dev);
	sx.stx_dev_minor = dev_minor(st.dev);
	return copy_to_user((void *)ubuf, &sx, sizeof(sx));
}

/* access(2) asks with the real ids, AT_EACCESS with the effective ones. */
long sys_faccessat2(int dfd, u64 upath, int mode, int flags)
{
	int wf = walk_flags_of(flags & ~AT_EACCESS, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
	const struct cred *c = &current_proc()->cred;
	struct dentry *d;
	struct file *f;
	int err;

	if (mode & ~7 || wf < 0)
		return -EINVAL;
	err = user_path_lookup(dfd, upath, (u32)wf | (flags & AT_EACCESS ? 0 : WALK_REAL_IDS), &d,
			       &f);
	if (err)
		return err;
	if (!d) {
		file_put(f);
		return 0;
	}
	if (mode)
		err = flags & AT_EACCESS ? inode_permission(d->inode, mode)
					 : inode_permission_cred(d->inode, mode, c->uid, c->gid, c);
	dput(d);
	return err;
}

long sys_faccessat(int dfd, u64 upath, int mode)
{
	return sys_faccessat2(dfd, upath, mode, 0);
}

long sys_access(u64 upath, int mode)
{
	return sys_faccessat2(AT_FDCWD, upath, mode, 0);
}

static long inode_readlink(struct inode *i, u64 ubuf, int size)
{
	struct path_walk *w;
	const char *text;
	char *buf = NULL;
	u32 len = 0;
	long r;

	if (!S_ISLNK(i->mode))
		return -EINVAL;
	if (i->ops->readlink) {
		buf = kmalloc(PATH_MAX_LEN);
		if (!buf)
			return -ENOMEM;
		r = i->ops->readlink(i, buf);
		if (r >= 0)
			r = min(r, (long)size);
		if (r > 0 && copy_to_user((void *)ubuf, buf, (size_t)r))
			r = -EFAULT;
		kfree(buf, PATH_MAX_LEN);
		return r;
	}
	w = kzalloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	/* The text does not change as long as the inode lives. */
	text = i->ops->get_link(i, w, &len);
	if (is_err(text))
		r = ptr_err(text);
	else {
		r = min((long)len, (long)size);
		if (copy_to_user((void *)ubuf, text, (size_t)r))
			r = -EFAULT;
	}
	kfree(w, sizeof(*w));
	return r;
}

long sys_readlinkat(int dfd, u64 upath, u64 ubuf, int size)
{
	struct dentry *d;
	u8 first = 1;
	long r;

	if (size <= 0)
		return -EINVAL;
	r = user_path_lookup(dfd, upath, WALK_EMPTY, &d, NULL);
	if (r)
		return r;
	get_user_u8(&first, (void *)upath);
	if (!first && !S_ISLNK(d->inode->mode))
		r = -ENOENT;
	else
		r = inode_readlink(d->inode, ubuf, size);
	dput(d);
	return r;
}

long sys_readlink(u64 upath, u64 ubuf, int size)
{
	return sys_readlinkat(AT_FDCWD, upath, ubuf, size);
}

/* struct statfs of x86-64. */
struct statfs_k {
	s64 type, bsize;
	u64 blocks, bfree, bavail, files, ffree;
	u32 fsid[2];
	s64 namelen, frsize, flags, spare[4];
};
_Static_assert(sizeof(struct statfs_k) == 120, "struct statfs");

#define ST_VALID 0x20
#define ST_RELATIME 0x1000
#define PIPEFS_MAGIC_K 0x50495045

static long put_statfs(const struct super *sb, const struct file *f, u64 ubuf)
{
	struct statfs_k k;

	memset(&k, 0, sizeof(k));
	k.bsize = k.frsize = 4096;
	k.namelen = NAME_MAX_LEN;
	k.flags = ST_VALID | ST_RELATIME;
	if (sb) {
		k.type = sb->magic;
		k.fsid[0] = sb->dev;
		if (sb->memfs) {
			k.blocks = memfs_quota_pages();
			k.bfree = k.bavail = k.blocks - min(k.blocks, memfs_used_pages());
			if (sb == root_super) /* what the image holds is in use */
				k.blocks += jfs.size >> PAGE_SHIFT;
			k.files = k.blocks / 2 + 1024;
			k.ffree = k.files / 2;
		}
	} else {
		k.type = f && f->ops->name[0] == 'p' ? PIPEFS_MAGIC_K : ANON_INODE_FS_MAGIC;
	}
	return copy_to_user((void *)ubuf, &k, sizeof(k));
}

long sys_statfs(u64 upath, u64 ubuf)
{
	struct dentry *d;
	struct file *f;
	long r = user_path_lookup(AT_FDCWD, upath, WALK_FOLLOW, &d, &f);

	if (r)
		return r;
	r = put_statfs(d ? d->sb : NULL, f, ubuf);
	if (d)
		dput(d);
	else
		file_put(f);
	return r;
}

long sys_fstatfs(int fd, u64 ubuf)
{
	struct file *f = fd_get_path(fd);
	long r;

	if (!f)
		return -EBADF;
	r = put_statfs(f->dentry ? f->dentry->sb : NULL, f, ubuf);
	file_put(f);
	return r;
}
