/*
 * sigstorm.c - signals in large numbers: between threads that compute, that block, and that come
 * and go.
 */
#include "t.h"

#include <setjmp.h>
#include <sys/time.h>

enum { THREADS = 4 };

static volatile long seen[THREADS + 1], quit, usr2_seen;
static __thread int self;
static pthread_t thread[THREADS];
static volatile pid_t tid[THREADS];
static sigjmp_buf env;

static void count(int sig)
{
	__atomic_fetch_add(&seen[self], 1, __ATOMIC_SEQ_CST);
}

static void install(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	NEED(sigaction(sig, &sa, NULL) == 0);
}

/* Each in a tight loop; each signal queued to one thread must arrive exactly once. */
static void *spin(void *arg)
{
	self = (int)(long)arg;
	tid[self] = gettid_raw();
	while (!quit)
		__asm__ volatile("" ::: "memory");
	return NULL;
}

static void queued_to_loops(void)
{
	long sent[THREADS] = { 0 }, end = now_ns(CLOCK_MONOTONIC) + 20000 * NS_PER_MS;
	int lost = 0;

	HEAD("queued to tight loops");
	quit = 0;
	install(SIGRTMIN + 3, count, 0);
	memset((void *)seen, 0, sizeof(seen));
	for (long i = 0; i < THREADS; i++)
		thread[i] = spawn(spin, (void *)i);
	for (int i = 0; i < THREADS; i++)
		while (!tid[i])
			sched_yield();
	for (int i = 0; i < 600; i++) {
		siginfo_t si = { .si_signo = SIGRTMIN + 3, .si_code = SI_QUEUE };

		if (!syscall(SYS_rt_tgsigqueueinfo, getpid(), tid[i % THREADS], SIGRTMIN + 3, &si))
			sent[i % THREADS]++;
		if (i % 100 == 99)
			sleep_ms(1);
	}
	for (int i = 0; i < THREADS; i++) {
		while (seen[i] != sent[i] && now_ns(CLOCK_MONOTONIC) < end)
			sleep_ms(1);
		lost += seen[i] != sent[i];
	}
	V(lost);
	quit = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* Each thread sends to the next and waits for its own: a ping-pong of pthread_kill and sigwait. */
static void *relay(void *arg)
{
	long i = (long)arg;
	sigset_t s;
	int sig;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	for (int n = 0; n < 300; n++) {
		if (sigwait(&s, &sig) || sig != SIGUSR2)
			say("sigwait failed");
		__atomic_fetch_add(&usr2_seen, 1, __ATOMIC_SEQ_CST);
		if (!(i == THREADS - 1 && n == 299))
			pthread_kill(thread[(i + 1) % THREADS], SIGUSR2);
	}
	return NULL;
}

static void relayed(void)
{
	sigset_t s;

	HEAD("handed round by pthread_kill and sigwait");
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	for (long i = 0; i < THREADS; i++)
		thread[i] = spawn(relay, (void *)i);
	sleep_ms(5);
	pthread_kill(thread[0], SIGUSR2);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	V(usr2_seen);
}

/* Threads that come and go while the process is signalled: no signal may go away with a thread. */
static void *brief(void *arg)
{
	self = THREADS;
	for (volatile int i = 0; i < 2000; i++)
		;
	return NULL;
}

static void to_the_process(void)
{
	sigset_t s, old;
	long end;
	int sent = 0;

	HEAD("to the process while threads come and go");
	install(SIGRTMIN + 4, count, SA_RESTART);
	memset((void *)seen, 0, sizeof(seen));
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN + 4);
	for (int i = 0; i < 150; i++) {
		pthread_t t = spawn(brief, NULL);
		union sigval v = { 0 };

		pthread_sigmask(SIG_BLOCK, &s, &old); /* only the thread can take it, if it lives */
		sent += !sigqueue(getpid(), SIGRTMIN + 4, v);
		pthread_join(t, NULL);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	end = now_ns(CLOCK_MONOTONIC) + 10000 * NS_PER_MS;
	self = 0;
	while (seen[0] + seen[THREADS] != sent && now_ns(CLOCK_MONOTONIC) < end)
		sleep_ms(1);
	T(seen[0] + seen[THREADS] == sent);
}

/* A profiler's timer in a loop that makes no call; and one that jumps out of its handler. */
static void tick(int sig)
{
	__atomic_fetch_add(&seen[0], 1, __ATOMIC_SEQ_CST);
}

static void jump(int sig)
{
	siglongjmp(env, 1);
}

static void profiled(void)
{
	struct itimerval it = { { 0, 2000 }, { 0, 2000 } }, off = { { 0, 0 }, { 0, 0 } };
	volatile int jumps = 0;
	long end;

	HEAD("profiler");
	install(SIGPROF, tick, SA_RESTART);
	seen[0] = 0;
	R(setitimer(ITIMER_PROF, &it, NULL));
	end = now_ns(CLOCK_MONOTONIC) + 20000 * NS_PER_MS;
	while (seen[0] < 10 && now_ns(CLOCK_MONOTONIC) < end)
		for (volatile int i = 0; i < 100000; i++)
			;
	setitimer(ITIMER_PROF, &off, NULL);
	T(seen[0] >= 10);

	install(SIGALRM, jump, 0);
	it.it_interval.tv_usec = it.it_value.tv_usec = 500;
	if (sigsetjmp(env, 1))
		jumps++;
	if (jumps == 0)
		setitimer(ITIMER_REAL, &it, NULL);
	while (jumps < 40) {
		struct timespec ts = ts_ns(20 * NS_PER_MS);

		if (jumps & 1)
			nanosleep(&ts, NULL);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	V(jumps);
}

int main(void)
{
	queued_to_loops();
	relayed();
	to_the_process();
	profiled();
	return 0;
}
