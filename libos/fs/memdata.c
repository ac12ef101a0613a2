/*
 * memdata.c - contents of regular files of a memfs: pages of the page store over the image's data.
 *
 * A file page is, in this order: the page in inode->reg.pages; the image's data below
 * reg.lower_size; zeros. A page that is written is taken out of the image first, one page at a
 * time. lower_size only shrinks, and is then a multiple of the page size, so that an image page
 * which is mapped shows no stale tail.
 *
 * inode->mutex serializes what changes contents; inode->lock guards size and the page tree. Readers
 * take inode->lock for the lookup only, hold a reference to the page while they copy, and take no
 * lock at all while the file has no pages of its own.
 */
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/resource.h>
#include <linux/stat.h>

#include "libos/abi/control.h"
#include "libos/fs/jfs.h"
#include "libos/fs/memfs.h"
#include "libos/lib/string.h"
#include "libos/mm/mm.h"
#include "libos/mm/shm.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define RUN_MAX 512ul /* pages allocated at once */
#define MAX_FILE_SIZE (1ull << 47)
#define SIGXFSZ_NR 25
#define REALTIME_COARSE 5 /* CLOCK_REALTIME_COARSE of <linux/time.h> */

/* Files get the coarse clock's time, as on Linux: it is cheaper, and a tick old at most. */
struct timespec_k now_ts(void)
{
	return ns_to_timespec(host_clock_ns(REALTIME_COARSE));
}

static bool ts_before_eq(const struct timespec_k *a, const struct timespec_k *b)
{
	return a->sec < b->sec || (a->sec == b->sec && a->nsec <= b->nsec);
}

/* Access times as with the mount option relatime; those of unchanged image files stand still. */
static void touch_atime(struct file *f, struct inode *i)
{
	if (likely(!ts_before_eq(&i->atime, &i->mtime) && !ts_before_eq(&i->atime, &i->ctime)))
		return;
	if ((i->lower && !(i->flags & INODE_DIRTY)) || f->flags & O_NOATIME)
		return;
	spin_lock(&i->lock);
	i->atime = now_ts();
	spin_unlock(&i->lock);
}

static void touch_mtime(struct inode *i)
{
	struct timespec_k now = now_ts();

	if (i->lower && !(i->flags & INODE_DIRTY)) {
		ns_write_lock();
		memfs_dirty(i);
		ns_write_unlock();
	}
	spin_lock(&i->lock);
	i->mtime = i->ctime = now;
	spin_unlock(&i->lock);
}

/* Clears the set-id bits as a write by an ordinary user does. inode->mutex held. */
static void drop_setid(struct inode *i)
{
	if (unlikely(i->mode & (S_ISUID | S_ISGID)) && !fs_capable(4 /* CAP_FSETID */)) {
		i->mode &= ~(u32)S_ISUID;
		if (i->mode & 010)
			i->mode &= ~(u32)S_ISGID;
	}
}

static ssize_t reg_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct inode *i = f->inode;
	u64 at = *pos, size = READ_ONCE(i->size);
	size_t n, done = 0;

	if (at >= size || !to->count)
		return 0;
	n = min(to->count, size - at);
	while (done < n) {
		size_t chunk, c;
		s64 page = -1;

		if (READ_ONCE(i->reg.pages.height)) {
			spin_lock(&i->lock);
			page = pagetree_get(&i->reg.pages, at >> PAGE_SHIFT);
			if (page >= 0)
				shm_get((u64)page);
			spin_unlock(&i->lock);
			chunk = min(n - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
		} else {
			chunk = n - done;
		}
		if (page >= 0) {
			c = iov_copy_to(to, shm_ptr((u64)page) + (at & (PAGE_SIZE - 1)), chunk);
			shm_put((u64)page);
		} else {
			u64 lower = READ_ONCE(i->reg.lower_size);

			if (at < lower) {
				chunk = min(chunk, lower - at);
				c = iov_copy_to(to, i->reg.lower_data + at, chunk);
			} else {
				c = iov_zero(to, chunk);
			}
		}
		done += c;
		at += c;
		if (c < chunk)
			break;
	}
	*pos = at;
	touch_atime(f, i);
	return done ? (ssize_t)done : -EFAULT;
}

