/*
 * policy_sim.h - instances and cores in virtual time, to try the core policy on.
 *
 * Each step of SIM_STEP ns: work arrives and is done, kthreads park, spin, hear or do not hear that
 * they are asked for their core; then policy_decide(), whose actions take effect. After each step
 * the rules that always hold are checked; the tests read what was measured.
 */
#ifndef TEST_UNIT_POLICY_SIM_H
#define TEST_UNIT_POLICY_SIM_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "junctiond/scheduler/latency.h"
#include "junctiond/scheduler/policy.h"

#define SIM_STEP 2000ull
#define SIM_MAX_INST 1024u
#define SIM_WAKE_NS 4000ull /* from grant to running */
#define SIM_NO_CORE UINT32_MAX

enum sim_kind {
	SIM_HOG,     /* each kthread always has work; hears */
	SIM_SLEEPER, /* work comes now and then; spins a little, then parks */
	SIM_DEAF,    /* a hog that hears only the signal */
	SIM_HOSTILE, /* a hog that hears nothing */
};

struct sim_kt {
	uint64_t work;	     /* ns left */
	uint64_t next_work;  /* when the next comes (SIM_SLEEPER) */
	uint64_t runs_from;  /* granted, runs from then */
	uint64_t idle_since; /* spins since then; 0: does not */
	uint64_t leaves_at;  /* asked: parks then; 0: not asked */
	uint64_t wanted_at;  /* 0: does not wait */
	uint32_t core;
};

struct sim_inst {
	enum sim_kind kind;
	uint32_t nr_kt, guaranteed, max, weight;
	uint64_t mean_gap, mean_work; /* SIM_SLEEPER, ns */
	uint64_t service;	      /* ns of cores that it held and worked on */
	uint64_t longest_wait;	      /* of one kthread, to its grant */
	uint64_t short_since;	      /* below its guarantee and waiting since; 0: not */
	uint64_t longest_short;
	struct latency wake; /* waits of kthreads to their grant */
	struct sim_kt kt[POLICY_MAX_KTHREADS];
};

struct sim {
	struct policy *p;
	uint32_t nr_cores, nr_inst;
	uint64_t now, seed, idle_core_ns, preempted;
	struct sim_inst *inst;
	struct sim_kt *on[POLICY_MAX_CORES];
	uint32_t who[POLICY_MAX_CORES];
};

static inline uint64_t sim_random(struct sim *s)
{
	s->seed ^= s->seed << 13;
	s->seed ^= s->seed >> 7;
	s->seed ^= s->seed << 17;
	return s->seed;
}

/* Of mean `mean`, from 0 to twice it. */
static inline uint64_t sim_about(struct sim *s, uint64_t mean)
{
	return mean ? sim_random(s) % (2 * mean) : 0;
}

static inline void sim_init(struct sim *s, uint32_t nr_cores, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	s->nr_cores = nr_cores;
	s->seed = seed * 0x9e3779b97f4a7c15ull | 1;
	s->now = 1000000;
	s->p = policy_new(nr_cores, SIM_MAX_INST, &policy_defaults);
	s->inst = calloc(SIM_MAX_INST, sizeof(s->inst[0]));
	cr_assert(s->p && s->inst);
}

static inline void sim_exit(struct sim *s)
{
	policy_free(s->p);
	free(s->inst);
}

static inline struct sim_inst *sim_add(struct sim *s, enum sim_kind kind, uint32_t nr_kt,
				       uint32_t guaranteed, uint32_t max, uint32_t weight)
{
	uint32_t i = s->nr_inst++;
	struct sim_inst *in = &s->inst[i];

	*in = (struct sim_inst){.kind = kind,
				.nr_kt = nr_kt,
				.guaranteed = guaranteed,
				.max = max,
				.weight = weight,
				.mean_gap = 1000000,
				.mean_work = 20000};
	cr_assert_eq(policy_add(s->p, i, nr_kt, guaranteed, max, weight), 0);
	for (uint32_t k = 0; k < nr_kt; k++)
		in->kt[k].core = SIM_NO_CORE;
	return in;
}

static inline void sim_want(struct sim *s, uint32_t i, struct sim_kt *kt)
{
	if (kt->wanted_at || kt->core != SIM_NO_CORE)
		return;
	kt->wanted_at = s->now;
	policy_want(s->p, i, (uint32_t)(kt - s->inst[i].kt), s->now);
}

static inline void sim_leave(struct sim *s, uint32_t core)
{
	struct sim_kt *kt = s->on[core];

	kt->core = SIM_NO_CORE;
	kt->leaves_at = kt->idle_since = 0;
	s->on[core] = NULL;
	policy_park(s->p, core, s->now);
	if (kt->work)
		sim_want(s, s->who[core], kt);
}

