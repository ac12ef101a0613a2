/* netifs.c - interfaces by netlink, getifaddrs and ioctl; only lo, which is the same everywhere. */
#include "t.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

static struct {
	struct nlmsghdr h;
	union {
		struct ifinfomsg link;
		struct ifaddrmsg addr;
		struct rtmsg route;
	};
	char attrs[64];
} req;
static char buf[65536];

static int ask(int s, int type, int flags, size_t size)
{
	req.h.nlmsg_len = NLMSG_LENGTH(size);
	req.h.nlmsg_type = type;
	req.h.nlmsg_flags = NLM_F_REQUEST | flags;
	req.h.nlmsg_seq++;
	return send(s, &req, req.h.nlmsg_len, 0) == (ssize_t)req.h.nlmsg_len ? 0 : -1;
}

/* One answer that is not a dump. */
static void show_answer(const char *what, int s)
{
	struct nlmsghdr *h = (void *)buf;
	struct nlmsgerr *e = NLMSG_DATA(h);
	ssize_t n = recv(s, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0)
		say("%s: %s", what, t_errname(errno));
	else if (h->nlmsg_type == NLMSG_ERROR)
		say("%s: error %s len %u flags %x seq %d", what, e->error ? t_errname(-e->error) : "0",
		    h->nlmsg_len, h->nlmsg_flags, h->nlmsg_seq == req.h.nlmsg_seq);
	else
		say("%s: type %d seq %d", what, h->nlmsg_type, h->nlmsg_seq == req.h.nlmsg_seq);
}

/* A dump to its end: what it says of lo, and its end. */
static void show_dump(const char *what, int s)
{
	int done = 0, multi = 1;

	while (!done) {
		ssize_t n = recv(s, buf, sizeof(buf), 0);

		if (n <= 0) {
			say("%s: %s", what, t_errname(errno));
			return;
		}
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			struct ifinfomsg *l = NLMSG_DATA(h);
			struct ifaddrmsg *a = NLMSG_DATA(h);
			struct rtattr *t;
			int len;

			multi &= !!(h->nlmsg_flags & NLM_F_MULTI);
			if (h->nlmsg_type == NLMSG_DONE) {
				done = 1;
				say("%s: done %d", what, *(int *)NLMSG_DATA(h));
			} else if (h->nlmsg_type == NLMSG_ERROR) {
				done = 1;
				say("%s: %s", what, t_errname(-((struct nlmsgerr *)NLMSG_DATA(h))->error));
			} else if (h->nlmsg_type == RTM_NEWLINK && l->ifi_index == 1) {
				say("link type %d flags %x", l->ifi_type,
				    l->ifi_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING | 0x10000));
				len = h->nlmsg_len - NLMSG_LENGTH(sizeof(*l));
				for (t = IFLA_RTA(l); RTA_OK(t, len); t = RTA_NEXT(t, len))
					if (t->rta_type == IFLA_IFNAME)
						say("name %s len %d", (char *)RTA_DATA(t), t->rta_len);
					else if (t->rta_type == IFLA_MTU)
						say("mtu %u", *(uint32_t *)RTA_DATA(t));
					else if (t->rta_type == IFLA_ADDRESS)
						say("address of %d", t->rta_len);
			} else if (h->nlmsg_type == RTM_NEWADDR && a->ifa_index == 1 && a->ifa_family == AF_INET) {
				say("addr /%d scope %d flags %x", a->ifa_prefixlen, a->ifa_scope, a->ifa_flags);
				len = h->nlmsg_len - NLMSG_LENGTH(sizeof(*a));
				for (t = IFA_RTA(a); RTA_OK(t, len); t = RTA_NEXT(t, len))
					if (t->rta_type == IFA_LOCAL || t->rta_type == IFA_ADDRESS)
						say("%d %s", t->rta_type,
						    inet_ntoa(*(struct in_addr *)RTA_DATA(t)));
					else if (t->rta_type == IFA_LABEL)
						say("label %s", (char *)RTA_DATA(t));
			}
		}
	}
	T(multi);
}

