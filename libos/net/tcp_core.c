/*
 * tcp_core.c - the life of a connection's memory and state: made, established, over.
 */
#include "libos/net/tcp_internal.h"

#include "libos/mm/alloc.h"

u32 tcp_nr_orphans;

static u32 init_state; /* 0: not done, 1: somebody is at it, 2: done */

int tcp_init(void)
{
	u32 none = 0;
	int err;

	if (likely(__atomic_load_n(&init_state, __ATOMIC_ACQUIRE) == 2))
		return 0;
	if (!__atomic_compare_exchange_n(&init_state, &none, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_ACQUIRE)) {
		while (__atomic_load_n(&init_state, __ATOMIC_ACQUIRE) == 1)
			cpu_relax();
		return __atomic_load_n(&init_state, __ATOMIC_ACQUIRE) == 2 ? 0 : -ENOMEM;
	}
	err = tcp_table_init();
	if (!err) {
		tcp_keys_init();
		tcp_tw_init();
	}
	__atomic_store_n(&init_state, err ? 0 : 2, __ATOMIC_RELEASE);
	return err;
}

void tcp_free_sock(struct tcp_sock *tp)
{
	tcp_port_release(&tp->port);
	tcp_purge_rq(tp);
	tcp_ooo_free(tp);
	tcp_segs_free(tp);
	tcp_sq_free(tp);
	kfree(tp, sizeof(*tp));
}

void tcp_get(struct tcp_sock *tp)
{
	tcp_node_get(&tp->node);
}

void tcp_put(struct tcp_sock *tp)
{
	tcp_node_put(&tp->node);
}

/* What belongs to one connection and not to the socket: ready for the next connect(). */
void tcp_reset_state(struct tcp_sock *tp)
{
	size_t from = offsetof(struct tcp_sock, rcv_nxt), to = offsetof(struct tcp_sock, timer);
	struct tcp_sendq sq = tp->sq;
	const struct tcp_cc_ops *cc = tp->cc;

	tcp_segs_free(tp);
	tcp_ooo_free(tp);
	tcp_purge_rq(tp);
	memset((u8 *)tp + from, 0, to - from);
	tp->sq = sq;
	tp->cc = cc;
	tcp_sq_free(tp);
	list_init(&tp->rq);
	list_init(&tp->runs);
	list_init(&tp->segs);
	tp->orphan = tp->rcv_shut = tp->snd_shut = tp->fin_queued = tp->fin_rcvd = tp->fin_ooo =
		false;
	tp->ts_ok = tp->sack_ok = tp->ws_ok = false;
	tp->snd_wscale = tp->rcv_wscale = 0;
	tp->ca_state = CA_OPEN;
	tp->soft_err = 0;
	for (u32 i = 0; i < NR_DEADLINES; i++)
		tp->dl[i] = NEVER;
	tp->rto = TCP_RTO_INIT;
	tp->rcv_mss = TCP_MSS_DEFAULT;
	tp->mss = tp->peer_mss = TCP_MSS_DEFAULT;
	tp->reo_mult = 1;
	tp->bytes_acked = tp->bytes_received = tp->bytes_sent = tp->bytes_retrans = 0;
	tp->segs_out = tp->segs_in = tp->data_segs_out = tp->data_segs_in = 0;
	tp->total_retrans = tp->dsack_dups = tp->reord_events = 0;
}

struct tcp_sock *tcp_create(u16 family)
{
	struct tcp_sock *tp = kmalloc(sizeof(*tp));

	if (!tp)
		return NULL;
	memset(tp, 0, sizeof(*tp));
	tp->node.kind = TCP_KIND_SOCK;
	tp->node.refs = 1;
	tp->family = family;
	netaddr_any(&tp->node.local.addr, family);
	netaddr_any(&tp->node.remote.addr, family);
	list_init(&tp->rq);
	list_init(&tp->runs);
	list_init(&tp->segs);
	tcp_reset_state(tp);
	tp->state = TCP_CLOSE;
	spin_init(&tp->lock);
	waitq_init(&tp->wq);
	timer_init(&tp->timer, tcp_timer_fn);
	tp->timer_at = NEVER;
	list_init(&tp->acceptq);
	list_init(&tp->reqs);
	list_init(&tp->acc_link);
	tp->opts = (struct tcp_opts){
		.keep_idle_ns = 7200 * NSEC_PER_SEC,
		.keep_intvl_ns = 75 * NSEC_PER_SEC,
		.keep_cnt = 9,
		.syn_retries = 6,
		.linger2_ns = 60 * NSEC_PER_SEC,
		.sndbuf = TCP_SNDBUF_DEFAULT,
		.rcvbuf = TCP_RCVBUF_DEFAULT,
		.rcvlowat = 1,
		.notsent_lowat = UINT32_MAX,
		.ttl = 64,
	};
	strlcpy(tp->opts.congestion, tcp_cubic.name, sizeof(tp->opts.congestion));
	tp->cc = &tcp_cubic;
	return tp;
}

