/*
 * epoll.c - epoll(7).
 *
 * An epoll set holds items, one a (file, descriptor) pair, found through a hash. Each item has a waiter
 * (hook) on the wait queues that its file's poll function names. A hook that is called puts its item
 * on the ready list and wakes one sleeper. epoll_wait takes the ready list, asks each file what is ready
 * now, reports that, and puts level-triggered items back at the tail, so that all get their turn.
 *
 * An item belongs to the open file: the last file_put() takes it away (epoll_file_release), or EPOLL_CTL_DEL,
 * or the end of the set. It holds no reference to the file.
 *
 * Locks, outermost first:
 *   ep->mtx      which items there are; one scan of the ready list at a time. Sleeps. A set that watches a set
 *                takes the inner one's while it holds its own; there are no cycles (nest_lock).
 *   nest_lock    spin: edges between sets, walked to refuse cycles and chains of more than MAX_NESTS sets
 *   links_lock   spin: file->ep_links of all files (adding and removing only)
 *   wait queue of a file (hooks are called with it) -> ep->lock -> ep->wq or ep->poll_wq
 *   ep->lock     spin: the ready list, item->ready, item->event
 */
#include "libos/ipc/epoll.h"

#include <linux/capability.h>
#include <linux/eventpoll.h>
#include <linux/fcntl.h>

#include "libos/ipc/pipe.h"
#include "libos/ipc/pollbits.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/net/netif.h"
#include "libos/sched/wait.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

#define MAX_NESTS 4
#define MAX_VISITS 2000 /* of sets in one walk: more edges than that are refused too */
#define FIRST_BUCKETS 16u
#define MAX_EVENTS (0x7fffffff / (int)sizeof(struct epoll_event))
#define PRIVATE_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EXCLUSIVE_OK \
	(EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | \
	 EPOLLEXCLUSIVE)

struct epitem;

struct hook {
	struct waiter w;
	struct waitq *q;
	struct epitem *item;
	struct hook *next; /* of the item */
};

struct epitem {
	struct epitem *chain; /* in a bucket */
	struct list_head rdlink; /* in ep->ready or in a scan; when `ready` */
	bool ready;
	bool nomem; /* a hook could not be allocated */
	int fd;
	u32 events;
	u64 data;
	struct eventpoll *ep;
	struct file *file;
	struct list_head file_link; /* file->ep_links */
	struct list_head nest_link; /* watched set's `parents`, if it is a set */
	struct list_head child_link; /* watching set's `children`, if it watches a set */
	struct hook *hooks;
	struct hook hook; /* the first */
};

struct eventpoll {
	struct mutex mtx;
	spinlock_t lock;
	u32 refs; /* the file's, and those of epoll_file_release() calls */
	bool scanning; /* the ready list is in somebody's hands: it may be fuller than it looks */
	struct list_head ready;
	struct waitq wq; /* epoll_wait */
	struct waitq poll_wq; /* those who poll this set */
	struct epitem **buckets;
	u32 nr_buckets, nr_items;
	struct list_head parents, children; /* edges to other sets, under nest_lock */
};

static spinlock_t nest_lock, links_lock;
static const struct file_ops epoll_ops;

static inline bool is_epoll(struct file *f)
{
	return f->ops == &epoll_ops;
}

/* Items by (file, fd), under mtx. */

static u32 bucket_of(struct eventpoll *ep, struct file *f, int fd)
{
	return ((u32)fd + (u32)((u64)f >> 8)) & (ep->nr_buckets - 1);
}

static struct epitem *item_find(struct eventpoll *ep, struct file *f, int fd)
{
	struct epitem *i;

	if (!ep->nr_buckets)
		return NULL;
	for (i = ep->buckets[bucket_of(ep, f, fd)]; i; i = i->chain)
		if (i->file == f && i->fd == fd)
			return i;
	return NULL;
}

static int item_hash(struct eventpoll *ep, struct epitem *item)
{
	u32 b;

	if (ep->nr_items == ep->nr_buckets) {
		u32 old_nr = ep->nr_buckets, nr = old_nr ? 2 * old_nr : FIRST_BUCKETS;
		struct epitem **old = ep->buckets, **v = kzalloc(nr * sizeof(*v));

		if (!v && !old)
			return -ENOMEM;
		if (v) {
			ep->buckets = v;
			ep->nr_buckets = nr;
			for (u32 i = 0; i < old_nr; i++) {
				for (struct epitem *e = old[i], *next; e; e = next) {
					next = e->chain;
					b = bucket_of(ep, e->file, e->fd);
					e->chain = v[b];
					v[b] = e;
				}
			}
			if (old)
				kfree(old, old_nr * sizeof(*old));
		}
	}
	b = bucket_of(ep, item->file, item->fd);
	item->chain = ep->buckets[b];
	ep->buckets[b] = item;
	ep->nr_items++;
	return 0;
}

