/*
 * test_udp.c - UDP and its sockets in virtual time: ports, who gets what, errors, options.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "ip_host.h"

/* As linux/in.h and asm/socket.h number them: a C library's socket headers and ours do not mix. */
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define SOL_SOCKET 1
#define SO_REUSEADDR 2
#define SO_ERROR 4
#define SO_BROADCAST 6
#define SO_RCVBUF 8
#define SO_REUSEPORT 15
#define IPPROTO_IP 0
#define IP_TOS 1
#define IP_TTL 2
#define IP_MTU_DISCOVER 10
#define IP_RECVERR 11
#define IP_MTU 14
#define IP_MULTICAST_TTL 33
#define IP_ADD_MEMBERSHIP 35

static void fail_hook(const char *text)
{
	cr_assert_fail("%s", text);
}

static void start(void)
{
	ip_host_start();
	net_fail_hook = fail_hook;
}

/* A datagram comes from `src`:`sport` to `dst`:`dport`. */
static void rx(u32 src, u16 sport, u32 dst, u16 dport, const char *text)
{
	u8 buf[2048];
	u32 n = make_udp(buf, src, dst, sport, dport, text, strlen(text));

	rx_ip(&(struct rx){.src = src, .dst = dst}, buf, n);
}

/* What s has next; "": nothing. */
static const char *next(struct socket *s)
{
	static char buf[65536];
	ssize_t n = udp_recv(s, buf, sizeof(buf) - 1, 0, NULL, NULL);

	buf[n < 0 ? 0 : n] = 0;
	return buf;
}

static void rx_error(u8 type, u8 code, u16 mtu, u32 dst, u16 sport, u16 dport)
{
	u8 m[64];
	u32 n = make_icmp_error(m, type, code, mtu, OURS, dst, IP_PROTO_UDP, sport, dport);

	rx_ip(&(struct rx){.proto = 1, .src = GATEWAY}, m, n);
}

Test(udp, datagrams_have_borders_and_senders)
{
	struct socket *a, *b;
	char buf[100];
	u32 addr;
	u16 port;

	start();
	a = udp_new();
	b = udp_new();
	cr_assert_eq(udp_bind_to(a, IP4_LOOPBACK, 5000), 0);
	cr_assert_eq(udp_send(b, "hello", 5, IP4_LOOPBACK, 5000), 5);
	cr_assert_eq(udp_send(b, "", 0, IP4_LOOPBACK, 5000), 0);
	cr_assert_eq(udp_send(b, "again", 5, IP4_LOOPBACK, 5000), 5);
	cr_assert_eq(udp_recv(a, buf, 3, MSG_PEEK | MSG_TRUNC, NULL, NULL), 5);
	cr_assert_eq(udp_recv(a, buf, 3, 0, &addr, &port), 3);
	cr_assert_arr_eq(buf, "hel", 3);
	cr_assert_eq(addr, IP4_LOOPBACK);
	cr_assert_eq(port, udp_port(b));
	cr_assert_geq(port, 32768);
	cr_assert_eq(udp_recv(a, buf, 3, 0, NULL, NULL), 0);
	cr_assert_eq(udp_recv(a, buf, 100, 0, NULL, NULL), 5);
	cr_assert_eq(udp_recv(a, buf, 100, 0, NULL, NULL), -EAGAIN);
	udp_close(a);
	udp_close(b);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
	cr_assert_eq(net_allocated(), 0);
}

Test(udp, over_the_wire_with_checksums)
{
	struct socket *s;
	const struct nif_frame *f;
	struct netaddr src = ip4_addr(OURS), dst = ip4_addr(FAR);

	start();
	know_neighbours();
	s = udp_new();
	opt_set(s, IPPROTO_IP, IP_TTL, 7);
	opt_set(s, IPPROTO_IP, IP_TOS, 0x10);
	cr_assert_eq(udp_send(s, "hello", 5, FAR, 53), 5);
	f = nif_next(0);
	cr_assert_eq(frame_ip(f)->ttl, 7);
	cr_assert_eq(frame_ip(f)->tos, 0x10);
	cr_assert_eq(net16(frame_ip(f)->frag), IP_FRAG_DF);
	cr_assert_arr_eq(f->data, gateway_mac, 6);
	cr_assert_eq(csum_fold(csum_add(f->data + 34, 13, pseudo_sum(&src, &dst, 17, 13))), 0xffff);
	cr_assert_eq(f->data[36] << 8 | f->data[37], 53);
	cr_assert_arr_eq(f->data + 42, "hello", 5);
	rx(FAR, 53, OURS, udp_port(s), "answer");
	cr_assert_str_eq(next(s), "answer");
	udp_close(s);
}

