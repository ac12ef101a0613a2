/*
 * rootfs.c - from a finished tree to the bytes of the root file system, as a stream.
 *
 * Inodes are numbered breadth first, so a directory's number is larger than its parent's, and entries
 * of one directory stand together. Data follows in inode order. Nothing here depends on anything but
 * the tree, which is sorted: the same tree gives the same bytes.
 */
#include "builder/rootfs.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "builder/checked.h"

struct build {
	struct node **queue; /* every node, breadth first; the first is the root */
	size_t nr_nodes;
	struct jfs_inode *inodes;
	struct jfs_dirent *dirents;
	struct jfs_site *sites;
	char *names;
	uint64_t nr_inodes, nr_dirents, nr_sites, names_len, names_cap;
};

static int count_node(struct node *n, void *arg)
{
	struct build *b = arg;

	b->nr_nodes++;
	return 0;
}

static int number_nodes(struct build *b, struct tree *t, struct err *e)
{
	size_t tail = 0;

	tree_walk(t->root, count_node, b);
	if (b->nr_nodes > UINT32_MAX / 4)
		return err_set(e, "too many files for one image");
	b->queue = calloc(b->nr_nodes, sizeof(*b->queue));
	if (!b->queue)
		return err_set(e, "out of memory");
	b->queue[tail++] = t->root;
	b->nr_inodes = 1; /* inode 0 stays empty */
	for (size_t i = 0; i < tail; i++) {
		struct node *n = b->queue[i];

		if (n->file && n->file->ino) {
			n->ino = n->file->ino;
		} else {
			n->ino = b->nr_inodes++;
			if (n->file) {
				n->file->ino = n->ino;
				b->nr_sites += n->file->blob->nr_sites;
			}
		}
		for (size_t c = 0; c < n->nr_children; c++)
			b->queue[tail++] = n->children[c];
		b->nr_dirents += n->nr_children;
	}
	return 0;
}

static int add_name(struct build *b, const char *s, size_t len, uint64_t *off, struct err *e)
{
	if (b->names_len + len > b->names_cap) {
		uint64_t cap = 2 * (b->names_len + len) + 4096;
		char *grown = realloc(b->names, cap);

		if (!grown)
			return err_set(e, "out of memory");
		b->names = grown;
		b->names_cap = cap;
	}
	*off = b->names_len;
	memcpy(b->names + b->names_len, s, len);
	b->names_len += len;
	if (b->names_len > UINT32_MAX)
		return err_set(e, "too many file names for one image");
	return 0;
}

static uint8_t dirent_type(const struct node *n)
{
	return S_ISDIR(n->mode) ? DT_DIR : S_ISLNK(n->mode) ? DT_LNK : DT_REG;
}

static int fill_dir(struct build *b, struct node *n, struct jfs_inode *in, uint64_t *next, struct err *e)
{
	in->nlink = 2;
	in->parent = n->parent->ino;
	in->first_dirent = *next;
	in->dirent_count = n->nr_children;
	for (size_t i = 0; i < n->nr_children; i++) {
		struct jfs_dirent *d = &b->dirents[(*next)++];
		struct node *c = n->children[i];
		uint64_t off;

		if (S_ISDIR(c->mode))
			in->nlink++;
		d->ino = c->ino;
		d->name_len = strlen(c->name);
		d->type = dirent_type(c);
		if (add_name(b, c->name, d->name_len, &off, e))
			return -1;
		d->name_off = off;
	}
	return 0;
}

/* A regular file; places its data behind *data_end unless the blob has a place. */
static int fill_file(struct build *b, struct rootfs *r, struct node *n, struct jfs_inode *in,
		     uint64_t *next_site, uint64_t *data_end, struct err *e)
{
	struct blob *blob = n->file->blob;

	in->mode = n->file->mode;
	in->uid = n->file->uid;
	in->gid = n->file->gid;
	in->nlink = n->file->nlink;
	in->size = blob->size;
	if (blob->nr_sites) {
		in->first_site = *next_site;
		in->site_count = blob->nr_sites;
		memcpy(b->sites + *next_site, blob->sites, blob->nr_sites * sizeof(*blob->sites));
		*next_site += blob->nr_sites;
	}
	if (!blob->size)
		return 0;
	if (!blob->data_off) {
		blob->data_off = *data_end;
		*data_end += page_up(blob->size);
		if (*data_end > JIMG_MAX_ROOTFS)
			return err_set(e, "the root file system is larger than %llu bytes; pack fewer files",
				       JIMG_MAX_ROOTFS);
		r->order[r->nr_order++] = blob;
	}
	in->data_off = blob->data_off;
	return 0;
}

