/*
 * uplink.c - the switch's other side: frames from the uplink, put together where they are one
 * stream.
 *
 * Segments of a flow wait in a slot of their hash for those that follow in the same burst. Whatever
 * else comes for that slot hands over first what waits there, so that a flow stays in order.
 */
#include <errno.h>
#include <string.h>

#include "junctiond/scheduler/backlog.h"
#include "junctiond/scheduler/fault.h"
#include "junctiond/scheduler/gro.h"
#include "junctiond/scheduler/pcap.h"
#include "junctiond/scheduler/port.h"
#include "junctiond/scheduler/switch_int.h"

#define NR_SLOTS 8u

static struct waiting {
	struct instance *to;
	struct gro gro;
	struct rte_mbuf *frames[GRO_MAX_SEGMENTS]; /* whose bytes gro points at */
} slots[NR_SLOTS];

static void arp(const struct frame *f)
{
	struct instance *in;

	if (switch_find(f->src) || switch_find_mac(f->arp_sha)) {
		switch_drop(NULL, SDROP_ARP);
		return;
	}
	in = switch_find(f->dst);
	if (!in) {
		switch_drop(NULL, SDROP_ARP);
	} else if (f->arp_op == ARP_REQUEST) {
		uint8_t reply[ETH_LEN + ARP_LEN];
		struct iovec iov = {reply, sizeof(reply)};
		struct rte_mbuf *m;

		switch_arp_answer(reply, f, in);
		m = port_copy(&iov, 1, sizeof(reply));
		if (m)
			fault_to_uplink(m);
		else
			switch_drop(in, SDROP_NO_MBUF);
	} else if (f->arp_op != ARP_REPLY || memcmp(f->head, in->mac, 6)) {
		switch_drop(in, SDROP_ARP);
	} else if (!switch_put(in, 0, f)) {
		switch_drop(in, SDROP_RX_FULL);
	}
}

/* Who is to have this packet; NULL: nobody, which was counted. */
static struct instance *destination(const struct frame *f)
{
	struct instance *in;

	if ((f->head[0] & 1) || switch_is_broadcast(f->dst)) {
		switch_drop(NULL, SDROP_BROADCAST);
		return NULL;
	}
	in = switch_find_mac(f->head);
	if (!in || addr_of(in) != f->dst)
		switch_drop(NULL, SDROP_NO_ROUTE);
	else if (switch_find_mac(f->head + 6))
		switch_drop(in, SDROP_SRC_MAC);
	else if (switch_find(f->src))
		switch_drop(in, SDROP_SRC_IP);
	else
		return in;
	return NULL;
}

/* Loads and parses one frame of the uplink. */
static bool load(const struct rte_mbuf *m, struct frame *f, struct iovec *iov, unsigned *n)
{
	uint32_t len;

	*n = port_iov(m, iov, NIC_MAX_CHAIN, &len);
	if (!*n)
		return false;
	frame_load(f, iov, *n, len);
	if (port_csum_good(m))
		f->hdr.flags = NIC_HDR_F_DATA_VALID;
	return frame_parse(f) && len <= ETH_LEN + config.mtu;
}

/* Takes over m: it waits for buffers of `to`, or is dropped. */
static void wait_or_drop(struct instance *to, struct rte_mbuf *m)
{
	if (backlog_add(to, m))
		return;
	switch_drop(to, SDROP_RX_FULL);
	port_free(m);
}

/* Gives what waits in a slot to its instance. Segments that were taken: all, or fewer if buffers
 * ran out. */
static unsigned give(struct waiting *w)
{
	struct iovec iov[NIC_MAX_CHAIN];
	struct frame f;
	unsigned n, i;

	gro_finish(&w->gro);
	if (switch_put(w->to, pair_of(w->to, w->gro.f.hash), &w->gro.f))
		return w->gro.n;
	if (w->gro.n == 1)
		return 0;
	for (i = 0; i < w->gro.n; i++)
		if (load(w->frames[i], &f, iov, &n) &&
		    !switch_put(w->to, pair_of(w->to, f.hash), &f))
			break;
	return i;
}

static void hand_over(struct waiting *w)
{
	unsigned taken, i;

	if (!w->gro.n)
		return;
	taken = give(w);
	for (i = 0; i < taken; i++)
		port_free(w->frames[i]);
	for (; i < w->gro.n; i++)
		wait_or_drop(w->to, w->frames[i]);
	w->gro.n = 0;
}

/* What waited for buffers: put together anew. How many of them have been taken over. */
static unsigned give_again(struct instance *to, struct rte_mbuf **m, unsigned count)
{
	static struct waiting w;
	struct iovec iov[NIC_MAX_CHAIN];
	unsigned done = 0;

	while (done < count) {
		unsigned n, k = done, taken;
		struct frame f;

		w.to = to;
		w.gro.n = 0;
		load(m[done], &f, iov, &n);
		if (n == 1 && gro_start(&w.gro, &f, iov[0].iov_base, f.hdr.flags)) {
			do {
				w.frames[k - done] = m[k];
				k++;
			} while (k < count && load(m[k], &f, iov, &n) && n == 1 &&
				 gro_add(&w.gro, &f, iov[0].iov_base, f.hdr.flags));
			taken = give(&w);
		} else {
			k++;
			taken = switch_put(to, pair_of(to, f.hash), &f);
		}
		for (unsigned i = 0; i < taken; i++)
			port_free(m[done + i]);
		done += taken;
		if (done < k)
			break;
	}
	return done;
}

bool switch_uplink_retry(void)
{
	return backlog_any() && backlog_retry(give_again);
}

/* Takes over m. */
static void ipv4(struct rte_mbuf *m, const struct frame *f, const struct iovec *iov, unsigned n)
{
	struct waiting *w = &slots[f->hash % NR_SLOTS];
	struct instance *to = destination(f);
	const uint8_t *data = iov[0].iov_base;
	bool good = f->hdr.flags & NIC_HDR_F_DATA_VALID;

	if (!to) {
		port_free(m);
		return;
	}
	if (n == 1 && w->gro.n && w->to == to && gro_add(&w->gro, f, data, good)) {
		w->frames[w->gro.n - 1] = m;
		return;
	}
	hand_over(w);
	if (backlog_waits(to)) {
		wait_or_drop(to, m);
	} else if (n == 1 && gro_start(&w->gro, f, data, good)) {
		w->to = to;
		w->frames[0] = m;
	} else if (switch_put(to, pair_of(to, f->hash), f)) {
		port_free(m);
	} else {
		wait_or_drop(to, m);
	}
}

void switch_deliver_uplink(struct rte_mbuf *m)
{
	struct iovec iov[NIC_MAX_CHAIN];
	struct frame f;
	unsigned n;

	if (!load(m, &f, iov, &n)) {
		switch_drop(NULL, SDROP_MALFORMED);
	} else if (f.kind == FRAME_IPV4) {
		ipv4(m, &f, iov, n);
		return;
	} else if (f.kind == FRAME_ARP) {
		arp(&f);
	} else {
		switch_drop(NULL, SDROP_PROTOCOL);
	}
	port_free(m);
}

void switch_uplink_done(void)
{
	for (unsigned i = 0; i < NR_SLOTS; i++)
		hand_over(&slots[i]);
}

void switch_from_uplink(struct rte_mbuf *m)
{
	struct iovec iov[NIC_MAX_CHAIN];
	uint32_t len;
	unsigned n = port_iov(m, iov, NIC_MAX_CHAIN, &len);

	sstats->uplink_rx_packets++;
	sstats->uplink_rx_bytes += len;
	pcap_frame(iov, n, len);
	fault_from_uplink(m);
}
