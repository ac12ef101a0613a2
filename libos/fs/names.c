/*
 * names.c - calls that create, remove and move names: mkdir, mknod, symlink, link, unlink, rmdir,
 * rename.
 *
 * Each is one walk and one change under the exclusive name space lock. The order of the checks
 * decides which errno a caller sees; it is that of Linux (fs/namei.c's documented behaviour in the
 * man pages).
 */
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/stat.h>

#include "libos/fs/change.h"
#include "libos/fs/memfs.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

int change_begin(struct path_walk *w, int dfd, const char *path, u32 flags)
{
	int err;

	w->flags = flags;
	w->exclusive = true;
	w->start = path_start(dfd, path, flags, &w->start_file);
	if (is_err(w->start))
		return (int)ptr_err(w->start);
	if (w->start_file && !*path) {
		file_put(w->start_file);
		return -ENOENT;
	}
	ns_write_lock();
	err = walk(w, path);
	if (err)
		change_end(w);
	return err;
}

void change_end(struct path_walk *w)
{
	walk_end(w);
	ns_write_unlock();
	if (w->start_file)
		file_put(w->start_file);
}

int may_create(struct dentry *dir)
{
	if (dir->inode->flags & INODE_DEAD)
		return -ENOENT;
	if (!dir->sb->memfs)
		return dir->sb->magic == SYSFS_MAGIC ? -EPERM
						     : -ENOENT; /* procfs: the lookup fails */
	return inode_permission(dir->inode, MAY_WRITE | MAY_EXEC);
}

int may_delete(struct dentry *d, bool as_dir)
{
	struct inode *dir = d->parent->inode;
	int err;

	if (d == d->sb->root)
		return as_dir ? -EBUSY : S_ISDIR(d->inode->mode) ? -EISDIR : -EBUSY;
	err = inode_permission(dir, MAY_WRITE | MAY_EXEC);
	if (err)
		return err;
	if (!d->sb->memfs)
		return -EPERM;
	if (dir->mode & S_ISVTX) {
		u32 uid = fs_proc()->cred.fsuid;

		if (uid != d->inode->uid && uid != dir->uid && !fs_capable(CAP_FOWNER))
			return -EPERM;
	}
	if (as_dir)
		return S_ISDIR(d->inode->mode) ? 0 : -ENOTDIR;
	return S_ISDIR(d->inode->mode) ? -EISDIR : 0;
}

/* Common to all that create: the last component must be a name that is not there. */
static int create_begin(struct path_walk *w, int dfd, const char *path, bool is_dir)
{
	int err = change_begin(w, dfd, path, WALK_PARENT);

	if (err)
		return err;
	if (w->child)
		err = -EEXIST;
	else if (!is_dir && w->must_dir)
		err = -ENOENT;
	else
		err = may_create(w->parent);
	if (err)
		change_end(w);
	return err;
}

/* Enters a new inode (or passes on its error) and ends the change. */
static int create_end(struct path_walk *w, struct inode *i)
{
	struct dentry *d =
		is_err(i) ? (struct dentry *)i : memfs_add(w->parent, w->name, w->len, i);

	if (is_err(d) && !is_err(i))
		iput(i);
	change_end(w);
	return is_err(d) ? (int)ptr_err(d) : 0;
}

int do_mkdirat(int dfd, const char *path, u32 mode)
{
	struct path_walk w;
	int err = create_begin(&w, dfd, path, true);

	if (err)
		return err;
	mode = S_IFDIR | (mode & 01777 & ~fs_proc()->umask);
	return create_end(&w, memfs_new_inode(w.parent->sb, w.parent->inode, mode, 0));
}

int do_mknodat(int dfd, const char *path, u32 mode, u64 dev)
{
	struct path_walk w;
	u32 type = mode & S_IFMT;
	int err;

	if (!type)
		type = S_IFREG;
	if (type == S_IFDIR)
		return -EPERM;
	if (type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO &&
	    type != S_IFSOCK)
		return -EINVAL;
	err = create_begin(&w, dfd, path, false);
	if (err)
		return err;
	if ((type == S_IFCHR || type == S_IFBLK) && !fs_capable(CAP_MKNOD)) {
		change_end(&w);
		return -EPERM;
	}
	if (type != S_IFCHR && type != S_IFBLK)
		dev = 0;
	mode = type | (mode & 07777 & ~fs_proc()->umask);
	return create_end(&w, memfs_new_inode(w.parent->sb, w.parent->inode, mode, dev));
}

struct dentry *make_socket_node(const char *path)
{
	struct path_walk w;
	struct dentry *d;
	struct inode *i;
	int err = create_begin(&w, AT_FDCWD, path, false);

	if (err)
		return err_ptr(err);
	i = memfs_new_inode(w.parent->sb, w.parent->inode, S_IFSOCK | (0777 & ~fs_proc()->umask), 0);
	d = is_err(i) ? (struct dentry *)i : memfs_add(w.parent, w.name, w.len, i);
	if (!is_err(d))
		dget(d);
	else if (!is_err(i))
		iput(i);
	change_end(&w);
	return d;
}

