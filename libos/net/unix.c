/*
 * unix.c - AF_UNIX sockets: pairs, with data, ancillary descriptors and credentials; unix(7).
 *
 * A socket holds the messages sent to it. A stream is a queue of messages too, read across their
 * boundaries except where descriptors were passed, as Linux does. Names (bind, listen, connect) are not
 * there yet and say so.
 *
 * Locks: s->lock guards the queue and the shutdown state of s and is a leaf; it is never held across a copy
 * from or to the application. s->read_lock orders readers, and is held across such copies but not while
 * waiting for data. A pair refers to each other by counted pointers that never change.
 */
#include <asm/fcntl.h>
#include <asm/socket.h>
#include <linux/eventpoll.h>

#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/net/socket.h"
#include "libos/platform/hostcall.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define UNIX_BUF_DEFAULT 212992u /* net.core.wmem_default */
#define UNIX_BUF_MIN 4608u
#define UNIX_STREAM_CHUNK 32768u /* largest piece of a stream in one message */
#define UNIX_MAX_DGRAM_QLEN 10 /* net.unix.max_dgram_qlen */
#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define SCM_MAX_FD 253
#define SOL_SOCKET_LEVEL 1
#define FIONREAD 0x541b
#define SIOCOUTQ 0x5411
#define SIOCATMARK 0x8905
#define RCV_SHUTDOWN 1u
#define SEND_SHUTDOWN 2u

/* struct cmsghdr */
struct cmsghdr_k {
	u64 len;
	s32 level, type;
};
#define CMSG_ALIGN_K(n) (((n) + 7ul) & ~7ul)

struct unix_msg {
	struct list_head link;
	u32 len, off; /* bytes of data, how many are read already */
	u32 nr_files;
	struct file **files;
	struct sock_cred cred;
	u8 data[];
};

struct unix_sock {
	struct socket sock;
	u32 refs;
	spinlock_t lock;
	struct mutex read_lock;
	struct list_head queue;
	u32 queued_bytes, queued_msgs;
	u32 shutdown; /* RCV_SHUTDOWN | SEND_SHUTDOWN */
	u32 dead; /* its file is closed */
	struct waitq rd_wait, wr_wait; /* wr_wait: writers to this socket's queue */
	struct unix_sock *peer; /* NULL: not connected */
};

static struct unix_sock *unix_of(struct socket *s)
{
	return container_of(s, struct unix_sock, sock);
}

static bool stream(const struct unix_sock *u)
{
	return u->sock.type == SOCK_STREAM;
}

static void msg_free(struct unix_msg *m)
{
	for (u32 i = 0; i < m->nr_files; i++)
		file_put(m->files[i]);
	if (m->files)
		kfree(m->files, m->nr_files * sizeof(*m->files));
	kfree(m, sizeof(*m) + m->len);
}

static void unix_put(struct unix_sock *u)
{
	if (__atomic_fetch_sub(&u->refs, 1, __ATOMIC_ACQ_REL) == 1)
		kfree(u, sizeof(*u));
}

static void unix_release(struct socket *s)
{
	struct unix_sock *u = unix_of(s), *peer = u->peer;
	struct list_head dead;

	list_init(&dead);
	spin_lock(&u->lock);
	u->dead = 1;
	u->shutdown = RCV_SHUTDOWN | SEND_SHUTDOWN;
	bool unread = !list_empty(&u->queue);

	while (!list_empty(&u->queue))
		list_move_tail(u->queue.next, &dead);
	u->queued_bytes = u->queued_msgs = 0;
	spin_unlock(&u->lock);
	while (!list_empty(&dead)) {
		struct unix_msg *m = list_first(&dead, struct unix_msg, link);

		list_del(&m->link);
		msg_free(m);
	}
	if (peer) {
		spin_lock(&peer->lock);
		if (u->sock.type != SOCK_DGRAM) {
			peer->shutdown = RCV_SHUTDOWN | SEND_SHUTDOWN;
			if (unread && !peer->sock.c.err)
				peer->sock.c.err = ECONNRESET;
		}
		spin_unlock(&peer->lock);
		waitq_wake(&peer->rd_wait, EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLHUP, 0);
		waitq_wake(&u->wr_wait, EPOLLOUT | EPOLLHUP, 0);
		waitq_wake(&peer->wr_wait, EPOLLOUT | EPOLLHUP, 0);
		unix_put(peer);
	}
	unix_put(u);
}

