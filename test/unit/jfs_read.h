/*
 * jfs_read.h - looks things up in the tables of a root file system, for tests.
 */
#ifndef JUNCTION_TEST_JFS_READ_H
#define JUNCTION_TEST_JFS_READ_H

#include <string.h>

#include "libos/abi/image.h"

/* The inode of a path, links not followed; NULL if there is none. `fs` is checked. */
static inline const struct jfs_inode *jfs_find(const uint8_t *fs, const char *path)
{
	const struct jfs_super *s = (const struct jfs_super *)fs;
	const struct jfs_inode *inodes = (const struct jfs_inode *)(fs + s->inode_off), *in = &inodes[1];
	const char *names = (const char *)fs + s->names_off;

	while (in && *path) {
		const struct jfs_dirent *d = (const struct jfs_dirent *)(fs + s->dirent_off) + in->first_dirent;
		size_t n;
		uint32_t i;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		for (i = 0; i < in->dirent_count; i++, d++)
			if (d->name_len == n && !memcmp(names + d->name_off, path, n))
				break;
		in = i < in->dirent_count ? &inodes[d->ino] : NULL;
		path += n;
	}
	return in;
}

static inline int jfs_link_is(const uint8_t *fs, const char *path, const char *target)
{
	const struct jfs_super *s = (const struct jfs_super *)fs;
	const struct jfs_inode *in = jfs_find(fs, path);

	return in && (in->mode & 0170000) == 0120000 && in->size == strlen(target) &&
	       !memcmp(fs + s->names_off + in->data_off, target, in->size);
}

#endif
