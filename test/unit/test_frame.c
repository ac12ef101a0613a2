/*
 * test_frame.c - headers of frames, the checks of offload headers, the symmetric hash, the
 * checksum.
 */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "junctiond/scheduler/frame.h"

static uint8_t bytes[70000];
static struct frame f;
static uint32_t length;

/* A frame 10.0.0.1:sport -> 10.0.0.2:dport, `data` bytes behind the transport header. */
static void make(uint8_t proto, uint16_t sport, uint16_t dport, uint32_t data)
{
	uint32_t l4 = proto == IPPROTO_TCP ? 20 : 8;

	memset(bytes, 0, sizeof(bytes));
	put_be16(bytes + 12, ETH_TYPE_IPV4);
	bytes[14] = 0x45;
	put_be16(bytes + 16, (uint16_t)(20 + l4 + data));
	bytes[23] = proto;
	put_be32(bytes + 26, 0x0a000001);
	put_be32(bytes + 30, 0x0a000002);
	put_be16(bytes + 34, sport);
	put_be16(bytes + 36, dport);
	if (proto == IPPROTO_TCP)
		bytes[34 + 12] = 5 << 4;
	length = 34 + l4 + data;
}

/* Loads it in pieces of `piece` bytes. */
static bool parse(uint32_t piece)
{
	struct iovec io[NIC_MAX_CHAIN];
	unsigned n = 0;

	for (uint32_t at = 0; at < length; at += piece, n++) {
		io[n].iov_base = bytes + at;
		io[n].iov_len = length - at < piece ? length - at : piece;
	}
	frame_load(&f, io, n, length);
	return frame_parse(&f);
}

static uint32_t total(void)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < f.niov; i++)
		sum += f.iov[i].iov_len;
	return sum;
}

Test(frame, pieces)
{
	for (uint32_t piece = 14; piece < 1700; piece += 13) {
		make(IPPROTO_TCP, 80, 1234, piece < 40 ? 400 : 1400);
		cr_assert(parse(piece), "piece %u", piece);
		cr_assert_eq(total(), length, "piece %u: %u of %u", piece, total(), length);
		cr_assert_eq(f.l4_off, 34);
		cr_assert_eq(f.proto, IPPROTO_TCP);
	}
}

Test(frame, hash_is_symmetric_and_spreads)
{
	uint32_t hits[8] = {0};

	for (uint16_t port = 1000; port < 3000; port++) {
		uint32_t there;

		make(IPPROTO_TCP, port, 80, 10);
		cr_assert(parse(2000));
		there = f.hash;
		hits[(uint64_t)f.hash * 8 >> 32]++;
		make(IPPROTO_TCP, 80, port, 10);
		put_be32(bytes + 26, 0x0a000002);
		put_be32(bytes + 30, 0x0a000001);
		cr_assert(parse(2000));
		cr_assert_eq(f.hash, there, "port %u", port);
	}
	for (int i = 0; i < 8; i++)
		cr_assert(hits[i] > 150 && hits[i] < 350, "queue %d gets %u of 2000 flows", i,
			  hits[i]);
}

Test(frame, fragments_hash_without_ports)
{
	uint32_t first;

	make(IPPROTO_UDP, 1, 2, 100);
	put_be16(bytes + 20, 0x2000); /* more fragments, offset 0 */
	cr_assert(parse(2000));
	cr_assert(f.fragment);
	cr_assert_eq(f.l4_off, 0);
	first = f.hash;
	make(IPPROTO_UDP, 7, 9, 100);
	put_be16(bytes + 20, 13); /* a later one, the last */
	cr_assert(parse(2000));
	cr_assert(f.fragment);
	cr_assert_eq(f.hash, first);
}

