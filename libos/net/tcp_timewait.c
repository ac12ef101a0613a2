/*
 * tcp_timewait.c - TIME_WAIT (RFC 9293, 3.6.1): small objects that answer late segments for a
 * minute.
 *
 * All live equally long, so a list in order of death and one timer do. Their number is bounded:
 * beyond it connections end without one. Resets are ignored (RFC 1337); a SYN that is clearly newer
 * takes the pair over (RFC 6191).
 */
#include "libos/net/tcp_internal.h"

#include "libos/mm/alloc.h"

static struct {
	spinlock_t lock;
	struct list_head head;
	u32 nr;
	bool armed;
	struct timer timer;
} tws;

/* Out of the list: the caller owns the list's reference then. */
static bool tw_unlink(struct tcp_tw *tw)
{
	bool mine;

	spin_lock(&tws.lock);
	mine = !tw->dead;
	if (mine) {
		tw->dead = true;
		list_del(&tw->link);
		tws.nr--;
	}
	spin_unlock(&tws.lock);
	return mine;
}

static void tw_kill(struct tcp_tw *tw)
{
	if (!tw_unlink(tw))
		return;
	tcp_hash_remove(&tw->node);
	tcp_port_release(&tw->port);
	tcp_node_put(&tw->node);
}

void tcp_tw_free(struct tcp_tw *tw)
{
	kfree(tw, sizeof(*tw));
}

static void tw_timer(struct timer *t)
{
	u64 now = clock_monotonic_ns();

	spin_lock(&tws.lock);
	while (!list_empty(&tws.head)) {
		struct tcp_tw *tw = list_first(&tws.head, struct tcp_tw, link);

		if (tw->dies > now)
			break;
		tcp_node_get(&tw->node);
		spin_unlock(&tws.lock);
		tw_kill(tw);
		tcp_node_put(&tw->node);
		spin_lock(&tws.lock);
	}
	tws.armed = !list_empty(&tws.head) &&
		    !timer_arm(&tws.timer, list_first(&tws.head, struct tcp_tw, link)->dies);
	spin_unlock(&tws.lock);
}

void tcp_tw_init(void)
{
	list_init(&tws.head);
	timer_init(&tws.timer, tw_timer);
}

void tcp_timewait(struct tcp_sock *tp, u64 now)
{
	struct tcp_tw *tw = READ_ONCE(tws.nr) < TCP_MAX_TW ? kzalloc(sizeof(*tw)) : NULL;

	if (!tw) {
		tcp_done(tp);
		return;
	}
	tw->node.kind = TCP_KIND_TW;
	tw->node.refs = 1;
	tw->node.local = tp->node.local;
	tw->node.remote = tp->node.remote;
	tw->rcv_nxt = tp->rcv_nxt;
	tw->snd_nxt = tp->snd_nxt;
	tw->rcv_wnd = tcp_recv_window(tp);
	tw->rcv_wscale = tp->ws_ok ? tp->rcv_wscale : 0;
	tw->ts = tp->ts_ok;
	tw->ts_recent = tp->ts_recent;
	tw->ts_recent_ns = tp->ts_recent_ns;
	tw->ts_off = tp->ts_off;
	tw->ttl = tp->opts.ttl;
	tw->tos = tp->opts.tos;
	tw->dies = now + TCP_TIMEWAIT;
	list_init(&tw->link);
	/* whoever finds it in the table may end it: not before it is in the list too */
	spin_lock(&tws.lock);
	if (!tcp_hash_replace(&tp->node, &tw->node)) {
		spin_unlock(&tws.lock);
		kfree(tw, sizeof(*tw));
		tcp_done(tp);
		return;
	}
	tcp_port_share(&tw->port, &tp->port, &tw->node.local.addr);
	list_add_tail(&tw->link, &tws.head);
	tws.nr++;
	if (!tws.armed)
		tws.armed = !timer_arm(&tws.timer, tw->dies);
	spin_unlock(&tws.lock);
	tcp_done(tp);
}

static void tw_ack(struct tcp_tw *tw, u64 now)
{
	struct tcp_reply a = {
		.local = tw->node.local,
		.remote = tw->node.remote,
		.seq = tw->snd_nxt,
		.ack = tw->rcv_nxt,
		.wnd = min(tw->rcv_wnd >> tw->rcv_wscale, 65535u),
		.flags = TCPF_ACK,
		.ttl = tw->ttl,
		.tos = tw->tos,
	};

	if (tw->ts)
		a.opt_len = tcp_put_ts(a.opt, tcp_ts(now, tw->ts_off), tw->ts_recent);
	tcp_reply(&a);
}

/* Its FIN again: the ACK was lost, and the wait begins anew. */
static void tw_restart(struct tcp_tw *tw, u64 now)
{
	spin_lock(&tws.lock);
	if (!tw->dead) {
		tw->dies = now + TCP_TIMEWAIT;
		list_move_tail(&tw->link, &tws.head);
	}
	spin_unlock(&tws.lock);
}

bool tcp_tw_input(struct tcp_tw *tw, struct pkt *p, struct tcp_seginfo *s, u64 now, u32 *iss_hint)
{
	bool paws = tw->ts && s->ts && seq_lt(s->tsval, tw->ts_recent) &&
		    now - tw->ts_recent_ns < TCP_PAWS_NS;
	bool data = s->len || s->flags & TCPF_FIN;

	if (s->flags & TCPF_RST)
		goto drop; /* RFC 1337, 3 (F1) */
	if ((s->flags & (TCPF_SYN | TCPF_ACK)) == TCPF_SYN &&
	    ((tw->ts && s->ts) ? seq_gt(s->tsval, tw->ts_recent) : seq_gt(s->seq, tw->rcv_nxt))) {
		/* beyond what the former connection may have used */
		*iss_hint = tw->snd_nxt + 65537 ?: 1;
		tw_kill(tw);
		return true;
	}
	if (paws || s->flags & TCPF_SYN || seq_lt(s->end, tw->rcv_nxt) ||
	    seq_gt(s->seq, tw->rcv_nxt + tw->rcv_wnd)) {
		if (data || now - tw->last_ack >= TCP_OOW_ACK_NS) {
			tw->last_ack = now;
			tw_ack(tw, now);
		}
		goto drop;
	}
	if (s->ts && tw->ts && seq_le(s->seq, tw->rcv_nxt)) {
		tw->ts_recent = s->tsval;
		tw->ts_recent_ns = now;
	}
	if (data) {
		tw_ack(tw, now);
		if (s->flags & TCPF_FIN)
			tw_restart(tw, now);
	}
drop:
	pkt_free(p);
	return false;
}
