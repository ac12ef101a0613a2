/*
 * stdio.h - standard input, output and error: byte rings shared with the supervisor.
 */
#ifndef LIBOS_FS_STDIO_H
#define LIBOS_FS_STDIO_H

#include "libos/fs/file.h"

/*
 * The supervisor moved bytes or closed a stream and sent a kick: wakes who waits for it. Any
 * context in which waitq_wake() may be called; cheap if nothing changed.
 */
void stdio_kick(void);

/* Opens /dev/tty: the terminal that the standard streams are. -ENXIO: there is none. */
int stdio_open_tty(struct file *f);

#endif
