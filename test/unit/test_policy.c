/*
 * test_policy.c - the core policy in virtual time: fair shares, guarantees, maxima, waits, hostile
 * instances.
 */
#include "test/unit/policy_sim.h"
#include "test/unit/test_seed.h"

#include <errno.h>
#include <stdio.h>

#define MS 1000000ull

/* A guarantee is met after: a wait, a slice, both graces, and the steps between. */
static const uint64_t guarantee_bound = 20000 + 50000 + 15000 + 200000 + 4 * SIM_STEP;

static void expect_share(const struct sim_inst *in, double want, double within, const char *what)
{
	double got = (double)in->service;

	cr_expect(got > want * (1 - within) && got < want * (1 + within),
		  "%s: %.2f ms of cores, %.2f expected", what, got / 1e6, want / 1e6);
}

Test(policy, equal_hogs_get_equal_shares)
{
	for (uint32_t cores = 1; cores <= 16; cores *= 2) {
		struct sim s;
		uint64_t total = 0;
		uint32_t n = cores * 2 + 1;

		sim_init(&s, cores, cores);
		for (uint32_t i = 0; i < n; i++)
			sim_add(&s, SIM_HOG, 1, 0, 1, 1);
		sim_run(&s, 200 * MS);
		for (uint32_t i = 0; i < n; i++)
			total += s.inst[i].service;
		for (uint32_t i = 0; i < n; i++)
			expect_share(&s.inst[i], (double)total / n, 0.05, "equal hog");
		cr_expect_gt(total, 200 * MS * cores * 9 / 10, "too much time lost in switching");
		sim_exit(&s);
	}
}

Test(policy, shares_follow_weights)
{
	static const uint32_t weights[] = {1, 2, 4, 1};

	for (uint32_t cores = 1; cores <= 8; cores *= 2) {
		struct sim s;
		uint64_t total = 0;

		sim_init(&s, cores, cores);
		for (uint32_t i = 0; i < 4; i++)
			sim_add(&s, SIM_HOG, cores, 0, cores, weights[i]);
		sim_run(&s, 400 * MS);
		for (uint32_t i = 0; i < 4; i++)
			total += s.inst[i].service;
		for (uint32_t i = 0; i < 4; i++)
			expect_share(&s.inst[i], (double)total * weights[i] / 8, 0.05,
				     "weighted hog");
		sim_exit(&s);
	}
}

/* One that runs alone for long owes nothing for it; one that slept long is owed nothing. */
Test(policy, the_past_is_forgotten)
{
	struct sim s;
	uint64_t before;

	sim_init(&s, 1, 7);
	sim_add(&s, SIM_HOG, 1, 0, 1, 1);
	sim_run(&s, 500 * MS);
	before = s.inst[0].service;
	sim_add(&s, SIM_HOG, 1, 0, 1, 1);
	sim_run(&s, 100 * MS);
	expect_share(&s.inst[1], 50 * MS, 0.1, "newcomer");
	cr_expect_gt(s.inst[0].service - before, 40 * MS, "the old one pays for the past");
	cr_expect_lt(s.inst[0].longest_wait, 3 * MS, "the old one stood still for %.2f ms",
		     (double)s.inst[0].longest_wait / 1e6);
	sim_exit(&s);
}

/* A limit that binds one must not let another be starved by a newcomer later. */
Test(policy, a_maximum_builds_no_claims)
{
	struct sim s;

	sim_init(&s, 4, 3);
	sim_add(&s, SIM_HOG, 4, 0, 1, 1);
	sim_add(&s, SIM_HOG, 4, 0, 4, 1);
	sim_run(&s, 300 * MS);
	expect_share(&s.inst[0], 300 * MS, 0.05, "limited to one");
	expect_share(&s.inst[1], 900 * MS, 0.05, "the rest");
	s.inst[1].longest_wait = 0;
	sim_add(&s, SIM_HOG, 4, 0, 4, 1);
	sim_run(&s, 100 * MS);
	expect_share(&s.inst[2], 150 * MS, 0.1, "newcomer");
	sim_exit(&s);
}

Test(policy, guarantees_hold_under_any_load)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct sim s;
		uint32_t cores = 2 + seed * 2;

		sim_init(&s, cores, seed);
		for (uint32_t i = 0; i < cores * 2; i++)
			sim_add(&s, i % 4 == 3 ? SIM_HOSTILE : SIM_HOG, 2, 0, 2, 1 + i % 3);
		for (uint32_t i = 0; i < cores / 2; i++)
			sim_add(&s, i ? SIM_SLEEPER : SIM_HOG, 2, 1 + !i, 2, 1);
		sim_run(&s, 200 * MS);
		for (uint32_t i = 0; i < s.nr_inst; i++)
			cr_expect_leq(s.inst[i].longest_short, guarantee_bound,
				      "seed %lu: instance %u was short of its guarantee for %lu us",
				      seed, i, s.inst[i].longest_short / 1000);
		/* all the time but for switches, which its guarantee does not prevent at the start
		 * only */
		cr_expect_gt(s.inst[cores * 2].service, 2 * 195 * MS,
			     "seed %lu: guaranteed hog got %.1f ms", seed,
			     (double)s.inst[cores * 2].service / 1e6);
		sim_exit(&s);
	}
}

