/*
 * tcp_user.c - what the socket asks for: ends, connect, close, errors, readiness (tcp.h).
 */
#include "libos/net/tcp_internal.h"

#include "libos/ipc/pollbits.h"

spinlock_t *tcp_lock(struct tcp_sock *tp)
{
	return &tp->lock;
}
struct waitq *tcp_waitq(struct tcp_sock *tp)
{
	return &tp->wq;
}
struct tcp_opts *tcp_opts(struct tcp_sock *tp)
{
	return &tp->opts;
}
enum tcp_state tcp_state(const struct tcp_sock *tp)
{
	return READ_ONCE(tp->state);
}
struct endpoint tcp_local(struct tcp_sock *tp)
{
	return tp->node.local;
}
struct endpoint tcp_remote(struct tcp_sock *tp)
{
	return tp->node.remote;
}

void tcp_opts_changed(struct tcp_sock *tp)
{
	u64 now = clock_monotonic_ns();
	const struct tcp_cc_ops *cc;

	spin_lock(&tp->lock);
	tcp_port_update(tp, tp->port.listening);
	tp->opts.congestion[sizeof(tp->opts.congestion) - 1] = 0;
	cc = tcp_cc_find(tp->opts.congestion);
	if (!cc) {
		strlcpy(tp->opts.congestion, tp->cc->name, sizeof(tp->opts.congestion));
	} else if (cc != tp->cc) {
		tp->cc = cc;
		tcp_cc_init(tp);
	}
	if (tp->state != TCP_CLOSE && tp->state != TCP_LISTEN) {
		tcp_keep_arm(tp, now);
		/* what was held back goes when that is no longer wanted */
		if ((tp->opts.nodelay && !tp->was_nodelay) || (!tp->opts.cork && tp->was_corked))
			tp->push = true;
		if (tp->opts.quickack) {
			tp->pingpong = false;
			tp->quick = max(tp->quick, (u8)16);
			if (tp->ack_delayed)
				tp->ack_now = true;
		}
		if (tp->state != TCP_SYN_SENT && tp->state != TCP_SYN_RECV) {
			tcp_output(tp, now);
			tcp_ack_check(tp, now);
		}
	}
	tp->was_nodelay = tp->opts.nodelay;
	tp->was_corked = tp->opts.cork;
	tcp_unlock(tp);
}

int tcp_bind(struct tcp_sock *tp, const struct endpoint *local)
{
	int err = -EINVAL;

	if (local->addr.family != tp->family)
		return -EAFNOSUPPORT;
	if (!netaddr_is_any(&local->addr) && !netaddr_is_local(&local->addr))
		return -EADDRNOTAVAIL;
	spin_lock(&tp->lock);
	if (tp->state == TCP_CLOSE && !tp->port.port) {
		tp->node.local = *local;
		err = tcp_port_get(tp, local->port);
		if (err) {
			netaddr_any(&tp->node.local.addr, tp->family);
			tp->node.local.port = 0;
		} else {
			tp->port_bound = true;
			tp->addr_bound = !netaddr_is_any(&local->addr);
		}
	}
	tcp_unlock(tp);
	return err;
}

int tcp_listen(struct tcp_sock *tp, int backlog)
{
	int err = 0;

	spin_lock(&tp->lock);
	if (tp->state != TCP_CLOSE && tp->state != TCP_LISTEN) {
		err = -EINVAL;
		goto out;
	}
	/* as listen(2): a negative backlog is a very large one */
	tp->backlog = (unsigned)backlog > TCP_BACKLOG_MAX ? TCP_BACKLOG_MAX : (unsigned)backlog;
	if (tp->state == TCP_LISTEN)
		goto out;
	if (!tp->port.port) {
		err = tcp_port_get(tp, 0);
		if (err)
			goto out;
		tp->port_bound = true;
	}
	err = tcp_port_update(tp, true);
	if (err)
		goto out;
	tcp_reset_state(tp);
	tp->err = 0;
	tp->state = TCP_LISTEN;
	netaddr_any(&tp->node.remote.addr, tp->family);
	tp->node.remote.port = 0;
	tcp_listen_insert(tp);
out:
	tcp_unlock(tp);
	return err;
}

struct tcp_sock *tcp_accept(struct tcp_sock *tp)
{
	struct tcp_sock *child = NULL;

