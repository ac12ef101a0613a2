/*
 * tcp_recv.c - received data: into the queue, out to the socket, and the window and buffer that
 * follow.
 */
#include "libos/net/tcp_internal.h"

#include "libos/ipc/pollbits.h"

#define COALESCE_MAX 1024u

u32 tcp_truesize(const struct pkt *p)
{
	return sizeof(*p) + NBUF_SIZE * (p->nr_frags + (p->head != NBUF_NONE));
}

/*
 * Half of the free buffer: a segment costs more memory than its bytes. When buffers are scarce the
 * window does not open beyond a few segments.
 */
u32 tcp_win_space(const struct tcp_sock *tp)
{
	u64 used = (u64)tp->rmem + 2ull * tp->taken;
	u32 space = used < tp->opts.rcvbuf ? (tp->opts.rcvbuf - used) / 2 : 0;

	if (unlikely(tcp_pressure()))
		space = min(space, 4 * min(tp->adv_mss, 2 * NBUF_SIZE));
	return space;
}

bool tcp_coalesce(struct tcp_sock *tp, struct pkt *last, struct pkt *p)
{
	struct pkt_frag *f = last->nr_frags ? &last->frags[last->nr_frags - 1] : NULL;
	u32 n = p->total, nb = f ? f->nb : last->head, end;

	if (n > COALESCE_MAX || nb == NBUF_NONE)
		return false;
	end = f ? f->off + f->len : (u32)(last->data + last->len - nbuf_addr(nb));
	if (n > NBUF_SIZE - end || nbuf_refs(nb) != 1)
		return false;
	pkt_copy_out(p, 0, nbuf_addr(nb) + end, n);
	if (f)
		f->len += n;
	else
		last->len += n;
	last->total += n;
	tcp_cb(last)->end += n;
	pkt_free(p);
	return true;
}

void tcp_rq_add(struct tcp_sock *tp, struct pkt *p, u32 seq)
{
	struct pkt *last = list_empty(&tp->rq) ? NULL : list_last(&tp->rq, struct pkt, link);
	u32 n = p->total;

	tp->rcv_nxt = seq + n;
	tp->rq_bytes += n;
	tp->bytes_received += n;
	if (last && tcp_coalesce(tp, last, p))
		return;
	/* the buffer that held only headers is of no more use */
	if (!p->len && p->head != NBUF_NONE && p->nr_frags) {
		nbuf_put(p->head);
		p->head = NBUF_NONE;
		p->data = NULL;
	}
	tcp_cb(p)->seq = seq;
	tcp_cb(p)->end = seq + n;
	tcp_cb(p)->truesize = tcp_truesize(p);
	tp->rmem += tcp_cb(p)->truesize;
	list_add_tail(&p->link, &tp->rq);
}

static void got_fin(struct tcp_sock *tp)
{
	tp->rcv_nxt++;
	tp->fin_rcvd = tp->rcv_shut = true;
	tp->fin_ooo = false;
	tp->ack_now = true;
	tcp_wake(tp, POLLIN_BITS | EPOLLRDHUP | (tp->snd_shut ? EPOLLHUP : 0));
}

/* The peer's segment size, for decisions about ACKs: the largest seen, at most ours. */
static void measure_mss(struct tcp_sock *tp, u32 len)
{
	len = min(len, tp->adv_mss);
	if (len < tp->rcv_mss && tp->small < 2)
		tp->small++;
	if (len > tp->rcv_mss || (len >= TCP_MSS_DEFAULT && len < tp->rcv_mss / 2))
		tp->rcv_mss = len;
}

static void data_in_order(struct tcp_sock *tp, struct pkt *p, struct tcp_seginfo *s, bool fin,
			  u64 now)
{
	u32 seq = s->seq, n = p->total;

	if (n) {
		measure_mss(tp, n);
		tcp_rq_add(tp, p, seq);
		tp->ack_delayed = true;
		if (!list_empty(&tp->runs)) {
			tp->ack_now = true; /* a gap was filled: at once (RFC 5681, 4.2) */
			tcp_ooo_drain(tp);
		}
		if (tp->rq_bytes >= min(tp->opts.rcvlowat, tp->opts.rcvbuf / 4))
			tcp_wake(tp, POLLIN_BITS);
	} else {
		pkt_free(p);
	}
	if (fin || (tp->fin_ooo && tp->fin_seq == tp->rcv_nxt))
		got_fin(tp);
}

