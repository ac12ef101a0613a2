/*
 * park.c - when a kthread has nothing to do, or must do nothing: park words, spinning, giving back
 * a core.
 *
 * The words are a protocol with the scheduler process and its core agents (abi/control.h, struct
 * ctl_kthread). Who changes a word:
 *
 *   RUNNING, SPINNING   nobody but the kthread itself, in plain stores
 *   PARKED              to GRANTED anyone who may grant, to RUNNING the kthread itself:
 * compare-and-exchange GRANTED             nobody but the kthread itself
 *
 * No wake-up is lost, in each of these races:
 *
 *   - Work against parking. Whoever makes work first publishes it (run queue, ring, kthread.work)
 * and then looks at the word; the kthread first stores PARKED and then looks for work; both with a
 * full fence in between. One of the two sees the other.
 *   - A grant against the futex wait. The wait is on the word, with the value that was PARKED.
 *   - A kick that comes between the last look and the wait. Its handler runs on this very kthread,
 * finds PARKED, and changes the word itself (park_kicked), so that the wait does not begin.
 *   - A wake-up of an earlier generation. It finds another word, or at most makes a wait return
 * early.
 *   - Polling against the device's announcements. The device looks at event flag and words after it
 * has published; we look at the rings after we have changed event flag or word.
 *
 * A kthread that is managed runs only when it was granted a core. That it goes back from PARKED to
 * RUNNING by itself when its last look finds work is part of the protocol: the scheduler sees a new
 * generation. After a preemption it does not look.
 */
#include "libos/net/netif.h"
#include "libos/platform/hostcall.h"
#include "libos/sched/sched.h"
#include "libos/time/clock.h"

/*
 * Spinning, in TSC cycles. Parking and being woken costs the kthread a few us, and on another core
 * some 26 us until it runs: to poll for about as long is at most twice as dear as the best choice
 * in hindsight. But where the host has no core to spare, a spinner keeps away the very process that
 * it waits for. So the time is halved whenever nothing came, and is back at its most once a park
 * turns out to have been shorter than that. Managed, the core is ours until another asks for it,
 * and the scheduler sees that we only spin; but where it had to ask, others live on this core too, and
 * to ask and be heard costs them about a us: then parks come at once for a while.
 */
#define SPIN_MAX KTHREAD_SPIN_FIRST /* about 20 us */
#define SPIN_MIN 2500u
#define SPIN_MANAGED 125000u
#define NO_SPIN_PARKS 64u /* parks without spinning, after a spinner was asked for its core */
#define SPIN_LOCAL 2000u /* looks at siblings' run queues where there is no NIC */

#define SI_TIMER (-2) /* asm-generic/siginfo.h */

u32 nr_parked;
static struct control *const ctl = (struct control *)LIBOS_CONTROL_BASE;

static inline struct ctl_kthread *line_of(const struct kthread *kt)
{
	return &ctl->kthreads[kt->id];
}

static inline u32 state_of(u32 word)
{
	return word & CTL_KT_STATE_MASK;
}

/* The next generation, in another state. */
static inline u32 successor(u32 word, u32 state)
{
	return ((word >> CTL_KT_GEN_SHIFT) + 1) << CTL_KT_GEN_SHIFT | state;
}