static void item_unhash(struct eventpoll *ep, struct epitem *item)
{
	struct epitem **p = &ep->buckets[bucket_of(ep, item->file, item->fd)];

	while (*p != item)
		p = &(*p)->chain;
	*p = item->chain;
	ep->nr_items--;
}

/* Becoming ready */

/* Under ep->lock. */
static void make_ready(struct epitem *item)
{
	if (!item->ready) {
		item->ready = true;
		list_add_tail(&item->rdlink, &item->ep->ready);
	}
}

static bool hook_called(struct waiter *w, u32 events)
{
	struct epitem *item = container_of(w, struct hook, w)->item;
	struct eventpoll *ep = item->ep;
	bool woke = false, nested = false;

	spin_lock(&ep->lock);
	/* A one-shot item that fired has no events but private bits until it is armed again. */
	if (item->events & ~PRIVATE_BITS && (!events || events & item->events)) {
		make_ready(item);
		woke = waitq_active(&ep->wq);
		nested = waitq_active(&ep->poll_wq);
	}
	spin_unlock(&ep->lock);
	if (woke)
		waitq_wake(&ep->wq, EPOLLIN, 1);
	if (nested)
		waitq_wake(&ep->poll_wq, POLLIN_BITS, 0);
	return woke;
}

struct hook_table {
	struct poll_table pt;
	struct epitem *item;
};

static void hook_queue(struct poll_table *pt, struct file *f, struct waitq *q)
{
	struct epitem *item = container_of(pt, struct hook_table, pt)->item;
	struct hook *h = item->hooks ? kmalloc(sizeof(*h)) : &item->hook;

	if (!h) {
		item->nomem = true;
		return;
	}
	h->w.ut = NULL;
	h->w.fn = hook_called;
	h->w.exclusive = item->events & EPOLLEXCLUSIVE;
	h->q = q;
	h->item = item;
	h->next = item->hooks;
	item->hooks = h;
	waitq_add_waiter(q, &h->w);
}

static u32 item_poll(struct epitem *item, struct poll_table *pt)
{
	return item->file->ops->poll(item->file, pt) & item->events;
}

/* Edges between sets, under nest_lock */

/* Longest chain of sets below ep; `avoid` there is a cycle. More than MAX_NESTS: too deep, or a cycle. */
static int depth_below(struct eventpoll *ep, struct eventpoll *avoid, int depth, int *visits)
{
	struct epitem *i;
	int deepest = 0;

	if (ep == avoid || depth > MAX_NESTS || ++*visits > MAX_VISITS)
		return MAX_NESTS + 1;
	list_for_each_entry(i, &ep->children, child_link) {
		int d = depth_below(i->file->priv, avoid, depth + 1, visits) + 1;

		deepest = max(deepest, d);
		if (deepest > MAX_NESTS)
			break;
	}
	return deepest;
}

static int depth_above(struct eventpoll *ep, int depth, int *visits)
{
	struct epitem *i;
	int highest = 0;

	if (depth > MAX_NESTS || ++*visits > MAX_VISITS)
		return MAX_NESTS + 1;
	list_for_each_entry(i, &ep->parents, nest_link) {
		int d = depth_above(i->ep, depth + 1, visits) + 1;

		highest = max(highest, d);
		if (highest > MAX_NESTS)
			break;
	}
	return highest;
}

/* item->ep will watch the set item->file. 0 or -ELOOP. */
static int nest_add(struct epitem *item)
{
	struct eventpoll *inner = item->file->priv;
	int visits = 0, r = 0;

	spin_lock(&nest_lock);
	if (depth_below(inner, item->ep, 0, &visits) + depth_above(item->ep, 0, &visits) + 1 > MAX_NESTS) {
		r = -ELOOP;
	} else {
		list_add_tail(&item->child_link, &item->ep->children);
		list_add_tail(&item->nest_link, &inner->parents);
	}
	spin_unlock(&nest_lock);
	return r;
}

static void nest_del(struct epitem *item)
{
	spin_lock(&nest_lock);
	list_del(&item->child_link);
	list_del(&item->nest_link);
	spin_unlock(&nest_lock);
}

/* Items coming and going, under mtx */

