/*
 * memfs.c - names and inodes of the file system in memory; memfs.h says how it lies over the image.
 */
#include "libos/fs/memfs.h"

#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "libos/fs/jfs.h"
#include "libos/fs/namei.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/shm.h"
#include "libos/proc/proc.h"

#define LOWER_BUCKETS 1024u

static struct inode *by_lower[LOWER_BUCKETS]; /* inodes of image files, under the name space lock */
static u64 quota_pages, used_pages, nr_inodes;

void memfs_set_quota(u64 bytes)
{
	quota_pages = bytes >> PAGE_SHIFT;
}

u64 memfs_quota_pages(void)
{
	return quota_pages;
}

u64 memfs_used_pages(void)
{
	return READ_ONCE(used_pages);
}

bool memfs_charge(u64 pages)
{
	if (__atomic_add_fetch(&used_pages, pages, __ATOMIC_RELAXED) <= quota_pages)
		return true;
	__atomic_fetch_sub(&used_pages, pages, __ATOMIC_RELAXED);
	return false;
}

void memfs_uncharge(u64 pages)
{
	__atomic_fetch_sub(&used_pages, pages, __ATOMIC_RELAXED);
}

/* Inodes */

static const struct inode_ops *ops_for(u32 mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return &memfs_file_ops;
	case S_IFDIR:
		return &memfs_dir_ops;
	case S_IFLNK:
		return &memfs_link_ops;
	}
	return &memfs_special_ops;
}

static struct inode **lower_bucket(const struct jfs_inode *lower)
{
	return &by_lower[(u32)(lower - jfs.inodes) % LOWER_BUCKETS];
}

/* The inode of an image file, with a reference; NULL: no memory or a damaged table. */
static struct inode *lower_inode(struct super *sb, const struct jfs_inode *lower)
{
	struct inode *i;
	const u8 *data = NULL;

	if (!lower)
		return NULL;
	for (i = *lower_bucket(lower); i; i = i->hash_next)
		if (i->lower == lower) {
			iget(i);
			return i;
		}
	if (!S_ISDIR(lower->mode)) {
		data = jfs_data(&jfs, lower);
		if (!data)
			return NULL;
	}
	i = inode_alloc(sb, ops_for(lower->mode), lower->mode);
	if (!i)
		return NULL;
	i->ino = (u64)(lower - jfs.inodes);
	i->uid = lower->uid;
	i->gid = lower->gid;
	i->nlink = lower->nlink;
	i->size = S_ISDIR(lower->mode) ? 0 : lower->size;
	i->mtime.sec = i->atime.sec = i->ctime.sec = i->btime.sec = (s64)jfs.super->mtime;
	i->lower = lower;
	if (S_ISREG(lower->mode)) {
		i->fops = &memfs_reg_fops;
		i->reg.lower_data = data;
		i->reg.lower_size = lower->size;
	} else if (S_ISDIR(lower->mode)) {
		i->fops = &memfs_dir_fops;
	} else {
		i->link.target = (char *)data;
		i->link.len = (u32)lower->size;
	}
	i->hash_next = *lower_bucket(lower);
	*lower_bucket(lower) = i;
	return i;
}

void memfs_forget(struct inode *i)
{
	struct inode **p = lower_bucket(i->lower);

	while (*p != i)
		p = &(*p)->hash_next;
	*p = i->hash_next;
}

void memfs_dirty(struct inode *inode)
{
	if (!inode->lower || inode->flags & INODE_DIRTY || !inode->nlink)
		return;
	inode->flags |= INODE_DIRTY;
	iget(inode);
}

/* The last name is gone: nothing finds a dirty inode any more. */
static void drop_link(struct inode *inode, u32 n)
{
	memfs_dirty(inode);
	inode->nlink = inode->nlink > n ? inode->nlink - n : 0;
	inode->ctime = now_ts();
	if (!inode->nlink && inode->flags & INODE_DIRTY) {
		inode->flags &= ~INODE_DIRTY;
		iput(inode);
	}
}

struct inode *memfs_new_inode(struct super *sb, const struct inode *dir, u32 mode, u64 rdev)
{
	const struct cred *c = &fs_proc()->cred;
	struct inode *i;

	/* As tmpfs: half as many inodes as pages. */
	if (READ_ONCE(nr_inodes) >= quota_pages / 2 + 1024)
		return err_ptr(-ENOSPC);
	i = inode_alloc(sb, ops_for(mode), mode);
	if (!i)
		return err_ptr(-ENOSPC);
	__atomic_fetch_add(&nr_inodes, 1, __ATOMIC_RELAXED);
	i->ino = ino_next();
	i->uid = c->fsuid;
	i->gid = c->fsgid;
	if (dir && dir->mode & S_ISGID) {
		i->gid = dir->gid;
		if (S_ISDIR(mode))
			i->mode |= S_ISGID;
		else if ((mode & (S_ISGID | 010)) == (S_ISGID | 010) && !in_group(dir->gid) &&
			 !fs_capable(4 /* CAP_FSETID */))
			i->mode &= ~(u32)S_ISGID;
	}
	i->rdev = rdev;
	i->atime = i->mtime = i->ctime = i->btime = now_ts();
	if (S_ISREG(mode))
		i->fops = &memfs_reg_fops;
	else if (S_ISDIR(mode)) {
		i->fops = &memfs_dir_fops;
		i->nlink = 2;
	}
	return i;
}

