/*
 * tcp_rtx.c - the scoreboard of what was sent, and the recovery of losses.
 *
 * Each sent range is a struct tcp_seg with flags: SACKED, LOST, RETRANS (sent again since it was
 * lost). The counts tp->sacked, lost, retrans give the pipe (RFC 6675). What is lost is decided by
 * time (tcp_rack.c) if the peer has SACK, else by duplicate ACKs (RFC 6582). During fast recovery
 * cwnd follows proportional rate reduction (RFC 6937); after a time-out it starts from one segment.
 * A recovery that timestamps or D-SACKs show to have been needless is taken back (RFC 3522, 4015).
 */
#include "libos/net/tcp_internal.h"

#include "libos/mm/alloc.h"

#define DUP_THRESH 3u

struct tcp_seg *tcp_seg_add(struct tcp_sock *tp, u32 seq, u32 end, u32 flags, u64 now)
{
	struct tcp_seg *s = kmalloc(sizeof(*s));

	if (!s)
		return NULL;
	s->seq = seq;
	s->end = end;
	s->flags = flags;
	s->sent = now;
	list_add_tail(&s->link, &tp->segs);
	return s;
}

void tcp_seg_del(struct tcp_seg *seg)
{
	list_del(&seg->link);
	kfree(seg, sizeof(*seg));
}

struct tcp_seg *tcp_seg_split(struct tcp_sock *tp, struct tcp_seg *seg, u32 at)
{
	struct tcp_seg *s = kmalloc(sizeof(*s));

	if (!s)
		return NULL;
	*s = *seg;
	s->seq = at;
	seg->end = at;
	seg->flags &= ~SEG_FIN;
	list_add(&s->link, &seg->link);
	return s;
}

void tcp_segs_free(struct tcp_sock *tp)
{
	struct tcp_seg *s, *n;

	list_for_each_entry_safe(s, n, &tp->segs, link)
		tcp_seg_del(s);
	tp->sacked = tp->lost = tp->retrans = tp->lost_unsent = 0;
}

/* n bytes of seg leave the counts. */
static void seg_uncount(struct tcp_sock *tp, const struct tcp_seg *seg, u32 n)
{
	if (seg->flags & SEG_SACKED)
		tp->sacked -= n;
	if (seg->flags & SEG_LOST)
		tp->lost -= n;
	if (seg->flags & SEG_RETRANS)
		tp->retrans -= n;
	else if (seg->flags & SEG_LOST)
		tp->lost_unsent -= n;
}

void tcp_seg_mark_lost(struct tcp_sock *tp, struct tcp_seg *seg)
{
	u32 n = seg->end - seg->seq;

	if (seg->flags & SEG_SACKED || (seg->flags & (SEG_LOST | SEG_RETRANS)) == SEG_LOST)
		return;
	if (seg->flags & SEG_RETRANS) {
		tp->retrans -= n;
		seg->flags &= ~SEG_RETRANS;
	}
	if (!(seg->flags & SEG_LOST))
		tp->lost += n;
	tp->lost_unsent += n;
	seg->flags |= SEG_LOST;
}

void tcp_segs_ack(struct tcp_sock *tp, u32 ack, struct tcp_ackstate *a, u64 now)
{
	struct tcp_seg *seg, *next;

	list_for_each_entry_safe(seg, next, &tp->segs, link) {
		u32 n;

		if (seq_ge(seg->seq, ack))
			break;
		n = min(seg->end - seg->seq, ack - seg->seq);
		if (!(seg->flags & SEG_SACKED))
			a->delivered += n;
		seg_uncount(tp, seg, n);
		if (n < seg->end - seg->seq) {
			seg->seq += n;
			break;
		}
		if (!(seg->flags & (SEG_EVER | SEG_SACKED)) && !a->rtt)
			a->rtt = max(now - seg->sent, (u64)1);
		if (!(seg->flags & SEG_SACKED))
			tcp_rack_advance(tp, seg, now, a);
		tcp_seg_del(seg);
	}
	/* without SACK the duplicates were guesses: what is acknowledged now includes them */
	if (!tp->sack_ok) {
		u32 n = min(tp->sacked, a->delivered);

		tp->sacked = tp->ca_state == CA_RECOVERY ? tp->sacked - n : 0;
	}
}

