/*
 * tcp_internal.h - what the files of TCP share: the connection, its queues, and who does what.
 *
 * Objects that packets find, each with a reference count in its struct tcp_hnode:
 *   struct tcp_sock  a connection or a listener
 *   struct tcp_req   a connection that a listener has answered with SYN-ACK (tcp_listen.c)
 *   struct tcp_tw    what is left of one in TIME_WAIT (tcp_timewait.c)
 *
 * Lock order: listener -> connection -> TIME_WAIT list -> {table bucket, port bucket} -> timer heap,
 * wait queue. Only a child that nobody else knows yet is locked inside its listener's lock.
 * ip_output() is called with tp->lock held; loopback queues.
 *
 * References: the socket's, the table's (while hashed), the accept queue's, the armed timer's, and
 * those of lookups.
 *
 * Quantities of congestion control are bytes: cwnd, ssthresh, pipe. Times are ns of
 * CLOCK_MONOTONIC.
 */
#ifndef LIBOS_NET_TCP_INTERNAL_H
#define LIBOS_NET_TCP_INTERNAL_H

#include <linux/eventpoll.h>

#include "libos/lib/string.h"
#include "libos/net/tcp.h"
#include "libos/time/clock.h"

/* ---- limits ---- */
#define TCP_BACKLOG_MAX 4096
#define TCP_SNDBUF_MIN 4608u
#define TCP_SNDBUF_DEFAULT 16384u
#define TCP_SNDBUF_MAX (4u << 20)
#define TCP_RCVBUF_MIN 2304u
#define TCP_RCVBUF_DEFAULT 131072u
#define TCP_RCVBUF_MAX (6u << 20)
#define TCP_MSS_DEFAULT 536u /* RFC 9293, 3.7.1 */
#define TCP_MSS_MIN                                                                                \
	48u /* smaller ones, from SYN or ICMP, are taken for this: 1 byte segments are an attack   \
	     */
#define TCP_GSO_MAX 65000u /* payload of one packet that the interface cuts */
#define TCP_INIT_CWND 10u  /* RFC 6928 */
#define TCP_RTO_MIN (200 * NSEC_PER_MSEC)
#define TCP_RTO_INIT NSEC_PER_SEC
#define TCP_RTO_MAX (120 * NSEC_PER_SEC)
#define TCP_RETRIES 15u /* as tcp_retries2 */
#define TCP_ORPHAN_RETRIES 8u
#define TCP_SYNACK_RETRIES 5u
#define TCP_DELACK (40 * NSEC_PER_MSEC)
#define TCP_TIMEWAIT (60 * NSEC_PER_SEC)
#define TCP_MAX_TW 16384u
#define TCP_MAX_ORPHANS 4096u
#define TCP_MAX_RUNS 256u /* gaps in the out-of-order queue */
#define TCP_MAX_WSCALE 14u
#define TCP_CHALLENGES 100u /* challenge ACKs a second, of all connections (RFC 5961, 7) */
#define TCP_OOW_ACK_NS                                                                             \
	(500 * NSEC_PER_MSEC) /* between duplicate ACKs for segments without data                  \
			       */
#define TCP_PAWS_NS (24ull * 86400 * NSEC_PER_SEC) /* RFC 7323, 5.5 */
#define TCP_COPY_MAX 256u /* payloads up to this are copied into the packet's linear part */
#define TCP_PORT_LOW 32768u
#define TCP_PORT_HIGH 60999u

/* ---- the wire ---- */
#define TCPF_FIN 0x01u
#define TCPF_SYN 0x02u
#define TCPF_RST 0x04u
#define TCPF_PSH 0x08u
#define TCPF_ACK 0x10u
#define TCPF_URG 0x20u

struct tcp_hdr {
	u16 sport, dport;
	u32 seq, ack;
	u8 off; /* upper four bits: words of the header */
	u8 flags;
	u16 wnd, csum, urp;
};
_Static_assert(sizeof(struct tcp_hdr) == 20, "RFC 9293, 3.1");

struct tcp_sackblk {
	u32 start, end;
};

/* A segment as received: the header in host order, the options that we know. Filled by tcp_parse().
 */
