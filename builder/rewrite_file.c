/*
 * rewrite_file.c - the ELF file as the rewriter sees it, and what its tables say about code.
 *
 * libelf reads the header tables; contents are reached by address through the segments, as a loader
 * would, so that a file without section headers is no special case.
 */
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#include "builder/rewrite_internal.h"

/* Of the dynamic section; addresses. */
struct dynamic {
	uint64_t rela, relasz, symtab, strtab, jmprel, pltrelsz;
};

const uint8_t *rw_at(const struct rw *rw, uint64_t vaddr, size_t *avail)
{
	for (size_t i = 0; i < rw->nr_loads; i++) {
		const struct rw_load *l = &rw->loads[i];

		if (vaddr - l->vaddr < l->filesz) {
			*avail = l->filesz - (vaddr - l->vaddr);
			return rw->elf + l->off + (vaddr - l->vaddr);
		}
	}
	*avail = 0;
	return NULL;
}

struct rw_region *rw_code(struct rw *rw, uint64_t vaddr)
{
	struct rw_region *r = &rw->regions[rw->last_region];

	if (rw->nr_regions && vaddr - r->vaddr < r->size)
		return r;
	for (size_t i = 0; i < rw->nr_regions; i++) {
		r = &rw->regions[i];
		if (vaddr - r->vaddr < r->size) {
			rw->last_region = i;
			return r;
		}
	}
	return NULL;
}

bool rw_push(struct rw *rw, struct rw_vec *vec, uint64_t value)
{
	if (vec->n == vec->cap) {
		size_t cap = vec->cap ? vec->cap * 2 : 1024;
		uint64_t *v = realloc(vec->v, cap * sizeof(*v));

		if (!v) {
			rw->oom = true;
			return false;
		}
		vec->v = v;
		vec->cap = cap;
	}
	vec->v[vec->n++] = value;
	return true;
}

void rw_target(struct rw *rw, uint64_t vaddr)
{
	struct rw_region *r = rw_code(rw, vaddr);

	if (r)
		r->map[vaddr - r->vaddr] |= RW_TARGET;
}

void rw_root(struct rw *rw, uint64_t vaddr)
{
	struct rw_region *r = rw_code(rw, vaddr);
	uint8_t *m;

	if (!r)
		return;
	m = &r->map[vaddr - r->vaddr];
	if (!(*m & RW_QUEUED))
		rw_push(rw, &rw->roots, vaddr);
	*m |= RW_TARGET | RW_NAMED | RW_QUEUED;
}

void rw_maybe(struct rw *rw, uint64_t vaddr, uint8_t how)
{
	struct rw_region *r = rw_code(rw, vaddr);
	uint8_t *m;

	if (!r)
		return;
	m = &r->map[vaddr - r->vaddr];
	if (!(*m & (RW_INSN | RW_QUEUED | RW_MAYBE)))
		rw_push(rw, &rw->maybe, vaddr);
	*m |= RW_TARGET | RW_MAYBE | how;
}

static bool range_ok(const struct rw *rw, uint64_t off, uint64_t size)
{
	return off <= rw->len && size <= rw->len - off;
}

static void grow_content(struct rw *rw, uint64_t off, uint64_t size)
{
	if (range_ok(rw, off, size) && off + size > rw->content_end)
		rw->content_end = off + size;
}

static int read_segments(struct rw *rw, Elf *elf)
{
	size_t n;

	if (elf_getphdrnum(elf, &n) < 0 || !n || n > UINT16_MAX - 1 || rw->ehdr.e_phnum == PN_XNUM)
		return -1;
	rw->phnum = n;
	if (!range_ok(rw, rw->ehdr.e_phoff, n * sizeof(Elf64_Phdr)))
		return -1;
	grow_content(rw, rw->ehdr.e_phoff, n * sizeof(Elf64_Phdr));
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;
		struct rw_load *l = &rw->loads[rw->nr_loads];

		if (!gelf_getphdr(elf, i, &ph))
			return -1;
		if (ph.p_type == PT_GNU_EH_FRAME) {
			rw->eh_frame = ph.p_vaddr; /* of its header, for now */
			rw->eh_frame_size = ph.p_memsz;
		}
		if (ph.p_type != PT_LOAD) {
			if (ph.p_type != PT_NULL)
				grow_content(rw, ph.p_offset, ph.p_filesz);
			continue;
		}
		if (!range_ok(rw, ph.p_offset, ph.p_filesz) || ph.p_memsz < ph.p_filesz ||
		    ph.p_vaddr >= 1ull << 47 || ph.p_memsz >= 1ull << 47 ||
		    (ph.p_vaddr - ph.p_offset) % RW_PAGE || rw->nr_loads == RW_MAX_LOADS)
			return -1;
		grow_content(rw, ph.p_offset, ph.p_filesz);
		*l = (struct rw_load){ph.p_vaddr, ph.p_offset, ph.p_filesz, ph.p_memsz, ph.p_flags};
		/* The gABI wants them ascending; then it is easy to see that none overlaps. */
		if (rw->nr_loads && l->vaddr < l[-1].vaddr + l[-1].memsz)
			return -1;
		for (size_t k = 0; k < rw->nr_loads; k++)
			if (l->off < rw->loads[k].off + rw->loads[k].filesz &&
			    rw->loads[k].off < l->off + l->filesz)
				return -1;
		rw->nr_loads++;
	}
	return rw->nr_loads ? 0 : -1;
}

