/*
 * net_wire.h - TCP on a wire of the test's own: what the stack sends is caught, what the test writes arrives.
 *
 * Below TCP stands a small IP layer of the test (net_wire.c) in place of ipv4*.c, so that a failure here is
 * one of TCP. "Local" is the stack under test (10.0.0.1), "remote" the test (10.0.0.2).
 *
 * Segments are written as packetdrill does:
 *
 *     FLAGS SEQ:END(LEN) [ack N] [win N] [urg N] [<mss N,sackOK,ts VAL ecr N,wscale N,nop,eol,sack A:B C:D>]
 *
 * FLAGS of S F R P U E W and . for ACK. Sequence numbers are relative to the initial ones of the flow, as
 * are acknowledgments, SACK blocks, and our timestamps to our first. Numbers may be negative.
 * In expect(), what is not mentioned is not compared: no <..> says nothing of options, but <> says
 * that there are none, and P is asked for only if written; * stands for any number. In inject(), `ts V ecr *`
 * echoes the last of our timestamps, `hex 0204..` is any bytes, `badsum` spoils the checksum.
 */
#ifndef TEST_UNIT_NET_WIRE_H
#define TEST_UNIT_NET_WIRE_H

#include "libos/net/tcp.h"
#include "net_host.h"

#define LOCAL_IP 0x0a000001u
#define REMOTE_IP 0x0a000002u

#define TH_FIN 1
#define TH_SYN 2
#define TH_RST 4
#define TH_PUSH 8
#define TH_ACK 16
#define TH_URG 32
#define TH_ECE 64
#define TH_CWR 128

struct seg_opts {
	bool mss_set, wscale_set, sack_ok, ts_set;
	u16 mss;
	u8 wscale, nr_sack;
	u32 tsval, tsecr;
	u32 sack[4][2];
};

struct seg {
	u64 time; /* ns, when it was sent */
	u32 src, dst; /* host byte order, as all here */
	u16 sport, dport;
	u32 seq, ack;
	u16 win, urg;
	u8 flags;
	u8 ttl, tos;
	bool df;
	u32 gso; /* cut from a packet of so many bytes of payload; 0: sent as it is */
	u32 optlen;
	u8 opt[40];
	struct seg_opts o;
	u32 len;
	u8 *data; /* the receiver of the struct frees it: seg_free() */
};

/* One connection as the wire sees it. */
struct flow {
	u32 laddr, raddr;
	u16 lport, rport; /* lport 0: learned from the first segment sent */
	u32 peer_isn, local_isn; /* local_isn is learned from our SYN */
	bool have_isn, have_ts;
	bool raw; /* payload is not the pattern */
	u32 ts_base, last_tsval;
	u64 sent, received; /* stream positions of sock_send(), sock_recv() */
	struct tcp_sock *tp;
};

/* Byte `pos` of the stream that local or remote sends. */
static inline u8 stream_byte(bool local, u64 pos)
{
	return (u8)(pos * 7 + (pos >> 8) * 13 + (local ? 0x11 : 0x77));
}

/* Starts the host, TCP and a wire; once a process. */
void wire_start(u64 seed);
/* The same with a pool of so many nbufs. */
void wire_start_pool(u64 seed, u32 nbufs);
/* Fails unless all sockets, packets, buffers, timers and memory are back. Drops what was caught. */
void wire_check_clean(void);

/* The IP layer's state. */
extern u32 wire_mtu; /* 1500 */
extern bool wire_unreachable; /* route_lookup() says -ENETUNREACH */
extern struct netif wire_nif; /* flags: NETIF_UP | NETIF_CSUM; a test may add NETIF_TSO before connecting */
extern bool wire_csum_ok; /* what is injected is marked as verified */
extern u32 wire_frag; /* payload is injected in fragments of this size; 0: linear as far as it fits */
extern u64 wire_sent; /* segments */
extern int (*wire_filter)(const struct seg *s); /* called for each segment sent; nonzero: it is lost */

