/*
 * test_jfs.c - the checks on the root file system's tables.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "builder/image.h"
#include "libos/abi/layout.h"
#include "test/unit/small_image.h"

static struct tree tree;
static struct rootfs fs;
static struct jfs_super *super;
static struct jfs_inode *inodes;
static struct jfs_dirent *dirents;
static struct jfs_site *sites;
static char *names;

static void setup(void)
{
	small_tree(&tree, &fs);
	super = (struct jfs_super *)fs.tables;
	inodes = (struct jfs_inode *)(fs.tables + super->inode_off);
	dirents = (struct jfs_dirent *)(fs.tables + super->dirent_off);
	sites = (struct jfs_site *)(fs.tables + super->site_off);
	names = (char *)fs.tables + super->names_off;
}

static void teardown(void)
{
	rootfs_free(&fs);
	tree_free(&tree);
	small_cleanup();
}

TestSuite(jfs, .init = setup, .fini = teardown, .timeout = 60);

/* The inode of a path of one component below the root. */
static struct jfs_inode *of(const char *name)
{
	for (uint32_t i = 0; i < super->dirent_count; i++)
		if (dirents[i].name_len == strlen(name) &&
		    !memcmp(names + dirents[i].name_off, name, strlen(name)))
			return &inodes[dirents[i].ino];
	cr_assert_fail("%s not there", name);
	return NULL;
}

static struct jfs_dirent *entry(const char *name)
{
	for (uint32_t i = 0; i < super->dirent_count; i++)
		if (dirents[i].name_len == strlen(name) &&
		    !memcmp(names + dirents[i].name_off, name, strlen(name)))
			return &dirents[i];
	cr_assert_fail("%s not there", name);
	return NULL;
}

static uint32_t ino(const char *name)
{
	return entry(name)->ino;
}

