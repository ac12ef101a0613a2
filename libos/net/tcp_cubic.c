/*
 * tcp_cubic.c - CUBIC (RFC 9438): the window is a cubic function of the time since the last loss.
 *
 * Integers only: windows in bytes, time in ms, C = 0.4, beta = 0.7.
 */
#include "libos/net/tcp_internal.h"

#define MAX_MS 100000u /* cubes stay within 64 bits */

/* Integer cube root, rounded down: bit by bit. */
static u32 cbrt64(u64 x)
{
	u64 r = 0;

	for (int b = 20; b >= 0; b--) {
		u64 t = r | 1u << b;

		if (t * t * t <= x)
			r = t;
	}
	return r;
}

static void cubic_init(struct tcp_sock *tp)
{
	memset(&tp->cc_priv.cubic, 0, sizeof(tp->cc_priv.cubic));
}

static void cubic_reset(struct tcp_sock *tp)
{
	tp->cc_priv.cubic.epoch = 0;
}

static u32 cubic_ssthresh(struct tcp_sock *tp)
{
	struct tcp_cubic *c = &tp->cc_priv.cubic;

	c->epoch = 0;
	/* 4.7, fast convergence: a smaller window than before says that others have come */
	if (tp->cwnd < c->w_max)
		c->w_max = (u64)tp->cwnd * 85 / 100;
	else
		c->w_max = tp->cwnd;
	return (u64)tp->cwnd * 7 / 10;
}

static void begin_epoch(struct tcp_sock *tp, struct tcp_cubic *c, u64 now)
{
	c->epoch = now;
	c->w_est = tp->cwnd;
	c->est_acked = 0;
	if (tp->cwnd < c->w_max) {
		/* K = cbrt((w_max - cwnd) / C), in ms: segments * 2.5 * 10^9 */
		c->k_ms = cbrt64((u64)(c->w_max - tp->cwnd) * 2500000000u / tp->mss);
		c->origin = c->w_max;
	} else {
		c->k_ms = 0;
		c->origin = tp->cwnd;
	}
}

/* W_cubic(t), 4.2 */
static u64 cubic_window(const struct tcp_sock *tp, const struct tcp_cubic *c, u64 t)
{
	u64 d = t > c->k_ms ? t - c->k_ms : c->k_ms - t, bytes;

	d = min(d, (u64)MAX_MS);
	if (d < 2000)
		bytes = d * d * d * 4 * tp->mss / 10000000000u;
	else
		bytes = d * d * d / 1000000 * 4 * tp->mss / 10000;
	if (t > c->k_ms)
		return c->origin + bytes;
	return c->origin > bytes ? c->origin - bytes : 0;
}

static void cubic_grow(struct tcp_sock *tp, u32 acked, u64 now)
{
	struct tcp_cubic *c = &tp->cc_priv.cubic;
	u64 target, t;

	if (tp->cwnd < tp->ssthresh) {
		acked = tcp_cc_slow_start(tp, acked);
		if (!acked)
			return;
	}
	if (!c->epoch)
		begin_epoch(tp, c, now);
	t = (now - c->epoch) / NSEC_PER_MSEC;
	/* 4.3: as Reno would with this beta, alpha = 0.53 */
	c->est_acked += acked;
	while ((u64)c->est_acked * 53 / 100 >= tp->cwnd) {
		c->est_acked -= min((u64)c->est_acked, (u64)tp->cwnd * 100 / 53);
		c->w_est += tp->mss;
	}
	/* 4.2: where the curve will be one RTT from now, at most half as much again */
	target = cubic_window(tp, c, t + tp->srtt / NSEC_PER_MSEC);
	target = min(target, (u64)tp->cwnd + tp->cwnd / 2);
	if (target > tp->cwnd)
		tp->cwnd += max((target - tp->cwnd) * acked / tp->cwnd, (u64)1);
	if (c->w_est > tp->cwnd)
		tp->cwnd = c->w_est;
}

const struct tcp_cc_ops tcp_cubic = {
	.name = "cubic",
	.init = cubic_init,
	.ssthresh = cubic_ssthresh,
	.grow = cubic_grow,
	.reset = cubic_reset,
};
