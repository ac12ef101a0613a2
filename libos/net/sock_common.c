/*
 * sock_common.c - options, timeouts, errors and control data that sockets of all families share; socket(7).
 *
 * Nothing here is accepted without effect. Options that Linux only stores are stored (SO_PRIORITY, SO_MARK: there
 * is no queueing discipline or rule that would look); what the library OS does not do is ENOPROTOOPT.
 */
#include "libos/net/sock_common.h"

#include <asm/socket.h>
#include <linux/capability.h>
#include <linux/time.h>

#include "libos/fs/vfs.h"
#include "libos/ipc/pipe.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/net/netif.h"
#include "libos/net/socket.h"
#include "libos/platform/hostcall.h"
#include "libos/proc/proc.h"

#define SNDLOWAT 1 /* cannot be changed, as on Linux */
#define IFNAME_MAX 16u

u64 sock_new_ino(void)
{
	return anon_new_ino();
}

struct sock_cred sock_own_cred(void)
{
	const struct proc *p = current_proc();

	return (struct sock_cred){ p->pid, p->cred.euid, p->cred.egid };
}

void sock_common_init(struct sock_common *c)
{
	*c = (struct sock_common){
		.rcvtimeo = NEVER,
		.sndtimeo = NEVER,
		.sndbuf = SOCK_BUF_DEFAULT,
		.rcvbuf = SOCK_BUF_DEFAULT,
		.rcvlowat = 1,
		.ino = sock_new_ino(),
		.peer = { 0, (u32)-1, (u32)-1 },
	};
}

void sock_set_error(struct sock_common *c, int err)
{
	__atomic_store_n(&c->err, err, __ATOMIC_RELEASE);
}

int sock_take_error(struct sock_common *c)
{
	return likely(!READ_ONCE(c->err)) ? 0 : __atomic_exchange_n(&c->err, 0, __ATOMIC_ACQ_REL);
}

u64 sock_deadline(u64 timeo)
{
	return timeo == NEVER ? NEVER : host_clock_ns(CLOCK_MONOTONIC) + timeo;
}

long sock_wait_result(long r, u64 timeo)
{
	if (r == -ETIMEDOUT)
		return -EAGAIN;
	return r == -ERESTARTSYS && timeo != NEVER ? -EINTR : r;
}

/* Options: arguments */

int sock_opt_int(const void *val, u32 len, int *v)
{
	if (len < sizeof(*v))
		return -EINVAL;
	memcpy(v, val, sizeof(*v));
	return 0;
}

void sock_answer(void *val, u32 *len, const void *answer, u32 n)
{
	*len = min(*len, n);
	memcpy(val, answer, *len);
}

/* struct timeval to ns. A negative time is none at all: socket(7) does not say, Linux does not wait. */
static int timeo_from(const void *val, u32 len, u64 *ns)
{
	s64 tv[2];

	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(tv, val, sizeof(tv));
	if (tv[1] < 0 || tv[1] >= 1000000)
		return -EDOM;
	if (tv[0] < 0)
		*ns = 0;
	else
		*ns = tv[0] || tv[1] ? min((u64)tv[0], 1ull << 33) * NSEC_PER_SEC + (u64)tv[1] * 1000 : NEVER;
	return 0;
}

static void timeo_answer(void *val, u32 *len, u64 ns)
{
	s64 tv[2] = { 0, 0 };

	if (ns != NEVER) {
		tv[0] = (s64)(ns / NSEC_PER_SEC);
		tv[1] = (s64)(ns % NSEC_PER_SEC / 1000);
	}
	sock_answer(val, len, tv, sizeof(tv));
}

static void flag_set(struct sock_common *c, u32 flag, bool on)
{
	if (on)
		__atomic_fetch_or(&c->flags, flag, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&c->flags, ~flag, __ATOMIC_RELAXED);
}

/* Linux doubles what is asked for, as room for bookkeeping, within [rw]mem_max unless FORCEd. */
static u32 buf_size(int v, bool force, u32 least)
{
	u32 n = force ? (u32)max(v, 0) : min((u32)v, SOCK_BUF_MAX);

	return max(min(n, (u32)INT32_MAX / 2) * 2, least);
}

