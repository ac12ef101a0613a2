/*
 * cmd_top.c - `junction top`: what the scheduler does, live.
 *
 * The statistics are a memory file that the scheduler writes and we map read-only; the connection
 * stays open only to learn when it ends.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "builder/cmd.h"
#include "builder/top.h"
#include "junctiond/scheduler/client.h"

const char cmd_top_help[] =
	"Usage: junction top [--socket PATH] [--interval SECONDS] [--once] [--json]\n"
	"\n"
	"Shows what a running scheduler does: its loop, uplink, cores and instances. On a terminal "
	"the picture\n"
	"is renewed until q or Ctrl-C.\n"
	"\n"
	"  --socket PATH       the scheduler's socket; default: $JUNCTION_SCHEDULER, else\n"
	"                      /run/junction/scheduler.sock for root and\n"
	"                      $XDG_RUNTIME_DIR/junction/scheduler.sock for others\n"
	"  --interval SECONDS  over which rates are taken; default 1, at least 0.1\n"
	"  --once              one picture, and no more\n"
	"  --json              JSON objects, one a line, instead of pictures\n"
	"\n"
	"CORE%   time that an instance held cores, or its CPU time (adaptive mode); 100 a core\n"
	"DELAY   how long its oldest work waits\n"
	"WAKE50  from wanting a core to running on it, half of the times; WAKE99: 99 %\n"
	"PREEMPT cores taken from it a second\n";

struct options {
	const char *socket;
	double interval; /* s */
	bool once, json;
};

static volatile sig_atomic_t stop;
static struct termios saved;

static void on_signal(int sig)
{
	stop = 1;
}

static int parse(int argc, char **argv, struct options *o, struct err *e)
{
	static const struct option longs[] = {{"socket", 1, NULL, 's'},
					      {"interval", 1, NULL, 'i'},
					      {"once", 0, NULL, 'o'},
					      {"json", 0, NULL, 'j'},
					      {0}};
	char *end;
	int c;

	*o = (struct options){.interval = 1};
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->socket = optarg;
			break;
		case 'i':
			o->interval = strtod(optarg, &end);
			if (end == optarg || *end || !(o->interval >= 0.1 && o->interval <= 3600))
				return cmd_usage(e, "top",
						 "--interval %s: give seconds from 0.1 to 3600",
						 optarg);
			break;
		case 'o':
			o->once = true;
			break;
		case 'j':
			o->json = true;
			break;
		case ':':
			return cmd_usage(e, "top", "%s needs a value", argv[optind - 1]);
		default:
			return cmd_usage(e, "top", "%s: no such option", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return cmd_usage(e, "top", "%s: no argument is expected", argv[optind]);
	return 0;
}

/* The terminal, while we draw on it: other screen, no cursor, keys at once. */
static void terminal_enter(void)
{
	struct termios raw;

	if (!tcgetattr(STDIN_FILENO, &saved)) {
		raw = saved;
		raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	fputs("\033[?1049h\033[?25l", stdout);
}

static void terminal_leave(void)
{
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void draw(const struct top_sample *then, const struct top_sample *now)
{
	struct winsize w = {.ws_row = 24, .ws_col = 80};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_row || !w.ws_col)
		w = (struct winsize){.ws_row = 24, .ws_col = 80};
	fputs("\033[H", stdout);
	/* One row less: a newline in the last one would scroll. */
	top_print(stdout, then, now, w.ws_row - 1u, w.ws_col, "\033[K\n");
	fputs("\033[J", stdout);
	fflush(stdout);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Waits for so long. 1: the user wants out, -1: the scheduler has ended, 0: time is up. */
static int pause_for(int conn, double seconds, bool keys)
{
	uint64_t end = now_ms() + (uint64_t)(seconds * 1000), now;
	struct pollfd p[2] = {{.fd = conn, .events = POLLIN},
			      {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN}};
	char c;

	while (!stop && (now = now_ms()) < end) {
		if (poll(p, 2, (int)(end - now)) < 0 && errno != EINTR)
			return 1;
		if (stop)
			break;
		if (p[0].revents)
			return -1;
		if (p[1].revents && (read(STDIN_FILENO, &c, 1) != 1 || c == 'q' || c == 'Q'))
			return 1;
		p[0].revents = p[1].revents = 0;
	}
	return stop ? 1 : 0;
}

static int watch(int conn, const struct sstats *stats, const struct options *o, bool live,
		 struct err *e)
{
	struct top_sample v[2] = {0};
	int r, i = 0, status = 0;

	if (top_take(stats, &v[0]))
		return err_set(e, "no memory"), CMD_FAILED;
	if (live)
		terminal_enter();
	for (;;) {
		if (live)
			draw(&v[!i], &v[i]);
		r = pause_for(conn, o->interval, live);
		if (r)
			break;
		i = !i;
		if (top_take(stats, &v[i])) {
			err_set(e, "no memory");
			status = CMD_FAILED;
			break;
		}
		if (live)
			continue;
		if (o->json)
			top_print_json(stdout, &v[!i], &v[i]);
		else
			top_print(stdout, &v[!i], &v[i], 0, 0, "\n");
		if (o->once || fflush(stdout) == EOF)
			break;
		if (!o->json)
			putchar('\n');
	}
	if (live)
		terminal_leave();
	if (r < 0) {
		err_set(e, "the scheduler has ended");
		status = CMD_FAILED;
	}
	top_free(&v[0]);
	top_free(&v[1]);
	return status;
}

int cmd_top(int argc, char **argv, struct err *e)
{
	struct sigaction sa = {.sa_handler = on_signal};
	struct sched_error se = {{0}};
	const struct sstats *stats;
	struct options o;
	bool live;
	int conn, status;

	status = parse(argc, argv, &o, e);
	if (status)
		return status;
	conn = sched_client_connect(o.socket, &se);
	if (conn < 0 || sched_client_stats(conn, &stats, &se)) {
		if (conn >= 0)
			close(conn);
		err_set(e, "%s", se.text);
		return CMD_FAILED;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	live = !o.once && !o.json && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
	status = watch(conn, stats, &o, live, e);
	sched_client_stats_unmap(stats);
	close(conn);
	return status;
}
