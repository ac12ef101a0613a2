/*
 * namei.c - the path walk: path_resolution(7), symbolic links, mounts, "..", chroot.
 *
 * A walk first tries with the lock shared. When it needs something that is not in the cache, it
 * starts over with the lock exclusive (-ECHILD inside this file only), which is also how all walks
 * through /proc go: those dentries are made anew each time.
 */
#include "libos/fs/namei.h"

#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/jfs.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

char *path_from_user(u64 upath)
{
	char *p = kmalloc(PATH_MAX_LEN);
	ssize_t n;

	if (!p)
		return err_ptr(-ENOMEM);
	n = strncpy_from_user(p, (const char *)upath, PATH_MAX_LEN);
	if (n < 0) {
		kfree(p, PATH_MAX_LEN);
		return err_ptr(n);
	}
	return p;
}

void path_free(char *path)
{
	kfree(path, PATH_MAX_LEN);
}

struct proc *fs_proc(void)
{
	struct proc *p = current_proc();

	return p ? p : init_proc;
}

struct dentry *path_start(int dfd, const char *path, u32 flags, struct file **f)
{
	*f = NULL;
	if (*path == '/' || dfd == AT_FDCWD)
		return NULL;
	*f = fd_get_path(dfd);
	if (!*f)
		return err_ptr(-EBADF);
	if (!*path)
		return (*f)->dentry; /* the caller looks at WALK_EMPTY */
	if (!(*f)->dentry || !(*f)->dentry->inode || !S_ISDIR((*f)->dentry->inode->mode)) {
		file_put(*f);
		*f = NULL;
		return err_ptr(-ENOTDIR);
	}
	return (*f)->dentry;
}

/* Moves to d, which the walk comes to hold if it is a made-up one. owned: d comes with a reference.
 */
static void hold(struct path_walk *w, struct dentry **slot, struct dentry *d, bool owned)
{
	struct dentry *old = *slot;

	if (!w->exclusive)
		return;
	if (d && !owned && d->flags & DENTRY_UNCACHED) {
		dget(d);
		owned = true;
	}
	*slot = owned ? d : NULL;
	if (old)
		dput_locked(old);
}

void walk_end(struct path_walk *w)
{
	hold(w, &w->held_child, NULL, false);
	hold(w, &w->held, NULL, false);
}

static struct dentry *cross_mounts(struct dentry *d)
{
	while (d->mounted)
		d = d->mounted->root;
	return d;
}

/* The entry `name` of directory dir, mounts crossed. NULL: none; err_ptr. *owned: it comes with a
 * reference. */
static struct dentry *lookup(struct path_walk *w, struct dentry *dir, const char *name, u32 len,
			     bool *owned)
{
	struct dentry *d = dcache_find(dir, name, len);
	struct inode *inode;
	int err;

	*owned = false;
	if (d)
		return d->inode ? cross_mounts(d) : NULL;
	if (dir->inode->flags & INODE_DEAD)
		return NULL;
	if (!w->exclusive) {
		/* A miss that the directory itself can decide needs no second walk. */
		if (dir->sb->memfs &&
		    (!dir->inode->lower || !jfs_lookup(&jfs, dir->inode->lower, name, len)))
			return NULL;
		return err_ptr(-ECHILD);
	}
	err = dir->inode->ops->lookup ? dir->inode->ops->lookup(dir, name, len, &inode) : -ENOENT;
	if (err)
		return err == -ENOENT ? NULL : err_ptr(err);
	d = dentry_alloc(dir->sb, dir, name, len, inode);
	if (!d) {
		iput(inode);
		return err_ptr(-ENOMEM);
	}
	if (dir->sb->memfs) {
		dentry_hash(d, false);
		dput_locked(d); /* stays in the cache; the lock keeps it */
	} else {
		d->flags |= DENTRY_UNCACHED;
		*owned = true;
	}
	return d;
}

static struct dentry *dotdot(struct path_walk *w, struct dentry *d)
{
	while (d != w->root && d == d->sb->root) {
		if (!d->sb->mountpoint)
			return d;
		d = d->sb->mountpoint;
	}
	return d == w->root ? d : cross_mounts(d->parent);
}

