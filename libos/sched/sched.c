/*
 * sched.c - uthreads on kthreads: run queues, switching, sleeping and waking. What a kthread without work does: park.c.
 *
 * Invariants
 *   - A uthread is on at most one run queue; `queued` is set from enqueue until uthread_schedule() finds
 *     it asleep. state and queued change under uthread.slock, so that a waker sees either a sleeper that is off the
 *     queues (and enqueues it) or one that has not gone yet (and only changes its state).
 *   - on_cpu is set while a kthread stands on the uthread's libOS stack, and cleared by whoever
 *     runs next on that kthread (uthread_finish_switch). A kthread that picked a uthread waits for that.
 *   - Vector registers belong to the current uthread unless UT_WORK_XRSTOR says that they are in memory;
 *     they are saved when another uthread is switched to and restored on the way to user mode.
 *
 * Who runs where: a waker puts the sleeper on its own run queue (its data is in this cache); idle
 * kthreads steal from the back of others' queues. A parked sibling is woken not at once, which would cost
 * the waker more than a short wait costs the sleeper, but by the tick, when work is still waiting after
 * TICK_FIRST_NS. Two threads that hand a token to each other so stay on one kthread.
 */
#include "libos/sched/sched.h"
#include "libos/sched/xstate.h"

#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/shm.h"
#include "libos/net/netif.h"
#include "libos/platform/hostcall.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

#define TICK_FIRST_NS 60000ull /* waiting work wakes a parked sibling after this */
#define SLICE_NS 1000000ull /* a running uthread makes room after this */
#define WAKEUP_NS 150000ull /* or after this, if something interrupted it anyway and another is ready */

struct kthread kthreads[CTL_MAX_KTHREADS];
u32 nr_kthreads;
static bool published; /* a scheduler may look at our run queues */
static struct control *const ctl = (struct control *)LIBOS_CONTROL_BASE;

/* Cycles to ns: measured against the host's clock since boot. */
static u64 boot_tsc, boot_ns;

static inline u64 cycles(void)
{
	return __builtin_ia32_rdtsc();
}

u64 cycles_to_ns(u64 c)
{
	u64 dt = cycles() - boot_tsc, dn = clock_monotonic_ns() - boot_ns;

	u64 ns, hi;

	if (c >= dt) /* cannot be: no stretch is longer than the whole */
		return dn;
	__asm__("mulq %3\n\tdivq %4" : "=a"(ns), "=&d"(hi) : "0"(c), "r"(dn), "r"(dt) : "cc");
	return ns;
}

/* Making and freeing */

static struct uthread *uthread_new(struct proc *proc, void (*fn)(void *), void *arg)
{
	struct uthread *ut = kzalloc(sizeof(*ut));

	if (!ut)
		return NULL;
	ut->kstack = pages_alloc(3);
	ut->xsave = kmalloc(align_up(xsave_size, 64u));
	if (!ut->kstack || !ut->xsave) {
		if (ut->kstack)
			pages_free(ut->kstack, 3);
		if (ut->xsave)
			kfree(ut->xsave, align_up(xsave_size, 64u));
		kfree(ut, sizeof(*ut));
		return NULL;
	}
	uthread_init_xstate(ut->xsave);
	ut->proc = proc;
	ut->refs = 1;
	ut->state = UT_UNINTERRUPTIBLE; /* until uthread_start */
	ut->work = UT_WORK_XRSTOR | UT_WORK_FULL;
	ut->kt = &kthreads[0];
	ut->affinity = nr_kthreads >= 64 ? ~0ull : (1ull << nr_kthreads) - 1;
	list_init(&ut->rq_link);
	list_init(&ut->proc_link);
	list_init(&ut->sig.pending.queue);
	ut->sig.altstack.flags = 2; /* SS_DISABLE */
	timer_init(&ut->sleep_timer, NULL);
	ut->start_ns = clock_monotonic_ns();

	struct trapframe *tf = uthread_tf(ut);

	memset(tf, 0, sizeof(*tf));
	tf->cs = USER_CS;
	tf->ss = USER_SS;
	tf->eflags = 0x202;
	tf->orig_rax = (u64)-1;
	/* uthread_switch pops r15 r14 r13 r12 rbx rbp, then returns to uthread_begin. */
	u64 *sp = (u64 *)tf;

