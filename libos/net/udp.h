/*
 * udp.h - UDP among its own files: udp.c the protocol, udp_socket.c the socket, ipv4_sockopt.c its
 * IP options.
 *
 * Locks, in this order: udp_sock.ctl (a mutex: bind, connect, automatic bind) -> the lock of a
 * port's bucket -> udp_sock.lock. `local` and `remote` change under the last two together, so
 * either is enough to read them.
 */
#ifndef LIBOS_NET_UDP_H
#define LIBOS_NET_UDP_H

#include "libos/net/netif.h"
#include "libos/net/socket.h"
#include "libos/sched/wait.h"

#define UDP_HDR_LEN 8u
#define UDP_MAX_DATA 65507u /* what an IPv4 packet without options holds */
#define UDP_ERRQ_MAX 32u

/* What an error about one of our packets says; beyond udp_error(), for IP_RECVERR. */
struct icmp_event {
	u8 type, code;
	int err;     /* positive errno */
	bool hard;   /* final, as RFC 1122 understands it */
	bool remote; /* an ICMP message of `from`; else we found out by ourselves */
	u32 mtu;     /* of EMSGSIZE */
	struct netaddr from;
};

/* Options of level IPPROTO_IP. Single words, read without a lock. */
struct ipv4_opts {
	u8 tos;
	u8 ttl;	     /* 0: default */
	u8 pmtudisc; /* IP_PMTUDISC_* */
	bool recverr, pktinfo, recvttl, recvtos;
};

/* What IP_RECVERR keeps of an error. */
struct udp_err {
	struct list_head link;
	struct icmp_event ev;
	struct endpoint dst; /* where the packet had gone */
};

struct udp_sock {
	struct socket sock;
	u32 refs;
	u32 uid; /* of its maker: SO_REUSEPORT is for one user's sockets */
	struct mutex ctl;
	spinlock_t lock;       /* what follows, but for what is said of locks above */
	struct udp_sock *next; /* in the bucket, under its lock */
	bool hashed;
	bool addr_bound,
		port_bound;	/* by bind(2): connect(AF_UNSPEC) does not undo it. Under ctl */
	struct endpoint local;	/* address any, port 0: not yet */
	struct endpoint remote; /* family 0: not connected */
	struct route route;	/* to remote */
	bool route_valid;
	struct list_head rxq;	/* of struct pkt, data only; cb: struct udp_cb */
	u32 rxq_len, rxq_bytes; /* bytes as charged against SO_RCVBUF */
	struct list_head errq;	/* of struct udp_err */
	u32 errq_len;
	u32 shutdown; /* 1: receiving, 2: sending */
	bool dead;
	u32 drops;
	struct waitq wq;
	struct ipv4_opts opts;
};

/* In pkt.cb while a datagram waits. */
struct udp_cb {
	u64 realtime; /* CLOCK_REALTIME ns when it came, 0: not asked for */
	struct endpoint from;
	struct netaddr dst;
	u32 charge;
	u32 ifindex;
	u8 ttl, tos;
};
_Static_assert(sizeof(struct udp_cb) <= sizeof(((struct pkt *)0)->cb), "pkt.cb");

static inline struct udp_cb *udp_cb(struct pkt *p)
{
	return (struct udp_cb *)p->cb;
}

static inline struct udp_sock *udp_of(struct socket *s)
{
	return container_of(s, struct udp_sock, sock);
}

struct udp_stats {
	u64 in_datagrams, no_ports, in_errors, out_datagrams, rcvbuf_errors, csum_errors;
};
extern struct udp_stats udp_stats;

/* udp.c */

void udp_get(struct udp_sock *u);
/* The last one frees it. */
void udp_put(struct udp_sock *u);
/*
 * Gives u a port, under u->ctl. Port 0 of `local` picks one. -EADDRINUSE. Rules of SO_REUSEADDR and
 * SO_REUSEPORT as Linux: two sockets may have the same if both say so.
 */
int udp_bind_port(struct udp_sock *u, const struct endpoint *local);
/* Takes u's port away. Under u->ctl, or with nobody else there. */
void udp_unbind(struct udp_sock *u);
/* Sets addresses of a socket that has a port, for packets that come. Under u->ctl. */
void udp_set_addrs(struct udp_sock *u, const struct netaddr *local, const struct endpoint *remote);
/* Takes the next datagram off the queue, or with peek a clone of it. NULL: none; *err: the pending
 * error. */
struct pkt *udp_take(struct udp_sock *u, bool peek, int *err);
/* As udp_error(), with all that is known. */
void udp_icmp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8],
		    const struct icmp_event *ev);
/* Queues an error for IP_RECVERR and makes it the pending one; takes u->lock and wakes. */
void udp_post_error(struct udp_sock *u, const struct icmp_event *ev, const struct endpoint *dst);
/* fn for each bound socket, the bucket's lock held. */
void udp_for_each(void (*fn)(struct udp_sock *u, void *arg), void *arg);

/* ipv4_sockopt.c: -ENOPROTOOPT, -EINVAL, -ENOTCONN (IP_MTU). */
int ipv4_setsockopt(struct ipv4_opts *o, int name, const void *val, u32 len);
/* mtu: of the connected path, 0: not connected. */
int ipv4_getsockopt(const struct ipv4_opts *o, u32 mtu, int name, void *val, u32 *len);
/* Control messages of a datagram that is being received, as the options ask for. */
void ipv4_recv_cmsgs(const struct ipv4_opts *o, const struct udp_cb *cb, struct sock_msg *m);
/* The control message of an error. */
void ipv4_error_cmsg(const struct icmp_event *ev, struct sock_msg *m);

/* What control messages say of a packet to be sent. */
struct ip_send {
	struct netaddr src; /* family 0: not said */
	u32 ifindex;	    /* 0: any */
	u8 ttl, tos;
};
/* Changes `to` as the control messages of m say. -EINVAL, -EFAULT. */
int ipv4_send_cmsgs(struct sock_msg *m, struct ip_send *to);
/* Flags of ip_output() for a datagram, whose route's MTU this may widen; -EMSGSIZE. total with the
 * IP header. */
int ipv4_pmtu_rule(const struct ipv4_opts *o, struct route *r, u32 total, u32 *flags);

#endif
