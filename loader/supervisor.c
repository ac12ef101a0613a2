/*
 * supervisor.c - `junction run`: one instance in the foreground.
 *
 * One thread sleeps on the doorbell of the control region and does all work. Signal handlers do only
 * what must not wait: they set bits, kick the instance and ring the doorbell, whose change ends the sleep
 * also when the signal came just before it. The instance can change the doorbell too, and so delay its
 * own service, but not the news of its death, which comes when it can change nothing any more.
 */
#include "loader/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "loader/ending.h"
#include "loader/internal.h"
#include "loader/supervisor_io.h"
#include "loader/supervisor_report.h"

#define NR(a) (sizeof(a) / sizeof((a)[0]))
#define MEMORY_PERIOD_NS 100000000l
#define RETRY_PERIOD_NS 10000000l
/* A second fatal signal this long after one that was not taken kills; timeout(1) sends two at once. */
#define PATIENCE_NS 200000000ull
/* Something happened at the socket of the network; not one that is forwarded. */
#define NET_SIGNAL 40

static const int forwarded[] = {SIGHUP,	 SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,   SIGUSR2,
				SIGALRM, SIGCONT, SIGIO,   SIGPWR,  SIGVTALRM, SIGPROF};

/* What the signal handlers need. */
static struct {
	struct control *control;
	int pidfd;
	volatile sig_atomic_t child_changed, stop_wanted, winsize_changed, net_changed;
	volatile sig_atomic_t killed_for; /* the signal that the instance would not take */
	uint64_t sent_ns[65]; /* when a signal was handed over */
} shared = {.pidfd = -1};

static void forward(int sig)
{
	uint64_t now = loader_now_ns();
	bool fatal = sig == SIGINT || sig == SIGTERM || sig == SIGQUIT || sig == SIGHUP;

	if (!ring_signal(shared.control, shared.pidfd, sig)) {
		if (fatal && now - shared.sent_ns[sig] > PATIENCE_NS) {
			shared.killed_for = sig;
			syscall(SYS_pidfd_send_signal, shared.pidfd, SIGKILL, NULL, 0);
		}
	} else {
		shared.sent_ns[sig] = now;
	}
}

static void on_signal(int sig)
{
	int saved = errno;

	switch (sig) {
	case SIGCHLD:
		shared.child_changed = 1;
		break;
	case SIGTSTP:
		shared.stop_wanted = 1;
		break;
	case SIGWINCH:
		shared.winsize_changed = 1;
		break;
	case NET_SIGNAL:
		shared.net_changed = 1;
		break;
	default:
		forward(sig);
	}
	/* The main thread runs this: its sleep ends by itself, or does not begin if the word changed. */
	__atomic_fetch_add(&shared.control->doorbell, 1, __ATOMIC_SEQ_CST);
	errno = saved;
}

/* Signals that were ignored when we started stay ignored, as they would for the program itself. */
static void take_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal}, old;
	sigset_t set;

	sigfillset(&sa.sa_mask);
	sigemptyset(&set);
	for (size_t i = 0; i < NR(forwarded); i++) {
		sigaddset(&set, forwarded[i]);
		sigaction(forwarded[i], &sa, &old);
		if (old.sa_handler == SIG_IGN)
			sigaction(forwarded[i], &old, NULL);
	}
	sigaction(SIGTSTP, &sa, &old);
	if (old.sa_handler == SIG_IGN)
		sigaction(SIGTSTP, &old, NULL);
	sigaction(SIGWINCH, &sa, NULL);
	sigaction(SIGCHLD, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* While the last bytes are written, a reader that takes none must not make us immortal. */
static void give_signals_back(void)
{
	struct sigaction sa = {.sa_handler = SIG_DFL}, old;

	for (size_t i = 0; i < NR(forwarded); i++)
		if (!sigaction(forwarded[i], NULL, &old) && old.sa_handler == on_signal)
			sigaction(forwarded[i], &sa, NULL);
	sigaction(SIGTSTP, &sa, NULL);
	sigaction(SIGCHLD, &sa, NULL);
}

static void read_winsize(struct ctl_winsize *w)
{
	struct winsize ws;

	for (int fd = 0; fd < 3; fd++)
		if (!ioctl(fd, TIOCGWINSZ, &ws)) {
			*w = (struct ctl_winsize){ws.ws_row, ws.ws_col, ws.ws_xpixel, ws.ws_ypixel};
			return;
		}
}

static uint32_t stream_kind(const struct stat *st, int fd)
{
	if (S_ISREG(st->st_mode))
		return CTL_STREAM_FILE;
	if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3))
		return CTL_STREAM_NULL;
	return S_ISCHR(st->st_mode) && isatty(fd) ? CTL_STREAM_TTY : CTL_STREAM_PIPE;
}

