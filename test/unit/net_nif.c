/*
 * net_nif.c - an interface whose wire is the test.
 */
#include "net_nif.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FRAMES 4096u

int nif_refuse;

static struct nif_frame *frames[MAX_FRAMES];
static u32 first, count;

static int nif_xmit(struct netif *nif, struct pkt *p)
{
	struct nif_frame *f;

	if (nif_refuse) {
		pkt_free(p);
		return nif_refuse;
	}
	if (p->total > sizeof(f->data) || count == MAX_FRAMES)
		net_fail("net_nif: %u bytes, %u frames caught", p->total, count);
	if (p->flags & PKT_CSUM_PARTIAL) {
		if (!(nif->flags & NETIF_CSUM))
			net_fail("net_nif: unfinished checksum, but the interface cannot");
		pkt_csum_finish(p);
	}
	if (p->gso_size && !(nif->flags & NETIF_TSO))
		net_fail("net_nif: gso_size, but the interface cannot");
	f = malloc(sizeof(*f));
	f->time = net_now();
	f->gso = p->gso_size;
	f->len = p->total;
	pkt_copy_out(p, 0, f->data, p->total);
	pkt_free(p);
	frames[(first + count++) % MAX_FRAMES] = f;
	return 0;
}

void nif_init(struct netif *nif, const char *name, u32 index, u32 flags)
{
	memset(nif, 0, sizeof(*nif));
	list_init(&nif->link);
	snprintf(nif->name, sizeof(nif->name), "%s", name);
	nif->index = index;
	nif->flags = flags;
	nif->mtu = 1500;
	memcpy(nif->lladdr, "\x02\0\0\0\0\x01", 6);
	nif->xmit = nif_xmit;
}

const struct nif_frame *nif_next(u64 ms)
{
	static struct nif_frame *last;
	u64 until = net_now() + ms * MS;

	while (!count && net_step(until))
		;
	if (!count)
		return NULL;
	free(last);
	last = frames[first];
	first = (first + 1) % MAX_FRAMES;
	count--;
	return last;
}

void nif_receive_frags(struct netif *nif, const void *bytes, u32 n, u32 linear, u32 frag)
{
	struct pkt *p = pkt_alloc(0);

	if (!p)
		return; /* as a NIC without buffers */
	linear = min(linear, n);
	memcpy(pkt_put(p, linear), bytes, linear);
	for (u32 off = linear; off < n; off += frag) {
		u32 k = min(frag, n - off), nb = nbuf_alloc();

		if (nb == NBUF_NONE) {
			pkt_free(p);
			return;
		}
		memcpy(nbuf_addr(nb), (const u8 *)bytes + off, k);
		if (pkt_add_frag(p, nb, 0, k))
			net_fail("net_nif: too many fragments");
	}
	p->nif = nif;
	netif_receive(nif, p);
}

void nif_receive(struct netif *nif, const void *bytes, u32 n)
{
	nif_receive_frags(nif, bytes, n, NBUF_SIZE, NBUF_SIZE);
}