	*--sp = (u64)uthread_begin;
	*--sp = 0; /* rbp */
	*--sp = 0; /* rbx */
	*--sp = (u64)fn; /* r12 */
	*--sp = (u64)arg; /* r13 */
	*--sp = 0;
	*--sp = 0;
	ut->ksp = (u64)sp;
	return ut;
}

struct uthread *uthread_create(struct proc *proc)
{
	return uthread_new(proc, NULL, NULL);
}

struct kernel_start {
	void (*fn)(void *);
	void *arg;
};

static void kernel_thread_main(void *p)
{
	struct kernel_start start = *(struct kernel_start *)p;

	kfree(p, sizeof(start));
	start.fn(start.arg);
	uthread_exit();
}

struct uthread *uthread_create_kernel(void (*fn)(void *), void *arg)
{
	struct kernel_start *start = kmalloc(sizeof(*start));
	struct uthread *ut;

	if (!start)
		return NULL;
	*start = (struct kernel_start){ fn, arg };
	ut = uthread_new(NULL, kernel_thread_main, start);
	if (!ut)
		kfree(start, sizeof(*start));
	return ut;
}

struct uthread *uthread_create_in(struct proc *proc, void (*fn)(void *), void *arg)
{
	return uthread_new(proc, fn, arg);
}

void uthread_get(struct uthread *ut)
{
	__atomic_fetch_add(&ut->refs, 1, __ATOMIC_RELAXED);
}

