/*
 * jfs.h - the root file system of the image, read in place (libos/abi/image.h gives its layout).
 *
 * The loader has verified the image, so offsets were checked once against the seal; a damaged table
 * can harm only the instance whose image it is. Still, everything is bounds-checked at jfs_init().
 */
#ifndef LIBOS_FS_JFS_H
#define LIBOS_FS_JFS_H

#include "libos/abi/image.h"
#include "libos/lib/types.h"

struct jfs {
	const struct jfs_super *super;
	const struct jfs_inode *inodes;
	const struct jfs_dirent *dirents;
	const struct jfs_site *sites;
	const char *names;
	const u8 *base;
	u64 size;
	u64 fd_off; /* of the root file system in CTL_FD_IMAGE */
};

extern struct jfs jfs;

/* 0 or -EINVAL: base..base + size is not a root file system. */
int jfs_init(struct jfs *fs, const void *base, u64 size, u64 fd_off);
/* Inode n, or NULL. */
const struct jfs_inode *jfs_inode_get(const struct jfs *fs, u32 ino);
/* The entry of that name in a directory, or NULL; binary search. */
const struct jfs_dirent *jfs_lookup(const struct jfs *fs, const struct jfs_inode *dir,
				    const char *name, size_t len);
/* Data of a regular file or target of a symbolic link; NULL if it reaches outside. */
const u8 *jfs_data(const struct jfs *fs, const struct jfs_inode *ino);

#endif
