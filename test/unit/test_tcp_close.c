/*
 * test_tcp_close.c - TCP connections ending: every closing sequence, resets, TIME_WAIT (RFC 9293, 3.6; RFC 1337).
 */
#include "tcp_test.h"

TestSuite(tcp_close, .init = tcp_test_start, .timeout = 60);

/* What F's pair answers to a segment when nobody is there. */
static void expect_gone(void)
{
	inject(". 1:1(0) ack 1 win 1000");
	expect("R 1:1(0)");
}

Test(tcp_close, active_every_state)
{
	bool fin;

	passive(PLAIN, 0);
	cr_assert_eq(tcp_shutdown(F->tp, 1), 0);
	expect("F. 1:1(0) ack 1");
	expect_state(TCP_FIN_WAIT1);
	inject(". 1:1(0) ack 2 win 65535");
	expect_none();
	expect_state(TCP_FIN_WAIT2);
	inject("F. 1:1(0) ack 2 win 65535");
	expect(". 2:2(0) ack 2");
	cr_assert(tcp_state(F->tp) == TCP_TIME_WAIT || tcp_state(F->tp) == TCP_CLOSE);
	cr_assert_eq(tcp_recv_avail(F->tp, &fin), 0);
	cr_assert(fin);
	cr_assert_eq(tcp_take_error(F->tp), 0);
	end_test();
}

Test(tcp_close, passive_every_state)
{
	struct net_watch w;
	bool fin;

	passive(PLAIN, 0);
	net_watch(tcp_waitq(F->tp), &w);
	inject("F. 1:1(0) ack 1 win 65535");
	expect(". 1:1(0) ack 2");
	expect_state(TCP_CLOSE_WAIT);
	cr_assert_geq(w.in, 1);
	cr_assert_geq(w.rdhup, 1);
	cr_assert_eq(tcp_poll_mask(F->tp) & (EPOLLIN | EPOLLRDHUP | EPOLLHUP), EPOLLIN | EPOLLRDHUP);
	cr_assert_eq(tcp_recv_avail(F->tp, &fin), 0);
	cr_assert(fin);
	sock_send(10); /* half-closed: we may still send */
	expect("P. 1:11(10) ack 2");
	inject(". 2:2(0) ack 11 win 65535");
	cr_assert_eq(tcp_shutdown(F->tp, 1), 0);
	expect("F. 11:11(0) ack 2");
	expect_state(TCP_LAST_ACK);
	inject(". 2:2(0) ack 12 win 65535");
	expect_state(TCP_CLOSE);
	cr_assert_neq(tcp_poll_mask(F->tp) & EPOLLHUP, 0);
	net_unwatch(tcp_waitq(F->tp), &w);
	expect_gone();
	end_test();
}

Test(tcp_close, simultaneous_every_state)
{
	passive(PLAIN, 0);
	tcp_shutdown(F->tp, 1);
	expect("F. 1:1(0) ack 1");
	inject("F. 1:1(0) ack 1 win 65535");
	expect(". 2:2(0) ack 2");
	expect_state(TCP_CLOSING);
	inject(". 2:2(0) ack 2 win 65535");
	expect_none();
	cr_assert(tcp_state(F->tp) == TCP_TIME_WAIT || tcp_state(F->tp) == TCP_CLOSE);
	inject("F. 1:1(0) ack 2 win 65535"); /* in TIME_WAIT */
	expect(". 2:2(0) ack 2");
	end_test();
}

Test(tcp_close, fin_that_acknowledges_ours)
{
	passive(PLAIN, 0);
	tcp_shutdown(F->tp, 1);
	expect("F. 1:1(0) ack 1");
	inject("F. 1:1(0) ack 2 win 65535");
	expect(". 2:2(0) ack 2");
	cr_assert(tcp_state(F->tp) == TCP_TIME_WAIT || tcp_state(F->tp) == TCP_CLOSE);
	end_test();
}

Test(tcp_close, fin_goes_behind_the_data)
{
	passive(PLAIN, 0);
	sock_send(1500);
	sock_close();
	expect(". 1:1001(1000) ack 1");
	expect("P. 1001:1501(500) ack 1");
	expect("F. 1501:1501(0) ack 1");
	inject(". 1:1(0) ack 1502 win 65535");
	expect_none();
	end_test();
}

Test(tcp_close, fin_waits_for_the_window)
{
	passive_win(PLAIN, 0, 1000);
	sock_send(2000);
	sock_close();
	expect(". 1:1001(1000) ack 1");
	expect_none();
	inject(". 1:1(0) ack 1001 win 1000");
	expect("F. 1001:2001(1000) ack 1");
	inject(". 1:1(0) ack 2002 win 1000");
	end_test();
}

