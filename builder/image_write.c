/*
 * image_write.c - writing sealed images with libelf.
 *
 * libelf writes headers and sections at the offsets that are laid out here; the seal is computed over
 * the finished file and put into its two places, tree and header.
 */
#include "builder/image_write.h"

#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "builder/checked.h"
#include "builder/image.h"

#define ZSTD_LEVEL 9

/* The section header string table, the same in every image. */
static const char section_names[] =
	"\0.note.junction\0.libos.rodata\0.libos.text\0.libos.vdso\0.libos.data\0.libos.bss\0"
	".junction.manifest\0.junction.record\0.junction.chunks\0.junction.data\0.shstrtab\0"
	".junction.tree";

struct writer {
	const struct image_parts *parts;
	const char *name;
	struct err *e;
	Elf *libos, *elf;
	uint64_t entry;
	struct jimg_header header;
	struct jimg_chunk *chunks;
	uint8_t *data;
	uint64_t nr_chunks, data_len, data_cap;
	uint64_t off; /* end of what is laid out */
	GElf_Phdr loads[JSTORE_MAX_SEGMENTS];
	size_t nr_loads;
};

static int elf_failed(struct writer *w, const char *what)
{
	return err_set(w->e, "%s: %s: %s", w->name, what, elf_errmsg(-1));
}

static int compress(struct writer *w)
{
	struct rootfs *r = w->parts->rootfs;
	uint8_t *raw = malloc(JIMG_CHUNK_SIZE);
	ZSTD_CCtx *zc = ZSTD_createCCtx();
	int ret = -1;

	w->nr_chunks = (r->size + JIMG_CHUNK_SIZE - 1) / JIMG_CHUNK_SIZE;
	w->chunks = calloc(w->nr_chunks, sizeof(*w->chunks));
	if (!raw || !zc || !w->chunks) {
		err_set(w->e, "out of memory");
		goto out;
	}
	for (uint64_t i = 0, done = 0; i < w->nr_chunks; i++) {
		uint64_t len = r->size - done < JIMG_CHUNK_SIZE ? r->size - done : JIMG_CHUNK_SIZE;
		struct jimg_chunk *c = &w->chunks[i];
		size_t n;

		if (rootfs_read(r, raw, len, w->e))
			goto out;
		if (w->data_cap - w->data_len < ZSTD_compressBound(len)) {
			uint8_t *grown;

			w->data_cap = w->data_cap * 2 + (8u << 20);
			grown = realloc(w->data, w->data_cap);
			if (!grown) {
				err_set(w->e, "out of memory");
				goto out;
			}
			w->data = grown;
		}
		n = ZSTD_compressCCtx(zc, w->data + w->data_len, w->data_cap - w->data_len, raw, len,
				      ZSTD_LEVEL);
		if (ZSTD_isError(n)) {
			err_set(w->e, "%s: zstd: %s", w->name, ZSTD_getErrorName(n));
			goto out;
		}
		if (n >= len) {
			memcpy(w->data + w->data_len, raw, len);
			n = len;
		}
		c->off = w->data_len; /* made absolute when the layout is known */
		c->len = n;
		c->raw_len = len;
		w->data_len += n;
		done += len;
		if (w->parts->progress)
			w->parts->progress(done, r->size);
	}
	ret = 0;
out:
	ZSTD_freeCCtx(zc);
	free(raw);
	return ret;
}

static int read_libos(struct writer *w)
{
	GElf_Ehdr h;
	size_t n;

	w->libos = elf_memory((char *)w->parts->libos, w->parts->libos_len);
	if (!w->libos || elf_kind(w->libos) != ELF_K_ELF || elf_getphdrnum(w->libos, &n) ||
	    !gelf_getehdr(w->libos, &h))
		return elf_failed(w, "the libOS is no ELF file");
	w->entry = h.e_entry;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(w->libos, i, &p))
			return elf_failed(w, "the libOS is damaged");
		if (p.p_type != PT_LOAD || !p.p_memsz)
			continue;
		if (w->nr_loads == JSTORE_MAX_SEGMENTS ||
		    !range_inside(p.p_offset, p.p_filesz, w->parts->libos_len))
			return err_set(w->e, "the libOS has too many or damaged segments");
		w->loads[w->nr_loads++] = p;
	}
	return 0;
}

