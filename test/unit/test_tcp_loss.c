/*
 * test_tcp_loss.c - loss, packet by packet: timers (RFC 6298), congestion (RFC 5681), recovery (RFC 6675, RFC 6582).
 */
#include "tcp_test.h"

TestSuite(tcp_loss, .init = tcp_test_start, .timeout = 60);

static u32 lost_seq; /* the segment that begins here is lost */

static int lose_one(const struct seg *s)
{
	return s->len && s->seq == F->local_isn + lost_seq;
}

/* Segments [from, to) of 1000 bytes must be next. */
static void expect_data(u32 from, u32 to)
{
	for (u32 i = from; i < to; i++)
		expectf(". %u:%u(1000) ack 1", 1 + 1000 * i, 1001 + 1000 * i);
}

/* Everything that was sent is acknowledged, again and again, until nothing more is out. */
static void finish(u32 end)
{
	u32 una = 0;

	for (u32 i = 0; i < 1000 && una < end; i++) {
		struct seg *s;

		advance_ms(100);
		while ((s = wire_next(0)) != NULL)
			if (s->len && s->seq + s->len - F->local_isn > una)
				una = s->seq + s->len - F->local_isn;
		injectf(". 1:1(0) ack %u win 65535", una);
	}
	cr_assert_eq(una, end, "%u of %u", una, end);
}

/* Timeouts. Without SACK, so that nothing but the retransmission timer sends. */

Test(tcp_loss, rto_from_the_handshake_and_back_off)
{
	passive(PLAIN, 100); /* SRTT 100 ms, RTTVAR 50 ms */
	sock_send(100);
	expect("P. 1:101(100) ack 1");
	for (u32 i = 0; i < 8; i++)
		expect_in(295u << i, 305u << i, "P. 1:101(100) ack 1");
	inject(". 1:1(0) ack 101 win 65535");
	expect_quiet(10000);
	end_test();
}

Test(tcp_loss, rto_is_at_least_200_ms)
{
	passive(PLAIN, 1);
	sock_send(100);
	expect("P. 1:101(100) ack 1");
	expect_in(200, 210, "P. 1:101(100) ack 1");
	end_test();
}

Test(tcp_loss, rto_is_at_most_120_s)
{
	u64 last = 0;

	passive(PLAIN, 900);
	sock_send(100);
	expect("P. 1:101(100) ack 1");
	for (u32 i = 0; i < 14; i++) {
		u64 t0 = net_now();

		expect_in(1, 120100, "P. 1:101(100) ack 1");
		last = net_now() - t0;
	}
	cr_assert_geq(last, 119 * SEC);
	end_test();
}

Test(tcp_loss, rto_gives_up_in_the_end)
{
	u64 t0;

	passive(PLAIN, 100);
	sock_send(100);
	t0 = net_now();
	while (tcp_state(F->tp) == TCP_ESTABLISHED && net_now() < t0 + 4000 * SEC) {
		advance_ms(1000);
		wire_drop();
	}
	expect_state(TCP_CLOSE);
	cr_assert_eq(tcp_take_error(F->tp), ETIMEDOUT);
	cr_assert_geq(net_now() - t0, 100 * SEC); /* RFC 1122, 4.2.3.5: R2 */
	end_test();
}

Test(tcp_loss, rto_follows_the_round_trip_time)
{
	passive(PLAIN, 100);
	for (u32 i = 0; i < 100; i++) {
		sock_send(1000);
		expectf("P. %u:%u(1000) ack 1", 1 + 1000 * i, 1001 + 1000 * i);
		advance_ms(150);
		injectf(". 1:1(0) ack %u win 65535", 1001 + 1000 * i);
		expect_none();
	}
	cr_assert(info().tcpi_rtt > 145000 && info().tcpi_rtt < 155000, "srtt %u us", info().tcpi_rtt);
	/* variance is gone, the minimum of 200 ms stands for it (Linux), or of the whole */
	cr_assert(info().tcpi_rto >= 200000 && info().tcpi_rto <= 360000, "rto %u us", info().tcpi_rto);
	sock_send(1000);
	expect("P. 100001:101001(1000) ack 1");
	expect_in(200, 360, "P. 100001:101001(1000) ack 1");
	end_test();
}

