/*
 * rewrite_emit.c - the trampolines, and the layout of the new file.
 *
 * The new file is the old one, byte for byte but for the displaced ranges and the header fields
 * below, with this behind it:
 *
 *     program header table, one entry longer    \ the new segment, R-X
 *     trampolines (.junction.text)              /
 *     struct rewrite_trailer and the pair table   not loaded
 *     section names, section headers              if there were any
 *     whatever foreign data stood behind the ELF file, again, since programs look for it from the
 * end
 *
 * The offset and the address of the new segment differ by what they differ by in the first segment:
 * the dynamic linkers of glibc and musl, and Linux before 5.18 for AT_PHDR, look for their program
 * headers at base + e_phoff. A file whose .bss is so large that this would need a big hole does
 * without.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "builder/rewrite_internal.h"

#define MAX_HOLE (4ul << 20)
#define MAX_APPENDED (256ul << 20)
#define TRAMPOLINE_ALIGN 16
#define TRAMPOLINE_MAX (2 * RW_MAX_DISPLACED * 16 + 64)

static const char section_name[] = ".junction.text";

struct emit {
	const struct rw *rw;
	uint64_t seg_off, seg_vaddr;
	uint8_t *buf; /* the new segment; the first bytes are for the program headers */
	size_t len, cap;
	struct jfs_site *pairs;
	size_t nr_pairs, pairs_cap;
	bool far;
};

static uint64_t here(const struct emit *e)
{
	return e->seg_vaddr + e->len;
}

/* Room is reserved by emit_site(). */
static void put(struct emit *e, const void *bytes, size_t n)
{
	memcpy(e->buf + e->len, bytes, n);
	e->len += n;
}

/* A 32-bit offset to `target`, which ends `tail` bytes before the end of its instruction. */
static void put_rel32(struct emit *e, uint64_t target, size_t tail)
{
	int64_t rel = target - (here(e) + 4 + tail);
	int32_t rel32 = rel;

	e->far |= rel != rel32;
	put(e, &rel32, 4);
}

static void put_jmp(struct emit *e, uint64_t target)
{
	put(e, "\xe9", 1);
	put_rel32(e, target, 0);
}

/* Where execution stands at this point of the trampoline, in terms of the original. */
static void put_pair(struct emit *e, const struct rw_region *r, uint64_t original)
{
	e->pairs[e->nr_pairs++] = (struct jfs_site){
		.original = r->off + (original - r->vaddr),
		.trampoline = e->seg_off + e->len,
	};
}

/* The instruction at `from`, so that it does the same here. */
static void put_moved(struct emit *e, const struct rw_region *r, uint64_t from,
		      const struct insn *in)
{
	const uint8_t *p = e->rw->elf + r->off + (from - r->vaddr);
	uint64_t next = from + in->len;
	uint8_t jcc[2] = {0x0f, 0x80};

	if (in->kind == INSN_JMP) {
		put_jmp(e, next + in->rel);
	} else if (in->kind == INSN_JCC) {
		jcc[1] |= (in->len == 2 ? p[0] : p[1]) & 0x0f;
		put(e, jcc, 2);
		put_rel32(e, next + in->rel, 0);
	} else if (in->rip_off) {
		put(e, p, in->rip_off);
		put_rel32(e, next + in->disp, in->len - in->rip_off - 4);
		put(e, p + in->rip_off + 4, in->len - in->rip_off - 4);
	} else {
		put(e, p, in->len);
	}
}

