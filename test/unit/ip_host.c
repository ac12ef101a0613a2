/*
 * ip_host.c - IPv4 on the host: interfaces, builders of packets, and stand-ins for what is above
 * and below.
 */
#include "ip_host.h"

#include <asm/socket.h>
#include <linux/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/abi/control.h"
#include "libos/fs/vfs.h"
#include "libos/ipc/pipe.h"
#include "libos/mm/usercopy.h"
#include "libos/net/inet.h"
#include "libos/net/pkt.h"
#include "libos/net/udp.h"
#include "libos/proc/proc.h"
#include "libos/time/clock.h"

struct netif eth0, lo0;
const u8 peer_mac[6] = {2, 0, 0, 0, 0, 7}, gateway_mac[6] = {2, 0, 0, 0, 0, 9};
struct tcp_seen tcp_seen;
bool ip_host_privileged = true;

static struct list_head lo_queue;
static struct proc proc;

/* Interfaces */

static struct netif *nifs[4];

void netif_add(struct netif *nif)
{
	for (u32 i = 0; i < ARRAY_SIZE(nifs); i++)
		if (!nifs[i]) {
			nifs[i] = nif;
			return;
		}
}

struct netif *netif_next(struct netif *after)
{
	for (u32 i = 0; after && i + 1 < ARRAY_SIZE(nifs); i++)
		if (nifs[i] == after)
			return nifs[i + 1];
	return after ? NULL : nifs[0];
}

struct netif *netif_by_index(u32 index)
{
	for (u32 i = 0; i < ARRAY_SIZE(nifs); i++)
		if (nifs[i] && nifs[i]->index == index)
			return nifs[i];
	return NULL;
}

struct netif *netif_by_name(const char *name)
{
	for (u32 i = 0; i < ARRAY_SIZE(nifs); i++)
		if (nifs[i] && !strcmp(nifs[i]->name, name))
			return nifs[i];
	return NULL;
}

/* Nobody here waits for a ring. */
u64 net_deadline(struct kthread *kt, u64 now)
{
	return NEVER;
}

long sleep_until(u64 deadline)
{
	net_fail("sleep_until");
}

int net_start(void)
{
	return 0;
}

static int lo_xmit(struct netif *nif, struct pkt *p)
{
	p->flags = PKT_CSUM_OK;
	list_add_tail(&p->link, &lo_queue);
	return 0;
}

void ip_host_pump(void)
{
	for (u32 i = 0; !list_empty(&lo_queue); i++) {
		struct pkt *p = list_first(&lo_queue, struct pkt, link);

		if (i == 100000)
			net_fail("loopback does not come to rest");
		list_del(&p->link);
		netif_receive(&lo0, p);
	}
}

void ip_host_start_loopback(void)
{
	net_host_start(1, 4096);
	hosted_current->proc = &proc;
	list_init(&lo_queue);
	nif_init(&lo0, "lo", 1, NETIF_UP | NETIF_LOOPBACK | NETIF_CSUM);
	lo0.mtu = 65536;
	lo0.xmit = lo_xmit;
	netif_add(&lo0);
	nif_init(&eth0, "eth0", 2, NETIF_UP | NETIF_ARP);
	netif_add(&eth0);
}

void ip_host_start(void)
{
	struct ctl_net net = {
		.addr = {AF_INET, 24, {10, 0, 0, 2}},
		.gateway = {AF_INET, 0, {10, 0, 0, 1}},
	};

	ip_host_start_loopback();
	if (ipv4_configure(&net, &eth0))
		net_fail("ipv4_configure");
}

/* Packets */

static u16 sum_of(const void *p, size_t n, u32 sum)
{
	return ~csum_fold(csum_add(p, n, sum));
}

void rx_ip(const struct rx *r, const void *payload, u32 n)
{
	static u8 frame[1 << 17];
	struct netif *nif = r->nif ? r->nif : &eth0;
	u32 hlen = 20 + r->nr_opts, off = nif->flags & NETIF_ARP ? 14 : 0;
	struct ip_hdr h = {
		.vihl = r->version_ihl ? r->version_ihl : 0x40 | hlen / 4,
		.tos = r->tos,
		.len = net16(r->total ? r->total : hlen + n),
		.id = net16(r->id),
		.frag = net16(r->frag),
		.ttl = r->ttl ? r->ttl : 64,
		.proto = r->proto ? r->proto : IP_PROTO_UDP,
	};

	ip4_store(h.src, r->src ? r->src : PEER);
	ip4_store(h.dst, r->dst ? r->dst : OURS);
	if (off) {
		memcpy(frame, r->mac ? r->mac : nif->lladdr, 6);
		if (r->link_broadcast)
			memset(frame, 255, 6);
		memcpy(frame + 6, peer_mac, 6);
		frame[12] = 8;
		frame[13] = 0;
	}
	if (r->nr_opts)
		memcpy(frame + off + 20, r->opts, r->nr_opts);
	memcpy(frame + off, &h, 20);
	h.csum = sum_of(frame + off, hlen, 0) ^ r->bad_csum;
	memcpy(frame + off, &h, 20);
	if (n)
		memcpy(frame + off + hlen, payload, n);
	memset(frame + off + hlen + n, 0xee, r->pad);
	nif_receive(nif, frame, off + hlen + n + r->pad);
}