struct tcp_seginfo {
	u32 seq, end; /* end: behind data, SYN and FIN */
	u32 ack, len; /* bytes of payload */
	u16 sport, dport, wnd, urp;
	u8 flags;
	bool ts, sack_perm, wscale_ok;
	u8 wscale, nr_sack;
	u16 mss; /* 0: not given */
	u32 tsval, tsecr;
	struct tcp_sackblk sack[4];
};

static inline bool seq_lt(u32 a, u32 b)
{
	return (s32)(a - b) < 0;
}
static inline bool seq_le(u32 a, u32 b)
{
	return (s32)(a - b) <= 0;
}
#define seq_gt(a, b) seq_lt(b, a)
#define seq_ge(a, b) seq_le(b, a)

/* Of received packets in our queues: pkt.cb. */
struct tcp_cb {
	u32 seq, end; /* of the payload */
	u32 truesize; /* what it costs */
};
static inline struct tcp_cb *tcp_cb(struct pkt *p)
{
	return (struct tcp_cb *)p->cb;
}

/* ---- tables ---- */
enum tcp_kind { TCP_KIND_SOCK, TCP_KIND_REQ, TCP_KIND_TW };

struct tcp_hnode {
	struct tcp_hnode *next;
	u8 kind;
	bool hashed; /* under the bucket's lock */
	u32 refs;
	u32 hash;
	struct endpoint local, remote;
};

/* Who holds a port (tcp_bind.c). Under the lock of the port's bucket. */
struct tcp_port {
	struct tcp_port *next, **pprev;
	u16 port; /* 0: none */
	bool reuseaddr, reuseport, listening;
	bool connected; /* chosen by connect(): others may share it as long as the peer differs */
	struct netaddr addr;
};

/* ---- sending ---- */

/* A range of the send queue, in the order of sequence numbers. */
struct tcp_chunk {
	u32 seq, nb;
	u16 off, len;
	bool own; /* the bytes behind it in the nbuf are nobody's */
};

/* The send queue: a ring of chunks from snd_una to the end of what was given to us. */
struct tcp_sendq {
	struct tcp_chunk *v;
	u32 cap, head, len;
};

#define SEG_SACKED 1u
#define SEG_LOST 2u
#define SEG_RETRANS 4u /* the retransmission of a lost one is in flight */
#define SEG_EVER 8u    /* was ever retransmitted: no RTT sample (Karn) */
#define SEG_FIN 16u

/* A sent, unacknowledged range: the scoreboard is the list of these. */
struct tcp_seg {
	struct list_head link;
	u32 seq, end;
	u32 flags;
	u64 sent; /* last transmission */
};

enum tcp_phase { CA_OPEN, CA_RECOVERY, CA_LOSS };

struct tcp_sock;
struct tcp_cc_ops {
	const char *name;
	void (*init)(struct tcp_sock *tp);
	/* The new ssthresh upon a loss. */
	u32 (*ssthresh)(struct tcp_sock *tp);
	/* In CA_OPEN, limited by cwnd: `acked` bytes were acknowledged. */
	void (*grow)(struct tcp_sock *tp, u32 acked, u64 now);
	/* A loss, or an end of idleness, or an undo: forget the epoch. */
	void (*reset)(struct tcp_sock *tp);
};

struct tcp_cubic {
	u64 epoch;		  /* ns; 0: none */
	u64 k_ms;		  /* time to reach origin */
	u32 w_max, origin, w_est; /* bytes */
	u32 est_acked;
};

/* Deadlines of a connection; one struct timer serves them all (tcp_timer.c). */
enum tcp_deadline {
	DL_RTO,
	DL_TLP, /* tail loss probe */
	DL_REO, /* RACK's reordering window */
	DL_PERSIST,
	DL_DELACK,
	DL_KEEP,
	DL_STATE, /* FIN_WAIT2 of an orphan; SYN queue of a listener */
	DL_RETRY, /* no buffers to send with */
	NR_DEADLINES
};

/* A gap-free part of the out-of-order queue. */
struct tcp_run {
	struct list_head link;
	struct list_head pkts;
	u32 seq, end;
	u32 stamp; /* when it last grew: the order of SACK blocks */
};

