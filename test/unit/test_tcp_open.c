/*
 * test_tcp_open.c - TCP connections coming to be, packet by packet (RFC 9293, 3.5; RFC 7323; RFC 5961).
 */
#include "tcp_test.h"

TestSuite(tcp_open, .init = tcp_test_start, .timeout = 60);

static struct tcp_sock *connecting(void)
{
	struct endpoint e = ep(REMOTE_IP, F->rport);

	F->tp = tcp_create(2);
	F->lport = 0;
	cr_assert_eq(tcp_connect(F->tp, &e), 0);
	return F->tp;
}

/* Passive */

Test(tcp_open, passive_with_all_options)
{
	const struct seg *s;

	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1460,sackOK,ts 100 ecr 0,wscale 7>");
	s = expect("S. 0:0(0) ack 1");
	cr_assert(s->o.mss_set && s->o.mss == 1460, "mss %u", s->o.mss);
	cr_assert(s->o.sack_ok && s->o.ts_set && s->o.wscale_set);
	cr_assert_eq(s->o.tsecr, 100);
	cr_assert_leq(s->o.wscale, 14);
	cr_assert_gt(s->win, 1000);
	cr_assert(s->df);
	cr_assert_eq(s->ttl, 64);
	cr_assert_null(tcp_accept(listener));
	inject(". 1:1(0) ack 1 win 100 <ts 101 ecr *>");
	expect_none();
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	expect_state(TCP_ESTABLISHED);
	cr_assert_null(tcp_accept(listener));
	sock_send(10);
	expect("P. 1:11(10) ack 1 <ts * ecr 101>");
	end_test();
}

Test(tcp_open, passive_offers_nothing_that_was_not_asked_for)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1460>");
	expect("S. 0:0(0) ack 1 <mss 1460>");
	end_test();
}

Test(tcp_open, passive_without_options_sends_536)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535");
	expect("S. 0:0(0) ack 1 <mss 1460>");
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	sock_send(1072);
	expect(". 1:537(536) ack 1 <>");
	expect("P. 537:1073(536) ack 1 <>");
	end_test();
}

Test(tcp_open, listener_announces_a_connection)
{
	struct net_watch w;

	listener = sock_listen(80, 5);
	net_watch(tcp_waitq(listener), &w);
	cr_assert_eq(tcp_poll_mask(listener) & EPOLLIN, 0);
	inject("S 0:0(0) win 65535");
	cr_assert_eq(w.in, 0);
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	cr_assert_eq(w.in, 1);
	cr_assert_neq(tcp_poll_mask(listener) & EPOLLIN, 0);
	net_unwatch(tcp_waitq(listener), &w);
	F->tp = tcp_accept(listener);
	cr_assert_eq(tcp_poll_mask(listener) & EPOLLIN, 0);
	end_test();
}

Test(tcp_open, data_with_the_last_ack_of_the_handshake)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject("P. 1:101(100) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	cr_assert_eq(sock_recv(1000), 100);
	end_test();
}

Test(tcp_open, syn_again_is_answered_with_the_same_syn_ack)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	advance_ms(500);
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	end_test();
}

Test(tcp_open, syn_ack_is_repeated_five_times_with_back_off)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	for (u32 i = 0; i < 5; i++)
		expect_in(1000u << i, (1000u << i) + 200, "S. 0:0(0) ack 1");
	expect_quiet(200000);
	end_test();
}

Test(tcp_open, wrong_ack_of_the_syn_ack_is_reset)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 2 win 65535");
	expect("R 2:2(0)");
	cr_assert_null(tcp_accept(listener));
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp, "the half-open connection did not survive");
	end_test();
}

Test(tcp_open, reset_ends_a_half_open_connection)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject("R 1:1(0)");
	expect_quiet(100000);
	end_test();
}

Test(tcp_open, wrong_reset_does_not_end_a_half_open_connection)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject("R 100000:100000(0)");
	inject("R 2:2(0)"); /* in the window: perhaps an answer, no end */
	wire_drop();
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	end_test();
}