static void netlink(void)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK }, b;
	struct iovec v = { buf, 20 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_name = &b, .msg_namelen = sizeof(b) };
	struct pollfd p;
	socklen_t len = sizeof(b);
	int s, t, val;

	HEAD("netlink sockets");
	R(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
	R(socket(AF_NETLINK, SOCK_RAW, 31));
	R(socket(AF_NETLINK, SOCK_RAW, 32));
	R(socket(AF_NETLINK, SOCK_RAW, -1));
	Z(s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	Z(t = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
	R(getsockname(s, (void *)&b, &len));
	say("%u %d %u %u", len, b.nl_family, b.nl_pid, b.nl_groups);
	R(bind(s, (void *)&a, 2));
	a.nl_family = AF_INET;
	R(bind(s, (void *)&a, sizeof(a)));
	a.nl_family = AF_NETLINK;
	R(bind(s, (void *)&a, sizeof(a)));
	R(getsockname(s, (void *)&b, &len));
	T(b.nl_pid == (unsigned)getpid());
	R(bind(s, (void *)&a, sizeof(a)));
	R(bind(t, (void *)&b, sizeof(b)));
	R(bind(t, (void *)&a, sizeof(a)));
	R(getsockname(t, (void *)&b, &len));
	T(b.nl_pid != (unsigned)getpid() && b.nl_pid);
	R(listen(s, 1));
	R(accept(s, NULL, NULL));
	R(recv(s, buf, 1, MSG_DONTWAIT));
	p = (struct pollfd){ s, POLLIN | POLLOUT, 0 };
	R(poll(&p, 1, 0));
	V(p.revents);
	V(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &val, &len));
	V(val);
	R(setsockopt(s, 270, 9999, &val, sizeof(val)));
	close(t);

	HEAD("requests");
	R(ask(s, RTM_GETLINK, NLM_F_DUMP, sizeof(struct rtgenmsg)));
	R(poll(&p, 1, 0));
	V(p.revents);
	R(recvmsg(s, &m, MSG_PEEK | MSG_TRUNC) > 20);
	T((m.msg_flags & MSG_TRUNC) != 0);
	say("%u %d %u", m.msg_namelen, b.nl_family, b.nl_pid);
	show_dump("links", s);
	req.addr = (struct ifaddrmsg){ .ifa_family = AF_INET };
	R(ask(s, RTM_GETADDR, NLM_F_DUMP, sizeof(req.addr)));
	show_dump("addresses", s);
	memset(&req.addr, 0, sizeof(req.addr));
	R(ask(s, RTM_GETROUTE, NLM_F_DUMP, sizeof(req.route)));
	show_dump("routes", s);
	memset(&req.link, 0, sizeof(req.link));
	req.link.ifi_index = 1;
	R(ask(s, RTM_GETLINK, 0, sizeof(req.link)));
	show_answer("lo", s);
	R(ask(s, RTM_GETLINK, NLM_F_ACK, sizeof(req.link)));
	show_answer("lo", s);
	show_answer("ack", s);
	req.link.ifi_index = 7777;
	R(ask(s, RTM_GETLINK, 0, sizeof(req.link)));
	show_answer("none", s);
	R(ask(s, RTM_GETLINK, 0, 2));
	show_answer("short", s);
	R(ask(s, 3, NLM_F_ACK, 4));
	show_answer("done", s);
	R(ask(s, 5000, 0, 16));
	show_answer("unknown", s);
	R(ask(s, RTM_GETLINK, 0, 0));
	show_answer("empty", s);
	R(send(s, &req, 8, 0));
	show_answer("stump", s);
	R(send(s, &req, 0, 0));
	R(sendto(s, &req, 16, 0, (void *)&a, 4));
	a.nl_family = AF_UNIX;
	R(sendto(s, &req, 16, 0, (void *)&a, sizeof(a)));
	close(s);
}

static void interfaces(void)
{
	struct ifaddrs *list, *i;
	struct if_nameindex *ni;
	char name[IF_NAMESIZE];

	HEAD("getifaddrs");
	R(getifaddrs(&list));
	for (i = list; i; i = i->ifa_next) {
		if (strcmp(i->ifa_name, "lo"))
			continue;
		if (!i->ifa_addr || i->ifa_addr->sa_family == AF_PACKET)
			say("lo flags %x", i->ifa_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING));
		else if (i->ifa_addr->sa_family == AF_INET) {
			say("lo %s", inet_ntoa(((struct sockaddr_in *)i->ifa_addr)->sin_addr));
			say("mask %s", inet_ntoa(((struct sockaddr_in *)i->ifa_netmask)->sin_addr));
		}
	}
	freeifaddrs(list);
	V(if_nametoindex("lo"));
	R(if_nametoindex("none0"));
	S(if_indextoname(1, name));
	T(if_indextoname(7777, name) == NULL);
	ni = if_nameindex();
	T(ni && ni[0].if_index == 1);
	if_freenameindex(ni);
}

