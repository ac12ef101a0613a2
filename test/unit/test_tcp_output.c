/*
 * test_tcp_output.c - when TCP sends: Nagle, cork, windows, probes, keepalive, segmentation offload.
 */
#include "tcp_test.h"

TestSuite(tcp_output, .init = tcp_test_start, .timeout = 60);

Test(tcp_output, data_go_out_in_full_segments)
{
	passive(PLAIN, 0);
	cr_assert_eq(sock_send(2500), 2500);
	expect(". 1:1001(1000) ack 1");
	expect(". 1001:2001(1000) ack 1");
	expect("P. 2001:2501(500) ack 1");
	expect_none();
	cr_assert_eq(tcp_outq(F->tp), 2500);
	cr_assert_eq(tcp_outq_unsent(F->tp), 0);
	inject(". 1:1(0) ack 2501 win 65535");
	cr_assert_eq(tcp_outq(F->tp), 0);
	expect_quiet(10000);
	end_test();
}

Test(tcp_output, timestamps_make_segments_shorter)
{
	passive(FULL, 0);
	sock_send(2000);
	expect(". 1:989(988) ack 1 <ts * ecr 101>");
	end_test();
}

Test(tcp_output, mss_is_bounded_by_the_path)
{
	passive("mss 9000", 0);
	sock_send(10000);
	expect(". 1:1461(1460) ack 1");
	end_test();
}

Test(tcp_output, maxseg_option)
{
	listener = sock_listen(80, 5);
	SET_OPT(listener, maxseg, 700);
	inject("S 0:0(0) win 65535 <mss 1000>");
	cr_assert_eq(expect("S. 0:0(0) ack 1")->o.mss, 700);
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	sock_send(2000);
	expect(". 1:701(700) ack 1");
	end_test();
}

Test(tcp_output, many_small_ranges_make_one_segment)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, cork, true);
	for (u32 i = 0; i < 100; i++)
		sock_send(7);
	expect_none();
	SET_OPT(F->tp, cork, false);
	expect("P. 1:701(700) ack 1");
	end_test();
}

/* Nagle (RFC 9293, 3.7.4) */

Test(tcp_output, nagle_holds_small_data_while_data_are_out)
{
	passive(PLAIN, 0);
	sock_send(10);
	expect("P. 1:11(10) ack 1");
	sock_send(10);
	sock_send(10);
	expect_none();
	inject(". 1:1(0) ack 11 win 65535");
	expect("P. 11:31(20) ack 1");
	end_test();
}

Test(tcp_output, nagle_lets_full_segments_pass)
{
	passive(PLAIN, 0);
	sock_send(10);
	expect("P. 1:11(10) ack 1");
	sock_send(1500);
	expect(". 11:1011(1000) ack 1");
	expect_none();
	inject(". 1:1(0) ack 1011 win 65535");
	expect("P. 1011:1511(500) ack 1");
	end_test();
}

Test(tcp_output, nodelay)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, nodelay, true);
	for (u32 i = 0; i < 3; i++) {
		sock_send(10);
		expectf("P. %u:%u(10) ack 1", 1 + 10 * i, 11 + 10 * i);
	}
	end_test();
}

Test(tcp_output, nodelay_pushes_what_nagle_held)
{
	passive(PLAIN, 0);
	sock_send(10);
	expect("P. 1:11(10) ack 1");
	sock_send(10);
	expect_none();
	SET_OPT(F->tp, nodelay, true);
	expect("P. 11:21(10) ack 1");
	end_test();
}

Test(tcp_output, cork_holds_what_is_not_full)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, cork, true);
	sock_send(100);
	expect_none();
	sock_send(1200);
	expect(". 1:1001(1000) ack 1");
	expect_none();
	SET_OPT(F->tp, cork, false);
	expect("P. 1001:1301(300) ack 1");
	end_test();
}

Test(tcp_output, cork_lets_go_after_200_ms)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, cork, true);
	sock_send(100);
	expect_in(100, 1000, ". 1:101(100) ack 1");
	end_test();
}

