/*
 * client.c - the zygote's socket, and junctiond at its other end.
 *
 * One client at a time. What happens to instances waits in them until the client takes it: a client that connects
 * while instances are there, or ends that nobody was told of, hears of events once it has had its list. A client
 * that does not read answers is dropped; lists and events wait for it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "junctiond/scheduler/rights.h"
#include "junctiond/zygote/zygote.h"
#include "loader/internal.h"

#define SEND_BUFFER (4 << 20)
#define NO_LIST UINT32_MAX
#define MAX_FDS 8

static int listen_fd = -1, client_fd = -1;
static bool hears_events; /* it knows of all instances */
static uint32_t list_next = NO_LIST; /* slot that LIST goes on with */
static uint32_t list_request;
static bool wants_room; /* EPOLLOUT is asked for */
static char socket_path[108];
static ino_t socket_ino;

static struct {
	struct zy_msg msg;
	char text[ZY_MAX_PACKET - sizeof(struct zy_msg) + 1];
} in_packet;

static void drop_client(void)
{
	if (client_fd == -1)
		return;
	loop_unwatch(client_fd);
	close(client_fd);
	client_fd = -1;
	list_next = NO_LIST;
	wants_room = false;
	hears_events = false;
}

/* 0, or -1: the client has no room now (or is gone). `text` NULL: none. */
static int send_msg(struct zy_msg *msg, const char *text, const int *fds, size_t nr_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(ZY_NR_FDS * sizeof(int))];
	} control = {0};
	struct iovec iov[2] = {{msg, sizeof(*msg)}, {(void *)(uintptr_t)text, text ? strlen(text) : 0}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;

	if (client_fd == -1)
		return -1;
	msg->magic = ZY_MAGIC;
	msg->text_len = (uint32_t)iov[1].iov_len;
	if (nr_fds) {
		struct cmsghdr *cm;

		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nr_fds * sizeof(int));
	}
	do
		n = sendmsg(client_fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n == -1 && errno == EINTR);
	if (n >= 0)
		return 0;
	/* The descriptors in flight count too: ETOOMANYREFS passes as the client reads. */
	if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM && errno != ETOOMANYREFS)
		drop_client();
	return -1;
}

/* An answer, which does not wait. */
static void answer(struct zy_msg *msg, const char *text, const int *fds, size_t nr_fds)
{
	if (send_msg(msg, text, fds, nr_fds) == -1 && client_fd != -1) {
		log_line(LOG_WARN, "zygote", "client does not read, dropped", "type=%u", msg->type);
		drop_client();
	}
}

static void refuse(const struct zy_msg *about, const char *text)
{
	struct zy_msg msg = {.type = ZY_ERROR};

	if (about) {
		msg.request = about->request;
		msg.instance = about->instance;
	}
	log_line(LOG_WARN, "zygote", "refused", "instance=%llu error=\"%s\"", (unsigned long long)msg.instance, text);
	answer(&msg, text, NULL, 0);
}

static void want_room(bool wanted)
{
	if (client_fd == -1 || wanted == wants_room)
		return;
	wants_room = wanted;
	loop_unwatch(client_fd);
	if (loop_watch(client_fd, ZK_CLIENT, NULL, EPOLLIN | EPOLLRDHUP | (wanted ? EPOLLOUT : 0)) == -1)
		drop_client();
}

static void fds_of(const struct instance *in, int fds[ZY_NR_FDS])
{
	fds[ZY_FD_PIDFD] = in->proc.pidfd;
	fds[ZY_FD_CONTROL] = in->proc.control_fd;
	fds[ZY_FD_NIC] = in->nic_fd;
	fds[ZY_FD_SCHED] = in->sched_fd;
}

/* As ZY_INSTANCE or ZY_STARTED. */
static int send_instance(struct instance *in, uint32_t type, uint32_t request)
{
	struct zy_msg msg = in->about;
	int fds[ZY_NR_FDS];

	msg.type = type;
	msg.request = request;
	fds_of(in, fds);
	return send_msg(&msg, NULL, fds, ZY_NR_FDS);
}

void client_tell(struct instance *in)
{
	if (!hears_events || list_next != NO_LIST)
		return;
	while (!in->dead && in->nr_told < in->nr_ports) {
		struct zy_msg msg = in->about;

		msg.type = ZY_LISTENING;
		msg.request = 0;
		msg.port = in->ports[in->nr_told];
		if (send_msg(&msg, NULL, NULL, 0) == -1) {
			want_room(true);
			return;
		}
		in->nr_told++;
	}
	if (!in->dead)
		return;
	in->about.request = 0;
	if (send_msg(&in->about, in->text, NULL, 0) == -1)
		want_room(true);
	else
		instance_free(in);
}

