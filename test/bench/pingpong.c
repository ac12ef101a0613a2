/*
 * pingpong.c - TCP between two places, as plain Linux programs: round trips, and bulk transfer.
 *
 *   pingpong server PORT                       answers each message of SIZE bytes with itself, for ever
 *   pingpong client ADDR PORT COUNT SIZE       COUNT round trips of SIZE bytes; prints ns
 *   pingpong sink PORT                         reads connections to their end, answers with the byte count
 *   pingpong bulk ADDR PORT MEGABYTES          sends that much, waits for the answer; prints MB/s
 *
 * Output: one line of JSON. Exit status 1 and a line on standard error if anything went wrong.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SIZE 65536
#define BLOCK (256 << 10)

static char buf[BLOCK];

static void die(const char *what)
{
	fprintf(stderr, "pingpong: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* All of n bytes: 1, or 0 at the end of the stream before the first. */
static int read_all(int fd, char *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, p + done, n - done);

		if (r < 0)
			die("read");
		if (!r) {
			if (done)
				errno = EPROTO, die("read");
			return 0;
		}
		done += r;
	}
	return 1;
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0)
			die("write");
		p += w;
		n -= w;
	}
}

static struct sockaddr_in address(const char *addr, const char *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};

	if (addr && inet_pton(AF_INET, addr, &sa.sin_addr) != 1) {
		fprintf(stderr, "pingpong: %s: not an IPv4 address\n", addr);
		exit(2);
	}
	return sa;
}

static int dial(const char *addr, const char *port)
{
	struct sockaddr_in sa = address(addr, port);
	int one = 1;

	/* The server may be starting yet. */
	for (int tries = 0; tries < 200; tries++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0)
			die("socket");
		if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
			if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
				die("TCP_NODELAY");
			return fd;
		}
		close(fd);
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	die("connect");
	return -1;
}

static int listen_on(const char *port)
{
	struct sockaddr_in sa = address(NULL, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 64))
		die("listen");
	return fd;
}

/* One connection after another: the client's next run finds the server where it was. */
static void serve(int lfd)
{
	for (;;) {
		int fd = accept(lfd, NULL, NULL), one = 1;
		uint32_t size;

		if (fd < 0)
			die("accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		/* the client first says how long a message is */
		if (read_all(fd, (char *)&size, sizeof(size)) && size && size <= MAX_SIZE)
			while (read_all(fd, buf, size))
				write_all(fd, buf, size);
		close(fd);
	}
}

static void client(const char *addr, const char *port, long count, uint32_t size)
{
	uint64_t *ns = malloc(count * sizeof(*ns));
	long warm = count / 10;
	int fd = dial(addr, port);

	if (!ns || !count || !size || size > MAX_SIZE)
		die("arguments");
	write_all(fd, (char *)&size, sizeof(size));
	for (long i = -warm; i < count; i++) {
		uint64_t t = now_ns();

		write_all(fd, buf, size);
		if (!read_all(fd, buf, size))
			errno = ECONNRESET, die("read");
		if (i >= 0)
			ns[i] = now_ns() - t;
	}
	qsort(ns, count, sizeof(*ns), compare);
	printf("{\"count\": %ld, \"size\": %u, \"min_ns\": %lu, \"p50_ns\": %lu, \"p90_ns\": %lu, \"p99_ns\": %lu, "
	       "\"p999_ns\": %lu, \"max_ns\": %lu}\n",
	       count, size, ns[0], ns[count / 2], ns[count * 9 / 10], ns[count * 99 / 100], ns[count * 999 / 1000],
	       ns[count - 1]);
}

static void sink(int lfd)
{
	for (;;) {
		int fd = accept(lfd, NULL, NULL);
		uint64_t total = 0;
		ssize_t n;

		if (fd < 0)
			die("accept");
		while ((n = read(fd, buf, sizeof(buf))) > 0)
			total += n;
		if (n < 0)
			die("read");
		write_all(fd, (char *)&total, sizeof(total));
		close(fd);
	}
}

static void bulk(const char *addr, const char *port, uint64_t mb)
{
	int fd = dial(addr, port);
	uint64_t left = mb << 20, total = 0, start = now_ns();
	double seconds;

	while (left) {
		size_t n = left < sizeof(buf) ? left : sizeof(buf);

		write_all(fd, buf, n);
		left -= n;
	}
	shutdown(fd, SHUT_WR);
	if (!read_all(fd, (char *)&total, sizeof(total)) || total != mb << 20)
		errno = EPROTO, die("byte count of the other side");
	seconds = (now_ns() - start) / 1e9;
	printf("{\"megabytes\": %lu, \"seconds\": %.6f, \"mb_per_s\": %.1f}\n", mb, seconds, mb / seconds);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "server"))
		serve(listen_on(argv[2]));
	else if (argc == 6 && !strcmp(argv[1], "client"))
		client(argv[2], argv[3], atol(argv[4]), atoi(argv[5]));
	else if (argc == 3 && !strcmp(argv[1], "sink"))
		sink(listen_on(argv[2]));
	else if (argc == 5 && !strcmp(argv[1], "bulk"))
		bulk(argv[2], argv[3], strtoull(argv[4], NULL, 10));
	else {
		fprintf(stderr, "usage: pingpong server PORT | client ADDR PORT COUNT SIZE | sink PORT | "
				"bulk ADDR PORT MEGABYTES\n");
		return 2;
	}
	return 0;
}
