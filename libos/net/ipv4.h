/*
 * ipv4.h - IPv4 among its own files (ipv4*.c, arp.c, icmp.c): headers, addresses as numbers,
 * configuration.
 *
 * Numbers called ip4 or of type u32 are addresses in host byte order; struct netaddr is the form
 * that the layers above see.
 */
#ifndef LIBOS_NET_IPV4_H
#define LIBOS_NET_IPV4_H

#include "libos/lib/string.h"
#include "libos/net/netif.h"

#ifndef AF_INET
#define AF_INET 2
#endif

/* RFC 791, 3.1 */
struct ip_hdr {
	u8 vihl, tos;
	u16 len, id, frag;
	u8 ttl, proto;
	u16 csum;
	u8 src[4], dst[4];
} __packed;
_Static_assert(sizeof(struct ip_hdr) == 20, "RFC 791, 3.1");

#define IP_HDR_LEN 20u
#define IP_HDR_MAX 60u
#define IP_MAX_PACKET 65535u
#define IP_FRAG_DF 0x4000u /* of the frag field, in host byte order */
#define IP_FRAG_MF 0x2000u
#define IP_FRAG_OFFSET 0x1fffu
#define IP_DEFAULT_TTL 64
#define IP_PROTO_ICMP 1
#define IP_PROTO_TCP 6
#define IP_PROTO_UDP 17

#define IP4_LOOPBACK 0x7f000001u
#define IP4_BROADCAST 0xffffffffu

/* Below that no path is believed to be; as Linux's min_pmtu: 512 bytes of data and the headers. */
#define IP_MIN_PMTU 552u

#define ETH_HDR_LEN 14u
#define ETH_TYPE_IP 0x0800
#define ETH_TYPE_ARP 0x0806

static inline u32 ip4_load(const u8 b[4])
{
	u32 v;

	__builtin_memcpy(&v, b, sizeof(v));
	return net32(v);
}

static inline void ip4_store(u8 b[4], u32 a)
{
	u32 v = net32(a);

	__builtin_memcpy(b, &v, sizeof(v));
}

static inline u32 ip4_of(const struct netaddr *a)
{
	return ip4_load(a->b);
}

static inline struct netaddr ip4_addr(u32 a)
{
	struct netaddr n = {.family = AF_INET};

	ip4_store(n.b, a);
	return n;
}

static inline bool ip4_is_loopback(u32 a)
{
	return a >> 24 == 127;
}

static inline bool ip4_is_multicast(u32 a)
{
	return a >> 28 == 14;
}

/* Our one network, written at boot only. nif NULL: loopback alone. */
struct ipv4_conf {
	struct netif *nif;
	u32 addr, mask, gateway; /* gateway 0: none */
};
extern struct ipv4_conf ipv4_conf;

/* Events since boot, approximate; as /proc/net/snmp names them. */
struct ipv4_stats {
	u64 in_receives, in_hdr_errors, in_addr_errors, in_unknown_protos, in_delivers;
	u64 out_requests, out_no_routes, out_discards;
	u64 reasm_timeout, reasm_reqds, reasm_oks, reasm_fails, frag_oks, frag_fails, frag_creates;
	u64 icmp_in_msgs, icmp_in_errors, icmp_in_csum_errors, icmp_out_msgs, icmp_out_limited;
};
extern struct ipv4_stats ipv4_stats;

static inline void stat_add(u64 *v, u64 n)
{
	__atomic_store_n(v, __atomic_load_n(v, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void stat_inc(u64 *v)
{
	stat_add(v, 1);
}

/* ipv4_route.c */

/* The loopback interface, NULL before there is one. */
struct netif *ipv4_loopback(void);
/* Ours: 127.0.0.0/8 or the address of the NIC. */
bool ip4_is_ours(u32 a);
/* The limited broadcast address, that of our network, or that of loopback. */
bool ip4_is_broadcast(u32 a);
/* It was agreed once that packets to dst may be no longer than the value (mtu if nothing is known).
 */
u32 pmtu_of(u32 dst, u32 mtu);

/* ipv4_out.c */

/* Adds bytes [off, off + n) of `from` to the end of `to`, by reference. -ENOSPC: PKT_MAX_FRAGS. */
int pkt_add_slice(struct pkt *to, const struct pkt *from, u32 off, u32 n);
/* A copy of p by reference that may get headers in front. NULL: no memory. */
struct pkt *pkt_clone(const struct pkt *p);

/* ipv4_reasm.c */

/*
 * A fragment (data at its IP header, length checked): takes it over. The whole datagram, with a
 * header as if it had never been cut, when this was its last missing piece; else NULL. Softirq.
 */
struct pkt *ipv4_reassemble(struct netif *nif, struct pkt *p);
/* Datagrams and buffers that wait now; for tests. */
u32 ipv4_reasm_count(u32 *nbufs);

/* arp.c */

/* Sends p (data at its IP header) to next_hop on nif's link, now or when its address is known.
 * Takes over p. */
int arp_output(struct netif *nif, u32 next_hop, struct pkt *p);
/* An ARP packet, behind its Ethernet header. Softirq; takes over p. */
void arp_input(struct netif *nif, struct pkt *p);

#define ARP_INCOMPLETE 1 /* asked, no answer yet: packets wait */
#define ARP_REACHABLE 2	 /* confirmed lately */
#define ARP_STALE 3	 /* used as it is, and then asked about */
#define ARP_PROBE 4	 /* used, asked about */
struct arp_info {
	u32 addr;
	u8 mac[6];
	u8 state;
};
/* The i-th entry that is in use from i = *at on, and moves *at behind it. False: no more. */
bool arp_next(u32 *at, struct arp_info *info);
/* Packets that wait for the answer to a request. */
u32 arp_waiting(void);

/* icmp.c */

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAM_PROBLEM 12
#define ICMP_UNREACH_PROTOCOL 2
#define ICMP_UNREACH_PORT 3
#define ICMP_UNREACH_NEEDFRAG 4
#define ICMP_EXCEEDED_REASSEMBLY 1

/* Softirq; data at the ICMP header; takes over p. */
void icmp_input(struct pkt *p, const struct ip_info *ip);
/*
 * An ICMP error about p (data behind the IP header, which ip->hdr holds; not taken over), unless
 * RFC 1122, 3.2.2 forbids it or too many were sent.
 */
void icmp_send_error(u8 type, u8 code, struct pkt *p, const struct ip_info *ip);
/*
 * A packet of ours (data at its IP header) cannot go on: tells the transport, as if a host
 * unreachable had come. No lock held. Not taken over.
 */
void icmp_local_unreachable(struct pkt *p);

#endif
