/*
 * hello.c - the smallest server that is one: answers each HTTP request on port 8080 and keeps connections open.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";

int main(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(8080)};
	int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = l}, events[64];

	if (l == -1 || ep == -1 || setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(l, (struct sockaddr *)&sin, sizeof(sin)) || listen(l, 128) || epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev)) {
		perror("hello");
		return 1;
	}
	for (;;) {
		int n = epoll_wait(ep, events, 64, -1);

		for (int i = 0; i < n; i++) {
			char buf[4096];
			ssize_t len;
			int s = events[i].data.fd;

			if (s == l) {
				s = accept4(l, NULL, NULL, SOCK_NONBLOCK);
				ev = (struct epoll_event){.events = EPOLLIN, .data.fd = s};
				if (s != -1 && epoll_ctl(ep, EPOLL_CTL_ADD, s, &ev))
					close(s);
				continue;
			}
			len = recv(s, buf, sizeof(buf) - 1, 0);
			if (len == -1 && (errno == EAGAIN || errno == EINTR))
				continue;
			/* Requests here are small and come whole. */
			if (len <= 0 || send(s, answer, sizeof(answer) - 1, MSG_NOSIGNAL) == -1)
				close(s);
		}
	}
}
