/*
 * managed.c - dedicated mode: kthreads run on the managed cores when the policy says so, and else
 * not.
 *
 * Once a turn the words of those that hold a core are read. PARKED: the core is free. What a
 * kthread leaves as it parks (uthreads, a timer) says whether it wants a core again; packets for
 * it, its timer, and `wanted` of its instance do so later. The policy (policy.h) is told all of
 * this, and its actions are carried out here:
 *
 *   grant    the host thread may use that core (sched_setaffinity, only if it changes), its word
 * becomes GRANTED, and the core's agent wakes it; directly if the agent does not report within
 * AGENT_LOST_NS ask      its generation is written into `preempt` signal   SIGURG demote   its host
 * thread becomes SCHED_IDLE, so that whoever is granted the core next runs in its place at once,
 * and it only on what is left over. Not SIGSTOP: that stops every kthread of the process, its
 *            parent would see it, and a kthread that is merely slow could not reach its next park.
 * It counts as waiting, and when its turn comes it gets its class back. An instance that never
 * parks so has its fair share, by the host's means.
 *
 * A kthread that runs without a grant (the first one at START, one just begun, one that took back
 * its PARKED, or one that lies) is "loose": it waits for a core like any other, and is demoted if
 * it must wait.
 *
 * Lies. A word that says PARKED while its thread runs on takes time from whoever has that core. The
 * host knows better: an audit compares the CPU time of the process with the cores it was granted.
 * One that used more is distrusted for a while, its threads being SCHED_IDLE whenever they hold no
 * core. Any other false word only costs its own instance wake-ups.
 *
 * Identity: a tid is used only right after the pidfd was seen alive, so that a number that was
 * given to another process meanwhile is not touched.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "junctiond/scheduler/agent.h"
#include "junctiond/scheduler/cores_int.h"
#include "junctiond/scheduler/policy.h"
#include "junctiond/scheduler/timers.h"
#include "junctiond/scheduler/words.h"

#define AGENT_LOST_NS 15000ull
#define AUDIT_NS 1000000ull /* one instance each */
#define AUDIT_SLACK_NS 2000000ull
#define DISTRUST_NS 1000000000ull
#define ACTIONS 64u

struct mcore {
	int cpu;
	struct agent *agent;
	struct cores_instance *ci; /* who holds it; NULL: idle */
	uint32_t k;
	uint32_t word; /* as granted; what else it may be means that the kthread has begun */
	bool begun, spinning;
	uint64_t since, charged,
		agent_since;	/* agent_since: it was asked to wake then; 0: not, or it did */
	uint32_t nr_idle_class; /* demoted threads that may run here: the agent shares what is left
				   with them */
};

static struct mcore cores[SSTATS_MAX_CORES];
static uint32_t nr_cores;
static struct policy *policy;
static struct cores_instance **by_slot;
static bool dirty;
static uint64_t next_decide, next_audit;
static uint32_t audit_slot;

static uint32_t slot_of(const struct cores_instance *ci)
{
	return ci->in->id - 1;
}

static struct ctl_kthread *line_of(const struct cores_instance *ci, uint32_t k)
{
	return &ci->in->control->kthreads[k];
}

/* The host's view of a kthread */

static void set_class(struct cores_instance *ci, uint32_t k, bool idle)
{
	struct sched_param param = {0};
	struct cores_kt *kt = &ci->kt[k];
	pid_t tid = ci->in->tids[k];

	if (kt->idle_class == idle || tid <= 0)
		return;
	if (cores_alive(ci->in))
		sched_setscheduler(tid, idle ? SCHED_IDLE : SCHED_OTHER, &param);
	kt->idle_class = idle;
	ci->nr_idle_class += idle ? 1 : -1;
	if (kt->affinity >= 0)
		cores[kt->affinity].nr_idle_class += idle ? 1 : -1;
}

static void set_affinity(struct cores_instance *ci, uint32_t k, int core)
{
	struct cores_kt *kt = &ci->kt[k];
	pid_t tid = ci->in->tids[k];
	cpu_set_t set;

	/* A tid that is not known yet is by one of the next looks. */
	if (kt->affinity == core || tid <= 0)
		return;
	if (cores_alive(ci->in)) {
		CPU_ZERO(&set);
		CPU_SET(cores[core].cpu, &set);
		sched_setaffinity(tid, sizeof(set), &set);
	}
	if (kt->idle_class && kt->affinity >= 0)
		cores[kt->affinity].nr_idle_class--;
	kt->affinity = core;
	cores[core].nr_idle_class += kt->idle_class;
}

