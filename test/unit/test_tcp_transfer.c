/*
 * test_tcp_transfer.c - TCP talking to itself over a link with faults, in virtual time: every byte must arrive.
 */
#include "tcp_test.h"

TestSuite(tcp_transfer, .init = tcp_test_start, .timeout = 200);

struct side {
	struct flow f;
	u64 to_send, to_receive;
	bool closed;
};

static struct side a, b; /* a connects, b accepts; each checks with its own direction's pattern */
static u64 last_progress, longest_stall;

/* The pattern of sock_send() is the local one for both: the remote's is checked here. */
static u64 receive(struct side *s)
{
	static u8 buf[1 << 17];
	struct list_head list = LIST_HEAD_INIT(list);
	struct pkt *p, *next;
	u64 before = s->f.received;
	size_t n = tcp_recv_take(s->f.tp, &list, 1 << 20);

	list_for_each_entry_safe(p, next, &list, link) {
		pkt_copy_out(p, 0, buf, p->total);
		for (u32 i = 0; i < p->total; i++)
			cr_assert_eq(buf[i], stream_byte(true, s->f.received + i), "byte %lu is wrong",
				     s->f.received + i);
		s->f.received += p->total;
		list_del(&p->link);
		pkt_free(p);
	}
	cr_assert_eq(s->f.received - before, n);
	if (n)
		tcp_recv_consumed(s->f.tp, n);
	return n;
}

/* Does what can be done now. */
static void serve(struct side *s)
{
	u64 moved = 0;
	bool fin;

	if (!s->f.tp)
		return;
	for (;;) {
		ssize_t room = tcp_send_room(s->f.tp);
		u64 n = min(s->to_send - s->f.sent, 1 + (u64)net_random(20000));

		if (room <= 0 || !n)
			break;
		n = min(n, (u64)room);
		cr_assert_gt(sock_send_flow(&s->f, (u32)n, true), 0);
		moved += n;
	}
	moved += receive(s);
	cr_assert_eq(tcp_error_pending(s->f.tp), 0, "error %d after %lu of %lu sent, %lu of %lu received",
		     tcp_error_pending(s->f.tp), s->f.sent, s->to_send, s->f.received, s->to_receive);
	if (!s->closed && s->f.sent == s->to_send) {
		tcp_shutdown(s->f.tp, 1);
		s->closed = true;
	}
	tcp_recv_avail(s->f.tp, &fin);
	if (fin)
		cr_assert_eq(s->f.received, s->to_receive, "the end came after %lu of %lu", s->f.received,
			     s->to_receive);
	if (moved) {
		longest_stall = max(longest_stall, net_now() - last_progress);
		last_progress = net_now();
	}
}

static bool finished(struct side *s)
{
	bool fin = false;

	if (s->f.tp)
		tcp_recv_avail(s->f.tp, &fin);
	return fin && s->closed && tcp_outq(s->f.tp) == 0;
}

/* Both ways at once: up from a, down from b. The limit of a stall, ms, is of virtual time. */
static void transfer(struct link *l, u64 up, u64 down, u64 max_stall_ms)
{
	struct tcp_sock *lp = sock_listen(80, 5);
	struct endpoint e = ep(LOCAL_IP, 80), from = ep(REMOTE_IP, 0);
	u64 start = net_now(), steps = 0;

	a.to_send = b.to_receive = up;
	b.to_send = a.to_receive = down;
	wire_link(l);
	a.f.tp = tcp_create(2);
	cr_assert_eq(tcp_bind(a.f.tp, &from), 0);
	cr_assert_eq(tcp_connect(a.f.tp, &e), 0);
	last_progress = start;
	while (!finished(&a) || !finished(&b)) {
		if (!b.f.tp)
			b.f.tp = tcp_accept(lp);
		serve(&a);
		serve(&b);
		cr_assert_leq(net_now() - last_progress, max_stall_ms * MS,
			      "stalled: up %lu of %lu, down %lu of %lu", b.f.received, up, a.f.received, down);
		cr_assert(++steps < 100000000);
		if (!net_step(net_now() + max_stall_ms * MS + 1))
			cr_assert_fail("nothing is going to happen: up %lu of %lu, down %lu of %lu", b.f.received,
				       up, a.f.received, down);
	}
	cr_log_info("%lu+%lu bytes in %lu ms, longest stall %lu ms; lost %lu dup %lu reordered %lu corrupt %lu of %lu",
		    up, down, (unsigned long)((net_now() - start) / MS), (unsigned long)(longest_stall / MS), l->dropped, l->duplicated,
		    l->reordered, l->corrupted, l->delivered);
	for (int i = 0; i < 2; i++) {
		struct side *s = i ? &b : &a;

		tcp_close(s->f.tp);
		tcp_put(s->f.tp);
	}
	tcp_close(lp);
	tcp_put(lp);
	net_advance(400 * SEC);
	net_events_drop(free);
	wire_link(NULL);
	wire_check_clean();
}

#define MIB (1ul << 20)

Test(tcp_transfer, perfect_link)
{
	transfer(&(struct link){ .delay = MS }, 8 * MIB, 8 * MIB, 500);
}

