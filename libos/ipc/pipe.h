/*
 * pipe.h - what others use of pipes and of the anonymous files beside them.
 */
#ifndef LIBOS_IPC_PIPE_H
#define LIBOS_IPC_PIPE_H

#include "libos/fs/vfs.h"

/*
 * Opens a named FIFO: f is fresh, with its flags set; *slot belongs to its inode, NULL when nobody has it
 * open. Sets ops and priv of f. May sleep for the other end, as fifo(7) says. 0, -ENXIO, -ENOMEM,
 * -ERESTARTSYS; on an error f is left without ops.
 */
int fifo_open(struct file *f, void **slot);
/* fcntl(2) F_GETPIPE_SZ and F_SETPIPE_SZ; -EBADF if f is no pipe. */
long pipe_fcntl(struct file *f, unsigned cmd, u64 arg);
bool file_is_pipe(struct file *f);

/* Device numbers of files without a name, as stat(2) shows them. */
#define ANON_DEV MKDEV(0, 14)
#define PIPEFS_DEV MKDEV(0, 13)

/* anon.c: fstat of files that have no inode. */
u64 anon_new_ino(void);
int anon_getattr(struct file *f, struct kstat *st);
/* New descriptor of a fresh anonymous file; on failure priv is the caller's still. oflags: O_RDWR | O_NONBLOCK... */
int anon_install(const struct file_ops *ops, void *priv, u32 oflags, bool cloexec);

#endif
