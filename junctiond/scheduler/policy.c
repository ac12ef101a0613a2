/*
 * policy.c - who shall have which core (policy.h has the rules).
 *
 * Instances that may be given a core stand in one of two heaps: `open`, for whom another core must
 * be found, and `promised`, for whom as many cores were asked for as they can use. Both are ordered
 * by (below guaranteed, virtual runtime, oldest wait). Idle instances stand in none.
 *
 * Virtual runtime is in ns * VR_SCALE / weight. `vtime` is that of the competition: the least among
 * those that wait; while nobody waits, the most among those that run, since then nobody is owed
 * anything.
 */
#include "junctiond/scheduler/policy.h"

#include <errno.h>
#include <stdlib.h>

#define VR_SCALE 64u
#define NONE UINT32_MAX

enum { HEAP_NONE, HEAP_OPEN, HEAP_PROMISED };

struct inst {
	uint32_t number, nr_kthreads;
	uint32_t guaranteed, max, weight;
	uint32_t held;	    /* cores */
	uint32_t asked;	    /* of them, asked back */
	uint32_t promised;  /* cores asked for on its behalf */
	uint32_t heap, pos; /* HEAP_* */
	uint64_t vruntime;
	uint64_t waiting; /* bit per kthread */
	uint64_t runs;	  /* of them, those that run without a core */
	uint64_t oldest;  /* earliest `since` of those; POLICY_NEVER */
	struct {
		uint64_t since;
		int16_t core; /* held, or -1 */
		int16_t last_core;
	} kt[];
};

struct core {
	struct inst *holder;   /* NULL: idle */
	struct inst *promised; /* asked back for that one */
	uint32_t kthread;
	bool spinning, signalled;
	uint64_t since, charged, asked; /* asked 0: not */
};

struct heap {
	struct inst **v;
	uint32_t len;
};

struct policy {
	struct policy_params par;
	uint32_t nr_cores, max_inst, nr_idle;
	uint32_t guaranteed; /* sum */
	uint64_t vtime, steps;
	struct inst **inst;
	struct heap open, promised;
	struct core cores[POLICY_MAX_CORES];
};

const struct policy_params policy_defaults = {
	.min_slice = 50000,
	.wait_bound = 20000,
	.granularity = 200000,
	.credit = 1000000,
	.debt = 5000000,
	.grace_signal = 15000,
	.grace_demote = 200000,
};

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Heaps */

static bool below_guaranteed(const struct inst *in)
{
	return in->held + (in->heap == HEAP_OPEN ? in->promised : 0) < in->guaranteed;
}

static bool before(const struct inst *a, const struct inst *b)
{
	bool ga = below_guaranteed(a), gb = below_guaranteed(b);

	if (ga != gb)
		return ga;
	if (a->vruntime != b->vruntime)
		return a->vruntime < b->vruntime;
	if (a->oldest != b->oldest)
		return a->oldest < b->oldest;
	return a->number < b->number;
}

static struct heap *heap_of(struct policy *p, uint32_t which)
{
	return which == HEAP_OPEN ? &p->open : &p->promised;
}

static void heap_put(struct heap *h, uint32_t pos, struct inst *in)
{
	h->v[pos] = in;
	in->pos = pos;
}

static void heap_up(struct policy *p, struct heap *h, struct inst *in)
{
	uint32_t pos = in->pos;

	for (; pos && before(in, h->v[(pos - 1) / 2]); pos = (pos - 1) / 2) {
		heap_put(h, pos, h->v[(pos - 1) / 2]);
		p->steps++;
	}
	heap_put(h, pos, in);
}

static void heap_down(struct policy *p, struct heap *h, struct inst *in)
{
	uint32_t pos = in->pos, kid;

	while ((kid = 2 * pos + 1) < h->len) {
		p->steps++;
		if (kid + 1 < h->len && before(h->v[kid + 1], h->v[kid]))
			kid++;
		if (!before(h->v[kid], in))
			break;
		heap_put(h, pos, h->v[kid]);
		pos = kid;
	}
	heap_put(h, pos, in);
}

