/*
 * cores.c - which kthread of which instance runs: the part that both modes of polling share, and
 * adaptive mode.
 *
 * In adaptive mode the host schedules. An instance is not managed: its kthreads park when they have
 * nothing to do, and wake each other; what is left to us is to wake one when packets come for a
 * parked one.
 *
 * The list of active instances holds those whose kthreads were last seen running (the loop may have
 * asked some of them for their doorbells meanwhile, to sleep). Only their words are read, every
 * SCAN_NS; one that has parked altogether leaves the list, and costs nothing until a packet, its
 * doorbell or a timer brings it back.
 *
 * Kicks: a kthread in application code looks at its receive queue when it makes a system call. One
 * that computes for long makes none, so packets that wait for KICK_NS while its counter rx_polls
 * stands still bring a signal, a few more ever more rarely, and then none before the next packet.
 *
 * Races with parking: the kthread stores PARKED, fences, looks at its queues; we publish packets,
 * fence, look at its word. One of the two sees the other.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "junctiond/scheduler/cores_int.h"
#include "junctiond/scheduler/words.h"

#define PUBLISH_NS 100000000ull /* between updates of an instance's figures in the statistics */

static struct cores_instance *active[SSTATS_MAX_INSTANCES];
static uint32_t nr_active;
static uint32_t nr_busy; /* kicks and wakes that must be looked after */
static uint64_t next_scan;

bool cores_alive(const struct instance *in)
{
	struct pollfd p = {.fd = in->pidfd, .events = POLLIN};

	return in->pid > 0 && in->pidfd >= 0 && poll(&p, 1, 0) == 0;
}