Test(tcp_open, syn_with_fin_or_reset_opens_nothing)
{
	listener = sock_listen(80, 5);
	inject("SR 0:0(0) win 65535 <mss 1000>");
	expect_none();
	inject("SF 0:0(0) win 65535 <mss 1000>");
	expect_none();
	end_test();
}

Test(tcp_open, syn_that_claims_to_come_from_ourselves_harms_nobody)
{
	listener = sock_listen(80, 5);
	F->raddr = LOCAL_IP; /* the "land" attack */
	F->rport = 80;
	inject("S 0:0(0) win 65535 <mss 1000>");
	advance_ms(100000);
	cr_assert_lt(wire_caught(), 10);
	end_test();
}

/* Options as they should not be: the SYN that hung a core, and its like */

static void odd_options(const char *hex, u32 mss)
{
	listener = sock_listen(80, 5);
	injectf("S 0:0(0) win 65535 <hex %s>", hex);
	if (!mss && !wire_caught())
		return; /* malformed: may be dropped */
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	if (mss) {
		sock_send(4096);
		expectf(". 1:%u(%u) ack 1", mss + 1, mss);
	}
	end_test();
}

Test(tcp_open, option_of_length_0)
{
	odd_options("05000000", 0);
}

Test(tcp_open, option_of_length_0_behind_a_good_one)
{
	odd_options("020403e80800000000000000", 0);
}

Test(tcp_open, option_of_length_1)
{
	odd_options("0501", 0);
}

Test(tcp_open, option_longer_than_the_header)
{
	odd_options("020403e80828", 0);
}

Test(tcp_open, option_kind_without_length_at_the_end)
{
	odd_options("01010102", 0);
}

Test(tcp_open, unknown_options_are_skipped)
{
	odd_options("fd04aabb1e03ff020403e8", 1000);
}

Test(tcp_open, mss_of_the_wrong_length_is_ignored)
{
	odd_options("0203050000000000", 536);
}

Test(tcp_open, end_of_options_ends_them)
{
	odd_options("00020403e8", 536);
}

Test(tcp_open, options_of_nops_only)
{
	odd_options("0101010101010101010101010101010101010101010101010101010101010101010101010101"
		    "0101",
		    536);
}

Test(tcp_open, tiny_mss_does_not_make_tiny_segments)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1>");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	sock_send(1000);
	cr_assert_geq(wire_next(0)->len, 36);
	end_test();
}

Test(tcp_open, data_offset_beyond_the_segment_is_dropped)
{
	u8 b[24] = {0};

	listener = sock_listen(80, 5);
	b[3] = 80;
	for (int words = 0; words < 16; words++) {
		b[12] = (u8)(words << 4);
		b[13] = TH_SYN;
		seg_fill_sum(b, sizeof(b), REMOTE_IP, LOCAL_IP);
		if (words < 5 || words > 6) {
			inject_bytes(REMOTE_IP, LOCAL_IP, b, sizeof(b));
			expect_none();
		}
	}
	for (u32 n = 0; n < 20; n++) {
		inject_bytes(REMOTE_IP, LOCAL_IP, b, n);
		expect_none();
	}
	end_test();
}

Test(tcp_open, wrong_checksum_is_dropped)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 65535 <mss 1000> badsum");
	expect_none();
	end_test();
}

Test(tcp_open, verified_checksum_is_not_looked_at_again)
{
	listener = sock_listen(80, 5);
	wire_csum_ok = true;
	inject("S 0:0(0) win 65535 <mss 1000> badsum");
	expect("S. 0:0(0) ack 1");
	end_test();
}

Test(tcp_open, window_shift_of_15_means_14)
{
	passive("mss 1000,wscale 15", 0);
	cr_assert_eq(info().tcpi_snd_wscale, 14);
	end_test();
}

