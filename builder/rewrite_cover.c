/*
 * rewrite_cover.c - which instructions around a system call make room for a five-byte jump.
 *
 * Best are five bytes of instructions before it: the `syscall` itself stays where it is, for the
 * path without a library OS and for whoever resumes at its address, and the call returns to its
 * original address. Next best is to displace the call with what stands before it; then the call
 * with what stands after it, or on both sides: there the trampoline stands for the displaced
 * addresses, which the pair table translates.
 *
 * A range may be displaced if control enters it only at its first byte, each byte belongs to
 * exactly the instructions that are moved, and each of those does the same at another address.
 * Calls are never moved: their return address would show.
 */
#include <string.h>

#include "builder/rewrite_internal.h"

enum form {
	KEEP_SYSCALL = 1,  /* displace only what stands before it */
	MAY_BE_TARGET = 2, /* with KEEP_SYSCALL: a jump straight to the syscall goes on to trap */
};

/* Of before, syscall, after, and padding. */
#define MAX_RANGE ((2 * RW_MAX_DISPLACED + 2) * 15)

/* The instruction that ends where o starts, if exactly one is known. */
static bool insn_before(const struct rw *rw, const struct rw_region *r, uint64_t o, struct insn *in)
{
	for (uint64_t k = 1; k <= 15 && k <= o; k++) {
		if (!(r->map[o - k] & RW_INSN))
			continue;
		return !decode_insn(rw->elf + r->off + o - k, r->size - (o - k), in) &&
		       in->len == k;
	}
	return false;
}

/*
 * An instruction that starts before o and reaches into it, e.g. with a lock prefix that can be
 * skipped.
 */
static bool straddled(const struct rw *rw, const struct rw_region *r, uint64_t o)
{
	for (uint64_t k = 1; k < 15 && k <= o; k++) {
		struct insn in;

		if (r->map[o - k] & RW_INSN &&
		    !decode_insn(rw->elf + r->off + o - k, r->size - (o - k), &in) && in.len > k)
			return true;
	}
	return false;
}

/*
 * Someone refers to the middle of an instruction here or shortly before: then it may be none, and
 * what was decoded from it may be off by some bytes. Jumping over a lock prefix is a known idiom.
 */
static bool doubtful(const struct rw *rw, const struct rw_region *r, uint64_t start, uint64_t end)
{
	for (uint64_t o = start > 32 ? start - 32 : 1; o < end; o++)
		if ((r->map[o] & (RW_NAMED | RW_BODY | RW_INSN)) == (RW_NAMED | RW_BODY) &&
		    !(r->map[o - 1] & RW_INSN && rw->elf[r->off + o - 1] == 0xf0))
			return true;
	return false;
}

static bool is_padding(const struct rw *rw, const struct rw_region *r, uint64_t o, uint8_t *len)
{
	const uint8_t *p = rw->elf + r->off + o;
	struct insn in;
	uint8_t i = 0;

	if (decode_insn(p, r->size - o, &in))
		return false;
	*len = in.len;
	if (*p == 0xcc)
		return true;
	while (i < in.len && (p[i] == 0x66 || p[i] == 0x2e))
		i++;
	if (i + 1 == in.len && p[i] == 0x90)
		return true;
	return i + 2 < in.len && p[i] == 0x0f && p[i + 1] == 0x1f;
}

/* May [start, end), in which `starts` marks instruction starts, be overwritten and moved? */
static bool range_free(const struct rw *rw, const struct rw_region *r, uint64_t start, uint64_t end,
		       const bool *starts)
{
	if (straddled(rw, r, start) || doubtful(rw, r, start, end))
		return false;
	for (uint64_t o = start; o < end; o++) {
		uint8_t m = r->map[o];

		if (m & (RW_PATCHED | RW_FIXED))
			return false;
		if (o > start && (m & RW_TARGET || (m & RW_INSN && !starts[o - start])))
			return false;
	}
	return true;
}

