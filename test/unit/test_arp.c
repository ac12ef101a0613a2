/*
 * test_arp.c - neighbours in virtual time: states, retries, queues, and what forged packets can do.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "ip_host.h"
#include "libos/abi/control.h"

static const u8 evil_mac[6] = {2, 0, 0, 0, 0, 0x66};

static void fail_hook(const char *text)
{
	cr_assert_fail("%s", text);
}

static void start(void)
{
	ip_host_start();
	net_fail_hook = fail_hook;
}

/* State of addr, 0: no entry. */
static u8 state_of(u32 addr)
{
	struct arp_info i;
	u32 at = 0;

	while (arp_next(&at, &i))
		if (i.addr == addr)
			return i.state;
	return 0;
}

static u32 entries(void)
{
	struct arp_info i;
	u32 at = 0, n = 0;

	while (arp_next(&at, &i))
		n++;
	return n;
}

/* The next frame is a request for addr, to `mac` (NULL: everybody), within ms. */
static void expect_request(u32 addr, const u8 *mac, u64 ms)
{
	static const u8 all[6] = {255, 255, 255, 255, 255, 255};
	const struct nif_frame *f = nif_next(ms);

	cr_assert_not_null(f, "no request within %lu ms", ms);
	cr_assert_eq(frame_is_arp(f), 1);
	cr_assert_eq(arp_target(f), addr);
	cr_assert_arr_eq(f->data, mac ? mac : all, 6);
	cr_assert_arr_eq(f->data + 6, eth0.lladdr, 6);
	cr_assert_eq(ip4_load(f->data + 28), OURS);
}

static void expect_packet(const u8 *mac)
{
	const struct nif_frame *f = nif_next(0);

	cr_assert_not_null(f);
	frame_ip(f);
	cr_assert_arr_eq(f->data, mac, 6);
}

