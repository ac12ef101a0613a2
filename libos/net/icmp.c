/*
 * icmp.c - ICMP (RFC 792; RFC 1122, 3.2.2): echo, and errors both ways.
 *
 * An error that comes in is only a hint: what it quotes must be a packet that we can have sent, and
 * the transport decides whether it believes it (RFC 5927). An error goes out only where RFC 1122
 * and RFC 1812 allow it, and at most ICMP_RATE times a second, so that we cannot be made to flood a
 * third party. Redirects are ignored (there is one gateway), and so is source quench (RFC 6633).
 *
 * icmp.lock is a leaf.
 */
#include "libos/lib/spinlock.h"
#include "libos/net/ipv4.h"
#include "libos/net/udp.h"
#include "libos/time/clock.h"

#define ICMP_HDR_LEN 8u
#define ICMP_RATE 1000u /* errors a second, as net.ipv4.icmp_msgs_per_sec */
#define ICMP_BURST 50u
#define ICMP_ERROR_MAX 576u /* RFC 1812, 4.3.2.3: a whole error packet */

struct icmp_hdr {
	u8 type, code;
	u16 csum;
	u8 rest[4];
};

static struct {
	spinlock_t lock;
	u64 tokens_ns; /* time that has been earned and not spent */
	u64 last;
} rate;

static bool rate_allows(void)
{
	const u64 cost = NSEC_PER_SEC / ICMP_RATE;
	u64 now = clock_monotonic_ns();
	bool ok;

	spin_lock(&rate.lock);
	rate.tokens_ns = min(rate.tokens_ns + (now - rate.last), ICMP_BURST * cost);
	if (!rate.last)
		rate.tokens_ns = ICMP_BURST * cost;
	rate.last = now;
	ok = rate.tokens_ns >= cost;
	if (ok)
		rate.tokens_ns -= cost;
	spin_unlock(&rate.lock);
	return ok;
}

/* Sends type, code, rest and n bytes of `from` at off, behind `front` bytes of memory. */
static void send(u8 type, u8 code, const u8 rest[4], const void *front, u32 nr_front,
		 const struct pkt *from, u32 off, u32 n, const struct netaddr *src,
		 const struct netaddr *dst, u8 tos)
{
	struct icmp_hdr h = {.type = type, .code = code};
	struct route r;
	struct pkt *p;
	u16 sum;

	if (route_lookup(dst, src, &r))
		return;
	p = pkt_alloc(PKT_HEADROOM);
	if (!p)
		return;
	memcpy(h.rest, rest, 4);
	memcpy(pkt_put(p, sizeof(h)), &h, sizeof(h));
	if (nr_front)
		memcpy(pkt_put(p, nr_front), front, nr_front);
	if (n && pkt_add_slice(p, from, off, n)) {
		pkt_free(p);
		return;
	}
	sum = ~pkt_csum(p, 0, p->total, 0);
	memcpy(p->data + 2, &sum, sizeof(sum));
	stat_inc(&ipv4_stats.icmp_out_msgs);
	ip_output(p, &r, src, dst, IP_PROTO_ICMP, IP_DEFAULT_TTL, tos, 0);
}

void icmp_send_error(u8 type, u8 code, struct pkt *p, const struct ip_info *ip)
{
	u32 most = ICMP_ERROR_MAX - IP_HDR_LEN - ICMP_HDR_LEN - ip->hdr_len;
	static const u8 unused[4];
	u8 inner;

	/* RFC 1122, 3.2.2: not about errors, nor about what was not for us alone; fragments never
	 * come here. */
	if (!ip->hdr || ip->broadcast || netaddr_is_broadcast(&ip->src) ||
	    netaddr_is_any(&ip->src) || !netaddr_is_local(&ip->dst))
		return;
	if (ip->proto == IP_PROTO_ICMP) {
		if (!p->total)
			return;
		pkt_copy_out(p, 0, &inner, 1);
		if (inner != ICMP_ECHO)
			return;
	}
	if (!rate_allows()) {
		stat_inc(&ipv4_stats.icmp_out_limited);
		return;
	}
	send(type, code, unused, ip->hdr, ip->hdr_len, p, 0, min(p->total, most), &ip->dst,
	     &ip->src, 0xc0); /* RFC 1812, 4.3.2.5: internetwork control */
}

void icmp_port_unreachable(struct pkt *p, const struct ip_info *ip)
{
	icmp_send_error(ICMP_UNREACHABLE, ICMP_UNREACH_PORT, p, ip);
}

/* What an error means to a socket, as Linux has it: RFC 1122, 4.2.3.9 says which are final for TCP.
 */
static const struct {
	u8 err;
	bool hard;
} unreachable[] = {
	{ENETUNREACH, false},  {EHOSTUNREACH, false}, {ENOPROTOOPT, true},  {ECONNREFUSED, true},
	{EMSGSIZE, false},     {EOPNOTSUPP, false},   {ENETUNREACH, true},  {EHOSTDOWN, true},
	{ENONET, true},	       {ENETUNREACH, true},   {EHOSTUNREACH, true}, {ENETUNREACH, false},
	{EHOSTUNREACH, false}, {EHOSTUNREACH, true},  {EHOSTUNREACH, true}, {EHOSTUNREACH, true},
};

