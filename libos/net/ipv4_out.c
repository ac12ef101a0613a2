/*
 * ipv4_out.c - sending: the header, identification, fragmentation.
 */
#include "libos/lib/printf.h"
#include "libos/lib/random.h"
#include "libos/net/ipv4.h"

#define NR_IDS 256u

int pkt_add_slice(struct pkt *to, const struct pkt *from, u32 off, u32 n)
{
	BUG_ON(off > from->total || n > from->total - off);
	if (off < from->len) {
		u32 part = min(n, from->len - off);
		int err;

		if (part) {
			nbuf_get(from->head);
			err = pkt_add_frag(to, from->head, from->data + off - nbuf_addr(from->head),
					   part);
			if (err) {
				nbuf_put(from->head);
				return err;
			}
		}
		n -= part;
		off = 0;
	} else {
		off -= from->len;
	}
	for (u32 i = 0; n; i++) {
		const struct pkt_frag *f = &from->frags[i];
		u32 part;
		int err;

		if (off >= f->len) {
			off -= f->len;
			continue;
		}
		part = min(n, f->len - off);
		nbuf_get(f->nb);
		err = pkt_add_frag(to, f->nb, f->off + off, part);
		if (err) {
			nbuf_put(f->nb);
			return err;
		}
		n -= part;
		off = 0;
	}
	return 0;
}

struct pkt *pkt_clone(const struct pkt *p)
{
	struct pkt *c = pkt_alloc_bare();

	if (!c)
		return NULL;
	c->nif = p->nif;
	c->flags = p->flags & PKT_CSUM_OK;
	c->data = p->data;
	c->head = p->head;
	c->len = p->len;
	c->total = p->total;
	c->nr_frags = p->nr_frags;
	memcpy(c->cb, p->cb, sizeof(c->cb));
	memcpy(c->frags, p->frags, p->nr_frags * sizeof(p->frags[0]));
	if (c->head != NBUF_NONE)
		nbuf_get(c->head);
	for (u32 i = 0; i < c->nr_frags; i++)
		nbuf_get(c->frags[i].nb);
	return c;
}

/*
 * Identification: counters at random places, chosen by a secret hash of the destination, so that
 * nobody who sees some can tell how many packets went to others (RFC 7739 says why, for IPv6).
 */
static u16 next_id(u32 dst, u32 n)
{
	static u32 secret, counters[NR_IDS];
	u32 s = __atomic_load_n(&secret, __ATOMIC_ACQUIRE), h;

	if (unlikely(!s)) {
		/* Whoever comes second changes the places once more, which does no harm. */
		random_bytes(counters, sizeof(counters));
		random_bytes(&s, sizeof(s));
		s |= 1;
		__atomic_store_n(&secret, s, __ATOMIC_RELEASE);
	}
	h = (dst ^ s) * 0x9e3779b1u;
	h = (h ^ h >> 15) * 0x85ebca77u;
	return __atomic_fetch_add(&counters[h >> 24], n, __ATOMIC_RELAXED);
}

static void fill_header(u8 *at, u32 total, u16 id, u16 frag, const struct netaddr *src,
			const struct netaddr *dst, u8 proto, u8 ttl, u8 tos)
{
	struct ip_hdr h = {
		.vihl = 0x45,
		.tos = tos,
		.len = net16(total),
		.id = net16(id),
		.frag = net16(frag),
		.ttl = ttl,
		.proto = proto,
	};

	memcpy(h.src, src->b, 4);
	memcpy(h.dst, dst->b, 4);
	h.csum = ~csum_fold(csum_add(&h, sizeof(h), 0));
	memcpy(at, &h, sizeof(h));
}

/* p has its IP header. */
static int link_output(const struct route *r, struct pkt *p)
{
	if (r->nif->flags & NETIF_ARP)
		return arp_output(r->nif, ip4_of(&r->next_hop), p);
	return r->nif->xmit(r->nif, p);
}

/* Cuts p (data at the transport header, checksum finished) into packets of at most mtu bytes. */
static int fragment(struct pkt *p, const struct route *r, const struct netaddr *src,
		    const struct netaddr *dst, u8 proto, u8 ttl, u8 tos)
{
	u32 room = (r->mtu - IP_HDR_LEN) & ~7u, off, n;
	u16 id = next_id(ip4_of(dst), 1);
	int err = room ? 0 : -EMSGSIZE;

	for (off = 0; off < p->total && !err; off += n) {
		struct pkt *f = pkt_alloc(PKT_HEADROOM);
		u8 *h;

		n = min(room, p->total - off);
		if (!f) {
			err = -ENOBUFS;
			break;
		}
		h = pkt_put(f, IP_HDR_LEN);
		fill_header(h, IP_HDR_LEN + n, id, off / 8 | (off + n < p->total ? IP_FRAG_MF : 0),
			    src, dst, proto, ttl, tos);
		err = pkt_add_slice(f, p, off, n);
		if (err) {
			pkt_free(f);
			break;
		}
		err = link_output(r, f);
		stat_inc(&ipv4_stats.frag_creates);
	}
	stat_inc(err ? &ipv4_stats.frag_fails : &ipv4_stats.frag_oks);
	pkt_free(p);
	return err;
}

int ip_output(struct pkt *p, const struct route *r, const struct netaddr *src,
	      const struct netaddr *dst, u8 proto, u8 ttl, u8 tos, u32 flags)
{
	u32 total = p->total + IP_HDR_LEN, segs = 1;
	int err = -EAFNOSUPPORT;
	u8 *h;

	if (dst->family != AF_INET || src->family != AF_INET)
		goto drop;
	err = -EMSGSIZE;
	if (total > IP_MAX_PACKET)
		goto drop;
	/* Where a path is as narrow as we are willing to know, its routers shall cut what is still
	 * too long. */
	if (r->mtu <= IP_MIN_PMTU)
		flags &= ~IP_DF;
	if (p->flags & PKT_CSUM_PARTIAL &&
	    (!(r->nif->flags & NETIF_CSUM) || (total > r->mtu && !p->gso_size)))
		pkt_csum_finish(p);
	stat_inc(&ipv4_stats.out_requests);
	if (total > r->mtu && !p->gso_size) {
		if (flags & IP_DF) {
			stat_inc(&ipv4_stats.frag_fails);
			goto drop;
		}
		return fragment(p, r, src, dst, proto, ttl, tos);
	}
	err = -ENOBUFS;
	h = pkt_push(p, IP_HDR_LEN);
	if (!h)
		goto drop;
	if (p->gso_size) /* each segment takes one */
		segs = (p->total + p->gso_size - 1) / p->gso_size;
	fill_header(h, total, next_id(ip4_of(dst), segs), flags & IP_DF ? IP_FRAG_DF : 0, src, dst,
		    proto, ttl, tos);
	return link_output(r, p);
drop:
	stat_inc(&ipv4_stats.out_discards);
	pkt_free(p);
	return err;
}
