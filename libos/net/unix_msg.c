/*
 * unix_msg.c - sending and receiving on AF_UNIX sockets.
 */
#include <asm/socket.h>
#include <linux/eventpoll.h>
#include <linux/time.h>

#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/net/unix.h"
#include "libos/platform/hostcall.h"
#include "libos/signal/signal.h"

#define STREAM_CHUNK 32768u /* largest piece of a stream in one message */
#define MSG_OVERHEAD 768u /* what Linux reckons for a small buffer beside its data */

static u32 charge_of(u32 n)
{
	return n + MSG_OVERHEAD;
}

static void message_free(struct unix_msg *m)
{
	struct unix_sock *from = m->sender;
	u32 charge = m->charge;

	unix_scm_free(&m->scm);
	kfree(m, sizeof(*m) + m->len);
	__atomic_fetch_sub(&from->wmem, charge, __ATOMIC_ACQ_REL);
	if (unix_writable(from))
		waitq_wake(&from->wr_wait, WR_EVENTS, 0);
	unix_put(from);
}

/*
 * Closing what a message carries may close a socket whose queue holds more such messages, and so on for
 * as long as a program likes: so whoever comes here while somebody is at it only adds to the list.
 */
void unix_free_messages(struct list_head *messages)
{
	static spinlock_t lock;
	static struct list_head dying = LIST_HEAD_INIT(dying);
	static bool busy;

	spin_lock(&lock);
	while (!list_empty(messages))
		list_move_tail(messages->next, &dying);
	if (busy) {
		spin_unlock(&lock);
		return;
	}
	busy = true;
	while (!list_empty(&dying)) {
		struct unix_msg *m = list_first(&dying, struct unix_msg, link);

		list_del(&m->link);
		spin_unlock(&lock);
		message_free(m);
		spin_lock(&lock);
	}
	busy = false;
	spin_unlock(&lock);
}

void unix_purge(struct unix_sock *u)
{
	struct list_head heavy;
	struct unix_msg *m;

	list_init(&heavy);
	for (;;) {
		spin_lock(&u->lock);
		m = list_empty(&u->queue) ? NULL : list_first(&u->queue, struct unix_msg, link);
		if (m) {
			list_del(&m->link);
			u->nr_msgs--;
			u->nr_bytes -= m->len - m->off;
		}
		spin_unlock(&u->lock);
		if (!m)
			break;
		if (m->scm.nr_files)
			list_add_tail(&m->link, &heavy);
		else
			message_free(m);
	}
	if (!list_empty(&heavy))
		unix_free_messages(&heavy);
}

/* Sending */

static struct unix_msg *message_new(struct unix_sock *u, struct iov_iter *it, u32 n)
{
	struct unix_msg *m = kmalloc(sizeof(*m) + n);

	if (!m)
		return err_ptr(-ENOMEM);
	m->sender = u;
	m->len = n;
	m->off = 0;
	m->charge = charge_of(n);
	m->stamp = 0;
	m->scm = (struct unix_scm){ .cred = { 0, 65534, 65534 } };
	list_init(&m->link);
	if (iov_copy_from(it, m->data, n) != n) {
		kfree(m, sizeof(*m) + n);
		return err_ptr(-EFAULT);
	}
	unix_get(u);
	__atomic_fetch_add(&u->wmem, m->charge, __ATOMIC_ACQ_REL);
	return m;
}

static void message_drop(struct unix_msg *m)
{
	struct list_head one;

	list_init(&one);
	list_add(&m->link, &one);
	unix_free_messages(&one);
}