/* Sending */

static int files_from_user(struct unix_msg *m, u64 ufds, u32 nr)
{
	struct file **files;
	int err = 0;
	u32 i, fd;

	if (nr > SCM_MAX_FD)
		return -EINVAL;
	if (!nr)
		return 0;
	files = kmalloc(nr * sizeof(*files));
	if (!files)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		if (get_user_u32(&fd, (void *)(ufds + i * 4)))
			err = -EFAULT;
		else if (!(files[i] = fd_get_path((int)fd)))
			err = -EBADF;
		if (err)
			break;
	}
	if (err) {
		while (i--)
			file_put(files[i]);
		kfree(files, nr * sizeof(*files));
		return err;
	}
	m->files = files;
	m->nr_files = nr;
	return 0;
}

/* unix(7): without privilege a sender can name only itself. */
static bool may_claim(const struct sock_cred *c)
{
	const struct proc *p = current_proc();
	const struct cred *own = &p->cred;

	if (!own->euid)
		return true;
	return c->pid == p->pid && (c->uid == own->uid || c->uid == own->euid || c->uid == own->suid) &&
	       (c->gid == own->gid || c->gid == own->egid || c->gid == own->sgid);
}

/* Descriptors and credentials of the control buffer: into m, or -errno. */
static int control_parse(struct unix_msg *m, const struct sock_msg *sm)
{
	u64 at = sm->control, end = at + sm->controllen;

	while (end - at >= sizeof(struct cmsghdr_k)) {
		struct cmsghdr_k c;

		if (copy_from_user(&c, (void *)at, sizeof(c)))
			return -EFAULT;
		if (c.len < sizeof(c) || c.len > end - at)
			return -EINVAL;
		u64 data = at + sizeof(c), n = c.len - sizeof(c);

		if (c.level == SOL_SOCKET_LEVEL && c.type == SCM_RIGHTS) {
			int err = m->files ? -EINVAL : files_from_user(m, data, n / sizeof(s32));

			if (err)
				return err;
		} else if (c.level == SOL_SOCKET_LEVEL && c.type == SCM_CREDENTIALS) {
			if (n != sizeof(m->cred))
				return -EINVAL;
			if (copy_from_user(&m->cred, (void *)data, sizeof(m->cred)))
				return -EFAULT;
			if (!may_claim(&m->cred))
				return -EPERM;
		} else if (c.level == SOL_SOCKET_LEVEL) {
			return -EINVAL;
		}
		if (CMSG_ALIGN_K(c.len) > end - at)
			break;
		at += CMSG_ALIGN_K(c.len);
	}
	return 0;
}

static bool has_room(struct unix_sock *to, struct unix_sock *from, u32 n)
{
	if (stream(to))
		return READ_ONCE(to->queued_bytes) < READ_ONCE(from->sock.c.sndbuf);
	return READ_ONCE(to->queued_msgs) < UNIX_MAX_DGRAM_QLEN + 1 &&
	       (!READ_ONCE(to->queued_bytes) || READ_ONCE(to->queued_bytes) + n <= READ_ONCE(from->sock.c.sndbuf));
}

static bool cannot_send(struct unix_sock *u, struct unix_sock *peer)
{
	return READ_ONCE(u->shutdown) & SEND_SHUTDOWN || READ_ONCE(peer->shutdown) & RCV_SHUTDOWN ||
	       READ_ONCE(peer->dead);
}