static struct tcp_seg *mark_sacked(struct tcp_sock *tp, struct tcp_seg *seg, struct tcp_ackstate *a,
				   u64 now)
{
	struct tcp_seg *prev = list_entry(seg->link.prev, struct tcp_seg, link);
	u32 n = seg->end - seg->seq;

	tcp_rack_advance(tp, seg, now, a);
	if (!(seg->flags & SEG_EVER))
		a->rtt = a->rtt ?: max(now - seg->sent, (u64)1);
	seg_uncount(tp, seg, n);
	seg->flags = (seg->flags & ~(SEG_LOST | SEG_RETRANS)) | SEG_SACKED;
	tp->sacked += n;
	a->delivered += n;
	tp->dupacks += (n + tp->mss - 1) / tp->mss;
	/* neighbours that both arrived are one: the list stays short */
	if (seg->link.prev != &tp->segs && prev->flags & SEG_SACKED && prev->end == seg->seq) {
		prev->end = seg->end;
		prev->flags |= seg->flags;
		tcp_seg_del(seg);
		return prev;
	}
	return seg;
}

static void sack_range(struct tcp_sock *tp, u32 start, u32 end, struct tcp_ackstate *a, u64 now)
{
	struct tcp_seg *seg, *next;

	list_for_each_entry_safe(seg, next, &tp->segs, link) {
		if (seq_ge(seg->seq, end))
			return;
		if (seq_le(seg->end, start) || seg->flags & SEG_SACKED)
			continue;
		if (seq_lt(seg->seq, start)) {
			next = tcp_seg_split(tp, seg, start);
			if (!next)
				return;
			continue;
		}
		if (seq_gt(seg->end, end)) {
			next = tcp_seg_split(tp, seg, end);
			if (!next)
				return;
		}
		mark_sacked(tp, seg, a, now);
	}
}

/* RFC 2883: the first block tells of a duplicate if it is below the ACK or inside the second. */
static bool is_dsack(const struct tcp_seginfo *s)
{
	const struct tcp_sackblk *b = s->sack;

	if (!seq_lt(b[0].start, b[0].end))
		return false;
	if (seq_le(b[0].end, s->ack))
		return true;
	return s->nr_sack > 1 && seq_ge(b[0].start, b[1].start) && seq_le(b[0].end, b[1].end);
}

/* A block, but for what the last ACK's blocks told already. */
static void sack_news(struct tcp_sock *tp, struct tcp_sackblk b, struct tcp_ackstate *a, u64 now)
{
	for (u32 i = 0; i < tp->nr_sack_cache; i++) {
		const struct tcp_sackblk *c = &tp->sack_cache[i];

		if (c->start != b.start)
			continue;
		if (c->end == b.end)
			return;
		if (seq_lt(c->end, b.end))
			b.start = c->end;
	}
	sack_range(tp, b.start, b.end, a, now);
}

void tcp_segs_sack(struct tcp_sock *tp, const struct tcp_seginfo *s, struct tcp_ackstate *a,
		   u64 now)
{
	struct tcp_sackblk fresh[4];
	u32 i = 0, n = 0;

	if (is_dsack(s)) {
		a->dsack = true;
		tp->dsack_dups++;
		if (tp->undo_retrans)
			tp->undo_retrans--;
		i = 1;
	}
	for (; i < s->nr_sack; i++) {
		struct tcp_sackblk b = s->sack[i];
		u32 at = n;

		if (!seq_lt(b.start, b.end) || seq_lt(b.start, tp->snd_una) ||
		    seq_gt(b.end, tp->snd_nxt))
			continue;
		/* in order, so that a lower block of the same ACK does not look like reordering */
		for (; at && seq_gt(fresh[at - 1].start, b.start); at--)
			fresh[at] = fresh[at - 1];
		fresh[at] = b;
		n++;
	}
	for (i = 0; i < n; i++)
		sack_news(tp, fresh[i], a, now);
	memcpy(tp->sack_cache, fresh, n * sizeof(fresh[0]));
	tp->nr_sack_cache = n;
}