static void memfs_free(struct inode *i)
{
	if (S_ISREG(i->mode)) {
		memfs_free_pages(i);
	} else if (S_ISLNK(i->mode) && !i->lower && i->link.target) {
		kfree(i->link.target, i->link.len + 1);
	}
	if (!i->lower)
		__atomic_fetch_sub(&nr_inodes, 1, __ATOMIC_RELAXED);
}

int memfs_set_target(struct inode *link, const char *target, size_t len)
{
	link->link.target = kmalloc(len + 1);
	if (!link->link.target)
		return -ENOSPC;
	memcpy(link->link.target, target, len);
	link->link.target[len] = 0;
	link->link.len = (u32)len;
	link->size = len;
	return 0;
}

static const char *memfs_get_link(struct inode *inode, struct path_walk *w, u32 *len)
{
	*len = inode->link.len;
	return inode->link.target;
}

/* Names */

static int memfs_lookup(struct dentry *dir, const char *name, u32 len, struct inode **out)
{
	const struct jfs_inode *lower = dir->inode->lower;
	const struct jfs_dirent *e = lower ? jfs_lookup(&jfs, lower, name, len) : NULL;

	if (!e)
		return -ENOENT;
	*out = lower_inode(dir->sb, jfs_inode_get(&jfs, e->ino));
	return *out ? 0 : -ENOMEM;
}

static bool has_lower_name(const struct dentry *dir, const char *name, u32 len)
{
	return dir->inode->lower && jfs_lookup(&jfs, dir->inode->lower, name, len);
}

static void touch_dir(struct inode *dir)
{
	memfs_dirty(dir);
	dir->mtime = dir->ctime = now_ts();
}

/* Enters an unhashed d (parent and name are set) as an entry of its directory. */
static void pin_entry(struct dentry *d)
{
	struct inode *dir = d->parent->inode;

	d->cookie = dir->dir.next_cookie++;
	list_add_tail(&d->upper_link, &dir->dir.upper);
	if (d->inode)
		dir->dir.nr_upper++;
	dentry_hash(d, true);
}

/* Takes d out of its directory and the cache; the caller holds a reference. */
static void unpin_entry(struct dentry *d)
{
	if (d->flags & DENTRY_PINNED) {
		list_del(&d->upper_link);
		if (d->inode)
			d->parent->inode->dir.nr_upper--;
	}
	dentry_unhash(d);
}

struct dentry *memfs_add(struct dentry *parent, const char *name, u32 len, struct inode *inode)
{
	struct inode *dir = parent->inode;
	struct dentry *w = dcache_find(parent, name, len), *d;

	if (dir->flags & INODE_DEAD)
		return err_ptr(-ENOENT);
	d = dentry_alloc(parent->sb, parent, name, len, inode);
	if (!d)
		return err_ptr(-ENOSPC);
	if (w) { /* the whiteout is replaced; the name of the image stays hidden */
		dget(w);
		unpin_entry(w);
		dput_locked(w);
	}
	pin_entry(d);
	touch_dir(dir);
	if (S_ISDIR(inode->mode))
		dir->nlink++;
	dput_locked(d); /* its own reference keeps it */
	return d;
}

/* A whiteout for d's name, if the image has that name there: made before d goes, so that nothing
 * can fail after. */
static int prepare_whiteout(struct dentry *d, struct dentry **w)
{
	*w = NULL;
	if (!has_lower_name(d->parent, d->name, d->len))
		return 0;
	*w = dentry_alloc(d->sb, d->parent, d->name, d->len, NULL);
	return *w ? 0 : -ENOSPC;
}

static void place_whiteout(struct dentry *w, bool was_pinned)
{
	if (!w)
		return;
	if (!was_pinned)
		w->parent->inode->dir.nr_lower_gone++;
	pin_entry(w);
	dput_locked(w);
}

bool memfs_empty(struct dentry *dir)
{
	const struct inode *i = dir->inode;

	return !i->dir.nr_upper && (!i->lower || i->dir.nr_lower_gone == i->lower->dirent_count);
}

