/*
 * tcp_listen.c - listeners: SYNs, half-open connections, and their promotion to children in the
 * accept queue.
 *
 * A half-open connection is a struct tcp_req, small, because strangers make them; there are at most
 * as many as the backlog, and beyond that SYN cookies. All of a listener's requests share its
 * timer.
 */
#include "libos/net/tcp_internal.h"

#include "libos/ipc/pollbits.h"
#include "libos/mm/alloc.h"

#define COOKIE_LIFE (180 * NSEC_PER_SEC)

/* What a SYN-ACK says, for a request or a cookie. */
static void send_synack(struct tcp_sock *lp, struct tcp_req *r, u32 tsval)
{
	struct tcp_reply a = {
		.local = r->node.local,
		.remote = r->node.remote,
		.seq = r->iss,
		.ack = r->irs + 1,
		.wnd = min(r->rcv_wnd, 65535u),
		.flags = TCPF_SYN | TCPF_ACK,
		.ttl = lp->opts.ttl,
		.tos = lp->opts.tos,
	};

	a.opt_len = tcp_put_syn_options(a.opt, r->adv_mss, r->sack, r->ts, tsval, r->tsval,
					r->wscale, r->rcv_wscale);
	tcp_reply(&a);
}

/* An ACK for what a request must not take. */
static void req_ack(struct tcp_sock *lp, struct tcp_req *r, u64 now)
{
	struct tcp_reply a = {
		.local = r->node.local,
		.remote = r->node.remote,
		.seq = r->iss + 1,
		.ack = r->irs + 1,
		.wnd = min(r->rcv_wnd, 65535u) >> r->rcv_wscale,
		.flags = TCPF_ACK,
		.ttl = lp->opts.ttl,
		.tos = lp->opts.tos,
	};

	if (r->ts)
		a.opt_len = tcp_put_ts(a.opt, tcp_ts(now, r->ts_off), r->tsval);
	if (tcp_challenge_ok(now))
		tcp_reply(&a);
}

/* What the SYN asked for and we give. False: no way back to the peer. */
static bool req_fill(struct tcp_sock *lp, struct tcp_req *r, const struct ip_info *ip,
		     const struct tcp_seginfo *s, u64 now)
{
	struct route rt;
	u32 space = lp->opts.rcvbuf_set ? lp->opts.rcvbuf : TCP_RCVBUF_MAX, mss;

	r->node.kind = TCP_KIND_REQ;
	r->node.refs = 1;
	r->node.local = (struct endpoint){ip->dst, s->dport};
	r->node.remote = (struct endpoint){ip->src, s->sport};
	if (route_lookup(&ip->src, &ip->dst, &rt))
		return false;
	mss = min(rt.mtu, 65535u) - rt.hdr_len - sizeof(struct tcp_hdr);
	if (lp->opts.maxseg)
		mss = min(mss, lp->opts.maxseg);
	list_init(&r->link);
	r->irs = s->seq;
	r->adv_mss = max(mss, TCP_MSS_MIN);
	r->mss = max(s->mss ? (u32)s->mss : TCP_MSS_DEFAULT, TCP_MSS_MIN);
	r->ts = s->ts;
	r->tsval = s->tsval;
	r->ts_off = tcp_ts_offset(&ip->dst, &ip->src);
	r->sack = s->sack_perm;
	r->wscale = s->wscale_ok;
	r->snd_wscale = s->wscale;
	for (; r->wscale && space > 65535 && r->rcv_wscale < TCP_MAX_WSCALE; space >>= 1)
		r->rcv_wscale++;
	r->rcv_wnd = min(lp->opts.rcvbuf / 2, 65535u);
	r->created = r->sent = now;
	r->next = now + TCP_RTO_INIT;
	return true;
}

void tcp_req_free(struct tcp_req *r)
{
	tcp_put(r->listener);
	kfree(r, sizeof(*r));
}

