/*
 * test_tcp_input.c - what TCP does with segments that arrive: reassembly, SACK, windows, ACKs, urgent data.
 */
#include "tcp_test.h"

TestSuite(tcp_input, .init = tcp_test_start, .timeout = 60);

/* In order */

Test(tcp_input, data_are_acknowledged_and_read)
{
	struct net_watch w;

	passive(PLAIN, 0);
	net_watch(tcp_waitq(F->tp), &w);
	cr_assert_eq(tcp_poll_mask(F->tp) & EPOLLIN, 0);
	inject("P. 1:101(100) ack 1 win 65535");
	cr_assert_geq(w.in, 1);
	cr_assert_neq(tcp_poll_mask(F->tp) & EPOLLIN, 0);
	expect_in(0, 200, ". 1:1(0) ack 101");
	cr_assert_eq(sock_recv(60), 60);
	cr_assert_eq(sock_recv(60), 40);
	cr_assert_eq(sock_recv(60), 0);
	cr_assert_eq(tcp_poll_mask(F->tp) & EPOLLIN, 0);
	net_unwatch(tcp_waitq(F->tp), &w);
	end_test();
}

Test(tcp_input, fragments_of_any_size)
{
	passive(PLAIN, 0);
	for (u32 i = 0, pos = 1; i < 60; i++, pos += 1000) {
		wire_frag = 30 + 17 * i;
		injectf("P. %u:%u(1000) ack 1 win 65535", pos, pos + 1000);
		cr_assert_eq(sock_recv(317), 317);
		cr_assert_eq(sock_recv(683), 683);
		wire_drop();
	}
	end_test();
}

Test(tcp_input, whole_gso_packets)
{
	passive(WSCALE, 0);
	wire_frag = 2000;
	inject("P. 1:60001(60000) ack 1 win 65535");
	cr_assert_eq(sock_recv(100000), 60000);
	end_test();
}

Test(tcp_input, peek_leaves_what_it_shows)
{
	struct list_head list = LIST_HEAD_INIT(list);
	u8 b[50];

	passive(PLAIN, 0);
	inject("P. 1:101(100) ack 1 win 65535");
	cr_assert_eq(tcp_recv_peek(F->tp, &list, 20, 50), 50);
	for (u32 n = 0; !list_empty(&list);) {
		struct pkt *p = list_first(&list, struct pkt, link);

		pkt_copy_out(p, 0, b, p->total);
		for (u32 i = 0; i < p->total; i++, n++)
			cr_assert_eq(b[i], stream_byte(false, 20 + n));
		list_del(&p->link);
		pkt_free(p);
	}
	cr_assert_eq(sock_recv(1000), 100);
	end_test();
}

Test(tcp_input, untake_puts_back_in_front)
{
	struct list_head list = LIST_HEAD_INIT(list);

	passive(PLAIN, 0);
	inject("P. 1:101(100) ack 1 win 65535");
	inject("P. 101:201(100) ack 1 win 65535");
	cr_assert_eq(tcp_recv_take(F->tp, &list, 150), 150);
	tcp_recv_untake(F->tp, &list);
	cr_assert_eq(sock_recv(1000), 200);
	end_test();
}

Test(tcp_input, wrong_checksum_is_dropped)
{
	passive(PLAIN, 0);
	inject("P. 1:101(100) ack 1 win 65535 badsum");
	expect_none();
	cr_assert_eq(sock_recv(1000), 0);
	end_test();
}

Test(tcp_input, segment_without_ack_is_dropped)
{
	passive(PLAIN, 0);
	inject("P 1:101(100) win 65535");
	expect_none();
	cr_assert_eq(sock_recv(1000), 0);
	end_test();
}

/* Out of order */

Test(tcp_input, hole_is_answered_with_an_ack_at_once)
{
	passive(PLAIN, 0);
	inject("P. 101:201(100) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <>");
	inject("P. 201:301(100) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <>");
	cr_assert_eq(sock_recv(1000), 0);
	inject("P. 1:101(100) ack 1 win 65535");
	expect(". 1:1(0) ack 301 <>");
	cr_assert_eq(sock_recv(1000), 300);
	end_test();
}