#define HOSTILE(change) do { \
	struct err e = {0}; \
	uint8_t *saved = malloc(fs.tables_len); \
	memcpy(saved, fs.tables, fs.tables_len); \
	change; \
	cr_expect(jfs_check(fs.tables, fs.tables_len, fs.size, "x", &e), "accepted: " #change); \
	cr_expect(strstr(e.text, "malformed"), "%s: " #change, e.text); \
	memcpy(fs.tables, saved, fs.tables_len); \
	free(saved); \
} while (0)

Test(jfs, good)
{
	struct err e = {0};

	cr_assert(!jfs_check(fs.tables, fs.tables_len, fs.size, "x", &e), "%s", e.text);
	cr_assert_eq(of("same")->data_off, of("file")->data_off, "equal content is stored once");
	cr_assert_eq(of("z")->site_count, 2);
	cr_assert_eq(super->mtime, 1000000000);
	cr_assert_eq(of("dir")->mode, S_IFDIR | 01777);
	cr_assert(of("empty")->size == 0 && of("empty")->data_off == 0);
}

Test(jfs, super)
{
	HOSTILE(super->magic++);
	HOSTILE(super->size += JUNCTION_PAGE_SIZE);
	HOSTILE(super->inode_count = 0xffffffff);
	HOSTILE(super->inode_count = 1);
	HOSTILE(super->dirent_count = 0xffffffff);
	HOSTILE(super->dirent_count--);
	HOSTILE(super->site_count = 0xffffffff);
	HOSTILE(super->names_len = ~0ull);
	HOSTILE(super->inode_off = ~0ull - 7);
	HOSTILE(super->inode_off = 8);
	HOSTILE(super->dirent_off = super->inode_off);
	HOSTILE(super->dirent_off += 4);
	HOSTILE(super->site_off = super->dirent_off);
	HOSTILE(super->names_off = 0);
	HOSTILE(super->data_off = ~0ull << 12);
	HOSTILE(super->data_off = 0);
	HOSTILE(super->data_off = 112);
	HOSTILE(super->root_ino = 2);
	HOSTILE(super->reserved[0] = 1);
	HOSTILE(super->mtime = ~0ull);
	/* Too short for what it says. */
	for (size_t n = 0; n < fs.tables_len; n++) {
		uint8_t *copy = malloc(n + 1);
		struct err e = {0};

		memcpy(copy, fs.tables, n);
		cr_assert(jfs_check(copy, n, fs.size, "x", &e));
		free(copy);
	}
}

Test(jfs, inodes)
{
	HOSTILE(inodes[0].mode = S_IFREG);
	HOSTILE(inodes[1].mode = S_IFREG | 0644);
	HOSTILE(of("z")->mode = S_IFIFO | 0644);
	HOSTILE(of("z")->mode = S_IFCHR | 0644);
	HOSTILE(of("z")->mode |= 1u << 20);
	HOSTILE(of("z")->nlink = 2);
	HOSTILE(of("z")->uid = 0xffffffff);
	HOSTILE(of("z")->size = ~0ull);
	HOSTILE(of("z")->size = fs.size);
	HOSTILE(of("z")->data_off = 0);
	HOSTILE(of("z")->data_off += 8);
	HOSTILE(of("z")->data_off = ~0ull << 12);
	HOSTILE(of("z")->data_off = fs.size);
	HOSTILE(of("z")->data_off = of("file")->data_off);
	HOSTILE(of("file")->size = 4097);
	HOSTILE(of("z")->parent = 1);
	HOSTILE(of("z")->dirent_count = 1);
	HOSTILE(of("z")->reserved[1] = 1);
	HOSTILE(of("z")->first_site = 0xffffffff);
	HOSTILE(of("z")->site_count = 0xffffffff);
	HOSTILE(sites[0].original = 5);
	HOSTILE(sites[1].trampoline = ~0ull);
	HOSTILE(sites[1].trampoline = sites[0].trampoline);
	HOSTILE(sites[1].original = 0);
	HOSTILE(of("link")->size = 0);
	HOSTILE(of("link")->size = 4096);
	HOSTILE(of("link")->data_off = ~0ull);
	HOSTILE(names[of("link")->data_off] = 0);
	HOSTILE(of("link")->site_count = 1);
	HOSTILE(of("empty")->data_off = 4096);
}

Test(jfs, directories)
{
	HOSTILE(of("a")->first_dirent = 0);
	HOSTILE(of("a")->dirent_count = 0xffffffff);
	HOSTILE(of("a")->dirent_count--);
	HOSTILE(inodes[1].first_dirent = 1);
	HOSTILE(of("a")->parent = 2);
	HOSTILE(of("a")->nlink = 2);
	HOSTILE(of("a")->size = 4096);
	HOSTILE(inodes[1].parent = 2);
	HOSTILE(entry("z")->ino = 0);
	HOSTILE(entry("z")->ino = 0xffffffff);
	HOSTILE(entry("z")->ino = 1; entry("z")->type = DT_DIR);
	HOSTILE(entry("z")->ino = ino("a"); entry("z")->type = DT_DIR);
	HOSTILE(entry("z")->ino = ino("link"));
	HOSTILE(entry("z")->type = DT_DIR);
	HOSTILE(entry("z")->reserved[0] = 1);
	HOSTILE(entry("z")->name_len = 0);
	HOSTILE(entry("z")->name_len = 0xffff);
	HOSTILE(entry("z")->name_off = 0xffffffff);
	HOSTILE(entry("link")->name_len = 256);
	HOSTILE(names[entry("z")->name_off] = '/');
	HOSTILE(names[entry("z")->name_off] = 0);
	HOSTILE(names[entry("z")->name_off] = '.');
	HOSTILE(names[entry("z")->name_off] = '!');
	HOSTILE(struct jfs_dirent *d = entry("link"); memcpy(names + d->name_off, "..", 2); d->name_len = 2);
	HOSTILE(*entry("link") = *entry("dir"));
}

/* A directory that holds its own parent: each named once, yet reachable from nowhere. */
Test(jfs, loop)
{
	uint32_t a = ino("a"), b = ino("b");

	HOSTILE(entry("file")->ino = a; entry("file")->type = DT_DIR; inodes[a].parent = b;
		inodes[b].nlink++; entry("a")->ino = ino("z"); entry("a")->type = DT_REG;
		inodes[1].nlink--; inodes[ino("z")].nlink++);
}

Test(jfs, well_sealed_but_hostile)
{
	struct image img;
	struct err e = {0};
	uint8_t *bytes;
	size_t len;

	names[entry("z")->name_off] = '/';
	bytes = small_image_of(&fs, &len);
	cr_assert(!image_parse(bytes, len, "x", &img, &e), "%s", e.text);
	cr_assert(image_check_content(&img, &e) && strstr(e.text, "not a plain file name"), "%s", e.text);
	free(bytes);
}
