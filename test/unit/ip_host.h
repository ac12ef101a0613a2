/*
 * ip_host.h - the IPv4 part of libos/net on the host: an Ethernet interface whose wire is the test,
 * loopback, and recorders in the place of TCP. Beside net_host.h and net_nif.h.
 *
 * We are 10.0.0.2/24 with gateway 10.0.0.1.
 */
#ifndef TEST_UNIT_IP_HOST_H
#define TEST_UNIT_IP_HOST_H

#include "libos/net/ipv4.h"
#include "net_nif.h"

#define IP(a, b, c, d) ((u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define OURS IP(10, 0, 0, 2)
#define GATEWAY IP(10, 0, 0, 1)
#define PEER IP(10, 0, 0, 7)
#define FAR IP(192, 0, 2, 33)

extern struct netif eth0, lo0;
extern const u8 peer_mac[6], gateway_mac[6];

/* Once a process. */
void ip_host_start(void);
/* As that, but the NIC has no address. */
void ip_host_start_loopback(void);
/* Delivers what was sent over loopback; also done by socket_net_poll(). */
void ip_host_pump(void);

/* A packet to be received. Zero fields mean what is usual. */
struct rx {
	u32 src, dst;	    /* PEER, OURS */
	u8 proto, ttl, tos; /* UDP, 64, 0 */
	u16 id;
	u16 frag; /* flags and offset in units of 8 bytes, host byte order */
	const u8 *opts;
	u32 nr_opts; /* a multiple of 4 */
	u32 total;   /* what the header says */
	u8 version_ihl;
	bool bad_csum, link_broadcast;
	const u8 *mac;	   /* destination */
	u32 pad;	   /* bytes behind the packet */
	struct netif *nif; /* eth0 */
};
void rx_ip(const struct rx *r, const void *payload, u32 n);
/* The UDP datagram in buf: its length. */
u32 make_udp(u8 *buf, u32 src, u32 dst, u16 sport, u16 dport, const void *data, u32 n);
/* An ICMP message about a packet of ours (that we might have sent to FAR): into buf, its length. */
u32 make_icmp_error(u8 *buf, u8 type, u8 code, u16 mtu, u32 src, u32 dst, u8 proto, u16 sport,
		    u16 dport);
void rx_arp(u16 op, const u8 sender_mac[6], u32 sender, u32 target);
/* A UDP datagram of `n` bytes goes to dst, from a route made now; what ip_output() says. */
int tx_udp(u32 dst, u32 n, u32 flags);

/* Fields of a frame that was sent. */
const struct ip_hdr *frame_ip(const struct nif_frame *f);
u32 frame_is_arp(const struct nif_frame *f); /* its operation, 0: it is none */
u32 arp_target(const struct nif_frame *f);
/* Makes PEER and the gateway known. */
void know_neighbours(void);

/* What TCP heard. */
struct tcp_seen {
	u32 packets, bytes, errors;
	struct ip_info ip;
	u8 data[256]; /* start of the last packet */
	int err;
	u32 mtu;
	bool hard;
	struct netaddr local, remote;
	u8 hdr[8];
};
extern struct tcp_seen tcp_seen;

/* UDP sockets. libos/net/socket.h is not for files that include a C library's socket headers. */
struct socket;
struct socket *udp_new(void);
int udp_bind_to(struct socket *s, u32 addr, u16 port);
int udp_connect_to(struct socket *s, u32 addr, u16 port);
int udp_disconnect(struct socket *s); /* connect(AF_UNSPEC) */
ssize_t udp_send(struct socket *s, const void *data, u32 n, u32 addr,
		 u16 port); /* addr 0: connected */
ssize_t udp_recv(struct socket *s, void *buf, u32 n, int flags, u32 *addr, u16 *port);
u16 udp_port(struct socket *s);
int opt_set(struct socket *s, int level, int name, int v);
int opt_get(struct socket *s, int level, int name); /* or -errno */
void udp_close(struct socket *s);
extern bool ip_host_privileged; /* what fs_capable() says */

#endif
