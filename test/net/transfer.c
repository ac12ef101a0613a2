/*
 * transfer.c - moves a known stream of bytes over TCP and checks each of them; runs on both sides of a test.
 *
 *     transfer listen PORT | connect ADDR PORT   then   send BYTES SEED | recv BYTES SEED | both BYTES SEED
 *
 * The stream is that of a generator seeded with SEED, so the receiver knows what must come: a byte that is
 * lost, doubled, swapped or changed is found, with its place. `both` sends and receives at once, each direction
 * with a seed of its own. Prints "ready" when it listens, and for each direction a line "sent|received BYTES
 * HASH"; the hash is over all bytes. Each direction ends with the end of the stream, which is checked, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (256u << 10)

struct stream {
	uint64_t state, hash, bytes;
};

struct job {
	int sock;
	uint64_t bytes, seed;
	int failed;
};

static void die(const char *what)
{
	fprintf(stderr, "transfer: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* splitmix64 */
static uint64_t next_word(struct stream *s)
{
	uint64_t z = s->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void fill(struct stream *s, uint64_t *block, size_t words)
{
	for (size_t i = 0; i < words; i++)
		block[i] = next_word(s);
}

static void add_hash(struct stream *s, const uint64_t *block, size_t words)
{
	for (size_t i = 0; i < words; i++)
		s->hash = (s->hash ^ block[i]) * 0x100000001b3ull;
}

static void *do_send(void *arg)
{
	struct job *j = arg;
	struct stream s = {.state = j->seed};
	uint64_t *block = malloc(BLOCK), left = j->bytes;

	while (left) {
		size_t len = left < BLOCK ? left : BLOCK, done = 0;

		fill(&s, block, BLOCK / 8);
		add_hash(&s, block, len / 8);
		while (done < len) {
			ssize_t n = send(j->sock, (char *)block + done, len - done, MSG_NOSIGNAL);

			if (n == -1 && errno == EINTR)
				continue;
			if (n <= 0)
				die("send");
			done += n;
		}
		left -= len;
	}
	if (shutdown(j->sock, SHUT_WR) == -1)
		die("shutdown");
	printf("sent %llu %016llx\n", (unsigned long long)j->bytes, (unsigned long long)s.hash);
	free(block);
	return NULL;
}

static void *do_recv(void *arg)
{
	struct job *j = arg;
	struct stream s = {.state = j->seed};
	uint64_t *want = malloc(BLOCK), *got = malloc(BLOCK), at = 0;

	while (at < j->bytes) {
		size_t len = j->bytes - at < BLOCK ? j->bytes - at : BLOCK, done = 0;

		while (done < len) {
			ssize_t n = recv(j->sock, (char *)got + done, len - done, 0);

			if (n == -1 && errno == EINTR)
				continue;
			if (n == -1)
				die("recv");
			if (!n) {
				fprintf(stderr, "transfer: the stream ends at byte %llu of %llu\n",
					(unsigned long long)(at + done), (unsigned long long)j->bytes);
				exit(1);
			}
			done += n;
		}
		fill(&s, want, BLOCK / 8);
		if (memcmp(want, got, len)) {
			size_t i = 0;

			while (((char *)want)[i] == ((char *)got)[i])
				i++;
			fprintf(stderr, "transfer: byte %llu of %llu is wrong\n", (unsigned long long)(at + i),
				(unsigned long long)j->bytes);
			exit(1);
		}
		add_hash(&s, got, len / 8);
		at += len;
	}
	if (recv(j->sock, got, 1, 0) != 0) {
		fprintf(stderr, "transfer: more than %llu bytes come\n", (unsigned long long)j->bytes);
		exit(1);
	}
	printf("received %llu %016llx\n", (unsigned long long)at, (unsigned long long)s.hash);
	free(want);
	free(got);
	return NULL;
}

static int open_listen(const char *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	int one = 1, l = socket(AF_INET, SOCK_STREAM, 0), s;

	if (l == -1 || setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(l, (struct sockaddr *)&sin, sizeof(sin)) || listen(l, 1))
		die("listen");
	puts("ready");
	s = accept(l, NULL, NULL);
	if (s == -1)
		die("accept");
	close(l);
	return s;
}

static int open_connect(const char *addr, const char *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (inet_pton(AF_INET, addr, &sin.sin_addr) != 1 || s == -1 ||
	    connect(s, (struct sockaddr *)&sin, sizeof(sin)))
		die("connect");
	return s;
}

int main(int argc, char **argv)
{
	struct job j = {}, back;
	struct timespec a, b;
	pthread_t t;
	int sock;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 6 && !strcmp(argv[1], "listen")) {
		sock = open_listen(argv[2]);
	} else if (argc == 7 && !strcmp(argv[1], "connect")) {
		sock = open_connect(argv[2], argv[3]);
		argv++;
	} else {
		fputs("usage: transfer listen PORT|connect ADDR PORT send|recv|both BYTES SEED\n", stderr);
		return 2;
	}
	j = (struct job){.sock = sock, .bytes = strtoull(argv[4], NULL, 0), .seed = strtoull(argv[5], NULL, 0)};
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (!strcmp(argv[3], "send")) {
		do_send(&j);
		/* Wait for the peer's end, so that the time is that of the whole way. */
		if (recv(sock, &b, 1, 0) == -1)
			die("recv");
	} else if (!strcmp(argv[3], "recv")) {
		do_recv(&j);
	} else {
		/* The listening side's bytes have the seed itself, those of the other side the one after it. */
		int listens = argc == 6;

		back = j;
		back.seed += listens;
		j.seed += !listens;
		if (pthread_create(&t, NULL, do_send, &j))
			die("pthread_create");
		do_recv(&back);
		pthread_join(t, NULL);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("seconds %.3f\n", b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9);
	close(sock);
	return 0;
}
