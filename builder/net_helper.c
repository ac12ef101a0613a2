/*
 * net_helper.c - the process beside `junction run --net` that carries published connections, and in whose
 * network namespace a private scheduler runs.
 *
 *   junction run ---------------- host's network namespace: the published sockets were opened here
 *     |-- helper ---------------- own network namespace (root: that alone; others: a user namespace, too)
 *     |     |                     holds junction0, the scheduler's tap, with the gateway's address
 *     |     `-- junction-scheduler
 *     `-- instance
 *
 * The helper accepts on the sockets of the host's namespace and connects from its own; a socket belongs for
 * ever to the namespace that it was made in. Where a scheduler runs already, there is no namespace of our own
 * and the helper connects from that of `junction run`.
 *
 * Nothing is left behind, however the runner ends: it ends -> the helper gets SIGKILL (PR_SET_PDEATHSIG), or
 * sees its socket closed -> the scheduler, likewise -> the last process of the namespace is gone, and the
 * tap with it. No file is made anywhere.
 *
 * Between runner and helper one packet goes each way: addresses, and "ready". Any other packet is an error line.
 */
#include "builder/net_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "builder/netns.h"
#include "builder/proxy.h"

#define READY "ready"
#define ANSWER_MS 5000 /* the helper's, to the addresses */
#define WORDS_MS 1000 /* until the helper has found out why the scheduler died */
#define PATIENCE_MS 3000 /* for the end of a process that was asked to end */
#define SCHED_CONN_FD 3 /* what the scheduler finds its one client at */

struct helper {
	int runner; /* socket to the runner */
	struct proxy *proxy;
	const struct publish *ports;
	int nr_ports;
	pid_t sched; /* 0: none of our own */
	int sched_pidfd, sched_err; /* its standard error */
	char line[400]; /* the last line that it said there */
	size_t line_len;
	bool line_done;
};

/* Where this program stands, and where the build keeps its programs. */
static int find_scheduler(char *path, size_t size, struct err *e)
{
	static const char *const places[] = {"junction-scheduler", "../bin/junction-scheduler"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n == -1)
		return err_errno(e, "cannot find this program (is /proc mounted?)");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if ((size_t)snprintf(path, size, "%s/%s", self, places[i]) < size && !access(path, X_OK))
			return 0;
	}
	return err_set(e, "no junction-scheduler beside %s/junction; build or install it, or start one elsewhere "
		       "and name its socket with --scheduler", self);
}

static pid_t fork_tied(void)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid && (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != parent))
		_exit(127);
	return pid;
}

static _Noreturn void give_up(const struct helper *h, const struct err *e)
{
	send(h->runner, e->text, strlen(e->text), MSG_NOSIGNAL);
	_exit(1);
}

