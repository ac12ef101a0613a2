/*
 * procnet.c - /proc/net of interfaces, IPv4 and UDP, as proc_net(5) and the readers of these files
 * (netstat, ifconfig, Go's and Python's libraries) want it: columns and widths are those of Linux.
 */
#include "libos/net/procnet.h"

#include "libos/fs/pseudo.h"
#include "libos/lib/printf.h"
#include "libos/net/ipv4.h"
#include "libos/net/tcp.h"
#include "libos/net/udp.h"

#define LINE 127 /* some files are padded to lines of that length */
#define TCP_LINE 149

/* Ends the line that began at `from` of t. */
static void pad_line(struct text *t, size_t from, size_t to)
{
	for (size_t n = t->len - from; n < to; n++)
		text_write(t, " ", 1);
	text_write(t, "\n", 1);
}

/* An address as these files show it: the number that its bytes are in memory. */
static u32 shown(u32 addr)
{
	return net32(addr);
}

void procnet_dev(struct text *t, const struct inode *i)
{
	text_printf(t,
		    "Inter-|   Receive                                                |  Transmit\n"
		    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    "
		    "packets errs drop "
		    "fifo colls carrier compressed\n");
	for (struct netif *n = netif_next(NULL); n; n = netif_next(n))
		text_printf(t,
			    "%6s: %7lu %7lu %4d %4lu %4d %5d %10d %9d %8lu %7lu %4d %4lu %4d %5d "
			    "%7d %10d\n",
			    n->name, n->rx_bytes, n->rx_packets, 0, n->rx_dropped, 0, 0, 0, 0,
			    n->tx_bytes, n->tx_packets, 0, n->tx_dropped, 0, 0, 0, 0);
}

static void route_line(struct text *t, u32 dst, u32 gateway, u32 flags, u32 mask)
{
	size_t from = t->len;

	text_printf(t, "%s\t%08X\t%08X\t%04X\t%d\t%u\t%d\t%08X\t%d\t%u\t%u", ipv4_conf.nif->name,
		    shown(dst), shown(gateway), flags, 0, 0, 0, shown(mask), 0, 0, 0);
	pad_line(t, from, LINE);
}

#define RTF_UP 1u
#define RTF_GATEWAY 2u
#define RTF_HOST 4u

void procnet_route(struct text *t, const struct inode *i)
{
	const struct ipv4_conf *c = &ipv4_conf;
	size_t from = t->len;

	text_printf(t, "Iface\tDestination\tGateway "
		       "\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT");
	pad_line(t, from, LINE);
	if (!c->nif)
		return;
	if (c->gateway)
		route_line(t, 0, c->gateway, RTF_UP | RTF_GATEWAY, 0);
	route_line(t, c->addr & c->mask, 0, RTF_UP | (c->mask == ~0u ? RTF_HOST : 0), c->mask);
}

void procnet_arp(struct text *t, const struct inode *i)
{
	struct arp_info a;
	u32 at = 0;

	text_printf(
		t,
		"IP address       HW type     Flags       HW address            Mask     Device\n");
	while (arp_next(&at, &a)) {
		struct netaddr n = ip4_addr(a.addr);
		char ip[16], mac[18];

		netaddr_print(&n, ip, sizeof(ip));
		snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", a.mac[0], a.mac[1],
			 a.mac[2], a.mac[3], a.mac[4], a.mac[5]);
		text_printf(t, "%-16s 0x%-10x0x%-10x%-17s     *        %s\n", ip, 1,
			    a.state == ARP_INCOMPLETE ? 0 : 2, mac, ipv4_conf.nif->name);
	}
}

struct udp_table {
	struct text *t;
};

struct tcp_table {
	struct text *t;
	u32 n; /* lines so far */
};

/* Under the bucket's lock, which keeps both ends as they are. */
static void udp_line(struct udp_sock *u, void *arg)
{
	struct text *t = ((struct udp_table *)arg)->t;
	size_t from = t->len;
	u32 local = ip4_of(&u->local.addr), remote = ip4_of(&u->remote.addr);

	text_printf(
		t,
		"%5u: %08X:%04X %08X:%04X %02X %08X:%08X %02X:%08X %08X %5u %8d %lu %d %016lx %u",
		u->local.port, shown(local), u->local.port, shown(remote), u->remote.port,
		u->remote.addr.family ? 1 : 7, 0, READ_ONCE(u->rxq_bytes), 0, 0, 0, u->uid, 0,
		u->sock.c.ino, READ_ONCE(u->refs) + 1, 0ul, READ_ONCE(u->drops));
	pad_line(t, from, LINE);
}

void procnet_udp(struct text *t, const struct inode *i)
{
	struct udp_table table = {t};
	size_t from = t->len;

	text_printf(t, "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when "
		       "retrnsmt   uid  "
		       "timeout inode ref pointer drops");
	pad_line(t, from, LINE);
	udp_for_each(udp_line, &table);
}

/* Under the socket's lock. */
static void tcp_line(struct tcp_sock *tp, void *arg)
{
	struct tcp_table *table = arg;
	struct text *t = table->t;
	struct endpoint l = tcp_local(tp), r = tcp_remote(tp);
	size_t from = t->len;
	u32 tx, rx;
	u64 ino;

	tcp_queues(tp, &tx, &rx, &ino);
	text_printf(t, "%4u: %08X:%04X %08X:%04X %02X %08X:%08X %02X:%08X %08X %5u %8d %lu %d %016lx %d %d %d %d %d",
		    table->n++, shown(ip4_of(&l.addr)), l.port, shown(ip4_of(&r.addr)), r.port,
		    (u32)tcp_state(tp), tx, rx, 0, 0, 0, tcp_opts(tp)->uid, 0, ino, 1, 0ul, 20, 4, 0, 10, -1);
	pad_line(t, from, TCP_LINE);
}

void procnet_tcp(struct text *t, const struct inode *i)
{
	struct tcp_table table = {t, 0};
	size_t from = t->len;

	text_printf(t, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
		       "inode");
	pad_line(t, from, TCP_LINE);
	tcp_for_each(tcp_line, &table);
}

void procnet_snmp(struct text *t, const struct inode *i)
{
	const struct ipv4_stats *s = &ipv4_stats;

	text_printf(t,
		    "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams "
		    "InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes "
		    "ReasmTimeout "
		    "ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates\n");
	text_printf(t, "Ip: 2 %d %lu %lu %lu 0 %lu 0 %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu\n",
		    IP_DEFAULT_TTL, s->in_receives, s->in_hdr_errors, s->in_addr_errors,
		    s->in_unknown_protos, s->in_delivers, s->out_requests, s->out_discards,
		    s->out_no_routes, s->reasm_timeout, s->reasm_reqds, s->reasm_oks,
		    s->reasm_fails, s->frag_oks, s->frag_fails, s->frag_creates);
	text_printf(t, "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors "
		       "InCsumErrors "
		       "IgnoredMulti MemErrors\n");
	text_printf(t, "Udp: %lu %lu %lu %lu %lu 0 %lu 0 0\n", udp_stats.in_datagrams,
		    udp_stats.no_ports, udp_stats.in_errors, udp_stats.out_datagrams,
		    udp_stats.rcvbuf_errors, udp_stats.csum_errors);
}
