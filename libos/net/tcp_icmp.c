/*
 * tcp_icmp.c - ICMP errors about our segments (RFC 1122, 4.2.3.9), believed only as far as RFC 5927
 * advises.
 */
#include "libos/net/tcp_internal.h"

#define MTU_MIN 552u /* as Linux: smaller ones are lies, or not worth it */

/* RFC 1191, 3: the path carries less. Only a smaller size than ours is news. */
static void path_mtu(struct tcp_sock *tp, u32 mtu, u64 now)
{
	u32 before = tp->mss;

	mtu = max(mtu, MTU_MIN);
	if (mtu >= tp->route.mtu || tcp_route(tp))
		return;
	route_pmtu_update(&tp->node.remote.addr, mtu);
	if (tcp_route(tp))
		return;
	if (tp->mss < before)
		tcp_mtu_lost(tp, now);
}

static void conn_error(struct tcp_sock *tp, u32 seq, int err, u32 mtu, u64 now)
{
	/* RFC 5927, 4.1: it must be about something that is in flight */
	if (tp->state == TCP_CLOSE || tp->state == TCP_LISTEN || seq_lt(seq, tp->snd_una) ||
	    seq_ge(seq, tp->snd_nxt))
		return;
	if (err == EMSGSIZE) {
		if (tp->state != TCP_SYN_SENT && tp->state != TCP_SYN_RECV)
			path_mtu(tp, mtu, now);
		return;
	}
	/* a connection that stands is not torn down by a stranger's message (RFC 5927, 5.2) */
	if (tp->state == TCP_SYN_SENT || tp->state == TCP_SYN_RECV)
		tcp_fail(tp, err);
	else
		tp->soft_err = err;
}

void tcp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8], int err,
	       u32 mtu, bool hard)
{
	struct endpoint l = {*local, hdr[0] << 8 | hdr[1]}, r = {*remote, hdr[2] << 8 | hdr[3]};
	struct tcp_hnode *n = tcp_lookup(&l, &r);
	u32 seq;

	if (!n)
		return;
	memcpy(&seq, hdr + 4, 4);
	if (n->kind == TCP_KIND_SOCK) {
		struct tcp_sock *tp = container_of(n, struct tcp_sock, node);

		spin_lock(&tp->lock);
		conn_error(tp, net32(seq), err < 0 ? -err : err, mtu, clock_monotonic_ns());
		tcp_unlock(tp);
	}
	tcp_node_put(n);
}
