/*
 * locks.c - advisory locks: flock(2), and the record locks of fcntl(2), of processes and of open
 * files.
 *
 * Locks hang off their inode. The record locks of one owner (a process, or an open file for
 * F_OFD_*) do not overlap and stand in ascending order, together. All waiters of an inode share a
 * wait queue and try again when any lock goes.
 *
 * Lock order: lock_context.lock; blocked_lock is a leaf below it.
 */
#include "libos/fs/locks.h"

#include <linux/fcntl.h>
#include <linux/fs.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/vfs.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define OFFSET_MAX INT64_MAX
#define MAX_CHAIN 16 /* processes that wait for one another, before we believe in a cycle */

#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8

struct record {
	struct list_head link;
	const void *owner;
	bool ofd;
	s16 type; /* F_RDLCK, F_WRLCK */
	s32 pid;
	s64 start, end; /* inclusive */
};

struct file_lock {
	struct list_head link;
	struct file *file;
	s16 type;
};

struct lock_context {
	spinlock_t lock;
	struct list_head records, flocks;
	struct waitq wait;
};

/* Processes that sleep in F_SETLKW, for the search for cycles. */
struct blocked {
	struct list_head link;
	const void *owner, *by;
};
static spinlock_t blocked_lock = SPINLOCK_INIT;
static struct list_head blocked_list = LIST_HEAD_INIT(blocked_list);

static struct lock_context *context_of(struct inode *i)
{
	struct lock_context *c = __atomic_load_n(&i->locks, __ATOMIC_ACQUIRE), *expected = NULL;