/* Wishes */

static void want(struct cores_instance *ci, uint32_t k, uint32_t why, uint64_t now)
{
	ci->kt[k].wants |= why;
	cores_list(ci);
	if (policy_waits(policy, slot_of(ci), k) || policy_core_of(policy, slot_of(ci), k) >= 0)
		return;
	policy_want(policy, slot_of(ci), k, now);
	dirty = true;
}

static void unwant(struct cores_instance *ci, uint32_t k, uint32_t why)
{
	ci->kt[k].wants &= ~why;
	if (!ci->kt[k].wants && policy_waits(policy, slot_of(ci), k))
		policy_unwant(policy, slot_of(ci), k);
}

/* A parked kthread: what it left behind. */
static void look_parked(struct cores_instance *ci, uint32_t k, uint64_t now)
{
	struct ctl_kthread *line = line_of(ci, k);
	uint64_t timer = __atomic_load_n(&line->next_timer, __ATOMIC_RELAXED);

	if (ci->kt[k].idle_class && now >= ci->distrusted_until)
		set_class(ci, k, false);
	unwant(ci, k, WANT_LOOSE);
	if (__atomic_load_n(&line->runnable, __ATOMIC_RELAXED))
		want(ci, k, WANT_RUNNABLE, now);
	else
		unwant(ci, k, WANT_RUNNABLE);
	if (!(ci->kt[k].wants & WANT_TIMER))
		timers_set(ci, k, timer);
}

/* `wanted`: so many kthreads beyond those that run have work, no matter which. */
static void look_wanted(struct cores_instance *ci, uint64_t now)
{
	uint32_t wanted = __atomic_load_n(&ci->in->control->sched.wanted, __ATOMIC_RELAXED);
	uint32_t waiting = 0;

	if (wanted > ci->nr)
		wanted = ci->nr;
	for (uint32_t k = 0; k < ci->nr; k++)
		waiting += policy_waits(policy, slot_of(ci), k);
	for (uint32_t k = 0; k < ci->nr && waiting < wanted; k++) {
		if (policy_waits(policy, slot_of(ci), k) ||
		    policy_core_of(policy, slot_of(ci), k) >= 0 ||
		    !word_parked(word_read(ci->in->control, k)))
			continue;
		want(ci, k, WANT_WANTED, now);
		waiting++;
	}
	for (uint32_t k = 0; k < ci->nr && waiting > wanted; k++) {
		if (!(ci->kt[k].wants & WANT_WANTED))
			continue;
		waiting -= ci->kt[k].wants == WANT_WANTED;
		unwant(ci, k, WANT_WANTED);
	}
}

void managed_want_rx(struct cores_instance *ci, uint32_t k, uint64_t now)
{
	/* Not one that has never begun: it looks when it does. */
	if (word_parked(word_read(ci->in->control, k)))
		want(ci, k, WANT_RX, now);
}

bool managed_look(struct cores_instance *ci, uint64_t now)
{
	bool busy = false;

	for (uint32_t k = 0; k < ci->nr; k++) {
		uint32_t w = word_read(ci->in->control, k);
		int core = policy_core_of(policy, slot_of(ci), k);

		if (core >= 0) {
			busy = true;
			set_affinity(ci, k, core);
		} else if (word_parked(w)) {
			look_parked(ci, k, now);
		} else if (!w) {
			busy |= k == 0 && now < ci->attached_ns + BOOT_NS;
		} else {
			busy = true;
			if (ci->kt[k].wants & WANT_LOOSE)
				set_class(ci, k, true);
			want(ci, k, WANT_LOOSE, now);
			policy_runs(policy, slot_of(ci), k);
		}
		busy |= policy_waits(policy, slot_of(ci), k);
	}
	look_wanted(ci, now);
	return busy;
}

