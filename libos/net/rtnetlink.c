/*
 * rtnetlink.c - what NETLINK_ROUTE answers: links, addresses, routes; rtnetlink(7). Changes are EPERM.
 */
#include <linux/rtnetlink.h>

#include "libos/lib/string.h"
#include "libos/net/netif.h"
#include "libos/net/netlink.h"

/* net/if.h and linux/if.h cannot be had without a C library's headers */
/* linux/if_arp.h */
#define ARPHRD_ETHER 1
#define ARPHRD_LOOPBACK 772
#define IFF_UP 0x1u
#define IFF_BROADCAST 0x2u
#define IFF_LOOPBACK 0x8u
#define IFF_RUNNING 0x40u
#define IFF_MULTICAST 0x1000u
#define IFF_LOWER_UP 0x10000u
#define OPER_UNKNOWN 0
#define OPER_UP 6
#define TX_QUEUE_LEN 1000u
#define AF_UNSPEC 0
#define AF_INET 2

static u32 link_flags(const struct netif *nif)
{
	u32 kind = nif->flags & NETIF_LOOPBACK ? IFF_LOOPBACK : IFF_BROADCAST | IFF_MULTICAST;

	return kind | (nif->flags & NETIF_UP ? IFF_UP | IFF_RUNNING | IFF_LOWER_UP : 0);
}

static void put_stats(struct nl_reply *r, const struct netif *nif)
{
	struct rtnl_link_stats64 s = {
		.rx_packets = nif->rx_packets, .tx_packets = nif->tx_packets, .rx_bytes = nif->rx_bytes,
		.tx_bytes = nif->tx_bytes,     .rx_dropped = nif->rx_dropped, .tx_dropped = nif->tx_dropped,
	};

	nl_attr(r, IFLA_STATS64, &s, sizeof(s));
}

static void put_link(struct nl_reply *r, const struct netif *nif, u16 flags)
{
	bool lo = nif->flags & NETIF_LOOPBACK;
	struct ifinfomsg *m = nl_begin(r, RTM_NEWLINK, flags, sizeof(*m));
	const u8 operstate = lo ? OPER_UNKNOWN : OPER_UP, zero = 0, one = 1;
	u8 broadcast[6];

	m->ifi_type = lo ? ARPHRD_LOOPBACK : ARPHRD_ETHER;
	m->ifi_index = (int)nif->index;
	m->ifi_flags = link_flags(nif);
	memset(broadcast, lo ? 0 : 0xff, sizeof(broadcast));
	nl_attr(r, IFLA_IFNAME, nif->name, (u32)strlen(nif->name) + 1);
	nl_attr_u32(r, IFLA_TXQLEN, TX_QUEUE_LEN);
	nl_attr(r, IFLA_OPERSTATE, &operstate, 1);
	nl_attr(r, IFLA_LINKMODE, &zero, 1);
	nl_attr_u32(r, IFLA_MTU, nif->mtu);
	nl_attr_u32(r, IFLA_GROUP, 0);
	nl_attr_u32(r, IFLA_PROMISCUITY, 0);
	nl_attr_u32(r, IFLA_NUM_TX_QUEUES, 1);
	nl_attr_u32(r, IFLA_NUM_RX_QUEUES, 1);
	nl_attr(r, IFLA_CARRIER, &one, 1);
	nl_attr(r, IFLA_QDISC, "noqueue", 8);
	nl_attr(r, IFLA_ADDRESS, nif->lladdr, sizeof(nif->lladdr));
	nl_attr(r, IFLA_BROADCAST, broadcast, sizeof(broadcast));
	put_stats(r, nif);
	nl_end(r);
}

static void put_addr(struct nl_reply *r, const struct netif *nif, const struct ifaddr *a)
{
	struct ifaddrmsg *m = nl_begin(r, RTM_NEWADDR, NLM_F_MULTI, sizeof(*m));
	const struct ifa_cacheinfo forever = { .ifa_prefered = UINT32_MAX, .ifa_valid = UINT32_MAX };

	m->ifa_family = (u8)a->addr.family;
	m->ifa_prefixlen = (u8)a->prefix_len;
	m->ifa_flags = IFA_F_PERMANENT;
	m->ifa_scope = a->host_only ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	m->ifa_index = nif->index;
	nl_attr(r, IFA_ADDRESS, a->addr.b, a->addr_len);
	nl_attr(r, IFA_LOCAL, a->addr.b, a->addr_len);
	if (a->broadcast.family)
		nl_attr(r, IFA_BROADCAST, a->broadcast.b, a->addr_len);
	nl_attr(r, IFA_LABEL, nif->name, (u32)strlen(nif->name) + 1);
	nl_attr_u32(r, IFA_FLAGS, IFA_F_PERMANENT);
	nl_attr(r, IFA_CACHEINFO, &forever, sizeof(forever));
	nl_end(r);
}

static void put_route(struct nl_reply *r, const struct route_entry *e, u32 addr_len, u32 type, u32 table, u16 flags)
{
	struct rtmsg *m = nl_begin(r, RTM_NEWROUTE, flags, sizeof(*m));

	m->rtm_family = (u8)e->dst.family;
	m->rtm_dst_len = (u8)e->prefix_len;
	m->rtm_table = (u8)table;
	m->rtm_protocol = e->gateway.family ? RTPROT_BOOT : RTPROT_KERNEL;
	m->rtm_scope = type == RTN_LOCAL   ? RT_SCOPE_HOST :
		       e->gateway.family ? RT_SCOPE_UNIVERSE :
					     RT_SCOPE_LINK;
	m->rtm_type = (u8)type;
	nl_attr_u32(r, RTA_TABLE, table);
	if (e->prefix_len)
		nl_attr(r, RTA_DST, e->dst.b, addr_len);
	if (e->src.family)
		nl_attr(r, RTA_PREFSRC, e->src.b, addr_len);
	if (e->gateway.family)
		nl_attr(r, RTA_GATEWAY, e->gateway.b, addr_len);
	nl_attr_u32(r, RTA_OIF, e->nif->index);
	nl_end(r);
}

