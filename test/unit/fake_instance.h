/*
 * fake_instance.h - a process that keeps the kthread side of the park words (libos/abi/control.h),
 * for tests of the scheduler's side: decent, busy and hostile ones. And the stand-ins for the rest
 * of the scheduler.
 */
#ifndef TEST_UNIT_FAKE_INSTANCE_H
#define TEST_UNIT_FAKE_INSTANCE_H

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "junctiond/scheduler/scheduler.h"
#include "junctiond/scheduler/words.h"

enum fake_mode {
	FAKE_SERVE,    /* answers requests, parks when there are none */
	FAKE_BUSY,     /* computes for ever; gives the core back when asked and signalled */
	FAKE_DEAF,     /* computes for ever, and hears nothing */
	FAKE_LIAR,     /* computes for ever, its words say PARKED */
	FAKE_ABSENT,   /* never begins */
	FAKE_SCRIBBLE, /* writes random bytes over words and lines for ever */
};

/* What test and process share. */
struct fake_shared {
	_Alignas(64) uint32_t requests;
	_Alignas(64) uint32_t answered;
	_Alignas(64) uint64_t turns; /* of computing */
	uint32_t kicks;		     /* SIGURG seen */
	uint32_t timer_ns;	     /* FAKE_SERVE: parks with a timer so far ahead; 0: none */
	uint32_t timers_seen;
	uint32_t begun; /* kthreads that have run at least once, bit each */
};

struct fake {
	enum fake_mode mode;
	struct fake_shared *shared;
	struct instance in;
	struct sstats_instance stats;
};

static inline uint64_t fake_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* The child's side */

static struct fake *fake_self;

static void fake_kick(int sig)
{
	__atomic_fetch_add(&fake_self->shared->kicks, 1, __ATOMIC_RELAXED);
}