Test(tcp_output, more_to_come_is_waited_for)
{
	passive(PLAIN, 0);
	sock_send_flow(F, 100, false);
	expect_none();
	sock_send(50);
	expect("P. 1:151(150) ack 1");
	end_test();
}

Test(tcp_output, fin_does_not_wait_for_nagle_or_cork)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, cork, true);
	sock_send(10);
	sock_close();
	expect("F. 1:11(10) ack 1");
	inject(". 1:1(0) ack 12 win 65535");
	end_test();
}

/* The peer's window */

Test(tcp_output, window_is_not_exceeded)
{
	passive_win(PLAIN, 0, 2500);
	sock_send(5000);
	expect(". 1:1001(1000) ack 1");
	expect(". 1001:2001(1000) ack 1");
	while (wire_caught()) { /* a small one may fill the window, or not (SWS avoidance) */
		struct seg *s = wire_next(0);

		cr_assert_leq(s->seq + s->len - F->local_isn, 2501);
	}
	end_test();
}

Test(tcp_output, window_update_sends_more)
{
	passive_win(PLAIN, 0, 1000);
	sock_send(3000);
	expect(". 1:1001(1000) ack 1");
	expect_none();
	inject(". 1:1(0) ack 1 win 2000");
	expect(". 1001:2001(1000) ack 1");
	inject(". 1:1(0) ack 2001 win 2000");
	expect(". 2001:3001(1000) ack 1");
	end_test();
}

Test(tcp_output, old_window_update_is_not_believed)
{
	passive_win(PLAIN, 0, 1000);
	inject("P. 1:101(100) ack 1 win 1000");
	wire_drop();
	inject(". 51:51(0) ack 1 win 60000"); /* older than the last: RFC 9293, SND.WL1 */
	wire_drop();
	sock_send(3000);
	expect(". 1:1001(1000) ack 101");
	expect_none();
	end_test();
}

Test(tcp_output, window_of_an_overtaken_segment_is_not_believed)
{
	passive_win(PLAIN, 0, 1000);
	inject(". 101:201(100) ack 1 win 1000");
	inject(". 1:51(50) ack 1 win 60000"); /* was sent before: SND.WL1 */
	wire_drop();
	sock_send(3000);
	expect(". 1:1001(1000) ack 51");
	expect_none();
	end_test();
}

Test(tcp_output, shrunk_window_sends_nothing_new)
{
	passive(PLAIN, 0);
	sock_send(3000);
	cr_assert_eq(take_data(NULL), 3);
	inject(". 1:1(0) ack 1001 win 500");
	sock_send(3000);
	expect_none();
	end_test();
}

Test(tcp_output, silly_window_is_not_used_at_once)
{
	passive(PLAIN, 0);
	inject(". 1:1(0) ack 1 win 10000");
	sock_send(10);
	expect("P. 1:11(10) ack 1");
	inject(". 1:1(0) ack 11 win 5");
	sock_send(1000);
	expect_quiet(90);
	inject(". 1:1(0) ack 11 win 10000");
	expect("P. 11:1011(1000) ack 1");
	end_test();
}

/* Zero windows (RFC 9293, 3.8.6.1) */

static void zero_window(void)
{
	passive_win(PLAIN, 100, 0);
	sock_send(100);
	expect_none();
}

Test(tcp_output, window_may_close_without_progress)
{
	passive(PLAIN, 0);
	inject(". 1:1(0) ack 1 win 0"); /* RFC 9293, 3.10.7.4: SND.WL1 = SEG.SEQ, SND.WL2 = SEG.ACK */
	sock_send(100);
	expect_none();
	end_test();
}

/* Time to the next probe, ms. */
static u64 probe(u64 within)
{
	u64 start = net_now();
	struct seg *s = wire_next(within);

	cr_assert_not_null(s, "no probe within %lu ms", within);
	cr_assert(s->len <= 1 && s->seq - F->local_isn <= 1, "not a probe: %s", seg_text(F, s));
	return (net_now() - start) / MS;
}