void supervisor_look_at_streams(struct supervisor_streams *s)
{
	struct stat st[3] = {};
	bool tty = false;

	*s = (struct supervisor_streams){};
	for (int fd = 0; fd < 3; fd++) {
		if (fstat(fd, &st[fd]) == -1) {
			s->kind[fd] = CTL_STREAM_CLOSED;
			/* The lowest free number is this one. */
			if (open("/dev/null", O_RDWR) == -1)
				continue;
		} else {
			s->kind[fd] = stream_kind(&st[fd], fd);
			tty |= s->kind[fd] == CTL_STREAM_TTY;
		}
	}
	if (tty)
		read_winsize(&s->winsize);
	if (s->kind[1] == CTL_STREAM_CLOSED || s->kind[2] == CTL_STREAM_CLOSED ||
	    st[1].st_dev != st[2].st_dev || st[1].st_ino != st[2].st_ino)
		return;
	/* A file that was opened twice has two positions; of the others one inode is one stream. */
	s->stderr_is_stdout = s->kind[1] != CTL_STREAM_FILE ||
			      !syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 1, 2);
}

/* Ctrl-Z: the instance first, then ourselves; the shell takes over until it sends SIGCONT. */
static void stop_and_continue(pid_t pid)
{
	shared.stop_wanted = 0;
	kill(pid, SIGSTOP);
	raise(SIGSTOP);
	kill(pid, SIGCONT);
}

static void pass_winsize(void)
{
	shared.winsize_changed = 0;
	read_winsize(&shared.control->boot.winsize);
	__atomic_fetch_add(&shared.control->winsize_seq, 1, __ATOMIC_SEQ_CST);
	forward(SIGWINCH);
}

/* True when the instance has died; it is reaped then. */
static bool reap(const struct loader_instance *inst, int *wstatus)
{
	pid_t pid;

	shared.child_changed = 0;
	pid = waitpid(inst->pid, wstatus, WNOHANG);
	if (pid == -1 && errno == ECHILD) {
		*wstatus = SIGKILL; /* somebody else reaped it: it is gone, nobody knows how */
		return true;
	}
	return pid == inst->pid;
}

static void wait_doorbell(struct control *control, uint32_t seen, long timeout_ns)
{
	struct timespec ts = {.tv_nsec = timeout_ns};

	__atomic_store_n(&control->supervisor_waiting, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &control->doorbell, FUTEX_WAIT, seen, timeout_ns ? &ts : NULL, NULL, 0);
	__atomic_store_n(&control->supervisor_waiting, 0, __ATOMIC_SEQ_CST);
}

/* Why the supervisor itself ended the instance. */
enum verdict { VERDICT_NONE, VERDICT_MEMORY, VERDICT_PROTOCOL, VERDICT_NETWORK };

