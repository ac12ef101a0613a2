/*
 * tree_host.c - the root file system while it is being put together: content, and files of the host.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/elf_needs.h"
#include "builder/tree_int.h"

#define KEEP_BYTES (1u << 20) /* larger files that are not rewritten are read again when written */

void blobs_free(struct tree *t)
{
	struct blob *b, *bnext;
	struct file *f, *fnext;

	for (b = t->blobs; b; b = bnext) {
		bnext = b->next;
		free(b->bytes);
		free(b->path);
		free(b->sites);
		free(b);
	}
	for (f = t->files; f; f = fnext) {
		fnext = f->next;
		free(f);
	}
	free(t->blob_table);
}

static size_t slot_of(const struct tree *t, const uint8_t *hash, uint64_t size)
{
	uint64_t h;
	size_t i;

	memcpy(&h, hash, sizeof(h));
	for (i = h & (t->cap_blobs - 1); t->blob_table[i]; i = (i + 1) & (t->cap_blobs - 1))
		if (!memcmp(t->blob_table[i]->hash, hash, JIMG_HASH_LEN))
			break;
	return i;
}

static int grow_table(struct tree *t)
{
	struct blob **old = t->blob_table;
	size_t cap = t->cap_blobs;

	t->cap_blobs = cap ? 2 * cap : 1024;
	t->blob_table = calloc(t->cap_blobs, sizeof(*t->blob_table));
	if (!t->blob_table) {
		t->blob_table = old;
		t->cap_blobs = cap;
		return -1;
	}
	for (size_t i = 0; i < cap; i++)
		if (old[i])
			t->blob_table[slot_of(t, old[i]->hash, old[i]->size)] = old[i];
	free(old);
	return 0;
}

/* Takes `bytes` (malloc'ed). Returns the blob of that content, new or known. */
static struct blob *blob_of(struct tree *t, uint8_t *bytes, size_t len, const char *path, struct err *e)
{
	uint8_t hash[JIMG_HASH_LEN];
	struct blob *b;
	size_t slot;

	crypto_generichash_blake2b(hash, sizeof(hash), bytes, len, NULL, 0);
	if (t->nr_blobs * 2 >= t->cap_blobs && grow_table(t))
		goto oom;
	slot = slot_of(t, hash, len);
	b = t->blob_table[slot];
	if (b) {
		free(bytes);
		return b;
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		goto oom;
	memcpy(b->hash, hash, sizeof(hash));
	b->size = len;
	b->is_elf = elf_is_code(bytes, len);
	b->path = path ? strdup(path) : NULL;
	b->next = t->blobs;
	t->blobs = b;
	t->blob_table[slot] = b;
	t->nr_blobs++;
	if (b->path && len > KEEP_BYTES)
		free(bytes);
	else
		b->bytes = bytes;
	return b;
oom:
	free(bytes);
	err_set(e, "out of memory");
	return NULL;
}

uint8_t *read_file(const char *path, struct stat *st, size_t *len, struct err *e)
{
	uint8_t *bytes = NULL;
	size_t done = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, st)) {
		err_errno(e, "%s", path);
		goto fail;
	}
	if (!S_ISREG(st->st_mode)) {
		err_set(e, "%s: not a regular file", path);
		goto fail;
	}
	bytes = malloc(st->st_size + 1);
	if (!bytes) {
		err_set(e, "%s: no memory for %lld bytes", path, (long long)st->st_size);
		goto fail;
	}
	while (done < (size_t)st->st_size + 1) {
		ssize_t n = read(fd, bytes + done, st->st_size + 1 - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_errno(e, "%s", path);
			goto fail;
		}
		if (!n)
			break;
		done += n;
	}
	if (done != (size_t)st->st_size) {
		err_set(e, "%s: changed while it was read; build again", path);
		goto fail;
	}
	close(fd);
	*len = done;
	return bytes;
fail:
	free(bytes);
	if (fd >= 0)
		close(fd);
	return NULL;
}

uint8_t *blob_read(const struct blob *b, struct err *e)
{
	uint8_t hash[JIMG_HASH_LEN], *bytes;
	struct stat st;
	size_t len;

	if (b->bytes) {
		bytes = malloc(b->size + 1);
		if (!bytes)
			err_set(e, "out of memory");
		else
			memcpy(bytes, b->bytes, b->size);
		return bytes;
	}
	bytes = read_file(b->path, &st, &len, e);
	if (!bytes)
		return NULL;
	crypto_generichash_blake2b(hash, sizeof(hash), bytes, len, NULL, 0);
	if (len != b->size || memcmp(hash, b->hash, sizeof(hash))) {
		err_set(e, "%s: changed while it was packed; build again", b->path);
		free(bytes);
		return NULL;
	}
	return bytes;
}

