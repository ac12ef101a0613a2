/*
 * loopback.c - the interface of this host to itself.
 *
 * What a kthread sends is put on its own backlog and received by the same kthread: at the end of
 * the system call that sent it, or before that call sleeps, or by the poll that it was sent from.
 * So a backlog is empty whenever its kthread is in user mode or parked, nobody else looks at it,
 * and it needs no lock.
 */
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/net/poll.h"
#include "libos/sched/uthread.h"

#define MTU 65536	 /* as Linux's lo */
#define BACKLOG_MAX 1024 /* packets */

struct backlog {
	struct list_head pkts;
	u32 len;
} cacheline_aligned;

static struct backlog *backlogs;

static int loopback_xmit(struct netif *nif, struct pkt *p)
{
	struct kthread *kt = this_kthread();
	struct backlog *b = backlogs ? &backlogs[kt->id] : NULL;

	if (!b || b->len >= BACKLOG_MAX) {
		nif->tx_dropped++;
		pkt_free(p);
		return -ENOBUFS;
	}
	/* It never leaves this host, so nobody need sum it up. */
	p->flags = (p->flags & ~PKT_CSUM_PARTIAL) | PKT_CSUM_OK;
	p->nif = nif;
	nif->tx_packets++;
	nif->tx_bytes += p->total;
	list_add_tail(&p->link, &b->pkts);
	if (!b->len++)
		__atomic_fetch_or(&kt->work, KT_WORK_NET, __ATOMIC_RELAXED);
	return 0;
}

static struct netif lo = {
	.name = "lo",
	.flags = NETIF_UP | NETIF_LOOPBACK | NETIF_CSUM | NETIF_TSO,
	.mtu = MTU,
	.xmit = loopback_xmit,
};

void loopback_add(void)
{
	netif_add(&lo);
}

int loopback_start(u32 nr)
{
	struct backlog *b = kmalloc(nr * sizeof(*b));

	if (!b)
		return -ENOMEM;
	for (u32 i = 0; i < nr; i++) {
		list_init(&b[i].pkts);
		b[i].len = 0;
	}
	__atomic_store_n(&backlogs, b, __ATOMIC_RELEASE);
	return 0;
}

bool loopback_pending(u32 id)
{
	return backlogs[id].len;
}

bool loopback_poll(u32 id)
{
	struct backlog *b = &backlogs[id];
	bool did = false;

	/* Answers come onto the same list. Twice its bound is enough for one call: the caller calls
	 * again. */
	for (u32 i = 0; i < 2 * BACKLOG_MAX && b->len; i++) {
		struct pkt *p = list_first(&b->pkts, struct pkt, link);

		list_del(&p->link);
		b->len--;
		lo.rx_packets++;
		lo.rx_bytes += p->total;
		netif_receive(&lo, p);
		did = true;
	}
	return did;
}
