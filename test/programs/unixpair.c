/* unixpair.c - socketpair(AF_UNIX): what event loops use to wake themselves. No network is needed. */
#include "t.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static volatile int pipes;

static void on_pipe(int sig)
{
	pipes++;
}

static int s[2];

static void *late(void *arg)
{
	sleep_ms(10);
	write(s[1], "late", 4);
	return NULL;
}

int main(void)
{
	char buf[256] = "";
	struct pollfd p;
	pthread_t t;
	int v, type;
	socklen_t len = sizeof(type);
	struct iovec iov[2] = { { "ab", 2 }, { "cd", 2 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	signal(SIGPIPE, on_pipe);
	HEAD("stream");
	R(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	R(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &type, &len));
	V(type);
	R(write(s[0], "", 0)); /* nothing arrives, and least of all an end of file */
	R(recv(s[1], buf, 100, MSG_DONTWAIT));
	R(write(s[0], "hello", 5));
	R(read(s[1], buf, 2));
	R(recv(s[1], buf, 100, MSG_PEEK));
	R(recv(s[1], buf, 100, 0));
	S(buf);
	R(recv(s[1], buf, 100, MSG_DONTWAIT));
	R(send(s[1], "back", 4, MSG_NOSIGNAL));
	R(ioctl(s[0], FIONREAD, &v));
	V(v);
	R(sendmsg(s[1], &msg, 0));
	R(recv(s[0], buf, 100, 0));
	say("%.8s", buf);
	R(fcntl(s[0], F_SETFL, O_NONBLOCK));
	R(read(s[0], buf, 1));
	p = (struct pollfd){ s[0], POLLIN | POLLOUT, 0 };
	R(poll(&p, 1, 0));
	V(p.revents);
	fcntl(s[0], F_SETFL, 0);
	t = spawn(late, NULL);
	R(read(s[0], buf, 100));
	pthread_join(t, NULL);
	R(shutdown(s[1], SHUT_WR));
	R(read(s[0], buf, 1));
	R(write(s[1], "x", 1));
	V(pipes);
	R(send(s[1], "x", 1, MSG_NOSIGNAL));
	V(pipes);
	R(write(s[0], "still", 5));
	R(close(s[1]));
	R(write(s[0], "x", 1));
	V(pipes);
	p = (struct pollfd){ s[0], POLLIN | POLLOUT, 0 };
	R(poll(&p, 1, 0));
	T((p.revents & POLLHUP) != 0);
	close(s[0]);

	HEAD("datagram");
	R(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
	R(fcntl(s[0], F_GETFD));
	R(write(s[0], "one", 3));
	R(write(s[0], "second", 6));
	R(read(s[1], buf, 2)); /* the rest of a datagram is lost */
	R(read(s[1], buf, 100));
	R(read(s[1], buf, 100));
	close(s[0]);
	close(s[1]);
	R(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	R(write(s[0], "abc", 3));
	R(write(s[0], "def", 3));
	R(read(s[1], buf, 100));
	close(s[0]);
	R(read(s[1], buf, 100));
	R(read(s[1], buf, 100));
	close(s[1]);

	HEAD("refused");
	R(socketpair(AF_UNIX, 99, 0, s));
	R(socketpair(AF_INET, SOCK_STREAM, 0, s));
	R(socketpair(99, SOCK_STREAM, 0, s));
	R(socket(99, SOCK_STREAM, 0));
	R(send(0, "x", 1, 0));
	R(getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &len));
	return 0;
}