/* Bytes of the image in file page idx. */
static size_t lower_bytes(const struct inode *i, u64 idx)
{
	u64 start = idx << PAGE_SHIFT;

	return start < i->reg.lower_size ? min(PAGE_SIZE, i->reg.lower_size - start) : 0;
}

/*
 * The page of the store for file page idx, made if there is none; filled with the image's data
 * unless `whole` (all of it will be written). inode->mutex held. Page or -ENOSPC.
 */
static s64 own_page(struct inode *i, u64 idx, bool whole)
{
	s64 page = pagetree_get(&i->reg.pages, idx), near;
	size_t lower;
	int err;

	if (page >= 0)
		return page;
	near = idx ? pagetree_get(&i->reg.pages, idx - 1) : -1;
	if (!memfs_charge(1))
		return -ENOSPC;
	page = shm_alloc(1, near > 0 ? (u64)near : 0);
	if (page < 0) {
		memfs_uncharge(1);
		return -ENOSPC;
	}
	lower = whole ? 0 : lower_bytes(i, idx);
	if (lower)
		memcpy(shm_ptr((u64)page), i->reg.lower_data + (idx << PAGE_SHIFT), lower);
	spin_lock(&i->lock);
	err = pagetree_set(&i->reg.pages, idx, (u64)page);
	spin_unlock(&i->lock);
	if (err) {
		shm_put((u64)page);
		memfs_uncharge(1);
		return -ENOSPC;
	}
	return page;
}

/*
 * As own_page(), and where neither pages nor the image are at idx and behind, up to n pages at
 * once. A hint: what could not be had at once comes page by page.
 */
static s64 own_run(struct inode *i, u64 idx, u64 n)
{
	s64 page = pagetree_get(&i->reg.pages, idx), near;
	u64 present;
	int err = 0;

	n = min(n, RUN_MAX);
	if (page >= 0 || n < 2 || lower_bytes(i, idx))
		return page >= 0 ? page : own_page(i, idx, false);
	n = min(n, pagetree_next(&i->reg.pages, idx, &present) - idx);
	near = idx ? pagetree_get(&i->reg.pages, idx - 1) : -1;
	if (!memfs_charge(n))
		return own_page(i, idx, false);
	page = shm_alloc(n, near > 0 ? (u64)near : 0);
	if (page < 0) {
		memfs_uncharge(n);
		return own_page(i, idx, false);
	}
	spin_lock(&i->lock);
	for (u64 k = 0; k < n; k++) {
		err = pagetree_set(&i->reg.pages, idx + k, (u64)page + k);
		if (err) {
			spin_unlock(&i->lock);
			shm_put_range((u64)page + k, n - k);
			memfs_uncharge(n - k);
			return k ? page : -ENOSPC;
		}
	}
	spin_unlock(&i->lock);
	return page;
}

/* How much of a write of n bytes at pos RLIMIT_FSIZE and the largest file size allow; -EFBIG. */
static s64 write_limit(u64 pos, u64 n)
{
	u64 lim = current_proc() ? READ_ONCE(current_proc()->rlim[RLIMIT_FSIZE].cur) : ~0ull;

	if (n && pos >= lim) {
		struct siginfo_k info = {.signo = SIGXFSZ_NR, .code = 0 /* SI_USER */};

		signal_send_thread(current(), &info);
		return -EFBIG;
	}
	if (n && pos >= MAX_FILE_SIZE)
		return -EFBIG;
	return (s64)min(n, min(lim, (u64)MAX_FILE_SIZE) - pos);
}

/* Frees the pages of [from, to) (file pages). inode->mutex held. */
static void drop_pages(struct inode *i, u64 from, u64 to)
{
	u64 pages[32];
	u32 n;

	if (!i->reg.pages.nr_pages)
		return;
	do {
		spin_lock(&i->lock);
		n = pagetree_take(&i->reg.pages, &from, to, pages, ARRAY_SIZE(pages));
		spin_unlock(&i->lock);
		for (u32 k = 0; k < n; k++)
			shm_put(pages[k]);
		memfs_uncharge(n);
	} while (n == ARRAY_SIZE(pages));
}

