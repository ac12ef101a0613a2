/*
 * inet_ioctl.c - the SIOCGIF* calls of netdevice(7), which any socket answers. Changes are EPERM.
 */
#include <linux/sockios.h>

#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/net/inet.h"

#define IFNAME_MAX 16u
/* linux/if_arp.h */
#define ARPHRD_ETHER 1
#define ARPHRD_LOOPBACK 772
#define IFF_UP 0x1
#define IFF_BROADCAST 0x2
#define IFF_LOOPBACK 0x8
#define IFF_RUNNING 0x40
#define IFF_MULTICAST 0x1000
#define TX_QUEUE_LEN 1000

/* struct ifreq */
struct ifreq_k {
	char name[IFNAME_MAX];
	union {
		u8 addr[16]; /* struct sockaddr */
		s32 value;
		s16 flags;
		u8 map[24];
	};
};
_Static_assert(sizeof(struct ifreq_k) == 40, "struct ifreq");

struct ifconf_k {
	s32 len, pad;
	u64 buf;
};

static void put_addr(struct ifreq_k *q, const struct netaddr *a)
{
	struct endpoint e = { .addr = *a };

	memset(q->addr, 0, sizeof(q->addr));
	endpoint_to_sockaddr(&e, q->addr);
}

/* The netmask of a prefix length, as an address of that family. */
static struct netaddr mask_of(const struct ifaddr *a)
{
	struct netaddr m = { .family = a->addr.family };

	for (u32 i = 0; i < a->prefix_len; i++)
		m.b[i / 8] |= (u8)(0x80 >> i % 8);
	return m;
}

/* SIOCGIFCONF: the interfaces with addresses; without a buffer, the room that they take. */
static long get_conf(u64 arg)
{
	struct ifconf_k c;
	struct ifreq_k q;
	struct ifaddr a;
	s32 done = 0;

	if (copy_from_user(&c, (void *)arg, sizeof(c)))
		return -EFAULT;
	for (struct netif *n = netif_next(NULL); n; n = netif_next(n)) {
		for (u32 i = 0; netif_ifaddr(n, i, &a); i++) {
			if (c.buf && c.len - done < (s32)sizeof(q))
				goto out;
			memset(&q, 0, sizeof(q));
			strlcpy(q.name, n->name, sizeof(q.name));
			put_addr(&q, &a.addr);
			if (c.buf && copy_to_user((void *)(c.buf + (u64)done), &q, sizeof(q)))
				return -EFAULT;
			done += (s32)sizeof(q);
		}
	}
out:
	return put_user_u32((u32)done, (void *)arg);
}

static int get_addr(unsigned cmd, const struct netif *n, struct ifreq_k *q)
{
	struct netaddr m;
	struct ifaddr a;

	if (!netif_ifaddr(n, 0, &a))
		return -EADDRNOTAVAIL;
	switch (cmd) {
	case SIOCGIFADDR:
	case SIOCGIFDSTADDR:
		put_addr(q, &a.addr);
		return 0;
	case SIOCGIFNETMASK:
		m = mask_of(&a);
		break;
	default:
		m = a.broadcast;
		m.family = a.addr.family;
	}
	put_addr(q, &m);
	return 0;
}

static int get_one(unsigned cmd, const struct netif *n, struct ifreq_k *q)
{
	bool lo = n->flags & NETIF_LOOPBACK;
	u16 type = lo ? ARPHRD_LOOPBACK : ARPHRD_ETHER;

	switch (cmd) {
	case SIOCGIFADDR:
	case SIOCGIFDSTADDR:
	case SIOCGIFNETMASK:
	case SIOCGIFBRDADDR:
		return get_addr(cmd, n, q);
	case SIOCGIFFLAGS:
		q->flags = (s16)((lo ? IFF_LOOPBACK : IFF_BROADCAST | IFF_MULTICAST) |
				 (n->flags & NETIF_UP ? IFF_UP | IFF_RUNNING : 0));
		return 0;
	case SIOCGIFMTU:
		q->value = (s32)n->mtu;
		return 0;
	case SIOCGIFINDEX:
		q->value = (s32)n->index;
		return 0;
	case SIOCGIFMETRIC:
		q->value = 0;
		return 0;
	case SIOCGIFTXQLEN:
		q->value = TX_QUEUE_LEN;
		return 0;
	case SIOCGIFMAP:
		memset(q->map, 0, sizeof(q->map));
		return 0;
	case SIOCGIFHWADDR:
		memset(q->addr, 0, sizeof(q->addr));
		memcpy(q->addr, &type, sizeof(type));
		memcpy(q->addr + 2, n->lladdr, sizeof(n->lladdr));
		return 0;
	}
	return -EOPNOTSUPP;
}

long inet_ioctl(unsigned cmd, u64 arg)
{
	struct ifreq_k q;
	struct netif *n;
	int err;

	switch (cmd) {
	case SIOCGIFCONF:
		return get_conf(arg);
	case SIOCGIFNAME:
	case SIOCGIFADDR:
	case SIOCGIFDSTADDR:
	case SIOCGIFNETMASK:
	case SIOCGIFBRDADDR:
	case SIOCGIFFLAGS:
	case SIOCGIFMTU:
	case SIOCGIFINDEX:
	case SIOCGIFMETRIC:
	case SIOCGIFTXQLEN:
	case SIOCGIFMAP:
	case SIOCGIFHWADDR:
	case SIOCETHTOOL:
		break;
	case SIOCSIFADDR:
	case SIOCSIFDSTADDR:
	case SIOCSIFNETMASK:
	case SIOCSIFBRDADDR:
	case SIOCSIFFLAGS:
	case SIOCSIFMTU:
	case SIOCSIFNAME:
	case SIOCSIFMETRIC:
	case SIOCSIFTXQLEN:
	case SIOCSIFHWADDR:
	case SIOCADDRT:
	case SIOCDELRT:
		return -EPERM;
	default:
		return -ENOTTY;
	}
	if (copy_from_user(&q, (void *)arg, sizeof(q)))
		return -EFAULT;
	q.name[IFNAME_MAX - 1] = 0;
	n = cmd == SIOCGIFNAME ? netif_by_index((u32)q.value) : netif_by_name(q.name);
	if (!n)
		return -ENODEV;
	if (cmd == SIOCGIFNAME) {
		memset(q.name, 0, sizeof(q.name));
		strlcpy(q.name, n->name, sizeof(q.name));
	} else {
		err = get_one(cmd, n, &q);
		if (err)
			return err;
	}
	return copy_to_user((void *)arg, &q, sizeof(q));
}
