/*
 * unix.c - AF_UNIX sockets: making them, options, poll, shutdown, and their end. The plan is in unix.h.
 */
#include "libos/net/unix.h"

#include <asm/ioctls.h>
#include <asm/socket.h>
#include <linux/eventpoll.h>

#include "libos/fs/procfs.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/net/procnet.h"

spinlock_t unix_lock;
static struct list_head all_sockets = LIST_HEAD_INIT(all_sockets);

void unix_put(struct unix_sock *u)
{
	if (__atomic_fetch_sub(&u->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	spin_lock(&unix_lock);
	list_del(&u->all_link);
	spin_unlock(&unix_lock);
	unix_name_put(u->name);
	kfree(u, sizeof(*u));
}

struct unix_sock *unix_peer_get(struct unix_sock *u)
{
	struct unix_sock *peer;

	spin_lock(&u->lock);
	peer = u->peer;
	if (peer)
		unix_get(peer);
	spin_unlock(&u->lock);
	return peer;
}

void unix_wake_all(struct unix_sock *u)
{
	waitq_wake(&u->rd_wait, RD_EVENTS | EPOLLRDHUP | EPOLLHUP | EPOLLERR, 0);
	waitq_wake(&u->wr_wait, WR_EVENTS | EPOLLHUP | EPOLLERR, 0);
}

/* On the peer's peer_wait: there is room again. */
static bool peer_wake(struct waiter *w, u32 events)
{
	struct unix_sock *u = container_of(w, struct unix_sock, peer_wake);

	if (__atomic_exchange_n(&u->want_room, 0, __ATOMIC_ACQ_REL))
		waitq_wake(&u->wr_wait, WR_EVENTS, 0);
	return false;
}

struct unix_sock *unix_alloc(int type)
{
	struct unix_sock *u = kzalloc(sizeof(*u));

	if (!u)
		return NULL;
	u->sock = (struct socket){ .ops = &unix_ops, .family = AF_UNIX, .type = type };
	sock_common_init(&u->sock.c);
	u->refs = 1;
	u->backlog = UNIX_MAX_DGRAM_QLEN;
	list_init(&u->queue);
	list_init(&u->pending);
	list_init(&u->accept_link);
	list_init(&u->gc_link);
	mutex_init(&u->read_lock);
	mutex_init(&u->bind_lock);
	waitq_init(&u->rd_wait);
	waitq_init(&u->wr_wait);
	waitq_init(&u->peer_wait);
	list_init(&u->peer_wake.link);
	u->peer_wake.fn = peer_wake;
	spin_lock(&unix_lock);
	list_add_tail(&u->all_link, &all_sockets);
	spin_unlock(&unix_lock);
	return u;
}

int unix_socket_create(int type, int protocol, struct socket **s)
{
	struct unix_sock *u;

	if (protocol && protocol != AF_UNIX)
		return -EPROTONOSUPPORT;
	if (type == SOCK_RAW)
		type = SOCK_DGRAM; /* as Linux, for compatibility */
	if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
		return -ESOCKTNOSUPPORT;
	u = unix_alloc(type);
	if (!u)
		return -ENOMEM;
	*s = &u->sock;
	return 0;
}

int unix_socket_pair(int type, int protocol, struct socket *out[2])
{
	int err = unix_socket_create(type, protocol, &out[0]);

	if (err)
		return err;
	err = unix_socket_create(type, protocol, &out[1]);
	if (err) {
		unix_release(out[0]);
		return err;
	}
	unix_join(unix_of(out[0]), unix_of(out[1]));
	out[0]->c.peer = out[1]->c.peer = sock_own_cred();
	return 0;
}

void unix_peer_gone(struct unix_sock *u, bool reset)
{
	spin_lock(&u->lock);
	u->shutdown = BOTH_SHUTDOWN;
	if (reset)
		sock_set_error(&u->sock.c, ECONNRESET);
	spin_unlock(&u->lock);
	unix_wake_all(u);
}

/* u, which nobody uses any more, lets go of the other end of its connection. */
static void drop_peer(struct unix_sock *u)
{
	struct unix_sock *peer;

	spin_lock(&unix_lock);
	spin_lock(&u->lock);
	peer = u->peer;
	u->peer = NULL;
	spin_unlock(&u->lock);
	spin_unlock(&unix_lock);
	if (peer)
		unix_put(peer);
}

/* The connections that nobody accepted. */
static void release_pending(struct unix_sock *u)
{
	struct unix_sock *n;

	while ((n = unix_take_pending(u))) {
		n->dead = 1;
		unix_peer_gone(n->peer, true);
		drop_peer(n);
		unix_purge(n);
		unix_put(n);
	}
}

void unix_release(struct socket *s)
{
	struct unix_sock *u = unix_of(s), *peer = unix_peer_get(u);
	bool unread;

	unix_unbind(u);
	spin_lock(&unix_lock);
	spin_lock(&u->lock);
	u->dead = 1;
	u->shutdown = BOTH_SHUTDOWN;
	unread = !list_empty(&u->queue);
	spin_unlock(&u->lock);
	u->state = UNIX_CLOSED;
	spin_unlock(&unix_lock);
	if (peer && unix_connected_type(u)) {
		unix_peer_gone(peer, unread);
		drop_peer(u);
	} else if (peer) {
		unix_disconnect(u, peer);
	}
	waitq_wake(&u->peer_wait, WR_EVENTS | EPOLLHUP, 0);
	release_pending(u);
	unix_purge(u);
	if (peer)
		unix_put(peer);
	u->sock.file = NULL;
	unix_put(u);
	unix_gc();
}

static int unix_shutdown(struct socket *s, int how)
{
	struct unix_sock *u = unix_of(s), *peer = unix_peer_get(u);
	u32 mine = (u32)how + 1;
	u32 theirs = (mine & RCV_SHUTDOWN ? SEND_SHUTDOWN : 0) | (mine & SEND_SHUTDOWN ? RCV_SHUTDOWN : 0);

	spin_lock(&u->lock);
	u->shutdown |= mine;
	spin_unlock(&u->lock);
	if (peer && unix_connected_type(u)) {
		spin_lock(&peer->lock);
		peer->shutdown |= theirs;
		spin_unlock(&peer->lock);
		unix_wake_all(peer);
	}
	unix_wake_all(u);
	waitq_wake(&u->peer_wait, WR_EVENTS | EPOLLHUP, 0); /* nobody gets into a closed queue any more */
	if (peer)
		unix_put(peer);
	return 0;
}

/* A connected datagram socket is writable only if its peer, which answers to somebody else, has room. */
static bool peer_has_room(struct unix_sock *u)
{
	struct unix_sock *peer;
	bool room = true;

	if (unix_connected_type(u) || !READ_ONCE(u->peer))
		return true;
	peer = unix_peer_get(u);
	if (!peer)
		return true;
	if (READ_ONCE(peer->peer) != u && unix_queue_full(peer)) {
		__atomic_store_n(&u->want_room, 1, __ATOMIC_SEQ_CST);
		room = !unix_queue_full(peer);
	}
	unix_put(peer);
	return room;
}

static u32 unix_poll(struct socket *s, struct poll_table *pt)
{
	struct unix_sock *u = unix_of(s);
	u32 mask = 0, shut;

	poll_wait(pt, s->file, &u->rd_wait);
	poll_wait(pt, s->file, &u->wr_wait);
	shut = READ_ONCE(u->shutdown);
	if (READ_ONCE(s->c.err))
		mask |= EPOLLERR;
	if (shut == BOTH_SHUTDOWN || (unix_connected_type(u) && READ_ONCE(u->state) == UNIX_CLOSED))
		mask |= EPOLLHUP;
	if (shut & RCV_SHUTDOWN)
		mask |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
	if (!list_empty(&u->queue) || !list_empty(&u->pending))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(u->state) != UNIX_LISTENING && unix_writable(u) && peer_has_room(u))
		mask |= WR_EVENTS;
	return mask;
}

static long unix_ioctl(struct socket *s, unsigned cmd, u64 arg)
{
	struct unix_sock *u = unix_of(s);
	u64 v = 0;

	switch (cmd) {
	case FIONREAD:
		if (READ_ONCE(u->state) == UNIX_LISTENING)
			return -EINVAL;
		spin_lock(&u->lock);
		if (unix_connected_type(u))
			v = u->nr_bytes;
		else if (!list_empty(&u->queue))
			v = list_first(&u->queue, struct unix_msg, link)->len;
		spin_unlock(&u->lock);
		break;
	case TIOCOUTQ:
		v = READ_ONCE(u->wmem);
		break;
	default:
		return -ENOTTY;
	}
	return put_user_u32((u32)min(v, (u64)INT32_MAX), (void *)arg);
}

static int unix_setsockopt(struct socket *s, int level, int name, const void *val, u32 len)
{
	return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
}

static int unix_getsockopt(struct socket *s, int level, int name, void *val, u32 *len)
{
	return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
}

static void unix_option_changed(struct socket *s, int name)
{
	if (name == SO_SNDBUF || name == SO_SNDBUFFORCE)
		waitq_wake(&unix_of(s)->wr_wait, WR_EVENTS, 0);
}

const struct socket_ops unix_ops = {
	.bind = unix_bind,
	.connect = unix_connect,
	.listen = unix_listen,
	.accept = unix_accept,
	.getname = unix_getname,
	.sendmsg = unix_sendmsg,
	.recvmsg = unix_recvmsg,
	.shutdown = unix_shutdown,
	.setsockopt = unix_setsockopt,
	.getsockopt = unix_getsockopt,
	.option_changed = unix_option_changed,
	.features = SOCK_FEAT_PASSCRED | SOCK_FEAT_RCVLOWAT | SOCK_FEAT_TIMESTAMP,
	.poll = unix_poll,
	.ioctl = unix_ioctl,
	.release = unix_release,
};

/* proc_net(5). The name is printed as it is, but a NUL in front or inside becomes '@'. */
void procnet_unix(struct text *t, const struct inode *i)
{
	struct unix_sock *u;

	text_printf(t, "Num       RefCount Protocol Flags    Type St Inode Path\n");
	spin_lock(&unix_lock);
	list_for_each_entry(u, &all_sockets, all_link) {
		struct unix_name *n = READ_ONCE(u->name);
		bool listening = u->state == UNIX_LISTENING;

		text_printf(t, "%016x: %08X 00000000 %08X %04X %02X %5lu", 0, u->refs,
			    listening ? 0x10000u : 0, (u32)u->sock.type,
			    u->state == UNIX_CONNECTED ? 3 : 1, u->sock.file ? u->sock.c.ino : 0);
		if (n) {
			u32 len = n->len - 2 - (n->addr[2] != 0);

			text_printf(t, " ");
			for (u32 k = 0; k < len; k++)
				text_printf(t, "%c", n->addr[2 + k] ?: '@');
		}
		text_printf(t, "\n");
	}
	spin_unlock(&unix_lock);
}
