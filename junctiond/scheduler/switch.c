/*
 * switch.c - where a frame goes, and whether it may: the boundary between tenants.
 *
 *   from an instance   to the instance with that MAC and IP address, if a rule allows it; else to
 * the uplink; never to anybody else. Its own MAC and IP address are the only sources it may use.
 *   from the uplink    to the instance with that MAC and IP address. A source that belongs to an
 * instance is forged, or comes from a peer that was made to send it back: dropped. ARP is answered
 * here for the addresses of instances. Requests of instances for others go to the uplink alone; of
 * the uplink's frames only answers to an instance reach it. broadcast, multicast, other protocols:
 * dropped.
 */
#include "junctiond/scheduler/switch.h"

#include <errno.h>
#include <string.h>

#include "junctiond/scheduler/fault.h"
#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/instance.h"
#include "junctiond/scheduler/pcap.h"
#include "junctiond/scheduler/port.h"
#include "junctiond/scheduler/segment.h"
#include "junctiond/scheduler/switch_int.h"
#include "junctiond/scheduler/vring.h"

#define TABLE_SIZE (4 * SSTATS_MAX_INSTANCES) /* a power of two; at most a quarter full */
#define BURST_PACKETS 64u
#define BURST_BYTES (256u << 10)

/* Instances by address: open addressing with linear probing. */
static struct instance *table[TABLE_SIZE];

/* Instances that were given something since the last switch_notify(), and the queue pairs. */
static struct instance *touched[SSTATS_MAX_INSTANCES];
static uint64_t touched_pairs[SSTATS_MAX_INSTANCES];
static uint32_t nr_touched;

static uint32_t slot_of(uint32_t addr)
{
	return (addr * 0x9e3779b1u) >> 17; /* 15 bits */
}
_Static_assert(TABLE_SIZE == 1u << 15, "slot_of() makes 15 bits");

struct instance *switch_find(uint32_t addr)
{
	for (uint32_t i = slot_of(addr); table[i]; i = (i + 1) % TABLE_SIZE)
		if (addr_of(table[i]) == addr)
			return table[i];
	return NULL;
}

void switch_add(struct instance *in)
{
	uint32_t i = slot_of(addr_of(in));

	while (table[i])
		i = (i + 1) % TABLE_SIZE;
	table[i] = in;
}

void switch_remove(struct instance *in)
{
	uint32_t i = slot_of(addr_of(in)), j;

	while (table[i] != in) {
		if (!table[i])
			return;
		i = (i + 1) % TABLE_SIZE;
	}
	/* Those behind it that would no longer be found move up. */
	for (j = (i + 1) % TABLE_SIZE; table[j]; j = (j + 1) % TABLE_SIZE) {
		uint32_t home = slot_of(addr_of(table[j]));

		if ((j - home) % TABLE_SIZE >= (j - i) % TABLE_SIZE) {
			table[i] = table[j];
			i = j;
		}
	}
	table[i] = NULL;
	for (i = 0; i < nr_touched; i++)
		if (touched[i] == in) {
			touched_pairs[in->id - 1] = 0;
			touched[i] = touched[--nr_touched];
			break;
		}
}

/* Locally administered, with the address in it: unique, and found again without a second table. */
void switch_mac(uint32_t addr, uint8_t mac[6])
{
	mac[0] = 0x02;
	mac[1] = 0x4a;
	memcpy(mac + 2, &addr, 4);
}

struct instance *switch_find_mac(const uint8_t *mac)
{
	return mac[0] == 0x02 && mac[1] == 0x4a ? switch_find(get_raw32(mac + 2)) : NULL;
}

void switch_drop(struct instance *in, enum sstats_drop why)
{
	sstats->drops[why]++;
	if (in)
		in->stats->drops[why]++;
}

static bool allowed(const struct instance *a, const struct instance *b)
{
	return config.allow_all || (a->allow_left & b->allow_right) ||
	       (a->allow_right & b->allow_left);
}