static void take_urgent_byte(struct tcp_sock *tp, const struct pkt *p, u32 seq)
{
	u32 off = tp->urg_seq - seq;

	if (tp->urg_have || off >= p->total)
		return;
	pkt_copy_out(p, off, &tp->urg_byte, 1);
	tp->urg_have = true;
	tcp_wake(tp, EPOLLPRI);
}

/*
 * May a segment in order come in? A window of tiny ones can cost more than the buffer. As buffers
 * run short a connection may hold less and less, but who holds nothing gets one almost to the end,
 * so that somebody always makes progress. The last buffers are for ACKs.
 */
static bool have_room(const struct tcp_sock *tp)
{
	u32 most = tp->opts.rcvbuf + tp->opts.rcvbuf / 4, left = nbuf_free_count(),
	    total = nbuf_total();

	if (likely(left > total / 4))
		return tp->rmem <= most;
	if (left > total / 8)
		return tp->rmem <= min(most, 16384u);
	return left > total / 24 && !tp->rmem;
}

void tcp_data(struct tcp_sock *tp, struct pkt *p, struct tcp_seginfo *s, u64 now)
{
	bool fin = s->flags & TCPF_FIN;
	u32 wnd = tcp_recv_window(tp), seq = s->seq;

	/* what is behind the window is cut off; a FIN there too */
	if (seq_gt(seq + p->total, tp->rcv_nxt + wnd)) {
		u32 over = seq + p->total - (tp->rcv_nxt + wnd);

		tp->ack_now = true;
		fin = false;
		if (over >= p->total) {
			pkt_free(p);
			return;
		}
		pkt_trim(p, p->total - over);
	}
	tp->data_segs_in++;
	if (tp->urg_valid)
		take_urgent_byte(tp, p, seq);
	if (seq_gt(seq, tp->rcv_nxt)) {
		tp->ack_now = true; /* a duplicate ACK at once (RFC 5681, 4.2) */
		tp->pingpong = false;
		if (fin) {
			tp->fin_ooo = true;
			tp->fin_seq = seq + p->total;
		}
		if (p->total)
			tcp_ooo_add(tp, p, seq);
		else
			pkt_free(p);
		return;
	}
	if (seq_lt(seq, tp->rcv_nxt)) {
		u32 old = tp->rcv_nxt - seq;

		tp->ack_now = true;
		tcp_dsack(tp, seq,
			  seq_lt(seq + p->total, tp->rcv_nxt) ? seq + p->total : tp->rcv_nxt);
		if (old > p->total || (old == p->total && !fin)) {
			pkt_free(p);
			return;
		}
		pkt_pull(p, old);
		s->seq = tp->rcv_nxt;
	}
	if (p->total && !have_room(tp)) {
		tcp_ooo_prune(tp);
		if (!have_room(tp)) {
			tp->ack_now = true;
			pkt_free(p);
			return;
		}
	}
	data_in_order(tp, p, s, fin, now);
}

/* ---- what the socket calls ---- */

/* A packet that shares the first n bytes of p. NULL: no memory. */
static struct pkt *share(const struct pkt *p, u32 skip, u32 n)
{
	struct pkt *q = pkt_alloc_bare();
	u32 i = 0;

