/*
 * sockstress.c - many threads on sockets at once: echoes over TCP and AF_UNIX, connections that come and go, a
 * stream cut into random pieces. Only what must be so on any system is printed.
 */
#include "t.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS 6
#define ROUNDS 200
#define STREAM 4000000

static struct sockaddr_in tcp_addr = { .sin_family = AF_INET };
static struct sockaddr_un unix_addr = { .sun_family = AF_UNIX, .sun_path = "" };

static int server(int family)
{
	int s = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(tcp_addr);

	NEED(s >= 0);
	if (family == AF_INET) {
		tcp_addr.sin_port = 0;
		tcp_addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		NEED(bind(s, (void *)&tcp_addr, len) == 0);
		getsockname(s, (void *)&tcp_addr, &len);
	} else {
		NEED(bind(s, (void *)&unix_addr, sizeof(unix_addr)) == 0);
	}
	NEED(listen(s, 64) == 0);
	return s;
}

static int client(int family)
{
	int s = socket(family, SOCK_STREAM, 0), v = 1;

	NEED(s >= 0);
	if (family == AF_INET) {
		NEED(connect(s, (void *)&tcp_addr, sizeof(tcp_addr)) == 0);
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v));
	} else {
		NEED(connect(s, (void *)&unix_addr, sizeof(unix_addr)) == 0);
	}
	return s;
}

static volatile int stop;

/* Echoes, edge-triggered, until told to stop; two of these share the listener. */
static void *echo_loop(void *arg)
{
	int l = *(int *)arg, ep = epoll_create1(0), n;
	struct epoll_event e[16], ev = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = l };
	static __thread char buf[16384];

	NEED(epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev) == 0);
	while (!stop) {
		n = epoll_wait(ep, e, 16, 20);
		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd, c;
			ssize_t r;

			if (fd == l) {
				while ((c = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
					ev = (struct epoll_event){ EPOLLIN | EPOLLRDHUP | EPOLLET, { .fd = c } };
					NEED(epoll_ctl(ep, EPOLL_CTL_ADD, c, &ev) == 0);
				}
				continue;
			}
			while ((r = recv(fd, buf, sizeof(buf), 0)) > 0)
				for (ssize_t done = 0; done < r;) {
					ssize_t w = send(fd, buf + done, r - done, MSG_NOSIGNAL);
					struct pollfd p = { fd, POLLOUT, 0 };

					if (w > 0)
						done += w;
					else if (errno == EAGAIN)
						poll(&p, 1, 1000);
					else
						break;
				}
			if (r == 0 || (r < 0 && errno != EAGAIN))
				close(fd);
		}
	}
	close(ep);
	return NULL;
}

struct job {
	int family;
	unsigned seed;
	long good;
};

static void *echo_client(void *arg)
{
	struct job *j = arg;
	char out[3000], in[3000];
	int s = -1;

	for (int i = 0; i < ROUNDS; i++) {
		size_t n = 1 + rand_r(&j->seed) % sizeof(out);

		if (s < 0 || rand_r(&j->seed) % 16 == 0) { /* a new connection now and then */
			if (s >= 0)
				close(s);
			s = client(j->family);
		}
		for (size_t k = 0; k < n; k++)
			out[k] = (char)rand_r(&j->seed);
		if (send(s, out, n, 0) == (ssize_t)n && recv(s, in, n, MSG_WAITALL) == (ssize_t)n &&
		    !memcmp(in, out, n))
			j->good++;
	}
	close(s);
	return NULL;
}

static void echoes(int family)
{
	struct job jobs[CLIENTS];
	pthread_t t[CLIENTS], srv[2];
	int l = server(family);
	long good = 0;

	stop = 0;
	for (int i = 0; i < 2; i++)
		srv[i] = spawn(echo_loop, &l);
	for (int i = 0; i < CLIENTS; i++) {
		jobs[i] = (struct job){ family, 100 + i, 0 };
		t[i] = spawn(echo_client, &jobs[i]);
	}
	for (int i = 0; i < CLIENTS; i++) {
		pthread_join(t[i], NULL);
		good += jobs[i].good;
	}
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(srv[i], NULL);
	close(l);
	V(good);
}

static void *stream_writer(void *arg)
{
	int s = *(int *)arg;
	unsigned seed = 7, x = 1;
	static char buf[70000];

	for (long done = 0; done < STREAM;) {
		long n = 1 + rand_r(&seed) % sizeof(buf), w;

		if (n > STREAM - done)
			n = STREAM - done;
		for (long i = 0; i < n; i++)
			buf[i] = (char)((x = x * 1103515245 + 12345) >> 16);
		w = send(s, buf, n, rand_r(&seed) % 4 ? 0 : MSG_MORE);
		NEED(w == n);
		done += n;
	}
	shutdown(s, SHUT_WR);
	return NULL;
}

static void stream(int family)
{
	static char buf[50000], ahead[50000];
	unsigned seed = 9, x = 1;
	long total = 0, bad = 0, n, k;
	int l = server(family), c, s;
	pthread_t t;

	c = client(family);
	sleep_ms(5);
	while ((s = accept(l, NULL, NULL)) < 0)
		sleep_ms(1);
	t = spawn(stream_writer, &c);
	for (;;) {
		size_t want = 1 + rand_r(&seed) % sizeof(buf);

		if (rand_r(&seed) % 8 == 0) {
			k = recv(s, ahead, want, MSG_PEEK);
			n = recv(s, buf, k > 0 ? k : 1, MSG_WAITALL);
			if (n > 0 && (n != k || memcmp(ahead, buf, n)))
				bad++;
		} else {
			n = recv(s, buf, want, rand_r(&seed) % 2 ? MSG_WAITALL : 0);
		}
		if (n <= 0)
			break;
		for (k = 0; k < n; k++)
			bad += buf[k] != (char)((x = x * 1103515245 + 12345) >> 16);
		total += n;
	}
	pthread_join(t, NULL);
	say("read to the end: %ld bytes, %ld wrong", total, bad);
	close(s);
	close(c);
	close(l);
}

int main(void)
{
	snprintf(unix_addr.sun_path + 1, 50, "t.stress.%d", getpid());
	HEAD("echo");
	echoes(AF_INET);
	echoes(AF_UNIX);
	HEAD("stream");
	stream(AF_INET);
	stream(AF_UNIX);
	return 0;
}
