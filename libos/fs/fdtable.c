/*
 * fdtable.c - open files (struct file) and the descriptor table of a process.
 *
 * Locks: fdtable.lock guards everything that changes a table; files are released without it.
 */
#include "libos/fs/fdtable.h"

#include <linux/fcntl.h>
#include <linux/resource.h>

#include "libos/fs/vfs.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"

/* Freed files, linked through ep_links.next; the memory stays a struct file for ever (fdtable.h).
 */
static spinlock_t file_lock = SPINLOCK_INIT;
static struct file *file_free;
static u64 files_open;

struct file *file_alloc(const struct file_ops *ops, u32 flags, void *priv)
{
	struct file *f;

	spin_lock(&file_lock);
	f = file_free;
	if (f)
		file_free = (struct file *)f->ep_links.next;
	files_open++;
	spin_unlock(&file_lock);
	if (!f) {
		f = kzalloc(sizeof(*f));
		if (!f) {
			__atomic_fetch_sub(&files_open, 1, __ATOMIC_RELAXED);
			return NULL;
		}
		mutex_init(&f->pos_lock);
		spin_init(&f->ep_lock);
	}
	f->ops = ops;
	f->flags = flags & ~(u32)O_CLOEXEC;
	f->pos = 0;
	f->priv = priv;
	f->dentry = NULL;
	f->inode = NULL;
	list_init(&f->ep_links);
	f->owner = 0;
	f->seals = 0;
	__atomic_store_n(&f->refs, 1, __ATOMIC_RELEASE);
	return f;
}

void file_get(struct file *f)
{
	__atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
}

