/*
 * rootfs.h - from a finished tree to the bytes of the root file system, as a stream.
 */
#ifndef JUNCTION_BUILDER_ROOTFS_H
#define JUNCTION_BUILDER_ROOTFS_H

#include "builder/tree.h"

struct rootfs {
	uint8_t *tables; /* superblock, tables, names: the bytes before data_off */
	uint64_t tables_len; /* = data_off, a multiple of a page */
	uint64_t size; /* of the whole, a multiple of a page */
	struct blob **order; /* blobs with data, by data_off */
	size_t nr_order;
	/* Where reading stands. */
	uint64_t pos;
	size_t next; /* in order */
	uint8_t *now; /* bytes of order[next], when begun */
};

/*
 * Numbers the inodes, lays out tables and data. Every file carries `mtime` (seconds). The tree must
 * not change afterwards.
 */
int rootfs_init(struct rootfs *r, struct tree *t, uint64_t mtime, struct err *e);
void rootfs_free(struct rootfs *r);

/* The next len bytes; the caller asks for r->size in total. */
int rootfs_read(struct rootfs *r, uint8_t *dst, uint64_t len, struct err *e);

#endif
