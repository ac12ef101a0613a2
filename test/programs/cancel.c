/* cancel.c - pthread_cancel of threads that block, compute, and hold cancellation back; many times.
 */
#include "t.h"

#include <semaphore.h>

enum { ROUNDS = 40 };

static int p[2];
static volatile int cleaned;
static sem_t started;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void cleanup(void *arg)
{
	__atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST);
	if (arg)
		pthread_mutex_unlock(arg);
}

static void in_read(void)
{
	char c;

	read(p[0], &c, 1);
}

static void in_pause(void)
{
	pause();
}

static void in_sleep(void)
{
	sleep(1000);
}

static void in_sem(void)
{
	sem_t s;

	sem_init(&s, 0, 0);
	sem_wait(&s);
}

static void in_loop(void)
{
	int old;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	for (;;)
		__asm__ volatile("");
}

static void in_checks(void)
{
	for (;;)
		pthread_testcancel();
}

static void in_calls(void)
{
	for (;;)
		write(p[1], "", 0); /* mostly between the calls */
}

static void held_back(void)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	sleep_ms(1);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	pause();
}

static void *run(void *fn)
{
	pthread_cleanup_push(cleanup, NULL);
	sem_post(&started);
	((void (*)(void))fn)();
	pthread_cleanup_pop(0);
	return NULL;
}

static void *in_cond(void *arg)
{
	pthread_mutex_lock(&mu);
	pthread_cleanup_push(cleanup, &mu);
	sem_post(&started);
	for (;;)
		pthread_cond_wait(&cond, &mu);
	pthread_cleanup_pop(0);
	return NULL;
}

static void test(const char *name, void *(*start)(void *), void (*fn)(void))
{
	int cancelled = 0;

	cleaned = 0;
	for (int i = 0; i < ROUNDS; i++) {
		pthread_t t = spawn(start, (void *)fn);
		void *result;

		sem_wait(&started);
		if (i & 1)
			usleep(i * 10); /* else it may not have blocked yet */
		pthread_cancel(t);
		pthread_join(t, &result);
		cancelled += result == PTHREAD_CANCELED;
	}
	say("%s: cancelled %d cleaned %d", name, cancelled, cleaned);
}

int main(void)
{
	NEED(pipe(p) == 0);
	sem_init(&started, 0, 0);
	test("read", run, in_read);
	test("pause", run, in_pause);
	test("sleep", run, in_sleep);
	test("sem_wait", run, in_sem);
	test("cond_wait", in_cond, NULL);
	test("loop", run, in_loop);
	test("checks", run, in_checks);
	test("calls", run, in_calls);
	test("held back", run, held_back);
	return 0;
}
