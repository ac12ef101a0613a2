/*
 * sockmsg.c - the system calls that send and receive messages.
 */
#include <asm/fcntl.h>
#include <linux/time_types.h>

#include "libos/fs/fdtable.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/net/socket.h"
#include "libos/platform/hostcall.h"

/* struct msghdr as x86-64 lays it out */
struct msghdr_k {
	u64 name;
	u32 namelen, pad0;
	u64 iov, iovlen;
	u64 control, controllen;
	u32 flags, pad1;
};
_Static_assert(sizeof(struct msghdr_k) == 56, "struct msghdr");


/*
 * The socket of fd for a call that moves bytes, without a reference where none is needed (fd_get_fast). The
 * caller ends with fd_put_fast(*f, *ref).
 */
static inline struct socket *message_socket(int fd, struct file **f, bool *ref, long *err)
{
	struct socket *s;

	*f = fd_get_fast(fd, ref);
	if (unlikely(!*f || (*f)->flags & O_PATH)) {
		if (*f)
			fd_put_fast(*f, *ref);
		*err = -EBADF;
		return NULL;
	}
	s = file_socket(*f);
	if (unlikely(!s)) {
		fd_put_fast(*f, *ref);
		*err = -ENOTSOCK;
	}
	return s;
}

static inline bool nonblocking(const struct file *f, int flags)
{
	return f->flags & O_NONBLOCK || flags & MSG_DONTWAIT;
}

long sys_sendto(int fd, u64 ubuf, size_t len, int flags, u64 uaddr, int addrlen)
{
	struct sock_msg m;
	struct file *f;
	struct socket *s;
	bool ref;
	long r;

	if (!access_ok(ubuf, min(len, MAX_RW_COUNT)))
		return -EFAULT;
	s = message_socket(fd, &f, &ref, &r);
	if (!s)
		return r;
	sock_msg_init(&m);
	iov_iter_user(&m.it, ubuf, min(len, MAX_RW_COUNT));
	r = 0;
	if (uaddr) {
		r = socket_addr_from_user(m.name, uaddr, (u32)addrlen);
		m.namelen = (u32)addrlen;
	}
	if (!r)
		r = s->ops->sendmsg(s, &m, flags, nonblocking(f, flags));
	socket_net_poll();
	fd_put_fast(f, ref);
	return r;
}

long sys_recvfrom(int fd, u64 ubuf, size_t len, int flags, u64 uaddr, u64 uaddrlen)
{
	struct sock_msg m;
	struct file *f;
	struct socket *s;
	bool ref;
	long r;

	if (!access_ok(ubuf, min(len, MAX_RW_COUNT)))
		return -EFAULT;
	s = message_socket(fd, &f, &ref, &r);
	if (!s)
		return r;
	sock_msg_init(&m);
	iov_iter_user(&m.it, ubuf, min(len, MAX_RW_COUNT));
	r = s->ops->recvmsg(s, &m, flags, nonblocking(f, flags));
	if (r >= 0 && uaddr) {
		int err = socket_addr_to_user(uaddr, uaddrlen, m.name, m.namelen);

		if (err)
			r = err;
	}
	socket_net_poll();
	fd_put_fast(f, ref);
	return r;
}

static long send_one(struct socket *s, u64 umsg, int flags, bool nonblock)
{
	struct iovec_k small[8], *heap = NULL;
	struct sock_msg m;
	struct msghdr_k h;
	long r;

	if (copy_from_user(&h, (void *)umsg, sizeof(h)))
		return -EFAULT;
	if ((s32)h.namelen < 0)
		return -EINVAL;
	sock_msg_init(&m);
	if (h.name && h.namelen) {
		m.namelen = min(h.namelen, (u32)SOCKADDR_MAX);
		r = socket_addr_from_user(m.name, h.name, m.namelen);
		if (r)
			return r;
	}
	if (h.iovlen > UIO_MAX_IOV)
		return -EMSGSIZE;
	r = iov_iter_import(&m.it, h.iov, h.iovlen, small, &heap);
	if (r < 0)
		return r;
	if (h.controllen > INT32_MAX) {
		r = -ENOBUFS;
	} else {
		m.control = h.control;
		m.controllen = h.control ? h.controllen : 0;
		r = s->ops->sendmsg(s, &m, flags, nonblock || flags & MSG_DONTWAIT);
	}
	iov_iter_free(heap, h.iovlen);
	return r;
}

