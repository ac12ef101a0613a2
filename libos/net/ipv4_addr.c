/*
 * ipv4_addr.c - addresses without a length: what they mean, their printed and sockaddr forms, their
 * checksum.
 */
#include <linux/in.h>

#include "libos/lib/printf.h"
#include "libos/net/ipv4.h"

bool netaddr_is_local(const struct netaddr *a)
{
	return a->family == AF_INET && ip4_is_ours(ip4_of(a));
}

bool netaddr_is_any(const struct netaddr *a)
{
	return a->family != AF_INET || !ip4_of(a);
}

bool netaddr_is_broadcast(const struct netaddr *a)
{
	u32 v = ip4_of(a);

	return a->family == AF_INET && (ip4_is_multicast(v) || ip4_is_broadcast(v));
}

bool netaddr_is_loopback(const struct netaddr *a)
{
	return a->family == AF_INET && ip4_is_loopback(ip4_of(a));
}

void netaddr_any(struct netaddr *a, u16 family)
{
	*a = (struct netaddr){.family = family};
}

int endpoint_from_sockaddr(struct endpoint *e, const void *sa, u32 len)
{
	struct sockaddr_in in;

	if (len < sizeof(in))
		return -EINVAL;
	memcpy(&in, sa, sizeof(in));
	if (in.sin_family != AF_INET)
		return -EAFNOSUPPORT;
	*e = (struct endpoint){.addr.family = AF_INET, .port = net16(in.sin_port)};
	memcpy(e->addr.b, &in.sin_addr, sizeof(in.sin_addr));
	return 0;
}

u32 endpoint_to_sockaddr(const struct endpoint *e, void *sa)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = net16(e->port)};

	memcpy(&in.sin_addr, e->addr.b, sizeof(in.sin_addr));
	memcpy(sa, &in, sizeof(in));
	return sizeof(in);
}

int netaddr_print(const struct netaddr *a, char *buf, size_t size)
{
	const u8 *b = a->b;

	if (a->family != AF_INET)
		return snprintf(buf, size, "*");
	return snprintf(buf, size, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
}

int endpoint_print(const struct endpoint *e, char *buf, size_t size)
{
	const u8 *b = e->addr.b;

	if (e->addr.family != AF_INET)
		return snprintf(buf, size, "*:%u", e->port);
	return snprintf(buf, size, "%u.%u.%u.%u:%u", b[0], b[1], b[2], b[3], e->port);
}

u32 pseudo_sum(const struct netaddr *src, const struct netaddr *dst, u8 proto, u32 len)
{
	u32 sum = csum_add(src->b, 4, 0);

	sum = csum_fold(csum_add(dst->b, 4, sum));
	return sum + net16(proto) + net16((u16)len) + (len >> 16);
}

/* Of a netmask, whose ones are all in front. */
static u32 mask_bits(u32 mask)
{
	return mask ? 32 - (u32)__builtin_ctz(mask) : 0;
}

bool netif_ifaddr(const struct netif *nif, u32 i, struct ifaddr *a)
{
	const struct ipv4_conf *c = &ipv4_conf;

	*a = (struct ifaddr){.addr_len = 4};
	if (i)
		return false;
	if (nif->flags & NETIF_LOOPBACK) {
		a->addr = ip4_addr(IP4_LOOPBACK);
		a->prefix_len = 8;
		a->host_only = true;
		return true;
	}
	if (nif != c->nif || !c->addr)
		return false;
	a->addr = ip4_addr(c->addr);
	a->broadcast = ip4_addr(c->addr | ~c->mask);
	a->prefix_len = mask_bits(c->mask);
	return true;
}

bool route_entry(u32 i, struct route_entry *r)
{
	const struct ipv4_conf *c = &ipv4_conf;

	if (!c->nif || !c->addr)
		return false;
	*r = (struct route_entry){.nif = c->nif, .dst.family = AF_INET};
	if (c->gateway && !i--) {
		r->gateway = ip4_addr(c->gateway);
		return true;
	}
	if (i)
		return false;
	r->dst = ip4_addr(c->addr & c->mask);
	r->src = ip4_addr(c->addr);
	r->prefix_len = mask_bits(c->mask);
	return true;
}
