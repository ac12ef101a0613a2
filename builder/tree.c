/*
 * tree.c - the root file system while it is being put together: names and links.
 */
#include "builder/tree.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/record.h"
#include "builder/tree_int.h"

#define MAX_LINKS 40 /* as Linux */

static struct node *oom(struct err *e)
{
	err_set(e, "out of memory");
	return NULL;
}

int tree_init(struct tree *t, struct err *e)
{
	memset(t, 0, sizeof(*t));
	t->root = calloc(1, sizeof(*t->root));
	if (!t->root)
		return err_set(e, "out of memory");
	t->root->parent = t->root;
	t->root->mode = S_IFDIR | 0755;
	return 0;
}

static void node_free(struct node *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->nr_children; i++)
		node_free(n->children[i]);
	free(n->children);
	free(n->name);
	free(n->target);
	free(n->host_path);
	free(n);
}

void tree_free(struct tree *t)
{
	node_free(t->root);
	blobs_free(t);
	memset(t, 0, sizeof(*t));
}

/* Index of the child, or of where it would stand; *found says which. */
static size_t child_index(const struct node *dir, const char *name, size_t len, bool *found)
{
	size_t lo = 0, hi = dir->nr_children;

	*found = false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const char *s = dir->children[mid]->name;
		size_t sl = strlen(s);
		int c = memcmp(s, name, sl < len ? sl : len);

		if (!c)
			c = sl < len ? -1 : sl > len;
		if (!c) {
			*found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct node *child(const struct node *dir, const char *name, size_t len)
{
	bool found;
	size_t i = child_index(dir, name, len, &found);

	return found ? dir->children[i] : NULL;
}

static struct node *add_child(struct node *dir, const char *name, size_t len, uint32_t mode,
			      struct err *e)
{
	struct node *n, **grown;
	bool found;
	size_t at = child_index(dir, name, len, &found);

	if (len > 255) {
		err_set(e, "%.40s...: file name longer than 255 bytes", name);
		return NULL;
	}
	if (dir->nr_children == dir->cap_children) {
		size_t cap = dir->cap_children ? 2 * dir->cap_children : 8;

		grown = realloc(dir->children, cap * sizeof(*grown));
		if (!grown)
			return oom(e);
		dir->children = grown;
		dir->cap_children = cap;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return oom(e);
	n->name = strndup(name, len);
	if (!n->name) {
		free(n);
		return oom(e);
	}
	n->parent = dir;
	n->mode = mode;
	memmove(dir->children + at + 1, dir->children + at, (dir->nr_children - at) * sizeof(*dir->children));
	dir->children[at] = n;
	dir->nr_children++;
	return n;
}

/*
 * Walks `path` from the root. With `last` not NULL stops before the last component and gives its name
 * there; with `make` creates directories that are missing.
 */
static struct node *walk(struct tree *t, const char *path, const char **last, size_t *last_len,
			 bool follow, bool make, struct err *e)
{
	/* One buffer holds what is still to be walked; a link's target is put in front of it. */
	static char rest[2][2 * PATH_MAX];
	struct node *at = t->root, *n;
	int links = 0, cur = 0;
	char *p;

	if (strlen(path) >= PATH_MAX) {
		if (e)
			err_set(e, "%.40s...: path too long", path);
		return NULL;
	}
	strcpy(rest[0], path);
	p = rest[0];
	for (;;) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (!len)
			return at;
		if (!S_ISDIR(at->mode)) {
			if (e)
				err_set(e, "%s: a component of the path is no directory in the image", path);
			return NULL;
		}
		if (last && !p[len + strspn(p + len, "/")]) {
			*last = p;
			*last_len = len;
			p[len] = 0;
			return at;
		}
		if (len == 1 && p[0] == '.') {
			p += len;
			continue;
		}
		if (len == 2 && p[0] == '.' && p[1] == '.') {
			at = at->parent;
			p += len;
			continue;
		}
		n = child(at, p, len);
		if (!n && make) {
			n = add_child(at, p, len, S_IFDIR | 0755, e);
			if (!n)
				return NULL;
		}
		if (!n)
			return NULL;
		p += len;
		if (S_ISLNK(n->mode) && (follow || p[strspn(p, "/")])) {
			if (++links > MAX_LINKS || strlen(n->target) + strlen(p) + 2 > sizeof(rest[0])) {
				if (e)
					err_set(e, "%s: too many symbolic links in the image", path);
				return NULL;
			}
			sprintf(rest[!cur], "%s/%s", n->target, p);
			cur = !cur;
			p = rest[cur];
			if (p[0] == '/')
				at = t->root;
			continue;
		}
		at = n;
	}
}

struct node *tree_lookup(struct tree *t, const char *path, bool follow)
{
	return walk(t, path, NULL, NULL, follow, false, NULL);
}

char *tree_path(const struct node *n, char *out, size_t len)
{
	size_t at = len - 1;

	out[at] = 0;
	for (; n->parent != n; n = n->parent) {
		size_t l = strlen(n->name);

		if (at < l + 1)
			break;
		at -= l;
		memcpy(out + at, n->name, l);
		out[--at] = '/';
	}
	if (at == len - 1)
		out[--at] = '/';
	memmove(out, out + at, len - at);
	return out;
}

struct node *tree_mkdir(struct tree *t, const char *path, uint32_t mode, struct err *e)
{
	struct node *dir, *n;
	const char *last = NULL;
	size_t len;

	dir = walk(t, path, &last, &len, true, true, e);
	if (!dir || !last)
		return dir;
	n = child(dir, last, len);
	if (n && S_ISLNK(n->mode)) {
		n = walk(t, path, NULL, NULL, true, true, e);
		if (n && !S_ISDIR(n->mode)) {
			err_set(e, "%s: exists in the image and is no directory", path);
			return NULL;
		}
		return n;
	}
	if (n && !S_ISDIR(n->mode)) {
		err_set(e, "%s: exists in the image and is no directory", path);
		return NULL;
	}
	return n ? n : add_child(dir, last, len, S_IFDIR | (mode & 07777), e);
}

/* The node for a new file at path, or the one that is there (*fresh false). */
struct node *tree_claim(struct tree *t, const char *path, uint32_t mode, bool *fresh, struct err *e)
{
	const char *last = NULL;
	struct node *dir, *n;
	size_t len;

	*fresh = false;
	dir = walk(t, path, &last, &len, true, true, e);
	if (!dir)
		return NULL;
	if (!last || (len <= 2 && !strncmp(last, "..", len))) {
		err_set(e, "%s: names a directory where a file is wanted", path);
		return NULL;
	}
	n = child(dir, last, len);
	if (n && !t->replace)
		return n;
	if (n && S_ISDIR(n->mode)) {
		err_set(e, "%s: a directory in the image, and to become a file", path);
		return NULL;
	}
	*fresh = true;
	if (n) {
		if (n->file)
			n->file->nlink--;
		free(n->target);
		free(n->host_path);
		n->target = n->host_path = NULL;
		n->file = NULL;
		n->mode = mode;
		return n;
	}
	return add_child(dir, last, len, mode, e);
}

struct node *tree_symlink(struct tree *t, const char *path, const char *target, struct err *e)
{
	struct node *n;
	bool fresh;

	n = tree_claim(t, path, S_IFLNK | 0777, &fresh, e);
	if (!n || !fresh)
		return n;
	n->target = strdup(target);
	if (!n->target || !*target || strlen(target) >= PATH_MAX) {
		err_set(e, "%s: a symbolic link whose target is empty or too long", path);
		return NULL;
	}
	return n;
}

int tree_walk(struct node *n, int (*fn)(struct node *n, void *arg), void *arg)
{
	int ret = fn(n, arg);

	for (size_t i = 0; !ret && i < n->nr_children; i++)
		ret = tree_walk(n->children[i], fn, arg);
	return ret;
}
