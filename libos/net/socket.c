/*
 * socket.c - the system calls of sockets: arguments, descriptors, messages. Families do the rest.
 *
 * The network itself is not there yet: families other than AF_UNIX answer EAFNOSUPPORT, and programs
 * that can do without go on.
 */
#include "libos/net/socket.h"

#include <asm/fcntl.h>
#include <asm/socket.h>
#include <linux/eventpoll.h>
#include <linux/stat.h>

#include "libos/fs/vfs.h"
#include "libos/ipc/pipe.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

#define SOCKFS_DEV 8
#define OPT_MAX 256

/* struct msghdr as x86-64 lays it out */
struct msghdr_k {
	u64 name;
	u32 namelen, pad0;
	u64 iov, iovlen;
	u64 control, controllen;
	u32 flags, pad1;
};
_Static_assert(sizeof(struct msghdr_k) == 56, "struct msghdr");

static bool file_nonblock(struct file *f)
{
	return f->flags & O_NONBLOCK;
}

static ssize_t socket_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct socket *s = f->priv;
	struct sock_msg m = { .it = *to };
	ssize_t r = s->ops->recvmsg(s, &m, 0, file_nonblock(f));

	*to = m.it;
	return r;
}

static ssize_t socket_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct socket *s = f->priv;
	struct sock_msg m = { .it = *from };
	ssize_t r = s->ops->sendmsg(s, &m, 0, file_nonblock(f));

	*from = m.it;
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

	return s->ops->ioctl ? s->ops->ioctl(s, cmd, arg) : -ENOTTY;
}

static s64 socket_llseek(struct file *f, s64 off, int whence)
{
	return -ESPIPE;
}

static int socket_getattr(struct file *f, struct kstat *st)
{
	anon_getattr(f, st);
	st->mode = S_IFSOCK | 0777;
	st->dev = SOCKFS_DEV;
	st->ino = (u64)f->priv >> 6 & UINT32_MAX;
	return 0;
}

static void socket_release(struct file *f)
{
	struct socket *s = f->priv;

	s->ops->release(s);
}

static const struct file_ops socket_file_ops = {
	.name = "socket",
	.read = socket_read,
	.write = socket_write,
	.poll = socket_poll,
	.ioctl = socket_ioctl,
	.llseek = socket_llseek,
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

	if (f)
		s->file = f;
	return f;
}

/* The socket of fd with a reference to its file in *f. NULL: *err says why. */
static struct socket *sock_get(int fd, struct file **f, long *err)
{
	struct socket *s;

	*f = fd_get(fd);
	if (!*f) {
		*err = -EBADF;
		return NULL;
	}
	s = file_socket(*f);
	if (!s) {
		file_put(*f);
		*err = -ENOTSOCK;
	}
	return s;
}