struct tcp_sock {
	struct tcp_hnode node; /* first */
	spinlock_t lock;
	u8 state;
	u8 ca_state;
	bool orphan;		 /* no socket any more */
	bool rcv_shut, snd_shut; /* nothing more to read (FIN or SHUT_RD), to write */
	bool fin_queued;	 /* snd_end includes a FIN */
	bool fin_rcvd;
	bool fin_ooo; /* a FIN came before what is in front of it; it stands at fin_seq */
	u32 fin_seq;
	bool ts_ok, sack_ok, ws_ok;
	u8 snd_wscale, rcv_wscale;
	u32 wake; /* EPOLL* bits to announce at tcp_unlock() */
	int wake_excl;
	int err, soft_err; /* positive errno */
	u16 family;

	/* receiving */
	u32 rcv_nxt, rcv_wup, rcv_wnd; /* rcv_wnd was offered when rcv_nxt was rcv_wup */
	u32 irs;
	u32 ts_recent, ts_off;
	u64 ts_recent_ns;
	u64 last_rcv;		   /* a segment came */
	struct list_head rq;	   /* in order, not yet taken */
	u32 rq_bytes, rmem, taken; /* taken: bytes out of rq but not yet consumed */
	u32 copied;		   /* sequence number of the first byte not taken */
	struct list_head runs;
	u32 nr_runs, run_stamp, ooo_mem;
	struct tcp_sackblk dsack;
	bool dsack_ok;
	bool ack_now, ack_delayed, pingpong;
	u8 quick;    /* ACKs that will go out at once */
	u8 small;    /* segments smaller than full ones since the last ACK */
	u32 rcv_mss; /* guess of the peer's segment size */
	u32 adv_mss;
	bool urg_valid, urg_have,
		urg_read; /* urgent pointer; the byte is in urg_byte; it was read */
	u32 urg_seq;
	u8 urg_byte;
	u64 last_oow_ack;
	/* receive buffer autotuning */
	u64 drs_time, drs_rtt;
	u32 drs_seq, drs_space;
	u32 drs_rtt_seq;
	u64 drs_rtt_time;

	/* sending */
	u32 iss, snd_una, snd_nxt, snd_end; /* snd_end: behind what was given to us, FIN included */
	u32 snd_wnd, snd_wl1, max_wnd;
	u32 snd_up;
	bool urg_out;
	bool push; /* the user's last send was meant to go */
	u32 mss;   /* payload of a full segment, without SACK blocks */
	u32 peer_mss;
	u32 snd_sml; /* end of the last small segment sent: Minshall's Nagle */
	u32 wmem;
	bool nospace; /* somebody waits for EPOLLOUT */
	struct tcp_sendq sq;
	struct list_head segs;
	struct route route;
	u64 last_snd;

	/* recovery (tcp_rtx.c, tcp_rack.c) */
	u32 cwnd, ssthresh;
	u32 sacked, lost, retrans, lost_unsent; /* bytes; lost_unsent: LOST and not RETRANS */
	u32 dupacks; /* without SACK: each stands for a segment that has left */
	u32 high_seq;
	u32 prior_cwnd, prior_ssthresh;
	u32 undo_marker;
	bool undo_ok;
	u32 undo_retrans; /* retransmitted segments that D-SACKs have not explained */
	u32 retrans_ts;	  /* our clock at the episode's first retransmission; 0: none
			   */
	u32 prr_delivered, prr_out, prr_base;
	u64 rack_sent, rack_rtt;
	u32 rack_end, rack_fack; /* rack_fack: highest sequence number selectively or cumulatively
				    acknowledged */
	u32 reo_mult, reo_persist;
	u32 reo_round;
	bool reord_seen;
	struct tcp_sackblk sack_cache[4];
	u8 nr_sack_cache;
	bool tlp_out, tlp_retrans;
	u32 tlp_end;
	bool cwnd_limited;
	const struct tcp_cc_ops *cc;
	union {
		struct tcp_cubic cubic;
		u32 reno_acked;
	} cc_priv;