static int set_device(struct socket *s, const void *val, u32 len)
{
	struct sock_common *c = &s->c;
	char name[IFNAME_MAX] = {};
	struct netif *nif;
	u32 index = 0;

	if (!(s->ops->features & SOCK_FEAT_BINDTODEVICE))
		return -ENOPROTOOPT;
	if (c->ifindex && !fs_capable(CAP_NET_RAW))
		return -EPERM;
	memcpy(name, val, min(len, IFNAME_MAX - 1));
	if (name[0]) {
		nif = netif_by_name(name);
		if (!nif)
			return -ENODEV;
		index = nif->index;
	}
	WRITE_ONCE(c->ifindex, index);
	return 0;
}

static int get_device(struct socket *s, void *val, u32 *len)
{
	u32 index = READ_ONCE(s->c.ifindex);
	struct netif *nif;

	if (!(s->ops->features & SOCK_FEAT_BINDTODEVICE))
		return -ENOPROTOOPT;
	if (!index) {
		*len = 0;
		return 0;
	}
	if (*len < IFNAME_MAX)
		return -EINVAL;
	nif = netif_by_index(index);
	if (!nif)
		return -ENODEV;
	sock_answer(val, len, nif->name, (u32)strlen(nif->name) + 1);
	return 0;
}

static int set_linger(struct sock_common *c, const void *val, u32 len)
{
	int v[2];

	if (len < sizeof(v))
		return -EINVAL;
	memcpy(v, val, sizeof(v));
	if (v[0])
		WRITE_ONCE(c->linger_s, (u32)v[1]);
	flag_set(c, SOCKF_LINGER, v[0]);
	return 0;
}

static int set_timestamp(struct socket *s, int name, bool on)
{
	u32 flags = SOCKF_TSTAMP;

	if (!(s->ops->features & SOCK_FEAT_TIMESTAMP))
		return -ENOPROTOOPT;
	if (name == SO_TIMESTAMPNS_OLD || name == SO_TIMESTAMPNS_NEW)
		flags |= SOCKF_TSTAMP_NS;
	if (name == SO_TIMESTAMP_NEW || name == SO_TIMESTAMPNS_NEW)
		flags |= SOCKF_TSTAMP_NEW;
	flag_set(&s->c, SOCKF_TSTAMP | SOCKF_TSTAMP_NS | SOCKF_TSTAMP_NEW, false);
	flag_set(&s->c, flags, on);
	return 0;
}

static int get_timestamp(struct socket *s, int name)
{
	u32 want = SOCKF_TSTAMP, mask = SOCKF_TSTAMP | SOCKF_TSTAMP_NS | SOCKF_TSTAMP_NEW;

	if (name == SO_TIMESTAMPNS_OLD || name == SO_TIMESTAMPNS_NEW)
		want |= SOCKF_TSTAMP_NS;
	if (name == SO_TIMESTAMP_NEW || name == SO_TIMESTAMPNS_NEW)
		want |= SOCKF_TSTAMP_NEW;
	return (READ_ONCE(s->c.flags) & mask) == want;
}

/* Options that are one bit of flags; 0: not one of them. */
static u32 flag_of(const struct socket *s, int name)
{
	switch (name) {
	case SO_DEBUG:
		return SOCKF_DEBUG;
	case SO_REUSEADDR:
		return SOCKF_REUSEADDR;
	case SO_REUSEPORT:
		return SOCKF_REUSEPORT;
	case SO_KEEPALIVE:
		return SOCKF_KEEPALIVE;
	case SO_BROADCAST:
		return SOCKF_BROADCAST;
	case SO_OOBINLINE:
		return SOCKF_OOBINLINE;
	case SO_PASSCRED:
		return SOCKF_PASSCRED;
	}
	return 0;
}

static int set_flag_option(struct socket *s, int name, u32 flag, bool on)
{
	if (name == SO_DEBUG && on && !fs_capable(CAP_NET_ADMIN))
		return -EACCES;
	if (name == SO_REUSEPORT && on && !(s->ops->features & SOCK_FEAT_REUSEPORT))
		return -EOPNOTSUPP;
	if (name == SO_PASSCRED && !(s->ops->features & SOCK_FEAT_PASSCRED))
		return -EOPNOTSUPP;
	flag_set(&s->c, flag, on);
	return 0;
}