static void ioctls(void)
{
	struct ifreq q;
	struct ifconf c = { .ifc_len = sizeof(buf), .ifc_buf = buf };
	int s, n;

	HEAD("ioctl");
	NEED((s = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	R(ioctl(s, SIOCGIFCONF, &c));
	n = c.ifc_len / sizeof(q);
	T(n >= 1 && c.ifc_len % sizeof(q) == 0);
	say("%s %s", c.ifc_req->ifr_name,
	    inet_ntoa(((struct sockaddr_in *)&c.ifc_req->ifr_addr)->sin_addr));
	c.ifc_len = 0;
	c.ifc_buf = NULL;
	R(ioctl(s, SIOCGIFCONF, &c));
	T(c.ifc_len == (int)(n * sizeof(q)));
	c.ifc_len = 39;
	c.ifc_buf = buf;
	R(ioctl(s, SIOCGIFCONF, &c));
	V(c.ifc_len);
	R(ioctl(s, SIOCGIFCONF, NULL));
	memset(&q, 0, sizeof(q));
	strcpy(q.ifr_name, "lo");
	R(ioctl(s, SIOCGIFINDEX, &q));
	V(q.ifr_ifindex);
	R(ioctl(s, SIOCGIFADDR, &q));
	S(inet_ntoa(((struct sockaddr_in *)&q.ifr_addr)->sin_addr));
	R(ioctl(s, SIOCGIFNETMASK, &q));
	S(inet_ntoa(((struct sockaddr_in *)&q.ifr_addr)->sin_addr));
	R(ioctl(s, SIOCGIFBRDADDR, &q));
	S(inet_ntoa(((struct sockaddr_in *)&q.ifr_addr)->sin_addr));
	R(ioctl(s, SIOCGIFFLAGS, &q));
	V(q.ifr_flags);
	R(ioctl(s, SIOCGIFMTU, &q));
	V(q.ifr_mtu);
	R(ioctl(s, SIOCGIFHWADDR, &q));
	V(q.ifr_hwaddr.sa_family);
	R(ioctl(s, SIOCGIFMETRIC, &q));
	V(q.ifr_metric);
	q.ifr_ifindex = 1;
	memset(q.ifr_name, 'x', sizeof(q.ifr_name));
	R(ioctl(s, SIOCGIFNAME, &q));
	S(q.ifr_name);
	q.ifr_ifindex = 7777;
	R(ioctl(s, SIOCGIFNAME, &q));
	strcpy(q.ifr_name, "none0");
	R(ioctl(s, SIOCGIFINDEX, &q));
	R(ioctl(s, SIOCGIFADDR, &q));
	R(ioctl(s, SIOCGIFMTU, &q));
	R(ioctl(s, SIOCGIFMTU, NULL));
	close(s);
	NEED((s = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	strcpy(q.ifr_name, "lo");
	R(ioctl(s, SIOCGIFINDEX, &q));
	V(q.ifr_ifindex);
	R(ioctl(s, SIOCGIFMTU, &q));
	R(ioctl(s, 0x8fff, &q));
	close(s);
}

int main(void)
{
	netlink();
	interfaces();
	ioctls();
	return 0;
}