/* Kept in the order of the file, so that sites and their pairs are. */
static bool add_region(struct rw *rw, uint64_t vaddr, uint64_t off, uint64_t size)
{
	size_t at;

	if (!size)
		return true;
	if (rw->nr_regions == RW_MAX_REGIONS || size > UINT32_MAX)
		return false;
	for (size_t i = 0; i < rw->nr_regions; i++)
		if (off < rw->regions[i].off + rw->regions[i].size &&
		    rw->regions[i].off < off + size)
			return false;
	at = rw->nr_regions++;
	for (; at && rw->regions[at - 1].off > off; at--)
		rw->regions[at] = rw->regions[at - 1];
	rw->regions[at] = (struct rw_region){vaddr, off, size, NULL};
	return true;
}

static bool add_section(struct rw *rw, const GElf_Shdr *sh)
{
	for (size_t i = 0; i < rw->nr_loads; i++) {
		const struct rw_load *l = &rw->loads[i];

		if (sh->sh_addr < l->vaddr || sh->sh_addr - l->vaddr > l->filesz)
			continue;
		if (sh->sh_size > l->filesz - (sh->sh_addr - l->vaddr))
			continue;
		if (sh->sh_offset - l->off != sh->sh_addr - l->vaddr)
			return false;
		/* Code that may rewrite itself is none that anything can be proven of. */
		if (!(l->flags & PF_X) || l->flags & PF_W)
			return true;
		return add_region(rw, sh->sh_addr, sh->sh_offset, sh->sh_size);
	}
	return false;
}

/*
 * Where section headers are there and agree with the segments, the executable sections are the
 * regions. Else whole executable segments are, tables and all: then reached code alone decides.
 */
static void find_regions(struct rw *rw, Elf *elf)
{
	size_t shstrndx, shnum = 0;
	Elf_Scn *scn = NULL;
	bool ok = true;

	if (elf_getshdrnum(elf, &shnum) < 0 || elf_getshdrstrndx(elf, &shstrndx) < 0)
		shnum = 0;
	if (shnum)
		grow_content(rw, rw->ehdr.e_shoff, shnum * sizeof(Elf64_Shdr));
	while (shnum && (scn = elf_nextscn(elf, scn))) {
		GElf_Shdr sh;
		const char *name;

		if (!gelf_getshdr(scn, &sh))
			continue;
		if (sh.sh_type != SHT_NOBITS && sh.sh_type != SHT_NULL)
			grow_content(rw, sh.sh_offset, sh.sh_size);
		if (!(sh.sh_flags & SHF_ALLOC))
			continue;
		if (sh.sh_flags & SHF_EXECINSTR && sh.sh_type == SHT_PROGBITS && ok)
			ok = add_section(rw, &sh);
		name = elf_strptr(elf, shstrndx, sh.sh_name);
		if (name && !strcmp(name, ".eh_frame") && sh.sh_type != SHT_NOBITS) {
			rw->eh_frame = sh.sh_addr;
			rw->eh_frame_size = sh.sh_size | 1ull << 63;
		}
	}
	rw->has_sections = ok && rw->nr_regions;
	if (rw->has_sections)
		return;
	rw->nr_regions = 0;
	for (size_t i = 0; i < rw->nr_loads; i++)
		if (rw->loads[i].flags & PF_X && !(rw->loads[i].flags & PF_W))
			add_region(rw, rw->loads[i].vaddr, rw->loads[i].off, rw->loads[i].filesz);
}

/*
 * rw->eh_frame is the section or, by PT_GNU_EH_FRAME, the header that leads to it (LSB,
 * .eh_frame_hdr).
 */