Test(tcp_close, fin_is_repeated)
{
	passive(PLAIN, 100);
	sock_close();
	expect("F. 1:1(0) ack 1");
	expect_in(200, 300, "F. 1:1(0) ack 1");
	expect_in(590, 610, "F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2 win 65535");
	expect_quiet(1000);
	end_test();
}

Test(tcp_close, fin_with_data_is_read_first)
{
	bool fin;

	passive(PLAIN, 0);
	inject("FP. 1:101(100) ack 1 win 65535");
	expect(". 1:1(0) ack 102");
	cr_assert_eq(tcp_recv_avail(F->tp, &fin), 100);
	cr_assert_eq(sock_recv(1000), 100);
	tcp_recv_avail(F->tp, &fin);
	cr_assert(fin);
	end_test();
}

Test(tcp_close, fin_out_of_order_waits_for_its_turn)
{
	bool fin;

	passive(PLAIN, 0);
	inject("F. 101:201(100) ack 1 win 65535");
	expect(". 1:1(0) ack 1");
	expect_state(TCP_ESTABLISHED);
	tcp_recv_avail(F->tp, &fin);
	cr_assert(!fin);
	inject("P. 1:101(100) ack 1 win 65535");
	expect(". 1:1(0) ack 202");
	expect_state(TCP_CLOSE_WAIT);
	cr_assert_eq(sock_recv(1000), 200);
	end_test();
}

Test(tcp_close, fin_again_is_acknowledged_again)
{
	passive(PLAIN, 0);
	inject("F. 1:1(0) ack 1 win 65535");
	expect(". 1:1(0) ack 2");
	advance_ms(1000);
	inject("F. 1:1(0) ack 1 win 65535");
	expect(". 1:1(0) ack 2");
	end_test();
}

Test(tcp_close, data_after_our_fin_are_read)
{
	passive(PLAIN, 0);
	tcp_shutdown(F->tp, 1);
	expect("F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2 win 65535");
	inject("P. 1:501(500) ack 2 win 65535");
	cr_assert_eq(sock_recv(1000), 500);
	cr_assert_eq(sock_send(10), -EPIPE);
	end_test();
}

Test(tcp_close, data_behind_the_peers_fin_are_not_read)
{
	passive(PLAIN, 0);
	inject("F. 1:1(0) ack 1 win 65535");
	expect(". 1:1(0) ack 2");
	inject("P. 2:102(100) ack 1 win 65535");
	cr_assert_eq(sock_recv(1000), 0);
	end_test();
}

Test(tcp_close, data_for_an_orphan_are_reset)
{
	passive(PLAIN, 0);
	sock_close();
	expect("F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2 win 65535");
	inject("P. 1:101(100) ack 2 win 65535");
	cr_assert_neq(wire_next(0)->flags & TH_RST, 0);
	wire_drop();
	expect_gone();
	end_test();
}

Test(tcp_close, unread_data_make_close_a_reset)
{
	passive(PLAIN, 0);
	inject("P. 1:101(100) ack 1 win 65535");
	wire_drop();
	sock_close();
	expect("R. 1:1(0) ack 101");
	expect_none();
	end_test();
}

Test(tcp_close, linger_0_makes_close_a_reset)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, linger_on, true);
	SET_OPT(F->tp, linger_ns, 0);
	sock_send(500);
	expect("P. 1:501(500) ack 1");
	sock_close();
	expect("R. 501:501(0) ack 1");
	expect_none();
	expect_gone();
	end_test();
}

Test(tcp_close, close_done_when_all_is_acknowledged)
{
	passive(PLAIN, 0);
	sock_send(500);
	tcp_close(F->tp);
	expect("P. 1:501(500) ack 1");
	expect("F. 501:501(0) ack 1");
	cr_assert(!tcp_close_done(F->tp));
	inject(". 1:1(0) ack 501 win 65535");
	cr_assert(!tcp_close_done(F->tp));
	inject(". 1:1(0) ack 502 win 65535");
	cr_assert(tcp_close_done(F->tp));
	tcp_put(F->tp);
	F->tp = NULL;
	end_test();
}

Test(tcp_close, disconnect_resets)
{
	passive(PLAIN, 0);
	cr_assert_eq(tcp_disconnect(F->tp), 0);
	cr_assert_neq(wire_next(0)->flags & TH_RST, 0);
	expect_state(TCP_CLOSE);
	end_test();
}