static void fake_wait(uint32_t *word, uint32_t seen)
{
	syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

/* Until granted; then RUNNING. */
static void fake_run(struct ctl_kthread *line)
{
	uint32_t w;

	while (w = __atomic_load_n(&line->word, __ATOMIC_ACQUIRE), word_state(w) != CTL_KT_GRANTED)
		fake_wait(&line->word, w);
	__atomic_store_n(&line->word, word_next(w, CTL_KT_RUNNING), __ATOMIC_SEQ_CST);
}

static void fake_park(struct ctl_kthread *line, uint32_t runnable, uint64_t timer, bool look)
{
	struct fake_shared *sh = fake_self->shared;
	uint32_t w = line->word, parked = word_next(w, CTL_KT_PARKED);

	line->runnable = runnable;
	line->next_timer = timer;
	__atomic_store_n(&line->word, parked, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (look && __atomic_load_n(&sh->requests, __ATOMIC_RELAXED) != sh->answered &&
	    __atomic_compare_exchange_n(&line->word, &parked, word_next(parked, CTL_KT_RUNNING),
					false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	fake_run(line);
}

static void fake_serve(struct ctl_kthread *line)
{
	struct fake_shared *sh = fake_self->shared;

	for (;;) {
		uint64_t timer = UINT64_MAX;

		line->rx_polls++;
		while (__atomic_load_n(&sh->requests, __ATOMIC_ACQUIRE) != sh->answered)
			__atomic_fetch_add(&sh->answered, 1, __ATOMIC_RELEASE);
		if (sh->timer_ns)
			timer = fake_now() + sh->timer_ns;
		fake_park(line, 0, timer, true);
		if (timer != UINT64_MAX && fake_now() >= timer)
			sh->timers_seen++;
	}
}

static void fake_compute(struct ctl_kthread *line)
{
	struct fake_shared *sh = fake_self->shared;
	bool hears = fake_self->mode == FAKE_BUSY;
	unsigned int seed = 1;

	if (fake_self->mode == FAKE_LIAR)
		__atomic_store_n(&line->word, word_next(line->word, CTL_KT_PARKED),
				 __ATOMIC_SEQ_CST);
	for (;;) {
		__atomic_fetch_add(&sh->turns, 1, __ATOMIC_RELAXED);
		if (hears && line->preempt == word_gen(line->word))
			fake_park(line, 1, UINT64_MAX, false);
		if (fake_self->mode == FAKE_SCRIBBLE)
			((uint32_t *)line)[rand_r(&seed) % 16] =
				(uint32_t)rand_r(&seed) << 8 ^ rand_r(&seed);
	}
}

static void *fake_kthread(void *arg)
{
	uint32_t k = (uint32_t)(uintptr_t)arg;
	struct ctl_kthread *line = &fake_self->in.control->kthreads[k];
	uint32_t w;

	while (!(w = __atomic_load_n(&line->word, __ATOMIC_ACQUIRE)))
		fake_wait(&line->word, w);
	fake_run(line);
	__atomic_fetch_or(&fake_self->shared->begun, 1u << k, __ATOMIC_SEQ_CST);
	if (k)
		fake_park(line, 0, UINT64_MAX, false);
	if (fake_self->mode == FAKE_SERVE)
		fake_serve(line);
	fake_compute(line);
	return NULL;
}

static void fake_child(struct fake *f)
{
	struct sigaction sa = {.sa_handler = fake_kick};
	pthread_t t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (f->mode == FAKE_ABSENT)
		pause();
	fake_self = f;
	sigaction(CTL_KICK_SIGNAL, &sa, NULL);
	for (uint32_t k = 1; k < f->in.nr_pairs; k++)
		pthread_create(&t, NULL, fake_kthread, (void *)(uintptr_t)k);
	for (uint32_t k = 0; k < f->in.nr_pairs; k++)
		__atomic_store_n(&f->in.control->kthreads[k].word,
				 1 << CTL_KT_GEN_SHIFT | CTL_KT_GRANTED, __ATOMIC_SEQ_CST);
	for (uint32_t k = 1; k < f->in.nr_pairs; k++)
		word_wake(&f->in.control->kthreads[k].word);
	fake_kthread((void *)0);
	_exit(0);
}

/* The test's side */

static inline void fake_tids(struct fake *f)
{
	char path[64];
	uint32_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", f->in.pid);
	for (int tries = 0; tries < 1000 && n < f->in.nr_pairs; tries++) {
		DIR *d = opendir(path);
		struct dirent *e;

		n = 0;
		while (d && (e = readdir(d)))
			if (e->d_name[0] != '.' && n < f->in.nr_pairs)
				f->in.tids[n++] = atoi(e->d_name);
		if (d)
			closedir(d);
		usleep(1000);
	}
}

static inline bool fake_start(struct fake *f, uint32_t id, enum fake_mode mode, uint32_t nr)
{
	memset(f, 0, sizeof(*f));
	f->mode = mode;
	f->shared = mmap(NULL, sizeof(*f->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	f->in.control =
		mmap(NULL, CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->shared == MAP_FAILED || f->in.control == MAP_FAILED)
		return false;
	f->in.id = id;
	f->in.nr_pairs = nr;
	f->in.stats = &f->stats;
	f->in.conn_fd = -1;
	f->in.pid = fork();
	if (!f->in.pid)
		fake_child(f);
	f->in.pidfd = f->in.pid > 0 ? (int)syscall(SYS_pidfd_open, f->in.pid, 0) : -1;
	if (f->in.pidfd < 0)
		return false;
	fake_tids(f);
	return true;
}

static inline void fake_kill(struct fake *f)
{
	kill(f->in.pid, SIGKILL);
	waitpid(f->in.pid, NULL, 0);
}

static inline void fake_free(struct fake *f)
{
	close(f->in.pidfd);
	munmap(f->shared, sizeof(*f->shared));
	munmap(f->in.control, CTL_SIZE);
}

#endif