/* RFC 1191, 7: for routers that do not say how much would fit, the next plateau below what did not.
 */
static u32 plateau_below(u32 total)
{
	static const u16 plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296};

	for (u32 i = 0; i < ARRAY_SIZE(plateaus); i++)
		if (plateaus[i] < total)
			return plateaus[i];
	return 68;
}

static void tell_transport(u8 proto, const struct netaddr *local, const struct netaddr *remote,
			   const u8 hdr[8], const struct icmp_event *ev)
{
	if (proto == IP_PROTO_TCP)
		tcp_error(local, remote, hdr, ev->err, ev->mtu, ev->hard);
	else if (proto == IP_PROTO_UDP)
		udp_icmp_error(local, remote, hdr, ev);
}

/* An error: data at the ICMP header, which is linear. */
static void error_input(struct pkt *p, const struct ip_info *ip)
{
	struct icmp_event ev = {
		.type = p->data[0], .code = p->data[1], .from = ip->src, .remote = true};
	u32 off = ICMP_HDR_LEN, hlen, mtu = p->data[6] << 8 | p->data[7];
	struct netaddr local, remote;
	struct ip_hdr h;
	u8 *d, hdr[8];

	if (ip->broadcast || !pkt_linear(p, off + IP_HDR_LEN))
		goto bad;
	hlen = (p->data[off] & 15) * 4;
	d = hlen < IP_HDR_LEN ? NULL : pkt_linear(p, off + hlen + 8);
	if (!d)
		goto bad;
	memcpy(&h, d + off, sizeof(h));
	memcpy(hdr, d + off + hlen, sizeof(hdr));
	/* A packet that we can have sent, or its first piece, with room for what is quoted of it.
	 */
	if (h.vihl >> 4 != 4 || net16(h.len) < hlen + 8 || net16(h.frag) & IP_FRAG_OFFSET)
		goto bad;
	local = ip4_addr(ip4_load(h.src));
	remote = ip4_addr(ip4_load(h.dst));
	if (!netaddr_is_local(&local) || netaddr_is_any(&remote) || netaddr_is_broadcast(&remote))
		goto bad;
	switch (ev.type) {
	case ICMP_UNREACHABLE:
		if (ev.code >= ARRAY_SIZE(unreachable))
			goto bad;
		ev.err = unreachable[ev.code].err;
		ev.hard = unreachable[ev.code].hard;
		if (ev.code == ICMP_UNREACH_NEEDFRAG) {
			if (mtu && mtu < 68) /* RFC 791: every link carries that */
				goto bad;
			ev.mtu = mtu ? mtu : plateau_below(net16(h.len));
		}
		break;
	case ICMP_TIME_EXCEEDED:
		ev.err = EHOSTUNREACH;
		break;
	case ICMP_PARAM_PROBLEM:
		ev.err = EPROTO;
		ev.hard = true;
		break;
	}
	tell_transport(h.proto, &local, &remote, hdr, &ev);
	return;
bad:
	stat_inc(&ipv4_stats.icmp_in_errors);
}

void icmp_local_unreachable(struct pkt *p)
{
	struct icmp_event ev = {.type = ICMP_UNREACHABLE, .code = 1, .err = EHOSTUNREACH};
	struct netaddr local, remote;
	struct ip_hdr h;
	u8 hdr[8];

	if (p->total < sizeof(h) + sizeof(hdr))
		return;
	pkt_copy_out(p, 0, &h, sizeof(h));
	pkt_copy_out(p, sizeof(h), hdr, sizeof(hdr)); /* we send no options */
	if (net16(h.frag) & IP_FRAG_OFFSET)
		return;
	local = ev.from = ip4_addr(ip4_load(h.src));
	remote = ip4_addr(ip4_load(h.dst));
	tell_transport(h.proto, &local, &remote, hdr, &ev);
}

void icmp_input(struct pkt *p, const struct ip_info *ip)
{
	u8 *h = pkt_linear(p, ICMP_HDR_LEN);

	stat_inc(&ipv4_stats.icmp_in_msgs);
	if (!h) {
		stat_inc(&ipv4_stats.icmp_in_errors);
		goto out;
	}
	if (pkt_csum(p, 0, p->total, 0) != 0xffff) {
		stat_inc(&ipv4_stats.icmp_in_csum_errors);
		goto out;
	}
	switch (h[0]) {
	case ICMP_ECHO:
		/* Not to broadcasts: that is how floods are multiplied (as Linux's default). */
		if (!ip->broadcast && h[1] == 0)
			send(ICMP_ECHO_REPLY, 0, h + 4, NULL, 0, p, ICMP_HDR_LEN,
			     p->total - ICMP_HDR_LEN, &ip->dst, &ip->src, ip->tos);
		break;
	case ICMP_UNREACHABLE:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAM_PROBLEM:
		error_input(p, ip);
		break;
	default:
		break; /* replies nobody asked for, redirects, source quench, timestamps: silently
			  (3.2.2) */
	}
out:
	pkt_free(p);
}
