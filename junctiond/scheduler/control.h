/*
 * control.h - the control socket (protocol.h), and everything else that epoll waits for.
 */
#ifndef JUNCTION_SCHEDULER_CONTROL_H
#define JUNCTION_SCHEDULER_CONTROL_H

#include <stdint.h>

/*
 * Listens at `path` (its folder is made if missing, mode 0700; the socket is 0600), or serves the
 * connection client_fd alone. Signals SIGTERM and SIGINT must be blocked: they are taken here. 0,
 * or -1 with one line in `err`.
 */
int control_open(const char *path, int client_fd, char *err, unsigned err_size);
/* Serves what has come, waiting for at most timeout_ns. */
void control_poll(uint64_t timeout_ns);
/* Closes all connections, detaches all instances, removes the socket. */
void control_close(void);

#endif