static const char *skip_slashes(const char *p, const char *end)
{
	while (p < end && *p == '/')
		p++;
	return p;
}

/*
 * Takes up the text of a symbolic link that was found at w->child; the rest of the path waits. `*p`
 * and
 * `*end` become the text. Returns 0, or -errno; or 1 if the link led to a place by itself.
 */
static int enter_link(struct path_walk *w, struct inode *link, const char **p, const char **end)
{
	const char *rest = skip_slashes(*p, *end), *text;
	u32 len;

	if (++w->links > MAX_SYMLINKS || w->flags & WALK_NO_SYMLINKS)
		return -ELOOP;
	if (link->ops->follow) {
		int err;

		if (w->flags & (WALK_NO_MAGIC | WALK_BENEATH | WALK_IN_ROOT))
			return -ELOOP;
		if (!w->exclusive)
			return -ECHILD;
		w->jump = NULL;
		err = link->ops->follow(link, w);
		return err ? err : 1;
	}
	text = link->ops->get_link(link, w, &len);
	if (is_err(text))
		return (int)ptr_err(text);
	if (!len)
		return -ENOENT;
	if (rest < *end) {
		w->stack[w->depth].p = rest;
		w->stack[w->depth++].end = *end;
	} else if (rest > *p) {
		w->must_dir = true;
	}
	*p = text;
	*end = text + len;
	return 0;
}

static int search_permission(struct path_walk *w, const struct inode *dir)
{
	const struct cred *c = &fs_proc()->cred;

	if (w->flags & WALK_REAL_IDS)
		return inode_permission_cred(dir, MAY_EXEC, c->uid, c->gid, c);
	return inode_permission(dir, MAY_EXEC);
}

static int check_jump(struct path_walk *w, struct dentry *from, struct dentry *to)
{
	return w->flags & WALK_NO_XDEV && from->sb != to->sb ? -EXDEV : 0;
}

