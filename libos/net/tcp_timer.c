/*
 * tcp_timer.c - time: round trips and time-outs (RFC 6298), and the deadlines of a connection.
 *
 * A connection has one struct timer for all deadlines. It is moved only to earlier times: a
 * deadline that was put off or dropped, as nearly all are, costs a store, and the timer finds
 * nothing due when it fires. An armed timer holds a reference; whoever takes it out of the heap,
 * the function or a cancel, owns that.
 */
#include "libos/net/tcp_internal.h"

#define MIN_RTT_WINDOW (300 * NSEC_PER_SEC)
#define RESOURCE_PROBE (500 * NSEC_PER_MSEC)

static void timer_move(struct tcp_sock *tp, u64 when)
{
	if (!timer_try_cancel(&tp->timer))
		tcp_get(tp);
	if (timer_arm(&tp->timer, when)) {
		tp->timer_at = NEVER; /* no memory: the next deadline tries again */
		tcp_put(tp);
		return;
	}
	tp->timer_at = when;
}

void tcp_deadline(struct tcp_sock *tp, enum tcp_deadline which, u64 when)
{
	tp->dl[which] = when;
	if (unlikely(when < tp->timer_at))
		timer_move(tp, when);
}

void tcp_timers_off(struct tcp_sock *tp)
{
	for (u32 i = 0; i < NR_DEADLINES; i++)
		tp->dl[i] = NEVER;
	if (timer_try_cancel(&tp->timer))
		tcp_put(tp);
	tp->timer_at = NEVER;
}

u64 tcp_rto(const struct tcp_sock *tp)
{
	u64 rto = tp->rto;

	for (u32 i = 0; i < tp->backoff && rto < TCP_RTO_MAX; i++)
		rto *= 2;
	return min(rto, TCP_RTO_MAX);
}

/* RFC 6298, 2; the variance counts for at least 200 ms, so that a delayed ACK never looks like a
 * loss. */
void tcp_rtt_sample(struct tcp_sock *tp, u64 rtt, u64 now)
{
	if (!tp->srtt) {
		tp->srtt = rtt;
		tp->rttvar = rtt / 2;
	} else {
		u64 diff = tp->srtt > rtt ? tp->srtt - rtt : rtt - tp->srtt;

		tp->rttvar = tp->rttvar - tp->rttvar / 4 + diff / 4;
		tp->srtt = max(tp->srtt - tp->srtt / 8 + rtt / 8, (u64)1);
	}
	tp->rto = min(tp->srtt + max(4 * tp->rttvar, TCP_RTO_MIN), TCP_RTO_MAX);
	if (!tp->min_rtt || rtt <= tp->min_rtt || now - tp->min_rtt_at > MIN_RTT_WINDOW) {
		tp->min_rtt = rtt;
		tp->min_rtt_at = now;
	}
}

void tcp_rearm(struct tcp_sock *tp, u64 now)
{
	if (tp->snd_una != tp->snd_nxt) {
		tcp_deadline_off(tp, DL_PERSIST);
		if (tp->dl[DL_RTO] == NEVER)
			tcp_deadline(tp, DL_RTO, now + tcp_rto(tp));
		return;
	}
	tcp_deadline_off(tp, DL_RTO);
	tcp_deadline_off(tp, DL_TLP);
	if (tp->snd_end == tp->snd_nxt)
		tcp_deadline_off(tp, DL_PERSIST);
	else if (tp->dl[DL_PERSIST] == NEVER && tp->dl[DL_RETRY] == NEVER)
		tcp_deadline(tp, DL_PERSIST, now + tcp_rto(tp));
}

void tcp_keep_arm(struct tcp_sock *tp, u64 now)
{
	if (tp->dl[DL_KEEP] == NEVER)
		tp->keep_probes = 0;
	if (tp->opts.keepalive && tp->state != TCP_SYN_SENT && tp->state != TCP_SYN_RECV)
		tcp_deadline(tp, DL_KEEP, max(tp->last_rcv + tp->opts.keep_idle_ns, now));
	else
		tcp_deadline_off(tp, DL_KEEP);
}

static void timed_out(struct tcp_sock *tp)
{
	tcp_fail(tp, tp->soft_err ?: ETIMEDOUT);
}

/* RFC 5482: has the peer been silent for longer than the user bears? */
static bool user_timeout(const struct tcp_sock *tp, u64 now)
{
	return tp->opts.user_timeout_ns && now - tp->stall_since >= tp->opts.user_timeout_ns;
}

/* The next deadline of a series, not beyond the user's. */
static u64 no_later(const struct tcp_sock *tp, u64 now, u64 when)
{
	if (tp->opts.user_timeout_ns)
		when = min(when,
			   max(tp->stall_since + tp->opts.user_timeout_ns, now + NSEC_PER_MSEC));
	return when;
}

static void syn_timeout(struct tcp_sock *tp, u64 now)
{
	u32 most = tp->state == TCP_SYN_SENT ? tp->opts.syn_retries : TCP_SYNACK_RETRIES;

	if (tp->retries >= most || user_timeout(tp, now)) {
		timed_out(tp);
		return;
	}
	tp->retries++;
	tp->backoff++;
	tp->total_retrans++;
	tp->route.gen = route_gen() - 1; /* perhaps there is another way */
	tcp_send_syn(tp, now);
	tcp_deadline(tp, DL_RTO, no_later(tp, now, now + tcp_rto(tp)));
}

static bool given_up(const struct tcp_sock *tp)
{
	return tp->retries >= (tp->orphan ? TCP_ORPHAN_RETRIES : TCP_RETRIES);
}

