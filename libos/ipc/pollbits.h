/*
 * pollbits.h - the event masks that files report, and those that select(2) looks for.
 */
#ifndef LIBOS_IPC_POLLBITS_H
#define LIBOS_IPC_POLLBITS_H

#include <linux/eventpoll.h>

#define POLLIN_BITS (EPOLLIN | EPOLLRDNORM)
#define POLLOUT_BITS (EPOLLOUT | EPOLLWRNORM)

#define SELECT_IN (EPOLLRDNORM | EPOLLRDBAND | EPOLLIN | EPOLLHUP | EPOLLERR)
#define SELECT_OUT (EPOLLWRBAND | EPOLLWRNORM | EPOLLOUT | EPOLLERR)
#define SELECT_EX EPOLLPRI

/* poll(2) alone: the descriptor is not open. */
#define POLLNVAL_BIT 0x20u

#endif