u32 make_udp(u8 *buf, u32 src, u32 dst, u16 sport, u16 dport, const void *data, u32 n)
{
	struct netaddr s = ip4_addr(src), d = ip4_addr(dst);
	u16 w[4] = {net16(sport), net16(dport), net16(8 + n), 0};

	memcpy(buf, w, 8);
	if (n)
		memcpy(buf + 8, data, n);
	w[3] = sum_of(buf, 8 + n, pseudo_sum(&s, &d, IP_PROTO_UDP, 8 + n));
	memcpy(buf, w, 8);
	return 8 + n;
}

u32 make_icmp_error(u8 *buf, u8 type, u8 code, u16 mtu, u32 src, u32 dst, u8 proto, u16 sport,
		    u16 dport)
{
	struct ip_hdr h = {.vihl = 0x45,
			   .len = net16(1400),
			   .ttl = 60,
			   .proto = proto,
			   .frag = net16(IP_FRAG_DF)};
	u16 ports[4] = {net16(sport), net16(dport), 0x1234, 0x5678}, sum;

	memset(buf, 0, 8);
	buf[0] = type;
	buf[1] = code;
	buf[6] = mtu >> 8;
	buf[7] = mtu;
	ip4_store(h.src, src);
	ip4_store(h.dst, dst);
	h.csum = sum_of(&h, 20, 0);
	memcpy(buf + 8, &h, 20);
	memcpy(buf + 28, ports, 8);
	sum = sum_of(buf, 36, 0);
	memcpy(buf + 2, &sum, 2);
	return 36;
}

void rx_arp(u16 op, const u8 sender_mac[6], u32 sender, u32 target)
{
	u8 f[60] = {255, 255, 255, 255, 255, 255};

	if (op == 2)
		memcpy(f, eth0.lladdr, 6);
	memcpy(f + 6, sender_mac, 6);
	memcpy(f + 12, "\x08\x06\0\x01\x08\0\x06\x04\0", 9);
	f[21] = op;
	memcpy(f + 22, sender_mac, 6);
	ip4_store(f + 28, sender);
	memcpy(f + 32, eth0.lladdr, 6);
	ip4_store(f + 38, target);
	nif_receive(&eth0, f, sizeof(f));
}

int tx_udp(u32 dst, u32 n, u32 flags)
{
	struct netaddr d = ip4_addr(dst);
	struct route r;
	struct pkt *p = pkt_alloc(PKT_HEADROOM);
	int err = route_lookup(&d, NULL, &r);

	if (err) {
		pkt_free(p);
		return err;
	}
	memset(pkt_put(p, min(n, 1000u)), 'x', min(n, 1000u));
	for (u32 off = 1000; off < n;) {
		u32 nb = nbuf_alloc(), part = min(n - off, NBUF_SIZE);

		memset(nbuf_addr(nb), 'y', part);
		pkt_add_frag(p, nb, 0, part);
		off += part;
	}
	return ip_output(p, &r, &r.src, &d, IP_PROTO_UDP, 64, 0, flags);
}

const struct ip_hdr *frame_ip(const struct nif_frame *f)
{
	const struct ip_hdr *h = (const void *)(f->data + 14);

	if (f->len < 34 || f->data[12] != 8 || f->data[13] || sum_of(h, 20, 0))
		net_fail("not an IPv4 frame, or its checksum is wrong");
	return h;
}

u32 frame_is_arp(const struct nif_frame *f)
{
	return f->len >= 42 && f->data[12] == 8 && f->data[13] == 6 ? f->data[21] : 0;
}

u32 arp_target(const struct nif_frame *f)
{
	return ip4_load(f->data + 38);
}

void know_neighbours(void)
{
	rx_arp(1, peer_mac, PEER, OURS);
	rx_arp(1, gateway_mac, GATEWAY, OURS);
	nif_next(0);
	nif_next(0);
	/* What is stale would be asked about as it is used. */
	rx_arp(2, peer_mac, PEER, OURS);
	rx_arp(2, gateway_mac, GATEWAY, OURS);
}