void tcp_unlock(struct tcp_sock *tp)
{
	u32 events = tp->wake;
	int excl = tp->wake_excl;

	tp->wake = 0;
	tp->wake_excl = 0;
	spin_unlock(&tp->lock);
	if (events)
		waitq_wake(&tp->wq, events, excl);
}

void tcp_purge_rq(struct tcp_sock *tp)
{
	struct pkt *p, *n;

	list_for_each_entry_safe(p, n, &tp->rq, link) {
		list_del(&p->link);
		pkt_free(p);
	}
	tp->rq_bytes = 0;
	tp->rmem = tp->ooo_mem;
}

void tcp_done(struct tcp_sock *tp)
{
	if (tp->state == TCP_CLOSE && !tp->node.hashed)
		return;
	tp->state = TCP_CLOSE;
	tp->rcv_shut = tp->snd_shut = true;
	tcp_timers_off(tp);
	tcp_segs_free(tp);
	tcp_sq_free(tp);
	tcp_ooo_free(tp);
	if (tp->orphan) {
		tcp_purge_rq(tp);
		__atomic_fetch_sub(&tcp_nr_orphans, 1, __ATOMIC_RELAXED);
		tp->orphan = false;
		tp->port_bound = false;
	}
	if (!tp->port_bound)
		tcp_port_release(&tp->port);
	tcp_wake(tp, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLHUP | EPOLLRDHUP |
			     (tp->err ? EPOLLERR : 0));
	tcp_hash_remove(&tp->node);
}

void tcp_fail(struct tcp_sock *tp, int err)
{
	if (err && !tp->orphan)
		tp->err = err;
	tcp_done(tp);
}

void tcp_abort(struct tcp_sock *tp, int err)
{
	switch (tp->state) {
	case TCP_ESTABLISHED:
	case TCP_SYN_RECV:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSE_WAIT:
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		tcp_send_rst(tp, clock_monotonic_ns());
		break;
	}
	tcp_fail(tp, err);
}

bool tcp_pressure(void)
{
	return nbuf_free_count() < nbuf_total() / 4;
}

u32 tcp_buf_limit(u32 want, u32 part)
{
	u64 most = (u64)nbuf_total() * NBUF_SIZE / part;

	return min((u64)want, max(most, (u64)TCP_RCVBUF_DEFAULT));
}

void tcp_established(struct tcp_sock *tp, u64 now)
{
	u32 seg =
		TCP_INIT_CWND * (align_up(tp->mss + PKT_HEADROOM, NBUF_SIZE) + sizeof(struct pkt));
	bool grow = !tcp_pressure();

	tp->state = TCP_ESTABLISHED;
	if (tp->fin_queued)
		tp->state = TCP_FIN_WAIT1;
	if (!tp->opts.sndbuf_set && grow)
		tp->opts.sndbuf = max(tp->opts.sndbuf,
				      tcp_buf_limit(min(2 * seg, TCP_SNDBUF_MAX), TCP_SND_PART));
	/* two of the peer's largest segments at least */
	if (!tp->opts.rcvbuf_set && grow)
		tp->opts.rcvbuf =
			max(tp->opts.rcvbuf,
			    tcp_buf_limit(4 * (tp->adv_mss + 2 * NBUF_SIZE), TCP_RCV_PART));
	tcp_cc_init(tp);
	tp->quick = max(min(tp->rcv_wnd / (2 * tp->rcv_mss), 16u), 2u);
	tp->pingpong = false;
	tp->last_rcv = tp->last_snd = tp->stall_since = now;
	tp->drs_time = now;
	tp->drs_seq = tp->copied = tp->rcv_nxt;
	tp->drs_space = min(tp->rcv_wnd, TCP_INIT_CWND * (u32)tp->adv_mss);
	tp->retries = tp->backoff = 0;
	tcp_deadline_off(tp, DL_RTO);
	tcp_keep_arm(tp, now);
	tcp_wake(tp, EPOLLOUT | EPOLLWRNORM);
}
