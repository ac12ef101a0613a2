/*
 * open.c - open, openat, openat2, creat; what becomes of an open file at its end.
 */
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#include "libos/fs/change.h"
#include "libos/fs/fdtable.h"
#include "libos/fs/locks.h"
#include "libos/fs/memfs.h"
#include "libos/fs/jfs.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

#define VALID_OPEN_FLAGS                                                                           \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC |     \
	 __O_SYNC | FASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |       \
	 O_CLOEXEC | O_PATH | __O_TMPFILE)

static const struct file_ops path_fops = {.name = "path"};

void vfs_file_release(struct file *f)
{
	if (f->inode && f->inode->locks)
		locks_released(f);
	if (f->ops->release)
		f->ops->release(f);
	dput(f->dentry);
}

void vfs_file_closed(struct file *f)
{
	if (f->ops->flush)
		f->ops->flush(f);
	if (f->inode && f->inode->locks)
		locks_closed(f, fs_proc());
}

struct file *dentry_open(struct dentry *d, u32 flags)
{
	struct inode *i = d->inode;
	struct file *f;
	int err;

	flags &= ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC);
	f = file_alloc(flags & O_PATH ? &path_fops : i->fops, flags | O_LARGEFILE, NULL);
	if (!f)
		return err_ptr(-ENOMEM);
	f->dentry = dget(d);
	f->inode = i;
	if (!(flags & O_PATH) && i->ops->open) {
		err = i->ops->open(i, f);
		if (err) {
			f->ops = &path_fops; /* there is nothing to release but the name */
			file_put(f);
			return err_ptr(err);
		}
	}
	return f;
}

static int acc_mask(u32 flags)
{
	int mask = 0;

	if (flags & O_PATH)
		return 0;
	if ((flags & O_ACCMODE) != O_WRONLY)
		mask |= MAY_READ;
	if ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC)
		mask |= MAY_WRITE;
	return mask;
}

/* May d be opened so? A file that this very call created is not asked for its permissions. */
static int may_open(struct dentry *d, u32 flags, bool created)
{
	struct inode *i = d->inode;
	int err;

	if (S_ISLNK(i->mode) && !(flags & O_PATH))
		return -ELOOP;
	if (flags & O_DIRECTORY && !S_ISDIR(i->mode))
		return -ENOTDIR;
	if (flags & O_PATH)
		return 0;
	if (S_ISDIR(i->mode) && (acc_mask(flags) & MAY_WRITE || flags & O_CREAT))
		return -EISDIR;
	if (!created) {
		err = inode_permission(i, acc_mask(flags));
		if (err)
			return err;
	}
	if (flags & O_NOATIME && !inode_owner_or_capable(i))
		return -EPERM;
	return 0;
}

static struct file *finish_open(struct dentry *d, u32 flags, bool created)
{
	struct file *f;
	int err = may_open(d, flags, created);

	if (err)
		return err_ptr(err);
	f = dentry_open(d, flags);
	if (!is_err(f) && flags & O_TRUNC && !created && S_ISREG(d->inode->mode) &&
	    inode_is_memfs(d->inode)) {
		err = d->inode->size || d->inode->reg.pages.nr_pages ? memfs_truncate(d->inode, 0)
								     : 0;
		if (err) {
			file_put(f);
			return err_ptr(err);
		}
	}
	return f;
}

/* A magic link to something without a name: a pipe, a socket. The open file itself is shared. */
static struct file *reopen(struct file *f, u32 flags)
{
	int err = 0;

	if (flags & O_DIRECTORY)
		err = -ENOTDIR;
	else if ((!f->ops->read && !f->ops->write) || !strcmp(f->ops->name, "socket"))
		err = -ENXIO;
	else if ((acc_mask(flags) & MAY_READ && !FMODE_CAN_READ(f)) ||
		 ((flags & O_ACCMODE) != O_RDONLY && !FMODE_CAN_WRITE(f)))
		err = -EACCES;
	if (err) {
		file_put(f);
		return err_ptr(err);
	}
	return f;
}

static struct file *open_create(int dfd, const char *path, u32 flags, u32 mode, u32 walk_flags)
{
	struct path_walk w;
	struct dentry *d;
	struct inode *i;
	struct file *f;
	bool created = false;
	int err;