static void put_trampoline(struct emit *e, const struct rw_region *r, struct rw_site *s)
{
	uint64_t at = s->start;
	bool ended = false;

	s->tramp = here(e);
	for (uint8_t i = 0; i < s->nr_before; i++) {
		put_pair(e, r, at);
		put_moved(e, r, at, &s->before[i]);
		at += s->before[i].len;
	}
	put_pair(e, r, s->vaddr);
	put(e, "\xf3\x48\x0f\xae\xc9", 5); /* rdgsbase %rcx */
	put(e, "\xe3\x0f", 2);		   /* jrcxz native */
	put(e, "\x48\x8d\x0d", 3);	   /* lea ret(%rip), %rcx */
	put_rel32(e, s->nr_after ? here(e) + 4 + 8 + 2 : s->vaddr + 2, 0);
	put(e, "\x65\xff\x24\x25\x08\0\0\0", 8); /* jmp *%gs:GS_SYSCALL_ENTRY */
	_Static_assert(GS_SYSCALL_ENTRY == 8, "the trampoline reads the entry from %gs:8");
	if (s->kept) {
		put_jmp(e, s->vaddr); /* native: */
		return;
	}
	put(e, "\x0f\x05", 2); /* native: syscall */
	at += 2;
	for (uint8_t i = 0; i < s->nr_after; i++) { /* ret: */
		put_pair(e, r, at);
		put_moved(e, r, at, &s->after[i]);
		at += s->after[i].len;
		ended = s->after[i].kind != INSN_PLAIN && s->after[i].kind != INSN_JCC;
	}
	if (ended)
		return;
	if (s->nr_after)
		put_pair(e, r, s->end);
	put_jmp(e, s->end);
}

static int emit_site(struct emit *e, struct rw *rw, struct rw_site *s)
{
	const struct rw_region *r = rw_code(rw, s->vaddr);
	size_t len, pairs = e->nr_pairs;

	if (e->cap - e->len < TRAMPOLINE_MAX + TRAMPOLINE_ALIGN) {
		size_t cap = e->cap * 2 + 8192;
		uint8_t *buf = realloc(e->buf, cap);

		if (!buf)
			return -ENOMEM;
		e->buf = buf;
		e->cap = cap;
	}
	if (e->pairs_cap - e->nr_pairs < 2 * RW_MAX_DISPLACED + 3) {
		size_t cap = e->pairs_cap * 2 + 256;
		struct jfs_site *p = realloc(e->pairs, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		e->pairs = p;
		e->pairs_cap = cap;
	}
	while (e->len % TRAMPOLINE_ALIGN)
		e->buf[e->len++] = 0xcc;
	len = e->len;
	e->far = false;
	put_trampoline(e, r, s);
	if (e->far || (int32_t)(s->tramp - s->start - 5) != (int64_t)(s->tramp - s->start - 5)) {
		s->reason = REWRITE_FAR;
		e->len = len;
		e->nr_pairs = pairs;
	}
	return 0;
}

static void place_segment(struct emit *e)
{
	const struct rw *rw = e->rw;
	const struct rw_load *last = &rw->loads[rw->nr_loads - 1];
	uint64_t delta = rw->loads[0].vaddr - rw->loads[0].off;
	uint64_t end = RW_ALIGN(last->vaddr + last->memsz, RW_PAGE),
		 off = RW_ALIGN(rw->len, RW_PAGE);

	if ((int64_t)(end - delta) > (int64_t)off && end - delta - off <= MAX_HOLE)
		off = end - delta;
	e->seg_off = off;
	e->seg_vaddr = off + delta > end ? off + delta : end;
}

static int write_phdrs(struct emit *e)
{
	const struct rw *rw = e->rw;
	const uint8_t *old = rw->elf + rw->ehdr.e_phoff;
	Elf64_Phdr *ph = calloc(rw->phnum + 1, sizeof(*ph)), load;
	size_t after = 0;

	load = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_offset = e->seg_off,
		.p_vaddr = e->seg_vaddr,
		.p_paddr = e->seg_vaddr,
		.p_filesz = e->len,
		.p_memsz = e->len,
		.p_align = RW_PAGE,
	};
	if (!ph)
		return -ENOMEM;
	memcpy(ph, old, rw->phnum * sizeof(*ph));
	for (size_t i = 0; i < rw->phnum; i++) {
		if (ph[i].p_type == PT_LOAD)
			after = i + 1;
		if (ph[i].p_type != PT_PHDR)
			continue;
		ph[i].p_offset = e->seg_off;
		ph[i].p_vaddr = ph[i].p_paddr = e->seg_vaddr;
		ph[i].p_filesz = ph[i].p_memsz = (rw->phnum + 1) * sizeof(*ph);
	}
	memmove(ph + after + 1, ph + after, (rw->phnum - after) * sizeof(*ph));
	ph[after] = load;
	memcpy(e->buf, ph, (rw->phnum + 1) * sizeof(*ph));
	free(ph);
	return 0;
}

