/*
 * test_ipv4.c - IPv4 in virtual time: header checks, fragments, routes, path MTU, ICMP.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "ip_host.h"
#include "libos/abi/control.h"

static void fail_hook(const char *text)
{
	cr_assert_fail("%s", text);
}

static void start(void)
{
	ip_host_start();
	net_fail_hook = fail_hook;
}

#define TCP                                                                                        \
	{                                                                                          \
		.proto = IP_PROTO_TCP                                                              \
	}

/* Header checks */

Test(ipv4, a_packet_for_us_arrives_without_its_padding)
{
	start();
	rx_ip(&(struct rx){.proto = IP_PROTO_TCP, .tos = 0x2e, .ttl = 9, .pad = 26}, "hello", 5);
	cr_assert_eq(tcp_seen.packets, 1);
	cr_assert_eq(tcp_seen.bytes, 5);
	cr_assert_eq(tcp_seen.ip.ttl, 9);
	cr_assert_eq(tcp_seen.ip.tos, 0x2e);
	cr_assert_not(tcp_seen.ip.broadcast);
	cr_assert_eq(ip4_of(&tcp_seen.ip.src), PEER);
	cr_assert_eq(ip4_of(&tcp_seen.ip.dst), OURS);
}

Test(ipv4, malformed_headers_are_dropped)
{
	start();
	rx_ip(&(struct rx){.proto = 6, .bad_csum = true}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .version_ihl = 0x65}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .version_ihl = 0x44}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .version_ihl = 0x4f}, "hello",
	      5);						  /* longer than the packet */
	rx_ip(&(struct rx){.proto = 6, .total = 26}, "hello", 5); /* says more than came */
	rx_ip(&(struct rx){.proto = 6, .total = 19}, "hello", 5); /* less than its header */
	cr_assert_eq(ipv4_stats.in_hdr_errors, 6);
	cr_assert_eq(tcp_seen.packets, 0);
}

Test(ipv4, options_are_skipped_but_must_be_well_formed)
{
	static const u8 nops[4] = {1, 1, 1, 0}, record[8] = {7, 7, 4, 0, 0, 0, 0, 0};
	static const u8 zero_length[4] = {7, 0, 0, 0}, one_length[4] = {7, 1, 0, 0},
			too_long[4] = {7, 5, 0, 0};
	static const u8 loose_source[8] = {131, 7, 4, 1, 2, 3, 4, 0}, cut[4] = {1, 1, 1, 7};

	start();
	rx_ip(&(struct rx){.proto = 6, .opts = nops, .nr_opts = 4}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .opts = record, .nr_opts = 8}, "hello", 5);
	cr_assert_eq(tcp_seen.packets, 2);
	cr_assert_eq(tcp_seen.bytes, 5);
	rx_ip(&(struct rx){.proto = 6, .opts = zero_length, .nr_opts = 4}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .opts = one_length, .nr_opts = 4}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .opts = too_long, .nr_opts = 4}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .opts = cut, .nr_opts = 4}, "hello", 5);
	rx_ip(&(struct rx){.proto = 6, .opts = loose_source, .nr_opts = 8}, "hello", 5);
	cr_assert_eq(tcp_seen.packets, 2);
	cr_assert_eq(ipv4_stats.in_hdr_errors, 5);
}

Test(ipv4, impossible_addresses_are_dropped)
{
	static const struct {
		u32 src, dst;
	} bad[] = {
		{IP(127, 0, 0, 1), OURS},  {OURS, OURS},
		{IP(224, 0, 0, 1), OURS},  {IP4_BROADCAST, OURS},
		{IP(10, 0, 0, 255), OURS}, {IP(0, 0, 0, 5), OURS},
		{IP(250, 0, 0, 1), OURS},  {PEER, IP(127, 0, 0, 1)},
		{PEER, IP(10, 0, 0, 3)},   {PEER, IP(224, 0, 0, 1)},
	};

	start();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		rx_ip(&(struct rx){.proto = 6, .src = bad[i].src, .dst = bad[i].dst}, "hello", 5);
	cr_assert_eq(tcp_seen.packets, 0);
	cr_assert_eq(ipv4_stats.in_addr_errors, ARRAY_SIZE(bad));
	/* Nor does somebody else's frame, or what is no IP at all. */
	rx_ip(&(struct rx){.proto = 6, .mac = peer_mac}, "hello", 5);
	nif_receive(&eth0, "\2\0\0\0\0\1\2\0\0\0\0\7\x86\xdd", 14);
	nif_receive(&eth0, "\2\0\0", 3);
	cr_assert_eq(tcp_seen.packets, 0);
}

