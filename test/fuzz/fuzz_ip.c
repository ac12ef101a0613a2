/*
 * fuzz_ip.c - libFuzzer target: what arrives from the network at Ethernet, ARP, IPv4, reassembly,
 * ICMP and UDP, with sockets that send and receive in between.
 *
 * The input is a list of records: kind, how the frame is split over buffers, a length of two bytes,
 * and so many bytes. The low bits of `kind` choose what the bytes are, the others what is put right
 * in them, so that not every input stops at a checksum. Whatever was sent must be well formed, and
 * when all timers have run nothing may be kept.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "test/unit/ip_host.h"

#define NR_SOCKETS 3
#define FIX_SUM 8u
#define FIX_DST 16u
#define FIX_LEN 32u
#define FIX_SRC 64u

static struct socket *sockets[NR_SOCKETS];

static u16 sum_of(const u8 *p, u32 n, u32 sum)
{
	return ~csum_fold(csum_add(p, n, sum));
}

/* A frame for eth0, or a bare packet for lo. */
static void receive(struct netif *nif, const u8 *bytes, u32 n, u8 split)
{
	u32 linear = split & 1 ? split : NBUF_SIZE, frag = split & 2 ? 1 + split : NBUF_SIZE;

	if (n > linear && (n - linear) / frag >= PKT_MAX_FRAGS)
		frag = NBUF_SIZE;
	nif_receive_frags(nif, bytes, n, linear, frag);
}

static void ethernet(const u8 *packet, u32 n, u16 type, u8 split)
{
	static u8 frame[1 << 17];

	memcpy(frame, eth0.lladdr, 6);
	memcpy(frame + 6, peer_mac, 6);
	frame[12] = type >> 8;
	frame[13] = type;
	memcpy(frame + 14, packet, n);
	receive(&eth0, frame, 14 + n, split);
}

/* An IP packet with a good header around the payload. */
static void wrap(u8 proto, u16 id, u16 frag, const u8 *payload, u32 n, u8 split)
{
	static u8 packet[1 << 17];
	struct ip_hdr h = {.vihl = 0x45,
			   .len = net16(20 + n),
			   .id = net16(id),
			   .frag = net16(frag),
			   .ttl = 64,
			   .proto = proto};

	ip4_store(h.src, PEER);
	ip4_store(h.dst, OURS);
	memcpy(packet, &h, 20);
	h.csum = sum_of(packet, 20, 0);
	memcpy(packet, &h, 20);
	memcpy(packet + 20, payload, n);
	ethernet(packet, 20 + n, ETH_TYPE_IP, split);
}

static void ip_packet(u8 *b, u32 n, u8 fix, u8 split)
{
	u32 hlen = n ? (b[0] & 15) * 4 : 0;

	if (n >= 20) {
		if (fix & FIX_LEN) {
			b[2] = n >> 8;
			b[3] = n;
		}
		if (fix & FIX_SRC)
			ip4_store(b + 12, PEER);
		if (fix & FIX_DST)
			ip4_store(b + 16, OURS);
		if (fix & FIX_SUM && hlen >= 20 && hlen <= n) {
			b[10] = b[11] = 0;
			u16 s = sum_of(b, hlen, 0);

			memcpy(b + 10, &s, 2);
		}
	}
	ethernet(b, n, ETH_TYPE_IP, split);
}

static void udp_packet(u8 *b, u32 n, u8 fix, u8 split)
{
	struct netaddr s = ip4_addr(PEER), d = ip4_addr(OURS);

	if (n >= 8) {
		if (fix & FIX_DST) {
			u16 port = udp_port(sockets[b[3] % NR_SOCKETS]);

			b[2] = port >> 8;
			b[3] = port;
		}
		if (fix & FIX_LEN) {
			b[4] = n >> 8;
			b[5] = n;
		}
		if (fix & FIX_SUM) {
			b[6] = b[7] = 0;
			u16 sum = sum_of(b, n, pseudo_sum(&s, &d, IP_PROTO_UDP, n));

			memcpy(b + 6, &sum, 2);
		}
	}
	wrap(IP_PROTO_UDP, 0, 0, b, n, split);
}

static void icmp_packet(u8 *b, u32 n, u8 fix, u8 split)
{
	if (n >= 36) {
		if (fix & FIX_SRC)
			ip4_store(b + 8 + 12, OURS);
		if (fix & FIX_DST) {
			u16 port = udp_port(sockets[b[28] % NR_SOCKETS]);

			b[28] = port >> 8;
			b[29] = port;
			ip4_store(b + 8 + 16, FAR);
		}
	}
	if (n >= 4 && fix & FIX_SUM) {
		b[2] = b[3] = 0;
		u16 sum = sum_of(b, n, 0);

		memcpy(b + 2, &sum, 2);
	}
	wrap(IP_PROTO_ICMP, 0, 0, b, n, split);
}