void managed_rx(struct cores_instance *ci, uint32_t pair, uint64_t now)
{
	struct control *c = ci->in->control;
	struct survey s;
	uint32_t own;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	own = pair < ci->nr ? word_read(c, pair) : 0;
	if (word_state(own) == CTL_KT_SPINNING)
		return;
	if (word_state(own) != CTL_KT_PARKED) {
		cores_kick_arm(ci, pair, now);
		return;
	}
	if (!cores_survey(ci, &s))
		return;
	/* A sibling in application code may be faster, should there be no core for the owner. */
	if (s.running != UINT32_MAX)
		cores_kick_arm(ci, s.running, now);
	if (word_parked(own))
		want(ci, pair, WANT_RX, now);
	else if (s.running == UINT32_MAX && s.parked != UINT32_MAX)
		want(ci, s.parked, WANT_RX, now);
}

/* Cores */

static void account(struct mcore *m, uint64_t now)
{
	if (m->ci && now > m->charged) {
		m->ci->in->stats->core_ns += now - m->charged;
		m->charged = now;
	}
}

/* Takes the core from who held it, in our books. */
static void core_clear(struct mcore *m, uint64_t now)
{
	account(m, now);
	m->ci->in->stats->cores--;
	sstats->core_instance[m - cores] = 0;
	m->ci = NULL;
	m->agent_since = 0;
	dirty = true;
}

static void core_parked(struct mcore *m, uint64_t now)
{
	struct cores_instance *ci = m->ci;
	uint32_t k = m->k;

	core_clear(m, now);
	policy_park(policy, (uint32_t)(m - cores), now);
	if (now < ci->distrusted_until)
		set_class(ci, k, true);
	look_parked(ci, k, now);
	/* Packets that it was to look at before it was asked for its core; it does not look as it
	 * leaves. */
	if (cores_unseen(ci, k))
		managed_want_rx(ci, k, now);
	/* And what came between its parking and our seeing it. */
	if (ci->kt[k].wants && word_parked(word_read(ci->in->control, k)))
		want(ci, k, 0, now);
	look_wanted(ci, now);
}

/* Reads the word of who holds the core. True: something changed. */
static bool core_watch(struct mcore *m, uint64_t now)
{
	uint32_t w = word_read(m->ci->in->control, m->k);
	bool spinning = word_state(w) == CTL_KT_SPINNING;

	if (!m->begun) {
		if (w == m->word) {
			if (!m->agent_since)
				return false;
			if (agent_done(m->agent)) {
				m->agent_since = 0;
			} else if (now >= m->agent_since + AGENT_LOST_NS) {
				m->agent_since = 0;
				word_wake(&line_of(m->ci, m->k)->word);
			}
			return false;
		}
		m->begun = true;
		m->agent_since = 0;
	}
	if (word_state(w) == CTL_KT_PARKED) {
		core_parked(m, now);
		return true;
	}
	if (spinning != m->spinning) {
		m->spinning = spinning;
		policy_spin(policy, (uint32_t)(m - cores), spinning);
		dirty |= spinning && policy_nr_waiting(policy);
	}
	return false;
}

static void do_grant(const struct policy_action *a, uint64_t now)
{
	struct mcore *m = &cores[a->core];
	struct cores_instance *ci = by_slot[a->inst];
	struct ctl_kthread *line = line_of(ci, a->kthread);
	uint32_t w = word_read(ci->in->control, a->kthread);
	uint32_t granted = w;

	set_affinity(ci, a->kthread, (int)a->core);
	set_class(ci, a->kthread, false);
	timers_set(ci, a->kthread, NEVER);
	/* It may be asked to leave again before it has looked. */
	if (ci->kt[a->kthread].wants & WANT_RX)
		cores_kick_arm(ci, a->kthread, now);
	ci->kt[a->kthread].wants = 0;
	/* What it was asked before, without a grant, is settled. */
	__atomic_store_n(&line->preempt, 0, __ATOMIC_RELAXED);
	if (word_parked(w) && !word_grant(ci->in->control, a->kthread, w, &granted))
		granted = word_read(ci->in->control, a->kthread);
	*m = (struct mcore){.cpu = m->cpu,
			    .agent = m->agent,
			    .nr_idle_class = m->nr_idle_class,
			    .ci = ci,
			    .k = a->kthread,
			    .word = granted,
			    .since = now,
			    .charged = now};
	ci->in->stats->cores++;
	sstats->core_instance[a->core] = ci->in->id;
	cores_list(ci);
	if (granted == w || word_state(granted) != CTL_KT_GRANTED) {
		m->begun = true; /* it runs already, or the word is nonsense: the next look settles
				    it */
		return;
	}
	cores_note_wake(ci, a->kthread, granted, a->since);
	if (m->agent && !m->nr_idle_class) {
		m->agent_since = now ? now : 1;
		agent_wake(m->agent, &line->word);
	} else {
		word_wake(&line->word);
	}
}

