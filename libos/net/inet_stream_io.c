/*
 * inet_stream_io.c - sending and receiving on TCP sockets.
 *
 * Bytes go from the application into packet buffers without a lock; the protocol gets whole buffers. The
 * other way the protocol hands out packets, which are copied without its lock and then reported as consumed.
 */
#include <linux/eventpoll.h>

#include "libos/net/inet_stream.h"
#include "libos/net/pkt_iov.h"
#include "libos/platform/hostcall.h"
#include "libos/signal/signal.h"

#define SEND_FRAGS 16u /* buffers handed to the protocol at a time: 32 KiB */
#define NBUF_WAIT_NS NSEC_PER_MSEC /* no buffers: how long until the next look */
#define TAKE_MAX 262144u /* bytes taken off the receive queue at a time */

/* Sending */

static bool can_send_state(enum tcp_state st)
{
	return st == TCP_ESTABLISHED || st == TCP_CLOSE_WAIT;
}

/* What a send that found the connection in no state to send says: the pending error, else EPIPE. */
static long send_error(struct inet_stream *is)
{
	int err = tcp_take_error(is->tp);

	return err ? -err : -EPIPE;
}

static bool send_ready(struct inet_stream *is)
{
	return tcp_send_room(is->tp) != 0;
}

static bool handshake_over(struct inet_stream *is)
{
	enum tcp_state st = tcp_state(is->tp);

	return (st != TCP_SYN_SENT && st != TCP_SYN_RECV) || tcp_error_pending(is->tp);
}

/* A send while connecting waits until it is connected. */
static long wait_connected(struct inet_stream *is, bool nonblock, u64 deadline)
{
	long r;

	if (!handshake_over(is)) {
		if (nonblock)
			return -EAGAIN;
		r = wait_event(tcp_waitq(is->tp), handshake_over(is), deadline);
		if (r)
			return sock_wait_result(r, is->sock.c.sndtimeo);
	}
	return can_send_state(tcp_state(is->tp)) ? 0 : send_error(is);
}

/* The room in the send buffer, after waiting for it; or -errno. */
static ssize_t wait_room(struct inet_stream *is, bool nonblock, u64 deadline)
{
	ssize_t room;
	long r;

	for (;;) {
		room = tcp_send_room(is->tp);
		if (likely(room > 0))
			return room;
		if (room < 0)
			return send_error(is);
		if (nonblock)
			return -EAGAIN;
		socket_net_poll();
		r = wait_event(tcp_waitq(is->tp), send_ready(is), deadline);
		if (r)
			return sock_wait_result(r, is->sock.c.sndtimeo);
	}
}

/*
 * Fills up to SEND_FRAGS buffers with at most n bytes. Value: bytes; *nr buffers, which the caller owns.
 * -EFAULT, -ENOBUFS: not one byte.
 */
static ssize_t fill(struct iov_iter *it, size_t n, struct pkt_frag *frags, u32 *nr)
{
	size_t done = 0;
	long err = -ENOBUFS;

	for (*nr = 0; done < n && *nr < SEND_FRAGS; (*nr)++) {
		u32 want = (u32)min(n - done, (size_t)NBUF_SIZE), nb = nbuf_alloc(), got;

		if (unlikely(nb == NBUF_NONE))
			break;
		got = (u32)iov_copy_from(it, nbuf_addr(nb), want);
		frags[*nr] = (struct pkt_frag){ .nb = nb, .off = 0, .len = (u16)got };
		done += got;
		if (unlikely(got < want)) {
			err = -EFAULT;
			if (got)
				(*nr)++;
			else
				nbuf_put(nb);
			break;
		}
	}
	return done ? (ssize_t)done : err;
}

