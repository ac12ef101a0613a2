/*
 * test_tcp_listen.c - a listener under load and attack: accept queue, SYN floods, cookies (RFC 4987).
 */
#include "tcp_test.h"

TestSuite(tcp_listen, .init = tcp_test_start, .timeout = 60);

#define SYN(f) inject_flow(f, __FILE__, __LINE__, "S 0:0(0) win 65535 <mss 1400,sackOK,ts 100 ecr 0,wscale 5>")
#define EXPECT(f, text) expect_flow(f, __FILE__, __LINE__, text)
#define ACK(f) inject_flow(f, __FILE__, __LINE__, ". 1:1(0) ack 1 win 1000 <ts 101 ecr *>")

static struct tcp_sock *accept_close(void)
{
	struct tcp_sock *tp = tcp_accept(listener);

	if (tp) {
		tcp_disconnect(tp);
		tcp_close(tp);
		tcp_put(tp);
	}
	return tp;
}

/* n whole handshakes from ports first.. */
static void handshakes(u32 first, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		struct flow f;

		flow_init(&f, 80, (u16)(first + i));
		SYN(&f);
		if (!wire_caught())
			continue; /* a SYN that found the queue full */
		EXPECT(&f, "S. 0:0(0) ack 1");
		ACK(&f);
		expect_none();
	}
}

Test(tcp_listen, accept_gives_connections_in_their_order)
{
	listener = sock_listen(80, 10);
	handshakes(6000, 5);
	for (u32 i = 0; i < 5; i++) {
		struct tcp_sock *tp = tcp_accept(listener);

		cr_assert_not_null(tp);
		cr_assert_eq(tcp_remote(tp).port, 6000 + i);
		cr_assert_eq(tcp_local(tp).port, 80);
		tcp_disconnect(tp);
		tcp_close(tp);
		tcp_put(tp);
	}
	end_test();
}

Test(tcp_listen, full_backlog_keeps_more_out)
{
	u32 n = 0;

	listener = sock_listen(80, 3);
	handshakes(6000, 20);
	while (accept_close())
		n++;
	cr_assert(n == 3 || n == 4, "%u connections with a backlog of 3 (Linux: 4)", n);
	end_test();
}

Test(tcp_listen, room_in_the_backlog_is_used_again)
{
	struct flow f;

	listener = sock_listen(80, 1);
	handshakes(6000, 8);
	while (accept_close())
		;
	wire_drop();
	flow_init(&f, 80, 7000);
	SYN(&f);
	EXPECT(&f, "S. 0:0(0) ack 1");
	ACK(&f);
	cr_assert_not_null(accept_close());
	end_test();
}

Test(tcp_listen, closing_a_listener_resets_what_nobody_accepted)
{
	listener = sock_listen(80, 5);
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	ACK(F);
	tcp_close(listener);
	tcp_put(listener);
	listener = NULL;
	cr_assert_neq(wire_caught(), 0);
	cr_assert_neq(wire_next(0)->flags & TH_RST, 0);
	SYN(F);
	cr_assert_neq(wire_next(0)->flags & TH_RST, 0);
	end_test();
}

Test(tcp_listen, closing_a_listener_forgets_half_open_connections)
{
	listener = sock_listen(80, 5);
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	tcp_close(listener);
	tcp_put(listener);
	listener = NULL;
	wire_drop();
	expect_quiet(100000);
	end_test();
}

Test(tcp_listen, connection_reset_before_accept)
{
	listener = sock_listen(80, 5);
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	ACK(F);
	inject("R 1:1(0) <ts 102 ecr *>");
	expect_none();
	F->tp = tcp_accept(listener); /* as Linux: still accepted, read says so */
	if (F->tp) {
		expect_state(TCP_CLOSE);
		cr_assert_eq(tcp_take_error(F->tp), ECONNRESET);
	}
	end_test();
}

Test(tcp_listen, options_of_a_listener_are_inherited)
{
	listener = sock_listen(80, 5);
	SET_OPT(listener, nodelay, true);
	SET_OPT(listener, keep_cnt, 3);
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	ACK(F);
	F->tp = tcp_accept(listener);
	cr_assert(tcp_opts(F->tp)->nodelay);
	cr_assert_eq(tcp_opts(F->tp)->keep_cnt, 3);
	end_test();
}

Test(tcp_listen, defer_accept_waits_for_data)
{
	listener = sock_listen(80, 5);
	SET_OPT(listener, defer_accept_s, 10);
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	ACK(F);
	cr_assert_null(tcp_accept(listener));
	inject("P. 1:11(10) ack 1 win 1000 <ts 102 ecr *>");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	cr_assert_eq(sock_recv(100), 10);
	end_test();
}