static void do_ask(const struct policy_action *a)
{
	struct cores_instance *ci = by_slot[a->inst];
	uint32_t w = word_read(ci->in->control, a->kthread);
	uint32_t gen = word_gen(w) + (word_state(w) == CTL_KT_GRANTED);

	__atomic_store_n(&line_of(ci, a->kthread)->preempt, gen, __ATOMIC_RELEASE);
	if (word_state(w) != CTL_KT_SPINNING)
		ci->in->stats->preemptions++;
}

static void do_demote(const struct policy_action *a, uint64_t now)
{
	struct cores_instance *ci = by_slot[a->inst];

	core_clear(&cores[a->core], now);
	set_class(ci, a->kthread, true);
	ci->kt[a->kthread].wants |= WANT_LOOSE;
}

static bool decide(uint64_t now)
{
	struct policy_action a[ACTIONS];
	uint32_t n;

	dirty = false;
	n = policy_decide(policy, now, a, ACTIONS);
	for (uint32_t i = 0; i < n; i++) {
		switch (a[i].what) {
		case POLICY_GRANT:
			do_grant(&a[i], now);
			break;
		case POLICY_ASK:
			do_ask(&a[i]);
			break;
		case POLICY_SIGNAL:
			cores_signal(by_slot[a[i].inst]->in, a[i].kthread);
			break;
		case POLICY_DEMOTE:
			do_demote(&a[i], now);
			break;
		}
	}
	dirty |= n == ACTIONS;
	next_decide = policy_deadline(policy, now);
	return n;
}

/* Audit */

static void audit(struct cores_instance *ci, uint64_t now)
{
	uint64_t used, granted;

	if (!cores_alive(ci->in) || !(used = cores_cpu_ns(ci->in)))
		return;
	for (uint32_t i = 0; i < nr_cores; i++)
		if (cores[i].ci == ci)
			account(&cores[i], now);
	granted = ci->in->stats->core_ns - ci->audit_core_ns;
	used -= ci->audit_cpu_ns;
	ci->audit_core_ns += granted;
	ci->audit_cpu_ns += used;
	if (used <= granted + granted / 8 + AUDIT_SLACK_NS)
		return;
	ci->distrusted_until = now + DISTRUST_NS;
	for (uint32_t k = 0; k < ci->nr; k++)
		if (policy_core_of(policy, slot_of(ci), k) < 0)
			set_class(ci, k, true);
}

static void audit_next(uint64_t now)
{
	for (uint32_t i = 0; i < 64; i++) {
		audit_slot = (audit_slot + 1) % SSTATS_MAX_INSTANCES;
		if (!by_slot[audit_slot])
			continue;
		audit(by_slot[audit_slot], now);
		/* One that took longer to boot than we watched it, or that rang and was not heard.
		 */
		if (managed_look(by_slot[audit_slot], now))
			cores_list(by_slot[audit_slot]);
		return;
	}
}

/* The whole */

bool managed_tick(uint64_t now)
{
	struct cores_instance *ci;
	bool did = false;
	uint32_t k;

	for (uint32_t i = 0; i < nr_cores; i++)
		if (cores[i].ci)
			did |= core_watch(&cores[i], now);
	for (uint32_t i = 0; i < ACTIONS && timers_due(now, &ci, &k); i++) {
		want(ci, k, WANT_TIMER, now);
		did = true;
	}
	if (dirty || now >= next_decide)
		did |= decide(now);
	if (now >= next_audit) {
		next_audit = now + AUDIT_NS;
		audit_next(now);
	}
	return did;
}

uint64_t managed_deadline(uint64_t now)
{
	uint64_t first = timers_first();

	if (dirty)
		return now;
	for (uint32_t i = 0; i < nr_cores; i++)
		if (cores[i].ci && now + SCAN_NS < first)
			first = now + SCAN_NS;
	return next_decide < first ? next_decide : first;
}