Test(tcp_close, close_in_syn_sent_sends_nothing)
{
	struct endpoint e = ep(REMOTE_IP, 5000);

	F->tp = tcp_create(2);
	F->lport = 0;
	tcp_connect(F->tp, &e);
	expect("S 0:0(0)");
	sock_close();
	expect_quiet(10000);
	end_test();
}

Test(tcp_close, shutdown_of_what_is_not_connected)
{
	F->tp = tcp_create(2);
	cr_assert_eq(tcp_shutdown(F->tp, 1), -ENOTCONN);
	end_test();
}

/* FIN_WAIT2 */

Test(tcp_close, orphan_leaves_fin_wait2_after_60_s)
{
	passive(PLAIN, 0);
	sock_close();
	expect("F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2 win 65535");
	expect_quiet(59000);
	inject(". 1:1(0) ack 2 win 65535"); /* still there: says nothing, or an ACK */
	while (wire_caught())
		cr_assert_eq(wire_next(0)->flags & TH_RST, 0);
	expect_quiet(62000);
	expect_gone();
	end_test();
}

Test(tcp_close, orphan_linger2_option)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, linger2_ns, 5 * SEC);
	sock_close();
	expect("F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2 win 65535");
	expect_quiet(6000);
	expect_gone();
	end_test();
}

Test(tcp_close, fin_wait2_with_a_socket_waits_for_ever)
{
	passive(PLAIN, 0);
	tcp_shutdown(F->tp, 1);
	expect("F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2 win 65535");
	expect_quiet(1000000);
	expect_state(TCP_FIN_WAIT2);
	inject("P. 1:11(10) ack 2 win 65535");
	cr_assert_eq(sock_recv(100), 10);
	end_test();
}

Test(tcp_close, orphan_gives_up_after_some_retries)
{
	passive(PLAIN, 0);
	sock_close();
	advance_ms(600000);
	wire_drop();
	expect_gone();
	end_test();
}

/* TIME_WAIT */

static void time_wait(const char *opts)
{
	const char *ts = strstr(opts, "ts ") ? "<ts 110 ecr *>" : "";

	passive(opts, 0);
	sock_close();
	expect("F. 1:1(0) ack 1");
	injectf("F. 1:1(0) ack 2 win 65535 %s", ts);
	expect(". 2:2(0) ack 2");
}

Test(tcp_close, time_wait_lasts_60_s)
{
	time_wait(PLAIN);
	expect_quiet(59900);
	inject("F. 1:1(0) ack 2 win 65535");
	expect(". 2:2(0) ack 2");
	end_test();
}

Test(tcp_close, time_wait_ends)
{
	time_wait(PLAIN);
	expect_quiet(61500);
	expect_gone();
	end_test();
}

Test(tcp_close, time_wait_begins_anew_with_a_repeated_fin)
{
	time_wait(PLAIN);
	for (int i = 0; i < 3; i++) {
		expect_quiet(45000);
		inject("F. 1:1(0) ack 2 win 65535");
		expect(". 2:2(0) ack 2");
	}
	expect_quiet(61500);
	expect_gone();
	end_test();
}

Test(tcp_close, time_wait_ignores_resets)
{
	time_wait(PLAIN);
	inject("R 2:2(0)");
	inject("R. 2:2(0) ack 2");
	expect_none();
	advance_ms(1000);
	inject("F. 1:1(0) ack 2 win 65535");
	expect(". 2:2(0) ack 2");
	end_test();
}

Test(tcp_close, time_wait_answers_old_data_with_an_ack)
{
	time_wait(PLAIN);
	advance_ms(1000);
	inject("P. 0:10(10) ack 2 win 65535");
	expect(". 2:2(0) ack 2");
	end_test();
}

Test(tcp_close, time_wait_gives_way_to_a_newer_syn)
{
	time_wait(PLAIN);
	F->peer_isn += 100000;
	F->have_isn = false;
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	end_test();
}