/* Floods */

#define FLOOD 20000u

static u32 answered;

/* FLOOD SYNs that nobody will complete. */
static void flood(void)
{
	for (u32 i = 0; i < FLOOD; i++) {
		struct flow f;

		flow_init(&f, 80, (u16)(1024 + i % 60000));
		f.raddr = 0x0b000000u + i * 7919;
		SYN(&f);
		answered += wire_caught();
		wire_drop();
	}
}

Test(tcp_listen, flood_costs_bounded_memory)
{
	long before;

	listener = sock_listen(80, 128);
	before = net_allocated();
	flood();
	cr_assert_lt(net_allocated() - before, 512 * 1024);
	cr_assert_geq(nbuf_free_count(), nbuf_total() - 64);
	cr_assert_geq(answered, FLOOD / 2, "%u SYN-ACKs", answered);
	end_test();
}

Test(tcp_listen, cookie_opens_a_connection_with_its_options)
{
	const struct seg *s;

	listener = sock_listen(80, 16);
	flood();
	SYN(F);
	s = EXPECT(F, "S. 0:0(0) ack 1");
	cr_assert(s->o.ts_set);
	advance_ms(50);
	ACK(F);
	expect_none();
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp, "the cookie was refused");
	expect_state(TCP_ESTABLISHED);
	cr_assert_eq(info().tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE),
		     TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
	cr_assert_eq(info().tcpi_snd_wscale, 5, "%u", info().tcpi_snd_wscale);
	sock_send(3000);
	s = wire_next(0);
	cr_assert(s->len > 500 && s->len <= 1388, "segments of %u", s->len);
	end_test();
}

Test(tcp_listen, cookie_without_timestamps)
{
	listener = sock_listen(80, 16);
	flood();
	inject("S 0:0(0) win 5000 <mss 1000>");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 5000");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	sock_send(3000);
	cr_assert_leq(wire_next(0)->len, 1000);
	end_test();
}

Test(tcp_listen, cookie_data_arrive)
{
	listener = sock_listen(80, 16);
	flood();
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	inject("P. 1:101(100) ack 1 win 1000 <ts 101 ecr *>");
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	cr_assert_eq(sock_recv(1000), 100);
	end_test();
}

Test(tcp_listen, forged_cookies_are_refused)
{
	listener = sock_listen(80, 16);
	flood();
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	/* guesses near and far, for another port, for another sequence number of theirs */
	for (int i = 0; i < 5000; i++) {
		int guess = i < 2000 ? i - 1000 : (int)net_random(1u << 31);

		if (guess != 1)
			injectf(". 1:1(0) ack %d win 1000 <ts 101 ecr *>", guess);
	}
	F->rport++;
	ACK(F);
	F->rport--;
	F->peer_isn++;
	ACK(F);
	F->peer_isn--;
	cr_assert_null(tcp_accept(listener));
	wire_drop();
	end_test();
}

Test(tcp_listen, old_cookies_are_refused)
{
	listener = sock_listen(80, 16);
	flood();
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	advance_ms(10 * 60 * 1000);
	wire_drop();
	flood();
	ACK(F);
	cr_assert_null(tcp_accept(listener));
	end_test();
}

Test(tcp_listen, no_cookie_counts_when_there_was_no_flood)
{
	u32 ok = 0;

	listener = sock_listen(80, 16);
	for (u32 i = 0; i < 2000; i++) {
		injectf(". 1:1(0) ack %u win 1000", net_random(1u << 31));
		ok += tcp_accept(listener) != NULL;
	}
	cr_assert_eq(ok, 0);
	end_test();
}

Test(tcp_listen, flood_does_not_disturb_a_connection)
{
	passive(FULL, 0);
	flood();
	inject("P. 1:101(100) ack 1 win 65535 <ts 200 ecr *>");
	cr_assert_eq(sock_recv(1000), 100);
	wire_drop();
	sock_send(100);
	expect("P. 1:101(100) ack 101");
	end_test();
}

Test(tcp_listen, flood_leaves_nothing_behind)
{
	listener = sock_listen(80, 128);
	flood();
	advance_ms(200000);
	wire_drop();
	SYN(F);
	EXPECT(F, "S. 0:0(0) ack 1");
	ACK(F);
	F->tp = tcp_accept(listener);
	cr_assert_not_null(F->tp);
	end_test();
}
