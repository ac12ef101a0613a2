/*
 * test_sigpending.c - the queue of pending signals: what coalesces, what queues, and in which order
 * signals are taken.
 */
#include <criterion/criterion.h>

#include "libos/signal/pending.h"

static struct sigpending p;

static void setup(void)
{
	sigpending_init(&p);
}
TestSuite(sigpending, .init = setup);

static struct siginfo_k info_of(int sig, int code, int value)
{
	struct siginfo_k i;

	memset(&i, 0, sizeof(i));
	i.signo = sig;
	i.code = code;
	i.rt.value = (u64)value;
	return i;
}

static void send(int sig, int code, int value)
{
	struct siginfo_k i = info_of(sig, code, value);

	if (sigpending_check(&p, &i) == SIGPENDING_QUEUE) {
		struct sigqueue *q = calloc(1, sizeof(*q));

		q->info = i;
		sigpending_add(&p, sig, q);
	}
}

/* Takes the next of set; its signal, 0 if none. */
static int take(ksigset_t set, struct siginfo_k *i)
{
	int sig = sigpending_next(&p, set);

	if (sig)
		free(sigpending_take(&p, sig, i));
	return sig;
}

Test(sigpending, standard_signals_are_pending_once)
{
	struct siginfo_k i;

	send(10, 0, 1);
	send(10, 0, 2);
	cr_assert_eq(take(~0ull, &i), 10);
	cr_assert_eq(i.rt.value, 1, "the first siginfo is kept, not %lu", i.rt.value);
	cr_assert_eq(take(~0ull, &i), 0);
	cr_assert_eq(p.set, 0);
}

Test(sigpending, real_time_signals_queue_in_order_lowest_first)
{
	static const int expected[][2] = { { 34, 3 }, { 34, 5 }, { 35, 1 }, { 35, 2 }, { 64, 4 } };
	struct siginfo_k i;

	send(35, -1, 1);
	send(35, -1, 2);
	send(34, -1, 3);
	send(64, -1, 4);
	send(34, -1, 5);
	for (size_t n = 0; n < ARRAY_SIZE(expected); n++) {
		cr_assert_eq(take(~0ull, &i), expected[n][0]);
		cr_assert_eq(i.rt.value, (u64)expected[n][1]);
	}
	cr_assert_eq(take(~0ull, &i), 0);
}

Test(sigpending, the_bit_stays_until_the_last_instance_is_taken)
{
	struct siginfo_k i;

	send(40, -1, 1);
	send(40, -1, 2);
	take(~0ull, &i);
	cr_assert(p.set & sigbit(40));
	take(~0ull, &i);
	cr_assert_not(p.set & sigbit(40));
}

Test(sigpending, faults_go_before_lower_numbers)
{
	struct siginfo_k i;

	send(1, 0, 0);
	send(11, 2, 0);
	cr_assert_eq(take(~0ull, &i), 11);
	cr_assert_eq(take(~0ull, &i), 1);
}

Test(sigpending, only_what_is_in_the_set_is_taken)
{
	struct siginfo_k i;

	send(10, 0, 0);
	send(12, 0, 0);
	cr_assert_eq(take(~sigbit(10), &i), 12);
	cr_assert_eq(take(~sigbit(10), &i), 0);
	cr_assert_eq(take(~0ull, &i), 10);
}

Test(sigpending, a_lost_siginfo_reads_as_kill_from_pid_0)
{
	struct siginfo_k i;

	sigpending_add(&p, 10, NULL);
	cr_assert_eq(take(~0ull, &i), 10);
	cr_assert_eq(i.signo, 10);
	cr_assert_eq(i.code, 0);
	cr_assert_eq(i.rt.pid, 0);
}

Test(sigpending, a_timer_still_pending_overruns)
{
	struct siginfo_k i;

	for (int n = 0; n < 4; n++) {
		struct siginfo_k t = info_of(34, -2, 0);
		struct sigqueue *q;

		t.timer.tid = 7;
		if (sigpending_check(&p, &t) != SIGPENDING_QUEUE)
			continue;
		q = calloc(1, sizeof(*q));
		q->info = t;
		sigpending_add(&p, 34, q);
	}
	cr_assert_eq(take(~0ull, &i), 34);
	cr_assert_eq(i.timer.overrun, 3);
	cr_assert_eq(take(~0ull, &i), 0);
}

Test(sigpending, flush_drops_all_instances_and_nothing_else)
{
	struct list_head dead = LIST_HEAD_INIT(dead);
	struct siginfo_k i;

	send(34, -1, 1);
	send(35, -1, 2);
	send(34, -1, 3);
	cr_assert_eq(sigpending_flush(&p, sigbit(34), &dead), 2);
	cr_assert_eq(take(~0ull, &i), 35);
	cr_assert_eq(take(~0ull, &i), 0);
	while (!list_empty(&dead)) {
		struct sigqueue *q = list_first(&dead, struct sigqueue, link);

		list_del(&q->link);
		free(q);
	}
}
