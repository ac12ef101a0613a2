/*
 * unix_conn.c - connect, listen and accept of AF_UNIX sockets.
 *
 * connect(2) makes the other end itself and puts it into the listener's queue: both ends are connected
 * at once and can be written to before anybody accepts.
 */
#include <asm/socket.h>
#include <linux/eventpoll.h>

#include "libos/lib/string.h"
#include "libos/net/unix.h"
#include "libos/signal/signal.h"

bool unix_may_send(const struct unix_sock *u, const struct unix_sock *to)
{
	const struct unix_sock *p = READ_ONCE(to->peer);

	return !p || p == u;
}

void unix_join(struct unix_sock *a, struct unix_sock *b)
{
	unix_get(a);
	unix_get(b);
	spin_lock(&unix_lock);
	spin_lock(&a->lock);
	a->peer = b;
	a->state = UNIX_CONNECTED;
	spin_unlock(&a->lock);
	spin_lock(&b->lock);
	b->peer = a;
	b->state = UNIX_CONNECTED;
	spin_unlock(&b->lock);
	spin_unlock(&unix_lock);
}

static bool backlog_full(struct unix_sock *u)
{
	return READ_ONCE(u->nr_pending) > READ_ONCE(u->backlog);
}

static bool backlog_moves(struct unix_sock *u)
{
	return !backlog_full(u) || READ_ONCE(u->state) != UNIX_LISTENING || READ_ONCE(u->shutdown) & RCV_SHUTDOWN;
}

/* n, fresh, becomes the other end of u in the queue of the listener. 0; -EAGAIN: wait; or another -errno. */
static int try_connect(struct unix_sock *u, struct unix_sock *listener, struct unix_sock *n)
{
	int err = 0;

	spin_lock(&unix_lock);
	if (listener->state != UNIX_LISTENING || listener->shutdown & RCV_SHUTDOWN)
		err = -ECONNREFUSED;
	else if (backlog_full(listener))
		err = -EAGAIN;
	else if (u->state != UNIX_CLOSED)
		err = u->state == UNIX_CONNECTED ? -EISCONN : -EINVAL;
	if (!err) {
		n->name = listener->name;
		__atomic_fetch_add(&n->name->refs, 1, __ATOMIC_RELAXED);
		n->sock.c.peer = sock_own_cred();
		n->sock.c.flags |= READ_ONCE(listener->sock.c.flags) & SOCKF_PASSCRED;
		u->sock.c.peer = listener->sock.c.peer;
		unix_get(u);
		unix_get(n);
		n->peer = u;
		n->state = UNIX_CONNECTED;
		spin_lock(&u->lock);
		u->peer = n;
		u->state = UNIX_CONNECTED;
		spin_unlock(&u->lock);
		list_add_tail(&n->accept_link, &listener->pending);
		listener->nr_pending++;
	}
	spin_unlock(&unix_lock);
	return err;
}

static int connect_stream(struct unix_sock *u, const void *addr, u32 len, bool nonblock)
{
	u64 timeo = READ_ONCE(u->sock.c.sndtimeo), deadline = sock_deadline(timeo);
	struct unix_sock *n, *listener;
	int err;

	n = unix_alloc(u->sock.type);
	if (!n)
		return -ENOMEM;
	n->sock.c.ino = 0; /* until it is accepted */
	for (;;) {
		listener = unix_find(addr, len, u->sock.type);
		if (is_err(listener)) {
			err = (int)ptr_err(listener);
			break;
		}
		err = try_connect(u, listener, n);
		if (!err) {
			waitq_wake(&listener->rd_wait, RD_EVENTS, 1);
		} else if (err == -EAGAIN && !nonblock) {
			err = (int)sock_wait_result(
				wait_event_exclusive(&listener->peer_wait, backlog_moves(listener), deadline),
				timeo);
			unix_put(listener);
			if (!err)
				continue;
			break;
		}
		unix_put(listener);
		break;
	}
	if (err)
		unix_put(n);
	return err;
}

void unix_disconnect(struct unix_sock *u, struct unix_sock *old)
{
	bool told = false, mine;

	spin_lock(&unix_lock);
	spin_lock(&u->lock);
	mine = u->peer == old;
	if (mine) {
		u->peer = NULL;
		u->state = UNIX_CLOSED;
	}
	spin_unlock(&u->lock);
	if (mine) {
		waitq_del(&old->peer_wait, &u->peer_wake);
		/* The other half of a pair learns that it was left, as unix_dgram_disconnected() of Linux says. */
		if (old->peer == u && !old->dead && !u->dead) {
			sock_set_error(&old->sock.c, ECONNRESET);
			told = true;
		}
	}
	spin_unlock(&unix_lock);
	if (!mine)
		return;
	if (told)
		unix_wake_all(old);
	if (__atomic_exchange_n(&u->want_room, 0, __ATOMIC_ACQ_REL))
		waitq_wake(&u->wr_wait, WR_EVENTS, 0);
	unix_put(old);
}