static int fill_tables(struct build *b, struct rootfs *r, uint64_t data_off, struct err *e)
{
	uint64_t next_dirent = 0, next_site = 0, data_end = data_off;

	for (size_t i = 0; i < b->nr_nodes; i++) {
		struct node *n = b->queue[i];
		struct jfs_inode *in = &b->inodes[n->ino];

		if (in->mode)
			continue; /* another name of a file that is done */
		in->mode = n->mode;
		in->uid = n->uid;
		in->gid = n->gid;
		in->nlink = 1;
		if (S_ISDIR(n->mode)) {
			if (fill_dir(b, n, in, &next_dirent, e))
				return -1;
		} else if (S_ISLNK(n->mode)) {
			in->size = strlen(n->target);
			if (add_name(b, n->target, in->size, &in->data_off, e))
				return -1;
		} else if (fill_file(b, r, n, in, &next_site, &data_end, e)) {
			return -1;
		}
	}
	r->size = data_end;
	return 0;
}

/* Bytes of names, so that data_off is known before the inodes are filled. */
static uint64_t names_size(const struct build *b)
{
	uint64_t len = 0;

	for (size_t i = 1; i < b->nr_nodes; i++) {
		const struct node *n = b->queue[i];

		len += strlen(n->name) + (S_ISLNK(n->mode) ? strlen(n->target) : 0);
	}
	return len;
}

static int lay_out(struct build *b, struct rootfs *r, uint64_t mtime, struct err *e)
{
	struct jfs_super s = {.magic = JFS_MAGIC, .mtime = mtime, .root_ino = 1};

	b->inodes = calloc(b->nr_inodes, sizeof(*b->inodes));
	b->dirents = calloc(b->nr_dirents + 1, sizeof(*b->dirents));
	b->sites = calloc(b->nr_sites + 1, sizeof(*b->sites));
	r->order = calloc(b->nr_nodes, sizeof(*r->order));
	if (!b->inodes || !b->dirents || !b->sites || !r->order)
		return err_set(e, "out of memory");
	s.inode_off = (sizeof(s) + 63) & ~63ull;
	s.dirent_off = s.inode_off + b->nr_inodes * sizeof(*b->inodes);
	s.site_off = s.dirent_off + b->nr_dirents * sizeof(*b->dirents);
	s.names_off = s.site_off + b->nr_sites * sizeof(*b->sites);
	s.names_len = names_size(b);
	s.data_off = page_up(s.names_off + s.names_len);
	s.inode_count = b->nr_inodes;
	s.dirent_count = b->nr_dirents;
	s.site_count = b->nr_sites;
	if (fill_tables(b, r, s.data_off, e))
		return -1;
	s.size = r->size;

	r->tables_len = s.data_off;
	r->tables = calloc(1, r->tables_len);
	if (!r->tables)
		return err_set(e, "out of memory");
	memcpy(r->tables, &s, sizeof(s));
	memcpy(r->tables + s.inode_off, b->inodes, b->nr_inodes * sizeof(*b->inodes));
	memcpy(r->tables + s.dirent_off, b->dirents, b->nr_dirents * sizeof(*b->dirents));
	memcpy(r->tables + s.site_off, b->sites, b->nr_sites * sizeof(*b->sites));
	if (b->names_len)
		memcpy(r->tables + s.names_off, b->names, b->names_len);
	return 0;
}

int rootfs_init(struct rootfs *r, struct tree *t, uint64_t mtime, struct err *e)
{
	struct build b = {0};
	int ret;

	memset(r, 0, sizeof(*r));
	ret = number_nodes(&b, t, e);
	if (!ret)
		ret = lay_out(&b, r, mtime, e);
	free(b.queue);
	free(b.inodes);
	free(b.dirents);
	free(b.sites);
	free(b.names);
	if (ret)
		rootfs_free(r);
	return ret;
}

void rootfs_free(struct rootfs *r)
{
	free(r->tables);
	free(r->order);
	free(r->now);
	memset(r, 0, sizeof(*r));
}

int rootfs_read(struct rootfs *r, uint8_t *dst, uint64_t len, struct err *e)
{
	while (len) {
		uint64_t start, end, n, in;

		if (r->pos < r->tables_len) {
			n = r->tables_len - r->pos < len ? r->tables_len - r->pos : len;
			memcpy(dst, r->tables + r->pos, n);
			goto step;
		}
		if (r->next == r->nr_order)
			return err_set(e, "internal error: read beyond the root file system");
		start = r->order[r->next]->data_off;
		end = start + page_up(r->order[r->next]->size);
		if (!r->now) {
			r->now = blob_read(r->order[r->next], e);
			if (!r->now)
				return -1;
		}
		n = end - r->pos < len ? end - r->pos : len;
		in = r->pos - start;
		memset(dst, 0, n);
		if (in < r->order[r->next]->size) {
			uint64_t have = r->order[r->next]->size - in;

			memcpy(dst, r->now + in, have < n ? have : n);
		}
		if (r->pos + n == end) {
			free(r->now);
			r->now = NULL;
			r->next++;
		}
step:
		dst += n;
		len -= n;
		r->pos += n;
	}
	return 0;
}
