/*
 * tcp_rack.c - RACK and tail loss probes (RFC 8985): losses told by time of sending instead of by
 * counting.
 */
#include "libos/net/tcp_internal.h"

#define DUP_THRESH 3u
#define TLP_MIN (2 * NSEC_PER_MSEC)
#define REO_ROUNDS 16u

/* Was a sent before b? Sequence numbers decide among those of the same instant. */
static bool sent_before(u64 sent_a, u32 end_a, u64 sent_b, u32 end_b)
{
	return sent_a < sent_b || (sent_a == sent_b && seq_lt(end_a, end_b));
}

void tcp_rack_advance(struct tcp_sock *tp, const struct tcp_seg *seg, u64 now,
		      struct tcp_ackstate *a)
{
	u64 rtt = now - seg->sent;

	/* of a retransmitted one: is it the original that arrived? (6.2, step 2) */
	if (seg->flags & SEG_EVER && rtt < tp->min_rtt)
		return;
	if (seq_gt(seg->end, tp->rack_fack) || !tp->rack_sent) {
		tp->rack_fack = seg->end;
	} else if (!(seg->flags & SEG_EVER) && seq_lt(seg->end, tp->rack_fack) && !tp->reord_seen) {
		tp->reord_seen = true;
		tp->reord_events++;
	}
	if (tp->rack_sent && !sent_before(tp->rack_sent, tp->rack_end, seg->sent, seg->end))
		return;
	tp->rack_sent = seg->sent;
	tp->rack_end = seg->end;
	tp->rack_rtt = rtt;
	a->rack_advanced = true;
}

static u64 reo_window(const struct tcp_sock *tp)
{
	if (!tp->reord_seen && (tp->ca_state != CA_OPEN || tp->dupacks >= DUP_THRESH))
		return 0;
	return min(tp->reo_mult * tp->min_rtt / 4, tp->srtt);
}

void tcp_rack_detect(struct tcp_sock *tp, u64 now)
{
	u64 reo = reo_window(tp), wait = 0;
	struct tcp_seg *seg;

	tcp_deadline_off(tp, DL_REO);
	if (!tp->rack_sent)
		return;
	list_for_each_entry(seg, &tp->segs, link) {
		u64 due = seg->sent + tp->rack_rtt + reo;

		if (seg->flags & SEG_SACKED || (seg->flags & (SEG_LOST | SEG_RETRANS)) == SEG_LOST)
			continue;
		if (!sent_before(seg->sent, seg->end, tp->rack_sent, tp->rack_end)) {
			/* never retransmitted: all behind it were sent later still, or again */
			if (!(seg->flags & SEG_EVER) && seq_ge(seg->seq, tp->rack_fack))
				break;
			continue;
		}
		if (due <= now)
			tcp_seg_mark_lost(tp, seg);
		else
			wait = max(wait, due - now);
	}
	if (wait)
		tcp_deadline(tp, DL_REO, now + wait);
}

/*
 * Beyond 7.2 also in fast recovery: where ACKs get lost too, the last of a recovery is as easily
 * lost as any, and an RTO is a thousand times as long as a round trip here.
 */
void tcp_tlp_arm(struct tcp_sock *tp, u64 now)
{
	u64 pto = 2 * tp->srtt;

	tcp_deadline_off(tp, DL_TLP);
	if (tp->ca_state == CA_LOSS || !tp->sack_ok || tp->tlp_out || !tp->srtt ||
	    tp->snd_una == tp->snd_nxt)
		return;
	/* a single segment: its ACK may be delayed */
	pto += tp->snd_nxt - tp->snd_una <= tp->mss ? TCP_RTO_MIN : TLP_MIN;
	if (pto < tcp_rto(tp))
		tcp_deadline(tp, DL_TLP, now + pto);
}

/* The last segment that may still be in flight. */
static struct tcp_seg *last_unsacked(struct tcp_sock *tp)
{
	for (struct list_head *l = tp->segs.prev; l != &tp->segs; l = l->prev) {
		struct tcp_seg *seg = list_entry(l, struct tcp_seg, link);

		if (!(seg->flags & SEG_SACKED))
			return seg;
	}
	return NULL;
}

void tcp_tlp_timeout(struct tcp_sock *tp, u64 now)
{
	struct tcp_seg *last;
	u32 cwnd = tp->cwnd, snd_nxt = tp->snd_nxt, segs = tp->total_retrans;

	if (tp->ca_state == CA_LOSS || list_empty(&tp->segs) || tp->tlp_out)
		return;
	/* new data are the better probe; one segment beyond cwnd is allowed (7.3) */
	tp->cwnd = max(cwnd, tcp_pipe(tp) + tp->mss);
	tcp_output(tp, now);
	tp->cwnd = cwnd;
	tp->tlp_retrans = tp->snd_nxt == snd_nxt && segs == tp->total_retrans;
	if (tp->tlp_retrans) {
		last = last_unsacked(tp);
		if (!last)
			return;
		if (last->end - last->seq > tp->mss)
			last = tcp_seg_split(tp, last, last->end - tp->mss) ?: last;
		if (tcp_retransmit(tp, last, tp->mss, now))
			return;
	}
	/* in recovery the reduction was made already */
	tp->tlp_retrans = tp->tlp_retrans && tp->ca_state == CA_OPEN;
	tp->tlp_out = true;
	tp->tlp_end = tp->snd_nxt;
	tcp_deadline_off(tp, DL_TLP);
	tcp_deadline(tp, DL_RTO, now + tcp_rto(tp));
}

void tcp_tlp_ack(struct tcp_sock *tp, const struct tcp_ackstate *a, u32 ack)
{
	/* a duplicate: the window to tolerate reordering grows, for some recoveries (6.2, step 4)
	 */
	if (a->dsack && seq_gt(tp->snd_una, tp->reo_round)) {
		tp->reo_round = tp->snd_nxt;
		tp->reo_mult = min(tp->reo_mult + 1, 64u);
		tp->reo_persist = REO_ROUNDS;
	}
	if (tp->ca_state == CA_RECOVERY && a->delivered)
		tp->tlp_out = false;
	if (!tp->tlp_out || seq_lt(ack, tp->tlp_end))
		return;
	if (!tp->tlp_retrans || a->dsack) {
		tp->tlp_out = false;
	} else if (seq_gt(ack, tp->tlp_end)) {
		/* the probe repaired a loss: congestion as after any other (7.4.2) */
		tp->tlp_out = false;
		tp->ssthresh = max(tp->cc->ssthresh(tp), 2 * tp->mss);
		tp->cwnd = min(tp->cwnd, tp->ssthresh);
	} else if (!a->una_advanced) {
		tp->tlp_out = false;
	}
}
