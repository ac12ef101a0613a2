/*
 * spin.c - computes for ever and makes no system call: `spin [THREADS]`.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *compute(void *arg)
{
	volatile unsigned long n = 0;

	for (;;)
		n++;
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t;

	for (int i = argc > 1 ? atoi(argv[1]) : 1; i > 1; i--)
		pthread_create(&t, NULL, compute, NULL);
	if (write(1, "spins\n", 6) != 6)
		return 1;
	compute(NULL);
	return 0;
}
