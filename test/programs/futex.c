/* futex.c - wait, wake, bitsets, requeue, wake-op, timeouts, robust lists; priority inheritance. */
#include "t.h"

#include <linux/futex.h>

static long futex(uint32_t *w, int op, uint32_t v, const void *t, uint32_t *w2, uint32_t v3)
{
	return syscall(SYS_futex, w, op, v, t, w2, v3);
}

static uint32_t a, b;
static int woken;

struct waiter {
	uint32_t *word;
	int op;
	uint32_t bits;
	long result;
	pthread_t t;
};

static void *wait_on(void *arg)
{
	struct waiter *w = arg;

	w->result = futex(w->word, w->op, 0, NULL, NULL, w->bits) ? errno : 0;
	__atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Starts n waiters; returns when they (very likely) sleep. */
static void start(struct waiter *w, int n, uint32_t *word, int op, uint32_t bits)
{
	woken = 0;
	for (int i = 0; i < n; i++) {
		w[i] = (struct waiter){ word, op, bits, -1, 0 };
		w[i].t = spawn(wait_on, &w[i]);
	}
	sleep_ms(25);
}

static void finish(struct waiter *w, int n)
{
	for (int i = 0; i < n; i++) {
		pthread_join(w[i].t, NULL);
		if (w[i].result)
			say("waiter: %s", t_errname(w[i].result));
	}
}

static void settle(void)
{
	sleep_ms(25);
	V(woken);
}

static void basics(void)
{
	struct waiter w[6];
	struct timespec ts = ts_ns(10 * NS_PER_MS);
	long t0;
	char *page;

	HEAD("wait");
	a = 1;
	R(futex(&a, FUTEX_WAIT, 0, NULL, NULL, 0));
	R(futex(&a, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
	R(futex((uint32_t *)((char *)&a + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
	R(futex(NULL, FUTEX_WAIT, 0, NULL, NULL, 0));
	R(futex((uint32_t *)0x1000, FUTEX_WAKE, 1, NULL, NULL, 0));
	R(futex(&a, 99, 0, NULL, NULL, 0));
	R(futex(&a, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0));
	R(futex(&a, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
	t0 = now_ns(CLOCK_MONOTONIC);
	R(futex(&a, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0));
	T(now_ns(CLOCK_MONOTONIC) - t0 >= 10 * NS_PER_MS);
	ts.tv_nsec = NS_PER_S;
	R(futex(&a, FUTEX_WAIT, 1, &ts, NULL, 0));
	ts = (struct timespec){ -1, 0 };
	R(futex(&a, FUTEX_WAIT, 1, &ts, NULL, 0));
	ts = ts_ns(now_ns(CLOCK_MONOTONIC) + 10 * NS_PER_MS);
	t0 = now_ns(CLOCK_MONOTONIC);
	R(futex(&a, FUTEX_WAIT_BITSET_PRIVATE, 1, &ts, NULL, FUTEX_BITSET_MATCH_ANY));
	T(now_ns(CLOCK_MONOTONIC) - t0 >= 9 * NS_PER_MS);
	ts = ts_ns(now_ns(CLOCK_REALTIME) + 10 * NS_PER_MS);
	R(futex(&a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, &ts, NULL, FUTEX_BITSET_MATCH_ANY));
	ts = ts_ns(1);
	R(futex(&a, FUTEX_WAIT_BITSET, 1, &ts, NULL, FUTEX_BITSET_MATCH_ANY));

	HEAD("wake");
	R(futex(&a, FUTEX_WAKE, 10, NULL, NULL, 0));
	a = 0;
	start(w, 4, &a, FUTEX_WAIT_PRIVATE, 0);
	R(futex(&a, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	settle();
	R(futex(&b, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	R(futex(&a, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
	finish(w, 4);
	V(woken);

	HEAD("bitset");
	start(w, 2, &a, FUTEX_WAIT_BITSET_PRIVATE, 1);
	start(w + 2, 2, &a, FUTEX_WAIT_BITSET_PRIVATE, 6);
	R(futex(&a, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 8));
	R(futex(&a, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 4));
	settle();
	R(futex(&a, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 3));
	finish(w, 4);

	HEAD("requeue");
	start(w, 4, &a, FUTEX_WAIT_PRIVATE, 0);
	R(futex(&a, FUTEX_REQUEUE_PRIVATE, 1, (void *)2, &b, 0));
	settle();
	R(futex(&a, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	R(futex(&b, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	finish(w, 4);
	start(w, 3, &a, FUTEX_WAIT_PRIVATE, 0);
	R(futex(&a, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10, &b, 5));
	R(futex(&a, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)10, &b, 0));
	settle();
	R(futex(&b, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	settle();
	R(futex(&b, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	finish(w, 3);
	R(futex(&a, FUTEX_CMP_REQUEUE_PRIVATE, -1, (void *)10, &b, 0));

	HEAD("wake-op");
	a = b = 0;
	b = 5;
	R(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)));
	V(b);
	R(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_OR, 16, FUTEX_OP_CMP_LT, 5)));
	V(b);
	R(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_ANDN, 8, FUTEX_OP_CMP_GE, 5)));
	V(b);
	R(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_XOR, 1, FUTEX_OP_CMP_NE, 5)));
	V(b);
	R(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b,
		FUTEX_OP((FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT), 4, FUTEX_OP_CMP_EQ, 5)));
	V(b);
	R(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b, FUTEX_OP(7, 1, FUTEX_OP_CMP_EQ, 5)));
	b = 0;
	start(w, 2, &a, FUTEX_WAIT_PRIVATE, 0);
	start(w + 2, 2, &b, FUTEX_WAIT_PRIVATE, 0);
	R(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)10, &b, FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_EQ, 0)));
	settle();
	R(futex(&a, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	finish(w, 4);

	HEAD("shared through two mappings");
	{
		int fd = memfd_create("f", 0);
		uint32_t *p, *q;

		ftruncate(fd, 4096);
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		start(w, 1, p, FUTEX_WAIT, 0);
		R(futex(q, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
		R(futex(q, FUTEX_WAKE, 10, NULL, NULL, 0));
		finish(w, 1);
		start(w, 1, &a, FUTEX_WAIT_PRIVATE, 0);
		R(futex(&a, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
		finish(w, 1);
	}
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ts = ts_ns(NS_PER_MS);
	R(futex((uint32_t *)page, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0));
	munmap(page, 4096);
	R(futex((uint32_t *)page, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0));
}

static pthread_mutex_t robust;

static void *die_holding(void *arg)
{
	pthread_mutex_lock(&robust);
	return NULL;
}

static void *die_holding_late(void *arg)
{
	pthread_mutex_lock(&robust);
	sleep_ms(20);
	return NULL;
}

static void robust_lists(void)
{
	pthread_mutexattr_t attr;
	void *head;
	size_t len;
	pthread_t t;

	HEAD("robust");
	R(syscall(SYS_get_robust_list, 0, &head, &len));
	V(len);
	R(syscall(SYS_set_robust_list, head, 5));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	pthread_join(spawn(die_holding, NULL), NULL);
	E(pthread_mutex_lock(&robust));
	E(pthread_mutex_consistent(&robust));
	E(pthread_mutex_unlock(&robust));
	t = spawn(die_holding_late, NULL);
	sleep_ms(8);
	E(pthread_mutex_lock(&robust)); /* waits, is woken by the death */
	pthread_join(t, NULL);
	E(pthread_mutex_unlock(&robust)); /* not made consistent: lost */
	E(pthread_mutex_lock(&robust));
}

static pthread_barrier_t bar;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static long counter, turn;

static void *worker(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mu);
		counter++;
		pthread_mutex_unlock(&mu);
	}
	pthread_barrier_wait(&bar);
	for (int i = 0; i < 50; i++) {
		pthread_mutex_lock(&mu);
		while (turn % 4 != (long)arg)
			pthread_cond_wait(&cond, &mu);
		turn++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mu);
	}
	for (int i = 0; i < 200; i++) {
		pthread_rwlock_rdlock(&rw);
		pthread_rwlock_unlock(&rw);
		pthread_rwlock_wrlock(&rw);
		counter++;
		pthread_rwlock_unlock(&rw);
	}
	return NULL;
}

static void pthreads(void)
{
	struct timespec ts;
	pthread_t t[4];

	HEAD("pthread objects");
	pthread_barrier_init(&bar, NULL, 4);
	for (long i = 0; i < 4; i++)
		t[i] = spawn(worker, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	V(counter);
	V(turn);
	pthread_mutex_lock(&mu);
	ts = ts_ns(now_ns(CLOCK_REALTIME) + 5 * NS_PER_MS);
	E(pthread_cond_timedwait(&cond, &mu, &ts));
	E(pthread_mutex_trylock(&mu));
	E(pthread_mutex_timedlock(&mu, &ts));
}

int main(void)
{
	basics();
	robust_lists();
	pthreads();
	return 0;
}
