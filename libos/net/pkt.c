/*
 * pkt.c - packets: a linear part and fragments, each a range of a reference-counted buffer.
 *
 * Bytes move only in pkt_linear() and pkt_copy_out(). A packet belongs to one owner at a time, so
 * nothing here takes a lock; what may be shared are the buffers, and those are written only by
 * their single holder.
 */
#include "libos/net/pkt.h"

#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"

#define UDP_CSUM_OFFSET 6 /* RFC 768; that of TCP is 16 */

struct pkt *pkt_alloc_bare(void)
{
	struct pkt *p = kmalloc(sizeof(*p));

	if (!p)
		return NULL;
	/* Not cb and frags, which are most of it. */
	list_init(&p->link);
	p->nif = NULL;
	p->data = NULL;
	p->len = p->total = 0;
	p->head = NBUF_NONE;
	p->nr_frags = p->flags = 0;
	p->gso_size = 0;
	p->csum_start = p->csum_offset = p->spare = 0;
	return p;
}

struct pkt *pkt_alloc(u32 headroom)
{
	struct pkt *p;

	BUG_ON(headroom > NBUF_SIZE);
	p = pkt_alloc_bare();
	if (!p)
		return NULL;
	p->head = nbuf_alloc();
	if (p->head == NBUF_NONE) {
		kfree(p, sizeof(*p));
		return NULL;
	}
	p->data = nbuf_addr(p->head) + headroom;
	return p;
}

void pkt_free(struct pkt *p)
{
	if (!p)
		return;
	if (p->head != NBUF_NONE)
		nbuf_put(p->head);
	for (u32 i = 0; i < p->nr_frags; i++)
		nbuf_put(p->frags[i].nb);
	kfree(p, sizeof(*p));
}

u8 *pkt_push(struct pkt *p, u32 n)
{
	if (p->head == NBUF_NONE || n > (size_t)(p->data - nbuf_addr(p->head)) ||
	    nbuf_refs(p->head) != 1)
		return NULL;
	p->data -= n;
	p->len += n;
	p->total += n;
	return p->data;
}

/* Bytes behind the linear part that this packet may write. */
static u32 tailroom(const struct pkt *p)
{
	if (p->head == NBUF_NONE || nbuf_refs(p->head) != 1)
		return 0;
	return nbuf_addr(p->head) + NBUF_SIZE - (p->data + p->len);
}

u8 *pkt_put(struct pkt *p, u32 n)
{
	u8 *end = p->data + p->len;

	if (n > tailroom(p))
		return NULL;
	p->len += n;
	p->total += n;
	return end;
}

/* Takes n bytes out of the fragments' front. */
static void pull_frags(struct pkt *p, u32 n)
{
	u32 gone = 0;

	while (n) {
		struct pkt_frag *f = &p->frags[gone];

		if (n < f->len) {
			f->off += n;
			f->len -= n;
			break;
		}
		n -= f->len;
		nbuf_put(f->nb);
		gone++;
	}
	if (gone) {
		p->nr_frags -= gone;
		memmove(p->frags, p->frags + gone, p->nr_frags * sizeof(p->frags[0]));
	}
}

void pkt_pull(struct pkt *p, u32 n)
{
	u32 linear = min(n, p->len);

	BUG_ON(n > p->total);
	p->data += linear;
	p->len -= linear;
	p->total -= n;
	pull_frags(p, n - linear);
}

void pkt_trim(struct pkt *p, u32 n)
{
	u32 cut = p->total - n;

	BUG_ON(n > p->total);
	p->total = n;
	while (cut && p->nr_frags) {
		struct pkt_frag *f = &p->frags[p->nr_frags - 1];

		if (cut < f->len) {
			f->len -= cut;
			return;
		}
		cut -= f->len;
		nbuf_put(f->nb);
		p->nr_frags--;
	}
	p->len -= cut;
}

static void copy_from_frags(const struct pkt *p, u32 off, u8 *to, u32 n)
{
	for (u32 i = 0; n; i++) {
		const struct pkt_frag *f = &p->frags[i];
		u32 part;

		if (off >= f->len) {
			off -= f->len;
			continue;
		}
		part = min(n, f->len - off);
		memcpy(to, nbuf_addr(f->nb) + f->off + off, part);
		to += part;
		n -= part;
		off = 0;
	}
}

