/*
 * inet_stream.h - TCP sockets among their own files: inet_stream.c the connection, inet_stream_io.c sending and
 * receiving, inet_stream_opt.c the options. Below them is tcp.h.
 */
#ifndef LIBOS_NET_INET_STREAM_H
#define LIBOS_NET_INET_STREAM_H

#include "libos/net/socket.h"
#include "libos/net/tcp.h"

/* What connect(2) last did, beside the state of the protocol: it decides what the next connect answers. */
enum stream_state { STREAM_UNCONNECTED, STREAM_CONNECTING, STREAM_CONNECTED };

struct inet_stream {
	struct socket sock;
	struct tcp_sock *tp; /* one reference; the same for life */
	struct mutex read_lock; /* readers take, copy and put back one after the other; not held while waiting */
	u32 state; /* enum stream_state */
	u8 pmtudisc; /* IP_PMTUDISC_*: WANT or DO, which are the same to TCP */
	int notsent_lowat; /* TCP_NOTSENT_LOWAT as it was set */
	s8 linger2; /* TCP_LINGER2 was set negative */
};

static inline struct inet_stream *stream_of(struct socket *s)
{
	return container_of(s, struct inet_stream, sock);
}

/* inet_stream_io.c */
ssize_t inet_stream_sendmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock);
ssize_t inet_stream_recvmsg(struct socket *s, struct sock_msg *m, int flags, bool nonblock);

/* inet_stream_opt.c */
int inet_stream_setsockopt(struct socket *s, int level, int name, const void *val, u32 len);
int inet_stream_getsockopt(struct socket *s, int level, int name, void *val, u32 *len);
void inet_stream_option_changed(struct socket *s, int name);

#endif