/* Puts one message with the next n bytes of sm into the peer's queue; n or -errno. */
static long send_piece(struct unix_sock *u, struct sock_msg *sm, u32 n, bool first, bool nonblock)
{
	struct unix_sock *peer = u->peer;
	struct unix_msg *m = kmalloc(sizeof(*m) + n);
	long r = 0;

	if (!m)
		return -ENOMEM;
	m->len = n;
	m->off = m->nr_files = 0;
	m->files = NULL;
	m->cred = sock_own_cred();
	if (first && sm->controllen)
		r = control_parse(m, sm);
	if (!r && iov_copy_from(&sm->it, m->data, n) != n)
		r = -EFAULT;
	while (!r) {
		spin_lock(&peer->lock);
		if (cannot_send(u, peer)) {
			r = peer->dead && u->sock.type == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE;
		} else if (has_room(peer, u, n)) {
			list_add_tail(&m->link, &peer->queue);
			peer->queued_bytes += n;
			peer->queued_msgs++;
			spin_unlock(&peer->lock);
			waitq_wake(&peer->rd_wait, EPOLLIN | EPOLLRDNORM, 1);
			return n;
		}
		spin_unlock(&peer->lock);
		if (!r && nonblock)
			r = -EAGAIN;
		if (!r) {
			r = wait_event(&peer->wr_wait, has_room(peer, u, n) || cannot_send(u, peer),
				       sock_deadline(u->sock.c.sndtimeo));
			r = sock_wait_result(r, u->sock.c.sndtimeo);
		}
	}
	msg_free(m);
	return r;
}

static ssize_t unix_sendmsg(struct socket *s, struct sock_msg *sm, int flags, bool nonblock)
{
	struct unix_sock *u = unix_of(s);
	size_t done = 0;
	long r;

	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (!u->peer)
		return sm->namelen ? -EOPNOTSUPP : -ENOTCONN;
	if (sm->namelen)
		return s->type == SOCK_DGRAM ? -EOPNOTSUPP : -EISCONN;
	if (u->sock.c.err && !cannot_send(u, u->peer)) {
		spin_lock(&u->lock);
		r = -u->sock.c.err;
		u->sock.c.err = 0;
		spin_unlock(&u->lock);
		if (r)
			return r;
	}
	if (!stream(u)) {
		if (sm->it.count > u->sock.c.sndbuf - 32)
			return -EMSGSIZE;
		return send_piece(u, sm, sm->it.count, true, nonblock);
	}
	/* An empty send puts nothing into a stream: a message without bytes would look like its end. */
	r = u->shutdown & SEND_SHUTDOWN ? -EPIPE : 0;
	while (r >= 0 && sm->it.count) {
		r = send_piece(u, sm, min(sm->it.count, (size_t)UNIX_STREAM_CHUNK), !done, nonblock);
		if (r > 0)
			done += r;
	}
	if (done)
		return done;
	if (r == -EPIPE && !(flags & MSG_NOSIGNAL))
		signal_sigpipe();
	return r;
}

/* Receiving */

/* Installs the descriptors of m for the receiver and writes the control buffer. */
static void control_give(struct unix_sock *u, struct unix_msg *m, struct sock_msg *sm, bool peek)
{
	bool cloexec = sm->flags & MSG_CMSG_CLOEXEC;

	if (sock_flag(&u->sock.c, SOCKF_PASSCRED))
		sock_put_cmsg(sm, SOL_SOCKET, SCM_CREDENTIALS, &m->cred, sizeof(m->cred));
	if (m->nr_files) {
		u64 room = sm->controllen - sm->control_used;
		u32 fit = room < sizeof(struct cmsghdr_k) ? 0 : (room - sizeof(struct cmsghdr_k)) / 4;
		u32 nr = min(fit, m->nr_files), i;
		s32 *fds = nr ? kmalloc(nr * sizeof(*fds)) : NULL;

		for (i = 0; fds && i < nr; i++) {
			file_get(m->files[i]);
			fds[i] = fd_install(m->files[i], 0, cloexec ? FD_CLOEXEC : 0);
			if (fds[i] < 0) {
				file_put(m->files[i]);
				break;
			}
		}
		if (i < m->nr_files)
			sm->flags |= MSG_CTRUNC;
		if (i)
			sock_put_cmsg(sm, SOL_SOCKET, SCM_RIGHTS, fds, i * sizeof(*fds));
		if (fds)
			kfree(fds, nr * sizeof(*fds));
		if (!peek) {
			for (i = 0; i < m->nr_files; i++)
				file_put(m->files[i]);
			kfree(m->files, m->nr_files * sizeof(*m->files));
			m->files = NULL;
			m->nr_files = 0;
		}
	}
}

