/*
 * netif.c - the list of network interfaces.
 *
 * Written at boot only, by one kthread; whoever reads it later needs no lock.
 */
#include "libos/net/netif.h"

#include "libos/lib/string.h"

static struct list_head interfaces = LIST_HEAD_INIT(interfaces);
static u32 last_index;

void netif_add(struct netif *nif)
{
	nif->index = ++last_index;
	list_add_tail(&nif->link, &interfaces);
}

struct netif *netif_next(struct netif *after)
{
	struct list_head *l = after ? after->link.next : interfaces.next;

	return l == &interfaces ? NULL : list_entry(l, struct netif, link);
}

struct netif *netif_by_index(u32 index)
{
	struct netif *n;

	list_for_each_entry (n, &interfaces, link)
		if (n->index == index)
			return n;
	return NULL;
}

struct netif *netif_by_name(const char *name)
{
	struct netif *n;

	list_for_each_entry (n, &interfaces, link)
		if (!strcmp(n->name, name))
			return n;
	return NULL;
}
