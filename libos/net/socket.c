/*
 * socket.c - the system calls that make, name, connect and configure sockets. Families do the rest.
 *
 * sockmsg.c sends and receives, sockfile.c is the open file, sock_common.c the options of all families.
 */
#include "libos/net/socket.h"

#include <asm/fcntl.h>
#include <asm/socket.h>
#include <linux/in.h>
#include <linux/resource.h>

#include "libos/fs/fdtable.h"
#include "libos/mm/usercopy.h"
#include "libos/net/inet.h"

#define FAMILY_MAX 46 /* AF_MAX of Linux 6 */
#define SOCK_TYPE_LAST 10
#define OPT_MAX 512

static bool file_nonblock(struct file *f)
{
	return f->flags & O_NONBLOCK;
}

struct socket *socket_get(int fd, struct file **f, long *err)
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

int socket_take_error(struct socket *s)
{
	return s->ops->take_error ? s->ops->take_error(s) : sock_take_error(&s->c);
}

/* Families. Not in the table: EAFNOSUPPORT, so that programs go on with what there is (AF_INET6). */

static int inet_create(int type, int protocol, struct socket **s)
{
	int err;

	if (protocol < 0 || protocol >= IPPROTO_MAX)
		return -EINVAL;
	err = net_start();
	if (err)
		return err;
	switch (type) {
	case SOCK_STREAM:
		return inet_stream_create(AF_INET, protocol, s);
	case SOCK_DGRAM:
		return inet_dgram_create(AF_INET, protocol, s);
	case SOCK_RAW:
		return protocol ? -EPERM : -EPROTONOSUPPORT; /* nobody may, whatever the capabilities */
	}
	return -ESOCKTNOSUPPORT;
}

static const struct sock_family {
	int family;
	int (*create)(int type, int protocol, struct socket **s);
	int (*pair)(int type, int protocol, struct socket *s[2]); /* NULL: -EOPNOTSUPP */
} families[] = {
	{ AF_UNIX, unix_socket_create, unix_socket_pair },
	{ AF_INET, inet_create, NULL },
	{ AF_NETLINK, netlink_create, NULL },
};

static const struct sock_family *family_of(int family)
{
	for (u32 i = 0; i < ARRAY_SIZE(families); i++)
		if (families[i].family == family)
			return &families[i];
	return NULL;
}