/* Lock of the listener held. */
static void req_kill(struct tcp_sock *lp, struct tcp_req *r)
{
	list_del(&r->link);
	lp->nr_reqs--;
	tcp_hash_remove(&r->node);
	tcp_node_put(&r->node);
}

static void send_cookie(struct tcp_sock *lp, const struct ip_info *ip, const struct tcp_seginfo *s,
			u64 now)
{
	struct tcp_req r = {.listener = lp};
	u32 tsval;

	if (!req_fill(lp, &r, ip, s, now))
		return;
	r.iss = tcp_cookie_make(&r.node.local, &r.node.remote, r.irs, r.mss, now, &r.mss);
	tsval = tcp_ts(now, r.ts_off);
	if (r.ts) {
		tsval = tcp_cookie_ts(tsval, r.sack, r.wscale, r.snd_wscale);
	} else {
		r.sack = r.wscale = false;
		r.rcv_wscale = 0;
	}
	lp->cookie_time = now;
	send_synack(lp, &r, tsval);
}

static void listen_syn(struct tcp_sock *lp, const struct ip_info *ip, const struct tcp_seginfo *s,
		       u32 iss_hint, u64 now)
{
	struct tcp_req *r;

	if (netaddr_is_broadcast(&ip->src) || netaddr_is_any(&ip->src))
		return;
	if (lp->nr_accept > lp->backlog)
		return; /* nobody accepts: the SYN comes again */
	if (lp->nr_reqs > lp->backlog || lp->nr_reqs >= TCP_BACKLOG_MAX) {
		send_cookie(lp, ip, s, now);
		return;
	}
	r = kzalloc(sizeof(*r));
	if (!r)
		return;
	r->listener = lp;
	tcp_get(lp);
	if (!req_fill(lp, r, ip, s, now) || tcp_hash_insert(&r->node)) {
		tcp_node_put(&r->node);
		return;
	}
	r->iss = iss_hint ?: tcp_isn(&r->node.local, &r->node.remote, now);
	list_add_tail(&r->link, &lp->reqs);
	lp->nr_reqs++;
	send_synack(lp, r, tcp_ts(now, r->ts_off));
	if (r->next < lp->dl[DL_STATE])
		tcp_deadline(lp, DL_STATE, r->next);
}

/* The connection that a request becomes, established, with one reference for the accept queue. */
static struct tcp_sock *make_child(struct tcp_sock *lp, struct tcp_req *r,
				   const struct tcp_seginfo *s, bool hashed, u64 now)
{
	struct tcp_sock *c = tcp_create(lp->family);

	if (!c)
		return NULL;
	c->opts = lp->opts;
	c->cc = lp->cc;
	c->node.local = r->node.local;
	c->node.remote = r->node.remote;
	c->iss = r->iss;
	c->irs = r->irs;
	c->snd_una = c->snd_nxt = c->snd_end = c->snd_up = c->snd_sml = c->rack_fack = r->iss + 1;
	c->rcv_nxt = c->rcv_wup = c->copied = r->irs + 1;
	c->rcv_wnd = r->rcv_wnd;
	c->snd_wl1 = s->seq;
	c->snd_wscale = r->snd_wscale;
	c->rcv_wscale = r->rcv_wscale;
	c->ws_ok = r->wscale;
	c->snd_wnd = c->max_wnd = (u32)s->wnd << c->snd_wscale;
	c->sack_ok = r->sack;
	c->ts_ok = r->ts;
	c->ts_recent = r->tsval;
	c->ts_recent_ns = now;
	c->ts_off = r->ts_off;
	c->peer_mss = r->mss;
	c->adv_mss = r->adv_mss;
	if (tcp_route(c))
		goto fail;
	c->retries = r->retries; /* for the initial window */
	if (!r->retries && r->sent)
		tcp_rtt_sample(c, max(now - r->sent, (u64)1), now);
	c->state = TCP_SYN_RECV;
	tcp_established(c, now);
	c->wake = 0;
	if (hashed ? !tcp_hash_replace(&r->node, &c->node) : tcp_hash_insert(&c->node))
		goto fail;
	tcp_port_share(&c->port, &lp->port, &c->node.local.addr);
	return c;
fail:
	tcp_timers_off(c);
	tcp_put(c);
	return NULL;
}

