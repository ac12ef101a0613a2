/*
 * doorbell.c - threads that sleep on the doorbells of instances and tell the polling thread.
 *
 * One thread waits for up to 127 doorbells and its own control word with futex_waitv(2)
 * (Linux 5.16); where that is missing, for one doorbell with futex(2). A ring becomes a bit, and a
 * write to an eventfd if the polling thread sleeps:
 *
 *   waiter    sets bit, rung; fence; reads sleeping, then perhaps writes the eventfd
 *   polling   sets sleeping; fence; reads rung, then perhaps sleeps
 *
 * One of the two sees the other. An instance that rings all the time keeps only itself from being
 * heard: a doorbell that rang often is left alone until the end of the millisecond.
 *
 * Lock: waiter.lock guards its slots; a region is mapped as long as its doorbell stands in a slot.
 * A thread waits in the kernel without it; then the address may be gone (EFAULT) or another's (a
 * wake-up too many).
 */
#include "junctiond/scheduler/doorbell.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "junctiond/scheduler/log.h"

#ifndef __NR_futex_waitv
#define __NR_futex_waitv 449
#endif

#define MAX_SLOTS 127u /* FUTEX_WAITV_MAX, less the control word */
#define MAX_WAITERS DOORBELL_MAX
#define WINDOW_NS 1000000u
#define RINGS_A_WINDOW 64u

struct slot {
	uint32_t *word;
	uint32_t id;
	uint32_t seen;
	uint32_t rings;	 /* in this window */
	uint64_t window; /* when it began, in WINDOW_NS */
};

struct waiter {
	pthread_t thread;
	pthread_mutex_t lock;
	uint32_t control; /* changes when the slots did */
	bool stop;
	unsigned n;
	struct slot slots[MAX_SLOTS];
};

static struct waiter *waiters[MAX_WAITERS];
static unsigned nr_waiters, capacity;
static void *owners[DOORBELL_MAX]; /* polling thread only */
static uint64_t bits[DOORBELL_MAX / 64];
static uint32_t rung, asleep;
static int event_fd = -1;

static uint64_t kernel_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec;
}

int doorbell_init(void)
{
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event_fd == -1)
		return -1;
	/* No futexes at all: EINVAL where the call is known. */
	capacity = syscall(__NR_futex_waitv, NULL, 0, 0, NULL, 0) == -1 && errno == ENOSYS
			   ? 1
			   : MAX_SLOTS;
	return 0;
}

static void ring(uint32_t id)
{
	uint64_t one = 1;

	__atomic_fetch_or(&bits[(id - 1) / 64], 1ull << ((id - 1) % 64), __ATOMIC_RELAXED);
	__atomic_store_n(&rung, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&asleep, __ATOMIC_RELAXED) && write(event_fd, &one, sizeof(one)) < 0)
		return; /* full: readable anyway */
}

