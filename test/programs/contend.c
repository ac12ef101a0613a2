/*
 * contend.c - locks under contention: a wake-up lost between a waiter's look at the word and its sleep
 * is a hang. Critical sections are shorter than the way into futex(2), so that window is hit often.
 */
#include "t.h"

#include <linux/futex.h>
#include <semaphore.h>

enum { THREADS = 4, ROUNDS = 20000 };

static uint32_t word; /* 0 free, 1 taken, 2 taken with waiters */
static long plain, with_mutex, turns;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;

static void lock_word(void)
{
	uint32_t c = 0;

	if (__atomic_compare_exchange_n(&word, &c, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	while (__atomic_exchange_n(&word, 2, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

static void unlock_word(void)
{
	if (__atomic_exchange_n(&word, 0, __ATOMIC_SEQ_CST) == 2)
		syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *run(void *arg)
{
	long self = (long)arg;
	unsigned seed = (unsigned)self * 2654435761u;

	for (int i = 0; i < ROUNDS; i++) {
		lock_word();
		plain++;
		for (volatile unsigned k = seed >> 26; k; k--)
			;
		unlock_word();
		seed = seed * 1664525u + 1013904223u;
	}
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		with_mutex++;
		pthread_mutex_unlock(&mutex);
		if (i % 64 == 0) {
			sem_wait(&sem);
			sem_post(&sem);
		}
	}
	for (int i = 0; i < ROUNDS / 40; i++) {
		pthread_mutex_lock(&mutex);
		while (turns % THREADS != self)
			pthread_cond_wait(&cond, &mutex);
		turns++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];

	sem_init(&sem, 0, 1);
	for (long i = 0; i < THREADS; i++)
		t[i] = spawn(run, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	V(plain);
	V(with_mutex);
	V(turns);
	return 0;
}
