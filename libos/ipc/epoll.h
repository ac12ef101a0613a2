/*
 * epoll.h - epoll's link with the files that it watches.
 */
#ifndef LIBOS_IPC_EPOLL_H
#define LIBOS_IPC_EPOLL_H

struct file;

/*
 * Takes f out of every epoll set. file_put() calls it for a file with registrations when the last
 * reference is gone, before the file's own release. May sleep.
 */
void epoll_file_release(struct file *f);

#endif
