/*
 * provisional.c - files of the image, read-only, until the file system proper is there.
 */
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "libos/abi/control.h"
#include "libos/fs/fdtable.h"
#include "libos/fs/jfs.h"
#include "libos/fs/locks.h"
#include "libos/fs/vfs.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

static const struct file_ops image_ops;

static const struct jfs_inode *node_of(struct file *f)
{
	return f->ops == &image_ops ? f->priv : NULL;
}

void vfs_file_release(struct file *f)
{
	if (f->ops->release)
		f->ops->release(f);
}
void vfs_file_closed(struct file *f)
{
	if (f->ops->flush)
		f->ops->flush(f);
}
long fcntl_lock(struct file *f, int fd, unsigned cmd, u64 arg)
{
	return 0;
}
long memfd_seals(struct file *f, unsigned cmd, u64 arg)
{
	return -EINVAL;
}

int vfs_init(void)
{
	struct control *c = (struct control *)LIBOS_CONTROL_BASE;

	return jfs_init(&jfs, (void *)LIBOS_ROOTFS_BASE, c->boot.rootfs_size, c->boot.rootfs_off);
}

static const struct jfs_inode *walk(const struct jfs_inode *dir, const char *path, int *depth)
{
	const struct jfs_inode *root = jfs_inode_get(&jfs, jfs.super->root_ino), *n = dir;

	if (*path == '/')
		n = dir = root;
	while (*path) {
		const char *e;
		size_t len;

		while (*path == '/')
			path++;
		for (e = path; *e && *e != '/'; e++)
			;
		len = (size_t)(e - path);
		if (!len)
			break;
		if ((n->mode & S_IFMT) != S_IFDIR)
			return err_ptr(-ENOTDIR);
		dir = n;
		if (len == 2 && !memcmp(path, "..", 2)) {
			n = jfs_inode_get(&jfs, n->parent);
		} else if (len != 1 || *path != '.') {
			const struct jfs_dirent *d = jfs_lookup(&jfs, dir, path, len);

			if (!d)
				return err_ptr(-ENOENT);
			n = jfs_inode_get(&jfs, d->ino);
			if ((n->mode & S_IFMT) == S_IFLNK) {
				char *t = kzalloc(n->size + 1);

				if (++*depth > MAX_SYMLINKS)
					return err_ptr(-ELOOP);
				memcpy(t, jfs_data(&jfs, n), n->size);
				n = walk(dir, t, depth);
				kfree(t, strlen(t) + 1);
				if (is_err(n))
					return n;
			}
		}
		path = e;
	}
	return n;
}

static ssize_t image_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	const struct jfs_inode *n = f->priv;
	size_t len, done;

	if ((n->mode & S_IFMT) == S_IFDIR)
		return -EISDIR;
	if (*pos >= n->size)
		return 0;
	len = min(to->count, n->size - *pos);
	done = iov_copy_to(to, jfs_data(&jfs, n) + *pos, len);
	*pos += done;
	return done || !len ? (ssize_t)done : -EFAULT;
}

static s64 image_llseek(struct file *f, s64 off, int whence)
{
	const struct jfs_inode *n = f->priv;

	off += whence == SEEK_CUR ? (s64)f->pos : whence == SEEK_END ? (s64)n->size : 0;
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

static s64 image_map(struct file *f, u64 pgoff, u64 n, bool shared_write, int *fd, u64 *off)
{
	const struct jfs_inode *i = f->priv;
	u64 pages = (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT;

	if (pgoff >= pages)
		return -ENXIO;
	*fd = CTL_FD_IMAGE;
	*off = jfs.fd_off + i->data_off + (pgoff << PAGE_SHIFT);
	return (s64)min(n, pages - pgoff);
}

static void image_kstat(const struct jfs_inode *n, struct kstat *st)
{
	memset(st, 0, sizeof(*st));
	st->dev = MKDEV(0, 30);
	st->ino = (u64)(n - jfs.inodes);
	st->size = n->size;
	st->blocks = (n->size + 511) / 512;
	st->mode = n->mode;
	st->nlink = n->nlink;
	st->uid = n->uid;
	st->gid = n->gid;
	st->blksize = 4096;
	st->mtime.sec = st->atime.sec = st->ctime.sec = (s64)jfs.super->mtime;
}

static int image_getattr(struct file *f, struct kstat *st)
{
	image_kstat(f->priv, st);
	return 0;
}

static const struct file_ops image_ops = {
	.name = "file", .read = image_read, .llseek = image_llseek, .map_pages = image_map,
	.getattr = image_getattr,
};

struct file *file_open(const char *path, int flags, u32 mode)
{
	int depth = 0;
	const struct jfs_inode *n = walk(jfs_inode_get(&jfs, jfs.super->root_ino), path, &depth);
	struct file *f;

	if (is_err(n))
		return (struct file *)n;
	if ((flags & O_ACCMODE) != O_RDONLY)
		return err_ptr(-EROFS);
	f = file_alloc(&image_ops, (u32)flags | O_LARGEFILE, (void *)n);
	return f ? f : err_ptr(-ENOMEM);
}

ssize_t file_read_kernel(struct file *f, void *buf, size_t n, u64 off)
{
	struct iov_iter it;

	iov_iter_kernel(&it, buf, n);
	return f->ops->read(f, &it, &off);
}

const void *file_image_data(struct file *f, u64 *size)
{
	const struct jfs_inode *n = node_of(f);

	if (!n)
		return NULL;
	*size = n->size;
	return jfs_data(&jfs, n);
}

const struct jfs_site *file_sites(struct file *f, u32 *count)
{
	const struct jfs_inode *n = node_of(f);

	if (!n || !n->site_count)
		return NULL;
	*count = n->site_count;
	return jfs.sites + n->first_site;
}

int file_path(struct file *f, char *buf, size_t size)
{
	return snprintf(buf, size, "%s", f->ops->name);
}

static ssize_t null_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	return 0;
}
static ssize_t null_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	return (ssize_t)from->count;
}
static int null_getattr(struct file *f, struct kstat *st)
{
	memset(st, 0, sizeof(*st));
	st->mode = S_IFCHR | 0666;
	st->rdev = MKDEV(1, 3);
	st->nlink = 1;
	return 0;
}
static const struct file_ops null_ops = { .name = "null", .read = null_read, .write = null_write,
					  .getattr = null_getattr };
