/*
 * control.c - the control socket: attach, start, statistics, and the end of either side.
 *
 * Every descriptor that we wait for carries its kind and, for those of a client, the slot and
 * generation of its connection, so that an event of one that was closed earlier in the same round
 * finds nobody.
 */
#include "junctiond/scheduler/control.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "junctiond/scheduler/doorbell.h"
#include "junctiond/scheduler/instance.h"
#include "junctiond/scheduler/log.h"
#include "junctiond/scheduler/loop.h"
#include "junctiond/scheduler/port.h"
#include "junctiond/scheduler/protocol.h"
#include "junctiond/scheduler/rights.h"
#include "junctiond/scheduler/stats_memory.h"

#define MAX_CLIENTS (SSTATS_MAX_INSTANCES + 64) /* readers of the statistics too */
#define MAX_FDS 4
#define EVENTS 64

enum kind { K_LISTEN, K_SIGNAL, K_WAKE, K_CLIENT, K_PROCESS };

static struct client {
	int fd; /* -1: free */
	uint32_t generation;
	struct instance *in;
} clients[MAX_CLIENTS];
static uint32_t nr_clients, highest;

static int epoll_fd = -1, listen_fd = -1, signal_fd = -1;
static bool only_client; /* end when it does */
static char socket_path[108];
static ino_t socket_ino;
static bool deaf;	      /* listen_fd is not watched */
static char made_folder[108]; /* empty: it was there before */

static uint64_t tag(enum kind kind, const struct client *c)
{
	uint64_t slot = c ? (uint64_t)(c - clients) : 0,
		 generation = c ? c->generation & 0xffffff : 0;

	return (uint64_t)kind << 56 | generation << 32 | slot;
}

static int watch(int fd, enum kind kind, const struct client *c)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = tag(kind, c)};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

/* The folder of the socket, if it is missing; its parents must exist. */
static int make_folder(const char *path)
{
	char dir[sizeof(socket_path)];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0700) == -1)
		return errno == EEXIST ? 0 : -1;
	strcpy(made_folder, dir);
	return 0;
}

static int listen_at(const char *path, char *err, unsigned err_size)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t old;
	int rc;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		snprintf(err, err_size, "--socket %s: the name is too long; at most 107 characters",
			 path);
		return -1;
	}
	strcpy(sa.sun_path, path);
	if (make_folder(path) < 0) {
		snprintf(err, err_size, "--socket %s: its folder cannot be made: %s", path,
			 strerror(errno));
		return -1;
	}
	/* A socket that nobody answers is of a scheduler that was killed. */
	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listen_fd == -1)
		goto bad;
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode)) {
			snprintf(
				err, err_size,
				"--socket %s: exists and is no socket; remove it or choose another",
				path);
			return -1;
		}
		if (connect(listen_fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 ||
		    errno == EAGAIN) {
			snprintf(err, err_size,
				 "--socket %s: a scheduler answers there already; stop it or "
				 "choose another",
				 path);
			return -1;
		}
		if (errno == ECONNREFUSED)
			unlink(path);
	}
	old = umask(0177);
	rc = bind(listen_fd, (struct sockaddr *)&sa, sizeof(sa));
	umask(old);
	if (rc == -1)
		goto bad;
	strcpy(socket_path, path);
	socket_ino = stat(path, &st) == 0 ? st.st_ino : 0;
	if (listen(listen_fd, 128) == -1)
		goto bad;
	return watch(listen_fd, K_LISTEN, NULL);
bad:
	snprintf(err, err_size, "--socket %s: %s", path, strerror(errno));
	return -1;
}

static struct client *client_add(int fd)
{
	for (uint32_t i = 0; i < MAX_CLIENTS; i++) {
		struct client *c = &clients[i];

		if (i < highest && c->fd != -1)
			continue;
		c->fd = fd;
		c->in = NULL;
		c->generation++;
		if (watch(fd, K_CLIENT, c) == -1) {
			c->fd = -1;
			return NULL;
		}
		if (i >= highest)
			highest = i + 1;
		nr_clients++;
		return c;
	}
	return NULL;
}