static bool file_get_not_zero(struct file *f)
{
	u32 refs = __atomic_load_n(&f->refs, __ATOMIC_RELAXED);

	while (refs)
		if (__atomic_compare_exchange_n(&f->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

/* ipc/epoll.c: the last reference to a watched file is gone. */
__attribute__((weak)) void epoll_file_release(struct file *f)
{
}

void file_put(struct file *f)
{
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (!list_empty(&f->ep_links))
		epoll_file_release(f);
	vfs_file_release(f);
	spin_lock(&file_lock);
	f->ep_links.next = (struct list_head *)file_free;
	file_free = f;
	files_open--;
	spin_unlock(&file_lock);
}

u64 files_count(void)
{
	return READ_ONCE(files_open);
}

/* Table */

static struct fdarray *fdarray_alloc(u32 max)
{
	struct fdarray *a = kzalloc(fdarray_size(max));

	if (!a)
		return NULL;
	a->max = max;
	a->fd = (struct file **)(a + 1);
	a->open = (u64 *)(a->fd + max);
	a->cloexec = a->open + max / 64;
	return a;
}

struct fdtable *fdtable_create(void)
{
	struct fdtable *t = kzalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->arr = fdarray_alloc(FD_INITIAL);
	if (!t->arr) {
		kfree(t, sizeof(*t));
		return NULL;
	}
	t->refs = 1;
	return t;
}

void fdtable_get(struct fdtable *t)
{
	__atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
}

void fdtable_destroy(struct fdtable *t)
{
	struct fdarray *a, *older;

	if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (int fd = -1; (fd = fd_next_open(t, fd + 1)) >= 0;) {
		struct file *f = t->arr->fd[fd];

		t->arr->fd[fd] = NULL;
		vfs_file_closed(f);
		file_put(f);
	}
	for (a = t->arr; a; a = older) {
		older = a->older;
		kfree(a, fdarray_size(a->max));
	}
	kfree(t, sizeof(*t));
}

/* Makes room for descriptor fd; t->lock is held, dropped for the allocation, and held again. */
static bool fdtable_grow(struct fdtable *t, u32 fd)
{
	u32 max = t->arr->max;
	struct fdarray *a, *old;

	while (max <= fd)
		max *= 2;
	spin_unlock(&t->lock);
	a = fdarray_alloc(max);
	spin_lock(&t->lock);
	old = t->arr;
	if (fd < old->max) {
		if (a)
			kfree(a, fdarray_size(max));
		return true;
	}
	if (!a)
		return false;
	memcpy(a->fd, old->fd, old->max * sizeof(*a->fd));
	memcpy(a->open, old->open, old->max / 8);
	memcpy(a->cloexec, old->cloexec, old->max / 8);
	a->older = old;
	__atomic_store_n(&t->arr, a, __ATOMIC_RELEASE);
	return true;
}

static u32 fd_find_free(struct fdtable *t, u32 min)
{
	struct fdarray *a = t->arr;
	u32 i = min / 64;

	if (min >= a->max)
		return min;
	for (u64 mask = ~0ull << (min % 64); i < a->max / 64; i++, mask = ~0ull) {
		u64 v = ~a->open[i] & mask;

		if (v)
			return i * 64 + __builtin_ctzll(v);
	}
	return a->max;
}

static u32 fd_rlimit(void)
{
	struct proc *p = current_proc();
	u64 lim = READ_ONCE(p->rlim[RLIMIT_NOFILE].cur);

	return lim < FD_LIMIT ? (u32)lim : FD_LIMIT;
}

static void fd_set_slot(struct fdtable *t, u32 fd, struct file *f, u32 fdflags)
{
	struct fdarray *a = t->arr;
	u64 bit = 1ull << (fd % 64);

	if (!(a->open[fd / 64] & bit))
		t->nr_open++;
	a->open[fd / 64] |= bit;
	if (fdflags & FD_CLOEXEC)
		a->cloexec[fd / 64] |= bit;
	else
		a->cloexec[fd / 64] &= ~bit;
	__atomic_store_n(&a->fd[fd], f, __ATOMIC_RELEASE);
}

/* Lowest free descriptor from min, marked open with an empty slot; -EMFILE. t->lock held. */
static int fd_reserve(struct fdtable *t, u32 min, u32 limit)
{
	for (;;) {
		u32 fd = fd_find_free(t, max(min, t->next));

		if (fd >= limit)
			return -EMFILE;
		if (fd >= t->arr->max) {
			if (!fdtable_grow(t, fd))
				return -EMFILE;
			continue;
		}
		if (min <= t->next)
			t->next = fd + 1;
		return (int)fd;
	}
}

int fd_install(struct file *f, int min, u32 fdflags)
{
	struct fdtable *t = current_proc()->fdt;
	int fd;

	spin_lock(&t->lock);
	fd = fd_reserve(t, (u32)min, fd_rlimit());
	if (fd >= 0)
		fd_set_slot(t, (u32)fd, f, fdflags);
	spin_unlock(&t->lock);
	return fd;
}

static struct file *fd_clear_slot(struct fdtable *t, u32 fd)
{
	struct fdarray *a = t->arr;
	struct file *f;

	if (fd >= a->max || !(f = a->fd[fd]))
		return NULL;
	a->fd[fd] = NULL;
	a->open[fd / 64] &= ~(1ull << (fd % 64));
	a->cloexec[fd / 64] &= ~(1ull << (fd % 64));
	t->nr_open--;
	if (fd < t->next)
		t->next = fd;
	return f;
}

int fd_install_pair(struct file *a, struct file *b, u32 fdflags, int out[2])
{
	struct fdtable *t = current_proc()->fdt;
	u32 limit = fd_rlimit();
	int r;

	spin_lock(&t->lock);
	r = out[0] = fd_reserve(t, 0, limit);
	if (r >= 0) {
		fd_set_slot(t, (u32)out[0], a, fdflags);
		r = out[1] = fd_reserve(t, 0, limit);
		if (r >= 0)
			fd_set_slot(t, (u32)out[1], b, fdflags);
		else
			fd_clear_slot(t, (u32)out[0]);
	}
	spin_unlock(&t->lock);
	return r < 0 ? r : 0;
}

int fd_install_at(struct fdtable *t, struct file *f, int fd, u32 fdflags)
{
	struct file *old;

	if (fd < 0 || (u32)fd >= FD_LIMIT)
		return -EBADF;
	spin_lock(&t->lock);
	if ((u32)fd >= t->arr->max && !fdtable_grow(t, (u32)fd)) {
		spin_unlock(&t->lock);
		return -EMFILE;
	}
	old = t->arr->fd[fd];
	fd_set_slot(t, (u32)fd, f, fdflags);
	spin_unlock(&t->lock);
	if (old) {
		vfs_file_closed(old);
		file_put(old);
	}
	return fd;
}

int fd_close(int fd)
{
	struct fdtable *t = current_proc()->fdt;
	struct file *f;

	spin_lock(&t->lock);
	f = fd_clear_slot(t, (u32)fd);
	spin_unlock(&t->lock);
	if (!f)
		return -EBADF;
	vfs_file_closed(f);
	file_put(f);
	return 0;
}

struct file *fd_get_any(struct fdtable *t, int fd)
{
	for (;;) {
		struct fdarray *a = __atomic_load_n(&t->arr, __ATOMIC_ACQUIRE);
		struct file *f;

		if ((u32)fd >= a->max)
			return NULL;
		f = __atomic_load_n(&a->fd[fd], __ATOMIC_ACQUIRE);
		if (!f)
			return NULL;
		if (!file_get_not_zero(f))
			continue; /* being closed: the slot changes at once */
		if (likely(__atomic_load_n(&a->fd[fd], __ATOMIC_ACQUIRE) == f &&
			   __atomic_load_n(&t->arr, __ATOMIC_ACQUIRE) == a))
			return f;
		file_put(f);
	}
}

struct file *fd_get_path(int fd)
{
	return fd_get_any(current_proc()->fdt, fd);
}

struct file *fd_get(int fd)
{
	struct file *f = fd_get_any(current_proc()->fdt, fd);

	if (f && unlikely(f->flags & O_PATH)) {
		file_put(f);
		return NULL;
	}
	return f;
}

int fd_next_open(struct fdtable *t, int fd)
{
	int found = -1;

	spin_lock(&t->lock);
	for (u32 i = (u32)fd / 64; fd >= 0 && i < t->arr->max / 64; i++) {
		u64 v = t->arr->open[i];

		if (i == (u32)fd / 64)
			v &= ~0ull << (fd % 64);
		if (v) {
			found = (int)(i * 64 + __builtin_ctzll(v));
			break;
		}
	}
	spin_unlock(&t->lock);
	return found;
}

struct dentry *fd_peek_dentry(struct fdtable *t, int fd)
{
	struct dentry *d = NULL;

	spin_lock(&t->lock);
	if ((u32)fd < t->arr->max && t->arr->fd[fd])
		d = t->arr->fd[fd]->dentry;
	spin_unlock(&t->lock);
	return d;
}

int fd_get_flags(struct fdtable *t, int fd)
{
	int r = -EBADF;

	spin_lock(&t->lock);
	if ((u32)fd < t->arr->max && t->arr->fd[fd])
		r = t->arr->cloexec[fd / 64] >> (fd % 64) & 1 ? FD_CLOEXEC : 0;
	spin_unlock(&t->lock);
	return r;
}

int fd_set_flags(struct fdtable *t, int fd, u32 fdflags)
{
	int r = -EBADF;

	spin_lock(&t->lock);
	if ((u32)fd < t->arr->max && t->arr->fd[fd]) {
		fd_set_slot(t, (u32)fd, t->arr->fd[fd], fdflags);
		r = 0;
	}
	spin_unlock(&t->lock);
	return r;
}

void fdtable_close_on_exec(struct fdtable *t)
{
	for (int fd = -1; (fd = fd_next_open(t, fd + 1)) >= 0;) {
		struct file *f = NULL;

		spin_lock(&t->lock);
		if (t->arr->cloexec[fd / 64] >> (fd % 64) & 1)
			f = fd_clear_slot(t, (u32)fd);
		spin_unlock(&t->lock);
		if (f) {
			vfs_file_closed(f);
			file_put(f);
		}
	}
}

struct fdtable *fdtable_copy(struct fdtable *t)
{
	struct fdtable *n = kzalloc(sizeof(*n));
	u32 max;

	if (!n)
		return NULL;
	n->refs = 1;
	for (;;) {
		max = READ_ONCE(t->arr)->max;
		n->arr = fdarray_alloc(max);
		if (!n->arr) {
			kfree(n, sizeof(*n));
			return NULL;
		}
		spin_lock(&t->lock);
		if (t->arr->max == max)
			break;
		spin_unlock(&t->lock);
		kfree(n->arr, fdarray_size(max));
	}
	memcpy(n->arr->fd, t->arr->fd, max * sizeof(*n->arr->fd));
	memcpy(n->arr->open, t->arr->open, max / 8);
	memcpy(n->arr->cloexec, t->arr->cloexec, max / 8);
	n->next = t->next;
	n->nr_open = t->nr_open;
	for (u32 fd = 0; fd < max; fd++)
		if (n->arr->fd[fd])
			file_get(n->arr->fd[fd]);
	spin_unlock(&t->lock);
	return n;
}
