/*
 * calls.c - what system calls cost: one line "name nanoseconds" each, the best of several short runs.
 *
 * The best and not the mean, because on a shared machine everything else only adds. The runner
 * (bench.py) runs it natively and inside, in turn, and takes the median over the runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RUNS 7

static long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void measure(const char *name, void (*fn)(long), long n, double per)
{
	double best = 1e18;

	fn(n / 10 + 1);
	for (int i = 0; i < RUNS; i++) {
		long t0 = now();

		fn(n);
		double ns = (double)(now() - t0) / ((double)n * per);
		if (ns < best)
			best = ns;
	}
	printf("%s %.1f\n", name, best);
	fflush(stdout);
}

static void b_getppid(long n)
{
	while (n--)
		syscall(SYS_getppid);
}

static void b_clock(long n)
{
	struct timespec ts;

	while (n--)
		clock_gettime(CLOCK_MONOTONIC, &ts);
}

static void b_clock_call(long n)
{
	struct timespec ts;

	while (n--)
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
}

static int file;
static char buf[4096];

static void b_pread(long n)
{
	while (n--)
		if (pread(file, buf, 4096, (n & 15) * 4096) != 4096)
			die("pread");
}

static void b_open(long n)
{
	while (n--)
		close(open("/data", O_RDONLY));
}

static void b_stat(long n)
{
	struct stat st;

	while (n--)
		if (stat("/data", &st))
			die("stat");
}

static void b_mmap(long n)
{
	while (n--) {
		char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			die("mmap");
		*p = 1;
		munmap(p, 4096);
	}
}

static void b_mmap_64k(long n)
{
	while (n--) {
		char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			die("mmap");
		for (int i = 0; i < 65536; i += 4096)
			p[i] = 1;
		munmap(p, 65536);
	}
}

static int tmp;

static void b_tmp_write(long n)
{
	while (n--)
		if (pwrite(tmp, buf, 4096, (n & 15) * 4096) != 4096)
			die("pwrite");
}

static int ping[2], pong[2];

static void *pipe_echo(void *arg)
{
	char c;

	while (read(ping[0], &c, 1) == 1 && c != 'q')
		if (write(pong[1], &c, 1) != 1)
			die("write");
	return NULL;
}

static void b_pipe(long n)
{
	char c = 'x';

	while (n--)
		if (write(ping[1], &c, 1) != 1 || read(pong[0], &c, 1) != 1)
			die("pipe");
}

static uint32_t word; /* whose turn: 0 ours, 1 theirs, 2 stop */

static void futex_wait(uint32_t v)
{
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, v, NULL, NULL, 0);
}

static void futex_wake(void)
{
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *futex_echo(void *arg)
{
	for (;;) {
		uint32_t v;

		while (!(v = __atomic_load_n(&word, __ATOMIC_SEQ_CST)))
			futex_wait(0);
		if (v == 2)
			return NULL;
		__atomic_store_n(&word, 0, __ATOMIC_SEQ_CST);
		futex_wake();
	}
}

static void b_futex(long n)
{
	while (n--) {
		__atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
		futex_wake();
		while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 1)
			futex_wait(1);
	}
}

static void b_futex_wake(long n)
{
	while (n--)
		futex_wake();
}

static void *nothing(void *arg)
{
	return NULL;
}

static void b_thread(long n)
{
	pthread_t t;

	while (n--) {
		if (pthread_create(&t, NULL, nothing, NULL))
			die("pthread_create");
		pthread_join(t, NULL);
	}
}

static void handler(int sig)
{
}

static void b_signal(long n)
{
	pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid);

	while (n--)
		syscall(SYS_tgkill, pid, tid, SIGUSR1);
}

static int event, ep;

static void b_eventfd(long n)
{
	uint64_t v = 1;

	while (n--)
		if (write(event, &v, 8) != 8 || read(event, &v, 8) != 8)
			die("eventfd");
}

static void b_epoll(long n)
{
	struct epoll_event ev;

	while (n--)
		epoll_wait(ep, &ev, 1, 0);
}

static void b_yield(long n)
{
	while (n--)
		syscall(SYS_sched_yield);
}

static void b_random(long n)
{
	while (n--)
		syscall(SYS_getrandom, buf, 32, 0);
}

int main(int argc, char **argv)
{
	struct epoll_event ev = { .events = EPOLLIN };
	pthread_t t;

	file = open("/data", O_RDONLY);
	if (file < 0)
		die("/data");
	tmp = open("/tmp/bench-calls", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (tmp < 0)
		die("/tmp/bench-calls");
	unlink("/tmp/bench-calls");
	signal(SIGUSR1, handler);
	measure("getppid", b_getppid, 200000, 1);
	measure("clock_gettime", b_clock, 200000, 1);
	measure("clock_gettime system call", b_clock_call, 100000, 1);
	measure("sched_yield alone", b_yield, 50000, 1);
	measure("pread 4 KiB of an image file", b_pread, 50000, 1);
	measure("pwrite 4 KiB to tmpfs", b_tmp_write, 50000, 1);
	measure("open and close", b_open, 20000, 1);
	measure("stat", b_stat, 20000, 1);
	measure("getrandom 32 bytes", b_random, 50000, 1);
	measure("mmap, touch, munmap 4 KiB", b_mmap, 5000, 1);
	measure("mmap, touch, munmap 64 KiB", b_mmap_64k, 1000, 1);
	measure("signal to self", b_signal, 20000, 1);
	measure("futex wake, nobody waits", b_futex_wake, 50000, 1);
	event = eventfd(0, EFD_NONBLOCK);
	ep = epoll_create1(0);
	epoll_ctl(ep, EPOLL_CTL_ADD, event, &ev);
	measure("eventfd write and read", b_eventfd, 50000, 1);
	measure("epoll_wait, nothing ready", b_epoll, 50000, 1);
	if (pipe(ping) || pipe(pong))
		die("pipe");
	pthread_create(&t, NULL, pipe_echo, NULL);
	measure("pipe ping-pong, a hop", b_pipe, 5000, 2);
	if (write(ping[1], "q", 1) != 1)
		die("pipe");
	pthread_join(t, NULL);
	pthread_create(&t, NULL, futex_echo, NULL);
	measure("futex ping-pong, a hop", b_futex, 5000, 2);
	__atomic_store_n(&word, 2, __ATOMIC_SEQ_CST);
	futex_wake();
	pthread_join(t, NULL);
	measure("thread create and join", b_thread, 500, 1);
	return 0;
}