/* Sends what is left of it; the number of bytes, or -errno if there was none. */
static ssize_t send_bytes(struct inet_stream *is, struct iov_iter *it, int flags, bool nonblock)
{
	u64 deadline = nonblock ? NEVER : sock_deadline(is->sock.c.sndtimeo);
	struct pkt_frag frags[SEND_FRAGS];
	size_t done = 0;
	ssize_t r = 0;

	if (unlikely(!can_send_state(tcp_state(is->tp)))) {
		r = wait_connected(is, nonblock, deadline);
		if (r)
			return r;
	}
	if (unlikely(!it->count)) {
		r = tcp_send_room(is->tp);
		return r < 0 ? send_error(is) : 0;
	}
	while (it->count) {
		ssize_t room = wait_room(is, nonblock, deadline), n;
		size_t left = it->count;
		bool last;
		u32 nr;

		if (unlikely(room < 0)) {
			r = room;
			break;
		}
		n = fill(it, min((size_t)room, left), frags, &nr);
		if (unlikely(n == -ENOBUFS) && !nonblock && !signal_pending(current())) {
			u64 soon = host_clock_ns(1) + NBUF_WAIT_NS;

			/* Buffers come back when packets leave, which nobody announces. */
			wait_event(tcp_waitq(is->tp), false, min(soon, deadline));
			if (soon < deadline)
				continue;
		}
		if (unlikely(n < 0)) {
			r = n == -ENOBUFS ? -EAGAIN : n;
			break;
		}
		/* More of this call follows at once, or must wait for this to leave. */
		last = (size_t)n == left || n == room;
		r = tcp_send(is->tp, frags, nr, last && !(flags & MSG_MORE));
		if (unlikely(r < 0)) {
			if (r == -EPIPE || r == -ENOTCONN)
				r = send_error(is);
			break;
		}
		done += (size_t)n;
		r = 0;
	}
	return done ? (ssize_t)done : r;
}

/* MSG_OOB: the last byte is urgent. */
static ssize_t send_urgent(struct inet_stream *is, struct sock_msg *m, int flags, bool nonblock)
{
	size_t n = m->it.count;
	ssize_t r = 0, sent = 0;
	u8 byte;

	if (n > 1) {
		struct iov_iter head = m->it;

		head.count = n - 1;
		sent = send_bytes(is, &head, flags, nonblock);
		if (sent < (ssize_t)n - 1)
			return sent;
		iov_advance(&m->it, n - 1);
	}
	if (!n)
		return send_bytes(is, &m->it, flags, nonblock);
	if (!can_send_state(tcp_state(is->tp)))
		r = wait_connected(is, nonblock, nonblock ? NEVER : sock_deadline(is->sock.c.sndtimeo));
	if (!r && iov_copy_from(&m->it, &byte, 1) != 1)
		r = -EFAULT;
	if (!r)
		r = tcp_send_oob(is->tp, byte);
	return r ? (sent ?: r) : (ssize_t)n;
}

ssize_t inet_stream_sendmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock)
{
	struct inet_stream *is = stream_of(s);
	ssize_t r;

	if (unlikely(flags & (MSG_OOB | MSG_FASTOPEN)))
		r = flags & MSG_FASTOPEN ? -EOPNOTSUPP : send_urgent(is, m, flags, nonblock);
	else
		r = send_bytes(is, &m->it, flags, nonblock);
	if (unlikely(r == -EPIPE) && !(flags & MSG_NOSIGNAL))
		signal_sigpipe();
	return r;
}

/* Receiving */

/* Copies the packets of list to `it`, freeing them; on a fault the rest stays in the list. Bytes copied. */
static size_t copy_packets(struct list_head *list, struct iov_iter *it)
{
	size_t done = 0;

	while (!list_empty(list)) {
		struct pkt *p = list_first(list, struct pkt, link);
		size_t n = pkt_to_iter(p, 0, it, p->total);

		done += n;
		if (unlikely(n < p->total)) {
			pkt_pull(p, (u32)n);
			break;
		}
		list_del(&p->link);
		pkt_free(p);
	}
	return done;
}

static void free_packets(struct list_head *list)
{
	while (!list_empty(list)) {
		struct pkt *p = list_first(list, struct pkt, link);

		list_del(&p->link);
		pkt_free(p);
	}
}

/* Moves what there is of at most `it->count` bytes. *fault: the application's memory ended it. Bytes. */
static size_t receive(struct inet_stream *is, struct iov_iter *it, bool discard, bool *fault)
{
	struct list_head list;
	size_t got, n, done = 0;

	list_init(&list);
	do {
		got = tcp_recv_take(is->tp, &list, min(it->count, (size_t)TAKE_MAX));
		if (!got)
			break;
		if (discard) {
			free_packets(&list);
			n = got;
			it->count -= n; /* nothing was written there: the place stays */
		} else {
			n = copy_packets(&list, it);
		}
		if (unlikely(n < got)) {
			tcp_recv_untake(is->tp, &list);
			*fault = true;
		}
		tcp_recv_consumed(is->tp, n);
		done += n;
	} while (it->count && got == TAKE_MAX && !*fault);
	return done;
}

