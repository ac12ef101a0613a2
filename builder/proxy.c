/*
 * proxy.c - carries TCP connections from published sockets to ports of an instance.
 *
 * One thread, one epoll set, edge-triggered: any event of either socket of a connection moves what can be
 * moved in both directions. What one side sends reaches the other in order and whole: bytes, then the end
 * of the stream (half-close), or a reset. A side that does not read holds the other one up after SCRATCH
 * bytes here and what the socket buffers take, never more.
 *
 * A program that has just been started does not listen yet. So until a port has answered for the first time,
 * a connection that is refused is tried again for PATIENCE_MS; from then on a refusal is passed on at once.
 */
#include "builder/proxy.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SCRATCH (64u << 10)
#define BURST (1u << 20) /* bytes of one direction before other connections have their turn */
#define EVENTS 128
#define ACCEPT_BURST 64
#define PATIENCE_MS 5000
#define CONNECT_MS 10000 /* a connection attempt that nobody answers */
#define RETRY_MIN_MS 10
#define RETRY_MAX_MS 200
#define SPARE_FDS 64 /* descriptors that are not connections' */

struct listener {
	struct listener *next;
	int fd;
	struct sockaddr_in target;
	bool seen; /* the port has answered once */
	bool paused; /* out of descriptors: not in the epoll set */
};

struct side {
	int fd;
	char *pending; /* read from the other side, not yet taken by this one; NULL: nothing */
	size_t off, len;
	bool eof; /* it will send no more */
	bool shut; /* we have told it that there will be no more */
};

enum state { WAITING, CONNECTING, OPEN, DEAD };

struct conn {
	struct conn *prev, *next; /* list of waiting and connecting ones, or of those with more to do */
	struct conn *next_dead;
	struct listener *listener;
	struct side client, server;
	enum state state;
	bool queued; /* in the list of those with more to do */
	uint64_t deadline_ms, retry_ms; /* WAITING, CONNECTING */
	uint32_t delay_ms;
};

struct proxy {
	int epfd;
	uint32_t nr, max; /* connections */
	struct listener *listeners;
	struct conn *starting, *busy; /* heads of the two lists */
	struct conn *dead; /* freed when no event of the batch can name them any more */
	char scratch[SCRATCH];
};

/* Events carry a pointer to a listener or a connection; its lowest bits say what socket they are of. */
enum { OF_CLIENT, OF_SERVER, OF_LISTENER, OF_MASK = 3 };

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static void list_add(struct conn **head, struct conn *c)
{
	c->prev = NULL;
	c->next = *head;
	if (c->next)
		c->next->prev = c;
	*head = c;
}

static void list_remove(struct conn **head, struct conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		*head = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->prev = c->next = NULL;
}

static int watch(struct proxy *p, int fd, struct conn *c, uintptr_t which)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				 .data.u64 = (uintptr_t)c | which};

	return epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &ev);
}

static int watch_listener(struct proxy *p, struct listener *l)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uintptr_t)l | OF_LISTENER};

	return epoll_ctl(p->epfd, EPOLL_CTL_ADD, l->fd, &ev);
}

static void close_side(struct side *s, bool reset)
{
	const struct linger abort = {.l_onoff = 1};

	if (s->fd == -1)
		return;
	if (reset)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
	close(s->fd);
	s->fd = -1;
	free(s->pending);
	s->pending = NULL;
}

static void end_conn(struct proxy *p, struct conn *c, bool reset)
{
	if (c->state == DEAD)
		return;
	if (c->state != OPEN)
		list_remove(&p->starting, c);
	else if (c->queued)
		list_remove(&p->busy, c);
	c->state = DEAD;
	close_side(&c->client, reset);
	close_side(&c->server, reset);
	c->next_dead = p->dead;
	p->dead = c;
	p->nr--;
	for (struct listener *l = p->listeners; l; l = l->next)
		if (l->paused && !watch_listener(p, l))
			l->paused = false;
}