static long recv_one(struct socket *s, u64 umsg, int flags, bool nonblock)
{
	struct iovec_k small[8], *heap = NULL;
	struct sock_msg m;
	struct msghdr_k h;
	long r;

	if (copy_from_user(&h, (void *)umsg, sizeof(h)))
		return -EFAULT;
	if ((s32)h.namelen < 0)
		return -EINVAL;
	if (h.iovlen > UIO_MAX_IOV)
		return -EMSGSIZE;
	sock_msg_init(&m);
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
	h.controllen = m.control_used;
	h.flags = (u32)m.flags;
	if (h.name) {
		if (copy_to_user((void *)h.name, m.name, min(h.namelen, m.namelen)))
			return -EFAULT;
		h.namelen = m.namelen;
	}
	/* The pointers and the iovec's length stay the caller's. */
	if (put_user_u32(h.namelen, (void *)(umsg + offsetof(struct msghdr_k, namelen))) ||
	    copy_to_user((void *)(umsg + offsetof(struct msghdr_k, controllen)), &h.controllen,
			 sizeof(h.controllen)) ||
	    put_user_u32(h.flags, (void *)(umsg + offsetof(struct msghdr_k, flags))))
		return -EFAULT;
	return r;
}

typedef long (*message_fn)(struct socket *s, u64 umsg, int flags, bool nonblock);

static inline long one_message(int fd, u64 umsg, int flags, message_fn fn)
{
	struct file *f;
	bool ref;
	long r;
	struct socket *s = message_socket(fd, &f, &ref, &r);

	if (!s)
		return r;
	r = fn(s, umsg, flags, nonblocking(f, flags));
	socket_net_poll();
	fd_put_fast(f, ref);
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

/* struct mmsghdr: a struct msghdr, then the length that was moved */
#define MMSGHDR_SIZE 64ul

static long put_length(u64 umsg, long n)
{
	return put_user_u32((u32)n, (void *)(umsg + sizeof(struct msghdr_k)));
}

/* sendmmsg(2): an error behind the first message is not reported; the next call meets it again. */
long sys_sendmmsg(int fd, u64 uvec, u32 n, int flags)
{
	struct file *f;
	bool ref;
	long r = 0;
	struct socket *s = message_socket(fd, &f, &ref, &r);
	u32 i;

	if (!s)
		return r;
	for (i = 0; i < min(n, (u32)UIO_MAX_IOV); i++) {
		r = send_one(s, uvec + i * MMSGHDR_SIZE, flags, nonblocking(f, flags));
		if (r >= 0)
			r = put_length(uvec + i * MMSGHDR_SIZE, r);
		if (r < 0)
			break;
	}
	socket_net_poll();
	fd_put_fast(f, ref);
	return i ? i : r;
}

/*
 * The time is looked at after each message only, so that a call that waits for its next message does not end
 * by it: recvmmsg(2), BUGS. What is left of it is written back. An error behind the first message is kept
 * for the next call.
 */
static long receive_many(struct socket *s, struct file *f, u64 uvec, u32 n, int flags, u64 *timeout)
{
	bool nonblock = nonblocking(f, flags);
	u64 end = *timeout == NEVER ? NEVER : host_clock_ns(CLOCK_MONOTONIC) + *timeout;
	long r = 0;
	u32 i;

	for (i = 0; i < min(n, (u32)UIO_MAX_IOV); i++) {
		u64 now;

		r = recv_one(s, uvec + i * MMSGHDR_SIZE, flags & ~MSG_WAITFORONE, nonblock);
		if (r >= 0)
			r = put_length(uvec + i * MMSGHDR_SIZE, r);
		if (r < 0)
			break;
		nonblock = nonblock || flags & MSG_WAITFORONE;
		if (end == NEVER)
			continue;
		now = host_clock_ns(CLOCK_MONOTONIC);
		*timeout = end > now ? end - now : 0;
		if (!*timeout) {
			i++;
			break;
		}
	}
	if (i && r < 0 && r != -EAGAIN)
		sock_set_error(&s->c, r == -ERESTARTSYS ? EINTR : (int)-r);
	return i ? i : r;
}

long sys_recvmmsg(int fd, u64 uvec, u32 n, int flags, u64 utimeout)
{
	struct __kernel_timespec ts;
	u64 timeout = NEVER;
	struct file *f;
	bool ref;
	long r;
	struct socket *s;

	if (utimeout) {
		if (copy_from_user(&ts, (void *)utimeout, sizeof(ts)))
			return -EFAULT;
		if (ts.tv_sec < 0 || (u64)ts.tv_nsec >= NSEC_PER_SEC)
			return -EINVAL;
		timeout = min((u64)ts.tv_sec, 1ull << 33) * NSEC_PER_SEC + (u64)ts.tv_nsec;
	}
	s = message_socket(fd, &f, &ref, &r);
	if (!s)
		return r;
	r = flags & MSG_ERRQUEUE ? 0 : -socket_take_error(s);
	if (!r)
		r = receive_many(s, f, uvec, n, flags, &timeout);
	socket_net_poll();
	fd_put_fast(f, ref);
	if (r > 0 && utimeout) {
		ts = (struct __kernel_timespec){ (s64)(timeout / NSEC_PER_SEC), (s64)(timeout % NSEC_PER_SEC) };
		if (copy_to_user((void *)utimeout, &ts, sizeof(ts)))
			r = -EFAULT;
	}
	return r;
}