Test(tcp_output, zero_window_is_probed_with_back_off)
{
	u64 t = 0;

	zero_window();
	for (u32 i = 0; i < 16; i++) {
		u64 n = probe(130000);

		if (!i)
			cr_assert(n >= 200 && n <= 1000, "first probe after %lu ms", n);
		else
			cr_assert(n >= min(2 * t - 10, 120000 - 1000ul) && n <= 2 * t + 10,
				  "probe %u after %lu ms, the one before after %lu", i, n, t);
		cr_assert_leq(n, 120000);
		t = n;
		inject(". 1:1(0) ack 1 win 0");
	}
	end_test();
}

Test(tcp_output, zero_window_that_is_answered_lasts_for_ever)
{
	zero_window();
	for (u32 i = 0; i < 100; i++) {
		probe(130000);
		inject(". 1:1(0) ack 1 win 0");
	}
	expect_state(TCP_ESTABLISHED);
	inject(". 1:1(0) ack 1 win 1000");
	expect("P. 1:101(100) ack 1");
	end_test();
}

Test(tcp_output, zero_window_without_answers_gives_up)
{
	zero_window();
	for (u32 i = 0; i < 100 && tcp_state(F->tp) == TCP_ESTABLISHED; i++) {
		advance_ms(60000);
		wire_drop();
	}
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ETIMEDOUT);
	end_test();
}

Test(tcp_output, zero_window_opens)
{
	zero_window();
	probe(1000);
	inject(". 1:1(0) ack 1 win 65535");
	expect("P. 1:101(100) ack 1");
	inject(". 1:1(0) ack 101 win 65535");
	expect_quiet(10000);
	end_test();
}

/* Room */

Test(tcp_output, send_buffer_fills_and_empties)
{
	struct net_watch w;
	u32 n = 0, sent = 0;

	passive(PLAIN, 0);
	SET_OPT(F->tp, sndbuf, 20000);
	SET_OPT(F->tp, sndbuf_set, true);
	net_watch(tcp_waitq(F->tp), &w);
	while (tcp_send_room(F->tp) > 0 && n < 1000000)
		n += sock_send((u32)min(1000l, (long)tcp_send_room(F->tp)));
	cr_assert(n >= 4000 && n <= 60000, "%u bytes in a buffer of 20000", n);
	cr_assert_eq(tcp_poll_mask(F->tp) & EPOLLOUT, 0);
	cr_assert_eq(w.out, 0);
	for (u32 una = 0; una < n;) {
		u32 bytes;

		sent += (take_data(&bytes), bytes);
		una = sent;
		injectf(". 1:1(0) ack %u win 65535", una + 1);
		cr_assert_neq(wire_caught() || una == n, 0);
	}
	cr_assert_neq(tcp_poll_mask(F->tp) & EPOLLOUT, 0);
	cr_assert_geq(w.out, 1);
	net_unwatch(tcp_waitq(F->tp), &w);
	end_test();
}

Test(tcp_output, sending_after_shutdown_is_epipe)
{
	passive(PLAIN, 0);
	tcp_shutdown(F->tp, 1);
	cr_assert_eq(sock_send(10), -EPIPE);
	cr_assert_eq(tcp_send_room(F->tp), -EPIPE);
	end_test();
}

/* Keepalive (RFC 9293, 3.8.4) */

static void keepalive(void)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, keep_idle_ns, 10 * SEC);
	SET_OPT(F->tp, keep_intvl_ns, 2 * SEC);
	SET_OPT(F->tp, keep_cnt, 3);
	SET_OPT(F->tp, keepalive, true);
}

Test(tcp_output, keepalive_is_off_by_default)
{
	passive(PLAIN, 0);
	expect_quiet(1000000000);
	end_test();
}

Test(tcp_output, keepalive_probes_and_gives_up)
{
	struct net_watch w;

	keepalive();
	net_watch(tcp_waitq(F->tp), &w);
	expect_in(10000, 10010, ". 0:0(0) ack 1");
	expect_in(2000, 2010, ". 0:0(0) ack 1");
	expect_in(2000, 2010, ". 0:0(0) ack 1");
	advance_ms(2010);
	expect_state(TCP_CLOSE);
	cr_assert(w.err);
	net_unwatch(tcp_waitq(F->tp), &w);
	cr_assert_eq(tcp_take_error(F->tp), ETIMEDOUT);
	end_test();
}