	/* RTT and timers */
	u64 srtt, rttvar, rto; /* srtt 0: no sample yet */
	u64 min_rtt, min_rtt_at;
	u32 backoff, retries; /* retries: RTOs or probes without an answer */
	u64 stall_since;      /* when the peer last made progress, while something waits for it */
	u32 keep_probes;
	u64 dl[NR_DEADLINES];
	struct timer timer;
	u64 timer_at; /* NEVER: not armed */
	u64 retry_ns;

	/* binding and listening */
	struct tcp_port port;
	bool addr_bound, port_bound; /* by the user */
	struct tcp_sock *lnext;	     /* listener table */
	bool in_ltable;
	u32 backlog;
	struct list_head acceptq; /* of acc_link */
	u32 nr_accept;
	struct list_head reqs;
	u32 nr_reqs;
	u64 cookie_time; /* when the last cookie was sent; 0: never */
	struct list_head acc_link;

	struct waitq wq;
	struct tcp_opts opts;
	bool was_nodelay, was_corked; /* at the last tcp_opts_changed() */
	/* statistics for tcp_info */
	u64 bytes_acked, bytes_received, bytes_sent, bytes_retrans;
	u32 segs_out, segs_in, data_segs_out, data_segs_in, total_retrans, dsack_dups, reord_events;
};

/* Half-open: SYN received, SYN-ACK sent. Under the listener's lock but for node. */
struct tcp_req {
	struct tcp_hnode node;	   /* first */
	struct tcp_sock *listener; /* a reference */
	struct list_head link;	   /* listener->reqs; empty: dead */
	u32 iss, irs;
	u32 tsval, ts_off; /* the peer's timestamp */
	u32 rcv_wnd;
	u16 mss, adv_mss;
	u8 snd_wscale, rcv_wscale;
	bool ts, sack, wscale, acked;
	u8 retries;
	u64 sent, next, created;
};

struct tcp_tw {
	struct tcp_hnode node; /* first */
	struct list_head link; /* by time of death */
	struct tcp_port port;
	u64 dies;
	u32 rcv_nxt, snd_nxt, rcv_wnd;
	u32 ts_recent, ts_off;
	u64 ts_recent_ns;
	u8 rcv_wscale;
	bool ts, dead;
	u64 last_ack;
	struct route route;
	u8 ttl, tos;
};

/* ---- tcp_table.c: who gets a segment ---- */
int tcp_table_init(void);
/* With a reference; NULL: none. */
struct tcp_hnode *tcp_lookup(const struct endpoint *local, const struct endpoint *remote);
/* Takes a reference for the table. -EADDRNOTAVAIL: there is one with these ends. */
int tcp_hash_insert(struct tcp_hnode *n);
/* Puts n where `old` stood, atomically; false: old is not there any more. */
bool tcp_hash_replace(struct tcp_hnode *old, struct tcp_hnode *n);
/* Takes it out and gives back the table's reference. Harmless if it is out. */
void tcp_hash_remove(struct tcp_hnode *n);
void tcp_node_put(struct tcp_hnode *n);
static inline void tcp_node_get(struct tcp_hnode *n)
{
	__atomic_fetch_add(&n->refs, 1, __ATOMIC_RELAXED);
}
void tcp_listen_insert(struct tcp_sock *tp);
void tcp_listen_remove(struct tcp_sock *tp);
/* The listener for a SYN, with a reference. */
struct tcp_sock *tcp_listen_lookup(const struct endpoint *local, const struct endpoint *remote);

/* ---- tcp_core.c ---- */
/* Releases the lock and wakes whom tp->wake says. The caller holds a reference. */
void tcp_unlock(struct tcp_sock *tp);
static inline void tcp_wake(struct tcp_sock *tp, u32 events)
{
	tp->wake |= events;
}
/* The connection is over: out of all tables, timers off, nothing to send; received data stay. Lock
 * held. */