/* Waits until u may have more on its way. */
static long wait_wmem(struct unix_sock *u, bool nonblock, u64 deadline)
{
	int err;

	for (;;) {
		if (unlikely(READ_ONCE(u->sock.c.err))) {
			err = sock_take_error(&u->sock.c);
			if (err)
				return -err;
		}
		if (READ_ONCE(u->shutdown) & SEND_SHUTDOWN)
			return -EPIPE;
		if (likely(READ_ONCE(u->wmem) < READ_ONCE(u->sock.c.sndbuf)))
			return 0;
		if (nonblock)
			return -EAGAIN;
		long r = wait_event(&u->wr_wait,
				    READ_ONCE(u->wmem) < READ_ONCE(u->sock.c.sndbuf) ||
					    READ_ONCE(u->shutdown) & SEND_SHUTDOWN || READ_ONCE(u->sock.c.err),
				    deadline);
		if (r)
			return sock_wait_result(r, u->sock.c.sndtimeo);
	}
}

/* Credentials go along if either side asked for them (SO_PASSCRED). */
static void add_cred(struct unix_msg *m, const struct unix_sock *to)
{
	if (m->scm.cred.pid || likely(!sock_flag(&m->sender->sock.c, SOCKF_PASSCRED) &&
				      !sock_flag(&to->sock.c, SOCKF_PASSCRED)))
		return;
	unix_scm_own_cred(&m->scm);
}

/* Puts m into the queue of `to`; -EPIPE: nobody reads there. */
static long enqueue(struct unix_sock *to, struct unix_msg *m)
{
	add_cred(m, to);
	if (unlikely(sock_flag(&to->sock.c, SOCKF_TSTAMP)))
		m->stamp = host_clock_ns(CLOCK_REALTIME);
	spin_lock(&to->lock);
	if (unlikely(to->shutdown & RCV_SHUTDOWN || to->dead)) {
		spin_unlock(&to->lock);
		return -EPIPE;
	}
	list_add_tail(&m->link, &to->queue);
	to->nr_msgs++;
	to->nr_bytes += m->len;
	spin_unlock(&to->lock);
	waitq_wake(&to->rd_wait, RD_EVENTS, 1);
	return 0;
}

static ssize_t send_stream(struct unix_sock *u, struct sock_msg *sm, struct unix_scm *scm, int flags,
			   bool nonblock)
{
	u64 deadline = nonblock ? NEVER : sock_deadline(u->sock.c.sndtimeo);
	size_t done = 0;
	long r = 0;

	if (sm->namelen)
		return READ_ONCE(u->state) == UNIX_CONNECTED ? -EISCONN : -EOPNOTSUPP;
	if (!__atomic_load_n(&u->peer, __ATOMIC_ACQUIRE))
		return -ENOTCONN;
	/* An empty send puts nothing into a stream: a message without bytes would look like its end. */
	if (READ_ONCE(u->shutdown) & SEND_SHUTDOWN)
		r = -EPIPE;
	while (!r && sm->it.count) {
		u32 most = min(READ_ONCE(u->sock.c.sndbuf) / 2 - 64, STREAM_CHUNK);
		u32 n = (u32)min(sm->it.count, (size_t)most);
		struct unix_msg *m;

		r = wait_wmem(u, nonblock, deadline);
		if (r)
			break;
		m = message_new(u, &sm->it, n);
		if (is_err(m)) {
			r = ptr_err(m);
			break;
		}
		if (!done) {
			m->scm = *scm;
			*scm = (struct unix_scm){};
		}
		r = enqueue(u->peer, m);
		if (r)
			message_drop(m);
		else
			done += n;
	}
	if (done)
		return (ssize_t)done;
	if (r == -EPIPE && !(flags & MSG_NOSIGNAL))
		signal_sigpipe();
	return r;
}

/* The socket that a datagram goes to, with a reference, or err_ptr. */
static struct unix_sock *destination(struct unix_sock *u, const struct sock_msg *sm)
{
	struct unix_sock *to;
	int err;

	if (sm->namelen && !unix_connected_type(u)) {
		err = unix_check_addr(sm->name, sm->namelen);
		return err ? err_ptr(err) : unix_find(sm->name, sm->namelen, u->sock.type);
	}
	to = unix_peer_get(u);
	return to ?: err_ptr(-ENOTCONN);
}

