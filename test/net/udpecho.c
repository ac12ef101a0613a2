/*
 * udpecho.c - answers each datagram with what it was, and, on request, tells what it met as a
 * client.
 *
 *   udpecho PORT
 *
 * A datagram that begins with "!" is a request; the answer is a line of text:
 *   !port P     connects to port P of the sender, sends, and says what happened within a second
 *   !host A     sends to address A and says what the error queue has after 5 s at most
 *   !relay A N  sends N bytes to the echo at address A and the port of this one, and says how many
 * came back whole !mtu        the path MTU to the sender !info       address and TTL that the
 * request had
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_MTU
#define IP_MTU 14
#endif
#ifndef IP_RECVERR
#define IP_RECVERR 11
#endif

static char buf[65536], ctl[256], answer[256];

/* Sends "x" from s to `to` and says what error there is within ms. */
static const char *try(int s, const struct sockaddr_in *to, int ms)
{
	struct pollfd p = {s, POLLIN, 0};
	int err = 0;
	socklen_t len = sizeof(err);

	if (connect(s, (const void *)to, sizeof(*to)) || send(s, "x", 1, 0) != 1)
		return strerror(errno);
	poll(&p, 1, ms);
	getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &len);
	return err ? strerror(err) : "nothing";
}

static int port;

/* Bytes of an echo of n that are as they were sent; -1: none within 5 s. */
static int relay(int s, struct sockaddr_in *to, int n)
{
	static char out[65536], in[65536];
	struct pollfd p = {s, POLLIN, 0};
	int same = 0;
	ssize_t r;

	for (int i = 0; i < n; i++)
		out[i] = i * 13 + i / 256;
	out[0] = '.';
	to->sin_port = htons(port);
	if (sendto(s, out, n, 0, (void *)to, sizeof(*to)) != n || poll(&p, 1, 5000) != 1)
		return -1;
	r = recv(s, in, sizeof(in), 0);
	for (int i = 0; i < n && i < r; i++)
		same += in[i] == out[i];
	return same;
}

static void request(struct msghdr *m, const struct sockaddr_in *from)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), v = 1;
	struct sockaddr_in to = *from;
	socklen_t len = sizeof(v);

	if (!strncmp(buf, "!port ", 6)) {
		to.sin_port = htons(atoi(buf + 6));
		snprintf(answer, sizeof(answer), "%s", try(s, &to, 1000));
	} else if (!strncmp(buf, "!host ", 6)) {
		to.sin_addr.s_addr = inet_addr(buf + 6);
		setsockopt(s, IPPROTO_IP, IP_RECVERR, &v, sizeof(v));
		snprintf(answer, sizeof(answer), "%s", try(s, &to, 5000));
	} else if (!strncmp(buf, "!relay ", 7)) {
		char *n = strchr(buf + 7, ' ');

		if (n) {
			*n = 0;
			to.sin_addr.s_addr = inet_addr(buf + 7);
			snprintf(answer, sizeof(answer), "%d", relay(s, &to, atoi(n + 1)));
		}
	} else if (!strcmp(buf, "!mtu")) {
		if (connect(s, (void *)&to, sizeof(to)) ||
		    getsockopt(s, IPPROTO_IP, IP_MTU, &v, &len))
			v = -errno;
		snprintf(answer, sizeof(answer), "%d", v);
	} else if (!strcmp(buf, "!info")) {
		char *at = answer;

		for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
			if (c->cmsg_type == IP_PKTINFO) {
				const struct in_pktinfo *i = (const void *)CMSG_DATA(c);

				at += sprintf(at, "to %s ", inet_ntoa(i->ipi_addr));
			} else if (c->cmsg_type == IP_TTL) {
				at += sprintf(at, "ttl %d ", *(const int *)CMSG_DATA(c));
			}
		}
	}
	close(s);
}

int main(int argc, char **argv)
{
	struct sockaddr_in in = {.sin_family = AF_INET}, from;
	int s = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	port = argc > 1 ? atoi(argv[1]) : 7;
	in.sin_port = htons(port);
	if (s < 0 || bind(s, (void *)&in, sizeof(in)) ||
	    setsockopt(s, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) ||
	    setsockopt(s, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on))) {
		perror("udpecho");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct iovec iov = {buf, sizeof(buf) - 1};
		struct msghdr m = {.msg_name = &from,
				   .msg_namelen = sizeof(from),
				   .msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = ctl,
				   .msg_controllen = sizeof(ctl)};
		ssize_t n = recvmsg(s, &m, 0);

		if (n < 0) {
			perror("recvmsg");
			return 1;
		}
		buf[n] = 0;
		if (buf[0] == '!') {
			answer[0] = 0;
			request(&m, &from);
			sendto(s, answer, strlen(answer), 0, (void *)&from, sizeof(from));
		} else if (sendto(s, buf, n, 0, (void *)&from, sizeof(from)) != n) {
			perror("sendto");
		}
	}
}