Test(tcp_input, sack_blocks_newest_first)
{
	passive(SACK, 0);
	inject(". 1001:2001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 1001:2001>");
	inject(". 3001:4001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 3001:4001 1001:2001>");
	inject(". 5001:6001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 5001:6001 3001:4001 1001:2001>");
	inject(". 2001:3001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 1001:4001 5001:6001>");
	inject(". 1:1001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 4001 <sack 5001:6001>");
	inject(". 4001:5001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 6001 <>");
	cr_assert_eq(sock_recv(10000), 6000);
	end_test();
}

Test(tcp_input, three_sack_blocks_beside_timestamps)
{
	const struct seg *s = NULL;

	passive(FULL, 0);
	for (u32 i = 1; i <= 5; i++) {
		injectf(". %u:%u(1000) ack 1 win 65535 <ts 102 ecr *>", 2000 * i + 1, 2000 * i + 1001);
		s = expect(". 1:1(0) ack 1");
		cr_assert_eq(s->o.nr_sack, i < 3 ? i : 3);
		cr_assert_eq(s->o.sack[0][0], F->peer_isn + 2000 * i + 1);
	}
	end_test();
}

Test(tcp_input, no_sack_blocks_without_permission)
{
	passive(PLAIN, 0);
	inject(". 1001:2001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <>");
	end_test();
}

Test(tcp_input, dsack_of_a_duplicate_that_was_acknowledged)
{
	passive(SACK, 0);
	inject(". 1:1001(1000) ack 1 win 65535");
	expect_in(0, 200, ". 1:1(0) ack 1001");
	inject(". 1:1001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1001 <sack 1:1001>");
	end_test();
}

Test(tcp_input, dsack_of_a_duplicate_out_of_order)
{
	passive(SACK, 0);
	inject(". 1001:2001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 1001:2001>");
	inject(". 1001:2001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 1001:2001 1001:2001>");
	end_test();
}

Test(tcp_input, overlaps_are_read_once)
{
	passive(SACK, 0);
	inject(". 51:151(100) ack 1 win 65535");
	inject(". 101:201(100) ack 1 win 65535");
	inject(". 31:61(30) ack 1 win 65535");
	inject(". 21:301(280) ack 1 win 65535");
	inject(". 1:41(40) ack 1 win 65535");
	wire_drop();
	cr_assert_eq(sock_recv(1000), 300);
	inject("P. 251:401(150) ack 1 win 65535"); /* begins below what is acknowledged */
	cr_assert_eq(sock_recv(1000), 100);
	end_test();
}

Test(tcp_input, random_overlaps)
{
	passive(SACK, 0);
	for (u32 round = 0, base = 1; round < 200; round++, base += 2000) {
		for (u32 i = 0; i < 30; i++) {
			u32 a = net_random(2000), b = a + 1 + net_random(2000 - a);

			if (wire_caught() > 1000)
				wire_drop();
			injectf(". %u:%u(%u) ack 1 win 65535", base + a, base + b, b - a);
		}
		injectf(". %u:%u(2000) ack 1 win 65535", base, base + 2000);
		wire_drop();
		cr_assert_eq(sock_recv(10000), 2000, "round %u", round);
	}
	end_test();
}

Test(tcp_input, random_order)
{
	u32 order[50];

	passive(SACK, 0);
	for (u32 round = 0; round < 40; round++) {
		u32 base = 1 + round * 5000, n = 0;

		for (u32 i = 0; i < 50; i++)
			order[i] = i;
		for (u32 i = 49; i; i--) {
			u32 k = net_random(i + 1), t = order[i];

			order[i] = order[k];
			order[k] = t;
		}
		for (u32 i = 0; i < 50; i++) {
			injectf(". %u:%u(100) ack 1 win 65535", base + 100 * order[i],
				base + 100 * order[i] + 100);
			n += sock_recv(10000);
		}
		wire_drop();
		cr_assert_eq(n, 5000);
	}
	end_test();
}

