/*
 * rewrite_flow.c - which bytes of the text are instructions, and where control can arrive.
 *
 * A byte pair 0f 05 is a system call only if control can reach it, so instructions are found by
 * following control from what is certainly code: the entry point, function symbols, frame
 * descriptions, call targets. From what may be code (addresses in data, labels that code forms,
 * jump tables) it is followed only where the bytes hold up as code: no invalid or privileged
 * instruction, no branch to nowhere, no overlap with an instruction that is already known.
 *
 * RW_TARGET on the other hand is a superset: every place that a branch, a table, a symbol or a
 * pointer names, whether it is one or only looks like one. A wrong RW_TARGET costs at most a
 * rewritten site, a missing one would break the program.
 */
#include <stdlib.h>
#include <string.h>

#include "builder/rewrite_internal.h"

#define MAX_PLAUSIBLE 4096	   /* instructions looked at before a maybe is believed */
#define MAX_TABLE 65536		   /* entries of a jump table */
#define MAX_FUNCTION 65536	   /* bytes between a label and what is reached relative to it */
#define MAX_LABEL_WORK (1ul << 24) /* label and table pairs */
#define MAX_ROUNDS 64		   /* of reading tables and following them */

/* A straight run of instructions that is not yet certain. */
struct run {
	struct rw_region *r;
	struct step {
		uint32_t off; /* in the region */
		struct insn in;
	} * step;
	size_t n, cap;
	bool overlaps;
};

static bool ends_flow(const struct insn *in)
{
	return in->kind == INSN_JMP || in->kind == INSN_JMP_IND || in->kind == INSN_RET ||
	       in->kind == INSN_STOP;
}

static bool run_add(struct rw *rw, struct run *run, uint64_t o, const struct insn *in)
{
	uint8_t *m = run->r->map + o;

	if (run->n == run->cap) {
		size_t cap = run->cap ? run->cap * 2 : 1024;
		struct step *step = realloc(run->step, cap * sizeof(*step));

		if (!step) {
			rw->oom = true;
			return false;
		}
		run->step = step;
		run->cap = cap;
	}
	run->step[run->n++] = (struct step){o, *in};
	for (uint8_t k = 0; k < in->len; k++) {
		run->overlaps |= m[k] & RW_BODY;
		m[k] |= RW_BODY;
	}
	m[0] |= RW_INSN;
	return true;
}

/* Steps [from, n) were no code after all. Overlapped bytes stay marked: nothing is proven there. */
static void run_forget(struct run *run, size_t from)
{
	for (size_t i = from; i < run->n; i++) {
		uint8_t *m = run->r->map + run->step[i].off;

		m[0] &= ~RW_INSN;
		for (uint8_t k = 0; k < run->step[i].in.len && !run->overlaps; k++)
			m[k] &= ~RW_BODY;
	}
	run->n = from;
}

/* A 32-bit value in code at fixed addresses. */
static void note_absolute(struct rw *rw, uint64_t value)
{
	size_t avail;

	rw_maybe(rw, value, 0);
	if (rw_at(rw, value, &avail))
		rw_push(rw, &rw->leas, value);
}

/* What a certain instruction says about other places. */
static void note_insn(struct rw *rw, const struct insn *in, uint64_t next)
{
	if (in->kind == INSN_JMP || in->kind == INSN_JCC || in->kind == INSN_CALL)
		rw_root(rw, next + in->rel);
	if (in->rip_off) {
		rw_push(rw, &rw->leas, next + in->disp);
		if (in->lea)
			rw_maybe(rw, next + in->disp, RW_NAMED);
		else
			rw_target(rw, next + in->disp);
	}
	if (in->imm_size == 8)
		rw_maybe(rw, in->imm, 0);
	if (!rw->exec)
		return;
	if (in->disp_off)
		note_absolute(rw, (uint32_t)in->disp);
	if (in->imm_size == 4)
		note_absolute(rw, (uint32_t)in->imm);
}

/*
 * Is the address that step i jumps to the sum of a base and an offset, rather than a pointer? Then
 * an addition stands shortly before it, or the jump is a block of its own, shared by several gotos.
 */