void uthread_put(struct uthread *ut)
{
	if (__atomic_fetch_sub(&ut->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	pages_free(ut->kstack, 3);
	kfree(ut->xsave, align_up(xsave_size, 64u));
	kfree(ut, sizeof(*ut));
}

/* Host timer: one deadline per kthread, moved only to earlier times (late kicks are harmless). */

static void kthread_arm(struct kthread *kt, u64 deadline)
{
	if (deadline < READ_ONCE(kt->kick_armed)) {
		WRITE_ONCE(kt->kick_armed, deadline);
		host_timer_arm(kt->timer_id, max(deadline, 1ull), 0);
	}
}

void kthread_arm_timers(void)
{
	struct kthread *kt = this_kthread();
	u64 first = READ_ONCE(kt->timers.first);

	if (first != NEVER)
		kthread_arm(kt, first);
}

static void kthread_tick_on(struct kthread *kt)
{
	u64 now;

	if (kt->slice_end != NEVER)
		return;
	now = clock_monotonic_ns();
	/* A scheduler that was told once need not hear it every time. */
	bool first = READ_ONCE(nr_parked) && !(sched_managed() && READ_ONCE(ctl->sched.wanted));

	kt->slice_end = now + (first ? TICK_FIRST_NS : SLICE_NS);
	kthread_arm(kt, kt->slice_end);
}

/* Run queues */

/* What the scheduler may see of kt's queue. rq_lock held. */
static void publish(struct kthread *kt)
{
	struct ctl_kthread *c = &ctl->kthreads[kt->id];

	if (!published)
		return;
	WRITE_ONCE(c->runnable, kt->rq_len);
	WRITE_ONCE(c->runnable_since, kt->rq_len ? list_first(&kt->rq, struct uthread, rq_link)->ready_ns : 0);
}

void sched_publish_runnable(struct kthread *kt)
{
	if (READ_ONCE(ctl->kthreads[kt->id].runnable) == READ_ONCE(kt->rq_len))
		return;
	spin_lock(&kt->rq_lock);
	publish(kt);
	spin_unlock(&kt->rq_lock);
}

static void enqueue(struct kthread *kt, struct uthread *ut, bool front)
{
	if (published)
		ut->ready_ns = clock_monotonic_ns();
	spin_lock(&kt->rq_lock);
	if (front) {
		/* The first shows how long the longest has waited. */
		if (kt->rq_len)
			ut->ready_ns = list_first(&kt->rq, struct uthread, rq_link)->ready_ns;
		list_add(&ut->rq_link, &kt->rq);
	} else {
		list_add_tail(&ut->rq_link, &kt->rq);
	}
	WRITE_ONCE(kt->rq_len, kt->rq_len + 1);
	publish(kt);
	spin_unlock(&kt->rq_lock);
}

static struct uthread *dequeue(struct kthread *kt, bool back)
{
	struct uthread *ut = NULL;

	if (!READ_ONCE(kt->rq_len))
		return NULL;
	spin_lock(&kt->rq_lock);
	if (kt->rq_len) {
		ut = back ? list_last(&kt->rq, struct uthread, rq_link) :
			    list_first(&kt->rq, struct uthread, rq_link);
		list_del(&ut->rq_link);
		WRITE_ONCE(kt->rq_len, kt->rq_len - 1);
		publish(kt);
	}
	spin_unlock(&kt->rq_lock);
	return ut;
}

static struct uthread *steal(struct kthread *kt)
{
	for (u32 i = 1; i < nr_kthreads; i++) {
		struct kthread *victim = &kthreads[(kt->id + i) % nr_kthreads];
		struct uthread *ut = dequeue(victim, true);

		if (ut)
			return ut;
	}
	return NULL;
}

struct uthread *sched_pick(struct kthread *kt)
{
	struct uthread *ut = dequeue(kt, false);

	return ut ? ut : steal(kt);
}

static void make_runnable(struct uthread *ut)
{
	struct kthread *kt = this_kthread();

	enqueue(kt, ut, false);
	/* Someone else runs here: the tick sees to it that ut gets its turn, here or at a sibling. */
	if (kt->current != kt->idle)
		kthread_tick_on(kt);
}

void uthread_start(struct uthread *ut)
{
	spin_lock(&ut->slock);
	ut->state = UT_RUNNING;
	ut->queued = 1;
	spin_unlock(&ut->slock);
	make_runnable(ut);
}

bool uthread_wake_state(struct uthread *ut, u32 state_mask)
{
	bool slept = false, enqueue_it = false;

	spin_lock(&ut->slock);
	if (ut->state != UT_RUNNING && (state_mask >> ut->state & 1)) {
		slept = true;
		ut->state = UT_RUNNING;
		if (!ut->queued) {
			ut->queued = 1;
			enqueue_it = true;
		}
	}
	spin_unlock(&ut->slock);
	if (enqueue_it)
		make_runnable(ut);
	return slept;
}

bool uthread_wake(struct uthread *ut)
{
	return uthread_wake_state(ut, 1u << UT_INTERRUPTIBLE | 1u << UT_UNINTERRUPTIBLE);
}

void uthread_kick(struct uthread *ut)
{
	struct kthread *kt;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (uthread_wake_state(ut, 1u << UT_INTERRUPTIBLE))
		return;
	kt = READ_ONCE(ut->kt);
	/* On its way to user mode it looks at its work flags; in user mode only the host can stop it. */
	if (READ_ONCE(ut->on_cpu) && kt != this_kthread() && READ_ONCE(kt->current) == ut)
		host_kick(kt->host_tid);
}

/* Switching */

void uthread_finish_switch(void)
{
	struct uthread *prev = this_kthread()->prev;
	bool dead = prev->state == UT_DEAD;

	__atomic_store_n(&prev->on_cpu, 0, __ATOMIC_RELEASE);
	if (dead)
		uthread_put(prev);
}

static void switch_to(struct kthread *kt, struct uthread *prev, struct uthread *next)
{
	u64 now = cycles();

	while (__atomic_load_n(&next->on_cpu, __ATOMIC_ACQUIRE))
		cpu_relax();
	next->on_cpu = 1;
	prev->cpu_ns += now - kt->switched_ns; /* in cycles; uthread_cpu_ns() converts */
	kt->switched_ns = now;
	kt->nr_switches++;
	if (prev->proc) {
		if (!(prev->work & UT_WORK_XRSTOR)) {
			xstate_save(prev->xsave);
			kt->regs_bv = xstate_bv(prev->xsave);
			uthread_set_work(prev, UT_WORK_XRSTOR);
		}
		u64 fsbase = __builtin_ia32_rdfsbase64();

		if (fsbase != LIBOS_FS_LOST) /* else the host lost it (control.h) */
			prev->fsbase = fsbase;
	}
	if (next->proc) {
		__builtin_ia32_wrfsbase64(next->fsbase);
		if (next->rseq.uaddr)
			uthread_set_work(next, UT_WORK_RSEQ);
		if (READ_ONCE(kt->rq_len))
			kthread_tick_on(kt);
		/* A kick may have come for another reason before the slice ended: arm for that again. */
		kthread_arm(kt, min(READ_ONCE(kt->timers.first), kt->slice_end));
	}
	next->kt = kt;
	kt->current = next;
	kt->kstack_top = (u64)next->kstack + UTHREAD_STACK_SIZE - 8;
	kt->prev = prev;
	uthread_switch(&prev->ksp, next->ksp);
	uthread_finish_switch();
}

/*
 * Another kthread may still stand on next's stack, and it may be waiting for the one that we stand on.
 * Only the idle context waits for another: nobody ever waits for it.
 */
static struct uthread *ready_or_idle(struct kthread *kt, struct uthread *next)
{
	if (likely(!__atomic_load_n(&next->on_cpu, __ATOMIC_ACQUIRE)))
		return next;
	enqueue(kt, next, true);
	return kt->idle;
}

void sched_run(struct kthread *kt, struct uthread *next)
{
	switch_to(kt, kt->idle, next);
}

/* current() has been taken off the queues: run somebody else. */
static void switch_away(struct uthread *ut)
{
	struct kthread *kt = this_kthread();
	/* Asked for its core, it goes to the idle loop, which gives it back. */
	struct uthread *next = preempt_asked(kt) ? NULL : sched_pick(kt);

	if (next == ut)
		return; /* woken meanwhile */
	switch_to(kt, ut, next ? ready_or_idle(kt, next) : kt->idle);
}

void uthread_prepare(enum uthread_state state)
{
	struct uthread *ut = current();

	__atomic_store_n(&ut->state, state, __ATOMIC_SEQ_CST);
}

void uthread_running(void)
{
	struct uthread *ut = current();

	if (READ_ONCE(ut->state) != UT_RUNNING) {
		spin_lock(&ut->slock);
		ut->state = UT_RUNNING;
		spin_unlock(&ut->slock);
	}
}

static void sleep_timeout(struct timer *t)
{
	struct uthread *ut = container_of(t, struct uthread, sleep_timer);

	WRITE_ONCE(ut->timed_out, 1);
	uthread_wake(ut);
}

bool uthread_schedule(u64 deadline_ns)
{
	struct uthread *ut = current();

	if (READ_ONCE(ut->state) == UT_INTERRUPTIBLE && signal_pending(ut)) {
		uthread_running();
		return false;
	}
	ut->timed_out = 0;
	if (deadline_ns != NEVER) {
		if (deadline_ns <= clock_monotonic_ns()) {
			uthread_running();
			return true;
		}
		ut->sleep_timer.fn = sleep_timeout;
		/* Without memory for the timer a sleep could last for ever: end it at once instead. */
		if (timer_arm(&ut->sleep_timer, deadline_ns)) {
			uthread_running();
			return true;
		}
	}
	/* What has just been sent to this host itself, and what has come meanwhile, may be what ut waits for. */
	net_poll_due(this_kthread());
	spin_lock(&ut->slock);
	if (ut->state == UT_RUNNING) {
		spin_unlock(&ut->slock);
	} else {
		ut->queued = 0;
		spin_unlock(&ut->slock);
		ut->nr_voluntary++;
		switch_away(ut);
	}
	if (deadline_ns != NEVER)
		timer_cancel(&ut->sleep_timer);
	return ut->timed_out;
}

void uthread_yield(void)
{
	struct kthread *kt = this_kthread();
	struct uthread *ut = kt->current, *next;

	net_poll_due(kt);
	next = dequeue(kt, false);
	if (!next)
		return;
	next = ready_or_idle(kt, next);
	enqueue(kt, ut, false);
	switch_to(kt, ut, next);
}

void uthread_exit(void)
{
	struct uthread *ut = current();

	spin_lock(&ut->slock);
	ut->state = UT_DEAD;
	ut->queued = 0;
	spin_unlock(&ut->slock);
	for (;;)
		switch_away(ut);
}

u64 uthread_cpu_ns(struct uthread *ut)
{
	u64 c = ut->cpu_ns;

	if (READ_ONCE(ut->on_cpu))
		c += cycles() - ut->kt->switched_ns;
	return cycles_to_ns(c);
}

/* Kicks and ticks */

/* What a kick may be about. Called with no lock, by exit_work() and the idle loop. */
void kthread_poll(struct kthread *kt)
{
	u32 work = READ_ONCE(kt->work);

	if (work)
		__atomic_fetch_and(&kt->work, ~KT_WORK_KICK, __ATOMIC_SEQ_CST);
	if (work & KT_WORK_KICK) {
		if (kt->kick_armed != NEVER && kt->kick_armed <= clock_monotonic_ns())
			kt->kick_armed = NEVER;
		if (READ_ONCE(ctl->host_signals)) {
			u64 bits = __atomic_exchange_n(&ctl->host_signals, 0, __ATOMIC_SEQ_CST);

			if (bits)
				signal_from_host(bits);
		}
		stdio_kick();
	}
	if (READ_ONCE(kt->timers.first) != NEVER) {
		u64 now = clock_monotonic_ns();

		if (kt->timers.first <= now)
			timers_run(kt, now);
	}
	/* Last: timers send, too. A kick may say that packets have come while the application computed. */
	if (work || READ_ONCE(kt->work) & KT_WORK_NET)
		net_poll(kt);
}

/* The scheduler wants the core: current() goes back to the front of its queue, and the idle loop parks. */
static void give_way(struct kthread *kt)
{
	struct uthread *ut = kt->current;

	kt->nr_preemptions++;
	ut->nr_involuntary++;
	enqueue(kt, ut, true);
	switch_to(kt, ut, kt->idle);
}

/* On the way to user mode after a kick: share the kthread fairly, see that timers will kick again. */
void kthread_resched(struct kthread *kt)
{
	if (preempt_asked(kt)) {
		give_way(kt);
		kt = this_kthread();
	}
	if (kt->slice_end != NEVER && clock_monotonic_ns() >= kt->slice_end) {
		kt->slice_end = NEVER;
		if (READ_ONCE(kt->rq_len)) {
			wake_sibling();
			kthread_tick_on(kt);
		}
	}
	/* Also for one that a packet or a timer has just woken: it need not wait for the slice to end. */
	if (READ_ONCE(kt->rq_len) && cycles_to_ns(cycles() - kt->switched_ns) >= WAKEUP_NS) {
		kt->nr_preemptions++;
		kt->current->nr_involuntary++;
		uthread_yield();
		kt = this_kthread();
	}
	u64 first = min(READ_ONCE(kt->timers.first), kt->slice_end);

	if (first < kt->kick_armed)
		kthread_arm(kt, first);
}

/* Boot */

void sched_init(const struct control_boot *boot)
{
	xstate_init();
	boot_tsc = cycles();
	boot_ns = clock_monotonic_ns();
	nr_kthreads = boot->nr_kthreads;
	for (u32 i = 0; i < nr_kthreads; i++) {
		struct kthread *kt = &kthreads[i];

		kt->host_tid = boot->host_tid[i];
		kt->timer_id = boot->timer_id[i];
		kthread_init(kt, i);
	}
	published = boot->net.region_size;
	park_init();
}

void sched_publish_stats(void)
{
	struct control_stats *st = &ctl->stats;
	u64 fast = 0, traps = 0, switches = 0, preemptions = 0, host_calls = 0;

	for (u32 i = 0; i < nr_kthreads; i++) {
		struct kthread *kt = &kthreads[i];

		fast += kt->nr_syscalls;
		traps += kt->nr_traps;
		switches += kt->nr_switches;
		preemptions += kt->nr_preemptions;
		host_calls += kt->nr_host_calls;
	}
	st->syscalls_fast = fast;
	st->syscalls_trapped = traps;
	st->context_switches = switches;
	st->preemptions = preemptions;
	st->host_calls = host_calls;
	st->arena_peak = alloc_peak();
	st->shm_peak = shm_pages_peak() << PAGE_SHIFT;
}