	if (!q)
		return NULL;
	if (skip < p->len) {
		u32 k = min(n, p->len - skip);

		nbuf_get(p->head);
		if (pkt_add_frag(q, p->head, p->data - nbuf_addr(p->head) + skip, k))
			nbuf_put(p->head);
		n -= k;
		skip = 0;
	} else {
		skip -= p->len;
	}
	for (; n && i < p->nr_frags; i++) {
		const struct pkt_frag *f = &p->frags[i];
		u32 k;

		if (skip >= f->len) {
			skip -= f->len;
			continue;
		}
		k = min(n, f->len - skip);
		nbuf_get(f->nb);
		if (pkt_add_frag(q, f->nb, f->off + skip, k)) {
			nbuf_put(f->nb);
			break;
		}
		n -= k;
		skip = 0;
	}
	return q;
}

/* Bytes that a read may take before the urgent mark; at the mark the byte itself is skipped
 * (tcp(7)). */
static size_t before_mark(struct tcp_sock *tp, size_t max)
{
	if (likely(!tp->urg_valid))
		return max;
	if (tp->urg_seq == tp->copied && !tp->opts.oobinline && tp->rq_bytes) {
		struct pkt *p = list_first(&tp->rq, struct pkt, link);

		pkt_pull(p, 1);
		tp->rq_bytes--;
		tp->copied++;
		if (!p->total) {
			tp->rmem -= tcp_cb(p)->truesize;
			list_del(&p->link);
			pkt_free(p);
		}
	}
	if (seq_gt(tp->copied, tp->urg_seq)) {
		tp->urg_valid = false;
		return max;
	}
	return tp->urg_seq == tp->copied ? max : min(max, (size_t)(tp->urg_seq - tp->copied));
}

size_t tcp_recv_take(struct tcp_sock *tp, struct list_head *list, size_t max)
{
	size_t got = 0;

	spin_lock(&tp->lock);
	max = before_mark(tp, max);
	while (got < max && !list_empty(&tp->rq)) {
		struct pkt *p = list_first(&tp->rq, struct pkt, link);
		size_t left = max - got;

		if (p->total > left) {
			struct pkt *front = share(p, 0, left);

			if (!front)
				break;
			left = front->total;
			pkt_pull(p, left);
			tcp_cb(p)->seq += left;
			tcp_cb(front)->truesize = 0; /* p still pays for it */
			p = front;
			list_add_tail(&p->link, list);
		} else {
			tp->rmem -= tcp_cb(p)->truesize;
			list_move_tail(&p->link, list);
		}
		got += p->total;
	}
	tp->rq_bytes -= got;
	tp->taken += got;
	tp->copied += got;
	tcp_unlock(tp);
	return got;
}

size_t tcp_recv_peek(struct tcp_sock *tp, struct list_head *list, size_t skip, size_t max)
{
	size_t got = 0;
	struct pkt *p;

	spin_lock(&tp->lock);
	max = skip ? max : before_mark(tp, max);
	list_for_each_entry(p, &tp->rq, link) {
		struct pkt *q;

		if (skip >= p->total) {
			skip -= p->total;
			continue;
		}
		if (got >= max)
			break;
		q = share(p, skip, min(max - got, (size_t)(p->total - skip)));
		if (!q)
			break;
		skip = 0;
		got += q->total;
		list_add_tail(&q->link, list);
	}
	tcp_unlock(tp);
	return got;
}

void tcp_recv_untake(struct tcp_sock *tp, struct list_head *list)
{
	spin_lock(&tp->lock);
	while (!list_empty(list)) {
		struct pkt *p = list_last(list, struct pkt, link);

		list_del(&p->link);
		tcp_cb(p)->truesize = tcp_truesize(p);
		tp->copied -= p->total;
		tcp_cb(p)->seq = tp->copied;
		tcp_cb(p)->end = tp->copied + p->total;
		tp->taken -= min(p->total, tp->taken);
		tp->rq_bytes += p->total;
		tp->rmem += tcp_cb(p)->truesize;
		list_add(&p->link, &tp->rq);
	}
	tcp_unlock(tp);
}

/* The receiver's view of the round trip: timestamps that come back, else the time that a window
 * takes. */
