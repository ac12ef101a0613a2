/*
 * dcache.c - the name space lock, the dentry cache, and the life of dentries and inodes.
 *
 * A hashed dentry whose reference count is zero stays in the cache; one that is not hashed is freed
 * with its last reference. The count may go from zero to one only under the lock (shared will do),
 * and a dentry is freed only under the exclusive lock; so a walker under the shared lock needs no
 * references. Pinned dentries (names that the image does not have) hold a reference to themselves.
 *
 * The cache is bounded: beyond DCACHE_MAX unpinned dentries the ones not used lately go (clock
 * algorithm).
 */
#include <linux/stat.h>

#include "libos/fs/locks.h"
#include "libos/fs/vfs.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/platform/hostcall.h"

#define DCACHE_BUCKETS 2048u
#define DCACHE_MAX 16384u

/* Reader-writer lock: readers, and two bits for the writers. */
#define NS_WRITER 0x80000000u
#define NS_WAITING 0x40000000u
static u32 ns_word;

static struct dentry *buckets[DCACHE_BUCKETS];
static struct list_head lru = LIST_HEAD_INIT(lru);
static u32 lru_len;
static struct inode *dead;	  /* without references, to be freed after the lock is dropped */
static u64 last_ino = 1ull << 32; /* above those of the image */

/* A waiter that has spun for long lets go of the core: the host may have descheduled the holder. */
static void ns_relax(u32 *spins)
{
	u32 word = 0;

	if (++*spins % 20000)
		cpu_relax();
	else
		host_futex_wait(&word, 0, host_clock_ns(1) + 50000, false);
}

void ns_read_lock(void)
{
	u32 v = __atomic_load_n(&ns_word, __ATOMIC_RELAXED), spins = 0;

	for (;;) {
		if (likely(!(v & (NS_WRITER | NS_WAITING)))) {
			if (__atomic_compare_exchange_n(&ns_word, &v, v + 1, true, __ATOMIC_ACQUIRE,
							__ATOMIC_RELAXED))
				return;
			continue;
		}
		ns_relax(&spins);
		v = __atomic_load_n(&ns_word, __ATOMIC_RELAXED);
	}
}

void ns_read_unlock(void)
{
	__atomic_fetch_sub(&ns_word, 1, __ATOMIC_RELEASE);
}

