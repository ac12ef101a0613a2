/*
 * tcp_send.c - data from the socket: room in the buffer, onto the send queue, urgent data.
 */
#include "libos/net/tcp_internal.h"

/* 0, or why nothing can be sent now; 1: not yet. */
static int send_state(const struct tcp_sock *tp)
{
	if (tp->err)
		return -tp->err;
	if (tp->snd_shut)
		return -EPIPE;
	switch (tp->state) {
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
		return 0;
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
		return 1;
	default:
		return -EPIPE;
	}
}

ssize_t tcp_send_room(struct tcp_sock *tp)
{
	ssize_t r;

	spin_lock(&tp->lock);
	r = send_state(tp);
	if (!r) {
		u32 limit = tcp_sq_limit(tp);

		if (tp->wmem < limit && tp->snd_end - tp->snd_nxt < tp->opts.notsent_lowat)
			r = limit - tp->wmem;
		else
			tp->nospace = true;
	} else if (r == 1) {
		r = 0;
		tp->nospace = true;
	}
	tcp_unlock(tp);
	return r;
}

static void put_frags(const struct pkt_frag *frags, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		nbuf_put(frags[i].nb);
}

/* Lock held. Bytes appended, or -errno if none were. */
static ssize_t append(struct tcp_sock *tp, const struct pkt_frag *frags, u32 nr)
{
	ssize_t n = 0;

	for (u32 i = 0; i < nr; i++) {
		u32 len = frags[i].len;
		int err;

		if (!len) {
			nbuf_put(frags[i].nb);
			continue;
		}
		err = tcp_sq_append(tp, &frags[i]);
		if (err) {
			put_frags(frags + i + 1, nr - i - 1);
			return n ?: err;
		}
		tp->snd_end += len;
		n += len;
	}
	return n;
}

ssize_t tcp_send(struct tcp_sock *tp, const struct pkt_frag *frags, u32 nr, bool push)
{
	ssize_t r;

	spin_lock(&tp->lock);
	r = send_state(tp);
	if (r) {
		put_frags(frags, nr);
		r = r == 1 ? -EAGAIN : r;
		goto out;
	}
	r = append(tp, frags, nr);
	tp->push = push;
	if (r > 0)
		tcp_output(tp, clock_monotonic_ns());
out:
	tcp_unlock(tp);
	return r;
}

int tcp_send_oob(struct tcp_sock *tp, u8 byte)
{
	struct pkt_frag f = {.nb = nbuf_alloc(), .off = 0, .len = 1};
	ssize_t r;

	if (f.nb == NBUF_NONE)
		return -ENOBUFS;
	*nbuf_addr(f.nb) = byte;
	spin_lock(&tp->lock);
	r = send_state(tp);
	if (r) {
		nbuf_put(f.nb);
		r = r == 1 ? -EAGAIN : r;
		goto out;
	}
	r = append(tp, &f, 1);
	if (r > 0) {
		/* the pointer is to the byte behind, as BSD and Linux have it (RFC 6093, 3.1) */
		tp->snd_up = tp->snd_end;
		tp->urg_out = true;
		tp->push = true;
		tcp_output(tp, clock_monotonic_ns());
		r = 0;
	}
out:
	tcp_unlock(tp);
	return r;
}

u32 tcp_outq(struct tcp_sock *tp)
{
	u32 n;

	spin_lock(&tp->lock);
	n = tp->state == TCP_CLOSE || tp->state == TCP_LISTEN || tp->state == TCP_SYN_SENT
		    ? 0
		    : tp->snd_end - tp->snd_una;
	if (n && tp->fin_queued)
		n--;
	tcp_unlock(tp);
	return n;
}

u32 tcp_outq_unsent(struct tcp_sock *tp)
{
	u32 n;

	spin_lock(&tp->lock);
	n = tp->state == TCP_CLOSE || tp->state == TCP_LISTEN || tp->state == TCP_SYN_SENT
		    ? 0
		    : tp->snd_end - tp->snd_nxt;
	if (n && tp->fin_queued)
		n--;
	tcp_unlock(tp);
	return n;
}
