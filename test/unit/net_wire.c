/*
 * net_wire.c - an IP layer that catches what TCP sends, and sockets of the test.
 */
#include "net_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/net/socket.h"
#include "net_seg.h"

#define IPPROTO_TCP 6
#define MAX_CAUGHT 65536u

u32 wire_mtu = 1500;
bool wire_unreachable, wire_csum_ok;
u32 wire_frag, wire_rtt;
u64 wire_sent;
int (*wire_filter)(const struct seg *s);

static struct flow default_flow;
struct flow *F = &default_flow;

static struct seg *caught[MAX_CAUGHT];
static u32 first_caught, nr_caught;
static struct link *link_now;
static u32 nbufs_at_start;
static long memory_at_start, heap_at_start;

static int wire_xmit(struct netif *nif, struct pkt *p)
{
	net_fail("net_wire: xmit");
}

struct netif wire_nif = {
	.link = LIST_HEAD_INIT(wire_nif.link),
	.name = "wire",
	.index = 2,
	.flags = NETIF_UP | NETIF_CSUM,
	.mtu = 1500,
	.xmit = wire_xmit,
};

static struct netaddr addr_of(u32 ip)
{
	return (struct netaddr){ .family = AF_INET,
				 .b = { ip >> 24, (u8)(ip >> 16), (u8)(ip >> 8), (u8)ip } };
}

static u32 ip_of(const struct netaddr *a)
{
	return (u32)a->b[0] << 24 | (u32)a->b[1] << 16 | (u32)a->b[2] << 8 | a->b[3];
}

struct endpoint ep(u32 addr, u16 port)
{
	return (struct endpoint){ addr_of(addr), port };
}

/* netif.h: the part of it that TCP calls */

int route_lookup(const struct netaddr *dst, const struct netaddr *src, struct route *r)
{
	if (dst->family != AF_INET)
		return -EAFNOSUPPORT;
	if (wire_unreachable)
		return -ENETUNREACH;
	memset(r, 0, sizeof(*r));
	r->nif = &wire_nif;
	r->src = src && src->family && !netaddr_is_any(src) ? *src : addr_of(LOCAL_IP);
	r->next_hop = *dst;
	r->mtu = wire_mtu;
	r->hdr_len = 20;
	r->gen = route_gen();
	return 0;
}

u32 route_gen(void)
{
	return wire_mtu;
}

void route_pmtu_update(const struct netaddr *dst, u32 mtu)
{
	wire_mtu = min(wire_mtu, max(mtu, 552u)); /* the minimum is ipv4.c's */
}

bool netaddr_is_local(const struct netaddr *a)
{
	return ip_of(a) == LOCAL_IP || netaddr_is_loopback(a) || (link_now && ip_of(a) == REMOTE_IP);
}

bool netaddr_is_any(const struct netaddr *a)
{
	return !ip_of(a);
}

bool netaddr_is_broadcast(const struct netaddr *a)
{
	return ip_of(a) >= 0xe0000000u;
}

bool netaddr_is_loopback(const struct netaddr *a)
{
	return a->b[0] == 127;
}

void netaddr_any(struct netaddr *a, u16 family)
{
	memset(a, 0, sizeof(*a));
	a->family = family;
}

int endpoint_print(const struct endpoint *e, char *buf, size_t size)
{
	const u8 *b = e->addr.b;

	return snprintf(buf, size, "%u.%u.%u.%u:%u", b[0], b[1], b[2], b[3], e->port);
}

u32 pseudo_sum(const struct netaddr *src, const struct netaddr *dst, u8 proto, u32 len)
{
	/* as pkt.h adds: 16-bit words as they stand in memory */
	return net16(seg_fold(seg_pseudo_sum(ip_of(src), ip_of(dst), proto, len)));
}

struct netif *netif_by_index(u32 index)
{
	return index == 2 ? &wire_nif : NULL;
}

void icmp_port_unreachable(struct pkt *p, const struct ip_info *ip)
{
}

static void catch_one(u8 *tcp, u32 n, u32 src, u32 dst, u8 ttl, u8 tos, bool df, u32 gso)
{
	struct seg *s = calloc(1, sizeof(*s));

	wire_sent++;
	seg_fill_sum(tcp, n, src, dst);
	seg_from_bytes(s, tcp, n);
	s->time = net_now();
	s->src = src;
	s->dst = dst;
	s->ttl = ttl;
	s->tos = tos;
	s->df = df;
	s->gso = gso;
	if (wire_filter && wire_filter(s)) {
		seg_free(s);
		free(s);
		return;
	}
	if (link_now) {
		link_send(link_now, tcp, n, src, dst);
		seg_free(s);
		free(s);
		return;
	}
	if (nr_caught == MAX_CAUGHT)
		net_fail("net_wire: %u segments caught and not looked at", nr_caught);
	caught[(first_caught + nr_caught++) % MAX_CAUGHT] = s;
}

