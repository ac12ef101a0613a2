/*
 * build.c - from a specification to a sealed image.
 *
 * Who wins where two things want one place: the program and the recipe's files, the later over the
 * earlier, then --rootfs, then what programs need (interpreter, libraries), then the base files.
 */
#include "builder/build.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/image.h"
#include "builder/image_write.h"
#include "builder/manifest.h"
#include "builder/record.h"
#include "builder/rewrite.h"
#include "builder/rootfs.h"
#include "builder/tmpfile.h"

/* 1980-01-02: the earliest day that everything (zip among it) takes for a time. */
#define DEFAULT_MTIME 315619200ull

void build_warn(struct build *b, const char *fmt, ...)
{
	va_list ap;

	b->warnings++;
	fputs("junction build: warning: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void say(const struct build *b, const char *what)
{
	if (b->progress)
		fprintf(stderr, "\r\033[K%s", what);
}

static void say_packed(uint64_t done, uint64_t total)
{
	fprintf(stderr, "\r\033[Kcompressing %3llu %%", (unsigned long long)(done * 100 / total));
}

/* Absolute path of a host file whose last component stays as it was given. */
static char *absolute(const char *path, struct err *e)
{
	char dir[PATH_MAX], real[PATH_MAX];
	const char *base = strrchr(path, '/');

	base = base ? base + 1 : path;
	if (!*base || !strcmp(base, ".") || !strcmp(base, "..")) {
		err_set(e, "%s: names a directory; name the program", path);
		return NULL;
	}
	snprintf(dir, sizeof(dir), "%.*s", (int)(base - path), path);
	if (!realpath(dir[0] ? dir : ".", real)) {
		err_errno(e, "%s", path);
		return NULL;
	}
	return format("%s/%s", !strcmp(real, "/") ? "" : real, base);
}

/* A bare name that is no file here is looked for in PATH, as a shell would. */
static void search_path(struct build_spec *s)
{
	const char *p = getenv("PATH");

	while (p && *p) {
		size_t n = strcspn(p, ":");
		char *path = format("%.*s/%s", (int)n, p, s->program);

		if (n && !access(path, X_OK)) {
			free(s->program);
			s->program = path;
			return;
		}
		free(path);
		p += n + (p[n] == ':');
	}
}

/* The program stands in the image where it stands on the host: $ORIGIN and its like mean the same. */
static int add_program(struct build *b, struct err *e)
{
	struct build_spec *s = b->spec;
	struct stat st;
	char *path;

	if (!strchr(s->program, '/') && access(s->program, F_OK))
		search_path(s);
	if (stat(s->program, &st))
		return err_errno(e, "%s", s->program);
	if (!S_ISREG(st.st_mode))
		return err_set(e, "%s: not a regular file; name a program", s->program);
	if (!(st.st_mode & 0111))
		return err_set(e, "%s: not executable; chmod +x it", s->program);
	/* Follow the user's own spelling, so that /bin/sh stays a link to dash. */
	path = path_is_plain(s->program) ? format("%s", s->program) : absolute(s->program, e);
	if (!path)
		return -1;
	b->program = tree_add_same_path(&b->tree, path, e);
	if (!b->program) {
		free(path);
		return -1;
	}
	if (!s->entry)
		s->entry = path;
	else
		free(path);
	return 0;
}

/* What one path of a rule becomes. `into`: `to` is a directory that takes it under its own name. */
static int add_match(struct build *b, const struct file_rule *r, const char *host, bool into,
		     struct err *e)
{
	const char *base = strrchr(host, '/') + 1; /* host is absolute */
	char real[PATH_MAX], *to;
	struct stat st;
	int ret;

	/* A file named by a rule means its content: what a link leads to may not be packed. */
	if (!realpath(host, real) || stat(real, &st))
		return err_set(e, "%s: %s: %s; correct `from`", r->where, host, strerror(errno));
	to = !r->to ? format("%s", host) : into ? format("%s/%s", r->to, base) : format("%s", r->to);
	if (S_ISDIR(st.st_mode))
		ret = tree_add_dir(&b->tree, real, to, r->mode, e);
	else if (!r->to && !r->mode)
		ret = tree_add_same_path(&b->tree, host, e) ? 0 : -1;
	else
		ret = tree_add(&b->tree, real, to, r->mode, e) ? 0 : -1;
	free(to);
	return ret;
}

static int add_rule(struct build *b, const struct file_rule *r, struct err *e)
{
	bool pattern = strpbrk(r->from, "*?[") != NULL;
	glob_t g;
	int ret;

	ret = glob(r->from, GLOB_NOSORT, NULL, &g);
	if (ret == GLOB_NOMATCH)
		return err_set(e, "%s: %s: no such file; correct `from`", r->where, r->from);
	if (ret)
		return err_set(e, "%s: %s: cannot be read", r->where, r->from);
	/* Sorted by bytes, not by the user's locale. */
	for (size_t i = 1; i < g.gl_pathc; i++)
		for (size_t k = i; k && strcmp(g.gl_pathv[k - 1], g.gl_pathv[k]) > 0; k--) {
			char *t = g.gl_pathv[k];

			g.gl_pathv[k] = g.gl_pathv[k - 1];
			g.gl_pathv[k - 1] = t;
		}
	for (size_t i = 0; i < g.gl_pathc && !ret; i++)
		ret = add_match(b, r, g.gl_pathv[i],
				pattern || (r->to && r->to[strlen(r->to) - 1] == '/'), e);
	globfree(&g);
	return ret;
}

static int add_rootfs(struct build *b, const char *dir, struct err *e)
{
	struct stat st;

	if (stat(dir, &st))
		return err_errno(e, "%s", dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, "%s: not a directory; --rootfs takes one", dir);
	return tree_add_dir(&b->tree, dir, "/", 0, e);
}

static int add_content(struct build *b, struct err *e)
{
	struct build_spec *s = b->spec;
	int ret = 0;

	b->tree.replace = true;
	for (size_t i = 0; i < s->rootfs.n && !ret; i++)
		ret = add_rootfs(b, s->rootfs.v[i], e);
	for (size_t i = 0; i < s->nr_files && !ret; i++)
		ret = add_rule(b, &s->files[i], e);
	if (s->program && !ret)
		ret = add_program(b, e);
	b->tree.replace = false;
	return ret;
}

/* The entry must lead to an executable file; one that was not packed is taken from the host. */
static int find_entry(struct build *b, struct err *e)
{
	struct build_spec *s = b->spec;
	struct node *n;

	if (!s->entry)
		return err_set(e, "%s: no entry; say which program shall run", s->where);
	if (!path_is_plain(s->entry))
		return err_set(e, "%s: entry %s: not an absolute path without . and ..", s->where, s->entry);
	n = tree_lookup(&b->tree, s->entry, true);
	if (!n) {
		if (access(s->entry, X_OK))
			return err_set(e, "%s: entry %s: not among the files, nor a program of this host; "
					  "add it to files", s->where, s->entry);
		n = tree_add_same_path(&b->tree, s->entry, e);
		if (!n)
			return -1;
	}
	if (!n->file)
		return err_set(e, "%s: entry %s: not a regular file", s->where, s->entry);
	if (!(n->file->mode & 0111))
		return err_set(e, "%s: entry %s: not executable; set its mode", s->where, s->entry);
	b->program = n;
	return 0;
}

/*
 * Python's byte code names the modification time of its source. All files of an image carry one time, so
 * byte code that is valid on the host gets that time and stays valid.
 */
static int retime_pyc(struct node *n, void *arg)
{
	struct { struct build *b; struct err *e; uint64_t mtime; } *a = arg;
	const char *dot = strchr(n->name ? n->name : "", '.');
	struct node *src;
	uint32_t word[4]; /* magic, flags, mtime, size: PEP 552 */
	char path[PATH_MAX];
	uint8_t *bytes;
	size_t len;

	len = n->name ? strlen(n->name) : 0;
	if (!n->file || len < 5 || strcmp(n->name + len - 4, ".pyc") || n->file->blob->size < 16 ||
	    !n->parent->name || strcmp(n->parent->name, "__pycache__"))
		return 0;
	tree_path(n->parent->parent, path, sizeof(path) - 300);
	len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "/%.*s.py", (int)(dot - n->name), n->name);
	src = tree_lookup(&a->b->tree, path, true);
	if (!src || !src->file || src->file->source_mtime < 0)
		return 0;
	bytes = blob_read(n->file->blob, a->e);
	if (!bytes)
		return -1;
	memcpy(word, bytes, sizeof(word));
	if (word[1] != 0 || word[2] != (uint32_t)src->file->source_mtime ||
	    word[3] != (uint32_t)src->file->blob->size) {
		free(bytes);
		return 0;
	}
	word[2] = (uint32_t)a->mtime;
	memcpy(bytes, word, sizeof(word));
	return tree_replace(&a->b->tree, n->file, bytes, n->file->blob->size, a->e);
}

static int rewrite_blob(struct blob *b, struct err *e)
{
	struct rewrite_result r;
	uint8_t *bytes = blob_read(b, e);
	int ret;

	if (!bytes)
		return -1;
	ret = rewrite_elf(bytes, b->size, &r);
	free(bytes);
	if (ret == -ENOENT)
		return err_set(e, "libZydis.so.4.0 cannot be loaded; install the package libzydis4.0");
	if (ret)
		return err_set(e, "%s: cannot rewrite: %s", b->path ? b->path : "(generated)", strerror(-ret));
	b->rewritten = true;
	b->sites_found = r.sites_found;
	b->sites_rewritten = r.sites_rewritten;
	b->sites_left = r.sites_left;
	if (r.data) {
		free(b->bytes);
		b->bytes = r.data;
		b->size = r.len;
		r.data = NULL;
	}
	/* A file that was rewritten before keeps its bytes, and has pairs all the same. */
	b->sites = r.sites;
	b->nr_sites = r.nr_sites;
	r.sites = NULL;
	rewrite_result_free(&r);
	return 0;
}

static int rewrite_all(struct build *b, struct err *e)
{
	for (struct blob *blob = b->tree.blobs; blob; blob = blob->next)
		if (blob->is_elf && rewrite_blob(blob, e))
			return -1;
	return 0;
}

static int resolve_user(struct build *b, struct err *e)
{
	const char *u = b->spec->user;
	struct node *n;
	char *end, *text, *save = NULL, *line;
	int found = 0;

	if (!u)
		return 0;
	if (*u >= '0' && *u <= '9') {
		unsigned long uid = strtoul(u, &end, 10), gid = uid;

		if (*end == ':')
			gid = strtoul(end + 1, &end, 10);
		if (*end || uid > INT32_MAX || gid > INT32_MAX)
			return err_set(e, "%s: user %s: not of the form NAME, UID or UID:GID", b->spec->where, u);
		b->uid = uid;
		b->gid = gid;
		return 0;
	}
	if (!strcmp(u, "root"))
		return 0;
	/* A name means what the image's own passwd says. */
	n = tree_lookup(&b->tree, "/etc/passwd", true);
	if (!n && !strcmp(u, "nobody")) { /* as build_base.c writes it */
		b->uid = b->gid = 65534;
		return 0;
	}
	if (n && n->file) {
		text = (char *)blob_read(n->file->blob, e);
		if (!text)
			return -1;
		text[n->file->blob->size] = 0;
		for (line = strtok_r(text, "\n", &save); line && !found; line = strtok_r(NULL, "\n", &save)) {
			size_t len = strlen(u);

			if (!strncmp(line, u, len) && line[len] == ':' && (line = strchr(line + len + 1, ':')))
				found = sscanf(line, ":%u:%u", &b->uid, &b->gid) == 2;
		}
		free(text);
	}
	if (!found || b->uid > INT32_MAX || b->gid > INT32_MAX)
		return err_set(e, "%s: user %s: not in the image's /etc/passwd; give a number", b->spec->where, u);
	return 0;
}

static void fill_defaults(struct build_spec *s)
{
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"};
	const char *base;

	if (!s->name) {
		base = strrchr(s->entry, '/');
		s->name = format("%.255s", base[1] ? base + 1 : "image");
	}
	if (!s->workdir)
		s->workdir = format("/");
	for (size_t i = 0; i < sizeof(env) / sizeof(env[0]); i++) {
		size_t len = strcspn(env[i], "=") + 1, k;

		if (len == 5 && s->user && strcmp(s->user, "root"))
			continue; /* no home is known */
		for (k = 0; k < s->env.n && strncmp(s->env.v[k], env[i], len); k++)
			;
		if (k == s->env.n)
			strings_add(&s->env, env[i]);
	}
}

static uint64_t mtime_of_all(void)
{
	const char *s = getenv("SOURCE_DATE_EPOCH");
	char *end;
	unsigned long long v;

	if (!s || !*s)
		return DEFAULT_MTIME;
	v = strtoull(s, &end, 10);
	return *end || v > UINT32_MAX ? DEFAULT_MTIME : v;
}

static int write_parts(struct build *b, int fd, const char *out, uint64_t mtime, struct err *e)
{
	struct image_parts p = {0};
	struct rootfs r;
	void *record = NULL;
	char *manifest = NULL;
	int ret = -1;

	if (rootfs_init(&r, &b->tree, mtime, e))
		return -1;
	p.libos = b->spec->libos;
	p.libos_len = b->spec->libos_len;
	p.rootfs = &r;
	p.progress = b->progress ? say_packed : NULL;
	if (!record_make(b->spec, b->uid, b->gid, &record, &p.record_len, e) &&
	    !manifest_make(b, &manifest, &p.manifest_len, e)) {
		p.record = record;
		p.manifest = manifest;
		ret = image_write(fd, out, &p, e);
	}
	free(record);
	free(manifest);
	rootfs_free(&r);
	return ret;
}

/* Into a new file beside `out`, which takes its name when it is complete. */
static int write_file(struct build *b, const char *out, uint64_t mtime, struct err *e)
{
	char *tmp = format("%s.new-XXXXXX", out);
	mode_t mask = umask(0);
	int fd;

	umask(mask);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0) {
		err_errno(e, "%s: cannot write there", out);
		free(tmp);
		return -1;
	}
	tmpfile_remember(tmp);
	if (write_parts(b, fd, out, mtime, e))
		goto fail;
	if (fchmod(fd, 0666 & ~mask) || rename(tmp, out)) {
		err_errno(e, "%s: cannot write there", out);
		goto fail;
	}
	tmpfile_forget();
	close(fd);
	free(tmp);
	return 0;
fail:
	unlink(tmp);
	tmpfile_forget();
	close(fd);
	free(tmp);
	return -1;
}

int build_image(struct build_spec *spec, const char *out, struct err *e)
{
	struct build b = {.spec = spec, .progress = isatty(2)};
	struct { struct build *b; struct err *e; uint64_t mtime; } pyc = {&b, e, mtime_of_all()};
	int ret = -1;

	if (tree_init(&b.tree, e))
		return -1;
	say(&b, "reading files");
	if (add_content(&b, e) || find_entry(&b, e))
		goto out;
	fill_defaults(spec);
	say(&b, "finding libraries");
	if (build_closure(&b, e) || resolve_user(&b, e) || build_base_files(&b, e))
		goto out;
	if (tree_walk(b.tree.root, retime_pyc, &pyc)) {
		err_set(e, "out of memory");
		goto out;
	}
	say(&b, "rewriting system calls");
	if (rewrite_all(&b, e))
		goto out;
	say(&b, "compressing");
	ret = write_file(&b, out, pyc.mtime, e);
out:
	if (b.progress)
		fputs("\r\033[K", stderr);
	tree_free(&b.tree);
	strings_free(&b.lib_dirs);
	return ret;
}
