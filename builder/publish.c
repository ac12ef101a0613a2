/*
 * publish.c - ports of an instance on addresses of this host: what --publish says, and its open sockets.
 */
#include "builder/publish.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096 /* the host cuts it down to net.core.somaxconn */

/* 1 to 65535, decimal digits only; 0: not such a number. */
static uint16_t parse_port(const char *s)
{
	uint32_t v = 0;

	if (strlen(s) > 5)
		return 0;
	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + *s - '0';
	return *s || v > UINT16_MAX ? 0 : v;
}

int publish_parse(const char *text, bool remote, struct publish *p, struct err *e)
{
	char copy[64], *addr = "127.0.0.1", *host_port, *port;
	uint16_t outer;

	*p = (struct publish){.text = text, .fd = -1, .host.sin_family = AF_INET};
	if (strlen(text) >= sizeof(copy))
		goto malformed;
	strcpy(copy, text);
	port = strrchr(copy, ':');
	if (!port)
		goto malformed;
	*port++ = '\0';
	host_port = strrchr(copy, ':');
	if (host_port) {
		*host_port++ = '\0';
		addr = copy;
	} else {
		host_port = copy;
	}
	if (strchr(addr, ':'))
		goto malformed;
	outer = parse_port(host_port);
	p->port = parse_port(port);
	if (!outer || !p->port) {
		err_set(e, "--publish %s: %s is not a port from 1 to 65535", text, outer ? port : host_port);
		return -1;
	}
	p->host.sin_port = htons(outer);
	if (inet_pton(AF_INET, addr, &p->host.sin_addr) != 1) {
		err_set(e, "--publish %s: %s is not an IPv4 address", text, addr);
		return -1;
	}
	if (ntohl(p->host.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET && !remote) {
		err_set(e, "--publish %s: %s is reachable from outside this host; use 127.0.0.1, or say "
			"--publish-remote to allow it", text, addr);
		return -1;
	}
	return 0;
malformed:
	err_set(e, "--publish %s: not ADDR:PORT:PORT, as 127.0.0.1:8080:80", text);
	return -1;
}

static const char *advice(int code)
{
	switch (code) {
	case EADDRINUSE:
		return "; choose another port, or end what listens there";
	case EACCES:
		return "; ports below net.ipv4.ip_unprivileged_port_start need root, choose a higher one";
	case EADDRNOTAVAIL:
		return "; use an address of this host, 127.0.0.1 for instance";
	case EMFILE:
		return "; raise ulimit -n";
	}
	return "";
}

int publish_open(struct publish *p, struct err *e)
{
	const int one = 1;
	int fd, saved;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* REUSEADDR: connections of an earlier run in TIME_WAIT are no reason to refuse (ip(7)). */
	if (fd != -1 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) &&
	    !bind(fd, (const struct sockaddr *)&p->host, sizeof(p->host)) && !listen(fd, BACKLOG)) {
		p->fd = fd;
		return 0;
	}
	saved = errno;
	if (fd != -1)
		close(fd);
	err_set(e, "--publish %s: %s%s", p->text, strerror(saved), advice(saved));
	return -1;
}
