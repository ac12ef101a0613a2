/*
 * ipv4.c - receiving: from the link to the transports. Nothing in a packet is believed before it
 * was checked.
 *
 * RFC 791, RFC 1122 (3.2.1), RFC 1812 (5.3.7) for addresses that no packet can have.
 */
#include "libos/net/ipv4.h"

#define IPOPT_END 0
#define IPOPT_NOOP 1
#define IPOPT_LSRR 131
#define IPOPT_SSRR 137

/*
 * Options are not ours to act on, but they must be well formed, and nobody shall have packets
 * routed over a third party whose answers then come back: source routes are refused, as Linux does.
 */
static bool options_ok(const u8 *o, u32 n)
{
	u32 i = 0;

	while (i < n && o[i] != IPOPT_END) {
		if (o[i] == IPOPT_NOOP) {
			i++;
			continue;
		}
		if (n - i < 2 || o[i + 1] < 2 || o[i + 1] > n - i)
			return false;
		if (o[i] == IPOPT_LSRR || o[i] == IPOPT_SSRR)
			return false;
		i += o[i + 1];
	}
	return true;
}

/* May a packet with these addresses come in over nif? *broadcast: not for us only. */
static bool addresses_ok(const struct netif *nif, u32 src, u32 dst, bool *broadcast)
{
	/* A source is one host, and not "this network" (we configure nobody by DHCP). */
	if (!(src >> 24) || src >> 28 >= 14 || ip4_is_broadcast(src))
		return false;
	if (nif->flags & NETIF_LOOPBACK) {
		*broadcast |= ip4_is_broadcast(dst);
		return ip4_is_ours(src) && ip4_is_ours(dst);
	}
	/* Loopback addresses never appear on a link, and nobody else has ours. */
	if (nif != ipv4_conf.nif || ip4_is_ours(src) || ip4_is_loopback(dst))
		return false;
	if (dst == ipv4_conf.addr)
		return true;
	*broadcast = true;
	return ip4_is_broadcast(dst); /* of multicast groups we are in none */
}

static void deliver(struct pkt *p, const struct ip_info *ip)
{
	stat_inc(&ipv4_stats.in_delivers);
	switch (ip->proto) {
	case IP_PROTO_TCP:
		tcp_input(p, ip);
		return;
	case IP_PROTO_UDP:
		udp_input(p, ip);
		return;
	case IP_PROTO_ICMP:
		icmp_input(p, ip);
		return;
	}
	stat_inc(&ipv4_stats.in_unknown_protos);
	icmp_send_error(ICMP_UNREACHABLE, ICMP_UNREACH_PROTOCOL, p, ip);
	pkt_free(p);
}

/* p: data at the IP header. broadcast: so the link said. */
static void ipv4_input(struct netif *nif, struct pkt *p, bool broadcast)
{
	u8 copy[IP_HDR_MAX];
	struct ip_info ip = {.broadcast = broadcast, .hdr = copy};
	struct ip_hdr h;
	u32 hlen, total;
	u8 *at;

	stat_inc(&ipv4_stats.in_receives);
	at = pkt_linear(p, IP_HDR_LEN);
	if (!at)
		goto bad;
	hlen = (at[0] & 15u) * 4;
	if (at[0] >> 4 != 4 || hlen < IP_HDR_LEN)
		goto bad;
	at = pkt_linear(p, hlen);
	if (!at)
		goto bad;
	memcpy(&h, at, sizeof(h));
	total = net16(h.len);
	if (total < hlen || total > p->total || csum_fold(csum_add(at, hlen, 0)) != 0xffff)
		goto bad;
	if (hlen > IP_HDR_LEN && !options_ok(at + IP_HDR_LEN, hlen - IP_HDR_LEN))
		goto bad;
	if (!addresses_ok(nif, ip4_load(h.src), ip4_load(h.dst), &ip.broadcast)) {
		stat_inc(&ipv4_stats.in_addr_errors);
		goto drop;
	}
	pkt_trim(p, total); /* Ethernet pads short frames */
	if (net16(h.frag) & (IP_FRAG_MF | IP_FRAG_OFFSET)) {
		p = ipv4_reassemble(nif, p);
		if (!p)
			return;
		at = p->data; /* a header of the same form, all of it linear */
		memcpy(&h, at, sizeof(h));
		hlen = (at[0] & 15u) * 4;
	}
	memcpy(copy, at, hlen);
	pkt_pull(p, hlen);
	ip.hdr_len = hlen;
	ip.src = ip4_addr(ip4_load(h.src));
	ip.dst = ip4_addr(ip4_load(h.dst));
	ip.ttl = h.ttl;
	ip.tos = h.tos;
	ip.proto = h.proto;
	deliver(p, &ip);
	return;
bad:
	stat_inc(&ipv4_stats.in_hdr_errors);
drop:
	nif->rx_dropped++;
	pkt_free(p);
}

void netif_receive(struct netif *nif, struct pkt *p)
{
	bool broadcast;
	u16 type;
	u8 *eth;

	p->nif = nif;
	if (!(nif->flags & NETIF_ARP)) {
		ipv4_input(nif, p, false);
		return;
	}
	eth = pkt_linear(p, ETH_HDR_LEN);
	if (!eth)
		goto drop;
	broadcast = eth[0] & 1;
	if (!broadcast && memcmp(eth, nif->lladdr, 6))
		goto drop; /* somebody else's */
	if (eth[6] & 1)
		goto drop; /* a group sends nothing */
	type = eth[12] << 8 | eth[13];
	pkt_pull(p, ETH_HDR_LEN);
	if (type == ETH_TYPE_IP) {
		ipv4_input(nif, p, broadcast);
		return;
	}
	if (type == ETH_TYPE_ARP) {
		arp_input(nif, p);
		return;
	}
drop:
	nif->rx_dropped++;
	pkt_free(p);
}
