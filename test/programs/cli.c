/*
 * cli.c - what a program sees of its surroundings and what the command line passes on (test_cli.py).
 *
 *   exit N | die SIG | args... | env NAME | cwd | echo-lines | wait-signal SIG | flood BYTES | forks
 */
#include "t.h"

#include <sys/wait.h>

static volatile int caught;

static void on_signal(int sig)
{
	caught = sig;
}

/* Copies standard input to standard output a line at a time, at once. */
static int echo_lines(void)
{
	char line[256];
	size_t n = 0;
	ssize_t r;

	while ((r = read(0, line + n, 1)) == 1)
		if (line[n++] == '\n' || n == sizeof(line)) {
			if (write(1, line, n) != (ssize_t)n)
				return 1;
			n = 0;
		}
	say("end of file after %zu", n);
	return r != 0;
}

static int wait_signal(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(sig, &sa, NULL);
	say("ready");
	for (int i = 0; i < 500 && !caught; i++)
		sleep_ms(10);
	say("caught %d", caught);
	return 10 + caught;
}

static int flood(long bytes)
{
	static char block[8192];

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)('a' + i % 26);
	while (bytes > 0) {
		ssize_t n = write(1, block, bytes < 8192 ? (size_t)bytes : 8192);

		if (n < 0) {
			dprintf(2, "write: %s\n", t_errname(errno));
			return 7;
		}
		bytes -= n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	char path[256];

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	if (!strcmp(argv[1], "die")) {
		raise(atoi(argv[2]));
		return 0;
	}
	if (!strcmp(argv[1], "env")) {
		S(getenv(argv[2]) ?: "unset");
		return 0;
	}
	if (!strcmp(argv[1], "cwd")) {
		S(getcwd(path, sizeof(path)));
		return 0;
	}
	if (!strcmp(argv[1], "echo-lines"))
		return echo_lines();
	if (!strcmp(argv[1], "wait-signal"))
		return wait_signal(atoi(argv[2]));
	if (!strcmp(argv[1], "flood"))
		return flood(atol(argv[2]));
	for (int i = 0; i < argc; i++)
		say("%d %s", i, i ? argv[i] : "program");
	return 0;
}
