/*
 * image.c - reading sealed images: layout, libOS segments, chunks.
 *
 * The order in the file is fixed, which is also what makes overlap impossible: page 0 (ELF header,
 * program headers, note with struct jimg_header), libOS segments, manifest, record, chunk table, data,
 * section headers, hash tree.
 */
#include "builder/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "builder/checked.h"
#include "builder/image_int.h"

static int bad(const struct image *img, struct err *e, const char *what)
{
	return err_set(e, "%s: malformed image: %s; rebuild it", img->name, what);
}

/* One PT_LOAD: `end` is where the previous one ended in the file, `vend` in the address space. */
static int check_load(struct image *img, const Elf64_Phdr *p, uint64_t *end, uint64_t *vend,
		      struct err *e)
{
	struct jstore_segment *s;
	uint64_t vlimit;

	if (img->nr_segments == JSTORE_MAX_SEGMENTS)
		return bad(img, e, "too many libOS segments");
	if (!page_aligned(p->p_vaddr) || !page_aligned(p->p_offset) || p->p_align != JUNCTION_PAGE_SIZE ||
	    p->p_paddr != p->p_vaddr)
		return bad(img, e, "a libOS segment is not page-aligned");
	if (p->p_offset < *end || !range_inside(p->p_offset, p->p_filesz, img->size))
		return bad(img, e, "a libOS segment overlaps another part or leaves the file");
	if (p->p_memsz == 0 || p->p_filesz > p->p_memsz || p->p_vaddr < *vend ||
	    !range_inside(p->p_vaddr, p->p_memsz, LIBOS_WINDOW_END))
		return bad(img, e, "a libOS segment lies outside the libOS window or over another one");
	if ((p->p_flags & ~(PF_R | PF_W | PF_X)) || !(p->p_flags & PF_R) ||
	    ((p->p_flags & PF_W) && (p->p_flags & PF_X)))
		return bad(img, e, "a libOS segment is both writable and executable or not readable");
	/* Text and rodata stand below the arena, the one writable segment at its start. */
	vlimit = LIBOS_ARENA_BASE;
	if (p->p_flags & PF_W)
		vlimit = LIBOS_ARENA_BASE + LIBOS_ARENA_MAX;
	if (p->p_vaddr + p->p_memsz > vlimit ||
	    ((p->p_flags & PF_W) && p->p_vaddr != LIBOS_ARENA_BASE) ||
	    (!(p->p_flags & PF_W) && p->p_memsz != p->p_filesz))
		return bad(img, e, "a libOS segment is not where the address space layout puts it");
	s = &img->segments[img->nr_segments++];
	s->vaddr = p->p_vaddr;
	s->off = p->p_offset;
	s->file_len = p->p_filesz;
	s->mem_len = p->p_memsz;
	s->flags = p->p_flags;
	*end = p->p_offset + p->p_filesz;
	*vend = page_up(p->p_vaddr + p->p_memsz);
	return 0;
}

static bool entry_executable(const struct image *img)
{
	for (uint32_t i = 0; i < img->nr_segments; i++) {
		const struct jstore_segment *s = &img->segments[i];

		if ((s->flags & PF_X) && img->entry >= s->vaddr && img->entry - s->vaddr < s->file_len)
			return true;
	}
	return false;
}

static int check_note(const struct image *img, const Elf64_Phdr *p, struct err *e)
{
	const Elf64_Nhdr want = {sizeof(JIMG_NOTE_NAME), sizeof(struct jimg_header), JIMG_NOTE_TYPE};
	char name[12] = JIMG_NOTE_NAME;

	if (p->p_offset != JIMG_NOTE_OFFSET ||
	    p->p_filesz != JIMG_HEADER_OFFSET - JIMG_NOTE_OFFSET + sizeof(struct jimg_header) ||
	    p->p_memsz != p->p_filesz ||
	    memcmp(img->bytes + JIMG_NOTE_OFFSET, &want, sizeof(want)) ||
	    memcmp(img->bytes + JIMG_NOTE_OFFSET + sizeof(want), name, sizeof(name)))
		return bad(img, e, "the note is not the image header");
	return 0;
}