/* Waits until the process is gone, for so long; then kills it. */
static void await_end(pid_t pid)
{
	const struct timespec tick = {.tv_nsec = 2000000};

	for (int ms = 0; ms < PATIENCE_MS; ms += 2) {
		if (waitpid(pid, NULL, WNOHANG))
			return;
		nanosleep(&tick, NULL);
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
		;
}

/*
 * DPDK insists on a folder while it starts. In a mount namespace of its own that folder stands on a tmpfs that
 * vanishes with the process, also if it is killed in that moment. Where that cannot be, it is in /tmp.
 */
static void private_tmp(void)
{
	if (!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	    !mount("none", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m"))
		setenv("TMPDIR", "/dev/shm", 1);
}

static void start_scheduler(struct helper *h, const char *path, int conn, struct err *e)
{
	int err_pipe[2];

	if (pipe2(err_pipe, O_CLOEXEC | O_NONBLOCK) == -1) {
		err_errno(e, "cannot make a pipe");
		give_up(h, e);
	}
	h->sched = fork_tied();
	if (!h->sched) {
		int fds[] = {err_pipe[1], conn};

		/* Both out of the way of the places that they shall take, which also clears close-on-exec. */
		for (int i = 0; i < 2; i++)
			fds[i] = fcntl(fds[i], F_DUPFD, 10);
		if (fds[0] == -1 || fds[1] == -1 || dup2(fds[0], 2) == -1 || dup2(fds[1], SCHED_CONN_FD) == -1)
			_exit(127);
		fcntl(2, F_SETFL, 0);
		private_tmp();
		syscall(SYS_close_range, SCHED_CONN_FD + 1, ~0u, 0);
		execl(path, path, "--client-fd", "3", "--uplink", "tap:" NET_HELPER_TAP, "--poll=adaptive", NULL);
		dprintf(2, "%s: %s\n", path, strerror(errno));
		_exit(127);
	}
	close(err_pipe[1]);
	close(conn);
	h->sched_err = err_pipe[0];
	h->sched_pidfd = h->sched == -1 ? -1 : syscall(SYS_pidfd_open, h->sched, 0);
	if (h->sched_pidfd == -1) {
		err_errno(e, "cannot start %s", path);
		give_up(h, e);
	}
}

/* Keeps the last whole line of what the scheduler says. */
static void hear_scheduler(struct helper *h)
{
	char buf[512];
	ssize_t n = read(h->sched_err, buf, sizeof(buf));

	if (!n || (n == -1 && errno != EAGAIN && errno != EINTR)) {
		close(h->sched_err);
		h->sched_err = -1;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] == '\n') {
			h->line_done = true;
			continue;
		}
		if (h->line_done)
			h->line_len = 0;
		h->line_done = false;
		if (h->line_len < sizeof(h->line) - 1)
			h->line[h->line_len++] = buf[i];
		h->line[h->line_len] = '\0';
	}
}

static _Noreturn void scheduler_died(struct helper *h, struct err *e)
{
	int status = 0;

	for (int i = 0; i < 64 && h->sched_err != -1; i++)
		hear_scheduler(h);
	waitpid(h->sched, &status, 0);
	if (WIFSIGNALED(status))
		err_set(e, "the private scheduler died of signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		err_set(e, "the private scheduler ended with status %d: %s", WEXITSTATUS(status),
			h->line[0] ? h->line : "it did not say why");
	give_up(h, e);
}

/* The runner's packet: addresses, or its end. */
static void hear_runner(struct helper *h, struct err *e)
{
	struct net_helper_addresses a;
	ssize_t n = recv(h->runner, &a, sizeof(a), 0);

	if (n == -1 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n != sizeof(a)) {
		/* Its connection to the scheduler is closed, too, on which a private one ends by itself. */
		if (h->sched)
			await_end(h->sched);
		_exit(0);
	}
	if (h->sched && netns_add_address(NET_HELPER_TAP, a.gateway, a.prefix, e) == -1)
		give_up(h, e);
	for (int i = 0; i < h->nr_ports; i++) {
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = a.instance,
					 .sin_port = htons(h->ports[i].port)};

		if (proxy_listen(h->proxy, h->ports[i].fd, &to) == -1) {
			err_errno(e, "cannot publish %s", h->ports[i].text);
			give_up(h, e);
		}
	}
	if (send(h->runner, READY, strlen(READY), MSG_NOSIGNAL) == -1)
		_exit(0);
}

static _Noreturn void serve(struct helper *h, struct err *e)
{
	for (;;) {
		struct pollfd p[] = {
			{.fd = h->runner, .events = POLLIN},
			{.fd = proxy_fd(h->proxy), .events = POLLIN},
			{.fd = h->sched_pidfd, .events = POLLIN},
			{.fd = h->sched_err, .events = POLLIN},
		};

		poll(p, 4, proxy_timeout(h->proxy));
		if (p[0].revents)
			hear_runner(h, e);
		if (p[3].revents)
			hear_scheduler(h);
		if (p[2].revents)
			scheduler_died(h, e);
		proxy_work(h->proxy);
	}
}

