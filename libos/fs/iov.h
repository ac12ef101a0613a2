/*
 * iov.h - a cursor over user or libOS memory for reads and writes.
 */
#ifndef LIBOS_FS_IOV_H
#define LIBOS_FS_IOV_H

#include "libos/lib/types.h"

#define UIO_MAX_IOV 1024
#define MAX_RW_COUNT 0x7ffff000ul /* largest transfer of one call, as Linux */

struct iovec_k {
	u64 base, len;
};

struct iov_iter {
	const struct iovec_k *iov; /* in libOS memory */
	u32 nr;			   /* entries left */
	bool kernel;		   /* addresses are libOS memory */
	size_t off;		   /* into iov[0] */
	size_t count;		   /* bytes left in all */
	struct iovec_k one;	   /* for single buffers */
};

void iov_iter_user(struct iov_iter *it, u64 base, size_t len); /* one user buffer */
void iov_iter_kernel(struct iov_iter *it, void *base, size_t len);
/*
 * From a user array of iovec: copies it (into small[8] or a kmalloc'ed array in *heap, to be freed
 * with iov_iter_free). -EINVAL (bad count or negative length), -EFAULT, -ENOMEM. Total is cut at
 * MAX_RW_COUNT.
 */
int iov_iter_import(struct iov_iter *it, u64 uiov, u64 nr, struct iovec_k small[8],
		    struct iovec_k **heap);
void iov_iter_free(struct iovec_k *heap, u64 nr);

/* Copy and advance. Return bytes copied; fewer than n (possibly 0) means a fault in user memory. */
size_t iov_copy_to(struct iov_iter *it, const void *src, size_t n);
size_t iov_copy_from(struct iov_iter *it, void *dst, size_t n);
size_t iov_zero(struct iov_iter *it, size_t n);
void iov_advance(struct iov_iter *it, size_t n);
/* Takes back n bytes just consumed, within the same entries. */
void iov_revert(struct iov_iter *it, size_t n);

#endif
