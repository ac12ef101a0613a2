/*
 * small_image.c - a complete image of a few pages, for tests of the reader and the store.
 */
#include "test/unit/small_image.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/build.h"
#include "builder/image.h"
#include "builder/image_write.h"
#include "libos/abi/layout.h"

static char dir[PATH_MAX];

const char *small_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (!dir[0]) {
		snprintf(dir, sizeof(dir), "%s/jt-unit-XXXXXX", tmp && *tmp ? tmp : "/tmp");
		cr_assert(mkdtemp(dir) != NULL, "mkdtemp %s", dir);
		setenv("JUNCTION_STORE", small_path("store"), 1);
	}
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

void small_cleanup(void)
{
	if (dir[0])
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	dir[0] = 0;
}

const char *small_path(const char *name)
{
	static char path[8][2 * PATH_MAX];
	static int next;
	char *p = path[next++ % 8];

	snprintf(p, sizeof(path[0]), "%s/%s", small_dir(), name);
	return p;
}

const char *small_file(const char *name, const void *bytes, size_t len, unsigned int mode)
{
	const char *p = small_path(name);
	int fd = open(p, O_WRONLY | O_CREAT | O_TRUNC, mode);

	cr_assert(fd >= 0, "open %s", p);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	chmod(p, mode);
	return p;
}

struct tiny {
	Elf64_Ehdr h;
	Elf64_Phdr p[2];
	uint8_t pad[4096 - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
	uint8_t text[64];
	uint8_t pad2[4096 - 64];
	uint8_t data[32];
};

static void tiny_header(Elf64_Ehdr *h, uint64_t entry, int phnum)
{
	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_ident[EI_VERSION] = EV_CURRENT;
	h->e_type = ET_EXEC;
	h->e_machine = EM_X86_64;
	h->e_version = EV_CURRENT;
	h->e_entry = entry;
	h->e_phoff = sizeof(*h);
	h->e_ehsize = sizeof(*h);
	h->e_phentsize = sizeof(Elf64_Phdr);
	h->e_phnum = phnum;
}

static void tiny_libos(struct tiny *t)
{
	memset(t, 0, sizeof(*t));
	tiny_header(&t->h, LIBOS_TEXT_BASE, 2);
	memset(t->text, 0xf4, sizeof(t->text));
	memset(t->data, 0x11, sizeof(t->data));
	t->p[0] = (Elf64_Phdr){PT_LOAD, PF_R | PF_X, offsetof(struct tiny, text), LIBOS_TEXT_BASE, 0,
			       sizeof(t->text), sizeof(t->text), 4096};
	t->p[1] = (Elf64_Phdr){PT_LOAD, PF_R | PF_W, offsetof(struct tiny, data), LIBOS_ARENA_BASE, 0,
			       sizeof(t->data), 8192, 4096};
}

void small_use_libos(struct build_spec *spec)
{
	static struct tiny libos;

	tiny_libos(&libos);
	spec->libos = &libos;
	spec->libos_len = sizeof(libos);
}

const char *small_program(void)
{
	Elf64_Ehdr h = {0};

	tiny_header(&h, 0x400000, 0);
	return small_file("prog", &h, sizeof(h), 0755);
}

static uint8_t *read_back(const char *path, size_t *len)
{
	struct err e = {0};
	struct stat st;
	uint8_t *bytes = read_file(path, &st, len, &e);

	cr_assert(bytes != NULL, "%s", e.text);
	return bytes;
}

uint8_t *small_image(size_t *len)
{
	struct build_spec spec = {0};
	struct err e = {0};
	const char *out = small_path("small.jimg");

	spec.program = format("%s", small_program());
	spec.entry = format("/prog");
	spec.where = format("test");
	small_use_libos(&spec);
	spec_add_file(&spec, spec.program, "/prog", 0, "test");
	free(spec.program);
	spec.program = NULL;
	cr_assert(!build_image(&spec, out, &e), "%s", e.text);
	spec_free(&spec);
	return read_back(out, len);
}

void small_tree(struct tree *t, struct rootfs *r)
{
	struct err e = {0};
	static const char text[] = "some text\n";
	struct node *n;

	cr_assert(!tree_init(t, &e));
	cr_assert(tree_put(t, "/a/b/file", 0644, text, sizeof(text) - 1, &e));
	cr_assert(tree_put(t, "/a/same", 0600, text, sizeof(text) - 1, &e));
	cr_assert(tree_put(t, "/a/empty", 0644, "", 0, &e));
	cr_assert(tree_put(t, "/z", 0755, "other", 5, &e));
	cr_assert(tree_symlink(t, "/link", "a/b", &e));
	cr_assert(tree_mkdir(t, "/dir", 01777, &e));
	n = tree_lookup(t, "/z", true);
	n->file->blob->sites = calloc(2, sizeof(struct jfs_site));
	n->file->blob->nr_sites = 2;
	n->file->blob->sites[0] = (struct jfs_site){1, 2};
	n->file->blob->sites[1] = (struct jfs_site){2, 3};
	cr_assert(!rootfs_init(r, t, 1000000000, &e), "%s", e.text);
}

uint8_t *small_image_of(struct rootfs *r, size_t *len)
{
	static const char *const name[] = {"t"}, *const entry[] = {"/z"}, *const workdir[] = {"/"};
	struct tiny libos;
	struct {
		struct jimg_record r;
		char text[8];
	} rec = {0};
	struct image_parts p = {0};
	struct err e = {0};
	const char *out = small_path("parts.jimg");
	int fd = open(out, O_RDWR | O_CREAT | O_TRUNC, 0600);

	tiny_libos(&libos);
	rec.r.magic = JREC_MAGIC;
	rec.r.size = sizeof(rec.r) + 7;
	rec.r.name = (struct jrec_strings){sizeof(rec.r), 1};
	rec.r.entry = (struct jrec_strings){sizeof(rec.r) + 2, 1};
	rec.r.workdir = (struct jrec_strings){sizeof(rec.r) + 5, 1};
	rec.r.args = rec.r.env = (struct jrec_strings){sizeof(rec.r) + 7, 0};
	strcpy(rec.text, name[0]);
	strcpy(rec.text + 2, entry[0]);
	strcpy(rec.text + 5, workdir[0]);
	p.libos = &libos;
	p.libos_len = sizeof(libos);
	p.manifest = "{}";
	p.manifest_len = 2;
	p.record = &rec;
	p.record_len = rec.r.size;
	p.rootfs = r;
	cr_assert(fd >= 0);
	cr_assert(!image_write(fd, out, &p, &e), "%s", e.text);
	close(fd);
	return read_back(out, len);
}

void small_reseal(uint8_t *bytes)
{
	struct jimg_header h;

	memcpy(&h, bytes + JIMG_HEADER_OFFSET, sizeof(h));
	image_compute_seal(bytes, &h, bytes + h.tree.off, h.root);
	memcpy(bytes + JIMG_HEADER_OFFSET, &h, sizeof(h));
}