Test(udp, malformed_datagrams_are_dropped)
{
	struct socket *s;
	u8 buf[64];
	u32 n;

	start();
	know_neighbours();
	s = udp_new();
	udp_bind_to(s, 0, 5000);
	n = make_udp(buf, PEER, OURS, 1, 5000, "hello", 5);
	buf[12] ^= 1;
	rx_ip(&(struct rx){}, buf, n); /* checksum */
	cr_assert_eq(make_udp(buf, PEER, OURS, 1, 5000, "hello", 5), n);
	rx_ip(&(struct rx){}, buf, 7);
	rx_ip(&(struct rx){}, buf, n - 1); /* its length says more */
	buf[5] = 7;
	rx_ip(&(struct rx){}, buf, n); /* less than its header */
	cr_assert_str_eq(next(s), "");
	make_udp(buf, PEER, OURS, 1, 5000, "hello", 5);
	buf[6] = buf[7] = 0; /* the sender made no checksum */
	rx_ip(&(struct rx){}, buf, n);
	cr_assert_str_eq(next(s), "hello");
	make_udp(buf, PEER, OURS, 1, 5000, "hello", 5);
	memcpy(buf + n, "junk", 4); /* bytes behind its length belong to nobody */
	rx_ip(&(struct rx){}, buf, n + 4);
	cr_assert_str_eq(next(s), "hello");
	cr_assert_null(nif_next(0));
	udp_close(s);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(udp, bind_rules)
{
	struct socket *a, *b, *c;

	start();
	a = udp_new();
	b = udp_new();
	c = udp_new();
	cr_assert_eq(udp_bind_to(a, OURS, 5000), 0);
	cr_assert_eq(udp_bind_to(a, OURS, 5001), -EINVAL);
	cr_assert_eq(udp_bind_to(b, OURS, 5000), -EADDRINUSE);
	cr_assert_eq(udp_bind_to(b, 0, 5000), -EADDRINUSE);
	cr_assert_eq(udp_bind_to(b, PEER, 5000), -EADDRNOTAVAIL);
	cr_assert_eq(udp_bind_to(b, IP4_LOOPBACK, 5000), 0);
	ip_host_privileged = false;
	cr_assert_eq(udp_bind_to(c, 0, 53), -EACCES);
	ip_host_privileged = true;
	cr_assert_eq(udp_bind_to(c, 0, 53), 0);
	udp_close(c);
	c = udp_new();
	cr_assert_eq(udp_bind_to(c, 0, 53), 0, "a port is free again when its socket is gone");
	udp_close(a);
	udp_close(b);
	udp_close(c);
}

Test(udp, sharing_a_port_takes_two)
{
	static const int options[] = {SO_REUSEADDR, SO_REUSEPORT};

	start();
	for (u32 i = 0; i < 2; i++) {
		struct socket *a = udp_new(), *b = udp_new();

		opt_set(a, SOL_SOCKET, options[i], 1);
		cr_assert_eq(udp_bind_to(a, 0, 5000), 0);
		cr_assert_eq(udp_bind_to(b, 0, 5000), -EADDRINUSE);
		opt_set(b, SOL_SOCKET, options[1 - i], 1);
		cr_assert_eq(udp_bind_to(b, 0, 5000), -EADDRINUSE);
		opt_set(b, SOL_SOCKET, options[i], 1);
		cr_assert_eq(udp_bind_to(b, 0, 5000), 0);
		udp_close(a);
		udp_close(b);
	}
}

Test(udp, a_reuseport_group_shares_by_sender)
{
	struct socket *s[4];
	u32 got[4] = {0}, i;

	start();
	for (i = 0; i < 4; i++) {
		s[i] = udp_new();
		opt_set(s[i], SOL_SOCKET, SO_REUSEPORT, 1);
		cr_assert_eq(udp_bind_to(s[i], 0, 5000), 0);
	}
	for (u32 port = 1000; port < 1400; port++) {
		u32 takers = 0;

		rx(PEER, port, OURS, 5000, "a");
		rx(PEER, port, OURS, 5000, "b");
		for (i = 0; i < 4; i++)
			if (*next(s[i])) {
				cr_assert_str_eq(next(s[i]), "b", "one sender, one socket");
				got[i]++;
				takers++;
			}
		cr_assert_eq(takers, 1);
	}
	for (i = 0; i < 4; i++) {
		cr_assert_geq(got[i], 50, "%u %u %u %u", got[0], got[1], got[2], got[3]);
		udp_close(s[i]);
	}
}

Test(udp, the_closest_match_gets_it)
{
	struct socket *any, *addr, *conn;

	start();
	any = udp_new();
	addr = udp_new();
	conn = udp_new();
	opt_set(any, SOL_SOCKET, SO_REUSEADDR, 1);
	opt_set(addr, SOL_SOCKET, SO_REUSEADDR, 1);
	opt_set(conn, SOL_SOCKET, SO_REUSEADDR, 1);
	udp_bind_to(conn, 0, 5000);
	cr_assert_eq(udp_connect_to(conn, PEER, 7), 0);
	udp_bind_to(addr, OURS, 5000);
	udp_bind_to(any, 0, 5000);
	rx(PEER, 7, OURS, 5000, "1");
	rx(PEER, 8, OURS, 5000, "2");
	cr_assert_str_eq(next(conn), "1");
	cr_assert_str_eq(next(addr), "2");
	udp_send(any, "3", 1, IP4_LOOPBACK, 5000);
	cr_assert_str_eq(next(any), "3");
	cr_assert_str_eq(next(conn), "");
	cr_assert_str_eq(next(addr), "");
	udp_close(any);
	udp_close(addr);
	udp_close(conn);
}

Test(udp, automatic_ports_are_random_and_run_out)
{
	static struct socket *s[28233];
	u32 n = 0, next_to_last = 0;
	u16 last = 0;

	start();
	for (u32 i = 0; i < 100; i++) {
		s[n] = udp_new();
		cr_assert_eq(udp_bind_to(s[n], 0, 0), 0);
		cr_assert_geq(udp_port(s[n]), 32768);
		cr_assert_leq(udp_port(s[n]), 60999);
		next_to_last += udp_port(s[n]) == last + 1;
		last = udp_port(s[n++]);
	}
	cr_assert_leq(next_to_last, 5);
	for (u32 port = 32768; port <= 60999; port++) {
		s[n] = udp_new();
		if (port == 40000 || udp_bind_to(s[n], 0, port))
			udp_close(s[n]);
		else
			n++;
	}
	s[n] = udp_new();
	cr_assert_eq(udp_bind_to(s[n], 0, 0), 0, "the last one is found");
	cr_assert_eq(udp_port(s[n++]), 40000);
	s[n] = udp_new();
	cr_assert_eq(udp_bind_to(s[n], 0, 0), -EADDRINUSE);
	cr_assert_eq(udp_send(s[n++], "x", 1, PEER, 1), -EAGAIN);
	while (n)
		udp_close(s[--n]);
	cr_assert_eq(net_allocated(), 0);
}

Test(udp, connected_sockets_hear_of_closed_ports)
{
	struct socket *s;

	start();
	s = udp_new();
	cr_assert_eq(udp_send(s, "x", 1, IP4_LOOPBACK, 5001), 1);
	cr_assert_eq(udp_send(s, "x", 1, IP4_LOOPBACK, 5001), 1,
		     "unconnected: which one would it be?");
	cr_assert_eq(udp_connect_to(s, IP4_LOOPBACK, 5001), 0);
	cr_assert_eq(udp_send(s, "x", 1, 0, 0), 1);
	cr_assert_eq(udp_send(s, "x", 1, 0, 0), -ECONNREFUSED);
	cr_assert_eq(udp_send(s, "x", 1, 0, 0), 1);
	cr_assert_eq(opt_get(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	cr_assert_eq(opt_get(s, SOL_SOCKET, SO_ERROR), 0);
	udp_close(s);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(udp, errors_find_their_socket_and_no_other)
{
	struct socket *s, *other;

	start();
	know_neighbours();
	s = udp_new();
	other = udp_new();
	cr_assert_eq(udp_connect_to(s, FAR, 53), 0);
	cr_assert_eq(udp_connect_to(other, FAR, 53), 0);
	rx_error(3, 3, 0, FAR, udp_port(s), 54);
	rx_error(3, 3, 0, FAR + 1, udp_port(s), 53);
	rx_error(3, 3, 0, FAR, udp_port(s) ^ 1, 53);
	rx_error(3, 1, 0, FAR, udp_port(s), 53); /* host unreachable is not final */
	cr_assert_eq(opt_get(s, SOL_SOCKET, SO_ERROR), 0);
	rx_error(3, 3, 0, FAR, udp_port(s), 53);
	cr_assert_eq(opt_get(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	cr_assert_eq(opt_get(other, SOL_SOCKET, SO_ERROR), 0);
	udp_close(s);
	udp_close(other);
}

Test(udp, an_error_queue_keeps_what_happened)
{
	struct socket *s;
	char buf[10];
	u32 addr;
	u16 port;

	start();
	know_neighbours();
	s = udp_new();
	cr_assert_eq(udp_recv(s, buf, 10, MSG_ERRQUEUE, NULL, NULL), -EAGAIN);
	opt_set(s, IPPROTO_IP, IP_RECVERR, 1);
	udp_send(s, "x", 1, FAR, 53);
	nif_next(0);
	rx_error(3, 1, 0, FAR, udp_port(s), 53);
	rx_error(3, 3, 0, FAR, udp_port(s), 54);
	cr_assert_eq(udp_recv(s, buf, 10, 0, NULL, NULL), -ECONNREFUSED);
	cr_assert_eq(udp_recv(s, buf, 10, MSG_ERRQUEUE, &addr, &port), 0);
	cr_assert_eq(addr, FAR);
	cr_assert_eq(port, 53);
	cr_assert_eq(opt_get(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED,
		     "that of the next in the queue");
	cr_assert_eq(udp_recv(s, buf, 10, MSG_ERRQUEUE, &addr, &port), 0);
	cr_assert_eq(port, 54);
	cr_assert_eq(udp_recv(s, buf, 10, MSG_ERRQUEUE, NULL, NULL), -EAGAIN);
	for (u32 i = 0; i < 1000; i++)
		rx_error(3, 1, 0, FAR, udp_port(s), 53);
	cr_assert_lt(net_allocated(), 100000);
	udp_close(s);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(udp, path_mtu_is_believed_from_who_knows_the_socket)
{
	struct socket *s;
	static u8 data[1472];

	start();
	know_neighbours();
	s = udp_new();
	udp_connect_to(s, FAR, 53);
	cr_assert_eq(opt_get(s, IPPROTO_IP, IP_MTU), 1500);
	rx_error(3, 4, 1000, FAR, udp_port(s) ^ 1, 53);
	cr_assert_eq(opt_get(s, IPPROTO_IP, IP_MTU), 1500);
	rx_error(3, 4, 1000, FAR, udp_port(s), 53);
	cr_assert_eq(opt_get(s, IPPROTO_IP, IP_MTU), 1000);
	cr_assert_eq(opt_get(s, SOL_SOCKET, SO_ERROR), EMSGSIZE);
	/* By default what is too long is cut. */
	cr_assert_eq(udp_send(s, data, 1472, 0, 0), 1472);
	cr_assert_eq(net16(frame_ip(nif_next(0))->frag), IP_FRAG_MF);
	cr_assert_not_null(nif_next(0));
	cr_assert_null(nif_next(0));
	opt_set(s, IPPROTO_IP, IP_MTU_DISCOVER, 2); /* DO */
	cr_assert_eq(udp_send(s, data, 1472, 0, 0), -EMSGSIZE);
	cr_assert_eq(udp_send(s, data, 972, 0, 0), 972);
	cr_assert_eq(net16(frame_ip(nif_next(0))->frag), IP_FRAG_DF);
	opt_set(s, IPPROTO_IP, IP_MTU_DISCOVER, 3); /* PROBE */
	cr_assert_eq(udp_send(s, data, 1472, 0, 0), 1472);
	cr_assert_eq(net16(frame_ip(nif_next(0))->frag), IP_FRAG_DF);
	opt_set(s, IPPROTO_IP, IP_MTU_DISCOVER, 0); /* DONT */
	cr_assert_eq(udp_send(s, data, 100, 0, 0), 100);
	cr_assert_eq(net16(frame_ip(nif_next(0))->frag), 0);
	udp_close(s);
}

Test(udp, broadcast_must_be_asked_for_and_reaches_all)
{
	struct socket *a, *b;

	start();
	a = udp_new();
	b = udp_new();
	cr_assert_eq(udp_send(a, "x", 1, IP4_BROADCAST, 9), -EACCES);
	cr_assert_eq(udp_connect_to(a, IP(10, 0, 0, 255), 9), -EACCES);
	opt_set(a, SOL_SOCKET, SO_BROADCAST, 1);
	cr_assert_eq(udp_send(a, "x", 1, IP4_BROADCAST, 9), 1);
	cr_assert_not_null(nif_next(0));
	udp_close(a);
	a = udp_new();
	opt_set(a, SOL_SOCKET, SO_REUSEADDR, 1);
	opt_set(b, SOL_SOCKET, SO_REUSEADDR, 1);
	udp_bind_to(a, 0, 68);
	udp_bind_to(b, 0, 68);
	rx(PEER, 67, IP4_BROADCAST, 68, "to all");
	cr_assert_str_eq(next(a), "to all");
	cr_assert_str_eq(next(b), "to all");
	udp_close(a);
	udp_close(b);
	cr_assert_eq(nbuf_free_count(), nbuf_total());
}

Test(udp, a_queue_is_bounded)
{
	struct socket *s;
	u32 n = 0;

	start();
	s = udp_new();
	udp_bind_to(s, 0, 5000);
	for (u32 i = 0; i < 10000; i++)
		rx(PEER, 1, OURS, 5000, "x");
	while (*next(s))
		n++;
	cr_assert_geq(n, 200);
	cr_assert_leq(n, 300, "%u datagrams in a buffer of 208 KiB", n);
	/* When buffers run short, a long queue grows no more. */
	opt_set(s, SOL_SOCKET, SO_RCVBUF, 212992);
	for (u32 i = 0; nbuf_free_count() > nbuf_total() / 4; i++)
		nbuf_alloc();
	for (u32 i = 0; i < 100; i++)
		rx(PEER, 1, OURS, 5000, "x");
	for (n = 0; *next(s); n++)
		;
	cr_assert_leq(n, 5);
	udp_close(s);
}

Test(udp, no_memory_is_an_error_not_a_crash)
{
	struct socket *s;
	static u8 data[60000];
	long before;

	start();
	know_neighbours();
	before = net_allocated();
	s = udp_new();
	while (nbuf_free_count() > 10)
		nbuf_alloc();
	cr_assert_eq(udp_send(s, data, 60000, PEER, 1), -ENOBUFS);
	cr_assert_eq(nbuf_free_count(), 10);
	net_memory_limit(1);
	cr_assert_eq(udp_send(s, data, 10, PEER, 1), -ENOBUFS);
	rx(PEER, 1, OURS, udp_port(s), "x");
	net_memory_limit(0);
	udp_close(s);
	cr_assert_eq(net_allocated(), before);
}

Test(udp, connect_chooses_an_address_and_can_be_undone)
{
	struct socket *s;
	u16 port;

	start();
	s = udp_new();
	cr_assert_eq(udp_send(s, "x", 1, 0, 0), -EDESTADDRREQ);
	cr_assert_eq(udp_connect_to(s, FAR, 53), 0);
	port = udp_port(s);
	cr_assert_neq(port, 0);
	rx(PEER, 53, OURS, port, "not from there");
	cr_assert_str_eq(next(s), "");
	cr_assert_eq(udp_disconnect(s), 0);
	cr_assert_eq(udp_port(s), 0);
	cr_assert_eq(udp_bind_to(s, 0, port), 0);
	rx(PEER, 53, OURS, port, "from anybody");
	cr_assert_str_eq(next(s), "from anybody");
	cr_assert_eq(udp_send(s, "x", 1, PEER, 0), -EINVAL);
	udp_close(s);
}

Test(udp, options_that_do_nothing_are_refused)
{
	struct socket *s;

	start();
	s = udp_new();
	cr_assert_eq(opt_set(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, 1), -ENOPROTOOPT);
	cr_assert_eq(opt_set(s, IPPROTO_IP, IP_MULTICAST_TTL, 1), -ENOPROTOOPT);
	cr_assert_eq(opt_set(s, 17, 103, 1), -ENOPROTOOPT); /* UDP_SEGMENT */
	cr_assert_eq(opt_set(s, IPPROTO_IP, IP_TTL, 0), -EINVAL);
	cr_assert_eq(opt_set(s, IPPROTO_IP, IP_TTL, 256), -EINVAL);
	cr_assert_eq(opt_set(s, IPPROTO_IP, IP_TTL, -1), 0);
	cr_assert_eq(opt_get(s, IPPROTO_IP, IP_TTL), 64);
	cr_assert_eq(opt_set(s, IPPROTO_IP, IP_MTU_DISCOVER, 6), -EINVAL);
	cr_assert_eq(opt_get(s, IPPROTO_IP, IP_MTU), -ENOTCONN);
	udp_close(s);
}
