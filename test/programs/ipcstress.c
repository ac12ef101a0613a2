/*
 * ipcstress.c - pipes, eventfds, epoll, poll and timerfd under many threads: a lost wake-up is a hang, a lost or
 * doubled byte or count a wrong sum.
 */
#include "t.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

enum { WAITERS = 4, COUNTERS = 4, STEPS = 2000, RECORD = 16, BIG = 300000, ROUNDS = 300 };

static int ep, counter[COUNTERS], stop_fd;
static long counted, records;
static int shared[2], big[2];

/* One-shot eventfds, several threads in epoll_wait on one set. */
static void *epoll_waiter(void *arg)
{
	struct epoll_event e[3];

	for (;;) {
		int n = epoll_wait(ep, e, 3, -1);

		NEED(n > 0);
		for (int i = 0; i < n; i++) {
			struct epoll_event again = { EPOLLIN | EPOLLONESHOT, { .fd = e[i].data.fd } };
			uint64_t v;

			if (e[i].data.fd == stop_fd)
				return NULL;
			if (read(e[i].data.fd, &v, 8) == 8)
				__atomic_add_fetch(&counted, v, __ATOMIC_SEQ_CST);
			else
				NEED(errno == EAGAIN);
			NEED(!epoll_ctl(ep, EPOLL_CTL_MOD, e[i].data.fd, &again));
		}
	}
}

static void *count(void *arg)
{
	uint64_t one = 1;

	for (int i = 0; i < STEPS; i++)
		NEED(write(counter[(long)arg], &one, 8) == 8);
	return NULL;
}

/* Records of several writers and readers on one pipe stay whole. */
static void *record_writer(void *arg)
{
	char b[RECORD];

	memset(b, 'a' + (int)(long)arg, sizeof(b));
	for (int i = 0; i < STEPS; i++)
		NEED(write(shared[1], b, sizeof(b)) == RECORD);
	return NULL;
}

static void *record_reader(void *arg)
{
	char b[RECORD];
	ssize_t n;

	while ((n = read(shared[0], b, sizeof(b)))) {
		NEED(n == RECORD);
		for (int i = 1; i < RECORD; i++)
			NEED(b[i] == b[0]);
		__atomic_add_fetch(&records, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* Many bytes through a small pipe whose ends do not block but poll. */
static void *big_writer(void *arg)
{
	static char buf[BIG];
	size_t at = 0;

	for (int i = 0; i < BIG; i++)
		buf[i] = i * 7;
	while (at < sizeof(buf)) {
		struct pollfd p = { big[1], POLLOUT, 0 };
		ssize_t n = write(big[1], buf + at, sizeof(buf) - at);

		if (n > 0)
			at += n;
		else
			NEED(errno == EAGAIN && poll(&p, 1, -1) == 1);
	}
	close(big[1]);
	return NULL;
}

static void read_big(void)
{
	static char buf[BIG + 1];
	size_t at = 0;
	ssize_t n;

	while ((n = read(big[0], buf + at, sizeof(buf) - at))) {
		struct pollfd p = { big[0], POLLIN, 0 };

		if (n > 0)
			at += n;
		else
			NEED(errno == EAGAIN && poll(&p, 1, -1) == 1);
	}
	NEED(at == BIG);
	for (int i = 0; i < BIG; i++)
		NEED(buf[i] == (char)(i * 7));
}

/* Watched files and sets that go away in either order. */
static void *churn(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct epoll_event e = { EPOLLIN | EPOLLET, { .u64 = 1 } }, out[2];
		int p[2], set = epoll_create1(0);

		NEED(!pipe2(p, O_NONBLOCK));
		NEED(!epoll_ctl(set, EPOLL_CTL_ADD, p[0], &e));
		NEED(!epoll_ctl(set, EPOLL_CTL_ADD, p[1], &e));
		NEED(write(p[1], "x", 1) == 1);
		NEED(epoll_wait(set, out, 2, 5000) == 1);
		if (i & 1)
			close(set);
		close(p[0]);
		close(p[1]);
		if (!(i & 1)) {
			NEED(epoll_wait(set, out, 2, 0) == 0);
			close(set);
		}
	}
	return NULL;
}

static void ticks(void)
{
	struct itimerspec its = { { 0, 200000 }, { 0, 200000 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	uint64_t n = 0, v;

	NEED(!timerfd_settime(fd, 0, &its, NULL));
	while (n < 20) {
		NEED(read(fd, &v, 8) == 8);
		n += v;
	}
	close(fd);
}

int main(void)
{
	pthread_t waiter[WAITERS], worker[COUNTERS + 3], reader[3], writer[3];
	struct epoll_event stop = { EPOLLIN, { 0 } };
	uint64_t one = 1;

	ep = epoll_create1(0);
	stop_fd = eventfd(0, 0);
	stop.data.fd = stop_fd;
	NEED(!pipe(shared));
	NEED(!pipe2(big, O_NONBLOCK));
	fcntl(big[1], F_SETPIPE_SZ, 4096);
	for (int i = 0; i < COUNTERS; i++) {
		struct epoll_event e = { EPOLLIN | EPOLLONESHOT, { 0 } };

		counter[i] = e.data.fd = eventfd(0, EFD_NONBLOCK);
		NEED(!epoll_ctl(ep, EPOLL_CTL_ADD, counter[i], &e));
	}
	for (int i = 0; i < WAITERS; i++)
		waiter[i] = spawn(epoll_waiter, NULL);
	for (long i = 0; i < COUNTERS; i++)
		worker[i] = spawn(count, (void *)i);
	for (long i = 0; i < 3; i++) {
		reader[i] = spawn(record_reader, NULL);
		writer[i] = spawn(record_writer, (void *)i);
	}
	worker[COUNTERS] = spawn(big_writer, NULL);
	worker[COUNTERS + 1] = spawn(churn, NULL);
	worker[COUNTERS + 2] = spawn(churn, NULL);
	read_big();
	ticks();
	for (int i = 0; i < COUNTERS + 3; i++)
		pthread_join(worker[i], NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(writer[i], NULL);
	close(shared[1]);
	for (int i = 0; i < 3; i++)
		pthread_join(reader[i], NULL);
	while (__atomic_load_n(&counted, __ATOMIC_SEQ_CST) < (long)COUNTERS * STEPS)
		sleep_ms(1);
	NEED(write(stop_fd, &one, 8) == 8);
	NEED(!epoll_ctl(ep, EPOLL_CTL_ADD, stop_fd, &stop));
	for (int i = 0; i < WAITERS; i++)
		pthread_join(waiter[i], NULL);
	V(counted);
	V(records);
	return 0;
}
