/*
 * test_image.c - the image reader against damaged and hostile images.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "builder/image.h"
#include "builder/image_write.h"
#include "libos/abi/layout.h"
#include "test/unit/small_image.h"

static uint8_t *bytes;
static size_t len;

static void setup(void)
{
	bytes = small_image(&len);
}

static void teardown(void)
{
	free(bytes);
	small_cleanup();
}

TestSuite(image, .init = setup, .fini = teardown, .timeout = 300);

/* Reads everything there is to read; returns 0 if the image is accepted. */
static int read_all(const uint8_t *b, size_t n, struct err *e)
{
	struct image img;
	int ret;

	memset(e, 0, sizeof(*e));
	ret = image_parse(b, n, "x.jimg", &img, e);
	if (!ret)
		ret = image_check_content(&img, e);
	return ret;
}

static void refused(const uint8_t *b, size_t n, const char *what)
{
	struct err e;

	cr_assert(read_all(b, n, &e), "accepted: %s", what);
	cr_assert(!strncmp(e.text, "x.jimg: ", 8) && e.text[8] && !strchr(e.text, '\n'),
		  "%s: no clear line but \"%s\"", what, e.text);
}

static struct jimg_header *header(void)
{
	return (struct jimg_header *)(bytes + JIMG_HEADER_OFFSET);
}

Test(image, good)
{
	struct err e;

	cr_assert(!read_all(bytes, len, &e), "%s", e.text);
}

Test(image, any_bit_flipped)
{
	struct image img;
	struct err e;

	for (size_t i = 0; i < len * 8; i++) {
		bytes[i / 8] ^= 1u << (i % 8);
		e.text[0] = 0;
		if (!image_parse(bytes, len, "x.jimg", &img, &e) || strchr(e.text, '\n') || !e.text[0])
			cr_assert_fail("byte %zu bit %zu flipped: \"%s\"", i / 8, i % 8, e.text);
		bytes[i / 8] ^= 1u << (i % 8);
	}
}

Test(image, any_bit_of_header_flipped_when_signed)
{
	uint8_t pub[32], sec[64];
	struct image img;
	struct err e;

	crypto_sign_ed25519_keypair(pub, sec);
	image_sign(bytes, sec);
	cr_assert(!read_all(bytes, len, &e), "%s", e.text);
	for (size_t i = 0; i < (JIMG_HEADER_OFFSET + sizeof(struct jimg_header)) * 8; i++) {
		bytes[i / 8] ^= 1u << (i % 8);
		e.text[0] = 0;
		if (!image_parse(bytes, len, "x.jimg", &img, &e) || !e.text[0])
			cr_assert_fail("byte %zu bit %zu flipped", i / 8, i % 8);
		bytes[i / 8] ^= 1u << (i % 8);
	}
}

Test(image, truncated_anywhere)
{
	uint8_t *copy;

	for (size_t n = 0; n < len; n++) {
		/* A copy of just that size, so that a sanitizer sees a read behind it. */
		copy = malloc(n + 1);
		memcpy(copy, bytes, n);
		refused(copy, n, "truncated");
		free(copy);
	}
}

Test(image, longer_than_it_says)
{
	uint8_t *longer = calloc(1, len + 1);

	memcpy(longer, bytes, len);
	refused(longer, len + 1, "one byte more");
	free(longer);
}

Test(image, signature)
{
	uint8_t pub[32], sec[64], other[32];
	struct image img;
	struct err e = {0};

	crypto_sign_ed25519_keypair(other, sec);
	crypto_sign_ed25519_keypair(pub, sec);
	cr_assert(!image_parse(bytes, len, "x.jimg", &img, &e));
	cr_assert(image_check_key(&img, pub, &e) && strstr(e.text, "not signed"), "%s", e.text);
	image_sign(bytes, sec);
	e.text[0] = 0;
	cr_assert(!image_parse(bytes, len, "x.jimg", &img, &e), "%s", e.text);
	cr_assert(!image_check_key(&img, pub, &e), "%s", e.text);
	cr_assert(image_check_key(&img, other, &e) && strstr(e.text, "another key"), "%s", e.text);
	/* The key of another beside our signature, and a changed content under an old signature. */
	memcpy(header()->public_key, other, sizeof(other));
	refused(bytes, len, "another public key");
	memcpy(header()->public_key, pub, sizeof(pub));
	bytes[header()->manifest.off] ^= 1;
	small_reseal(bytes);
	refused(bytes, len, "resealed under an old signature");
}

/* Each of these is sealed anew, so that only the check in question can refuse it. */
#define HOSTILE(what, change) do { \
	uint8_t *saved = malloc(len); \
	memcpy(saved, bytes, len); \
	change; \
	small_reseal(bytes); \
	refused(bytes, len, what); \
	memcpy(bytes, saved, len); \
	free(saved); \
} while (0)