static inline void sim_work(struct sim *s, uint32_t core)
{
	struct sim_kt *kt = s->on[core];
	struct sim_inst *in;

	if (!kt) {
		s->idle_core_ns += SIM_STEP;
		return;
	}
	in = &s->inst[s->who[core]];
	if (kt->leaves_at && s->now >= kt->leaves_at) {
		sim_leave(s, core);
		return;
	}
	if (s->now < kt->runs_from)
		return;
	if (kt->work) {
		if (kt->idle_since) {
			kt->idle_since = 0;
			policy_spin(s->p, core, false);
		}
		in->service += SIM_STEP;
		kt->work -= kt->work < SIM_STEP ? kt->work : SIM_STEP;
		if (!kt->work && in->kind != SIM_SLEEPER)
			kt->work = 1000000;
		return;
	}
	if (!kt->idle_since) {
		kt->idle_since = s->now;
		policy_spin(s->p, core, true);
	} else if (s->now > kt->idle_since + 30000) {
		sim_leave(s, core);
	}
}

static inline void sim_arrive(struct sim *s, uint32_t i)
{
	struct sim_inst *in = &s->inst[i];

	for (uint32_t k = 0; k < in->nr_kt; k++) {
		struct sim_kt *kt = &in->kt[k];

		if (in->kind != SIM_SLEEPER) {
			kt->work = kt->work ? kt->work : 1000000;
		} else if (s->now >= kt->next_work) {
			if (kt->next_work)
				kt->work += sim_about(s, in->mean_work) + SIM_STEP;
			kt->next_work = s->now + sim_about(s, in->mean_gap) + SIM_STEP;
		}
		if (kt->work)
			sim_want(s, i, kt);
	}
}

static inline void sim_act(struct sim *s, const struct policy_action *a)
{
	struct sim_inst *in = &s->inst[a->inst];
	struct sim_kt *kt = &in->kt[a->kthread];
	uint64_t wait;

	switch (a->what) {
	case POLICY_GRANT:
		cr_assert(!s->on[a->core], "core %u is granted twice", a->core);
		cr_assert(kt->core == SIM_NO_CORE && kt->wanted_at,
			  "a kthread that does not wait is granted");
		cr_assert_eq(a->since, kt->wanted_at);
		wait = s->now - kt->wanted_at;
		latency_add(&in->wake, wait);
		in->longest_wait = wait > in->longest_wait ? wait : in->longest_wait;
		kt->wanted_at = 0;
		kt->core = a->core;
		kt->runs_from = s->now + SIM_WAKE_NS;
		s->on[a->core] = kt;
		s->who[a->core] = a->inst;
		break;
	case POLICY_ASK:
		cr_assert(s->on[a->core] == kt && !kt->leaves_at);
		s->preempted++;
		if (in->kind == SIM_HOG || in->kind == SIM_SLEEPER)
			kt->leaves_at = s->now + sim_about(s, 10000) + 1;
		break;
	case POLICY_SIGNAL:
		cr_assert(s->on[a->core] == kt);
		if (in->kind != SIM_HOSTILE)
			kt->leaves_at = s->now + sim_about(s, 10000) + 1;
		break;
	case POLICY_DEMOTE:
		cr_assert(s->on[a->core] == kt);
		kt->core = SIM_NO_CORE;
		kt->leaves_at = kt->idle_since = 0;
		s->on[a->core] = NULL;
		kt->wanted_at = s->now;
		break;
	}
}

/* What holds at any time. */
static inline void sim_check(struct sim *s)
{
	uint32_t idle = 0;

	for (uint32_t c = 0; c < s->nr_cores; c++)
		idle += !s->on[c];
	cr_assert(!idle || !policy_nr_waiting(s->p), "%u cores idle, %u instances wait", idle,
		  policy_nr_waiting(s->p));
	for (uint32_t i = 0; i < s->nr_inst; i++) {
		struct sim_inst *in = &s->inst[i];
		uint32_t held = policy_held(s->p, i);

		cr_assert_leq(held, in->max, "instance %u holds %u of at most %u", i, held,
			      in->max);
		if (held < in->guaranteed && policy_waiting_since(s->p, i) != POLICY_NEVER) {
			if (!in->short_since)
				in->short_since = s->now;
			if (s->now - in->short_since > in->longest_short)
				in->longest_short = s->now - in->short_since;
		} else {
			in->short_since = 0;
		}
	}
}

static inline void sim_run(struct sim *s, uint64_t ns)
{
	struct policy_action actions[64];

	for (uint64_t end = s->now + ns; s->now < end; s->now += SIM_STEP) {
		uint32_t n;

		for (uint32_t c = 0; c < s->nr_cores; c++)
			sim_work(s, c);
		for (uint32_t i = 0; i < s->nr_inst; i++)
			sim_arrive(s, i);
		do {
			n = policy_decide(s->p, s->now, actions, 64);
			for (uint32_t i = 0; i < n; i++)
				sim_act(s, &actions[i]);
		} while (n == 64);
		sim_check(s);
	}
}

#endif
