/*
 * publish.h - ports of an instance on addresses of this host: what --publish says, and its open sockets.
 */
#ifndef JUNCTION_BUILDER_PUBLISH_H
#define JUNCTION_BUILDER_PUBLISH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "builder/err.h"

#define PUBLISH_MAX 64

struct publish {
	const char *text; /* as it was said, for error lines */
	struct sockaddr_in host;
	uint16_t port; /* of the instance, host byte order */
	int fd; /* the listening socket; -1: not open */
};

/*
 * "ADDR:PORT:PORT", or "PORT:PORT" for 127.0.0.1: host's address and port, instance's port. Returns 0, or -1
 * with what is wrong in `e`. Addresses other than loopback are refused unless `remote`.
 */
int publish_parse(const char *text, bool remote, struct publish *p, struct err *e);

/*
 * Opens the listening socket, non-blocking and close-on-exec. Connections wait in it until somebody accepts.
 * 0, or -1 with one line in `e`.
 */
int publish_open(struct publish *p, struct err *e);

#endif