static void begin_episode(struct tcp_sock *tp)
{
	tp->prior_cwnd = tp->cwnd;
	tp->prior_ssthresh = tp->ssthresh;
	tp->ssthresh = max(tp->cc->ssthresh(tp), 2 * tp->mss);
	tp->undo_marker = tp->snd_una;
	tp->undo_ok = true;
	tp->undo_retrans = 0;
	tp->retrans_ts = 0;
}

static void enter_recovery(struct tcp_sock *tp)
{
	begin_episode(tp);
	tp->high_seq = tp->snd_nxt;
	tp->prr_delivered = tp->prr_out = 0;
	tp->prr_base = max(tp->snd_nxt - tp->snd_una, tp->mss);
	tp->ca_state = CA_RECOVERY;
	tp->tlp_out = false;
}

/* RFC 6937: as much is sent as the reduction to ssthresh allows for what was delivered. */
static void prr(struct tcp_sock *tp, const struct tcp_ackstate *a)
{
	u32 pipe = tcp_pipe(tp);
	s32 send;

	tp->prr_delivered += a->delivered;
	if (pipe > tp->ssthresh) {
		u64 share =
			((u64)tp->prr_delivered * tp->ssthresh + tp->prr_base - 1) / tp->prr_base;

		send = (s32)(u32)share - (s32)tp->prr_out;
	} else {
		s32 limit = max((s32)(tp->prr_delivered - tp->prr_out), (s32)a->delivered);

		if (a->una_advanced)
			limit += tp->mss;
		send = min((s32)(tp->ssthresh - pipe), limit);
	}
	/* the first retransmission goes at once */
	if (!tp->prr_out)
		send = max(send, (s32)tp->mss);
	tp->cwnd = pipe + (send > 0 ? send : 0);
	tp->cwnd = max(tp->cwnd, tp->mss);
}

/* The losses were none: all as it was before. */
static void undo(struct tcp_sock *tp)
{
	struct tcp_seg *seg;

	list_for_each_entry(seg, &tp->segs, link)
		seg->flags &= ~SEG_LOST;
	tp->lost = tp->lost_unsent = 0;
	tp->cwnd = max(tp->cwnd, tp->prior_cwnd);
	tp->ssthresh = max(tp->ssthresh, tp->prior_ssthresh);
	tp->undo_ok = false;
	tp->ca_state = CA_OPEN;
	tp->dupacks = 0;
}

/* Eifel detection: the ACK was for the original if it echoes a clock from before the
 * retransmission. */
static bool was_needless(const struct tcp_sock *tp, const struct tcp_seginfo *s,
			 const struct tcp_ackstate *a)
{
	if (!tp->undo_ok)
		return false;
	if (a->una_advanced && tp->retrans_ts && tp->ts_ok && s->ts && s->tsecr &&
	    seq_lt(s->tsecr, tp->retrans_ts))
		return true;
	/* every retransmission of the episode arrived as a duplicate */
	return a->dsack && tp->retrans_ts && !tp->undo_retrans;
}

static void leave_episode(struct tcp_sock *tp)
{
	if (tp->ca_state == CA_RECOVERY)
		tp->cwnd = max(tp->ssthresh, 2 * tp->mss);
	tp->ca_state = CA_OPEN;
	tp->dupacks = 0;
	if (!tp->sack_ok)
		tp->sacked = 0;
	tp->reo_persist = tp->reo_persist ? tp->reo_persist - 1 : 0;
	if (!tp->reo_persist)
		tp->reo_mult = 1;
}

static void mark_head_lost(struct tcp_sock *tp)
{
	struct tcp_seg *seg;

	if (list_empty(&tp->segs))
		return;
	seg = list_first(&tp->segs, struct tcp_seg, link);
	if (seg->end - seg->seq > tp->mss)
		tcp_seg_split(tp, seg, seg->seq + tp->mss);
	tcp_seg_mark_lost(tp, seg);
}

/* NewReno, RFC 6582: three duplicates, then every partial ACK, tell of a loss at the front. */
static void reno_detect(struct tcp_sock *tp, const struct tcp_ackstate *a)
{
	if (tp->ca_state == CA_OPEN && tp->dupacks >= DUP_THRESH)
		mark_head_lost(tp);
	else if (tp->ca_state == CA_RECOVERY && a->una_advanced)
		mark_head_lost(tp);
}