int do_symlinkat(const char *target, int dfd, const char *path)
{
	struct path_walk w;
	struct inode *i;
	int err;

	if (!*target)
		return -ENOENT;
	err = create_begin(&w, dfd, path, false);
	if (err)
		return err;
	i = memfs_new_inode(w.parent->sb, w.parent->inode, S_IFLNK | 0777, 0);
	if (!is_err(i)) {
		err = memfs_set_target(i, target, strlen(target));
		if (err) {
			iput(i);
			i = err_ptr(err);
		}
	}
	return create_end(&w, i);
}

static int do_unlinkat(int dfd, const char *path)
{
	struct path_walk w;
	int err = change_begin(&w, dfd, path, WALK_PARENT);

	if (err)
		return err;
	if (w.type != LAST_NORM)
		err = -EISDIR;
	else if (!w.child)
		err = -ENOENT;
	else if (w.must_dir)
		err = S_ISDIR(w.child->inode->mode) ? -EISDIR : -ENOTDIR;
	else
		err = may_delete(w.child, false);
	if (!err)
		err = memfs_remove(w.child);
	change_end(&w);
	return err;
}

static int do_rmdir(int dfd, const char *path)
{
	struct path_walk w;
	int err = change_begin(&w, dfd, path, WALK_PARENT);

	if (err)
		return err;
	if (w.type != LAST_NORM)
		err = w.type == LAST_DOT ? -EINVAL : w.type == LAST_DOTDOT ? -ENOTEMPTY : -EBUSY;
	else if (!w.child)
		err = -ENOENT;
	else
		err = may_delete(w.child, true);
	if (!err && !memfs_empty(w.child))
		err = -ENOTEMPTY;
	if (!err)
		err = memfs_remove(w.child);
	change_end(&w);
	return err;
}

static int do_linkat(int old_dfd, const char *old, int new_dfd, const char *new, int flags)
{
	u32 walk_flags = flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : 0;
	struct dentry *d;
	struct path_walk w;
	int err;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (flags & AT_EMPTY_PATH)
		walk_flags |= WALK_EMPTY;
	err = path_lookup(old_dfd, old, walk_flags, &d, NULL);
	if (err)
		return err;
	err = change_begin(&w, new_dfd, new, WALK_PARENT);
	if (err)
		goto out;
	if (w.child)
		err = -EEXIST;
	else if (w.must_dir)
		err = -ENOENT;
	else if (d->sb != w.parent->sb)
		err = -EXDEV;
	else
		err = may_create(w.parent);
	if (!err && S_ISDIR(d->inode->mode))
		err = -EPERM;
	if (!err && !d->inode->nlink && !(d->inode->flags & INODE_LINKABLE))
		err = -ENOENT;
	if (!err)
		err = memfs_link(w.parent, w.name, w.len, d->inode);
	change_end(&w);
out:
	dput(d);
	return err;
}

/* a stands above b, or is b. */
static bool is_ancestor(struct dentry *a, struct dentry *b)
{
	for (;; b = b->parent) {
		if (b == a)
			return true;
		if (b->parent == b)
			return false;
	}
}

static int rename_checked(struct path_walk *o, struct path_walk *n, u32 flags)
{
	struct dentry *d = o->child, *t = n->child;
	bool is_dir;
	int err;

	if (o->parent->sb != n->parent->sb)
		return -EXDEV;
	if (o->type != LAST_NORM)
		return -EBUSY;
	if (n->type != LAST_NORM)
		return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	if (!d)
		return -ENOENT;
	if (t && flags & RENAME_NOREPLACE)
		return -EEXIST;
	is_dir = S_ISDIR(d->inode->mode);
	if (flags & RENAME_EXCHANGE) {
		if (!t)
			return -ENOENT;
		if (!S_ISDIR(t->inode->mode) && n->must_dir)
			return -ENOTDIR;
	}
	if (!is_dir) {
		if (o->must_dir)
			return -ENOTDIR;
		if (!(flags & RENAME_EXCHANGE) && n->must_dir)
			return -ENOTDIR;
	}
	if (d == d->sb->root || (t && t == t->sb->root))
		return -EBUSY;
	if (is_ancestor(d, n->parent))
		return -EINVAL;
	if (t && is_ancestor(t, o->parent))
		return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (t && t->inode == d->inode)
		return 0;
	err = may_delete(d, is_dir);
	if (err)
		return err;
	if (!t)
		err = may_create(n->parent);
	else if (flags & RENAME_EXCHANGE)
		err = may_delete(t, S_ISDIR(t->inode->mode));
	else
		err = may_delete(t, is_dir);
	if (err)
		return err;
	/* A directory that gets another ".." must be writable itself. */
	if (o->parent != n->parent) {
		if (is_dir)
			err = inode_permission(d->inode, MAY_WRITE);
		if (!err && flags & RENAME_EXCHANGE && S_ISDIR(t->inode->mode))
			err = inode_permission(t->inode, MAY_WRITE);
		if (err)
			return err;
	}
	if (flags & RENAME_EXCHANGE)
		return memfs_exchange(d, t);
	if (t && is_dir && !memfs_empty(t))
		return -ENOTEMPTY;
	return memfs_rename(d, n->parent, n->name, n->len, t);
}

