/*
 * signals.c - restarted and interrupted calls, a handler's stack trace, sigreturn, vfork and clone.
 */
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int ticks, depth_ok;
static int fds[2];

static void on_alarm(int sig)
{
	void *frames[32];

	/*
	 * Out of the handler, through the signal frame, through the blocked call, to main and its
	 * caller.
	 */
	if (backtrace(frames, 32) >= 5)
		depth_ok++;
	if (++ticks == 3 && write(fds[1], "x", 1) != 1)
		_exit(9);
}

static void *looper(void *arg)
{
	for (int i = 0; i < 10000; i++)
		sched_yield();
	return arg;
}

int main(void)
{
	struct itimerval every = {{0, 5000}, {0, 5000}}, never = {0};
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	void *warm[4];
	pthread_t t[3];
	int status;
	pid_t pid;
	char c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	backtrace(warm, 4);
	if (pipe(fds))
		return 1;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	printf("read %zd\n", read(fds[0], &c, 1));
	printf("frames %s\n", depth_ok >= 3 ? "good" : "too few");
	sa.sa_flags = 0;
	sigaction(SIGALRM, &sa, NULL);
	ticks = 100;
	status = read(fds[0], &c, 1);
	printf("interrupted %d %s\n", status, strerror(errno));
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, looper, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);

	pid = vfork();
	if (!pid) {
		execl("/bin/sh", "sh", "-c", "echo vforked; exit 3", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	printf("status %d\n", WEXITSTATUS(status));
	status = system("echo spawned");
	printf("system %d\n", status);
	pid = fork();
	if (!pid)
		abort();
	waitpid(pid, &status, 0);
	printf("aborted %d\n", WTERMSIG(status));
	return 5;
}
