/*
 * vfs.h - dentries, inodes and mounts: the namespace of files, and what its file systems provide.
 *
 * One name space lock (a reader-writer spin lock, dcache.c) guards the tree: which names exist,
 * where they lead, and the life of dentries and inodes. A path walk holds it shared if all it needs
 * is in the dentry cache, and exclusive if it has to add to the cache; creating and removing names
 * hold it exclusive for the whole walk and change, so each is atomic. Nothing sleeps and no user
 * memory is touched under it. What a file holds (data, size, times) is under its inode's own locks.
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

/* A mounted file system. */
struct super {
	const char *type, *source, *options; /* as in /proc/mounts */
	u32 magic;			     /* statfs f_type */
	u32 dev;
	bool memfs; /* names can be changed: the memfs_* functions apply */
	bool readonly;
	struct dentry *root, *mountpoint;
	u32 mount_id;
};

struct inode_ops {
	/* Finds a name of a directory: 0 and an inode with a reference, or -errno. Name space lock
	 * held. */
	int (*lookup)(struct dentry *dir, const char *name, u32 len, struct inode **out);
	/* What readlink(2) shows of a magic link, into buf of PATH_MAX_LEN; length or -errno. */
	int (*readlink)(struct inode *inode, char *buf);
	/* Magic link: sets w->jump or w->jump_file instead of a text. Name space lock held
	 * exclusive. */
	int (*follow)(struct inode *inode, struct path_walk *w);
	/* Text of a symbolic link, in place: sets *len. Name space lock held. */
	const char *(*get_link)(struct inode *inode, struct path_walk *w, u32 *len);
	/* Prepares a fresh file (ops, priv), whose inode and dentry are set. 0 or -errno; may
	 * sleep. */
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
	u32 nr_upper;	   /* positive ones */
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
	spinlock_t lock;    /* size, times, pages */
	struct mutex mutex; /* writers of data */

	/* memfs */
	const struct jfs_inode *lower;
	struct inode *hash_next; /* by lower */
	union {
		struct {
			struct pagetree pages;
			const u8 *lower_data;
			u64 lower_size; /* bytes of lower_data that still show where there is no
					   page */
			u32 maps; /* mappings of it (mm), and the shared ones that can be written:
				   */
			u32 writable_maps;
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

#define INODE_DIRTY 1u	  /* differs from the image: pinned while it has names */
#define INODE_DEAD 2u	  /* removed directory */
#define INODE_LINKABLE 4u /* O_TMPFILE: without a name, but may get one */

struct dentry {
	struct dentry *hash_next;
	struct dentry *parent; /* a root: itself */
	struct inode *inode;   /* NULL: whiteout */
	struct super *sb;
	u32 refs; /* files, cwd, children; atomic, see dput() */
	u32 hash;
	u16 len;
	u16 flags;
	struct super *mounted; /* a file system's root stands over it */
	struct list_head lru;  /* unpinned and hashed */
	struct list_head upper_link;
	u64 cookie;
	char *name; /* short_name, or kmalloc(len + 1) */
	char short_name[32];
};

#define DENTRY_HASHED 1u
#define DENTRY_PINNED 2u     /* an entry that the image does not have */
#define DENTRY_REFERENCED 4u /* used since the cache last looked */
#define DENTRY_UNCACHED 8u   /* pseudo file systems: never in the hash */

/* dcache.c: the name space lock, dentries and the life of inodes */

void ns_read_lock(void);
void ns_read_unlock(void);
void ns_write_lock(void);
void ns_write_unlock(void);

u32 dentry_name_hash(const struct dentry *parent, const char *name, u32 len);
/* The cached dentry of that name, positive or whiteout, or NULL. Lock held; takes no reference. */
struct dentry *dcache_find(const struct dentry *parent, const char *name, u32 len);
/*
 * A dentry with one reference, which is nowhere yet; takes over the reference to inode on success,
 * and its own to parent (NULL: it is a root). Lock held exclusive. NULL: no memory.
 */
struct dentry *dentry_alloc(struct super *sb, struct dentry *parent, const char *name, u32 len,
			    struct inode *inode);
/* Enters d in the cache. Not pinned: it may be dropped when nobody refers to it. Exclusive. */
void dentry_hash(struct dentry *d, bool pinned);
void dentry_unhash(struct dentry *d);
/* Gives d another place. Exclusive; d is not hashed. -ENOMEM changes nothing. */
int dentry_move(struct dentry *d, struct dentry *parent, const char *name, u32 len);
/*
 * Drops a few cached dentries that nobody used lately, if there are too many. Exclusive; at the
 * start of a walk only: what a walk has found stays until its end.
 */
void dcache_shrink(void);
static inline struct dentry *dget(struct dentry *d)
{
	__atomic_fetch_add(&d->refs, 1, __ATOMIC_RELAXED);
	return d;
}
void dput(struct dentry *d);	    /* lock not held; NULL is ignored */
void dput_locked(struct dentry *d); /* exclusive */

struct inode *inode_alloc(struct super *sb, const struct inode_ops *ops, u32 mode);
static inline void iget(struct inode *i)
{
	i->refs++;
}
void iput(struct inode *i); /* exclusive; what it held is freed at ns_write_unlock() */
u64 ino_next(void);

/* What fstat shows of an inode. */
void generic_getattr(struct inode *inode, struct kstat *st);
/* of an open file of any kind */
int file_getattr(struct file *f, struct kstat *st);
struct timespec_k now_ts(void);
/* The process whose root, cwd and credentials count: current's, at boot the first. */
struct proc *fs_proc(void);

/* May current do that with inode? mask of MAY_*. 0, -EACCES, -EROFS. */
#define MAY_EXEC 1
#define MAY_WRITE 2
#define MAY_READ 4
int inode_permission(const struct inode *inode, int mask);
int inode_permission_cred(const struct inode *inode, int mask, u32 uid, u32 gid,
			  const struct cred *c);
bool fs_capable(int cap);
bool in_group(u32 gid);
/* Owner of inode, or may act as such (CAP_FOWNER). */
bool inode_owner_or_capable(const struct inode *inode);
/* chmod(2): 0 or -errno. */
int inode_chmod(struct inode *inode, u32 mode);

/* mount.c */
extern struct super *root_super;
int mount_at(const char *path, struct super *sb);
/* i-th mounted file system, or NULL. */
struct super *mount_get(u32 i);

/*
 * Path of d as seen from root, into the end of buf: returns its first character. What cannot be
 * reached from root gets "(unreachable)", a removed name " (deleted)" behind it. Takes the lock
 * shared. NULL: too long.
 */
char *dentry_path(struct dentry *d, struct dentry *root, char *buf, size_t size);
bool dentry_deleted(const struct dentry *d);

/* fdtable.c, stdio.c, ... call these */
void vfs_file_release(struct file *f); /* last reference */
void vfs_file_closed(struct file *f);  /* a descriptor of current_proc() went away */
u64 files_count(void);
/* Opens what a path walk found. Flags O_*; file with a reference or err_ptr. Takes no lock of the
 * caller. */
struct file *dentry_open(struct dentry *d, u32 flags);
/* A fresh file without a name in any directory (memfd, pipe-like things). */
struct file *null_file(u32 flags);

#endif
