/*
 * pkt_iov.h - between packets and the memory of the application.
 */
#ifndef LIBOS_NET_PKT_IOV_H
#define LIBOS_NET_PKT_IOV_H

#include "libos/fs/iov.h"
#include "libos/net/pkt.h"

/*
 * A packet with room for headers in front and the next n bytes of `it` as its data. err_ptr:
 * -EFAULT, -ENOBUFS (no buffers now). May sleep; no lock held.
 */
struct pkt *pkt_from_iter(struct iov_iter *it, u32 n);
/* Copies bytes [off, off + n) of p to `it`: the number copied, fewer if the application's memory
 * faults. */
size_t pkt_to_iter(const struct pkt *p, u32 off, struct iov_iter *it, u32 n);

#endif