static void arp_packet(u8 *b, u32 n, u8 fix, u8 split)
{
	if (n >= 28) {
		if (fix & FIX_LEN)
			memcpy(b, "\0\1\10\0\6\4\0", 7);
		if (fix & FIX_SRC) {
			ip4_store(b + 14, OURS);
			b[17] = n > 28 ? b[28] : 7;
		}
		if (fix & FIX_DST)
			ip4_store(b + 24, OURS);
	}
	ethernet(b, n, ETH_TYPE_ARP, split);
}

static u32 destination(u8 b)
{
	static const u32 to[] = {
		PEER,		FAR, OURS, IP4_LOOPBACK, IP4_BROADCAST, GATEWAY, IP(10, 0, 0, 8),
		IP(10, 0, 0, 9)};

	return to[b % 8];
}

/* What programs do meanwhile. */
static void act(const u8 *b, u32 n)
{
	static u8 data[65536];
	struct socket *s;

	if (n < 4)
		return;
	s = sockets[b[0] % NR_SOCKETS];
	switch (b[1] % 6) {
	case 0:
		advance_ms(b[2] * 50);
		break;
	case 1:
		udp_send(s, data, (b[2] << 8 | b[3]) % 65508, destination(b[0] >> 4), 1 + b[3]);
		break;
	case 2:
		udp_recv(s, data, sizeof(data), b[2] & 2 /* MSG_PEEK */, NULL, NULL);
		break;
	case 3:
		udp_recv(s, data, sizeof(data), 0x2000 /* MSG_ERRQUEUE */, NULL, NULL);
		break;
	case 4:
		udp_connect_to(s, destination(b[2]), b[3]);
		break;
	case 5:
		opt_set(s, 0, b[2] % 16, b[3]);
		break;
	}
}

/* What was sent is well formed. */
static void check_sent(void)
{
	const struct nif_frame *f;

	while ((f = nif_next(0))) {
		if (f->len < 14 || f->len > 1514 || memcmp(f->data + 6, eth0.lladdr, 6))
			net_fail("a frame of %u bytes", f->len);
		if (frame_is_arp(f))
			continue;
		const struct ip_hdr *h = frame_ip(f);

		if (net16(h->len) != f->len - 14 || ip4_load(h->src) != OURS)
			net_fail("an IP packet of %u in %u bytes", net16(h->len), f->len);
		if (h->proto == IP_PROTO_ICMP && !(net16(h->frag) & 0x3fff) &&
		    csum_fold(csum_add(f->data + 34, f->len - 34, 0)) != 0xffff)
			net_fail("an ICMP message with a wrong checksum");
	}
}

static void record(u8 kind, u8 split, u8 *b, u32 n)
{
	u8 fix = kind & ~7u;

	switch (kind & 7) {
	case 0:
		receive(&eth0, b, n, split);
		break;
	case 1:
		ip_packet(b, n, fix, split);
		break;
	case 2:
		if (n >= 4)
			wrap(fix & 8 ? IP_PROTO_UDP : IP_PROTO_TCP, b[0] & 3,
			     (b[1] & 0x20) << 8 | ((b[1] << 8 | b[2]) & (fix & 16 ? 0x1fff : 0x3f)),
			     b + 3, n - 3, split);
		break;
	case 3:
		udp_packet(b, n, fix, split);
		break;
	case 4:
		icmp_packet(b, n, fix, split);
		break;
	case 5:
		arp_packet(b, n, fix, split);
		break;
	case 6:
		act(b, n);
		break;
	case 7:
		receive(&lo0, b, n, split);
		break;
	}
	ip_host_pump();
	check_sent();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	ip_host_start();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static u8 copy[1 << 16];
	size_t at = 0;

	for (u32 i = 0; i < NR_SOCKETS; i++) {
		sockets[i] = udp_new();
		if (udp_bind_to(sockets[i], i == 1 ? OURS : 0, 5000 + i))
			net_fail("bind");
	}
	opt_set(sockets[2], 0, 11 /* IP_RECVERR */, 1);
	udp_connect_to(sockets[2], FAR, 53);
	while (size - at >= 4) {
		u32 n = data[at + 2] | data[at + 3] << 8;

		if (n > size - at - 4)
			n = size - at - 4;
		memcpy(copy, data + at + 4, n);
		record(data[at], data[at + 1], copy, n);
		at += 4 + n;
	}
	for (u32 i = 0; i < NR_SOCKETS; i++)
		udp_close(sockets[i]);
	/* Reassembly, questions without answers, path MTUs: all of it passes. */
	for (u32 i = 0; i < 14; i++) {
		advance_ms(50000);
		ip_host_pump();
		check_sent();
	}
	if (nbuf_free_count() != nbuf_total())
		net_fail("%u buffers are kept", nbuf_total() - nbuf_free_count());
	return 0;
}
