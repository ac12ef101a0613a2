/*
 * ipv4_sockopt.c - options and control messages of level IPPROTO_IP for datagram sockets; ip(7).
 *
 * What is not listed is not supported, and says so: multicast groups, IP options, transparent and
 * free binding.
 */
#include <asm/socket.h>
#include <linux/in.h>

#include "libos/mm/usercopy.h"
#include "libos/net/ipv4.h"
#include "libos/net/udp.h"

/* linux/errqueue.h, which needs headers of a C library */
struct sock_extended_err {
	u32 ee_errno;
	u8 ee_origin, ee_type, ee_code, ee_pad;
	u32 ee_info, ee_data;
};
#define SO_EE_ORIGIN_LOCAL 1
#define SO_EE_ORIGIN_ICMP 2

#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2

/* ip(7): an int, or a single byte where programs pass one. */
static int get_int(const void *val, u32 len, int *v)
{
	if (len >= sizeof(*v))
		memcpy(v, val, sizeof(*v));
	else if (len >= 1)
		*v = *(const u8 *)val;
	else
		return -EINVAL;
	return 0;
}

int ipv4_setsockopt(struct ipv4_opts *o, int name, const void *val, u32 len)
{
	int v = 0, err = get_int(val, len, &v);

	switch (name) {
	case IP_TOS:
	case IP_TTL:
	case IP_MTU_DISCOVER:
	case IP_RECVERR:
	case IP_PKTINFO:
	case IP_RECVTTL:
	case IP_RECVTOS:
		if (err)
			return err;
		break;
	default:
		return -ENOPROTOOPT;
	}
	switch (name) {
	case IP_TOS:
		o->tos = v;
		break;
	case IP_TTL:
		if (v != -1 && (v < 1 || v > 255))
			return -EINVAL;
		o->ttl = v == -1 ? 0 : v;
		break;
	case IP_MTU_DISCOVER:
		if (v < IP_PMTUDISC_DONT || v > IP_PMTUDISC_OMIT)
			return -EINVAL;
		o->pmtudisc = v;
		break;
	case IP_RECVERR:
		o->recverr = v;
		break;
	case IP_PKTINFO:
		o->pktinfo = v;
		break;
	case IP_RECVTTL:
		o->recvttl = v;
		break;
	case IP_RECVTOS:
		o->recvtos = v;
		break;
	}
	return 0;
}

int ipv4_getsockopt(const struct ipv4_opts *o, u32 mtu, int name, void *val, u32 *len)
{
	int v;

	switch (name) {
	case IP_TOS:
		v = o->tos;
		break;
	case IP_TTL:
		v = o->ttl ? o->ttl : IP_DEFAULT_TTL;
		break;
	case IP_MTU_DISCOVER:
		v = o->pmtudisc;
		break;
	case IP_RECVERR:
		v = o->recverr;
		break;
	case IP_PKTINFO:
		v = o->pktinfo;
		break;
	case IP_RECVTTL:
		v = o->recvttl;
		break;
	case IP_RECVTOS:
		v = o->recvtos;
		break;
	case IP_MTU:
		if (!mtu)
			return -ENOTCONN;
		v = mtu;
		break;
	default:
		return -ENOPROTOOPT;
	}
	/* As Linux: short room gets a byte, if the value is one. */
	if (*len && *len < sizeof(v) && v >= 0 && v <= 255) {
		*(u8 *)val = v;
		*len = 1;
		return 0;
	}
	sock_answer(val, len, &v, sizeof(v));
	return 0;
}

void ipv4_recv_cmsgs(const struct ipv4_opts *o, const struct udp_cb *cb, struct sock_msg *m)
{
	if (o->pktinfo) {
		struct in_pktinfo info = {.ipi_ifindex = cb->ifindex};
		u32 dst = ip4_of(&cb->dst), own = ip4_is_broadcast(dst) ? ipv4_conf.addr : dst;

		memcpy(&info.ipi_addr, cb->dst.b, 4);
		ip4_store((u8 *)&info.ipi_spec_dst, own);
		sock_put_cmsg(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	}
	if (o->recvttl) {
		int ttl = cb->ttl;

		sock_put_cmsg(m, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	}
	if (o->recvtos)
		sock_put_cmsg(m, IPPROTO_IP, IP_TOS, &cb->tos, 1);
}

void ipv4_error_cmsg(const struct icmp_event *ev, struct sock_msg *m)
{
	struct {
		struct sock_extended_err ee;
		struct sockaddr_in offender;
	} e = {
		.ee.ee_errno = ev->err,
		.ee.ee_origin = ev->remote ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_LOCAL,
		.ee.ee_type = ev->remote ? ev->type : 0,
		.ee.ee_code = ev->remote ? ev->code : 0,
		.ee.ee_info = ev->mtu,
	};

	if (ev->remote) {
		e.offender.sin_family = AF_INET;
		memcpy(&e.offender.sin_addr, ev->from.b, 4);
	}
	sock_put_cmsg(m, IPPROTO_IP, IP_RECVERR, &e, sizeof(e));
}

int ipv4_send_cmsgs(struct sock_msg *m, struct ip_send *to)
{
	struct sock_cmsg c;
	u64 at = 0;
	int r, v;

	while ((r = sock_next_cmsg(m, &at, &c)) == 1) {
		struct in_pktinfo info;

		if (c.level == SOL_SOCKET) {
			/* Of AF_UNIX, and on other sockets without meaning, as Linux has it. */
			if (c.type == SCM_RIGHTS || c.type == SCM_CREDENTIALS)
				continue;
			return -EINVAL;
		}
		if (c.level != IPPROTO_IP)
			continue;
		switch (c.type) {
		case IP_PKTINFO:
			if (c.len != sizeof(info))
				return -EINVAL;
			if (get_user(info, (void *)c.data))
				return -EFAULT;
			if (info.ipi_ifindex)
				to->ifindex = info.ipi_ifindex;
			to->src = (struct netaddr){.family = AF_INET};
			memcpy(to->src.b, &info.ipi_spec_dst, 4);
			break;
		case IP_TTL:
		case IP_TOS:
			v = 0;
			if (c.len != sizeof(v) && (c.type != IP_TOS || c.len != 1))
				return -EINVAL;
			if (copy_from_user(&v, (void *)c.data, c.len))
				return -EFAULT;
			if (v < (c.type == IP_TTL) || v > 255)
				return -EINVAL;
			if (c.type == IP_TTL)
				to->ttl = v;
			else
				to->tos = v;
			break;
		default:
			return -EINVAL;
		}
	}
	return r;
}

int ipv4_pmtu_rule(const struct ipv4_opts *o, struct route *r, u32 total, u32 *flags)
{
	*flags = 0;
	if (o->pmtudisc >= IP_PMTUDISC_PROBE) /* what is known of the path does not count */
		r->mtu = r->nif->mtu;
	switch (o->pmtudisc) {
	case IP_PMTUDISC_WANT: /* what is too long is cut here, and the pieces may be cut on */
		*flags = total <= r->mtu ? IP_DF : 0;
		return 0;
	case IP_PMTUDISC_DO:
	case IP_PMTUDISC_PROBE:
		*flags = IP_DF;
		return total <= r->mtu ? 0 : -EMSGSIZE;
	case IP_PMTUDISC_INTERFACE:
		return total <= r->mtu ? 0 : -EMSGSIZE;
	}
	return 0;
}
