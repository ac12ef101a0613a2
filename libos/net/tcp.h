/*
 * tcp.h - TCP (RFC 9293 and companions) as the socket layer sees it.
 *
 * tcp_*.c are the protocol: they know packets, sequence numbers and timers, and nothing of files, user
 * memory or sleeping. inet_stream.c is the socket: blocking, copying, options' numbers. Between them:
 *
 *   - A struct tcp_sock is reference-counted. tcp_create() gives one reference to the socket; the protocol
 *     keeps its own while the connection lives, so that it can be closed in the background.
 *   - tp->lock, a spin lock, guards everything that is not said to be otherwise. Functions below take it
 *     themselves; nobody sleeps or touches user memory under it.
 *   - What the socket waits for is announced on tp->wq with EPOLL* bits, after the lock was released or under
 *     it (waiters take no lock of ours).
 *   - Received data is a list of packets whose payload is data..; the socket detaches some,
 *     copies them to the user without the lock, and says how much was consumed, which opens the window.
 *   - Data to send goes in as nbufs already filled from user memory.
 */
#ifndef LIBOS_NET_TCP_H
#define LIBOS_NET_TCP_H

#include "libos/lib/spinlock.h"
#include "libos/net/netif.h"
#include "libos/sched/timer.h"
#include "libos/sched/wait.h"

/* As linux/tcp.h and TCP_INFO number them. */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};

/* Options that the socket layer sets before or during a connection; ns and bytes. Under tp->lock. */
struct tcp_opts {
	bool nodelay, cork, quickack, keepalive, reuseaddr, reuseport, oobinline;
	bool linger_on;
	u64 linger_ns;
	u64 keep_idle_ns, keep_intvl_ns; /* 7200 s, 75 s */
	u32 keep_cnt; /* 9 */
	u64 user_timeout_ns; /* RFC 5482; 0: none */
	u32 maxseg; /* 0: from the path */
	u32 syn_retries; /* 6 */
	u32 defer_accept_s;
	u64 linger2_ns; /* FIN_WAIT2 of an orphan: 60 s */
	u32 sndbuf, rcvbuf; /* as getsockopt reports; when the user set them, no autotuning */
	bool sndbuf_set, rcvbuf_set;
	u32 rcvlowat; /* 1 */
	u32 notsent_lowat; /* ~0: none */
	u8 tos, ttl; /* 0: default 64 */
	char congestion[16]; /* "cubic" or "reno" */
	u64 ino; /* of the socket and its owner, for /proc/net/tcp */
	u32 uid;
};

struct tcp_sock; /* tcp_internal.h: only tcp_*.c and the tests look inside */

/* A closed one. NULL: no memory. */
struct tcp_sock *tcp_create(u16 family);
void tcp_get(struct tcp_sock *tp);
void tcp_put(struct tcp_sock *tp);

spinlock_t *tcp_lock(struct tcp_sock *tp);
struct waitq *tcp_waitq(struct tcp_sock *tp);
struct tcp_opts *tcp_opts(struct tcp_sock *tp); /* under the lock */
/* To be called, without the lock, after options were changed: timers, windows, pending data follow them. */
void tcp_opts_changed(struct tcp_sock *tp);
enum tcp_state tcp_state(const struct tcp_sock *tp); /* any context, a snapshot */
struct endpoint tcp_local(struct tcp_sock *tp);
struct endpoint tcp_remote(struct tcp_sock *tp);

/* -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL (bound already). Port 0 picks one. Linux's rules of SO_REUSEADDR and SO_REUSEPORT. */
int tcp_bind(struct tcp_sock *tp, const struct endpoint *local);
/* -EINVAL, -EADDRINUSE; binds to a free port if need be. backlog as listen(2), capped at 4096. May be called again. */
int tcp_listen(struct tcp_sock *tp, int backlog);
/* A connection that is ready, one reference to the caller; NULL: none (look at EPOLLIN). */
struct tcp_sock *tcp_accept(struct tcp_sock *tp);
/* Sends the SYN: 0 (now SYN_SENT), -EISCONN, -EALREADY, -ECONNREFUSED..., -EADDRNOTAVAIL, -ENETUNREACH. */
int tcp_connect(struct tcp_sock *tp, const struct endpoint *remote);

