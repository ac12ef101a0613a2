/*
 * memfs.h - the writable file system in memory, which may have the image below it.
 *
 * The root file system is one memfs whose directories and files may be backed by the image (jfs.h).
 * An inode of the image is made when a walk first finds it. What differs from the image stays in
 * memory: names in the directory's list of pinned dentries (a negative one hides a name of the
 * image), contents page by page, attributes in the inode, which is then dirty and stays as long as
 * it has names. So nothing is ever copied up as a whole, and renaming a directory of the image
 * moves one dentry.
 */
#ifndef LIBOS_FS_MEMFS_H
#define LIBOS_FS_MEMFS_H

#include "libos/fs/vfs.h"

extern const struct inode_ops memfs_dir_ops, memfs_file_ops, memfs_link_ops, memfs_special_ops;
extern const struct file_ops memfs_dir_fops, memfs_reg_fops;

static inline bool inode_is_memfs(const struct inode *i)
{
	return i->sb && i->sb->memfs;
}

/* Bytes that files of all memfs together may hold. */
void memfs_set_quota(u64 bytes);
u64 memfs_quota_pages(void);
u64 memfs_used_pages(void);
bool memfs_charge(u64 pages);
void memfs_uncharge(u64 pages);

struct super *memfs_mount(const char *type, const char *source, const char *options, u32 magic,
			  u32 mode, const struct jfs_inode *lower);

/* Names. All: name space lock held exclusive; permissions and kinds were checked by the caller. */

/* A new inode owned by current in directory dir; mode with type. err_ptr(-ENOSPC). */
struct inode *memfs_new_inode(struct super *sb, const struct inode *dir, u32 mode, u64 rdev);
/* Enters inode under a name that does not exist; takes over its reference. The dentry, or err_ptr.
 */
struct dentry *memfs_add(struct dentry *parent, const char *name, u32 len, struct inode *inode);
/* Removes the name d; of a directory that memfs_empty() knows to be so. -ENOSPC. */
int memfs_remove(struct dentry *d);
bool memfs_empty(struct dentry *dir);
/* Moves d to parent/name, where target (or NULL) stands now and is removed. */
int memfs_rename(struct dentry *d, struct dentry *parent, const char *name, u32 len,
		 struct dentry *target);
int memfs_exchange(struct dentry *a, struct dentry *b);
/* Another name for inode. */
int memfs_link(struct dentry *parent, const char *name, u32 len, struct inode *inode);
int memfs_set_target(struct inode *link, const char *target, size_t len);
/* Attributes of inode are about to differ from the image. Exclusive. */
void memfs_dirty(struct inode *inode);

/* Contents (memdata.c). */
int memfs_truncate(struct inode *inode, u64 size);
int memfs_fallocate(struct inode *inode, int mode, u64 off, u64 len);
void memfs_free_pages(struct inode *inode);
u64 memfs_blocks(struct inode *inode); /* of 512 bytes */
s64 memfs_map_pages(struct inode *inode, u64 pgoff, u64 n, bool write, int *fd, u64 *off);

#endif