static int set_int(struct socket *s, int name, int v)
{
	struct sock_common *c = &s->c;

	switch (name) {
	case SO_SNDBUFFORCE:
	case SO_RCVBUFFORCE:
		if (!fs_capable(CAP_NET_ADMIN))
			return -EPERM;
		break;
	case SO_PRIORITY:
		if ((v < 0 || v > 6) && !fs_capable(CAP_NET_RAW) && !fs_capable(CAP_NET_ADMIN))
			return -EPERM;
		WRITE_ONCE(c->priority, (u32)v);
		return 0;
	case SO_MARK:
		if (!fs_capable(CAP_NET_RAW) && !fs_capable(CAP_NET_ADMIN))
			return -EPERM;
		WRITE_ONCE(c->mark, (u32)v);
		return 0;
	case SO_RCVLOWAT:
		if (!(s->ops->features & SOCK_FEAT_RCVLOWAT))
			return -ENOPROTOOPT;
		WRITE_ONCE(c->rcvlowat, v < 0 ? (u32)INT32_MAX : v ? (u32)v : 1);
		return 0;
	case SO_TIMESTAMP_OLD:
	case SO_TIMESTAMPNS_OLD:
	case SO_TIMESTAMP_NEW:
	case SO_TIMESTAMPNS_NEW:
		return set_timestamp(s, name, v);
	}
	switch (name) {
	case SO_SNDBUF:
	case SO_SNDBUFFORCE:
		flag_set(c, SOCKF_SNDBUF_SET, true);
		WRITE_ONCE(c->sndbuf, buf_size(v, name == SO_SNDBUFFORCE, SOCK_MIN_SNDBUF));
		return 0;
	case SO_RCVBUF:
	case SO_RCVBUFFORCE:
		flag_set(c, SOCKF_RCVBUF_SET, true);
		WRITE_ONCE(c->rcvbuf, buf_size(v, name == SO_RCVBUFFORCE, SOCK_MIN_RCVBUF));
		return 0;
	}
	return -ENOPROTOOPT;
}

static int set_option(struct socket *s, int name, const void *val, u32 len)
{
	struct sock_common *c = &s->c;
	u32 flag;
	int v, err;

	if (name == SO_BINDTODEVICE)
		return set_device(s, val, len);
	err = sock_opt_int(val, len, &v);
	if (err)
		return err;
	flag = flag_of(s, name);
	if (flag)
		return set_flag_option(s, name, flag, v);
	switch (name) {
	case SO_LINGER:
		return set_linger(c, val, len);
	case SO_RCVTIMEO_OLD:
	case SO_RCVTIMEO_NEW:
		return timeo_from(val, len, &c->rcvtimeo);
	case SO_SNDTIMEO_OLD:
	case SO_SNDTIMEO_NEW:
		return timeo_from(val, len, &c->sndtimeo);
	}
	return set_int(s, name, v);
}

int sock_setsockopt(struct socket *s, int name, const void *val, u32 len)
{
	int err = set_option(s, name, val, len);

	if (!err && s->ops->option_changed)
		s->ops->option_changed(s, name);
	return err;
}

/* Options whose value is an int. */
static int get_int(struct socket *s, int name, int *v)
{
	struct sock_common *c = &s->c;
	u32 flag = flag_of(s, name);

	if (flag) {
		if (name == SO_PASSCRED && !(s->ops->features & SOCK_FEAT_PASSCRED))
			return -EOPNOTSUPP;
		*v = sock_flag(c, flag) != 0;
		return 0;
	}
	switch (name) {
	case SO_TYPE:
		*v = s->type;
		break;
	case SO_DOMAIN:
		*v = s->family;
		break;
	case SO_PROTOCOL:
		*v = s->protocol;
		break;
	case SO_ACCEPTCONN:
		*v = READ_ONCE(c->listening) != 0;
		break;
	case SO_SNDBUF:
		*v = (int)READ_ONCE(c->sndbuf);
		break;
	case SO_RCVBUF:
		*v = (int)READ_ONCE(c->rcvbuf);
		break;
	case SO_RCVLOWAT:
		*v = (int)READ_ONCE(c->rcvlowat);
		break;
	case SO_SNDLOWAT:
		*v = SNDLOWAT;
		break;
	case SO_PRIORITY:
		*v = (int)READ_ONCE(c->priority);
		break;
	case SO_MARK:
		*v = (int)READ_ONCE(c->mark);
		break;
	case SO_TIMESTAMP_OLD:
	case SO_TIMESTAMPNS_OLD:
	case SO_TIMESTAMP_NEW:
	case SO_TIMESTAMPNS_NEW:
		if (!(s->ops->features & SOCK_FEAT_TIMESTAMP))
			return -ENOPROTOOPT;
		*v = get_timestamp(s, name);
		break;
	default:
		return -ENOPROTOOPT;
	}
	return 0;
}