	if (c)
		return c;
	c = kzalloc(sizeof(*c));
	if (!c)
		return NULL;
	list_init(&c->records);
	list_init(&c->flocks);
	waitq_init(&c->wait);
	if (__atomic_compare_exchange_n(&i->locks, &expected, c, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return c;
	kfree(c, sizeof(*c));
	return expected;
}

void locks_free(struct inode *i)
{
	if (i->locks)
		kfree(i->locks, sizeof(*i->locks));
	i->locks = NULL;
}

static void wake(struct lock_context *c)
{
	if (waitq_active(&c->wait))
		waitq_wake_all(&c->wait);
}

/* Record locks */

static struct record *find_conflict(struct lock_context *c, const struct record *want)
{
	struct record *r;

	list_for_each_entry (r, &c->records, link)
		if (r->owner != want->owner && r->start <= want->end && want->start <= r->end &&
		    (r->type == F_WRLCK || want->type == F_WRLCK))
			return r;
	return NULL;
}

/*
 * Makes [want->start, want->end] of want's owner be want->type (F_UNLCK: nothing). spare: two
 * records, of which what is used is set to NULL. lock held; conflicts were looked for.
 */
static void apply(struct lock_context *c, const struct record *want, struct record *spare[2],
		  struct list_head *freed)
{
	struct record *r, *next, *add = NULL;
	struct list_head *at = &c->records; /* the new record goes before this */
	s64 start = want->start, end = want->end;

	list_for_each_entry_safe (r, next, &c->records, link) {
		if (r->owner != want->owner)
			continue;
		at = r->link.next; /* behind the last of this owner, unless a later one is found */
		if (r->type == want->type) {
			/* Neighbours of the same type melt together. */
			if ((start > 0 && r->end < start - 1) ||
			    (end < OFFSET_MAX && r->start > end + 1)) {
				if (r->start > end) {
					at = &r->link;
					break;
				}
				continue;
			}
			start = min(start, r->start);
			end = max(end, r->end);
			list_move_tail(&r->link, freed);
			continue;
		}
		if (r->end < start)
			continue;
		if (r->start > end) {
			at = &r->link;
			break;
		}
		if (r->start < start && r->end > end) {
			/* Split in two. */
			struct record *tail = spare[1];

			spare[1] = NULL;
			*tail = *r;
			tail->start = end + 1;
			list_add(&tail->link, &r->link);
			r->end = start - 1;
			at = &tail->link;
			break;
		}
		if (r->start < start) {
			r->end = start - 1;
		} else if (r->end > end) {
			r->start = end + 1;
			at = &r->link;
			break;
		} else {
			list_move_tail(&r->link, freed);
		}
	}
	if (want->type != F_UNLCK) {
		add = spare[0];
		spare[0] = NULL;
		*add = *want;
		add->start = start;
		add->end = end;
		list_add_tail(&add->link, at);
	}
}

static void free_records(struct list_head *freed)
{
	while (!list_empty(freed)) {
		struct record *r = list_first(freed, struct record, link);

		list_del(&r->link);
		kfree(r, sizeof(*r));
	}
}

/* Tries once: 0, -EAGAIN, or -ENOMEM; *by: the owner in the way. */
static int try_record(struct lock_context *c, const struct record *want, const void **by)
{
	struct record *spare[2] = {kmalloc(sizeof(struct record)), kmalloc(sizeof(struct record))};
	struct list_head freed = LIST_HEAD_INIT(freed);
	struct record *r;
	int err = 0;

	if (!spare[0] || !spare[1]) {
		err = -ENOMEM;
		goto out;
	}
	spin_lock(&c->lock);
	r = want->type == F_UNLCK ? NULL : find_conflict(c, want);
	if (r) {
		*by = r->ofd ? NULL : r->owner;
		err = -EAGAIN;
	} else {
		apply(c, want, spare, &freed);
	}
	spin_unlock(&c->lock);
	if (!err)
		wake(c); /* a lock may have shrunk, or become a shared one */
out:
	free_records(&freed);
	for (int i = 0; i < 2; i++)
		if (spare[i])
			kfree(spare[i], sizeof(*spare[i]));
	return err;
}

/* owner is about to wait for `by`: does that one wait, in the end, for owner? */
static bool would_deadlock(const void *owner, const void *by)
{
	struct blocked *b;
	bool found = false;

	spin_lock(&blocked_lock);
	for (int step = 0; by && step < MAX_CHAIN && !found; step++) {
		const void *next = NULL;

		list_for_each_entry (b, &blocked_list, link)
			if (b->owner == by) {
				next = b->by;
				break;
			}
		by = next;
		found = by == owner;
	}
	spin_unlock(&blocked_lock);
	return found;
}

static bool attempt(struct lock_context *c, struct record *want, struct blocked *b, int *err)
{
	const void *by = NULL;

	*err = try_record(c, want, &by);
	if (*err == -EAGAIN && !want->ofd) {
		spin_lock(&blocked_lock);
		b->by = by;
		spin_unlock(&blocked_lock);
		if (would_deadlock(want->owner, by))
			*err = -EDEADLK;
	}
	return *err != -EAGAIN;
}

static long set_record(struct inode *i, struct record *want, bool wait)
{
	struct lock_context *c = context_of(i);
	struct blocked b = {.owner = want->owner};
	const void *by;
	int err;
	long r;

	if (!c)
		return -ENOLCK;
	err = try_record(c, want, &by);
	if (err != -EAGAIN || !wait)
		return err == -ENOMEM ? -ENOLCK : err;
	spin_lock(&blocked_lock);
	list_add(&b.link, &blocked_list);
	spin_unlock(&blocked_lock);
	r = wait_event(&c->wait, attempt(c, want, &b, &err), NEVER);
	spin_lock(&blocked_lock);
	list_del(&b.link);
	spin_unlock(&blocked_lock);
	return r ? r : err == -ENOMEM ? -ENOLCK : err;
}

struct flock_k {
	s16 type, whence;
	u32 pad0;
	s64 start, len;
	s32 pid;
	u32 pad1;
};
_Static_assert(sizeof(struct flock_k) == 32, "struct flock");

static int to_record(struct file *f, const struct flock_k *l, struct record *r)
{
	s64 start = l->start, end;

	switch (l->whence) {
	case SEEK_SET:
		break;
	case SEEK_CUR:
		if (__builtin_add_overflow(start, (s64)f->pos, &start))
			return -EOVERFLOW;
		break;
	case SEEK_END:
		if (__builtin_add_overflow(start, (s64)f->inode->size, &start))
			return -EOVERFLOW;
		break;
	default:
		return -EINVAL;
	}
	if (start < 0)
		return -EINVAL;
	if (l->len > 0) {
		if (__builtin_add_overflow(start, l->len - 1, &end))
			return -EOVERFLOW;
	} else if (l->len < 0) {
		if (start + l->len < 0)
			return -EINVAL;
		end = start - 1;
		start += l->len;
	} else {
		end = OFFSET_MAX;
	}
	r->start = start;
	r->end = end;
	r->type = l->type;
	return l->type == F_RDLCK || l->type == F_WRLCK || l->type == F_UNLCK ? 0 : -EINVAL;
}

static long get_record(struct inode *i, const struct record *want, struct flock_k *l)
{
	struct lock_context *c = context_of(i);
	struct record *r;

	if (!c)
		return -ENOLCK;
	spin_lock(&c->lock);
	r = find_conflict(c, want);
	if (!r) {
		l->type = F_UNLCK;
	} else {
		l->type = r->type;
		l->whence = SEEK_SET;
		l->start = r->start;
		l->len = r->end == OFFSET_MAX ? 0 : r->end - r->start + 1;
		l->pid = r->ofd ? -1 : r->pid;
	}
	spin_unlock(&c->lock);
	return 0;
}

long fcntl_lock(struct file *f, int fd, unsigned cmd, u64 arg)
{
	bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
	struct record want = {.ofd = ofd,
			      .owner = ofd ? (void *)f : current_proc(),
			      .pid = ofd ? -1 : current_proc()->pid};
	struct flock_k l;
	long r;

	if (copy_from_user(&l, (void *)arg, sizeof(l)))
		return -EFAULT;
	if (ofd && l.pid)
		return -EINVAL;
	if (!f->inode)
		return -EINVAL;
	r = to_record(f, &l, &want);
	if (r)
		return r;
	if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
		if (l.type == F_UNLCK)
			return -EINVAL;
		r = get_record(f->inode, &want, &l);
		return r ? r : copy_to_user((void *)arg, &l, sizeof(l));
	}
	if ((l.type == F_RDLCK && !FMODE_CAN_READ(f)) || (l.type == F_WRLCK && !FMODE_CAN_WRITE(f)))
		return -EBADF;
	r = set_record(f->inode, &want, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
	if (!r && !ofd && l.type != F_UNLCK) {
		/* A close of this descriptor in another thread may have missed the new lock. */
		struct file *now = fd_get_any(current_proc()->fdt, fd);

		if (now != f)
			locks_closed(f, current_proc());
		if (now)
			file_put(now);
	}
	return r;
}

static void drop_records(struct lock_context *c, const void *owner)
{
	struct list_head freed = LIST_HEAD_INIT(freed);
	struct record *r, *next;

	spin_lock(&c->lock);
	list_for_each_entry_safe (r, next, &c->records, link)
		if (r->owner == owner)
			list_move_tail(&r->link, &freed);
	spin_unlock(&c->lock);
	if (!list_empty(&freed))
		wake(c);
	free_records(&freed);
}

void locks_closed(struct file *f, struct proc *p)
{
	drop_records(f->inode->locks, p);
}

/* flock */

/* Takes away f's lock, unless it is of type `keep` already. True if it is. */
static bool drop_flock(struct lock_context *c, struct file *f, int keep)
{
	struct file_lock *l, *gone = NULL;
	bool have = false;

	spin_lock(&c->lock);
	list_for_each_entry (l, &c->flocks, link)
		if (l->file == f) {
			have = l->type == keep;
			if (!have) {
				gone = l;
				list_del(&l->link);
			}
			break;
		}
	spin_unlock(&c->lock);
	if (gone) {
		kfree(gone, sizeof(*gone));
		wake(c);
	}
	return have;
}

static bool try_flock(struct lock_context *c, struct file_lock *want)
{
	struct file_lock *l;
	bool ok = true;

	spin_lock(&c->lock);
	list_for_each_entry (l, &c->flocks, link)
		if (l->file != want->file && (l->type == LOCK_EX || want->type == LOCK_EX)) {
			ok = false;
			break;
		}
	if (ok)
		list_add_tail(&want->link, &c->flocks);
	spin_unlock(&c->lock);
	return ok;
}

void locks_released(struct file *f)
{
	drop_records(f->inode->locks, f);
	drop_flock(f->inode->locks, f, 0);
}

long sys_flock(int fd, u32 op)
{
	struct file *f;
	struct lock_context *c;
	struct file_lock *l;
	int type = (int)op & ~LOCK_NB;
	long r = 0;

	if (type != LOCK_SH && type != LOCK_EX && type != LOCK_UN)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (!f->inode) {
		r = -EINVAL;
		goto out;
	}
	c = context_of(f->inode);
	if (!c) {
		r = -ENOLCK;
		goto out;
	}
	/* flock(2): a conversion first removes the lock, and is not atomic. */
	if (drop_flock(c, f, type) || type == LOCK_UN)
		goto out;
	l = kmalloc(sizeof(*l));
	if (!l) {
		r = -ENOLCK;
		goto out;
	}
	l->file = f;
	l->type = (s16)type;
	if (!try_flock(c, l))
		r = op & LOCK_NB ? -EAGAIN : wait_event(&c->wait, try_flock(c, l), NEVER);
	if (r)
		kfree(l, sizeof(*l));
out:
	file_put(f);
	return r;
}