static uint32_t name_offset(const char *name)
{
	const char *s = section_names;

	while (strcmp(s, name))
		s += strlen(s) + 1;
	return s - section_names;
}

struct section {
	const char *name;
	uint32_t type;
	uint64_t flags, addr, off, len, align, entsize;
	const void *bytes; /* NULL: zeroes are written, or nothing for SHT_NOBITS */
	Elf_Type elf_type;
};

static int add_section(struct writer *w, const struct section *s, size_t *index)
{
	Elf_Scn *scn = elf_newscn(w->elf);
	Elf_Data *d = scn ? elf_newdata(scn) : NULL;
	GElf_Shdr sh;

	if (!d || !gelf_getshdr(scn, &sh))
		return elf_failed(w, "cannot make a section");
	sh.sh_name = name_offset(s->name);
	sh.sh_type = s->type;
	sh.sh_flags = s->flags;
	sh.sh_addr = s->addr;
	sh.sh_offset = s->off;
	sh.sh_size = s->len;
	sh.sh_addralign = s->align;
	sh.sh_entsize = s->entsize;
	d->d_buf = (void *)s->bytes;
	d->d_size = s->len;
	d->d_align = s->align;
	d->d_type = s->elf_type;
	d->d_version = EV_CURRENT;
	if (!gelf_update_shdr(scn, &sh))
		return elf_failed(w, "cannot set a section header");
	if (index)
		*index = elf_ndxscn(scn);
	return 0;
}

/* A page-aligned section of plain bytes behind all others. */
static int add_part(struct writer *w, const char *name, const void *bytes, uint64_t len,
		    struct jimg_range *range)
{
	struct section s = {.name = name, .type = SHT_PROGBITS, .off = page_up(w->off), .len = len,
			    .align = JUNCTION_PAGE_SIZE, .bytes = bytes, .elf_type = ELF_T_BYTE};

	if (range)
		*range = (struct jimg_range){s.off, s.len};
	w->off = s.off + len;
	return add_section(w, &s, NULL);
}

static const char *segment_name(const GElf_Phdr *p, bool first_text)
{
	if (p->p_flags & PF_W)
		return ".libos.data";
	if (p->p_flags & PF_X)
		return first_text ? ".libos.text" : ".libos.vdso";
	return ".libos.rodata";
}

static int add_segments(struct writer *w)
{
	bool text_seen = false;

	for (size_t i = 0; i < w->nr_loads; i++) {
		GElf_Phdr *p = &w->loads[i];
		struct section s = {.name = segment_name(p, !text_seen), .type = SHT_PROGBITS,
				    .flags = SHF_ALLOC, .addr = p->p_vaddr, .off = page_up(w->off),
				    .len = p->p_filesz, .align = JUNCTION_PAGE_SIZE,
				    .bytes = (const char *)w->parts->libos + p->p_offset,
				    .elf_type = ELF_T_BYTE};

		if (p->p_flags & PF_X) {
			s.flags |= SHF_EXECINSTR;
			text_seen = true;
		}
		if (p->p_flags & PF_W)
			s.flags |= SHF_WRITE;
		w->off = s.off + s.len;
		p->p_offset = s.off;
		p->p_paddr = p->p_vaddr;
		p->p_align = JUNCTION_PAGE_SIZE;
		if (p->p_filesz && add_section(w, &s, NULL))
			return -1;
		if (p->p_memsz > p->p_filesz) {
			s.name = ".libos.bss";
			s.type = SHT_NOBITS;
			s.addr = p->p_vaddr + p->p_filesz;
			s.off += p->p_filesz;
			s.len = p->p_memsz - p->p_filesz;
			s.align = 1;
			s.bytes = NULL;
			if (add_section(w, &s, NULL))
				return -1;
		}
	}
	return 0;
}

