/*
 * tcp_options.c - the header's options, read strictly and written (RFC 9293, 3.1; 2018; 2883;
 * 7323).
 */
#include "libos/net/tcp_internal.h"

#define OPT_END 0
#define OPT_NOP 1
#define OPT_MSS 2
#define OPT_WSCALE 3
#define OPT_SACK_PERM 4
#define OPT_SACK 5
#define OPT_TS 8

static u16 get16(const u8 *p)
{
	return p[0] << 8 | p[1];
}
static u32 get32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, 4);
	return net32(v);
}
static void put32(u8 *p, u32 v)
{
	v = net32(v);
	memcpy(p, &v, 4);
}

static void parse_one(const u8 *o, u32 len, struct tcp_seginfo *s)
{
	switch (o[0]) {
	case OPT_MSS:
		if (len == 4 && s->flags & TCPF_SYN)
			s->mss = get16(o + 2);
		break;
	case OPT_WSCALE:
		if (len == 3 && s->flags & TCPF_SYN) {
			s->wscale_ok = true;
			/* RFC 7323, 2.3: larger ones are taken for 14 */
			s->wscale = min(o[2], (u8)TCP_MAX_WSCALE);
		}
		break;
	case OPT_SACK_PERM:
		if (len == 2 && s->flags & TCPF_SYN)
			s->sack_perm = true;
		break;
	case OPT_TS:
		if (len == 10) {
			s->ts = true;
			s->tsval = get32(o + 2);
			s->tsecr = get32(o + 6);
		}
		break;
	case OPT_SACK:
		if (len < 10 || (len - 2) % 8 || s->flags & TCPF_SYN)
			break;
		s->nr_sack = 0;
		for (u32 i = 2; i + 8 <= len && s->nr_sack < 4; i += 8)
			s->sack[s->nr_sack++] =
				(struct tcp_sackblk){get32(o + i), get32(o + i + 4)};
		break;
	}
}

static void parse_options(const u8 *o, u32 n, struct tcp_seginfo *s)
{
	/* nearly every segment of a connection: two NOPs and a timestamp */
	if (likely(n == 12 && o[0] == OPT_NOP && o[1] == OPT_NOP && o[2] == OPT_TS && o[3] == 10)) {
		s->ts = true;
		s->tsval = get32(o + 4);
		s->tsecr = get32(o + 8);
		return;
	}
	for (u32 i = 0; i < n;) {
		u32 len;

		if (o[i] == OPT_END)
			return;
		if (o[i] == OPT_NOP) {
			i++;
			continue;
		}
		/* a length of 0 or 1, or one beyond the header, ends it: what came before holds */
		if (i + 1 >= n)
			return;
		len = o[i + 1];
		if (len < 2 || len > n - i)
			return;
		parse_one(o + i, len, s);
		i += len;
	}
}

bool tcp_parse(struct pkt *p, struct tcp_seginfo *s)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)pkt_linear(p, sizeof(*h));
	u32 hlen;

	if (!h)
		return false;
	hlen = (h->off >> 4) * 4;
	if (hlen < sizeof(*h) || hlen > p->total)
		return false;
	if (hlen > p->len) {
		h = (const struct tcp_hdr *)pkt_linear(p, hlen);
		if (!h)
			return false;
	}
	s->sport = net16(h->sport);
	s->dport = net16(h->dport);
	s->seq = net32(h->seq);
	s->ack = net32(h->ack);
	s->wnd = net16(h->wnd);
	s->urp = net16(h->urp);
	s->flags = h->flags & 0x3f;
	s->ts = s->sack_perm = s->wscale_ok = false;
	s->wscale = s->nr_sack = 0;
	s->mss = 0;
	s->tsval = s->tsecr = 0;
	if (hlen > sizeof(*h))
		parse_options((const u8 *)(h + 1), hlen - sizeof(*h), s);
	s->len = p->total - hlen;
	s->end = s->seq + s->len + !!(s->flags & TCPF_SYN) + !!(s->flags & TCPF_FIN);
	pkt_pull(p, hlen);
	return true;
}

u32 tcp_put_ts(u8 *o, u32 tsval, u32 tsecr)
{
	o[0] = o[1] = OPT_NOP;
	o[2] = OPT_TS;
	o[3] = 10;
	put32(o + 4, tsval);
	put32(o + 8, tsecr);
	return 12;
}

u32 tcp_put_syn_options(u8 *o, u16 mss, bool sack, bool ts, u32 tsval, u32 tsecr, bool ws,
			u8 wscale)
{
	u32 n = 4;

	o[0] = OPT_MSS;
	o[1] = 4;
	o[2] = mss >> 8;
	o[3] = mss;
	if (ts) {
		tcp_put_ts(o + n, tsval, tsecr);
		if (sack) {
			o[n] = OPT_SACK_PERM;
			o[n + 1] = 2;
		}
		n += 12;
	} else if (sack) {
		o[n] = o[n + 1] = OPT_NOP;
		o[n + 2] = OPT_SACK_PERM;
		o[n + 3] = 2;
		n += 4;
	}
	if (ws) {
		o[n] = OPT_NOP;
		o[n + 1] = OPT_WSCALE;
		o[n + 2] = 3;
		o[n + 3] = wscale;
		n += 4;
	}
	return n;
}

static u32 sack_count(const struct tcp_sock *tp, u32 used)
{
	u32 n = tp->nr_runs + tp->dsack_ok;

	return min(n, (TCP_OPTS_MAX - used - 4) / 8);
}

u32 tcp_sack_len(const struct tcp_sock *tp, u32 used)
{
	u32 n = tp->sack_ok ? sack_count(tp, used) : 0;

	return n ? 4 + 8 * n : 0;
}

/* RFC 2018, 4: the run that grew last first; RFC 2883: in front of all what came twice. */
u32 tcp_put_sack(struct tcp_sock *tp, u8 *o, u32 used)
{
	u32 n = sack_count(tp, used), i = 0;
	u32 below = tp->run_stamp +
		    1; /* stamps are given in turn: the next one must be older than this */

	if (!n)
		return 0;
	o[0] = o[1] = OPT_NOP;
	o[2] = OPT_SACK;
	o[3] = 2 + 8 * n;
	o += 4;
	if (tp->dsack_ok) {
		put32(o, tp->dsack.start);
		put32(o + 4, tp->dsack.end);
		tp->dsack_ok = false;
		i++;
	}
	for (; i < n; i++) {
		struct tcp_run *r, *best = NULL;

		list_for_each_entry(r, &tp->runs, link)
			if (seq_lt(r->stamp, below) && (!best || seq_gt(r->stamp, best->stamp)))
				best = r;
		if (!best) { /* not reached: stamps differ */
			memset(o + 8 * i, 1, 8 * (n - i));
			break;
		}
		below = best->stamp;
		put32(o + 8 * i, best->seq);
		put32(o + 8 * i + 4, best->end);
	}
	return 4 + 8 * n;
}
