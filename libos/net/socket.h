/*
 * socket.h - sockets: what the system calls (socket.c) need of an address family.
 */
#ifndef LIBOS_NET_SOCKET_H
#define LIBOS_NET_SOCKET_H

#include "libos/fs/file.h"
#include "libos/net/sock_common.h"

/* linux/net.h has these only for the kernel itself */
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_SEQPACKET 5
#define SOCK_TYPE_MASK 0xf
#define SOCK_CLOEXEC 02000000
#define SOCK_NONBLOCK 04000
#define SHUT_RD 0
#define SHUT_WR 1
#define SHUT_RDWR 2
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_CTRUNC 0x8
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_EOR 0x80
#define MSG_WAITALL 0x100
#define MSG_ERRQUEUE 0x2000
#define MSG_NOSIGNAL 0x4000
#define MSG_MORE 0x8000
#define MSG_WAITFORONE 0x10000
#define MSG_FASTOPEN 0x20000000
#define MSG_CMSG_CLOEXEC 0x40000000

#define SOCKADDR_MAX 128

/* One message on its way in or out. */
struct sock_msg {
	struct iov_iter it;
	u8 name[SOCKADDR_MAX]; /* out: given by the caller; in: filled in */
	u32 namelen; /* in: 0 says that there is no name to report */
	u64 control, controllen; /* user buffer */
	u64 control_used; /* in: bytes of it that sock_put_cmsg() wrote */
	int flags; /* in: MSG_TRUNC, MSG_CTRUNC as results */
};

/* Without clearing the room for the name. */
static inline void sock_msg_init(struct sock_msg *m)
{
	m->namelen = 0;
	m->control = m->controllen = m->control_used = 0;
	m->flags = 0;
}

struct socket {
	const struct socket_ops *ops;
	struct file *file; /* not counted: the file owns the socket */
	int family, type, protocol;
	struct sock_common c;
};

struct socket_ops {
	int (*bind)(struct socket *s, const void *addr, u32 len);
	int (*connect)(struct socket *s, const void *addr, u32 len, bool nonblock);
	int (*listen)(struct socket *s, int backlog);
	/* The new socket, or err_ptr. NULL function: -EOPNOTSUPP. */
	struct socket *(*accept)(struct socket *s, bool nonblock);
	int (*getname)(struct socket *s, void *addr, u32 *len, bool peer);
	ssize_t (*sendmsg)(struct socket *s, struct sock_msg *m, int flags, bool nonblock);
	ssize_t (*recvmsg)(struct socket *s, struct sock_msg *m, int flags, bool nonblock);
	int (*shutdown)(struct socket *s, int how);
	/*
	 * optval in libOS memory. SOL_SOCKET: -ENOPROTOOPT leaves it to sock_common.c, where most options are.
	 * option_changed (optional): sock_common.c has stored a new value of that option.
	 */
	int (*setsockopt)(struct socket *s, int level, int name, const void *val, u32 len);
	int (*getsockopt)(struct socket *s, int level, int name, void *val, u32 *len);
	void (*option_changed)(struct socket *s, int name);
	/* SO_ERROR: the pending error, a positive errno, cleared. NULL: sock_take_error(). */
	int (*take_error)(struct socket *s);
	u32 features; /* SOCK_FEAT_* */
	u32 (*poll)(struct socket *s, struct poll_table *pt);
	long (*ioctl)(struct socket *s, unsigned cmd, u64 arg);
	/* The file is gone; frees s. */
	void (*release)(struct socket *s);
};

/* The socket of a file, or NULL. */
struct socket *file_socket(struct file *f);
/* A file around s, which it takes over; NULL: no memory, s is the caller's again. */
struct file *socket_file(struct socket *s, u32 flags);

/* The pending error of s, a positive errno, cleared. */
int socket_take_error(struct socket *s);
/* The socket of fd with a reference to its file in *f. NULL: *err says why. */
struct socket *socket_get(int fd, struct file **f, long *err);
/* An address from the application: -EINVAL (length), -EFAULT. And to it: as much as fits, and the true length. */
int socket_addr_from_user(u8 addr[SOCKADDR_MAX], u64 uaddr, u32 len);
int socket_addr_to_user(u64 uaddr, u64 ulen, const void *addr, u32 len);
/* To be called, without a lock, after something that may have sent packets to ourselves: they arrive now. */
void socket_net_poll(void);
/* Inode of sockfs; 0: none yet (a connection that was not accepted). */
u64 socket_ino(struct socket *s);

/* unix.c. -ESOCKTNOSUPPORT, -EPROTONOSUPPORT, -ENOMEM */
int unix_socket_create(int type, int protocol, struct socket **s);
int unix_socket_pair(int type, int protocol, struct socket *out[2]);

#endif