static bool is_computed(const struct rw *rw, const struct run *run, size_t i)
{
	if (i < 2)
		return true;
	for (size_t k = 1; k <= 4 && k <= i; k++) {
		const struct step *s = &run->step[i - k];
		const uint8_t *p = rw->elf + run->r->off + s->off;

		if ((p[0] & 0xf0) != 0x40)
			continue;
		if (s->in.len == 3 && (p[1] == 0x01 || p[1] == 0x03)) /* add %reg, %reg */
			return true;
		if (p[1] == 0x05 || (p[1] == 0x81 && (p[2] & 0xf8) == 0xc0)) /* add $imm32, %reg */
			return true;
		if (rw->exec && s->in.lea && s->in.disp_off) /* lea base(%reg), %reg */
			return true;
	}
	return false;
}

/*
 * Follow straight-line code from a certain address. If it runs into bytes that are no instruction,
 * all since the last call is dropped: that call does not return, and what follows it is data.
 * Without a call, a system call (exit) may be what does not return.
 */
static void walk(struct rw *rw, struct run *run, uint64_t vaddr)
{
	struct rw_region *r = rw_code(rw, vaddr);
	uint64_t o = vaddr - (r ? r->vaddr : 0);
	size_t keep = 0;
	bool call = false;

	if (!r)
		return;
	run->r = r;
	run->n = 0;
	run->overlaps = false;
	for (;;) {
		struct insn in;

		if (o == r->size) {
			if (keep != run->n)
				run_forget(run, keep);
			break;
		}
		if (r->map[o] & RW_INSN)
			break;
		if (decode_insn(rw->elf + r->off + o, r->size - o, &in)) {
			run_forget(run, keep);
			break;
		}
		if (!run_add(rw, run, o, &in))
			return;
		if (in.kind == INSN_CALL || in.kind == INSN_CALL_IND) {
			call = true;
			keep = run->n;
		} else if (in.kind == INSN_SYSCALL && !call) {
			keep = run->n;
		}
		if (ends_flow(&in))
			break;
		o += in.len;
	}
	for (size_t i = 0; i < run->n && !rw->oom; i++) {
		const struct step *s = &run->step[i];

		note_insn(rw, &s->in, r->vaddr + s->off + s->in.len);
		if (s->in.kind == INSN_JMP_IND && s->in.by_register && is_computed(rw, run, i))
			rw_push(rw, &rw->jumps, r->vaddr + s->off);
	}
}

/*
 * Jumping over a lock prefix is a known idiom; any other jump into an instruction is a sign of
 * data.
 */
static bool into_middle(const struct rw *rw, const struct rw_region *r, uint64_t o)
{
	if ((r->map[o] & (RW_BODY | RW_INSN)) != RW_BODY)
		return false;
	return !(o && r->map[o - 1] & RW_INSN && rw->elf[r->off + o - 1] == 0xf0);
}

/*
 * Do the bytes at vaddr hold up as code, up to where they end or meet known code? What does not,
 * behind a call to known places, may be data behind a call that does not return.
 */
