/*
 * closure.c - interpreters and libraries: what each ELF file in the tree needs at run time.
 *
 * Each file that was asked for is a root: its libraries are searched as ld.so(8) would, breadth first,
 * with the DT_RPATHs of those who ask. A library that the tree holds wins over the host's, wherever it
 * stands in the search order, so that a --rootfs of another distribution stays of one piece.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/build.h"
#include "builder/elf_needs.h"
#include "builder/lib_dirs.h"

/* One loaded object of a root's closure. */
struct object {
	struct node *node;
	struct elf_needs needs;
	char *origin; /* its directory in the image */
	char *host_origin; /* and where it came from; equal to origin for generated files */
	struct object *asker; /* who needed it first; NULL for the root */
};

struct closure {
	struct build *b;
	struct err *e;
	struct object **objects;
	size_t nr;
	struct strings loaded; /* names and sonames */
	struct strings musl_dirs;
	const char *interp; /* of the root */
	bool musl;
	bool strict; /* a missing library is an error */
};

static char *dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == path ? format("/") : format("%.*s", slash ? (int)(slash - path) : 0, path);
}

static struct object *add_object(struct closure *c, struct node *n, struct object *asker)
{
	struct object **grown, *o;
	char path[2 * PATH_MAX], real[PATH_MAX];
	uint8_t *bytes = blob_read(n->file->blob, c->e);

	if (!bytes)
		return NULL;
	grown = realloc(c->objects, (c->nr + 1) * sizeof(*grown));
	o = calloc(1, sizeof(*o));
	if (!grown || !o)
		abort();
	c->objects = grown;
	c->objects[c->nr++] = o;
	elf_needs_read(bytes, n->file->blob->size, &o->needs);
	free(bytes);
	o->node = n;
	o->asker = asker;
	o->origin = dir_of(tree_path(n, path, sizeof(path)));
	if (n->host_path && realpath(n->host_path, real))
		o->host_origin = dir_of(real);
	else
		o->host_origin = format("%s", o->origin);
	if (o->needs.soname)
		strings_add(&c->loaded, o->needs.soname);
	n->closed = true;
	return o;
}

static struct node *lib_in_tree(struct build *b, const char *dir, const char *name)
{
	char path[2 * PATH_MAX];
	struct node *n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	n = tree_lookup(&b->tree, path, true);
	return n && n->file && n->file->blob->is_elf ? n : NULL;
}

