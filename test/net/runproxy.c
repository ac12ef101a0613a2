/*
 * runproxy.c - the proxy of published ports alone: carries 127.0.0.1:PORT to 127.0.0.1:PORT until it is killed.
 *
 *     runproxy LISTEN_PORT TARGET_PORT
 */
#include <arpa/inet.h>
#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "builder/proxy.h"
#include "builder/publish.h"

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct proxy *p = proxy_create();
	struct publish port;
	struct err e = {};
	char text[32];

	if (argc != 3 || !p)
		errx(2, "usage: runproxy LISTEN_PORT TARGET_PORT");
	snprintf(text, sizeof(text), "%s:%s", argv[1], argv[2]);
	if (publish_parse(text, false, &port, &e) == -1 || publish_open(&port, &e) == -1)
		errx(1, "%s", e.text);
	to.sin_port = htons(port.port);
	if (proxy_listen(p, port.fd, &to) == -1)
		err(1, "proxy_listen");
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd pfd = {.fd = proxy_fd(p), .events = POLLIN};

		poll(&pfd, 1, proxy_timeout(p));
		proxy_work(p);
	}
}