int walk(struct path_walk *w, const char *path)
{
	const char *p = path, *end = path + strlen(path);
	struct proc *proc = fs_proc();
	struct dentry *cur, *d;
	int err;

	w->root = READ_ONCE(proc->root);
	w->parent = w->child = w->held = w->held_child = NULL;
	w->jump_file = NULL;
	w->must_dir = false;
	w->links = 0;
	w->depth = w->text_used = 0;
	w->type = LAST_ROOT;
	cur = w->start ? w->start : READ_ONCE(proc->cwd);
	if (w->flags & WALK_IN_ROOT)
		w->root = cur;
	if (!*p && !(w->flags & WALK_EMPTY))
		return -ENOENT;
	if (*p == '/') {
		if (w->flags & WALK_BENEATH)
			return -EXDEV;
		cur = w->root;
	}
	if (w->exclusive)
		dcache_shrink();
	hold(w, &w->held, cur, false);
	w->parent = w->child = cur;
	for (;;) {
		bool owned = false, last;
		const char *name;
		u32 len;

		p = skip_slashes(p, end);
		if (p == end) {
			if (!w->depth)
				break;
			w->depth--;
			p = w->stack[w->depth].p;
			end = w->stack[w->depth].end;
			continue;
		}
		if (!S_ISDIR(cur->inode->mode))
			return -ENOTDIR;
		err = search_permission(w, cur->inode);
		if (err)
			return err;
		name = p;
		while (p < end && *p != '/')
			p++;
		len = (u32)(p - name);
		last = !w->depth && skip_slashes(p, end) == end;
		if (last && p < end)
			w->must_dir = true;
		if (len == 1 && *name == '.') {
			w->type = LAST_DOT;
			w->parent = w->child = cur;
			continue;
		}
		if (len == 2 && name[0] == '.' && name[1] == '.') {
			d = dotdot(w, cur);
			if (w->flags & WALK_BENEATH && cur == (w->start ? w->start : proc->cwd))
				return -EXDEV;
			err = check_jump(w, cur, d);
			if (err)
				return err;
			w->type = LAST_DOTDOT;
			hold(w, &w->held, d, false);
			cur = w->parent = w->child = d;
			continue;
		}
		if (len > NAME_MAX_LEN)
			return -ENAMETOOLONG;
		if (last && p < end && w->flags & WALK_CREATE)
			return -EISDIR;
		d = lookup(w, cur, name, len, &owned);
		if (is_err(d))
			return (int)ptr_err(d);
		w->type = LAST_NORM;
		w->name = name;
		w->len = len;
		w->parent = cur;
		w->child = d;
		if (!d) {
			if (last && w->flags & WALK_PARENT)
				return 0;
			return -ENOENT;
		}
		err = check_jump(w, cur, d);
		if (err) {
			if (owned)
				dput_locked(d);
			return err;
		}
		if (S_ISLNK(d->inode->mode) && (!last || w->flags & WALK_FOLLOW ||
						(w->must_dir && !(w->flags & WALK_PARENT)))) {
			err = enter_link(w, d->inode, &p, &end);
			if (err <= 0) {
				if (owned)
					hold(w, &w->held_child, d,
					     true); /* its text may be needed */
				if (err)
					return err;
				if (*p == '/') {
					if (w->flags & WALK_BENEATH)
						return -EXDEV;
					hold(w, &w->held, w->root, false);
					cur = w->root;
					w->parent = w->child = cur;
					w->type = LAST_ROOT;
				}
				continue;
			}
			if (owned)
				dput_locked(d);
			if (w->jump_file) {
				w->child = NULL;
				return last ? 0 : -ENOTDIR;
			}
			hold(w, &w->held, w->jump, false);
			cur = w->parent = w->child = w->jump;
			w->type = LAST_DOT;
			continue;
		}
		if (last) {
			/* held stays with the parent, the child is held beside it. */
			hold(w, &w->held_child, d, owned);
			break;
		}
		hold(w, &w->held, d, owned);
		cur = d;
	}
	/* With WALK_PARENT the caller knows better which errno a slash behind a file deserves. */
	if ((w->must_dir || w->flags & WALK_DIRECTORY) && !(w->flags & WALK_PARENT) &&
	    !S_ISDIR(w->child->inode->mode))
		return -ENOTDIR;
	return 0;
}

int path_lookup(int dfd, const char *path, u32 flags, struct dentry **d, struct file **f)
{
	struct path_walk w;
	struct file *start_file;
	int err;

	*d = NULL;
	if (f)
		*f = NULL;
	w.flags = flags;
	w.start = path_start(dfd, path, flags, &start_file);
	if (is_err(w.start))
		return (int)ptr_err(w.start);
	if (start_file && !*path) {
		/* AT_EMPTY_PATH: the open file itself, of whatever kind. */
		err = flags & WALK_EMPTY ? 0 : -ENOENT;
		if (!err && w.start)
			*d = dget(w.start);
		else if (!err && f) {
			*f = start_file;
			return 0;
		} else if (!err)
			err = -EACCES;
		file_put(start_file);
		return err;
	}
	w.exclusive = false;
	ns_read_lock();
	err = walk(&w, path);
	if (!err && w.child)
		*d = dget(w.child);
	ns_read_unlock();
	if (err == -ECHILD) {
		w.exclusive = true;
		ns_write_lock();
		err = walk(&w, path);
		if (!err && w.child)
			*d = dget(w.child);
		walk_end(&w);
		ns_write_unlock();
		if (!err && w.jump_file) {
			if (f) {
				*f = w.jump_file;
			} else {
				file_put(w.jump_file);
				err = -EACCES;
			}
		}
	}
	if (start_file)
		file_put(start_file);
	return err;
}

int user_path_lookup(int dfd, u64 upath, u32 flags, struct dentry **d, struct file **f)
{
	char *path = path_from_user(upath);
	int err;

	if (is_err(path))
		return (int)ptr_err(path);
	err = path_lookup(dfd, path, flags, d, f);
	path_free(path);
	return err;
}
