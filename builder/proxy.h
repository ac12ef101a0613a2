/*
 * proxy.h - carries TCP connections from published sockets to ports of an instance.
 */
#ifndef JUNCTION_BUILDER_PROXY_H
#define JUNCTION_BUILDER_PROXY_H

#include <netinet/in.h>

struct proxy;

/* NULL with errno. */
struct proxy *proxy_create(void);

/*
 * Accepts on `fd`, a non-blocking listening socket, and connects each connection to `target`. 0 or -1 with
 * errno. Sockets are made in the network namespace of the caller of proxy_work(), whatever that of `fd` is.
 */
int proxy_listen(struct proxy *p, int fd, const struct sockaddr_in *target);

/* Readable when there is something to do. */
int proxy_fd(const struct proxy *p);

/* Milliseconds until proxy_work() must be called though proxy_fd() is quiet; -1: never. */
int proxy_timeout(const struct proxy *p);

/* Does what can be done without waiting, a bounded amount of it. */
void proxy_work(struct proxy *p);

#endif
