/*
 * iov.c - the cursor over user or libOS memory that reads and writes go through.
 */
#include "libos/fs/iov.h"

#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"

void iov_iter_user(struct iov_iter *it, u64 base, size_t len)
{
	it->one.base = base;
	it->one.len = len;
	it->iov = &it->one;
	it->nr = 1;
	it->kernel = false;
	it->off = 0;
	it->count = len;
}

void iov_iter_kernel(struct iov_iter *it, void *base, size_t len)
{
	iov_iter_user(it, (u64)base, len);
	it->kernel = true;
}

/* readv(2): "EINVAL: the sum of the iov_len values overflows ssize_t, or the count is out of
 * range". */
int iov_iter_import(struct iov_iter *it, u64 uiov, u64 nr, struct iovec_k small[8],
		    struct iovec_k **heap)
{
	struct iovec_k *v = small;
	size_t total = 0;
	int err = 0;

	*heap = NULL;
	if (nr > UIO_MAX_IOV)
		return -EINVAL;
	if (nr > 8) {
		v = kmalloc(nr * sizeof(*v));
		if (!v)
			return -ENOMEM;
	}
	if (copy_from_user(v, (const void *)uiov, nr * sizeof(*v)))
		err = -EFAULT;
	for (u64 i = 0; !err && i < nr; i++) {
		if ((s64)v[i].len < 0)
			err = -EINVAL;
		else if (!access_ok(v[i].base, v[i].len))
			err = -EFAULT;
		if (v[i].len > MAX_RW_COUNT - total)
			v[i].len = MAX_RW_COUNT - total;
		total += v[i].len;
	}
	if (err) {
		if (v != small)
			kfree(v, nr * sizeof(*v));
		return err;
	}
	if (v != small)
		*heap = v;
	it->iov = v;
	it->nr = (u32)nr;
	it->kernel = false;
	it->off = 0;
	it->count = total;
	return 0;
}

void iov_iter_free(struct iovec_k *heap, u64 nr)
{
	if (heap)
		kfree(heap, nr * sizeof(*heap));
}

/* Moves to the next entry while the current one is used up. */
static void iov_settle(struct iov_iter *it)
{
	while (it->nr > 1 && it->off == it->iov->len) {
		it->iov++;
		it->nr--;
		it->off = 0;
	}
}

enum iov_op { IOV_TO, IOV_FROM };

static inline size_t iov_walk(struct iov_iter *it, char *mem, size_t n, enum iov_op op)
{
	size_t done = 0;

	if (n > it->count)
		n = it->count;
	while (done < n) {
		size_t chunk, c;
		u64 addr;

		iov_settle(it);
		addr = it->iov->base + it->off;
		chunk = min(n - done, it->iov->len - it->off);
		c = chunk;
		if (op == IOV_TO) {
			if (it->kernel)
				memcpy((void *)addr, mem + done, chunk);
			else
				c = copy_to_user_partial((void *)addr, mem + done, chunk);
		} else {
			if (it->kernel)
				memcpy(mem + done, (void *)addr, chunk);
			else
				c = copy_from_user_partial(mem + done, (void *)addr, chunk);
		}
		done += c;
		it->off += c;
		it->count -= c;
		if (c < chunk)
			break;
	}
	return done;
}

size_t iov_copy_to(struct iov_iter *it, const void *src, size_t n)
{
	return iov_walk(it, (char *)src, n, IOV_TO);
}

size_t iov_copy_from(struct iov_iter *it, void *dst, size_t n)
{
	return iov_walk(it, dst, n, IOV_FROM);
}

size_t iov_zero(struct iov_iter *it, size_t n)
{
	static const char zeros[PAGE_SIZE];
	size_t done = 0;

	while (done < n) {
		size_t chunk = min(n - done, sizeof(zeros));
		size_t c = iov_walk(it, (char *)zeros, chunk, IOV_TO);

		done += c;
		if (c < chunk)
			break;
	}
	return done;
}

void iov_advance(struct iov_iter *it, size_t n)
{
	if (n > it->count)
		n = it->count;
	it->count -= n;
	while (n) {
		size_t chunk;

		iov_settle(it);
		chunk = min(n, it->iov->len - it->off);
		it->off += chunk;
		n -= chunk;
	}
}

void iov_revert(struct iov_iter *it, size_t n)
{
	it->count += n;
	while (n > it->off) {
		n -= it->off;
		it->iov--;
		it->nr++;
		it->off = it->iov->len;
	}
	it->off -= n;
}
