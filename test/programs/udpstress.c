/*
 * udpstress.c - many threads with UDP sockets that come and go: every datagram that arrives is
 * whole and was sent to whom it reached, and what must arrive does.
 */
#include "t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define THREADS 6
#define ROUNDS 150
#define SERVERS 3

struct message {
	uint32_t port; /* where it goes */
	uint32_t seed, len;
	unsigned char body[3000];
};

static int server_port[SERVERS];
static volatile int stop;
static unsigned long wrong, lost, echoed;

static struct sockaddr_in lo(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int bound(int *port)
{
	struct sockaddr_in in = lo(0);
	socklen_t len = sizeof(in);
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	NEED(s >= 0 && !bind(s, (void *)&in, len) && !getsockname(s, (void *)&in, &len));
	*port = ntohs(in.sin_port);
	return s;
}

static unsigned char byte_of(uint32_t seed, uint32_t i)
{
	return seed * 31 + i * 7 + i / 251;
}

static void make(struct message *m, int port, uint32_t seed)
{
	m->port = port;
	m->seed = seed;
	m->len = seed * 2654435761u % sizeof(m->body);
	for (uint32_t i = 0; i < m->len; i++)
		m->body[i] = byte_of(seed, i);
}

static int good(const struct message *m, long n, int port)
{
	if (n < 12 || m->len > sizeof(m->body) || n != 12 + (long)m->len ||
	    m->port != (uint32_t)port)
		return 0;
	for (uint32_t i = 0; i < m->len; i++)
		if (m->body[i] != byte_of(m->seed, i))
			return 0;
	return 1;
}

/* Two threads stand at each: it echoes what is whole. */
static int server[SERVERS];

static void *serve(void *arg)
{
	int i = (long)arg, s = server[i];
	struct message m;
	struct sockaddr_in from;

	while (!stop) {
		socklen_t len = sizeof(from);
		long n = recvfrom(s, &m, sizeof(m), 0, (void *)&from, &len);

		if (n < 0)
			continue;
		if (!good(&m, n, server_port[i]))
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
		m.port = ntohs(from.sin_port);
		sendto(s, &m, n, 0, (void *)&from, len);
	}
	return NULL;
}

static void *client(void *arg)
{
	uint32_t rng = (long)arg * 7919 + 1;
	struct message m, back;

	for (int round = 0; round < ROUNDS; round++) {
		int port, s = bound(&port), burst;
		struct pollfd p = {s, POLLIN, 0};

		rng = rng * 1664525 + 1013904223;
		int to = rng >> 16 & 0xff, i = to % SERVERS;
		struct sockaddr_in in = lo(server_port[i]);

		if (round & 1)
			NEED(!connect(s, (void *)&in, sizeof(in)));
		burst = 1 + to % 8;
		for (int k = 0; k < burst; k++) {
			make(&m, server_port[i], rng + k);
			NEED(sendto(s, &m, 12 + m.len, 0, round & 1 ? NULL : (void *)&in,
				    round & 1 ? 0 : sizeof(in)) == 12 + (long)m.len);
		}
		for (int k = 0; k < burst; k++) {
			/* Nothing is lost here: fewer bytes are on the way than a buffer takes. */
			if (poll(&p, 1, 20000) != 1) {
				__atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
				break;
			}
			long n = recv(s, &back, sizeof(back), 0);

			if (!good(&back, n, port))
				__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&echoed, 1, __ATOMIC_RELAXED);
		}
		/* Leaves something behind for a socket that is about to go, or is gone. */
		if (!(round & 7)) {
			in = lo(port);
			make(&m, port, rng);
			sendto(s, &m, 12 + m.len, 0, (void *)&in, sizeof(in));
		}
		close(s);
		if (!(round & 3)) {
			int t = socket(AF_INET, SOCK_DGRAM, 0);

			in = lo(port);
			connect(t, (void *)&in, sizeof(in));
			send(t, "x", 1, 0); /* to whoever has that port now, or nobody */
			send(t, "x", 1, 0);
			close(t);
		}
	}
	return NULL;
}

int main(void)
{
	struct timeval tv = {0, 50000};
	pthread_t st[2 * SERVERS], ct[THREADS];
	unsigned long expected = 0;

	for (int i = 0; i < SERVERS; i++) {
		server[i] = bound(&server_port[i]);
		NEED(!setsockopt(server[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	}
	for (long i = 0; i < 2 * SERVERS; i++)
		st[i] = spawn(serve, (void *)(i / 2));
	for (long i = 0; i < THREADS; i++)
		ct[i] = spawn(client, (void *)i);
	for (int i = 0; i < THREADS; i++) {
		uint32_t rng = i * 7919 + 1;

		for (int r = 0; r < ROUNDS; r++) {
			rng = rng * 1664525 + 1013904223;
			expected += 1 + (rng >> 16 & 0xff) % 8;
		}
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(ct[i], NULL);
	stop = 1;
	for (int i = 0; i < 2 * SERVERS; i++)
		pthread_join(st[i], NULL);
	V(lost);
	T(echoed == expected);
	/* A stray "x" may reach a server or a client whose port had been another's. */
	T(wrong <= 2 * THREADS * ROUNDS / 4);
	return 0;
}
