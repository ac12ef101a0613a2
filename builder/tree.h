/*
 * tree.h - the root file system while it is being put together.
 *
 * Paths are absolute and mean what they would mean inside the image: symbolic links in the tree are
 * followed, confined to its root. Everything belongs to 0:0 unless said otherwise. While t->replace is
 * set, a new file or symbolic link takes the place of an old one; otherwise what stands there stays.
 */
#ifndef JUNCTION_BUILDER_TREE_H
#define JUNCTION_BUILDER_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "builder/err.h"
#include "libos/abi/image.h"

/* The content of one or more files, stored once. */
struct blob {
	uint8_t hash[JIMG_HASH_LEN]; /* of the source bytes, before any rewriting */
	uint64_t size; /* bytes as they go into the image */
	uint8_t *bytes; /* NULL: read `path` again when it is needed, and check it against hash */
	char *path; /* on the host, NULL when generated */
	bool is_elf; /* ELF64 x86-64, executable or shared object */
	bool rewritten; /* tree_rewrite() was here */
	uint32_t sites_found, sites_rewritten, sites_left;
	struct jfs_site *sites;
	size_t nr_sites;
	uint64_t data_off; /* set by the writer */
	struct blob *next;
};

/* What an inode is; two nodes share one where they are hard links. */
struct file {
	uint32_t mode, uid, gid, nlink;
	uint32_t ino; /* set by the writer */
	struct blob *blob;
	int64_t source_mtime; /* of the host's file, -1: none */
	dev_t dev; /* of the host's file, to find hard links; ino_src 0: none */
	ino_t ino_src;
	struct file *next;
};

struct node {
	char *name;
	struct node *parent;
	uint32_t mode; /* type and permissions; of a regular file see `file` */
	uint32_t uid, gid;
	struct node **children; /* sorted by name */
	size_t nr_children, cap_children;
	char *target; /* symbolic link */
	struct file *file; /* regular file */
	char *host_path; /* where a regular file came from, for $ORIGIN; NULL when generated */
	bool closed; /* its DT_NEEDED closure is packed */
	uint32_t ino; /* set by the writer */
};

struct tree {
	struct node *root;
	struct blob *blobs;
	struct file *files; /* those that can be hard links */
	struct blob **blob_table; /* by hash, open */
	size_t nr_blobs, cap_blobs;
	size_t nr_files;
	bool replace;
};

int tree_init(struct tree *t, struct err *e);
void tree_free(struct tree *t);

/*
 * Resolves `path` in the tree. `follow`: also a symbolic link at its end. Returns NULL when there is no
 * such node (or too many links).
 */
struct node *tree_lookup(struct tree *t, const char *path, bool follow);

/* The node's own path, without following anything. Returns out. */
char *tree_path(const struct node *n, char *out, size_t len);

/* mkdir -p; a directory that is already there keeps its mode. `mode` is for the last component. */
struct node *tree_mkdir(struct tree *t, const char *path, uint32_t mode, struct err *e);
struct node *tree_symlink(struct tree *t, const char *path, const char *target, struct err *e);
/* A generated file. */
struct node *tree_put(struct tree *t, const char *path, uint32_t mode, const void *bytes, size_t len,
		      struct err *e);

/*
 * One file, symbolic link (kept as it is) or directory (not what is in it) of the host at `path`.
 * `mode` 0: as on the host, less what tree_host_mode() drops. Other kinds of file are an error.
 */
struct node *tree_add(struct tree *t, const char *host, const char *path, uint32_t mode, struct err *e);

/* A directory of the host with all that is in it. Sockets, pipes and devices are left out. */
int tree_add_dir(struct tree *t, const char *host, const char *path, uint32_t file_mode, struct err *e);

/*
 * The file of the host at the same absolute path in the image, with every symbolic link that leads to
 * it. What stands in the tree already wins, at each component. Returns the node of the file itself.
 */
struct node *tree_add_same_path(struct tree *t, const char *path, struct err *e);

/* The whole of a regular file of the host, malloc'ed, with room for one byte more. */
uint8_t *read_file(const char *path, struct stat *st, size_t *len, struct err *e);

/* The bytes of a blob, malloc'ed, b->size long and with room for one more. Fails when the file changed since it was added. */
uint8_t *blob_read(const struct blob *b, struct err *e);

/* Replaces the bytes of a file by others (malloc'ed, now the tree's); other files keep theirs. */
int tree_replace(struct tree *t, struct file *f, uint8_t *bytes, size_t len, struct err *e);

/* Calls fn for each node, parents first, children in order; stops when fn returns not 0. */
int tree_walk(struct node *n, int (*fn)(struct node *n, void *arg), void *arg);

#endif
