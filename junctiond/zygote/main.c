/*
 * main.c - junction-zygote: options, and the loop.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "junctiond/zygote/zygote.h"

#define EVENTS 64
#define NO_TIME UINT64_MAX
#define GRACE_MS 2000u

struct zy_config config;

static const char help[] =
	"junction-zygote: starts and minds instances for junctiond\n"
	"\n"
	"  --rundir DIR           where sockets stand; default /run/junction\n"
	"  --socket PATH          where junctiond connects; default RUNDIR/zygote.sock\n"
	"  --scheduler SOCKET     of the scheduler; default RUNDIR/scheduler.sock\n"
	"  --logdir DIR           DIR/NAMESPACE/FUNCTION/INSTANCE.log; default /var/lib/junction/logs\n"
	"  --log-format text | json, --log-level error | warn | info | debug\n"
	"\n"
	"SIGTERM and SIGINT end it and all its instances. When it is killed, instances live on, and another zygote\n"
	"can take them over.\n";

enum { O_RUNDIR = 256, O_SOCKET, O_SCHEDULER, O_LOGDIR, O_LOG_FORMAT, O_LOG_LEVEL };

static const struct option options[] = {
	{"rundir", 1, NULL, O_RUNDIR},	       {"socket", 1, NULL, O_SOCKET},
	{"scheduler", 1, NULL, O_SCHEDULER},   {"logdir", 1, NULL, O_LOGDIR},
	{"log-format", 1, NULL, O_LOG_FORMAT}, {"log-level", 1, NULL, O_LOG_LEVEL},
	{"help", 0, NULL, 'h'},		       {0},
};

static int epoll_fd = -1, signal_fd = -1;
static uint64_t next_wake = NO_TIME;
static bool stopping;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("junction-zygote: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(1);
}

/* kind, generation and slot in one word, so that an event of an instance that went in the same round finds nobody. */
int loop_watch(int fd, enum zy_kind kind, const struct instance *in, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)kind << 56};

	if (in)
		ev.data.u64 |= (uint64_t)in->generation << 32 | in->slot;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

void loop_unwatch(int fd)
{
	/* junctiond holds the same open files, so closing ours would not end their place in the set. */
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void loop_wake_at(uint64_t ns)
{
	if (ns < next_wake)
		next_wake = ns;
}

static void take_signal(void)
{
	struct signalfd_siginfo si;

	if (read(signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	log_line(LOG_INFO, "zygote", "stopping", "signal=%u instances=%u", si.ssi_signo, instance_living());
	instance_stop_all(stopping ? 0 : GRACE_MS);
	stopping = true;
}

static void dispatch(const struct epoll_event *ev)
{
	enum zy_kind kind = (enum zy_kind)(ev->data.u64 >> 56);
	uint32_t generation = ev->data.u64 >> 32 & 0xffffff;
	struct instance *in;

	switch (kind) {
	case ZK_LISTEN:
		client_accept();
		break;
	case ZK_CLIENT:
		client_event(ev->events);
		break;
	case ZK_SIGNAL:
		take_signal();
		break;
	case ZK_DOORBELL: /* the loop looks at them */
		break;
	case ZK_PROCESS:
	case ZK_SCHED:
		in = instance_at((uint32_t)ev->data.u64);
		if (!in || in->generation != generation || in->dead)
			break;
		if (kind == ZK_PROCESS)
			instance_ended(in);
		else
			instance_lost_scheduler(in);
		break;
	}
}

static int timeout_ms(void)
{
	uint64_t now = loader_now_ns();

	if (next_wake == NO_TIME)
		return -1;
	if (next_wake <= now)
		return 0;
	return (int)((next_wake - now) / 1000000 + 1);
}

static void loop(void)
{
	struct epoll_event ev[EVENTS];
	uint64_t now;
	int n;

	while (!stopping || instance_living()) {
		doorbell_sleep(true);
		n = epoll_wait(epoll_fd, ev, EVENTS, doorbell_rung() ? 0 : timeout_ms());
		doorbell_sleep(false);
		doorbell_take(instance_rang);
		for (int i = 0; i < n; i++)
			dispatch(&ev[i]);
		now = loader_now_ns();
		if (now >= next_wake) {
			next_wake = NO_TIME;
			instance_tick(now);
		}
	}
}

static void make_rundir(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0700) == -1 && errno != EEXIST)
		die("--rundir %s: %s; make the folder above it", dir, strerror(errno));
	if (stat(dir, &st) == -1 || !S_ISDIR(st.st_mode))
		die("--rundir %s: not a folder", dir);
	if (st.st_uid != geteuid() || st.st_mode & 022)
		die("--rundir %s: must be yours, and not writable by others; chmod 0700", dir);
}

static void set_up(void)
{
	struct rlimit files;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	/* Ignored by whoever started us, the kernel would reap instances before we can. */
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* An instance takes seven descriptors. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (epoll_fd == -1 || signal_fd == -1 || doorbell_init() == -1 ||
	    loop_watch(signal_fd, ZK_SIGNAL, NULL, EPOLLIN) == -1 ||
	    loop_watch(doorbell_fd(), ZK_DOORBELL, NULL, EPOLLIN) == -1)
		die("cannot make its event loop: %s", strerror(errno));
}

static const char *in_dir(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) == -1)
		die("out of memory");
	return path;
}

int main(int argc, char **argv)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	const char *rundir = "/run/junction", *socket = NULL;
	struct loader_error err = {};
	unsigned level;
	int c;

	config.logdir = "/var/lib/junction/logs";
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case O_RUNDIR:
			rundir = optarg;
			break;
		case O_SOCKET:
			socket = optarg;
			break;
		case O_SCHEDULER:
			config.scheduler = optarg;
			break;
		case O_LOGDIR:
			config.logdir = optarg;
			break;
		case O_LOG_FORMAT:
			log_json = !strcmp(optarg, "json");
			if (!log_json && strcmp(optarg, "text"))
				die("--log-format %s: text or json", optarg);
			break;
		case O_LOG_LEVEL:
			for (level = 0; level < 4 && strcmp(optarg, levels[level]); level++)
				;
			if (level == 4)
				die("--log-level %s: error, warn, info or debug", optarg);
			log_max = (enum log_level)level;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			die("%s: %s; --help lists the options", argv[optind - 1],
			    c == ':' ? "needs a value" : "no such option");
		}
	}
	if (optind != argc)
		die("%s: no such option; --help lists the options", argv[optind]);
	make_rundir(rundir);
	if (!socket)
		socket = in_dir(rundir, "zygote.sock");
	if (!config.scheduler)
		config.scheduler = in_dir(rundir, "scheduler.sock");
	set_up();
	if (client_listen(socket, &err) == -1)
		die("%s", err.text);
	start_prepare();
	log_line(LOG_INFO, "zygote", "listening", "socket=%s", socket);
	loop();
	client_close_socket();
	doorbell_exit();
	return 0;
}