/* Short requests among hogs of every kind: how long until a core. */
Test(policy, wakes_are_bounded_among_hogs)
{
	for (uint32_t cores = 1; cores <= 16; cores *= 2) {
		struct sim s;
		struct latency all = {0};
		uint64_t longest = 0;

		sim_init(&s, cores, 11 * cores);
		for (uint32_t i = 0; i < cores; i++)
			sim_add(&s, SIM_HOG + 2 * (i % 2), 1, 0, 1, 1);
		sim_add(&s, SIM_HOSTILE, cores, 0, cores, 1);
		for (uint32_t i = 0; i < 4; i++)
			sim_add(&s, SIM_SLEEPER, 1, 0, 1, 1);
		sim_run(&s, 400 * MS);
		for (uint32_t i = cores + 1; i < s.nr_inst; i++) {
			const struct latency *l = &s.inst[i].wake;

			for (uint32_t b = 0; b < LATENCY_BUCKETS; b++)
				all.buckets[b] += l->buckets[b];
			all.total += l->total;
			if (s.inst[i].longest_wait > longest)
				longest = s.inst[i].longest_wait;
		}
		cr_log_info("%u cores: wake p50 %lu us, p99 %lu us, longest %lu us", cores,
			    latency_quantile(&all, 500) / 1000, latency_quantile(&all, 990) / 1000,
			    longest / 1000);
		cr_expect_lt(latency_quantile(&all, 990), 400000, "%u cores: p99 %lu us", cores,
			     latency_quantile(&all, 990) / 1000);
		cr_expect_lt(longest, MS, "%u cores: longest wait %lu us", cores, longest / 1000);
		sim_exit(&s);
	}
}

/* Hostile ones get their share and no more; nobody is starved. */
Test(policy, hostile_instances_get_their_share)
{
	struct sim s;
	uint64_t total = 0;

	sim_init(&s, 2, 5);
	for (uint32_t i = 0; i < 4; i++)
		sim_add(&s, i < 2 ? SIM_HOSTILE : SIM_HOG, 1, 0, 1, 1);
	sim_run(&s, 400 * MS);
	for (uint32_t i = 0; i < 4; i++)
		total += s.inst[i].service;
	for (uint32_t i = 0; i < 4; i++)
		expect_share(&s.inst[i], (double)total / 4, 0.05, i < 2 ? "hostile" : "decent");
	sim_exit(&s);
}

/* Many instances of all kinds come and go at random. */
Test(policy, random_load_starves_nobody)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct sim s;
		uint32_t cores = 1 + seed * 5 % 16, left;

		sim_init(&s, cores, seed);
		left = cores - 1;
		for (uint32_t i = 0; i < 60; i++) {
			enum sim_kind kind = sim_random(&s) % 12 ? SIM_SLEEPER : sim_random(&s) % 4;
			uint32_t kts = 1 + sim_random(&s) % 4;
			uint32_t max = 1 + sim_random(&s) % kts,
				 guaranteed = sim_random(&s) % 5 == 0;
			struct sim_inst *in;

			if (guaranteed > left)
				guaranteed = 0;
			left -= guaranteed;
			in = sim_add(&s, kind, kts, guaranteed, max, 1 + sim_random(&s) % 3);
			in->mean_gap = 100000 + sim_random(&s) % (20 * MS);
			in->mean_work = 5000 + sim_random(&s) % 300000;
		}
		sim_run(&s, 100 * MS);
		for (uint32_t i = 0; i < s.nr_inst; i++) {
			struct sim_inst *in = &s.inst[i];
			uint64_t since = policy_waiting_since(s.p, i);
			uint64_t waits = since == POLICY_NEVER ? 0 : s.now - since;

			if (in->longest_wait > waits)
				waits = in->longest_wait;
			cr_expect_leq(in->longest_short, guarantee_bound,
				      "seed %lu: %u short for %lu us", seed, i,
				      in->longest_short / 1000);
			/* a kthread of an instance at its maximum waits for its own siblings */
			if (in->max == in->nr_kt)
				cr_expect_lt(waits, 60 * MS,
					     "seed %lu, %u cores: instance %u waited %.2f ms", seed,
					     cores, i, (double)waits / 1e6);
		}
		sim_exit(&s);
	}
}