/* A queue pair whose ring was bad is out of use, and says why. */
static void pair_stopped(struct instance *in, uint32_t pair, const struct vring *v)
{
	if (!in->rx[pair]->stop || !in->tx[pair]->stop)
		instance_stopped(in, pair, v);
}

static void touch(struct instance *in, uint32_t pair)
{
	uint32_t i = in->id - 1;

	if (!touched_pairs[i])
		touched[nr_touched++] = in;
	touched_pairs[i] |= 1ull << pair;
}

void switch_notify(uint64_t now)
{
	while (nr_touched) {
		struct instance *in = touched[--nr_touched];
		uint64_t pairs = touched_pairs[in->id - 1];

		touched_pairs[in->id - 1] = 0;
		for (; pairs; pairs &= pairs - 1) {
			uint32_t pair = (uint32_t)__builtin_ctzll(pairs);

			if (vring_wants_event(in->rx[pair]))
				cores_rx(in, pair, now);
		}
	}
}

bool switch_put(struct instance *to, uint32_t pair, const struct frame *f)
{
	struct vring *v = to->rx[pair];
	int rc =
		v->stop || !to->control ? -EBADMSG : vring_put(v, &f->hdr, f->iov, f->niov, f->len);

	if (rc == -ENOSPC)
		return false;
	if (rc == 0) {
		to->stats->rx_packets++;
		to->stats->rx_bytes += f->len;
		touch(to, pair);
		return true;
	}
	if (v->stop)
		pair_stopped(to, pair, v);
	switch_drop(to, SDROP_STOPPED);
	return true;
}

static void deliver(struct instance *to, uint32_t pair, const struct frame *f)
{
	if (!switch_put(to, pair, f))
		switch_drop(to, SDROP_RX_FULL);
}

static void uplink_emit(struct rte_mbuf *m)
{
	fault_to_uplink(m);
}

static void to_uplink(struct instance *from, const struct frame *f)
{
	unsigned wanted, sent;

	if (!port_present()) {
		switch_drop(from, SDROP_NO_ROUTE);
		return;
	}
	sent = segment_frame(f, &wanted, uplink_emit);
	for (; sent < wanted; sent++)
		switch_drop(from, SDROP_NO_MBUF);
}

/* An ARP answer that `addr` is at the MAC address of that instance, for whoever asked with f. */
void switch_arp_answer(uint8_t out[ETH_LEN + ARP_LEN], const struct frame *f,
		       const struct instance *owner)
{
	memcpy(out, f->arp_sha, 6);
	memcpy(out + 6, owner->mac, 6);
	put_be16(out + 12, ETH_TYPE_ARP);
	memcpy(out + 14, f->head + 14, 6); /* Ethernet, IPv4 and their lengths */
	put_be16(out + 20, ARP_REPLY);
	memcpy(out + 22, owner->mac, 6);
	memcpy(out + 28, &f->dst, 4);
	memcpy(out + 32, f->arp_sha, 6);
	memcpy(out + 38, &f->src, 4);
}

static void instance_arp(struct instance *in, uint32_t pair, struct frame *f)
{
	struct instance *owner;

	/* Only the questions that a host asks to find a neighbour: we answer all others for it. */
	if (f->arp_op != ARP_REQUEST || memcmp(f->arp_sha, in->mac, 6) || f->src != addr_of(in) ||
	    f->dst == f->src) {
		switch_drop(in, SDROP_ARP);
		return;
	}
	owner = switch_find(f->dst);
	if (!owner) {
		to_uplink(in, f);
	} else if (!allowed(in, owner)) {
		switch_drop(in, SDROP_NOT_ALLOWED);
	} else {
		uint8_t reply[ETH_LEN + ARP_LEN];
		struct iovec iov = {reply, sizeof(reply)};
		struct frame r;

		switch_arp_answer(reply, f, owner);
		frame_load(&r, &iov, 1, sizeof(reply));
		deliver(in, pair, &r);
	}
}