Test(tcp_loss, karn_retransmissions_give_no_sample)
{
	u32 rtt;

	passive(PLAIN, 100);
	rtt = info().tcpi_rtt;
	sock_send(100);
	expect("P. 1:101(100) ack 1");
	expect_in(295, 305, "P. 1:101(100) ack 1");
	advance_ms(1);
	inject(". 1:1(0) ack 101 win 65535"); /* of which one? */
	cr_assert_eq(info().tcpi_rtt, rtt);
	end_test();
}

Test(tcp_loss, timestamps_do_give_a_sample_of_a_retransmission)
{
	passive(FULL, 100);
	sock_send(100);
	expect("P. 1:101(100) ack 1");
	cr_assert_not_null(wire_next(2000)); /* again; the echo below is of the first */
	inject(". 1:1(0) ack 101 win 65535 <ts 200 ecr *>");
	cr_assert_gt(info().tcpi_rtt, 110000, "srtt %u us", info().tcpi_rtt);
	end_test();
}

Test(tcp_loss, back_off_ends_with_a_new_acknowledgment)
{
	passive(PLAIN, 100);
	sock_send(100);
	expect("P. 1:101(100) ack 1");
	expect_in(295, 305, "P. 1:101(100) ack 1");
	expect_in(590, 610, "P. 1:101(100) ack 1");
	inject(". 1:1(0) ack 101 win 65535");
	sock_send(100);
	expect("P. 101:201(100) ack 1");
	advance_ms(100);
	inject(". 1:1(0) ack 201 win 65535"); /* a sample */
	sock_send(100);
	expect("P. 201:301(100) ack 1");
	expect_in(200, 350, "P. 201:301(100) ack 1");
	end_test();
}

Test(tcp_loss, rto_retransmits_the_first_segment_only)
{
	passive(PLAIN, 100);
	sock_send(5000);
	cr_assert_eq(take_data(NULL), 5);
	expect_in(295, 305, ". 1:1001(1000) ack 1");
	expect_none();
	cr_assert_eq(info().tcpi_snd_cwnd, 1);
	end_test();
}

Test(tcp_loss, after_an_rto_the_rest_follows_in_slow_start)
{
	passive(PLAIN, 100);
	sock_send(5000);
	cr_assert_eq(take_data(NULL), 5);
	expect_in(295, 305, ". 1:1001(1000) ack 1");
	advance_ms(100);
	inject(". 1:1(0) ack 1001 win 65535");
	expect_data(1, 3);
	expect_none();
	inject(". 1:1(0) ack 3001 win 65535");
	expect_data(3, 5);
	inject(". 1:1(0) ack 5001 win 65535");
	expect_quiet(10000);
	end_test();
}

/* Congestion window */

Test(tcp_loss, initial_window_is_ten_segments)
{
	passive(PLAIN, 100);
	sock_send(20000);
	expect_data(0, 10);
	expect_none();
	end_test();
}

Test(tcp_loss, initial_window_is_smaller_after_a_lost_syn)
{
	struct endpoint e = ep(REMOTE_IP, 5000);

	F->tp = tcp_create(2);
	F->lport = 0;
	tcp_connect(F->tp, &e);
	expect("S 0:0(0)");
	expect_in(1000, 1000, "S 0:0(0)");
	expect_in(2000, 2000, "S 0:0(0)");
	advance_ms(100);
	inject("S. 0:0(0) ack 1 win 65535 <mss 1000>");
	expect(". 1:1(0) ack 1");
	sock_send(20000);
	cr_assert_leq(take_data(NULL), 4); /* RFC 5681, 3.1; RFC 6298, 5.7: one segment */
	end_test();
}