/* A decision costs as much with thousands of idle instances as with none. */
Test(policy, idle_instances_cost_nothing)
{
	uint64_t steps[2];

	for (uint32_t round = 0; round < 2; round++) {
		struct sim s;

		sim_init(&s, 4, 9);
		for (uint32_t i = 0; i < 8; i++)
			sim_add(&s, SIM_HOG, 1, 0, 1, 1);
		for (uint32_t i = 8; round && i < SIM_MAX_INST; i++)
			cr_assert_eq(policy_add(s.p, i, 1, 0, 1, 1), 0);
		sim_run(&s, 20 * MS);
		steps[round] = policy_steps(s.p);
		sim_exit(&s);
	}
	cr_expect_eq(steps[0], steps[1], "%lu steps alone, %lu among idle ones", steps[0],
		     steps[1]);
}

static uint32_t decide(struct policy *p, uint64_t now, struct policy_action *a)
{
	return policy_decide(p, now, a, 8);
}

Test(policy, the_last_core_is_taken_if_idle)
{
	struct policy *p = policy_new(4, 8, &policy_defaults);
	struct policy_action a[8];

	for (uint32_t i = 0; i < 4; i++) {
		policy_add(p, i, 1, 0, 1, 1);
		policy_want(p, i, 0, 1000);
	}
	cr_assert_eq(decide(p, 1000, a), 4);
	for (uint32_t i = 0; i < 4; i++)
		policy_park(p, a[i].core, 2000);
	for (int i = 3; i >= 0; i--) {
		uint32_t inst = a[i].inst, core = a[i].core;
		struct policy_action b[8];

		policy_want(p, inst, 0, 3000);
		cr_assert_eq(decide(p, 3000, b), 1);
		cr_expect_eq(b[0].core, core, "instance %u moved from core %u to %u", inst, core,
			     b[0].core);
	}
	policy_free(p);
}

Test(policy, a_spinner_keeps_its_core_until_somebody_wants_it)
{
	struct policy *p = policy_new(1, 8, &policy_defaults);
	struct policy_action a[8];

	policy_add(p, 0, 1, 0, 1, 1);
	policy_add(p, 1, 1, 0, 1, 1);
	policy_want(p, 0, 0, 1000);
	cr_assert_eq(decide(p, 1000, a), 1);
	policy_spin(p, 0, true);
	for (uint64_t t = 2000; t < 100 * MS; t += MS)
		cr_assert_eq(decide(p, t, a), 0);
	cr_assert_eq(policy_deadline(p, 100 * MS), POLICY_NEVER);
	policy_want(p, 1, 0, 100 * MS);
	cr_assert_eq(decide(p, 100 * MS, a), 1);
	cr_expect(a[0].what == POLICY_ASK && a[0].inst == 0);
	cr_assert_eq(decide(p, 100 * MS + 15000, a), 1);
	cr_expect_eq(a[0].what, POLICY_SIGNAL);
	cr_assert_eq(decide(p, 100 * MS + 215000, a), 2);
	cr_expect_eq(a[0].what, POLICY_DEMOTE);
	cr_expect(a[1].what == POLICY_GRANT && a[1].inst == 1);
	cr_expect(policy_waits(p, 0, 0), "who was demoted waits for its turn");
	policy_free(p);
}

/* It may hold a lock that its siblings spin for. */
Test(policy, one_that_was_demoted_comes_before_its_siblings)
{
	struct policy *p = policy_new(1, 8, &policy_defaults);
	struct policy_action a[8];

	policy_add(p, 0, 4, 0, 1, 1);
	policy_add(p, 1, 1, 0, 1, 1);
	policy_want(p, 0, 2, 1000);
	cr_assert_eq(decide(p, 1000, a), 1);
	policy_want(p, 0, 0, 2000);
	policy_want(p, 1, 0, 2000);
	cr_assert_eq(decide(p, 2000000, a), 1);
	cr_expect_eq(a[0].what, POLICY_ASK);
	decide(p, 3000000, a);
	cr_assert_eq(decide(p, 3000000, a), 2);
	cr_expect(a[0].what == POLICY_DEMOTE && a[1].what == POLICY_GRANT && a[1].inst == 1);
	policy_park(p, 0, 4000000);
	cr_assert_eq(decide(p, 4000000, a), 1);
	cr_expect(a[0].inst == 0 && a[0].kthread == 2, "kthread %u", a[0].kthread);
	policy_free(p);
}