static int check_type(int *type, u32 *flags, u32 *fdflags)
{
	int extra = *type & ~SOCK_TYPE_MASK;

	if (extra & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	*flags = extra & SOCK_NONBLOCK ? O_NONBLOCK : 0;
	*fdflags = extra & SOCK_CLOEXEC ? FD_CLOEXEC : 0;
	*type &= SOCK_TYPE_MASK;
	return *type > SOCK_TYPE_LAST ? -EINVAL : 0; /* 0 is a type that no family has */
}

long sys_socket(int family, int type, int protocol)
{
	struct socket *s;
	u32 flags, fdflags;
	struct file *f;
	int err = check_type(&type, &flags, &fdflags);
	const struct sock_family *fam = family_of(family);

	if (family < 0 || family >= FAMILY_MAX)
		return -EAFNOSUPPORT;
	if (err)
		return err;
	if (!fam)
		return -EAFNOSUPPORT;
	err = fam->create(type, protocol, &s);
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
	const struct sock_family *fam = family_of(family);

	if (family < 0 || family >= FAMILY_MAX)
		return -EAFNOSUPPORT;
	if (err)
		return err;
	if (!fam)
		return -EAFNOSUPPORT;
	if (!fam->pair)
		return -EOPNOTSUPP;
	err = fam->pair(type, protocol, s);
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

int socket_addr_from_user(u8 addr[SOCKADDR_MAX], u64 uaddr, u32 len)
{
	if ((int)len < 0 || len > SOCKADDR_MAX)
		return -EINVAL;
	return copy_from_user(addr, (void *)uaddr, len);
}

int socket_addr_to_user(u64 uaddr, u64 ulen, const void *addr, u32 len)
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
	struct socket *s = socket_get(fd, &f, &r);

	if (!s)
		return r;
	r = socket_addr_from_user(addr, uaddr, len);
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
	struct socket *s = socket_get(fd, &f, &r);

	if (!s)
		return r;
	r = socket_addr_from_user(addr, uaddr, len);
	if (!r)
		r = s->ops->connect ? s->ops->connect(s, addr, len, file_nonblock(f)) : -EOPNOTSUPP;
	socket_net_poll();
	file_put(f);
	return r;
}

long sys_listen(int fd, int backlog)
{
	struct file *f;
	long r;
	struct socket *s = socket_get(fd, &f, &r);

	if (!s)
		return r;
	r = s->ops->listen ? s->ops->listen(s, backlog) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

/* Linux takes a descriptor before it takes a connection: without one, the connection stays in the queue. */
static bool descriptors_full(void)
{
	struct proc *p = current_proc();

	return READ_ONCE(p->fdt->nr_open) >= READ_ONCE(p->rlim[RLIMIT_NOFILE].cur);
}

/* Gives the accepted n a file and a descriptor, and the caller its peer's address; takes over n. */
static long accept_install(struct socket *n, u64 uaddr, u64 ulen, int flags)
{
	u8 addr[SOCKADDR_MAX];
	u32 len = 0;
	struct file *f = socket_file(n, flags & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	long r = 0;

	if (!f) {
		n->ops->release(n);
		return -ENOMEM;
	}
	if (uaddr) {
		if (n->ops->getname(n, addr, &len, true))
			r = -ECONNABORTED; /* it has come and gone */
		else
			r = socket_addr_to_user(uaddr, ulen, addr, len);
	}
	if (!r)
		r = fd_install(f, 0, flags & SOCK_CLOEXEC ? FD_CLOEXEC : 0);
	if (r < 0)
		file_put(f);
	return r;
}

long sys_accept4(int fd, u64 uaddr, u64 ulen, int flags)
{
	struct file *f;
	long r;
	struct socket *s, *n;

	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	s = socket_get(fd, &f, &r);
	if (!s)
		return r;
	if (!s->ops->accept)
		n = err_ptr(-EOPNOTSUPP);
	else if (descriptors_full())
		n = err_ptr(-EMFILE);
	else
		n = s->ops->accept(s, file_nonblock(f));
	file_put(f);
	return is_err(n) ? ptr_err(n) : accept_install(n, uaddr, ulen, flags);
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
	struct socket *s = socket_get(fd, &f, &r);

	if (!s)
		return r;
	r = s->ops->getname(s, addr, &len, peer);
	if (!r)
		r = socket_addr_to_user(uaddr, ulen, addr, len);
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
	struct socket *s = socket_get(fd, &f, &r);

	if (!s)
		return r;
	if (how < SHUT_RD || how > SHUT_RDWR)
		r = -EINVAL;
	else
		r = s->ops->shutdown ? s->ops->shutdown(s, how) : -EOPNOTSUPP;
	socket_net_poll();
	file_put(f);
	return r;
}

static int set_option(struct socket *s, int level, int name, const void *val, u32 len)
{
	int r = s->ops->setsockopt ? s->ops->setsockopt(s, level, name, val, len) : -ENOPROTOOPT;

	return r == -ENOPROTOOPT && level == SOL_SOCKET ? sock_setsockopt(s, name, val, len) : r;
}

long sys_setsockopt(int fd, int level, int name, u64 uval, int len)
{
	u8 val[OPT_MAX];
	struct file *f;
	long r;
	struct socket *s = socket_get(fd, &f, &r);

	if (!s)
		return r;
	if (len < 0)
		r = -EINVAL;
	else if (copy_from_user(val, (void *)uval, min((u32)len, (u32)sizeof(val))))
		r = -EFAULT;
	else
		r = set_option(s, level, name, val, min((u32)len, (u32)OPT_MAX));
	socket_net_poll();
	file_put(f);
	return r;
}

static int get_option(struct socket *s, int level, int name, void *val, u32 *len)
{
	int r = -ENOPROTOOPT, error;

	if (level == SOL_SOCKET && name == SO_ERROR) {
		error = socket_take_error(s);
		sock_answer(val, len, &error, sizeof(error));
		return 0;
	}
	if (s->ops->getsockopt)
		r = s->ops->getsockopt(s, level, name, val, len);
	return r == -ENOPROTOOPT && level == SOL_SOCKET ? sock_getsockopt(s, name, val, len) : r;
}

long sys_getsockopt(int fd, int level, int name, u64 uval, u64 ulen)
{
	u8 val[OPT_MAX];
	u32 len;
	struct file *f;
	long r;
	struct socket *s = socket_get(fd, &f, &r);

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
	r = get_option(s, level, name, val, &len);
	if (!r && (copy_to_user((void *)uval, val, len) || put_user_u32(len, (void *)ulen)))
		r = -EFAULT;
out:
	file_put(f);
	return r;
}