static ssize_t reg_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct inode *i = f->inode;
	size_t done = 0;
	ssize_t err = 0;
	s64 limit;
	u64 at;

	if (!from->count)
		return 0;
	mutex_lock(&i->mutex);
	at = f->flags & O_APPEND || *pos == UINT64_MAX ? i->size : *pos;
	limit = write_limit(at, from->count);
	if (limit < 0) {
		mutex_unlock(&i->mutex);
		return limit;
	}
	if (unlikely(i->reg.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) {
		mutex_unlock(&i->mutex);
		return -EPERM;
	}
	drop_setid(i);
	while (done < (u64)limit) {
		size_t in_page = at & (PAGE_SIZE - 1);
		size_t chunk = min((u64)limit - done, PAGE_SIZE - in_page), c;
		s64 page;

		if (unlikely(i->reg.seals & F_SEAL_GROW) && at + chunk > i->size) {
			err = -EPERM;
			break;
		}
		page = own_run(i, at >> PAGE_SHIFT,
			       ((u64)limit - done + in_page + PAGE_SIZE - 1) >> PAGE_SHIFT);
		if (page < 0) {
			err = page;
			break;
		}
		c = iov_copy_from(from, shm_ptr((u64)page) + in_page, chunk);
		at += c;
		done += c;
		if (at > i->size)
			WRITE_ONCE(i->size, at);
		if (c < chunk) {
			err = -EFAULT;
			break;
		}
	}
	if (done)
		touch_mtime(i);
	mutex_unlock(&i->mutex);
	if (unlikely(READ_ONCE(i->reg.maps)) && at > *pos)
		mm_file_grown(i);
	*pos = at;
	return done ? (ssize_t)done : err;
}

void memfs_free_pages(struct inode *i)
{
	drop_pages(i, 0, UINT64_MAX);
	pagetree_free(&i->reg.pages);
}

/* Zeros [from, to) within one page, if the page has contents. */
static int zero_in_page(struct inode *i, u64 from, u64 to)
{
	u64 idx = from >> PAGE_SHIFT;
	s64 page;

	if (from >= to || (pagetree_get(&i->reg.pages, idx) < 0 && !lower_bytes(i, idx)))
		return 0;
	page = own_page(i, idx, false);
	if (page < 0)
		return (int)page;
	memset(shm_ptr((u64)page) + (from & (PAGE_SIZE - 1)), 0, to - from);
	return 0;
}

/* inode->mutex held. */
static int set_size(struct inode *i, u64 size)
{
	u64 old = i->size;
	int err;

	if (size < old) {
		err = zero_in_page(i, size, min(page_up(size), old));
		if (err)
			return err;
		WRITE_ONCE(i->size, size);
		spin_lock(&i->lock);
		if (i->reg.lower_size > page_up(size))
			WRITE_ONCE(i->reg.lower_size, page_up(size));
		spin_unlock(&i->lock);
		drop_pages(i, page_up(size) >> PAGE_SHIFT, UINT64_MAX);
	}
	WRITE_ONCE(i->size, size);
	return 0;
}

int memfs_truncate(struct inode *i, u64 size)
{
	int err = 0;
	bool shrunk;
	s64 limit;

	if (size > MAX_FILE_SIZE)
		return -EFBIG;
	mutex_lock(&i->mutex);
	shrunk = size < i->size;
	if (size > i->size) {
		limit = write_limit(size - 1, 1);
		if (limit < 0)
			err = (int)limit;
	}
	if ((size > i->size && i->reg.seals & F_SEAL_GROW) ||
	    (size < i->size && i->reg.seals & F_SEAL_SHRINK))
		err = -EPERM;
	if (!err && size != i->size)
		err = set_size(i, size);
	if (!err) {
		drop_setid(i);
		touch_mtime(i);
	}
	mutex_unlock(&i->mutex);
	if (!err && READ_ONCE(i->reg.maps)) {
		if (shrunk)
			mm_file_changed(i, page_up(size), UINT64_MAX, true);
		else
			mm_file_grown(i);
	}
	return err;
}

