/* epoll.c - level, edge, one-shot, exclusive; nesting; removal; waits and wake-ups. */
#include "t.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static int ep;

/* Waits and prints what is ready: events and the data word, in order of the data word. */
static void await(int epfd, int timeout)
{
	struct epoll_event ev[16], t;
	char line[400] = "ready:";
	int n = epoll_wait(epfd, ev, 16, timeout);

	if (n < 0) {
		say("epoll_wait: %s", t_errname(errno));
		return;
	}
	for (int i = 0; i < n; i++)
		for (int k = i + 1; k < n; k++)
			if (ev[k].data.u64 < ev[i].data.u64)
				t = ev[i], ev[i] = ev[k], ev[k] = t;
	for (int i = 0; i < n; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), " %llu:%x",
			 (unsigned long long)ev[i].data.u64, ev[i].events);
	say("%s", line);
}

static int ctl(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	return epoll_ctl(epfd, op, fd, &ev);
}

static void drain(int fd)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void basics(void)
{
	int p[2], q[2], fd;

	HEAD("basics");
	R(epoll_create1(0x1234));
	R(epoll_create(0));
	ep = Z(epoll_create1(EPOLL_CLOEXEC));
	R(fcntl(ep, F_GETFD));
	NEED(pipe2(p, O_NONBLOCK) == 0);
	NEED(pipe2(q, O_NONBLOCK) == 0);
	R(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R(ctl(ep, EPOLL_CTL_MOD, q[0], EPOLLIN, 1));
	R(ctl(ep, EPOLL_CTL_DEL, q[0], EPOLLIN, 1));
	R(ctl(ep, 99, p[0], EPOLLIN, 1));
	R(ctl(ep, EPOLL_CTL_ADD, 1000, EPOLLIN, 1));
	R(ctl(1000, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R(ctl(p[0], EPOLL_CTL_ADD, p[1], EPOLLIN, 1));
	R(ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN, 1));
	put_file("f", "x");
	fd = open("f", O_RDONLY);
	R(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN, 1)); /* a regular file: EPERM */
	close(fd);
	R(epoll_wait(ep, NULL, 0, 0));
	R(epoll_wait(p[0], (struct epoll_event[1]){}, 1, 0));
	await(ep, 0);
	R(ctl(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT, 2));
	await(ep, 0);
	write(p[1], "abc", 3);
	await(ep, 0);
	await(ep, -1);
	R(ctl(ep, EPOLL_CTL_MOD, p[1], 0, 2));
	await(ep, 0);
	drain(p[0]);
	await(ep, 0);
	write(p[1], "x", 1);
	close(p[1]);
	await(ep, 0);
	drain(p[0]);
	await(ep, 0);
	close(p[0]); /* the last descriptor closes: it leaves the set */
	await(ep, 0);
	R(ctl(ep, EPOLL_CTL_ADD, q[1], EPOLLOUT, 3));
	close(q[0]);
	await(ep, 0);
	fd = dup(q[1]);
	close(q[1]); /* a duplicate keeps it in the set */
	await(ep, 0);
	close(fd);
	await(ep, 0);
	close(ep);
}

static void edges(void)
{
	int p[2], e;
	uint64_t one = 1;

	HEAD("edge-triggered");
	ep = epoll_create1(0);
	NEED(pipe2(p, O_NONBLOCK) == 0);
	R(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET, 1));
	await(ep, 0);
	write(p[1], "a", 1);
	await(ep, 0);
	await(ep, 0);
	write(p[1], "b", 1);
	await(ep, 0);
	await(ep, 0);
	R(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 4)); /* ready at MOD: reported again */
	await(ep, 0);
	await(ep, 0);
	drain(p[0]);
	write(p[1], "c", 1);
	await(ep, 0);
	close(p[1]);
	await(ep, 0);
	await(ep, 0);
	close(p[0]);
	e = eventfd(0, EFD_NONBLOCK);
	R(ctl(ep, EPOLL_CTL_ADD, e, EPOLLIN | EPOLLOUT | EPOLLET, 2));
	await(ep, 0);
	await(ep, 0);
	write(e, &one, 8);
	await(ep, 0);
	write(e, &one, 8);
	await(ep, 0);
	await(ep, 0);
	close(e);

	HEAD("one-shot");
	e = eventfd(1, EFD_NONBLOCK);
	R(ctl(ep, EPOLL_CTL_ADD, e, EPOLLIN | EPOLLONESHOT, 3));
	await(ep, 0);
	await(ep, 0);
	write(e, &one, 8);
	await(ep, 0);
	R(ctl(ep, EPOLL_CTL_MOD, e, EPOLLIN | EPOLLONESHOT, 3));
	await(ep, 0);
	await(ep, 0);
	R(ctl(ep, EPOLL_CTL_ADD, e, EPOLLIN, 3));
	close(e);

	HEAD("exclusive");
	e = eventfd(1, EFD_NONBLOCK);
	R(ctl(ep, EPOLL_CTL_ADD, e, EPOLLIN | EPOLLEXCLUSIVE, 5));
	await(ep, 0);
	R(ctl(ep, EPOLL_CTL_MOD, e, EPOLLIN, 5));
	R(ctl(ep, EPOLL_CTL_DEL, e, 0, 0));
	R(ctl(ep, EPOLL_CTL_ADD, e, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 5));
	close(e);
	close(ep);
}

