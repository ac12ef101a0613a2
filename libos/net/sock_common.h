/*
 * sock_common.h - what sockets of every family have: SOL_SOCKET options, timeouts, the pending error, control data.
 *
 * struct socket has a struct sock_common in it. socket.c asks the family's setsockopt/getsockopt first, which answers
 * -ENOPROTOOPT for what it leaves to sock_setsockopt()/sock_getsockopt(); after an option was stored, the
 * family's option_changed(), if it has one, hears of it. An option that only the family can bring about
 * is refused unless the family's `features` say that it does.
 *
 * Fields are single words, written by setsockopt and read by anybody without a lock, as on Linux.
 */
#ifndef LIBOS_NET_SOCK_COMMON_H
#define LIBOS_NET_SOCK_COMMON_H

#include "libos/fs/iov.h"
#include "libos/lib/types.h"

#define SOCK_BUF_DEFAULT 212992u /* net.core.[rw]mem_default */
#define SOCK_BUF_MAX (4u << 20) /* net.core.[rw]mem_max, as of Linux 6.16 */
#define SOCK_MIN_SNDBUF 4608u
#define SOCK_MIN_RCVBUF 2304u

struct socket;
struct sock_msg;

/* struct ucred */
struct sock_cred {
	s32 pid;
	u32 uid, gid;
};

/* sock_common.flags */
#define SOCKF_REUSEADDR 1u
#define SOCKF_REUSEPORT 2u
#define SOCKF_KEEPALIVE 4u
#define SOCKF_BROADCAST 8u
#define SOCKF_OOBINLINE 16u
#define SOCKF_LINGER 32u
#define SOCKF_PASSCRED 64u
#define SOCKF_DEBUG 128u
#define SOCKF_TSTAMP 256u /* SO_TIMESTAMP or, with _NS, SO_TIMESTAMPNS */
#define SOCKF_TSTAMP_NS 512u
#define SOCKF_TSTAMP_NEW 1024u /* the option's 64-bit number: the message has that too */
#define SOCKF_SNDBUF_SET 2048u /* by the user: no autotuning */
#define SOCKF_RCVBUF_SET 4096u

/* socket_ops.features */
#define SOCK_FEAT_BINDTODEVICE 1u /* honours sock_common.ifindex */
#define SOCK_FEAT_TIMESTAMP 2u /* calls sock_put_timestamp() */
#define SOCK_FEAT_PASSCRED 4u
#define SOCK_FEAT_RCVLOWAT 8u
#define SOCK_FEAT_REUSEPORT 16u

struct sock_common {
	u64 rcvtimeo, sndtimeo; /* ns; NEVER: wait for ever; 0: not at all */
	u32 sndbuf, rcvbuf; /* bytes as getsockopt(2) reports them: twice what was asked for */
	u32 rcvlowat; /* 1 */
	u32 flags; /* SOCKF_*; changed atomically */
	u32 linger_s;
	u32 priority, mark;
	u32 ifindex; /* SO_BINDTODEVICE; 0: any */
	u32 listening; /* SO_ACCEPTCONN */
	int err; /* pending error, a positive errno: sock_set_error() */
	u64 ino; /* of sockfs: fstat, /proc/self/fd, /proc/net; also the cookie */
	struct sock_cred peer; /* SO_PEERCRED; pid 0, ids -1: none */
};

/* Defaults. Called by socket_file() if the family did not (ino is 0). */
void sock_common_init(struct sock_common *c);
static inline bool sock_flag(const struct sock_common *c, u32 flag)
{
	return __atomic_load_n(&c->flags, __ATOMIC_RELAXED) & flag;
}
/* Sets the error that the next call or SO_ERROR reports, and takes it (0: none). Wake waiters yourself. */
void sock_set_error(struct sock_common *c, int err);
int sock_take_error(struct sock_common *c);

/* Absolute deadline of a wait with a SO_RCVTIMEO or SO_SNDTIMEO; the value of a wait that ended by itself. */
u64 sock_deadline(u64 timeo);
/*
 * What wait_event() says, as a socket call says it: -EAGAIN when the time is over; a signal restarts a call
 * without a timeout only (-ERESTARTSYS, else -EINTR: its time would begin again).
 */
long sock_wait_result(long r, u64 timeo);

/* SOL_SOCKET, for every family. val in libOS memory. -EINVAL, -EPERM, -EDOM, -ENODEV, -ENOPROTOOPT. */
int sock_setsockopt(struct socket *s, int name, const void *val, u32 len);
/* *len: room, then bytes written. */
int sock_getsockopt(struct socket *s, int name, void *val, u32 *len);
/* An int option of any level: -EINVAL if it is shorter. And answering one. */
int sock_opt_int(const void *val, u32 len, int *v);
void sock_answer(void *val, u32 *len, const void *answer, u32 n);

/*
 * Appends a control message to what recvmsg reports (m->control_used); MSG_CTRUNC if it does not fit whole, as
 * Linux. May sleep (user memory).
 */
void sock_put_cmsg(struct sock_msg *m, int level, int type, const void *data, u32 n);
/* SCM_TIMESTAMP as the flags of s ask for, if they do; ns of CLOCK_REALTIME, 0: now. */
void sock_put_timestamp(struct socket *s, struct sock_msg *m, u64 realtime_ns);

/* The control messages of a sendmsg: start with *at = 0. */
struct sock_cmsg {
	s32 level, type;
	u64 data; /* user address */
	u64 len; /* of the data */
};
/* 1: *c is the next; 0: no more; -EFAULT; -EINVAL: malformed. */
int sock_next_cmsg(const struct sock_msg *m, u64 *at, struct sock_cmsg *c);

/* Credentials of the caller. */
struct sock_cred sock_own_cred(void);
/* /proc and stat: a fresh inode number of sockfs. */
u64 sock_new_ino(void);

#endif