	spin_lock(&tp->lock);
	if (tp->nr_accept) {
		child = list_first(&tp->acceptq, struct tcp_sock, acc_link);
		list_del(&child->acc_link);
		tp->nr_accept--;
	}
	tcp_unlock(tp);
	return child;
}

/* The ends of a new connection: address of the peer, ours, a port, a place in the table. */
static int connect_ends(struct tcp_sock *tp, const struct endpoint *remote)
{
	struct tcp_hnode *n = &tp->node;
	int err;

	err = route_lookup(&remote->addr, &n->local.addr, &tp->route);
	if (err)
		return err;
	n->remote = *remote;
	if (netaddr_is_any(&remote->addr))
		n->remote.addr = tp->route.next_hop;
	if (netaddr_is_broadcast(&n->remote.addr))
		return -ENETUNREACH;
	if (netaddr_is_any(&n->local.addr))
		n->local.addr = tp->route.src;
	if (tp->port.port)
		return tcp_hash_insert(n);
	return tcp_port_connect(tp);
}

static void forget_ends(struct tcp_sock *tp)
{
	netaddr_any(&tp->node.remote.addr, tp->family);
	tp->node.remote.port = 0;
	if (!tp->addr_bound)
		netaddr_any(&tp->node.local.addr, tp->family);
	if (!tp->port_bound) {
		tcp_port_release(&tp->port);
		tp->node.local.port = 0;
	}
}

int tcp_connect(struct tcp_sock *tp, const struct endpoint *remote)
{
	u64 now = clock_monotonic_ns();
	int err = 0;

	if (remote->addr.family != tp->family)
		return -EAFNOSUPPORT;
	spin_lock(&tp->lock);
	if (tp->state == TCP_SYN_SENT || tp->state == TCP_SYN_RECV)
		err = -EALREADY;
	else if (tp->state != TCP_CLOSE)
		err = -EISCONN;
	if (err)
		goto out;
	tcp_reset_state(tp);
	forget_ends(tp);
	tp->err = 0;
	err = connect_ends(tp, remote);
	if (err) {
		forget_ends(tp);
		goto out;
	}
	tp->iss = tcp_isn(&tp->node.local, &tp->node.remote, now);
	tp->ts_off = tcp_ts_offset(&tp->node.local.addr, &tp->node.remote.addr);
	tp->snd_una = tp->snd_nxt = tp->snd_up = tp->snd_sml = tp->iss;
	tp->snd_end = tp->iss + 1;
	tp->stall_since = now;
	tp->state = TCP_SYN_SENT;
	tcp_sync_mss(tp);
	tcp_send_syn(tp, now);
	tcp_deadline(tp, DL_RTO, now + tp->rto);
out:
	tcp_unlock(tp);
	return err;
}

/* Puts a FIN behind what is queued. */
static void queue_fin(struct tcp_sock *tp, u64 now)
{
	tp->snd_shut = true;
	if (!tp->fin_queued) {
		tp->fin_queued = true;
		tp->snd_end++;
	}
	if (tp->state == TCP_ESTABLISHED)
		tp->state = TCP_FIN_WAIT1;
	else if (tp->state == TCP_CLOSE_WAIT)
		tp->state = TCP_LAST_ACK;
	tp->push = true;
	if (tp->state != TCP_SYN_RECV)
		tcp_output(tp, now);
}

static void stop_listening(struct tcp_sock *tp)
{
	tp->state = TCP_CLOSE;
	tcp_listen_remove(tp);
	tcp_timers_off(tp);
	tcp_port_update(tp, false);
	tcp_listen_close(tp);
}

/* Back to closed, with a reset for a peer who may know of us. */
static void disconnect(struct tcp_sock *tp)
{
	switch (tp->state) {
	case TCP_CLOSE:
		tcp_hash_remove(&tp->node);
		break;
	case TCP_LISTEN:
		stop_listening(tp);
		break;
	case TCP_SYN_SENT:
		tcp_fail(tp, ECONNRESET);
		break;
	default:
		tcp_abort(tp, ECONNRESET);
	}
	tcp_reset_state(tp);
	forget_ends(tp);
}

int tcp_disconnect(struct tcp_sock *tp)
{
	spin_lock(&tp->lock);
	disconnect(tp);
	tcp_wake(tp, EPOLLHUP | EPOLLIN | EPOLLOUT);
	tcp_unlock(tp);
	return 0;
}