/*
 * The tables that a section header table one entry longer needs; 0 if the file has none that is
 * sound.
 */
static size_t section_space(const struct rw *rw, Elf64_Shdr *names)
{
	const Elf64_Ehdr *eh = &rw->ehdr;

	if (!eh->e_shnum || eh->e_shnum >= SHN_LORESERVE - 1 || eh->e_shstrndx >= eh->e_shnum ||
	    eh->e_shoff > rw->len || eh->e_shnum * sizeof(*names) > rw->len - eh->e_shoff)
		return 0;
	memcpy(names, rw->elf + eh->e_shoff + eh->e_shstrndx * sizeof(*names), sizeof(*names));
	if (names->sh_type != SHT_STRTAB || names->sh_offset > rw->len ||
	    names->sh_size > rw->len - names->sh_offset || names->sh_size > UINT32_MAX / 2)
		return 0;
	return RW_ALIGN(names->sh_size + sizeof(section_name), 8) +
	       (eh->e_shnum + 1) * sizeof(Elf64_Shdr);
}

static void write_sections(const struct emit *e, uint8_t *file, size_t off, Elf64_Shdr names,
			   size_t text_start, Elf64_Ehdr *eh)
{
	const struct rw *rw = e->rw;
	Elf64_Shdr text = {
		.sh_name = names.sh_size,
		.sh_type = SHT_PROGBITS,
		.sh_flags = SHF_ALLOC | SHF_EXECINSTR,
		.sh_addr = e->seg_vaddr + text_start,
		.sh_offset = e->seg_off + text_start,
		.sh_size = e->len - text_start,
		.sh_addralign = TRAMPOLINE_ALIGN,
	};
	uint8_t *table;

	memcpy(file + off, rw->elf + names.sh_offset, names.sh_size);
	memcpy(file + off + names.sh_size, section_name, sizeof(section_name));
	names.sh_offset = off;
	names.sh_size += sizeof(section_name);
	off = RW_ALIGN(off + names.sh_size, 8);
	table = file + off;
	memcpy(table, rw->elf + eh->e_shoff, eh->e_shnum * sizeof(text));
	memcpy(table + eh->e_shstrndx * sizeof(names), &names, sizeof(names));
	memcpy(table + eh->e_shnum * sizeof(text), &text, sizeof(text));
	eh->e_shoff = off;
	eh->e_shnum++;
}

static void patch_sites(struct rw *rw, uint8_t *file)
{
	for (size_t i = 0; i < rw->nr_sites; i++) {
		const struct rw_site *s = &rw->sites[i];
		const struct rw_region *r = rw_code(rw, s->vaddr);
		uint8_t *p = file + r->off + (s->start - r->vaddr);
		uint32_t rel = s->tramp - (s->start + RW_JMP_LEN);

		if (s->reason != REWRITE_OK)
			continue;
		memset(p, 0xcc, s->end - s->start);
		p[0] = 0xe9;
		memcpy(p + 1, &rel, 4);
	}
}