static void client_close(struct client *c)
{
	if (c->in) {
		/* The client has the same open pidfd: closing ours would not end its place in the
		 * epoll set. */
		if (c->in->pidfd != -1)
			epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->in->pidfd, NULL);
		instance_detach(c->in);
	}
	c->in = NULL;
	close(c->fd);
	c->fd = -1;
	nr_clients--;
	while (highest && clients[highest - 1].fd == -1)
		highest--;
	if (deaf && watch(listen_fd, K_LISTEN, NULL) == 0)
		deaf = false;
	if (only_client)
		loop_stop();
}

/* Sends one message with at most one descriptor. -1: the client is gone, or does not read. */
static int reply(struct client *c, const struct sched_msg *msg, int fd)
{
	struct iovec iov = {(void *)(uintptr_t)msg, sizeof(*msg)};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd != -1) {
		struct cmsghdr *cm;

		memset(&u, 0, sizeof(u));
		mh.msg_control = u.buf;
		mh.msg_controllen = sizeof(u.buf);
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	}
	return sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(*msg) ? 0 : -1;
}

/* Says what is wrong; the caller closes. */
static void refuse(struct client *c, const char *text)
{
	struct sched_msg msg = {.magic = SCHED_MAGIC, .type = SCHED_ERROR};

	snprintf(msg.text, sizeof(msg.text), "%s", text);
	log_line(LOG_WARN, "control", "request refused", "error=\"%s\"", text);
	reply(c, &msg, -1);
}

/* One message and its descriptors. Bytes received, 0 at the end, -1 with errno. fds not taken are
 * -1. */
static ssize_t receive(int sock, struct sched_msg *msg, int fds[MAX_FDS], bool *cut)
{
	struct iovec iov = {msg, sizeof(*msg)};
	union {
		char buf[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf)};
	ssize_t n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		mh.msg_controllen = 0;
	rights_take(&mh, fds, MAX_FDS);
	*cut = mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	return n;
}

static int do_attach(struct client *c, const struct sched_msg *msg, char *err)
{
	struct sched_msg answer;
	int fd, rc;

	if (c->in) {
		snprintf(err, SCHED_TEXT_MAX,
			 "ATTACH: this connection has an instance already; open another");
		return -1;
	}
	c->in = instance_attach(msg, &answer, &fd, err);
	if (!c->in)
		return -1;
	c->in->conn_fd = c->fd;
	rc = reply(c, &answer, fd);
	close(fd);
	if (rc < 0)
		snprintf(err, SCHED_TEXT_MAX, "the client does not take the answer");
	return rc;
}

static int do_start(struct client *c, int fds[MAX_FDS], char *err)
{
	struct sched_msg answer = {.magic = SCHED_MAGIC, .type = SCHED_STARTED};

	if (!c->in) {
		snprintf(err, SCHED_TEXT_MAX, "START: attach first");
		return -1;
	}
	if (fds[0] == -1 || fds[1] == -1 || fds[2] != -1) {
		snprintf(err, SCHED_TEXT_MAX,
			 "START: two descriptors are needed: control region and pidfd");
		return -1;
	}
	if (instance_start(c->in, fds[0], fds[1], err) < 0)
		return -1;
	fds[0] = fds[1] = -1;
	answer.instance_id = c->in->id;
	if (watch(c->in->pidfd, K_PROCESS, c) == -1) {
		snprintf(err, SCHED_TEXT_MAX, "START: its pidfd cannot be watched");
		return -1;
	}
	return reply(c, &answer, -1);
}

static int do_stats(struct client *c)
{
	struct sched_msg answer = {.magic = SCHED_MAGIC, .type = SCHED_STATS};

	sstats->updated_ns = now_ns();
	return reply(c, &answer, stats_fd());
}

/* One message of a client. False: the connection is to be closed. */
static bool serve(struct client *c)
{
	char err[SCHED_TEXT_MAX] = "";
	struct sched_msg msg;
	int fds[MAX_FDS], rc = -1;
	bool cut = false;
	ssize_t n = receive(c->fd, &msg, fds, &cut);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	if (n != sizeof(msg) || cut || msg.magic != SCHED_MAGIC) {
		snprintf(err, sizeof(err),
			 "not a message of this version of the protocol; is it the same junction?");
	} else {
		msg.name[sizeof(msg.name) - 1] = '\0';
		switch (msg.type) {
		case SCHED_ATTACH:
			rc = do_attach(c, &msg, err);
			break;
		case SCHED_START:
			rc = do_start(c, fds, err);
			break;
		case SCHED_STATS:
			rc = do_stats(c);
			break;
		default:
			snprintf(err, sizeof(err), "unknown kind of message %u", msg.type);
		}
	}
	for (int i = 0; i < MAX_FDS; i++)
		if (fds[i] != -1)
			close(fds[i]);
	if (rc < 0 && err[0])
		refuse(c, err);
	return rc == 0;
}