/* Goes on with a list, and then with what has waited. */
static void go_on(void)
{
	for (; list_next != NO_LIST && list_next < instance_slots(); list_next++) {
		struct instance *in = instance_at(list_next);

		if (!in || in->dead)
			continue;
		if (send_instance(in, ZY_INSTANCE, list_request) == -1) {
			want_room(true);
			return;
		}
		if (!in->nr_told && in->nr_ports)
			in->nr_told = 1;
	}
	if (list_next != NO_LIST) {
		struct zy_msg end = {.type = ZY_END, .request = list_request};

		if (send_msg(&end, NULL, NULL, 0) == -1) {
			want_room(true);
			return;
		}
		list_next = NO_LIST;
		hears_events = true;
	}
	want_room(false);
	for (uint32_t i = 0; i < instance_slots() && !wants_room && client_fd != -1; i++)
		if (instance_at(i))
			client_tell(instance_at(i));
}

static void do_start(struct zy_msg *msg, char *text, int fds[MAX_FDS])
{
	struct loader_error err = {};
	int image = fds[0];
	struct instance *in;

	if (image == -1 || fds[1] != -1) {
		refuse(msg, "START: one descriptor is needed, that of the image");
		return;
	}
	fds[0] = -1;
	in = start_instance(msg, text, image, &err);
	explicit_bzero(text, msg->text_len); /* secrets */
	if (!in) {
		refuse(msg, err.text);
		return;
	}
	if (send_instance(in, ZY_STARTED, msg->request) == -1 && client_fd != -1) {
		log_line(LOG_WARN, "zygote", "client does not read, dropped", "type=%u", ZY_STARTED);
		drop_client();
	}
	log_line(LOG_INFO, "zygote", "started", "instance=%llu name=%s pid=%d", (unsigned long long)in->number,
		 in->about.name, in->proc.pid);
	start_prepare();
}

static void do_adopt(const struct zy_msg *msg, int fds[MAX_FDS])
{
	struct loader_error err = {};
	struct instance *in;

	for (int i = 0; i < MAX_FDS; i++)
		if ((fds[i] == -1) != (i >= ZY_NR_FDS)) {
			refuse(msg, "ADOPT: four descriptors are needed: pidfd, control region, NIC region, "
				    "connection to the scheduler");
			return;
		}
	in = instance_adopt(msg, fds, &err);
	if (!in) {
		refuse(msg, err.text);
		return;
	}
	for (int i = 0; i < ZY_NR_FDS; i++)
		fds[i] = -1;
	log_line(LOG_INFO, "zygote", "adopted", "instance=%llu name=%s pid=%d", (unsigned long long)in->number,
		 in->about.name, in->proc.pid);
}

static void do_stats(struct zy_msg *msg)
{
	struct instance *in = instance_find(msg->instance);
	struct zy_msg stats;

	if (!in || in->dead) {
		refuse(msg, "STATS: no such instance");
		return;
	}
	stats = in->about;
	stats.type = ZY_STATS;
	stats.request = msg->request;
	instance_usage(in, &stats);
	answer(&stats, NULL, NULL, 0);
}

static void do_stop(struct zy_msg *msg)
{
	struct instance *in = instance_find(msg->instance);

	if (!in)
		refuse(msg, "STOP: no such instance");
	else
		instance_stop(in, msg->grace_ms);
}

/* Of a message that is well formed. */
static void handle(struct zy_msg *msg, char *text, int fds[MAX_FDS])
{
	if ((msg->type == ZY_START || msg->type == ZY_ADOPT) && !name_is_good(msg->name)) {
		refuse(msg, "the name must be FUNCTION.NAMESPACE, of letters, digits, '-' and '_'");
		return;
	}
	switch (msg->type) {
	case ZY_START:
		do_start(msg, text, fds);
		break;
	case ZY_STOP:
		do_stop(msg);
		break;
	case ZY_LIST:
		list_next = 0;
		list_request = msg->request;
		go_on();
		break;
	case ZY_ADOPT:
		do_adopt(msg, fds);
		break;
	case ZY_STATS:
		do_stats(msg);
		break;
	default:
		refuse(msg, "no such type of message; is it the same junction?");
	}
}

