/*
 * tcp_reply.c - segments that no connection sends: resets to nobody, SYN-ACKs, ACKs of TIME_WAIT;
 * their limits.
 */
#include "libos/net/tcp_internal.h"

#include "libos/lib/random.h"

#define IPPROTO_TCP 6

int tcp_reply(struct tcp_reply *a)
{
	struct route looked_up;
	const struct route *rt = a->route;
	struct tcp_hdr *h;
	struct pkt *p;
	int err;

	if (!rt) {
		err = route_lookup(&a->remote.addr, &a->local.addr, &looked_up);
		if (err)
			return err;
		rt = &looked_up;
	}
	p = pkt_alloc(PKT_HEADROOM);
	if (!p)
		return -ENOBUFS;
	h = (struct tcp_hdr *)pkt_put(p, sizeof(*h) + a->opt_len);
	memcpy(h + 1, a->opt, a->opt_len);
	h->sport = net16(a->local.port);
	h->dport = net16(a->remote.port);
	h->seq = net32(a->seq);
	h->ack = net32(a->ack);
	h->off = (sizeof(*h) + a->opt_len) / 4 << 4;
	h->flags = a->flags;
	h->wnd = net16(a->wnd);
	h->urp = 0;
	h->csum = csum_fold(pseudo_sum(&a->local.addr, &a->remote.addr, IPPROTO_TCP, p->total));
	p->flags |= PKT_CSUM_PARTIAL;
	p->csum_start = (u8 *)h - nbuf_addr(p->head);
	p->csum_offset = offsetof(struct tcp_hdr, csum);
	return ip_output(p, rt, &a->local.addr, &a->remote.addr, IPPROTO_TCP, a->ttl ?: 64, a->tos,
			 IP_DF);
}

void tcp_reply_rst(const struct ip_info *ip, const struct tcp_seginfo *s)
{
	struct tcp_reply a = {
		.local = {ip->dst, s->dport},
		.remote = {ip->src, s->sport},
		.flags = TCPF_RST,
	};

	if (s->flags & TCPF_RST || ip->broadcast || netaddr_is_broadcast(&ip->src) ||
	    netaddr_is_any(&ip->src))
		return;
	if (s->flags & TCPF_ACK) {
		a.seq = s->ack;
	} else {
		a.ack = s->end;
		a.flags |= TCPF_ACK;
	}
	tcp_reply(&a);
}

/*
 * RFC 5961, 7: so many a second, for all connections. The number varies from second to second, so
 * that it tells a stranger nothing (CVE-2016-5696).
 */
bool tcp_challenge_ok(u64 now)
{
	static u64 second;
	static s32 left;
	u64 s = now / NSEC_PER_SEC + 1;

	if (__atomic_load_n(&second, __ATOMIC_RELAXED) != s) {
		u32 r;

		random_bytes(&r, sizeof(r));
		__atomic_store_n(&left, TCP_CHALLENGES / 2 + r % TCP_CHALLENGES, __ATOMIC_RELAXED);
		__atomic_store_n(&second, s, __ATOMIC_RELAXED);
	}
	return __atomic_sub_fetch(&left, 1, __ATOMIC_RELAXED) >= 0;
}
