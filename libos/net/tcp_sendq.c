/*
 * tcp_sendq.c - the send queue: ranges of nbufs by sequence number, and their way into packets.
 *
 * Packets refer to the nbufs, so nothing is copied for a retransmission; a nbuf lives until the
 * last packet and the queue let go of it. Few bytes are copied instead, so that one buffer carries
 * the whole packet.
 */
#include "libos/net/tcp_internal.h"

#include "libos/mm/alloc.h"

/*
 * Bytes of buffers that the queue may hold now. When buffers are scarce it is less, but always
 * something: a connection that has nothing in flight hears of no ACK that could wake its writer
 * later.
 */
u32 tcp_sq_limit(const struct tcp_sock *tp)
{
	u32 n;

	if (likely(!tcp_pressure()))
		return tp->opts.sndbuf;
	n = nbuf_free_count();
	if (n > nbuf_total() / 8)
		return min(tp->opts.sndbuf, 8 * NBUF_SIZE);
	return n > nbuf_total() / 16 ? 2 * NBUF_SIZE : NBUF_SIZE;
}

static struct tcp_chunk *chunk_at(const struct tcp_sendq *q, u32 i)
{
	return &q->v[(q->head + i) & (q->cap - 1)];
}

static int sq_grow(struct tcp_sendq *q)
{
	u32 cap = q->cap ? q->cap * 2 : 16;
	struct tcp_chunk *v = kmalloc(cap * sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (u32 i = 0; i < q->len; i++)
		v[i] = *chunk_at(q, i);
	if (q->v)
		kfree(q->v, q->cap * sizeof(*v));
	q->v = v;
	q->cap = cap;
	q->head = 0;
	return 0;
}

int tcp_sq_append(struct tcp_sock *tp, const struct pkt_frag *f)
{
	struct tcp_sendq *q = &tp->sq;
	struct tcp_chunk *c = q->len ? chunk_at(q, q->len - 1) : NULL;
	u32 end = c ? c->off + c->len : 0;
	int err;

	/* a small piece goes behind the last one: bytes there are nobody's if the nbuf is ours
	 * alone */
	if (c && c->nb != f->nb && f->len <= NBUF_SIZE - end && f->len <= NBUF_SIZE / 2 &&
	    (c->own || nbuf_refs(c->nb) == 1)) {
		memcpy(nbuf_addr(c->nb) + end, nbuf_addr(f->nb) + f->off, f->len);
		c->len += f->len;
		c->own = true;
		nbuf_put(f->nb);
		return 0;
	}
	if (c && c->nb == f->nb && f->off == end) {
		c->len += f->len;
		nbuf_put(f->nb);
		return 0;
	}
	if (q->len == q->cap) {
		err = sq_grow(q);
		if (err) {
			nbuf_put(f->nb);
			return err;
		}
	}
	*chunk_at(q, q->len++) = (struct tcp_chunk){tp->snd_end, f->nb, f->off, f->len, false};
	tp->wmem += NBUF_SIZE;
	return 0;
}

void tcp_sq_ack(struct tcp_sock *tp, u32 una)
{
	struct tcp_sendq *q = &tp->sq;

	while (q->len) {
		struct tcp_chunk *c = chunk_at(q, 0);
		u32 n = una - c->seq;

		if (seq_le(una, c->seq))
			return;
		if (n < c->len) {
			c->seq += n;
			c->off += n;
			c->len -= n;
			return;
		}
		nbuf_put(c->nb);
		tp->wmem -= NBUF_SIZE;
		q->head = (q->head + 1) & (q->cap - 1);
		q->len--;
	}
}

void tcp_sq_free(struct tcp_sock *tp)
{
	struct tcp_sendq *q = &tp->sq;

	for (u32 i = 0; i < q->len; i++)
		nbuf_put(chunk_at(q, i)->nb);
	if (q->v)
		kfree(q->v, q->cap * sizeof(*q->v));
	memset(q, 0, sizeof(*q));
	tp->wmem = 0;
}

/* The index of the chunk with seq; the caller knows that it is in the queue. */
static u32 sq_find(const struct tcp_sendq *q, u32 seq)
{
	u32 lo = 0, hi = q->len;

	while (hi - lo > 1) {
		u32 mid = (lo + hi) / 2;

		if (seq_le(chunk_at(q, mid)->seq, seq))
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

u32 tcp_sq_fit(struct tcp_sock *tp, u32 seq, u32 len)
{
	const struct tcp_sendq *q = &tp->sq;
	u32 n = 0;

	if (len <= TCP_COPY_MAX || !q->len)
		return len;
	for (u32 i = sq_find(q, seq), k = 0; i < q->len && k < PKT_MAX_FRAGS && n < len; i++, k++) {
		const struct tcp_chunk *c = chunk_at(q, i);

		n += c->len - (k ? 0 : seq - c->seq);
	}
	return min(n, len);
}

u32 tcp_sq_fill(struct tcp_sock *tp, struct pkt *p, u32 seq, u32 len)
{
	const struct tcp_sendq *q = &tp->sq;
	u8 *to = NULL;
	u32 done = 0;

	if (!q->len || !len)
		return 0;
	if (len <= TCP_COPY_MAX) {
		to = pkt_put(p, len);
		if (!to)
			return 0;
	}
	for (u32 i = sq_find(q, seq); i < q->len && done < len; i++) {
		const struct tcp_chunk *c = chunk_at(q, i);
		u32 skip = seq + done - c->seq;
		u32 n = min(c->len - skip, len - done);

		if (to) {
			memcpy(to + done, nbuf_addr(c->nb) + c->off + skip, n);
		} else {
			nbuf_get(c->nb);
			if (pkt_add_frag(p, c->nb, c->off + skip, n)) {
				nbuf_put(c->nb);
				break;
			}
		}
		done += n;
	}
	return done;
}