Test(tcp_open, windows_of_syns_are_not_scaled)
{
	listener = sock_listen(80, 5);
	inject("S 0:0(0) win 2000 <mss 1000,wscale 7>");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 20"); /* 2560 */
	F->tp = tcp_accept(listener);
	sock_send(5000);
	expect(". 1:1001(1000) ack 1");
	expect(". 1001:2001(1000) ack 1");
	inject(". 1:1(0) ack 2001 win 20");
	expect(". 2001:3001(1000) ack 1");
	end_test();
}

/* Active */

Test(tcp_open, active_with_all_options)
{
	struct net_watch w;
	const struct seg *s;

	connecting();
	expect_state(TCP_SYN_SENT);
	net_watch(tcp_waitq(F->tp), &w);
	s = expect("S 0:0(0)");
	cr_assert(s->o.mss == 1460 && s->o.sack_ok && s->o.ts_set && s->o.wscale_set);
	cr_assert_eq(s->o.tsecr, 0);
	cr_assert_geq(s->sport, 1024);
	cr_assert_eq(tcp_poll_mask(F->tp) & EPOLLOUT, 0);
	inject("S. 0:0(0) ack 1 win 65535 <mss 1000,sackOK,ts 100 ecr *,wscale 7>");
	expect(". 1:1(0) ack 1 <ts * ecr 100>");
	expect_state(TCP_ESTABLISHED);
	cr_assert_geq(w.out, 1);
	cr_assert_neq(tcp_poll_mask(F->tp) & EPOLLOUT, 0);
	net_unwatch(tcp_waitq(F->tp), &w);
	cr_assert_eq(tcp_take_error(F->tp), 0);
	end_test();
}

Test(tcp_open, active_peer_without_options)
{
	connecting();
	expect("S 0:0(0)");
	inject("S. 0:0(0) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <>");
	sock_send(537);
	expect(". 1:537(536) ack 1 <>");
	end_test();
}

Test(tcp_open, active_refused)
{
	struct net_watch w;

	connecting();
	net_watch(tcp_waitq(F->tp), &w);
	expect("S 0:0(0)");
	inject("R. 0:0(0) ack 1");
	expect_none();
	expect_state(TCP_CLOSE);
	cr_assert_geq(w.err, 1);
	cr_assert_neq(tcp_poll_mask(F->tp) & EPOLLERR, 0);
	net_unwatch(tcp_waitq(F->tp), &w);
	cr_assert_eq(tcp_take_error(F->tp), ECONNREFUSED);
	cr_assert_eq(tcp_take_error(F->tp), 0);
	end_test();
}

Test(tcp_open, active_reset_that_acknowledges_nothing_of_ours_is_ignored)
{
	connecting();
	expect("S 0:0(0)");
	inject("R 0:0(0)");
	inject("R. 0:0(0) ack 0");
	inject("R. 0:0(0) ack 2");
	expect_none();
	expect_state(TCP_SYN_SENT);
	end_test();
}

Test(tcp_open, active_syn_ack_of_something_else_is_reset)
{
	connecting();
	expect("S 0:0(0)");
	inject("S. 0:0(0) ack 2 win 65535");
	expect("R 2:2(0)");
	expect_state(TCP_SYN_SENT);
	inject("S. 0:0(0) ack 0 win 65535");
	expect("R 0:0(0)");
	expect_state(TCP_SYN_SENT);
	end_test();
}

Test(tcp_open, active_syn_is_repeated_six_times)
{
	connecting();
	expect("S 0:0(0)");
	for (u32 i = 0; i < 6; i++)
		expect_in(1000u << i, 1000u << i, "S 0:0(0)");
	expect_quiet(63999);
	expect_state(TCP_SYN_SENT);
	expect_quiet(1);
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ETIMEDOUT);
	end_test();
}

