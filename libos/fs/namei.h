/*
 * namei.h - from path names to dentries.
 */
#ifndef LIBOS_FS_NAMEI_H
#define LIBOS_FS_NAMEI_H

#include "libos/fs/vfs.h"

#define WALK_FOLLOW 1u /* a symbolic link at the end is followed */
#define WALK_PARENT 2u /* stop before the last component, which is looked up but need not exist */
#define WALK_DIRECTORY 4u /* what is found must be a directory */
#define WALK_EMPTY 8u	  /* an empty path is the starting point itself (AT_EMPTY_PATH) */
#define WALK_REAL_IDS 16u /* permissions by the real ids (access(2)) */
#define WALK_NO_XDEV 32u  /* openat2(2) RESOLVE_* */
#define WALK_NO_SYMLINKS 64u
#define WALK_NO_MAGIC 128u
#define WALK_BENEATH 256u
#define WALK_IN_ROOT 512u
#define WALK_CREATE 1024u /* open(2) with O_CREAT: a slash behind the last name is -EISDIR */

enum last_type { LAST_NORM, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

struct path_walk {
	u32 flags;
	bool exclusive;	     /* the lock is held exclusive: the cache may grow */
	struct dentry *root; /* not above this */
	struct dentry *start;
	struct file *start_file; /* of change_begin() */
	/* Results. Valid while the lock is held. */
	struct dentry *parent;
	struct dentry *child; /* NULL: does not exist (WALK_PARENT only) */
	struct file *
		jump_file; /* an open file without a dentry, with a reference: child is NULL then */
	const char *name;  /* last component */
	u32 len;
	enum last_type type;
	bool must_dir; /* a slash stands behind it */
	/* Working state */
	struct dentry *held; /* uncached dentry that the walk keeps alive */
	struct dentry *held_child;
	struct dentry *jump;
	int links;
	u32 depth, text_used;
	struct {
		const char *p, *end;
	} stack[MAX_SYMLINKS];
	char text[192]; /* of links that are made up: "self/mounts", "1/task/1" */
};

/* User path into kmalloc'ed memory; path_free() it. err_ptr: -EFAULT, -ENAMETOOLONG, -ENOMEM. */
char *path_from_user(u64 upath);
void path_free(char *path);

/*
 * The directory that a relative path starts from, for *at calls: err_ptr(-EBADF, -ENOTDIR). Sets *f
 * to the file to put when the walk is over (may be NULL).
 */
struct dentry *path_start(int dfd, const char *path, u32 flags, struct file **f);

/*
 * Walks with the lock held exclusive by the caller (w->exclusive is set): for calls that change
 * names. Afterwards, and before the lock is dropped, walk_end(). w->start and flags are given; root
 * is set here. 0 or -errno.
 */
int walk(struct path_walk *w, const char *path);
void walk_end(struct path_walk *w);

/*
 * Finds an existing file and takes a reference: a dentry in *d, or for the likes of /proc/self/fd/1
 * an open file in *f (with a reference, then *d is NULL). Takes and drops the lock. jump may be
 * NULL: then such links are -EACCES.
 */
int path_lookup(int dfd, const char *path, u32 flags, struct dentry **d, struct file **f);
/* From a user's path. */
int user_path_lookup(int dfd, u64 upath, u32 flags, struct dentry **d, struct file **f);

#endif