Test(tcp_output, keepalive_answer_begins_anew)
{
	keepalive();
	for (u32 i = 0; i < 10; i++) {
		expect_in(10000, 10010, ". 0:0(0) ack 1");
		expect_in(2000, 2010, ". 0:0(0) ack 1");
		inject(". 1:1(0) ack 1 win 65535");
	}
	expect_state(TCP_ESTABLISHED);
	end_test();
}

Test(tcp_output, keepalive_waits_for_idleness)
{
	keepalive();
	advance_ms(6000);
	inject("P. 1:11(10) ack 1 win 65535");
	advance_ms(500);
	wire_drop();
	expect_in(9490, 9510, ". 0:0(0) ack 11");
	end_test();
}

/* User timeout (RFC 5482) */

Test(tcp_output, user_timeout_ends_retransmission)
{
	passive(PLAIN, 100);
	SET_OPT(F->tp, user_timeout_ns, 5 * SEC);
	sock_send(10);
	advance_ms(4900);
	expect_state(TCP_ESTABLISHED);
	advance_ms(3000);
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ETIMEDOUT);
	end_test();
}

Test(tcp_output, user_timeout_ends_a_zero_window)
{
	zero_window();
	SET_OPT(F->tp, user_timeout_ns, 5 * SEC);
	for (u32 i = 0; i < 10; i++)
		advance_ms(1000);
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ETIMEDOUT);
	end_test();
}

/* Path MTU (RFC 1191, RFC 5927) */

Test(tcp_output, fragmentation_needed_makes_segments_shorter)
{
	u32 bytes, end = 0;
	struct seg *s;

	passive("mss 1460", 100);
	sock_send(4380);
	cr_assert_eq(take_data(&bytes), 3);
	icmp(1, EMSGSIZE, 1000, false);
	for (u32 i = 0; i < 20 && end < 4381; i++) {
		while ((s = wire_next(2000)) != NULL && s->len) {
			cr_assert_leq(s->len, 960);
			end = s->seq + s->len - F->local_isn;
			injectf(". 1:1(0) ack %u win 65535", end);
		}
	}
	cr_assert_eq(end, 4381);
	end_test();
}

Test(tcp_output, forged_fragmentation_needed_is_ignored)
{
	passive("mss 1460", 100);
	sock_send(1460);
	expect("P. 1:1461(1460) ack 1");
	icmp(100000, EMSGSIZE, 600, false);
	icmp(-100000, EMSGSIZE, 600, false);
	inject(". 1:1(0) ack 1461 win 65535");
	sock_send(1460);
	expect("P. 1461:2921(1460) ack 1");
	end_test();
}

Test(tcp_output, fragmentation_needed_does_not_make_tiny_segments)
{
	passive("mss 1460", 100);
	sock_send(1460);
	expect("P. 1:1461(1460) ack 1");
	icmp(1, EMSGSIZE, 68, false);
	cr_assert_geq(wire_next(2000)->len, 488);
	end_test();
}

Test(tcp_output, fragmentation_needed_does_not_make_segments_longer)
{
	passive("mss 1000", 100);
	sock_send(1000);
	expect("P. 1:1001(1000) ack 1");
	icmp(1, EMSGSIZE, 9000, false);
	inject(". 1:1(0) ack 1001 win 65535");
	sock_send(1000);
	expect("P. 1001:2001(1000) ack 1");
	end_test();
}

Test(tcp_output, unreachable_does_not_end_a_connection)
{
	passive(PLAIN, 100);
	sock_send(100);
	expect("P. 1:101(100) ack 1");
	icmp(1, EHOSTUNREACH, 0, false);
	icmp(1, ECONNREFUSED, 0, true);
	expect_state(TCP_ESTABLISHED);
	end_test();
}

/* Segmentation offload */