/* MSG_PEEK: copies from byte `skip` of the queue on. */
static size_t peek(struct inet_stream *is, struct iov_iter *it, size_t skip, bool discard, bool *fault)
{
	struct list_head list;
	size_t got, n, done = 0;

	list_init(&list);
	do {
		got = tcp_recv_peek(is->tp, &list, skip + done, min(it->count, (size_t)TAKE_MAX));
		if (!got)
			break;
		n = got;
		if (discard)
			it->count -= n;
		else
			n = copy_packets(&list, it);
		*fault = n < got;
		free_packets(&list);
		done += n;
	} while (it->count && !*fault);
	return done;
}

static bool can_receive(struct inet_stream *is, size_t seen)
{
	bool fin;

	return tcp_recv_avail(is->tp, &fin) > seen || fin || tcp_error_pending(is->tp) ||
	       tcp_state(is->tp) == TCP_CLOSE;
}

/* Nothing came at all: why. 1: wait. */
static long nothing(struct inet_stream *is, bool nonblock)
{
	bool fin;
	int err;

	/* The end of the stream first: an error behind it is for the next call. */
	if (tcp_recv_avail(is->tp, &fin))
		return 1;
	err = tcp_take_error(is->tp);
	if (err)
		return -err;
	if (fin)
		return 0;
	if (tcp_state(is->tp) == TCP_CLOSE)
		return READ_ONCE(is->state) == STREAM_UNCONNECTED ? -ENOTCONN : 0;
	return nonblock ? -EAGAIN : 1;
}

static ssize_t recv_urgent(struct inet_stream *is, struct sock_msg *m, int flags)
{
	u8 byte;
	int r;

	if (tcp_state(is->tp) == TCP_LISTEN)
		return -ENOTCONN;
	r = tcp_recv_oob(is->tp, flags & MSG_PEEK);
	if (r == -EAGAIN && READ_ONCE(is->state) == STREAM_UNCONNECTED)
		return -ENOTCONN;
	if (r < 0)
		return r;
	byte = (u8)r;
	m->flags |= MSG_OOB;
	if (!m->it.count) {
		m->flags |= MSG_TRUNC;
		return 0;
	}
	if (!(flags & MSG_TRUNC) && iov_copy_to(&m->it, &byte, 1) != 1)
		return -EFAULT;
	return 1;
}

ssize_t inet_stream_recvmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock)
{
	struct inet_stream *is = stream_of(s);
	size_t len = m->it.count, done = 0, n;
	size_t target = flags & MSG_WAITALL ? len : min((size_t)READ_ONCE(s->c.rcvlowat), len);
	u64 timeo = READ_ONCE(s->c.rcvtimeo), deadline = NEVER;
	bool peeking = flags & MSG_PEEK, discard = flags & MSG_TRUNC, fault = false, first = true;
	long r = 0;

	if (unlikely(flags & (MSG_OOB | MSG_ERRQUEUE)))
		return flags & MSG_ERRQUEUE ? -EAGAIN : recv_urgent(is, m, flags);
	if (unlikely(tcp_state(is->tp) == TCP_LISTEN))
		return -ENOTCONN;
	for (;;) {
		if (likely(len)) {
			mutex_lock(&is->read_lock);
			n = peeking ? peek(is, &m->it, done, discard, &fault) :
				      receive(is, &m->it, discard, &fault);
			mutex_unlock(&is->read_lock);
			done += n;
		}
		if (fault) {
			r = -EFAULT;
			break;
		}
		if (done == len && len)
			break;
		if (done && (done >= target || nonblock || tcp_at_mark(is->tp) || tcp_error_pending(is->tp) ||
			     tcp_state(is->tp) == TCP_CLOSE || signal_pending(current())))
			break;
		if (!done) {
			r = nothing(is, nonblock);
			if (r <= 0)
				break;
			if (!len && tcp_recv_avail(is->tp, NULL)) {
				r = 0;
				break;
			}
		} else {
			bool fin;

			if (tcp_recv_avail(is->tp, &fin) <= (peeking ? done : 0) && fin)
				break;
		}
		if (first && !nonblock) {
			deadline = sock_deadline(timeo);
			first = false;
			socket_net_poll();
		}
		r = wait_event(tcp_waitq(is->tp), can_receive(is, peeking ? done : 0), deadline);
		if (r) {
			r = sock_wait_result(r, timeo);
			break;
		}
	}
	return done ? (ssize_t)done : r;
}
