/* pollsel.c - poll, ppoll, select, pselect: readiness of each kind of descriptor, timeouts, masks. */
#include "t.h"

#include <poll.h>
#include <sys/select.h>

static volatile int got;

static void on_usr1(int sig)
{
	got++;
}

static void *late_write(void *arg)
{
	sleep_ms(10);
	write(*(int *)arg, "x", 1);
	return NULL;
}

static pthread_t main_thread;

static void *late_signal(void *arg)
{
	sleep_ms(15);
	pthread_kill(main_thread, SIGUSR1);
	return NULL;
}

static void polls(void)
{
	int p[2], q[2], fd;
	struct pollfd v[6];
	struct timespec ts = { 0, 10 * NS_PER_MS };
	sigset_t block, open_;
	long start;
	pthread_t t;
	char c;

	HEAD("poll");
	NEED(pipe(p) == 0);
	NEED(pipe(q) == 0);
	put_file("f", "x");
	fd = open("f", O_RDWR);
	v[0] = (struct pollfd){ p[0], POLLIN, 0 };
	v[1] = (struct pollfd){ p[1], POLLOUT | POLLIN, 0 };
	v[2] = (struct pollfd){ 1000, POLLIN, 0 };
	v[3] = (struct pollfd){ -1, POLLIN, 77 };
	v[4] = (struct pollfd){ fd, POLLIN | POLLOUT | POLLPRI, 0 };
	v[5] = (struct pollfd){ q[0], 0, 0 };
	R(poll(v, 6, 0));
	say("%x %x %x %x %x %x", v[0].revents, v[1].revents, v[2].revents, v[3].revents,
	    v[4].revents, v[5].revents);
	close(q[1]);
	R(poll(v, 6, -1));
	say("%x %x %x %x %x %x", v[0].revents, v[1].revents, v[2].revents, v[3].revents,
	    v[4].revents, v[5].revents);
	write(p[1], "a", 1);
	R(poll(v, 1, -1));
	V(v[0].revents);
	v[0].events = POLLIN | POLLRDNORM;
	R(poll(v, 1, -1));
	V(v[0].revents);
	read(p[0], &c, 1);
	start = now_ns(CLOCK_MONOTONIC);
	R(poll(v, 1, 10));
	T(now_ns(CLOCK_MONOTONIC) - start >= 10 * NS_PER_MS);
	R(poll(NULL, 0, 5));
	t = spawn(late_write, &p[1]);
	R(poll(v, 1, 2000));
	pthread_join(t, NULL);
	read(p[0], &c, 1);
	R(ppoll(v, 1, &ts, NULL));
	ts.tv_nsec = NS_PER_S;
	R(ppoll(v, 1, &ts, NULL));
	R(syscall(SYS_poll, v, 1u << 30, 0));
	close(p[0]);
	v[1].events = POLLOUT;
	R(poll(v + 1, 1, 0));
	V(v[1].revents);

	HEAD("ppoll opens the mask while it waits");
	NEED(pipe(p) == 0);
	v[0] = (struct pollfd){ p[0], POLLIN, 0 };
	sigemptyset(&open_);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &block, NULL);
	raise(SIGUSR1);
	V(got);
	R(ppoll(v, 1, NULL, &open_));
	V(got);
	ts = ts_ns(5 * NS_PER_MS);
	R(ppoll(v, 1, &ts, NULL));
	t = spawn(late_signal, NULL);
	R(ppoll(v, 1, NULL, &open_));
	V(got);
	pthread_join(t, NULL);
	pthread_sigmask(SIG_UNBLOCK, &block, NULL);
	t = spawn(late_signal, NULL);
	R(poll(v, 1, 2000));
	V(got);
	pthread_join(t, NULL);
	close(p[0]);
	close(p[1]);
	close(q[0]);
	close(fd);
}

static void selects(void)
{
	int p[2], high;
	fd_set r, w, e;
	struct timeval tv = { 0, 0 };
	struct timespec ts = { 0, 0 };
	sigset_t block, open_;
	long start;
	pthread_t t;

	HEAD("select");
	NEED(pipe(p) == 0);
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&e);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	FD_SET(p[0], &e);
	R(select(p[1] + 1, &r, &w, &e, &tv));
	say("%d %d %d", FD_ISSET(p[0], &r), FD_ISSET(p[1], &w), FD_ISSET(p[0], &e));
	write(p[1], "a", 1);
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	R(select(p[1] + 1, &r, &w, &e, NULL));
	say("%d %d", FD_ISSET(p[0], &r), FD_ISSET(p[1], &w));
	FD_SET(p[0], &r);
	R(select(p[0], &r, NULL, NULL, &tv)); /* nfds leaves it out */
	read(p[0], &tv, 1);
	high = dup2(p[0], 900);
	FD_ZERO(&r);
	FD_SET(high, &r);
	t = spawn(late_write, &p[1]);
	tv = (struct timeval){ 2, 0 };
	R(select(high + 1, &r, NULL, NULL, &tv));
	V(FD_ISSET(high, &r));
	T(tv.tv_sec < 2); /* Linux writes the time left back */
	pthread_join(t, NULL);
	read(p[0], &start, 1);
	close(high);
	R(select(high + 1, &r, NULL, NULL, &tv));
	start = now_ns(CLOCK_MONOTONIC);
	tv = (struct timeval){ 0, 10000 };
	R(select(0, NULL, NULL, NULL, &tv));
	V(tv.tv_usec);
	T(now_ns(CLOCK_MONOTONIC) - start >= 10 * NS_PER_MS);
	R(select(-1, NULL, NULL, NULL, &tv));
	tv = (struct timeval){ -1, 0 };
	R(syscall(SYS_select, 0, NULL, NULL, NULL, &tv));

	HEAD("pselect");
	got = 0;
	sigemptyset(&open_);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &block, NULL);
	raise(SIGUSR1);
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	R(pselect(p[0] + 1, &r, NULL, NULL, &ts, NULL));
	V(got);
	R(pselect(0, NULL, NULL, NULL, NULL, &open_));
	V(got);
	pthread_sigmask(SIG_UNBLOCK, &block, NULL);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	struct sigaction sa = { .sa_handler = on_usr1 };

	main_thread = pthread_self();
	sigaction(SIGUSR1, &sa, NULL);
	enter_scratch("pollsel");
	polls();
	selects();
	return 0;
}