static int reg_truncate(struct file *f, u64 size)
{
	return memfs_truncate(f->inode, size);
}

/* Makes [off, off + len) read as zeros and gives back whole pages. inode->mutex held. */
static int punch(struct inode *i, u64 off, u64 len)
{
	u64 end = min(off + len, i->size), first, last;
	int err;

	if (off >= end)
		return 0;
	/* The tail of the last page may be behind the end of file: punch it as a whole. */
	if (off + len >= i->size)
		end = page_up(i->size);
	first = page_up(off);
	last = page_down(end);
	if (first > last)
		return zero_in_page(i, off, end);
	err = zero_in_page(i, off, first);
	if (!err)
		err = zero_in_page(i, last, end);
	if (err)
		return err;
	if (last > first) {
		/* Where the image shines through, a page of zeros covers it, unless all behind goes
		 * too. */
		if (i->reg.lower_size > first && i->reg.lower_size <= last) {
			spin_lock(&i->lock);
			WRITE_ONCE(i->reg.lower_size, first);
			spin_unlock(&i->lock);
		}
		drop_pages(i, first >> PAGE_SHIFT, last >> PAGE_SHIFT);
		for (u64 at = first; at < last && at < i->reg.lower_size; at += PAGE_SIZE) {
			s64 page = own_page(i, at >> PAGE_SHIFT, true);

			if (page < 0)
				return (int)page;
		}
	}
	return 0;
}

int memfs_fallocate(struct inode *i, int mode, u64 off, u64 len)
{
	u64 end = off + len;
	int err = 0;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (mode & FALLOC_FL_PUNCH_HOLE &&
	    (!(mode & FALLOC_FL_KEEP_SIZE) || mode & FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (mode & FALLOC_FL_ZERO_RANGE)
		return -EOPNOTSUPP; /* as tmpfs */
	if (end > MAX_FILE_SIZE)
		return -EFBIG;
	mutex_lock(&i->mutex);
	if (i->reg.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) && mode & FALLOC_FL_PUNCH_HOLE)
		err = -EPERM;
	else if (mode & FALLOC_FL_PUNCH_HOLE)
		err = punch(i, off, len);
	else if (i->reg.seals & F_SEAL_GROW && end > i->size)
		err = -EPERM;
	else {
		s64 limit = end > i->size && !(mode & FALLOC_FL_KEEP_SIZE) ? write_limit(end - 1, 1)
									   : 0;
		u64 made_from = page_down(off);

		if (limit < 0)
			err = (int)limit;
		for (u64 at = made_from; !err && at < end; at += PAGE_SIZE) {
			s64 page = lower_bytes(i, at >> PAGE_SHIFT)
					   ? 0
					   : own_run(i, at >> PAGE_SHIFT,
						     (end - at + PAGE_SIZE - 1) >> PAGE_SHIFT);

			if (page < 0)
				err = (int)page;
		}
		if (!err && !(mode & FALLOC_FL_KEEP_SIZE) && end > i->size)
			WRITE_ONCE(i->size, end);
	}
	if (!err) {
		drop_setid(i);
		touch_mtime(i);
	}
	mutex_unlock(&i->mutex);
	if (!err && READ_ONCE(i->reg.maps)) {
		if (mode & FALLOC_FL_PUNCH_HOLE)
			mm_file_changed(i, page_up(off), page_down(end), false);
		else
			mm_file_grown(i);
	}
	return err;
}

static int reg_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	return memfs_fallocate(f->inode, mode, off, len);
}

u64 memfs_blocks(struct inode *i)
{
	u64 lower = page_up(i->reg.lower_size) >> PAGE_SHIFT, page, idx = 0,
	    own = i->reg.pages.nr_pages;

	spin_lock(&i->lock);
	/* Pages that cover the image are counted once. */
	while (lower && (idx = pagetree_next(&i->reg.pages, idx, &page)) < lower) {
		own--;
		idx++;
	}
	spin_unlock(&i->lock);
	return (own + lower) * (PAGE_SIZE / 512);
}

