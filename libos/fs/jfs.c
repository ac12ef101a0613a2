/*
 * jfs.c - lookup in the image's root file system, in place.
 */
#include "libos/fs/jfs.h"

#include <linux/stat.h>

#include "libos/lib/string.h"

struct jfs jfs;

static bool table_ok(u64 off, u64 count, u64 elem, u64 size)
{
	u64 len, end;

	return !__builtin_mul_overflow(count, elem, &len) &&
	       !__builtin_add_overflow(off, len, &end) && end <= size;
}

int jfs_init(struct jfs *fs, const void *base, u64 size, u64 fd_off)
{
	const struct jfs_super *s = base;
	const u8 *b = base;

	if (size < sizeof(*s) || s->magic != JFS_MAGIC || s->size > size)
		return -EINVAL;
	if (!table_ok(s->inode_off, s->inode_count, sizeof(struct jfs_inode), size) ||
	    !table_ok(s->dirent_off, s->dirent_count, sizeof(struct jfs_dirent), size) ||
	    !table_ok(s->site_off, s->site_count, sizeof(struct jfs_site), size) ||
	    !table_ok(s->names_off, s->names_len, 1, size))
		return -EINVAL;
	fs->super = s;
	fs->inodes = (const void *)(b + s->inode_off);
	fs->dirents = (const void *)(b + s->dirent_off);
	fs->sites = (const void *)(b + s->site_off);
	fs->names = (const char *)(b + s->names_off);
	fs->base = b;
	fs->size = size;
	fs->fd_off = fd_off;
	if (!jfs_inode_get(fs, s->root_ino) || (fs->inodes[s->root_ino].mode & S_IFMT) != S_IFDIR)
		return -EINVAL;
	return 0;
}

const struct jfs_inode *jfs_inode_get(const struct jfs *fs, u32 ino)
{
	const struct jfs_inode *i;

	if (!ino || ino >= fs->super->inode_count)
		return NULL;
	i = &fs->inodes[ino];
	if ((i->mode & S_IFMT) == S_IFDIR &&
	    (u64)i->first_dirent + i->dirent_count > fs->super->dirent_count)
		return NULL;
	return i;
}

const struct jfs_dirent *jfs_lookup(const struct jfs *fs, const struct jfs_inode *dir,
				    const char *name, size_t len)
{
	u32 lo = dir->first_dirent, hi = lo + dir->dirent_count;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;
		const struct jfs_dirent *d = &fs->dirents[mid];
		size_t n = min((size_t)d->name_len, len);
		int c;

		if ((u64)d->name_off + d->name_len > fs->super->names_len)
			return NULL;
		c = memcmp(fs->names + d->name_off, name, n);
		if (!c)
			c = d->name_len < len ? -1 : d->name_len > len;
		if (!c)
			return d;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const u8 *jfs_data(const struct jfs *fs, const struct jfs_inode *ino)
{
	u64 end;

	if ((ino->mode & S_IFMT) == S_IFLNK) {
		if (__builtin_add_overflow(ino->data_off, ino->size, &end) ||
		    end > fs->super->names_len)
			return NULL;
		return (const u8 *)fs->names + ino->data_off;
	}
	if (__builtin_add_overflow(ino->data_off, ino->size, &end) || end > fs->size)
		return NULL;
	return fs->base + ino->data_off;
}
