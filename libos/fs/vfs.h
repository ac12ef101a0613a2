/*
 * vfs.h - dentries, inodes and mounts: the namespace of files, and what its file systems provide.
 *
 * One name space lock (a reader-writer spin lock, dcache.c) guards the tree: which names exist, where they
 * lead, and the life of dentries and inodes. A path walk holds it shared if all it needs is in the
 * dentry cache, and exclusive if it has to add to the cache; creating and removing names hold it
 * exclusive for the whole walk and change, so each is atomic. Nothing sleeps and no user memory is touched
 * under it. What a file holds (data, size, times) is under its inode's own locks.
 *
 * Lock order: inode.mutex -> name space lock -> inode.lock -> allocators. fdtable.lock is a leaf.
 */
#ifndef LIBOS_FS_VFS_H
#define LIBOS_FS_VFS_H

#include "libos/fs/file.h"
#include "libos/fs/pagetree.h"
#include "libos/lib/list.h"
#include "libos/lib/spinlock.h"
#include "libos/sched/wait.h"
#include "libos/time/clock.h"

#define NAME_MAX_LEN 255u
#define PATH_MAX_LEN 4096u
#define MAX_SYMLINKS 40

struct cred;
struct jfs_inode;
struct path_walk;
struct lock_context;

struct kstat {
	u64 dev, rdev, ino, size, blocks;
	u32 mode, nlink, uid, gid, blksize;
	struct timespec_k atime, mtime, ctime, btime;
};

/* Device numbers as stat(2) shows them. */
#define MKDEV(ma, mi) ((u64)(ma) << 8 | (mi))

struct super {
	const char *type, *source, *options; /* as in /proc/mounts */
	u32 magic; /* statfs f_type */
	u32 dev;
	bool memfs; /* names can be changed: the memfs_* functions apply */
	struct dentry *root, *mountpoint;
	u32 mount_id;
};

struct inode_ops {
	/* Finds a name of a directory: 0 and an inode with a reference, or -errno. Name space lock held. */
	int (*lookup)(struct dentry *dir, const char *name, u32 len, struct inode **out);
	/* Symbolic link: the target into buf (PATH_MAX_LEN); length or -errno. */
	int (*readlink)(struct inode *inode, char *buf);
	/* Magic link: sets w->jump or w->jump_file instead of a text. Name space lock held. */
	int (*follow)(struct inode *inode, struct path_walk *w);
	/* Prepares a fresh file (ops, priv). 0 or -errno; may sleep. */
	int (*open)(struct inode *inode, struct file *f);
	/* Corrects what generic_getattr() filled in. */
	void (*getattr)(struct inode *inode, struct kstat *st);
	/* Last reference: frees what the inode holds. May not sleep. */
	void (*free)(struct inode *inode);
};

/* Directory of a memfs. Names of the image stand in jfs; what differs from it in `upper`. */
struct memfs_dir {
	struct list_head upper; /* pinned dentries, by cookie; negative ones are whiteouts */
	u64 next_cookie;
	u32 nr_upper; /* positive ones */
	u32 nr_lower_gone; /* names of the image that whiteouts or pinned dentries hide */
};

struct inode {
	const struct inode_ops *ops;
	const struct file_ops *fops;
	struct super *sb;
	u64 ino;
	u32 refs; /* dentries that show it, and 1 while dirty; under the name space lock */
	u32 mode, uid, gid, nlink;
	u32 flags;
	u64 rdev;
	u64 size;
	struct timespec_k atime, mtime, ctime, btime;
	spinlock_t lock; /* size, times, pages */
	struct mutex mutex; /* writers of data */

	/* memfs */
	const struct jfs_inode *lower;
	struct inode *hash_next; /* by lower */
	union {
		struct {
			struct pagetree pages;
			const u8 *lower_data;
			u64 lower_size; /* bytes of lower_data that still show where there is no page */
			u32 writable_maps; /* for memfd seals */
			u32 seals;
		} reg;
		struct memfs_dir dir;
		struct {
			char *target;
			u32 len;
		} link;
		struct {
			u64 key, arg; /* pseudo file systems */
			const void *entry;
		} pseudo;
		void *fifo;
	};
	struct lock_context *locks; /* locks.c */
	struct inode *dead_next;
};

#define INODE_DIRTY 1u /* differs from the image: pinned while it has names */
#define INODE_DEAD 2u /* removed directory */

struct dentry {
	struct dentry *hash_next;
	struct dentry *parent; /* a root: itself */
	struct inode *inode; /* NULL: whiteout */
	struct super *sb;
	u32 refs; /* files, cwd, children; atomic, see dput() */
	u32 hash;
	u16 len;
	u16 flags;
	struct super *mounted; /* a file system's root stands over it */
	struct list_head lru; /* unpinned and hashed */
	struct list_head upper_link;
	u64 cookie;
	char *name; /* short_name, or kmalloc(len + 1) */
	char short_name[32];
};

#define DENTRY_HASHED 1u
#define DENTRY_PINNED 2u /* an entry that the image does not have */
#define DENTRY_REFERENCED 4u /* used since the cache last looked */
#define DENTRY_UNCACHED 8u /* pseudo file systems: never in the hash */

/* fdtable.c, stdio.c, ... call these */
void vfs_file_release(struct file *f); /* last reference */
void vfs_file_closed(struct file *f); /* a descriptor of current_proc() went away */
u64 files_count(void);

#endif
