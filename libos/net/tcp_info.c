/*
 * tcp_info.c - TCP_INFO: the state of a connection as linux/tcp.h lays it out.
 */
#include "libos/net/tcp_internal.h"

#include <linux/tcp.h>

static u32 us(u64 ns)
{
	return min(ns / NSEC_PER_USEC, (u64)UINT32_MAX);
}

static u32 ms_since(u64 now, u64 then)
{
	return then && then < now ? min((now - then) / NSEC_PER_MSEC, (u64)UINT32_MAX) : 0;
}

static u8 ca_state(const struct tcp_sock *tp)
{
	switch (tp->ca_state) {
	case CA_RECOVERY:
		return TCP_CA_Recovery;
	case CA_LOSS:
		return TCP_CA_Loss;
	default:
		return tp->sacked || tp->dupacks ? TCP_CA_Disorder : TCP_CA_Open;
	}
}

static void fill(struct tcp_sock *tp, struct tcp_info *i, u64 now)
{
	u32 mss = max(tp->mss, 1u);
	u64 rate = tp->srtt ? (u64)tp->cwnd * NSEC_PER_SEC / tp->srtt : 0;

	i->tcpi_state = tp->state;
	i->tcpi_ca_state = ca_state(tp);
	i->tcpi_retransmits = min(tp->retries, 255u);
	i->tcpi_backoff = min(tp->backoff, 255u);
	i->tcpi_options = (tp->ts_ok ? TCPI_OPT_TIMESTAMPS : 0) |
			  (tp->sack_ok ? TCPI_OPT_SACK : 0) | (tp->ws_ok ? TCPI_OPT_WSCALE : 0);
	i->tcpi_snd_wscale = tp->snd_wscale;
	i->tcpi_rcv_wscale = tp->rcv_wscale;
	i->tcpi_rto = us(tcp_rto(tp));
	i->tcpi_ato = us(TCP_DELACK);
	i->tcpi_snd_mss = tp->mss;
	i->tcpi_rcv_mss = tp->rcv_mss;
	if (tp->state == TCP_LISTEN) {
		i->tcpi_unacked =
			tp->nr_accept; /* as Linux has it: the accept queue and its limit */
		i->tcpi_sacked = tp->backlog;
		return;
	}
	i->tcpi_unacked = (tp->snd_nxt - tp->snd_una + mss - 1) / mss;
	i->tcpi_sacked = (tp->sacked + mss - 1) / mss;
	i->tcpi_lost = (tp->lost + mss - 1) / mss;
	i->tcpi_retrans = (tp->retrans + mss - 1) / mss;
	i->tcpi_last_data_sent = ms_since(now, tp->last_snd);
	i->tcpi_last_data_recv = i->tcpi_last_ack_recv = ms_since(now, tp->last_rcv);
	i->tcpi_pmtu = tp->route.mtu;
	i->tcpi_rcv_ssthresh = tcp_win_space(tp);
	i->tcpi_rtt = us(tp->srtt);
	i->tcpi_rttvar = us(tp->rttvar);
	i->tcpi_snd_ssthresh = tp->ssthresh == UINT32_MAX ? 0x7fffffff : tp->ssthresh / mss;
	i->tcpi_snd_cwnd = tp->cwnd / mss;
	i->tcpi_advmss = tp->adv_mss;
	i->tcpi_reordering = tp->reord_seen ? 3 + tp->reo_mult : 3;
	i->tcpi_rcv_rtt = us(tp->drs_rtt);
	i->tcpi_rcv_space = tp->drs_space;
	i->tcpi_total_retrans = tp->total_retrans;
	i->tcpi_pacing_rate = i->tcpi_max_pacing_rate = UINT64_MAX; /* not paced */
	i->tcpi_bytes_acked = tp->bytes_acked;
	i->tcpi_bytes_received = tp->bytes_received;
	i->tcpi_segs_out = tp->segs_out;
	i->tcpi_segs_in = tp->segs_in;
	i->tcpi_notsent_bytes = tp->snd_end - tp->snd_nxt;
	i->tcpi_min_rtt = us(tp->min_rtt);
	i->tcpi_data_segs_in = tp->data_segs_in;
	i->tcpi_data_segs_out = tp->data_segs_out;
	i->tcpi_delivery_rate = rate;
	i->tcpi_bytes_sent = tp->bytes_sent;
	i->tcpi_bytes_retrans = tp->bytes_retrans;
	i->tcpi_dsack_dups = tp->dsack_dups;
	i->tcpi_reord_seen = tp->reord_events;
	i->tcpi_rcv_ooopack = tp->nr_runs;
	i->tcpi_snd_wnd = tp->snd_wnd;
}

u32 tcp_info(struct tcp_sock *tp, void *buf, u32 size)
{
	struct tcp_info i;

	memset(&i, 0, sizeof(i));
	spin_lock(&tp->lock);
	fill(tp, &i, clock_monotonic_ns());
	tcp_unlock(tp);
	size = min(size, (u32)sizeof(i));
	memcpy(buf, &i, size);
	return size;
}

void tcp_queues(const struct tcp_sock *tp, u32 *tx, u32 *rx, u64 *ino)
{
	bool listens = tp->state == TCP_LISTEN;

	*tx = listens ? 0 : tp->snd_end - tp->snd_una;
	*rx = listens ? tp->nr_accept : (u32)tp->rq_bytes;
	*ino = tp->orphan ? 0 : tp->opts.ino;
}