Test(tcp_loss, slow_start_doubles_in_a_round_trip)
{
	u32 una = 0, window = 10;

	passive(WSCALE, 100);
	SET_OPT(F->tp, sndbuf, 4 << 20);
	for (u32 round = 0; round < 5; round++) {
		u32 n;

		while (tcp_outq_unsent(F->tp) < 400000 && sock_send(100000) > 0)
			;
		n = take_data(NULL);
		cr_assert(n <= window && n >= window * 3 / 4, "round %u: %u segments, window %u", round, n,
			  window);
		advance_ms(100);
		n += take_data(NULL);
		for (u32 i = 0; i < n; i++) {
			una += 1000;
			injectf(". 1:1(0) ack %u win 65535", 1 + una);
		}
		window *= 2;
	}
	end_test();
}

Test(tcp_loss, avoidance_grows_by_one_segment_in_a_round_trip)
{
	u32 before, una = 0;

	listener = sock_listen(80, 16);
	spin_lock(tcp_lock(listener));
	strcpy(tcp_opts(listener)->congestion, "reno");
	spin_unlock(tcp_lock(listener));
	tcp_opts_changed(listener);
	passive(PLAIN, 100);
	sock_send(20000);
	cr_assert_eq(take_data(NULL), 10);
	/* a loss that sets ssthresh to 5 segments */
	for (u32 i = 0; i < 3; i++)
		inject(". 1:1(0) ack 1 win 65535");
	wire_drop();
	finish(20001);
	una = 20000;
	before = info().tcpi_snd_cwnd;
	cr_assert_leq(info().tcpi_snd_ssthresh, 6);
	cr_assert_geq(before, info().tcpi_snd_ssthresh);
	for (u32 round = 0; round < 6; round++) {
		u32 n;

		while (tcp_outq_unsent(F->tp) < 30000)
			sock_send(10000);
		n = take_data(NULL);
		advance_ms(100);
		for (u32 i = 0; i < n; i++) {
			una += 1000;
			injectf(". 1:1(0) ack %u win 65535", 1 + una);
		}
	}
	cr_assert(info().tcpi_snd_cwnd >= before + 3 && info().tcpi_snd_cwnd <= before + 8, "%u, before %u",
		  info().tcpi_snd_cwnd, before);
	end_test();
}

Test(tcp_loss, window_that_is_not_used_does_not_grow)
{
	passive(PLAIN, 100);
	for (u32 i = 0; i < 100; i++) {
		sock_send(1000);
		take_data(NULL);
		advance_ms(100);
		injectf(". 1:1(0) ack %u win 65535", 1001 + 1000 * i);
	}
	cr_assert_leq(info().tcpi_snd_cwnd, 12);
	end_test();
}

Test(tcp_loss, idleness_ends_a_large_window)
{
	u32 una = 0, n;

	passive(WSCALE, 100);
	for (u32 round = 0; round < 4; round++) {
		while (tcp_outq_unsent(F->tp) < 200000 && sock_send(100000) > 0)
			;
		advance_ms(100);
		take_data(&n);
		una += n;
		injectf(". 1:1(0) ack %u win 65535", 1 + una);
	}
	finish((u32)F->sent + 1);
	cr_assert_gt(info().tcpi_snd_cwnd, 30);
	advance_ms(10000);
	sock_send(100000);
	cr_assert_leq(take_data(NULL), 10); /* RFC 5681, 4.1 */
	end_test();
}

Test(tcp_loss, acks_that_split_segments_do_not_grow_the_window_faster)
{
	passive(PLAIN, 100);
	sock_send(60000);
	expect_data(0, 10);
	for (u32 i = 1; i <= 1000; i++)
		injectf(". 1:1(0) ack %u win 65535", 1 + i);
	cr_assert_leq(take_data(NULL), 3); /* RFC 3465: bytes count */
	end_test();
}

/* Fast retransmit and recovery without SACK */

