/*
 * test_tcp_bind.c - ports: who may bind, listen and connect where (socket(7), ip(7)).
 */
#include "tcp_test.h"

TestSuite(tcp_bind, .init = tcp_test_start, .timeout = 60);

static int try_bind(struct tcp_sock **tp, u32 addr, u16 port, bool reuseaddr, bool reuseport)
{
	struct endpoint e = ep(addr, port);

	*tp = tcp_create(2);
	SET_OPT(*tp, reuseaddr, reuseaddr);
	SET_OPT(*tp, reuseport, reuseport);
	return tcp_bind(*tp, &e);
}

static void drop(struct tcp_sock *tp)
{
	tcp_close(tp);
	tcp_put(tp);
}

Test(tcp_bind, one_port_one_socket)
{
	struct tcp_sock *a, *b;

	cr_assert_eq(try_bind(&a, LOCAL_IP, 80, false, false), 0);
	cr_assert_eq(try_bind(&b, LOCAL_IP, 80, false, false), -EADDRINUSE);
	drop(b);
	cr_assert_eq(try_bind(&b, 0, 80, false, false), -EADDRINUSE);
	drop(b);
	cr_assert_eq(try_bind(&b, 0x7f000001, 80, false, false), 0); /* another address */
	drop(b);
	drop(a);
	cr_assert_eq(try_bind(&a, LOCAL_IP, 80, false, false), 0); /* free again */
	drop(a);
	end_test();
}

Test(tcp_bind, reuseaddr_is_asked_of_both_and_not_against_a_listener)
{
	struct tcp_sock *a, *b;

	cr_assert_eq(try_bind(&a, LOCAL_IP, 80, true, false), 0);
	cr_assert_eq(try_bind(&b, LOCAL_IP, 80, false, false), -EADDRINUSE);
	drop(b);
	cr_assert_eq(try_bind(&b, LOCAL_IP, 80, true, false), 0);
	cr_assert_eq(tcp_listen(a, 1), 0);
	cr_assert_eq(tcp_listen(b, 1), -EADDRINUSE);
	drop(b);
	cr_assert_eq(try_bind(&b, LOCAL_IP, 80, true, false), -EADDRINUSE);
	drop(b);
	drop(a);
	end_test();
}

Test(tcp_bind, reuseport_shares_a_listening_port)
{
	struct tcp_sock *l[4], *tp;
	u32 got[4] = {0};

	for (u32 i = 0; i < 4; i++) {
		cr_assert_eq(try_bind(&l[i], LOCAL_IP, 80, false, true), 0);
		cr_assert_eq(tcp_listen(l[i], 100), 0);
	}
	cr_assert_eq(try_bind(&tp, LOCAL_IP, 80, false, false), -EADDRINUSE);
	drop(tp);
	for (u32 i = 0; i < 64; i++) {
		flow_init(F, 80, (u16)(5000 + i));
		inject("S 0:0(0) win 65535");
		expect("S. 0:0(0) ack 1");
		inject(". 1:1(0) ack 1 win 65535");
	}
	for (u32 i = 0; i < 4; i++) {
		while ((tp = tcp_accept(l[i])) != NULL) {
			got[i]++;
			tcp_disconnect(tp);
			drop(tp);
		}
	}
	cr_assert_eq(got[0] + got[1] + got[2] + got[3], 64);
	for (u32 i = 0; i < 4; i++) {
		cr_assert_geq(got[i], 4, "listener %u got %u of 64", i, got[i]);
		drop(l[i]);
	}
	wire_drop();
	end_test();
}

Test(tcp_bind, specific_listener_before_the_general_one)
{
	struct tcp_sock *any, *mine;

	cr_assert_eq(try_bind(&any, 0, 80, true, false), 0);
	cr_assert_eq(try_bind(&mine, LOCAL_IP, 80, true, false), 0);
	cr_assert_eq(tcp_listen(any, 5), 0);
	if (tcp_listen(mine, 5)) { /* Linux refuses it */
		drop(mine);
		drop(any);
		end_test();
		return;
	}
	inject("S 0:0(0) win 65535");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	cr_assert_null(tcp_accept(any));
	F->tp = tcp_accept(mine);
	cr_assert_not_null(F->tp);
	drop(mine);
	drop(any);
	end_test();
}