Test(policy, an_instance_may_go_at_any_moment)
{
	struct policy *p = policy_new(2, 8, &policy_defaults);
	struct policy_action a[8];
	uint32_t inst, kt;

	policy_add(p, 0, 2, 0, 2, 1);
	policy_add(p, 1, 1, 1, 1, 1);
	policy_want(p, 0, 0, 1000);
	policy_want(p, 0, 1, 1000);
	cr_assert_eq(decide(p, 1000, a), 2);
	policy_want(p, 1, 0, MS);
	cr_assert_eq(decide(p, 2 * MS, a), 1);
	cr_expect_eq(a[0].what, POLICY_ASK);
	policy_remove(p, 1, 2 * MS); /* whom the core was for */
	cr_assert_eq(policy_nr_waiting(p), 0);
	cr_assert_eq(policy_add(p, 1, 1, 1, 1, 1), 0);
	policy_want(p, 1, 0, 2 * MS);
	policy_remove(p, 0, 3 * MS); /* who holds both */
	cr_assert_eq(decide(p, 3 * MS, a), 1);
	cr_expect(a[0].what == POLICY_GRANT && a[0].inst == 1);
	policy_remove(p, 1, 4 * MS);
	cr_expect_not(policy_core_holder(p, 0, &inst, &kt) || policy_core_holder(p, 1, &inst, &kt));
	policy_free(p);
}

/* Whatever is told in whatever order, the books agree with what was answered. */
Test(policy, random_calls_keep_the_books)
{
	enum { CORES = 5, INSTS = 40, KTS = 6 };
	struct policy *p = policy_new(CORES, INSTS, &policy_defaults);
	struct {
		uint32_t inst, kt;
		bool held;
	} books[CORES] = {{0}};
	struct policy_action a[16];
	uint32_t inst, kt, held[INSTS];
	uint64_t now = 1000;

	for (uint32_t step = 0; step < 300000; step++) {
		uint32_t i = test_random(INSTS), k = test_random(KTS), c = test_random(CORES);

		now += test_random(30000);
		switch (test_random(8)) {
		case 0:
			policy_add(p, i, 1 + test_random(KTS), test_random(10) == 0,
				   1 + test_random(KTS), test_random(4));
			break;
		case 1:
			if (test_random(20))
				break;
			policy_remove(p, i, now);
			for (c = 0; c < CORES; c++)
				if (books[c].held && books[c].inst == i)
					books[c].held = false;
			break;
		case 2:
			policy_unwant(p, i, k);
			break;
		case 3:
			policy_park(p, c, now);
			books[c].held = false;
			break;
		case 4:
			policy_spin(p, c, test_random(2));
			break;
		case 5:
			policy_runs(p, i, k);
			break;
		default:
			policy_want(p, i, k, now);
		}
		uint32_t n = policy_decide(p, now, a, 1 + test_random(16));

		for (uint32_t j = 0; j < n; j++) {
			c = a[j].core;
			cr_assert_eq(books[c].held, a[j].what != POLICY_GRANT);
			if (a[j].what == POLICY_GRANT) {
				books[c].inst = a[j].inst;
				books[c].kt = a[j].kthread;
			}
			cr_assert(books[c].inst == a[j].inst && books[c].kt == a[j].kthread);
			books[c].held = a[j].what != POLICY_DEMOTE;
		}
		memset(held, 0, sizeof(held));
		for (c = 0; c < CORES; c++) {
			cr_assert_eq(policy_core_holder(p, c, &inst, &kt), books[c].held);
			if (!books[c].held)
				continue;
			cr_assert(inst == books[c].inst && kt == books[c].kt);
			cr_assert_eq(policy_core_of(p, inst, kt), (int)c);
			held[inst]++;
		}
		for (i = 0; i < INSTS; i++)
			cr_assert_eq(policy_held(p, i), held[i]);
	}
	policy_free(p);
}

Test(policy, more_guarantees_than_cores_are_refused)
{
	struct policy *p = policy_new(2, 8, &policy_defaults);

	cr_expect_eq(policy_add(p, 0, 2, 2, 2, 1), 0);
	cr_expect_eq(policy_add(p, 1, 1, 1, 1, 1), -ENOSPC);
	cr_expect_eq(policy_add(p, 1, 1, 0, 1, 1), 0);
	cr_expect_eq(policy_add(p, 1, 1, 0, 1, 1), -EINVAL, "twice");
	cr_expect_eq(policy_add(p, 2, 1, 2, 1, 1), -EINVAL, "guaranteed above the maximum");
	cr_expect_eq(policy_add(p, 9, 1, 0, 1, 1), -EINVAL, "number out of range");
	policy_remove(p, 0, 1);
	cr_expect_eq(policy_add(p, 2, 1, 1, 1, 1), 0);
	policy_free(p);
}