static void item_unhook(struct epitem *item)
{
	while (item->hooks) {
		struct hook *h = item->hooks;

		item->hooks = h->next;
		waitq_del(h->q, &h->w); /* when it returns, the hook is not being called */
		if (h != &item->hook)
			kfree(h, sizeof(*h));
	}
}

/* The last access to item->file is under links_lock: epoll_file_release() looks there before the file goes. */
static void item_remove(struct epitem *item)
{
	struct eventpoll *ep = item->ep;

	item_unhook(item);
	spin_lock(&ep->lock);
	if (item->ready)
		list_del(&item->rdlink);
	spin_unlock(&ep->lock);
	item_unhash(ep, item);
	if (is_epoll(item->file))
		nest_del(item);
	spin_lock(&links_lock);
	list_del(&item->file_link);
	spin_unlock(&links_lock);
	kfree(item, sizeof(*item));
}

static void wake_after_change(struct eventpoll *ep)
{
	waitq_wake(&ep->wq, EPOLLIN, 1);
	waitq_wake(&ep->poll_wq, POLLIN_BITS, 0);
}

static int item_add(struct eventpoll *ep, struct file *f, int fd, const struct epoll_event *ev)
{
	struct hook_table ht = { .pt.queue = hook_queue };
	struct epitem *item = kzalloc(sizeof(*item));
	u32 revents;
	int r;

	if (!item)
		return -ENOMEM;
	item->ep = ep;
	item->file = f;
	item->fd = fd;
	item->events = ev->events;
	item->data = ev->data;
	list_init(&item->rdlink);
	list_init(&item->nest_link);
	list_init(&item->child_link);
	r = item_hash(ep, item);
	if (!r && is_epoll(f)) {
		r = nest_add(item);
		if (r)
			item_unhash(ep, item);
	}
	if (r) {
		kfree(item, sizeof(*item));
		return r;
	}
	spin_lock(&links_lock);
	list_add_tail(&item->file_link, &f->ep_links);
	spin_unlock(&links_lock);

	ht.item = item;
	revents = item_poll(item, &ht.pt);
	if (item->nomem) {
		item_remove(item);
		return -ENOMEM;
	}
	if (revents) {
		spin_lock(&ep->lock);
		make_ready(item);
		spin_unlock(&ep->lock);
		wake_after_change(ep);
	}
	return 0;
}

static void item_modify(struct epitem *item, const struct epoll_event *ev)
{
	struct eventpoll *ep = item->ep;
	u32 revents;

	spin_lock(&ep->lock);
	item->events = ev->events;
	item->data = ev->data;
	spin_unlock(&ep->lock);
	/* The new events are visible to hooks before we ask: what comes after the question calls one. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	revents = item_poll(item, NULL);
	if (revents) {
		spin_lock(&ep->lock);
		make_ready(item);
		spin_unlock(&ep->lock);
		wake_after_change(ep);
	}
}

static void ep_put(struct eventpoll *ep)
{
	if (__atomic_sub_fetch(&ep->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (ep->buckets)
		kfree(ep->buckets, ep->nr_buckets * sizeof(*ep->buckets));
	kfree(ep, sizeof(*ep));
}

void epoll_file_release(struct file *f)
{
	for (;;) {
		struct eventpoll *ep = NULL;
		struct epitem *item = NULL;

		spin_lock(&links_lock);
		if (!list_empty(&f->ep_links)) {
			item = list_first(&f->ep_links, struct epitem, file_link);
			ep = item->ep;
			__atomic_fetch_add(&ep->refs, 1, __ATOMIC_RELAXED);
		}
		spin_unlock(&links_lock);
		if (!ep)
			return;
		mutex_lock(&ep->mtx);
		/* Nobody adds to a file without references: if this is still the first item, it is the same. */
		spin_lock(&links_lock);
		bool still = !list_empty(&f->ep_links) &&
			     list_first(&f->ep_links, struct epitem, file_link) == item;
		spin_unlock(&links_lock);
		if (still)
			item_remove(item);
		mutex_unlock(&ep->mtx);
		ep_put(ep);
	}
}

static void epoll_release(struct file *f)
{
	struct eventpoll *ep = f->priv;

	if (!ep)
		return;
	mutex_lock(&ep->mtx);
	for (u32 b = 0; b < ep->nr_buckets; b++)
		while (ep->buckets[b])
			item_remove(ep->buckets[b]);
	mutex_unlock(&ep->mtx);
	ep_put(ep);
}

/* Scanning the ready list */

/*
 * Asks the items that are ready now, in order, at most once each; emit(arg, item, events) takes those that
 * really are and returns whether the scan goes on; a negative value puts the item back. Under mtx.
 */
