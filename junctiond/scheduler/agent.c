/*
 * agent.c - core agents (agent.h).
 *
 * The mailbox is one cache line of the polling thread's (wish, word) and one of the agent's
 * (report).
 */
#include "junctiond/scheduler/agent.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "junctiond/scheduler/words.h"

#define SEQ_STOP UINT32_MAX

struct agent {
	/* written by the polling thread */
	_Alignas(64) uint32_t wish; /* number of the wish; published last */
	uint32_t *word;
	/* written by the agent */
	_Alignas(64) uint32_t done; /* number of the last wish carried out */
	/* neither */
	_Alignas(64) pthread_t thread;
	int cpu;
};

static void *agent_main(void *arg)
{
	struct agent *a = arg;
	uint32_t seen = 0, wish;

	for (;;) {
		while ((wish = __atomic_load_n(&a->wish, __ATOMIC_ACQUIRE)) == seen)
			__builtin_ia32_pause();
		if (wish == SEQ_STOP)
			return NULL;
		seen = wish;
		word_wake(__atomic_load_n(&a->word, __ATOMIC_RELAXED));
		__atomic_store_n(&a->done, seen, __ATOMIC_RELEASE);
	}
}

struct agent *agent_start(int cpu)
{
	struct sched_param param = {0};
	pthread_attr_t attr;
	struct agent *a;
	sigset_t all, old;
	cpu_set_t set;
	char name[16];
	int r;

	a = aligned_alloc(64, sizeof(*a));
	if (!a)
		return NULL;
	*a = (struct agent){.cpu = cpu};
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(&attr);
	r = pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!r)
		r = pthread_create(&a->thread, &attr, agent_main, a);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!r) {
		r = pthread_setschedparam(a->thread, SCHED_IDLE, &param);
		if (r)
			agent_stop(a);
	} else {
		free(a);
	}
	if (r) {
		errno = r;
		return NULL;
	}
	snprintf(name, sizeof(name), "core-agent/%d", cpu);
	pthread_setname_np(a->thread, name);
	return a;
}

void agent_stop(struct agent *a)
{
	if (!a)
		return;
	__atomic_store_n(&a->wish, SEQ_STOP, __ATOMIC_RELEASE);
	pthread_join(a->thread, NULL);
	free(a);
}

void agent_wake(struct agent *a, uint32_t *word)
{
	uint32_t next = a->wish + 1;

	__atomic_store_n(&a->word, word, __ATOMIC_RELAXED);
	__atomic_store_n(&a->wish, next == SEQ_STOP ? 0 : next, __ATOMIC_RELEASE);
}

bool agent_done(const struct agent *a)
{
	return __atomic_load_n(&a->done, __ATOMIC_ACQUIRE) == a->wish;
}
