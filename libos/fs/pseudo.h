/*
 * pseudo.h - file systems whose files are made up when they are read: /proc and /sys; and the
 * devices.
 *
 * A tree is described by static tables of struct pseudo_entry. Directories whose contents change
 * (processes, threads, descriptors) add functions. Dentries and inodes are made anew by each walk;
 * an inode carries the table entry and two numbers, by convention the pid and a tid or descriptor.
 */
#ifndef LIBOS_FS_PSEUDO_H
#define LIBOS_FS_PSEUDO_H

#include "libos/fs/vfs.h"

struct super *procfs_mount(void);
struct super *sysfs_mount(void);
/* Nodes and links of /dev. */
int dev_populate(void);

/* Text being made. Grows as needed; err is set when memory runs out. */
struct text {
	char *buf;
	size_t len, cap;
	int err;
};
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_write(struct text *t, const void *p, size_t n);
void text_free(struct text *t);

struct pseudo_entry;
/* What a dynamic directory found. */
struct pseudo_child {
	const struct pseudo_entry *entry;
	u64 key, arg;
};

struct pseudo_entry {
	const char *name; /* NULL ends a table, or: named dynamically */
	u32 mode;
	/* Regular file: contents; what a write of n bytes (NUL-terminated copy) does: n or -errno.
	 */
	void (*show)(struct text *t, const struct inode *i);
	ssize_t (*write)(struct inode *i, char *buf, size_t n);
	const char *text; /* contents that never change, or the target of a symbolic link */
	/* Link whose text is made up: into buf of `size`, returns the length. */
	int (*link)(const struct inode *i, char *buf, size_t size);
	/* Link whose target stands elsewhere, for as long as the inode is in use; or err_ptr. */
	const char *(*target)(const struct inode *i);
	/* Magic link. */
	int (*follow)(struct inode *i, struct path_walk *w);
	int (*readlink)(struct inode *i, char *buf);
	/* Directory: fixed children, and others. */
	const struct pseudo_entry *children;
	int (*lookup)(const struct inode *dir, const char *name, u32 len, struct pseudo_child *out);
	/* The next dynamic child with number >= from: its number, and its name in buf (24 bytes);
	 * -1: no more. */
	s64 (*next)(const struct inode *dir, s64 from, char *buf, u8 *type,
		    struct pseudo_child *out);
};

struct super *pseudo_mount(const char *type, u32 magic, u32 dev, const struct pseudo_entry *root);
/* A decimal number without leading zeros; -1: it is none. */
s64 parse_number(const char *s, u32 len);

#define PDIR(n, c)                                                                                 \
	{                                                                                          \
		.name = n, .mode = S_IFDIR | 0555, .children = c                                   \
	}
#define PFILE(n, fn)                                                                               \
	{                                                                                          \
		.name = n, .mode = S_IFREG | 0444, .show = fn                                      \
	}
#define PTEXT(n, t)                                                                                \
	{                                                                                          \
		.name = n, .mode = S_IFREG | 0444, .text = t                                       \
	}
#define PLINK(n, t)                                                                                \
	{                                                                                          \
		.name = n, .mode = S_IFLNK | 0777, .text = t                                       \
	}

#endif
