/*
 * tcp_output.c - segments on their way out: what may be sent (RFC 9293, 3.8.6; RFC 896; RFC 5681)
 * and how it looks.
 *
 * What ip_output() did not take (-ENOBUFS) counts as not sent: it is tried again at the next ACK,
 * or a little later.
 */
#include "libos/net/tcp_internal.h"

#define IPPROTO_TCP 6
#define RETRY_MIN NSEC_PER_MSEC
#define RETRY_MAX (200 * NSEC_PER_MSEC)

int tcp_route(struct tcp_sock *tp)
{
	struct route r;
	int err;

	if (likely(tp->route.nif && tp->route.gen == route_gen()))
		return 0;
	err = route_lookup(&tp->node.remote.addr, &tp->node.local.addr, &r);
	if (err)
		return err;
	tp->route = r;
	tcp_sync_mss(tp);
	return 0;
}

/* Segment sizes follow the path's MTU, the peer's MSS and the options in every segment (RFC 6691).
 */
void tcp_sync_mss(struct tcp_sock *tp)
{
	u32 path = tp->route.mtu - tp->route.hdr_len - sizeof(struct tcp_hdr), mss;

	path = min(path, 65535u - tp->route.hdr_len - (u32)sizeof(struct tcp_hdr));
	if (tp->opts.maxseg)
		path = min(path, tp->opts.maxseg);
	path = max(path, TCP_MSS_MIN);
	if (!tp->adv_mss)
		tp->adv_mss = path;
	mss = min(path, tp->peer_mss);
	tp->mss = mss - (tp->ts_ok ? 12 : 0);
}

static u32 cur_mss(struct tcp_sock *tp)
{
	return tp->mss - tcp_sack_len(tp, tp->ts_ok ? 12 : 0);
}

u32 tcp_recv_window(const struct tcp_sock *tp)
{
	s32 left = tp->rcv_wup + tp->rcv_wnd - tp->rcv_nxt;

	return left > 0 ? left : 0;
}

/*
 * The window never shrinks (RFC 9293, 3.8.6), and opens only by pieces that are worth a segment
 * (3.8.6.2.2). Remembers what was offered.
 */
static u16 select_window(struct tcp_sock *tp, bool syn)
{
	u32 cur = tcp_recv_window(tp), space = tcp_win_space(tp), wnd;
	u32 scale = tp->ws_ok && !syn ? tp->rcv_wscale : 0;
	u32 piece = min((u32)tp->rcv_mss, tp->opts.rcvbuf / 4);

	/* the right edge moves by at least a segment, or not at all */
	if (space >= cur + piece)
		wnd = space;
	else
		wnd = cur;
	if (wnd < piece && wnd > cur)
		wnd = cur;
	wnd = min(wnd, 65535u << scale);
	/* rounding down to the scale's unit must not take back what was offered */
	wnd = wnd > cur ? align_down(wnd, 1u << scale) : wnd;
	if (wnd < cur)
		wnd = cur;
	if (wnd == cur)
		wnd = min(align_up(wnd, 1u << scale), 65535u << scale);
	tp->rcv_wnd = wnd;
	tp->rcv_wup = tp->rcv_nxt;
	return wnd >> scale;
}

static void ack_was_sent(struct tcp_sock *tp)
{
	if (tp->quick && (tp->ack_now || tp->ack_delayed))
		tp->quick--;
	tp->ack_now = tp->ack_delayed = false;
	tp->small = 0;
	tcp_deadline_off(tp, DL_DELACK);
}

