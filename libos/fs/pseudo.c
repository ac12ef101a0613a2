/*
 * pseudo.c - the frame of /proc and /sys: lookup and reading in trees of made-up files.
 */
#include "libos/fs/pseudo.h"

#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "libos/fs/namei.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/proc/proc.h"

#define TEXT_MAX (16ul << 20)

static const struct inode_ops pseudo_dir_ops, pseudo_file_ops, pseudo_link_ops, pseudo_magic_ops;
static const struct file_ops pseudo_dir_fops, pseudo_file_fops;

/* Text */

static bool text_reserve(struct text *t, size_t n)
{
	size_t cap = t->cap ? t->cap : 1024;
	char *buf;

	if (t->err)
		return false;
	while (cap - t->len < n && cap < TEXT_MAX)
		cap *= 2;
	if (cap - t->len < n) {
		t->err = -ENOMEM;
		return false;
	}
	if (cap == t->cap)
		return true;
	buf = kmalloc(cap);
	if (!buf) {
		t->err = -ENOMEM;
		return false;
	}
	if (t->buf) {
		memcpy(buf, t->buf, t->len);
		kfree(t->buf, t->cap);
	}
	t->buf = buf;
	t->cap = cap;
	return true;
}

void text_write(struct text *t, const void *p, size_t n)
{
	if (!text_reserve(t, n))
		return;
	memcpy(t->buf + t->len, p, n);
	t->len += n;
}

void text_printf(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!text_reserve(t, 160))
		return;
	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, t->cap - t->len, fmt, ap);
	va_end(ap);
	if ((size_t)n >= t->cap - t->len) {
		if (!text_reserve(t, (size_t)n + 1))
			return;
		va_start(ap, fmt);
		n = vsnprintf(t->buf + t->len, t->cap - t->len, fmt, ap);
		va_end(ap);
	}
	t->len += (size_t)n;
}

void text_free(struct text *t)
{
	if (t->buf)
		kfree(t->buf, t->cap);
	t->buf = NULL;
	t->len = t->cap = 0;
}

s64 parse_number(const char *s, u32 len)
{
	s64 v = 0;

	if (!len || len > 10 || (len > 1 && *s == '0'))
		return -1;
	for (u32 i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		v = v * 10 + (s[i] - '0');
	}
	return v;
}

/* Inodes */

static u64 pseudo_ino(const struct pseudo_child *c)
{
	u64 h = (u64)c->entry * 0x9e3779b97f4a7c15ull ^ c->key * 0xff51afd7ed558ccdull ^
		c->arg * 0xc4ceb9fe1a85ec53ull;

	return (1ull << 40) | (h >> 28);
}

static struct inode *pseudo_inode(struct super *sb, const struct pseudo_child *c)
{
	const struct inode_ops *ops = &pseudo_file_ops;
	struct inode *i;

	if (S_ISDIR(c->entry->mode))
		ops = &pseudo_dir_ops;
	else if (S_ISLNK(c->entry->mode))
		ops = c->entry->follow ? &pseudo_magic_ops : &pseudo_link_ops;
	i = inode_alloc(sb, ops, c->entry->mode);
	if (!i)
		return NULL;
	i->fops = S_ISDIR(c->entry->mode) ? &pseudo_dir_fops : &pseudo_file_fops;
	i->ino = pseudo_ino(c);
	i->pseudo.entry = c->entry;
	i->pseudo.key = c->key;
	i->pseudo.arg = c->arg;
	if (S_ISDIR(i->mode))
		i->nlink = 2;
	i->atime = i->mtime = i->ctime = now_ts();
	return i;
}

static bool name_is(const char *s, const char *name, u32 len)
{
	return strlen(s) == len && !memcmp(s, name, len);
}

static int pseudo_lookup(struct dentry *dir, const char *name, u32 len, struct inode **out)
{
	const struct pseudo_entry *e = dir->inode->pseudo.entry;
	struct pseudo_child c = {.key = dir->inode->pseudo.key, .arg = dir->inode->pseudo.arg};
	int err;

	for (const struct pseudo_entry *k = e->children; k && k->name; k++)
		if (name_is(k->name, name, len)) {
			c.entry = k;
			goto found;
		}
	err = e->lookup ? e->lookup(dir->inode, name, len, &c) : -ENOENT;
	if (err)
		return err;
found:
	*out = pseudo_inode(dir->sb, &c);
	return *out ? 0 : -ENOMEM;
}

/* Directories. Positions: ".", "..", the fixed children, then 1000 + the number of a dynamic one.
 */
#define DYNAMIC_POS 1000

static int pseudo_iterate(struct file *f, struct dir_context *ctx)
{
	struct inode *dir = f->inode;
	const struct pseudo_entry *e = dir->pseudo.entry, *k = e->children;
	struct pseudo_child c = {.key = dir->pseudo.key, .arg = dir->pseudo.arg};

	if (ctx->pos == 0) {
		if (!ctx->emit(ctx, ".", 1, dir->ino, S_IFDIR >> 12, 1))
			return 0;
		ctx->pos = 1;
	}
	if (ctx->pos == 1) {
		if (!ctx->emit(ctx, "..", 2, f->dentry->parent->inode->ino, S_IFDIR >> 12, 2))
			return 0;
		ctx->pos = 2;
	}
	for (s64 at = 2; k && k->name; k++, at++) {
		if (at < ctx->pos)
			continue;
		c.entry = k;
		if (!ctx->emit(ctx, k->name, strlen(k->name), pseudo_ino(&c), (u8)(k->mode >> 12),
			       at + 1))
			return 0;
		ctx->pos = at + 1;
	}
	while (e->next) {
		s64 from = ctx->pos < DYNAMIC_POS ? 0 : ctx->pos - DYNAMIC_POS, n;
		char name[24];
		u8 type;

		n = e->next(dir, from, name, &type, &c);
		if (n < 0 ||
		    !ctx->emit(ctx, name, strlen(name), pseudo_ino(&c), type, DYNAMIC_POS + n + 1))
			return 0;
		ctx->pos = DYNAMIC_POS + n + 1;
	}
	return 0;
}