/* As segmentation offload does: payload cut at gso_size; FIN and PUSH on the last only, CWR on the first. */
static void cut(u8 *tcp, u32 n, u32 gso_size, u32 src, u32 dst, u8 ttl, u8 tos)
{
	u32 hdr = (tcp[12] >> 4) * 4u, len = n - hdr;
	u32 seq = seg_get32(tcp + 4);
	u8 one[65536];

	for (u32 off = 0; off < len; off += gso_size) {
		u32 k = min(gso_size, len - off);

		memcpy(one, tcp, hdr);
		memcpy(one + hdr, tcp + hdr + off, k);
		seg_put32(one + 4, seq + off);
		if (off + k < len)
			one[13] &= ~(TH_FIN | TH_PUSH);
		if (off)
			one[13] &= ~TH_CWR;
		catch_one(one, hdr + k, src, dst, ttl, tos, true, len);
	}
}

int ip_output(struct pkt *p, const struct route *r, const struct netaddr *src, const struct netaddr *dst,
	      u8 proto, u8 ttl, u8 tos, u32 flags)
{
	static u8 buf[1 << 17];
	u32 n = p->total, s = ip_of(src), d = ip_of(dst), gso = p->gso_size, hdr;

	if (proto != IPPROTO_TCP || r->nif != &wire_nif)
		net_fail("ip_output: proto %u, interface %p", proto, (void *)r->nif);
	if (n < 20 || n > 65515 || p->len < 20)
		net_fail("ip_output: %u bytes, %u of them linear", n, p->len);
	if (!s || !d)
		net_fail("ip_output: from %#x to %#x", s, d);
	pkt_copy_out(p, 0, buf, n);
	hdr = (buf[12] >> 4) * 4u;
	if (hdr < 20 || hdr > n)
		net_fail("ip_output: data offset %u", hdr);
	if (p->len < hdr)
		net_fail("ip_output: header of %u bytes, %u linear", hdr, p->len);
	if (p->flags & PKT_CSUM_PARTIAL) {
		u16 want = seg_fold(seg_pseudo_sum(s, d, proto, n)), is = (u16)(buf[16] << 8 | buf[17]);

		if (!(wire_nif.flags & NETIF_CSUM))
			net_fail("ip_output: unfinished checksum, but the interface cannot");
		if (p->csum_offset != 16 || nbuf_addr(p->head) + p->csum_start != p->data)
			net_fail("ip_output: csum_start, csum_offset");
		if (!p->gso_size && is != want && is + want != 0xffff)
			net_fail("ip_output: pseudo-header sum is %#x, not %#x", is, want);
	} else if (!seg_sum_good(buf, n, s, d)) {
		net_fail("ip_output: wrong checksum");
	}
	if (p->gso_size && !(wire_nif.flags & NETIF_TSO))
		net_fail("ip_output: gso_size %u, but the interface cannot", p->gso_size);
	if (p->gso_size && hdr + p->gso_size + r->hdr_len > wire_mtu)
		net_fail("ip_output: gso_size %u with %u of header", p->gso_size, hdr);
	pkt_free(p);
	if (gso && n - hdr > gso) {
		cut(buf, n, gso, s, d, ttl, tos);
	} else if (n + r->hdr_len > wire_mtu) {
		if (!(flags & IP_DF))
			net_fail("ip_output: %u bytes without DF", n);
		return -EMSGSIZE;
	} else {
		catch_one(buf, n, s, d, ttl, tos, flags & IP_DF, 0);
	}
	return 0;
}

/* In */

void inject_bytes(u32 src, u32 dst, const u8 *b, u32 n)
{
	struct ip_info ip = { .src = addr_of(src), .dst = addr_of(dst), .ttl = 64, .proto = IPPROTO_TCP };
	u32 hdr = n >= 20 ? min((b[12] >> 4) * 4u, n) : n;
	u32 linear = wire_frag ? hdr : min(n, NBUF_SIZE - PKT_HEADROOM);
	u32 frag = wire_frag ? wire_frag : NBUF_SIZE;
	struct pkt *p = pkt_alloc(PKT_HEADROOM);

	if (!p)
		return; /* as a NIC without buffers */
	memcpy(pkt_put(p, linear), b, linear);
	for (u32 off = linear; off < n; off += frag) {
		u32 k = min(frag, n - off), nb = nbuf_alloc();

		if (nb == NBUF_NONE) {
			pkt_free(p);
			return;
		}
		memcpy(nbuf_addr(nb), b + off, k);
		if (pkt_add_frag(p, nb, 0, k))
			net_fail("inject: too many fragments");
	}
	p->nif = &wire_nif;
	if (wire_csum_ok)
		p->flags |= PKT_CSUM_OK;
	tcp_input(p, &ip);
}

