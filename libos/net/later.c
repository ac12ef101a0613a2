/*
 * later.c - weak answers of the parts of the network that may be missing from a build.
 *
 * The parts that are there define these strongly.
 */
#include "libos/net/inet.h"

#define WEAK __attribute__((weak))

WEAK int inet_stream_create(u16 family, int protocol, struct socket **s)
{
	return -EAFNOSUPPORT;
}

WEAK int inet_dgram_create(u16 family, int protocol, struct socket **s)
{
	return -EAFNOSUPPORT;
}

WEAK int netlink_create(int type, int protocol, struct socket **s)
{
	return -EAFNOSUPPORT;
}

WEAK struct netif *netif_by_index(u32 index)
{
	return NULL;
}

WEAK struct netif *netif_by_name(const char *name)
{
	return NULL;
}

WEAK struct netif *netif_next(struct netif *after)
{
	return NULL;
}

WEAK bool net_poll(struct kthread *kt)
{
	return false;
}

WEAK bool net_pending(struct kthread *kt)
{
	return false;
}

WEAK long inet_ioctl(unsigned cmd, u64 arg)
{
	return -ENOTTY;
}

WEAK void tcp_input(struct pkt *p, const struct ip_info *ip)
{
	pkt_free(p);
}

WEAK void tcp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8], int err,
		    u32 mtu, bool hard)
{
}
