/*
 * fuzz_tcp_segment.c - libFuzzer target: the parser of TCP headers and options.
 *
 * The input is cut into segments of any bytes, ports and checksum put right, and sent to a listener, to
 * a connection and to one that is being opened. Nothing may hang, and all must be given back.
 */
#include <stdlib.h>
#include <string.h>

#include "test/unit/net_seg.h"
#include "test/unit/net_wire.h"

#define MAX_SEGMENTS 40u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct flow passive, active;
	struct tcp_sock *listener, *tp;
	static bool started;
	struct endpoint e = ep(REMOTE_IP, 6000);

	if (!started)
		wire_start_pool(1, 2048);
	started = true;
	listener = sock_listen(80, 3);
	flow_init(&passive, 80, 5000);
	establish_passive(&passive, listener, 65535, "mss 1000,sackOK,ts 100 ecr 0,wscale 7");
	flow_init(&active, 0, 6000);
	active.tp = tcp_create(2);
	tcp_connect(active.tp, &e);
	seg_learn(&active, wire_next(0));

	for (u32 i = 0; i < MAX_SEGMENTS && size > 2; i++) {
		size_t n = data[0] & 0x7f;
		bool to_active = data[0] & 0x80;
		struct flow *f = to_active ? &active : &passive;
		u16 from = (u16)(to_active ? 6000 : 5000 + (data[1] & 1));
		u8 b[128], way = data[1];

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		memcpy(b, data, n);
		data += n;
		size -= n;
		if (n >= 20) {
			b[0] = from >> 8;
			b[1] = (u8)from;
			b[2] = f->lport >> 8;
			b[3] = (u8)f->lport;
			if (way & 2)
				seg_put32(b + 4, f->peer_isn + 1);
			if (way & 4)
				seg_put32(b + 8, f->local_isn + 1);
			if (!(way & 8))
				b[12] = (u8)((n < 60 ? n / 4 : 15) << 4);
			seg_fill_sum(b, (u32)n, REMOTE_IP, LOCAL_IP);
		}
		inject_bytes(REMOTE_IP, LOCAL_IP, b, (u32)n);
		if (way & 16)
			net_advance(100 * MS);
		wire_drop();
	}

	while ((tp = tcp_accept(listener)) != NULL) {
		tcp_disconnect(tp);
		tcp_close(tp);
		tcp_put(tp);
	}
	tcp_disconnect(passive.tp);
	sock_close_flow(&passive);
	tcp_disconnect(active.tp);
	sock_close_flow(&active);
	tcp_close(listener);
	tcp_put(listener);
	for (u32 i = 0; i < 5; i++) {
		net_advance(200 * SEC);
		wire_drop();
	}
	wire_check_clean();
	return 0;
}