static void scan(struct eventpoll *ep, int (*emit)(void *arg, struct epitem *item, u32 events), void *arg)
{
	struct list_head todo;
	int go = 1;

	list_init(&todo);
	spin_lock(&ep->lock);
	if (!list_empty(&ep->ready)) {
		todo = ep->ready;
		todo.next->prev = todo.prev->next = &todo;
		list_init(&ep->ready);
	}
	WRITE_ONCE(ep->scanning, true);
	while (go > 0 && !list_empty(&todo)) {
		struct epitem *item = list_first(&todo, struct epitem, rdlink);
		u32 events;

		list_del(&item->rdlink);
		item->ready = false; /* what happens from here on puts it on the ready list again */
		spin_unlock(&ep->lock);
		events = item_poll(item, NULL);
		if (events)
			go = emit(arg, item, events);
		spin_lock(&ep->lock);
		if (!events)
			continue;
		if (go < 0) {
			if (!item->ready) {
				item->ready = true;
				list_add(&item->rdlink, &todo);
			}
		} else if (item->events & EPOLLONESHOT) {
			item->events &= PRIVATE_BITS;
		} else if (!(item->events & EPOLLET)) {
			make_ready(item);
		}
	}
	/* What was not asked comes first next time. */
	if (!list_empty(&todo)) {
		struct list_head *first = todo.next, *last = todo.prev;

		first->prev = &ep->ready;
		last->next = ep->ready.next;
		ep->ready.next->prev = last;
		ep->ready.next = first;
	}
	WRITE_ONCE(ep->scanning, false);
	spin_unlock(&ep->lock);
}

/* Poll of an epoll set: is any item ready? Level semantics, so nothing is used up. */
static int emit_stop(void *arg, struct epitem *item, u32 events)
{
	*(bool *)arg = true;
	return -1;
}

static u32 epoll_poll(struct file *f, struct poll_table *pt)
{
	struct eventpoll *ep = f->priv;
	bool any = false;

	poll_wait(pt, f, &ep->poll_wq);
	if (list_empty(&ep->ready) && !READ_ONCE(ep->scanning))
		return 0;
	mutex_lock(&ep->mtx);
	scan(ep, emit_stop, &any);
	mutex_unlock(&ep->mtx);
	return any ? POLLIN_BITS : 0;
}

static const struct file_ops epoll_ops = {
	.name = "eventpoll",
	.poll = epoll_poll,
	.lseek_zero = true,
	.getattr = anon_getattr,
	.release = epoll_release,
};

struct out_events {
	u64 uaddr;
	int n, max;
	bool fault;
};

static int emit_event(void *arg, struct epitem *item, u32 events)
{
	struct out_events *o = arg;
	struct epoll_event ev = { events, item->data };

	if (copy_to_user((void *)(o->uaddr + o->n * sizeof(ev)), &ev, sizeof(ev))) {
		o->fault = true;
		return -1;
	}
	return ++o->n < o->max;
}

static int send_events(struct eventpoll *ep, u64 uevents, int max)
{
	struct out_events o = { uevents, 0, max, false };

	mutex_lock(&ep->mtx);
	scan(ep, emit_event, &o);
	mutex_unlock(&ep->mtx);
	/* Others may have gone to sleep while the list was in our hands. */
	if (!list_empty(&ep->ready))
		waitq_wake(&ep->wq, EPOLLIN, 1);
	return o.n ? o.n : o.fault ? -EFAULT : 0;
}

static inline bool maybe_ready(struct eventpoll *ep)
{
	return READ_ONCE(ep->ready.next) != &ep->ready || READ_ONCE(ep->scanning);
}

static long do_epoll_wait(int epfd, u64 uevents, int max, u64 deadline)
{
	struct eventpoll *ep;
	struct file *f;
	long r;

	if (max <= 0 || max > MAX_EVENTS)
		return -EINVAL;
	if (!access_ok(uevents, max * sizeof(struct epoll_event)))
		return -EFAULT;
	f = fd_get(epfd);
	if (!f)
		return -EBADF;
	r = -EINVAL;
	if (!is_epoll(f))
		goto out;
	ep = f->priv;
	/* A program that always finds something ready, or never waits, would not see packets otherwise. */
	net_poll_due(this_kthread());
	for (;;) {
		r = maybe_ready(ep) ? send_events(ep, uevents, max) : 0;
		if (r || !deadline)
			break;
		r = wait_event_exclusive(&ep->wq, maybe_ready(ep), deadline);
		if (r == -ETIMEDOUT)
			deadline = 0; /* one more look */
		else if (r) {
			r = -EINTR;
			break;
		}
	}
out:
	file_put(f);
	return r;
}