static struct file *new_file(struct tree *t, uint32_t mode, struct blob *b, const struct stat *st,
			     struct err *e)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f) {
		err_set(e, "out of memory");
		return NULL;
	}
	f->mode = S_IFREG | (mode & 07777);
	f->blob = b;
	f->nlink = 1;
	f->source_mtime = st ? st->st_mtim.tv_sec : -1;
	if (st && st->st_nlink > 1) {
		f->dev = st->st_dev;
		f->ino_src = st->st_ino;
	}
	f->next = t->files;
	t->files = f;
	t->nr_files++;
	return f;
}

static struct file *find_hard_link(struct tree *t, const struct stat *st, uint32_t mode)
{
	if (st->st_nlink < 2)
		return NULL;
	for (struct file *f = t->files; f; f = f->next)
		if (f->ino_src == st->st_ino && f->dev == st->st_dev && (f->mode & 07777) == (mode & 07777))
			return f;
	return NULL;
}

struct node *tree_put(struct tree *t, const char *path, uint32_t mode, const void *bytes, size_t len,
		      struct err *e)
{
	uint8_t *copy;
	struct blob *b;
	struct node *n;
	bool fresh;

	n = tree_claim(t, path, S_IFREG | mode, &fresh, e);
	if (!n || !fresh)
		return n;
	copy = malloc(len + 1);
	if (!copy) {
		err_set(e, "out of memory");
		return NULL;
	}
	memcpy(copy, bytes, len);
	b = blob_of(t, copy, len, NULL, e);
	n->file = b ? new_file(t, mode, b, NULL, e) : NULL;
	return n->file ? n : NULL;
}

static struct node *add_regular(struct tree *t, const char *host, const char *path, uint32_t mode,
				struct err *e)
{
	struct stat st;
	struct node *n;
	struct blob *b;
	uint8_t *bytes;
	size_t len;
	bool fresh;

	n = tree_claim(t, path, S_IFREG, &fresh, e);
	if (!n || !fresh)
		return n;
	bytes = read_file(host, &st, &len, e);
	if (!bytes)
		return NULL;
	if (!mode)
		mode = st.st_mode & 07777;
	n->mode = S_IFREG | mode;
	n->host_path = strdup(host);
	n->file = find_hard_link(t, &st, mode);
	if (n->file) {
		n->file->nlink++;
		free(bytes);
		return n;
	}
	b = blob_of(t, bytes, len, host, e);
	n->file = b ? new_file(t, mode, b, &st, e) : NULL;
	return n->file ? n : NULL;
}

static struct node *add_link(struct tree *t, const char *host, const char *path, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlink(host, target, sizeof(target) - 1);

	if (n < 0) {
		err_errno(e, "%s", host);
		return NULL;
	}
	target[n] = 0;
	return tree_symlink(t, path, target, e);
}

struct node *tree_add(struct tree *t, const char *host, const char *path, uint32_t mode, struct err *e)
{
	struct stat st;

	if (lstat(host, &st)) {
		err_errno(e, "%s", host);
		return NULL;
	}
	if (S_ISREG(st.st_mode))
		return add_regular(t, host, path, mode, e);
	if (S_ISLNK(st.st_mode))
		return add_link(t, host, path, e);
	if (S_ISDIR(st.st_mode))
		return tree_mkdir(t, path, st.st_mode & 07777, e);
	err_set(e, "%s: a device, pipe or socket cannot be packed", host);
	return NULL;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_entry(struct tree *t, const char *host, const char *path, const char *name,
		     uint32_t file_mode, struct err *e)
{
	char h[PATH_MAX], p[PATH_MAX];
	struct stat st;

	if (snprintf(h, sizeof(h), "%s/%s", host, name) >= (int)sizeof(h) ||
	    snprintf(p, sizeof(p), "%s/%s", !strcmp(path, "/") ? "" : path, name) >= (int)sizeof(p))
		return err_set(e, "%s: path too long", host);
	if (lstat(h, &st))
		return err_errno(e, "%s", h);
	if (S_ISDIR(st.st_mode))
		return tree_add_dir(t, h, p, file_mode, e);
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return 0;
	return tree_add(t, h, p, file_mode, e) ? 0 : -1;
}

int tree_add_dir(struct tree *t, const char *host, const char *path, uint32_t file_mode, struct err *e)
{
	struct dirent **list;
	struct stat st;
	int n, ret = 0;

	if (stat(host, &st))
		return err_errno(e, "%s", host);
	/* The tree's own root keeps its mode: that of some directory of the host says nothing. */
	if (!tree_mkdir(t, path, st.st_mode & 07777, e))
		return -1;
	n = scandir(host, &list, NULL, by_name);
	if (n < 0)
		return err_errno(e, "%s", host);
	for (int i = 0; i < n; i++) {
		if (!ret && strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, ".."))
			ret = add_entry(t, host, path, list[i]->d_name, file_mode, e);
		free(list[i]);
	}
	free(list);
	return ret;
}