	walk_flags |= WALK_PARENT | WALK_CREATE;
	if (flags & O_EXCL)
		walk_flags &= ~WALK_FOLLOW;
	err = change_begin(&w, dfd, path, walk_flags);
	if (err)
		return err_ptr(err);
	if (w.jump_file) {
		f = w.jump_file;
		change_end(&w);
		return reopen(f, flags);
	}
	d = w.child;
	if (d) {
		if (flags & O_EXCL)
			err = -EEXIST;
		else if (S_ISDIR(d->inode->mode))
			err = -EISDIR;
	} else {
		err = may_create(w.parent);
		if (!err) {
			i = memfs_new_inode(w.parent->sb, w.parent->inode,
					    S_IFREG | (mode & 07777 & ~fs_proc()->umask), 0);
			d = is_err(i) ? (struct dentry *)i : memfs_add(w.parent, w.name, w.len, i);
			if (is_err(d)) {
				if (!is_err(i))
					iput(i);
				err = (int)ptr_err(d);
			}
			created = true;
		}
	}
	if (!err)
		dget(d);
	change_end(&w);
	if (err)
		return err_ptr(err);
	f = finish_open(d, flags, created);
	dput(d);
	return f;
}

/* O_TMPFILE: an inode in the directory that path names, without a name. */
static struct file *open_tmpfile(int dfd, const char *path, u32 flags, u32 mode, u32 walk_flags)
{
	struct dentry *dir, *d = NULL;
	struct inode *i;
	struct file *f;
	char name[24];
	int err = path_lookup(dfd, path, walk_flags | WALK_DIRECTORY, &dir, NULL);

	if (err)
		return err_ptr(err);
	ns_write_lock();
	err = dir->sb->memfs ? may_create(dir) : -EOPNOTSUPP;
	if (!err) {
		i = memfs_new_inode(dir->sb, dir->inode,
				    S_IFREG | (mode & 07777 & ~fs_proc()->umask), 0);
		if (is_err(i)) {
			err = (int)ptr_err(i);
		} else {
			i->nlink = 0;
			if (!(flags & O_EXCL))
				i->flags |= INODE_LINKABLE;
			d = dentry_alloc(dir->sb, dir, name,
					 (u32)snprintf(name, sizeof(name), "#%lu", i->ino), i);
			if (!d) {
				iput(i);
				err = -ENOMEM;
			}
		}
	}
	ns_write_unlock();
	dput(dir);
	if (err)
		return err_ptr(err);
	f = finish_open(d, flags & ~(u32)(O_TMPFILE | O_TRUNC), true);
	if (!is_err(f))
		f->flags |= O_TMPFILE;
	dput(d);
	return f;
}

/* open(2) with a path in libOS memory. */
static struct file *do_open(int dfd, const char *path, u32 flags, u32 mode, u32 walk_flags)
{
	struct dentry *d;
	struct file *f;
	int err;

	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if (flags & __O_TMPFILE) {
		if ((flags & O_TMPFILE) != O_TMPFILE || flags & O_CREAT ||
		    (flags & O_ACCMODE) == O_RDONLY)
			return err_ptr(-EINVAL);
	} else if (flags & O_CREAT && flags & O_DIRECTORY) {
		return err_ptr(-EINVAL);
	}
	if (!(flags & O_NOFOLLOW))
		walk_flags |= WALK_FOLLOW;
	if (flags & __O_TMPFILE)
		return open_tmpfile(dfd, path, flags, mode, walk_flags);
	if (flags & O_CREAT)
		return open_create(dfd, path, flags, mode, walk_flags);
	if (flags & O_DIRECTORY)
		walk_flags |= WALK_DIRECTORY;
	err = path_lookup(dfd, path, walk_flags, &d, &f);
	if (err)
		return err_ptr(err);
	if (!d)
		return reopen(f, flags);
	f = finish_open(d, flags, false);
	dput(d);
	return f;
}

struct file *file_open(const char *path, int flags, u32 mode)
{
	return do_open(AT_FDCWD, path, (u32)flags, mode, 0);
}