s64 memfs_map_pages(struct inode *i, u64 pgoff, u64 n, bool write, int *fd, u64 *off)
{
	u64 nr = (READ_ONCE(i->size) + PAGE_SIZE - 1) >> PAGE_SHIFT, count, own, page = 0;
	s64 first;

	if (pgoff >= nr)
		return -ENXIO;
	n = min(n, nr - pgoff);
	if (write) {
		if (i->reg.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
			return -EPERM;
		mutex_lock(&i->mutex);
		first = own_run(i, pgoff, n);
		if (first >= 0) {
			for (count = 0; count < n; count++) {
				s64 p = own_run(i, pgoff + count, n - count);

				if (p != first + (s64)count)
					break;
				shm_get((u64)p);
			}
			*fd = CTL_FD_SHM;
			*off = (u64)first << PAGE_SHIFT;
		}
		mutex_unlock(&i->mutex);
		return first < 0 ? first : (s64)count;
	}
	spin_lock(&i->lock);
	first = pagetree_get(&i->reg.pages, pgoff);
	if (first >= 0) {
		for (count = 0; count < n; count++) {
			if (pagetree_get(&i->reg.pages, pgoff + count) != first + (s64)count)
				break;
			shm_get((u64)first + count);
		}
		spin_unlock(&i->lock);
		*fd = CTL_FD_SHM;
		*off = (u64)first << PAGE_SHIFT;
		return (s64)count;
	}
	own = pagetree_next(&i->reg.pages, pgoff, &page);
	spin_unlock(&i->lock);
	if (own - pgoff < n)
		n = own - pgoff;
	if (lower_bytes(i, pgoff)) {
		*fd = CTL_FD_IMAGE;
		*off = jfs.fd_off + (u64)(i->reg.lower_data - jfs.base) + (pgoff << PAGE_SHIFT);
		return (s64)min(n, ((i->reg.lower_size + PAGE_SIZE - 1) >> PAGE_SHIFT) - pgoff);
	}
	*fd = -1;
	*off = 0;
	return (s64)n;
}

static s64 reg_map_pages(struct file *f, u64 pgoff, u64 n, bool shared_write, int *fd, u64 *off)
{
	return memfs_map_pages(f->inode, pgoff, n, shared_write, fd, off);
}

/* SEEK_DATA and SEEK_HOLE by pages; the end of file is a hole. */
static s64 seek_data(struct inode *i, u64 off, bool hole)
{
	u64 size = READ_ONCE(i->size), page;

	if (off >= size)
		return -ENXIO;
	spin_lock(&i->lock);
	while (off < size) {
		u64 idx = off >> PAGE_SHIFT;
		bool data = lower_bytes(i, idx) || pagetree_get(&i->reg.pages, idx) >= 0;

		if (data != hole)
			break;
		if (!hole && !lower_bytes(i, idx)) {
			u64 next = pagetree_next(&i->reg.pages, idx, &page);

			off = next == UINT64_MAX ? size : next << PAGE_SHIFT;
		} else {
			off = (idx + 1) << PAGE_SHIFT;
		}
	}
	spin_unlock(&i->lock);
	if (off >= size)
		return hole ? (s64)size : -ENXIO;
	return (s64)off;
}

static s64 reg_llseek(struct file *f, s64 off, int whence)
{
	s64 base = 0;

	switch (whence) {
	case SEEK_CUR:
		base = (s64)f->pos;
		break;
	case SEEK_END:
		base = (s64)READ_ONCE(f->inode->size);
		break;
	case SEEK_DATA:
	case SEEK_HOLE:
		if (off < 0)
			return -ENXIO;
		off = seek_data(f->inode, (u64)off, whence == SEEK_HOLE);
		if (off < 0)
			return off;
	}
	if (__builtin_add_overflow(base, off, &off))
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

static int reg_fsync(struct file *f)
{
	return 0;
}

const struct file_ops memfs_reg_fops = {
	.name = "file",
	.read = reg_read,
	.write = reg_write,
	.llseek = reg_llseek,
	.map_pages = reg_map_pages,
	.truncate = reg_truncate,
	.fallocate = reg_fallocate,
	.fsync = reg_fsync,
	.getattr = file_getattr,
};