void tcp_done(struct tcp_sock *tp);
/* tcp_done() with an error (positive; 0: none) for the socket. */
void tcp_fail(struct tcp_sock *tp, int err);
/* A reset to the peer, then tcp_fail(). */
void tcp_abort(struct tcp_sock *tp, int err);
/* SYN_SENT, SYN_RECV -> ESTABLISHED: buffers, congestion control, timers. */
void tcp_established(struct tcp_sock *tp, u64 now);
/* Everything that a connection starts with (but not ends, ports, options). */
void tcp_reset_state(struct tcp_sock *tp);
void tcp_purge_rq(struct tcp_sock *tp);
void tcp_free_sock(struct tcp_sock *tp); /* the last reference is gone */
bool tcp_pressure(void);		 /* nbufs are scarce: nothing grows */
/* What the buffer of one socket may be at most: want, or a part (1 / `part`) of the pool. */
u32 tcp_buf_limit(u32 want, u32 part);
#define TCP_SND_PART 4u
#define TCP_RCV_PART 2u /* about half of it holds payload */
extern u32 tcp_nr_orphans;

/* ---- tcp_bind.c ---- */
int tcp_port_get(struct tcp_sock *tp, u16 port); /* under tp->lock; 0 picks one */
int tcp_port_connect(struct tcp_sock *tp);	 /* picks a port for node.remote and hashes tp */
void tcp_port_share(struct tcp_port *p, const struct tcp_port *of, const struct netaddr *addr);
void tcp_port_release(struct tcp_port *p);
/* The port's flags follow the socket's (listening, reuse). -EADDRINUSE: may not listen. */
int tcp_port_update(struct tcp_sock *tp, bool listening);

/* ---- tcp_isn.c ---- */
void tcp_keys_init(void);
u64 tcp_siphash(u32 which, const void *data, size_t n); /* which key: 0..3 */
u32 tcp_isn(const struct endpoint *local, const struct endpoint *remote, u64 now);
u32 tcp_ts_offset(const struct netaddr *local, const struct netaddr *remote);
/* The timestamp clock: 1 ms (RFC 7323, 5.4). */
static inline u32 tcp_ts(u64 now, u32 off)
{
	return (u32)(now / NSEC_PER_MSEC) + off;
}

/* ---- tcp_options.c ---- */
/* Reads header and options; p->data is moved behind them. False: malformed. */
bool tcp_parse(struct pkt *p, struct tcp_seginfo *s);
#define TCP_OPTS_MAX 40u
u32 tcp_put_syn_options(u8 *o, u16 mss, bool sack, bool ts, u32 tsval, u32 tsecr, bool ws,
			u8 wscale);
u32 tcp_put_ts(u8 *o, u32 tsval, u32 tsecr);
/* SACK blocks that fit beside `used` bytes of options. */
u32 tcp_put_sack(struct tcp_sock *tp, u8 *o, u32 used);
u32 tcp_sack_len(const struct tcp_sock *tp, u32 used);

/* ---- tcp_output.c, tcp_reply.c ---- */
/* Sends what may be sent now: retransmissions first, then new data. Lock held. */
void tcp_output(struct tcp_sock *tp, u64 now);
void tcp_output_forced(struct tcp_sock *tp, u64 now);
void tcp_send_ack(struct tcp_sock *tp, u64 now);
/* An ACK now or later, as tp->ack_now and tp->ack_delayed ask. */
void tcp_ack_check(struct tcp_sock *tp, u64 now);
void tcp_send_syn(struct tcp_sock *tp, u64 now); /* SYN, or SYN-ACK in SYN_RECV; (re)transmission */
void tcp_send_rst(struct tcp_sock *tp, u64 now);
/* Retransmits up to len bytes of seg (splitting it); 0 or -errno. */
int tcp_retransmit(struct tcp_sock *tp, struct tcp_seg *seg, u32 len, u64 now);
int tcp_probe_send(struct tcp_sock *tp, u64 now); /* window or keepalive probe */
int tcp_route(struct tcp_sock *tp);		  /* makes tp->route valid */
void tcp_sync_mss(struct tcp_sock *tp);
u32 tcp_recv_window(const struct tcp_sock *tp); /* what is left of the offered one */
/* Segments that no tcp_sock sends. */
struct tcp_reply {
	struct endpoint local, remote;
	const struct route *route; /* NULL: look up */
	u32 seq, ack;
	u16 wnd;
	u8 flags, ttl, tos;
	u32 opt_len;
	u8 opt[TCP_OPTS_MAX];
};
int tcp_reply(struct tcp_reply *r);
/* The reset that answers a segment to nobody (RFC 9293, 3.10.7.1). */
void tcp_reply_rst(const struct ip_info *ip, const struct tcp_seginfo *s);
bool tcp_challenge_ok(u64 now); /* counts one */