/* No descriptor of the runner stays open here: a reader of its output must see the end of it. */
static void tidy_descriptors(struct helper *h, struct publish *ports, int *conn)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), next = 3;
	int keep[PUBLISH_MAX + 2], nr = 0;

	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	keep[nr++] = h->runner;
	if (*conn != -1)
		keep[nr++] = *conn;
	for (int i = 0; i < h->nr_ports; i++)
		keep[nr++] = ports[i].fd;
	for (int i = 0; i < nr; i++)
		keep[i] = fcntl(keep[i], F_DUPFD_CLOEXEC, 100 + PUBLISH_MAX);
	for (int i = 0; i < nr; i++)
		dup3(keep[i], next++, O_CLOEXEC);
	syscall(SYS_close_range, next, ~0u, 0);
	next = 3;
	h->runner = next++;
	if (*conn != -1)
		*conn = next++;
	for (int i = 0; i < h->nr_ports; i++)
		ports[i].fd = next++;
}

static _Noreturn void helper_main(const struct publish *open_ports, int nr_ports, int runner, int conn)
{
	static struct publish ports[PUBLISH_MAX];
	struct helper h = {.runner = runner, .ports = ports, .nr_ports = nr_ports, .sched_pidfd = -1, .sched_err = -1};
	char path[PATH_MAX];
	struct err e = {};
	sigset_t none;

	memcpy(ports, open_ports, nr_ports * sizeof(*ports));
	/* Ctrl-C is for the program; we end when the runner does. */
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_NAME, "junction-net");
	tidy_descriptors(&h, ports, &conn);
	if (conn != -1 && (find_scheduler(path, sizeof(path), &e) == -1 || netns_enter(&e) == -1))
		give_up(&h, &e);
	/* A change of identity clears it; that the runner lives still, its socket tells. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	h.proxy = proxy_create();
	if (!h.proxy) {
		err_errno(&e, "cannot make an epoll set");
		give_up(&h, &e);
	}
	if (conn != -1)
		start_scheduler(&h, path, conn, &e);
	serve(&h, &e);
}

int net_helper_start(struct net_helper *h, const struct publish *ports, int nr_ports, int sched_conn, struct err *e)
{
	int pair[2];

	*h = (struct net_helper){.socket = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return err_errno(e, "socketpair");
	h->pid = fork_tied();
	if (!h->pid) {
		close(pair[0]);
		helper_main(ports, nr_ports, pair[1], sched_conn);
	}
	close(pair[1]);
	h->socket = pair[0];
	if (h->pid == -1) {
		err_errno(e, "cannot start a process");
		close(pair[0]);
		h->socket = -1;
		return -1;
	}
	return 0;
}

/* One packet of the helper as text; 0: it has gone without a word; -1: none comes in time. */
static ssize_t hear_helper(const struct net_helper *h, char *buf, size_t size, int timeout_ms)
{
	struct pollfd p = {.fd = h->socket, .events = POLLIN};
	ssize_t n;
	int ret;

	do
		ret = poll(&p, 1, timeout_ms);
	while (ret == -1 && errno == EINTR);
	if (ret <= 0)
		return -1;
	n = recv(h->socket, buf, size - 1, MSG_DONTWAIT);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

int net_helper_go(struct net_helper *h, const struct net_helper_addresses *a, struct err *e)
{
	char text[sizeof(e->text)];
	ssize_t n = -1;

	if (send(h->socket, a, sizeof(*a), MSG_NOSIGNAL) == sizeof(*a))
		n = hear_helper(h, text, sizeof(text), ANSWER_MS);
	if (n > 0 && !strcmp(text, READY))
		return 0;
	if (n > 0)
		return err_set(e, "%s", text);
	return err_set(e, "the helper process for the network %s", n ? "does not answer" : "has died");
}

int net_helper_last_words(struct net_helper *h, struct err *e)
{
	char text[sizeof(e->text)];

	if (h->socket == -1 || hear_helper(h, text, sizeof(text), WORDS_MS) <= 0)
		return 0;
	return err_set(e, "%s", text);
}

void net_helper_stop(struct net_helper *h)
{
	if (h->socket != -1)
		close(h->socket);
	h->socket = -1;
	if (h->pid > 0)
		await_end(h->pid);
	h->pid = 0;
}