static void heap_remove(struct policy *p, struct inst *in)
{
	struct heap *h;
	struct inst *last;

	if (in->heap == HEAP_NONE)
		return;
	h = heap_of(p, in->heap);
	last = h->v[--h->len];
	in->heap = HEAP_NONE;
	if (last == in)
		return;
	heap_put(h, in->pos, last);
	heap_up(p, h, last);
	heap_down(p, h, last);
}

/* Cores that it may still be given and has a use for. */
static uint32_t need(const struct inst *in)
{
	uint32_t waiting = (uint32_t)__builtin_popcountll(in->waiting);
	uint32_t room = in->held < in->max ? in->max - in->held : 0;

	return waiting < room ? waiting : room;
}

/* Puts it where it belongs after anything about it has changed. `in` must be out of the heaps, or
 * unchanged. */
static void heap_insert(struct policy *p, struct inst *in)
{
	struct heap *h;
	uint32_t n = need(in);

	if (!n)
		return;
	in->heap = in->promised >= n ? HEAP_PROMISED : HEAP_OPEN;
	h = heap_of(p, in->heap);
	in->pos = h->len++;
	heap_up(p, h, in);
}

/* Waiting */

static void find_oldest(struct inst *in)
{
	in->oldest = POLICY_NEVER;
	for (uint64_t left = in->waiting; left; left &= left - 1) {
		uint64_t since = in->kt[__builtin_ctzll(left)].since;

		if (since < in->oldest)
			in->oldest = since;
	}
}

static void set_waiting(struct policy *p, struct inst *in, uint32_t k, uint64_t now)
{
	uint64_t credit = p->par.credit * VR_SCALE;

	/* Whoever begins to compete brings no claim older than the credit. */
	if (!in->waiting && p->vtime > credit)
		in->vruntime = max64(in->vruntime, p->vtime - credit);
	in->waiting |= 1ull << k;
	in->kt[k].since = now;
	if (now < in->oldest)
		in->oldest = now;
}

static void clear_waiting(struct inst *in, uint32_t k)
{
	in->waiting &= ~(1ull << k);
	in->runs &= ~(1ull << k);
	find_oldest(in);
}

/* Time */

/* Adds what has been used since the last time to the holder of one core. */
static void charge(struct policy *p, struct core *c, uint64_t now)
{
	if (now <= c->charged)
		return;
	c->holder->vruntime += (now - c->charged) * VR_SCALE / c->holder->weight;
	c->charged = now;
}

static void charge_all(struct policy *p, uint64_t now)
{
	uint64_t most = 0, least = POLICY_NEVER, low, most_owed;

	for (uint32_t i = 0; i < p->nr_cores; i++) {
		struct core *c = &p->cores[i];

		p->steps++;
		if (!c->holder)
			continue;
		heap_remove(p, c->holder);
		charge(p, c, now);
		heap_insert(p, c->holder);
		most = max64(most, c->holder->vruntime);
	}
	if (p->open.len)
		least = p->open.v[0]->vruntime;
	if (p->promised.len && p->promised.v[0]->vruntime < least)
		least = p->promised.v[0]->vruntime;
	p->vtime = max64(p->vtime, least != POLICY_NEVER ? least : most);
	/* While nobody waits all are even; else claims and debts are bounded. */
	low = most_owed = p->vtime;
	if (least != POLICY_NEVER) {
		low -= low < p->par.credit * VR_SCALE ? low : p->par.credit * VR_SCALE;
		most_owed += p->par.debt * VR_SCALE;
	}
	for (uint32_t i = 0; i < p->nr_cores; i++) {
		struct inst *in = p->cores[i].holder;

		if (!in || (in->vruntime <= most_owed && in->vruntime >= low))
			continue;
		heap_remove(p, in);
		in->vruntime = in->vruntime < low ? low : most_owed;
		heap_insert(p, in);
	}
}

/* Cores */