Test(tcp_loss, fast_retransmit_with_the_third_duplicate)
{
	passive(PLAIN, 100);
	sock_send(10000);
	expect_data(0, 10);
	advance_ms(100);
	inject(". 1:1(0) ack 1 win 65535");
	inject(". 1:1(0) ack 1 win 65535");
	expect_none();
	inject(". 1:1(0) ack 1 win 65535");
	expect(". 1:1001(1000) ack 1");
	inject(". 1:1(0) ack 10001 win 65535");
	expect_quiet(10000);
	end_test();
}

Test(tcp_loss, limited_transmit)
{
	passive(PLAIN, 100);
	sock_send(20000);
	expect_data(0, 10);
	inject(". 1:1(0) ack 1 win 65535");
	expect_data(10, 11);
	inject(". 1:1(0) ack 1 win 65535");
	expect_data(11, 12);
	expect_none();
	end_test();
}

Test(tcp_loss, window_updates_and_data_are_no_duplicates)
{
	passive(PLAIN, 100);
	sock_send(10000);
	expect_data(0, 10);
	inject(". 1:1(0) ack 1 win 65000");
	inject(". 1:1(0) ack 1 win 64000");
	inject(". 1:1(0) ack 1 win 63000");
	inject(". 1:1(0) ack 1 win 64000");
	inject("P. 1:11(10) ack 1 win 64000");
	inject("P. 11:21(10) ack 1 win 64000");
	inject("P. 21:31(10) ack 1 win 64000");
	while (wire_caught())
		cr_assert_eq(wire_next(0)->len, 0);
	end_test();
}

Test(tcp_loss, duplicates_without_data_outstanding_do_nothing)
{
	passive(PLAIN, 100);
	for (u32 i = 0; i < 10; i++)
		inject(". 1:1(0) ack 1 win 65535");
	expect_none();
	end_test();
}

Test(tcp_loss, newreno_partial_ack_retransmits_the_next_hole)
{
	passive(PLAIN, 100);
	sock_send(10000);
	expect_data(0, 10);
	advance_ms(100);
	for (u32 i = 0; i < 7; i++) /* 1 and 5 are lost */
		inject(". 1:1(0) ack 1 win 65535");
	expect(". 1:1001(1000) ack 1");
	wire_drop();
	advance_ms(100);
	inject(". 1:1(0) ack 5001 win 65535");
	expect(". 5001:6001(1000) ack 1");
	inject(". 1:1(0) ack 10001 win 65535");
	expect_quiet(10000);
	end_test();
}

Test(tcp_loss, recovery_halves_the_window)
{
	passive(PLAIN, 100);
	sock_send(10000);
	expect_data(0, 10);
	advance_ms(100);
	for (u32 i = 0; i < 9; i++)
		inject(". 1:1(0) ack 1 win 65535");
	inject(". 1:1(0) ack 10001 win 65535");
	wire_drop();
	/* CUBIC: 0.7; Reno: 0.5 */
	cr_assert(info().tcpi_snd_cwnd >= 4 && info().tcpi_snd_cwnd <= 7, "%u", info().tcpi_snd_cwnd);
	end_test();
}

/* Recovery with SACK */

Test(tcp_loss, sack_picks_the_hole)
{
	passive(SACK, 100);
	sock_send(10000);
	expect_data(0, 10);
	advance_ms(100);
	inject(". 1:1(0) ack 2001 win 65535");
	inject(". 1:1(0) ack 2001 win 65535 <sack 3001:4001>");
	inject(". 1:1(0) ack 2001 win 65535 <sack 3001:5001>");
	expect_none();
	inject(". 1:1(0) ack 2001 win 65535 <sack 3001:6001>");
	expect(". 2001:3001(1000) ack 1");
	expect_none();
	inject(". 1:1(0) ack 10001 win 65535");
	expect_quiet(10000);
	end_test();
}