void managed_publish(struct cores_instance *ci, uint64_t now)
{
	uint64_t since = policy_waiting_since(policy, slot_of(ci)), held;
	uint64_t delay = since < now ? now - since : 0;

	for (uint32_t i = 0; i < nr_cores; i++) {
		if (cores[i].ci != ci)
			continue;
		account(&cores[i], now);
		held = __atomic_load_n(&line_of(ci, cores[i].k)->runnable_since, __ATOMIC_RELAXED);
		if (held && held < now && now - held > delay)
			delay = now - held;
	}
	ci->in->stats->queue_delay_ns = delay;
}

int managed_attach(struct cores_instance *ci, uint64_t now)
{
	struct instance *in = ci->in;
	uint32_t max = in->max_cores && in->max_cores < ci->nr ? in->max_cores : ci->nr;
	int r;

	if (timers_reserve(ci->nr)) {
		errno = ENOMEM;
		return -1;
	}
	r = policy_add(policy, slot_of(ci), ci->nr, in->guaranteed_cores, max,
		       in->weight < POLICY_MAX_WEIGHT ? in->weight : POLICY_MAX_WEIGHT);
	if (r) {
		timers_unreserve(ci->nr);
		errno = -r;
		return -1;
	}
	by_slot[slot_of(ci)] = ci;
	for (uint32_t k = 0; k < ci->nr; k++) {
		ci->kt[k].affinity = -1;
		ci->kt[k].timer = NEVER;
	}
	ci->audit_cpu_ns = cores_cpu_ns(in);
	in->stats->cores = 0;
	__atomic_store_n(&in->control->sched.managed, 1, __ATOMIC_SEQ_CST);
	managed_look(ci, now);
	return 0;
}

/* Lets go of one that still lives: the host schedules it from now on. */
static void set_free(struct cores_instance *ci)
{
	struct control *c = ci->in->control;
	cpu_set_t all;

	__atomic_store_n(&c->sched.managed, 0, __ATOMIC_SEQ_CST);
	memset(&all, 0xff, sizeof(all));
	for (uint32_t k = 0; k < ci->nr; k++) {
		uint32_t w = word_read(c, k), granted;

		set_class(ci, k, false);
		if (ci->in->tids[k] > 0 && cores_alive(ci->in))
			sched_setaffinity(ci->in->tids[k], sizeof(all), &all);
		if (word_parked(w) && word_grant(c, k, w, &granted))
			word_wake(&c->kthreads[k].word);
	}
}

void managed_detach(struct cores_instance *ci, uint64_t now)
{
	for (uint32_t i = 0; i < nr_cores; i++)
		if (cores[i].ci == ci)
			core_clear(&cores[i], now);
	policy_remove(policy, slot_of(ci), now);
	by_slot[slot_of(ci)] = NULL;
	set_free(ci);
	for (uint32_t k = 0; k < ci->nr; k++)
		timers_set(ci, k, NEVER);
	timers_unreserve(ci->nr);
	dirty = true;
}

/* Classes can be given back only by who may raise them. */
static int may_raise(void)
{
	struct sched_param param = {0};
	int fd_class = sched_getscheduler(0);

	if (sched_setscheduler(0, SCHED_IDLE, &param))
		return -1;
	return sched_setscheduler(0, fd_class, &param);
}

int managed_init(void)
{
	if (!config.nr_cores || config.nr_cores > SSTATS_MAX_CORES) {
		errno = EINVAL;
		return -1;
	}
	if (may_raise())
		return -1;
	by_slot = calloc(SSTATS_MAX_INSTANCES, sizeof(by_slot[0]));
	policy = policy_new(config.nr_cores, SSTATS_MAX_INSTANCES, &policy_defaults);
	if (!by_slot || !policy) {
		managed_exit();
		errno = ENOMEM;
		return -1;
	}
	nr_cores = config.nr_cores;
	next_decide = NEVER;
	for (uint32_t i = 0; i < nr_cores; i++) {
		cores[i] = (struct mcore){.cpu = config.cores[i]};
		cores[i].agent = agent_start(cores[i].cpu);
		if (!cores[i].agent) {
			int e = errno;

			managed_exit();
			errno = e;
			return -1;
		}
	}
	return 0;
}

void managed_exit(void)
{
	for (uint32_t i = 0; i < nr_cores; i++)
		agent_stop(cores[i].agent);
	memset(cores, 0, sizeof(cores));
	nr_cores = 0;
	policy_free(policy);
	policy = NULL;
	free(by_slot);
	by_slot = NULL;
	timers_exit();
}