/* Asks for NET_SIGNAL whenever the other end of one of the sockets does something. */
static int watch_net(const struct supervisor_net *net, struct loader_error *err)
{
	struct sigaction sa = {.sa_handler = on_signal};
	sigset_t set;

	sigfillset(&sa.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, NET_SIGNAL);
	shared.net_changed = 1; /* look once, also if it happened before we were told */
	if (sigaction(NET_SIGNAL, &sa, NULL) == -1 || sigprocmask(SIG_UNBLOCK, &set, NULL) == -1)
		goto fail;
	for (size_t i = 0; i < NR(net->sockets); i++) {
		int fd = net->sockets[i];

		if (fd != -1 && (fcntl(fd, F_SETOWN, getpid()) == -1 || fcntl(fd, F_SETSIG, NET_SIGNAL) == -1 ||
				 fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == -1))
			goto fail;
	}
	return 0;
fail:
	return loader_fail_errno(err, errno, "cannot watch the connection to the scheduler");
}

/*
 * True when the other end has gone while the instance lives; nothing else is expected from there. The
 * death of the instance is a reason to go, and is seen here no later than there.
 */
static bool net_gone(const struct supervisor_net *net)
{
	struct pollfd p[] = {
		{.fd = net->sockets[0], .events = POLLIN},
		{.fd = net->sockets[1], .events = POLLIN},
		{.fd = shared.pidfd, .events = POLLIN},
	};

	shared.net_changed = 0;
	return poll(p, 2, 0) > 0 && poll(p + 2, 1, 0) <= 0;
}

/* The rest of the start where there is a network. On failure nothing of the instance is left. */
static int start_net(struct loader_instance *inst, const struct supervisor_net *net, struct loader_error *err)
{
	if (!net->started(net->arg, inst, err) && !watch_net(net, err))
		return 0;
	syscall(SYS_pidfd_send_signal, inst->pidfd, SIGKILL, NULL, 0);
	while (waitpid(inst->pid, NULL, 0) == -1 && errno == EINTR)
		;
	net->ended(net->arg);
	return -1;
}

/* Serves the instance until it is dead and reaped. */
static enum verdict serve(struct loader_instance *inst, struct sio *io,
			  const struct supervisor_options *opt, int *wstatus)
{
	enum verdict verdict = VERDICT_NONE;
	uint64_t next_check = 0;

	for (;;) {
		uint32_t seen = __atomic_load_n(&inst->control->doorbell, __ATOMIC_SEQ_CST);
		long timeout = 0;
		int moved = 0;

		if (shared.child_changed && reap(inst, wstatus))
			return verdict;
		if (shared.stop_wanted)
			stop_and_continue(inst->pid);
		if (shared.winsize_changed)
			pass_winsize();
		if (shared.net_changed && net_gone(&opt->net))
			verdict = VERDICT_NETWORK;
		if (!verdict)
			moved = sio_pump(io);
		if (moved < 0)
			verdict = VERDICT_PROTOCOL;
		if (opt->memory_limit && !verdict) {
			uint64_t now = loader_now_ns();

			if (now >= next_check) {
				next_check = now + MEMORY_PERIOD_NS;
				if (loader_memory_used(inst) > opt->memory_limit)
					verdict = VERDICT_MEMORY;
			}
			timeout = MEMORY_PERIOD_NS;
		}
		if (verdict)
			syscall(SYS_pidfd_send_signal, inst->pidfd, SIGKILL, NULL, 0);
		if (io->must_retry)
			timeout = RETRY_PERIOD_NS;
		if (moved <= 0)
			wait_doorbell(inst->control, seen, timeout);
	}
}

/* Ends this process as the program ended, so that a shell or make sees the same. */
static int die_by(int sig)
{
	struct rlimit none = {0, 0};
	sigset_t set;

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return 128 + sig;
}

/* The first write error that is not "the reader has gone", which is the program's own business. */
static int lost_output(const struct sio *io, const struct supervisor_streams *streams)
{
	for (int i = 0; i < SIO_LOG; i++)
		if (io->out[i].error && io->out[i].error != EPIPE &&
		    streams->kind[i + 1] != CTL_STREAM_CLOSED)
			return io->out[i].error;
	return 0;
}

/* An error of the loader, which does not know the image's name. Returns the exit status. */
static int cannot_start(struct loader_error *err, const char *name)
{
	struct loader_error plain = *err;

	loader_fail(err, "%s: %s", name, plain.text);
	return SUPERVISOR_CANNOT_START;
}