/* dir/rest -> out, where `target` of a link takes the place of the component that ends at `end`. */
static int put_target(char *path, size_t start, size_t end, const char *target)
{
	char tmp[2 * PATH_MAX];
	int n;

	if (target[0] == '/')
		n = snprintf(tmp, sizeof(tmp), "%s%s", target, path + end);
	else
		n = snprintf(tmp, sizeof(tmp), "%.*s%s%s", (int)start, path, target, path + end);
	if (n >= PATH_MAX)
		return -1;
	strcpy(path, tmp);
	return 0;
}


struct node *tree_add_same_path(struct tree *t, const char *name, struct err *e)
{
	char path[PATH_MAX], prefix[PATH_MAX], target[PATH_MAX];
	size_t at = 0;
	int links = 0;

	if (strlen(name) >= sizeof(path)) {
		err_set(e, "%.40s...: path too long", name);
		return NULL;
	}
	strcpy(path, name);
	for (;;) {
		struct node *n;
		size_t end, start;
		struct stat st;
		bool last;

		/* path[0, at) is resolved, in the tree and on the host. */
		start = at + strspn(path + at, "/");
		end = start + strcspn(path + start, "/");
		last = !path[end + strspn(path + end, "/")];
		if (end - start == 1 && path[start] == '.') {
			memmove(path + start, path + end, strlen(path + end) + 1);
			continue;
		}
		if (end - start == 2 && path[start] == '.' && path[start + 1] == '.') {
			while (at && path[at - 1] != '/')
				at--;
			at = at ? at - 1 : 0;
			memmove(path + at, path + end, strlen(path + end) + 1);
			if (!*path)
				strcpy(path, "/");
			continue;
		}
		snprintf(prefix, sizeof(prefix), "%.*s", (int)end, path);
		n = tree_lookup(t, prefix, false);
		if (n && S_ISLNK(n->mode)) {
			snprintf(target, sizeof(target), "%s", n->target);
		} else if (n) {
			if (last && t->replace && !S_ISDIR(n->mode))
				return tree_add(t, prefix, prefix, 0, e);
			if (last)
				return n;
			at = end;
			continue;
		} else {
			ssize_t len;

			if (lstat(prefix, &st)) {
				err_errno(e, "%s", prefix);
				return NULL;
			}
			if (!S_ISLNK(st.st_mode)) {
				if (last)
					return tree_add(t, prefix, prefix, 0, e);
				/* A parent says nothing but the way; /tmp and its like keep their mode. */
				if (!tree_mkdir(t, prefix, st.st_mode & S_ISVTX ? st.st_mode : 0755, e))
					return NULL;
				at = end;
				continue;
			}
			len = readlink(prefix, target, sizeof(target) - 1);
			if (len < 0) {
				err_errno(e, "%s", prefix);
				return NULL;
			}
			target[len] = 0;
			if (!tree_symlink(t, prefix, target, e))
				return NULL;
		}
		if (++links > 40 || put_target(path, start, end, target)) {
			err_set(e, "%s: too many symbolic links", name);
			return NULL;
		}
		if (target[0] == '/')
			at = 0;
	}
}

int tree_replace(struct tree *t, struct file *f, uint8_t *bytes, size_t len, struct err *e)
{
	struct blob *b = blob_of(t, bytes, len, NULL, e);

	if (!b)
		return -1;
	f->blob = b;
	return 0;
}