/* An empty directory goes: its whiteouts with it. */
static void kill_dir(struct dentry *d)
{
	struct list_head *list = &d->inode->dir.upper;

	d->inode->flags |= INODE_DEAD;
	while (!list_empty(list)) {
		struct dentry *w = list_first(list, struct dentry, upper_link);

		dget(w);
		unpin_entry(w);
		dput_locked(w);
	}
}

int memfs_remove(struct dentry *d)
{
	struct dentry *parent = d->parent, *w;
	bool pinned = d->flags & DENTRY_PINNED, is_dir = S_ISDIR(d->inode->mode);
	int err = prepare_whiteout(d, &w);

	if (err)
		return err;
	dget(d);
	dget(parent);
	if (is_dir)
		kill_dir(d);
	unpin_entry(d);
	place_whiteout(w, pinned);
	touch_dir(parent->inode);
	if (is_dir)
		parent->inode->nlink--;
	drop_link(d->inode, is_dir ? 2 : 1);
	dput_locked(d);
	dput_locked(parent);
	return 0;
}

int memfs_rename(struct dentry *d, struct dentry *parent, const char *name, u32 len,
		 struct dentry *target)
{
	struct dentry *old_parent = d->parent, *w, *white;
	bool pinned = d->flags & DENTRY_PINNED, is_dir = S_ISDIR(d->inode->mode);
	int err = prepare_whiteout(d, &w);

	if (err)
		return err;
	dget(d);
	dget(old_parent);
	unpin_entry(d);
	err = dentry_move(d, parent, name, len);
	if (err) {
		/* Back where it was; the lookup finds it there. */
		if (pinned)
			pin_entry(d);
		else
			dentry_hash(d, false);
		if (w)
			dput_locked(w);
		goto out;
	}
	white = target ? NULL : dcache_find(parent, name, len);
	if (white) {
		dget(white);
		unpin_entry(white);
		dput_locked(white);
	}
	if (target) {
		bool target_dir = S_ISDIR(target->inode->mode);

		dget(target);
		if (!(target->flags & DENTRY_PINNED))
			parent->inode->dir.nr_lower_gone++;
		if (target_dir)
			kill_dir(target);
		unpin_entry(target);
		if (target_dir)
			parent->inode->nlink--;
		drop_link(target->inode, target_dir ? 2 : 1);
		dput_locked(target);
	}
	pin_entry(d);
	place_whiteout(w, pinned);
	if (is_dir && parent != old_parent) {
		memfs_dirty(old_parent->inode);
		old_parent->inode->nlink--;
		parent->inode->nlink++;
	}
	touch_dir(old_parent->inode);
	touch_dir(parent->inode);
	memfs_dirty(d->inode);
	d->inode->ctime = now_ts();
out:
	dput_locked(d);
	dput_locked(old_parent);
	return err;
}

int memfs_exchange(struct dentry *a, struct dentry *b)
{
	struct dentry *pa = dget(a->parent), *pb = dget(b->parent);
	bool pinned_a = a->flags & DENTRY_PINNED, pinned_b = b->flags & DENTRY_PINNED;
	u32 len_a = a->len, len_b = b->len;
	char *names = kmalloc(len_a + len_b);
	int err = -ENOMEM;

	if (!names)
		goto out;
	memcpy(names, a->name, len_a);
	memcpy(names + len_a, b->name, len_b);
	dget(a);
	dget(b);
	unpin_entry(a);
	unpin_entry(b);
	err = dentry_move(a, pb, names + len_a, len_b);
	if (!err) {
		err = dentry_move(b, pa, names, len_a);
		if (err && dentry_move(a, pa, names, len_a))
			panic("fs: no memory to take back a rename");
	}
	if (err) {
		if (pinned_a)
			pin_entry(a);
		else
			dentry_hash(a, false);
		if (pinned_b)
			pin_entry(b);
		else
			dentry_hash(b, false);
	} else {
		int moved = (int)S_ISDIR(a->inode->mode) - (int)S_ISDIR(b->inode->mode);

		if (!pinned_a)
			pa->inode->dir.nr_lower_gone++;
		if (!pinned_b)
			pb->inode->dir.nr_lower_gone++;
		pin_entry(a);
		pin_entry(b);
		touch_dir(pa->inode);
		touch_dir(pb->inode);
		if (pa != pb) {
			pa->inode->nlink -= (u32)moved;
			pb->inode->nlink += (u32)moved;
		}
		memfs_dirty(a->inode);
		memfs_dirty(b->inode);
		a->inode->ctime = b->inode->ctime = now_ts();
	}
	dput_locked(a);
	dput_locked(b);
	kfree(names, len_a + len_b);
out:
	dput_locked(pa);
	dput_locked(pb);
	return err;
}

int memfs_link(struct dentry *parent, const char *name, u32 len, struct inode *inode)
{
	struct dentry *d;

	iget(inode);
	d = memfs_add(parent, name, len, inode);
	if (is_err(d)) {
		iput(inode);
		return (int)ptr_err(d);
	}
	memfs_dirty(inode);
	inode->nlink++;
	inode->ctime = now_ts();
	return 0;
}