/* TCP */

void tcp_input(struct pkt *p, const struct ip_info *ip)
{
	tcp_seen.packets++;
	tcp_seen.bytes = p->total;
	tcp_seen.ip = *ip;
	pkt_copy_out(p, 0, tcp_seen.data, min(p->total, (u32)sizeof(tcp_seen.data)));
	pkt_free(p);
}

void tcp_error(const struct netaddr *local, const struct netaddr *remote, const u8 hdr[8], int err,
	       u32 mtu, bool hard)
{
	tcp_seen.errors++;
	tcp_seen.err = err;
	tcp_seen.mtu = mtu;
	tcp_seen.hard = hard;
	tcp_seen.local = *local;
	tcp_seen.remote = *remote;
	memcpy(tcp_seen.hdr, hdr, 8);
}

/* Sockets */

void socket_net_poll(void)
{
	ip_host_pump();
}

struct socket *udp_new(void)
{
	struct socket *s;

	if (inet_dgram_create(AF_INET, 0, &s))
		net_fail("inet_dgram_create");
	return s;
}

static struct sockaddr_in name_of(u32 addr, u16 port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = net16(port), .sin_addr.s_addr = net32(addr)};
}

int udp_bind_to(struct socket *s, u32 addr, u16 port)
{
	struct sockaddr_in in = name_of(addr, port);

	return s->ops->bind(s, &in, sizeof(in));
}

int udp_connect_to(struct socket *s, u32 addr, u16 port)
{
	struct sockaddr_in in = name_of(addr, port);

	return s->ops->connect(s, &in, sizeof(in), false);
}

int udp_disconnect(struct socket *s)
{
	struct sockaddr_in in = {};

	return s->ops->connect(s, &in, sizeof(in), false);
}

ssize_t udp_send(struct socket *s, const void *data, u32 n, u32 addr, u16 port)
{
	struct sock_msg m = {};
	struct sockaddr_in in = name_of(addr, port);
	ssize_t r;

	iov_iter_kernel(&m.it, (void *)data, n);
	if (addr) {
		memcpy(m.name, &in, sizeof(in));
		m.namelen = sizeof(in);
	}
	r = s->ops->sendmsg(s, &m, 0, true);
	ip_host_pump();
	return r;
}

ssize_t udp_recv(struct socket *s, void *buf, u32 n, int flags, u32 *addr, u16 *port)
{
	struct sock_msg m = {};
	struct sockaddr_in in;
	ssize_t r;

	iov_iter_kernel(&m.it, buf, n);
	r = s->ops->recvmsg(s, &m, flags, true);
	if (r >= 0 && addr) {
		memcpy(&in, m.name, sizeof(in));
		*addr = net32(in.sin_addr.s_addr);
		*port = net16(in.sin_port);
	}
	return r;
}

u16 udp_port(struct socket *s)
{
	struct sockaddr_in in;
	u32 len;

	s->ops->getname(s, &in, &len, false);
	return net16(in.sin_port);
}

int opt_set(struct socket *s, int level, int name, int v)
{
	int err = s->ops->setsockopt(s, level, name, &v, sizeof(v));

	return err == -ENOPROTOOPT && level == SOL_SOCKET ? sock_setsockopt(s, name, &v, sizeof(v))
							  : err;
}

int opt_get(struct socket *s, int level, int name)
{
	int v;
	u32 len = sizeof(v);
	int err;

	if (level == SOL_SOCKET && name == SO_ERROR) /* as socket.c */
		return sock_take_error(&s->c);
	err = s->ops->getsockopt(s, level, name, &v, &len);
	if (err == -ENOPROTOOPT && level == SOL_SOCKET)
		err = sock_getsockopt(s, name, &v, &len);
	return err ? err : v;
}

void udp_close(struct socket *s)
{
	s->ops->release(s);
}

int socket_take_error(struct socket *s)
{
	return sock_take_error(&s->c);
}

u64 socket_ino(struct socket *s)
{
	return s->c.ino;
}

u64 anon_new_ino(void)
{
	static u64 ino;

	return ++ino;
}

bool fs_capable(int cap)
{
	return ip_host_privileged;
}

/* The application's memory is ours. */

int copy_from_user(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

int copy_to_user(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

size_t copy_from_user_partial(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return n;
}

size_t copy_to_user_partial(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return n;
}

int clear_user(void *dst, size_t n)
{
	memset(dst, 0, n);
	return 0;
}

int put_user_u32(u32 v, void *p)
{
	memcpy(p, &v, sizeof(v));
	return 0;
}