static int check_type(int *type, u32 *flags, u32 *fdflags)
{
	int extra = *type & ~SOCK_TYPE_MASK;

	if (extra & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	*flags = extra & SOCK_NONBLOCK ? O_NONBLOCK : 0;
	*fdflags = extra & SOCK_CLOEXEC ? FD_CLOEXEC : 0;
	*type &= SOCK_TYPE_MASK;
	return *type <= 0 || *type > 10 ? -EINVAL : 0;
}

long sys_socket(int family, int type, int protocol)
{
	struct socket *s;
	u32 flags, fdflags;
	struct file *f;
	int err = check_type(&type, &flags, &fdflags);

	if (family < 0 || family > 45)
		return -EAFNOSUPPORT;
	if (err)
		return err;
	if (family != AF_UNIX)
		return -EAFNOSUPPORT;
	err = unix_socket_create(type, protocol, &s);
	if (err)
		return err;
	f = socket_file(s, flags);
	if (!f) {
		s->ops->release(s);
		return -ENOMEM;
	}
	err = fd_install(f, 0, fdflags);
	if (err < 0)
		file_put(f);
	return err;
}

long sys_socketpair(int family, int type, int protocol, u64 usv)
{
	struct socket *s[2];
	struct file *f[2];
	u32 flags, fdflags;
	int fds[2], err = check_type(&type, &flags, &fdflags);

	if (family < 0 || family > 45)
		return -EAFNOSUPPORT;
	if (err)
		return err;
	if (family == AF_INET)
		return -EOPNOTSUPP; /* what Linux says: there are no pairs of that family */
	if (family != AF_UNIX)
		return -EAFNOSUPPORT;
	err = unix_socket_pair(type, protocol, s);
	if (err)
		return err;
	f[0] = socket_file(s[0], flags);
	if (!f[0])
		s[0]->ops->release(s[0]);
	f[1] = socket_file(s[1], flags);
	if (!f[1])
		s[1]->ops->release(s[1]);
	err = f[0] && f[1] ? fd_install_pair(f[0], f[1], fdflags, fds) : -ENOMEM;
	if (err) {
		for (int i = 0; i < 2; i++)
			if (f[i])
				file_put(f[i]);
		return err;
	}
	if (copy_to_user((void *)usv, fds, sizeof(fds))) {
		fd_close(fds[0]);
		fd_close(fds[1]);
		return -EFAULT;
	}
	return 0;
}

static int addr_from_user(u8 *addr, u64 uaddr, u32 len)
{
	if ((int)len < 0 || len > SOCKADDR_MAX)
		return -EINVAL;
	return copy_from_user(addr, (void *)uaddr, len);
}

/* move_addr_to_user: as much as fits, and the true length. */
static int addr_to_user(u64 uaddr, u64 ulen, const void *addr, u32 len)
{
	u32 room;

	if (get_user_u32(&room, (void *)ulen))
		return -EFAULT;
	if ((int)room < 0)
		return -EINVAL;
	if (copy_to_user((void *)uaddr, addr, min(room, len)))
		return -EFAULT;
	return put_user_u32(len, (void *)ulen);
}

long sys_bind(int fd, u64 uaddr, int len)
{
	u8 addr[SOCKADDR_MAX];
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	r = addr_from_user(addr, uaddr, len);
	if (!r)
		r = s->ops->bind ? s->ops->bind(s, addr, len) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

long sys_connect(int fd, u64 uaddr, int len)
{
	u8 addr[SOCKADDR_MAX];
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	r = addr_from_user(addr, uaddr, len);
	if (!r)
		r = s->ops->connect ? s->ops->connect(s, addr, len, file_nonblock(f)) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

long sys_listen(int fd, int backlog)
{
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	r = s->ops->listen ? s->ops->listen(s, backlog) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

long sys_accept4(int fd, u64 uaddr, u64 ulen, int flags)
{
	u8 addr[SOCKADDR_MAX];
	u32 len = 0;
	struct file *f, *nf;
	long r;
	struct socket *s, *n;

	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	s = sock_get(fd, &f, &r);
	if (!s)
		return r;
	if (s->ops->accept)
		n = s->ops->accept(s, file_nonblock(f));
	else /* a kind that could listen, but does not; a datagram socket never could */
		n = err_ptr(s->type == SOCK_DGRAM ? -EOPNOTSUPP : -EINVAL);
	file_put(f);
	if (is_err(n))
		return ptr_err(n);
	nf = socket_file(n, flags & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	if (!nf) {
		n->ops->release(n);
		return -ENOMEM;
	}
	r = uaddr ? n->ops->getname(n, addr, &len, true) : 0;
	if (!r && uaddr)
		r = addr_to_user(uaddr, ulen, addr, len);
	if (!r)
		r = fd_install(nf, 0, flags & SOCK_CLOEXEC ? FD_CLOEXEC : 0);
	if (r < 0)
		file_put(nf);
	return r;
}

long sys_accept(int fd, u64 uaddr, u64 ulen)
{
	return sys_accept4(fd, uaddr, ulen, 0);
}

static long getname(int fd, u64 uaddr, u64 ulen, bool peer)
{
	u8 addr[SOCKADDR_MAX];
	u32 len = 0;
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	r = s->ops->getname(s, addr, &len, peer);
	if (!r)
		r = addr_to_user(uaddr, ulen, addr, len);
	file_put(f);
	return r;
}

long sys_getsockname(int fd, u64 uaddr, u64 ulen)
{
	return getname(fd, uaddr, ulen, false);
}

long sys_getpeername(int fd, u64 uaddr, u64 ulen)
{
	return getname(fd, uaddr, ulen, true);
}

long sys_shutdown(int fd, int how)
{
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	if (how < SHUT_RD || how > SHUT_RDWR)
		r = -EINVAL;
	else
		r = s->ops->shutdown ? s->ops->shutdown(s, how) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

long sys_sendto(int fd, u64 ubuf, size_t len, int flags, u64 uaddr, int addrlen)
{
	struct sock_msg m = {};
	struct file *f;
	long r;
	struct socket *s;

	if (!access_ok(ubuf, min(len, MAX_RW_COUNT)))
		return -EFAULT;
	s = sock_get(fd, &f, &r);
	if (!s)
		return r;
	iov_iter_user(&m.it, ubuf, min(len, MAX_RW_COUNT));
	r = 0;
	if (uaddr) {
		r = addr_from_user(m.name, uaddr, addrlen);
		m.namelen = addrlen;
	}
	if (!r)
		r = s->ops->sendmsg(s, &m, flags, file_nonblock(f) || flags & MSG_DONTWAIT);
	file_put(f);
	return r;
}

long sys_recvfrom(int fd, u64 ubuf, size_t len, int flags, u64 uaddr, u64 uaddrlen)
{
	struct sock_msg m = {};
	struct file *f;
	long r;
	struct socket *s;

	if (!access_ok(ubuf, min(len, MAX_RW_COUNT)))
		return -EFAULT;
	s = sock_get(fd, &f, &r);
	if (!s)
		return r;
	iov_iter_user(&m.it, ubuf, min(len, MAX_RW_COUNT));
	r = s->ops->recvmsg(s, &m, flags, file_nonblock(f) || flags & MSG_DONTWAIT);
	if (r >= 0 && uaddr) {
		int err = addr_to_user(uaddr, uaddrlen, m.name, m.namelen);

		if (err)
			r = err;
	}
	file_put(f);
	return r;
}

static long send_one(struct socket *s, u64 umsg, int flags, bool nonblock)
{
	struct iovec_k small[8], *heap = NULL;
	struct sock_msg m = {};
	struct msghdr_k h;
	long r;

	if (copy_from_user(&h, (void *)umsg, sizeof(h)))
		return -EFAULT;
	if ((s32)h.namelen < 0)
		return -EINVAL;
	if (h.name && h.namelen) {
		m.namelen = min(h.namelen, (u32)SOCKADDR_MAX);
		r = addr_from_user(m.name, h.name, m.namelen);
		if (r)
			return r;
	}
	if (h.iovlen > UIO_MAX_IOV)
		return -EMSGSIZE;
	r = iov_iter_import(&m.it, h.iov, h.iovlen, small, &heap);
	if (r < 0)
		return r;
	m.control = h.control;
	m.controllen = h.control ? h.controllen : 0;
	r = s->ops->sendmsg(s, &m, flags, nonblock || flags & MSG_DONTWAIT);
	iov_iter_free(heap, h.iovlen);
	return r;
}

static long recv_one(struct socket *s, u64 umsg, int flags, bool nonblock)
{
	struct iovec_k small[8], *heap = NULL;
	struct sock_msg m = {};
	struct msghdr_k h;
	long r;

	if (copy_from_user(&h, (void *)umsg, sizeof(h)))
		return -EFAULT;
	if ((s32)h.namelen < 0)
		return -EINVAL;
	if (h.iovlen > UIO_MAX_IOV)
		return -EMSGSIZE;
	r = iov_iter_import(&m.it, h.iov, h.iovlen, small, &heap);
	if (r < 0)
		return r;
	m.control = h.control;
	m.controllen = h.control ? h.controllen : 0;
	m.flags = flags & MSG_CMSG_CLOEXEC;
	r = s->ops->recvmsg(s, &m, flags, nonblock || flags & MSG_DONTWAIT);
	iov_iter_free(heap, h.iovlen);
	if (r < 0)
		return r;
	h.controllen = m.controllen;
	h.flags = m.flags;
	if (h.name) {
		if (copy_to_user((void *)h.name, m.name, min(h.namelen, m.namelen)))
			return -EFAULT;
		h.namelen = m.namelen;
	}
	if (copy_to_user((void *)umsg, &h, sizeof(h)))
		return -EFAULT;
	return r;
}

typedef long (*message_fn)(struct socket *s, u64 umsg, int flags, bool nonblock);

static long one_message(int fd, u64 umsg, int flags, message_fn fn)
{
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	r = fn(s, umsg, flags, file_nonblock(f));
	file_put(f);
	return r;
}

long sys_sendmsg(int fd, u64 umsg, int flags)
{
	return one_message(fd, umsg, flags, send_one);
}

long sys_recvmsg(int fd, u64 umsg, int flags)
{
	return one_message(fd, umsg, flags, recv_one);
}

/* struct mmsghdr: a struct msghdr, then the length that was sent */
#define MMSGHDR_SIZE 64ul

#define MSG_WAITFORONE 0x10000

static long many_messages(int fd, u64 uvec, u32 n, int flags, message_fn fn)
{
	struct file *f;
	long r = 0;
	struct socket *s = sock_get(fd, &f, &r);
	u32 i;

	if (!s)
		return r;
	for (i = 0; i < min(n, (u32)UIO_MAX_IOV); i++) {
		u64 umsg = uvec + i * MMSGHDR_SIZE;
		bool nonblock = file_nonblock(f) || (i && flags & MSG_WAITFORONE);

		r = fn(s, umsg, flags & ~MSG_WAITFORONE, nonblock);
		if (r >= 0)
			r = put_user_u32(r, (void *)(umsg + sizeof(struct msghdr_k)));
		if (r < 0)
			break;
	}
	file_put(f);
	return i ? i : r;
}

long sys_sendmmsg(int fd, u64 uvec, u32 n, int flags)
{
	return many_messages(fd, uvec, n, flags & ~MSG_WAITFORONE, send_one);
}

long sys_recvmmsg(int fd, u64 uvec, u32 n, int flags, u64 utimeout)
{
	if (utimeout)
		return -EOPNOTSUPP; /* its Linux semantics are broken, and hardly anyone asks for them */
	return many_messages(fd, uvec, n, flags, recv_one);
}

long sys_setsockopt(int fd, int level, int name, u64 uval, int len)
{
	u8 val[OPT_MAX];
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	if (len < 0)
		r = -EINVAL;
	else if (copy_from_user(val, (void *)uval, min((u32)len, (u32)sizeof(val))))
		r = -EFAULT;
	else
		r = s->ops->setsockopt ? s->ops->setsockopt(s, level, name, val, min((u32)len, (u32)OPT_MAX)) :
					 -ENOPROTOOPT;
	file_put(f);
	return r;
}

static int getsockopt_common(struct socket *s, int level, int name, void *val, u32 *len)
{
	u32 v;

	if (level != SOL_SOCKET)
		return -ENOPROTOOPT;
	switch (name) {
	case SO_TYPE:
		v = s->type;
		break;
	case SO_DOMAIN:
		v = s->family;
		break;
	case SO_PROTOCOL:
		v = s->protocol;
		break;
	default:
		return -ENOPROTOOPT;
	}
	*len = min(*len, (u32)sizeof(v));
	memcpy(val, &v, *len);
	return 0;
}

long sys_getsockopt(int fd, int level, int name, u64 uval, u64 ulen)
{
	u8 val[OPT_MAX];
	u32 len;
	struct file *f;
	long r;
	struct socket *s = sock_get(fd, &f, &r);

	if (!s)
		return r;
	if (get_user_u32(&len, (void *)ulen)) {
		r = -EFAULT;
		goto out;
	}
	if ((s32)len < 0) {
		r = -EINVAL;
		goto out;
	}
	len = min(len, (u32)sizeof(val));
	r = getsockopt_common(s, level, name, val, &len);
	if (r == -ENOPROTOOPT && s->ops->getsockopt)
		r = s->ops->getsockopt(s, level, name, val, &len);
	if (!r && (copy_to_user((void *)uval, val, len) || put_user_u32(len, (void *)ulen)))
		r = -EFAULT;
out:
	file_put(f);
	return r;
}
