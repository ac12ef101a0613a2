/*
 * tcp_test.h - what the test_tcp_*.c share: the start and end of a test, and short forms.
 */
#ifndef TEST_UNIT_TCP_TEST_H
#define TEST_UNIT_TCP_TEST_H

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "net_seg.h"
#include "net_wire.h"

/* Options of the remote's SYN. MSS 1000 keeps numbers readable. */
#define PLAIN "mss 1000"
#define SACK "mss 1000,sackOK"
#define WSCALE "mss 1000,sackOK,wscale 7"
#define FULL "mss 1000,sackOK,ts 100 ecr 0,wscale 7"

static inline void tcp_test_fail(const char *text)
{
	cr_assert_fail("%s", text);
	abort();
}

static inline void tcp_test_start(void)
{
	const char *seed = getenv("TEST_SEED");

	net_fail_hook = tcp_test_fail;
	wire_start(seed ? strtoull(seed, NULL, 0) : 42);
}

static struct tcp_sock *listener __attribute__((unused));

/* A connection on F that the remote opened, offering us a window of win; the handshake took rtt ms. */
static inline void passive_win(const char *opts, u32 rtt, u32 win)
{
	if (!listener)
		listener = sock_listen(F->lport, 16);
	wire_rtt = rtt;
	establish_passive(F, listener, win, opts);
}

static inline void passive(const char *opts, u32 rtt)
{
	passive_win(opts, rtt, 65535);
}

/* A connection on F that we opened. */
static inline void active(const char *opts, u32 rtt)
{
	wire_rtt = rtt;
	establish_active(F, 65535, opts);
}

#define SET_OPT(tp, field, value) \
	do { \
		spin_lock(tcp_lock(tp)); \
		tcp_opts(tp)->field = (value); \
		spin_unlock(tcp_lock(tp)); \
		tcp_opts_changed(tp); \
	} while (0)

static inline const char *state_name(enum tcp_state s)
{
	static const char *const names[] = { "?", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1",
					     "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
					     "LISTEN", "CLOSING" };

	return s < ARRAY_SIZE(names) ? names[s] : "?";
}

#define expect_state(s) \
	cr_assert_str_eq(state_name(tcp_state(F->tp)), state_name(s))

static inline struct tcp_info info(void)
{
	struct tcp_info i = {0};

	tcp_info(F->tp, &i, sizeof(i));
	return i;
}

/* Ends F's connection with a reset and looks whether everything is given back. */
static inline void end_test(void)
{
	wire_drop();
	if (F->tp) {
		tcp_disconnect(F->tp);
		tcp_close(F->tp);
		tcp_put(F->tp);
		F->tp = NULL;
	}
	if (listener) {
		tcp_close(listener);
		tcp_put(listener);
		listener = NULL;
	}
	wire_drop();
	net_advance(200 * SEC); /* TIME_WAIT */
	wire_check_clean();
}

/* Takes all segments that were sent and counts those with payload; *bytes: of payload. */
static inline u32 take_data(u32 *bytes)
{
	u32 n = 0, sum = 0;
	struct seg *s;

	while ((s = wire_next(0)) != NULL) {
		n += s->len != 0;
		sum += s->len;
	}
	if (bytes)
		*bytes = sum;
	return n;
}

/* An ICMP error about the segment of F that began with our sequence number seq (relative). */
static inline void icmp(s64 seq, int err, u32 mtu, bool hard)
{
	struct endpoint l = ep(F->laddr, F->lport), r = ep(F->raddr, F->rport);
	u32 n = (u32)(F->local_isn + seq);
	u8 hdr[8] = { F->lport >> 8, (u8)F->lport, F->rport >> 8, (u8)F->rport,
		      n >> 24, (u8)(n >> 16), (u8)(n >> 8), (u8)n };

	tcp_error(&l.addr, &r.addr, hdr, err, mtu, hard);
}

#endif