static inline bool change(u32 *word, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

bool sched_managed(void)
{
	return READ_ONCE(ctl->sched.managed);
}

bool preempt_asked(const struct kthread *kt)
{
	const struct ctl_kthread *c = line_of(kt);

	/* Without a scheduler nobody would give the core back. */
	return unlikely(READ_ONCE(ctl->sched.managed)) &&
	       READ_ONCE(c->preempt) == READ_ONCE(c->word) >> CTL_KT_GEN_SHIFT;
}

void park_init(void)
{
	/* This kthread runs; the others wait in the loader's stub, as if parked. */
	ctl->kthreads[0].word = successor(0, CTL_KT_RUNNING);
	for (u32 i = 0; i < nr_kthreads; i++)
		ctl->kthreads[i].next_timer = NEVER;
	nr_parked = nr_kthreads - 1;
}

/* Waking others */

/* How many kthreads more could do something now. */
static u32 count_wanted(void)
{
	u32 n = 0;

	for (u32 i = 0; i < nr_kthreads; i++)
		n += READ_ONCE(kthreads[i].rq_len);
	return min(n, READ_ONCE(nr_parked));
}

/* Asks the scheduler for a core more. */
static void want_core(void)
{
	u32 n = max(count_wanted(), 1u), parked = 0;

	for (u32 i = 0; i < nr_kthreads; i++) {
		u32 w = READ_ONCE(ctl->kthreads[i].word);

		parked += w && state_of(w) == CTL_KT_PARKED;
	}
	/* It can grant only what has been in here: let one more come in, to park at once
	 * (kthread_begin). */
	for (u32 i = 1; i < nr_kthreads && parked < n; i++) {
		u32 *word = &ctl->kthreads[i].word;

		if (!READ_ONCE(*word) && change(word, 0, successor(0, CTL_KT_PARKED))) {
			host_futex_wake(word, 1, true);
			parked++;
		}
	}
	__atomic_store_n(&ctl->sched.wanted, n, __ATOMIC_SEQ_CST);
	net_doorbell();
}

void wake_sibling(void)
{
	if (!READ_ONCE(nr_parked))
		return;
	if (sched_managed()) {
		want_core();
		return;
	}
	for (u32 i = 0; i < nr_kthreads; i++) {
		u32 *word = &ctl->kthreads[i].word, w = READ_ONCE(*word);

		if (state_of(w) == CTL_KT_PARKED && change(word, w, successor(w, CTL_KT_GRANTED))) {
			host_futex_wake(word, 1, true);
			return;
		}
	}
}

/* Parking */

/* Is there anything that this kthread could do? */
static bool work_waits(struct kthread *kt)
{
	if (READ_ONCE(kt->work) || net_pending(kt))
		return true;
	for (u32 i = 0; i < nr_kthreads; i++)
		if (READ_ONCE(kthreads[i].rq_len))
			return true;
	return READ_ONCE(kt->timers.first) != NEVER && kt->timers.first <= clock_monotonic_ns();
}

/* The word is PARKED: returns when it is RUNNING. look: the kthread may find work itself before it
 * first waits. */
static void wait_for_core(struct kthread *kt, bool look, u64 deadline)
{
	u32 *word = &line_of(kt)->word;

	for (;;) {
		u32 w = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		bool managed = sched_managed();

		if (state_of(w) == CTL_KT_GRANTED) {
			__atomic_store_n(word, successor(w, CTL_KT_RUNNING), __ATOMIC_SEQ_CST);
			break;
		}
		if ((look || !managed) && (work_waits(kt) || deadline <= clock_monotonic_ns())) {
			if (change(word, w, successor(w, CTL_KT_RUNNING)))
				break;
			continue;
		}
		look = false;
		host_futex_wait(word, w, managed ? NEVER : deadline, true);
	}
}

/* wanted counts kthreads beyond those that run: there is one more that does. */
static void less_wanted(void)
{
	u32 n = READ_ONCE(ctl->sched.wanted);

	while (n && !__atomic_compare_exchange_n(&ctl->sched.wanted, &n, n - 1, false,
						 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Returns with a core. give_back: it was asked for, whatever there is to do. */
static void park(struct kthread *kt, bool give_back)
{
	struct ctl_kthread *c = line_of(kt);
	u64 now = clock_monotonic_ns(),
	    deadline = min(READ_ONCE(kt->timers.first), net_deadline(kt, now));

	kt->slice_end = NEVER;
	/* A kick that found us parked may have claimed more (park_kicked); it has been served. */
	sched_publish_runnable(kt);
	WRITE_ONCE(c->next_timer, deadline);
	WRITE_ONCE(c->parked_gen_ns, now);
	if (!give_back && READ_ONCE(ctl->sched.wanted))
		WRITE_ONCE(ctl->sched.wanted, count_wanted());
	__atomic_fetch_add(&nr_parked, 1, __ATOMIC_SEQ_CST);
	__atomic_exchange_n(&c->word, successor(c->word, CTL_KT_PARKED), __ATOMIC_SEQ_CST);
	wait_for_core(kt, !give_back, deadline);
	__atomic_fetch_sub(&nr_parked, 1, __ATOMIC_SEQ_CST);
	less_wanted();
	if (net_has_nic() && clock_monotonic_ns() - now < SPIN_MAX / 3) /* cycles to ns, about */
		kt->spin = SPIN_MAX;
}

void park_kicked(struct kthread *kt, int code)
{
	struct ctl_kthread *c = line_of(kt);
	u32 w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST);

	if (state_of(w) != CTL_KT_PARKED || !(w >> CTL_KT_GEN_SHIFT))
		return;
	if (!sched_managed()) {
		change(&c->word, w, successor(w, CTL_KT_GRANTED));
		return;
	}
	/* Its own timer's kicks come late, and the scheduler knows when the next timer is due. */
	if (code == SI_TIMER && !READ_ONCE(ctl->host_signals))
		return;
	if (!READ_ONCE(c->runnable_since))
		WRITE_ONCE(c->runnable_since, clock_monotonic_ns());
	if (!READ_ONCE(c->runnable))
		WRITE_ONCE(c->runnable, 1);
	if (!READ_ONCE(ctl->sched.wanted))
		WRITE_ONCE(ctl->sched.wanted, 1);
	net_doorbell();
}

/* Spinning */

static void spin_begin(struct kthread *kt)
{
	struct ctl_kthread *c = line_of(kt);

	__atomic_store_n(&c->word,
			 c->word >> CTL_KT_GEN_SHIFT << CTL_KT_GEN_SHIFT | CTL_KT_SPINNING,
			 __ATOMIC_SEQ_CST);
	net_events(kt, false);
}

static void spin_end(struct kthread *kt)
{
	struct ctl_kthread *c = line_of(kt);

	if (state_of(c->word) != CTL_KT_SPINNING)
		return;
	__atomic_store_n(&c->word, c->word >> CTL_KT_GEN_SHIFT << CTL_KT_GEN_SHIFT | CTL_KT_RUNNING,
			 __ATOMIC_SEQ_CST);
	net_events(kt, true);
	/* What came while the device saw us spinning was announced to nobody. */
	if (net_pending(kt))
		net_poll(kt);
}

/* Timers of siblings that have no core would wait until they get one. */
static void siblings_timers(struct kthread *kt)
{
	u64 now = 0;

	if (!sched_managed())
		return;
	for (u32 i = 0; i < nr_kthreads; i++) {
		u64 first = READ_ONCE(kthreads[i].timers.first);

		if (first == NEVER || i == kt->id ||
		    state_of(READ_ONCE(ctl->kthreads[i].word)) != CTL_KT_PARKED)
			continue;
		if (!now)
			now = clock_monotonic_ns();
		if (first <= now)
			timers_run(&kthreads[i], now);
	}
}

/* How long to spin, in cycles; 0: not at all. */
static u64 spin_limit(struct kthread *kt)
{
	if (!net_has_nic())
		return 0;
	if (sched_managed())
		return kt->no_spin ? 0 : SPIN_MANAGED;
	return kt->spin;
}

noreturn void idle_loop(struct kthread *kt)
{
	u64 since = 0; /* cycles; 0: there was something to do just now */
	u32 looks = 0;

	for (;;) {
		struct uthread *next;
		bool did;

		kthread_poll(kt);
		if (preempt_asked(kt)) {
			if (since && spin_limit(kt))
				kt->no_spin = NO_SPIN_PARKS;
			spin_end(kt);
			/* A kthread never parks with packets to this host itself; siblings see to
			 * the others. */
			while (READ_ONCE(kt->work) & KT_WORK_NET)
				net_poll(kt);
			park(kt, true);
			since = looks = 0;
			continue;
		}
		siblings_timers(kt);
		did = net_poll(kt);
		next = sched_pick(kt);
		if (next) {
			if (since && net_has_nic())
				kt->spin = min(2 * kt->spin, SPIN_MAX);
			spin_end(kt);
			sched_run(kt, next);
			since = looks = 0;
			continue;
		}
		if (did) {
			since = looks = 0;
			continue;
		}
		if (spin_limit(kt)) {
			if (!since) {
				since = __builtin_ia32_rdtsc();
				spin_begin(kt);
			}
			if (__builtin_ia32_rdtsc() - since < spin_limit(kt)) {
				cpu_relax();
				continue;
			}
			kt->spin = max(kt->spin / 2, SPIN_MIN);
			spin_end(kt);
		} else if (nr_kthreads > 1 && ++looks < SPIN_LOCAL) {
			cpu_relax();
			continue;
		}
		park(kt, false);
		if (kt->no_spin)
			kt->no_spin--;
		since = looks = 0;
	}
}

void kthread_begin(struct kthread *kt)
{
	/* Granted, or told to come in and wait for that (want_core). */
	wait_for_core(kt, false, NEVER);
	__atomic_fetch_sub(&nr_parked, 1, __ATOMIC_SEQ_CST);
	less_wanted();
	idle_loop(kt);
}
