/* clocks.c - clocks, sleeping, interval timers, POSIX timers. */
#include "t.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>

static volatile int alarms, value, code, overruns;
static timer_t last_timer;

static void on_alarm(int sig, siginfo_t *si, void *uc)
{
	alarms++;
	code = si->si_code;
	value = si->si_value.sival_int;
	if (si->si_code == SI_TIMER)
		overruns += timer_getoverrun(last_timer);
}

static void wait_alarms(int n)
{
	long end = now_ns(CLOCK_MONOTONIC) + 3 * NS_PER_S;

	while (alarms < n && now_ns(CLOCK_MONOTONIC) < end)
		sleep_ms(1);
}

static void clocks(void)
{
	static const struct {
		clockid_t id;
		const char *name;
	} list[] = { { CLOCK_REALTIME, "realtime" }, { CLOCK_MONOTONIC, "monotonic" },
		     { CLOCK_PROCESS_CPUTIME_ID, "process" }, { CLOCK_THREAD_CPUTIME_ID, "thread" },
		     { CLOCK_MONOTONIC_RAW, "raw" }, { CLOCK_REALTIME_COARSE, "coarse" },
		     { CLOCK_MONOTONIC_COARSE, "monotonic coarse" }, { CLOCK_BOOTTIME, "boottime" },
		     { CLOCK_TAI, "tai" }, { 77, "none" } };
	struct timespec ts, before;
	struct timeval tv;
	struct tms tms;
	long a, b;

	HEAD("clocks");
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		int r = clock_gettime(list[i].id, &ts), e = errno;

		say("%s: %s", list[i].name,
		    r ? t_errname(e) : ts.tv_nsec >= 0 && ts.tv_nsec < NS_PER_S ? "ok" : "odd");
		r = syscall(SYS_clock_gettime, list[i].id, &ts);
		e = errno;
		say("%s by system call: %s", list[i].name, r ? t_errname(e) : "ok");
		r = clock_getres(list[i].id, &ts);
		say("%s resolution: %s", list[i].name,
		    r ? "error" : ts.tv_sec == 0 && ts.tv_nsec >= 1 ? "ok" : "odd");
	}
	a = now_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < 100000; i++) {
		b = now_ns(CLOCK_MONOTONIC);
		if (b < a) {
			say("went backwards");
			break;
		}
		a = b;
	}
	clock_gettime(CLOCK_REALTIME, &before);
	gettimeofday(&tv, NULL);
	T(labs(tv.tv_sec - before.tv_sec) <= 1);
	T(labs(time(NULL) - before.tv_sec) <= 1);
	T(before.tv_sec > 1700000000);
	a = now_ns(CLOCK_THREAD_CPUTIME_ID);
	for (volatile int i = 0; i < 20000000; i++)
		;
	T(now_ns(CLOCK_THREAD_CPUTIME_ID) > a);
	a = now_ns(CLOCK_THREAD_CPUTIME_ID);
	sleep_ms(30);
	T(now_ns(CLOCK_THREAD_CPUTIME_ID) - a < 15 * NS_PER_MS);
	T(times(&tms) != (clock_t)-1);
	R(clock_settime(CLOCK_MONOTONIC, &before));
	R(syscall(SYS_clock_settime, 77, &before));
	{
		struct rusage ru;

		R(getrusage(RUSAGE_SELF, &ru));
		T(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec > 0);
		R(getrusage(RUSAGE_THREAD, &ru));
		R(getrusage(RUSAGE_CHILDREN, &ru));
		R(getrusage(77, &ru));
	}
	R(sysconf(_SC_CLK_TCK));
}

static void sleeping(void)
{
	struct timespec ts = ts_ns(10 * NS_PER_MS);
	long t0 = now_ns(CLOCK_MONOTONIC);

	HEAD("sleeping");
	R(nanosleep(&ts, NULL));
	T(now_ns(CLOCK_MONOTONIC) - t0 >= 10 * NS_PER_MS);
	ts.tv_nsec = NS_PER_S;
	R(nanosleep(&ts, NULL));
	ts = (struct timespec){ -1, 0 };
	R(nanosleep(&ts, NULL));
	ts = (struct timespec){ 0, 0 };
	R(nanosleep(&ts, NULL));
	t0 = now_ns(CLOCK_MONOTONIC);
	ts = ts_ns(t0 + 10 * NS_PER_MS);
	E(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL));
	T(now_ns(CLOCK_MONOTONIC) - t0 >= 10 * NS_PER_MS);
	E(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL));
	ts = ts_ns(now_ns(CLOCK_REALTIME) + 10 * NS_PER_MS);
	E(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL));
	ts = ts_ns(5 * NS_PER_MS);
	E(clock_nanosleep(CLOCK_BOOTTIME, 0, &ts, NULL));
	E(clock_nanosleep(77, 0, &ts, NULL));
	E(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL));
	t0 = now_ns(CLOCK_MONOTONIC);
	usleep(3000);
	T(now_ns(CLOCK_MONOTONIC) - t0 >= 3 * NS_PER_MS);
}

