/*
 * net_nif.h - an interface whose wire is the test: frames or packets that IP sends are caught, others arrive.
 */
#ifndef TEST_UNIT_NET_NIF_H
#define TEST_UNIT_NET_NIF_H

#include "libos/net/netif.h"
#include "net_host.h"

/* What was sent, as bytes; checksums that were left to the interface are finished. */
struct nif_frame {
	u64 time;
	u32 gso; /* gso_size of the packet */
	u32 len;
	u8 data[1 << 16];
};

/* An interface of that name, index and flags (NETIF_*), MTU 1500, that nif_next() listens to. Added by the caller. */
void nif_init(struct netif *nif, const char *name, u32 index, u32 flags);
/* Moves time on to the next frame within ms and takes it; NULL: none. Valid until the next call. */
const struct nif_frame *nif_next(u64 ms);
/* A frame arrives: linear as far as one nbuf goes, or in fragments of `frag` bytes behind the first `linear`. */
void nif_receive(struct netif *nif, const void *bytes, u32 n);
void nif_receive_frags(struct netif *nif, const void *bytes, u32 n, u32 linear, u32 frag);
/* xmit says this (and drops) instead of taking the frame; 0: no more. */
extern int nif_refuse;

#endif
