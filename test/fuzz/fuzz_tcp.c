/*
 * fuzz_tcp.c - libFuzzer target: a peer of ill will and an application of bad habits.
 *
 * The input is a list of steps: segments to a connection and to its listener, time, and calls of the
 * application. After each step: what was sent is well-formed (net_wire.c looks), carries the
 * right bytes, acknowledges no less than before, and there is not too much of it; what is read are the
 * bytes that were sent. In the end nothing is left.
 */
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "test/unit/net_seg.h"
#include "test/unit/net_wire.h"

#define MAX_STEPS 300u
#define MAX_SENT 3000u /* segments in answer to one step */

struct input {
	const u8 *p, *end;
};

static struct tcp_sock *listener;
static u32 last_ack;
static bool acked;

static u8 get8(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static u16 get16(struct input *in)
{
	u16 hi = get8(in);

	return (u16)(hi << 8 | get8(in));
}

static void look(void)
{
	u32 n = wire_caught();
	struct seg *s;

	if (n > MAX_SENT)
		net_fail("%u segments in answer to one step", n);
	while ((s = wire_next(0)) != NULL) {
		if (s->dport != F->rport || s->sport != F->lport || s->flags & TH_RST)
			continue;
		if (s->flags & TH_SYN) { /* the pair again, after a reset: another stream */
			F->local_isn = s->seq;
			F->raw = true;
			acked = false;
			continue;
		}
		seg_learn(F, s);
		for (u32 i = 0; i < s->len && !F->raw; i++)
			if (s->data[i] != stream_byte(true, (u64)(s->seq - F->local_isn - 1) + i))
				net_fail("sent: %s\nbyte %u is wrong", seg_text(F, s), i);
		if (acked && (s32)(s->ack - last_ack) < 0)
			net_fail("acknowledged %u less than before: %s", last_ack - s->ack, seg_text(F, s));
		last_ack = s->ack;
		acked = true;
	}
}

/* A number near `base`, or anywhere. */
static u32 near(struct input *in, u32 base)
{
	u8 how = get8(in);

	switch (how & 3) {
	case 0:
		return base;
	case 1:
		return base + (s8)get8(in);
	case 2:
		return base + (s16)get16(in);
	default:
		return (u32)get16(in) << 16 | get16(in);
	}
}

static void put_sack(struct input *in, struct seg *s, u32 base)
{
	u32 n = 1 + (get8(in) & 3);

	if (s->optlen + 2 + 8 * n > 40)
		n = (40 - s->optlen - 2) / 8;
	s->opt[s->optlen] = 5;
	s->opt[s->optlen + 1] = (u8)(2 + 8 * n);
	for (u32 i = 0; i < n; i++) {
		u32 a = near(in, base);

		seg_put32(s->opt + s->optlen + 2 + 8 * i, a);
		seg_put32(s->opt + s->optlen + 6 + 8 * i, a + get16(in));
	}
	s->optlen += 2 + 8 * n;
}

static void segment(struct input *in, bool to_connection)
{
	static u8 data[2048];
	struct tcp_info i = {0};
	struct seg s = { .src = F->raddr, .dst = F->laddr, .sport = F->rport, .dport = F->lport };
	u8 opts;

	/* what a peer that has seen everything would say next */
	if (F->tp)
		tcp_info(F->tp, &i, sizeof(i));
	s.flags = get8(in);
	if (!to_connection)
		s.sport = (u16)(7000 + (get8(in) & 3));
	s.seq = near(in, acked ? last_ack : F->peer_isn + 1);
	s.ack = s.flags & TH_ACK ? near(in, F->local_isn + 1 + (u32)F->sent) : 0;
	s.win = get16(in);
	s.len = get16(in) & 2047;
	if (s.flags & TH_URG) {
		s.urg = get16(in);
		F->raw = true;
	}
	s.data = data;
	for (u32 k = 0; k < s.len; k++)
		data[k] = stream_byte(false, (u64)(s.seq - F->peer_isn - 1) + k);
	opts = get8(in);
	if (opts & 1) {
		s.opt[0] = 8;
		s.opt[1] = 10;
		seg_put32(s.opt + 2, near(in, 101));
		seg_put32(s.opt + 6, near(in, F->last_tsval));
		s.optlen = 10;
	}
	if (opts & 2)
		put_sack(in, &s, F->local_isn + 1);
	if (opts & 4)
		while (s.optlen < 40 && in->p < in->end && *in->p != 0xff)
			s.opt[s.optlen++] = get8(in);
	inject_seg(&s, (opts & 0xf0) == 0xf0);
}

static void application(struct input *in)
{
	u8 what = get8(in);
	struct tcp_sock *tp = F->tp;

	if (!tp)
		return;
	switch (what % 13) {
	case 0:
	case 1:
		if (F->sent < 1000000)
			sock_send(1 + get16(in) % 30000);
		break;
	case 2:
	case 3:
		sock_recv(1 + get16(in));
		break;
	case 4:
		tcp_shutdown(tp, get8(in) % 3);
		break;
	case 5:
		sock_close();
		break;
	case 6:
		F->raw = true;
		tcp_send_oob(tp, 'x');
		break;
	case 7:
		tcp_recv_oob(tp, what & 16);
		tcp_at_mark(tp);
		break;
	case 8:
		spin_lock(tcp_lock(tp));
		tcp_opts(tp)->nodelay = what & 16;
		tcp_opts(tp)->cork = what & 32;
		tcp_opts(tp)->keepalive = what & 64;
		tcp_opts(tp)->quickack = what & 128;
		tcp_opts(tp)->oobinline = get8(in) & 1;
		spin_unlock(tcp_lock(tp));
		tcp_opts_changed(tp);
		break;
	case 9:
		spin_lock(tcp_lock(tp));
		tcp_opts(tp)->rcvbuf = get16(in);
		tcp_opts(tp)->rcvbuf_set = true;
		tcp_opts(tp)->sndbuf = get16(in);
		tcp_opts(tp)->sndbuf_set = true;
		tcp_opts(tp)->user_timeout_ns = get8(in) * 100 * MS;
		spin_unlock(tcp_lock(tp));
		tcp_opts_changed(tp);
		break;
	case 10:
		tcp_take_error(tp);
		tcp_poll_mask(tp);
		break;
	case 11:
		net_memory_limit(what & 64 ? 0 : net_allocated() + get16(in));
		break;
	default: {
		struct endpoint l = ep(F->laddr, F->lport), r = ep(F->raddr, F->rport);
		u8 hdr[8] = { 0, 80, F->rport >> 8, (u8)F->rport };

		seg_put32(hdr + 4, near(in, F->local_isn + 1));
		tcp_error(&l.addr, &r.addr, hdr, what & 16 ? EMSGSIZE : EHOSTUNREACH, get16(in), what & 32);
	}
	}
}

static void accept_all(void)
{
	struct tcp_sock *tp;

	while ((tp = tcp_accept(listener)) != NULL) {
		if (!F->tp && tcp_remote(tp).port == F->rport) {
			F->tp = tp;
			continue;
		}
		tcp_disconnect(tp);
		tcp_close(tp);
		tcp_put(tp);
	}
}

static void begin(struct input *in)
{
	static const char *const syn[] = { "mss 1000", "mss 1000,sackOK,ts 100 ecr 0,wscale 7", "sackOK", "" };

	flow_init(F, 80, 5000);
	F->peer_isn = (u32)get16(in) << 16;
	wire_mtu = 1500;
	wire_nif.flags = NETIF_UP | NETIF_CSUM | (get8(in) & 1 ? NETIF_TSO : 0);
	wire_frag = get8(in) & 1 ? 64 + get8(in) : 0;
	last_ack = 0;
	acked = false;
	listener = sock_listen(80, 3);
	establish_passive(F, listener, 65535, syn[get8(in) & 3]);
}

static void end(void)
{
	net_memory_limit(0);
	wire_drop();
	if (F->tp) {
		tcp_disconnect(F->tp);
		sock_close();
	}
	tcp_close(listener);
	tcp_put(listener);
	for (u32 i = 0; i < 10; i++) {
		net_advance(200 * SEC);
		wire_drop();
	}
	wire_check_clean();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	static bool started;

	if (!started)
		wire_start_pool(1, 2048);
	started = true;
	begin(&in);
	for (u32 i = 0; i < MAX_STEPS && in.p < in.end; i++) {
		u8 step = get8(&in);

		if (step < 110)
			segment(&in, true);
		else if (step < 130)
			segment(&in, false);
		else if (step < 190)
			net_advance((u64)get8(&in) * MS << (step & 15));
		else
			application(&in);
		look();
		accept_all();
	}
	end();
	return 0;
}
