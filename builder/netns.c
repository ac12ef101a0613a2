/*
 * netns.c - a network namespace of one's own, and addresses in it (netdevice(7), user_namespaces(7)).
 */
#include "builder/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), saved;
	ssize_t n;

	if (fd == -1)
		return -1;
	n = write(fd, text, strlen(text));
	saved = errno;
	close(fd);
	errno = saved;
	return n == -1 ? -1 : 0;
}

/* One id outside, root inside: enough to make and configure interfaces of the new namespace. */
static int become_inner_root(uid_t uid, gid_t gid)
{
	char line[48];

	if (write_file("/proc/self/setgroups", "deny") == -1)
		return -1;
	snprintf(line, sizeof(line), "0 %u 1\n", gid);
	if (write_file("/proc/self/gid_map", line) == -1)
		return -1;
	snprintf(line, sizeof(line), "0 %u 1\n", uid);
	return write_file("/proc/self/uid_map", line);
}

static int set_up(int sock, const char *ifname)
{
	struct ifreq req = {};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
	if (ioctl(sock, SIOCGIFFLAGS, &req) == -1)
		return -1;
	req.ifr_flags |= IFF_UP;
	return ioctl(sock, SIOCSIFFLAGS, &req);
}

int netns_enter(struct err *e)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int sock, ret;

	if (unshare(CLONE_NEWNET) == -1) {
		if (errno != EPERM || unshare(CLONE_NEWUSER | CLONE_NEWNET) == -1)
			return err_set(e, "cannot make a network namespace: %s%s", strerror(errno),
				       errno == EPERM || errno == EACCES
					       ? "; allow unprivileged user namespaces on this host, or run as root"
				       : errno == ENOSPC
					       ? "; raise /proc/sys/user/max_net_namespaces and max_user_namespaces"
					       : "");
		if (become_inner_root(uid, gid) == -1)
			return err_errno(e, "cannot map the ids of a user namespace");
	}
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock == -1)
		return err_errno(e, "socket");
	ret = set_up(sock, "lo");
	if (ret == -1)
		err_errno(e, "cannot take up the loopback of a network namespace");
	close(sock);
	return ret;
}

static void put_addr(struct sockaddr *to, struct in_addr addr)
{
	const struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = addr};

	memcpy(to, &sin, sizeof(sin));
}

static struct in_addr mask_of(unsigned int prefix)
{
	return (struct in_addr){prefix ? htonl(~0u << (32 - (prefix > 32 ? 32 : prefix))) : 0};
}

int netns_add_address(const char *ifname, struct in_addr addr, unsigned int prefix, struct err *e)
{
	struct ifreq req = {};
	int sock, ret = -1;

	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock == -1)
		return err_errno(e, "socket");
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
	put_addr(&req.ifr_addr, addr);
	if (ioctl(sock, SIOCSIFADDR, &req) == -1)
		goto out;
	put_addr(&req.ifr_netmask, mask_of(prefix));
	if (ioctl(sock, SIOCSIFNETMASK, &req) == -1)
		goto out;
	ret = set_up(sock, ifname);
out:
	if (ret == -1)
		err_errno(e, "cannot give %s the address %s/%u", ifname, inet_ntoa(addr), prefix);
	close(sock);
	return ret;
}

bool netns_is_neighbour(struct in_addr addr, unsigned int prefix)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = addr};
	socklen_t len = sizeof(sin);
	bool near = false;
	int sock;

	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock == -1)
		return false;
	/* Connecting a datagram socket sends nothing; it finds the route and our address on it. */
	if (!connect(sock, (struct sockaddr *)&sin, sizeof(sin)) &&
	    !getsockname(sock, (struct sockaddr *)&sin, &len))
		near = !((sin.sin_addr.s_addr ^ addr.s_addr) & mask_of(prefix).s_addr);
	close(sock);
	return near;
}