/* Header, options, len bytes of the queue from seq, and out. */
static int send_segment(struct tcp_sock *tp, u32 seq, u32 len, u8 flags, const u8 *opt, u32 opt_len,
			u16 wnd, u32 mss)
{
	const struct endpoint *l = &tp->node.local, *r = &tp->node.remote;
	struct pkt *p = pkt_alloc(PKT_HEADROOM);
	struct tcp_hdr *h;
	int err;

	if (!p)
		return -ENOBUFS;
	h = (struct tcp_hdr *)pkt_put(p, sizeof(*h) + opt_len);
	memcpy(h + 1, opt, opt_len);
	if (len && tcp_sq_fill(tp, p, seq, len) != len) {
		pkt_free(p);
		return -ENOBUFS;
	}
	h->sport = net16(l->port);
	h->dport = net16(r->port);
	h->seq = net32(seq);
	h->ack = flags & TCPF_ACK ? net32(tp->rcv_nxt) : 0;
	h->off = (sizeof(*h) + opt_len) / 4 << 4;
	h->wnd = net16(wnd);
	h->urp = 0;
	if (unlikely(tp->urg_out) && seq_lt(seq, tp->snd_up) && tp->snd_up - seq <= 0xffff &&
	    !(flags & TCPF_SYN)) {
		flags |= TCPF_URG;
		h->urp = net16(tp->snd_up - seq);
	}
	h->flags = flags;
	h->csum = csum_fold(pseudo_sum(&l->addr, &r->addr, IPPROTO_TCP, p->total));
	p->flags |= PKT_CSUM_PARTIAL;
	p->csum_start = (u8 *)h - nbuf_addr(p->head);
	p->csum_offset = offsetof(struct tcp_hdr, csum);
	p->gso_size = len > mss ? mss : 0;
	err = ip_output(p, &tp->route, &l->addr, &r->addr, IPPROTO_TCP, tp->opts.ttl ?: 64,
			tp->opts.tos, IP_DF);
	if (!err)
		tp->segs_out++;
	return err;
}

/* One segment [seq, seq + len) with flags; 0 or -errno (not sent). */
static int transmit(struct tcp_sock *tp, u32 seq, u32 len, u8 flags, u64 now)
{
	u8 opt[TCP_OPTS_MAX];
	u32 n = 0;
	u16 wnd;
	int err = tcp_route(tp);

	if (err)
		return err;
	if (tp->ts_ok)
		n = tcp_put_ts(opt, tcp_ts(now, tp->ts_off), tp->ts_recent);
	if (unlikely(tp->sack_ok && (tp->nr_runs || tp->dsack_ok)) && !(flags & TCPF_RST))
		n += tcp_put_sack(tp, opt + n, n);
	wnd = select_window(tp, false);
	err = send_segment(tp, seq, len, flags | TCPF_ACK, opt, n, wnd,
			   tp->mss + (tp->ts_ok ? 12 : 0) - n);
	if (err) {
		tp->retry_ns = min(max(tp->retry_ns * 2, RETRY_MIN), RETRY_MAX);
		return err;
	}
	tp->retry_ns = 0;
	ack_was_sent(tp);
	if (len) {
		tp->data_segs_out++;
		tp->bytes_sent += len;
	}
	return 0;
}

static void send_failed(struct tcp_sock *tp, u64 now)
{
	if (tp->dl[DL_RETRY] == NEVER)
		tcp_deadline(tp, DL_RETRY, now + max(tp->retry_ns, RETRY_MIN));
}

void tcp_send_ack(struct tcp_sock *tp, u64 now)
{
	if (tp->state == TCP_CLOSE || tp->state == TCP_SYN_SENT)
		return;
	if (transmit(tp, tp->snd_nxt, 0, 0, now)) {
		tp->ack_now = false;
		tp->ack_delayed = true;
		tcp_deadline(tp, DL_DELACK, now + TCP_DELACK);
	}
}

/* RFC 9293, 3.8.6.3: at least every second full segment at once, all others within 40 ms. */
void tcp_ack_check(struct tcp_sock *tp, u64 now)
{
	if (!tp->ack_now) {
		if (!tp->ack_delayed)
			return;
		if (!(tp->quick && !tp->pingpong) && tp->rcv_nxt - tp->rcv_wup <= tp->rcv_mss &&
		    !tp->nr_runs) {
			if (tp->dl[DL_DELACK] == NEVER)
				tcp_deadline(tp, DL_DELACK, now + TCP_DELACK);
			return;
		}
	}
	tcp_send_ack(tp, now);
}

void tcp_send_rst(struct tcp_sock *tp, u64 now)
{
	transmit(tp, tp->snd_nxt, 0, TCPF_RST, now);
}

