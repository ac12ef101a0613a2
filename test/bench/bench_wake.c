/*
 * bench_wake.c - waking a kthread on another core: through the core's agent, against a direct futex
 * wake.
 *
 *     bench_wake [ROUNDS]        prints one JSON object: p50 and p99 in ns, from the wish to
 * running
 *
 * One thread on one CPU wakes another on a second CPU, in turns of three ways, so that all see the
 * same machine: agent        the core's agent makes the system call direct       the waker makes
 * it, while the agent polls on that core direct_idle  the waker makes it, and the core has nothing
 * to do (no agent)
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "junctiond/scheduler/agent.h"
#include "junctiond/scheduler/words.h"

enum { WAY_AGENT, WAY_DIRECT, WAY_DIRECT_IDLE, WAYS };
static const char *const names[] = {"agent", "direct", "direct_idle"};

static _Alignas(64) uint32_t word; /* even: parked, odd: granted */
static _Alignas(64) uint64_t woken_ns;
static bool stop;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *sleeper(void *arg)
{
	uint32_t parked = 0;

	pin(*(int *)arg);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == parked)
			syscall(SYS_futex, &word, FUTEX_WAIT, parked, NULL, NULL, 0);
		__atomic_store_n(&woken_ns, now_ns(), __ATOMIC_RELEASE);
		parked += 2;
		__atomic_store_n(&word, parked, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* One wake; ns until it ran. 0: it did not within 100 ms. */
static uint64_t wake_once(struct agent *a, int way)
{
	uint64_t from = now_ns(), at;

	/* Until it sleeps in the kernel, and its core has gone on to the agent or to idle. */
	while (now_ns() - from < 60000)
		__builtin_ia32_pause();
	__atomic_store_n(&woken_ns, 0, __ATOMIC_RELEASE);
	from = now_ns();
	__atomic_add_fetch(&word, 1, __ATOMIC_SEQ_CST);
	if (way == WAY_AGENT)
		agent_wake(a, &word);
	else
		word_wake(&word);
	while (!(at = __atomic_load_n(&woken_ns, __ATOMIC_ACQUIRE)))
		if (now_ns() - from > 100000000) {
			word_wake(&word);
			return 0;
		}
	return at - from;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 20000, n[WAYS] = {0},
		 lost = 0;
	int cpus[2], found = 0;
	uint64_t *v[WAYS];
	pthread_t t;
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	for (int c = 0; c < CPU_SETSIZE && found < 2; c++)
		if (CPU_ISSET(c, &set))
			cpus[found++] = c;
	if (found < 2 || !rounds) {
		fprintf(stderr, "bench_wake: needs two CPUs and at least one round\n");
		return 1;
	}
	pin(cpus[1]);
	pthread_create(&t, NULL, sleeper, &cpus[0]);
	for (int w = 0; w < WAYS; w++)
		v[w] = calloc(rounds, sizeof(uint64_t));
	for (uint32_t done = 0; done < rounds; done += 500) {
		for (int way = 0; way < WAYS; way++) {
			struct agent *a = way == WAY_DIRECT_IDLE ? NULL : agent_start(cpus[0]);

			for (uint32_t i = 0; i < 500 && n[way] < rounds; i++) {
				uint64_t ns = wake_once(a, way);

				if (ns)
					v[way][n[way]++] = ns;
				else
					lost++;
			}
			agent_stop(a);
		}
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	__atomic_add_fetch(&word, 1, __ATOMIC_SEQ_CST);
	word_wake(&word);
	pthread_join(t, NULL);
	printf("{");
	for (int w = 0; w < WAYS; w++) {
		qsort(v[w], n[w], sizeof(uint64_t), by_value);
		printf("\"%s\": {\"p50_ns\": %lu, \"p99_ns\": %lu, \"n\": %u}, ", names[w],
		       n[w] ? v[w][n[w] / 2] : 0, n[w] ? v[w][(uint64_t)n[w] * 99 / 100] : 0, n[w]);
		free(v[w]);
	}
	printf("\"lost\": %u}\n", lost);
	return 0;
}