static void accept_clients(void)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct ucred cred;
		socklen_t len = sizeof(cred);

		if (fd == -1) {
			if (errno != EMFILE && errno != ENFILE)
				return;
			/* It would be readable for ever; until somebody goes. */
			log_line(LOG_WARN, "control", "out of descriptors", "clients=%u",
				 nr_clients);
			epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listen_fd, NULL);
			deaf = true;
			return;
		}
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1 ||
		    (cred.uid != 0 && cred.uid != getuid())) {
			log_line(LOG_WARN, "control", "client of another user refused", "uid=%u",
				 cred.uid);
			close(fd);
		} else if (!client_add(fd)) {
			log_line(LOG_WARN, "control", "too many clients", "clients=%u", nr_clients);
			close(fd);
		}
	}
}

static void take_signal(void)
{
	struct signalfd_siginfo si;

	if (read(signal_fd, &si, sizeof(si)) == sizeof(si)) {
		log_line(LOG_INFO, "control", "stopping", "signal=%u", si.ssi_signo);
		loop_stop();
	}
}

static void handle(const struct epoll_event *ev)
{
	enum kind kind = (enum kind)(ev->data.u64 >> 56);
	struct client *c = &clients[ev->data.u64 & 0xffff];

	switch (kind) {
	case K_LISTEN:
		accept_clients();
		break;
	case K_SIGNAL:
		take_signal();
		break;
	case K_WAKE: /* the loop looks at what woke us */
		break;
	case K_CLIENT:
	case K_PROCESS:
		if (c->fd == -1 || ev->data.u64 != tag(kind, c))
			break;
		if (kind == K_PROCESS)
			log_line(LOG_INFO, "control", "its process has ended", "name=%s id=%u",
				 c->in->stats->name, c->in->id);
		if (kind == K_PROCESS || !serve(c))
			client_close(c);
		break;
	}
}

void control_poll(uint64_t timeout_ns)
{
	struct timespec ts = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
	struct epoll_event ev[EVENTS];
	int n = (int)syscall(SYS_epoll_pwait2, epoll_fd, ev, EVENTS, &ts, NULL, 0);

	if (n == -1 && errno == ENOSYS) /* Linux 5.10 and older: whole milliseconds */
		n = epoll_wait(epoll_fd, ev, EVENTS, (int)((timeout_ns + 999999) / 1000000));
	for (int i = 0; i < n; i++)
		handle(&ev[i]);
}

int control_open(const char *path, int client_fd, char *err, unsigned err_size)
{
	sigset_t set;

	for (uint32_t i = 0; i < MAX_CLIENTS; i++)
		clients[i].fd = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (epoll_fd == -1 || signal_fd == -1 || watch(signal_fd, K_SIGNAL, NULL) == -1 ||
	    watch(doorbell_fd(), K_WAKE, NULL) == -1) {
		snprintf(err, err_size, "epoll: %s", strerror(errno));
		return -1;
	}
	if (port_event_fd() != -1 && watch(port_event_fd(), K_WAKE, NULL) == -1)
		log_line(LOG_WARN, "control", "uplink cannot be slept on", "error=\"%s\"",
			 strerror(errno));
	if (client_fd == -1)
		return listen_at(path, err, err_size);
	only_client = true;
	if (fcntl(client_fd, F_SETFD, FD_CLOEXEC) == -1 || !client_add(client_fd)) {
		snprintf(err, err_size, "--client-fd %d: not a connection: %s", client_fd,
			 strerror(errno));
		return -1;
	}
	return 0;
}

void control_close(void)
{
	struct stat st;

	for (uint32_t i = 0; i < highest; i++)
		if (clients[i].fd != -1)
			client_close(&clients[i]);
	if (listen_fd != -1) {
		/* Ours still? Another scheduler may have taken the place. */
		if (socket_path[0] && stat(socket_path, &st) == 0 && st.st_ino == socket_ino)
			unlink(socket_path);
		if (made_folder[0])
			rmdir(made_folder); /* if it is empty */
		close(listen_fd);
	}
	close(signal_fd);
	close(epoll_fd);
}
