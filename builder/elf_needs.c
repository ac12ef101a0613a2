/*
 * elf_needs.c - what a dynamic ELF file asks of its surroundings.
 *
 * Goes by program headers and PT_DYNAMIC alone, as ld.so does: section headers may be stripped.
 */
#include "builder/elf_needs.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/checked.h"

bool elf_is_code(const uint8_t *p, size_t len)
{
	Elf64_Ehdr h;

	if (len < sizeof(h))
		return false;
	memcpy(&h, p, sizeof(h));
	return !memcmp(h.e_ident, ELFMAG, SELFMAG) && h.e_ident[EI_CLASS] == ELFCLASS64 &&
	       h.e_ident[EI_DATA] == ELFDATA2LSB && h.e_machine == EM_X86_64 &&
	       (h.e_type == ET_EXEC || h.e_type == ET_DYN);
}

bool elf_on_host(const char *path)
{
	uint8_t head[sizeof(Elf64_Ehdr)];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, head, sizeof(head));
	close(fd);
	return n == sizeof(head) && elf_is_code(head, sizeof(head));
}

struct reader {
	const uint8_t *bytes;
	size_t len;
	Elf *elf;
	size_t phnum;
	uint64_t strtab, strsz; /* file offset and bytes of the dynamic string table */
};

static bool to_offset(const struct reader *r, uint64_t addr, uint64_t *off)
{
	for (size_t i = 0; i < r->phnum; i++) {
		GElf_Phdr p;

		if (gelf_getphdr(r->elf, i, &p) && p.p_type == PT_LOAD && addr >= p.p_vaddr &&
		    addr - p.p_vaddr < p.p_filesz) {
			*off = p.p_offset + (addr - p.p_vaddr);
			return *off < r->len;
		}
	}
	return false;
}

/* A string that ends before `limit` bytes of the file, copied; NULL if it does not. */
static char *string_at(const struct reader *r, uint64_t off, uint64_t limit)
{
	const uint8_t *nul;

	if (off >= limit || limit > r->len)
		return NULL;
	nul = memchr(r->bytes + off, 0, limit - off);
	return nul && nul > r->bytes + off ? strdup((const char *)r->bytes + off) : NULL;
}

static char *dyn_string(const struct reader *r, uint64_t value)
{
	uint64_t limit = r->strtab + r->strsz, off;

	if (__builtin_add_overflow(r->strtab, value, &off))
		return NULL;
	return string_at(r, off, limit);
}

static void set_once(char **slot, char *value)
{
	if (*slot)
		free(value);
	else
		*slot = value;
}

static void read_dynamic(struct reader *r, const GElf_Phdr *p, struct elf_needs *out)
{
	uint64_t n = p->p_filesz / sizeof(Elf64_Dyn), addr = 0;
	const uint8_t *base = r->bytes + p->p_offset;
	Elf64_Dyn d;
	char *s;

	for (uint64_t i = 0; i < n; i++) {
		memcpy(&d, base + i * sizeof(d), sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_STRTAB)
			addr = d.d_un.d_ptr;
		if (d.d_tag == DT_STRSZ)
			r->strsz = d.d_un.d_val;
	}
	if (!addr || !to_offset(r, addr, &r->strtab) || !range_inside(r->strtab, r->strsz, r->len))
		return;
	for (uint64_t i = 0; i < n; i++) {
		memcpy(&d, base + i * sizeof(d), sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag != DT_NEEDED && d.d_tag != DT_SONAME && d.d_tag != DT_RPATH &&
		    d.d_tag != DT_RUNPATH)
			continue;
		s = dyn_string(r, d.d_un.d_val);
		if (!s)
			continue;
		if (d.d_tag == DT_NEEDED) {
			strings_add(&out->needed, s);
			free(s);
		} else {
			set_once(d.d_tag == DT_SONAME ? &out->soname
				 : d.d_tag == DT_RPATH ? &out->rpath : &out->runpath, s);
		}
	}
	if (out->runpath) {
		free(out->rpath);
		out->rpath = NULL;
	}
}

int elf_needs_read(const uint8_t *bytes, size_t len, struct elf_needs *out)
{
	struct reader r = {.bytes = bytes, .len = len};

	memset(out, 0, sizeof(*out));
	if (!elf_is_code(bytes, len))
		return -1;
	elf_version(EV_CURRENT);
	r.elf = elf_memory((char *)bytes, len);
	if (!r.elf || elf_getphdrnum(r.elf, &r.phnum))
		r.phnum = 0;
	for (size_t i = 0; i < r.phnum; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(r.elf, i, &p) || !range_inside(p.p_offset, p.p_filesz, len))
			continue;
		if (p.p_type == PT_INTERP)
			set_once(&out->interp, string_at(&r, p.p_offset, p.p_offset + p.p_filesz));
		else if (p.p_type == PT_DYNAMIC)
			read_dynamic(&r, &p, out);
	}
	elf_end(r.elf);
	return 0;
}

void elf_needs_free(struct elf_needs *n)
{
	free(n->interp);
	free(n->soname);
	free(n->rpath);
	free(n->runpath);
	strings_free(&n->needed);
	memset(n, 0, sizeof(*n));
}
