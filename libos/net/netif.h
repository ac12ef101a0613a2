/*
 * netif.h - network interfaces, addresses without a length, routes, and the loop that feeds the stack.
 *
 * Received packets run in "softirq" context: net_poll(), called by kthreads between uthreads and on the way
 * out of socket calls, with no lock held. It is never entered twice on one kthread, cannot sleep, and may
 * take spin locks that system calls take too, as nothing preempts the library OS.
 *
 *   sockets (socket.c, inet_*.c) -> tcp*.c, udp.c -> ipv4*.c, icmp.c, arp.c -> netif: virtio.c, loopback.c
 */
#ifndef LIBOS_NET_NETIF_H
#define LIBOS_NET_NETIF_H

#include "libos/net/pkt.h"

struct kthread;

/* An address whose length only its family's own files know; bytes in network order, the rest zero. */
struct netaddr {
	u16 family; /* AF_INET; 0: unspecified */
	u16 spare;
	u8 b[16];
};

struct endpoint {
	struct netaddr addr;
	u16 port; /* host byte order */
};

static inline bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
	return a->family == b->family && !__builtin_memcmp(a->b, b->b, sizeof(a->b));
}

#define NETIF_UP 1u
#define NETIF_LOOPBACK 2u
#define NETIF_CSUM 4u /* finishes PKT_CSUM_PARTIAL itself */
#define NETIF_TSO 8u /* cuts packets with gso_size itself */
#define NETIF_ARP 16u /* Ethernet: next hops are resolved */

struct netif {
	struct list_head link;
	char name[16];
	u32 index; /* as if_nametoindex(3): lo is 1 */
	u32 flags;
	u32 mtu; /* of IP packets */
	u8 lladdr[6];
	/*
	 * Sends an Ethernet frame (NETIF_ARP) or a bare IP packet (loopback). Takes over p. May drop:
	 * -ENOBUFS. Any context.
	 */
	int (*xmit)(struct netif *nif, struct pkt *p);
	u64 rx_packets, rx_bytes, rx_dropped, tx_packets, tx_bytes, tx_dropped; /* approximate */
};

/* netif.c. Interfaces are made at boot or by tests and never go. */
void netif_add(struct netif *nif);
struct netif *netif_by_index(u32 index);
struct netif *netif_by_name(const char *name);
/* For each: for (n = netif_next(NULL); n; n = netif_next(n)) */
struct netif *netif_next(struct netif *after);

/* A received frame (NETIF_ARP) or IP packet, softirq context. Takes over p. Implemented by ipv4.c. */
void netif_receive(struct netif *nif, struct pkt *p);

/* Boot: loopback, and the NIC if boot->net says that there is one. */
struct control_boot;
int net_init(const struct control_boot *boot);
/* Boot, after vfs_init() and before any process runs: /etc/resolv.conf and our line of /etc/hosts. */
void net_etc_files(const struct control_boot *boot);
/*
 * Pool and tables, which come only with the first socket that can send a packet: whoever makes one
 * calls this before. Any number of times; -ENOMEM.
 */
int net_start(void);
/* Runs what has arrived for this kthread and for parked siblings. True if anything did. Not
 * re-entrant: returns false. */
bool net_poll(struct kthread *kt);
/* Something arrived and net_poll() would find work. Cheap. */
bool net_pending(struct kthread *kt);
/*
 * For busy kthreads, whenever they pass by (switches of uthreads, socket and poll calls): polls if
 * something was sent to this host itself, or if the last look at the NIC is NET_POLL_CYCLES ago.
 */
void net_poll_due(struct kthread *kt);
#define NET_POLL_CYCLES 25000 /* about 10 us */

/*
 * The end of the program (netexit.c): closes connections. True: something is still on its way; then the caller, a
 * uthread, stops the other threads and calls net_exit_wait(), which sleeps until peers have it or do not answer.
 */
bool net_exit_begin(void);
void net_exit_wait(void);

/* For the scheduler of uthreads. */
bool net_has_nic(void);
/*
 * Whether the device announces packets on this kthread's queue. On from the start; off only while
 * the kthread polls all the time. Acts as a full fence, so that net_pending() after switching it on
 * misses nothing.
 */
void net_events(struct kthread *kt, bool on);
/* When a kthread that parks wants to look again though nothing arrives (CLOCK_MONOTONIC ns):
 * packets wait to be sent. */
u64 net_deadline(struct kthread *kt, u64 now);
#define NET_BACKLOG_NS 50000
/* Makes the scheduler look at the control words, if it sleeps. */
void net_doorbell(void);

/* Where packets to an address go. Filled by route_lookup(); cached by sockets while gen is route_gen(). */
struct route {
	struct netif *nif;
	struct netaddr src; /* source address to use */
	struct netaddr next_hop; /* on the link */
	u32 mtu; /* largest IP packet on this path, header included */
	u32 hdr_len; /* bytes of the IP header that ip_output adds */
	u32 gen;
};