bool switch_is_broadcast(uint32_t addr)
{
	uint32_t host = 0xffffffffu >> config.net.prefix, a = __builtin_bswap32(addr);

	/* Class D, the limited broadcast, "this network", and the broadcast address of our network.
	 */
	return a >> 28 >= 0xe || a == 0 ||
	       (config.net.prefix < 31 && (a | host) == a &&
		(a & ~host) == get_be32(config.net.bytes));
}

static void instance_ipv4(struct instance *in, struct frame *f)
{
	struct instance *to;

	if (f->src != addr_of(in)) {
		switch_drop(in, SDROP_SRC_IP);
		return;
	}
	if ((f->head[0] & 1) || switch_is_broadcast(f->dst)) {
		switch_drop(in, SDROP_BROADCAST);
		return;
	}
	to = switch_find(f->dst);
	if (!to) {
		/* Not to the MAC address of an instance with another IP address. */
		if (switch_find_mac(f->head))
			switch_drop(in, SDROP_NO_ROUTE);
		else
			to_uplink(in, f);
	} else if (to == in || !allowed(in, to)) {
		switch_drop(in, SDROP_NOT_ALLOWED);
	} else if (memcmp(f->head, to->mac, 6)) {
		switch_drop(in, SDROP_NO_ROUTE);
	} else {
		deliver(to, pair_of(to, f->hash), f);
	}
}

static void route_from_instance(struct instance *in, uint32_t pair, const struct vring_pkt *p)
{
	struct frame f;

	frame_load(&f, p->iov, p->niov, p->len);
	if (!frame_parse(&f) || !frame_offload(&f, &p->hdr, config.mtu)) {
		switch_drop(in, SDROP_MALFORMED);
		return;
	}
	if (memcmp(f.head + 6, in->mac, 6)) {
		switch_drop(in, SDROP_SRC_MAC);
		return;
	}
	pcap_frame(f.iov, f.niov, f.len);
	switch (f.kind) {
	case FRAME_IPV4:
		instance_ipv4(in, &f);
		break;
	case FRAME_ARP:
		instance_arp(in, pair, &f);
		break;
	default:
		switch_drop(in, SDROP_PROTOCOL);
	}
}

/* What one instance may have us do in a turn of the loop. */
struct budget {
	uint32_t packets, bytes;
};

static bool from_pair(struct instance *in, uint32_t pair, struct budget *left, uint64_t now)
{
	struct vring *v = in->tx[pair];
	struct vring_pkt p;
	bool any = false;
	int rc = 0;

	while (left->packets && left->bytes && (rc = vring_peek(v, &p)) > 0) {
		in->stats->tx_packets++;
		in->stats->tx_bytes += p.len;
		left->packets--;
		left->bytes -= p.len < left->bytes ? p.len : left->bytes;
		route_from_instance(in, pair, &p);
		vring_done(v, &p);
		any = true;
	}
	if (rc < 0)
		pair_stopped(in, pair, v);
	if (any && vring_wants_event(v)) /* it waits for room in its ring */
		cores_rx(in, pair, now);
	return any;
}

bool switch_from_instance(struct instance *in, uint64_t now)
{
	struct budget left = {BURST_PACKETS, BURST_BYTES};
	uint32_t pair = in->next_tx;
	bool any = false;

	for (uint32_t i = 0; i < in->nr_pairs; i++) {
		any |= from_pair(in, pair, &left, now);
		if (++pair == in->nr_pairs)
			pair = 0;
		/* The one that used up the budget comes last the next time. */
		if (!left.packets || !left.bytes)
			break;
	}
	in->next_tx = pair;
	return any;
}

void switch_last_words(struct instance *in)
{
	uint64_t now = now_ns();

	for (uint32_t i = 0; i < in->nr_pairs * NIC_RING_SIZE / BURST_PACKETS; i++)
		if (!switch_from_instance(in, now))
			break;
	port_flush();
}
