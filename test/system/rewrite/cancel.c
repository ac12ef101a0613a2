/*
 * cancel.c - POSIX threads, cancellation in blocking calls, and stdio: for musl, dynamic and
 * static.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fds[2];
static sem_t ready;
static int cleaned;

static void clean(void *arg)
{
	cleaned++;
}

static void *blocked(void *arg)
{
	char c;

	pthread_cleanup_push(clean, NULL);
	sem_post(&ready);
	while (read(fds[0], &c, 1) > 0)
		;
	pthread_cleanup_pop(0);
	return NULL;
}

static void *adder(void *arg)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	for (int i = 0; i < 5000; i++) {
		pthread_mutex_lock(&lock);
		++*(int *)arg;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct timespec ts = {0, 1000000};
	pthread_t t[4];
	int sum = 0;
	void *ret;

	if (pipe(fds))
		return 1;
	sem_init(&ready, 0, 0);
	for (int i = 0; i < 20; i++) {
		pthread_create(&t[0], NULL, blocked, NULL);
		sem_wait(&ready);
		if (i & 1)
			nanosleep(&ts, NULL);
		pthread_cancel(t[0]);
		pthread_join(t[0], &ret);
		if (ret != PTHREAD_CANCELED)
			return 2;
	}
	printf("cleaned %d\n", cleaned);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, adder, &sum);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	printf("sum %d argc %d %s\n", sum, argc, argv[argc - 1]);
	raise(SIGCHLD);
	return 11;
}