/* Takes note of the doorbells that changed. Lock held. */
static void look(struct waiter *w)
{
	uint64_t window = kernel_now() / WINDOW_NS;

	for (unsigned i = 0; i < w->n; i++) {
		struct slot *s = &w->slots[i];
		uint32_t value = __atomic_load_n(s->word, __ATOMIC_ACQUIRE);

		if (s->window != window) {
			s->window = window;
			s->rings = 0;
		}
		if (value == s->seen || s->rings >= RINGS_A_WINDOW)
			continue;
		s->seen = value;
		s->rings++;
		ring(s->id);
	}
}

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;
	struct futex_waitv v[MAX_SLOTS + 1];

	pthread_mutex_lock(&w->lock);
	while (!w->stop) {
		struct timespec end = {0};
		unsigned n = 1;
		bool muted = false;

		v[0] = (struct futex_waitv){w->control, (uintptr_t)&w->control,
					    FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
		for (unsigned i = 0; i < w->n; i++) {
			struct slot *s = &w->slots[i];

			if (s->rings >= RINGS_A_WINDOW) {
				uint64_t ns = (s->window + 1) * WINDOW_NS;

				muted = true;
				end = (struct timespec){(time_t)(ns / 1000000000u),
							(long)(ns % 1000000000u)};
			} else {
				v[n++] = (struct futex_waitv){s->seen, (uintptr_t)s->word, FUTEX_32,
							      0};
			}
		}
		pthread_mutex_unlock(&w->lock);
		if (capacity == 1) {
			/* One word at a time; a change of the slots is seen after a second at the
			 * latest. */
			struct timespec second = {muted ? 0 : 1, muted ? WINDOW_NS : 0};

			syscall(SYS_futex, (uint32_t *)(uintptr_t)v[n - 1].uaddr, FUTEX_WAIT,
				(uint32_t)v[n - 1].val, &second, NULL, 0);
		} else {
			syscall(__NR_futex_waitv, v, n, 0, muted ? &end : NULL, CLOCK_MONOTONIC);
		}
		pthread_mutex_lock(&w->lock);
		look(w);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Makes the waiter look at its slots. Lock held. */
static void changed(struct waiter *w)
{
	__atomic_add_fetch(&w->control, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &w->control, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	if (capacity == 1)
		syscall(SYS_futex, &w->control, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static struct waiter *waiter_start(void)
{
	struct waiter *w = nr_waiters < MAX_WAITERS ? calloc(1, sizeof(*w)) : NULL;
	sigset_t all, old;
	int rc;

	if (!w)
		return NULL;
	pthread_mutex_init(&w->lock, NULL);
	/* Signals are for the polling thread; that of the tap driver says that frames have come. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&w->thread, NULL, waiter_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		free(w);
		return NULL;
	}
	waiters[nr_waiters++] = w;
	return w;
}

int doorbell_add(uint32_t id, uint32_t *word, void *owner)
{
	struct waiter *w = NULL;

	for (unsigned i = 0; i < nr_waiters && !w; i++)
		if (waiters[i]->n < capacity)
			w = waiters[i];
	if (!w)
		w = waiter_start();
	if (!w) {
		log_line(LOG_ERROR, "doorbell", "no thread for another doorbell", "id=%u", id);
		return -1;
	}
	owners[id - 1] = owner;
	pthread_mutex_lock(&w->lock);
	/* Not what the word is now: a ring before this moment counts. */
	w->slots[w->n++] = (struct slot){.word = word, .id = id, .seen = 0};
	changed(w);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

void doorbell_remove(uint32_t id)
{
	owners[id - 1] = NULL;
	for (unsigned i = 0; i < nr_waiters; i++) {
		struct waiter *w = waiters[i];

		for (unsigned k = 0; k < w->n; k++) {
			if (w->slots[k].id != id)
				continue;
			pthread_mutex_lock(&w->lock);
			if (capacity == 1)
				syscall(SYS_futex, w->slots[k].word, FUTEX_WAKE, 1, NULL, NULL, 0);
			w->slots[k] = w->slots[--w->n];
			changed(w);
			pthread_mutex_unlock(&w->lock);
			__atomic_fetch_and(&bits[(id - 1) / 64], ~(1ull << ((id - 1) % 64)), __ATOMIC_RELAXED);
			return;
		}
	}
}

bool doorbell_rung(void)
{
	return __atomic_load_n(&rung, __ATOMIC_RELAXED);
}

void doorbell_take(void (*fn)(void *owner))
{
	if (!__atomic_exchange_n(&rung, 0, __ATOMIC_SEQ_CST))
		return;
	for (uint32_t i = 0; i < DOORBELL_MAX / 64; i++) {
		uint64_t set = __atomic_load_n(&bits[i], __ATOMIC_RELAXED);

		if (set)
			set = __atomic_exchange_n(&bits[i], 0, __ATOMIC_RELAXED);
		for (; set; set &= set - 1) {
			void *owner = owners[64 * i + (uint32_t)__builtin_ctzll(set)];

			if (owner)
				fn(owner);
		}
	}
}

int doorbell_fd(void)
{
	return event_fd;
}

void doorbell_sleep(bool sleeping)
{
	uint64_t n;

	__atomic_store_n(&asleep, sleeping, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!sleeping && doorbell_rung() && read(event_fd, &n, sizeof(n)) < 0)
		return; /* nothing was written */
}

void doorbell_exit(void)
{
	for (unsigned i = 0; i < nr_waiters; i++) {
		struct waiter *w = waiters[i];

		pthread_mutex_lock(&w->lock);
		w->stop = true;
		changed(w);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
		free(w);
	}
	nr_waiters = 0;
	close(event_fd);
}
