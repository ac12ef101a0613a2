/*
 * pkt.h - packet buffers: reference-counted 2 KiB buffers in memory that the NIC reaches, and packets made of them.
 *
 * With a NIC the pool is the buffer part of its region (abi/nic.h), else memory of the arena, so that
 * loopback works without one. An nbuf is known by its index; its address follows from it. The metadata
 * stands in the arena, never in the region, which the device can write.
 *
 * A packet is a linear part (headers, perhaps all of it), which stands in one nbuf, and fragments, each a
 * range of an nbuf. nbufs may be shared (retransmission, loopback, cloned packets): nobody writes
 * into bytes that another reference may see.
 *
 * Any context, no locks: pools are per kthread, with a shared one behind them.
 */
#ifndef LIBOS_NET_PKT_H
#define LIBOS_NET_PKT_H

#include "libos/abi/nic.h"
#include "libos/lib/list.h"
#include "libos/lib/types.h"

#define NBUF_SIZE NIC_BUF_SIZE
#define NBUF_NONE UINT32_MAX
/* Linear part of a packet that is to be sent: room for Ethernet, IP and transport headers with options. */
#define PKT_HEADROOM 192u
#define PKT_MAX_FRAGS 36u

/* Takes `count` buffers at base as the pool. Called once; -ENOMEM. */
int nbuf_init(void *base, u32 count);
/* One reference. NBUF_NONE: none left. */
u32 nbuf_alloc(void);
void nbuf_get(u32 nb);
void nbuf_put(u32 nb);
/* 1: the caller holds the only reference and may write. */
u32 nbuf_refs(u32 nb);
u8 *nbuf_addr(u32 nb);
/* The nbuf that an address of the pool stands in. */
u32 nbuf_of(const void *p);
/* Buffers not in use, about. Socket buffers grow only while this is more than a quarter of nbuf_total(). */
u32 nbuf_free_count(void);
u32 nbuf_total(void);

struct pkt_frag {
	u32 nb;
	u16 off, len; /* in the nbuf */
};

#define PKT_CSUM_PARTIAL 1u /* tx: the transport checksum field holds the pseudo-header's sum; finish it */
#define PKT_CSUM_OK 2u /* rx: the transport checksum was verified, or never left this host */

struct netif;

struct pkt {
	struct list_head link; /* of whoever owns the packet now */
	struct netif *nif; /* rx: where it came from */
	u8 *data; /* start of what is not consumed yet, in the linear part */
	u32 len; /* linear bytes from data on */
	u32 total; /* len and all fragments */
	u32 head; /* nbuf of the linear part, NBUF_NONE: none */
	u16 nr_frags;
	u16 flags; /* PKT_* */
	u16 gso_size; /* TCP payload bytes a segment; 0: not to be cut */
	u16 csum_start; /* PKT_CSUM_PARTIAL: offset of the transport header in its nbuf, from the nbuf's start */
	u16 csum_offset; /* of the checksum field in the transport header */
	u16 spare;
	u8 cb[72]; /* for the layer that owns the packet */
	struct pkt_frag frags[PKT_MAX_FRAGS];
};

/* A packet with `headroom` bytes before data and room for linear bytes up to the nbuf's end; len 0. NULL: no memory. */
struct pkt *pkt_alloc(u32 headroom);
/* A packet without a linear part yet: for rx, which gives it nbufs. NULL: no memory. */
struct pkt *pkt_alloc_bare(void);
/* Gives back the packet and its references. */
void pkt_free(struct pkt *p);
/* n bytes more in front; NULL (nothing changed) if there is no room or the nbuf is shared. */
u8 *pkt_push(struct pkt *p, u32 n);
/* n linear bytes more at the end (before any fragment); NULL: no room. */
u8 *pkt_put(struct pkt *p, u32 n);
/* Takes n bytes off the front, fragments included; n <= total. */
void pkt_pull(struct pkt *p, u32 n);
/* Cuts the packet to n bytes; n <= total. */
void pkt_trim(struct pkt *p, u32 n);
/*
 * Makes at least the first n bytes linear (moving them out of fragments). NULL: shorter than n, or no memory;
 * the packet is unchanged then. A parser calls this before it looks at a header.
 */
u8 *pkt_linear(struct pkt *p, u32 n);
/* Adds a fragment; takes over one reference of nb. -ENOSPC: PKT_MAX_FRAGS are there (the reference stays the caller's). */
int pkt_add_frag(struct pkt *p, u32 nb, u32 off, u32 len);
/* Copies n bytes at offset off to libOS memory; off + n <= total. */
void pkt_copy_out(const struct pkt *p, u32 off, void *to, u32 n);
/*
 * Internet checksum (RFC 1071) over [off, off + n), folded but not inverted, starting from sum. Sums are of 16-bit
 * words as they stand in memory: ~sum is stored as it is, and numbers that are added go through net16().
 */
u16 pkt_csum(const struct pkt *p, u32 off, u32 n, u32 sum);
/* As above for plain memory. */
u32 csum_add(const void *p, size_t n, u32 sum); /* unfolded; pieces but the last are of even length */
static inline u16 csum_fold(u32 sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	return sum + (sum >> 16);
}
/* Finishes PKT_CSUM_PARTIAL in software (an interface that cannot), and clears the flag. */
void pkt_csum_finish(struct pkt *p);

static inline u16 net16(u16 x)
{
	return __builtin_bswap16(x);
}
static inline u32 net32(u32 x)
{
	return __builtin_bswap32(x);
}

#endif
