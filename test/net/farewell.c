/*
 * farewell.c - sends and ends at once, without closing anything: what then arrives is the system's
 * business.
 *
 *     farewell ADDR PORT tcp BYTES [kill]    connects, sends, ends by exit(7) or by a signal
 *     farewell ADDR PORT udp                 sends one datagram "farewell"
 *
 * Another thread computes and would write "late" to standard output if it were still there some
 * time after the end.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int ended;

static void *bystander(void *arg)
{
	struct timespec from, now;

	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE))
		;
	clock_gettime(CLOCK_MONOTONIC, &from);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec - from.tv_sec < 2);
	if (write(1, "late\n", 5) != 5)
		perror("late");
	return arg;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	static unsigned char buf[65536];
	int s, stream;
	pthread_t t;

	if (argc < 4 || !inet_aton(argv[1], &to.sin_addr))
		return 2;
	to.sin_port = htons(atoi(argv[2]));
	stream = !strcmp(argv[3], "tcp");
	s = socket(AF_INET, stream ? SOCK_STREAM : SOCK_DGRAM, 0);
	if (s < 0 || connect(s, (void *)&to, sizeof(to))) {
		perror("connect");
		return 1;
	}
	pthread_create(&t, NULL, bystander, NULL);
	if (!stream) {
		send(s, "farewell", 8, 0);
	} else {
		for (size_t left = strtoul(argv[4], NULL, 0), at = 0; left;) {
			size_t n = left < sizeof(buf) ? left : sizeof(buf);

			for (size_t i = 0; i < n; i++)
				buf[i] = (at + i) % 251;
			ssize_t r = write(s, buf, n);

			if (r <= 0) {
				perror("write");
				return 1;
			}
			left -= r;
			at += r;
		}
	}
	__atomic_store_n(&ended, 1, __ATOMIC_RELEASE);
	if (argc > 5)
		kill(getpid(), SIGKILL);
	_exit(7);
}
