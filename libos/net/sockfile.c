/*
 * sockfile.c - the open file around a socket: read, write, poll, ioctl, stat, release.
 */
#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/sockios.h>
#include <linux/eventpoll.h>
#include <linux/stat.h>

#include "libos/fs/vfs.h"
#include "libos/ipc/pipe.h"
#include "libos/mm/usercopy.h"
#include "libos/net/inet.h"
#include "libos/net/socket.h"

#define SOCKFS_DEV 8

void socket_net_poll(void)
{
	struct kthread *kt = this_kthread();

	if (net_pending(kt))
		net_poll(kt);
	/* What protocols wait for comes even if the application computes now and never enters again. */
	if (READ_ONCE(kt->timers.first) < READ_ONCE(kt->kick_armed))
		timer_commit();
}

static ssize_t socket_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct socket *s = f->priv;
	struct sock_msg m;
	ssize_t r;

	if (!to->count)
		return 0; /* read(2), not recv(2): nothing is looked at */
	sock_msg_init(&m);
	m.it = *to;
	r = s->ops->recvmsg(s, &m, 0, f->flags & O_NONBLOCK);
	*to = m.it;
	socket_net_poll(); /* the window that opened */
	return r;
}

static ssize_t socket_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct socket *s = f->priv;
	struct sock_msg m;
	ssize_t r;

	sock_msg_init(&m);
	m.it = *from;
	r = s->ops->sendmsg(s, &m, 0, f->flags & O_NONBLOCK);
	*from = m.it;
	socket_net_poll();
	return r;
}

static u32 socket_poll(struct file *f, struct poll_table *pt)
{
	struct socket *s = f->priv;

	return s->ops->poll(s, pt);
}

static long socket_ioctl(struct file *f, unsigned cmd, u64 arg)
{
	struct socket *s = f->priv;
	u32 owner;
	long r;

	switch (cmd) {
	case FIOSETOWN:
	case SIOCSPGRP:
		if (get_user_u32(&owner, (void *)arg))
			return -EFAULT;
		f->owner = (int)owner;
		return 0;
	case FIOGETOWN:
	case SIOCGPGRP:
		return put_user_u32((u32)f->owner, (void *)arg);
	}
	r = s->ops->ioctl ? s->ops->ioctl(s, cmd, arg) : -ENOTTY;
	return r == -ENOTTY ? inet_ioctl(cmd, arg) : r;
}

u64 socket_ino(struct socket *s)
{
	return s->c.ino;
}

static int socket_getattr(struct file *f, struct kstat *st)
{
	anon_getattr(f, st);
	st->mode = S_IFSOCK | 0777;
	st->dev = SOCKFS_DEV;
	st->ino = socket_ino(f->priv);
	return 0;
}

static void socket_release(struct file *f)
{
	struct socket *s = f->priv;

	s->ops->release(s);
	socket_net_poll();
}

static const struct file_ops socket_file_ops = {
	.name = "socket",
	.read = socket_read,
	.write = socket_write,
	.poll = socket_poll,
	.ioctl = socket_ioctl,
	.getattr = socket_getattr,
	.release = socket_release,
};

struct socket *file_socket(struct file *f)
{
	return f->ops == &socket_file_ops ? f->priv : NULL;
}

struct file *socket_file(struct socket *s, u32 flags)
{
	struct file *f = file_alloc(&socket_file_ops, O_RDWR | flags, s);

	if (f) {
		if (!s->c.ino)
			s->c.ino = sock_new_ino();
		s->file = f;
	}
	return f;
}
