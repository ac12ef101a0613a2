/* eventfds.c - eventfd, timerfd, signalfd. */
#include "t.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int ready(int fd, short events)
{
	struct pollfd p = { fd, events, 0 };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static long put(int fd, uint64_t v)
{
	return write(fd, &v, 8);
}

static void *late_put(void *arg)
{
	sleep_ms(10);
	put(*(int *)arg, 5);
	return NULL;
}

static void *late_get(void *arg)
{
	uint64_t v;

	sleep_ms(10);
	R(read(*(int *)arg, &v, 8));
	say("taken %llx", (unsigned long long)v);
	return NULL;
}

static void events(void)
{
	uint64_t v = 77;
	int fd;
	pthread_t t;

	HEAD("eventfd");
	R(eventfd(0, 0x1234));
	fd = Z(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
	R(fcntl(fd, F_GETFD));
	V(ready(fd, POLLIN | POLLOUT));
	R(read(fd, &v, 8));
	V(v);
	R(read(fd, &v, 8));
	V(ready(fd, POLLIN | POLLOUT));
	R(put(fd, 1));
	R(put(fd, 41));
	R(read(fd, &v, 16));
	V(v);
	R(read(fd, &v, 7));
	R(write(fd, &v, 7));
	R(put(fd, UINT64_MAX));
	R(put(fd, UINT64_MAX - 1));
	V(ready(fd, POLLIN | POLLOUT));
	R(put(fd, 1));
	R(put(fd, 0));
	R(read(fd, &v, 8));
	say("%llx", (unsigned long long)v);
	R(lseek(fd, 0, SEEK_SET));
	close(fd);
	fd = Z(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
	R(read(fd, &v, 8));
	V(v);
	R(read(fd, &v, 8));
	R(read(fd, &v, 8));
	R(read(fd, &v, 8));
	close(fd);
	fd = Z(eventfd(0, 0));
	t = spawn(late_put, &fd);
	R(read(fd, &v, 8));
	V(v);
	pthread_join(t, NULL);
	put(fd, UINT64_MAX - 1);
	t = spawn(late_get, &fd);
	v = 2;
	NEED(write(fd, &v, 8) == 8); /* waits until there is room */
	pthread_join(t, NULL);
	R(read(fd, &v, 8));
	V(v);
	close(fd);
}

static void timers(void)
{
	struct itimerspec its = { 0 }, old;
	uint64_t v = 0;
	long start;
	int fd, n = 0;

	HEAD("timerfd");
	R(timerfd_create(CLOCK_MONOTONIC, 0x1234));
	R(timerfd_create(12345, 0));
	R(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
	fd = Z(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
	R(read(fd, &v, 8));
	R(write(fd, &v, 8));
	its.it_value = ts_ns(15 * NS_PER_MS);
	R(timerfd_settime(fd, 0, &its, &old));
	V(old.it_value.tv_sec | old.it_value.tv_nsec);
	R(timerfd_gettime(fd, &old));
	T(old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 15 * NS_PER_MS);
	V(ready(fd, POLLIN));
	{
		struct pollfd p = { fd, POLLIN, 0 };

		R(poll(&p, 1, 2000));
		V(p.revents);
	}
	R(read(fd, &v, 4));
	R(read(fd, &v, 8));
	V(v);
	R(read(fd, &v, 8));
	R(timerfd_gettime(fd, &old));
	V(old.it_value.tv_sec | old.it_value.tv_nsec);
	its.it_value = its.it_interval = ts_ns(5 * NS_PER_MS);
	R(timerfd_settime(fd, 0, &its, NULL));
	sleep_ms(28);
	R(read(fd, &v, 8));
	T(v >= 5);
	R(timerfd_gettime(fd, &old));
	V(old.it_interval.tv_nsec);
	its.it_value = its.it_interval = ts_ns(0);
	R(timerfd_settime(fd, 0, &its, &old));
	V(old.it_interval.tv_nsec);
	sleep_ms(10);
	R(read(fd, &v, 8));
	its.it_value.tv_nsec = NS_PER_S;
	R(timerfd_settime(fd, 0, &its, NULL));
	R(timerfd_settime(fd, 0x1234, &its, NULL));
	R(timerfd_settime(1, 0, &old, NULL));
	close(fd);

	fd = Z(timerfd_create(CLOCK_REALTIME, 0));
	its.it_value = ts_ns(now_ns(CLOCK_REALTIME) + 10 * NS_PER_MS);
	start = now_ns(CLOCK_MONOTONIC);
	R(timerfd_settime(fd, TFD_TIMER_ABSTIME, &its, NULL));
	R(read(fd, &v, 8)); /* blocks */
	V(v);
	T(now_ns(CLOCK_MONOTONIC) - start >= 9 * NS_PER_MS);
	its.it_value = ts_ns(1);
	R(timerfd_settime(fd, TFD_TIMER_ABSTIME, &its, NULL)); /* long past: at once */
	R(read(fd, &v, 8));
	V(v);
	its.it_interval = its.it_value = ts_ns(2 * NS_PER_MS);
	R(timerfd_settime(fd, 0, &its, NULL));
	while (n < 5) {
		NEED(read(fd, &v, 8) == 8);
		n += v;
	}
	T(n >= 5);
	close(fd);
}

static void *send_signals(void *arg)
{
	sleep_ms(10);
	kill(getpid(), SIGUSR2);
	return NULL;
}

static void signals(void)
{
	struct signalfd_siginfo si[4];
	sigset_t set, other;
	pthread_t t;
	int fd;

	HEAD("signalfd");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	R(signalfd(-1, &set, 0x1234));
	R(signalfd(1, &set, 0));
	fd = Z(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
	R(read(fd, si, sizeof(si)));
	V(ready(fd, POLLIN));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1); /* a standard signal does not queue */
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 11 });
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 12 });
	V(ready(fd, POLLIN));
	R(read(fd, si, 10));
	R(read(fd, si, sizeof(si[0])) / (long)sizeof(si[0]));
	say("signo %u code %d own pid %d", si[0].ssi_signo, si[0].ssi_code,
	    si[0].ssi_pid == (uint32_t)getpid());
	R(read(fd, si, sizeof(si)) / (long)sizeof(si[0]));
	say("%d %d code %d values %d %d", si[0].ssi_signo == (uint32_t)SIGRTMIN + 1,
	    si[1].ssi_signo == (uint32_t)SIGRTMIN + 1, si[0].ssi_code, si[0].ssi_int, si[1].ssi_int);
	R(read(fd, si, sizeof(si)));
	sigemptyset(&other);
	sigaddset(&other, SIGUSR2);
	sigprocmask(SIG_BLOCK, &other, NULL);
	R(signalfd(fd, &other, 0) == fd);
	kill(getpid(), SIGUSR1);
	V(ready(fd, POLLIN));
	R(sigtimedwait(&set, NULL, &(struct timespec){ 0, 0 }));
	close(fd);
	fd = Z(signalfd(-1, &other, 0));
	t = spawn(send_signals, NULL);
	R(read(fd, si, sizeof(si)) / (long)sizeof(si[0]));
	V(si[0].ssi_signo);
	pthread_join(t, NULL);
	close(fd);
}

int main(void)
{
	events();
	timers();
	signals();
	return 0;
}
