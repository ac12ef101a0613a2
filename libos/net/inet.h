/*
 * inet.h - the sockets of the Internet and netlink families, for socket.c.
 */
#ifndef LIBOS_NET_INET_H
#define LIBOS_NET_INET_H

#include "libos/net/netif.h"
#include "libos/net/socket.h"

/* inet_stream.c, udp_socket.c. -ESOCKTNOSUPPORT, -EPROTONOSUPPORT, -ENOMEM */
int inet_stream_create(u16 family, int protocol, struct socket **s);
int inet_dgram_create(u16 family, int protocol, struct socket **s);
/* netlink.c: NETLINK_ROUTE, what getifaddrs(3) and if_nametoindex(3) ask. */
int netlink_create(int type, int protocol, struct socket **s);

/* inet_ioctl.c: SIOCGIFCONF and its kind, for any socket. -ENOTTY: not one of them. */
long inet_ioctl(unsigned cmd, u64 arg);

#endif
