/* spawn.c - spawn N COMMAND...: wall time from posix_spawn to reaped, as JSON: min, p50, p99 in ms. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t fa;
	int n = argc > 2 ? atoi(argv[1]) : 0;
	double *ms = calloc(n > 0 ? n : 1, sizeof(*ms));

	if (n < 1 || !ms)
		return 2;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	for (int i = 0; i < n; i++) {
		struct timespec a, b;
		int status;
		pid_t pid;

		clock_gettime(CLOCK_MONOTONIC, &a);
		if (posix_spawnp(&pid, argv[2], &fa, NULL, argv + 2, environ) ||
		    waitpid(pid, &status, 0) != pid)
			return 1;
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (status) {
			fprintf(stderr, "spawn: %s: status %x\n", argv[2], status);
			return 1;
		}
		ms[i] = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
	}
	qsort(ms, n, sizeof(*ms), by_value);
	printf("{\"runs\": %d, \"min\": %.3f, \"p50\": %.3f, \"p99\": %.3f}\n", n, ms[0], ms[n / 2],
	       ms[n * 99 / 100]);
	return 0;
}