/* Lock of the listener held. */
static void enqueue(struct tcp_sock *lp, struct tcp_sock *c)
{
	list_add_tail(&c->acc_link, &lp->acceptq);
	lp->nr_accept++;
	lp->wake_excl = 1;
	tcp_wake(lp, POLLIN_BITS);
}

/* The segment that made the child may carry data. */
static void child_input(struct tcp_sock *c, struct pkt *p, struct tcp_seginfo *s, u64 now)
{
	spin_lock(&c->lock);
	tcp_rcv(c, p, s, now);
	tcp_unlock(c);
	tcp_put(c);
}

/* An ACK out of the blue: is its number a cookie of ours? */
static bool listen_cookie(struct tcp_sock *lp, struct pkt *p, const struct ip_info *ip,
			  struct tcp_seginfo *s, u64 now)
{
	struct tcp_req r = {.listener = lp};
	struct tcp_sock *c;
	u16 mss;

	if (!lp->cookie_time || now - lp->cookie_time > COOKIE_LIFE || lp->nr_accept > lp->backlog)
		return false;
	if (!req_fill(lp, &r, ip, s, now))
		return false;
	mss = tcp_cookie_check(&r.node.local, &r.node.remote, s->seq - 1, s->ack - 1, now);
	if (!mss)
		return false;
	r.mss = mss;
	r.irs = s->seq - 1;
	r.iss = s->ack - 1;
	r.sent = 0;
	r.rcv_wscale = 0;
	if (r.ts) {
		u32 space = lp->opts.rcvbuf_set ? lp->opts.rcvbuf : TCP_RCVBUF_MAX;

		tcp_cookie_ts_read(s->tsecr, &r.sack, &r.wscale, &r.snd_wscale);
		for (; r.wscale && space > 65535 && r.rcv_wscale < TCP_MAX_WSCALE; space >>= 1)
			r.rcv_wscale++;
	}
	c = make_child(lp, &r, s, false, now);
	if (!c)
		return false;
	tcp_get(c);
	enqueue(lp, c);
	tcp_unlock(lp);
	child_input(c, p, s, now);
	return true;
}

void tcp_listen_input(struct tcp_sock *lp, struct pkt *p, const struct ip_info *ip,
		      struct tcp_seginfo *s, u32 iss_hint, u64 now)
{
	spin_lock(&lp->lock);
	if (lp->state != TCP_LISTEN) {
		tcp_reply_rst(ip, s);
	} else if (s->flags & TCPF_RST) {
		/* nothing here that it could end */
	} else if (s->flags & TCPF_ACK) {
		if (!(s->flags & TCPF_SYN) && listen_cookie(lp, p, ip, s, now))
			return;
		tcp_reply_rst(ip, s);
	} else if ((s->flags & (TCPF_SYN | TCPF_FIN)) == TCPF_SYN) {
		listen_syn(lp, ip, s, iss_hint, now);
	}
	tcp_unlock(lp);
	pkt_free(p);
}

/* RFC 9293, 3.10.7.4 in SYN-RECEIVED: true if the segment is the ACK that completes the handshake.
 */
