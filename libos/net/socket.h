/*
 * socket.h - sockets: what the system calls (socket.c) need of an address family.
 */
#ifndef LIBOS_NET_SOCKET_H
#define LIBOS_NET_SOCKET_H

#include "libos/fs/file.h"

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
#define MSG_NOSIGNAL 0x4000
#define MSG_MORE 0x8000
#define MSG_CMSG_CLOEXEC 0x40000000

#define SOCKADDR_MAX 128

/* One message on its way in or out. */
struct sock_msg {
	struct iov_iter it;
	u8 name[SOCKADDR_MAX]; /* out: given by the caller; in: filled in */
	u32 namelen; /* in: 0 says that there is no name to report */
	u64 control, controllen; /* user buffer; in: controllen becomes what was used */
	int flags; /* in: MSG_TRUNC, MSG_CTRUNC as results */
};

struct socket {
	const struct socket_ops *ops;
	struct file *file; /* not counted: the file owns the socket */
	int family, type, protocol;
};

struct socket_ops {
	int (*bind)(struct socket *s, const void *addr, u32 len);
	int (*connect)(struct socket *s, const void *addr, u32 len, bool nonblock);
	int (*listen)(struct socket *s, int backlog);
	/* The new socket, or err_ptr. */
	struct socket *(*accept)(struct socket *s, bool nonblock);
	int (*getname)(struct socket *s, void *addr, u32 *len, bool peer);
	ssize_t (*sendmsg)(struct socket *s, struct sock_msg *m, int flags, bool nonblock);
	ssize_t (*recvmsg)(struct socket *s, struct sock_msg *m, int flags, bool nonblock);
	int (*shutdown)(struct socket *s, int how);
	/* SOL_SOCKET options that socket.c does not answer, and other levels; optval in libOS memory. */
	int (*setsockopt)(struct socket *s, int level, int name, const void *val, u32 len);
	int (*getsockopt)(struct socket *s, int level, int name, void *val, u32 *len);
	u32 (*poll)(struct socket *s, struct poll_table *pt);
	long (*ioctl)(struct socket *s, unsigned cmd, u64 arg);
	/* The file is gone; frees s. */
	void (*release)(struct socket *s);
};

/* The socket of a file, or NULL. */
struct socket *file_socket(struct file *f);
/* A file around s, which it takes over; NULL: no memory, s is the caller's again. */
struct file *socket_file(struct socket *s, u32 flags);

/* unix.c. -ESOCKTNOSUPPORT, -EPROTONOSUPPORT, -ENOMEM */
int unix_socket_create(int type, int protocol, struct socket **s);
int unix_socket_pair(int type, int protocol, struct socket *out[2]);

#endif
