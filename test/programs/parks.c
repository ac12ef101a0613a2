/*
 * parks.c - threads that wait for each other in every way while others compute: datagrams to this host, pipes,
 * futexes, short sleeps. What is lost in a park of the kthread below shows as a hang or a wrong count.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 2

static int rounds = 100;
static int done;
static int counts[4]; /* datagrams, pipes, mutexes, sleeps */

struct pair {
	int a[2], b[2];
	struct sockaddr_in sa, sb;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	int whose;
};

static void count(int what)
{
	__atomic_fetch_add(&counts[what], 1, __ATOMIC_RELAXED);
}

static int udp(struct sockaddr_in *at)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(*at);

	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (s < 0 || bind(s, (void *)at, len) || getsockname(s, (void *)at, &len))
		perror("udp");
	return s;
}

static void *udp_ping(void *arg)
{
	struct pair *p = arg;
	int x = 0;

	for (int i = 0; i < rounds; i++) {
		sendto(p->a[0], &i, sizeof(i), 0, (void *)&p->sb, sizeof(p->sb));
		if (recv(p->a[0], &x, sizeof(x), 0) == sizeof(x) && x == i)
			count(0);
	}
	return NULL;
}

static void *udp_pong(void *arg)
{
	struct pair *p = arg;
	int x;

	for (int i = 0; i < rounds; i++) {
		if (recv(p->b[0], &x, sizeof(x), 0) != sizeof(x))
			perror("recv");
		sendto(p->b[0], &x, sizeof(x), 0, (void *)&p->sa, sizeof(p->sa));
	}
	return NULL;
}

static void *pipe_ping(void *arg)
{
	struct pair *p = arg;
	int x = 0;

	for (int i = 0; i < rounds; i++) {
		if (write(p->a[1], &i, sizeof(i)) == sizeof(i) && read(p->b[0], &x, sizeof(x)) == sizeof(x) && x == i)
			count(1);
	}
	return NULL;
}

static void *pipe_pong(void *arg)
{
	struct pair *p = arg;
	int x;

	for (int i = 0; i < rounds; i++)
		if (read(p->a[0], &x, sizeof(x)) != sizeof(x) || write(p->b[1], &x, sizeof(x)) != sizeof(x))
			perror("pipe");
	return NULL;
}

static void take_turns(struct pair *p, int me)
{
	for (int i = 0; i < rounds; i++) {
		pthread_mutex_lock(&p->lock);
		while (p->whose != me)
			pthread_cond_wait(&p->turn, &p->lock);
		p->whose = !me;
		pthread_cond_signal(&p->turn);
		pthread_mutex_unlock(&p->lock);
		count(2);
	}
}

static void *turns0(void *arg)
{
	take_turns(arg, 0);
	return NULL;
}

static void *turns1(void *arg)
{
	take_turns(arg, 1);
	return NULL;
}

static void *sleeper(void *arg)
{
	for (int i = 0; i < rounds / 10; i++) {
		struct timespec ts = {0, 20000 + i % 7 * 30000};

		if (!nanosleep(&ts, NULL))
			count(3);
	}
	return NULL;
}

static void *spinner(void *arg)
{
	volatile unsigned long n = 0;

	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
		n++;
	return NULL;
}

int main(int argc, char **argv)
{
	static void *(*const kinds[])(void *) = {udp_ping, udp_pong, pipe_ping, pipe_pong, turns0, turns1};
	pthread_t t[PAIRS][6], sleepers[2], spin;
	struct pair pairs[PAIRS][3];

	if (argc > 1)
		rounds = atoi(argv[1]);
	pthread_create(&spin, NULL, spinner, NULL);
	for (int i = 0; i < PAIRS; i++) {
		struct pair *p = pairs[i];

		p[0].a[0] = udp(&p[0].sa);
		p[0].b[0] = udp(&p[0].sb);
		if (pipe(p[1].a) || pipe(p[1].b))
			perror("pipe");
		p[2].whose = 0;
		pthread_mutex_init(&p[2].lock, NULL);
		pthread_cond_init(&p[2].turn, NULL);
		for (int k = 0; k < 6; k++)
			pthread_create(&t[i][k], NULL, kinds[k], &p[k / 2]);
		pthread_create(&sleepers[i], NULL, sleeper, NULL);
	}
	for (int i = 0; i < PAIRS; i++) {
		for (int k = 0; k < 6; k++)
			pthread_join(t[i][k], NULL);
		pthread_join(sleepers[i], NULL);
	}
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	pthread_join(spin, NULL);
	for (int i = 0; i < 4; i++)
		printf("%d%c", counts[i], i < 3 ? ' ' : '\n');
	return 0;
}