static bool can_receive(struct unix_sock *u)
{
	return !list_empty(&u->queue) || READ_ONCE(u->shutdown) & RCV_SHUTDOWN || READ_ONCE(u->sock.c.err);
}

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
	u->queued_bytes -= n;
	gone = m->off == m->len;
	if (gone) {
		list_del(&m->link);
		u->queued_msgs--;
	}
	spin_unlock(&u->lock);
	if (gone)
		msg_free(m);
}

static ssize_t receive_stream(struct unix_sock *u, struct sock_msg *sm, int flags, size_t *done)
{
	struct unix_msg *m = queue_head(u, NULL);
	bool peek = flags & MSG_PEEK, first = !*done;

	while (m && sm->it.count) {
		u32 n = min((size_t)(m->len - m->off), sm->it.count);
		bool had_files = m->nr_files;

		/* Descriptors arrive with the first byte of their message and end what one call reads. */
		if (had_files && !first)
			return 1;
		if (iov_copy_to(&sm->it, m->data + m->off, n) != n)
			return *done ? 1 : -EFAULT;
		if (first)
			control_give(u, m, sm, peek);
		first = false;
		*done += n;
		if (peek) {
			m = queue_head(u, m);
		} else {
			consume(u, m, n);
			m = queue_head(u, NULL);
		}
		if (had_files)
			return 1;
	}
	return 0;
}

static ssize_t receive_packet(struct unix_sock *u, struct sock_msg *sm, int flags, struct unix_msg *m)
{
	u32 n = min((size_t)m->len, sm->it.count), len = m->len;

	if (iov_copy_to(&sm->it, m->data, n) != n)
		return -EFAULT;
	control_give(u, m, sm, flags & MSG_PEEK);
	if (n < len)
		sm->flags |= MSG_TRUNC;
	if (!(flags & MSG_PEEK)) {
		m->off = 0;
		consume(u, m, len);
	}
	return flags & MSG_TRUNC ? len : n;
}

static ssize_t unix_recvmsg(struct socket *s, struct sock_msg *sm, int flags, bool nonblock)
{
	struct unix_sock *u = unix_of(s), *peer = u->peer;
	u64 deadline = sock_deadline(u->sock.c.rcvtimeo);
	size_t done = 0;
	ssize_t r = 0;

	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (!peer && s->type != SOCK_DGRAM)
		return stream(u) ? -EINVAL : -ENOTCONN;
	for (;;) {
		struct unix_msg *m;
		bool stop = false;

		mutex_lock(&u->read_lock);
		m = queue_head(u, NULL);
		if (m && stream(u)) {
			r = receive_stream(u, sm, flags, &done);
			stop = r || !(flags & MSG_WAITALL) || flags & MSG_PEEK || !sm->it.count;
		} else if (m) {
			r = receive_packet(u, sm, flags, m);
			stop = true;
		} else {
			spin_lock(&u->lock);
			if (u->sock.c.err) {
				r = -u->sock.c.err;
				u->sock.c.err = 0;
				stop = true;
			} else if (u->shutdown & RCV_SHUTDOWN || (stream(u) && !sm->it.count)) {
				stop = true;
			}
			spin_unlock(&u->lock);
		}
		mutex_unlock(&u->read_lock);
		if (peer && m && !(flags & MSG_PEEK))
			waitq_wake(&u->wr_wait, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND, 0);
		if (stop)
			break;
		if (nonblock) {
			r = -EAGAIN;
			break;
		}
		r = sock_wait_result(wait_event_exclusive(&u->rd_wait, can_receive(u), deadline), u->sock.c.rcvtimeo);
		if (r)
			break;
	}
	if (done)
		return done;
	return stream(u) && r > 0 ? 0 : r;
}

/* The rest */