static u64 deadline_from_ms(int ms)
{
	return ms < 0 ? NEVER : !ms ? 0 : clock_monotonic_ns() + ms * NSEC_PER_MSEC;
}

long sys_epoll_wait(int epfd, u64 uevents, int max, int timeout_ms)
{
	return do_epoll_wait(epfd, uevents, max, deadline_from_ms(timeout_ms));
}

static long do_epoll_pwait(int epfd, u64 uevents, int max, u64 deadline, u64 umask, size_t masksize)
{
	long r;

	if (!umask)
		return do_epoll_wait(epfd, uevents, max, deadline);
	r = signal_set_mask_for_call(umask, masksize);
	if (r)
		return r;
	r = do_epoll_wait(epfd, uevents, max, deadline);
	signal_restore_mask_if(r == -EINTR);
	return r;
}

long sys_epoll_pwait(int epfd, u64 uevents, int max, int timeout_ms, u64 umask, size_t masksize)
{
	return do_epoll_pwait(epfd, uevents, max, deadline_from_ms(timeout_ms), umask, masksize);
}

long sys_epoll_pwait2(int epfd, u64 uevents, int max, u64 utimeout, u64 umask, size_t masksize)
{
	u64 deadline;
	long r = timeout_from_timespec(utimeout, &deadline);

	return r ? r : do_epoll_pwait(epfd, uevents, max, deadline, umask, masksize);
}

long sys_epoll_create1(int flags)
{
	struct eventpoll *ep;
	int fd;

	if (flags & ~EPOLL_CLOEXEC)
		return -EINVAL;
	ep = kzalloc(sizeof(*ep));
	if (!ep)
		return -ENOMEM;
	mutex_init(&ep->mtx);
	ep->refs = 1;
	list_init(&ep->ready);
	waitq_init(&ep->wq);
	waitq_init(&ep->poll_wq);
	list_init(&ep->parents);
	list_init(&ep->children);
	fd = anon_install(&epoll_ops, ep, O_RDWR, flags & EPOLL_CLOEXEC);
	if (fd < 0)
		kfree(ep, sizeof(*ep));
	return fd;
}

long sys_epoll_create(int size)
{
	return size <= 0 ? -EINVAL : sys_epoll_create1(0);
}

/* Both files are open, and ev is filled in unless op is DEL. */
static long ctl(struct file *epf, int op, int fd, struct file *f, struct epoll_event *ev)
{
	struct eventpoll *ep = epf->priv;
	struct epitem *item;
	long r;

	if (op != EPOLL_CTL_DEL) {
		if (ev->events & EPOLLEXCLUSIVE &&
		    (op == EPOLL_CTL_MOD || is_epoll(f) || ev->events & ~EXCLUSIVE_OK))
			return -EINVAL;
		ev->events &= ~EPOLLWAKEUP; /* the host's power management is not ours */
		ev->events |= EPOLLERR | EPOLLHUP;
	}
	mutex_lock(&ep->mtx);
	item = item_find(ep, f, fd);
	switch (op) {
	case EPOLL_CTL_ADD:
		r = item ? -EEXIST : item_add(ep, f, fd, ev);
		break;
	case EPOLL_CTL_DEL:
		r = item ? 0 : -ENOENT;
		if (item)
			item_remove(item);
		break;
	case EPOLL_CTL_MOD:
		r = !item ? -ENOENT : item->events & EPOLLEXCLUSIVE ? -EINVAL : 0;
		if (!r)
			item_modify(item, ev);
		break;
	default:
		r = -EINVAL;
	}
	mutex_unlock(&ep->mtx);
	return r;
}

long sys_epoll_ctl(int epfd, int op, int fd, u64 uevent)
{
	struct epoll_event ev;
	struct file *epf, *f;
	long r;

	if (op != EPOLL_CTL_DEL && copy_from_user(&ev, (void *)uevent, sizeof(ev)))
		return -EFAULT;
	epf = fd_get(epfd);
	if (!epf)
		return -EBADF;
	f = fd_get(fd);
	if (!f)
		r = -EBADF;
	else if (!f->ops->poll)
		r = -EPERM;
	else if (epf == f || !is_epoll(epf))
		r = -EINVAL;
	else
		r = ctl(epf, op, fd, f, &ev);
	if (f)
		file_put(f);
	file_put(epf);
	return r;
}