static int write_file(struct emit *e, struct rw *rw, size_t text_start, struct rewrite_result *out)
{
	struct rewrite_trailer trailer = {.magic = REWRITE_TRAILER_MAGIC, .nr_pairs = e->nr_pairs};
	size_t tail = rw->len - rw->content_end, off, sections;
	Elf64_Ehdr eh = rw->ehdr;
	Elf64_Shdr names;
	uint8_t *file;

	for (size_t i = 0; i < rw->nr_sites; i++)
		*(rw->sites[i].reason == REWRITE_OK ? &trailer.sites_rewritten
						    : &trailer.sites_left) += 1;
	off = RW_ALIGN(e->seg_off + e->len, 16);
	sections = section_space(rw, &names);
	out->len = RW_ALIGN(off + sizeof(trailer) + e->nr_pairs * sizeof(*e->pairs), 16) +
		   sections + tail;
	file = calloc(1, out->len);
	if (!file)
		return -ENOMEM;
	memcpy(file, rw->elf, rw->len);
	patch_sites(rw, file);
	memcpy(file + e->seg_off, e->buf, e->len);
	memcpy(file + off, &trailer, sizeof(trailer));
	memcpy(file + off + sizeof(trailer), e->pairs, e->nr_pairs * sizeof(*e->pairs));
	if (sections)
		write_sections(e, file, out->len - tail - sections, names, text_start, &eh);
	memcpy(file + out->len - tail, rw->elf + rw->content_end, tail);
	/*
	 * A table that is said to stand behind the end of the file must not come to stand inside
	 * it.
	 */
	if (eh.e_shoff > rw->len ||
	    (eh.e_shnum + !eh.e_shnum) * sizeof(names) > rw->len - eh.e_shoff)
		if (!sections)
			eh.e_shoff = eh.e_shnum = eh.e_shstrndx = 0;
	eh.e_phoff = e->seg_off;
	eh.e_phnum = rw->phnum + 1;
	memcpy(file, &eh, sizeof(eh));
	out->data = file;
	return 0;
}

static size_t count_ok(const struct rw *rw)
{
	size_t n = 0;

	for (size_t i = 0; i < rw->nr_sites; i++)
		n += rw->sites[i].reason == REWRITE_OK;
	return n;
}

static int emit_segment(struct emit *e, struct rw *rw, size_t text_start)
{
	size_t pad;
	int err;

	e->cap = text_start + 8192;
	e->buf = calloc(1, e->cap);
	if (!e->buf)
		return -ENOMEM;
	e->len = text_start;
	for (size_t i = 0; i < rw->nr_sites; i++) {
		if (rw->sites[i].reason != REWRITE_OK)
			continue;
		err = emit_site(e, rw, &rw->sites[i]);
		if (err)
			return err;
	}
	if (rw->owned) { /* whole pages: rw_settle_bss() */
		uint8_t *buf;

		pad = -e->len & (RW_PAGE - 1);
		buf = realloc(e->buf, e->len + pad);
		if (!buf)
			return -ENOMEM;
		memset(buf + e->len, 0xcc, pad);
		e->buf = buf;
		e->len += pad;
	}
	return write_phdrs(e);
}

int rw_emit(struct rw *rw, struct rewrite_result *out)
{
	struct emit e = {.rw = rw};
	size_t text_start = RW_ALIGN((rw->phnum + 1) * sizeof(Elf64_Phdr), TRAMPOLINE_ALIGN);
	int err;

	if (rw->len - rw->content_end > MAX_APPENDED) {
		for (size_t i = 0; i < rw->nr_sites; i++)
			if (rw->sites[i].reason == REWRITE_OK)
				rw->sites[i].reason = REWRITE_APPENDED;
	}
	if (!count_ok(rw))
		return 0;
	err = rw_settle_bss(rw);
	if (err)
		return err;
	place_segment(&e);
	err = emit_segment(&e, rw, text_start);
	if (!err && count_ok(rw))
		err = write_file(&e, rw, text_start, out);
	if (out->data) {
		out->sites = e.pairs;
		out->nr_sites = e.nr_pairs;
		e.pairs = NULL;
	}
	free(e.buf);
	free(e.pairs);
	return err;
}