/* Directories: ".", "..", the names of the image by their index, then the others by their cookie.
 */

static bool is_hidden(struct dentry *dir, const char *name, u32 len)
{
	const struct dentry *d;

	if (!dir->inode->dir.nr_lower_gone)
		return false;
	d = dcache_find(dir, name, len);
	return d && d->flags & DENTRY_PINNED;
}

static int memfs_iterate(struct file *f, struct dir_context *ctx)
{
	struct dentry *dir = f->dentry, *d;
	struct inode *inode = dir->inode;
	u64 lower_end;
	int err = 0;

	ns_read_lock();
	if (inode->flags & INODE_DEAD) {
		err = -ENOENT;
		goto out;
	}
	lower_end = 2 + (inode->lower ? inode->lower->dirent_count : 0);
	if (ctx->pos == 0) {
		if (!ctx->emit(ctx, ".", 1, inode->ino, S_IFDIR >> 12, 1))
			goto out;
		ctx->pos = 1;
	}
	if (ctx->pos == 1) {
		struct dentry *up = dir == dir->sb->root && dir->sb->mountpoint
					    ? dir->sb->mountpoint->parent
					    : dir->parent;

		if (!ctx->emit(ctx, "..", 2, up->inode->ino, S_IFDIR >> 12, 2))
			goto out;
		ctx->pos = 2;
	}
	while ((u64)ctx->pos < lower_end) {
		const struct jfs_dirent *e =
			&jfs.dirents[inode->lower->first_dirent + (u64)ctx->pos - 2];
		const char *name = jfs.names + e->name_off;

		if ((u64)e->name_off + e->name_len <= jfs.super->names_len &&
		    !is_hidden(dir, name, e->name_len) &&
		    !ctx->emit(ctx, name, e->name_len, e->ino, e->type, ctx->pos + 1))
			goto out;
		ctx->pos++;
	}
	list_for_each_entry (d, &inode->dir.upper, upper_link) {
		s64 at = (s64)(lower_end + d->cookie);

		if (at < ctx->pos || !d->inode)
			continue;
		if (!ctx->emit(ctx, d->name, d->len, d->inode->ino, (u8)(d->inode->mode >> 12 & 15),
			       at + 1))
			goto out;
		ctx->pos = at + 1;
	}
out:
	ns_read_unlock();
	return err;
}

static ssize_t dir_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	return -EISDIR;
}

s64 dir_llseek(struct file *f, s64 off, int whence)
{
	if (whence == SEEK_CUR)
		off += (s64)f->pos;
	else if (whence != SEEK_SET)
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

static int dir_fsync(struct file *f)
{
	return 0;
}

const struct file_ops memfs_dir_fops = {
	.name = "directory",
	.read = dir_read,
	.llseek = dir_llseek,
	.iterate = memfs_iterate,
	.fsync = dir_fsync,
	.getattr = file_getattr,
};

static void memfs_getattr(struct inode *inode, struct kstat *st)
{
	st->blocks = S_ISREG(inode->mode) ? memfs_blocks(inode) : 0;
	if (S_ISDIR(inode->mode))
		st->size = 20 * (2 + (u64)inode->dir.nr_upper +
				 (inode->lower ? inode->lower->dirent_count : 0));
}

const struct inode_ops memfs_dir_ops = {
	.lookup = memfs_lookup, .getattr = memfs_getattr, .free = memfs_free};
const struct inode_ops memfs_file_ops = {.getattr = memfs_getattr, .free = memfs_free};
const struct inode_ops memfs_link_ops = {.get_link = memfs_get_link, .free = memfs_free};

/* dev.c, and fifos of ipc/pipe.c */
int special_open(struct inode *inode, struct file *f);
const struct inode_ops memfs_special_ops = {.open = special_open, .free = memfs_free};

struct super *memfs_mount(const char *type, const char *source, const char *options, u32 magic,
			  u32 mode, const struct jfs_inode *lower)
{
	static u32 last_dev = 31;
	struct super *sb = kzalloc(sizeof(*sb));
	struct inode *i;

	if (!sb)
		return NULL;
	sb->type = type;
	sb->source = source;
	sb->options = options;
	sb->magic = magic;
	sb->dev = (u32)MKDEV(0, ++last_dev);
	sb->memfs = true;
	ns_write_lock();
	i = lower ? lower_inode(sb, lower) : memfs_new_inode(sb, NULL, S_IFDIR | mode, 0);
	if (i && !is_err(i))
		sb->root = dentry_alloc(sb, NULL, "", 0, i);
	ns_write_unlock();
	if (!sb->root) {
		kfree(sb, sizeof(*sb));
		return NULL;
	}
	return sb;
}
