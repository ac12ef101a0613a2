/*
 * pkt_host.h - what packet buffers need around them, for the host.
 */
#ifndef TEST_UNIT_PKT_HOST_H
#define TEST_UNIT_PKT_HOST_H

#include "libos/net/pkt.h"

/* Bytes that kmalloc() gave and that have not come back. */
long pkt_host_allocated(void);
/* The n-th kmalloc() from now on fails (1: the next), once; 0: none. */
void pkt_host_fail_alloc(int n);
/* A pool of `count` buffers, full of a pattern. */
void pkt_host_pool(u32 count);
/* A packet of n bytes, byte i being (u8)(seed + i), with `linear` of them in the linear part and
 * the rest in fragments. */
struct pkt *pkt_host_make(u32 linear, u32 n, u32 frag, u8 seed);

#endif