static bool queue_blocks(struct unix_sock *u, struct unix_sock *to)
{
	return to != u && READ_ONCE(to->peer) != u && unix_queue_full(to) &&
	       !(READ_ONCE(to->shutdown) & RCV_SHUTDOWN) && !READ_ONCE(to->dead);
}

static long send_packet(struct unix_sock *u, struct sock_msg *sm, struct unix_msg *m, bool nonblock, u64 deadline)
{
	long r;

	for (;;) {
		struct unix_sock *to = destination(u, sm);

		if (is_err(to))
			return ptr_err(to);
		if (!unix_may_send(u, to)) {
			r = -EPERM;
		} else if (READ_ONCE(to->dead)) {
			r = -EPIPE;
			if (!unix_connected_type(u)) {
				unix_disconnect(u, to);
				r = -ECONNREFUSED;
			}
		} else if (queue_blocks(u, to)) {
			r = -EAGAIN;
			if (!nonblock)
				r = sock_wait_result(
					wait_event_exclusive(&to->peer_wait, !queue_blocks(u, to), deadline),
					u->sock.c.sndtimeo);
			else if (READ_ONCE(u->peer) == to)
				__atomic_store_n(&u->want_room, 1, __ATOMIC_SEQ_CST);
			if (!r || !queue_blocks(u, to)) {
				unix_put(to);
				continue;
			}
		} else {
			r = enqueue(to, m);
		}
		unix_put(to);
		return r;
	}
}

static ssize_t send_datagram(struct unix_sock *u, struct sock_msg *sm, struct unix_scm *scm, bool nonblock)
{
	u64 deadline = nonblock ? NEVER : sock_deadline(u->sock.c.sndtimeo);
	struct unix_sock *to;
	struct unix_msg *m;
	ssize_t n = (ssize_t)sm->it.count;
	long r;

	if (unix_connected_type(u)) {
		r = sock_take_error(&u->sock.c);
		if (r)
			return -r;
		if (READ_ONCE(u->state) != UNIX_CONNECTED)
			return -ENOTCONN;
	}
	if (sm->namelen && !unix_connected_type(u)) {
		r = unix_check_addr(sm->name, sm->namelen);
		if (r)
			return r;
	} else {
		to = unix_peer_get(u);
		if (!to)
			return -ENOTCONN;
		unix_put(to);
	}
	if (sock_flag(&u->sock.c, SOCKF_PASSCRED) && !u->name) {
		r = unix_autobind(u);
		if (r)
			return r;
	}
	if (sm->it.count > READ_ONCE(u->sock.c.sndbuf) - 32)
		return -EMSGSIZE;
	r = wait_wmem(u, nonblock, deadline);
	if (r)
		return r;
	m = message_new(u, &sm->it, (u32)sm->it.count);
	if (is_err(m))
		return ptr_err(m);
	m->scm = *scm;
	*scm = (struct unix_scm){};
	r = send_packet(u, sm, m, nonblock, deadline);
	if (r)
		message_drop(m);
	return r ?: n;
}

ssize_t unix_sendmsg(struct socket *s, struct sock_msg *sm, int flags, bool nonblock)
{
	struct unix_sock *u = unix_of(s);
	struct unix_scm scm = { .cred = { 0, 65534, 65534 } };
	ssize_t r;

	if (sm->controllen) {
		r = unix_scm_parse(&scm, sm);
		if (r)
			goto out;
	}
	r = -EOPNOTSUPP;
	if (flags & MSG_OOB)
		goto out;
	if (unix_stream(u))
		r = send_stream(u, sm, &scm, flags, nonblock);
	else
		r = send_datagram(u, sm, &scm, nonblock);
out:
	if (unlikely(scm.nr_files))
		unix_scm_free(&scm);
	return r;
}

/* Receiving */

static struct unix_msg *queue_head(struct unix_sock *u, struct unix_msg *after)
{
	struct list_head *next;