/* ELF header and program headers: fills segments and entry; *end is where the last segment ends. */
static int check_elf(struct image *img, uint64_t *end, struct err *e)
{
	uint64_t vend = LIBOS_TEXT_BASE;
	unsigned int notes = 0;
	Elf64_Ehdr h;

	memcpy(&h, img->bytes, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_ident[EI_VERSION] != EV_CURRENT ||
	    h.e_type != ET_EXEC || h.e_machine != EM_X86_64 || h.e_version != EV_CURRENT ||
	    h.e_ehsize != sizeof(h) || h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phoff != sizeof(h) ||
	    h.e_phnum < 2 || h.e_phnum > JIMG_MAX_PHDRS || h.e_shentsize != sizeof(Elf64_Shdr) ||
	    h.e_shnum < 2 || h.e_shnum > JIMG_MAX_SHDRS || h.e_shstrndx >= h.e_shnum)
		return bad(img, e, "not the ELF header of an image");
	img->entry = h.e_entry;
	*end = JUNCTION_PAGE_SIZE;
	for (unsigned int i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr p;

		memcpy(&p, img->bytes + h.e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type == PT_LOAD) {
			if (check_load(img, &p, end, &vend, e))
				return -1;
		} else if (p.p_type == PT_NOTE) {
			notes++;
			if (check_note(img, &p, e))
				return -1;
		} else if (p.p_type != PT_GNU_STACK || p.p_flags != (PF_R | PF_W)) {
			return bad(img, e, "a program header of a type that an image does not have");
		}
	}
	if (!img->nr_segments || notes != 1)
		return bad(img, e, "no libOS segment or not exactly one note");
	if (!entry_executable(img))
		return bad(img, e, "the entry point is not in the text of the libOS");
	return 0;
}

/* Section headers serve readelf and objdump only, yet they may not lie: inside the file, in order. */
static int check_sections(const struct image *img, uint64_t data_end, struct err *e)
{
	uint64_t end = 0, table_end;
	Elf64_Ehdr h;

	memcpy(&h, img->bytes, sizeof(h));
	if (h.e_shoff < data_end || (h.e_shoff & 7) ||
	    !table_inside(h.e_shoff, h.e_shnum, sizeof(Elf64_Shdr), img->header.tree.off))
		return bad(img, e, "the section headers overlap another part or leave the file");
	table_end = h.e_shoff + h.e_shnum * sizeof(Elf64_Shdr);
	for (unsigned int i = 1; i < h.e_shnum; i++) {
		Elf64_Shdr s;

		memcpy(&s, img->bytes + h.e_shoff + i * sizeof(s), sizeof(s));
		if (s.sh_type == SHT_NOBITS)
			continue;
		if (s.sh_offset < end || !range_inside(s.sh_offset, s.sh_size, img->size) ||
		    (s.sh_offset < table_end && s.sh_offset + s.sh_size > h.e_shoff))
			return bad(img, e, "sections overlap or leave the file");
		end = s.sh_offset + s.sh_size;
	}
	return 0;
}

/* The four ranges of the header: in order, disjoint, before the tree. */
static int check_ranges(struct image *img, uint64_t end, uint64_t *data_end, struct err *e)
{
	const struct jimg_header *h = &img->header;
	const struct jimg_range *r[] = {&h->manifest, &h->record, &h->chunks, &h->data};

	for (unsigned int i = 0; i < 4; i++) {
		if (r[i]->off < end || !page_aligned(r[i]->off) ||
		    !range_inside(r[i]->off, r[i]->len, h->tree.off))
			return bad(img, e, "parts overlap or leave the file");
		end = r[i]->off + r[i]->len;
	}
	if (!page_aligned(h->tree.off))
		return bad(img, e, "the hash tree is not page-aligned");
	if (!all_zero(h->reserved, sizeof(h->reserved)))
		return bad(img, e, "reserved bytes of the header are not zero");
	*data_end = end;
	return 0;
}

