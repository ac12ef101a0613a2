/*
 * tcp_ack.c - the acknowledgment field and the window of an acceptable segment (RFC 9293, 3.10.7.4,
 * step 5).
 */
#include "libos/net/tcp_internal.h"

#include "libos/ipc/pollbits.h"

static void challenge(struct tcp_sock *tp, u64 now)
{
	if (tcp_challenge_ok(now))
		tcp_send_ack(tp, now);
}

/* True: the window changed. */
static bool update_window(struct tcp_sock *tp, const struct tcp_seginfo *s)
{
	u32 wnd = (u32)s->wnd << (s->flags & TCPF_SYN ? 0 : tp->snd_wscale);
	bool changed = false;

	/* not from a segment older than the last that said something; ACKs older than snd_una do
	 * not come here */
	if (seq_gt(s->ack, tp->snd_una) || seq_ge(s->seq, tp->snd_wl1)) {
		tp->snd_wl1 = s->seq;
		changed = wnd != tp->snd_wnd;
		tp->snd_wnd = wnd;
		tp->max_wnd = max(tp->max_wnd, wnd);
	}
	return changed;
}

/* The send buffer follows cwnd: twice what may be in flight, as long as buffers are plenty. */
static void grow_sndbuf(struct tcp_sock *tp)
{
	u32 want;

	if (tp->opts.sndbuf_set || tp->cwnd >= TCP_SNDBUF_MAX / 2)
		want = TCP_SNDBUF_MAX;
	else
		want = 2 * tp->cwnd + tp->cwnd / 2;
	if (tp->opts.sndbuf_set || want <= tp->opts.sndbuf || tcp_pressure())
		return;
	tp->opts.sndbuf =
		max(tp->opts.sndbuf, tcp_buf_limit(min(want, TCP_SNDBUF_MAX), TCP_SND_PART));
}

static void room_wakeup(struct tcp_sock *tp)
{
	if (!tp->nospace || tp->wmem + tp->wmem / 2 >= tcp_sq_limit(tp) ||
	    tp->snd_end - tp->snd_nxt >= tp->opts.notsent_lowat)
		return;
	tp->nospace = false;
	tcp_wake(tp, POLLOUT_BITS);
}

/* Without SACK a pure duplicate says that one more segment has left the network (RFC 5681, 2). */
static void reno_dupack(struct tcp_sock *tp, struct tcp_ackstate *a)
{
	u32 out = tp->snd_nxt - tp->snd_una;

	if (tp->ca_state == CA_LOSS)
		return;
	tp->dupacks++;
	if (tp->sacked + tp->lost + tp->mss <= out) {
		tp->sacked += tp->mss;
		a->delivered += tp->mss;
	}
}

static void take_rtt(struct tcp_sock *tp, const struct tcp_seginfo *s, const struct tcp_ackstate *a,
		     u64 now)
{
	if (a->rtt) {
		tcp_rtt_sample(tp, a->rtt, now);
	} else if (a->una_advanced && tp->ts_ok && s->ts && s->tsecr) {
		/* Karn's doubt does not touch timestamps (RFC 7323, 4) */
		u32 ms = tcp_ts(now, tp->ts_off) - s->tsecr;

		if (ms < 0x7fffffff)
			tcp_rtt_sample(tp, max(ms, 1u) * NSEC_PER_MSEC, now);
	}
}

static void grow_cwnd(struct tcp_sock *tp, const struct tcp_ackstate *a, u64 now)
{
	u32 bytes = tp->snd_una - a->prior_una;

	if (tp->ca_state == CA_RECOVERY)
		return;
	/* cwnd that was not used tells nothing about the network (RFC 7661, 2861) */
	if (!tp->cwnd_limited && !(tp->cwnd < tp->ssthresh && tp->cwnd < 2 * a->flight))
		return;
	tp->cc->grow(tp, bytes, now);
	tp->cwnd = min(tp->cwnd, 1u << 28);
}

bool tcp_ack(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now)
{
	struct tcp_ackstate a = {.prior_una = tp->snd_una, .flight = tcp_pipe(tp)};
	u32 ack = s->ack;
	bool changed;

	if (seq_lt(ack, tp->snd_una)) {
		/* RFC 5961, 5.2 */
		if (seq_lt(ack, tp->snd_una - tp->max_wnd)) {
			challenge(tp, now);
			return false;
		}
		if (s->nr_sack && tp->sack_ok) {
			tcp_segs_sack(tp, s, &a, now);
			tcp_recovery(tp, s, &a, now);
		}
		return true;
	}
	if (seq_gt(ack, tp->snd_nxt)) {
		challenge(tp, now);
		return false;
	}
	changed = update_window(tp, s);
	if (tp->snd_una == tp->snd_nxt) {
		tp->retries = 0; /* probes were answered */
		if (tp->snd_wnd && changed) {
			tp->backoff = 0;
			tcp_deadline_off(tp, DL_PERSIST);
		}
		return true;
	}
	if (seq_gt(ack, tp->snd_una)) {
		a.una_advanced = true;
		tp->snd_una = ack;
		tp->bytes_acked += ack - a.prior_una;
		tp->stall_since = now;
		tp->retries = tp->backoff = 0;
		tcp_segs_ack(tp, ack, &a, now);
		tcp_sq_ack(tp, ack);
		if (tp->urg_out && seq_ge(ack, tp->snd_up))
			tp->urg_out = false;
	} else if (!tp->sack_ok && !s->len && !changed && !(s->flags & (TCPF_SYN | TCPF_FIN))) {
		reno_dupack(tp, &a);
	}
	if (s->nr_sack && tp->sack_ok)
		tcp_segs_sack(tp, s, &a, now);
	take_rtt(tp, s, &a, now);
	tcp_tlp_ack(tp, &a, ack);
	tcp_recovery(tp, s, &a, now);
	if (a.una_advanced) {
		grow_cwnd(tp, &a, now);
		grow_sndbuf(tp);
		room_wakeup(tp);
		if (tp->snd_una != tp->snd_nxt) {
			tcp_deadline(tp, DL_RTO, now + tcp_rto(tp));
		} else {
			tcp_deadline_off(tp, DL_RTO);
			tcp_deadline_off(tp, DL_TLP);
			tp->tlp_out = false;
		}
	}
	if (a.una_advanced || a.delivered)
		tcp_tlp_arm(tp, now);
	return true;
}