/* The note holds struct jimg_header, which is written when the seal is known. */
static int add_note(struct writer *w, uint8_t *bytes, size_t len)
{
	struct section s = {.name = ".note.junction", .type = SHT_NOTE, .off = JIMG_NOTE_OFFSET, .len = len,
			    .align = 4, .bytes = bytes, .elf_type = ELF_T_BYTE};
	GElf_Nhdr n = {sizeof(JIMG_NOTE_NAME), sizeof(struct jimg_header), JIMG_NOTE_TYPE};

	memcpy(bytes, &n, sizeof(n));
	memcpy(bytes + sizeof(n), JIMG_NOTE_NAME, sizeof(JIMG_NOTE_NAME));
	memcpy(bytes + JIMG_HEADER_OFFSET - JIMG_NOTE_OFFSET, &w->header, sizeof(w->header));
	return add_section(w, &s, NULL);
}

static int add_program_headers(struct writer *w)
{
	GElf_Phdr note = {.p_type = PT_NOTE, .p_flags = PF_R, .p_offset = JIMG_NOTE_OFFSET, .p_align = 4};
	GElf_Phdr stack = {.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W, .p_align = 16};
	int n = w->nr_loads;

	note.p_filesz = note.p_memsz = JIMG_HEADER_OFFSET - JIMG_NOTE_OFFSET + sizeof(struct jimg_header);
	if (!gelf_newphdr(w->elf, n + 2))
		return elf_failed(w, "cannot make program headers");
	for (int i = 0; i < n; i++)
		if (!gelf_update_phdr(w->elf, i, &w->loads[i]))
			return elf_failed(w, "cannot set a program header");
	if (!gelf_update_phdr(w->elf, n, &note) || !gelf_update_phdr(w->elf, n + 1, &stack))
		return elf_failed(w, "cannot set a program header");
	return 0;
}

static int set_elf_header(struct writer *w, uint64_t shoff, size_t shstrndx)
{
	GElf_Ehdr h;

	if (!gelf_getehdr(w->elf, &h))
		return elf_failed(w, "cannot get the ELF header");
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_type = ET_EXEC;
	h.e_machine = EM_X86_64;
	h.e_version = EV_CURRENT;
	h.e_entry = w->entry;
	h.e_phoff = sizeof(Elf64_Ehdr);
	h.e_shoff = shoff;
	h.e_shstrndx = shstrndx;
	if (!gelf_update_ehdr(w->elf, &h))
		return elf_failed(w, "cannot set the ELF header");
	return 0;
}