static void core_release(struct policy *p, struct core *c, uint64_t now)
{
	struct inst *in = c->holder, *for_whom = c->promised;

	heap_remove(p, in);
	charge(p, c, now);
	in->held--;
	in->asked -= c->asked != 0;
	in->kt[c->kthread].core = -1;
	c->holder = NULL;
	c->promised = NULL;
	c->asked = 0;
	p->nr_idle++;
	heap_insert(p, in);
	if (for_whom) {
		heap_remove(p, for_whom);
		for_whom->promised--;
		heap_insert(p, for_whom);
	}
}

static uint32_t idle_core(struct policy *p, int last)
{
	if (last >= 0 && !p->cores[last].holder)
		return (uint32_t)last;
	for (uint32_t i = 0; i < p->nr_cores; i++) {
		p->steps++;
		if (!p->cores[i].holder)
			return i;
	}
	return NONE;
}

/* Of the kthreads that wait: one whose last core is idle, else the oldest. The oldest if it waited
 * long. */
static uint32_t pick_kthread(struct policy *p, struct inst *in, uint64_t now)
{
	uint32_t oldest = NONE, warm = NONE;

	if (in->runs)
		return (uint32_t)__builtin_ctzll(in->runs);
	for (uint64_t left = in->waiting; left; left &= left - 1) {
		uint32_t k = (uint32_t)__builtin_ctzll(left);
		int last = in->kt[k].last_core;

		p->steps++;
		if (oldest == NONE || in->kt[k].since < in->kt[oldest].since)
			oldest = k;
		if (warm == NONE && last >= 0 && !p->cores[last].holder)
			warm = k;
	}
	if (warm != NONE && in->kt[oldest].since + p->par.wait_bound > now)
		return warm;
	return oldest;
}

static void grant(struct policy *p, struct inst *in, uint64_t now, struct policy_action *a)
{
	uint32_t k = pick_kthread(p, in, now);
	uint32_t i = idle_core(p, in->kt[k].last_core);
	struct core *c = &p->cores[i];

	heap_remove(p, in);
	*a = (struct policy_action){POLICY_GRANT, i, in->number, k, in->kt[k].since};
	clear_waiting(in, k);
	in->held++;
	in->kt[k].core = in->kt[k].last_core = (int16_t)i;
	*c = (struct core){.holder = in, .kthread = k, .since = now, .charged = now};
	p->nr_idle--;
	heap_insert(p, in);
}

/* Who is to have the next idle core; NULL: nobody wants one. */
static struct inst *first_waiting(struct policy *p)
{
	struct inst *o = p->open.len ? p->open.v[0] : NULL;
	struct inst *r = p->promised.len ? p->promised.v[0] : NULL;

	if (!o || !r)
		return o ? o : r;
	return before(r, o) ? r : o;
}

static bool may_take(const struct policy *p, const struct core *c, const struct inst *w,
		     uint64_t now)
{
	const struct inst *v = c->holder;

	if (!v || c->asked || v == w)
		return false;
	if (c->spinning)
		return true;
	if (v->held - v->asked <= v->guaranteed || now < w->oldest + p->par.wait_bound ||
	    now < c->since + p->par.min_slice)
		return false;
	return below_guaranteed(w) || v->vruntime > w->vruntime + p->par.granularity * VR_SCALE;
}

static struct core *victim(struct policy *p, const struct inst *w, uint64_t now)
{
	struct core *best = NULL;

	for (uint32_t i = 0; i < p->nr_cores; i++) {
		struct core *c = &p->cores[i];

		p->steps++;
		if (!may_take(p, c, w, now))
			continue;
		if (!best || c->spinning > best->spinning ||
		    (c->spinning == best->spinning &&
		     (c->holder->vruntime > best->holder->vruntime ||
		      (c->holder == best->holder && c->since < best->since))))
			best = c;
	}
	return best;
}

