/*
 * tcp_syncookie.c - SYN cookies (RFC 4987, 3.6): when the queue is full, the SYN's state travels in
 * the SYN-ACK.
 *
 * Cookie: minute (5 bits), index of the MSS (3), keyed hash of ends, minute, index and the peer's
 * number (24), all of it offset by another keyed hash, so that minute and index do not show. Window
 * scale and SACK travel in the low bits of our timestamp, if the peer sends timestamps; without
 * them the connection does without these.
 */
#include "libos/net/tcp_internal.h"

#define KEY_OFFSET 2
#define KEY_MAC 3
#define MINUTE (60 * NSEC_PER_SEC)
#define MAX_AGE 2u /* minutes */
#define TS_BITS 5u /* of the timestamp: 4 of window scale, 1 of SACK */
#define NO_WSCALE 15u

static const u16 sizes[8] = {216, 536, 1024, 1200, 1440, 1460, 4312, 8960};

struct cookie_in {
	struct netaddr l, r;
	u16 lp, rp;
	u32 irs, minute, index;
};
_Static_assert(sizeof(struct cookie_in) == 56, "no padding is hashed");

static u32 offset_of(const struct endpoint *l, const struct endpoint *r)
{
	struct cookie_in in = {l->addr, r->addr, l->port, r->port, 0, 0, 0};

	return tcp_siphash(KEY_OFFSET, &in, sizeof(in));
}

static u32 mac(const struct endpoint *l, const struct endpoint *r, u32 irs, u32 minute, u32 index)
{
	struct cookie_in in = {l->addr, r->addr, l->port, r->port, irs, minute, index};

	return tcp_siphash(KEY_MAC, &in, sizeof(in)) & 0xffffff;
}

u32 tcp_cookie_make(const struct endpoint *l, const struct endpoint *r, u32 irs, u16 mss, u64 now,
		    u16 *mss_used)
{
	u32 minute = now / MINUTE, i = ARRAY_SIZE(sizes) - 1;

	while (i && sizes[i] > mss)
		i--;
	*mss_used = sizes[i];
	return ((minute & 31) << 27 | i << 24 | mac(l, r, irs, minute, i)) + offset_of(l, r);
}

u16 tcp_cookie_check(const struct endpoint *l, const struct endpoint *r, u32 irs, u32 cookie,
		     u64 now)
{
	u32 c = cookie - offset_of(l, r), minute = now / MINUTE, age = (minute - (c >> 27)) & 31;
	u32 i = c >> 24 & 7;

	if (age > MAX_AGE || mac(l, r, irs, minute - age, i) != (c & 0xffffff))
		return 0;
	return sizes[i];
}

u32 tcp_cookie_ts(u32 ts, bool sack, bool ws, u8 wscale)
{
	u32 mask = (1u << TS_BITS) - 1, bits = (ws ? wscale : NO_WSCALE) | (u32)sack << 4;
	u32 v = (ts & ~mask) | bits;

	/* never ahead of the clock: an echo from the future would be nonsense */
	return seq_gt(v, ts) ? v - (1u << TS_BITS) : v;
}

void tcp_cookie_ts_read(u32 tsecr, bool *sack, bool *ws, u8 *wscale)
{
	*sack = tsecr >> 4 & 1;
	*wscale = tsecr & 15;
	*ws = *wscale != NO_WSCALE && *wscale <= TCP_MAX_WSCALE;
	if (!*ws)
		*wscale = 0;
}