static bool try_cover(const struct rw *rw, const struct rw_region *r, struct rw_site *s, int before,
		      int after, enum form form)
{
	uint64_t site = s->vaddr - r->vaddr, start = site, end = site + 2;
	struct insn chain[RW_MAX_DISPLACED], in;
	bool starts[MAX_RANGE] = {0};
	bool ended = false;
	uint8_t pad;

	if (form & KEEP_SYSCALL) {
		end = site;
		if (r->map[site] & (RW_PATCHED | RW_FIXED) || r->map[site + 1] & RW_TARGET ||
		    (r->map[site] & RW_TARGET && !(form & MAY_BE_TARGET)))
			return false;
	}
	for (int i = 0; i < before; i++) {
		if (!insn_before(rw, r, start, &chain[i]) || chain[i].pinned ||
		    (chain[i].kind != INSN_PLAIN && chain[i].kind != INSN_JCC))
			return false;
		start -= chain[i].len;
	}
	s->nr_after = 0;
	for (int i = 0; i < after; i++) {
		if (ended || end >= r->size || !(r->map[end] & RW_INSN) ||
		    decode_insn(rw->elf + r->off + end, r->size - end, &in) || in.pinned)
			return false;
		if (in.kind == INSN_SYSCALL || in.kind == INSN_ODD || in.kind == INSN_CALL ||
		    in.kind == INSN_CALL_IND)
			return false;
		ended = in.kind == INSN_JMP || in.kind == INSN_JMP_IND || in.kind == INSN_RET ||
			in.kind == INSN_STOP;
		s->after[s->nr_after++] = in;
		starts[end - start] = true;
		end += in.len;
	}
	/* What stands between here and the next aligned function is nobody's. */
	while (ended && end - start < RW_JMP_LEN && end < r->size && !(r->map[end] & RW_BODY) &&
	       is_padding(rw, r, end, &pad))
		end += pad;
	if (end - start < RW_JMP_LEN)
		return false;
	s->nr_before = before;
	for (int i = 0; i < before; i++)
		s->before[before - 1 - i] = chain[i];
	for (uint64_t o = start, i = 0; (int)i < before; o += s->before[i++].len)
		starts[o - start] = true;
	starts[site - start] = true;
	if (!range_free(rw, r, start, end, starts))
		return false;
	s->kept = form & KEEP_SYSCALL;
	s->start = r->vaddr + start;
	s->end = r->vaddr + end;
	return true;
}

static bool cover(const struct rw *rw, const struct rw_region *r, struct rw_site *s)
{
	for (int n = 1; n <= RW_MAX_DISPLACED; n++)
		if (try_cover(rw, r, s, n, 0, KEEP_SYSCALL))
			return true;
	for (int n = 1; n <= RW_MAX_DISPLACED; n++)
		if (try_cover(rw, r, s, n, 0, 0))
			return true;
	for (int n = 1; n <= RW_MAX_DISPLACED; n++)
		if (try_cover(rw, r, s, 0, n, 0))
			return true;
	for (int n = 2; n <= RW_JMP_LEN; n++)
		for (int before = n - 1; before > 0; before--)
			if (try_cover(rw, r, s, before, n - before, 0))
				return true;
	for (int n = 1; n <= RW_MAX_DISPLACED; n++)
		if (try_cover(rw, r, s, n, 0, KEEP_SYSCALL | MAY_BE_TARGET))
			return true;
	return false;
}

/*
 * Unwinders that find no frame description for a signal handler's return address compare what
 * stands there with these very bytes (libgcc's x86_64_fallback_frame_state, and debuggers).
 */
static bool is_sigreturn(const struct rw *rw, const struct rw_region *r, uint64_t vaddr)
{
	uint64_t o = vaddr - r->vaddr;

	if (o < 7 || memcmp(rw->elf + r->off + o - 7, rw_sigreturn, sizeof(rw_sigreturn)))
		return false;
	for (size_t i = 0; i + 1 < rw->signal_frames.n; i += 2)
		if (vaddr - rw->signal_frames.v[i] <
		    rw->signal_frames.v[i + 1] - rw->signal_frames.v[i])
			return false;
	return true;
}

void rw_cover(struct rw *rw)
{
	for (size_t i = 0; i < rw->nr_sites; i++) {
		struct rw_site *s = &rw->sites[i];
		struct rw_region *r = rw_code(rw, s->vaddr);

		if (s->reason != REWRITE_OK)
			continue;
		if (is_sigreturn(rw, r, s->vaddr)) {
			s->reason = REWRITE_SIGRETURN;
		} else if (!cover(rw, r, s)) {
			s->reason = r->map[s->vaddr - r->vaddr] & RW_FIXED ? REWRITE_RELOCATED
									   : REWRITE_NO_ROOM;
		} else {
			/* The call too where it is kept: nobody may take it along. */
			uint64_t end = s->kept ? s->vaddr + 2 : s->end;

			for (uint64_t o = s->start - r->vaddr; o < end - r->vaddr; o++)
				r->map[o] |= RW_PATCHED;
		}
	}
}
