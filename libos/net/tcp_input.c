/*
 * tcp_input.c - segments that arrive: to whom they belong, whether they are acceptable, what they
 * do to the state (RFC 9293, 3.10.7; RFC 5961; RFC 7323, 5).
 */
#include "libos/net/tcp_internal.h"

#include "libos/ipc/pollbits.h"

#define IPPROTO_TCP 6

static void challenge(struct tcp_sock *tp, u64 now)
{
	if (tcp_challenge_ok(now))
		tcp_send_ack(tp, now);
}

/* An ACK for what we do not take. Those without data could bounce between two such ends for ever:
 * few of them. */
static void reject(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now)
{
	if (!s->len && !(s->flags & TCPF_FIN)) {
		if (tp->last_oow_ack && now - tp->last_oow_ack < TCP_OOW_ACK_NS)
			return;
		tp->last_oow_ack = now;
	} else if (seq_lt(s->seq, tp->rcv_nxt)) {
		tcp_dsack(tp, s->seq, seq_lt(s->end, tp->rcv_nxt) ? s->end : tp->rcv_nxt);
	}
	tcp_send_ack(tp, now);
}

/* RFC 7323, 5.3. False: an old duplicate, or no timestamp where one was agreed on. */
static bool paws_ok(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now)
{
	if (!tp->ts_ok || s->flags & TCPF_RST)
		return true;
	if (!s->ts)
		return false;
	if (seq_ge(s->tsval, tp->ts_recent) || now - tp->ts_recent_ns > TCP_PAWS_NS)
		return true;
	reject(tp, s, now);
	return false;
}

static void peer_reset(struct tcp_sock *tp)
{
	switch (tp->state) {
	case TCP_SYN_RECV:
		tcp_fail(tp, ECONNREFUSED);
		break;
	case TCP_CLOSE_WAIT:
		tcp_fail(tp, EPIPE);
		break;
	default:
		tcp_fail(tp, ECONNRESET);
	}
}

/* Steps 1 to 4 of 3.10.7.4: sequence number, RST, SYN. True: go on with the ACK. */
static bool acceptable(struct tcp_sock *tp, struct tcp_seginfo *s, u64 now)
{
	u32 wnd = tcp_recv_window(tp);

	/* simultaneous open: the peer's SYN-ACK repeats the SYN that we know */
	if (tp->state == TCP_SYN_RECV && s->seq == tp->irs && s->flags & TCPF_SYN &&
	    !(s->flags & TCPF_RST)) {
		if (!(s->flags & TCPF_ACK) || s->ack != tp->snd_nxt) {
			tcp_send_syn(tp, now);
			return false;
		}
		s->seq++;
		s->flags &= ~TCPF_SYN;
	}
	if (!paws_ok(tp, s, now))
		return false;
	if (seq_lt(s->end, tp->rcv_wup) || seq_gt(s->seq, tp->rcv_nxt + wnd)) {
		if (!(s->flags & TCPF_RST))
			reject(tp, s, now);
		return false;
	}
	if (s->flags & TCPF_RST) {
		/* RFC 5961, 3.2: only the exact number ends it; near ones ask the peer to say it
		 * again */
		if (s->seq == tp->rcv_nxt)
			peer_reset(tp);
		else if (seq_gt(s->seq, tp->rcv_nxt))
			challenge(tp, now);
		return false;
	}
	if (s->flags & TCPF_SYN) {
		challenge(tp, now); /* RFC 5961, 4.2 */
		return false;
	}
	return s->flags & TCPF_ACK;
}

static void fin_acked(struct tcp_sock *tp, u64 now)
{
	switch (tp->state) {
	case TCP_FIN_WAIT1:
		tp->state = TCP_FIN_WAIT2;
		tcp_wake(tp, POLLOUT_BITS);
		if (tp->orphan)
			tcp_deadline(tp, DL_STATE, now + tp->opts.linger2_ns);
		break;
	case TCP_CLOSING:
		tcp_timewait(tp, now);
		break;
	case TCP_LAST_ACK:
		tcp_done(tp);
		break;
	}
}

static void fin_arrived(struct tcp_sock *tp, u64 now)
{
	switch (tp->state) {
	case TCP_ESTABLISHED:
		tp->state = TCP_CLOSE_WAIT;
		break;
	case TCP_FIN_WAIT1:
		tp->state = TCP_CLOSING;
		break;
	case TCP_FIN_WAIT2:
		tcp_send_ack(tp, now);
		tcp_timewait(tp, now);
		break;
	}
}