/* The attribute of that kind behind the `size` bytes of the request's own header; NULL: none. */
static const u8 *find_attr(const struct nlmsghdr *h, u32 size, u16 type, u32 *len)
{
	u32 at = NLMSG_HDRLEN + NLMSG_ALIGN(size);

	while (at + NLA_HDRLEN <= h->nlmsg_len) {
		const struct nlattr *a = (const void *)((const u8 *)h + at);

		if (a->nla_len < NLA_HDRLEN || a->nla_len > h->nlmsg_len - at)
			break;
		if ((a->nla_type & NLA_TYPE_MASK) == type) {
			*len = a->nla_len - NLA_HDRLEN;
			return (const u8 *)a + NLA_HDRLEN;
		}
		at += NLA_ALIGN(a->nla_len);
	}
	return NULL;
}

/* RTM_GETLINK for one: by number or by name. */
static int get_link(struct nl_reply *r, const struct nlmsghdr *h)
{
	const struct ifinfomsg *m = NLMSG_DATA(h);
	struct netif *nif = NULL;
	const u8 *name;
	char text[16] = "";
	u32 len;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return -EINVAL;
	name = find_attr(h, sizeof(*m), IFLA_IFNAME, &len);
	if (m->ifi_index > 0) {
		nif = netif_by_index((u32)m->ifi_index);
	} else if (name) {
		memcpy(text, name, min(len, (u32)sizeof(text) - 1));
		nif = netif_by_name(text);
	} else {
		return -EINVAL;
	}
	if (!nif)
		return -ENODEV;
	put_link(r, nif, 0);
	return 0;
}

/* RTM_GETROUTE for one destination: what route_lookup() says. */
static int get_route(struct nl_reply *r, const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	struct route_entry e = {};
	struct route rt;
	const u8 *dst;
	u32 len;
	int err;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return -EINVAL;
	dst = find_attr(h, sizeof(*m), RTA_DST, &len);
	if (!dst || len > sizeof(e.dst.b))
		return -EINVAL;
	e.dst.family = m->rtm_family;
	memcpy(e.dst.b, dst, len);
	err = route_lookup(&e.dst, NULL, &rt);
	if (err)
		return err;
	e.nif = rt.nif;
	e.src = rt.src;
	e.prefix_len = len * 8;
	if (!netaddr_equal(&rt.next_hop, &e.dst))
		e.gateway = rt.next_hop;
	put_route(r, &e, len, netaddr_is_local(&e.dst) ? RTN_LOCAL : RTN_UNICAST,
		  netaddr_is_local(&e.dst) ? RT_TABLE_LOCAL : RT_TABLE_MAIN, 0);
	return 0;
}

static void dump_links(struct nl_reply *r)
{
	for (struct netif *n = netif_next(NULL); n; n = netif_next(n))
		put_link(r, n, NLM_F_MULTI);
}

static void dump_addrs(struct nl_reply *r, u8 family, u32 index)
{
	struct ifaddr a;

	for (struct netif *n = netif_next(NULL); n; n = netif_next(n))
		for (u32 i = 0; netif_ifaddr(n, i, &a); i++)
			if ((family == AF_UNSPEC || family == a.addr.family) && (!index || index == n->index))
				put_addr(r, n, &a);
}

static void dump_routes(struct nl_reply *r, u8 family)
{
	struct route_entry e;
	struct ifaddr a;

	for (u32 i = 0; route_entry(i, &e); i++)
		if (family == AF_UNSPEC || family == e.dst.family)
			put_route(r, &e, 4 * (e.dst.family == AF_INET), RTN_UNICAST, RT_TABLE_MAIN, NLM_F_MULTI);
	for (struct netif *n = netif_next(NULL); n; n = netif_next(n))
		for (u32 i = 0; netif_ifaddr(n, i, &a); i++) {
			if (family != AF_UNSPEC && family != a.addr.family)
				continue;
			e = (struct route_entry){
				.nif = n, .dst = a.addr, .src = a.addr, .prefix_len = a.addr_len * 8
			};
			put_route(r, &e, a.addr_len, RTN_LOCAL, RT_TABLE_LOCAL, NLM_F_MULTI);
		}
}

int rtnetlink_request(struct nl_reply *r, const struct nlmsghdr *h)
{
	u16 type = h->nlmsg_type;
	const struct rtgenmsg *g = NLMSG_DATA(h);
	bool dump = h->nlmsg_flags & NLM_F_DUMP;
	u8 family;

	if (type < RTM_BASE || type > RTM_MAX)
		return -EOPNOTSUPP;
	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*g)))
		return 0;
	/* Kinds go by four: new, del, get, set. */
	if ((type - RTM_BASE) % 4 != 2)
		return -EPERM;
	family = g->rtgen_family;
	switch (type) {
	case RTM_GETLINK:
		if (!dump)
			return get_link(r, h);
		dump_links(r);
		return -EINTR;
	case RTM_GETADDR:
		if (!dump)
			return -EOPNOTSUPP;
		dump_addrs(r, family, 0);
		return -EINTR;
	case RTM_GETROUTE:
		if (!dump)
			return get_route(r, h);
		dump_routes(r, family);
		return -EINTR;
	}
	return -EOPNOTSUPP;
}