Test(tcp_bind, general_listener_serves_any_address)
{
	struct tcp_sock *any;

	cr_assert_eq(try_bind(&any, 0, 80, false, false), 0);
	cr_assert_eq(tcp_listen(any, 5), 0);
	inject("S 0:0(0) win 65535");
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1 win 65535");
	F->tp = tcp_accept(any);
	cr_assert_not_null(F->tp);
	cr_assert_eq(tcp_local(F->tp).addr.b[3], 1);
	drop(any);
	end_test();
}

Test(tcp_bind, connection_survives_its_listener_and_holds_the_port)
{
	struct tcp_sock *b;

	passive(PLAIN, 0);
	drop(listener);
	listener = NULL;
	inject("P. 1:11(10) ack 1 win 65535");
	cr_assert_eq(sock_recv(100), 10);
	wire_drop();
	cr_assert_eq(try_bind(&b, LOCAL_IP, 80, false, false), -EADDRINUSE);
	drop(b);
	end_test();
}

Test(tcp_bind, server_restarts_over_time_wait_with_reuseaddr)
{
	struct tcp_sock *b;

	cr_assert_eq(try_bind(&listener, LOCAL_IP, 80, true, false), 0);
	cr_assert_eq(tcp_listen(listener, 5), 0);
	passive(PLAIN, 0);
	sock_close();
	expect("F. 1:1(0) ack 1");
	inject("F. 1:1(0) ack 2 win 65535");
	expect(". 2:2(0) ack 2");
	drop(listener);
	listener = NULL;
	cr_assert_eq(try_bind(&b, LOCAL_IP, 80, false, false), -EADDRINUSE);
	drop(b);
	cr_assert_eq(try_bind(&listener, LOCAL_IP, 80, true, false), 0);
	cr_assert_eq(tcp_listen(listener, 5), 0);
	flow_init(F, 80, 5001);
	passive(PLAIN, 0);
	end_test();
}

Test(tcp_bind, bound_port_is_used_to_connect)
{
	struct endpoint e = ep(REMOTE_IP, 5000);

	cr_assert_eq(try_bind(&F->tp, LOCAL_IP, 1234, false, false), 0);
	cr_assert_eq(tcp_connect(F->tp, &e), 0);
	cr_assert_eq(wire_next(0)->sport, 1234);
	cr_assert_eq(tcp_local(F->tp).port, 1234);
	cr_assert_eq(tcp_remote(F->tp).port, 5000);
	end_test();
}

Test(tcp_bind, ephemeral_ports_run_out_and_say_so)
{
	static struct tcp_sock *s[70000];
	struct endpoint e = ep(REMOTE_IP, 5000);
	int err = 0;
	u32 n = 0;

	while (n < 70000 && !err) {
		s[n] = tcp_create(2);
		cr_assert_not_null(s[n]);
		err = tcp_connect(s[n], &e);
		wire_drop();
		n++;
	}
	cr_assert_eq(err, -EADDRNOTAVAIL, "%d after %u", err, n);
	cr_assert_geq(n, 10000);
	drop(s[--n]);
	/* to another peer all of them are good again */
	e.port = 5001;
	F->tp = tcp_create(2);
	cr_assert_eq(tcp_connect(F->tp, &e), 0);
	while (n)
		drop(s[--n]);
	end_test();
}

static void count(struct tcp_sock *tp, void *arg)
{
	++*(u32 *)arg;
}

Test(tcp_bind, for_each_shows_every_socket)
{
	u32 n = 0;

	passive(PLAIN, 0);
	tcp_for_each(count, &n);
	cr_assert_eq(n, 2);
	end_test();
}