/* The attempt failed: wait and try again, while that makes sense. */
static void connect_failed(struct proxy *p, struct conn *c, int error)
{
	uint64_t now = now_ms();

	close_side(&c->server, false);
	if (c->listener->seen || now >= c->deadline_ms ||
	    (error != ECONNREFUSED && error != EHOSTUNREACH && error != ECONNRESET && error != ETIMEDOUT)) {
		end_conn(p, c, true);
		return;
	}
	c->state = WAITING;
	c->retry_ms = now + c->delay_ms;
	c->delay_ms = c->delay_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : c->delay_ms * 2;
}

/* Makes the socket to the instance and begins to connect it. */
static void start_connect(struct proxy *p, struct conn *c)
{
	const struct sockaddr *to = (const struct sockaddr *)&c->listener->target;
	const int one = 1;

	c->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->server.fd == -1) {
		end_conn(p, c, true);
		return;
	}
	c->state = CONNECTING;
	setsockopt(c->server.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if ((connect(c->server.fd, to, sizeof(c->listener->target)) == -1 && errno != EINPROGRESS) ||
	    watch(p, c->server.fd, c, OF_SERVER) == -1)
		connect_failed(p, c, errno);
}

/* Gives `to` what is kept for it. 1: all of it taken, 0: it takes no more now, -1: broken. */
static int flush(struct side *to)
{
	while (to->pending) {
		ssize_t n = send(to->fd, to->pending + to->off, to->len - to->off, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return errno == EAGAIN ? 0 : -1;
		to->off += n;
		if (to->off == to->len) {
			free(to->pending);
			to->pending = NULL;
		}
	}
	return 1;
}

/* Sends `len` bytes, or keeps what is not taken. -1: broken. */
static int pass(struct side *to, const char *data, size_t len)
{
	ssize_t n;

	do
		n = send(to->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n == -1 && errno == EINTR);
	if (n == -1 && errno != EAGAIN)
		return -1;
	if (n == -1)
		n = 0;
	if ((size_t)n == len)
		return 0;
	to->pending = malloc(len - n);
	if (!to->pending)
		return -1;
	memcpy(to->pending, data + n, len - n);
	to->off = 0;
	to->len = len - n;
	return 0;
}

/* One direction, until it stops: 0. 1: there is more, after others had their turn. -1: broken. */
static int copy(struct proxy *p, struct side *from, struct side *to)
{
	size_t moved = 0;

	while (moved < BURST) {
		int ret = flush(to);
		ssize_t n;

		if (ret <= 0)
			return ret;
		if (from->eof) {
			if (!to->shut && shutdown(to->fd, SHUT_WR) == -1 && errno != ENOTCONN)
				return -1;
			to->shut = true;
			return 0;
		}
		n = recv(from->fd, p->scratch, SCRATCH, MSG_DONTWAIT);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return errno == EAGAIN ? 0 : -1;
		if (!n)
			from->eof = true;
		else if (pass(to, p->scratch, n) == -1)
			return -1;
		moved += n;
	}
	return 1;
}

static void pump(struct proxy *p, struct conn *c)
{
	int up = copy(p, &c->client, &c->server), down = up < 0 ? -1 : copy(p, &c->server, &c->client);

	if (up < 0 || down < 0) {
		end_conn(p, c, true);
	} else if (c->client.shut && c->server.shut) {
		end_conn(p, c, false);
	} else if ((up || down) && !c->queued) {
		c->queued = true;
		list_add(&p->busy, c);
	}
}

static void accept_one(struct proxy *p, struct listener *l, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	const int one = 1;

	if (!c) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->listener = l;
	c->client.fd = fd;
	c->server.fd = -1;
	c->state = WAITING;
	c->deadline_ms = now_ms() + PATIENCE_MS;
	c->delay_ms = RETRY_MIN_MS;
	p->nr++;
	list_add(&p->starting, c);
	if (watch(p, fd, c, OF_CLIENT) == -1)
		end_conn(p, c, true);
	else
		start_connect(p, c);
}

static void accept_some(struct proxy *p, struct listener *l)
{
	for (int i = 0; i < ACCEPT_BURST; i++) {
		int fd = -1;

		errno = EMFILE;
		if (p->nr < p->max)
			fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd != -1) {
			accept_one(p, l, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* Full: those that wait stay in the backlog until a connection ends. */
			l->paused = p->nr && !epoll_ctl(p->epfd, EPOLL_CTL_DEL, l->fd, NULL);
			return;
		}
		if (errno == EAGAIN)
			return;
	}
}

static void conn_event(struct proxy *p, struct conn *c, uintptr_t which, uint32_t events)
{
	socklen_t len = sizeof(int);
	int error = 0;

	switch (c->state) {
	case WAITING:
	case CONNECTING:
		/* Data and end of a client wait until there is a server; its reset does not. */
		if (which == OF_CLIENT && events & EPOLLERR)
			end_conn(p, c, true);
		if (which == OF_CLIENT || c->state != CONNECTING)
			return;
		if (getsockopt(c->server.fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1)
			error = errno;
		if (error) {
			connect_failed(p, c, error);
			return;
		}
		if (!(events & EPOLLOUT))
			return;
		list_remove(&p->starting, c);
		c->state = OPEN;
		c->listener->seen = true;
		pump(p, c);
		return;
	case OPEN:
		if (events & EPOLLERR)
			end_conn(p, c, true);
		else
			pump(p, c);
		return;
	case DEAD:
		return;
	}
}

static void run_timers(struct proxy *p)
{
	uint64_t now = p->starting ? now_ms() : 0;
	struct conn *next;

	for (struct conn *c = p->starting; c; c = next) {
		next = c->next;
		if (c->state == CONNECTING) {
			if (now >= c->deadline_ms - PATIENCE_MS + CONNECT_MS)
				end_conn(p, c, true);
		} else if (now >= c->retry_ms) {
			start_connect(p, c);
		}
	}
}

struct proxy *proxy_create(void)
{
	struct proxy *p = calloc(1, sizeof(*p));
	struct rlimit r = {1024, 1024};

	if (!p)
		return NULL;
	p->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epfd == -1) {
		free(p);
		return NULL;
	}
	if (!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
		getrlimit(RLIMIT_NOFILE, &r);
	}
	if (r.rlim_cur > 1u << 20)
		r.rlim_cur = 1u << 20;
	p->max = r.rlim_cur > SPARE_FDS + 2 ? (r.rlim_cur - SPARE_FDS) / 2 : 1;
	return p;
}

int proxy_listen(struct proxy *p, int fd, const struct sockaddr_in *target)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		return -1;
	l->fd = fd;
	l->target = *target;
	if (watch_listener(p, l) == -1) {
		free(l);
		return -1;
	}
	l->next = p->listeners;
	p->listeners = l;
	return 0;
}

