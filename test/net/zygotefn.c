/*
 * zygotefn.c - a function for the tests of the zygote: does what its arguments say, one after the other.
 *
 *   say TEXT, err TEXT, part TEXT   a line on stdout, on stderr; text without an end of line
 *   bytes                           every byte value, then an end of line
 *   flood N                         N lines of 100 bytes
 *   cat FILE                        its mode and contents
 *   env NAME                        its value
 *   listen PORT                     accepts and answers "pid" or what it is sent, for ever, in a thread
 *   eat MIB, stubborn, sleep S, exit N, kill SIGNAL, segv, stdin
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void *echo(void *arg)
{
	int fd = (int)(long)arg;
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(fd, buf, (size_t)n) != n)
			break;
	close(fd);
	return NULL;
}

static void *serve(void *arg)
{
	int fd = (int)(long)arg, c;
	pthread_t t;

	while ((c = accept(fd, NULL, NULL)) >= 0)
		pthread_create(&t, NULL, echo, (void *)(long)c);
	return NULL;
}

static void listen_at(int port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t t;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 64)) {
		perror("listen");
		exit(9);
	}
	pthread_create(&t, NULL, serve, (void *)(long)fd);
}

static void cat(const char *path)
{
	char buf[65536];
	struct stat st;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		return;
	}
	printf("%o %ld ", st.st_mode & 07777, (long)st.st_size);
	n = read(fd, buf, sizeof(buf));
	fwrite(buf, 1, n > 0 ? (size_t)n : 0, stdout);
	printf("\n");
	close(fd);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 4096);
	for (int i = 1; i < argc; i++) {
		const char *what = argv[i], *arg = argv[i + 1] ? argv[i + 1] : "";
		int number = atoi(arg);

		if (!strcmp(what, "bytes")) {
			for (int b = 0; b < 256; b++)
				if (b != '\n')
					putchar(b);
			putchar('\n');
			continue;
		}
		if (!strcmp(what, "stubborn")) {
			signal(SIGTERM, SIG_IGN);
			continue;
		}
		if (!strcmp(what, "stdin")) {
			printf("stdin %zd\n", read(0, &number, 1));
			continue;
		}
		if (!strcmp(what, "segv"))
			*(volatile int *)strtoul("8", NULL, 0) = 1;
		i++;
		if (!strcmp(what, "say")) {
			printf("%s\n", arg);
		} else if (!strcmp(what, "err")) {
			fprintf(stderr, "%s\n", arg);
		} else if (!strcmp(what, "part")) {
			printf("%s", arg);
			fflush(stdout);
		} else if (!strcmp(what, "flood")) {
			for (int n = 0; n < number; n++)
				printf("%08d %090d\n", n, 0);
		} else if (!strcmp(what, "cat")) {
			cat(arg);
		} else if (!strcmp(what, "env")) {
			printf("%s=%s\n", arg, getenv(arg) ? getenv(arg) : "(none)");
		} else if (!strcmp(what, "listen")) {
			listen_at(number);
		} else if (!strcmp(what, "eat")) {
			for (int n = 0; n < number; n++) {
				memset(malloc(1 << 20), 1, 1 << 20);
				usleep(1000);
			}
		} else if (!strcmp(what, "sleep")) {
			sleep((unsigned)number);
		} else if (!strcmp(what, "exit")) {
			exit(number);
		} else if (!strcmp(what, "kill")) {
			raise(number);
		} else {
			fprintf(stderr, "%s: what?\n", what);
			exit(8);
		}
	}
	return 0;
}
