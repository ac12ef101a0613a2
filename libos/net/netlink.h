/*
 * netlink.h - netlink sockets among themselves: netlink.c the socket, rtnetlink.c the answers.
 */
#ifndef LIBOS_NET_NETLINK_H
#define LIBOS_NET_NETLINK_H

#include <linux/netlink.h>

#include "libos/lib/types.h"

/* Linux fills no datagram of a dump beyond what a reader with a page of room can take. */
#define NL_DATAGRAM_MAX 3840u

/* Messages on their way to one socket. */
struct nl_reply {
	struct netlink_sock *to;
	u32 portid, seq; /* of the request */
	u32 len, start; /* bytes; where the message that is being made begins */
	int err; /* something did not fit */
	u8 buf[NL_DATAGRAM_MAX] __attribute__((aligned(8)));
};

/*
 * Begins a message with `size` zeroed bytes of header of its kind, which are returned; a full datagram is sent off
 * first. nl_end() it before the next one.
 */
void *nl_begin(struct nl_reply *r, u16 type, u16 flags, u32 size);
void nl_attr(struct nl_reply *r, u16 type, const void *data, u32 len);
static inline void nl_attr_u32(struct nl_reply *r, u16 type, u32 v)
{
	nl_attr(r, type, &v, sizeof(v));
}
void nl_end(struct nl_reply *r);

/*
 * rtnetlink.c: answers the request h, whose h->nlmsg_len bytes are there, into r: 0 (an ACK follows if it was
 * asked for), -EINTR (a dump: there is no ACK), or the -errno to report.
 */
int rtnetlink_request(struct nl_reply *r, const struct nlmsghdr *h);

#endif