/* Everything but header and seal. The caller frees *tree when libelf is done with it. */
static int write_elf(struct writer *w, int fd, uint8_t *note, size_t note_len, void **tree)
{
	const struct image_parts *p = w->parts;
	struct jimg_header *h = &w->header;
	struct section strtab = {.name = ".shstrtab", .type = SHT_STRTAB, .align = 1, .bytes = section_names,
				 .len = sizeof(section_names), .elf_type = ELF_T_BYTE};
	size_t shstrndx, nr;
	uint64_t shoff;

	w->elf = elf_begin(fd, ELF_C_WRITE, NULL);
	if (!w->elf || !gelf_newehdr(w->elf, ELFCLASS64))
		return elf_failed(w, "cannot begin");
	elf_flagelf(w->elf, ELF_C_SET, ELF_F_LAYOUT);
	w->off = JUNCTION_PAGE_SIZE;
	if (add_note(w, note, note_len) || add_segments(w) ||
	    add_part(w, ".junction.manifest", p->manifest, p->manifest_len, &h->manifest) ||
	    add_part(w, ".junction.record", p->record, p->record_len, &h->record) ||
	    add_part(w, ".junction.chunks", w->chunks, w->nr_chunks * sizeof(*w->chunks), &h->chunks) ||
	    add_part(w, ".junction.data", w->data, w->data_len, &h->data))
		return -1;
	for (uint64_t i = 0; i < w->nr_chunks; i++)
		w->chunks[i].off += h->data.off;

	/* Section names and headers stand before the tree, so that it covers them. */
	strtab.off = w->off;
	if (add_section(w, &strtab, &shstrndx) || elf_getshdrnum(w->elf, &nr))
		return elf_failed(w, "cannot count the sections");
	shoff = (strtab.off + strtab.len + 7) & ~7ull;
	h->tree.off = page_up(shoff + (nr + 1) * sizeof(Elf64_Shdr));
	h->tree.len = (h->tree.off + JIMG_HASH_BLOCK - 1) / JIMG_HASH_BLOCK * JIMG_HASH_LEN;
	h->file_size = h->tree.off + h->tree.len;
	if (h->file_size > JIMG_MAX_FILE)
		return err_set(w->e, "%s: larger than an image may be (%llu bytes); pack fewer files",
			       w->name, JIMG_MAX_FILE);
	*tree = calloc(1, h->tree.len);
	if (!*tree)
		return err_set(w->e, "out of memory");
	w->off = h->tree.off;
	if (add_part(w, ".junction.tree", *tree, h->tree.len, NULL) || add_program_headers(w) ||
	    set_elf_header(w, shoff, shstrndx))
		return -1;
	if (elf_update(w->elf, ELF_C_WRITE) < 0)
		return elf_failed(w, "cannot write");
	return 0;
}

/* Header, tree and root go into the file that libelf wrote. */
static int seal(struct writer *w, int fd)
{
	struct jimg_header *h = &w->header;
	uint8_t *m = mmap(NULL, h->file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (m == MAP_FAILED)
		return err_errno(w->e, "%s: cannot map the new image", w->name);
	memcpy(m + JIMG_HEADER_OFFSET, h, sizeof(*h));
	image_compute_seal(m, h, m + h->tree.off, h->root);
	memcpy(m + JIMG_HEADER_OFFSET, h, sizeof(*h));
	munmap(m, h->file_size);
	return 0;
}

int image_write(int fd, const char *name, const struct image_parts *parts, struct err *e)
{
	struct writer w = {.parts = parts, .name = name, .e = e};
	uint8_t note[JIMG_HEADER_OFFSET - JIMG_NOTE_OFFSET + sizeof(struct jimg_header)] = {0};
	void *tree = NULL;
	int ret = -1;

	elf_version(EV_CURRENT);
	if (sodium_init() < 0)
		return err_set(e, "%s: libsodium does not start", name);
	memcpy(w.header.magic, JIMG_MAGIC, sizeof(w.header.magic));
	w.header.version = JIMG_VERSION;
	w.header.rootfs_size = parts->rootfs->size;
	if (!read_libos(&w) && !compress(&w) && !write_elf(&w, fd, note, sizeof(note), &tree))
		ret = seal(&w, fd);
	elf_end(w.elf);
	elf_end(w.libos);
	free(tree);
	free(w.chunks);
	free(w.data);
	return ret;
}

void image_sign(uint8_t *bytes, const uint8_t *secret_key)
{
	uint8_t msg[IMAGE_SIGNED_LEN];
	struct jimg_header h;

	memcpy(&h, bytes + JIMG_HEADER_OFFSET, sizeof(h));
	image_signed_message(h.root, msg);
	h.flags |= JIMG_SIGNED;
	crypto_sign_ed25519_detached(h.signature, NULL, msg, sizeof(msg), secret_key);
	crypto_sign_ed25519_sk_to_pk(h.public_key, secret_key);
	memcpy(bytes + JIMG_HEADER_OFFSET, &h, sizeof(h));
}