Test(tcp_loss, sack_picks_several_holes)
{
	passive(SACK, 100);
	sock_send(10000);
	expect_data(0, 10);
	advance_ms(100);
	inject(". 1:1(0) ack 1 win 65535 <sack 1001:2001>");
	inject(". 1:1(0) ack 1 win 65535 <sack 3001:4001 1001:2001>");
	inject(". 1:1(0) ack 1 win 65535 <sack 5001:10001 3001:4001 1001:2001>");
	expect(". 1:1001(1000) ack 1");
	expect(". 2001:3001(1000) ack 1");
	advance_ms(100);
	while (wire_caught())
		expect(". 4001:5001(1000) ack 1");
	inject(". 1:1(0) ack 4001 win 65535 <sack 5001:10001>");
	while (wire_caught())
		expect(". 4001:5001(1000) ack 1");
	inject(". 1:1(0) ack 10001 win 65535");
	expect_quiet(10000);
	end_test();
}

Test(tcp_loss, sacked_segments_are_not_sent_again_after_an_rto)
{
	struct seg *s;

	passive(SACK, 100);
	sock_send(4000);
	expect_data(0, 4);
	inject(". 1:1(0) ack 1 win 65535 <sack 1001:2001>");
	for (u32 i = 0; i < 6; i++) {
		while ((s = wire_next(1000)) != NULL)
			cr_assert_neq(s->seq - F->local_isn, 1001, "%s", seg_text(F, s));
		if (i == 3)
			inject(". 1:1(0) ack 2001 win 65535");
	}
	finish(4001);
	end_test();
}

Test(tcp_loss, lost_retransmission_is_found)
{
	passive(SACK, 100);
	lost_seq = 1;
	sock_send(10000);
	expect_data(0, 10);
	advance_ms(100);
	inject(". 1:1(0) ack 1 win 65535 <sack 1001:5001>");
	expect(". 1:1001(1000) ack 1"); /* and this is lost too */
	advance_ms(100);
	sock_send(5000);
	inject(". 1:1(0) ack 1 win 65535 <sack 1001:10001>");
	wire_drop();
	expect_in(0, 2000, ". 1:1001(1000) ack 1");
	finish(15001);
	end_test();
}

Test(tcp_loss, lost_tail_is_found_by_a_probe_before_the_rto)
{
	u64 t0;
	struct seg *s;

	passive(SACK, 50);
	for (u32 i = 0; i < 20; i++) { /* a steady 50 ms */
		sock_send(1000);
		take_data(NULL);
		advance_ms(50);
		injectf(". 1:1(0) ack %u win 65535", 1001 + 1000 * i);
	}
	sock_send(3000);
	cr_assert_eq(take_data(NULL), 3);
	t0 = net_now();
	s = wire_next(2000);
	cr_assert_not_null(s);
	cr_assert_leq(net_now() - t0, 310 * MS);
	inject(". 1:1(0) ack 23001 win 65535");
	expect_quiet(5000);
	end_test();
}

Test(tcp_loss, spurious_timeout_is_undone)
{
	passive(FULL, 100);
	sock_send(9880);
	for (u32 i = 0; i < 10; i++)
		expectf(". %u:%u(988) ack 1", 1 + 988 * i, 989 + 988 * i);
	advance_ms(1000); /* a delay, and timeouts */
	wire_drop();
	cr_assert_leq(info().tcpi_snd_cwnd, 3);
	/* acknowledges what was sent first, as its echo says (RFC 3522) */
	inject(". 1:1(0) ack 989 win 65535 <ts 200 ecr *>");
	wire_drop();
	inject(". 1:1(0) ack 9881 win 65535 <ts 200 ecr *>");
	cr_assert_geq(info().tcpi_snd_cwnd, 10);
	expect_quiet(5000);
	end_test();
}

Test(tcp_loss, spurious_fast_retransmit_is_undone)
{
	passive(SACK, 100);
	sock_send(10000);
	expect_data(0, 10);
	advance_ms(100);
	inject(". 1:1(0) ack 1 win 65535 <sack 1001:5001>");
	expect(". 1:1001(1000) ack 1");
	wire_drop();
	inject(". 1:1(0) ack 5001 win 65535"); /* it was only late */
	inject(". 1:1(0) ack 5001 win 65535 <sack 1:1001>"); /* and came twice: D-SACK (RFC 3708) */
	inject(". 1:1(0) ack 10001 win 65535");
	cr_assert_geq(info().tcpi_snd_cwnd, 10, "%u", info().tcpi_snd_cwnd);
	wire_drop();
	expect_quiet(5000);
	end_test();
}