static void interval_timers(void)
{
	struct itimerval it = { .it_value = { 0, 10000 } }, old;
	struct sigaction sa = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO };

	HEAD("interval timers");
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGVTALRM, &sa, NULL);
	R(setitimer(ITIMER_REAL, &it, &old));
	V(old.it_value.tv_sec + old.it_value.tv_usec);
	R(getitimer(ITIMER_REAL, &old));
	T(old.it_value.tv_usec > 0 && old.it_value.tv_usec <= 10000);
	wait_alarms(1);
	V(alarms);
	V(code == SI_KERNEL);
	R(getitimer(ITIMER_REAL, &old));
	V(old.it_value.tv_usec);
	alarms = 0;
	it.it_interval.tv_usec = it.it_value.tv_usec = 3000;
	R(setitimer(ITIMER_REAL, &it, NULL));
	wait_alarms(4);
	T(alarms >= 4);
	it.it_interval.tv_usec = it.it_value.tv_usec = 0;
	R(setitimer(ITIMER_REAL, &it, &old));
	V(old.it_interval.tv_usec);
	alarms = 0;
	it.it_value.tv_usec = 1000000;
	R(setitimer(ITIMER_REAL, &it, NULL));
	R(setitimer(7, &it, NULL));
	R(getitimer(7, &it));
	R(alarm(10));
	R(alarm(0));
	it.it_value.tv_usec = 5000;
	alarms = 0;
	R(setitimer(ITIMER_VIRTUAL, &it, NULL));
	{
		long end = now_ns(CLOCK_MONOTONIC) + 3 * NS_PER_S;

		while (!alarms && now_ns(CLOCK_MONOTONIC) < end)
			;
	}
	V(alarms);
}

static volatile int notified;

static void on_thread(union sigval v)
{
	notified = v.sival_int;
}

static void posix_timers(void)
{
	struct sigevent se = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1 };
	struct sigaction sa = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO };
	struct itimerspec its = { .it_value = ts_ns(10 * NS_PER_MS) }, old;
	sigset_t s;
	siginfo_t si;
	timer_t t, u;

	HEAD("POSIX timers");
	sigaction(SIGRTMIN + 1, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);
	se.sigev_value.sival_int = 77;
	R(timer_create(CLOCK_MONOTONIC, &se, &t));
	last_timer = t;
	R(timer_create(99, &se, &u));
	se.sigev_notify = 55;
	R(syscall(SYS_timer_create, CLOCK_MONOTONIC, &se, &u));
	se.sigev_notify = SIGEV_SIGNAL;
	alarms = 0;
	R(timer_settime(t, 0, &its, &old));
	V(old.it_value.tv_nsec);
	R(timer_gettime(t, &old));
	T(old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 10 * NS_PER_MS);
	wait_alarms(1);
	say("alarms %d code %d value %d", alarms, code, value);
	its.it_interval = its.it_value = ts_ns(2 * NS_PER_MS);
	alarms = 0;
	R(timer_settime(t, 0, &its, NULL));
	wait_alarms(4);
	T(alarms >= 4);
	/* Blocked: one signal stays pending, the rest are overruns. */
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	sleep_ms(25);
	sigwaitinfo(&s, &si);
	T(si.si_code == SI_TIMER && si.si_value.sival_int == 77);
	T(timer_getoverrun(t) >= 5);
	R(timer_delete(t));
	R(timer_delete(t));
	R(timer_settime(t, 0, &its, NULL));
	while (sigtimedwait(&s, &si, &(struct timespec){ 0, 0 }) > 0)
		;
	sigprocmask(SIG_UNBLOCK, &s, NULL);
	its = (struct itimerspec){ .it_value = ts_ns(now_ns(CLOCK_REALTIME) + 10 * NS_PER_MS) };
	alarms = 0;
	R(timer_create(CLOCK_REALTIME, NULL, &t)); /* default: SIGALRM */
	R(timer_settime(t, TIMER_ABSTIME, &its, NULL));
	wait_alarms(1);
	V(alarms);
	R(timer_delete(t));
	se.sigev_notify = SIGEV_NONE;
	R(timer_create(CLOCK_MONOTONIC, &se, &t));
	its.it_value = ts_ns(5 * NS_PER_MS);
	R(timer_settime(t, 0, &its, NULL));
	sleep_ms(10);
	R(timer_gettime(t, &old));
	V(old.it_value.tv_nsec);
	R(timer_delete(t));
	se.sigev_notify = SIGEV_THREAD;
	se.sigev_notify_function = on_thread;
	se.sigev_notify_attributes = NULL;
	se.sigev_value.sival_int = 5;
	R(timer_create(CLOCK_MONOTONIC, &se, &t));
	R(timer_settime(t, 0, &its, NULL));
	for (int i = 0; i < 2000 && !notified; i++)
		sleep_ms(1);
	V(notified);
	R(timer_delete(t));
}

int main(void)
{
	clocks();
	sleeping();
	interval_timers();
	posix_timers();
	return 0;
}