Test(tcp_transfer, perfect_link_without_delay)
{
	transfer(&(struct link){0}, 8 * MIB, 0, 500);
}

Test(tcp_transfer, offload)
{
	wire_nif.flags |= NETIF_TSO;
	transfer(&(struct link){ .delay = MS }, 16 * MIB, MIB, 500);
}

Test(tcp_transfer, verified_checksums)
{
	wire_csum_ok = true;
	transfer(&(struct link){ .delay = MS, .loss = 10000 }, 4 * MIB, 4 * MIB, 30000);
}

Test(tcp_transfer, fragmented_packets)
{
	wire_frag = 100;
	transfer(&(struct link){ .delay = MS, .loss = 1000 }, 4 * MIB, 4 * MIB, 30000);
}

Test(tcp_transfer, long_fat_path)
{
	struct link l = { .delay = 50 * MS, .rate = 12500000, .queue = 1 << 20 };
	u64 start = net_now();

	transfer(&l, 32 * MIB, 0, 2000);
	/* 100 Mbit/s: 2.7 s when it is filled */
	cr_assert_lt((net_now() - start - 400 * SEC) / MS, 6000);
}

Test(tcp_transfer, bottleneck_with_a_short_queue)
{
	transfer(&(struct link){ .delay = 10 * MS, .rate = 1250000, .queue = 20000 }, 4 * MIB, 4 * MIB, 10000);
}

/* Faults, each with several seeds. Stalls: an RTO of some 300 ms, doubled a few times in a row by bad luck. */

TestSuite(tcp_faults, .timeout = 200);

#define SEEDED(name, seed, bytes, stall, ...) \
	Test(tcp_faults, name) \
	{ \
		struct link l = { __VA_ARGS__ }; \
\
		net_fail_hook = tcp_test_fail; \
		wire_start(seed); \
		transfer(&l, bytes, bytes, stall); \
	}
#define FAULTS(name, ...) \
	SEEDED(name##_1, 7919, __VA_ARGS__) \
	SEEDED(name##_2, 104729, __VA_ARGS__) \
	SEEDED(name##_3, 1299709, __VA_ARGS__)

FAULTS(loss_1_percent, 4 * MIB, 15000, .delay = 5 * MS, .loss = 10000)
FAULTS(loss_5_percent, 2 * MIB, 60000, .delay = 5 * MS, .loss = 50000)
FAULTS(loss_20_percent, MIB / 4, 300000, .delay = 5 * MS, .loss = 200000)
FAULTS(reordering, 4 * MIB, 15000, .delay = 5 * MS, .reorder = 100000, .reorder_delay = 20 * MS)
FAULTS(jitter, 4 * MIB, 15000, .delay = 5 * MS, .jitter = 5 * MS)
FAULTS(duplication, 4 * MIB, 5000, .delay = 5 * MS, .dup = 100000)
FAULTS(corruption, 2 * MIB, 30000, .delay = 5 * MS, .corrupt = 20000)
FAULTS(everything, 2 * MIB, 60000, .delay = 20 * MS, .jitter = 2 * MS, .loss = 20000, .dup = 20000,
       .corrupt = 10000, .reorder = 50000, .reorder_delay = 40 * MS, .rate = 5000000, .queue = 200000)

/* Many connections, some dying in the middle */

Test(tcp_transfer, hundred_connections_under_loss)
{
	static struct link l = { .delay = 5 * MS, .loss = 20000, .reorder = 20000, .reorder_delay = 10 * MS };
	static struct side c[100], s[100];
	struct tcp_sock *lp = sock_listen(80, 200);
	u32 accepted = 0, done = 0;

	wire_link(&l);
	for (u32 i = 0; i < 100; i++) {
		struct endpoint e = ep(LOCAL_IP, 80), from = ep(REMOTE_IP, (u16)(2000 + i));

		c[i].to_send = s[i].to_receive = 50000 + net_random(50000);
		c[i].f.tp = tcp_create(2);
		cr_assert_eq(tcp_bind(c[i].f.tp, &from), 0);
		cr_assert_eq(tcp_connect(c[i].f.tp, &e), 0);
	}
	for (u64 n = 0; done < 100; n++) {
		struct tcp_sock *tp;

		cr_assert_lt(n, 100000);
		while ((tp = tcp_accept(lp)) != NULL) {
			s[tcp_remote(tp).port - 2000].f.tp = tp;
			accepted++;
		}
		done = 0;
		for (u32 i = 0; i < 100; i++) {
			serve(&c[i]);
			serve(&s[i]);
			done += finished(&c[i]) && finished(&s[i]);
		}
		advance_ms(10);
	}
	cr_assert_eq(accepted, 100);
	for (u32 i = 0; i < 100; i++) {
		tcp_close(c[i].f.tp);
		tcp_put(c[i].f.tp);
		tcp_close(s[i].f.tp);
		tcp_put(s[i].f.tp);
	}
	tcp_close(lp);
	tcp_put(lp);
	net_advance(400 * SEC);
	net_events_drop(free);
	wire_link(NULL);
	wire_check_clean();
}
