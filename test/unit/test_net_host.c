/*
 * test_net_host.c - the bench that the network stack is tested on: its clock, memory and notation.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "libos/mm/alloc.h"
#include "libos/net/pkt.h"
#include "net_host.h"
#include "net_seg.h"

static char order[16];

static void note(char c)
{
	order[strlen(order)] = c;
}

static void timer_a(struct timer *t)
{
	note('a');
}

static void timer_b(struct timer *t)
{
	note('b');
	if (strlen(order) < 6)
		timer_arm(t, net_now() + 10 * MS);
}

static void event(void *arg)
{
	note(*(char *)arg);
}

static void fail_hook(const char *text)
{
	cr_assert_fail("%s", text);
}

static void start(void)
{
	net_host_start(1, 64);
	net_fail_hook = fail_hook;
}

Test(net_host, timers_and_events_run_in_order_at_their_time)
{
	struct timer a, b;
	u64 t0;

	start();
	timer_init(&a, timer_a);
	timer_init(&b, timer_b);
	t0 = net_now();
	timer_arm(&a, t0 + 20 * MS);
	timer_arm(&b, t0 + 5 * MS);
	net_at(t0 + 7 * MS, event, "1");
	net_at(t0 + 7 * MS, event, "2");
	net_advance(6 * MS);
	cr_assert_str_eq(order, "b");
	advance_ms(1);
	cr_assert_str_eq(order, "b12");
	advance_ms(100);
	cr_assert_str_eq(order, "b12bab");
	cr_assert_eq(net_now(), t0 + 107 * MS);
	cr_assert_eq(net_timers_armed(), 0);
}

Test(net_host, memory_is_counted)
{
	long before;
	void *p;

	start();
	before = net_allocated();
	p = kmalloc(100);
	cr_assert_eq(net_allocated(), before + 100);
	net_memory_limit(before + 150);
	cr_assert_null(kmalloc(51));
	kfree(p, 100);
	cr_assert_eq(net_allocated(), before);
}

static const char *through_bytes(struct flow *f, const char *text)
{
	struct seg_pattern q;
	struct seg s, back;
	u8 b[2048];
	u32 n;
	char *end;

	seg_parse_text(&q, text, __FILE__, __LINE__);
	seg_from_pattern(&s, &q, f);
	n = seg_to_bytes(&s, b);
	seg_fill_sum(b, n, f->raddr, f->laddr);
	cr_assert(seg_sum_good(b, n, f->raddr, f->laddr));
	seg_from_bytes(&back, b, n);
	end = (char *)seg_text(f, &back);
	*strstr(end, " port") = 0;
	seg_free(&s);
	seg_free(&back);
	return end;
}

Test(net_host, notation_goes_to_bytes_and_back)
{
	/* both ends alike, so that what is relative to one reads relative to the other */
	struct flow f = { .laddr = 1, .raddr = 2, .lport = 80, .rport = 5000, .local_isn = 0xfffffff0u,
			  .peer_isn = 0xfffffff0u };
	const char *texts[] = {
		"S 0:0(0) win 65535 <mss 1460,sackOK,ts 100 ecr 0,wscale 7>",
		"P. 1:1001(1000) ack 1 win 100 <>",
		". 1001:1001(0) ack 1 win 0 <sack 101:201 301:401>",
		"UF. 20:21(1) ack 5 win 1 urg 3 <>",
		"R. -1:-1(0) ack 1 win 0 <>",
	};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		cr_assert_str_eq(through_bytes(&f, texts[i]), texts[i]);
}

Test(net_host, expectations_compare_what_they_say)
{
	struct flow f = { .laddr = 2, .raddr = 1, .lport = 5000, .rport = 80 };
	struct seg_pattern q;
	struct seg s;
	char why[100];
	struct {
		const char *text;
		bool match;
	} t[] = {
		{ ". 1:11(10) ack 7", true },
		{ "P. 1:11(10) ack 7 win 5", true },
		{ "P. *(10) ack * <sack 9:19>", true },
		{ "F. 1:11(10) ack 7", false },
		{ ". 1:12(11) ack 7", false },
		{ ". 2:12(10) ack 7", false },
		{ ". 1:11(10) ack 8", false },
		{ ". 1:11(10) ack 7 win 6", false },
		{ ". 1:11(10) ack 7 <>", false },
		{ ". 1:11(10) ack 7 <sack 9:20>", false },
	};

	start();
	seg_parse_text(&q, "P. 1:11(10) ack 7 win 5 <nop,nop,sack 9:19>", __FILE__, __LINE__);
	seg_from_pattern(&s, &q, &(struct flow){ .laddr = 1, .raddr = 2, .lport = 80, .rport = 5000 });
	cr_assert(seg_to_bytes(&s, (u8[200]){0}));
	s.o = q.o;
	f.raw = true;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		seg_parse_text(&q, t[i].text, __FILE__, __LINE__);
		cr_assert_eq(seg_match(&f, &s, &q, why, sizeof(why)), t[i].match, "%s", t[i].text);
	}
	seg_free(&s);
}