void tcp_recovery(struct tcp_sock *tp, const struct tcp_seginfo *s, struct tcp_ackstate *a, u64 now)
{
	if (a->una_advanced && tp->sack_ok)
		tp->dupacks = tp->sacked ? tp->dupacks : 0;
	if (was_needless(tp, s, a)) {
		undo(tp);
	} else if (tp->ca_state != CA_OPEN && seq_ge(tp->snd_una, tp->high_seq)) {
		/* without SACK, duplicates of what was before the episode must not start another
		 * (RFC 6582, 4) */
		leave_episode(tp);
	}
	if (tp->snd_una == tp->snd_nxt) {
		tp->dupacks = 0;
		tcp_deadline_off(tp, DL_REO);
		return;
	}
	if (tp->sack_ok) {
		if (a->rack_advanced || tp->dl[DL_REO] != NEVER)
			tcp_rack_detect(tp, now);
	} else {
		reno_detect(tp, a);
	}
	if (tp->ca_state == CA_OPEN && tp->lost_unsent)
		enter_recovery(tp);
	if (tp->ca_state == CA_RECOVERY)
		prr(tp, a);
}

void tcp_rack_reo_timeout(struct tcp_sock *tp, u64 now)
{
	struct tcp_ackstate a = {.prior_una = tp->snd_una};

	tcp_rack_detect(tp, now);
	if (!tp->lost_unsent)
		return;
	/* in recovery cwnd stays: what was lost left room in the pipe */
	if (tp->ca_state == CA_OPEN) {
		enter_recovery(tp);
		prr(tp, &a);
	}
	tcp_output(tp, now);
}

void tcp_enter_loss(struct tcp_sock *tp, u64 now)
{
	struct tcp_seg *seg, *head = list_first(&tp->segs, struct tcp_seg, link);
	bool reneged = !list_empty(&tp->segs) && head->flags & SEG_SACKED;

	if (tp->ca_state != CA_LOSS || seq_gt(tp->snd_una, tp->undo_marker)) {
		u32 ssthresh = tp->ssthresh;

		begin_episode(tp);
		/* a recovery that failed has had its reduction */
		if (tp->ca_state == CA_RECOVERY)
			tp->ssthresh = min(tp->ssthresh, ssthresh);
		tp->cc->reset(tp);
	}
	tp->ca_state = CA_LOSS;
	tp->high_seq = tp->snd_nxt;
	tp->tlp_out = false;
	tp->dupacks = 0;
	tp->nr_sack_cache = 0;
	if (!tp->sack_ok)
		tp->sacked = 0;
	list_for_each_entry(seg, &tp->segs, link) {
		/* RFC 2018, 8: the receiver may have thrown away what it had announced */
		if (reneged && seg->flags & SEG_SACKED) {
			tp->sacked -= seg->end - seg->seq;
			seg->flags &= ~SEG_SACKED;
		}
		tcp_seg_mark_lost(tp, seg);
	}
	tp->cwnd = tcp_pipe(tp) + tp->mss;
}

void tcp_mtu_lost(struct tcp_sock *tp, u64 now)
{
	struct tcp_seg *seg;

	list_for_each_entry(seg, &tp->segs, link)
		if (seg->end - seg->seq > tp->mss)
			tcp_seg_mark_lost(tp, seg);
	tp->cwnd = max(tp->cwnd, tcp_pipe(tp) + tp->mss);
	tcp_output(tp, now);
}

void tcp_xmit_lost(struct tcp_sock *tp, u64 now)
{
	struct tcp_seg *seg;

	list_for_each_entry(seg, &tp->segs, link) {
		u32 pipe = tcp_pipe(tp), room = tp->cwnd > pipe ? tp->cwnd - pipe : 0;
		bool head = seg->seq == tp->snd_una;

		if (!tp->lost_unsent)
			break;
		if ((seg->flags & (SEG_LOST | SEG_RETRANS | SEG_SACKED)) != SEG_LOST)
			continue;
		if (pipe && room < min(seg->end - seg->seq, tp->mss)) {
			tp->cwnd_limited = true;
			break;
		}
		if (tcp_retransmit(tp, seg, room, now))
			break;
		if (head)
			tcp_deadline(tp, DL_RTO, now + tcp_rto(tp));
	}
}
