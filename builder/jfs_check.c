/*
 * jfs_check.c - validation of the root file system's tables.
 *
 * The libOS walks these tables without looking twice, so what passes here must be a tree: each
 * directory has one parent, its inode number is larger than its parent's (which rules out loops), each
 * directory entry belongs to one directory, names are plain and sorted, link counts are right, file data
 * lies inside the data area and two files share all of their data or none of it.
 */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "builder/checked.h"
#include "builder/image.h"

struct view {
	const char *name; /* of the image, for messages */
	struct err *e;
	uint64_t size;
	struct jfs_super super;
	const struct jfs_inode *inodes;
	const struct jfs_dirent *dirents;
	const struct jfs_site *sites;
	const char *names;
	uint32_t *links; /* per inode: directory entries that name it */
	uint32_t *depth; /* per directory: bytes of its path */
};

static int bad(const struct view *v, const char *what)
{
	return err_set(v->e, "%s: malformed root file system: %s; rebuild the image", v->name, what);
}

static int bad_ino(const struct view *v, uint32_t ino, const char *what)
{
	return err_set(v->e, "%s: malformed root file system: inode %u: %s; rebuild the image", v->name,
		       ino, what);
}

static int check_super(struct view *v, const uint8_t *fs, uint64_t have)
{
	struct jfs_super *s = &v->super;
	uint64_t end;

	if (have < sizeof(*s))
		return bad(v, "too short");
	memcpy(s, fs, sizeof(*s));
	if (s->magic != JFS_MAGIC || s->size != v->size || !page_aligned(s->size))
		return bad(v, "wrong magic or size");
	if (!all_zero(s->reserved, sizeof(s->reserved)) || s->mtime >> 40)
		return bad(v, "reserved bytes are not zero or the time stamp is out of bounds");
	if (!page_aligned(s->data_off) || s->data_off > v->size || s->data_off > have ||
	    s->data_off > JFS_MAX_TABLES)
		return bad(v, "the data area is out of bounds");
	if ((s->inode_off & 7) || s->inode_off < sizeof(*s) ||
	    !table_inside(s->inode_off, s->inode_count, sizeof(struct jfs_inode), s->data_off))
		return bad(v, "the inode table is out of bounds");
	end = s->inode_off + (uint64_t)s->inode_count * sizeof(struct jfs_inode);
	if ((s->dirent_off & 7) || s->dirent_off < end ||
	    !table_inside(s->dirent_off, s->dirent_count, sizeof(struct jfs_dirent), s->data_off))
		return bad(v, "the directory table is out of bounds");
	end = s->dirent_off + (uint64_t)s->dirent_count * sizeof(struct jfs_dirent);
	if ((s->site_off & 7) || s->site_off < end ||
	    !table_inside(s->site_off, s->site_count, sizeof(struct jfs_site), s->data_off))
		return bad(v, "the site table is out of bounds");
	end = s->site_off + (uint64_t)s->site_count * sizeof(struct jfs_site);
	if (s->names_off < end || !range_inside(s->names_off, s->names_len, s->data_off))
		return bad(v, "the names are out of bounds");
	if (s->inode_count < 2 || s->root_ino != 1)
		return bad(v, "no root directory at inode 1");
	v->inodes = (const struct jfs_inode *)(fs + s->inode_off);
	v->dirents = (const struct jfs_dirent *)(fs + s->dirent_off);
	v->sites = (const struct jfs_site *)(fs + s->site_off);
	v->names = (const char *)(fs + s->names_off);
	return 0;
}

static int check_sites(const struct view *v, uint32_t ino, const struct jfs_inode *in)
{
	const struct jfs_site *s = v->sites + in->first_site;

	if (!table_inside(in->first_site, in->site_count, 1, v->super.site_count))
		return bad_ino(v, ino, "its sites leave the table");
	for (uint32_t i = 0; i < in->site_count; i++)
		if (s[i].original >= in->size || s[i].trampoline >= in->size ||
		    (i && (s[i].trampoline <= s[i - 1].trampoline || s[i].original < s[i - 1].original)))
			return bad_ino(v, ino, "its sites leave the file or are not sorted");
	return 0;
}

static int check_inode(const struct view *v, uint32_t ino, uint32_t *next_dirent)
{
	const struct jfs_inode *in = &v->inodes[ino];

	if (!all_zero(in->reserved, sizeof(in->reserved)) || (in->mode & ~(S_IFMT | 07777)) ||
	    in->uid > INT32_MAX || in->gid > INT32_MAX)
		return bad_ino(v, ino, "reserved bytes, mode or owner out of bounds");
	if (!S_ISDIR(in->mode) && (in->first_dirent || in->dirent_count || in->parent))
		return bad_ino(v, ino, "directory fields in what is no directory");
	if (!S_ISREG(in->mode) && (in->first_site || in->site_count))
		return bad_ino(v, ino, "sites in what is no regular file");
	if (S_ISDIR(in->mode)) {
		if (in->size || in->data_off)
			return bad_ino(v, ino, "a directory with data");
		/* Directories own their entries in inode order, all of them. */
		if (in->first_dirent != *next_dirent ||
		    in->dirent_count > v->super.dirent_count - *next_dirent)
			return bad_ino(v, ino, "its entries leave the table or overlap another directory's");
		*next_dirent += in->dirent_count;
		return 0;
	}
	if (S_ISREG(in->mode)) {
		if (in->size ? !page_aligned(in->data_off) || in->data_off < v->super.data_off ||
				       !range_inside(in->data_off, in->size, v->size)
			     : in->data_off != 0)
			return bad_ino(v, ino, "its data is out of bounds");
		return check_sites(v, ino, in);
	}
	if (S_ISLNK(in->mode)) {
		if (!in->size || in->size >= 4096 ||
		    !range_inside(in->data_off, in->size, v->super.names_len) ||
		    memchr(v->names + in->data_off, 0, in->size))
			return bad_ino(v, ino, "its target is out of bounds");
		return 0;
	}
	return bad_ino(v, ino, "neither file, directory nor symbolic link");
}