uint64_t cores_cpu_ns(const struct instance *in)
{
	struct timespec ts;
	clockid_t clock;

	if (!cores_alive(in) || clock_getcpuclockid(in->pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

void cores_signal(const struct instance *in, uint32_t k)
{
	pid_t tid = in->tids[k];

	if (tid > 0 && cores_alive(in))
		syscall(SYS_tgkill, in->pid, tid, CTL_KICK_SIGNAL);
}

void cores_list(struct cores_instance *ci)
{
	loop_activate(ci->in);
	if (ci->listed)
		return;
	ci->listed = true;
	ci->list_index = nr_active;
	active[nr_active++] = ci;
}

static void unlist(struct cores_instance *ci)
{
	struct cores_instance *last;

	if (!ci->listed)
		return;
	last = active[--nr_active];
	active[ci->list_index] = last;
	last->list_index = ci->list_index;
	ci->listed = false;
}

/* Kicks */

bool cores_unseen(const struct cores_instance *ci, uint32_t k)
{
	return ci->kt[k].kick_since &&
	       ci->kt[k].kick_polls ==
		       __atomic_load_n(&ci->in->control->kthreads[k].rx_polls, __ATOMIC_RELAXED);
}

static void kick_clear(struct cores_instance *ci, uint32_t k)
{
	if (!ci->kt[k].kick_since)
		return;
	ci->kt[k].kick_since = 0;
	ci->nr_kick--;
	nr_busy--;
}

void cores_kick_arm(struct cores_instance *ci, uint32_t k, uint64_t now)
{
	struct cores_kt *kt = &ci->kt[k];
	uint32_t polls = __atomic_load_n(&ci->in->control->kthreads[k].rx_polls, __ATOMIC_RELAXED);

	cores_list(ci);
	if (kt->kick_since) {
		/* It looked meanwhile, so these packets are the oldest. */
		if (polls != kt->kick_polls) {
			kt->kick_since = now;
			kt->kick_polls = polls;
			kt->kick_gap = KICK_NS;
		}
		return;
	}
	kt->kick_since = now;
	kt->kick_polls = polls;
	kt->kick_gap = KICK_NS;
	ci->nr_kick++;
	nr_busy++;
}

static bool kick_check(struct cores_instance *ci, uint32_t k, uint64_t now)
{
	struct cores_kt *kt = &ci->kt[k];
	uint32_t state;

	if (!kt->kick_since || now < kt->kick_since + kt->kick_gap)
		return false;
	state = word_state(word_read(ci->in->control, k));
	if (!cores_unseen(ci, k)) {
		kick_clear(ci, k);
		return false;
	}
	if (state == CTL_KT_PARKED) {
		/* It looked before it slept, unless it was made to give its core back. */
		kick_clear(ci, k);
		if (config.dedicated)
			managed_want_rx(ci, k, now);
		return false;
	}
	if (state == CTL_KT_RUNNING)
		cores_signal(ci->in, k);
	/* Once more later, should this one find it where it cannot look; not for ever, if it will
	 * not. */
	kt->kick_since = now;
	kt->kick_gap *= 2;
	if (kt->kick_gap > KICK_MAX_NS)
		kick_clear(ci, k);
	return true;
}

/* Wakes */

static void wake_clear(struct cores_instance *ci, uint32_t k)
{
	if (!ci->kt[k].waking_since)
		return;
	ci->kt[k].waking_since = 0;
	ci->nr_waking--;
	nr_busy--;
}

void cores_note_wake(struct cores_instance *ci, uint32_t k, uint32_t word, uint64_t since)
{
	struct cores_kt *kt = &ci->kt[k];

	wake_clear(ci, k);
	kt->waking_since = since ? since : 1;
	kt->waking_word = word;
	ci->nr_waking++;
	nr_busy++;
	ci->in->stats->wakes++;
}

static bool wake_check(struct cores_instance *ci, uint32_t k, uint64_t now)
{
	struct cores_kt *kt = &ci->kt[k];

	if (!kt->waking_since)
		return false;
	if (word_read(ci->in->control, k) == kt->waking_word) {
		if (now < kt->waking_since + WAKE_LOST_NS)
			return false;
	} else {
		latency_add(&ci->wake, now - kt->waking_since);
	}
	wake_clear(ci, k);
	return true;
}

/* Looks after the kicks and wakes of one instance. */
static bool look_after(struct cores_instance *ci, uint64_t now)
{
	bool did = false;

	for (uint32_t k = 0; k < ci->nr && (ci->nr_kick || ci->nr_waking); k++) {
		did |= wake_check(ci, k, now);
		did |= kick_check(ci, k, now);
	}
	return did;
}

/* Nothing of it needs looking after any more. */
static void forget(struct cores_instance *ci)
{
	for (uint32_t k = 0; k < ci->nr; k++) {
		kick_clear(ci, k);
		wake_clear(ci, k);
	}
}

/* Adaptive mode */

static void wake_kthread(struct cores_instance *ci, uint32_t k, uint32_t seen, uint64_t now)
{
	struct control *c = ci->in->control;
	uint32_t word;

	if (!word_grant(c, k, seen, &word))
		return;
	cores_list(ci);
	cores_note_wake(ci, k, word, now);
	word_wake(&c->kthreads[k].word);
}

bool cores_survey(const struct cores_instance *ci, struct survey *s)
{
	*s = (struct survey){UINT32_MAX, UINT32_MAX, 0};
	for (uint32_t k = 0; k < ci->nr; k++) {
		uint32_t w = word_read(ci->in->control, k);

		if (word_state(w) == CTL_KT_SPINNING)
			return false;
		if (word_state(w) == CTL_KT_RUNNING && s->running == UINT32_MAX)
			s->running = k;
		if (word_parked(w) && s->parked == UINT32_MAX) {
			s->parked = k;
			s->parked_word = w;
		}
	}
	return true;
}

/*
 * Packets for kthread `pair`. A sibling that spins polls the queues of parked ones too, so nobody
 * need be woken; one that runs does so at its next system call.
 */
static void adaptive_rx(struct cores_instance *ci, uint32_t pair, uint64_t now)
{
	struct control *c = ci->in->control;
	struct survey s;
	uint32_t own;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	own = pair < ci->nr ? word_read(c, pair) : 0;
	if (word_state(own) == CTL_KT_SPINNING)
		return;
	if (word_state(own) == CTL_KT_RUNNING || word_state(own) == CTL_KT_GRANTED) {
		cores_kick_arm(ci, pair, now);
		return;
	}
	if (!cores_survey(ci, &s))
		return;
	if (word_parked(own))
		wake_kthread(ci, pair, own, now);
	else if (s.running != UINT32_MAX)
		cores_kick_arm(ci, s.running, now);
	else if (s.parked != UINT32_MAX)
		wake_kthread(ci, s.parked, s.parked_word, now);
}

static bool any_running(const struct cores_instance *ci, uint64_t now)
{
	if (now < ci->attached_ns + BOOT_NS && !word_read(ci->in->control, 0))
		return true;
	for (uint32_t k = 0; k < ci->nr; k++)
		if (word_state(word_read(ci->in->control, k)) != CTL_KT_PARKED)
			return true;
	return false;
}

/* Brings what the statistics say of one instance up to date. */
static void publish(struct cores_instance *ci, uint64_t now)
{
	struct sstats_instance *st = ci->in->stats;
	uint64_t cpu;

	ci->published_ns = now;
	st->wake_ns_p50 = latency_quantile(&ci->wake, 500);
	st->wake_ns_p99 = latency_quantile(&ci->wake, 990);
	if (config.dedicated) {
		managed_publish(ci, now);
		return;
	}
	/* The host schedules: what it says, and how many run now. */
	cpu = cores_cpu_ns(ci->in);
	if (cpu)
		st->core_ns = cpu;
	st->cores = 0;
	for (uint32_t k = 0; k < ci->nr; k++)
		st->cores += word_running(word_read(ci->in->control, k));
}

/* Every SCAN_NS: who has parked altogether leaves the list. */
static bool scan(uint64_t now)
{
	bool did = false;

	for (uint32_t i = 0; i < nr_active;) {
		struct cores_instance *ci = active[i];
		bool busy = config.dedicated ? managed_look(ci, now) : any_running(ci, now);

		if (now >= ci->published_ns + PUBLISH_NS)
			publish(ci, now);
		if (busy || ci->nr_kick || ci->nr_waking) {
			i++;
			continue;
		}
		forget(ci);
		unlist(ci);
		ci->in->stats->queue_delay_ns = 0;
		if (!config.dedicated)
			ci->in->stats->cores = 0;
		if (ci->in->active)
			loop_deactivate(ci->in);
		did = true;
	}
	return did;
}

/* Both modes */

int cores_init(void)
{
	nr_active = nr_busy = 0;
	next_scan = 0;
	return config.dedicated ? managed_init() : 0;
}

void cores_exit(void)
{
	if (config.dedicated)
		managed_exit();
}

int cores_attach(struct instance *in)
{
	struct cores_instance *ci;
	uint64_t now = now_ns();
	uint32_t nr = in->nr_pairs < CTL_MAX_KTHREADS ? in->nr_pairs : CTL_MAX_KTHREADS;

	ci = calloc(1, sizeof(*ci) + nr * sizeof(ci->kt[0]));
	if (!ci) {
		errno = ENOMEM;
		return -1;
	}
	ci->in = in;
	ci->nr = nr;
	ci->attached_ns = now;
	in->cores = ci;
	if (config.dedicated) {
		if (managed_attach(ci, now)) {
			in->cores = NULL;
			free(ci);
			return -1;
		}
	} else {
		__atomic_store_n(&in->control->sched.managed, 0, __ATOMIC_SEQ_CST);
	}
	/* Packets may have come before we knew it. */
	cores_kick_arm(ci, 0, now);
	return 0;
}

void cores_detach(struct instance *in)
{
	struct cores_instance *ci = in->cores;

	if (!ci)
		return;
	if (config.dedicated)
		managed_detach(ci, now_ns());
	forget(ci);
	if (ci->listed) {
		unlist(ci);
		if (in->active)
			loop_deactivate(in);
	}
	in->cores = NULL;
	free(ci);
}

void cores_rx(struct instance *in, uint32_t pair, uint64_t now)
{
	if (!in->cores)
		return;
	if (config.dedicated)
		managed_rx(in->cores, pair, now);
	else
		adaptive_rx(in->cores, pair, now);
}

void cores_doorbell(struct instance *in, uint64_t now)
{
	if (!in->cores)
		return;
	cores_list(in->cores);
	if (config.dedicated)
		managed_look(in->cores, now);
}

bool cores_tick(uint64_t now)
{
	bool did = config.dedicated && managed_tick(now);

	if (nr_busy)
		for (uint32_t i = 0; i < nr_active; i++)
			if (active[i]->nr_kick || active[i]->nr_waking)
				did |= look_after(active[i], now);
	if (now < next_scan)
		return did;
	next_scan = now + SCAN_NS;
	did |= scan(now);
	return did;
}

uint64_t cores_deadline(void)
{
	uint64_t now = now_ns(), first, other;

	/* Active ones alone are no reason to stay awake: asleep, the loop asks them for their
	 * doorbells. */
	first = nr_busy ? now + SCAN_NS : NEVER;
	other = config.dedicated ? managed_deadline(now) : NEVER;
	return other < first ? other : first;
}
