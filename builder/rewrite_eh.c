/*
 * rewrite_eh.c - what .eh_frame and the exception tables say: function starts, landing pads, and
 * the code that unwinders take for a signal frame.
 *
 * Formats: LSB Core, "Exception Frames" (.eh_frame, pointer encodings DW_EH_PE_*); the layout of
 * the language-specific data area is that of the Itanium C++ ABI as GCC and LLVM write it.
 */
#include <string.h>

#include "builder/rewrite_internal.h"

#define DW_EH_PE_omit 0xff
#define DW_EH_PE_indirect 0x80

#define MAX_CIE 4096 /* bytes; real ones have a few dozen */

/* A bounded view of the file at an address. */
struct cursor {
	const uint8_t *p;
	size_t left;
	uint64_t addr;
	bool bad;
};

struct cie {
	uint64_t addr; /* 0: none parsed yet */
	bool ok, has_aug, signal;
	uint8_t fde_enc, lsda_enc;
};

static void skip(struct cursor *c, size_t n)
{
	if (n > c->left) {
		c->bad = true;
		n = c->left;
	}
	c->p += n;
	c->addr += n;
	c->left -= n;
}

static uint64_t get(struct cursor *c, size_t n)
{
	uint64_t v = 0;

	if (n > c->left)
		c->bad = true;
	else
		memcpy(&v, c->p, n);
	skip(c, n);
	return v;
}

static uint64_t uleb(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned int shift = 0;; shift += 7) {
		uint8_t b = get(c, 1);

		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80) || c->bad)
			return v;
	}
}

/* Signed values are only skipped. */
static void sleb(struct cursor *c)
{
	uleb(c);
}

/* Bytes of a pointer so encoded, 0 if its size depends on its value or the encoding is unknown. */
static size_t encoded_size(uint8_t enc)
{
	switch (enc & 0x07) {
	case 0x00:
	case 0x04:
		return 8;
	case 0x02:
		return 2;
	case 0x03:
		return 4;
	}
	return 0;
}

static uint64_t encoded(struct cursor *c, uint8_t enc)
{
	uint64_t at = c->addr, v;
	size_t n = encoded_size(enc);

	if (enc == DW_EH_PE_omit)
		return 0;
	if (!n) {
		if ((enc & 0x0f) != 0x01) {
			c->bad = true;
			return 0;
		}
		v = uleb(c);
	} else {
		v = get(c, n);
		if (enc & 0x08 && n == 2)
			v = (int64_t)(int16_t)v;
		else if (enc & 0x08 && n == 4)
			v = (int64_t)(int32_t)v;
	}
	switch (enc & 0x70) {
	case 0x00:
		break;
	case 0x10: /* pcrel */
		if (v)
			v += at;
		break;
	default: /* textrel, datarel, funcrel: not written into .eh_frame on x86-64 */
		c->bad = true;
	}
	return v;
}

static struct cursor cursor_at(const struct rw *rw, uint64_t addr, size_t max)
{
	struct cursor c = {.addr = addr};

	c.p = rw_at(rw, addr, &c.left);
	if (!c.p)
		c.bad = true;
	if (c.left > max)
		c.left = max;
	return c;
}

static void parse_cie(const struct rw *rw, uint64_t addr, struct cie *cie)
{
	struct cursor c = cursor_at(rw, addr, SIZE_MAX), aug;
	uint64_t len;

	*cie = (struct cie){.addr = addr, .lsda_enc = DW_EH_PE_omit};
	len = get(&c, 4);
	if (len == UINT32_MAX)
		len = get(&c, 8);
	if (c.bad || len > c.left || len > MAX_CIE)
		return;
	c.left = len;
	if (get(&c, 4)) /* the id of a CIE is 0 */
		return;
	uint8_t version = get(&c, 1);

	aug = c;
	while (get(&c, 1) && !c.bad)
		;
	uleb(&c); /* code alignment */
	sleb(&c); /* data alignment */
	if (version == 1)
		get(&c, 1);
	else
		uleb(&c);
	cie->ok = !c.bad;
	if (get(&aug, 1) != 'z')
		return;
	cie->has_aug = true;
	uleb(&c);
	for (;;) {
		switch (get(&aug, 1)) {
		case 'R':
			cie->fde_enc = get(&c, 1);
			break;
		case 'L':
			cie->lsda_enc = get(&c, 1);
			break;
		case 'P': {
			uint8_t enc = get(&c, 1);

			encoded(&c, enc & ~DW_EH_PE_indirect);
			break;
		}
		case 'S':
			cie->signal = true;
			break;
		case 'B':
			break;
		case 0:
			cie->ok = !c.bad && !aug.bad;
			return;
		default:
			cie->ok = false;
			return;
		}
	}
}

/* Landing pads: the unwinder jumps there. */
static void read_lsda(struct rw *rw, uint64_t addr, uint64_t func)
{
	struct cursor c = cursor_at(rw, addr, SIZE_MAX);
	uint64_t base = func, len;
	uint8_t enc;

	enc = get(&c, 1);
	if (enc != DW_EH_PE_omit)
		base = encoded(&c, enc);
	if (get(&c, 1) != DW_EH_PE_omit)
		uleb(&c); /* where the type table is */
	enc = get(&c, 1);
	len = uleb(&c);
	if (c.bad || enc & 0x70 || len > c.left)
		return;
	c.left = len;
	while (c.left && !c.bad) {
		uint64_t pad;

		encoded(&c, enc);
		encoded(&c, enc);
		pad = encoded(&c, enc);
		uleb(&c);
		if (pad && !c.bad)
			rw_root(rw, base + pad);
	}
}

static bool is_sigreturn(const struct rw *rw, uint64_t addr)
{
	struct cursor c = cursor_at(rw, addr, SIZE_MAX);

	return c.left >= sizeof(rw_sigreturn) && !memcmp(c.p, rw_sigreturn, sizeof(rw_sigreturn));
}

void rw_eh_evidence(struct rw *rw)
{
	struct cursor all = cursor_at(rw, rw->eh_frame, rw->eh_frame_size);
	struct cie cie = {0};

	if (!rw->eh_frame_size)
		return;
	while (!all.bad && all.left >= 4 && !rw->oom) {
		struct cursor c;
		uint64_t len, at, id, start, range;

		len = get(&all, 4);
		if (!len)
			return;
		if (len == UINT32_MAX)
			len = get(&all, 8);
		if (all.bad || len > all.left)
			return;
		c = all;
		c.left = len;
		skip(&all, len);
		at = c.addr;
		id = get(&c, 4);
		if (!id || c.bad)
			continue;
		if (cie.addr != at - id)
			parse_cie(rw, at - id, &cie);
		if (!cie.ok)
			continue;
		start = encoded(&c, cie.fde_enc);
		range = encoded(&c, cie.fde_enc & 0x0f);
		if (c.bad || !start || !range)
			continue;
		/*
		 * What describes a signal frame starts a byte early, so that a return address lies
		 * inside.
		 */
		rw_root(rw, cie.signal && is_sigreturn(rw, start + 1) ? start + 1 : start);
		if (cie.signal) {
			rw_push(rw, &rw->signal_frames, start);
			rw_push(rw, &rw->signal_frames, start + range);
		}
		if (cie.has_aug && cie.lsda_enc != DW_EH_PE_omit && uleb(&c)) {
			uint64_t lsda = encoded(&c, cie.lsda_enc & ~DW_EH_PE_indirect);

			if (lsda && !c.bad)
				read_lsda(rw, lsda, start);
		}
	}
}
