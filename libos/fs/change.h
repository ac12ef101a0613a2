/*
 * change.h - frame for the calls that create, remove and move names.
 */
#ifndef LIBOS_FS_CHANGE_H
#define LIBOS_FS_CHANGE_H

#include "libos/fs/namei.h"

/*
 * Walks to the directory of path (flags as WALK_*, WALK_PARENT usually) with the name space lock
 * exclusive, which stays held: end with change_end(). On error nothing is held.
 */
int change_begin(struct path_walk *w, int dfd, const char *path, u32 flags);
void change_end(struct path_walk *w);

/* May current add a name to dir; remove d from its directory (as a directory or not)? 0 or -errno.
 * Lock held. */
int may_create(struct dentry *dir);
int may_delete(struct dentry *d, bool as_dir);

/* With paths in libOS memory, for boot. */
int do_mkdirat(int dfd, const char *path, u32 mode);
int do_mknodat(int dfd, const char *path, u32 mode, u64 dev);
/* bind(2) of a socket: the new name's dentry with a reference, or err_ptr. */
struct dentry *make_socket_node(const char *path);
int do_symlinkat(const char *target, int dfd, const char *path);

#endif