static long open_install(int dfd, u64 upath, u32 flags, u32 mode, u32 walk_flags)
{
	char *path = path_from_user(upath);
	struct file *f;
	int fd;

	if (is_err(path))
		return ptr_err(path);
	f = do_open(dfd, path, flags, mode, walk_flags);
	path_free(path);
	if (is_err(f))
		return ptr_err(f);
	fd = fd_install(f, 0, flags & O_CLOEXEC ? FD_CLOEXEC : 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

long sys_openat(int dfd, u64 upath, int flags, u32 mode)
{
	return open_install(dfd, upath, (u32)flags & VALID_OPEN_FLAGS, mode, 0);
}

long sys_open(u64 upath, int flags, u32 mode)
{
	return sys_openat(AT_FDCWD, upath, flags, mode);
}

long sys_creat(u64 upath, u32 mode)
{
	return sys_openat(AT_FDCWD, upath, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* openat2(2): as openat, but strict about flags, and with limits on the walk. */
long sys_openat2(int dfd, u64 upath, u64 uhow, size_t size)
{
	struct open_how how;
	u32 walk_flags = 0;

	if (size < sizeof(how))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (copy_from_user(&how, (const void *)uhow, sizeof(how)))
		return -EFAULT;
	for (size_t i = sizeof(how); i < size; i++) {
		u8 byte;

		if (get_user_u8(&byte, (const void *)(uhow + i)))
			return -EFAULT;
		if (byte)
			return -E2BIG;
	}
	if (how.flags & ~(u64)VALID_OPEN_FLAGS ||
	    how.resolve & ~(u64)(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
				 RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED))
		return -EINVAL;
	if (how.resolve & RESOLVE_BENEATH && how.resolve & RESOLVE_IN_ROOT)
		return -EINVAL;
	if (how.flags & (O_CREAT | __O_TMPFILE) ? how.mode & ~07777ull : how.mode)
		return -EINVAL;
	if (how.flags & O_PATH && how.flags & ~(u64)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
		return -EINVAL;
	if (how.resolve & RESOLVE_NO_XDEV)
		walk_flags |= WALK_NO_XDEV;
	if (how.resolve & RESOLVE_NO_MAGICLINKS)
		walk_flags |= WALK_NO_MAGIC;
	if (how.resolve & RESOLVE_NO_SYMLINKS)
		walk_flags |= WALK_NO_SYMLINKS;
	if (how.resolve & RESOLVE_BENEATH)
		walk_flags |= WALK_BENEATH;
	if (how.resolve & RESOLVE_IN_ROOT)
		walk_flags |= WALK_IN_ROOT;
	return open_install(dfd, upath, (u32)how.flags, (u32)how.mode, walk_flags);
}

ssize_t file_read_kernel(struct file *f, void *buf, size_t n, u64 off)
{
	struct iov_iter it;

	if (!f->ops->read)
		return -EINVAL;
	iov_iter_kernel(&it, buf, n);
	return f->ops->read(f, &it, &off);
}

/* The image's inode behind f, if all of f's contents are still the image's. */
static const struct jfs_inode *pristine(struct file *f)
{
	struct inode *i = f->inode;

	if (!i || !S_ISREG(i->mode) || !inode_is_memfs(i) || !i->lower || i->reg.pages.nr_pages ||
	    i->size != i->lower->size || i->reg.lower_size != i->lower->size)
		return NULL;
	return i->lower;
}

const void *file_image_data(struct file *f, u64 *size)
{
	const struct jfs_inode *lower = pristine(f);

	if (!lower)
		return NULL;
	*size = lower->size;
	return f->inode->reg.lower_data;
}

const struct jfs_site *file_sites(struct file *f, u32 *count)
{
	const struct jfs_inode *lower = pristine(f);

	if (!lower || !lower->site_count ||
	    (u64)lower->first_site + lower->site_count > jfs.super->site_count)
		return NULL;
	*count = lower->site_count;
	return jfs.sites + lower->first_site;
}

int file_path(struct file *f, char *buf, size_t size)
{
	struct kstat st;
	char *p, *tmp;
	int n;

	if (!f->dentry) {
		if (!strcmp(f->ops->name, "tty"))
			return snprintf(buf, size, "/dev/pts/0");
		if (!strcmp(f->ops->name, "pipe") || !strcmp(f->ops->name, "socket"))
			return snprintf(buf, size, "%s:[%lu]", f->ops->name,
					file_getattr(f, &st) ? 0ul : st.ino);
		return snprintf(buf, size, "anon_inode:%s%s%s", f->ops->name[0] == '[' ? "" : "[",
				f->ops->name, f->ops->name[0] == '[' ? "" : "]");
	}
	tmp = kmalloc(PATH_MAX_LEN);
	if (!tmp)
		return -ENOMEM;
	p = dentry_path(f->dentry, fs_proc()->root, tmp, PATH_MAX_LEN);
	n = p ? (int)strlcpy(buf, p, size) : -ENAMETOOLONG;
	kfree(tmp, PATH_MAX_LEN);
	if (n >= 0 && (size_t)n >= size)
		return -ENAMETOOLONG;
	return n;
}
