/*
 * unix.h - the inside of AF_UNIX: what unix*.c share. unix(7) is the specification.
 *
 *   unix.c       sockets: making, options, poll, shutdown, the end
 *   unix_name.c  names: files, abstract names, and who is behind them
 *   unix_conn.c  connect, listen, accept
 *   unix_msg.c   sending and receiving
 *   unix_scm.c   descriptors and credentials that travel with messages
 *   unix_gc.c    descriptors that nobody can reach any more, because they are only in each other's queues
 *
 * A socket holds the messages sent to it. A stream is a queue of messages too, read across their
 * boundaries. As on Linux, what is on its way counts against the sender (wmem), which is
 * writable again when three quarters of it are gone.
 *
 * Locks, outermost first: bind_lock, read_lock (may sleep; read_lock is held across copies to the application but not
 * while waiting for data) -> unix_lock (connections and names) -> unix_gc_lock -> u->lock (queue, shutdown; and
 * the peer, which changes under both unix_lock and it). peer_wait's lock is held while wr_wait is woken.
 * A stream's peer is set once and stays as long as its file is open, so its own calls need no reference to it.
 */
#ifndef LIBOS_NET_UNIX_H
#define LIBOS_NET_UNIX_H

#include "libos/fs/vfs.h"
#include "libos/net/socket.h"

#define UNIX_PATH_MAX 108u
#define UNIX_ADDR_MAX (2u + UNIX_PATH_MAX)
#define UNIX_MAX_DGRAM_QLEN 10u /* net.unix.max_dgram_qlen */
#define SOMAXCONN 4096
#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define SCM_MAX_FD 253

#define RCV_SHUTDOWN 1u
#define SEND_SHUTDOWN 2u
#define BOTH_SHUTDOWN 3u

#define WR_EVENTS (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)
#define RD_EVENTS (EPOLLIN | EPOLLRDNORM | EPOLLRDBAND)

enum unix_state { UNIX_CLOSED, UNIX_LISTENING, UNIX_CONNECTED };

/* An address as bind(2) was given it: never changes, shared by a listener and what it accepts. */
struct unix_name {
	u32 refs, len;
	u8 addr[UNIX_ADDR_MAX + 2]; /* struct sockaddr_un; a path ends with NUL */
};

/* What travels with a message. */
struct unix_scm {
	struct sock_cred cred;
	u32 nr_files;
	struct file **files;
};

struct unix_msg {
	struct list_head link;
	struct unix_sock *sender; /* counted */
	u32 len, off; /* bytes of data, how many are read already */
	u32 charge; /* of the sender's wmem */
	struct unix_scm scm;
	u64 stamp; /* CLOCK_REALTIME ns if the receiver wants it */
	u8 data[];
};

struct unix_sock {
	struct socket sock;
	u32 refs;
	u32 state; /* enum unix_state; changes under unix_lock */
	spinlock_t lock;
	u32 shutdown; /* RCV_SHUTDOWN | SEND_SHUTDOWN */
	u32 dead; /* its file is closed */
	u32 wmem; /* bytes on their way; atomic */
	struct list_head queue;
	u32 nr_msgs;
	u64 nr_bytes;
	struct mutex read_lock, bind_lock;
	struct waitq rd_wait, wr_wait;
	struct waitq peer_wait; /* those who wait for room in our queue, or in our backlog */

	struct unix_sock *peer; /* counted */
	struct waiter peer_wake; /* on the peer's peer_wait while a datagram socket is connected */
	u32 want_room; /* wake wr_wait when the peer's queue has room */

	/* listening: under unix_lock */
	struct list_head pending, accept_link; /* connections to accept, and our place among them */
	u32 nr_pending, backlog;

	struct unix_name *name; /* set once */
	struct dentry *dentry; /* of a path */
	struct unix_sock *hash_next;
	struct list_head all_link; /* of all sockets: under unix_lock */

	/* unix_gc.c: under unix_gc_lock */
	struct list_head gc_link;
	u32 inflight; /* messages that hold our file */
	s64 gc_refs;
	u32 gc_state;
};