Test(tcp_input, sequence_numbers_wrap_around)
{
	F->peer_isn = 0xfffff000u;
	passive(SACK, 0);
	inject(". 3001:4001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 3001:4001>");
	inject(". 5001:6001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 1 <sack 5001:6001 3001:4001>");
	inject(". 1:3001(3000) ack 1 win 65535");
	expect(". 1:1(0) ack 4001 <sack 5001:6001>");
	inject(". 4001:5001(1000) ack 1 win 65535");
	expect(". 1:1(0) ack 6001");
	cr_assert_eq(sock_recv(10000), 6000);
	end_test();
}

/* What is not acceptable (RFC 9293, 3.10.7.4) */

Test(tcp_input, old_data_are_answered_with_an_ack)
{
	passive(PLAIN, 0);
	inject("P. -99:1(100) ack 1 win 65535");
	expect(". 1:1(0) ack 1");
	cr_assert_eq(sock_recv(1000), 0);
	end_test();
}

Test(tcp_input, data_behind_the_window_are_answered_with_an_ack)
{
	passive(PLAIN, 0);
	inject("P. 1000001:1000101(100) ack 1 win 65535");
	expect(". 1:1(0) ack 1");
	cr_assert_eq(sock_recv(1000), 0);
	end_test();
}

Test(tcp_input, acks_for_empty_segments_outside_are_limited)
{
	u32 n;

	passive(PLAIN, 0);
	for (u32 i = 0; i < 1000; i++)
		inject(". 1000001:1000001(0) ack 1 win 65535");
	n = wire_caught();
	cr_assert(n >= 1 && n <= 100, "%u ACKs: two stacks that disagree would never end", n);
	end_test();
}

Test(tcp_input, ack_of_what_was_not_sent)
{
	passive(PLAIN, 0);
	inject("P. 1:101(100) ack 1000 win 65535");
	expect(". 1:1(0) ack 1");
	cr_assert_eq(sock_recv(1000), 0);
	expect_state(TCP_ESTABLISHED);
	end_test();
}

Test(tcp_input, ack_far_below_is_challenged)
{
	passive(PLAIN, 0);
	inject("P. 1:101(100) ack -100000000 win 65535"); /* RFC 5961, 5.2 */
	expect(". 1:1(0) ack 1");
	cr_assert_eq(sock_recv(1000), 0);
	end_test();
}

Test(tcp_input, zero_window_probe_is_answered)
{
	passive(PLAIN, 0);
	inject(". 0:0(0) ack 1 win 65535"); /* also: a keepalive */
	expect(". 1:1(0) ack 1");
	end_test();
}

Test(tcp_input, malformed_options_on_data_do_no_harm)
{
	static const char *const odd[] = { "0500", "0501", "0800", "080a00", "05ff0000", "01010105", "0203",
					   "050c00000001" };

	passive(FULL, 0);
	for (u32 i = 0; i < ARRAY_SIZE(odd); i++)
		injectf("P. 1:11(10) ack 1 win 65535 <hex %s>", odd[i]);
	wire_drop();
	inject("P. 1:11(10) ack 1 win 65535 <ts 300 ecr *>");
	cr_assert_eq(sock_recv(100), 10);
	end_test();
}

/* Timestamps (RFC 7323) */

Test(tcp_input, paws_drops_what_is_older)
{
	passive(FULL, 0);
	inject("P. 1:101(100) ack 1 win 65535 <ts 1000 ecr *>");
	expect_in(0, 200, ". 1:1(0) ack 101 <ts * ecr 1000>");
	inject("P. 101:201(100) ack 1 win 65535 <ts 999 ecr *>");
	expect(". 1:1(0) ack 101 <ts * ecr 1000>");
	cr_assert_eq(sock_recv(1000), 100);
	inject("P. 101:201(100) ack 1 win 65535 <ts 1000 ecr *>");
	cr_assert_eq(sock_recv(1000), 100);
	end_test();
}

Test(tcp_input, paws_does_not_hold_resets_back)
{
	passive(FULL, 0);
	inject("P. 1:101(100) ack 1 win 65535 <ts 1000 ecr *>");
	wire_drop();
	inject("R 101:101(0) <ts 1 ecr *>");
	expect_state(TCP_CLOSE);
	end_test();
}