void tcp_drs_rtt(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now)
{
	u64 rtt = 0;

	if (tp->ts_ok && s->ts && s->tsecr) {
		u32 ms = tcp_ts(now, tp->ts_off) - s->tsecr;

		if (ms > 0x7fffffff)
			return;
		rtt = max(ms, 1u) * NSEC_PER_MSEC;
	} else if (!tp->drs_rtt_time || seq_ge(tp->rcv_nxt, tp->drs_rtt_seq)) {
		if (tp->drs_rtt_time)
			rtt = max(now - tp->drs_rtt_time, (u64)1);
		tp->drs_rtt_seq = tp->rcv_nxt + max(tp->rcv_wnd, 1u);
		tp->drs_rtt_time = now;
	}
	if (rtt)
		tp->drs_rtt = !tp->drs_rtt || rtt < tp->drs_rtt
				      ? rtt
				      : tp->drs_rtt - tp->drs_rtt / 8 + rtt / 8;
}

/*
 * Dynamic right-sizing: what the user took in one round trip is about the sender's window; offer
 * twice that, so that it is never what limits, as long as buffers are plenty.
 */
static void autotune(struct tcp_sock *tp, u64 now)
{
	u32 used = tp->copied - tp->drs_seq;

	if (!tp->drs_rtt || now - tp->drs_time < tp->drs_rtt)
		return;
	if (used > tp->drs_space) {
		u64 want = 2ull * (2ull * used + 16ull * tp->adv_mss);

		tp->drs_space = used;
		if (!tp->opts.rcvbuf_set && !tcp_pressure())
			tp->opts.rcvbuf =
				max(tp->opts.rcvbuf,
				    tcp_buf_limit(min(want, (u64)TCP_RCVBUF_MAX), TCP_RCV_PART));
	}
	tp->drs_seq = tp->copied;
	tp->drs_time = now;
}

void tcp_recv_consumed(struct tcp_sock *tp, size_t n)
{
	u32 space, cur;

	spin_lock(&tp->lock);
	tp->taken -= min(n, (size_t)tp->taken);
	if (tp->state == TCP_CLOSE || tp->fin_rcvd)
		goto out;
	autotune(tp, tp->last_rcv);
	space = tcp_win_space(tp);
	cur = tcp_recv_window(tp);
	/*
	 * An update is worth a packet if the window at least doubles by segments. An ACK that waits
	 * goes if it is due by bytes, or if the reader has all and will not answer: the peer may be
	 * waiting to send its next small piece.
	 */
	if ((space >= 2 * cur && space - cur >= min(2 * (u32)tp->rcv_mss, tp->opts.rcvbuf / 4)) ||
	    (tp->ack_delayed && (tp->rcv_nxt - tp->rcv_wup > tp->rcv_mss ||
				 (!tp->rq_bytes && !tp->taken && tp->small > tp->pingpong))))
		tcp_send_ack(tp, clock_monotonic_ns());
out:
	tcp_unlock(tp);
}

size_t tcp_recv_avail(struct tcp_sock *tp, bool *fin)
{
	size_t n;

	spin_lock(&tp->lock);
	n = tp->rq_bytes;
	if (tp->urg_valid && !tp->opts.oobinline && n && tp->urg_seq - tp->copied < n)
		n = tp->urg_seq == tp->copied ? n - 1 : tp->urg_seq - tp->copied;
	if (fin)
		*fin = tp->rcv_shut;
	tcp_unlock(tp);
	return n;
}

int tcp_recv_oob(struct tcp_sock *tp, bool peek)
{
	int r;

	spin_lock(&tp->lock);
	if (!tp->urg_valid || tp->urg_read || tp->opts.oobinline) {
		r = -EINVAL;
	} else if (!tp->urg_have) {
		r = -EAGAIN;
	} else {
		r = tp->urg_byte;
		tp->urg_read = !peek;
	}
	tcp_unlock(tp);
	return r;
}

bool tcp_at_mark(struct tcp_sock *tp)
{
	bool r;

	spin_lock(&tp->lock);
	r = tp->urg_valid && tp->urg_seq == tp->copied;
	tcp_unlock(tp);
	return r;
}
