/*
 * frame.h - an Ethernet frame on its way through the switch: a private copy of its headers, and
 * what they say.
 *
 * Pure functions over memory; no DPDK, no state. The payload stays where it is (the sender's
 * region, an mbuf) and may change while it is copied: nothing that is decided here depends on it.
 */
#ifndef JUNCTION_SCHEDULER_FRAME_H
#define JUNCTION_SCHEDULER_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "libos/abi/nic.h"

#define ETH_LEN 14u
#define ETH_TYPE_IPV4 0x0800
#define ETH_TYPE_ARP 0x0806
#define ARP_LEN 28u
#define ARP_REQUEST 1
#define ARP_REPLY 2
#define FRAME_HEAD 192u /* Ethernet, and the longest IPv4 and TCP headers */
#define FRAME_MAX_SEGMENTS                                                                         \
	128u /* that one segmentation offload may make: 65535 bytes of 536 and a little */

enum frame_kind { FRAME_IPV4, FRAME_ARP, FRAME_OTHER };

struct frame {
	struct nic_hdr hdr; /* what the receiver will be told; checked against the frame */
	uint32_t len;	    /* bytes, Ethernet header included */
	uint32_t head_len;
	uint8_t head[FRAME_HEAD];	     /* private copy of the first bytes */
	struct iovec iov[1 + NIC_MAX_CHAIN]; /* the whole frame; iov[0] is head */
	unsigned niov;

	/* frame_parse(): addresses in network byte order */
	enum frame_kind kind;
	uint32_t src, dst; /* IPv4 */
	uint16_t ip_len;   /* total length, of header and data */
	uint8_t proto;
	bool fragment;
	uint16_t
		l4_off; /* from the start of the frame; 0: fragment, or no transport header in it */
	uint16_t arp_op;
	uint8_t arp_sha[6];
	uint32_t hash; /* equal for both directions of a flow */
};

/* Takes the frame of `len` bytes in from[0..n); n at most NIC_MAX_CHAIN. hdr becomes that of "no
 * offload". */
void frame_load(struct frame *f, const struct iovec *from, unsigned n, uint32_t len);

/* Reads Ethernet, ARP, IPv4 headers and ports. False: malformed. */
bool frame_parse(struct frame *f);

/*
 * Checks the offload header that came with a parsed frame from an instance, and takes over what is
 * true of it into f->hdr. False: it does not fit the frame, or a frame without segmentation is
 * longer than the MTU.
 */
bool frame_offload(struct frame *f, const struct nic_hdr *hdr, uint32_t mtu);

/* Internet checksum (RFC 1071) of `len` bytes, at most 4 GiB, added to `sum`, unfolded. */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);
/* The folded, inverted sum, in memory order. */
uint16_t csum_fold(uint64_t sum);

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = (uint8_t)v;
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, v >> 16);
	put_be16(p + 2, (uint16_t)v);
}

/* Network order, as it stands in memory. */
static inline uint32_t get_raw32(const uint8_t *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, 4);
	return v;
}

#endif
