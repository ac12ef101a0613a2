/*
 * nic.h - the NIC of an instance: virtio 1.2 packed-ring queue pairs in one shared memory region.
 *
 * A queue pair is a receive and a transmit virtqueue of virtio-net (virtio 1.2, 2.8 "Packed Virtqueues",
 * 5.1 "Network Device"). The library OS is always the driver. The device is the scheduler's software NIC
 * here, a virtio PCI device through vfio later; the driver is the same.
 *
 * The region is one memfd of the device side, sealed against resizing, mapped by the instance at
 * LIBOS_NIC_BASE. "Guest-physical" addresses in descriptors are offsets into the region. The device side
 * treats every byte that the instance can write as hostile: it reads each descriptor once, checks it, and
 * keeps all its own state outside the region. The instance in turn checks what it reads only as far as its
 * own safety asks, since device and instance are not of one tenant either.
 *
 *   page 0                     struct nic_region: written by the device before the instance exists
 *   NIC_QUEUE_OFF(q)           virtqueue q = 2 * pair (receive) or 2 * pair + 1 (transmit): two pages:
 *                              NIC_RING_SIZE descriptors, then at NIC_EVENT_OFF struct nic_events
 *   region.bufs_off            buffers of NBUF size, cut up by the driver as it likes
 */
#ifndef JUNCTION_ABI_NIC_H
#define JUNCTION_ABI_NIC_H

#include <stdint.h>

#include "libos/abi/control.h"

#define NIC_MAGIC 0x3143494e434e554aull /* "JUNCNIC1" */
#define NIC_VERSION 1
#define NIC_MAX_PAIRS CTL_MAX_KTHREADS
#define NIC_RING_SIZE 256u /* descriptors a queue; a power of two */
#define NIC_QUEUE_BYTES 8192ul
#define NIC_QUEUE_OFF(q) (4096ul + (q) * NIC_QUEUE_BYTES)
#define NIC_EVENT_OFF 4096ul /* in the queue's block */
#define NIC_RX(pair) (2 * (pair))
#define NIC_TX(pair) (2 * (pair) + 1)
#define NIC_BUF_SIZE 2048u /* what the driver posts for reception, and the unit of its pool */
#define NIC_MAX_REGION (1ul << 30)
#define NIC_MAX_GSO 65535u /* largest frame's payload with segmentation offload: the IPv4 total length */
#define NIC_MAX_CHAIN 40u /* descriptors of one packet; a longer chain stops the queue pair */

/* VIRTIO_NET_F_* and VIRTIO_F_* bit numbers (linux/virtio_net.h, linux/virtio_config.h) of D8 */
#define NIC_F_CSUM (1ull << 0)
#define NIC_F_GUEST_CSUM (1ull << 1)
#define NIC_F_MAC (1ull << 5)
#define NIC_F_GUEST_TSO4 (1ull << 7)
#define NIC_F_HOST_TSO4 (1ull << 11)
#define NIC_F_MRG_RXBUF (1ull << 15)
#define NIC_F_MQ (1ull << 22)
#define NIC_F_VERSION_1 (1ull << 32)
#define NIC_F_RING_PACKED (1ull << 34)
#define NIC_FEATURES \
	(NIC_F_CSUM | NIC_F_GUEST_CSUM | NIC_F_MAC | NIC_F_GUEST_TSO4 | NIC_F_HOST_TSO4 | NIC_F_MRG_RXBUF | \
	 NIC_F_MQ | NIC_F_VERSION_1 | NIC_F_RING_PACKED)

struct nic_region {
	uint64_t magic;
	uint32_t version;
	uint32_t nr_pairs; /* 1..NIC_MAX_PAIRS; pair i belongs to kthread i */
	uint64_t features; /* NIC_F_*: what the device offers; the driver of this version uses all of NIC_FEATURES */
	uint64_t region_size; /* bytes, page-aligned, at most NIC_MAX_REGION */
	uint64_t bufs_off; /* page-aligned, behind the queues */
	uint8_t mac[6];
	uint16_t mtu; /* of IP packets: 1500 */
};
_Static_assert(sizeof(struct nic_region) == 48, "shared by device and driver");

/* virtio 1.2, 2.8.13: struct pvirtq_desc, and its flags */
struct nic_desc {
	uint64_t addr; /* offset into the region */
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};
_Static_assert(sizeof(struct nic_desc) == 16, "virtio 1.2, 2.8.13");
#define NIC_DESC_F_NEXT 1u
#define NIC_DESC_F_WRITE 2u
#define NIC_DESC_F_AVAIL (1u << 7)
#define NIC_DESC_F_USED (1u << 15)

/* virtio 1.2, 2.8.14: event suppression. VIRTIO_F_EVENT_IDX is not offered: ENABLE or DISABLE only. */
#define NIC_EVENT_ENABLE 0u
#define NIC_EVENT_DISABLE 1u
struct nic_event {
	uint16_t desc;
	uint16_t flags;
};
struct nic_events {
	/* Driver area: does the driver want to hear of used descriptors? Written by the instance. */
	struct nic_event driver;
	uint8_t pad0[60];
	/*
	 * Device area: does the device want to hear of available descriptors? Written by the device. If
	 * so, the driver rings: increments `doorbell`, then FUTEX_WAKE (shared) on it.
	 */
	struct nic_event device;
	uint8_t pad1[60];
	uint32_t doorbell; /* device-notification; of queue 1 (first transmit queue) only */
	uint8_t pad2[60];
};
_Static_assert(sizeof(struct nic_events) == 192, "one cache line a writer");
/* The one doorbell of an instance: in the events of the first transmit queue. */
#define NIC_DOORBELL_QUEUE NIC_TX(0)

/* virtio 1.2, 5.1.6: struct virtio_net_hdr with num_buffers, before every packet, little-endian */
struct nic_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start; /* from the start of the Ethernet header */
	uint16_t csum_offset;
	uint16_t num_buffers; /* receive: buffers that this packet took */
};
_Static_assert(sizeof(struct nic_hdr) == 12, "virtio 1.2, 5.1.6");
#define NIC_HDR_F_NEEDS_CSUM 1u
#define NIC_HDR_F_DATA_VALID 2u
#define NIC_HDR_GSO_NONE 0u
#define NIC_HDR_GSO_TCPV4 1u

static inline uint64_t nic_region_bufs_off(uint32_t nr_pairs)
{
	return NIC_QUEUE_OFF(2ul * nr_pairs);
}

#endif