static void nested(void)
{
	int inner = epoll_create1(0), outer = epoll_create1(0), e = eventfd(0, EFD_NONBLOCK);
	uint64_t v = 1;
	struct pollfd p = { inner, POLLIN, 0 };

	HEAD("nested");
	R(ctl(inner, EPOLL_CTL_ADD, e, EPOLLIN, 1));
	R(ctl(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
	R(ctl(inner, EPOLL_CTL_ADD, outer, EPOLLIN, 3)); /* a loop: ELOOP */
	await(outer, 0);
	R(poll(&p, 1, 0));
	write(e, &v, 8);
	await(outer, 0);
	R(poll(&p, 1, 0));
	V(p.revents);
	await(inner, 0);
	read(e, &v, 8);
	await(outer, 0);
	await(inner, 0);
	close(inner);
	close(outer);
	close(e);
}

static void *late_write(void *arg)
{
	uint64_t v = 1;

	sleep_ms(10);
	write(*(int *)arg, &v, 8);
	return NULL;
}

static void *late_add(void *arg)
{
	sleep_ms(10);
	ctl(ep, EPOLL_CTL_ADD, *(int *)arg, EPOLLIN, 9);
	return NULL;
}

static int wakes;

static void *exclusive_waiter(void *arg)
{
	struct epoll_event ev;

	if (epoll_wait(*(int *)arg, &ev, 1, 2000) == 1)
		__atomic_fetch_add(&wakes, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void waiting(void)
{
	int e = eventfd(0, EFD_NONBLOCK), full = eventfd(1, 0), tfd;
	struct itimerspec its = { .it_value = ts_ns(8 * NS_PER_MS) };
	struct epoll_event ev;
	long start;
	pthread_t t, w[4];
	uint64_t v;
	sigset_t none;

	HEAD("waiting");
	ep = epoll_create1(0);
	R(ctl(ep, EPOLL_CTL_ADD, e, EPOLLIN, 7));
	start = now_ns(CLOCK_MONOTONIC);
	await(ep, 10);
	T(now_ns(CLOCK_MONOTONIC) - start >= 10 * NS_PER_MS);
	t = spawn(late_write, &e);
	await(ep, -1);
	pthread_join(t, NULL);
	read(e, &v, 8);
	t = spawn(late_add, &full); /* added while another thread waits */
	await(ep, 2000);
	pthread_join(t, NULL);
	R(ctl(ep, EPOLL_CTL_DEL, full, 0, 0));
	tfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	timerfd_settime(tfd, 0, &its, NULL);
	R(ctl(ep, EPOLL_CTL_ADD, tfd, EPOLLIN, 8));
	await(ep, 2000);
	R(ctl(ep, EPOLL_CTL_DEL, tfd, 0, 0));
	sigemptyset(&none);
	R(epoll_pwait(ep, &ev, 1, 5, &none));
	R(epoll_pwait(ep, &ev, 1, 5, NULL));
	R(syscall(SYS_epoll_pwait2, ep, &ev, 1, &(struct timespec){ 0, 5000000 }, NULL, 8));
	R(syscall(SYS_epoll_pwait2, ep, &ev, 1, &(struct timespec){ 0, 2000000000 }, NULL, 8));
	R(epoll_wait(ep, &ev, -1, 0));

	HEAD("several waiters, edge-triggered: one write wakes one");
	R(ctl(ep, EPOLL_CTL_MOD, e, EPOLLIN | EPOLLET, 7));
	for (int i = 0; i < 4; i++)
		w[i] = spawn(exclusive_waiter, &ep);
	sleep_ms(30);
	v = 1;
	write(e, &v, 8);
	sleep_ms(60);
	V(wakes);
	for (int i = 0; i < 3; i++) {
		write(e, &v, 8);
		sleep_ms(30);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(w[i], NULL);
	V(wakes);
	close(e);
	close(full);
	close(tfd);
	close(ep);
}

/* More descriptors than one wait returns: every one is reported in turn. */
static void many(void)
{
	enum { N = 50 };
	int fd[N], seen[N] = { 0 }, got = 0;
	struct epoll_event ev[8];

	HEAD("many");
	ep = epoll_create1(0);
	for (int i = 0; i < N; i++) {
		fd[i] = eventfd(1, EFD_NONBLOCK);
		ctl(ep, EPOLL_CTL_ADD, fd[i], EPOLLIN, i);
	}
	for (int round = 0; round < 20; round++) {
		int n = epoll_wait(ep, ev, 8, 0);

		for (int i = 0; i < n; i++)
			got += !seen[ev[i].data.u64]++;
	}
	V(got);
	for (int i = 0; i < N; i++)
		close(fd[i]);
	await(ep, 0);
	close(ep);
}

int main(void)
{
	enter_scratch("epoll");
	basics();
	edges();
	nested();
	waiting();
	many();
	return 0;
}
