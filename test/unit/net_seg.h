/*
 * net_seg.h - TCP segments as bytes and as text, for net_wire.c.
 */
#ifndef TEST_UNIT_NET_SEG_H
#define TEST_UNIT_NET_SEG_H

#include "net_wire.h"

/* What a text says; a bool says whether it was said. */
struct seg_pattern {
	u8 flags;
	s64 seq;
	u32 len;
	bool has_ack, has_win, has_urg, has_opts, bad_sum;
	bool any_seq, any_ack, any_val, any_ecr;
	s64 ack;
	u32 win, urg;
	struct seg_opts o; /* sack relative */
	u32 optlen; /* as bytes, in the order written; ts and sack are put in by seg_from_pattern() */
	u8 opt[64];
	u8 ts_at, sack_at; /* offsets in opt of what is relative; 0: not there, else + 1 */
};

static inline u32 seg_get32(const u8 *b)
{
	return (u32)b[0] << 24 | (u32)b[1] << 16 | (u32)b[2] << 8 | b[3];
}

static inline void seg_put32(u8 *b, u32 v)
{
	b[0] = v >> 24;
	b[1] = (u8)(v >> 16);
	b[2] = (u8)(v >> 8);
	b[3] = (u8)v;
}

/* Checksums of their own, not those of the code under test. */
u32 seg_pseudo_sum(u32 src, u32 dst, u8 proto, u32 len);
u16 seg_fold(u32 sum);
void seg_fill_sum(u8 *tcp, u32 n, u32 src, u32 dst);
bool seg_sum_good(const u8 *tcp, u32 n, u32 src, u32 dst);

void seg_parse_text(struct seg_pattern *q, const char *text, const char *file, int line);
void seg_from_pattern(struct seg *s, const struct seg_pattern *q, const struct flow *f);
/* A sent segment; a malformed one fails the test. */
void seg_from_bytes(struct seg *s, const u8 *tcp, u32 n);
u32 seg_to_bytes(const struct seg *s, u8 *out);
/* Port, initial number, timestamps of the flow from what was sent. */
void seg_learn(struct flow *f, const struct seg *s);
bool seg_match(const struct flow *f, const struct seg *s, const struct seg_pattern *q, char *why, size_t size);

#endif