/* One message. False: there was none. */
static bool serve(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {&in_packet, sizeof(in_packet) - 1};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(client_fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct zy_msg *msg = &in_packet.msg;
	int fds[MAX_FDS];

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		drop_client();
		return false;
	}
	rights_take(&mh, fds, MAX_FDS);
	if (n < (ssize_t)sizeof(*msg) || mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || msg->magic != ZY_MAGIC ||
	    (size_t)n - sizeof(*msg) != msg->text_len || memchr(msg->name, '\0', sizeof(msg->name)) == NULL) {
		refuse(NULL, "not a message of this version of the protocol; is it the same junction?");
		drop_client();
	} else {
		in_packet.text[msg->text_len] = '\0';
		handle(msg, in_packet.text, fds);
	}
	for (int i = 0; i < MAX_FDS; i++)
		if (fds[i] != -1)
			close(fds[i]);
	return client_fd != -1;
}

void client_event(uint32_t events)
{
	if (client_fd == -1)
		return;
	/* Some at a time, so that instances get their turn. */
	for (int i = 0; i < 16 && events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR); i++)
		if (!serve())
			break;
	if (client_fd != -1 && events & EPOLLOUT)
		go_on();
}

/* Has the client gone, though we have not been told yet? */
static bool has_hung_up(void)
{
	struct pollfd p = {.fd = client_fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0;
}

void client_accept(void)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), size = SEND_BUFFER;
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (fd == -1)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1 || (cred.uid != 0 && cred.uid != getuid())) {
		log_line(LOG_WARN, "zygote", "client of another user refused", "uid=%u", cred.uid);
		close(fd);
		return;
	}
	if (client_fd != -1 && !has_hung_up()) {
		static const char text[] = "another junctiond is connected to this zygote; stop it first";
		struct zy_msg msg = {.magic = ZY_MAGIC, .type = ZY_ERROR, .text_len = sizeof(text) - 1};
		struct iovec iov[2] = {{&msg, sizeof(msg)}, {(void *)(uintptr_t)text, sizeof(text) - 1}};

		if (writev(fd, iov, 2) == -1)
			log_line(LOG_WARN, "zygote", "second client refused", "pid=%d", cred.pid);
		close(fd);
		return;
	}
	drop_client();
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == -1)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	client_fd = fd;
	/* Where there is nothing to list there is nothing to wait for. */
	hears_events = !instance_slots();
	if (loop_watch(fd, ZK_CLIENT, NULL, EPOLLIN | EPOLLRDHUP) == -1)
		drop_client();
}

int client_listen(const char *path, struct loader_error *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t old;
	int rc;

	if (strlen(path) >= sizeof(sa.sun_path))
		return loader_fail(err, "--socket %s: the name is too long; at most 107 characters", path);
	strcpy(sa.sun_path, path);
	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listen_fd == -1)
		return loader_fail_errno(err, errno, "--socket %s", path);
	if (!lstat(path, &st)) {
		if (!S_ISSOCK(st.st_mode))
			return loader_fail(err, "--socket %s: exists and is no socket; remove it or choose another",
					   path);
		/* A socket that nobody answers is of a zygote that was killed. */
		if (!connect(listen_fd, (struct sockaddr *)&sa, sizeof(sa)) || errno == EAGAIN)
			return loader_fail(err, "--socket %s: a zygote answers there already; stop it or choose "
						"another", path);
		if (errno == ECONNREFUSED)
			unlink(path);
	}
	old = umask(0177);
	rc = bind(listen_fd, (struct sockaddr *)&sa, sizeof(sa));
	umask(old);
	if (rc == -1)
		return loader_fail_errno(err, errno, "--socket %s", path);
	strcpy(socket_path, path);
	socket_ino = stat(path, &st) ? 0 : st.st_ino;
	if (listen(listen_fd, 8) == -1 || loop_watch(listen_fd, ZK_LISTEN, NULL, EPOLLIN) == -1)
		return loader_fail_errno(err, errno, "--socket %s", path);
	return 0;
}

void client_close_socket(void)
{
	struct stat st;

	drop_client();
	/* Ours still? Another zygote may have taken the place. */
	if (socket_path[0] && !stat(socket_path, &st) && st.st_ino == socket_ino)
		unlink(socket_path);
	if (listen_fd != -1)
		close(listen_fd);
}
