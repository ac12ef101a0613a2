/*
 * net_seg.c - TCP segments: text to bytes, bytes to text, and whether they agree.
 */
#include "net_seg.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPT_EOL 0
#define OPT_NOP 1
#define OPT_MSS 2
#define OPT_WSCALE 3
#define OPT_SACKOK 4
#define OPT_SACK 5
#define OPT_TS 8

static const char flag_names[] = "FSRP.UEW"; /* in the order of the bits */

/* Checksums, RFC 1071 */

u16 seg_fold(u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

u32 seg_pseudo_sum(u32 src, u32 dst, u8 proto, u32 len)
{
	return (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + proto + len;
}

static u16 sum_of(const u8 *tcp, u32 n, u32 src, u32 dst)
{
	u32 sum = seg_pseudo_sum(src, dst, 6, n);

	for (u32 i = 0; i < n; i++)
		sum += i & 1 ? tcp[i] : (u32)tcp[i] << 8;
	return seg_fold(sum);
}

void seg_fill_sum(u8 *tcp, u32 n, u32 src, u32 dst)
{
	u16 sum;

	tcp[16] = tcp[17] = 0;
	sum = (u16)~sum_of(tcp, n, src, dst);
	tcp[16] = sum >> 8;
	tcp[17] = (u8)sum;
}

bool seg_sum_good(const u8 *tcp, u32 n, u32 src, u32 dst)
{
	return sum_of(tcp, n, src, dst) == 0xffff;
}

/* Bytes */

void seg_free(struct seg *s)
{
	free(s->data);
	s->data = NULL;
}

static u16 get16(const u8 *b)
{
	return (u16)(b[0] << 8 | b[1]);
}

static bool parse_opts(struct seg_opts *o, const u8 *b, u32 n)
{
	memset(o, 0, sizeof(*o));
	for (u32 i = 0; i < n && b[i] != OPT_EOL;) {
		u32 len;

		if (b[i] == OPT_NOP) {
			i++;
			continue;
		}
		if (i + 1 >= n || b[i + 1] < 2 || i + b[i + 1] > n)
			return false;
		len = b[i + 1];
		if (b[i] == OPT_MSS && len == 4) {
			o->mss_set = true;
			o->mss = get16(b + i + 2);
		} else if (b[i] == OPT_WSCALE && len == 3) {
			o->wscale_set = true;
			o->wscale = b[i + 2];
		} else if (b[i] == OPT_SACKOK && len == 2) {
			o->sack_ok = true;
		} else if (b[i] == OPT_TS && len == 10) {
			o->ts_set = true;
			o->tsval = seg_get32(b + i + 2);
			o->tsecr = seg_get32(b + i + 6);
		} else if (b[i] == OPT_SACK && len > 2 && len % 8 == 2) {
			o->nr_sack = (u8)(len / 8);
			for (u32 k = 0; k < o->nr_sack; k++) {
				o->sack[k][0] = seg_get32(b + i + 2 + 8 * k);
				o->sack[k][1] = seg_get32(b + i + 6 + 8 * k);
			}
		} else {
			return false;
		}
		i += len;
	}
	return true;
}

void seg_from_bytes(struct seg *s, const u8 *tcp, u32 n)
{
	u32 hdr = (tcp[12] >> 4) * 4u;

	memset(s, 0, sizeof(*s));
	s->sport = get16(tcp);
	s->dport = get16(tcp + 2);
	s->seq = seg_get32(tcp + 4);
	s->ack = seg_get32(tcp + 8);
	s->flags = tcp[13];
	s->win = get16(tcp + 14);
	s->urg = get16(tcp + 18);
	s->optlen = hdr - 20;
	memcpy(s->opt, tcp + 20, s->optlen);
	if (!parse_opts(&s->o, s->opt, s->optlen))
		net_fail("sent with malformed options");
	s->len = n - hdr;
	s->data = malloc(s->len + 1);
	memcpy(s->data, tcp + hdr, s->len);
}

u32 seg_to_bytes(const struct seg *s, u8 *out)
{
	u32 optlen = align_up(s->optlen, 4);

	memset(out, 0, 20 + optlen);
	out[0] = s->sport >> 8;
	out[1] = (u8)s->sport;
	out[2] = s->dport >> 8;
	out[3] = (u8)s->dport;
	seg_put32(out + 4, s->seq);
	seg_put32(out + 8, s->ack);
	out[12] = (u8)((20 + optlen) / 4 << 4);
	out[13] = s->flags;
	out[14] = s->win >> 8;
	out[15] = (u8)s->win;
	out[18] = s->urg >> 8;
	out[19] = (u8)s->urg;
	memcpy(out + 20, s->opt, s->optlen);
	if (s->len)
		memcpy(out + 20 + optlen, s->data, s->len);
	return 20 + optlen + s->len;
}

/* Text */

const char *wire_text(const char *fmt, ...)
{
	static char buf[8][512];
	static u32 next;
	char *b = buf[next++ % 8];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b, sizeof(buf[0]), fmt, ap);
	va_end(ap);
	return b;
}

struct cursor {
	const char *p, *text, *file;
	int line;
};

static noreturn void bad(const struct cursor *c)
{
	net_fail("%s:%d: cannot read \"%s\" from \"%s\" on", c->file, c->line, c->text, c->p);
}

static bool word(struct cursor *c, const char *w)
{
	size_t n = strlen(w);

	while (*c->p == ' ')
		c->p++;
	if (strncmp(c->p, w, n) || (isalpha((unsigned char)w[n - 1]) && isalnum((unsigned char)c->p[n])))
		return false;
	c->p += n;
	return true;
}

/* A number, or * (any). */
static s64 number(struct cursor *c, bool *any)
{
	char *end;
	s64 v;

	if (any && word(c, "*")) {
		*any = true;
		return 0;
	}
	v = strtoll(c->p, &end, 0);
	if (end == c->p)
		bad(c);
	c->p = end;
	return v;
}

static void opt_put(struct seg_pattern *q, u8 b)
{
	if (q->optlen < sizeof(q->opt))
		q->opt[q->optlen++] = b;
}

static void parse_hex(struct cursor *c, struct seg_pattern *q)
{
	unsigned b;

	while (*c->p == ' ')
		c->p++;
	while (isxdigit((unsigned char)*c->p)) {
		if (sscanf(c->p, "%2x", &b) != 1)
			bad(c);
		opt_put(q, (u8)b);
		c->p += isxdigit((unsigned char)c->p[1]) ? 2 : 1;
	}
}

static void parse_sack(struct cursor *c, struct seg_pattern *q)
{
	u32 at = q->optlen;

	q->sack_at = (u8)(at + 1);
	opt_put(q, OPT_SACK);
	opt_put(q, 0);
	do {
		u32 *s = q->o.sack[q->o.nr_sack++];

		s[0] = (u32)number(c, NULL);
		if (!word(c, ":"))
			bad(c);
		s[1] = (u32)number(c, NULL);
		q->optlen += 8;
		while (*c->p == ' ')
			c->p++;
	} while (q->o.nr_sack < 4 && *c->p && *c->p != ',' && *c->p != '>');
	q->opt[at + 1] = (u8)(q->optlen - at);
}

static void parse_opt(struct cursor *c, struct seg_pattern *q)
{
	if (word(c, "mss")) {
		q->o.mss_set = true;
		q->o.mss = (u16)number(c, NULL);
		opt_put(q, OPT_MSS);
		opt_put(q, 4);
		opt_put(q, q->o.mss >> 8);
		opt_put(q, (u8)q->o.mss);
	} else if (word(c, "wscale")) {
		q->o.wscale_set = true;
		q->o.wscale = (u8)number(c, NULL);
		opt_put(q, OPT_WSCALE);
		opt_put(q, 3);
		opt_put(q, q->o.wscale);
	} else if (word(c, "sackOK")) {
		q->o.sack_ok = true;
		opt_put(q, OPT_SACKOK);
		opt_put(q, 2);
	} else if (word(c, "ts")) {
		q->o.ts_set = true;
		q->ts_at = (u8)(q->optlen + 1);
		q->o.tsval = (u32)number(c, &q->any_val);
		if (!word(c, "ecr"))
			bad(c);
		q->o.tsecr = (u32)number(c, &q->any_ecr);
		opt_put(q, OPT_TS);
		opt_put(q, 10);
		q->optlen += 8;
	} else if (word(c, "sack")) {
		parse_sack(c, q);
	} else if (word(c, "nop")) {
		opt_put(q, OPT_NOP);
	} else if (word(c, "eol")) {
		opt_put(q, OPT_EOL);
	} else if (word(c, "hex")) {
		parse_hex(c, q);
	} else {
		bad(c);
	}
}

void seg_parse_text(struct seg_pattern *q, const char *text, const char *file, int line)
{
	struct cursor c = { text, text, file, line };
	const char *f;

	memset(q, 0, sizeof(*q));
	for (; *c.p && *c.p != ' '; c.p++) {
		f = strchr(flag_names, *c.p);
		if (f)
			q->flags |= (u8)(1u << (f - flag_names));
		else if (*c.p != '-')
			bad(&c);
	}
	while (*c.p == ' ')
		c.p++;
	q->seq = number(&c, &q->any_seq);
	if (q->any_seq) { /* *(LEN) */
		if (!word(&c, "("))
			bad(&c);
		q->len = (u32)number(&c, NULL);
	} else {
		s64 end;

		if (!word(&c, ":"))
			bad(&c);
		end = number(&c, NULL);
		if (!word(&c, "("))
			bad(&c);
		q->len = (u32)number(&c, NULL);
		if (end - q->seq != q->len)
			bad(&c);
	}
	if (!word(&c, ")"))
		bad(&c);
	if (word(&c, "ack")) {
		q->has_ack = true;
		while (*c.p == ' ')
			c.p++;
		q->ack = number(&c, &q->any_ack);
	}
	if (word(&c, "win")) {
		q->has_win = true;
		q->win = (u32)number(&c, NULL);
	}
	if (word(&c, "urg")) {
		q->has_urg = true;
		q->urg = (u32)number(&c, NULL);
	}
	if (word(&c, "<")) {
		q->has_opts = true;
		while (!word(&c, ">")) {
			parse_opt(&c, q);
			word(&c, ",");
		}
	}
	q->bad_sum = word(&c, "badsum");
	while (*c.p == ' ')
		c.p++;
	if (*c.p || q->optlen > 40)
		bad(&c);
}

void seg_from_pattern(struct seg *s, const struct seg_pattern *q, const struct flow *f)
{
	memset(s, 0, sizeof(*s));
	s->src = f->raddr;
	s->dst = f->laddr;
	s->sport = f->rport;
	s->dport = f->lport;
	s->flags = q->flags;
	s->seq = (u32)(f->peer_isn + q->seq);
	s->ack = q->has_ack ? (u32)(f->local_isn + q->ack) : 0;
	s->win = (u16)q->win;
	s->urg = (u16)q->urg;
	s->optlen = q->optlen;
	memcpy(s->opt, q->opt, q->optlen);
	if (q->ts_at) {
		seg_put32(s->opt + q->ts_at + 1, q->o.tsval);
		seg_put32(s->opt + q->ts_at + 5, q->any_ecr ? f->last_tsval : q->o.tsecr ? f->ts_base + q->o.tsecr : 0);
	}
	for (u32 i = 0; i < q->o.nr_sack; i++) {
		seg_put32(s->opt + q->sack_at + 1 + 8 * i, f->local_isn + q->o.sack[i][0]);
		seg_put32(s->opt + q->sack_at + 5 + 8 * i, f->local_isn + q->o.sack[i][1]);
	}
	s->len = q->len;
	s->data = malloc(q->len + 1);
	for (u32 i = 0; i < q->len; i++)
		s->data[i] = stream_byte(false, (u64)(q->seq - 1 + i));
}

void seg_learn(struct flow *f, const struct seg *s)
{
	if (!f->lport)
		f->lport = s->sport;
	if ((s->flags & TH_SYN) && !f->have_isn) {
		f->have_isn = true;
		f->local_isn = s->seq;
	}
	if (s->o.ts_set && !f->have_ts) {
		f->have_ts = true;
		f->ts_base = s->o.tsval;
	}
	if (s->o.ts_set)
		f->last_tsval = s->o.tsval;
}

const char *seg_text(const struct flow *f, const struct seg *s)
{
	static char buf[512];
	size_t n = 0;
	s32 seq = (s32)(s->seq - f->local_isn);

	for (int i = 7; i >= 0; i--)
		if (s->flags & 1u << i && flag_names[i] != '.')
			buf[n++] = flag_names[i];
	if (s->flags & TH_ACK || !n)
		buf[n++] = s->flags & TH_ACK ? '.' : '-';
	n += snprintf(buf + n, sizeof(buf) - n, " %d:%d(%u)", seq, seq + (s32)s->len, s->len);
	if (s->flags & TH_ACK)
		n += snprintf(buf + n, sizeof(buf) - n, " ack %d", (s32)(s->ack - f->peer_isn));
	n += snprintf(buf + n, sizeof(buf) - n, " win %u", s->win);
	if (s->urg)
		n += snprintf(buf + n, sizeof(buf) - n, " urg %u", s->urg);
	n += snprintf(buf + n, sizeof(buf) - n, " <");
	if (s->o.mss_set)
		n += snprintf(buf + n, sizeof(buf) - n, "mss %u,", s->o.mss);
	if (s->o.sack_ok)
		n += snprintf(buf + n, sizeof(buf) - n, "sackOK,");
	if (s->o.ts_set)
		n += snprintf(buf + n, sizeof(buf) - n, "ts %d ecr %u,", (s32)(s->o.tsval - f->ts_base),
			      s->o.tsecr);
	if (s->o.wscale_set)
		n += snprintf(buf + n, sizeof(buf) - n, "wscale %u,", s->o.wscale);
	for (u32 i = 0; i < s->o.nr_sack; i++)
		n += snprintf(buf + n, sizeof(buf) - n, "%s%d:%d%s", i ? " " : "sack ",
			      (s32)(s->o.sack[i][0] - f->peer_isn), (s32)(s->o.sack[i][1] - f->peer_isn),
			      i + 1 == s->o.nr_sack ? "," : "");
	if (buf[n - 1] == ',')
		n--;
	snprintf(buf + n, sizeof(buf) - n, "> port %u->%u at %llu.%03llu ms", s->sport, s->dport,
		 (unsigned long long)(s->time / MS), (unsigned long long)(s->time / 1000 % 1000));
	return buf;
}

#define DIFFER(cond, what) \
	do { \
		if (cond) { \
			snprintf(why, size, "%s", what); \
			return false; \
		} \
	} while (0)

static bool match_opts(const struct flow *f, const struct seg_opts *is, const struct seg_pattern *q, char *why,
		       size_t size)
{
	const struct seg_opts *want = &q->o;

	DIFFER(is->mss_set != want->mss_set || is->mss != want->mss, "mss");
	DIFFER(is->wscale_set != want->wscale_set || is->wscale != want->wscale, "wscale");
	DIFFER(is->sack_ok != want->sack_ok, "sackOK");
	DIFFER(is->ts_set != want->ts_set, "ts");
	if (want->ts_set) {
		DIFFER(!q->any_val && is->tsval != f->ts_base + want->tsval, "ts value");
		DIFFER(!q->any_ecr && is->tsecr != want->tsecr, "ts echo");
	}
	DIFFER(is->nr_sack != want->nr_sack, "number of SACK blocks");
	for (u32 i = 0; i < want->nr_sack; i++)
		DIFFER(is->sack[i][0] != f->peer_isn + want->sack[i][0] ||
			       is->sack[i][1] != f->peer_isn + want->sack[i][1],
		       "SACK block");
	return true;
}

bool seg_match(const struct flow *f, const struct seg *s, const struct seg_pattern *q, char *why, size_t size)
{
	u8 flags = q->flags & TH_PUSH ? s->flags : s->flags & ~TH_PUSH;

	DIFFER(s->src != f->laddr || s->dst != f->raddr, "addresses");
	DIFFER(s->sport != f->lport || s->dport != f->rport, "ports");
	DIFFER(flags != q->flags, "flags");
	DIFFER(!q->any_seq && s->seq != (u32)(f->local_isn + q->seq), "sequence number");
	DIFFER(s->len != q->len, "length");
	DIFFER(q->has_ack && !q->any_ack && s->ack != (u32)(f->peer_isn + q->ack), "ack");
	DIFFER(!(s->flags & TH_ACK) && s->ack, "ack field without the flag");
	DIFFER(q->has_win && s->win != q->win, "window");
	DIFFER(q->has_urg && s->urg != q->urg, "urgent pointer");
	for (u32 i = 0; i < s->len && !f->raw; i++)
		DIFFER(s->data[i] != stream_byte(true, (u64)(s->seq - f->local_isn - 1) + i), "payload");
	return !q->has_opts || match_opts(f, &s->o, q, why, size);
}