int sock_getsockopt(struct socket *s, int name, void *val, u32 *len)
{
	struct sock_common *c = &s->c;
	int v, linger[2], err;

	switch (name) {
	case SO_LINGER:
		linger[0] = sock_flag(c, SOCKF_LINGER) != 0;
		linger[1] = (int)READ_ONCE(c->linger_s);
		sock_answer(val, len, linger, sizeof(linger));
		return 0;
	case SO_RCVTIMEO_OLD:
	case SO_RCVTIMEO_NEW:
		timeo_answer(val, len, READ_ONCE(c->rcvtimeo));
		return 0;
	case SO_SNDTIMEO_OLD:
	case SO_SNDTIMEO_NEW:
		timeo_answer(val, len, READ_ONCE(c->sndtimeo));
		return 0;
	case SO_PEERCRED:
		sock_answer(val, len, &c->peer, sizeof(c->peer));
		return 0;
	case SO_COOKIE:
		if (*len < sizeof(c->ino))
			return -EINVAL;
		sock_answer(val, len, &c->ino, sizeof(c->ino));
		return 0;
	case SO_BINDTODEVICE:
		return get_device(s, val, len);
	}
	err = get_int(s, name, &v);
	if (!err)
		sock_answer(val, len, &v, sizeof(v));
	return err;
}

/* Control data */

/* struct cmsghdr */
struct cmsghdr_k {
	u64 len;
	s32 level, type;
};
#define CMSG_ALIGN_K(n) (((n) + 7ul) & ~7ul)

void sock_put_cmsg(struct sock_msg *m, int level, int type, const void *data, u32 n)
{
	struct cmsghdr_k c = { sizeof(c) + n, level, type };
	u64 room = m->controllen - m->control_used, at = m->control + m->control_used;

	if (room < sizeof(c)) {
		m->flags |= MSG_CTRUNC;
		return;
	}
	if (c.len > room) {
		m->flags |= MSG_CTRUNC;
		c.len = room;
	}
	if (copy_to_user((void *)at, &c, sizeof(c)) ||
	    copy_to_user((void *)(at + sizeof(c)), data, c.len - sizeof(c)))
		return;
	m->control_used += min(CMSG_ALIGN_K(c.len), room);
}

void sock_put_timestamp(struct socket *s, struct sock_msg *m, u64 realtime_ns)
{
	u32 flags = READ_ONCE(s->c.flags);
	u64 t[2];

	if (likely(!(flags & SOCKF_TSTAMP)))
		return;
	if (!realtime_ns)
		realtime_ns = host_clock_ns(CLOCK_REALTIME);
	t[0] = realtime_ns / NSEC_PER_SEC;
	t[1] = realtime_ns % NSEC_PER_SEC;
	if (flags & SOCKF_TSTAMP_NS) {
		sock_put_cmsg(m, SOL_SOCKET, flags & SOCKF_TSTAMP_NEW ? SO_TIMESTAMPNS_NEW : SO_TIMESTAMPNS_OLD,
			      t, sizeof(t));
	} else {
		t[1] /= 1000;
		sock_put_cmsg(m, SOL_SOCKET, flags & SOCKF_TSTAMP_NEW ? SO_TIMESTAMP_NEW : SO_TIMESTAMP_OLD, t,
			      sizeof(t));
	}
}

int sock_next_cmsg(const struct sock_msg *m, u64 *at, struct sock_cmsg *c)
{
	struct cmsghdr_k h;
	u64 left = m->controllen - *at;

	if (left < sizeof(h))
		return 0;
	if (copy_from_user(&h, (void *)(m->control + *at), sizeof(h)))
		return -EFAULT;
	if (h.len < sizeof(h) || h.len > left)
		return -EINVAL;
	*c = (struct sock_cmsg){ h.level, h.type, m->control + *at + sizeof(h), h.len - sizeof(h) };
	*at += min(CMSG_ALIGN_K(h.len), left);
	return 1;
}