static u8 choose_wscale(const struct tcp_sock *tp)
{
	u32 space = tp->opts.rcvbuf_set ? tp->opts.rcvbuf : TCP_RCVBUF_MAX;
	u8 scale = 0;

	for (; space > 65535 && scale < TCP_MAX_WSCALE; space >>= 1)
		scale++;
	return scale;
}

void tcp_send_syn(struct tcp_sock *tp, u64 now)
{
	bool reply = tp->state == TCP_SYN_RECV;
	u8 opt[TCP_OPTS_MAX];
	u32 n;

	if (tcp_route(tp))
		return; /* the timer tries again */
	if (!reply) {
		tp->rcv_wscale = choose_wscale(tp);
		n = tcp_put_syn_options(opt, tp->adv_mss, true, true, tcp_ts(now, tp->ts_off), 0,
					true, tp->rcv_wscale);
	} else {
		n = tcp_put_syn_options(opt, tp->adv_mss, tp->sack_ok, tp->ts_ok,
					tcp_ts(now, tp->ts_off), tp->ts_recent, tp->ws_ok,
					tp->rcv_wscale);
	}
	tp->snd_nxt = tp->iss + 1;
	tp->last_snd = now;
	send_segment(tp, tp->iss, 0, TCPF_SYN | (reply ? TCPF_ACK : 0), opt, n,
		     select_window(tp, true), 65535);
}

/* Out of the window to the left: the peer must answer with an ACK (RFC 9293, 3.8.4, 3.8.6.1). */
int tcp_probe_send(struct tcp_sock *tp, u64 now)
{
	return transmit(tp, tp->snd_una - 1, 0, 0, now);
}

int tcp_retransmit(struct tcp_sock *tp, struct tcp_seg *seg, u32 len, u64 now)
{
	u32 mss = cur_mss(tp), data = seg->end - seg->seq - !!(seg->flags & SEG_FIN);
	bool first = seg->seq == tp->snd_una;
	u8 flags = 0;
	int err;

	/* a peer that took back its window gets the first segment only, as a probe */
	if (!first && seq_ge(seg->seq, tp->snd_una + tp->snd_wnd))
		return -EAGAIN;
	len = max(len, mss);
	if (!(tp->route.nif && tp->route.nif->flags & NETIF_TSO))
		len = mss;
	len = min(len, TCP_GSO_MAX);
	if (len > mss)
		len -= len % mss;
	len = tcp_sq_fit(tp, seg->seq, min(len, data));
	if (len < data && !tcp_seg_split(tp, seg, seg->seq + len))
		return -ENOBUFS;
	if (seg->flags & SEG_FIN)
		flags |= TCPF_FIN;
	if (seg->end == tp->snd_end || seg->flags & SEG_FIN)
		flags |= TCPF_PSH;
	err = transmit(tp, seg->seq, len, flags, now);
	if (err) {
		send_failed(tp, now);
		return err;
	}
	if (!(seg->flags & SEG_RETRANS)) {
		tp->retrans += seg->end - seg->seq;
		if (seg->flags & SEG_LOST)
			tp->lost_unsent -= seg->end - seg->seq;
	}
	seg->flags |= SEG_RETRANS | SEG_EVER;
	seg->sent = now;
	tp->total_retrans++;
	tp->bytes_retrans += len;
	tp->undo_retrans++;
	tp->prr_out += seg->end - seg->seq;
	if (!tp->retrans_ts)
		tp->retrans_ts = tcp_ts(now, tp->ts_off) ?: 1;
	return 0;
}

/* Nagle (RFC 896) as Minshall amended it: one small segment in flight; TCP_CORK and MSG_MORE: none
 * at all. */
static bool hold_small(const struct tcp_sock *tp)
{
	if (tp->fin_queued || (tp->urg_out && seq_gt(tp->snd_up, tp->snd_nxt)))
		return false;
	if (tp->opts.cork || !tp->push)
		return true;
	return !tp->opts.nodelay && seq_gt(tp->snd_sml, tp->snd_una);
}