/* From directory host_dir, into directory dir of the image. *failed is set on an error. */
static struct node *lib_on_host(struct closure *c, const char *host_dir, const char *dir, const char *name,
				bool *failed)
{
	char host[2 * PATH_MAX], path[2 * PATH_MAX], real[PATH_MAX];
	struct node *n;

	snprintf(host, sizeof(host), "%s/%s", host_dir, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (!elf_on_host(host))
		return NULL;
	if (!strcmp(host, path)) {
		n = tree_add_same_path(&c->b->tree, path, c->e);
	} else {
		if (!realpath(host, real)) {
			*failed = true;
			err_errno(c->e, "%s", host);
			return NULL;
		}
		n = tree_add(&c->b->tree, real, path, 0, c->e);
	}
	*failed = !n;
	return n && n->file ? n : NULL;
}

/* The search path of `o`, in image directories and the host directories that stand for them. */
static void search_path(const struct closure *c, const struct object *o, struct strings *dirs,
			struct strings *host_dirs)
{
	const struct strings *fixed = c->musl ? &c->musl_dirs : &c->b->lib_dirs;

	/* ld.so ignores inherited DT_RPATHs for an object with a DT_RUNPATH; musl has one kind only. */
	if (!o->needs.runpath || c->musl)
		for (const struct object *a = o; a; a = a->asker) {
			const char *p = a->needs.rpath ? a->needs.rpath : c->musl ? a->needs.runpath : NULL;

			if (!p)
				continue;
			lib_dirs_expand(p, a->origin, dirs);
			lib_dirs_expand(p, a->host_origin, host_dirs);
		}
	if (o->needs.runpath) {
		lib_dirs_expand(o->needs.runpath, o->origin, dirs);
		lib_dirs_expand(o->needs.runpath, o->host_origin, host_dirs);
	}
	for (size_t i = 0; i < fixed->n; i++) {
		strings_add(dirs, fixed->v[i]);
		strings_add(host_dirs, fixed->v[i]);
	}
}

static struct node *find_lib(struct closure *c, const struct object *o, const char *name, bool *failed)
{
	struct strings dirs = {0}, host_dirs = {0};
	struct node *n = NULL;

	if (strchr(name, '/')) {
		n = tree_lookup(&c->b->tree, name, true);
		if (n && !n->file)
			n = NULL;
		if (!n && name[0] == '/' && elf_on_host(name)) {
			n = tree_add_same_path(&c->b->tree, name, c->e);
			*failed = !n;
		}
		return n;
	}
	search_path(c, o, &dirs, &host_dirs);
	for (size_t i = 0; i < dirs.n && !n; i++)
		n = lib_in_tree(c->b, dirs.v[i], name);
	for (size_t i = 0; i < dirs.n && !n && !*failed; i++)
		n = lib_on_host(c, host_dirs.v[i], dirs.v[i], name, failed);
	strings_free(&dirs);
	strings_free(&host_dirs);
	return n;
}

static bool is_musl_libc(const char *name)
{
	return !strcmp(name, "libc.so") || !strncmp(name, "libc.musl-", 10) ||
	       !strncmp(name, "ld-musl-", 8);
}

static int load_needed(struct closure *c, struct object *o)
{
	for (size_t i = 0; i < o->needs.needed.n; i++) {
		const char *name = o->needs.needed.v[i];
		char path[2 * PATH_MAX];
		bool failed = false;
		struct node *n;

		if (strings_has(&c->loaded, name) || (c->musl && is_musl_libc(name)))
			continue;
		strings_add(&c->loaded, name);
		n = find_lib(c, o, name, &failed);
		if (failed)
			return -1;
		if (n) {
			if (!add_object(c, n, o))
				return -1;
			continue;
		}
		tree_path(o->node, path, sizeof(path));
		if (c->strict)
			return err_set(c->e, "%s: needs the library %s, which is not on this host; install it "
				       "or add it with --rootfs", path, name);
		build_warn(c->b, "%s: the library %s, which it needs, is not on this host", path, name);
	}
	return 0;
}

static int load_interp(struct closure *c, struct object *root)
{
	const char *interp = root->needs.interp, *base;
	char path[2 * PATH_MAX];
	struct node *n;

	if (!interp)
		return 0;
	base = strrchr(interp, '/');
	base = base ? base + 1 : interp;
	c->musl = !strncmp(base, "ld-musl-", 8);
	if (c->musl)
		c->b->musl = true;
	else if (!strncmp(base, "ld-linux", 8))
		c->b->glibc = true;
	strings_add(&c->loaded, base);
	n = tree_lookup(&c->b->tree, interp, true);
	if (!n && interp[0] == '/' && !access(interp, F_OK)) {
		n = tree_add_same_path(&c->b->tree, interp, c->e);
		if (!n)
			return -1;
	}
	if (n && n->file) {
		n->closed = true;
		return 0;
	}
	tree_path(root->node, path, sizeof(path));
	if (c->strict)
		return err_set(c->e, "%s: needs the interpreter %s, which is not on this host; install it or add "
			       "it with --rootfs", path, interp);
	build_warn(c->b, "%s: its interpreter %s is not on this host", path, interp);
	return 0;
}

/* musl if the file names musl's libc among its needs; only matters for files without interpreter. */
static bool looks_musl(const struct elf_needs *n)
{
	for (size_t i = 0; i < n->needed.n; i++)
		if (is_musl_libc(n->needed.v[i]))
			return true;
	return false;
}

static int close_root(struct build *b, struct node *n, struct err *e)
{
	struct closure c = {.b = b, .e = e, .strict = n == b->program};
	struct object *root = add_object(&c, n, NULL);
	int ret = root ? 0 : -1;

	if (root) {
		c.musl = looks_musl(&root->needs);
		ret = load_interp(&c, root);
	}
	if (c.musl)
		lib_dirs_musl(&c.musl_dirs);
	/* c.nr grows while we walk. */
	for (size_t i = 0; i < c.nr && !ret; i++)
		ret = load_needed(&c, c.objects[i]);
	for (size_t i = 0; i < c.nr; i++) {
		elf_needs_free(&c.objects[i]->needs);
		free(c.objects[i]->origin);
		free(c.objects[i]->host_origin);
		free(c.objects[i]);
	}
	free(c.objects);
	strings_free(&c.loaded);
	strings_free(&c.musl_dirs);
	return ret;
}

struct pending {
	struct node **v;
	size_t n;
};

static int collect(struct node *n, void *arg)
{
	struct pending *p = arg;
	struct node **grown;

	if (!n->file || !n->file->blob->is_elf || n->closed)
		return 0;
	grown = realloc(p->v, (p->n + 1) * sizeof(*grown));
	if (!grown)
		abort();
	p->v = grown;
	p->v[p->n++] = n;
	return 0;
}

/* The host's file, if it is there, at the same place. */
static int add_if_there(struct build *b, const char *path, struct err *e)
{
	if (tree_lookup(&b->tree, path, true) || access(path, R_OK))
		return 0;
	return tree_add_same_path(&b->tree, path, e) ? 0 : -1;
}

/* What C libraries load or read without saying so in their ELF files. */
static int add_unsaid(struct build *b, struct err *e)
{
	/* pthread_exit() and pthread_cancel() unwind with it, found by dlopen(). */
	if (b->glibc && add_if_there(b, "/lib/x86_64-linux-gnu/libgcc_s.so.1", e))
		return -1;
	if (b->glibc && !tree_lookup(&b->tree, "/usr/lib/locale", true) &&
	    !access("/usr/lib/locale/C.utf8", R_OK) &&
	    tree_add_dir(&b->tree, "/usr/lib/locale/C.utf8", "/usr/lib/locale/C.utf8", 0, e))
		return -1;
	if (b->musl && add_if_there(b, "/etc/ld-musl-x86_64.path", e))
		return -1;
	return 0;
}

int build_closure(struct build *b, struct err *e)
{
	struct pending p;

	lib_dirs_glibc(&b->lib_dirs);
	if (!b->program->file->blob->is_elf) {
		if (build_script(b, b->program, e))
			return -1;
	} else if (close_root(b, b->program, e)) {
		return -1;
	}
	if (add_unsaid(b, e))
		return -1;
	for (;;) {
		int ret = 0;

		p = (struct pending){0};
		tree_walk(b->tree.root, collect, &p);
		for (size_t i = 0; i < p.n && !ret; i++)
			if (!p.v[i]->closed)
				ret = close_root(b, p.v[i], e);
		free(p.v);
		if (ret)
			return -1;
		if (!p.n)
			break;
	}
	if (add_unsaid(b, e))
		return -1;
	return b->glibc ? build_ld_cache(b, e) : 0;
}

/* A program by name, as env(1) finds it: in the image, else on the host. */
static int add_by_name(struct build *b, const char *name, const char *script, struct err *e)
{
	static const char *const dirs[] = {"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin",
					   "/usr/sbin", "/sbin"};
	char path[PATH_MAX];

	for (int host = 0; host < 2; host++)
		for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
			snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
			if (tree_lookup(&b->tree, path, true))
				return 0;
			if (host && !access(path, X_OK))
				return tree_add_same_path(&b->tree, path, e) ? 0 : -1;
		}
	return err_set(e, "%s: its interpreter %s is not on this host; install it or add it with --rootfs",
		       script, name);
}

