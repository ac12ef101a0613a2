/*
 * frame.c - reads the headers of a frame, and checks what a sender says about offloads against
 * them.
 */
#include "junctiond/scheduler/frame.h"

#include <netinet/in.h>
#include <string.h>

void frame_load(struct frame *f, const struct iovec *from, unsigned n, uint32_t len)
{
	uint32_t want = len < FRAME_HEAD ? len : FRAME_HEAD, got = 0;
	unsigned i = 0;

	f->len = len;
	f->hdr = (struct nic_hdr){.gso_type = NIC_HDR_GSO_NONE};
	f->iov[0].iov_base = f->head;
	f->niov = 1;
	for (; i < n && got < want; i++) {
		size_t take = want - got < from[i].iov_len ? want - got : from[i].iov_len;

		memcpy(f->head + got, from[i].iov_base, take);
		got += take;
		if (take < from[i].iov_len) { /* the rest of this one */
			f->iov[1].iov_base = (uint8_t *)from[i].iov_base + take;
			f->iov[1].iov_len = from[i].iov_len - take;
			f->niov = 2;
			i++;
			break;
		}
	}
	f->head_len = got;
	f->iov[0].iov_len = got;
	for (; i < n; i++)
		f->iov[f->niov++] = from[i];
}

/* Mixes 64 bits into 32 that differ in all places (the finalizer of MurmurHash3). */
static uint32_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ull;
	return (uint32_t)(h >> 32);
}

/*
 * Symmetric: sums and exclusive ors do not change when source and destination are swapped.
 * Fragments carry no ports and are hashed without, all of them, so that those of one packet meet.
 */
static uint32_t flow_hash(const struct frame *f, uint16_t sport, uint16_t dport)
{
	uint32_t sum = ntohl(f->src) + ntohl(f->dst), xor = f->src ^ f->dst;
	uint32_t ports = (uint32_t)(sport ^ dport) << 16 | (uint16_t)(sport + dport);

	return mix(((uint64_t)sum << 32 | xor) ^
		   ((uint64_t)mix((uint64_t)f->proto << 32 | ports) << 16));
}

static bool parse_ipv4(struct frame *f)
{
	const uint8_t *ip = f->head + ETH_LEN;
	uint32_t room = f->len - ETH_LEN, ihl, frag;
	uint16_t sport = 0, dport = 0;

	if (room < 20 || ip[0] >> 4 != 4)
		return false;
	ihl = (ip[0] & 15) * 4u;
	f->ip_len = get_be16(ip + 2);
	if (ihl < 20 || f->ip_len < ihl || f->ip_len > room)
		return false;
	frag = get_be16(ip + 6) & 0x3fff; /* more fragments, and the offset */
	f->fragment = frag != 0;
	f->proto = ip[9];
	f->src = get_raw32(ip + 12);
	f->dst = get_raw32(ip + 16);
	f->l4_off = 0;
	if (!f->fragment) {
		uint32_t l4 = f->ip_len - ihl;
		const uint8_t *p = ip + ihl;

		if (f->proto == IPPROTO_TCP) {
			uint32_t doff;

			if (l4 < 20)
				return false;
			doff = (p[12] >> 4) * 4u;
			if (doff < 20 || doff > l4)
				return false;
		} else if (f->proto == IPPROTO_UDP) {
			if (l4 < 8)
				return false;
		}
		f->l4_off = ETH_LEN + ihl;
		if (f->proto == IPPROTO_TCP || f->proto == IPPROTO_UDP) {
			sport = get_be16(p);
			dport = get_be16(p + 2);
		}
	}
	f->hash = flow_hash(f, sport, dport);
	return true;
}

static bool parse_arp(struct frame *f)
{
	const uint8_t *a = f->head + ETH_LEN;

	if (f->len < ETH_LEN + ARP_LEN)
		return false;
	/* Ethernet, IPv4, 6 and 4 bytes of address (RFC 826) */
	if (get_be16(a) != 1 || get_be16(a + 2) != ETH_TYPE_IPV4 || a[4] != 6 || a[5] != 4)
		return false;
	f->arp_op = get_be16(a + 6);
	memcpy(f->arp_sha, a + 8, 6);
	f->src = get_raw32(a + 14);
	f->dst = get_raw32(a + 24);
	f->hash = 0;
	return true;
}

bool frame_parse(struct frame *f)
{
	if (f->len < ETH_LEN)
		return false;
	switch (get_be16(f->head + 12)) {
	case ETH_TYPE_IPV4:
		f->kind = FRAME_IPV4;
		return parse_ipv4(f);
	case ETH_TYPE_ARP:
		f->kind = FRAME_ARP;
		return parse_arp(f);
	default:
		f->kind = FRAME_OTHER;
		return true;
	}
}

bool frame_offload(struct frame *f, const struct nic_hdr *hdr, uint32_t mtu)
{
	uint32_t ip_end = ETH_LEN + f->ip_len, hlen;

	if (hdr->flags & ~(NIC_HDR_F_NEEDS_CSUM | NIC_HDR_F_DATA_VALID))
		return false;
	if (hdr->gso_type != NIC_HDR_GSO_NONE && hdr->gso_type != NIC_HDR_GSO_TCPV4)
		return false;
	if (hdr->flags & NIC_HDR_F_NEEDS_CSUM) {
		uint16_t offset = f->proto == IPPROTO_TCP ? 16 : 6;

		if (f->kind != FRAME_IPV4 || !f->l4_off ||
		    (f->proto != IPPROTO_TCP && f->proto != IPPROTO_UDP))
			return false;
		if (hdr->csum_start != f->l4_off || hdr->csum_offset != offset)
			return false;
		f->hdr.flags = NIC_HDR_F_NEEDS_CSUM;
		f->hdr.csum_start = hdr->csum_start;
		f->hdr.csum_offset = hdr->csum_offset;
	}
	if (hdr->gso_type == NIC_HDR_GSO_NONE)
		return f->len <= ETH_LEN + mtu;

	/* Segments that fit the MTU, none of them empty, and not thousands of them from one frame.
	 */
	if (!(f->hdr.flags & NIC_HDR_F_NEEDS_CSUM) || f->proto != IPPROTO_TCP || ip_end != f->len)
		return false;
	hlen = f->l4_off + (f->head[f->l4_off + 12] >> 4) * 4u;
	if (hlen >= f->len || hdr->gso_size == 0 || hlen - ETH_LEN + hdr->gso_size > mtu)
		return false;
	if ((f->len - hlen + hdr->gso_size - 1) / hdr->gso_size > FRAME_MAX_SEGMENTS)
		return false;
	/* Flags that belong to one moment of a connection do not stand on data that is cut in
	 * pieces. */
	if (f->head[f->l4_off + 13] & 0x26 /* SYN, RST, URG */)
		return false;
	f->hdr.gso_type = NIC_HDR_GSO_TCPV4;
	f->hdr.gso_size = hdr->gso_size;
	f->hdr.hdr_len = hlen;
	return true;
}

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t acc = 0;

	for (; len >= 8; p += 8, len -= 8) {
		uint32_t w[2];

		memcpy(w, p, 8);
		acc += (uint64_t)w[0] + w[1]; /* 2^32 such additions fit */
	}
	if (len >= 4) {
		uint32_t w;

		memcpy(&w, p, 4);
		acc += w;
		p += 4;
		len -= 4;
	}
	if (len >= 2) {
		uint16_t w;

		memcpy(&w, p, 2);
		acc += w;
		p += 2;
		len -= 2;
	}
	if (len)
		acc += *p; /* little-endian: the byte is the first of its word, the second is 0 */
	return sum + acc;
}

uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}