/* Chunks tile the data one behind the other and unpack to exactly rootfs_size bytes. */
static int check_chunks(struct image *img, struct err *e)
{
	const struct jimg_header *h = &img->header;
	uint64_t off = h->data.off;

	if (!h->rootfs_size || !page_aligned(h->rootfs_size) || h->rootfs_size > JIMG_MAX_ROOTFS)
		return bad(img, e, "the size of the root file system is out of bounds");
	img->nr_chunks = (h->rootfs_size + JIMG_CHUNK_SIZE - 1) / JIMG_CHUNK_SIZE;
	if (h->chunks.len != img->nr_chunks * sizeof(struct jimg_chunk))
		return bad(img, e, "the chunk table has not one entry for each chunk");
	img->chunks = (const struct jimg_chunk *)(img->bytes + h->chunks.off);
	for (uint64_t i = 0; i < img->nr_chunks; i++) {
		const struct jimg_chunk *c = &img->chunks[i];

		if (c->off != off || !c->len || c->raw_len != image_chunk_size(img, i) ||
		    c->len > c->raw_len || !range_inside(c->off, c->len, h->data.off + h->data.len))
			return err_set(e, "%s: malformed image: chunk %llu of %llu is oversized or out of "
					  "place; rebuild it", img->name, (unsigned long long)i + 1,
				       (unsigned long long)img->nr_chunks);
		off += c->len;
	}
	if (off != h->data.off + h->data.len)
		return bad(img, e, "data behind the last chunk");
	return 0;
}

int image_parse(const uint8_t *bytes, uint64_t size, const char *name, struct image *img, struct err *e)
{
	uint64_t end = 0, data_end = 0;

	memset(img, 0, sizeof(*img));
	img->name = name;
	img->bytes = bytes;
	img->size = size;
	if (sodium_init() < 0)
		return err_set(e, "%s: libsodium does not start", name);
	if (image_check_seal(bytes, size, name, &img->header, e) || check_elf(img, &end, e) ||
	    check_ranges(img, end, &data_end, e) || check_sections(img, data_end, e) ||
	    check_chunks(img, e))
		return -1;
	img->record = (const struct jimg_record *)(bytes + img->header.record.off);
	return record_check(img->record, img->header.record.len, name, e);
}

int image_open_fd(int fd, const char *name, struct image *img, struct err *e)
{
	struct stat st;
	uint8_t *bytes;
	uint64_t done = 0;

	if (fstat(fd, &st))
		return err_errno(e, "%s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, "%s: not a regular file; name an image made by junction build", name);
	if (st.st_size <= 0)
		return err_set(e, "%s: empty file, not a Junction image; make one with junction build", name);
	if ((uint64_t)st.st_size > JIMG_MAX_FILE)
		return err_set(e, "%s: larger than an image may be (%llu bytes)", name,
			       (unsigned long long)JIMG_MAX_FILE);
	bytes = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bytes == MAP_FAILED)
		return err_errno(e, "%s: no memory for %lld bytes", name, (long long)st.st_size);
	madvise(bytes, st.st_size, MADV_HUGEPAGE);
	while (done < (uint64_t)st.st_size) {
		ssize_t n = pread(fd, bytes + done, st.st_size - done, done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n < 0)
				err_errno(e, "%s", name);
			else
				err_set(e, "%s: file shrank while it was read; try again", name);
			munmap(bytes, st.st_size);
			return -1;
		}
		done += n;
	}
	if (image_parse(bytes, st.st_size, name, img, e)) {
		munmap(bytes, st.st_size);
		return -1;
	}
	img->mapped = st.st_size;
	return 0;
}

int image_open(const char *path, struct image *img, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret;

	if (fd < 0)
		return err_errno(e, "%s", path);
	ret = image_open_fd(fd, path, img, e);
	close(fd);
	return ret;
}

void image_close(struct image *img)
{
	if (img->mapped)
		munmap((void *)img->bytes, img->mapped);
	memset(img, 0, sizeof(*img));
}

uint64_t image_chunk_size(const struct image *img, uint64_t i)
{
	uint64_t left = img->header.rootfs_size - i * JIMG_CHUNK_SIZE;

	return left < JIMG_CHUNK_SIZE ? left : JIMG_CHUNK_SIZE;
}

int image_read_chunk(const struct image *img, uint64_t i, uint8_t *dst, struct err *e)
{
	const struct jimg_chunk *c = &img->chunks[i];
	size_t n;

	if (c->len == c->raw_len) {
		memcpy(dst, img->bytes + c->off, c->len);
		return 0;
	}
	/* The frame may say what it likes: zstd writes at most raw_len bytes and reads at most len. */
	n = ZSTD_decompress(dst, c->raw_len, img->bytes + c->off, c->len);
	if (ZSTD_isError(n) || n != c->raw_len)
		return err_set(e, "%s: malformed image: chunk %llu of %llu does not decompress to %u bytes; "
				  "rebuild it", img->name, (unsigned long long)i + 1,
			       (unsigned long long)img->nr_chunks, c->raw_len);
	return 0;
}
