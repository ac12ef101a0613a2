/* sigqueue.c - queued and thread-directed signals, order of delivery, many threads signalling. */
#include "t.h"

#include <sys/prctl.h>

enum { N = 8 };

static int log_sig[64], log_value[64], log_code[64];
static volatile int log_n;

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	log_sig[log_n] = sig;
	log_value[log_n] = si->si_value.sival_int;
	log_code[log_n] = si->si_code;
	log_n++;
}

static void show_log(void)
{
	for (int i = 0; i < log_n; i++)
		say("signal %s%d value %d code %d", log_sig[i] >= SIGRTMIN ? "RTMIN+" : "",
		    log_sig[i] >= SIGRTMIN ? log_sig[i] - SIGRTMIN : log_sig[i],
		    log_code[i] == SI_QUEUE ? log_value[i] : 0, log_code[i]);
	log_n = 0;
}

static sigset_t all;

static void queued(void)
{
	HEAD("queued: lowest signal first, each in order");
	sigprocmask(SIG_BLOCK, &all, NULL);
	R(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ 1 }));
	R(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ 2 }));
	R(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ 3 }));
	R(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ 4 }));
	R(sigqueue(getpid(), SIGUSR1, (union sigval){ 5 }));
	R(sigqueue(getpid(), SIGUSR1, (union sigval){ 6 })); /* standard: once */
	R(kill(getpid(), SIGUSR2));
	R(sigqueue(getpid(), 0, (union sigval){ 0 }));
	R(sigqueue(getpid(), 100, (union sigval){ 0 }));
	R(sigqueue(999999, SIGUSR1, (union sigval){ 0 }));
	V(log_n);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	/* Handlers block only their own signal: the last set up runs first, so sort what was seen. */
	V(log_n);
	for (int i = 0; i < log_n; i++)
		for (int k = i + 1; k < log_n; k++)
			if (log_sig[k] < log_sig[i]) {
				int t = log_sig[i];

				log_sig[i] = log_sig[k], log_sig[k] = t;
				t = log_value[i], log_value[i] = log_value[k], log_value[k] = t;
				t = log_code[i], log_code[i] = log_code[k], log_code[k] = t;
			}
	show_log();
}

static void in_turn(void)
{
	siginfo_t si;

	HEAD("taken by sigwaitinfo: lowest first, first in first out");
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (int i = 0; i < 3; i++) {
		sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ 10 + i });
		sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ 20 + i });
	}
	for (int i = 0; i < 6; i++) {
		int sig = sigwaitinfo(&all, &si);

		say("RTMIN+%d value %d code %d", sig - SIGRTMIN, si.si_value.sival_int, si.si_code);
	}
	sigprocmask(SIG_UNBLOCK, &all, NULL);
}

static pid_t tid_of[N];
static volatile int hits[N], wrong;
static __thread int self = -1;
static pthread_barrier_t bar;

static void on_directed(int sig, siginfo_t *si, void *uc)
{
	if (self >= 0 && tid_of[self] == gettid_raw())
		__atomic_fetch_add(&hits[self], 1, __ATOMIC_SEQ_CST);
	else
		wrong = 1;
}

static void *target(void *arg)
{
	self = (int)(long)arg;
	tid_of[self] = gettid_raw();
	pthread_barrier_wait(&bar);
	while (hits[self] < 20)
		if (self & 1)
			sched_yield(); /* half of them compute without a system call */
	return NULL;
}

static void directed(void)
{
	struct sigaction sa = { .sa_sigaction = on_directed, .sa_flags = SA_SIGINFO };
	pthread_t t[N];
	int good = 0;

	HEAD("directed at threads");
	sigaction(SIGUSR1, &sa, NULL);
	pthread_barrier_init(&bar, NULL, N + 1);
	for (long i = 0; i < N; i++)
		t[i] = spawn(target, (void *)i);
	pthread_barrier_wait(&bar);
	for (int round = 1; round <= 20; round++)
		for (int i = 0; i < N; i++) {
			while (hits[i] < round - 1)
				sched_yield();
			syscall(SYS_tgkill, getpid(), tid_of[i], SIGUSR1);
		}
	for (int i = 0; i < N; i++) {
		pthread_join(t[i], NULL);
		good += hits[i] == 20;
	}
	V(good);
	V(wrong);
}

static void *waits_blocked(void *arg)
{
	sigset_t s = all, pending;
	siginfo_t si;

	pthread_sigmask(SIG_BLOCK, &s, NULL);
	pthread_barrier_wait(&bar);
	pthread_barrier_wait(&bar); /* now the signal is sent */
	sigpending(&pending);
	say("pending in the target: %d", sigismember(&pending, SIGRTMIN + 3));
	sigwaitinfo(&s, &si);
	say("RTMIN+%d code %d", si.si_signo - SIGRTMIN, si.si_code);
	return NULL;
}

static void thread_pending(void)
{
	sigset_t pending;
	pthread_t t;

	HEAD("pending for a thread, not for the process");
	pthread_barrier_init(&bar, NULL, 2);
	t = spawn(waits_blocked, NULL);
	pthread_barrier_wait(&bar);
	E(pthread_kill(t, SIGRTMIN + 3));
	sigpending(&pending);
	V(sigismember(&pending, SIGRTMIN + 3));
	pthread_barrier_wait(&bar);
	pthread_join(t, NULL);
}

static volatile int process_hits;

static void on_process(int sig)
{
	__atomic_fetch_add(&process_hits, 1, __ATOMIC_SEQ_CST);
}

static volatile int stop;

static void *open_thread(void *arg)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	while (!stop)
		sleep_ms(1);
	return NULL;
}

static void process_wide(void)
{
	struct sigaction sa = { .sa_handler = on_process };
	sigset_t s;
	pthread_t t;

	HEAD("a process signal goes to a thread that does not block it");
	sigaction(SIGUSR2, &sa, NULL);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	t = spawn(open_thread, NULL);
	for (int i = 1; i <= 5; i++) {
		kill(getpid(), SIGUSR2);
		for (int k = 0; k < 2000 && process_hits < i; k++)
			sleep_ms(1);
	}
	V(process_hits);
	stop = 1;
	pthread_join(t, NULL);
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	sigemptyset(&all);
	for (int i = 1; i <= 3; i++) {
		sigaddset(&all, SIGRTMIN + i);
		sigaction(SIGRTMIN + i, &sa, NULL);
	}
	sigaddset(&all, SIGUSR1);
	sigaddset(&all, SIGUSR2);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	queued();
	in_turn();
	directed();
	thread_pending();
	process_wide();
	return 0;
}
