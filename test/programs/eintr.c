/* eintr.c - each call that blocks, interrupted by a handler: with SA_RESTART and without. */
#include "t.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static volatile int hits;
static pid_t main_tid;

static void handler(int sig)
{
	hits++;
}

/*
 * Runs in another thread: signals the main thread once it blocks, and again. Then it makes the call
 * complete, for calls that are restarted and would never return.
 */
static volatile int done;
static void (*complete)(void);

static void *interrupter(void *arg)
{
	sleep_ms(12);
	syscall(SYS_tgkill, getpid(), main_tid, SIGUSR1);
	sleep_ms(12);
	if (!done)
		syscall(SYS_tgkill, getpid(), main_tid, SIGUSR1);
	sleep_ms(12);
	if (!done && complete)
		complete();
	return NULL;
}

static int p[2], full[2], ev, ep, tfd, lockfd;
static uint32_t word;

static void feed_pipe(void)
{
	write(p[1], "x", 1);
}

static void drain_pipe(void)
{
	char buf[4096];

	read(full[0], buf, 4096);
	read(full[0], buf, 4096);
}

static void feed_event(void)
{
	uint64_t v = 1;

	write(ev, &v, 8);
}

static void wake_futex(void)
{
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void unlock(void)
{
	flock(lockfd, LOCK_UN);
}

static long do_read(void)
{
	char c;

	return read(p[0], &c, 1);
}

static long do_readv(void)
{
	char c;
	struct iovec v = { &c, 1 };

	return readv(p[0], &v, 1);
}

static long do_write(void)
{
	return write(full[1], "0123456789", 10);
}

static long do_event(void)
{
	uint64_t v;

	return read(ev, &v, 8);
}

static long do_poll(void)
{
	struct pollfd f = { p[0], POLLIN, 0 };

	return poll(&f, 1, 2000);
}

static long do_ppoll(void)
{
	struct pollfd f = { p[0], POLLIN, 0 };
	struct timespec ts = { 2, 0 };

	return ppoll(&f, 1, &ts, NULL);
}

static long do_select(void)
{
	struct timeval tv = { 2, 0 };
	fd_set s;

	FD_ZERO(&s);
	FD_SET(p[0], &s);
	return select(p[0] + 1, &s, NULL, NULL, &tv);
}

static long do_pselect(void)
{
	struct timespec ts = { 2, 0 };

	return pselect(0, NULL, NULL, NULL, &ts, NULL);
}

static long do_epoll(void)
{
	struct epoll_event e;

	return epoll_wait(ep, &e, 1, 2000);
}

static long do_timerfd(void)
{
	struct itimerspec its = { .it_value = ts_ns(60 * NS_PER_MS) };
	uint64_t v;

	timerfd_settime(tfd, 0, &its, NULL);
	return read(tfd, &v, 8);
}

static long do_futex(void)
{
	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static long do_futex_timed(void)
{
	struct timespec ts = { 2, 0 };

	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0);
}

static long do_nanosleep(void)
{
	struct timespec ts = ts_ns(60 * NS_PER_MS), rem = { 0 };
	long r = nanosleep(&ts, &rem);
	int e = errno;

	if (r)
		T(rem.tv_nsec > 0 && rem.tv_nsec < 60 * NS_PER_MS);
	errno = e;
	return r;
}

static long do_clock_abs(void)
{
	struct timespec ts = ts_ns(now_ns(CLOCK_MONOTONIC) + 60 * NS_PER_MS);

	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	return errno ? -1 : 0;
}

static long do_pause(void)
{
	return pause();
}

static long do_sigtimedwait(void)
{
	struct timespec ts = { 2, 0 };
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	return sigtimedwait(&s, NULL, &ts);
}

static long do_sigsuspend(void)
{
	sigset_t s;

	sigemptyset(&s);
	return sigsuspend(&s);
}

static long do_flock(void)
{
	int fd = open("lock", O_RDWR);
	long r = flock(fd, LOCK_EX);
	int e = errno;

	close(fd);
	errno = e;
	return r;
}

static long do_setlkw(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open("lock2", O_RDWR);
	long r = fcntl(fd, F_OFD_SETLKW, &l);
	int e = errno;

	close(fd);
	errno = e;
	return r;
}

static void unlock2(void)
{
	struct flock l = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	fcntl(lockfd + 1, F_OFD_SETLK, &l); /* opened next */
}

static void try(const char *name, long (*call)(void), void (*end)(void), int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };
	pthread_t t;
	long r;
	int e;

	sigaction(SIGUSR1, &sa, NULL);
	hits = done = 0;
	complete = end;
	t = spawn(interrupter, NULL);
	errno = 0;
	r = call();
	e = errno;
	/* The second signal comes only if the call went on after the first. */
	say("%s %s: %ld %s after %d", name, flags ? "restart" : "plain", r,
	    r == -1 ? t_errname(e) : "", hits);
	done = 1;
	pthread_join(t, NULL);
}

int main(void)
{
	static char fill[65536];
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	sigset_t usr1;
	int fd;

	main_tid = gettid_raw();
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	enter_scratch("eintr");
	NEED(pipe(p) == 0 && pipe(full) == 0);
	NEED(write(full[1], fill, sizeof(fill)) == sizeof(fill));
	ev = eventfd(0, 0);
	ep = epoll_create1(0);
	tfd = timerfd_create(CLOCK_MONOTONIC, 0);
	put_file("lock", "");
	put_file("lock2", "");
	lockfd = open("lock", O_RDWR);
	fd = open("lock2", O_RDWR);
	NEED(fd == lockfd + 1);

	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		flock(lockfd, LOCK_EX);
		fcntl(fd, F_OFD_SETLK, &l);
		try("read", do_read, feed_pipe, flags);
		try("readv", do_readv, feed_pipe, flags);
		try("write", do_write, drain_pipe, flags);
		if (flags)
			NEED(write(full[1], fill, 4096) > 0);
		try("eventfd", do_event, feed_event, flags);
		try("timerfd", do_timerfd, NULL, flags);
		try("poll", do_poll, NULL, flags);
		try("ppoll", do_ppoll, NULL, flags);
		try("select", do_select, NULL, flags);
		try("pselect", do_pselect, NULL, flags);
		try("epoll_wait", do_epoll, NULL, flags);
		try("futex", do_futex, wake_futex, flags);
		try("futex timed", do_futex_timed, wake_futex, flags);
		try("nanosleep", do_nanosleep, NULL, flags);
		try("clock_nanosleep", do_clock_abs, NULL, flags);
		try("pause", do_pause, NULL, flags);
		try("sigtimedwait", do_sigtimedwait, NULL, flags);
		try("sigsuspend", do_sigsuspend, NULL, flags);
		try("flock", do_flock, unlock, flags);
		try("F_OFD_SETLKW", do_setlkw, unlock2, flags);
	}

	HEAD("an ignored signal interrupts nothing");
	signal(SIGUSR1, SIG_IGN);
	{
		pthread_t t;

		hits = done = 0;
		complete = feed_pipe;
		t = spawn(interrupter, NULL);
		R(do_read());
		pthread_join(t, NULL);
		done = 0;
		t = spawn(interrupter, NULL);
		R(do_nanosleep());
		done = 1;
		pthread_join(t, NULL);
	}
	return 0;
}
