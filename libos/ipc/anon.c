/*
 * anon.c - what files without a name share: attributes, inode numbers, installing.
 */
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/ipc/pipe.h"
#include "libos/lib/string.h"
#include "libos/proc/proc.h"

#define ANON_INO 1 /* one inode for eventfd, epoll, timerfd and signalfd alike, as on Linux */

u64 anon_new_ino(void)
{
	static u64 last = 1000;

	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

int anon_getattr(struct file *f, struct kstat *st)
{
	struct cred *c = &current_proc()->cred;

	memset(st, 0, sizeof(*st));
	st->dev = ANON_DEV;
	st->ino = ANON_INO;
	st->mode = 0600;
	st->nlink = 1;
	st->uid = c->fsuid;
	st->gid = c->fsgid;
	st->blksize = 4096;
	st->atime = st->mtime = st->ctime = ns_to_timespec(clock_realtime_ns());
	return 0;
}

int anon_install(const struct file_ops *ops, void *priv, u32 oflags, bool cloexec)
{
	struct file *f = file_alloc(ops, oflags, priv);
	int fd;

	if (!f)
		return -ENOMEM;
	fd = fd_install(f, 0, cloexec ? FD_CLOEXEC : 0);
	if (fd < 0) {
		f->priv = NULL; /* release functions take NULL: priv stays the caller's */
		file_put(f);
	}
	return fd;
}
