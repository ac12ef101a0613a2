/*
 * ld_cache.c - /etc/ld.so.cache for the libraries of an image.
 *
 * With it ld.so opens each library at once instead of probing a dozen directories, and finds those that
 * stand where only ld.so.conf said. The layout is glibc's own (sysdeps/generic/dl-cache.h), the "new
 * format": header, entries in descending order of _dl_cache_libcmp(), strings.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/build.h"
#include "builder/elf_needs.h"

#define CACHE_MAGIC "glibc-ld.so.cache1.1"
#define FLAG_X86_64_LIBC6 0x0303

struct cache_header {
	char magic[20];
	uint32_t nr;
	uint32_t strings_len;
	uint8_t flags; /* 2: little-endian */
	uint8_t pad[3];
	uint32_t extension_off;
	uint32_t unused[3];
};
_Static_assert(sizeof(struct cache_header) == 48, "glibc's cache_file_new");

struct cache_entry {
	int32_t flags;
	uint32_t key, value; /* strings, from the start of the file */
	uint32_t osversion;
	uint64_t hwcap;
};
_Static_assert(sizeof(struct cache_entry) == 24, "glibc's file_entry_new");

struct lib {
	char *name, *path;
};

struct libs {
	struct lib *v;
	size_t n;
};

/* Runs of digits compare as numbers, else by byte; a digit is larger than any other byte. */
static int libcmp(const char *a, const char *b)
{
	while (*a) {
		bool da = *a >= '0' && *a <= '9', db = *b >= '0' && *b <= '9';

		if (da && db) {
			unsigned long x = strtoul(a, (char **)&a, 10), y = strtoul(b, (char **)&b, 10);

			if (x != y)
				return x < y ? -1 : 1;
		} else if (da) {
			return 1;
		} else if (db) {
			return -1;
		} else if (*a != *b) {
			return (int)*a - (int)*b;
		} else {
			a++;
			b++;
		}
	}
	return (int)*a - (int)*b;
}

static int descending(const void *a, const void *b)
{
	return libcmp(((const struct lib *)b)->name, ((const struct lib *)a)->name);
}

static bool known(const struct libs *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].name, name))
			return true;
	return false;
}

/* A name counts if it leads to a shared object that has it as its soname, as for ldconfig. */
static int add_lib(struct build *b, struct libs *l, const char *dir, const struct node *child,
		   struct err *e)
{
	char path[2 * PATH_MAX];
	struct elf_needs needs;
	struct lib *grown;
	struct node *n;
	uint8_t *bytes;
	bool same;

	if (S_ISDIR(child->mode) || !strstr(child->name, ".so") || known(l, child->name))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", dir, child->name);
	n = tree_lookup(&b->tree, path, true);
	if (!n || !n->file || !n->file->blob->is_elf)
		return 0;
	bytes = blob_read(n->file->blob, e);
	if (!bytes)
		return -1;
	elf_needs_read(bytes, n->file->blob->size, &needs);
	free(bytes);
	same = needs.soname && !strcmp(needs.soname, child->name);
	elf_needs_free(&needs);
	if (!same)
		return 0;
	grown = realloc(l->v, (l->n + 1) * sizeof(*grown));
	if (!grown)
		return err_set(e, "out of memory");
	l->v = grown;
	l->v[l->n++] = (struct lib){format("%s", child->name), format("%s", path)};
	return 0;
}

static int write_cache(struct build *b, struct libs *l, struct err *e)
{
	struct cache_header h = {.magic = CACHE_MAGIC, .nr = l->n, .flags = 2};
	size_t strings = 0, base = sizeof(h) + l->n * sizeof(struct cache_entry), at = base;
	char *out;
	int ret;

	for (size_t i = 0; i < l->n; i++)
		strings += strlen(l->v[i].name) + strlen(l->v[i].path) + 2;
	out = calloc(1, base + strings);
	if (!out)
		return err_set(e, "out of memory");
	h.strings_len = strings;
	memcpy(out, &h, sizeof(h));
	qsort(l->v, l->n, sizeof(*l->v), descending);
	for (size_t i = 0; i < l->n; i++) {
		struct cache_entry en = {.flags = FLAG_X86_64_LIBC6};

		en.key = at;
		strcpy(out + at, l->v[i].name);
		at += strlen(l->v[i].name) + 1;
		en.value = at;
		strcpy(out + at, l->v[i].path);
		at += strlen(l->v[i].path) + 1;
		memcpy(out + sizeof(h) + i * sizeof(en), &en, sizeof(en));
	}
	ret = tree_put(&b->tree, "/etc/ld.so.cache", 0644, out, base + strings, e) ? 0 : -1;
	free(out);
	return ret;
}

int build_ld_cache(struct build *b, struct err *e)
{
	struct libs l = {0};
	int ret = 0;

	if (tree_lookup(&b->tree, "/etc/ld.so.cache", false))
		return 0;
	for (size_t i = 0; i < b->lib_dirs.n && !ret; i++) {
		struct node *dir = tree_lookup(&b->tree, b->lib_dirs.v[i], true);

		for (size_t k = 0; dir && k < dir->nr_children && !ret; k++)
			ret = add_lib(b, &l, b->lib_dirs.v[i], dir->children[k], e);
	}
	if (!ret)
		ret = write_cache(b, &l, e);
	for (size_t i = 0; i < l.n; i++) {
		free(l.v[i].name);
		free(l.v[i].path);
	}
	free(l.v);
	return ret;
}
