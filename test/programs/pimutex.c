/* pimutex.c - mutexes that name their owner: priority inheritance, robust, error-checking; and
 * their futexes. */
#include "t.h"

#include <linux/futex.h>

static pthread_mutex_t m;
static volatile long counter;
static uint32_t word;

static long futex(int op, const struct timespec *t)
{
	return syscall(SYS_futex, &word, op | FUTEX_PRIVATE_FLAG, 0, t, NULL, 0);
}

static void init(int protocol, int robust, int type)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	E(pthread_mutexattr_setprotocol(&a, protocol));
	if (robust)
		E(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST));
	E(pthread_mutexattr_settype(&a, type));
	E(pthread_mutex_init(&m, &a));
	pthread_mutexattr_destroy(&a);
}

static void *add(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&m);
		counter++;
		if (i % 64 == 0)
			sched_yield();
		pthread_mutex_unlock(&m);
	}
	return NULL;
}

static void *die_with_it(void *arg)
{
	E(pthread_mutex_lock(&m));
	sleep_ms((long)arg);
	return NULL;
}

static void *wait_for_it(void *arg)
{
	int r = pthread_mutex_lock(&m);

	say("waiter: %s", r ? t_errname(r) : "0");
	if (r == EOWNERDEAD)
		E(pthread_mutex_consistent(&m));
	if (pthread_mutex_unlock(&m)) /* else the next one has it and may print now */
		say("waiter cannot unlock");
	return NULL;
}

static void contended(void)
{
	pthread_t t[4];

	HEAD("contended");
	init(PTHREAD_PRIO_INHERIT, 0, PTHREAD_MUTEX_NORMAL);
	for (int i = 0; i < 4; i++)
		t[i] = spawn(add, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	V(counter);
	pthread_mutex_destroy(&m);
}

static void checked(void)
{
	struct timespec soon;

	HEAD("checked");
	init(PTHREAD_PRIO_INHERIT, 0, PTHREAD_MUTEX_ERRORCHECK);
	E(pthread_mutex_unlock(&m));
	E(pthread_mutex_lock(&m));
	E(pthread_mutex_lock(&m));
	E(pthread_mutex_trylock(&m));
	E(pthread_mutex_unlock(&m));
	HEAD("timed");
	pthread_t t = spawn(die_with_it, (void *)80L);

	sleep_ms(20);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon = ts_ns(soon.tv_sec * NS_PER_S + soon.tv_nsec + 20 * NS_PER_MS);
	E(pthread_mutex_timedlock(&m, &soon));
	E(pthread_mutex_trylock(&m));
	pthread_join(t, NULL);
}

static void robust(void)
{
	pthread_t a, b, c;

	HEAD("robust, waiters");
	init(PTHREAD_PRIO_INHERIT, 1, PTHREAD_MUTEX_NORMAL);
	a = spawn(die_with_it, (void *)60L);
	sleep_ms(20);
	b = spawn(wait_for_it, NULL);
	sleep_ms(10);
	c = spawn(wait_for_it, NULL);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	pthread_join(c, NULL);
	HEAD("robust, nobody waits");
	a = spawn(die_with_it, (void *)0L);
	pthread_join(a, NULL);
	E(pthread_mutex_lock(&m));
	E(pthread_mutex_unlock(&m));
	E(pthread_mutex_lock(&m));
}

static void *hold_word(void *arg)
{
	say("lock = %ld", futex(FUTEX_LOCK_PI, NULL));
	T((word & FUTEX_TID_MASK) == (uint32_t)gettid_raw());
	sleep_ms(60);
	return (void *)futex(FUTEX_UNLOCK_PI, NULL);
}

static void raw(void)
{
	struct timespec past = { 1, 0 };
	void *result;
	pthread_t t;

	HEAD("the word");
	V(futex(FUTEX_TRYLOCK_PI, NULL));
	T(word == (uint32_t)gettid_raw());
	R(futex(FUTEX_LOCK_PI, NULL));
	R(futex(FUTEX_UNLOCK_PI, NULL));
	V(word);
	R(futex(FUTEX_UNLOCK_PI, NULL));
	word = 0x3ffffff0; /* no such thread */
	R(futex(FUTEX_LOCK_PI, NULL));
	word = 0;
	t = spawn(hold_word, NULL);
	sleep_ms(20);
	R(futex(FUTEX_TRYLOCK_PI, NULL));
	R(futex(FUTEX_LOCK_PI, &past));
	R(futex(FUTEX_WAKE, NULL));
	R(futex(FUTEX_LOCK_PI, NULL));
	T((word & FUTEX_TID_MASK) == (uint32_t)gettid_raw());
	pthread_join(t, &result);
	T(!result);
	R(futex(FUTEX_UNLOCK_PI, NULL));
	V(word);
}

int main(void)
{
	contended();
	checked();
	robust();
	raw();
	return 0;
}