static int name_cmp(const struct view *v, const struct jfs_dirent *a, const struct jfs_dirent *b)
{
	size_t n = a->name_len < b->name_len ? a->name_len : b->name_len;
	int c = memcmp(v->names + a->name_off, v->names + b->name_off, n);

	return c ? c : (int)a->name_len - (int)b->name_len;
}

static bool name_plain(const char *s, size_t n)
{
	if (!n || n > 255 || memchr(s, '/', n) || memchr(s, 0, n))
		return false;
	return !(s[0] == '.' && (n == 1 || (n == 2 && s[1] == '.')));
}

static uint8_t type_of(uint32_t mode)
{
	return S_ISDIR(mode) ? DT_DIR : S_ISLNK(mode) ? DT_LNK : DT_REG;
}

/* The entries of one directory; counts links, checks that child directories point back and ahead. */
static int check_dir(const struct view *v, uint32_t ino)
{
	const struct jfs_inode *in = &v->inodes[ino];
	uint32_t subdirs = 0;

	for (uint32_t i = 0; i < in->dirent_count; i++) {
		const struct jfs_dirent *d = &v->dirents[in->first_dirent + i];
		const struct jfs_inode *child;

		if (!d->ino || d->ino >= v->super.inode_count ||
		    !range_inside(d->name_off, d->name_len, v->super.names_len) ||
		    !all_zero(d->reserved, sizeof(d->reserved)))
			return bad_ino(v, ino, "an entry is out of bounds");
		if (!name_plain(v->names + d->name_off, d->name_len))
			return bad_ino(v, ino, "an entry's name is not a plain file name");
		if (i && name_cmp(v, d - 1, d) >= 0)
			return bad_ino(v, ino, "its entries are not sorted or not unique");
		if (v->depth[ino] + 1 + d->name_len >= PATH_MAX)
			return bad_ino(v, ino, "a path longer than PATH_MAX");
		child = &v->inodes[d->ino];
		if (d->type != type_of(child->mode))
			return bad_ino(v, ino, "an entry's type is not that of its inode");
		v->links[d->ino]++;
		if (S_ISDIR(child->mode)) {
			subdirs++;
			if (d->ino <= ino || child->parent != ino || v->links[d->ino] != 1)
				return bad_ino(v, d->ino, "a directory with two parents or in a loop");
			v->depth[d->ino] = v->depth[ino] + 1 + d->name_len;
		}
	}
	if (in->nlink != 2 + (uint64_t)subdirs)
		return bad_ino(v, ino, "wrong link count");
	return 0;
}

struct extent {
	uint64_t off, len;
};

static int extent_cmp(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return x->len < y->len ? -1 : x->len > y->len;
}

static int check_extents(const struct view *v)
{
	struct extent *x = calloc(v->super.inode_count, sizeof(*x));
	size_t n = 0;
	int ret = 0;

	if (!x)
		return bad(v, "no memory to check it");
	for (uint32_t i = 1; i < v->super.inode_count; i++)
		if (S_ISREG(v->inodes[i].mode) && v->inodes[i].size)
			x[n++] = (struct extent){v->inodes[i].data_off, v->inodes[i].size};
	qsort(x, n, sizeof(*x), extent_cmp);
	for (size_t i = 1; i < n && !ret; i++)
		if (x[i].off == x[i - 1].off ? x[i].len != x[i - 1].len
					     : x[i].off < x[i - 1].off + x[i - 1].len)
			ret = bad(v, "the data of two files overlaps");
	free(x);
	return ret;
}

static int check_tree(const struct view *v)
{
	const struct jfs_super *s = &v->super;
	uint32_t next_dirent = 0;

	if (!all_zero(&v->inodes[0], sizeof(v->inodes[0])))
		return bad(v, "inode 0 is not empty");
	for (uint32_t i = 1; i < s->inode_count; i++)
		if (check_inode(v, i, &next_dirent))
			return -1;
	if (next_dirent != s->dirent_count)
		return bad(v, "directory entries that belong to no directory");
	if (!S_ISDIR(v->inodes[1].mode) || v->inodes[1].parent != 1)
		return bad(v, "inode 1 is not a root directory");
	for (uint32_t i = 1; i < s->inode_count; i++)
		if (S_ISDIR(v->inodes[i].mode) && check_dir(v, i))
			return -1;
	if (v->links[1])
		return bad(v, "an entry names the root directory");
	for (uint32_t i = 2; i < s->inode_count; i++) {
		if (!v->links[i])
			return bad_ino(v, i, "no entry names it");
		if (!S_ISDIR(v->inodes[i].mode) && v->links[i] != v->inodes[i].nlink)
			return bad_ino(v, i, "wrong link count");
	}
	return check_extents(v);
}

int jfs_check(const uint8_t *fs, uint64_t have, uint64_t size, const char *name, struct err *e)
{
	struct view v = {.name = name, .e = e, .size = size};
	int ret;

	if (check_super(&v, fs, have))
		return -1;
	v.links = calloc(v.super.inode_count, sizeof(*v.links));
	v.depth = calloc(v.super.inode_count, sizeof(*v.depth));
	ret = v.links && v.depth ? check_tree(&v) : bad(&v, "no memory to check it");
	free(v.links);
	free(v.depth);
	return ret;
}