Test(image, ranges)
{
	struct jimg_range *const parts[] = {&header()->manifest, &header()->record, &header()->chunks,
					    &header()->data};
	static const uint64_t values[] = {0, 1, 4095, 4096, 1ull << 32, 1ull << 63, ~0ull, ~0ull - 4095,
					  ~0ull << 12};

	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
			HOSTILE("offset of a part", parts[i]->off = values[k]);
			if (i) /* a manifest of any length is only bad JSON */
				HOSTILE("length of a part", parts[i]->len = values[k]);
		}
	HOSTILE("two parts at one place", header()->record.off = header()->manifest.off);
	HOSTILE("a part over the next", header()->record.len += 4096);
	HOSTILE("a part over the segments", header()->manifest.off = 4096);
	HOSTILE("reserved bytes", header()->reserved[5] = 1);
	HOSTILE("no root file system", header()->rootfs_size = 0);
	HOSTILE("a huge root file system", header()->rootfs_size = JIMG_MAX_ROOTFS + 4096);
	HOSTILE("a larger root file system", header()->rootfs_size += JIMG_CHUNK_SIZE);
	HOSTILE("a crooked root file system", header()->rootfs_size += 1);
}

Test(image, chunks)
{
	struct jimg_chunk *c = (struct jimg_chunk *)(bytes + header()->chunks.off);

	HOSTILE("raw length", c->raw_len = 0xffffffff);
	HOSTILE("raw length", c->raw_len -= 4096);
	HOSTILE("length", c->len = 0xffffffff);
	HOSTILE("length", c->len = 0);
	HOSTILE("length", c->len -= 1);
	HOSTILE("offset", c->off = ~0ull - 16);
	HOSTILE("offset", c->off += 1);
	HOSTILE("a frame that is none", memset(bytes + c->off, 0xa5, c->len));
	/* The frame header's content size says 4 GiB. */
	HOSTILE("a frame that says it is huge", memcpy(bytes + c->off, "\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff", 9));
}

Test(image, elf_header)
{
	Elf64_Ehdr *h = (Elf64_Ehdr *)bytes;
	Elf64_Phdr *p = (Elf64_Phdr *)(bytes + sizeof(*h));

	HOSTILE("class", h->e_ident[EI_CLASS] = ELFCLASS32);
	HOSTILE("machine", h->e_machine = EM_386);
	HOSTILE("type", h->e_type = ET_DYN);
	HOSTILE("program header offset", h->e_phoff = ~0ull);
	HOSTILE("program header size", h->e_phentsize = 1);
	HOSTILE("program header count", h->e_phnum = 0xffff);
	HOSTILE("no program headers", h->e_phnum = 0);
	HOSTILE("section header offset", h->e_shoff = ~0ull - 7);
	HOSTILE("section header offset", h->e_shoff = len - 8);
	HOSTILE("section header offset", h->e_shoff = 0);
	HOSTILE("section header count", h->e_shnum = 0xffff);
	HOSTILE("section name index", h->e_shstrndx = 0xffff);
	HOSTILE("entry in the data", h->e_entry = LIBOS_ARENA_BASE);
	HOSTILE("entry nowhere", h->e_entry = 0);
	HOSTILE("segment offset", p[0].p_offset = ~0ull << 12);
	HOSTILE("segment offset", p[0].p_offset = 0);
	HOSTILE("segment size", p[0].p_filesz = p[0].p_memsz = ~0ull);
	HOSTILE("segment size", p[1].p_memsz = ~0ull);
	HOSTILE("segment size", p[1].p_memsz = LIBOS_ARENA_MAX + 1);
	HOSTILE("segment size", p[1].p_filesz = p[1].p_memsz + 1);
	HOSTILE("segment address", p[0].p_vaddr = p[0].p_paddr = 0x400000);
	HOSTILE("segment address", p[0].p_vaddr = p[0].p_paddr = LIBOS_ROOTFS_BASE);
	HOSTILE("segment address", p[1].p_vaddr = p[1].p_paddr = LIBOS_TEXT_BASE);
	HOSTILE("segment address", p[1].p_vaddr = p[1].p_paddr = LIBOS_CONTROL_BASE);
	HOSTILE("writable text", p[0].p_flags |= PF_W);
	HOSTILE("executable data", p[1].p_flags |= PF_X);
	HOSTILE("unreadable text", p[0].p_flags = PF_X);
	HOSTILE("one segment twice", p[1] = p[0]);
	HOSTILE("a program header of another type", p[1].p_type = PT_INTERP);
	HOSTILE("no note", p[2].p_type = PT_GNU_STACK);
	HOSTILE("the note elsewhere", p[2].p_offset += 4);
	HOSTILE("an executable stack", p[3].p_flags |= PF_X);
}

