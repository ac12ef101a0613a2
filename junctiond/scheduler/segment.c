/*
 * segment.c - TCP segmentation and checksums in software, on the way to the uplink.
 *
 * The payload is copied before it is summed: an instance may change it at any time, and the sum
 * must be of what is sent.
 */
#include "junctiond/scheduler/segment.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_mbuf.h>

#include "junctiond/scheduler/port.h"

#define TCP_FIN 1u
#define TCP_PSH 8u
#define TCP_CWR 0x80u

/* Reads through an iovec. */
struct source {
	const struct iovec *iov;
	size_t off;
};

static void source_read(struct source *s, void *to, size_t len)
{
	while (len) {
		size_t room = s->iov->iov_len - s->off;
		size_t take = len < room ? len : room;

		memcpy(to, (const uint8_t *)s->iov->iov_base + s->off, take);
		to = (uint8_t *)to + take;
		len -= take;
		s->off += take;
		if (s->off == s->iov->iov_len) {
			s->iov++;
			s->off = 0;
		}
	}
}

/* The transport checksum over pseudo-header, header and data, written at l4 + offset. */
static void finish_l4(uint8_t *frame, uint32_t l4_off, uint32_t l4_len, uint8_t proto,
		      uint32_t offset)
{
	uint8_t *l4 = frame + l4_off;
	uint64_t sum = htons(proto) + (uint64_t)htons((uint16_t)l4_len);
	uint16_t folded;

	memset(l4 + offset, 0, 2);
	sum = csum_add(sum, frame + ETH_LEN + 12, 8);
	sum = csum_add(sum, l4, l4_len);
	folded = csum_fold(sum);
	if (folded == 0 && proto == IPPROTO_UDP)
		folded = 0xffff; /* RFC 768: 0 says that there is none */
	memcpy(l4 + offset, &folded, 2);
}

static void finish_ip(uint8_t *ip, uint32_t ihl)
{
	uint16_t folded;

	memset(ip + 10, 0, 2);
	folded = csum_fold(csum_add(0, ip, ihl));
	memcpy(ip + 10, &folded, 2);
}

static unsigned whole(const struct frame *f, void (*emit)(struct rte_mbuf *m))
{
	struct rte_mbuf *m = port_copy(f->iov, f->niov, f->len);

	if (!m)
		return 0;
	if (f->hdr.flags & NIC_HDR_F_NEEDS_CSUM) {
		uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);

		/* The headers were checked in the private copy; the frame begins with that,
		 * unchanged. */
		finish_l4(p, f->l4_off, f->ip_len - (f->l4_off - ETH_LEN), f->proto,
			  f->hdr.csum_offset);
	}
	emit(m);
	return 1;
}

unsigned segment_frame(const struct frame *f, unsigned *wanted, void (*emit)(struct rte_mbuf *m))
{
	uint32_t hlen = f->hdr.hdr_len, left = f->len - hlen, done = 0;
	uint32_t ihl = f->l4_off - ETH_LEN, seq, n = 0;
	struct source src = {f->iov, hlen};
	uint16_t id;

	if (f->hdr.gso_type == NIC_HDR_GSO_NONE) {
		*wanted = 1;
		return whole(f, emit);
	}
	*wanted = (left + f->hdr.gso_size - 1) / f->hdr.gso_size;
	if (src.off == f->iov[0].iov_len) {
		src.iov++;
		src.off = 0;
	}
	id = get_be16(f->head + ETH_LEN + 4);
	seq = get_be32(f->head + f->l4_off + 4);
	while (left) {
		uint32_t take = left < f->hdr.gso_size ? left : f->hdr.gso_size;
		struct rte_mbuf *m = port_alloc();
		uint8_t *p, *tcp;

		if (!m)
			break;
		p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(hlen + take));
		if (!p) {
			port_free(m);
			break;
		}
		memcpy(p, f->head, hlen);
		source_read(&src, p + hlen, take);
		left -= take;
		put_be16(p + ETH_LEN + 2, (uint16_t)(hlen - ETH_LEN + take));
		put_be16(p + ETH_LEN + 4, (uint16_t)(id + n));
		finish_ip(p + ETH_LEN, ihl);
		tcp = p + f->l4_off;
		put_be32(tcp + 4, seq + done);
		if (left)
			tcp[13] &= ~(TCP_FIN | TCP_PSH); /* the last one says so */
		if (done)
			tcp[13] &= ~TCP_CWR; /* RFC 3168, 6.1.2: once */
		finish_l4(p, f->l4_off, hlen - f->l4_off + take, IPPROTO_TCP, 16);
		done += take;
		n++;
		emit(m);
	}
	return n;
}