Test(arp, packets_wait_for_the_answer_and_keep_their_order)
{
	start();
	for (u32 i = 1; i <= 3; i++)
		cr_assert_eq(tx_udp(PEER, i, 0), 0);
	expect_request(PEER, NULL, 0);
	cr_assert_null(nif_next(0));
	cr_assert_eq(state_of(PEER), ARP_INCOMPLETE);
	rx_arp(2, peer_mac, PEER, OURS);
	cr_assert_eq(state_of(PEER), ARP_REACHABLE);
	for (u32 i = 1; i <= 3; i++) {
		const struct nif_frame *f = nif_next(0);

		cr_assert_not_null(f);
		cr_assert_arr_eq(f->data, peer_mac, 6);
		cr_assert_eq(net16(frame_ip(f)->len), 20 + i);
	}
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(arp, far_packets_go_to_the_gateway)
{
	start();
	tx_udp(FAR, 10, 0);
	expect_request(GATEWAY, NULL, 0);
	rx_arp(2, gateway_mac, GATEWAY, OURS);
	expect_packet(gateway_mac);
}

Test(arp, three_tries_a_second_apart_then_unreachable)
{
	struct netaddr src = ip4_addr(OURS), dst = ip4_addr(PEER);
	struct route r;
	struct pkt *p = pkt_alloc(PKT_HEADROOM);

	start();
	p = pkt_alloc(PKT_HEADROOM);
	memcpy(pkt_put(p, 20), "\x11\x22\x33\x44segmentofTCPxxxx", 20);
	route_lookup(&dst, NULL, &r);
	cr_assert_eq(ip_output(p, &r, &src, &dst, IP_PROTO_TCP, 64, 0, IP_DF), 0);
	expect_request(PEER, NULL, 0);
	cr_assert_null(nif_next(999));
	expect_request(PEER, NULL, 2);
	cr_assert_null(nif_next(998));
	expect_request(PEER, NULL, 3);
	cr_assert_eq(tcp_seen.errors, 0);
	cr_assert_null(nif_next(5000));
	cr_assert_eq(tcp_seen.errors, 1);
	cr_assert_eq(tcp_seen.err, EHOSTUNREACH);
	cr_assert_eq(ip4_of(&tcp_seen.remote), PEER);
	cr_assert_eq(ip4_of(&tcp_seen.local), OURS);
	cr_assert_arr_eq(tcp_seen.hdr, "\x11\x22\x33\x44segm", 8);
	cr_assert_eq(entries(), 0);
	cr_assert_eq(net_timers_armed(), 0, "an idle instance sleeps");
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(arp, what_waits_is_bounded_and_the_oldest_goes)
{
	const struct nif_frame *f;
	u32 n = 0;

	start();
	for (u32 i = 1; i <= 100; i++)
		tx_udp(PEER, i, 0);
	expect_request(PEER, NULL, 0);
	cr_assert_geq(nbuf_free_count(), nbuf_total() - 16);
	rx_arp(2, peer_mac, PEER, OURS);
	while ((f = nif_next(0)))
		cr_assert_eq(net16(frame_ip(f)->len), 20 + 85 + n++);
	cr_assert_eq(n, 16);
}

Test(arp, reachable_becomes_stale_and_is_asked_about_when_used)
{
	start();
	tx_udp(PEER, 10, 0);
	expect_request(PEER, NULL, 0);
	rx_arp(2, peer_mac, PEER, OURS);
	expect_packet(peer_mac);
	cr_assert_null(nif_next(59900));
	tx_udp(PEER, 10, 0);
	expect_packet(peer_mac);
	advance_ms(200);
	cr_assert_eq(state_of(PEER), ARP_STALE);
	cr_assert_eq(net_timers_armed(), 0, "nothing happens until it is used");
	advance_ms(1000000);
	tx_udp(PEER, 10, 0);
	expect_request(PEER, peer_mac, 0); /* RFC 1122, 2.3.2.1: asked alone */
	expect_packet(peer_mac);
	cr_assert_eq(state_of(PEER), ARP_PROBE);
	tx_udp(PEER, 10, 0);
	expect_packet(peer_mac); /* no second request at once */
	rx_arp(2, peer_mac, PEER, OURS);
	cr_assert_eq(state_of(PEER), ARP_REACHABLE);
	/* Nobody answers any more. */
	advance_ms(61000);
	tx_udp(PEER, 10, 0);
	expect_request(PEER, peer_mac, 0);
	expect_packet(peer_mac);
	expect_request(PEER, peer_mac, 1001);
	expect_request(PEER, peer_mac, 1001);
	cr_assert_null(nif_next(3000));
	cr_assert_eq(entries(), 0);
}

Test(arp, requests_for_our_address_are_answered)
{
	const struct nif_frame *f;

	start();
	rx_arp(1, peer_mac, PEER, OURS);
	f = nif_next(0);
	cr_assert_not_null(f);
	cr_assert_eq(frame_is_arp(f), 2);
	cr_assert_arr_eq(f->data, peer_mac, 6);
	cr_assert_arr_eq(f->data + 22, eth0.lladdr, 6);
	cr_assert_eq(ip4_load(f->data + 28), OURS);
	cr_assert_arr_eq(f->data + 32, peer_mac, 6);
	cr_assert_eq(arp_target(f), PEER);
	cr_assert_eq(state_of(PEER), ARP_STALE); /* RFC 826 has the asker remembered */
	rx_arp(1, peer_mac, 0, OURS);		 /* RFC 5227: is it free? */
	f = nif_next(0);
	cr_assert_not_null(f);
	cr_assert_eq(frame_is_arp(f), 2);
	rx_arp(1, peer_mac, PEER, IP(10, 0, 0, 3));
	cr_assert_null(nif_next(0));
}

Test(arp, unasked_replies_make_no_entry)
{
	start();
	rx_arp(2, evil_mac, PEER, OURS);
	rx_arp(1, evil_mac, PEER, PEER); /* gratuitous */
	cr_assert_eq(entries(), 0);
	/* Ours, groups, other networks, what is no Ethernet or no IPv4 */
	tx_udp(PEER, 10, 0);
	nif_next(0);
	rx_arp(2, evil_mac, OURS, OURS);
	rx_arp(2, (u8[6]){1, 0, 0x5e, 0, 0, 1}, PEER, OURS);
	rx_arp(2, evil_mac, FAR, OURS);
	rx_arp(2, evil_mac, IP(10, 0, 0, 255), OURS);
	rx_arp(2, eth0.lladdr, PEER, OURS);
	rx_arp(3, evil_mac, PEER, OURS);
	cr_assert_eq(state_of(PEER), ARP_INCOMPLETE);
	cr_assert_eq(entries(), 1);
	cr_assert_null(nif_next(0));
}

Test(arp, a_changed_address_is_asked_about_and_not_changed_twice_at_once)
{
	start();
	know_neighbours();
	cr_assert_eq(state_of(PEER), ARP_REACHABLE);
	rx_arp(2, evil_mac, PEER, OURS);
	tx_udp(PEER, 10, 0);
	expect_packet(peer_mac); /* too soon */
	advance_ms(1100);
	rx_arp(1, evil_mac, PEER, PEER); /* the peer may have got another card */
	cr_assert_eq(state_of(PEER), ARP_STALE);
	rx_arp(1, peer_mac, PEER, PEER);
	tx_udp(PEER, 10, 0);
	expect_request(PEER, evil_mac, 0);
	expect_packet(evil_mac);
	advance_ms(1100);
	nif_next(0);
	rx_arp(2, peer_mac, PEER, OURS); /* it defends itself */
	tx_udp(PEER, 10, 0);
	expect_request(PEER, peer_mac, 0);
	expect_packet(peer_mac);
}

Test(arp, a_flood_of_askers_does_not_push_out_whom_we_talk_to)
{
	start();
	know_neighbours();
	for (u32 i = 0; i < 5000; i++) {
		u8 mac[6] = {2, 1, 0, i >> 16, i >> 8, i};

		rx_arp(1, mac, IP(10, 0, 0, 10 + i % 240), OURS);
		nif_next(0);
	}
	cr_assert_leq(entries(), 256);
	cr_assert_eq(state_of(PEER), ARP_REACHABLE);
	cr_assert_eq(state_of(GATEWAY), ARP_REACHABLE);
}

Test(arp, talking_to_many_is_bounded)
{
	struct ctl_net *none = NULL;

	start();
	cr_assert_eq(ipv4_configure(none, NULL), 0);
	ipv4_conf.mask = 0xffff0000; /* a wide network */
	for (u32 i = 3; i < 3000; i++)
		tx_udp(IP(10, 0, i >> 8, i & 255), 10, 0);
	cr_assert_leq(entries(), 256);
	while (nif_next(0))
		;
	cr_assert_geq(nbuf_free_count(), nbuf_total() - 256);
	while (nif_next(20000))
		;
	cr_assert_eq(entries(), 0);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(arp, short_packets_are_dropped)
{
	u8 f[42] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1};

	start();
	for (u32 n = 0; n < sizeof(f); n++)
		nif_receive_frags(&eth0, f, n, n / 2, 3);
	cr_assert_null(nif_next(0));
	cr_assert_eq(entries(), 0);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(arp, groups_and_everybody_need_no_answer)
{
	const struct nif_frame *f;

	start();
	tx_udp(IP4_BROADCAST, 10, 0);
	f = nif_next(0);
	cr_assert_arr_eq(f->data, "\xff\xff\xff\xff\xff\xff", 6);
	tx_udp(IP(10, 0, 0, 255), 10, 0);
	f = nif_next(0);
	cr_assert_arr_eq(f->data, "\xff\xff\xff\xff\xff\xff", 6);
	tx_udp(IP(224, 129, 2, 3), 10, 0);
	f = nif_next(0);
	cr_assert_arr_eq(f->data, "\x01\x00\x5e\x01\x02\x03", 6);
}

Test(arp, a_full_ring_is_reported)
{
	start();
	know_neighbours();
	nif_refuse = -ENOBUFS;
	cr_assert_eq(tx_udp(PEER, 10, 0), -ENOBUFS);
	nif_refuse = 0;
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}
