/*
 * tcp_cc.c - congestion control: what all have in common, and Reno (RFC 5681, NewReno's increase).
 */
#include "libos/net/tcp_internal.h"

const struct tcp_cc_ops *tcp_cc_find(const char *name)
{
	if (!strcmp(name, tcp_cubic.name))
		return &tcp_cubic;
	return !strcmp(name, tcp_reno.name) ? &tcp_reno : NULL;
}

static u32 init_cwnd(const struct tcp_sock *tp)
{
	return TCP_INIT_CWND * tp->mss;
}

void tcp_cc_init(struct tcp_sock *tp)
{
	if (!tp->cwnd) {
		tp->cwnd = init_cwnd(tp);
		/* RFC 5681, 3.1: one segment if the SYN was lost */
		if (tp->retries)
			tp->cwnd = tp->mss;
		tp->ssthresh = UINT32_MAX;
	}
	memset(&tp->cc_priv, 0, sizeof(tp->cc_priv));
	tp->cc->init(tp);
}

u32 tcp_cc_slow_start(struct tcp_sock *tp, u32 acked)
{
	u32 room = tp->ssthresh - tp->cwnd, n = min(acked, room);

	tp->cwnd += n;
	return acked - n;
}

static void avoid_congestion(struct tcp_sock *tp, u32 window, u32 acked, u32 *acc)
{
	*acc += acked;
	while (*acc >= window && window) {
		*acc -= window;
		tp->cwnd += tp->mss;
	}
}

/* After idleness of an RTO cwnd says little; it is halved for each (RFC 2861) down to the initial
 * one. */
void tcp_cc_idle(struct tcp_sock *tp, u64 now)
{
	u64 idle = now - tp->last_snd;
	u32 least = min(init_cwnd(tp), tp->cwnd);

	if (idle < tp->rto || !tp->data_segs_out)
		return;
	tp->ssthresh = max(tp->ssthresh, tp->cwnd / 4 * 3);
	for (; idle >= tp->rto && tp->cwnd > least; idle -= tp->rto)
		tp->cwnd /= 2;
	tp->cwnd = max(tp->cwnd, least);
	tp->cc->reset(tp);
}

static void reno_init(struct tcp_sock *tp)
{
	tp->cc_priv.reno_acked = 0;
}

static u32 reno_ssthresh(struct tcp_sock *tp)
{
	return tp->cwnd / 2;
}

static void reno_grow(struct tcp_sock *tp, u32 acked, u64 now)
{
	if (tp->cwnd < tp->ssthresh)
		acked = tcp_cc_slow_start(tp, acked);
	if (acked)
		avoid_congestion(tp, tp->cwnd, acked, &tp->cc_priv.reno_acked);
}

const struct tcp_cc_ops tcp_reno = {
	.name = "reno",
	.init = reno_init,
	.ssthresh = reno_ssthresh,
	.grow = reno_grow,
	.reset = reno_init,
};