static inline struct unix_sock *unix_of(struct socket *s)
{
	return container_of(s, struct unix_sock, sock);
}
static inline bool unix_stream(const struct unix_sock *u)
{
	return u->sock.type == SOCK_STREAM;
}
/* Half of a bidirectional connection: all but datagrams. */
static inline bool unix_connected_type(const struct unix_sock *u)
{
	return u->sock.type != SOCK_DGRAM;
}
static inline void unix_get(struct unix_sock *u)
{
	__atomic_fetch_add(&u->refs, 1, __ATOMIC_RELAXED);
}
static inline bool unix_writable(struct unix_sock *u)
{
	return (u64)READ_ONCE(u->wmem) * 4 <= READ_ONCE(u->sock.c.sndbuf);
}
/* Of datagrams: no more fit, whoever sends. Of a listener: the backlog is full. */
static inline bool unix_queue_full(struct unix_sock *u)
{
	return READ_ONCE(u->nr_msgs) > UNIX_MAX_DGRAM_QLEN;
}

extern spinlock_t unix_lock, unix_gc_lock;
extern const struct socket_ops unix_ops;

/* unix.c */
struct unix_sock *unix_alloc(int type);
void unix_put(struct unix_sock *u);
/* The peer with a reference, or NULL. */
struct unix_sock *unix_peer_get(struct unix_sock *u);
/* Wakes everybody who looks at u: its state changed. */
void unix_wake_all(struct unix_sock *u);
/* The other end of a connection has gone: with reset, there was something that it did not read. */
void unix_peer_gone(struct unix_sock *u, bool reset);
void unix_release(struct socket *s);

/* unix_name.c */
int unix_bind(struct socket *s, const void *addr, u32 len);
int unix_autobind(struct unix_sock *u);
void unix_unbind(struct unix_sock *u); /* at its end */
int unix_getname(struct socket *s, void *addr, u32 *len, bool peer);
void unix_name_put(struct unix_name *n);
/* -EINVAL: no address of this family. */
int unix_check_addr(const void *addr, u32 len);
/* The socket behind an address, with a reference, or err_ptr: -ENOENT, -EACCES, -ECONNREFUSED, -EPROTOTYPE... */
struct unix_sock *unix_find(const void *addr, u32 len, int type);

/* unix_conn.c */
int unix_connect(struct socket *s, const void *addr, u32 len, bool nonblock);
int unix_listen(struct socket *s, int backlog);
/* The connection that waits longest for accept(2), off the list; NULL: none. */
struct unix_sock *unix_take_pending(struct unix_sock *u);
struct socket *unix_accept(struct socket *s, bool nonblock);
/* Makes a and b each other's peers, before anybody else sees them connected. */
void unix_join(struct unix_sock *a, struct unix_sock *b);
/* May u send to `to`: is `to` not connected, or to u? */
bool unix_may_send(const struct unix_sock *u, const struct unix_sock *to);
/* A datagram socket leaves its peer `old`, if it still is that. */
void unix_disconnect(struct unix_sock *u, struct unix_sock *old);

/* unix_msg.c */
ssize_t unix_sendmsg(struct socket *s, struct sock_msg *sm, int flags, bool nonblock);
ssize_t unix_recvmsg(struct socket *s, struct sock_msg *sm, int flags, bool nonblock);
/* Takes all messages off u's queue; frees them. */
void unix_purge(struct unix_sock *u);
/* Frees messages that are on no queue; closes what they carry. */
void unix_free_messages(struct list_head *messages);

/* unix_scm.c */
int unix_scm_parse(struct unix_scm *scm, const struct sock_msg *sm);
/* Puts credentials, and the descriptors of scm, which stay in it (peek) or are gone afterwards. */
void unix_scm_give(struct unix_sock *u, struct unix_scm *scm, struct sock_msg *sm);
/* The caller's, as SCM_CREDENTIALS reports them: the real ids. */
void unix_scm_own_cred(struct unix_scm *scm);
int unix_scm_copy(struct unix_scm *to, const struct unix_scm *from);
void unix_scm_free(struct unix_scm *scm);

/* unix_gc.c */
/* The files of scm are about to be on their way: -ETOOMANYREFS. And they are not any more. */
int unix_inflight_add(struct unix_scm *scm);
void unix_inflight_del(struct unix_scm *scm);
/* Frees what only queues refer to that nobody can read. */
void unix_gc(void);

#endif
