/*
 * fuzz_vring.c - the device side of a queue pair against any bytes in the region, and the frames in
 * it.
 *
 * Input: a byte of options, then what stands in the rings and, after them, in the buffers. The
 * region is exactly as large as the device believes, so that the sanitizer sees a step beside it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/vring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BUFS 40u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint64_t off = nic_region_bufs_off(1), region_size = off + BUFS * NIC_BUF_SIZE;
	static uint8_t frame[65550];
	struct vring rx, tx;
	struct vring_pkt p;
	uint8_t *region, options;
	size_t n;

	if (!size)
		return 0;
	options = *data++;
	size--;
	region = calloc(1, region_size);
	if (!region)
		abort();
	/* Few inputs are 4 KiB long: the descriptors of both rings, the buffers, each get a part.
	 */
	n = size / 3;
	memcpy(region + NIC_QUEUE_OFF(0), data, n < 4096 ? n : 4096);
	memcpy(region + NIC_QUEUE_OFF(1), data + n, n < 4096 ? n : 4096);
	memcpy(region + off, data + 2 * n, n < region_size - off ? n : region_size - off);
	vring_init(&rx, region, region_size, off, 0);
	vring_init(&tx, region, region_size, off, 1);

	for (unsigned i = 0; i < 300 && vring_peek(&tx, &p) == 1; i++) {
		struct frame f;
		uint32_t len = 0;

		for (unsigned k = 0; k < p.niov; k++) {
			if (len + p.iov[k].iov_len > sizeof(frame) + 80)
				abort();
			if (len + p.iov[k].iov_len <= sizeof(frame))
				memcpy(frame + len, p.iov[k].iov_base, p.iov[k].iov_len);
			len += p.iov[k].iov_len;
		}
		if (len != p.len)
			abort();
		frame_load(&f, p.iov, p.niov, p.len);
		if (frame_parse(&f) && frame_offload(&f, &p.hdr, 1500) && f.hdr.gso_type &&
		    (f.hdr.hdr_len >= f.len || f.hdr.hdr_len > f.head_len))
			abort();
		vring_done(&tx, &p);
	}
	for (unsigned i = 0; i < 300; i++) {
		struct iovec io = {frame, options & 1 ? 65549 : 60u + 7 * options};
		struct nic_hdr h = {0};

		if (vring_put(&rx, &h, &io, 1, io.iov_len) < 0)
			break;
	}
	if (rx.next >= NIC_RING_SIZE || tx.next >= NIC_RING_SIZE)
		abort();
	free(region);
	return 0;
}