Test(tcp_loss, impossible_sack_blocks_do_no_harm)
{
	passive(SACK, 100);
	sock_send(5000);
	expect_data(0, 4);
	wire_drop();
	inject(". 1:1(0) ack 1 win 65535 <sack 100001:200001>");
	inject(". 1:1(0) ack 1 win 65535 <sack 3001:2001>");
	inject(". 1:1(0) ack 1 win 65535 <sack -5000:3001>");
	inject(". 1:1(0) ack 1 win 65535 <sack 1:1>");
	inject(". 1:1(0) ack 1 win 65535 <sack 500:501 700:701 900:901 1100:1101>");
	inject(". 1:1(0) ack 1 win 65535 <hex 050b0000000000000000ff>");
	finish(5001);
	end_test();
}

Test(tcp_loss, sack_reneging_does_not_hang)
{
	passive(SACK, 100);
	sock_send(5000);
	expect_data(0, 4);
	wire_drop();
	advance_ms(100);
	inject(". 1:1(0) ack 1 win 65535 <sack 1001:5001>");
	wire_drop();
	/* the receiver forgets what it had: acknowledges only the first, for ever, until all is sent anew */
	inject(". 1:1(0) ack 1001 win 65535");
	advance_ms(3000);
	inject(". 1:1(0) ack 1001 win 65535");
	for (u32 una = 1001, i = 0; una < 5001; i++) {
		struct seg *s = wire_next(130000);

		cr_assert_not_null(s, "nothing more came; %u is acknowledged", una);
		cr_assert_lt(i, 100);
		if (s->seq - F->local_isn == una) {
			una += s->len;
			injectf(". 1:1(0) ack %u win 65535", una);
		}
	}
	end_test();
}

Test(tcp_loss, reordering_by_little_is_no_loss)
{
	struct seg *s;
	u32 again = 0;

	passive(FULL, 100);
	sock_send(9880);
	cr_assert_eq(take_data(NULL), 10);
	advance_ms(100);
	/* the first came behind the second */
	inject(". 1:1(0) ack 1 win 65535 <ts 200 ecr *,sack 989:1977>");
	inject(". 1:1(0) ack 1977 win 65535 <ts 200 ecr *>");
	while ((s = wire_next(0)) != NULL)
		again += s->len != 0;
	cr_assert_eq(again, 0);
	inject(". 1:1(0) ack 9881 win 65535 <ts 200 ecr *>");
	end_test();
}

Test(tcp_loss, every_single_lost_segment_is_repaired)
{
	for (u32 which = 0; which < 10; which++) {
		u32 una, i;
		bool got[20] = {0};

		flow_init(F, 80, (u16)(6000 + which));
		passive(SACK, 100);
		lost_seq = 1 + 1000 * which;
		wire_filter = lose_one;
		sock_send(10000);
		wire_filter = NULL;
		for (i = 0, una = 0; una < 10 && i < 200; i++) {
			struct seg *s = wire_next(2000);

			cr_assert_not_null(s, "loss of %u: stuck at %u", which, una);
			if (!s->len)
				continue;
			got[(s->seq - F->local_isn) / 1000] = true;
			while (got[una])
				una++;
			if (una < 10 && (s->seq - F->local_isn) / 1000 > una)
				injectf(". 1:1(0) ack %u win 65535 <sack %u:%u>", 1 + 1000 * una,
					s->seq - F->local_isn, s->seq - F->local_isn + 1000);
			else
				injectf(". 1:1(0) ack %u win 65535", 1 + 1000 * una);
		}
		cr_assert_eq(una, 10);
		tcp_disconnect(F->tp);
		tcp_close(F->tp);
		tcp_put(F->tp);
		F->tp = NULL;
		wire_drop();
	}
	end_test();
}
