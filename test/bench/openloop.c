/*
 * openloop.c - HTTP load at a given rate: latency is counted from the moment when a request was due.
 *
 *   openloop ADDR PORT PATH RATE SECONDS CONNECTIONS [POST-BYTES]
 *
 * Requests are due at a constant rate; each takes the connection that has been idle longest, or waits for
 * one, and its waiting counts (no coordinated omission). RATE 0: closed loop, each connection sends its
 * next request when the answer is there. Keep-alive; answers must be 200 and have a Content-Length.
 *
 * Output: one line of JSON; latencies in ns. Exit status 1 when a connection failed or an answer was wrong.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define MAX_SAMPLES (8u << 20)

struct connection {
	int fd;
	uint64_t due; /* of the request under way; 0: idle */
	size_t got; /* bytes of the answer so far */
	size_t need; /* whole answer; 0: header not complete */
	char head[4096];
};

static struct connection connections[MAX_CONNECTIONS];
static int idle[MAX_CONNECTIONS], nr_idle, idle_head; /* a queue of connections */
static uint64_t *samples;
static size_t nr_samples;
static char *request;
static size_t request_len;

static void die(const char *what)
{
	fprintf(stderr, "openloop: %s: %s\n", what, errno ? strerror(errno) : "bad answer");
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

static void send_request(struct connection *c, uint64_t due)
{
	size_t done = 0;

	c->due = due;
	c->got = c->need = 0;
	while (done < request_len) {
		ssize_t n = send(c->fd, request + done, request_len - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			continue; /* requests are small: this ends soon */
		if (n < 0)
			die("send");
		done += n;
	}
}

/* The length of the whole answer, once its header is complete; 0: not yet. */
static size_t answer_length(struct connection *c)
{
	char *end = memmem(c->head, c->got < sizeof(c->head) ? c->got : sizeof(c->head), "\r\n\r\n", 4);
	char *line;

	errno = 0;
	if (!end) {
		if (c->got >= sizeof(c->head))
			die("header of more than 4 KiB");
		return 0;
	}
	if (strncmp(c->head, "HTTP/1.1 200", 12) && strncmp(c->head, "HTTP/1.0 200", 12))
		die("status");
	*end = 0;
	line = strcasestr(c->head, "\r\ncontent-length:");
	if (!line)
		die("no Content-Length");
	return end + 4 - c->head + strtoul(line + 17, NULL, 10);
}

/* True: the answer is complete. */
static bool receive(struct connection *c)
{
	static char scratch[65536];

	for (;;) {
		bool head = c->got < sizeof(c->head);
		ssize_t n = head ? recv(c->fd, c->head + c->got, sizeof(c->head) - c->got, 0) :
				   recv(c->fd, scratch, sizeof(scratch), 0);

		if (n < 0 && errno == EAGAIN)
			return false;
		errno = n ? errno : ECONNRESET;
		if (n <= 0)
			die("recv");
		c->got += n;
		if (!c->need)
			c->need = answer_length(c);
		if (c->need && c->got > c->need)
			errno = 0, die("more than the answer");
		if (c->need && c->got == c->need)
			return true;
	}
}

static void finished(int i, uint64_t now)
{
	struct connection *c = &connections[i];

	if (nr_samples < MAX_SAMPLES)
		samples[nr_samples++] = now - c->due;
	c->due = 0;
	idle[(idle_head + nr_idle++) % MAX_CONNECTIONS] = i;
}

static int dial(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0 || connect(fd, (const struct sockaddr *)sa, sizeof(*sa)))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void report(double rate, double seconds, int nr, uint64_t missed)
{
	struct rusage ru;
	uint64_t *s = samples;
	size_t n = nr_samples;
	double cpu;

	getrusage(RUSAGE_SELF, &ru);
	cpu = ru.ru_utime.tv_sec + ru.ru_stime.tv_sec + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
	qsort(s, n, sizeof(*s), compare);
	errno = 0;
	if (!n)
		die("not one answer");
	printf("{\"offered\": %.0f, \"achieved\": %.0f, \"requests\": %zu, \"unfinished\": %lu, \"connections\": %d, "
	       "\"p50_ns\": %lu, \"p90_ns\": %lu, \"p99_ns\": %lu, \"p999_ns\": %lu, \"max_ns\": %lu, "
	       "\"client_cpu_s\": %.3f}\n",
	       rate, n / seconds, n, missed, nr, s[n / 2], s[n * 9 / 10], s[n * 99 / 100], s[n * 999 / 1000],
	       s[n - 1], cpu);
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	double rate, seconds, period;
	uint64_t start, end, sent = 0, now;
	size_t post = argc == 8 ? strtoul(argv[7], NULL, 10) : 0;
	int nr, epfd = epoll_create1(0);

	if (argc < 7 || argc > 8 || inet_pton(AF_INET, argv[1], &sa.sin_addr) != 1) {
		fprintf(stderr, "usage: openloop ADDR PORT PATH RATE SECONDS CONNECTIONS [POST-BYTES]\n");
		return 2;
	}
	sa.sin_port = htons(atoi(argv[2]));
	rate = atof(argv[4]);
	seconds = atof(argv[5]);
	nr = atoi(argv[6]);
	if (nr < 1 || nr > MAX_CONNECTIONS || seconds <= 0 || rate < 0) {
		fprintf(stderr, "openloop: 1 to %d connections, a time, a rate\n", MAX_CONNECTIONS);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	samples = malloc(MAX_SAMPLES * sizeof(*samples));
	request = malloc(1024 + post);
	if (!samples || !request)
		die("memory");
	request_len = post ? sprintf(request, "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n", argv[3], post) :
			     sprintf(request, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", argv[3]);
	memset(request + request_len, 'x', post);
	request_len += post;
	for (int i = 0; i < nr; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};

		connections[i].fd = dial(&sa);
		epoll_ctl(epfd, EPOLL_CTL_ADD, connections[i].fd, &ev);
		idle[nr_idle++] = i;
	}
	period = rate ? 1e9 / rate : 0;
	start = now_ns();
	end = start + seconds * 1e9;
	while ((now = now_ns()) < end) {
		struct epoll_event ev[64];
		uint64_t due = start + (uint64_t)(sent * period);
		struct timespec wait = {};
		int n;

		while (nr_idle && (!rate || due <= now)) {
			int i = idle[idle_head];

			idle_head = (idle_head + 1) % MAX_CONNECTIONS;
			nr_idle--;
			send_request(&connections[i], rate ? due : now);
			due = start + (uint64_t)(++sent * period);
		}
		if (!rate || !nr_idle)
			wait.tv_nsec = 10000000;
		else if (due > now)
			wait.tv_nsec = due - now < 10000000 ? due - now : 10000000;
		n = epoll_pwait2(epfd, ev, 64, &wait, NULL);
		now = now_ns();
		for (int k = 0; k < n; k++)
			if (receive(&connections[ev[k].data.u32]))
				finished(ev[k].data.u32, now);
	}
	/* What was due and is not answered is as late as can be, and is said. */
	report(rate, seconds, nr, rate ? (uint64_t)(seconds * rate) - (nr_samples < seconds * rate ? nr_samples : (uint64_t)(seconds * rate)) : 0);
	return 0;
}