static ssize_t pseudo_dir_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	return -EISDIR;
}

/* Links */

static const char *pseudo_get_link(struct inode *i, struct path_walk *w, u32 *len)
{
	const struct pseudo_entry *e = i->pseudo.entry;
	char *at = w->text + w->text_used;
	size_t room = sizeof(w->text) - w->text_used;
	int n;

	if (e->text) {
		*len = (u32)strlen(e->text);
		return e->text;
	}
	if (e->target) {
		const char *s = e->target(i);

		*len = is_err(s) ? 0 : (u32)strlen(s);
		return s;
	}
	n = e->link(i, at, room);
	if (n < 0)
		return err_ptr(n);
	if ((size_t)n >= room)
		return err_ptr(-ENAMETOOLONG);
	w->text_used += (u32)n;
	*len = (u32)n;
	return at;
}

static int pseudo_follow(struct inode *i, struct path_walk *w)
{
	const struct pseudo_entry *e = i->pseudo.entry;

	return e->follow(i, w);
}

static int pseudo_readlink(struct inode *i, char *buf)
{
	const struct pseudo_entry *e = i->pseudo.entry;

	return e->readlink(i, buf);
}

/* Files. The text is made at the first read and again at each read of the beginning. */

static ssize_t pseudo_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	const struct pseudo_entry *e = f->inode->pseudo.entry;
	struct text *t;
	ssize_t r = 0;
	size_t n;

	mutex_lock(&f->inode->mutex);
	t = f->priv;
	if (!t) {
		t = f->priv = kzalloc(sizeof(*t));
		if (!t) {
			r = -ENOMEM;
			goto out;
		}
	}
	if (!*pos || !t->buf) {
		t->len = 0;
		t->err = 0;
		if (e->text)
			text_write(t, e->text, strlen(e->text));
		else if (e->show)
			e->show(t, f->inode);
		if (t->err) {
			r = t->err;
			goto out;
		}
	}
	if (*pos < t->len) {
		n = min(to->count, t->len - *pos);
		r = (ssize_t)iov_copy_to(to, t->buf + *pos, n);
		*pos += (u64)r;
		if (!r && n)
			r = -EFAULT;
	}
out:
	mutex_unlock(&f->inode->mutex);
	return r;
}

static ssize_t pseudo_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	const struct pseudo_entry *e = f->inode->pseudo.entry;
	size_t n = min(from->count, PAGE_SIZE - 1);
	char *buf;
	ssize_t r;

	if (!e->write)
		return -EIO;
	buf = kmalloc(PAGE_SIZE);
	if (!buf)
		return -ENOMEM;
	if (iov_copy_from(from, buf, n) < n) {
		r = -EFAULT;
	} else {
		buf[n] = 0;
		r = e->write(f->inode, buf, n);
		if (r > 0)
			*pos += (u64)r;
	}
	kfree(buf, PAGE_SIZE);
	return r;
}

static void pseudo_release(struct file *f)
{
	struct text *t = f->priv;

	if (t) {
		text_free(t);
		kfree(t, sizeof(*t));
	}
}

static s64 pseudo_llseek(struct file *f, s64 off, int whence)
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

static int pseudo_truncate(struct file *f, u64 size)
{
	return 0;
}

static const struct inode_ops pseudo_dir_ops = {.lookup = pseudo_lookup};
static const struct inode_ops pseudo_file_ops;
static const struct inode_ops pseudo_link_ops = {.get_link = pseudo_get_link};
static const struct inode_ops pseudo_magic_ops = {.follow = pseudo_follow,
						  .readlink = pseudo_readlink};
static const struct file_ops pseudo_dir_fops = {
	.name = "directory",
	.read = pseudo_dir_read,
	.llseek = pseudo_llseek,
	.iterate = pseudo_iterate,
};
static const struct file_ops pseudo_file_fops = {
	.name = "proc",
	.read = pseudo_read,
	.write = pseudo_write,
	.llseek = pseudo_llseek,
	.release = pseudo_release,
	.truncate = pseudo_truncate,
};

struct super *pseudo_mount(const char *type, u32 magic, u32 dev, const struct pseudo_entry *root)
{
	struct super *sb = kzalloc(sizeof(*sb));
	struct pseudo_child c = {.entry = root};
	struct inode *i;

	if (!sb)
		return NULL;
	sb->type = sb->source = type;
	sb->options = "";
	sb->magic = magic;
	sb->dev = dev;
	ns_write_lock();
	i = pseudo_inode(sb, &c);
	if (i) {
		i->ino = 1;
		sb->root = dentry_alloc(sb, NULL, "", 0, i);
	}
	ns_write_unlock();
	if (!sb->root) {
		kfree(sb, sizeof(*sb));
		return NULL;
	}
	return sb;
}