static bool req_check(struct tcp_sock *lp, struct tcp_req *r, const struct ip_info *ip,
		      const struct tcp_seginfo *s, u64 now)
{
	u32 rcv_nxt = r->irs + 1;

	/* the SYN again: our answer was lost */
	if (s->seq == r->irs && (s->flags & (TCPF_SYN | TCPF_ACK | TCPF_RST)) == TCPF_SYN) {
		r->sent = 0; /* no RTT sample any more */
		send_synack(lp, r, tcp_ts(now, r->ts_off));
		return false;
	}
	if (r->ts && s->ts && seq_lt(s->tsval, r->tsval) && !(s->flags & TCPF_RST)) {
		req_ack(lp, r, now);
		return false;
	}
	if (seq_lt(s->seq, rcv_nxt) || seq_ge(s->seq, rcv_nxt + r->rcv_wnd)) {
		if (!(s->flags & TCPF_RST))
			req_ack(lp, r, now);
		return false;
	}
	if (s->flags & TCPF_RST) {
		if (s->seq == rcv_nxt)
			req_kill(lp, r);
		else
			req_ack(lp, r, now);
		return false;
	}
	if (s->flags & TCPF_SYN) {
		req_ack(lp, r, now);
		return false;
	}
	if (!(s->flags & TCPF_ACK))
		return false;
	if (s->ack != r->iss + 1) {
		tcp_reply_rst(ip, s);
		return false;
	}
	return true;
}

static bool deferred(const struct tcp_sock *lp, const struct tcp_req *r, u64 now)
{
	return lp->opts.defer_accept_s && now - r->created < lp->opts.defer_accept_s * NSEC_PER_SEC;
}

bool tcp_req_input(struct tcp_req *r, struct pkt *p, const struct ip_info *ip,
		   struct tcp_seginfo *s, u64 now)
{
	struct tcp_sock *lp = r->listener, *c;

	spin_lock(&lp->lock);
	if (list_empty(&r->link)) {
		tcp_unlock(lp);
		return true;
	}
	if (!req_check(lp, r, ip, s, now))
		goto drop;
	r->acked = true;
	if (lp->nr_accept > lp->backlog)
		goto drop; /* SYN-ACKs go on, and one of their ACKs may find room */
	if (!s->len && !(s->flags & TCPF_FIN) && deferred(lp, r, now))
		goto drop;
	if (s->ts)
		r->tsval = s->tsval;
	c = make_child(lp, r, s, true, now);
	if (!c)
		goto drop;
	tcp_get(c);
	req_kill(lp, r);
	enqueue(lp, c);
	tcp_unlock(lp);
	child_input(c, p, s, now);
	return false;
drop:
	tcp_unlock(lp);
	pkt_free(p);
	return false;
}

void tcp_listen_timeout(struct tcp_sock *lp, u64 now)
{
	struct tcp_req *r, *n;
	u64 next = NEVER;

	list_for_each_entry_safe(r, n, &lp->reqs, link) {
		if (r->next <= now) {
			if (r->retries >= TCP_SYNACK_RETRIES) {
				req_kill(lp, r);
				continue;
			}
			r->next = now + (TCP_RTO_INIT << ++r->retries);
			/* an acknowledged one waits for data, not for us */
			if (!r->acked || !deferred(lp, r, now))
				send_synack(lp, r, tcp_ts(now, r->ts_off));
		}
		next = min(next, r->next);
	}
	if (next != NEVER)
		tcp_deadline(lp, DL_STATE, max(next, now + 10 * NSEC_PER_MSEC));
}

void tcp_listen_close(struct tcp_sock *lp)
{
	struct tcp_sock *c, *n;
	struct list_head children;

	while (!list_empty(&lp->reqs))
		req_kill(lp, list_first(&lp->reqs, struct tcp_req, link));
	list_init(&children);
	list_for_each_entry_safe(c, n, &lp->acceptq, acc_link)
		list_move_tail(&c->acc_link, &children);
	lp->nr_accept = 0;
	tcp_unlock(lp);
	while (!list_empty(&children)) {
		c = list_first(&children, struct tcp_sock, acc_link);
		list_del(&c->acc_link);
		spin_lock(&c->lock);
		tcp_abort(c, ECONNRESET);
		tcp_unlock(c);
		tcp_put(c);
	}
	spin_lock(&lp->lock);
}