static void ask(struct policy *p, struct core *c, struct inst *w, uint64_t now,
		struct policy_action *a)
{
	heap_remove(p, w);
	w->promised++;
	heap_insert(p, w);
	c->promised = w;
	c->asked = now ? now : 1;
	c->signalled = false;
	c->holder->asked++;
	*a = (struct policy_action){POLICY_ASK, (uint32_t)(c - p->cores), c->holder->number,
				    c->kthread, 0};
}

/* What a core that was asked back is due to by now. True: *a is to be done. */
static bool insist(struct policy *p, struct core *c, uint64_t now, struct policy_action *a)
{
	struct inst *in = c->holder;

	if (!in || !c->asked || now < c->asked + p->par.grace_signal)
		return false;
	*a = (struct policy_action){POLICY_SIGNAL, (uint32_t)(c - p->cores), in->number, c->kthread,
				    0};
	if (!c->signalled) {
		c->signalled = true;
		return true;
	}
	if (now < c->asked + p->par.grace_signal + p->par.grace_demote)
		return false;
	a->what = POLICY_DEMOTE;
	core_release(p, c, now);
	heap_remove(p, in);
	set_waiting(p, in, a->kthread, now);
	in->runs |= 1ull << a->kthread;
	heap_insert(p, in);
	return true;
}

uint32_t policy_decide(struct policy *p, uint64_t now, struct policy_action *out, uint32_t max)
{
	uint32_t n = 0;
	struct inst *w;
	struct core *c;

	charge_all(p, now);
	for (uint32_t i = 0; i < p->nr_cores && n < max; i++)
		n += insist(p, &p->cores[i], now, &out[n]);
	while (n < max && p->nr_idle && (w = first_waiting(p)))
		grant(p, w, now, &out[n++]);
	while (n < max && !p->nr_idle && p->open.len && (c = victim(p, p->open.v[0], now)))
		ask(p, c, p->open.v[0], now, &out[n++]);
	return n;
}

uint64_t policy_deadline(const struct policy *p, uint64_t now)
{
	uint64_t first = POLICY_NEVER, due;

	for (uint32_t i = 0; i < p->nr_cores; i++) {
		const struct core *c = &p->cores[i];

		if (!c->asked)
			continue;
		due = c->asked + p->par.grace_signal + (c->signalled ? p->par.grace_demote : 0);
		if (due < first)
			first = due;
	}
	if (p->nr_idle && (p->open.len || p->promised.len))
		return now;
	/* Somebody waits for a core that works: slices, waits and virtual time run on. */
	if (p->open.len && now + p->par.wait_bound / 2 < first)
		first = now + p->par.wait_bound / 2;
	return first;
}

/* What the caller tells */

static struct inst *get(const struct policy *p, uint32_t inst, uint32_t kthread)
{
	struct inst *in = inst < p->max_inst ? p->inst[inst] : NULL;

	return in && kthread < in->nr_kthreads ? in : NULL;
}

void policy_want(struct policy *p, uint32_t inst, uint32_t kthread, uint64_t now)
{
	struct inst *in = get(p, inst, kthread);

	if (!in || in->waiting >> kthread & 1 || in->kt[kthread].core >= 0)
		return;
	heap_remove(p, in);
	set_waiting(p, in, kthread, now);
	heap_insert(p, in);
}

void policy_runs(struct policy *p, uint32_t inst, uint32_t kthread)
{
	struct inst *in = get(p, inst, kthread);

	if (in && in->waiting >> kthread & 1)
		in->runs |= 1ull << kthread;
}

void policy_unwant(struct policy *p, uint32_t inst, uint32_t kthread)
{
	struct inst *in = get(p, inst, kthread);

	if (!in || !(in->waiting >> kthread & 1))
		return;
	heap_remove(p, in);
	clear_waiting(in, kthread);
	heap_insert(p, in);
}

void policy_park(struct policy *p, uint32_t core, uint64_t now)
{
	if (core < p->nr_cores && p->cores[core].holder)
		core_release(p, &p->cores[core], now);
}

void policy_spin(struct policy *p, uint32_t core, bool spinning)
{
	if (core < p->nr_cores)
		p->cores[core].spinning = spinning;
}