static bool plausible(struct rw *rw, uint64_t vaddr)
{
	struct rw_region *r = rw_code(rw, vaddr), *to;
	uint64_t o = vaddr - (r ? r->vaddr : 0);
	bool call = false;

	for (int i = 0; r && i < MAX_PLAUSIBLE; i++) {
		const uint8_t *p = rw->elf + r->off + o;
		struct insn in;

		if (o >= r->size || into_middle(rw, r, o))
			return call;
		if (r->map[o] & RW_INSN)
			return i > 0;
		if (decode_insn(p, r->size - o, &in) || in.kind == INSN_ODD)
			return call;
		if (in.len == 2 && !p[0] && !p[1]) /* zeros, not add %al,(%rax) */
			return call;
		if (in.kind == INSN_JMP || in.kind == INSN_JCC || in.kind == INSN_CALL) {
			uint64_t target = r->vaddr + o + in.len + in.rel;

			to = rw_code(rw, target);
			if (!to || into_middle(rw, to, target - to->vaddr))
				return call;
			call |= in.kind == INSN_CALL;
		}
		if (ends_flow(&in))
			return true;
		o += in.len;
	}
	return call;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void sort_unique(struct rw_vec *l)
{
	size_t n = 0;

	if (!l->n)
		return;
	qsort(l->v, l->n, sizeof(*l->v), compare_u64);
	for (size_t i = 1; i < l->n; i++)
		if (l->v[i] != l->v[n])
			l->v[++n] = l->v[i];
	l->n = n + 1;
}

static bool is_insn(struct rw *rw, uint64_t vaddr)
{
	const struct rw_region *r = rw_code(rw, vaddr);

	return r && r->map[vaddr - r->vaddr] & RW_INSN;
}

/* Bytes of a table at vaddr that ends, at the latest, where the next known address is. */
static const uint8_t *table_at(const struct rw *rw, size_t index, size_t *entries)
{
	const struct rw_vec *l = &rw->leas;
	size_t avail;
	const uint8_t *p = rw_at(rw, l->v[index], &avail);

	if (index + 1 < l->n && l->v[index + 1] - l->v[index] < avail)
		avail = l->v[index + 1] - l->v[index];
	*entries = avail / 4 < MAX_TABLE ? avail / 4 : MAX_TABLE;
	return p;
}

static uint64_t entry(const uint8_t *table, size_t i, uint64_t base)
{
	return base + (int64_t)(int32_t)rw_u32(table + 4 * i);
}

/*
 * Tables of 32-bit offsets from their own start, as compilers make of a switch in
 * position-independent code. Any address that code forms may be one; it ends where an entry does
 * not lead to code.
 */
static void read_tables(struct rw *rw)
{
	const struct rw_vec *l = &rw->leas;

	/* rw_maybe() does not add to the list of leas, so it holds still. */
	for (size_t i = 0; i < l->n; i++) {
		size_t n;
		const uint8_t *p = table_at(rw, i, &n);

		if (!p || is_insn(rw, l->v[i]))
			continue;
		for (size_t k = 0; k < n && rw_code(rw, entry(p, k, l->v[i])); k++)
			rw_maybe(rw, entry(p, k, l->v[i]), 0);
	}
}

/* Index of the last value not above v, or -1. */
static ptrdiff_t last_upto(const struct rw_vec *vec, uint64_t v)
{
	size_t lo = 0, hi = vec->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (vec->v[mid] <= v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return (ptrdiff_t)lo - 1;
}

/*
 * An address in code that starts no function, in a function that jumps to an address in a register.
 */
static bool is_label(struct rw *rw, uint64_t v)
{
	ptrdiff_t f = last_upto(&rw->functions, v), j;
	uint64_t start, end;

	if (!rw_code(rw, v) || (f >= 0 && rw->functions.v[f] == v))
		return false;
	start = v < MAX_FUNCTION ? 0 : v - MAX_FUNCTION;
	end = v + MAX_FUNCTION;
	if (f >= 0 && rw->functions.v[f] > start)
		start = rw->functions.v[f];
	if ((size_t)(f + 1) < rw->functions.n && rw->functions.v[f + 1] < end)
		end = rw->functions.v[f + 1];
	j = last_upto(&rw->jumps, end - 1);
	return j >= 0 && rw->jumps.v[j] >= start;
}

static bool label_entry(struct rw *rw, uint64_t label, uint64_t to)
{
	const struct rw_region *r = rw_code(rw, to);

	if (!r || to - label + MAX_FUNCTION > 2 * MAX_FUNCTION)
		return false;
	if (r->map[to - r->vaddr] & RW_BODY)
		return r->map[to - r->vaddr] & RW_INSN;
	return plausible(rw, to);
}

/*
 * Tables of 32-bit offsets from a label: `goto *(&&base + table[i])`. Which table goes with which
 * label is not known, so each is tried with each; one that begins with offsets to instructions
 * counts.
 */
static void read_label_tables(struct rw *rw)
{
	const struct rw_vec *l = &rw->leas;
	uint64_t *label = malloc((l->n + 1) * sizeof(*label));
	size_t labels = 0;

	if (!label) {
		rw->oom = true;
		return;
	}
	for (size_t i = 0; i < l->n; i++)
		if (is_label(rw, l->v[i]))
			label[labels++] = l->v[i];
	for (size_t i = 0; i < l->n && labels && l->n < MAX_LABEL_WORK / labels; i++) {
		size_t n, k;
		const uint8_t *p = table_at(rw, i, &n);

		if (!p || n < 2 || l->v[i] & 3 || is_insn(rw, l->v[i]))
			continue;
		for (size_t b = 0; b < labels; b++) {
			for (k = 0;
			     k < 8 && k < n && label_entry(rw, label[b], entry(p, k, label[b]));
			     k++)
				;
			if (k < 2 || (k < 8 && k < n && k < 4))
				continue;
			for (k = 0; k < n && rw_code(rw, entry(p, k, label[b])); k++)
				rw_maybe(rw, entry(p, k, label[b]), 0);
		}
	}
	free(label);
}

/*
 * Bytes that nothing is known of may still be code. Whatever they would jump to, read as a branch
 * at any byte, is a target.
 */
static void note_gaps(struct rw *rw)
{
	for (size_t i = 0; i < rw->nr_regions; i++) {
		struct rw_region *r = &rw->regions[i];
		const uint8_t *p = rw->elf + r->off;

		for (uint64_t o = 0; o + 2 <= r->size; o++) {
			uint64_t at = r->vaddr + o;

			if (r->map[o] & RW_BODY)
				continue;
			if ((p[o] & 0xf0) == 0x70 || p[o] == 0xeb || (p[o] & 0xfc) == 0xe0)
				rw_target(rw, at + 2 + (int8_t)p[o + 1]);
			else if ((p[o] & 0xfe) == 0xe8 && o + 5 <= r->size)
				rw_target(rw, at + 5 + (int32_t)rw_u32(p + o + 1));
			else if (p[o] == 0x0f && (p[o + 1] & 0xf0) == 0x80 && o + 6 <= r->size)
				rw_target(rw, at + 6 + (int32_t)rw_u32(p + o + 2));
		}
	}
}

void rw_flow(struct rw *rw)
{
	struct run run = {0};
	size_t maybe = 0;
	int rounds = 0;

	for (size_t i = 0; i < rw->roots.n; i++)
		rw_push(rw, &rw->functions, rw->roots.v[i]);
	sort_unique(&rw->functions);

	while (!rw->oom) {
		if (rw->roots.n) {
			walk(rw, &run, rw->roots.v[--rw->roots.n]);
			continue;
		}
		if (maybe == rw->maybe.n && rounds++ < MAX_ROUNDS) {
			sort_unique(&rw->leas);
			sort_unique(&rw->jumps);
			read_tables(rw);
			read_label_tables(rw);
		}
		if (maybe == rw->maybe.n)
			break;
		while (maybe < rw->maybe.n && !rw->roots.n) {
			uint64_t vaddr = rw->maybe.v[maybe++];

			if (plausible(rw, vaddr))
				rw_root(rw, vaddr);
		}
	}
	free(run.step);
	note_gaps(rw);
}

/* Does decoding straight on from where the known code ends arrive at o? */
static bool in_step(const struct rw *rw, const struct rw_region *r, uint64_t o)
{
	uint64_t at = o;
	struct insn in;

	while (at && !(r->map[at - 1] & RW_BODY))
		at--;
	while (at < o)
		at += decode_insn(rw->elf + r->off + at, r->size - at, &in) ? 1 : in.len;
	return at == o;
}

static bool add_site(struct rw *rw, uint64_t vaddr, enum rewrite_reason reason)
{
	if (!(rw->nr_sites & (rw->nr_sites - 1))) {
		size_t cap = rw->nr_sites ? rw->nr_sites * 2 : 1;
		struct rw_site *s = realloc(rw->sites, cap * sizeof(*s));

		if (!s) {
			rw->oom = true;
			return false;
		}
		rw->sites = s;
	}
	rw->sites[rw->nr_sites++] = (struct rw_site){.vaddr = vaddr, .reason = reason};
	return true;
}

/* All system call instructions, ascending, whether they can be rewritten or not. */
void rw_find_sites(struct rw *rw)
{
	for (size_t i = 0; i < rw->nr_regions && !rw->oom; i++) {
		struct rw_region *r = &rw->regions[i];
		const uint8_t *base = rw->elf + r->off, *p = base, *end = base + r->size;

		while ((p = memmem(p, end - p, "\x0f\x05", 2)) && !rw->oom) {
			uint64_t o = p++ - base;
			struct insn in;

			if (r->map[o] & RW_INSN)
				add_site(rw, r->vaddr + o, REWRITE_OK);
			else if (!(r->map[o] & RW_BODY)) {
				if (rw->has_sections && in_step(rw, r, o))
					add_site(rw, r->vaddr + o, REWRITE_NOT_CODE);
			} else if (o && r->map[o - 1] & RW_INSN &&
				   !decode_insn(p - 2, r->size - o + 1, &in) && in.len == 3 &&
				   in.kind == INSN_ODD) {
				/* with a prefix that means nothing */
				add_site(rw, r->vaddr + o, REWRITE_NO_ROOM);
			}
		}
	}
}