/* ---- tcp_sendq.c ---- */
int tcp_sq_append(struct tcp_sock *tp, const struct pkt_frag *f);
u32 tcp_sq_limit(const struct tcp_sock *tp);
void tcp_sq_ack(struct tcp_sock *tp, u32 una);
void tcp_sq_free(struct tcp_sock *tp);
/* Adds [seq, seq + len) to p: as linear bytes if few, else as fragments. Value: bytes added (fewer:
 * fragments ran out). */
u32 tcp_sq_fill(struct tcp_sock *tp, struct pkt *p, u32 seq, u32 len);
/* How many of len bytes from seq one packet can hold. */
u32 tcp_sq_fit(struct tcp_sock *tp, u32 seq, u32 len);

/* ---- tcp_input.c ---- */
void tcp_rcv(struct tcp_sock *tp, struct pkt *p, struct tcp_seginfo *s,
	     u64 now); /* lock held; takes over p */

/* ---- tcp_ack.c ---- */
/* The ACK field of an acceptable segment: window, scoreboard, congestion, timers. False: drop the
 * segment. */
bool tcp_ack(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now);

/* ---- tcp_rtx.c: the scoreboard and loss recovery ---- */
struct tcp_ackstate {
	u32 prior_una;
	u32 delivered; /* bytes newly acknowledged or SACKed */
	u32 flight;    /* pipe before */
	bool una_advanced, dsack, rack_advanced;
	u64 rtt; /* 0: no sample */
};
static inline u32 tcp_pipe(const struct tcp_sock *tp)
{
	u32 out = tp->snd_nxt - tp->snd_una + tp->retrans;
	u32 left = tp->sacked + tp->lost;

	return out > left ? out - left : 0;
}
struct tcp_seg *tcp_seg_add(struct tcp_sock *tp, u32 seq, u32 end, u32 flags, u64 now);
void tcp_seg_del(struct tcp_seg *seg); /* one that counts nowhere */
struct tcp_seg *tcp_seg_split(struct tcp_sock *tp, struct tcp_seg *seg, u32 at);
void tcp_segs_free(struct tcp_sock *tp);
void tcp_segs_ack(struct tcp_sock *tp, u32 ack, struct tcp_ackstate *a, u64 now);
void tcp_segs_sack(struct tcp_sock *tp, const struct tcp_seginfo *s, struct tcp_ackstate *a,
		   u64 now);
void tcp_seg_mark_lost(struct tcp_sock *tp, struct tcp_seg *seg);
void tcp_recovery(struct tcp_sock *tp, const struct tcp_seginfo *s, struct tcp_ackstate *a,
		  u64 now);
void tcp_enter_loss(struct tcp_sock *tp, u64 now); /* the RTO fired */
void tcp_mtu_lost(struct tcp_sock *tp, u64 now);   /* segments larger than the path are lost */
void tcp_xmit_lost(struct tcp_sock *tp, u64 now);  /* retransmits LOST ones as cwnd allows */

/* ---- tcp_rack.c: RFC 8985 ---- */
void tcp_rack_advance(struct tcp_sock *tp, const struct tcp_seg *seg, u64 now,
		      struct tcp_ackstate *a);
/* Marks what was sent long enough before the newest delivered one. */
void tcp_rack_detect(struct tcp_sock *tp, u64 now);
void tcp_rack_reo_timeout(struct tcp_sock *tp, u64 now);
void tcp_tlp_arm(struct tcp_sock *tp, u64 now);
void tcp_tlp_timeout(struct tcp_sock *tp, u64 now);
void tcp_tlp_ack(struct tcp_sock *tp, const struct tcp_ackstate *a, u32 ack);