void ns_write_lock(void)
{
	u32 v = __atomic_load_n(&ns_word, __ATOMIC_RELAXED), spins = 0;

	for (;;) {
		if (!(v & ~NS_WAITING)) {
			if (__atomic_compare_exchange_n(&ns_word, &v, NS_WRITER, true,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				return;
			continue;
		}
		if (!(v & NS_WAITING))
			__atomic_fetch_or(&ns_word, NS_WAITING, __ATOMIC_RELAXED);
		ns_relax(&spins);
		v = __atomic_load_n(&ns_word, __ATOMIC_RELAXED);
	}
}

void ns_write_unlock(void)
{
	struct inode *i = dead, *next;

	dead = NULL;
	__atomic_fetch_and(&ns_word, ~NS_WRITER, __ATOMIC_RELEASE);
	for (; unlikely(i); i = next) {
		next = i->dead_next;
		locks_free(i);
		if (i->ops->free)
			i->ops->free(i);
		kfree(i, sizeof(*i));
	}
}

/* Inodes */

u64 ino_next(void)
{
	return __atomic_add_fetch(&last_ino, 1, __ATOMIC_RELAXED);
}

struct inode *inode_alloc(struct super *sb, const struct inode_ops *ops, u32 mode)
{
	struct inode *i = kzalloc(sizeof(*i));

	if (!i)
		return NULL;
	i->ops = ops;
	i->sb = sb;
	i->refs = 1;
	i->mode = mode;
	i->nlink = 1;
	mutex_init(&i->mutex);
	if (S_ISDIR(mode))
		list_init(&i->dir.upper);
	return i;
}

/* memfs.c: the inode of an image file leaves the table by which it is found. */
void memfs_forget(struct inode *i);

void iput(struct inode *i)
{
	if (--i->refs)
		return;
	if (i->lower)
		memfs_forget(i);
	i->dead_next = dead;
	dead = i;
}

/* Dentries */

u32 dentry_name_hash(const struct dentry *parent, const char *name, u32 len)
{
	u64 h = (u64)parent * 0x9e3779b97f4a7c15ull;

	for (u32 i = 0; i < len; i++)
		h = (h ^ (u8)name[i]) * 0x100000001b3ull;
	return (u32)(h ^ h >> 32);
}

struct dentry *dcache_find(const struct dentry *parent, const char *name, u32 len)
{
	u32 hash = dentry_name_hash(parent, name, len);
	struct dentry *d;

	for (d = buckets[hash % DCACHE_BUCKETS]; d; d = d->hash_next)
		if (d->hash == hash && d->parent == parent && d->len == len &&
		    !memcmp(d->name, name, len)) {
			if (!(d->flags & DENTRY_REFERENCED))
				__atomic_fetch_or(&d->flags, DENTRY_REFERENCED, __ATOMIC_RELAXED);
			return d;
		}
	return NULL;
}

static int set_name(struct dentry *d, const char *name, u32 len)
{
	char *p = d->short_name, *old = d->name;
	u32 old_len = d->len;

	if (len >= sizeof(d->short_name)) {
		p = kmalloc(len + 1);
		if (!p)
			return -ENOMEM;
	}
	if (old && old != d->short_name)
		kfree(old, old_len + 1);
	memcpy(p, name, len);
	p[len] = 0;
	d->name = p;
	d->len = (u16)len;
	return 0;
}

static void dentry_free(struct dentry *d)
{
	if (d->inode)
		iput(d->inode);
	if (d->name != d->short_name)
		kfree(d->name, d->len + 1);
	kfree(d, sizeof(*d));
}

void dcache_shrink(void)
{
	for (u32 scanned = 0; lru_len >= DCACHE_MAX && scanned < 64; scanned++) {
		struct dentry *d = list_first(&lru, struct dentry, lru);

		list_move_tail(&d->lru, &lru);
		if (__atomic_load_n(&d->refs, __ATOMIC_ACQUIRE))
			continue;
		if (d->flags & DENTRY_REFERENCED) {
			d->flags &= (u16)~DENTRY_REFERENCED;
			continue;
		}
		dget(d);
		dentry_unhash(d);
		dput_locked(d);
	}
}

struct dentry *dentry_alloc(struct super *sb, struct dentry *parent, const char *name, u32 len,
			    struct inode *inode)
{
	struct dentry *d = kzalloc(sizeof(*d));

	if (!d)
		return NULL;
	if (set_name(d, name, len)) {
		kfree(d, sizeof(*d));
		return NULL;
	}
	d->sb = sb;
	d->refs = 1;
	d->inode = inode;
	d->parent = parent ? dget(parent) : d;
	list_init(&d->lru);
	list_init(&d->upper_link);
	return d;
}

void dentry_hash(struct dentry *d, bool pinned)
{
	struct dentry **b;

	d->hash = dentry_name_hash(d->parent, d->name, d->len);
	b = &buckets[d->hash % DCACHE_BUCKETS];
	d->hash_next = *b;
	*b = d;
	d->flags |= DENTRY_HASHED;
	if (pinned) {
		d->flags |= DENTRY_PINNED;
		dget(d);
	} else {
		list_add_tail(&d->lru, &lru);
		lru_len++;
	}
}

void dentry_unhash(struct dentry *d)
{
	struct dentry **p = &buckets[d->hash % DCACHE_BUCKETS];

	if (!(d->flags & DENTRY_HASHED))
		return;
	while (*p != d)
		p = &(*p)->hash_next;
	*p = d->hash_next;
	d->hash_next = NULL;
	d->flags &= (u16)~DENTRY_HASHED;
	if (d->flags & DENTRY_PINNED) {
		d->flags &= (u16)~DENTRY_PINNED;
		dput_locked(d);
	} else {
		list_del(&d->lru);
		lru_len--;
	}
}

int dentry_move(struct dentry *d, struct dentry *parent, const char *name, u32 len)
{
	struct dentry *old = d->parent;
	int err = set_name(d, name, len);

	if (err)
		return err;
	d->parent = dget(parent);
	dput_locked(old);
	return 0;
}

void dput_locked(struct dentry *d)
{
	while (!__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) && !(d->flags & DENTRY_HASHED)) {
		struct dentry *parent = d->parent;

		dentry_free(d);
		if (parent == d)
			break;
		d = parent;
	}
}

void dput(struct dentry *d)
{
	u32 refs;

	if (!d)
		return;
	refs = __atomic_load_n(&d->refs, __ATOMIC_RELAXED);
	while (refs > 1)
		if (__atomic_compare_exchange_n(&d->refs, &refs, refs - 1, true, __ATOMIC_RELEASE,
						__ATOMIC_RELAXED))
			return;
	/* Probably the last one. In the cache it stays; otherwise it goes, under the exclusive
	 * lock. */
	ns_read_lock();
	if (d->flags & DENTRY_HASHED) {
		__atomic_fetch_sub(&d->refs, 1, __ATOMIC_RELEASE);
		ns_read_unlock();
		return;
	}
	ns_read_unlock();
	ns_write_lock();
	dput_locked(d);
	ns_write_unlock();
}

/* Paths */

bool dentry_deleted(const struct dentry *d)
{
	return d != d->sb->root && !(d->flags & (DENTRY_HASHED | DENTRY_UNCACHED));
}

static char *prepend(char *p, const char *buf, const char *s, size_t len)
{
	if (!p || (size_t)(p - buf) < len)
		return NULL;
	return memcpy(p - len, s, len);
}

char *dentry_path(struct dentry *d, struct dentry *root, char *buf, size_t size)
{
	char *p = buf + size - 1, *end = p;

	*p = 0;
	ns_read_lock();
	if (dentry_deleted(d))
		p = prepend(p, buf, " (deleted)", 10);
	end = p;
	while (p && d != root) {
		if (d == d->sb->root) {
			if (!d->sb->mountpoint) {
				if (d != root_super->root || root)
					break;
				goto done; /* no root given: the top */
			}
			d = d->sb->mountpoint;
			continue;
		}
		if (d->parent == d)
			break;
		p = prepend(p, buf, d->name, d->len);
		p = prepend(p, buf, "/", 1);
		d = d->parent;
	}
	if (p && d != root && d->parent == d && d != d->sb->root) {
		/* A file that never had a directory: "/memfd:name". */
		p = prepend(p, buf, d->name, d->len);
		p = prepend(p, buf, "/", 1);
	} else if (p && d != root) {
		if (p == end)
			p = prepend(p, buf, "/", 1);
		p = prepend(p, buf, "(unreachable)", 13);
	}
done:
	if (p && p == end)
		p = prepend(p, buf, "/", 1);
	ns_read_unlock();
	return p;
}
