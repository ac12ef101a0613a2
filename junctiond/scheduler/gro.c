/*
 * gro.c - generic receive offload: consecutive TCP segments of a flow become one large frame.
 */
#include "junctiond/scheduler/gro.h"

#include <netinet/in.h>
#include <string.h>

#define TCP_ACK 0x10u
#define TCP_PSH 0x08u
#define IHL 20u
#define L4 (ETH_LEN + IHL)

static uint32_t header_len(const struct frame *f)
{
	return L4 + (f->head[L4 + 12] >> 4) * 4u;
}

/* Data, ACK, perhaps PSH, nothing else, no IPv4 options, no padding. */
static bool candidate(const struct frame *f)
{
	return f->kind == FRAME_IPV4 && f->proto == IPPROTO_TCP && f->l4_off == L4 &&
	       (f->head[L4 + 13] & ~TCP_PSH) == TCP_ACK && f->len == ETH_LEN + f->ip_len &&
	       f->len > header_len(f);
}

/* Both checksums, over the frame as it stands in memory. */
static bool sums_right(const struct frame *f, const uint8_t *data)
{
	uint32_t l4_len = f->ip_len - IHL;
	uint64_t sum = htons(IPPROTO_TCP) + (uint64_t)htons((uint16_t)l4_len);

	if (csum_fold(csum_add(0, data + ETH_LEN, IHL)))
		return false;
	sum = csum_add(sum, data + ETH_LEN + 12, 8);
	return csum_fold(csum_add(sum, data + L4, l4_len)) == 0;
}

bool gro_start(struct gro *g, const struct frame *f, const uint8_t *data, bool good)
{
	uint32_t hlen;

	if (!candidate(f) || f->niov > 2)
		return false;
	hlen = header_len(f);
	/* The headers from the private copy, the payload where it is. */
	memcpy(g->f.head, f->head, hlen);
	g->f.head_len = hlen;
	g->f.iov[0] = (struct iovec){g->f.head, hlen};
	g->f.iov[1] = (struct iovec){(void *)(uintptr_t)(data + hlen), f->len - hlen};
	g->f.niov = 2;
	g->f.len = f->len;
	g->f.hdr = (struct nic_hdr){.flags = good ? NIC_HDR_F_DATA_VALID : 0};
	g->f.kind = f->kind;
	g->f.src = f->src;
	g->f.dst = f->dst;
	g->f.ip_len = f->ip_len;
	g->f.proto = f->proto;
	g->f.fragment = false;
	g->f.l4_off = f->l4_off;
	g->f.hash = f->hash;
	g->n = 1;
	g->next_seq = get_be32(f->head + L4 + 4) + f->len - hlen;
	g->checked = good;
	g->closed = f->head[L4 + 13] & TCP_PSH;
	return true;
}

bool gro_add(struct gro *g, const struct frame *f, const uint8_t *data, bool good)
{
	const uint8_t *a = g->f.head, *b = f->head;
	uint32_t hlen = g->f.head_len, first = (uint32_t)g->f.iov[1].iov_len;

	if (g->closed || g->n == GRO_MAX_SEGMENTS || !candidate(f) || f->niov > 2 ||
	    header_len(f) != hlen)
		return false;
	/* One connection, the same way to it: MAC addresses, TOS, fragment bits, TTL, addresses. */
	if (memcmp(a, b, ETH_LEN + 2) || memcmp(a + 20, b + 20, 4) || memcmp(a + 26, b + 26, 12))
		return false;
	/* The acknowledgment, header length, window, urgent pointer, options. */
	if (memcmp(a + L4 + 8, b + L4 + 8, 5) || memcmp(a + L4 + 14, b + L4 + 14, 2) ||
	    memcmp(a + L4 + 18, b + L4 + 18, hlen - L4 - 18))
		return false;
	if (get_be32(b + L4 + 4) != g->next_seq || f->len - hlen > first ||
	    g->f.len + f->len - hlen > ETH_LEN + NIC_MAX_GSO)
		return false;
	if (!g->checked) {
		const uint8_t *start = (const uint8_t *)g->f.iov[1].iov_base - hlen;

		/* A wrong one is for the receiver to find. */
		if (!sums_right(&g->f, start)) {
			g->closed = true;
			return false;
		}
		g->checked = true;
	}
	if (!good && !sums_right(f, data))
		return false;
	g->f.iov[g->f.niov++] = (struct iovec){(void *)(uintptr_t)(data + hlen), f->len - hlen};
	g->f.len += f->len - hlen;
	g->next_seq += f->len - hlen;
	g->n++;
	if (b[L4 + 13] & TCP_PSH)
		g->f.head[L4 + 13] |= TCP_PSH;
	/* A short one is the last, and so is one that is to be pushed. */
	g->closed = (b[L4 + 13] & TCP_PSH) || f->len - hlen < first;
	return true;
}

void gro_finish(struct gro *g)
{
	uint8_t *p = g->f.head;
	uint64_t sum;
	uint16_t folded;

	if (g->n == 1)
		return;
	g->f.ip_len = (uint16_t)(g->f.len - ETH_LEN);
	put_be16(p + ETH_LEN + 2, g->f.ip_len);
	memset(p + ETH_LEN + 10, 0, 2);
	folded = csum_fold(csum_add(0, p + ETH_LEN, IHL));
	memcpy(p + ETH_LEN + 10, &folded, 2);
	sum = htons(IPPROTO_TCP) + (uint64_t)htons((uint16_t)(g->f.ip_len - IHL));
	folded = (uint16_t)~csum_fold(csum_add(sum, p + ETH_LEN + 12, 8));
	memcpy(p + L4 + 16, &folded, 2);
	g->f.hdr = (struct nic_hdr){
		.flags = NIC_HDR_F_NEEDS_CSUM,
		.gso_type = NIC_HDR_GSO_TCPV4,
		.hdr_len = (uint16_t)g->f.head_len,
		.gso_size = (uint16_t)g->f.iov[1].iov_len,
		.csum_start = L4,
		.csum_offset = 16,
	};
}