/* ---- tcp_cc.c ---- */
const struct tcp_cc_ops *tcp_cc_find(const char *name);
extern const struct tcp_cc_ops tcp_reno, tcp_cubic;
void tcp_cc_init(struct tcp_sock *tp);
u32 tcp_cc_slow_start(struct tcp_sock *tp, u32 acked); /* bytes left over at ssthresh */
void tcp_cc_idle(struct tcp_sock *tp, u64 now); /* RFC 5681, 4.1 */

/* ---- tcp_timer.c ---- */
void tcp_timer_fn(struct timer *t);
void tcp_deadline(struct tcp_sock *tp, enum tcp_deadline which, u64 when);
static inline void tcp_deadline_off(struct tcp_sock *tp, enum tcp_deadline which)
{
	tp->dl[which] = NEVER; /* the timer may fire for nothing: cheaper than moving it */
}
void tcp_timers_off(struct tcp_sock *tp);
void tcp_rtt_sample(struct tcp_sock *tp, u64 rtt, u64 now);
u64 tcp_rto(const struct tcp_sock *tp); /* with back-off */
/* RTO, TLP or persist, whichever the state of the queue asks for. */
void tcp_rearm(struct tcp_sock *tp, u64 now);
void tcp_keep_arm(struct tcp_sock *tp, u64 now);

/* ---- tcp_recv.c, tcp_reasm.c ---- */
/* In-window data; takes over p, whose data are the payload. */
void tcp_data(struct tcp_sock *tp, struct pkt *p, struct tcp_seginfo *s, u64 now);
void tcp_rq_add(struct tcp_sock *tp, struct pkt *p, u32 seq); /* in order: becomes readable */
/* Appends the payload of p to the packet `last` if it is small and there is room; p is freed then.
 */
bool tcp_coalesce(struct tcp_sock *tp, struct pkt *last, struct pkt *p);
u32 tcp_truesize(const struct pkt *p);
void tcp_ooo_add(struct tcp_sock *tp, struct pkt *p, u32 seq);
void tcp_ooo_drain(struct tcp_sock *tp); /* rcv_nxt has moved */
void tcp_ooo_free(struct tcp_sock *tp);
void tcp_ooo_prune(struct tcp_sock *tp);
void tcp_dsack(struct tcp_sock *tp, u32 start, u32 end);
void tcp_drs_rtt(struct tcp_sock *tp, const struct tcp_seginfo *s, u64 now);
u32 tcp_win_space(const struct tcp_sock *tp); /* bytes of window that free memory is good for */

/* ---- tcp_listen.c, tcp_syncookie.c ---- */
void tcp_listen_input(struct tcp_sock *lp, struct pkt *p, const struct ip_info *ip,
		      struct tcp_seginfo *s, u32 iss_hint, u64 now);
/* True: the request is over, p was not taken: look again who stands there now. */
bool tcp_req_input(struct tcp_req *req, struct pkt *p, const struct ip_info *ip,
		   struct tcp_seginfo *s, u64 now);
void tcp_listen_timeout(struct tcp_sock *lp, u64 now); /* lock held: SYN-ACKs again */
void tcp_listen_close(struct tcp_sock *lp);	       /* lock held, released and taken again */
void tcp_req_free(struct tcp_req *req);		       /* last reference */
u32 tcp_cookie_make(const struct endpoint *local, const struct endpoint *remote, u32 irs, u16 mss,
		    u64 now, u16 *mss_used);
/* The MSS, or 0: not one of ours, or too old. */
u16 tcp_cookie_check(const struct endpoint *local, const struct endpoint *remote, u32 irs,
		     u32 cookie, u64 now);
u32 tcp_cookie_ts(u32 ts, bool sack, bool ws, u8 wscale);
void tcp_cookie_ts_read(u32 tsecr, bool *sack, bool *ws, u8 *wscale);

/* ---- tcp_timewait.c ---- */
void tcp_tw_init(void);
void tcp_timewait(struct tcp_sock *tp, u64 now); /* leaves a tcp_tw behind; tcp_done(tp) */
/* True: a SYN that may reuse the pair, p was not taken: it is for a listener, with *iss_hint as
 * ISN. */
bool tcp_tw_input(struct tcp_tw *tw, struct pkt *p, struct tcp_seginfo *s, u64 now, u32 *iss_hint);
void tcp_tw_free(struct tcp_tw *tw);

#endif