Test(tcp_input, paws_forgets_after_24_days)
{
	passive(FULL, 0);
	inject("P. 1:101(100) ack 1 win 65535 <ts 1000 ecr *>");
	advance_ms(200);
	wire_drop();
	net_advance(25ull * 86400 * SEC);
	inject("P. 101:201(100) ack 1 win 65535 <ts 999 ecr *>");
	cr_assert_eq(sock_recv(1000), 200);
	end_test();
}

Test(tcp_input, paws_wraps_around)
{
	passive("mss 1000,sackOK,ts 4294967290 ecr 0,wscale 7", 0); /* the handshake ends with ts 101 */
	inject("P. 1:101(100) ack 1 win 65535 <ts 102 ecr *>");
	cr_assert_eq(sock_recv(1000), 100);
	end_test();
}

Test(tcp_input, timestamp_of_the_oldest_unacknowledged_segment_is_echoed)
{
	passive(FULL, 0);
	inject(". 1001:2001(1000) ack 1 win 65535 <ts 300 ecr *>");
	expect(". 1:1(0) ack 1 <ts * ecr 101,sack 1001:2001>");
	inject(". 1:1001(1000) ack 1 win 65535 <ts 200 ecr *>");
	expect(". 1:1(0) ack 2001 <ts * ecr 200>");
	end_test();
}

/* Delayed ACKs (RFC 9293, 3.8.6.3: within 500 ms, and every second full segment) */

static void warm_up(void)
{
	/* a dialogue, behind which ACKs may be delayed */
	for (u32 i = 0; i < 30; i++) {
		injectf("P. %u:%u(10) ack %u win 65535", 1 + 10 * i, 11 + 10 * i, 1 + 10 * i);
		wire_drop();
		sock_recv(100);
		sock_send(10);
		wire_drop();
		injectf(". %u:%u(0) ack %u win 65535", 11 + 10 * i, 11 + 10 * i, 11 + 10 * i);
		advance_ms(50);
		wire_drop();
	}
}

Test(tcp_input, delayed_ack_rides_on_the_answer)
{
	passive(PLAIN, 0);
	warm_up();
	inject("P. 301:311(10) ack 301 win 65535");
	sock_recv(100);
	expect_none();
	sock_send(10);
	expect("P. 301:311(10) ack 311");
	expect_none();
	inject(". 311:311(0) ack 311 win 65535");
	expect_quiet(1000);
	end_test();
}

Test(tcp_input, delayed_ack_comes_by_itself)
{
	passive(PLAIN, 0);
	warm_up();
	inject("P. 301:311(10) ack 301 win 65535");
	sock_recv(100);
	expect_in(10, 200, ". 301:301(0) ack 311");
	end_test();
}

Test(tcp_input, quickack_option)
{
	passive(PLAIN, 0);
	warm_up();
	SET_OPT(F->tp, quickack, true);
	inject("P. 301:311(10) ack 301 win 65535");
	expect(". 301:301(0) ack 311");
	end_test();
}

Test(tcp_input, every_second_full_segment_is_acknowledged)
{
	u32 n = 0, last = 0;

	passive(WSCALE, 0);
	for (u32 i = 0; i < 200; i++) {
		struct seg *s;

		injectf(". %u:%u(1000) ack 1 win 65535", 1 + 1000 * i, 1001 + 1000 * i);
		sock_recv(10000);
		while ((s = wire_next(0)) != NULL) {
			n++;
			last = s->ack - F->peer_isn;
		}
		cr_assert_geq(last + 2000, 1001 + 1000 * i, "%u bytes without an ACK", 1001 + 1000 * i - last);
	}
	cr_assert_geq(n, 100);
	end_test();
}

/* The window we offer */

Test(tcp_input, window_never_shrinks_and_closes_when_nobody_reads)
{
	u32 pos = 1, edge = 0;
	struct seg *s;

	listener = sock_listen(80, 5);
	SET_OPT(listener, rcvbuf, 20000);
	SET_OPT(listener, rcvbuf_set, true);
	passive(PLAIN, 0);
	for (u32 i = 0; i < 100; i++) {
		u32 win = 0;

		injectf(". %u:%u(500) ack 1 win 65535", pos, pos + 500);
		advance_ms(500);
		while ((s = wire_next(0)) != NULL) {
			u32 ack = s->ack - F->peer_isn;

			cr_assert_geq(ack + s->win, edge, "the window's right edge went back by %u",
				      edge - ack - s->win);
			edge = ack + s->win;
			pos = ack;
			win = s->win;
		}
		if (i > 90)
			cr_assert_eq(win, 0);
	}
	cr_assert_leq(pos, 40000);
	cr_assert_eq(sock_recv(100000), pos - 1);
	end_test();
}