struct file *null_file(u32 flags)
{
	return file_alloc(&null_ops, flags, NULL);
}

static char *getname(u64 upath, long *err)
{
	char *p = kmalloc(PATH_MAX_LEN);

	*err = p ? strncpy_from_user(p, (const char *)upath, PATH_MAX_LEN) : -ENOMEM;
	if (*err >= 0)
		return p;
	if (p)
		kfree(p, PATH_MAX_LEN);
	return NULL;
}

long sys_openat(int dfd, u64 path, int flags, u32 mode)
{
	long r;
	char *p = getname(path, &r);
	struct file *f;

	if (!p)
		return r;
	f = file_open(p, flags, mode);
	kfree(p, PATH_MAX_LEN);
	if (is_err(f))
		return ptr_err(f);
	r = fd_install(f, 0, flags & O_CLOEXEC ? FD_CLOEXEC : 0);
	if (r < 0)
		file_put(f);
	return r;
}

long sys_open(u64 path, int flags, u32 mode)
{
	return sys_openat(AT_FDCWD, path, flags, mode);
}

struct stat_k {
	u64 dev, ino, nlink;
	u32 mode, uid, gid, pad0;
	u64 rdev;
	s64 size, blksize, blocks;
	struct timespec_k atime, mtime, ctime;
	s64 unused[3];
};

static long put_stat(const struct kstat *st, u64 ubuf)
{
	struct stat_k k = { .dev = st->dev, .ino = st->ino, .nlink = st->nlink, .mode = st->mode,
			    .uid = st->uid, .gid = st->gid, .rdev = st->rdev, .size = (s64)st->size,
			    .blksize = st->blksize, .blocks = (s64)st->blocks, .atime = st->atime,
			    .mtime = st->mtime, .ctime = st->ctime };

	return copy_to_user((void *)ubuf, &k, sizeof(k));
}

long sys_fstat(int fd, u64 ubuf)
{
	struct file *f = fd_get_path(fd);
	struct kstat st;
	long r;

	if (!f)
		return -EBADF;
	r = f->ops->getattr ? f->ops->getattr(f, &st) : -EBADF;
	if (!r)
		r = put_stat(&st, ubuf);
	file_put(f);
	return r;
}

long sys_newfstatat(int dfd, u64 path, u64 ubuf, int flags)
{
	long r;
	char *p = getname(path, &r);
	struct kstat st;
	const struct jfs_inode *n;
	int depth = 0;

	if (!p)
		return r;
	if (!*p && flags & AT_EMPTY_PATH) {
		kfree(p, PATH_MAX_LEN);
		return sys_fstat(dfd, ubuf);
	}
	n = walk(jfs_inode_get(&jfs, jfs.super->root_ino), p, &depth);
	kfree(p, PATH_MAX_LEN);
	if (is_err(n))
		return ptr_err(n);
	image_kstat(n, &st);
	return put_stat(&st, ubuf);
}

long sys_stat(u64 path, u64 ubuf)
{
	return sys_newfstatat(AT_FDCWD, path, ubuf, 0);
}