Test(tcp_close, time_wait_reuse_continues_above_the_old_sequence_numbers)
{
	u32 old;

	time_wait(PLAIN);
	old = F->local_isn;
	F->peer_isn += 100000;
	F->have_isn = false;
	inject("S 0:0(0) win 65535 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	cr_assert_gt((s32)(F->local_isn - old), 0);
	end_test();
}

Test(tcp_close, time_wait_refuses_an_older_syn)
{
	u32 isn;

	time_wait(PLAIN);
	isn = F->peer_isn;
	F->peer_isn -= 100000;
	inject("S 0:0(0) win 65535 <mss 1000>");
	F->peer_isn = isn;
	expect(". 2:2(0) ack 2");
	end_test();
}

Test(tcp_close, time_wait_gives_way_to_a_newer_timestamp)
{
	time_wait(FULL);
	F->peer_isn -= 100000;
	F->have_isn = F->have_ts = false;
	inject("S 0:0(0) win 65535 <mss 1000,sackOK,ts 5000 ecr 0,wscale 7>");
	expect("S. 0:0(0) ack 1");
	end_test();
}

Test(tcp_close, time_wait_is_bounded)
{
	long before = net_allocated();

	listener = sock_listen(80, 16);
	for (u32 i = 0; i < 40000; i++) {
		flow_init(F, 80, (u16)(1024 + i % 60000));
		F->raddr = REMOTE_IP + i / 60000;
		establish_passive(F, listener, 65535, PLAIN);
		sock_close();
		expect("F. 1:1(0) ack 1");
		inject("F. 1:1(0) ack 2 win 65535");
		expect(". 2:2(0) ack 2");
	}
	cr_assert_lt(net_allocated() - before, 16l << 20);
	end_test();
}

/* Resets (RFC 9293, 3.10.7.4; RFC 5961) */

Test(tcp_close, reset_with_the_exact_number)
{
	struct net_watch w;

	passive(PLAIN, 0);
	net_watch(tcp_waitq(F->tp), &w);
	inject("R 1:1(0)");
	expect_none();
	expect_state(TCP_CLOSE);
	cr_assert(w.err && w.hup && w.in);
	net_unwatch(tcp_waitq(F->tp), &w);
	cr_assert_eq(tcp_poll_mask(F->tp) & (EPOLLERR | EPOLLHUP | EPOLLIN),
		     EPOLLERR | EPOLLHUP | EPOLLIN);
	cr_assert_eq(tcp_take_error(F->tp), ECONNRESET);
	end_test();
}

Test(tcp_close, reset_in_the_window_is_challenged)
{
	passive(PLAIN, 0);
	inject("R 2:2(0)");
	expect(". 1:1(0) ack 1");
	expect_state(TCP_ESTABLISHED);
	advance_ms(2000);
	inject("R. 1000:1000(0) ack 1");
	expect(". 1:1(0) ack 1");
	expect_state(TCP_ESTABLISHED);
	end_test();
}

Test(tcp_close, reset_outside_the_window_is_ignored)
{
	passive(PLAIN, 0);
	inject("R 0:0(0)");
	inject("R 10000000:10000000(0)");
	inject("R -10000000:-10000000(0)");
	expect_none();
	expect_state(TCP_ESTABLISHED);
	end_test();
}

Test(tcp_close, challenges_are_limited)
{
	u32 sent = 0;

	passive(PLAIN, 0);
	for (u32 i = 0; i < 5000; i++) {
		injectf("R %u:%u(0)", 2 + i, 2 + i);
		sent += wire_caught();
		wire_drop();
	}
	cr_assert(sent >= 1 && sent <= 200, "%u challenge ACKs", sent);
	expect_state(TCP_ESTABLISHED);
	end_test();
}

Test(tcp_close, syn_in_a_connection_is_challenged)
{
	passive(PLAIN, 0);
	inject("S 1:1(0) win 65535 <mss 1000>");
	expect(". 1:1(0) ack 1");
	expect_state(TCP_ESTABLISHED);
	advance_ms(2000);
	inject("S 123456:123456(0) win 65535 <mss 1000>");
	expect(". 1:1(0) ack 1");
	advance_ms(2000);
	inject("S. 0:0(0) ack 1 win 65535 <mss 1000>");
	expect(". 1:1(0) ack 1");
	expect_state(TCP_ESTABLISHED);
	end_test();
}

Test(tcp_close, reset_in_every_state)
{
	passive(PLAIN, 0);
	tcp_shutdown(F->tp, 1);
	expect("F. 1:1(0) ack 1");
	inject("R 1:1(0)");
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ECONNRESET);
	end_test();
}

Test(tcp_close, reset_in_close_wait_is_epipe)
{
	passive(PLAIN, 0);
	inject("F. 1:1(0) ack 1 win 65535");
	expect(". 1:1(0) ack 2");
	inject("R 2:2(0)");
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), EPIPE); /* as Linux */
	end_test();
}

Test(tcp_close, received_data_survive_a_reset_no_longer_than_on_linux)
{
	passive(PLAIN, 0);
	inject("P. 1:101(100) ack 1 win 65535");
	wire_drop();
	inject("R 101:101(0)");
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_error_pending(F->tp), ECONNRESET);
	end_test();
}