	spin_lock(&u->lock);
	next = after ? after->link.next : u->queue.next;
	spin_unlock(&u->lock);
	return next == &u->queue ? NULL : list_entry(next, struct unix_msg, link);
}

/* Takes n bytes as read from m, and m off the queue when it is used up. read_lock held. */
static void consume(struct unix_sock *u, struct unix_msg *m, u32 n)
{
	bool gone;

	spin_lock(&u->lock);
	m->off += n;
	u->nr_bytes -= n;
	gone = m->off == m->len;
	if (gone) {
		list_del(&m->link);
		u->nr_msgs--;
	}
	spin_unlock(&u->lock);
	if (gone)
		message_free(m);
}

static void put_name(struct sock_msg *sm, const struct unix_sock *from)
{
	const struct unix_name *n = __atomic_load_n(&from->name, __ATOMIC_ACQUIRE);

	if (n) {
		memcpy(sm->name, n->addr, n->len);
		sm->namelen = n->len;
	}
}

/* What travelled with m: for the reader, who takes it unless he only peeks. */
static void give(struct unix_sock *u, struct unix_msg *m, struct sock_msg *sm, bool peek)
{
	struct unix_scm copy = { .cred = m->scm.cred };

	if (unlikely(m->stamp))
		sock_put_timestamp(&u->sock, sm, m->stamp);
	if (likely(!m->scm.nr_files)) {
		if (unlikely(sock_flag(&u->sock.c, SOCKF_PASSCRED)))
			unix_scm_give(u, &copy, sm);
		return;
	}
	if (!peek) {
		unix_inflight_del(&m->scm);
		copy = m->scm;
		m->scm.files = NULL;
		m->scm.nr_files = 0;
	} else if (unix_scm_copy(&copy, &m->scm)) {
		sm->flags |= MSG_CTRUNC;
	}
	unix_scm_give(u, &copy, sm);
}