/* RFC 9293, 3.8.5, with the pointer as BSD has it: to the byte behind the urgent one. */
static void urgent(struct tcp_sock *tp, const struct tcp_seginfo *s)
{
	u32 at = s->seq + s->urp - 1;

	if (!s->urp || seq_lt(at, tp->copied) || seq_lt(at, tp->rcv_nxt))
		return;
	if (tp->urg_valid && seq_le(at, tp->urg_seq))
		return;
	tp->urg_valid = true;
	tp->urg_have = tp->urg_read = false;
	tp->urg_seq = at;
	tcp_wake(tp, EPOLLPRI);
}

/* Data and FIN, steps 7 and 8. Takes over p. */
static void text(struct tcp_sock *tp, struct pkt *p, struct tcp_seginfo *s, u64 now)
{
	bool had_fin = tp->fin_rcvd;

	switch (tp->state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		/* RFC 1122, 4.2.2.13: nobody is there to read it */
		if (tp->rcv_shut && !tp->fin_rcvd && s->len &&
		    seq_gt(s->seq + s->len, tp->rcv_nxt)) {
			pkt_free(p);
			tcp_abort(tp, ECONNRESET);
			return;
		}
		break;
	case TCP_ESTABLISHED:
		break;
	default:
		tp->ack_now = true; /* after its FIN: repeats only */
		pkt_free(p);
		return;
	}
	tcp_drs_rtt(tp, s, now);
	tcp_data(tp, p, s, now);
	if (tp->fin_rcvd && !had_fin)
		fin_arrived(tp, now);
}

/* SYN-RECEIVED of a simultaneous open: the ACK of our SYN. */
static bool syn_acked(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now)
{
	if (s->ack != tp->iss + 1)
		return false;
	tp->snd_una = s->ack;
	tp->snd_wnd = (u32)s->wnd << tp->snd_wscale;
	tp->max_wnd = max(tp->max_wnd, tp->snd_wnd);
	tp->snd_wl1 = s->seq;
	tcp_established(tp, now);
	return true;
}

/* What the peer's SYN agreed to. */
static void syn_options(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now)
{
	tp->irs = s->seq;
	tp->rcv_nxt = tp->rcv_wup = tp->copied = s->seq + 1;
	tp->ts_ok = s->ts;
	tp->ts_recent = s->tsval;
	tp->ts_recent_ns = now;
	tp->sack_ok = s->sack_perm;
	tp->ws_ok = s->wscale_ok;
	tp->snd_wscale = s->wscale;
	if (!tp->ws_ok)
		tp->snd_wscale = tp->rcv_wscale = 0;
	tp->peer_mss = max(s->mss ? (u32)s->mss : TCP_MSS_DEFAULT, TCP_MSS_MIN);
	tp->snd_wnd = tp->max_wnd = s->wnd;
	tp->snd_wl1 = s->seq;
	tcp_sync_mss(tp);
}

static void refuse(struct tcp_sock *tp, const struct tcp_seginfo *s)
{
	struct tcp_reply a = {
		.local = tp->node.local,
		.remote = tp->node.remote,
		.seq = s->ack,
		.flags = TCPF_RST,
	};

	if (!(s->flags & TCPF_RST))
		tcp_reply(&a);
}

/* 3.10.7.3. Takes over p. */
static void rcv_syn_sent(struct tcp_sock *tp, struct pkt *p, struct tcp_seginfo *s, u64 now)
{
	bool ack = s->flags & TCPF_ACK;

	if (ack && s->ack != tp->snd_nxt) {
		refuse(tp, s);
		goto drop;
	}
	if (s->flags & TCPF_RST) {
		if (ack)
			tcp_fail(tp, ECONNREFUSED);
		goto drop;
	}
	if (!(s->flags & TCPF_SYN))
		goto drop;
	syn_options(tp, s, now);
	if (!ack) {
		tp->state = TCP_SYN_RECV;
		tp->retries = tp->backoff = 0;
		tcp_send_syn(tp, now);
		tcp_deadline(tp, DL_RTO, now + tcp_rto(tp));
		goto drop;
	}
	tp->snd_una = tp->snd_sml = tp->rack_fack = s->ack;
	if (!tp->retries)
		tcp_rtt_sample(tp, max(now - tp->last_snd, (u64)1), now);
	tcp_established(tp, now);
	tp->ack_now = true;
	s->seq++;
	s->flags &= ~TCPF_SYN;
	if (s->len || s->flags & TCPF_FIN)
		text(tp, p, s, now);
	else
		pkt_free(p);
	if (tp->state == TCP_CLOSE)
		return;
	tcp_output(tp, now);
	tcp_ack_check(tp, now);
	return;
drop:
	pkt_free(p);
}