static void find_eh_frame(struct rw *rw)
{
	const uint8_t *p;
	size_t avail;
	uint64_t base = rw->eh_frame;

	if (rw->eh_frame_size >> 63) {
		rw->eh_frame_size &= ~(1ull << 63);
		return;
	}
	rw->eh_frame_size = 0;
	p = rw_at(rw, base, &avail);
	/* version 1, pointer encoded as pcrel sdata4: the only form that linkers write */
	if (!p || avail < 8 || p[0] != 1 || p[1] != 0x1b)
		return;
	rw->eh_frame = base + 4 + (int64_t)(int32_t)rw_u32(p + 4);
	if (rw_at(rw, rw->eh_frame, &avail))
		rw->eh_frame_size = avail;
}

int rw_parse(struct rw *rw)
{
	Elf *elf;

	rw->skipped = "not an ELF64 x86-64 program or library";
	if (rw->len < sizeof(rw->ehdr) || memcmp(rw->elf, ELFMAG, SELFMAG))
		return -1;
	memcpy(&rw->ehdr, rw->elf, sizeof(rw->ehdr));
	if (rw->ehdr.e_ident[EI_CLASS] != ELFCLASS64 || rw->ehdr.e_ident[EI_DATA] != ELFDATA2LSB ||
	    rw->ehdr.e_machine != EM_X86_64 ||
	    (rw->ehdr.e_type != ET_EXEC && rw->ehdr.e_type != ET_DYN))
		return -1;
	rw->exec = rw->ehdr.e_type == ET_EXEC;
	rw->skipped = "damaged ELF headers";
	if (rw->ehdr.e_phentsize != sizeof(Elf64_Phdr) ||
	    (rw->ehdr.e_shnum && rw->ehdr.e_shentsize != sizeof(Elf64_Shdr)))
		return -1;
	if (elf_version(EV_CURRENT) == EV_NONE)
		return -1;
	elf = elf_memory((char *)rw->elf, rw->len);
	if (!elf)
		return -1;
	rw->content_end = sizeof(rw->ehdr);
	if (elf_kind(elf) != ELF_K_ELF || read_segments(rw, elf) < 0) {
		elf_end(elf);
		return -1;
	}
	find_regions(rw, elf);
	elf_end(elf);
	find_eh_frame(rw);
	rw->skipped = NULL;
	return 0;
}

static void read_symbols(struct rw *rw, const uint8_t *p, uint64_t size)
{
	for (uint64_t i = 0; i + sizeof(Elf64_Sym) <= size; i += sizeof(Elf64_Sym)) {
		Elf64_Sym sym;

		memcpy(&sym, p + i, sizeof(sym));
		if (sym.st_shndx == SHN_UNDEF || sym.st_shndx >= SHN_LORESERVE)
			continue;
		switch (ELF64_ST_TYPE(sym.st_info)) {
		case STT_FUNC:
		case STT_GNU_IFUNC:
			rw_root(rw, sym.st_value);
			break;
		case STT_NOTYPE:
			rw_maybe(rw, sym.st_value, RW_NAMED);
			break;
		case STT_OBJECT:
			rw_target(rw, sym.st_value);
			break;
		}
	}
}

static void read_symtabs(struct rw *rw)
{
	const Elf64_Ehdr *eh = &rw->ehdr;

	if (!eh->e_shnum || !range_ok(rw, eh->e_shoff, eh->e_shnum * sizeof(Elf64_Shdr)))
		return;
	for (size_t i = 0; i < eh->e_shnum; i++) {
		Elf64_Shdr sh;

		memcpy(&sh, rw->elf + eh->e_shoff + i * sizeof(sh), sizeof(sh));
		if ((sh.sh_type == SHT_SYMTAB || sh.sh_type == SHT_DYNSYM) &&
		    range_ok(rw, sh.sh_offset, sh.sh_size))
			read_symbols(rw, rw->elf + sh.sh_offset, sh.sh_size);
	}
}

/* What DT_RELA and DT_JMPREL say: bytes that get written, and addresses inside the text. */
static void read_relocations(struct rw *rw, uint64_t addr, uint64_t size, uint64_t symtab)
{
	size_t avail, sym_avail;
	const uint8_t *p = rw_at(rw, addr, &avail);
	const uint8_t *syms = rw_at(rw, symtab, &sym_avail);

	if (!p)
		return;
	if (size > avail)
		size = avail;
	for (uint64_t i = 0; i + sizeof(Elf64_Rela) <= size; i += sizeof(Elf64_Rela)) {
		Elf64_Rela rel;
		struct rw_region *r;
		uint64_t sym;

		memcpy(&rel, p + i, sizeof(rel));
		r = rw_code(rw, rel.r_offset);
		for (uint64_t k = 0; r && k < 8 && rel.r_offset - r->vaddr + k < r->size; k++)
			r->map[rel.r_offset - r->vaddr + k] |= RW_FIXED;
		sym = ELF64_R_SYM(rel.r_info);
		if (!sym) {
			rw_maybe(rw, rel.r_addend, 0);
		} else if (syms && sym < sym_avail / sizeof(Elf64_Sym)) {
			Elf64_Sym s;

			memcpy(&s, syms + sym * sizeof(s), sizeof(s));
			if (s.st_shndx != SHN_UNDEF && rel.r_addend)
				rw_maybe(rw, s.st_value + rel.r_addend, 0);
		}
	}
}