/* Bytes that may be appended now; 0: wait for EPOLLOUT. -EPIPE, -ENOTCONN, or the pending error (not cleared). */
ssize_t tcp_send_room(struct tcp_sock *tp);
/*
 * Appends nr ranges, taking over one reference of each nbuf even on failure. push: no MSG_MORE. Bytes
 * appended (all of them), or -errno. Small data may be copied behind what is there: nbufs are freed then.
 */
ssize_t tcp_send(struct tcp_sock *tp, const struct pkt_frag *frags, u32 nr, bool push);
/*
 * Takes received packets, at most about max bytes of payload, off the queue onto `list` (data, len, frags:
 * payload only; the last may be split so that no more than max is taken). Value: bytes; 0: none now.
 */
size_t tcp_recv_take(struct tcp_sock *tp, struct list_head *list, size_t max);
/* For MSG_PEEK: copies references instead (clones), from byte offset `skip` of the queue. */
size_t tcp_recv_peek(struct tcp_sock *tp, struct list_head *list, size_t skip, size_t max);
/* Puts back in front what could not be copied to the user (EFAULT half-way). */
void tcp_recv_untake(struct tcp_sock *tp, struct list_head *list);
/* n bytes were given to the user: opens the window, perhaps sends an update; autotuning. */
void tcp_recv_consumed(struct tcp_sock *tp, size_t n);
/* Bytes to read; and whether the peer's FIN is next behind them. */
size_t tcp_recv_avail(struct tcp_sock *tp, bool *fin);
/* Urgent data (MSG_OOB): the byte, or -EINVAL none, -EAGAIN not there yet. */
int tcp_recv_oob(struct tcp_sock *tp, bool peek);
int tcp_send_oob(struct tcp_sock *tp, u8 byte);
bool tcp_at_mark(struct tcp_sock *tp);
/* Not yet acknowledged; not yet sent (SIOCOUTQ, SIOCOUTQNSD). */
u32 tcp_outq(struct tcp_sock *tp);
u32 tcp_outq_unsent(struct tcp_sock *tp);

/* SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2. -ENOTCONN. */
int tcp_shutdown(struct tcp_sock *tp, int how);
/*
 * The file is gone: orderly close in the background, or a reset (unread data, linger 0). Does not put
 * the caller's reference. SO_LINGER with time: the caller waits for tcp_close_done() first.
 */
void tcp_close(struct tcp_sock *tp);
bool tcp_close_done(struct tcp_sock *tp);
/* connect(AF_UNSPEC): back to closed, reset to the peer. */
int tcp_disconnect(struct tcp_sock *tp);
/* The pending error (positive errno), cleared: SO_ERROR. Peek: tcp_error_pending. */
int tcp_take_error(struct tcp_sock *tp);
int tcp_error_pending(struct tcp_sock *tp);
/* EPOLL* bits that hold now. */
u32 tcp_poll_mask(struct tcp_sock *tp);
/* struct tcp_info (linux/tcp.h), as much of it as we know; returns its length. */
u32 tcp_info(struct tcp_sock *tp, void *buf, u32 size);
/*
 * Bytes sent and not acknowledged, and to be read; of a listener the connections to accept. The
 * socket's inode, 0: it has none any more. With the lock held, as in tcp_for_each().
 */
void tcp_queues(const struct tcp_sock *tp, u32 *tx, u32 *rx, u64 *ino);
/* For /proc/net/tcp: fn for each socket, with its lock held. */
void tcp_for_each(void (*fn)(struct tcp_sock *tp, void *arg), void *arg);

/* The end of the instance: closes all connections. Then bytes, FINs included, that other hosts have not acknowledged. */
void tcp_exit(void);
u64 tcp_exit_unfinished(void);

/* Once at boot; sizes tables. */
int tcp_init(void);

#endif