static u32 fill_window(void)
{
	u32 pos = 1, win = 65535;
	struct seg *s;

	listener = sock_listen(80, 5);
	SET_OPT(listener, rcvbuf, 20000);
	SET_OPT(listener, rcvbuf_set, true);
	passive(PLAIN, 0);
	for (u32 i = 0; i < 1000 && win; i++) {
		u32 n = min(win, 1000u);

		injectf(". %u:%u(%u) ack 1 win 65535", pos, pos + n, n);
		pos += n;
		advance_ms(500);
		while ((s = wire_next(0)) != NULL) {
			cr_assert_eq(s->ack - F->peer_isn, pos);
			win = s->win;
		}
	}
	cr_assert_eq(win, 0, "the window did not close");
	return pos;
}

Test(tcp_input, closed_window_takes_nothing_but_answers_probes)
{
	u32 pos = fill_window();

	injectf(". %u:%u(1) ack 1 win 65535", pos, pos + 1);
	expectf(". 1:1(0) ack %u win 0", pos);
	cr_assert_eq(sock_recv(100000), pos - 1);
	end_test();
}

Test(tcp_input, silly_window_is_not_offered)
{
	u32 pos = fill_window(), read = 0;

	sock_recv(1);
	expect_none();
	for (read = 1; read < 900; read += 100)
		sock_recv(100);
	expect_none();
	/* a full segment or half the buffer */
	while (!wire_caught() && sock_recv(1000))
		;
	cr_assert_geq(expectf(". 1:1(0) ack %u", pos)->win, 1000);
	end_test();
}

Test(tcp_input, receive_buffer_grows_with_a_fast_reader)
{
	u32 pos = 1, first, last = 0;
	struct seg *s;

	passive(WSCALE, 20);
	first = info().tcpi_rcv_space;
	for (u32 i = 0; i < 2000; i++) {
		for (u32 k = 0; k < 30; k++, pos += 1000) {
			injectf(". %u:%u(1000) ack 1 win 65535", pos, pos + 1000);
			sock_recv(100000);
			while ((s = wire_next(0)) != NULL)
				last = s->win;
		}
		if (i % 10 == 0)
			advance_ms(20);
		while ((s = wire_next(0)) != NULL)
			last = s->win;
	}
	cr_assert_gt(last, 100);
	cr_assert_geq(info().tcpi_rcv_space, first);
	end_test();
}

/* Urgent data */

Test(tcp_input, urgent_byte_is_out_of_band)
{
	passive(PLAIN, 0);
	F->raw = true;
	cr_assert_eq(tcp_recv_oob(F->tp, false), -EINVAL);
	inject("PU. 1:11(10) ack 1 win 65535 urg 5");
	cr_assert_neq(tcp_poll_mask(F->tp) & EPOLLPRI, 0);
	cr_assert_eq(tcp_recv_oob(F->tp, true), stream_byte(false, 4));
	cr_assert_eq(tcp_recv_oob(F->tp, false), stream_byte(false, 4));
	cr_assert_eq(tcp_recv_oob(F->tp, false), -EINVAL);
	cr_assert_eq(sock_recv(100), 4); /* reading stops at the mark */
	cr_assert(tcp_at_mark(F->tp));
	cr_assert_eq(sock_recv(100), 5);
	cr_assert(!tcp_at_mark(F->tp));
	end_test();
}

Test(tcp_input, urgent_pointer_before_its_byte)
{
	passive(PLAIN, 0);
	F->raw = true;
	inject("PU. 1:11(10) ack 1 win 65535 urg 15");
	cr_assert_eq(tcp_recv_oob(F->tp, false), -EAGAIN);
	inject("P. 11:21(10) ack 1 win 65535");
	cr_assert_eq(tcp_recv_oob(F->tp, false), stream_byte(false, 14));
	end_test();
}