void inject_seg(const struct seg *s, bool bad_sum)
{
	u8 *b = malloc(60 + s->len);
	u32 n = seg_to_bytes(s, b);

	seg_fill_sum(b, n, s->src, s->dst);
	if (bad_sum)
		b[16] ^= 0x55;
	inject_bytes(s->src, s->dst, b, n);
	free(b);
}

void inject_flow(struct flow *f, const char *file, int line, const char *text)
{
	struct seg_pattern q;
	struct seg s;

	seg_parse_text(&q, text, file, line);
	seg_from_pattern(&s, &q, f);
	inject_seg(&s, q.bad_sum);
	seg_free(&s);
}

/* Out */

u32 wire_caught(void)
{
	return nr_caught;
}

struct seg *wire_next(u64 ms)
{
	static struct seg *last;
	u64 until = net_now() + ms * MS;

	while (!nr_caught && net_step(until))
		;
	if (!nr_caught)
		return NULL;
	if (last) {
		seg_free(last);
		free(last);
	}
	last = caught[first_caught];
	first_caught = (first_caught + 1) % MAX_CAUGHT;
	nr_caught--;
	return last;
}

void wire_drop(void)
{
	while (nr_caught)
		wire_next(0);
}

const struct seg *expect_flow(struct flow *f, const char *file, int line, const char *text)
{
	struct seg *s = wire_next(0);
	struct seg_pattern q;
	char why[256];

	seg_parse_text(&q, text, file, line);
	if (!s)
		net_fail("%s:%d: expected\n    %s\nbut nothing was sent", file, line, text);
	seg_learn(f, s);
	if (!seg_match(f, s, &q, why, sizeof(why)))
		net_fail("%s:%d: expected\n    %s\nbut sent was\n    %s\n(%s)", file, line, text,
			 seg_text(f, s), why);
	return s;
}

void expect_none_at(const char *file, int line)
{
	if (nr_caught)
		net_fail("%s:%d: sent, and not expected:\n    %s", file, line,
			 seg_text(F, caught[first_caught]));
}

void expect_quiet_at(const char *file, int line, u64 ms)
{
	u64 start = net_now(), until = start + ms * MS;

	expect_none_at(file, line);
	while (!nr_caught && net_step(until))
		;
	if (nr_caught)
		net_fail("%s:%d: sent after %llu.%03llu ms of %llu that were to be quiet:\n    %s", file, line,
			 (unsigned long long)((net_now() - start) / MS),
			 (unsigned long long)((net_now() - start) / 1000 % 1000), (unsigned long long)ms,
			 seg_text(F, caught[first_caught]));
}

const struct seg *expect_in_at(struct flow *f, const char *file, int line, u64 lo, u64 hi, const char *text)
{
	u64 start = net_now(), until = start + hi * MS;

	if (lo)
		expect_none_at(file, line);
	while (!nr_caught && net_step(until))
		;
	if (!nr_caught)
		net_fail("%s:%d: expected within %llu ms\n    %s\nbut nothing was sent", file, line,
			 (unsigned long long)hi, text);
	if (net_now() < start + lo * MS)
		net_fail("%s:%d: sent after %llu.%03llu ms, expected after %llu to %llu:\n    %s", file, line,
			 (unsigned long long)((net_now() - start) / MS),
			 (unsigned long long)((net_now() - start) / 1000 % 1000), (unsigned long long)lo,
			 (unsigned long long)hi, seg_text(f, caught[first_caught]));
	return expect_flow(f, file, line, text);
}

/* Sockets */

struct tcp_sock *sock_listen(u16 port, int backlog)
{
	struct tcp_sock *tp = tcp_create(AF_INET);
	struct endpoint e = ep(LOCAL_IP, port);
	int err;

	err = tcp_bind(tp, &e);
	if (!err)
		err = tcp_listen(tp, backlog);
	if (err)
		net_fail("listen: %d", err);
	return tp;
}

ssize_t sock_send_flow(struct flow *f, u32 n, bool push)
{
	struct pkt_frag frags[64];
	u32 nr = 0;
	ssize_t r;

	if (n > 64 * NBUF_SIZE)
		net_fail("sock_send: %u", n);
	for (u32 off = 0; off < n; nr++) {
		u32 k = min(n - off, NBUF_SIZE);

		frags[nr] = (struct pkt_frag){ nbuf_alloc(), 0, (u16)k };
		if (frags[nr].nb == NBUF_NONE)
			net_fail("sock_send: no nbuf");
		for (u32 i = 0; i < k; i++)
			nbuf_addr(frags[nr].nb)[i] = stream_byte(true, f->sent + off + i);
		off += k;
	}
	r = tcp_send(f->tp, frags, nr, push);
	if (r > 0)
		f->sent += r;
	return r;
}