int build_script(struct build *b, struct node *script, struct err *e)
{
	char path[2 * PATH_MAX], line[257];
	uint8_t *bytes = blob_read(script->file->blob, e);
	size_t len = script->file->blob->size;
	char *interp, *arg, *save = NULL;
	struct node *n;

	if (!bytes)
		return -1;
	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1;
	memcpy(line, bytes, len);
	free(bytes);
	line[len] = 0;
	line[strcspn(line, "\n")] = 0;
	tree_path(script, path, sizeof(path));
	if (strncmp(line, "#!", 2))
		return err_set(e, "%s: neither an x86-64 ELF program nor a script with a #! line; "
			       "name a program that Linux could run", path);
	interp = strtok_r(line + 2, " \t", &save);
	arg = interp ? strtok_r(NULL, " \t", &save) : NULL;
	if (!interp || interp[0] != '/')
		return err_set(e, "%s: its #! line names no absolute path", path);
	n = tree_lookup(&b->tree, interp, true);
	if (!n) {
		if (access(interp, X_OK))
			return err_set(e, "%s: its interpreter %s is not on this host; install it or add it with "
				       "--rootfs", path, interp);
		n = tree_add_same_path(&b->tree, interp, e);
	}
	if (!n)
		return -1;
	if (strcmp(strrchr(interp, '/'), "/env"))
		return 0;
	/* env [-S] [K=V]... NAME */
	while (arg && (arg[0] == '-' || strchr(arg, '=')))
		arg = strtok_r(NULL, " \t", &save);
	return arg ? add_by_name(b, arg, path, e) : 0;
}