Test(frame, malformed)
{
	make(IPPROTO_TCP, 1, 2, 10);
	length = 13;
	cr_assert(!parse(2000), "no Ethernet header");
	make(IPPROTO_TCP, 1, 2, 10);
	length = 33;
	cr_assert(!parse(2000), "no IPv4 header");
	make(IPPROTO_TCP, 1, 2, 10);
	bytes[14] = 0x44;
	cr_assert(!parse(2000), "header length 16");
	make(IPPROTO_TCP, 1, 2, 10);
	bytes[14] = 0x65;
	cr_assert(!parse(2000), "version 6");
	make(IPPROTO_TCP, 1, 2, 10);
	bytes[14] = 0x4f;
	cr_assert(!parse(2000), "header longer than the packet");
	make(IPPROTO_TCP, 1, 2, 10);
	put_be16(bytes + 16, 19);
	cr_assert(!parse(2000), "total length below the header's");
	make(IPPROTO_TCP, 1, 2, 10);
	put_be16(bytes + 16, (uint16_t)(length - 13));
	cr_assert(!parse(2000), "total length beyond the frame");
	make(IPPROTO_TCP, 1, 2, 10);
	bytes[46] = 4 << 4;
	cr_assert(!parse(2000), "TCP header of 16 bytes");
	make(IPPROTO_TCP, 1, 2, 10);
	bytes[46] = 8 << 4;
	cr_assert(!parse(2000), "TCP header beyond the packet");
	make(IPPROTO_UDP, 1, 2, 0);
	put_be16(bytes + 16, 27);
	cr_assert(!parse(2000), "UDP header cut short");
	make(IPPROTO_TCP, 1, 2, 10);
	put_be16(bytes + 12, ETH_TYPE_ARP);
	cr_assert(!parse(2000), "not an ARP packet");
}

static bool offload(struct nic_hdr h)
{
	cr_assert(parse(3000));
	return frame_offload(&f, &h, 1500);
}

Test(frame, offload_headers_must_fit_the_frame)
{
	const struct nic_hdr csum = {
		.flags = NIC_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
	struct nic_hdr tso = csum, h;

	tso.gso_type = NIC_HDR_GSO_TCPV4;
	tso.gso_size = 1460;

	make(IPPROTO_TCP, 1, 2, 1460);
	cr_assert(offload((struct nic_hdr){0}));
	cr_assert(offload(csum));
	cr_assert_eq(f.hdr.flags, NIC_HDR_F_NEEDS_CSUM);
	cr_assert(offload((struct nic_hdr){.flags = NIC_HDR_F_DATA_VALID}));
	cr_assert_eq(f.hdr.flags, 0, "what an instance says of its own data is no proof");
	h = csum;
	h.csum_start = 35;
	cr_assert(!offload(h));
	h.csum_start = 65535;
	cr_assert(!offload(h));
	h = csum;
	h.csum_offset = 6;
	cr_assert(!offload(h), "the offset of UDP's");
	h = csum;
	h.flags = 8;
	cr_assert(!offload(h));
	make(IPPROTO_TCP, 1, 2, 1461);
	cr_assert(!offload(csum), "longer than the MTU");

	make(IPPROTO_TCP, 1, 2, 60000);
	cr_assert(offload(tso));
	cr_assert_eq(f.hdr.gso_size, 1460);
	cr_assert_eq(f.hdr.hdr_len, 54);
	h = tso;
	h.gso_size = 1461;
	cr_assert(!offload(h), "segments longer than the MTU");
	h.gso_size = 0;
	cr_assert(!offload(h));
	h.gso_size = 100;
	cr_assert(!offload(h), "600 segments");
	h = tso;
	h.flags = 0;
	cr_assert(!offload(h), "segmentation without checksum");
	h = tso;
	h.gso_type = 3;
	cr_assert(!offload(h), "UDP segmentation is not offered");
	bytes[47] = 2;
	cr_assert(!offload(tso), "SYN");
	make(IPPROTO_TCP, 1, 2, 0);
	cr_assert(!offload(tso), "nothing to cut");
	make(IPPROTO_UDP, 1, 2, 60000);
	h = tso;
	h.csum_offset = 6;
	cr_assert(!offload(h), "UDP");
	make(IPPROTO_TCP, 1, 2, 3000);
	length += 4;
	cr_assert(!offload(tso), "bytes behind the packet");
	make(IPPROTO_TCP, 1, 2, 3000);
	put_be16(bytes + 20, 0x2000);
	cr_assert(!offload(tso), "a fragment");
}

/* RFC 1071, 4.1, written plainly. */
static uint16_t plain(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

Test(frame, checksum)
{
	static uint8_t data[65536];

	srand(1);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = rand() % 3 ? 0xff : (uint8_t)rand();
	for (size_t n = 0; n < sizeof(data); n += n < 200 ? 1 : 4099)
		cr_assert_eq(csum_fold(csum_add(0, data, n)), htons(plain(data, n)), "%zu bytes",
			     n);
}