int tcp_shutdown(struct tcp_sock *tp, int how)
{
	int err = 0;

	spin_lock(&tp->lock);
	switch (tp->state) {
	case TCP_CLOSE:
		err = -ENOTCONN;
		break;
	case TCP_LISTEN:
		if (how != 1)
			stop_listening(tp);
		break;
	case TCP_SYN_SENT:
		disconnect(tp);
		break;
	default:
		if (how != 1)
			tp->rcv_shut = true;
		if (how != 0 && !tp->snd_shut)
			queue_fin(tp, clock_monotonic_ns());
	}
	if (!err)
		tcp_wake(tp, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP |
				     (tp->state == TCP_CLOSE ? EPOLLHUP : 0));
	tcp_unlock(tp);
	return err;
}

void tcp_close(struct tcp_sock *tp)
{
	u64 now = clock_monotonic_ns();
	bool unread;

	spin_lock(&tp->lock);
	unread = tp->rq_bytes || tp->taken;
	tp->port_bound = false;
	tp->addr_bound = false;
	switch (tp->state) {
	case TCP_CLOSE:
		tcp_purge_rq(tp);
		break;
	case TCP_LISTEN:
		stop_listening(tp);
		break;
	case TCP_SYN_SENT:
		tcp_done(tp);
		break;
	default:
		tcp_purge_rq(tp);
		tp->rcv_shut = true;
		/* RFC 1122, 4.2.2.13: data that nobody will read were lost, and the peer must hear
		 * of it */
		if (unread || (tp->opts.linger_on && !tp->opts.linger_ns)) {
			tcp_abort(tp, 0);
			break;
		}
		tp->orphan = true;
		if (__atomic_add_fetch(&tcp_nr_orphans, 1, __ATOMIC_RELAXED) > TCP_MAX_ORPHANS) {
			tcp_abort(tp, 0);
			break;
		}
		if (!tp->snd_shut)
			queue_fin(tp, now);
		if (tp->state == TCP_FIN_WAIT2)
			tcp_deadline(tp, DL_STATE, now + tp->opts.linger2_ns);
	}
	if (tp->state == TCP_CLOSE)
		tcp_port_release(&tp->port);
	tcp_unlock(tp);
}

bool tcp_close_done(struct tcp_sock *tp)
{
	u8 s = READ_ONCE(tp->state);

	return s != TCP_FIN_WAIT1 && s != TCP_CLOSING && s != TCP_LAST_ACK;
}

int tcp_take_error(struct tcp_sock *tp)
{
	return __atomic_exchange_n(&tp->err, 0, __ATOMIC_ACQ_REL);
}

int tcp_error_pending(struct tcp_sock *tp)
{
	return READ_ONCE(tp->err);
}

static u32 send_mask(struct tcp_sock *tp)
{
	if (tp->snd_shut)
		return POLLOUT_BITS;
	/* enough room that a wake-up is worth it: a third of the buffer */
	if (tp->wmem + tp->wmem / 2 < tcp_sq_limit(tp) &&
	    tp->snd_end - tp->snd_nxt < tp->opts.notsent_lowat)
		return POLLOUT_BITS;
	tp->nospace = true;
	return 0;
}

u32 tcp_poll_mask(struct tcp_sock *tp)
{
	u32 mask = 0;

	spin_lock(&tp->lock);
	if (tp->state == TCP_LISTEN) {
		mask = tp->nr_accept ? POLLIN_BITS : 0;
		goto out;
	}
	if ((tp->rcv_shut && tp->snd_shut) || tp->state == TCP_CLOSE)
		mask |= EPOLLHUP;
	if (tp->rcv_shut)
		mask |= POLLIN_BITS | EPOLLRDHUP;
	if (tp->state != TCP_SYN_SENT && tp->state != TCP_SYN_RECV) {
		u32 want = min(max(tp->opts.rcvlowat, 1u), max(tp->opts.rcvbuf / 4, 1u));

		if (tp->rq_bytes >= want)
			mask |= POLLIN_BITS;
		if (tp->urg_valid && tp->urg_have && !tp->urg_read)
			mask |= EPOLLPRI;
		mask |= send_mask(tp);
	}
	if (tp->err)
		mask |= EPOLLERR;
out:
	tcp_unlock(tp);
	return mask;
}
