/*
 * policy.h - who shall have which core: a model of instances and cores, and the rules, with no
 * clock and no I/O.
 *
 * The caller tells what it sees (kthreads that want a core, that park, that spin) and the time;
 * decide() answers with actions, which the model takes as done. Times are ns of one clock.
 * Single-threaded.
 *
 *   - An idle core goes to a kthread that waits: instances below their guaranteed cores first, then
 * the one with the least virtual runtime (time on cores by weight), then who has waited longest.
 * Never above the maximum. The kthread's last core is taken if it is idle.
 *   - A kthread that spins holds its core until anybody wants it.
 *   - One that works is asked for its core when a kthread has waited for wait_bound and the core
 * has been held for min_slice, if its instance is above its guaranteed cores, and the waiting one
 * is either below its own, or behind it in virtual runtime by more than granularity.
 *   - Asked and still there: a signal after grace_signal, and after grace_demote more the kthread
 * is demoted: it counts as waiting, and the core as idle.
 *   - Who slept has no claim on the past: on waking, an instance stands at most `credit` behind the
 * virtual time of those that compete. Who had more than its share because nobody asked owes at most
 * `debt`.
 *
 * All guaranteed cores together must exist (add() refuses more), so that a guarantee can be kept;
 * with all cores guaranteed and busy, instances above their guarantee wait. Otherwise nobody
 * starves: whoever waits stands still in virtual time, and the others do not.
 *
 * The cost of decide() grows with cores and, by the logarithm, with instances that wait; not with
 * idle ones.
 */
#ifndef JUNCTION_SCHEDULER_POLICY_H
#define JUNCTION_SCHEDULER_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_MAX_CORES 256u
#define POLICY_MAX_KTHREADS 64u
#define POLICY_MAX_WEIGHT 10000u
#define POLICY_NEVER UINT64_MAX

struct policy_params {
	uint64_t min_slice, wait_bound, granularity; /* ns */
	uint64_t credit, debt;			     /* ns of a weight of 1 */
	uint64_t grace_signal, grace_demote;	     /* ns */
};

extern const struct policy_params policy_defaults;

enum policy_what {
	POLICY_GRANT,  /* kthread gets the core */
	POLICY_ASK,    /* ask kthread to give the core back */
	POLICY_SIGNAL, /* it did not hear: interrupt it */
	POLICY_DEMOTE, /* it does not listen: take the core by force; kthread counts as waiting from
			  now on */
};

struct policy_action {
	enum policy_what what;
	uint32_t core, inst, kthread;
	uint64_t since; /* GRANT: when the kthread began to wait */
};

struct policy;

/* NULL: no memory. inst numbers are below max_inst, cores below nr_cores. */
struct policy *policy_new(uint32_t nr_cores, uint32_t max_inst, const struct policy_params *params);
void policy_free(struct policy *p);

/* weight 0: 1. 0, -ENOMEM, -EINVAL (numbers out of range, inst in use), -ENOSPC: too many
 * guaranteed cores. */
int policy_add(struct policy *p, uint32_t inst, uint32_t nr_kthreads, uint32_t guaranteed,
	       uint32_t max, uint32_t weight);
/* Its cores become idle. */
void policy_remove(struct policy *p, uint32_t inst, uint64_t now);

/* Kthread wants a core, since `now`. Nothing if it waits already or holds one. */
void policy_want(struct policy *p, uint32_t inst, uint32_t kthread, uint64_t now);
/*
 * It waits, and yet runs: it was demoted, or nobody asked us. It comes before its siblings, who may
 * spin for a lock that it holds. Ends with its grant, or with policy_unwant().
 */
void policy_runs(struct policy *p, uint32_t inst, uint32_t kthread);
/* It wants none any more. */
void policy_unwant(struct policy *p, uint32_t inst, uint32_t kthread);
/* The holder of this core gave it back. */
void policy_park(struct policy *p, uint32_t core, uint64_t now);
/* The holder of this core is idle and polls, or works. */
void policy_spin(struct policy *p, uint32_t core, bool spinning);

/* At most max actions, in order (the rest comes with the next call). Returns how many. */
uint32_t policy_decide(struct policy *p, uint64_t now, struct policy_action *out, uint32_t max);
/* When decide() may have something to do though nothing is told; POLICY_NEVER: never. */
uint64_t policy_deadline(const struct policy *p, uint64_t now);

/* What the model says. */
bool policy_waits(const struct policy *p, uint32_t inst, uint32_t kthread);
/* The core that kthread holds, or -1. */
int policy_core_of(const struct policy *p, uint32_t inst, uint32_t kthread);
bool policy_core_holder(const struct policy *p, uint32_t core, uint32_t *inst, uint32_t *kthread);
uint32_t policy_held(const struct policy *p, uint32_t inst);
/* When the oldest waiting kthread of inst began to wait; POLICY_NEVER: none waits. */
uint64_t policy_waiting_since(const struct policy *p, uint32_t inst);
/* Instances that wait for a core that they may have. */
uint32_t policy_nr_waiting(const struct policy *p);
/* Elementary steps that all decisions took, for tests of their cost. */
uint64_t policy_steps(const struct policy *p);

#endif