/* A peer that took its window back but answers: retransmissions are window probes then (RFC
 * 9293, 3.8.6.1). */
static bool shrunk(const struct tcp_sock *tp, u64 now)
{
	return !tp->snd_wnd && !tp->orphan && now - tp->last_rcv < 2 * TCP_RTO_MAX;
}

static void rto_timeout(struct tcp_sock *tp, u64 now)
{
	u32 segs_out = tp->segs_out;

	if (tp->state == TCP_SYN_SENT || tp->state == TCP_SYN_RECV) {
		syn_timeout(tp, now);
		return;
	}
	if (tp->snd_una == tp->snd_nxt)
		return;
	if (user_timeout(tp, now) || (given_up(tp) && !shrunk(tp, now))) {
		timed_out(tp);
		return;
	}
	tcp_enter_loss(tp, now);
	tp->retries++;
	tp->backoff++;
	if (tp->retries == 3)
		tp->route.gen = route_gen() - 1; /* RFC 1122, 4.2.3.5: R1 */
	tcp_deadline(tp, DL_RTO, no_later(tp, now, now + tcp_rto(tp)));
	tcp_output(tp, now);
	if (tp->segs_out == segs_out) {
		/* nothing left this host: that tells nothing of the peer */
		tp->retries--;
		tp->backoff--;
		tcp_deadline(tp, DL_RTO, now + min(tcp_rto(tp), RESOURCE_PROBE));
	} else if (tp->dl[DL_RTO] != NEVER) {
		tcp_deadline(tp, DL_RTO, no_later(tp, now, tp->dl[DL_RTO]));
	}
}

/* RFC 9293, 3.8.6.1. A peer that answers may keep its window shut for ever, unless nobody is left
 * here. */
static void persist_timeout(struct tcp_sock *tp, u64 now)
{
	if (tp->snd_una != tp->snd_nxt || tp->snd_end == tp->snd_nxt)
		return;
	if (user_timeout(tp, now) || tp->retries >= TCP_RETRIES ||
	    (tp->orphan && tp->backoff >= TCP_ORPHAN_RETRIES)) {
		tcp_abort(tp, tp->soft_err ?: ETIMEDOUT);
		return;
	}
	tcp_output_forced(tp, now);
	if (tp->snd_una == tp->snd_nxt) {
		tp->retries++;
		tp->backoff = min(tp->backoff + 1, 16u);
	}
	tcp_rearm(tp, now);
	if (tp->dl[DL_PERSIST] != NEVER)
		tcp_deadline(tp, DL_PERSIST, no_later(tp, now, tp->dl[DL_PERSIST]));
}

/* RFC 9293, 3.8.4 */
static void keep_timeout(struct tcp_sock *tp, u64 now)
{
	u64 quiet = now - tp->last_rcv;

	if (!tp->opts.keepalive || tp->state == TCP_SYN_SENT || tp->state == TCP_SYN_RECV)
		return;
	if (tp->snd_una != tp->snd_nxt || tp->snd_end != tp->snd_nxt) {
		tcp_deadline(tp, DL_KEEP,
			     now + tp->opts.keep_idle_ns); /* retransmissions see to it */
		return;
	}
	if (quiet < tp->opts.keep_idle_ns) {
		tp->keep_probes = 0;
		tcp_deadline(tp, DL_KEEP, tp->last_rcv + tp->opts.keep_idle_ns);
		return;
	}
	if (tp->opts.user_timeout_ns ? quiet >= tp->opts.user_timeout_ns && tp->keep_probes
				     : tp->keep_probes >= tp->opts.keep_cnt) {
		tcp_abort(tp, tp->soft_err ?: ETIMEDOUT);
		return;
	}
	if (!tcp_probe_send(tp, now))
		tp->keep_probes++;
	tcp_deadline(tp, DL_KEEP, now + tp->opts.keep_intvl_ns);
}

static void fire(struct tcp_sock *tp, enum tcp_deadline which, u64 now)
{
	switch (which) {
	case DL_RTO:
		rto_timeout(tp, now);
		break;
	case DL_TLP:
		tcp_tlp_timeout(tp, now);
		break;
	case DL_REO:
		tcp_rack_reo_timeout(tp, now);
		break;
	case DL_PERSIST:
		persist_timeout(tp, now);
		break;
	case DL_DELACK:
		if (!tp->ack_delayed)
			break;
		/* no answer took it along: not a conversation, so the next ones go at once */
		tp->pingpong = false;
		tcp_send_ack(tp, now);
		break;
	case DL_KEEP:
		keep_timeout(tp, now);
		break;
	case DL_STATE:
		if (tp->state == TCP_LISTEN)
			tcp_listen_timeout(tp, now);
		else if (tp->state == TCP_FIN_WAIT2 && tp->orphan)
			tcp_done(tp);
		break;
	case DL_RETRY:
		tcp_output(tp, now);
		break;
	case NR_DEADLINES:
		break;
	}
}

void tcp_timer_fn(struct timer *t)
{
	struct tcp_sock *tp = container_of(t, struct tcp_sock, timer);
	u64 now = clock_monotonic_ns(), next = NEVER;

	spin_lock(&tp->lock);
	tp->timer_at = NEVER;
	for (u32 i = 0; i < NR_DEADLINES; i++)
		if (tp->dl[i] <= now) {
			tp->dl[i] = NEVER;
			fire(tp, i, now);
		}
	for (u32 i = 0; i < NR_DEADLINES; i++)
		next = min(next, tp->dl[i]);
	if (next < tp->timer_at)
		timer_move(tp, next);
	tcp_unlock(tp);
	tcp_put(tp);
}