bool policy_waits(const struct policy *p, uint32_t inst, uint32_t kthread)
{
	const struct inst *in = get(p, inst, kthread);

	return in && in->waiting >> kthread & 1;
}

int policy_core_of(const struct policy *p, uint32_t inst, uint32_t kthread)
{
	const struct inst *in = get(p, inst, kthread);

	return in ? in->kt[kthread].core : -1;
}

bool policy_core_holder(const struct policy *p, uint32_t core, uint32_t *inst, uint32_t *kthread)
{
	if (core >= p->nr_cores || !p->cores[core].holder)
		return false;
	*inst = p->cores[core].holder->number;
	*kthread = p->cores[core].kthread;
	return true;
}

uint32_t policy_held(const struct policy *p, uint32_t inst)
{
	const struct inst *in = get(p, inst, 0);

	return in ? in->held : 0;
}

uint64_t policy_waiting_since(const struct policy *p, uint32_t inst)
{
	const struct inst *in = get(p, inst, 0);

	return in ? in->oldest : POLICY_NEVER;
}

uint32_t policy_nr_waiting(const struct policy *p)
{
	return p->open.len + p->promised.len;
}

uint64_t policy_steps(const struct policy *p)
{
	return p->steps;
}

/* Making and unmaking */

struct policy *policy_new(uint32_t nr_cores, uint32_t max_inst, const struct policy_params *params)
{
	struct policy *p;

	if (!nr_cores || nr_cores > POLICY_MAX_CORES || !(p = calloc(1, sizeof(*p))))
		return NULL;
	p->par = *params;
	p->nr_cores = p->nr_idle = nr_cores;
	p->max_inst = max_inst;
	p->inst = calloc(max_inst, sizeof(p->inst[0]));
	p->open.v = calloc(max_inst, sizeof(p->open.v[0]));
	p->promised.v = calloc(max_inst, sizeof(p->promised.v[0]));
	if (p->inst && p->open.v && p->promised.v)
		return p;
	policy_free(p);
	return NULL;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; p->inst && i < p->max_inst; i++)
		free(p->inst[i]);
	free(p->inst);
	free(p->open.v);
	free(p->promised.v);
	free(p);
}

int policy_add(struct policy *p, uint32_t inst, uint32_t nr_kthreads, uint32_t guaranteed,
	       uint32_t max, uint32_t weight)
{
	struct inst *in;

	if (inst >= p->max_inst || p->inst[inst] || !nr_kthreads ||
	    nr_kthreads > POLICY_MAX_KTHREADS || !max || guaranteed > max ||
	    weight > POLICY_MAX_WEIGHT)
		return -EINVAL;
	if (guaranteed > p->nr_cores - p->guaranteed)
		return -ENOSPC;
	in = calloc(1, sizeof(*in) + nr_kthreads * sizeof(in->kt[0]));
	if (!in)
		return -ENOMEM;
	in->number = inst;
	in->nr_kthreads = nr_kthreads;
	in->guaranteed = guaranteed;
	in->max = max;
	in->weight = weight ? weight : 1;
	in->oldest = POLICY_NEVER;
	in->vruntime = p->vtime;
	for (uint32_t k = 0; k < nr_kthreads; k++)
		in->kt[k].core = in->kt[k].last_core = -1;
	p->guaranteed += guaranteed;
	p->inst[inst] = in;
	return 0;
}

void policy_remove(struct policy *p, uint32_t inst, uint64_t now)
{
	struct inst *in = get(p, inst, 0);

	if (!in)
		return;
	for (uint32_t i = 0; i < p->nr_cores; i++) {
		struct core *c = &p->cores[i];

		if (c->promised == in) {
			heap_remove(p, in);
			c->promised = NULL;
			in->promised--;
			heap_insert(p, in);
		}
		if (c->holder == in)
			core_release(p, c, now);
	}
	heap_remove(p, in);
	p->guaranteed -= in->guaranteed;
	p->inst[inst] = NULL;
	free(in);
}