/* Implemented by ipv4*.c, dispatching on family: what the layers above know of IP. */

struct ctl_net;
/*
 * Boot, once, when the NIC's interface was added: our address, network and gateway. A net without an address
 * (or none of the two: NULL) leaves loopback alone. -EINVAL: an address that cannot be one; the NIC gets none then.
 */
int ipv4_configure(const struct ctl_net *net, struct netif *nif);

/*
 * -ENETUNREACH, -EAFNOSUPPORT; -EINVAL: from src no packet can go there. src, if its family is set and it is not
 * "any", is the address that the socket is bound to. A dst of "any" means this host: send to r->next_hop then.
 */
int route_lookup(const struct netaddr *dst, const struct netaddr *src, struct route *r);
u32 route_gen(void);
/*
 * A path carries no more than mtu bytes: called by the transport when it believes an -EMSGSIZE that tcp_error or
 * udp_error gave it. Changes route_gen(); forgotten after 10 minutes (RFC 1191, 6.3). Any context, leaf lock.
 */
void route_pmtu_update(const struct netaddr *dst, u32 mtu);
/* Is it one of ours (loopback, our own address)? */
bool netaddr_is_local(const struct netaddr *a);
bool netaddr_is_any(const struct netaddr *a);
bool netaddr_is_broadcast(const struct netaddr *a); /* broadcast or multicast */
bool netaddr_is_loopback(const struct netaddr *a);
void netaddr_any(struct netaddr *a, u16 family);
/* sockaddr <-> endpoint. -EINVAL: too short; -EAFNOSUPPORT: another family. Length written. */
int endpoint_from_sockaddr(struct endpoint *e, const void *sa, u32 len);
u32 endpoint_to_sockaddr(const struct endpoint *e, void *sa);
/* "10.0.0.2" */
#define NETADDR_PRINT_MAX 46
int netaddr_print(const struct netaddr *a, char *buf, size_t size);
/* "10.0.0.2:80" for logs and /proc */
int endpoint_print(const struct endpoint *e, char *buf, size_t size);
/* Sum for the pseudo-header (RFC 9293, 3.1), to go on with: len is that of header and data. */
u32 pseudo_sum(const struct netaddr *src, const struct netaddr *dst, u8 proto, u32 len);

/* What an IP packet said, for the transport. */
struct ip_info {
	struct netaddr src, dst;
	u8 ttl, tos, proto;
	bool broadcast; /* the link-layer or the IP destination is not only us */
	u8 hdr_len;
	const u8 *hdr; /* the IP header as it came, for ICMP to quote; NULL: not known */
};

/* An address of an interface, for getifaddrs(3) and the SIOCGIF* calls. */
struct ifaddr {
	struct netaddr addr, broadcast; /* broadcast.family 0: none */
	u32 prefix_len; /* bits */
	u32 addr_len; /* bytes */
	bool host_only; /* not to be seen from outside: scope host */
};
/* The i-th address of nif, or false. */
bool netif_ifaddr(const struct netif *nif, u32 i, struct ifaddr *a);
/* A network that the interface of a route leads to directly, or by a gateway; for dumps of the routing table. */
struct route_entry {
	struct netif *nif;
	struct netaddr dst, gateway, src; /* gateway.family 0: on the link; dst is any if prefix_len is 0 */
	u32 prefix_len;
};
/* The i-th route, or false. */
bool route_entry(u32 i, struct route_entry *r);

#define IP_DF 1u /* do not fragment */
/*
 * Sends p, whose data begins with the transport header, from src to dst. Takes over p. Softirq or system
 * call context; locks of sockets may be held. 0, or -errno (dropped; -EMSGSIZE: too long and IP_DF).
 */
int ip_output(struct pkt *p, const struct route *r, const struct netaddr *src, const struct netaddr *dst,
	      u8 proto, u8 ttl, u8 tos, u32 flags);

/*
 * Transports, called with data at the transport header; take over p. They verify the checksum unless
 * PKT_CSUM_OK. tcp_error, udp_error: an ICMP error about a packet of ours came; hdr are the first 8 bytes of the
 * transport header that we had sent; err is an errno, mtu that of -EMSGSIZE (fragmentation needed).
 */
void tcp_input(struct pkt *p, const struct ip_info *ip);
void udp_input(struct pkt *p, const struct ip_info *ip);
void tcp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8], int err, u32 mtu, bool hard);
void udp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8], int err, u32 mtu, bool hard);
/* ICMP "port unreachable" about p (data at the transport header; not taken over); rate-limited. */
void icmp_port_unreachable(struct pkt *p, const struct ip_info *ip);

/* Random 32 bits for sequence numbers, ports, identifiers: lib/random.c. */
#endif
