/*
 * tmpfile.c - a file under construction that does not survive Ctrl-C.
 */
#include "builder/tmpfile.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
static struct sigaction before[3];
static char doomed[2 * PATH_MAX];

static void remove_and_die(int signo)
{
	unlink(doomed);
	signal(signo, SIG_DFL);
	raise(signo); /* delivered when this handler returns */
}

void tmpfile_remember(const char *path)
{
	struct sigaction sa = {.sa_handler = remove_and_die};

	snprintf(doomed, sizeof(doomed), "%s", path);
	sigemptyset(&sa.sa_mask);
	for (int i = 0; i < 3; i++) {
		sigaction(signals[i], NULL, &before[i]);
		if (before[i].sa_handler == SIG_DFL) /* ignored, by nohup(1) say, stays ignored */
			sigaction(signals[i], &sa, NULL);
	}
}

void tmpfile_forget(void)
{
	for (int i = 0; i < 3; i++)
		sigaction(signals[i], &before[i], NULL);
}
