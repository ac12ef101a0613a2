/*
 * rights.h - the descriptors that came with a message (SCM_RIGHTS, unix(7)).
 */
#ifndef JUNCTION_SCHEDULER_RIGHTS_H
#define JUNCTION_SCHEDULER_RIGHTS_H

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The first `max` go into fds, whose rest becomes -1; any others are closed. */
static inline void rights_take(struct msghdr *mh, int *fds, int max)
{
	int nr = 0;

	for (int i = 0; i < max; i++)
		fds[i] = -1;
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		size_t count;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(int));
			if (nr < max)
				fds[nr++] = fd;
			else
				close(fd);
		}
	}
}

#endif