Test(image, section_headers)
{
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)bytes;
	Elf64_Shdr *s = (Elf64_Shdr *)(bytes + h->e_shoff);

	for (int i = 1; i < h->e_shnum; i++) {
		if (s[i].sh_type == SHT_NOBITS)
			continue;
		HOSTILE("section offset", s[i].sh_offset = ~0ull);
		HOSTILE("section size", s[i].sh_size = ~0ull);
		if (i > 1 && s[i - 1].sh_type != SHT_NOBITS)
			HOSTILE("a section over the one before", s[i].sh_offset = s[i - 1].sh_offset);
	}
}

Test(image, record)
{
	struct jimg_record *r = (struct jimg_record *)(bytes + header()->record.off);
	char *s = (char *)r;

	HOSTILE("magic", r->magic++);
	HOSTILE("size", r->size++);
	HOSTILE("entry offset", r->entry.off = 0xffffffff);
	HOSTILE("entry offset", r->entry.off = 0);
	HOSTILE("args count", r->args.count = 0xffffffff);
	HOSTILE("two entries", r->entry.count = 2);
	HOSTILE("no workdir", r->workdir.count = 0);
	HOSTILE("unterminated", memset(s + sizeof(*r), 'x', r->size - sizeof(*r)));
	HOSTILE("a relative entry", s[r->entry.off] = 'x');
	HOSTILE("an entry with ..", memcpy(s + r->entry.off, "/../x", 5));
	HOSTILE("a number of ports", r->nr_ports = 0xffffffff);
	HOSTILE("port 0", r->nr_ports = 1);
	HOSTILE("cores", r->max_cores = 65);
	HOSTILE("uid", r->uid = 0xffffffff);
	HOSTILE("reserved", r->reserved[3] = 1);
	HOSTILE("another entry than the manifest's", s[r->entry.off + 1] = 'q');
	HOSTILE("another user than the manifest's", r->uid = 7);
	HOSTILE("another limit than the manifest's", r->memory_limit = 7);
}

static void replace(const char *from, const char *to)
{
	uint8_t *at = memmem(bytes + header()->manifest.off, header()->manifest.len, from, strlen(from));

	cr_assert(at != NULL, "%s not in the manifest", from);
	memcpy(at, to, strlen(to));
}

Test(image, manifest)
{
	HOSTILE("no JSON", bytes[header()->manifest.off] = 'x');
	HOSTILE("no object", memset(bytes + header()->manifest.off, '1', header()->manifest.len));
	HOSTILE("deep nesting", memset(bytes + header()->manifest.off, '[', header()->manifest.len));
	HOSTILE("another mode", replace("0755", "4755"));
	HOSTILE("another path", replace("/etc/passwd", "/etc/passwx"));
	HOSTILE("another size", replace("\"size\": 64,", "\"size\": 65,"));
	HOSTILE("sites that do not add up", replace("\"sites_left\": 0", "\"sites_left\": 1"));
	HOSTILE("a negative count", replace("\"sites_found\": 0", "\"sites_found\":-1"));
}

Test(image, unpack)
{
	const struct jstore_header *h;
	struct image img;
	struct err e = {0};
	int fd = memfd_create("t", 0);

	cr_assert(!image_parse(bytes, len, "x.jimg", &img, &e));
	cr_assert(!image_unpack(&img, fd, &e), "%s", e.text);
	h = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_eq(h->magic, JSTORE_MAGIC);
	cr_assert_eq((off_t)h->file_size, lseek(fd, 0, SEEK_END));
	cr_assert_eq(h->entry, LIBOS_TEXT_BASE);
	cr_assert_eq(h->nr_segments, 2);
	cr_assert_eq(h->segments[1].vaddr, LIBOS_ARENA_BASE);
	cr_assert_eq(h->segments[1].mem_len, 8192);
	cr_assert_eq(h->rootfs.len, img.header.rootfs_size);
	cr_assert(!memcmp(h->root, img.header.root, sizeof(h->root)));
}

Test(image, no_program_is_taken_for_an_image)
{
	const char *path = small_program();
	struct image img;
	struct err e = {0};

	cr_assert(image_open(path, &img, &e) && strstr(e.text, "not a Junction image"), "%s", e.text);
	e.text[0] = 0;
	cr_assert(image_open(small_dir(), &img, &e) && strstr(e.text, "not a regular file"), "%s", e.text);
	e.text[0] = 0;
	cr_assert(image_open("/nonexistent", &img, &e) && strstr(e.text, "No such file"), "%s", e.text);
}

Test(image, reproducible)
{
	size_t again_len;
	uint8_t *again = small_image(&again_len);

	cr_assert_eq(len, again_len);
	cr_assert(!memcmp(bytes, again, len));
	free(again);
}