Test(tcp_open, active_syn_retries_option)
{
	F->tp = tcp_create(2);
	SET_OPT(F->tp, syn_retries, 1);
	cr_assert_eq(tcp_connect(F->tp, &(struct endpoint){ ep(REMOTE_IP, 5000).addr, 5000 }), 0);
	F->lport = 0;
	expect("S 0:0(0)");
	expect_in(1000, 1000, "S 0:0(0)");
	expect_quiet(2000);
	cr_assert_eq(tcp_take_error(F->tp), ETIMEDOUT);
	end_test();
}

Test(tcp_open, active_port_unreachable_refuses)
{
	connecting();
	expect("S 0:0(0)");
	icmp(0, ECONNREFUSED, 0, true);
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ECONNREFUSED);
	end_test();
}

Test(tcp_open, active_host_unreachable_gives_up_as_linux_does)
{
	connecting();
	expect("S 0:0(0)");
	icmp(0, EHOSTUNREACH, 0, false);
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), EHOSTUNREACH);
	end_test();
}

Test(tcp_open, active_forged_icmp_is_ignored)
{
	connecting();
	expect("S 0:0(0)");
	icmp(12345, ECONNREFUSED, 0, true);
	expect_state(TCP_SYN_SENT);
	end_test();
}

Test(tcp_open, active_without_a_route)
{
	struct endpoint e = ep(REMOTE_IP, 5000);

	wire_unreachable = true;
	F->tp = tcp_create(2);
	cr_assert_eq(tcp_connect(F->tp, &e), -ENETUNREACH);
	expect_none();
	end_test();
}

Test(tcp_open, connect_twice)
{
	struct endpoint e = ep(REMOTE_IP, 5000);

	connecting();
	expect("S 0:0(0)");
	cr_assert_eq(tcp_connect(F->tp, &e), -EALREADY);
	inject("S. 0:0(0) ack 1 win 65535");
	expect(". 1:1(0) ack 1");
	cr_assert_eq(tcp_connect(F->tp, &e), -EISCONN);
	end_test();
}

Test(tcp_open, data_in_the_syn_ack_window_follow_the_handshake)
{
	connecting();
	cr_assert_eq(tcp_send_room(F->tp), -ENOTCONN == tcp_send_room(F->tp) ? -ENOTCONN : 0);
	expect("S 0:0(0)");
	inject("S. 0:0(0) ack 1 win 1500 <mss 1000>");
	expect(". 1:1(0) ack 1");
	sock_send(1000);
	expect(". 1:1001(1000) ack 1");
	end_test();
}

/* Simultaneous open (RFC 9293, figure 7) */

Test(tcp_open, simultaneous)
{
	connecting();
	expect("S 0:0(0)");
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	expect_state(TCP_SYN_RECV);
	inject("S. 0:0(0) ack 1 win 65535 <mss 1000>");
	expect_state(TCP_ESTABLISHED);
	wire_drop(); /* an ACK may answer */
	sock_send(10);
	expect("P. 1:11(10) ack 1");
	end_test();
}

Test(tcp_open, simultaneous_ended_by_a_plain_ack)
{
	connecting();
	expect("S 0:0(0)");
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	expect_state(TCP_ESTABLISHED);
	end_test();
}

Test(tcp_open, simultaneous_reset)
{
	connecting();
	expect("S 0:0(0)");
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject("R 1:1(0)");
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ECONNREFUSED);
	end_test();
}

/* Nobody there (RFC 9293, 3.10.7.1) */

Test(tcp_open, segments_to_nobody_are_reset)
{
	F->raw = true;
	inject("S 0:0(0) win 65535");
	expect("R. 0:0(0) ack 1");
	inject(". 5:5(0) ack 77 win 65535");
	expect("R 77:77(0)");
	inject("F 5:15(10) win 65535");
	expect("R. 0:0(0) ack 16");
	inject("R 5:5(0)");
	inject("R. 5:5(0) ack 7");
	expect_none();
	end_test();
}