static int unix_shutdown(struct socket *s, int how)
{
	struct unix_sock *u = unix_of(s), *peer = u->peer;
	u32 mine = how + 1, theirs = (mine & RCV_SHUTDOWN ? SEND_SHUTDOWN : 0) |
				     (mine & SEND_SHUTDOWN ? RCV_SHUTDOWN : 0);

	spin_lock(&u->lock);
	u->shutdown |= mine;
	spin_unlock(&u->lock);
	waitq_wake(&u->rd_wait, EPOLLIN | EPOLLRDHUP | EPOLLHUP, 0);
	waitq_wake(&u->wr_wait, EPOLLOUT, 0);
	if (peer && s->type != SOCK_DGRAM) {
		spin_lock(&peer->lock);
		peer->shutdown |= theirs;
		spin_unlock(&peer->lock);
		waitq_wake(&peer->rd_wait, EPOLLIN | EPOLLRDHUP | EPOLLHUP, 0);
		waitq_wake(&peer->wr_wait, EPOLLOUT, 0);
	}
	return 0;
}

static u32 unix_poll(struct socket *s, struct poll_table *pt)
{
	struct unix_sock *u = unix_of(s), *peer = u->peer;
	u32 mask = 0, shut;

	poll_wait(pt, s->file, &u->rd_wait);
	if (peer)
		poll_wait(pt, s->file, &peer->wr_wait);
	shut = READ_ONCE(u->shutdown);
	if (READ_ONCE(u->sock.c.err))
		mask |= EPOLLERR;
	if (shut == (RCV_SHUTDOWN | SEND_SHUTDOWN) || (!peer && s->type != SOCK_DGRAM))
		mask |= EPOLLHUP;
	if (shut & RCV_SHUTDOWN)
		mask |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
	if (!list_empty(&u->queue))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (!peer || has_room(peer, u, 1))
		mask |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
	return mask;
}

static int unix_getname(struct socket *s, void *addr, u32 *len, bool peer)
{
	u16 family = AF_UNIX;

	if (peer && !unix_of(s)->peer)
		return -ENOTCONN;
	memcpy(addr, &family, sizeof(family));
	*len = sizeof(family);
	return 0;
}

static long unix_ioctl(struct socket *s, unsigned cmd, u64 arg)
{
	struct unix_sock *u = unix_of(s);
	u32 v = 0;

	switch (cmd) {
	case FIONREAD:
		spin_lock(&u->lock);
		if (u->sock.type != SOCK_DGRAM)
			v = u->queued_bytes;
		else if (!list_empty(&u->queue))
			v = list_first(&u->queue, struct unix_msg, link)->len;
		spin_unlock(&u->lock);
		break;
	case SIOCOUTQ:
		v = u->peer ? READ_ONCE(u->peer->queued_bytes) : 0;
		break;
	default:
		return -ENOTTY;
	}
	return put_user_u32(v, (void *)arg);
}

static int unix_setsockopt(struct socket *s, int level, int name, const void *val, u32 len)
{
	return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
}

static int unix_getsockopt(struct socket *s, int level, int name, void *val, u32 *len)
{
	return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
}

static const struct socket_ops unix_ops = {
	.getname = unix_getname,
	.sendmsg = unix_sendmsg,
	.recvmsg = unix_recvmsg,
	.shutdown = unix_shutdown,
	.setsockopt = unix_setsockopt,
	.getsockopt = unix_getsockopt,
	.features = SOCK_FEAT_PASSCRED,
	.poll = unix_poll,
	.ioctl = unix_ioctl,
	.release = unix_release,
};

int unix_socket_create(int type, int protocol, struct socket **s)
{
	struct unix_sock *u;

	if (protocol && protocol != AF_UNIX)
		return -EPROTONOSUPPORT;
	if (type == SOCK_RAW)
		type = SOCK_DGRAM; /* as Linux, for compatibility */
	if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
		return -ESOCKTNOSUPPORT;
	u = kzalloc(sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->sock = (struct socket){ .ops = &unix_ops, .family = AF_UNIX, .type = type };
	u->refs = 1;
	sock_common_init(&u->sock.c);
	list_init(&u->queue);
	mutex_init(&u->read_lock);
	waitq_init(&u->rd_wait);
	waitq_init(&u->wr_wait);
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
	unix_of(out[0])->peer = unix_of(out[1]);
	unix_of(out[1])->peer = unix_of(out[0]);
	unix_of(out[0])->refs = unix_of(out[1])->refs = 2;
	out[0]->c.peer = out[1]->c.peer = sock_own_cred();
	return 0;
}