Test(tcp_output, offload_cuts_at_the_mss)
{
	u32 pos = 1;
	bool big = false;
	struct seg *s;

	wire_nif.flags |= NETIF_TSO;
	passive(FULL, 0);
	sock_send(9880);
	while ((s = wire_next(0)) != NULL) {
		cr_assert_eq(s->seq - F->local_isn, pos);
		cr_assert_eq(s->len, 988);
		cr_assert(s->o.ts_set);
		big |= s->gso > 988;
		pos += s->len;
	}
	cr_assert_eq(pos, 9881);
	cr_assert(big, "no packet held more than one segment");
	end_test();
}

Test(tcp_output, offload_stops_at_the_window)
{
	u32 bytes;

	wire_nif.flags |= NETIF_TSO;
	passive_win(PLAIN, 0, 3500);
	sock_send(9000);
	take_data(&bytes);
	cr_assert(bytes == 3000 || bytes == 3500, "%u bytes into a window of 3500", bytes);
	end_test();
}

Test(tcp_output, offload_cuts_big_transfers)
{
	u32 pos = 1;

	wire_nif.flags |= NETIF_TSO;
	passive(WSCALE, 10);
	for (u32 i = 0; i < 300; i++) {
		struct seg *s;

		while (tcp_send_room(F->tp) > 0)
			sock_send((u32)min(60000l, (long)tcp_send_room(F->tp)));
		advance_ms(10);
		while ((s = wire_next(0)) != NULL) {
			cr_assert_eq(s->seq - F->local_isn, pos);
			cr_assert_leq(s->len, 1000);
			pos += s->len;
		}
		injectf(". 1:1(0) ack %u win 65535", pos);
	}
	cr_assert_gt(pos, 10000000);
	end_test();
}

/* Our sequence numbers */

/* The initial number that F's pair would get now. */
static u32 isn_now(void)
{
	u32 isn;

	F->have_isn = false;
	inject("S 0:0(0) win 65535 <mss 1000>");
	isn = expect("S. 0:0(0) ack 1")->seq;
	inject("R 1:1(0)");
	F->have_isn = false;
	return isn;
}

Test(tcp_output, sequence_numbers_wrap_around)
{
	u32 isn, per_ms, una = 0;

	/* the numbers of one pair follow a clock: wait until they are about to wrap */
	listener = sock_listen(80, 16);
	isn = isn_now();
	advance_ms(100);
	per_ms = (isn_now() - isn) / 100;
	isn = isn_now();
	cr_assert_gt(per_ms, 0);
	for (u32 i = 0; i < 100 && 0u - isn > 150000; i++) {
		advance_ms((0u - isn - 100000) / per_ms * 9 / 10 + 1);
		isn = isn_now();
	}
	passive(SACK, 20);
	cr_assert_gt(F->local_isn, 0u - 200000, "%#x", F->local_isn);
	for (u32 i = 0; i < 100; i++) {
		struct seg *s;

		while (F->sent < 500000 && tcp_send_room(F->tp) >= 10000)
			sock_send(10000);
		while ((s = wire_next(0)) != NULL) {
			cr_assert_eq(s->seq, F->local_isn + 1 + una);
			una += s->len;
		}
		advance_ms(20);
		injectf(". 1:1(0) ack %u win 65535", una + 1);
	}
	cr_assert_eq(una, 500000);
	end_test();
}

/* No buffers */

Test(tcp_output, without_memory_data_are_sent_later)
{
	passive(PLAIN, 100);
	sock_send(10);
	expect("P. 1:11(10) ack 1");
	sock_send(10);
	net_memory_limit(net_allocated());
	inject(". 1:1(0) ack 11 win 65535"); /* may be lost for want of memory */
	net_memory_limit(0);
	wire_drop();
	for (u32 i = 0; i < 30; i++) {
		advance_ms(1000);
		while (wire_caught()) {
			struct seg *s = wire_next(0);

			if (s->seq + s->len - F->local_isn == 21) {
				end_test();
				return;
			}
			inject(". 1:1(0) ack 11 win 65535");
		}
	}
	cr_assert_fail("the second send never came");
}
