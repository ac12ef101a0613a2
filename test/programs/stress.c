/*
 * stress.c - threads, signals and timers at once, for about 30 ms; the seed decides what each thread does.
 *
 * A mutex-protected counter, a chain of pipes, futex hand-over, directed signals, a POSIX timer and
 * memory mappings, all checked: any lost wake-up is a hang, any lost or doubled step a wrong sum.
 */
#include "t.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>

enum { THREADS = 6, STEPS = 100 };

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter, finished;
static unsigned base_seed;
static int ring[THREADS][2], event;
static pthread_t thread[THREADS];
static volatile long signals_sent, signals_seen, ticks;
static uint32_t word;
static long handed;

static void on_signal(int sig)
{
	__atomic_fetch_add(&signals_seen, 1, __ATOMIC_SEQ_CST);
}

static void on_tick(int sig)
{
	__atomic_fetch_add(&ticks, 1, __ATOMIC_SEQ_CST);
}

static unsigned next(unsigned *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 16;
}

static void wrong(const char *what)
{
	say("wrong: %s", what);
	_exit(1);
}

/* The futex word is a lock: 0 free, 1 taken, 2 taken with waiters. */
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

static void map_and_check(unsigned r)
{
	size_t len = (1 + r % 4) * 4096;
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		wrong("mmap");
	for (size_t i = 0; i < len; i += 1024) {
		if (p[i])
			wrong("fresh memory is not zero");
		p[i] = (unsigned char)r;
	}
	if (r & 16)
		mprotect(p, 4096, PROT_READ);
	for (size_t i = 0; i < len; i += 1024)
		if (p[i] != (unsigned char)r)
			wrong("memory changed");
	if (munmap(p, len))
		wrong("munmap");
}

static void *run(void *arg)
{
	long self = (long)arg;
	unsigned seed = base_seed * 31 + (unsigned)self * 7919;
	double acc = 1.0;
	uint64_t one = 1;
	sigset_t usr2;

	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	pthread_sigmask(SIG_UNBLOCK, &usr2, NULL);
	pthread_mutex_lock(&mu); /* until all ids are known */
	pthread_mutex_unlock(&mu);
	for (int i = 0; i < STEPS; i++) {
		unsigned r = next(&seed);

		switch (r % 7) {
		case 0:
			lock_word();
			handed++;
			unlock_word();
			lock_word();
			handed--;
			unlock_word();
			break;
		case 1:
			map_and_check(r);
			break;
		case 2:
			__atomic_fetch_add(&signals_sent, 1, __ATOMIC_SEQ_CST);
			if (pthread_kill(thread[r % THREADS], SIGRTMIN + 1))
				__atomic_fetch_sub(&signals_sent, 1, __ATOMIC_SEQ_CST);
			break;
		case 3:
			for (volatile int k = 0; k < (int)(r % 3000); k++)
				acc = acc * 1.0000001 + 0.5;
			break;
		case 4: {
			struct timespec ts = { 0, (long)(r % 64) * 1000 };

			nanosleep(&ts, NULL);
			break;
		}
		case 5:
			if (write(event, &one, 8) != 8)
				wrong("eventfd");
			break;
		default:
			sched_yield();
		}
		pthread_mutex_lock(&mu);
		counter++;
		if (counter % 16 == 0)
			pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mu);
	}
	if (acc < 1.0)
		wrong("floating point");
	pthread_mutex_lock(&mu);
	finished++;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mu);
	return NULL;
}

/* One token goes round a ring of pipes while the others work. */
static void *pass_token(void *arg)
{
	long self = (long)arg;

	for (int round = 0; round < 20; round++) {
		unsigned char c;
		ssize_t n;

		do {
			n = read(ring[self][0], &c, 1);
		} while (n < 0 && errno == EINTR);
		if (n != 1 || c != (unsigned char)(round * 3 + self))
			wrong("token");
		c = (unsigned char)(self == 2 ? (round + 1) * 3 : c + 1);
		if (write(ring[(self + 1) % 3][1], &c, 1) != 1)
			wrong("pipe");
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigevent se = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	struct itimerspec its = { ts_ns(2 * NS_PER_MS), ts_ns(NS_PER_MS) };
	pthread_t token[3];
	sigset_t usr2;
	timer_t timer;
	uint64_t events = 0, v;
	unsigned char first = 0;

	sigaction(SIGRTMIN + 1, &sa, NULL);
	sa.sa_handler = on_tick;
	sigaction(SIGUSR2, &sa, NULL);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &usr2, NULL); /* the workers take the ticks */
	event = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	for (int i = 0; i < 3; i++)
		NEED(pipe(ring[i]) == 0);
	NEED(timer_create(CLOCK_MONOTONIC, &se, &timer) == 0);
	NEED(timer_settime(timer, 0, &its, NULL) == 0);
	base_seed = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	pthread_mutex_lock(&mu);
	for (long i = 0; i < THREADS; i++)
		thread[i] = spawn(run, (void *)i);
	for (long i = 0; i < 3; i++)
		token[i] = spawn(pass_token, (void *)i);
	pthread_mutex_unlock(&mu);
	NEED(write(ring[0][1], &first, 1) == 1);

	pthread_mutex_lock(&mu);
	while (finished < THREADS)
		pthread_cond_wait(&cond, &mu);
	pthread_mutex_unlock(&mu);
	for (int i = 0; i < 3; i++)
		pthread_join(token[i], NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	while (read(event, &v, 8) == 8)
		events += v;
	timer_delete(timer);
	if (counter != THREADS * STEPS)
		wrong("counter");
	if (handed)
		wrong("handed");
	if (signals_seen > signals_sent)
		wrong("more signals seen than sent");
	say("counter %ld handed %ld", counter, handed);
	return 0;
}