int proxy_fd(const struct proxy *p)
{
	return p->epfd;
}

int proxy_timeout(const struct proxy *p)
{
	uint64_t now, best = UINT64_MAX;

	if (p->busy)
		return 0;
	if (!p->starting)
		return -1;
	now = now_ms();
	for (const struct conn *c = p->starting; c; c = c->next) {
		uint64_t at = c->state == CONNECTING ? c->deadline_ms - PATIENCE_MS + CONNECT_MS : c->retry_ms;

		best = at < best ? at : best;
	}
	return best <= now ? 0 : (int)(best - now);
}

void proxy_work(struct proxy *p)
{
	struct epoll_event events[EVENTS];
	struct conn *busy = p->busy, *next;
	int n;

	/* Those that had more to do go first, once each; who still has goes into the new list. */
	p->busy = NULL;
	for (; busy; busy = next) {
		next = busy->next;
		busy->prev = busy->next = NULL;
		busy->queued = false;
		pump(p, busy);
	}
	n = epoll_wait(p->epfd, events, EVENTS, 0);
	for (int i = 0; i < n; i++) {
		uintptr_t tagged = events[i].data.u64;

		if ((tagged & OF_MASK) == OF_LISTENER)
			accept_some(p, (struct listener *)(tagged & ~(uintptr_t)OF_MASK));
		else
			conn_event(p, (struct conn *)(tagged & ~(uintptr_t)OF_MASK), tagged & OF_MASK,
				   events[i].events);
	}
	run_timers(p);
	for (struct conn *c = p->dead; c; c = next) {
		next = c->next_dead;
		free(c);
	}
	p->dead = NULL;
}
