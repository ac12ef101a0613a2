/*
 * later.c - weak answers of the parts of the network that may be missing from a build.
 *
 * The parts that are there define these strongly.
 */
#include "libos/net/inet.h"
#include "libos/net/tcp.h"

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

WEAK int tcp_init(void)
{
	return 0;
}