static int finish(const struct loader_instance *inst, const struct sio *io, enum verdict verdict,
		  int wstatus, const struct supervisor_streams *streams,
		  const struct supervisor_options *opt, struct loader_error *err)
{
	struct loader_error why = {};
	struct loader_ending end;
	int lost;

	loader_ended(inst, wstatus, &end, &why);
	if (end.how == LOADER_NOT_STARTED) {
		*err = why;
		return cannot_start(err, opt->name);
	}
	if (verdict == VERDICT_MEMORY) {
		loader_fail(err, "%s: out of memory, more than %llu MiB in use; raise --memory", opt->name,
			    (unsigned long long)opt->memory_limit >> 20);
		return 128 + SIGKILL;
	}
	if (verdict == VERDICT_PROTOCOL) {
		loader_fail(err, "%s: the instance broke the protocol of its rings and was killed",
			    opt->name);
		return SUPERVISOR_FAILED;
	}
	if (verdict == VERDICT_NETWORK) {
		opt->net.lost(opt->net.arg, &why);
		loader_fail(err, "%s: %s", opt->name, why.text);
		return SUPERVISOR_FAILED;
	}
	if (shared.killed_for) {
		loader_fail(err, "%s: killed, it did not take signal %d (%s)", opt->name,
			    (int)shared.killed_for, strsignal(shared.killed_for));
		return 128 + shared.killed_for;
	}
	switch (end.how) {
	case LOADER_EXITED:
		break;
	case LOADER_SIGNALED:
		return 256 + end.value % 65;
	default:
		loader_fail(err, "%s: %s", opt->name, why.text);
		return end.how == LOADER_BROKEN ? SUPERVISOR_FAILED : 128 + end.value;
	}
	/* A program that failed may have said so itself; one that succeeded did not know. */
	lost = lost_output(io, streams);
	if (lost && !end.value) {
		loader_fail(err, "%s: output was lost: %s", opt->name, strerror(lost));
		return 1;
	}
	return end.value;
}

int supervisor_run(struct loader_config *cfg, const struct supervisor_streams *streams,
		   const struct supervisor_options *opt, struct loader_error *err)
{
	struct supervisor_times times = {.started = opt->started_ns, .opened = opt->opened_ns};
	struct loader_instance inst;
	enum verdict verdict;
	int wstatus = 0, ret;
	struct sio io;

	memcpy(cfg->stream_kind, streams->kind, sizeof(cfg->stream_kind));
	cfg->winsize = streams->winsize;
	if (streams->stderr_is_stdout)
		cfg->flags |= CTL_BOOT_STDERR_IS_STDOUT;
	/* Inherited as ignored, it would let the kernel reap the instance before we can. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN);
	if (loader_spawn(cfg, &inst, err) == -1)
		return cannot_start(err, opt->name);
	times.spawned = inst.spawned_ns;
	shared.control = inst.control;
	shared.pidfd = inst.pidfd;
	take_signals();
	shared.child_changed = 1; /* it may have died before SIGCHLD was ours */
	if (opt->net.started && start_net(&inst, &opt->net, err) == -1)
		return cannot_start(err, opt->name);
	sio_init(&io, &inst, streams);

	verdict = serve(&inst, &io, opt, &wstatus);
	times.dead = loader_now_ns();
	if (!verdict && sio_has_output(&io)) {
		give_signals_back();
		sio_drain(&io);
	}
	ret = finish(&inst, &io, verdict, wstatus, streams, opt, err);
	if (opt->net.ended)
		opt->net.ended(opt->net.arg);
	if (opt->stats)
		supervisor_print_stats(&inst.control->stats, &times, loader_memory_used(&inst),
				       opt->stats == SUPERVISOR_STATS_JSON);
	/* A poller may still look at the control region: exit takes it, and the memory with it. */
	if (ret > 256)
		return die_by(ret - 256);
	return ret;
}