static bool same_cred(const struct sock_cred *a, const struct sock_cred *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

/*
 * Copies from the queue until it is empty, sm is full, or what follows must not be read together with it: other
 * credentials, or anything behind descriptors. True: the call ends here. *err: a fault before the first byte.
 */
static bool receive_stream(struct unix_sock *u, struct sock_msg *sm, bool peek, size_t *done,
			   struct sock_cred *cred, long *err)
{
	struct unix_msg *m = queue_head(u, NULL);

	while (m && sm->it.count) {
		u32 n = (u32)min((size_t)(m->len - m->off), sm->it.count);
		bool had_files = m->scm.nr_files;

		if (*done && sock_flag(&u->sock.c, SOCKF_PASSCRED) && !same_cred(cred, &m->scm.cred))
			return true;
		if (!*done) {
			*cred = m->scm.cred;
			put_name(sm, m->sender);
		}
		if (iov_copy_to(&sm->it, m->data + m->off, n) != n) {
			*err = -EFAULT;
			return true;
		}
		if (had_files || !*done)
			give(u, m, sm, peek);
		*done += n;
		if (peek) {
			m = queue_head(u, m);
		} else {
			consume(u, m, n);
			m = queue_head(u, NULL);
		}
		if (had_files)
			return true;
	}
	return false;
}

static ssize_t receive_packet(struct unix_sock *u, struct sock_msg *sm, int flags, struct unix_msg *m)
{
	u32 n = (u32)min((size_t)m->len, sm->it.count), len = m->len;

	put_name(sm, m->sender);
	if (iov_copy_to(&sm->it, m->data, n) != n)
		return -EFAULT;
	give(u, m, sm, flags & MSG_PEEK);
	if (n < len)
		sm->flags |= MSG_TRUNC;
	if (!(flags & MSG_PEEK))
		consume(u, m, len);
	return flags & MSG_TRUNC ? len : n;
}

static bool can_receive(struct unix_sock *u, struct list_head *last)
{
	return READ_ONCE(u->queue.prev) != last || READ_ONCE(u->shutdown) & RCV_SHUTDOWN ||
	       READ_ONCE(u->sock.c.err);
}

static ssize_t recv_stream(struct unix_sock *u, struct sock_msg *sm, int flags, bool nonblock)
{
	u64 timeo = u->sock.c.rcvtimeo, deadline = nonblock ? NEVER : sock_deadline(timeo);
	size_t target = flags & MSG_WAITALL ? sm->it.count : min((size_t)u->sock.c.rcvlowat, sm->it.count);
	size_t done = 0, seen;
	struct sock_cred cred = {};
	bool peek = flags & MSG_PEEK, stop;
	struct list_head *last;
	long r = 0;

	if (READ_ONCE(u->state) != UNIX_CONNECTED)
		return -EINVAL;
	for (;;) {
		mutex_lock(&u->read_lock);
		if (peek && done) { /* from the front again: more has come */
			iov_revert(&sm->it, done);
			sm->control_used = 0;
			done = 0;
		}
		seen = done;
		stop = receive_stream(u, sm, peek, &done, &cred, &r);
		last = READ_ONCE(u->queue.prev);
		if (!peek)
			last = &u->queue;
		mutex_unlock(&u->read_lock);
		if (stop || !sm->it.count || (done && done >= target))
			break;
		r = -sock_take_error(&u->sock.c);
		if (r || READ_ONCE(u->shutdown) & RCV_SHUTDOWN) {
			/* Bytes may have come between the look and the end. */
			if (!r && !peek && seen == done && !list_empty(&u->queue))
				continue;
			break;
		}
		if (nonblock) {
			r = -EAGAIN;
			break;
		}
		r = sock_wait_result(wait_event(&u->rd_wait, can_receive(u, last), deadline), timeo);
		if (r)
			break;
	}
	return done ? (ssize_t)done : r;
}

static bool has_message(struct unix_sock *u)
{
	return !list_empty(&u->queue) || READ_ONCE(u->shutdown) & RCV_SHUTDOWN || READ_ONCE(u->sock.c.err);
}

static ssize_t recv_packet(struct unix_sock *u, struct sock_msg *sm, int flags, bool nonblock)
{
	u64 timeo = u->sock.c.rcvtimeo, deadline = nonblock ? NEVER : sock_deadline(timeo);
	struct unix_msg *m;
	ssize_t r;

	if (unix_connected_type(u) && READ_ONCE(u->state) != UNIX_CONNECTED)
		return -ENOTCONN;
	for (;;) {
		r = -sock_take_error(&u->sock.c);
		if (r)
			return r;
		mutex_lock(&u->read_lock);
		m = queue_head(u, NULL);
		if (m)
			r = receive_packet(u, sm, flags, m);
		mutex_unlock(&u->read_lock);
		if (m) {
			if (!(flags & MSG_PEEK) && waitq_active(&u->peer_wait))
				waitq_wake(&u->peer_wait, WR_EVENTS, 1);
			return r;
		}
		if (READ_ONCE(u->shutdown) & RCV_SHUTDOWN && list_empty(&u->queue) &&
		    (!nonblock || unix_connected_type(u)))
			return 0;
		if (nonblock)
			return -EAGAIN;
		r = sock_wait_result(wait_event_exclusive(&u->rd_wait, has_message(u), deadline), timeo);
		if (r)
			return r;
	}
}

ssize_t unix_recvmsg(struct socket *s, struct sock_msg *sm, int flags, bool nonblock)
{
	struct unix_sock *u = unix_of(s);

	if (flags & (MSG_OOB | MSG_ERRQUEUE))
		return flags & MSG_OOB && unix_stream(u) ? -EINVAL : -EOPNOTSUPP;
	return unix_stream(u) ? recv_stream(u, sm, flags, nonblock) : recv_packet(u, sm, flags, nonblock);
}