/* How much of `data` unsent bytes to send as one packet now; 0: not now. */
static u32 next_len(struct tcp_sock *tp, u32 data, u32 mss, bool force)
{
	u32 pipe = tcp_pipe(tp);
	s32 wnd = tp->snd_una + tp->snd_wnd - tp->snd_nxt;
	u32 room = tp->cwnd > pipe ? tp->cwnd - pipe : 0, len, fit;
	u32 most = tp->route.nif->flags & NETIF_TSO ? max(TCP_GSO_MAX, mss) : mss;

	if (wnd <= 0)
		return 0;
	if (room < min(data, mss) && pipe) {
		tp->cwnd_limited = true;
		return 0;
	}
	len = min(min(data, (u32)wnd), max(room, mss));
	if (len > mss) {
		len = min(len, most);
		len -= len % mss;
	} else if (len < mss && !force) {
		if (len == data) {
			if (hold_small(tp))
				return 0;
		} else if (len < tp->max_wnd / 2) {
			return 0; /* the window is silly: wait (RFC 9293, 3.8.6.2.1) */
		}
	}
	fit = tcp_sq_fit(tp, tp->snd_nxt, len);
	if (fit < len && fit > mss)
		fit -= fit % mss;
	return fit;
}

static bool send_new(struct tcp_sock *tp, u64 now, bool force)
{
	u32 unsent = tp->snd_end - tp->snd_nxt, data = unsent - tp->fin_queued, len = 0;
	u32 mss = cur_mss(tp), seqs;
	struct tcp_seg *seg;
	u8 flags = 0;

	if (data) {
		len = next_len(tp, data, mss, force);
		if (!len)
			return false;
	} else if (seq_le(tp->snd_una + tp->snd_wnd, tp->snd_nxt)) {
		return false; /* a FIN needs a sequence number of the window too */
	}
	if (len == data) {
		flags |= TCPF_PSH;
		if (tp->fin_queued)
			flags |= TCPF_FIN;
	}
	if (!data)
		flags &= ~TCPF_PSH;
	seqs = len + !!(flags & TCPF_FIN);
	seg = tcp_seg_add(tp, tp->snd_nxt, tp->snd_nxt + seqs, flags & TCPF_FIN ? SEG_FIN : 0, now);
	if (!seg || transmit(tp, tp->snd_nxt, len, flags, now)) {
		if (seg)
			tcp_seg_del(seg);
		send_failed(tp, now);
		return false;
	}
	if (tp->ca_state == CA_RECOVERY)
		tp->prr_out += seqs;
	tp->snd_nxt += seqs;
	if (len && len < mss)
		tp->snd_sml = tp->snd_nxt;
	/* an answer within the delay of its ACK: conversations carry ACKs on data */
	if (now - tp->last_rcv < TCP_DELACK)
		tp->pingpong = true;
	tp->last_snd = now;
	return true;
}

static bool may_send(const struct tcp_sock *tp)
{
	switch (tp->state) {
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
	case TCP_FIN_WAIT1:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		return true;
	default:
		return false;
	}
}

void tcp_output(struct tcp_sock *tp, u64 now)
{
	bool sent = false;

	if (!may_send(tp))
		return;
	tp->cwnd_limited = false;
	if (unlikely(tp->lost_unsent))
		tcp_xmit_lost(tp, now);
	if (tp->snd_end == tp->snd_nxt)
		return;
	if (unlikely(tcp_route(tp))) {
		send_failed(tp, now);
		return;
	}
	if (tp->snd_una == tp->snd_nxt)
		tcp_cc_idle(tp, now);
	if (tp->snd_una == tp->snd_nxt && tp->dl[DL_PERSIST] == NEVER)
		tp->stall_since = now;
	while (tp->snd_end != tp->snd_nxt && send_new(tp, now, false))
		sent = true;
	if (sent)
		tcp_tlp_arm(tp, now);
	tcp_rearm(tp, now);
}

/* The persist timer: something goes out, a piece that fits the window or a probe. */
void tcp_output_forced(struct tcp_sock *tp, u64 now)
{
	if (!may_send(tp) || tcp_route(tp))
		return;
	if (tp->snd_una != tp->snd_nxt || !send_new(tp, now, true))
		tcp_probe_send(tp, now);
}