size_t sock_recv_flow(struct flow *f, size_t max)
{
	static u8 buf[1 << 17];
	struct list_head list = LIST_HEAD_INIT(list);
	size_t n = tcp_recv_take(f->tp, &list, max), sum = 0;
	struct pkt *p, *next;

	list_for_each_entry_safe(p, next, &list, link) {
		if (p->total > sizeof(buf))
			net_fail("sock_recv: a packet of %u", p->total);
		pkt_copy_out(p, 0, buf, p->total);
		for (u32 i = 0; i < p->total && !f->raw; i++)
			if (buf[i] != stream_byte(false, f->received + sum + i))
				net_fail("received byte %llu is wrong",
					 (unsigned long long)(f->received + sum + i));
		sum += p->total;
		list_del(&p->link);
		pkt_free(p);
	}
	if (sum != n || n > max)
		net_fail("tcp_recv_take(%zu) said %zu and gave %zu", max, n, sum);
	f->received += n;
	if (n)
		tcp_recv_consumed(f->tp, n);
	return n;
}

void sock_close_flow(struct flow *f)
{
	tcp_close(f->tp);
	tcp_put(f->tp);
	f->tp = NULL;
}

void flow_init(struct flow *f, u16 lport, u16 rport)
{
	memset(f, 0, sizeof(*f));
	f->laddr = LOCAL_IP;
	f->raddr = REMOTE_IP;
	f->lport = lport;
	f->rport = rport;
	f->peer_isn = 0x30000000u + net_random(1u << 28);
}

void establish_passive(struct flow *f, struct tcp_sock *listener, u32 win, const char *opts)
{
	inject_flow(f, __FILE__, __LINE__, wire_text("S 0:0(0) win 65535 <%s>", opts));
	expect_flow(f, __FILE__, __LINE__, "S. 0:0(0) ack 1");
	advance_ms(wire_rtt);
	inject_flow(f, __FILE__, __LINE__,
		    wire_text(strstr(opts, "ts ") ? ". 1:1(0) ack 1 win %u <ts 101 ecr *>" :
						     ". 1:1(0) ack 1 win %u",
			      win));
	f->tp = tcp_accept(listener);
	if (!f->tp)
		net_fail("establish_passive: nothing to accept");
	expect_none();
}

void establish_active(struct flow *f, u32 win, const char *opts)
{
	struct endpoint e = ep(f->raddr, f->rport);
	int err;

	if (!f->tp)
		f->tp = tcp_create(AF_INET);
	f->lport = 0;
	err = tcp_connect(f->tp, &e);
	if (err)
		net_fail("establish_active: connect: %d", err);
	expect_flow(f, __FILE__, __LINE__, "S 0:0(0)");
	advance_ms(wire_rtt);
	inject_flow(f, __FILE__, __LINE__, wire_text("S. 0:0(0) ack 1 win %u <%s>", win, opts));
	expect_flow(f, __FILE__, __LINE__, ". 1:1(0) ack 1");
	if (tcp_state(f->tp) != TCP_ESTABLISHED)
		net_fail("establish_active: state %u", tcp_state(f->tp));
	expect_none();
}

void wire_link(struct link *l)
{
	link_now = l;
}

/* Start and end */

void wire_start_pool(u64 seed, u32 nbufs)
{
	net_host_start(seed, nbufs);
	if (tcp_init())
		net_fail("tcp_init");
	nbufs_at_start = nbuf_free_count();
	memory_at_start = net_allocated();
	heap_at_start = net_timer_heap_bytes();
	flow_init(F, 80, 5000);
}

void wire_start(u64 seed)
{
	wire_start_pool(seed, 0);
}

static void count_one(struct tcp_sock *tp, void *arg)
{
	++*(u32 *)arg;
}

void wire_check_clean(void)
{
	u32 socks = 0;
	long left;

	wire_drop();
	tcp_for_each(count_one, &socks);
	if (socks)
		net_fail("%u sockets are left", socks);
	if (net_timers_armed())
		net_fail("%u timers are left", net_timers_armed());
	if (nbuf_free_count() != nbufs_at_start)
		net_fail("%u nbufs are not given back", nbufs_at_start - nbuf_free_count());
	left = net_allocated() - memory_at_start - (net_timer_heap_bytes() - heap_at_start);
	if (left)
		net_fail("%ld bytes are not given back", left);
}
