/*
 * client.c - the client side of the scheduler's socket (protocol.h).
 */
#include "junctiond/scheduler/client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

__attribute__((format(printf, 2, 3))) static int fail(struct sched_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}

int sched_client_path(const char *path, char *buf, size_t size, struct sched_error *err)
{
	const char *dir;
	int n;

	if (!path || !*path)
		path = getenv(SCHED_SOCKET_ENV);
	if (path && *path) {
		n = snprintf(buf, size, "%s", path);
	} else if (geteuid() == 0) {
		n = snprintf(buf, size, "%s", SCHED_SOCKET_ROOT);
	} else {
		dir = getenv("XDG_RUNTIME_DIR");
		if (!dir || !*dir)
			return fail(
				err,
				"no place for the scheduler's socket: XDG_RUNTIME_DIR is not set; "
				"name one with --socket PATH or $" SCHED_SOCKET_ENV);
		n = snprintf(buf, size, SCHED_SOCKET_USER, dir);
	}
	if (n < 0 || (size_t)n >= size || (size_t)n >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return fail(err, "the scheduler's socket has too long a path (at most %zu bytes)",
			    sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	return 0;
}

int sched_client_connect(const char *path, struct sched_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (sched_client_path(path, addr.sun_path, sizeof(addr.sun_path), err))
		return -1;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(err, "socket: %s", strerror(errno));
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED)
		fail(err,
		     "no scheduler listens at %s; start one (junction-scheduler), or name the "
		     "socket of another in $" SCHED_SOCKET_ENV,
		     addr.sun_path);
	else
		fail(err, "%s: %s", addr.sun_path, strerror(errno));
	close(fd);
	return -1;
}

/* Sends *msg with nr descriptors. */
static int send_msg(int fd, struct sched_msg *msg, const int *fds, size_t nr,
		    struct sched_error *err)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {msg, sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	msg->magic = SCHED_MAGIC;
	if (nr) {
		struct cmsghdr *cm;

		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nr * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nr * sizeof(int));
	}
	do
		n = sendmsg(fd, &mh, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(*msg))
		return 0;
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
		return fail(err, "the scheduler has closed the connection");
	return fail(err, "cannot send to the scheduler: %s", n < 0 ? strerror(errno) : "cut short");
}

/* Takes the descriptors out of a message: the first into *got, any other is closed. */
static void take_fds(struct msghdr *mh, int *got)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		size_t nr;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		nr = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < nr; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
			if (*got < 0)
				*got = fd;
			else
				close(fd);
		}
	}
}

/* Waits for the answer of that type. *got: its descriptor, -1 if it brought none. */
static int receive(int fd, struct sched_msg *msg, uint32_t type, int *got, struct sched_error *err)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = {msg, sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control)};
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	ssize_t n;
	int r;

	*got = -1;
	do
		r = poll(&pfd, 1, SCHED_CLIENT_TIMEOUT_MS);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return fail(err, "the scheduler does not answer; is it stopped?");
	do
		n = r < 0 ? -1 : recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
	while (n < 0 && r > 0 && errno == EINTR);
	if (n == 0)
		return fail(err, "the scheduler has closed the connection");
	if (n < 0)
		return fail(err, "cannot hear from the scheduler: %s", strerror(errno));
	take_fds(&mh, got);
	if (n == (ssize_t)sizeof(*msg) && msg->magic == SCHED_MAGIC) {
		msg->text[sizeof(msg->text) - 1] = 0;
		if (msg->type == type)
			return 0;
		if (msg->type == SCHED_ERROR) {
			fail(err, "the scheduler refuses: %s", msg->text);
			goto out;
		}
	}
	fail(err, "the scheduler answers what is not understood; is it of another version?");
out:
	if (*got >= 0)
		close(*got);
	*got = -1;
	return -1;
}

int sched_client_attach(int fd, struct sched_msg *msg, int *region_fd, struct sched_error *err)
{
	int got;

	msg->type = SCHED_ATTACH;
	if (send_msg(fd, msg, NULL, 0, err) || receive(fd, msg, SCHED_ATTACHED, &got, err))
		return -1;
	if (got < 0)
		return fail(err, "the scheduler sent no region with its answer");
	*region_fd = got;
	return 0;
}

int sched_client_start(int fd, int control_fd, int pidfd, struct sched_error *err)
{
	struct sched_msg msg = {.type = SCHED_START};
	int fds[2] = {control_fd, pidfd};
	int got;

	if (send_msg(fd, &msg, fds, 2, err) || receive(fd, &msg, SCHED_STARTED, &got, err))
		return -1;
	if (got >= 0)
		close(got);
	return 0;
}

int sched_client_stats(int fd, const struct sstats **stats, struct sched_error *err)
{
	struct sched_msg msg = {.type = SCHED_STATS};
	struct stat st;
	void *map;
	int got;

	if (send_msg(fd, &msg, NULL, 0, err) || receive(fd, &msg, SCHED_STATS, &got, err))
		return -1;
	if (got < 0)
		return fail(err, "the scheduler sent no statistics with its answer");
	if (fstat(got, &st) || st.st_size < (off_t)sizeof(**stats)) {
		close(got);
		return fail(
			err,
			"the scheduler's statistics have another size; is it of another version?");
	}
	map = mmap(NULL, sizeof(**stats), PROT_READ, MAP_SHARED, got, 0);
	close(got);
	if (map == MAP_FAILED)
		return fail(err, "cannot map the scheduler's statistics: %s", strerror(errno));
	*stats = map;
	if ((*stats)->magic == SSTATS_MAGIC && (*stats)->version == SSTATS_VERSION &&
	    (*stats)->max_instances == SSTATS_MAX_INSTANCES)
		return 0;
	munmap(map, sizeof(**stats));
	*stats = NULL;
	return fail(err, "the scheduler's statistics are of another version");
}

void sched_client_stats_unmap(const struct sstats *stats)
{
	if (stats)
		munmap((void *)stats, sizeof(*stats));
}