Test(ipv4, broadcasts_say_that_they_are_none_of_ours)
{
	start();
	rx_ip(&(struct rx){.proto = 6, .dst = IP4_BROADCAST, .link_broadcast = true}, "hello", 5);
	cr_assert_eq(tcp_seen.packets, 1);
	cr_assert(tcp_seen.ip.broadcast);
	rx_ip(&(struct rx){.proto = 6, .dst = IP(10, 0, 0, 255)}, "hello", 5);
	cr_assert(tcp_seen.ip.broadcast);
	rx_ip(&(struct rx){.proto = 6, .link_broadcast = true}, "hello", 5);
	cr_assert_eq(tcp_seen.packets, 3);
	cr_assert(tcp_seen.ip.broadcast);
}

/* Fragments */

static u8 data[70000];

static void fill_data(void)
{
	for (u32 i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + i / 256;
}

/* Bytes [from, to) of the datagram `id`; more: another follows. */
static void piece(u16 id, u32 from, u32 to, bool more)
{
	rx_ip(&(struct rx){.proto = 6, .id = id, .frag = from / 8 | (more ? IP_FRAG_MF : 0)},
	      data + from, to - from);
}

static u32 waiting(void)
{
	u32 nbufs, n = ipv4_reasm_count(&nbufs);

	cr_assert(n || !nbufs, "%u buffers of no datagram", nbufs);
	return n;
}

Test(reasm, a_first_fragment_is_not_a_whole_packet)
{
	start();
	fill_data();
	piece(1, 0, 64, true);
	cr_assert_eq(tcp_seen.packets, 0);
	/* And the flag of "do not fragment" alone makes no fragment. */
	rx_ip(&(struct rx){.proto = 6, .frag = IP_FRAG_DF}, data, 64);
	cr_assert_eq(tcp_seen.packets, 1);
	/* An offset whose low byte is zero, as the wrong byte order would take it. */
	rx_ip(&(struct rx){.proto = 6, .id = 2, .frag = 0x100}, data, 64);
	rx_ip(&(struct rx){.proto = 6, .id = 3, .frag = 0x001}, data, 64);
	cr_assert_eq(tcp_seen.packets, 1);
	cr_assert_eq(waiting(), 3);
}

Test(reasm, all_orders_of_four_pieces)
{
	static const u32 cut[] = {0, 1480, 2960, 4096, 5001};
	u32 orders = 0;

	start();
	fill_data();
	know_neighbours();
	for (u32 code = 0; code < 256; code++) {
		u32 o[4] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6};

		if ((1 << o[0] | 1 << o[1] | 1 << o[2] | 1 << o[3]) != 15)
			continue;
		for (u32 i = 0; i < 4; i++) {
			cr_assert_eq(tcp_seen.packets, orders);
			piece(code, cut[o[i]], cut[o[i] + 1], o[i] < 3);
		}
		orders++;
		cr_assert_eq(tcp_seen.packets, orders);
		cr_assert_eq(tcp_seen.bytes, 5001);
		cr_assert_arr_eq(tcp_seen.data, data, sizeof(tcp_seen.data));
	}
	cr_assert_eq(orders, 24);
	cr_assert_eq(waiting(), 0);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(reasm, the_longest_datagram_in_small_pieces)
{
	struct socket *s;
	static u8 udp[65515], got[65507];
	u32 n;

	start();
	fill_data();
	s = udp_new();
	udp_bind_to(s, 0, 5000);
	n = make_udp(udp, PEER, OURS, 9, 5000, data, 65507);
	for (u32 off = 0; off < n; off += 552) {
		u32 part = min(n - off, 552u);

		rx_ip(&(struct rx){.id = 4, .frag = off / 8 | (off + part < n ? IP_FRAG_MF : 0)},
		      udp + off, part);
	}
	cr_assert_eq(udp_recv(s, got, sizeof(got), 0, NULL, NULL), 65507);
	cr_assert_arr_eq(got, data, 65507);
	cr_assert_eq(waiting(), 0);
	udp_close(s);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(reasm, duplicates_are_ignored_and_overlaps_spoil)
{
	start();
	fill_data();
	piece(1, 0, 800, true);
	piece(1, 0, 800, true);
	piece(1, 80, 400, true); /* within what came */
	piece(1, 800, 900, false);
	cr_assert_eq(tcp_seen.packets, 1);
	cr_assert_eq(tcp_seen.bytes, 900);
	piece(2, 0, 800, true);
	piece(2, 792, 1600, true);
	cr_assert_eq(waiting(), 0, "a partial overlap drops the datagram");
	piece(2, 1600, 1700, false);
	cr_assert_eq(tcp_seen.packets, 1);
	cr_assert_eq(waiting(), 1);
}

Test(reasm, contradictory_ends_spoil)
{
	start();
	fill_data();
	piece(1, 800, 900, false);
	piece(1, 800, 1000, false);
	cr_assert_eq(waiting(), 0);
	piece(2, 800, 900, false);
	piece(2, 1600, 1680, true); /* behind the end */
	cr_assert_eq(waiting(), 0);
	piece(3, 1600, 1680, true);
	piece(3, 800, 900, false);
	cr_assert_eq(waiting(), 0);
	cr_assert_eq(ipv4_stats.reasm_fails, 3);
}

Test(reasm, impossible_pieces_are_dropped)
{
	start();
	fill_data();
	piece(1, 0, 801, true); /* not the last, but of no whole units */
	piece(1, 8, 8, true);	/* empty */
	rx_ip(&(struct rx){.proto = 6, .frag = 0x1fff}, data,
	      100); /* beyond 64 KiB: "ping of death" */
	cr_assert_eq(waiting(), 0);
	cr_assert_eq(ipv4_stats.reasm_fails, 3);
}

Test(reasm, datagrams_do_not_mix)
{
	start();
	fill_data();
	piece(1, 0, 800, true);
	piece(2, 800, 900, false);
	rx_ip(&(struct rx){.proto = 17, .id = 1, .frag = 100}, data, 100);
	rx_ip(&(struct rx){.proto = 6, .src = IP(10, 0, 0, 8), .id = 1, .frag = 100}, data, 100);
	cr_assert_eq(tcp_seen.packets, 0);
	cr_assert_eq(waiting(), 4);
}

Test(reasm, waiting_ends_after_30_seconds_and_the_sender_is_told)
{
	const struct nif_frame *f;

	start();
	fill_data();
	know_neighbours();
	piece(1, 0, 800, true);
	advance_ms(10000);
	piece(2, 800, 900, false); /* without the first nothing can be quoted */
	advance_ms(19999);
	cr_assert_eq(waiting(), 2);
	f = nif_next(2);
	cr_assert_not_null(f);
	cr_assert_eq(waiting(), 1);
	cr_assert_eq(frame_ip(f)->proto, IP_PROTO_ICMP);
	cr_assert_eq(f->data[34], ICMP_TIME_EXCEEDED);
	cr_assert_eq(f->data[35], 1);
	cr_assert_eq(ip4_load(f->data + 34 + 8 + 12), PEER, "the quoted header");
	cr_assert_arr_eq(f->data + 34 + 8 + 20, data, 8);
	cr_assert_null(nif_next(30000));
	cr_assert_eq(waiting(), 0);
	cr_assert_eq(ipv4_stats.reasm_timeout, 2);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(reasm, many_datagrams_push_out_the_oldest)
{
	u32 nbufs;

	start();
	fill_data();
	know_neighbours();
	for (u32 i = 1; i <= 1000; i++)
		piece(i, 0, 800, true);
	cr_assert_leq(ipv4_reasm_count(&nbufs), 64);
	/* The latest can still be completed. */
	piece(1000, 800, 900, false);
	cr_assert_eq(tcp_seen.packets, 1);
	/* 8 bytes in each buffer's place, of many datagrams: buffers are bounded too. */
	for (u32 i = 1; i <= 60; i++)
		for (u32 off = 0; off < 65000; off += 2048)
			piece(2000 + i, off, off + 8, true);
	ipv4_reasm_count(&nbufs);
	cr_assert_leq(nbufs, 512);
	cr_assert_geq(nbuf_free_count(), nbuf_total() - 512);
	advance_ms(31000);
	cr_assert_eq(waiting(), 0);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(reasm, random_pieces_give_the_datagram_or_nothing)
{
	start();
	fill_data();
	know_neighbours();
	for (u32 round = 0; round < 300; round++) {
		u32 n = 8 + net_random(9000), before = tcp_seen.packets;

		for (u32 i = 0; i < 60; i++) {
			u32 from = net_random(n / 8 + 1) * 8, to = from + 8 * (1 + net_random(200));

			piece(round, from, min(to, n) > from ? min(to, n) : from, to < n);
			if (tcp_seen.packets != before) {
				cr_assert_eq(tcp_seen.bytes, n);
				cr_assert_arr_eq(tcp_seen.data, data, min(n, 256u));
				break;
			}
		}
	}
	advance_ms(31000);
	cr_assert_eq(waiting(), 0);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

/* Sending */

Test(ipv4_out, fragments_carry_everything_in_order)
{
	const struct nif_frame *f;
	u32 expected = 0, id = 0;
	bool last = false;

	start();
	know_neighbours();
	cr_assert_eq(tx_udp(PEER, 5000, 0), 0);
	while ((f = nif_next(0))) {
		const struct ip_hdr *h = frame_ip(f);
		u32 frag = net16(h->frag), n = net16(h->len) - 20;

		cr_assert_leq(f->len, 1514);
		cr_assert_eq((frag & 0x1fff) * 8, expected);
		cr_assert(!expected || id == h->id);
		cr_assert_not(last);
		cr_assert_eq(frag & IP_FRAG_DF, 0);
		for (u32 i = 0; i < n; i++)
			cr_assert_eq(f->data[34 + i], expected + i < 1000 ? 'x' : 'y');
		id = h->id;
		expected += n;
		last = !(frag & IP_FRAG_MF);
	}
	cr_assert_eq(expected, 5000);
	cr_assert(last);
	cr_assert_eq(tx_udp(PEER, 5000, IP_DF), -EMSGSIZE);
	cr_assert_eq(tx_udp(PEER, 65516, 0), -EMSGSIZE);
	cr_assert_null(nif_next(0));
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(ipv4_out, our_fragments_can_be_put_together)
{
	const struct nif_frame *f;

	start();
	know_neighbours();
	cr_assert_eq(tx_udp(PEER, 65515, 0), 0);
	/* They come back as if from PEER. */
	while ((f = nif_next(0))) {
		struct ip_hdr h = *frame_ip(f);

		rx_ip(&(struct rx){.proto = 6, .id = net16(h.id), .frag = net16(h.frag)},
		      f->data + 34, f->len - 34);
	}
	cr_assert_eq(tcp_seen.packets, 1);
	cr_assert_eq(tcp_seen.bytes, 65515);
}

Test(ipv4_out, identifications_cannot_be_guessed_but_do_not_repeat)
{
	static u8 used[65536];
	u32 steps = 0;
	u16 last = 0, other;

	start();
	know_neighbours();
	for (u32 i = 0; i < 1000; i++) {
		u16 id;

		tx_udp(PEER, 10, 0);
		id = net16(frame_ip(nif_next(0))->id);
		cr_assert_not(used[id]);
		used[id] = 1;
		steps += i && (u16)(id - last) == 1;
		last = id;
	}
	cr_assert_eq(steps, 999);
	tx_udp(FAR, 10, 0);
	other = net16(frame_ip(nif_next(0))->id);
	cr_assert_neq((u16)(other - last), 1, "another destination counts elsewhere");
}

/* Routes */

static int look(u32 dst, u32 src, struct route *r)
{
	struct netaddr d = ip4_addr(dst), s = ip4_addr(src);

	memset(r, 0, sizeof(*r));
	return route_lookup(&d, src ? &s : NULL, r);
}

Test(route, where_packets_go)
{
	struct route r;

	start();
	cr_assert_eq(look(PEER, 0, &r), 0);
	cr_assert_eq(r.nif, &eth0);
	cr_assert_eq(ip4_of(&r.next_hop), PEER);
	cr_assert_eq(ip4_of(&r.src), OURS);
	cr_assert_eq(r.mtu, 1500);
	cr_assert_eq(r.hdr_len, 20);
	cr_assert_eq(look(FAR, 0, &r), 0);
	cr_assert_eq(ip4_of(&r.next_hop), GATEWAY);
	cr_assert_eq(look(OURS, 0, &r), 0);
	cr_assert_eq(r.nif, &lo0);
	cr_assert_eq(ip4_of(&r.src), OURS);
	cr_assert_eq(look(IP(127, 1, 2, 3), 0, &r), 0);
	cr_assert_eq(r.nif, &lo0);
	cr_assert_eq(ip4_of(&r.src), IP4_LOOPBACK);
	cr_assert_eq(look(0, 0, &r), 0);
	cr_assert_eq(ip4_of(&r.next_hop), IP4_LOOPBACK);
	cr_assert_eq(look(IP4_BROADCAST, 0, &r), 0);
	cr_assert_eq(r.nif, &eth0);
	cr_assert_eq(ip4_of(&r.next_hop), IP4_BROADCAST);
	cr_assert_eq(look(FAR, IP4_LOOPBACK, &r), -EINVAL);
	cr_assert_eq(look(FAR, PEER, &r), -EINVAL);
	cr_assert_eq(look(IP4_LOOPBACK, OURS, &r), 0);
}

Test(route, without_a_nic_there_is_loopback)
{
	struct route r;

	ip_host_start_loopback();
	cr_assert_eq(ipv4_configure(NULL, NULL), 0);
	cr_assert_eq(look(IP4_LOOPBACK, 0, &r), 0);
	cr_assert_eq(look(PEER, 0, &r), -ENETUNREACH);
	cr_assert_eq(look(IP4_BROADCAST, 0, &r), -ENETUNREACH);
}

Test(route, bad_configurations_are_refused)
{
	static const struct ctl_net bad[] = {
		{.addr = {AF_INET, 33, {10, 0, 0, 2}}},
		{.addr = {AF_INET, 24, {127, 0, 0, 2}}},
		{.addr = {AF_INET, 24, {10, 0, 0, 255}}},
		{.addr = {AF_INET, 24, {10, 0, 0, 0}}},
		{.addr = {AF_INET, 24, {224, 0, 0, 1}}},
		{.addr = {AF_INET, 24, {0, 0, 0, 1}}},
		{.addr = {AF_INET, 24, {10, 0, 0, 2}}, .gateway = {AF_INET, 0, {10, 0, 1, 1}}},
		{.addr = {AF_INET, 24, {10, 0, 0, 2}}, .gateway = {AF_INET, 0, {10, 0, 0, 2}}},
	};

	ip_host_start_loopback();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(ipv4_configure(&bad[i], &eth0), -EINVAL, "%u", i);
	cr_assert_null(ipv4_conf.nif);
}

Test(route, path_mtu_is_learnt_and_forgotten)
{
	struct netaddr far = ip4_addr(FAR);
	struct route r;
	u32 gen;

	start();
	gen = route_gen();
	route_pmtu_update(&far, 1500); /* nothing new */
	cr_assert_eq(route_gen(), gen);
	route_pmtu_update(&far, 1200);
	cr_assert_neq(route_gen(), gen);
	look(FAR, 0, &r);
	cr_assert_eq(r.mtu, 1200);
	look(FAR + 1, 0, &r);
	cr_assert_eq(r.mtu, 1500);
	route_pmtu_update(&far, 1400); /* errors never widen */
	route_pmtu_update(&far, 100);
	look(FAR, 0, &r);
	cr_assert_eq(r.mtu, 552);
	gen = route_gen();
	advance_ms(599000);
	look(FAR, 0, &r);
	cr_assert_eq(r.mtu, 552);
	advance_ms(2000);
	cr_assert_neq(route_gen(), gen);
	look(FAR, 0, &r);
	cr_assert_eq(r.mtu, 1500);
	for (u32 i = 0; i < 1000; i++) {
		far = ip4_addr(FAR + i);
		route_pmtu_update(&far, 1000);
	}
	look(FAR + 999, 0, &r);
	cr_assert_eq(r.mtu, 1000);
	look(FAR, 0, &r);
	cr_assert_eq(r.mtu, 1500, "the table is bounded");
}

Test(route, on_the_narrowest_paths_routers_may_cut)
{
	struct netaddr far = ip4_addr(FAR);
	const struct nif_frame *f;

	start();
	know_neighbours();
	route_pmtu_update(&far, 68);
	cr_assert_eq(tx_udp(FAR, 400, IP_DF), 0);
	f = nif_next(0);
	cr_assert_eq(frame_ip(f)->frag, 0);
	cr_assert_eq(tx_udp(FAR, 1000, IP_DF), 0);
	cr_assert_eq(net16(frame_ip(nif_next(0))->len), 548); /* a payload of whole units */
}

/* ICMP */

static void rx_echo(u32 src, u32 dst, u32 n, int spoil, struct netif *nif)
{
	static u8 m[70000];
	u16 sum;

	memcpy(m, "\x08\0\0\0\x12\x34\0\x01", 8);
	memcpy(m + 8, data, n);
	sum = ~csum_fold(csum_add(m, 8 + n, 0)) + spoil;
	memcpy(m + 2, &sum, 2);
	rx_ip(&(struct rx){.proto = 1, .src = src, .dst = dst, .nif = nif, .tos = 0x10}, m, 8 + n);
}

Test(icmp, echo_is_answered)
{
	const struct nif_frame *f;

	start();
	fill_data();
	know_neighbours();
	rx_echo(PEER, 0, 56, 0, NULL);
	f = nif_next(0);
	cr_assert_not_null(f);
	cr_assert_eq(ip4_load(frame_ip(f)->dst), PEER);
	cr_assert_eq(ip4_load(frame_ip(f)->src), OURS);
	cr_assert_eq(frame_ip(f)->tos, 0x10);
	cr_assert_eq(f->data[34], ICMP_ECHO_REPLY);
	cr_assert_arr_eq(f->data + 38, "\x12\x34\0\x01", 4);
	cr_assert_arr_eq(f->data + 42, data, 56);
	cr_assert_eq(csum_fold(csum_add(f->data + 34, f->len - 34, 0)), 0xffff);
	rx_echo(PEER, 0, 56, 1, NULL);
	rx_echo(PEER, IP4_BROADCAST, 56, 0, NULL);
	rx_ip(&(struct rx){.proto = 1}, "\x08\0\0\0", 4);
	cr_assert_null(nif_next(0));
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(icmp, errors_reach_the_transport_that_sent)
{
	static const struct {
		u8 type, code;
		int err;
		bool hard;
	} known[] = {
		{3, 0, ENETUNREACH, false},  {3, 1, EHOSTUNREACH, false},
		{3, 2, ENOPROTOOPT, true},   {3, 3, ECONNREFUSED, true},
		{3, 13, EHOSTUNREACH, true}, {11, 0, EHOSTUNREACH, false},
		{12, 0, EPROTO, true},
	};
	u8 m[64];
	u32 n;

	start();
	for (u32 i = 0; i < ARRAY_SIZE(known); i++) {
		n = make_icmp_error(m, known[i].type, known[i].code, 0, OURS, FAR, IP_PROTO_TCP,
				    4000, 80);
		rx_ip(&(struct rx){.proto = 1, .src = IP(192, 0, 2, 1)}, m, n);
		cr_assert_eq(tcp_seen.errors, i + 1);
		cr_assert_eq(tcp_seen.err, known[i].err);
		cr_assert_eq(tcp_seen.hard, known[i].hard);
		cr_assert_eq(ip4_of(&tcp_seen.local), OURS);
		cr_assert_eq(ip4_of(&tcp_seen.remote), FAR);
		cr_assert_arr_eq(tcp_seen.hdr, m + 28, 8);
	}
	/* "Fragmentation needed", with and without the size (RFC 1191, 5). */
	n = make_icmp_error(m, 3, 4, 1280, OURS, FAR, IP_PROTO_TCP, 4000, 80);
	rx_ip(&(struct rx){.proto = 1, .src = IP(192, 0, 2, 1)}, m, n);
	cr_assert_eq(tcp_seen.err, EMSGSIZE);
	cr_assert_eq(tcp_seen.mtu, 1280);
	n = make_icmp_error(m, 3, 4, 0, OURS, FAR, IP_PROTO_TCP, 4000, 80);
	rx_ip(&(struct rx){.proto = 1, .src = IP(192, 0, 2, 1)}, m, n);
	cr_assert_eq(tcp_seen.mtu, 1006, "the plateau below 1400");
}

Test(icmp, errors_about_nothing_of_ours_are_ignored)
{
	u8 m[64];
	u32 n;

	start();
	n = make_icmp_error(m, 3, 3, 0, PEER, FAR, IP_PROTO_TCP, 4000, 80); /* not our packet */
	rx_ip(&(struct rx){.proto = 1}, m, n);
	n = make_icmp_error(m, 3, 3, 0, OURS, IP4_BROADCAST, IP_PROTO_TCP, 4000, 80);
	rx_ip(&(struct rx){.proto = 1}, m, n);
	n = make_icmp_error(m, 3, 16, 0, OURS, FAR, IP_PROTO_TCP, 4000, 80); /* no such code */
	rx_ip(&(struct rx){.proto = 1}, m, n);
	n = make_icmp_error(m, 3, 4, 40, OURS, FAR, IP_PROTO_TCP, 4000, 80); /* no such link */
	rx_ip(&(struct rx){.proto = 1}, m, n);
	n = make_icmp_error(m, 3, 3, 0, OURS, FAR, IP_PROTO_TCP, 4000, 80);
	rx_ip(&(struct rx){.proto = 1, .dst = IP4_BROADCAST}, m, n);
	for (u32 cut = 0; cut < n; cut++) { /* too short to quote anything, or a wrong sum */
		u8 c[64];
		u16 sum = 0;

		memcpy(c, m, n);
		memcpy(c + 2, &sum, 2);
		sum = ~csum_fold(csum_add(c, cut, 0));
		memcpy(c + 2, &sum, 2);
		rx_ip(&(struct rx){.proto = 1}, c, cut);
	}
	m[20] ^= 1;
	rx_ip(&(struct rx){.proto = 1}, m, n);
	cr_assert_eq(tcp_seen.errors, 0);
	n = make_icmp_error(m, 5, 1, 0, OURS, FAR, IP_PROTO_TCP, 4000, 80); /* redirect */
	rx_ip(&(struct rx){.proto = 1}, m, n);
	n = make_icmp_error(m, 4, 0, 0, OURS, FAR, IP_PROTO_TCP, 4000, 80); /* source quench */
	rx_ip(&(struct rx){.proto = 1}, m, n);
	cr_assert_eq(tcp_seen.errors, 0);
}

Test(icmp, an_unknown_protocol_is_reported)
{
	const struct nif_frame *f;
	static const u8 nops[4] = {1, 1, 1, 1};

	start();
	fill_data();
	know_neighbours();
	rx_ip(&(struct rx){.proto = 99, .opts = nops, .nr_opts = 4}, data, 1000);
	f = nif_next(0);
	cr_assert_not_null(f);
	cr_assert_eq(f->data[34], ICMP_UNREACHABLE);
	cr_assert_eq(f->data[35], ICMP_UNREACH_PROTOCOL);
	cr_assert_eq(f->len - 14, 576);
	cr_assert_eq(f->data[42], 0x46, "the header with its options");
	cr_assert_arr_eq(f->data + 42 + 24, data, 100);
	cr_assert_eq(csum_fold(csum_add(f->data + 34, f->len - 34, 0)), 0xffff);
}

Test(icmp, errors_are_not_about_broadcasts_or_errors_and_not_too_many)
{
	u8 udp[64];
	u32 n, sent = 0;

	start();
	know_neighbours();
	rx_ip(&(struct rx){.proto = 99, .dst = IP4_BROADCAST}, "x", 1);
	rx_ip(&(struct rx){.proto = 99, .link_broadcast = true}, "x", 1);
	n = make_udp(udp, PEER, IP(10, 0, 0, 255), 1, 2, "x", 1);
	rx_ip(&(struct rx){.dst = IP(10, 0, 0, 255)}, udp, n);
	cr_assert_null(nif_next(0));
	n = make_udp(udp, PEER, OURS, 1, 2, "x", 1);
	for (u32 i = 0; i < 500; i++) {
		rx_ip(&(struct rx){}, udp, n);
		sent += nif_next(0) != NULL;
	}
	cr_assert_eq(sent, 50);
	advance_ms(10);
	for (u32 i = 0; i < 500; i++) {
		rx_ip(&(struct rx){}, udp, n);
		sent += nif_next(0) != NULL;
	}
	cr_assert_eq(sent, 60);
}