static int connect_dgram(struct unix_sock *u, const void *addr, u32 len)
{
	struct unix_sock *to = NULL, *old;
	int err = 0;
	u16 family;

	if (len < sizeof(family))
		return -EINVAL;
	memcpy(&family, addr, sizeof(family));
	if (family != 0) {
		err = unix_check_addr(addr, len);
		if (!err && sock_flag(&u->sock.c, SOCKF_PASSCRED) && !u->name)
			err = unix_autobind(u);
		if (err)
			return err;
		to = unix_find(addr, len, SOCK_DGRAM);
		if (is_err(to))
			return (int)ptr_err(to);
		if (!unix_may_send(u, to)) {
			unix_put(to);
			return -EPERM;
		}
	}
	old = unix_peer_get(u);
	if (old && old != to) {
		/* What a former peer sent is not to be read any more. */
		unix_purge(u);
		unix_disconnect(u, old);
	}
	if (old)
		unix_put(old);
	if (!to)
		return 0;
	spin_lock(&unix_lock);
	spin_lock(&u->lock);
	if (!u->peer && !u->dead) {
		unix_get(to);
		u->peer = to;
		u->state = UNIX_CONNECTED;
		waitq_add_waiter(&to->peer_wait, &u->peer_wake);
	}
	spin_unlock(&u->lock);
	spin_unlock(&unix_lock);
	unix_put(to);
	return 0;
}

int unix_connect(struct socket *s, const void *addr, u32 len, bool nonblock)
{
	struct unix_sock *u = unix_of(s);
	int err;

	if (!unix_connected_type(u))
		return connect_dgram(u, addr, len);
	err = unix_check_addr(addr, len);
	if (!err && sock_flag(&s->c, SOCKF_PASSCRED) && !u->name)
		err = unix_autobind(u);
	return err ?: connect_stream(u, addr, len, nonblock);
}

int unix_listen(struct socket *s, int backlog)
{
	struct unix_sock *u = unix_of(s);
	u32 n = (u32)backlog > SOMAXCONN ? SOMAXCONN : (u32)backlog;
	int err = 0;

	if (!unix_connected_type(u))
		return -EOPNOTSUPP;
	if (!__atomic_load_n(&u->name, __ATOMIC_ACQUIRE))
		return -EINVAL;
	spin_lock(&unix_lock);
	if (u->state == UNIX_CONNECTED) {
		err = -EINVAL;
	} else {
		u->backlog = n;
		u->state = UNIX_LISTENING;
		s->c.peer = sock_own_cred();
		WRITE_ONCE(s->c.listening, 1);
	}
	spin_unlock(&unix_lock);
	if (!err)
		waitq_wake(&u->peer_wait, WR_EVENTS, 0);
	return err;
}

struct unix_sock *unix_take_pending(struct unix_sock *u)
{
	struct unix_sock *n = NULL;

	spin_lock(&unix_lock);
	if (!list_empty(&u->pending)) {
		n = list_first(&u->pending, struct unix_sock, accept_link);
		list_del(&n->accept_link);
		u->nr_pending--;
	}
	spin_unlock(&unix_lock);
	return n;
}

struct socket *unix_accept(struct socket *s, bool nonblock)
{
	struct unix_sock *u = unix_of(s), *n;
	u64 timeo = READ_ONCE(s->c.rcvtimeo), deadline = sock_deadline(timeo);
	long r;

	if (!unix_connected_type(u))
		return err_ptr(-EOPNOTSUPP);
	if (READ_ONCE(u->state) != UNIX_LISTENING)
		return err_ptr(-EINVAL);
	while (!(n = unix_take_pending(u))) {
		if (READ_ONCE(u->shutdown) & RCV_SHUTDOWN)
			return err_ptr(-EINVAL);
		if (nonblock)
			return err_ptr(-EAGAIN);
		r = sock_wait_result(
			wait_event_exclusive(&u->rd_wait,
					     !list_empty(&u->pending) || READ_ONCE(u->shutdown) & RCV_SHUTDOWN,
					     deadline),
			timeo);
		if (r)
			return err_ptr(r);
	}
	waitq_wake(&u->peer_wait, WR_EVENTS, 1);
	return &n->sock;
}