static void read_dynamic(struct rw *rw)
{
	struct dynamic d = {0};
	const uint8_t *p = NULL;
	size_t avail = 0;

	for (size_t i = 0; i < rw->phnum && !p; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, rw->elf + rw->ehdr.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_DYNAMIC)
			p = rw_at(rw, ph.p_vaddr, &avail);
	}
	if (!p)
		return;
	for (; avail >= sizeof(Elf64_Dyn); p += sizeof(Elf64_Dyn), avail -= sizeof(Elf64_Dyn)) {
		Elf64_Dyn dyn;

		memcpy(&dyn, p, sizeof(dyn));
		switch (dyn.d_tag) {
		case DT_NULL:
			avail = 0;
			break;
		case DT_INIT:
		case DT_FINI:
			rw_root(rw, dyn.d_un.d_ptr);
			break;
		case DT_RELA:
			d.rela = dyn.d_un.d_ptr;
			break;
		case DT_RELASZ:
			d.relasz = dyn.d_un.d_val;
			break;
		case DT_JMPREL:
			d.jmprel = dyn.d_un.d_ptr;
			break;
		case DT_PLTRELSZ:
			d.pltrelsz = dyn.d_un.d_val;
			break;
		case DT_SYMTAB:
			d.symtab = dyn.d_un.d_ptr;
			break;
		case DT_STRTAB:
			d.strtab = dyn.d_un.d_ptr;
			break;
		}
		if (!avail)
			break;
	}
	read_relocations(rw, d.rela, d.relasz, d.symtab);
	read_relocations(rw, d.jmprel, d.pltrelsz, d.symtab);
	/* Without section headers only the order in which linkers lay tables out tells the size. */
	if (!rw->ehdr.e_shnum && d.strtab > d.symtab) {
		p = rw_at(rw, d.symtab, &avail);
		if (p && d.strtab - d.symtab <= avail)
			read_symbols(rw, p, d.strtab - d.symtab);
	}
}

/*
 * Any aligned word that could be an address in the text: pointers, absolute jump tables, RELR, the
 * addends of relative relocations. Too many is safe, too few is not.
 */
static void scan_pointers(struct rw *rw)
{
	uint64_t lo = UINT64_MAX, hi = 0;

	for (size_t i = 0; i < rw->nr_regions; i++) {
		if (rw->regions[i].vaddr < lo)
			lo = rw->regions[i].vaddr;
		if (rw->regions[i].vaddr + rw->regions[i].size > hi)
			hi = rw->regions[i].vaddr + rw->regions[i].size;
	}
	for (size_t i = 0; i < rw->nr_loads; i++) {
		const struct rw_load *l = &rw->loads[i];
		const uint8_t *p = rw->elf + l->off;
		uint64_t o = -l->vaddr & 7;

		for (; o + 8 <= l->filesz; o += 8) {
			uint64_t v = rw_u64(p + o);

			if (v - lo < hi - lo)
				rw_maybe(rw, v, 0);
		}
		/* Programs at fixed addresses may hold them in 32 bits. */
		if (!rw->exec || l->flags & PF_X)
			continue;
		for (o = -l->vaddr & 3; o + 4 <= l->filesz; o += 4) {
			uint64_t v = rw_u32(p + o);

			if (v - lo < hi - lo)
				rw_target(rw, v);
		}
	}
}

/* Where whole segments are regions, headers stand in them. */
static void protect(struct rw *rw, uint64_t off, uint64_t size)
{
	for (size_t i = 0; i < rw->nr_regions; i++) {
		struct rw_region *r = &rw->regions[i];

		for (uint64_t o = off > r->off ? off - r->off : 0;
		     o < r->size && r->off + o < off + size; o++)
			r->map[o] |= RW_FIXED;
	}
}

void rw_file_evidence(struct rw *rw)
{
	const Elf64_Ehdr *eh = &rw->ehdr;

	protect(rw, 0, sizeof(*eh));
	protect(rw, eh->e_phoff, rw->phnum * sizeof(Elf64_Phdr));
	if (eh->e_shoff < rw->len)
		protect(rw, eh->e_shoff, (eh->e_shnum ? eh->e_shnum : 1) * sizeof(Elf64_Shdr));
	rw_root(rw, eh->e_entry);
	read_symtabs(rw);
	read_dynamic(rw);
	scan_pointers(rw);
}