static int do_renameat2(int old_dfd, const char *old, int new_dfd, const char *new, u32 flags)
{
	struct path_walk o, n;
	struct dentry *hold_dir, *hold_child;
	struct file *start;
	int err;

	if (flags & ~(u32)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	n.flags = WALK_PARENT;
	n.exclusive = true;
	n.start = path_start(new_dfd, new, 0, &start);
	if (is_err(n.start)) {
		/* The old path's errors come first. */
		err = change_begin(&o, old_dfd, old, WALK_PARENT);
		if (err)
			return err;
		change_end(&o);
		return (int)ptr_err(n.start);
	}
	err = change_begin(&o, old_dfd, old, WALK_PARENT);
	if (!err) {
		/* The second walk may push out of the cache what the first has found. */
		hold_dir = dget(o.parent);
		hold_child = o.child ? dget(o.child) : NULL;
		err = start && !*new ? -ENOENT : walk(&n, new);
		if (!err)
			err = rename_checked(&o, &n, flags);
		if (!(start && !*new))
			walk_end(&n);
		if (hold_child)
			dput_locked(hold_child);
		dput_locked(hold_dir);
		change_end(&o);
	}
	if (start)
		file_put(start);
	return err;
}

/* System calls */

#define WITH_PATH(upath, call)                                                                     \
	({                                                                                         \
		char *path = path_from_user(upath);                                                \
		long _r;                                                                           \
		if (is_err(path)) {                                                                \
			_r = ptr_err(path);                                                        \
		} else {                                                                           \
			_r = call;                                                                 \
			path_free(path);                                                           \
		}                                                                                  \
		_r;                                                                                \
	})

#define WITH_PATHS(uold, unew, call)                                                               \
	({                                                                                         \
		char *old = path_from_user(uold), *new;                                            \
		long _r2;                                                                          \
		if (is_err(old)) {                                                                 \
			_r2 = ptr_err(old);                                                        \
		} else {                                                                           \
			new = path_from_user(unew);                                                \
			if (is_err(new)) {                                                         \
				_r2 = ptr_err(new);                                                \
			} else {                                                                   \
				_r2 = call;                                                        \
				path_free(new);                                                    \
			}                                                                          \
			path_free(old);                                                            \
		}                                                                                  \
		_r2;                                                                               \
	})

long sys_mkdirat(int dfd, u64 upath, u32 mode)
{
	return WITH_PATH(upath, do_mkdirat(dfd, path, mode));
}

long sys_mkdir(u64 upath, u32 mode)
{
	return sys_mkdirat(AT_FDCWD, upath, mode);
}

long sys_mknodat(int dfd, u64 upath, u32 mode, u32 dev)
{
	return WITH_PATH(upath, do_mknodat(dfd, path, mode, dev));
}

long sys_mknod(u64 upath, u32 mode, u32 dev)
{
	return sys_mknodat(AT_FDCWD, upath, mode, dev);
}

long sys_unlinkat(int dfd, u64 upath, int flags)
{
	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	return WITH_PATH(upath,
			 flags & AT_REMOVEDIR ? do_rmdir(dfd, path) : do_unlinkat(dfd, path));
}

long sys_unlink(u64 upath)
{
	return sys_unlinkat(AT_FDCWD, upath, 0);
}

long sys_rmdir(u64 upath)
{
	return sys_unlinkat(AT_FDCWD, upath, AT_REMOVEDIR);
}

long sys_symlinkat(u64 utarget, int dfd, u64 upath)
{
	return WITH_PATHS(utarget, upath, do_symlinkat(old, dfd, new));
}

long sys_symlink(u64 utarget, u64 upath)
{
	return sys_symlinkat(utarget, AT_FDCWD, upath);
}

long sys_linkat(int old_dfd, u64 uold, int new_dfd, u64 unew, int flags)
{
	return WITH_PATHS(uold, unew, do_linkat(old_dfd, old, new_dfd, new, flags));
}

long sys_link(u64 uold, u64 unew)
{
	return sys_linkat(AT_FDCWD, uold, AT_FDCWD, unew, 0);
}

long sys_renameat2(int old_dfd, u64 uold, int new_dfd, u64 unew, u32 flags)
{
	return WITH_PATHS(uold, unew, do_renameat2(old_dfd, old, new_dfd, new, flags));
}

long sys_renameat(int old_dfd, u64 uold, int new_dfd, u64 unew)
{
	return sys_renameat2(old_dfd, uold, new_dfd, unew, 0);
}

long sys_rename(u64 uold, u64 unew)
{
	return sys_renameat2(AT_FDCWD, uold, AT_FDCWD, unew, 0);
}
