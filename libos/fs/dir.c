/*
 * dir.c - reading directories; the current and the root directory of a process.
 */
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/namei.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

#define DIR_BUFFER 32768u

/* Entries gather in libOS memory, because they are produced under the name space lock. */
struct fill {
	struct dir_context ctx;
	char *buf;
	size_t size, used, last; /* last: offset of the last entry */
	bool old;		 /* getdents(2) */
	bool full;
};

struct dirent64_k {
	u64 ino;
	s64 off;
	u16 reclen;
	u8 type;
	char name[];
};

struct dirent_old_k {
	u64 ino, off;
	u16 reclen;
	char name[]; /* the type is in the last byte of the record */
};

static bool fill_entry(struct dir_context *ctx, const char *name, size_t len, u64 ino, u8 type,
		       s64 next_pos)
{
	struct fill *b = container_of(ctx, struct fill, ctx);
	size_t head =
		b->old ? offsetof(struct dirent_old_k, name) : offsetof(struct dirent64_k, name);
	size_t reclen = align_up(head + len + 1 + b->old, 8ul);
	char *at = b->buf + b->used;

	if (reclen > b->size - b->used) {
		b->full = true;
		return false;
	}
	memset(at, 0, reclen);
	if (b->old) {
		struct dirent_old_k *e = (void *)at;

		e->ino = ino;
		e->off = (u64)next_pos;
		e->reclen = (u16)reclen;
		memcpy(e->name, name, len);
		at[reclen - 1] = (char)type;
	} else {
		struct dirent64_k *e = (void *)at;

		e->ino = ino;
		e->off = next_pos;
		e->reclen = (u16)reclen;
		e->type = type;
		memcpy(e->name, name, len);
	}
	b->last = b->used;
	b->used += reclen;
	return true;
}

static long do_getdents(int fd, u64 ubuf, size_t size, bool old)
{
	struct file *f = fd_get(fd);
	struct fill b = {.ctx.emit = fill_entry, .old = old};
	u64 start;
	long r;

	if (!f)
		return -EBADF;
	if (!f->ops->iterate) {
		r = -ENOTDIR;
		goto out;
	}
	b.size = min(size, (size_t)DIR_BUFFER);
	b.buf = kmalloc(DIR_BUFFER);
	if (!b.buf) {
		r = -ENOMEM;
		goto out;
	}
	mutex_lock(&f->pos_lock);
	b.ctx.pos = (s64)f->pos;
	start = f->pos;
	r = f->ops->iterate(f, &b.ctx);
	if (!r && !b.used && b.full)
		r = -EINVAL;
	if (!r && copy_to_user((void *)ubuf, b.buf, b.used))
		r = -EFAULT;
	f->pos = r ? start : (u64)b.ctx.pos;
	mutex_unlock(&f->pos_lock);
	if (!r)
		r = (long)b.used;
	kfree(b.buf, DIR_BUFFER);
out:
	file_put(f);
	return r;
}

long sys_getdents64(int fd, u64 ubuf, u32 size)
{
	return do_getdents(fd, ubuf, size, false);
}

long sys_getdents(int fd, u64 ubuf, u32 size)
{
	return do_getdents(fd, ubuf, size, true);
}

/* Replaces one of the process's directories; takes over the reference to d. */
static void set_dir(struct proc *p, struct dentry **slot, struct dentry *d)
{
	struct dentry *old;

	spin_lock(&p->fs_lock);
	old = *slot;
	*slot = d;
	spin_unlock(&p->fs_lock);
	dput(old);
}

static int change_dir(struct dentry *d, bool root)
{
	struct proc *p = fs_proc();
	int err = inode_permission(d->inode, MAY_EXEC);

	if (!err && root && !fs_capable(CAP_SYS_CHROOT))
		err = -EPERM;
	if (err) {
		dput(d);
		return err;
	}
	set_dir(p, root ? &p->root : &p->cwd, d);
	return 0;
}

long sys_chdir(u64 upath)
{
	struct dentry *d;
	int err = user_path_lookup(AT_FDCWD, upath, WALK_FOLLOW | WALK_DIRECTORY, &d, NULL);

	return err ? err : change_dir(d, false);
}

long sys_chroot(u64 upath)
{
	struct dentry *d;
	int err = user_path_lookup(AT_FDCWD, upath, WALK_FOLLOW | WALK_DIRECTORY, &d, NULL);

	return err ? err : change_dir(d, true);
}

long sys_fchdir(int fd)
{
	struct file *f = fd_get_path(fd);
	int err = -ENOTDIR;

	if (!f)
		return -EBADF;
	if (f->inode && S_ISDIR(f->inode->mode))
		err = change_dir(dget(f->dentry), false);
	file_put(f);
	return err;
}

long sys_getcwd(u64 ubuf, size_t size)
{
	struct proc *p = current_proc();
	struct dentry *cwd, *root;
	char *buf = kmalloc(PATH_MAX_LEN), *path;
	size_t len;
	long r;

	if (!buf)
		return -ENOMEM;
	spin_lock(&p->fs_lock);
	cwd = dget(p->cwd);
	root = dget(p->root);
	spin_unlock(&p->fs_lock);
	if (dentry_deleted(cwd)) {
		r = -ENOENT;
	} else {
		path = dentry_path(cwd, root, buf, PATH_MAX_LEN);
		len = path ? strlen(path) + 1 : 0;
		if (!path)
			r = -ENAMETOOLONG;
		else if (len > size)
			r = -ERANGE;
		else
			r = copy_to_user((void *)ubuf, path, len) ? -EFAULT : (long)len;
	}
	dput(cwd);
	dput(root);
	kfree(buf, PATH_MAX_LEN);
	return r;
}