/* The flow that the short forms speak of. wire_start() points it to one between LOCAL_IP:80 and REMOTE_IP:5000. */
extern struct flow *F;
void flow_init(struct flow *f, u16 lport, u16 rport);

/* The remote end sends. */
void inject_flow(struct flow *f, const char *file, int line, const char *text);
#define inject(text) inject_flow(F, __FILE__, __LINE__, text)
#define injectf(...) inject_flow(F, __FILE__, __LINE__, wire_text(__VA_ARGS__))
const char *wire_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Any bytes as a TCP segment, checksum as it stands. */
void inject_bytes(u32 src, u32 dst, const u8 *b, u32 n);
/* Header and options built from s, payload s->data. Checksum is right unless bad_sum. */
void inject_seg(const struct seg *s, bool bad_sum);

/* The next segment that was sent must be this one; value: it, until the next call. */
const struct seg *expect_flow(struct flow *f, const char *file, int line, const char *text);
#define expect(text) expect_flow(F, __FILE__, __LINE__, text)
#define expectf(...) expect_flow(F, __FILE__, __LINE__, wire_text(__VA_ARGS__))
/* Nothing was sent that was not expected. */
void expect_none_at(const char *file, int line);
#define expect_none() expect_none_at(__FILE__, __LINE__)
/* Moves time on by ms, in which nothing is sent. */
void expect_quiet_at(const char *file, int line, u64 ms);
#define expect_quiet(ms) expect_quiet_at(__FILE__, __LINE__, ms)
/* Moves time on to the next segment, which must come from lo to hi ms from now; lo 0: it may be there already. */
const struct seg *expect_in_at(struct flow *f, const char *file, int line, u64 lo, u64 hi, const char *text);
#define expect_in(lo, hi, text) expect_in_at(F, __FILE__, __LINE__, lo, hi, text)
/* Moves on to the next segment within ms, and takes it: NULL, none. Valid until the next call. */
struct seg *wire_next(u64 ms);
/* Caught and not yet looked at. */
u32 wire_caught(void);
/* Forgets them. */
void wire_drop(void);
/* As text, relative to f. A static buffer. */
const char *seg_text(const struct flow *f, const struct seg *s);
void seg_free(struct seg *s);

/* Sockets: all act on f->tp */
struct endpoint ep(u32 addr, u16 port);
/* A listener on LOCAL_IP:port. */
struct tcp_sock *sock_listen(u16 port, int backlog);
/* Appends n bytes of the stream; what tcp_send() said. */
ssize_t sock_send_flow(struct flow *f, u32 n, bool push);
#define sock_send(n) sock_send_flow(F, n, true)
/* Takes up to max bytes, checks them against the stream, consumes them. */
size_t sock_recv_flow(struct flow *f, size_t max);
#define sock_recv(max) sock_recv_flow(F, max)
/* Closes, drops the reference. */
void sock_close_flow(struct flow *f);
#define sock_close() sock_close_flow(F)

extern u32 wire_rtt; /* ms that the remote takes to answer in the handshakes below; 0 */
/*
 * A connection that is established, nothing left on the wire; opts: of the remote's SYN, e.g. "mss 1460". win: the
 * window field of its ACK (or SYN-ACK); that of its SYN is 65535.
 */
void establish_passive(struct flow *f, struct tcp_sock *listener, u32 win, const char *opts);
void establish_active(struct flow *f, u32 win, const char *opts);

/* The link (net_link.c): instead of being caught, segments go back in at their destination. */
struct link {
	u32 loss, reorder, dup, corrupt; /* per million */
	u64 delay, jitter; /* ns; a reordered one takes up to reorder_delay more */
	u64 reorder_delay;
	u64 rate; /* bytes a second, 0: no limit */
	u32 queue; /* bytes that wait for the rate, 0: no limit */
	u64 dropped, reordered, duplicated, corrupted, delivered; /* counters */
	u64 busy[2];
};
/* NULL: back to catching. */
void wire_link(struct link *l);
/* net_wire.c to net_link.c */
void link_send(struct link *l, const u8 *tcp, u32 n, u32 src, u32 dst);

#endif