Test(tcp_open, ack_to_a_listener_is_reset)
{
	listener = sock_listen(80, 5);
	inject(". 5:5(0) ack 77 win 65535");
	expect("R 77:77(0)");
	inject("R 5:5(0)");
	inject("F 5:5(0)");
	expect_none();
	end_test();
}

/* Bind and listen */

Test(tcp_open, bind_rules)
{
	struct tcp_sock *a = sock_listen(80, 5), *b = tcp_create(2);
	struct endpoint e = ep(LOCAL_IP, 80), any = ep(0, 80), other = ep(0x01020304, 80);

	cr_assert_eq(tcp_bind(b, &e), -EADDRINUSE);
	cr_assert_eq(tcp_bind(b, &any), -EADDRINUSE);
	cr_assert_eq(tcp_bind(b, &other), -EADDRNOTAVAIL);
	e.port = 81;
	cr_assert_eq(tcp_bind(b, &e), 0);
	cr_assert_eq(tcp_bind(b, &e), -EINVAL);
	tcp_close(b);
	tcp_put(b);
	tcp_close(a);
	tcp_put(a);
	end_test();
}

Test(tcp_open, bind_to_port_0_picks_a_free_one)
{
	struct tcp_sock *s[64];
	u8 seen[65536] = {0};

	for (int i = 0; i < 64; i++) {
		struct endpoint e = ep(LOCAL_IP, 0);

		s[i] = tcp_create(2);
		cr_assert_eq(tcp_bind(s[i], &e), 0);
		e = tcp_local(s[i]);
		cr_assert_geq(e.port, 1024);
		cr_assert(!seen[e.port]++);
	}
	for (int i = 0; i < 64; i++) {
		tcp_close(s[i]);
		tcp_put(s[i]);
	}
	end_test();
}

/* Random numbers that an attacker may not guess */

Test(tcp_open, initial_sequence_numbers_are_unpredictable)
{
	u32 isn[64], high = 0, same = 0;

	listener = sock_listen(80, 100);
	for (u32 i = 0; i < 64; i++) {
		struct flow f;

		flow_init(&f, 80, (u16)(5000 + i));
		inject_flow(&f, __FILE__, __LINE__, "S 0:0(0) win 65535");
		expect_flow(&f, __FILE__, __LINE__, "S. 0:0(0) ack 1");
		isn[i] = f.local_isn;
		high += isn[i] >> 31;
		if (i > 1)
			same += isn[i] - isn[i - 1] == isn[i - 1] - isn[i - 2];
	}
	cr_assert(high > 8 && high < 56, "%u of 64 in the upper half", high);
	cr_assert_lt(same, 2, "constant increments");
	end_test();
}

Test(tcp_open, initial_sequence_number_of_a_pair_moves_on_with_time)
{
	u32 a, b;

	listener = sock_listen(80, 100);
	inject("S 0:0(0) win 65535");
	a = expect("S. 0:0(0) ack 1")->seq;
	inject("R 1:1(0)");
	advance_ms(1000);
	F->have_isn = false;
	inject("S 0:0(0) win 65535");
	b = expect("S. 0:0(0) ack 1")->seq;
	cr_assert_gt(b - a, 100000, "RFC 6528: by about 250,000 a second or more, moved by %u", b - a);
	cr_assert_lt(b - a, 1u << 31);
	end_test();
}

Test(tcp_open, ephemeral_ports_are_unpredictable)
{
	u16 port[32], near = 0;
	struct tcp_sock *s[32];

	for (u32 i = 0; i < 32; i++) {
		struct endpoint e = ep(REMOTE_IP, (u16)(1000 + i));

		s[i] = tcp_create(2);
		cr_assert_eq(tcp_connect(s[i], &e), 0);
		port[i] = wire_next(0)->sport;
		if (i)
			near += (u16)(port[i] - port[i - 1] + 4) < 9;
	}
	cr_assert_lt(near, 4, "consecutive ports");
	for (u32 i = 0; i < 32; i++) {
		tcp_close(s[i]);
		tcp_put(s[i]);
	}
	end_test();
}
