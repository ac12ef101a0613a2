/*
 * etcfiles.c - what programs read of their network in /etc: name server and own name, as container runtimes do.
 */
#include <linux/fcntl.h>

#include "libos/abi/control.h"
#include "libos/fs/bootfile.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/net/inet.h"
#include "libos/net/netif.h"

/* Only the family's own files know what an address looks like; endpoint_print() puts ":PORT" behind it. */
static const char *addr_text(const struct ctl_addr *a, char *buf, size_t size)
{
	struct endpoint e = {.addr.family = a->family};
	char *colon;

	memcpy(e.addr.b, a->bytes, sizeof(e.addr.b));
	endpoint_print(&e, buf, size);
	colon = strrchr(buf, ':');
	if (colon)
		*colon = '\0';
	return buf;
}

void net_etc_files(const struct control_boot *b)
{
	char addr[64], text[192];

	if (b->net.dns.family) {
		snprintf(text, sizeof(text), "nameserver %s\n", addr_text(&b->net.dns, addr, sizeof(addr)));
		bootfile_put("/etc/resolv.conf", O_TRUNC, text, strlen(text));
	}
	if (b->net.addr.family && b->hostname[0]) {
		snprintf(text, sizeof(text), "%s\t%s\n", addr_text(&b->net.addr, addr, sizeof(addr)), b->hostname);
		bootfile_put("/etc/hosts", O_APPEND, text, strlen(text));
	}
}
