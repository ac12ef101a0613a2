/*
 * unix_gc.c - frees sockets that only messages refer to, in queues that nobody can read any more.
 *
 * A descriptor sent over a socket and then closed lives on in the queue. If that queue belongs to a socket
 * that itself is only referred to from such queues, nobody can ever receive it. To find those:
 *
 *   1. Candidates are the sockets whose file has no other references than messages (refs == inflight).
 *   2. From each candidate, take off what the queues of candidates refer to. What is left above zero is
 *      referred to from a queue that somebody can read.
 *   3. From those, and on through their queues, everything is alive again. The rest is garbage: its
 *      queues are emptied, which drops the last references.
 *
 * It is looked for, as on Linux, whenever a socket of the family ends, and by a sender when very many are in flight.
 *
 * All of it under unix_gc_lock, which sending and receiving of descriptors take too: while it is held no
 * reference can enter or leave a queue, so a candidate stays one. A message between two queues is not found in
 * any, which makes what it carries look alive.
 */
#include <asm/resource.h>
#include <linux/capability.h>

#include "libos/fs/vfs.h"
#include "libos/net/unix.h"
#include "libos/proc/proc.h"

#define INFLIGHT_TRIGGER 16000u /* so many in flight and a sender looks for garbage first */

enum gc_state { GC_NONE, GC_CANDIDATE, GC_ALIVE };

spinlock_t unix_gc_lock;
static struct list_head inflight_sockets = LIST_HEAD_INIT(inflight_sockets);
static u64 nr_inflight; /* files of any kind in messages */
static u32 nr_inflight_sockets;

static struct unix_sock *unix_of_file(struct file *f)
{
	struct socket *s = file_socket(f);

	return s && s->family == AF_UNIX ? unix_of(s) : NULL;
}

int unix_inflight_add(struct unix_scm *scm)
{
	u64 limit = current_proc()->rlim[RLIMIT_NOFILE].cur;
	int err = 0;

	if (READ_ONCE(nr_inflight) >= INFLIGHT_TRIGGER)
		unix_gc();
	spin_lock(&unix_gc_lock);
	if (nr_inflight + scm->nr_files > limit && !fs_capable(CAP_SYS_RESOURCE) && !fs_capable(CAP_SYS_ADMIN))
		err = -ETOOMANYREFS;
	for (u32 i = 0; !err && i < scm->nr_files; i++) {
		struct unix_sock *u = unix_of_file(scm->files[i]);

		nr_inflight++;
		if (u && !u->inflight++) {
			list_add_tail(&u->gc_link, &inflight_sockets);
			nr_inflight_sockets++;
		}
	}
	spin_unlock(&unix_gc_lock);
	return err;
}

void unix_inflight_del(struct unix_scm *scm)
{
	spin_lock(&unix_gc_lock);
	for (u32 i = 0; i < scm->nr_files; i++) {
		struct unix_sock *u = unix_of_file(scm->files[i]);

		nr_inflight--;
		if (u && !--u->inflight) {
			list_del(&u->gc_link);
			nr_inflight_sockets--;
		}
	}
	spin_unlock(&unix_gc_lock);
}

typedef void (*child_fn)(struct unix_sock *child, struct list_head *work);

static void scan_queue(struct unix_sock *u, child_fn fn, struct list_head *work)
{
	struct unix_msg *m;

	spin_lock(&u->lock);
	list_for_each_entry(m, &u->queue, link)
		for (u32 i = 0; i < m->scm.nr_files; i++) {
			struct unix_sock *child = unix_of_file(m->scm.files[i]);

			if (child && child->gc_state != GC_NONE)
				fn(child, work);
		}
	spin_unlock(&u->lock);
}

/* The queues behind u: its own, or those of the connections that it has not accepted. */
static void scan(struct unix_sock *u, child_fn fn, struct list_head *work)
{
	struct unix_sock *n;

	scan_queue(u, fn, work);
	list_for_each_entry(n, &u->pending, accept_link)
		scan_queue(n, fn, work);
}

static void take_ref(struct unix_sock *u, struct list_head *work)
{
	u->gc_refs--;
}

static void revive(struct unix_sock *u, struct list_head *work)
{
	if (u->gc_state == GC_CANDIDATE) {
		u->gc_state = GC_ALIVE;
		list_move_tail(&u->gc_link, work);
	}
}

/* Moves the messages with files of u's queue to `out`. */
static void collect_queue(struct unix_sock *u, struct list_head *out)
{
	struct unix_msg *m, *next;

	spin_lock(&u->lock);
	list_for_each_entry_safe(m, next, &u->queue, link) {
		if (!m->scm.nr_files)
			continue;
		list_move_tail(&m->link, out);
		u->nr_msgs--;
		u->nr_bytes -= m->len - m->off;
	}
	spin_unlock(&u->lock);
}

static void find_garbage(struct list_head *out)
{
	struct list_head candidates, alive, done;
	struct unix_sock *u, *next, *n;

	list_init(&candidates);
	list_init(&alive);
	list_init(&done);
	list_for_each_entry_safe(u, next, &inflight_sockets, gc_link) {
		u->gc_state = GC_NONE;
		if (!u->sock.file || READ_ONCE(u->sock.file->refs) != u->inflight)
			continue;
		u->gc_state = GC_CANDIDATE;
		u->gc_refs = u->inflight;
		list_move_tail(&u->gc_link, &candidates);
	}
	list_for_each_entry(u, &candidates, gc_link)
		scan(u, take_ref, NULL);
	list_for_each_entry_safe(u, next, &candidates, gc_link)
		if (u->gc_refs > 0)
			revive(u, &alive);
	while (!list_empty(&alive)) {
		u = list_first(&alive, struct unix_sock, gc_link);
		list_move_tail(&u->gc_link, &done);
		scan(u, revive, &alive);
	}
	while (!list_empty(&candidates)) {
		u = list_first(&candidates, struct unix_sock, gc_link);
		list_move_tail(&u->gc_link, &inflight_sockets);
		collect_queue(u, out);
		list_for_each_entry(n, &u->pending, accept_link)
			collect_queue(n, out);
	}
	while (!list_empty(&done))
		list_move_tail(done.next, &inflight_sockets);
}

void unix_gc(void)
{
	struct list_head garbage;

	if (likely(!READ_ONCE(nr_inflight_sockets)))
		return;
	list_init(&garbage);
	spin_lock(&unix_lock);
	spin_lock(&unix_gc_lock);
	find_garbage(&garbage);
	spin_unlock(&unix_gc_lock);
	spin_unlock(&unix_lock);
	if (!list_empty(&garbage))
		unix_free_messages(&garbage);
}
