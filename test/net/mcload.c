/*
 * mcload.c - load on a memcached: connections that set, get and delete keys of their own and check each answer.
 *
 *     mcload ADDR PORT CONNECTIONS SECONDS
 *
 * Prints "requests N errors N"; exit status 1 if there was an error. Values have lengths from 1 to 4 KiB.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_VALUE 4096
#define MAX_CONNS 4096

struct conn {
	int sock;
	unsigned id, step, len;
	char expect[MAX_VALUE + 128];
	size_t want, got;
};

static struct conn conns[MAX_CONNS];
static unsigned long requests, errors;
static unsigned seed = 1;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void make_value(const struct conn *c, char *value)
{
	for (unsigned i = 0; i < c->len; i++)
		value[i] = 'a' + (c->id + c->step / 4 + i) % 26;
}

/* set, get, get of a key that is not there, delete: four steps round. Returns what was sent, -1 on an error. */
static int send_next(struct conn *c)
{
	char text[MAX_VALUE + 128], value[MAX_VALUE];
	int n;

	if (c->step % 4 == 0)
		c->len = 1 + rand_r(&seed) % MAX_VALUE;
	make_value(c, value);
	switch (c->step % 4) {
	case 0:
		n = sprintf(text, "set k%u 7 0 %u\r\n%.*s\r\n", c->id, c->len, (int)c->len, value);
		c->want = sprintf(c->expect, "STORED\r\n");
		break;
	case 1:
		n = sprintf(text, "get k%u\r\n", c->id);
		c->want = sprintf(c->expect, "VALUE k%u 7 %u\r\n%.*s\r\nEND\r\n", c->id, c->len, (int)c->len, value);
		break;
	case 2:
		n = sprintf(text, "get none%u\r\n", c->id);
		c->want = sprintf(c->expect, "END\r\n");
		break;
	default:
		n = sprintf(text, "delete k%u\r\n", c->id);
		c->want = sprintf(c->expect, "DELETED\r\n");
	}
	c->got = 0;
	return send(c->sock, text, n, MSG_NOSIGNAL) == n ? 0 : -1;
}

/* Answer bytes. -1: wrong ones, or the connection broke. */
static int take_answer(struct conn *c)
{
	char buf[MAX_VALUE + 128];
	ssize_t n = recv(c->sock, buf, sizeof(buf), MSG_DONTWAIT);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0 || c->got + n > c->want || memcmp(buf, c->expect + c->got, n))
		return -1;
	c->got += n;
	if (c->got < c->want)
		return 0;
	requests++;
	c->step++;
	return send_next(c);
}

int main(int argc, char **argv)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	int ep = epoll_create1(0), nr, one = 1;
	struct epoll_event events[256];
	double end;

	if (argc != 5 || inet_pton(AF_INET, argv[1], &sin.sin_addr) != 1 || (nr = atoi(argv[3])) < 1 ||
	    nr > MAX_CONNS) {
		fputs("usage: mcload ADDR PORT CONNECTIONS SECONDS\n", stderr);
		return 2;
	}
	sin.sin_port = htons(atoi(argv[2]));
	for (int i = 0; i < nr; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &conns[i]};

		conns[i].id = i;
		conns[i].sock = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(conns[i].sock, (struct sockaddr *)&sin, sizeof(sin))) {
			perror("mcload: connect");
			return 1;
		}
		setsockopt(conns[i].sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].sock, &ev);
	}
	end = now() + atof(argv[4]);
	for (int i = 0; i < nr; i++)
		errors += send_next(&conns[i]) == -1;
	while (now() < end && !errors) {
		int n = epoll_wait(ep, events, 256, 5000);

		if (!n) {
			fputs("mcload: nothing came for five seconds\n", stderr);
			errors++;
		}
		for (int i = 0; i < n; i++)
			errors += take_answer(events[i].data.ptr) == -1;
	}
	printf("requests %lu errors %lu\n", requests, errors);
	return errors || !requests;
}