Test(tcp_input, urgent_byte_inline)
{
	passive(PLAIN, 0);
	SET_OPT(F->tp, oobinline, true);
	inject("PU. 1:11(10) ack 1 win 65535 urg 5");
	cr_assert_eq(tcp_recv_oob(F->tp, false), -EINVAL);
	cr_assert_eq(sock_recv(100), 4);
	cr_assert(tcp_at_mark(F->tp));
	cr_assert_eq(sock_recv(100), 6);
	end_test();
}

Test(tcp_input, urgent_pointer_anywhere_does_no_harm)
{
	passive(PLAIN, 0);
	F->raw = true;
	for (u32 i = 0, pos = 1; i < 500; i++, pos += 10) {
		injectf("PU. %u:%u(10) ack 1 win 65535 urg %u", pos, pos + 10, net_random(65536));
		if (i % 3 == 0)
			tcp_recv_oob(F->tp, false);
		if (i % 5 == 0)
			sock_recv(net_random(60));
		wire_drop();
	}
	end_test();
}

Test(tcp_input, urgent_byte_is_sent)
{
	const struct seg *s;

	passive(PLAIN, 0);
	F->raw = true;
	sock_send(10);
	expect("P. 1:11(10) ack 1");
	inject(". 1:1(0) ack 11 win 65535");
	cr_assert_geq(tcp_send_oob(F->tp, 'x'), 0);
	s = expect("U. 11:12(1) ack 1 urg 1");
	cr_assert_eq(s->data[0], 'x');
	end_test();
}

/* Memory */

TestSuite(tcp_memory, .timeout = 60);

Test(tcp_memory, out_of_order_data_are_bounded)
{
	net_fail_hook = tcp_test_fail;
	wire_start_pool(42, 1024);
	passive("mss 100,sackOK,wscale 7", 0);
	for (u32 i = 0; i < 20000; i++) {
		injectf(". %u:%u(1) ack 1 win 65535", 3 + 2 * i, 4 + 2 * i);
		wire_drop();
	}
	cr_assert_gt(nbuf_free_count(), nbuf_total() / 4, "%u of %u nbufs left", nbuf_free_count(),
		     nbuf_total());
	cr_assert_lt(net_allocated(), 16l << 20);
	end_test();
}

Test(tcp_memory, unread_data_of_many_connections_are_bounded)
{
	static struct flow f[200];

	net_fail_hook = tcp_test_fail;
	wire_start_pool(42, 2048);
	listener = sock_listen(80, 1000);
	for (u32 i = 0; i < 200; i++) {
		flow_init(&f[i], 80, (u16)(2000 + i));
		establish_passive(&f[i], listener, 65535, WSCALE);
	}
	for (u32 n = 0; n < 60; n++) {
		for (u32 i = 0; i < 200; i++) {
			inject_flow(&f[i], __FILE__, __LINE__,
				    wire_text(". %u:%u(1000) ack 1 win 65535", 1 + 1000 * n, 1001 + 1000 * n));
			wire_drop();
		}
	}
	cr_assert_gt(nbuf_free_count(), 64, "%u of %u nbufs left: none to send an ACK with", nbuf_free_count(),
		     nbuf_total());
	for (u32 i = 0; i < 200; i++) {
		while (sock_recv_flow(&f[i], 1 << 20))
			;
		sock_close_flow(&f[i]);
		inject_flow(&f[i], __FILE__, __LINE__, "R 60001:60001(0)");
	}
	wire_drop();
	cr_assert_gt(nbuf_free_count(), 1000);
}

Test(tcp_input, no_memory_is_no_disaster)
{
	passive(WSCALE, 0);
	for (u32 i = 0; i < 2000; i++) {
		u32 pos = 1 + 1000 * net_random(100);

		net_memory_limit(i % 7 ? 0 : net_allocated() + (long)net_random(2000));
		injectf(". %u:%u(1000) ack 1 win 65535", pos, pos + 1000);
		sock_recv(1000);
	}
	net_memory_limit(0);
	wire_drop();
	end_test();
}