u8 *pkt_linear(struct pkt *p, u32 n)
{
	u32 more = n - p->len;

	if (likely(n <= p->len))
		return p->data;
	if (n > p->total || n > NBUF_SIZE)
		return NULL;
	/* All that was linear is consumed: the next fragment takes its place, and nothing moves. */
	if (!p->len && p->frags[0].len >= n && !(p->flags & PKT_CSUM_PARTIAL)) {
		struct pkt_frag f = p->frags[0];

		if (p->head != NBUF_NONE)
			nbuf_put(p->head);
		p->head = f.nb;
		p->data = nbuf_addr(f.nb) + f.off;
		p->len = f.len;
		p->nr_frags--;
		memmove(p->frags, p->frags + 1, p->nr_frags * sizeof(p->frags[0]));
		return p->data;
	}
	if (more > tailroom(p)) {
		u32 nb = nbuf_alloc(),
		    off = n + PKT_HEADROOM <= NBUF_SIZE ? PKT_HEADROOM : NBUF_SIZE - n;
		u8 *to;

		if (nb == NBUF_NONE)
			return NULL;
		to = nbuf_addr(nb) + off;
		if (p->len)
			memcpy(to, p->data, p->len);
		if (p->head != NBUF_NONE) {
			p->csum_start += off - (u32)(p->data - nbuf_addr(p->head));
			nbuf_put(p->head);
		}
		p->head = nb;
		p->data = to;
	}
	copy_from_frags(p, 0, p->data + p->len, more);
	pull_frags(p, more);
	p->len += more;
	return p->data;
}

int pkt_add_frag(struct pkt *p, u32 nb, u32 off, u32 len)
{
	struct pkt_frag *last = p->nr_frags ? &p->frags[p->nr_frags - 1] : NULL;

	BUG_ON(off > NBUF_SIZE || len > NBUF_SIZE - off);
	if (!len) {
		nbuf_put(nb);
		return 0;
	}
	if (last && last->nb == nb && last->off + last->len == off) {
		last->len += len;
		p->total += len;
		nbuf_put(nb);
		return 0;
	}
	if (p->nr_frags == PKT_MAX_FRAGS)
		return -ENOSPC;
	p->frags[p->nr_frags++] = (struct pkt_frag){nb, off, len};
	p->total += len;
	return 0;
}

void pkt_copy_out(const struct pkt *p, u32 off, void *to, u32 n)
{
	u8 *out = to;

	BUG_ON(off > p->total || n > p->total - off);
	if (off < p->len) {
		u32 part = min(n, p->len - off);

		memcpy(out, p->data + off, part);
		out += part;
		n -= part;
		off += part;
	}
	copy_from_frags(p, off - p->len, out, n);
}

/* Checksums. One's complement sums of 16-bit words as they stand in memory (RFC 1071, 2 (B)). */

u32 csum_add(const void *p, size_t n, u32 sum)
{
	const u8 *b = p;
	u64 s = sum;

	for (; n >= 8; b += 8, n -= 8) {
		u64 w;

		__builtin_memcpy(&w, b, 8);
		s += w;
		s += s < w; /* the carry comes in again below */
	}
	s = (s >> 32) + (u32)s;
	if (n & 4) {
		u32 w;

		__builtin_memcpy(&w, b, 4);
		s += w;
		b += 4;
	}
	if (n & 2) {
		u16 w;

		__builtin_memcpy(&w, b, 2);
		s += w;
		b += 2;
	}
	if (n & 1)
		s += *b; /* as if a zero byte followed; little-endian */
	s = (s >> 32) + (u32)s;
	return (u32)(s >> 32) + (u32)s;
}

/* A piece of the packet that begins at an odd offset counts with its bytes exchanged (RFC 1071, 2
 * (B)). */
static u32 csum_piece(const u8 *b, u32 n, u32 sum, bool odd)
{
	u16 piece = csum_fold(csum_add(b, n, 0));

	return sum + (odd ? __builtin_bswap16(piece) : piece);
}

u16 pkt_csum(const struct pkt *p, u32 off, u32 n, u32 sum)
{
	bool odd = false;

	BUG_ON(off > p->total || n > p->total - off);
	sum = csum_fold(sum); /* room for the pieces' carries */
	if (off < p->len) {
		u32 part = min(n, p->len - off);

		sum = csum_piece(p->data + off, part, sum, odd);
		odd ^= part & 1;
		n -= part;
		off += part;
	}
	off -= p->len;
	for (u32 i = 0; n; i++) {
		const struct pkt_frag *f = &p->frags[i];
		u32 part;

		if (off >= f->len) {
			off -= f->len;
			continue;
		}
		part = min(n, f->len - off);
		sum = csum_piece(nbuf_addr(f->nb) + f->off + off, part, sum, odd);
		odd ^= part & 1;
		n -= part;
		off = 0;
	}
	return csum_fold(sum);
}

void pkt_csum_finish(struct pkt *p)
{
	u8 *transport = nbuf_addr(p->head) + p->csum_start;
	u32 off = transport - p->data;
	u16 sum;

	BUG_ON(transport < p->data || off + p->csum_offset + 2u > p->len);
	/* The field holds the pseudo-header's sum, so it is summed like the rest. */
	sum = ~pkt_csum(p, off, p->total - off, 0);
	/* In UDP a zero would say that there is no checksum. */
	if (!sum && p->csum_offset == UDP_CSUM_OFFSET)
		sum = 0xffff;
	__builtin_memcpy(transport + p->csum_offset, &sum, 2);
	p->flags &= ~PKT_CSUM_PARTIAL;
}