void tcp_rcv(struct tcp_sock *tp, struct pkt *p, struct tcp_seginfo *s, u64 now)
{
	tp->segs_in++;
	if (unlikely(tp->state == TCP_SYN_SENT)) {
		rcv_syn_sent(tp, p, s, now);
		return;
	}
	if (unlikely(tp->state == TCP_CLOSE || tp->state == TCP_LISTEN) || !acceptable(tp, s, now))
		goto drop;
	tp->last_rcv = now;
	tp->keep_probes = 0;
	if (unlikely(tp->state == TCP_SYN_RECV)) {
		if (!syn_acked(tp, s, now)) {
			refuse(tp, s);
			goto drop;
		}
	} else if (!tcp_ack(tp, s, now)) {
		goto drop;
	}
	/* RFC 7323, 4.3: the clock of what was next when we last acknowledged */
	if (s->ts && seq_le(s->seq, tp->rcv_wup) && seq_ge(s->tsval, tp->ts_recent)) {
		tp->ts_recent = s->tsval;
		tp->ts_recent_ns = now;
	}
	if (unlikely(tp->fin_queued && tp->snd_una == tp->snd_end)) {
		fin_acked(tp, now);
		if (tp->state == TCP_CLOSE)
			goto drop;
	}
	if (unlikely(s->flags & TCPF_URG))
		urgent(tp, s);
	if (s->len || s->flags & TCPF_FIN) {
		text(tp, p, s, now);
		if (tp->state == TCP_CLOSE)
			return;
	} else {
		pkt_free(p);
	}
	if (tp->snd_end != tp->snd_nxt || tp->lost_unsent)
		tcp_output(tp, now);
	tcp_ack_check(tp, now);
	return;
drop:
	pkt_free(p);
}

/* Whom the segment is for. p is taken over. */
static void deliver(struct pkt *p, const struct ip_info *ip, struct tcp_seginfo *s, u64 now)
{
	struct endpoint local = {ip->dst, s->dport}, remote = {ip->src, s->sport};
	struct tcp_sock *lp;
	u32 iss_hint = 0;

	/* more than once only if somebody changed the table just then */
	for (u32 tries = 0; tries < 3; tries++) {
		struct tcp_hnode *n = tcp_lookup(&local, &remote);
		bool again = false;

		if (!n)
			break;
		if (likely(n->kind == TCP_KIND_SOCK)) {
			struct tcp_sock *tp = container_of(n, struct tcp_sock, node);

			spin_lock(&tp->lock);
			again = tp->state == TCP_CLOSE;
			if (likely(!again))
				tcp_rcv(tp, p, s, now);
			tcp_unlock(tp);
		} else if (n->kind == TCP_KIND_REQ) {
			again = tcp_req_input(container_of(n, struct tcp_req, node), p, ip, s, now);
		} else {
			again = tcp_tw_input(container_of(n, struct tcp_tw, node), p, s, now,
					     &iss_hint);
		}
		tcp_node_put(n);
		if (!again)
			return;
	}
	lp = tcp_listen_lookup(&local, &remote);
	if (lp) {
		tcp_listen_input(lp, p, ip, s, iss_hint, now);
		tcp_put(lp);
		return;
	}
	tcp_reply_rst(ip, s);
	pkt_free(p);
}

void tcp_input(struct pkt *p, const struct ip_info *ip)
{
	struct tcp_seginfo s;

	if (ip->broadcast)
		goto drop;
	if (!(p->flags & PKT_CSUM_OK) &&
	    pkt_csum(p, 0, p->total, pseudo_sum(&ip->src, &ip->dst, IPPROTO_TCP, p->total)) !=
		    0xffff)
		goto drop;
	if (!tcp_parse(p, &s) || !s.sport || !s.dport)
		goto drop;
	deliver(p, ip, &s, clock_monotonic_ns());
	return;
drop:
	pkt_free(p);
}
