/*
 * manifest_check.c - does the manifest tell the same as what will run?
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "builder/manifest.h"
#include "builder/manifest_int.h"
#include "builder/store.h"

struct check {
	const struct image *img;
	struct err *e;
	const uint8_t *fs;
	json_t *files, *links; /* arrays of the manifest */
	size_t next_file, next_link;
	char path[PATH_MAX];
};

static int differs(const struct check *c, const char *what)
{
	return err_set(c->e, "%s: manifest and content disagree on %s; rebuild the image", c->img->name,
		       what);
}

static bool string_is(json_t *j, const char *s, size_t len)
{
	json_t *want = manifest_string(s, len);
	bool same = want && json_equal(j, want);

	json_decref(want);
	return same;
}

static bool list_is(json_t *j, const struct jimg_record *r, struct jrec_strings l)
{
	const char *s = (const char *)r + l.off;

	if (!json_is_array(j) || json_array_size(j) != l.count)
		return false;
	for (uint32_t i = 0; i < l.count; i++, s += strlen(s) + 1)
		if (!string_is(json_array_get(j, i), s, strlen(s)))
			return false;
	return true;
}

static bool integer_is(json_t *j, uint64_t v)
{
	return json_is_integer(j) && json_integer_value(j) >= 0 && (uint64_t)json_integer_value(j) == v;
}

static int check_record(const struct check *c, json_t *m)
{
	const struct jimg_record *r = c->img->record;
	const char *s = (const char *)r;
	json_t *ports = json_object_get(m, "ports"), *user = json_object_get(m, "user"),
	       *limits = json_object_get(m, "limits");

	if (!integer_is(json_object_get(m, "format"), JIMG_VERSION))
		return differs(c, "format");
	if (!string_is(json_object_get(m, "name"), s + r->name.off, strlen(s + r->name.off)))
		return differs(c, "name");
	if (!string_is(json_object_get(m, "entry"), s + r->entry.off, strlen(s + r->entry.off)))
		return differs(c, "entry");
	if (!string_is(json_object_get(m, "workdir"), s + r->workdir.off, strlen(s + r->workdir.off)))
		return differs(c, "workdir");
	if (!list_is(json_object_get(m, "args"), r, r->args))
		return differs(c, "args");
	if (!list_is(json_object_get(m, "env"), r, r->env))
		return differs(c, "env");
	if (!integer_is(json_object_get(user, "uid"), r->uid) ||
	    !integer_is(json_object_get(user, "gid"), r->gid))
		return differs(c, "user");
	if (!integer_is(json_object_get(limits, "cores"), r->max_cores) ||
	    !integer_is(json_object_get(limits, "memory"), r->memory_limit))
		return differs(c, "limits");
	if (!json_is_array(ports) || json_array_size(ports) != r->nr_ports)
		return differs(c, "ports");
	for (uint32_t i = 0; i < r->nr_ports; i++)
		if (!integer_is(json_array_get(ports, i), r->ports[i]))
			return differs(c, "ports");
	return 0;
}

/* How many rewritten and left sites a file has is the rewriter's word; it must at least be a number. */
static bool count_of(json_t *o, const char *key, uint64_t *out)
{
	json_t *j = json_object_get(o, key);

	if (!json_is_integer(j) || json_integer_value(j) < 0 || json_integer_value(j) > UINT32_MAX)
		return false;
	*out = json_integer_value(j);
	return true;
}

static int check_file(struct check *c, const struct jfs_inode *in)
{
	json_t *o = json_array_get(c->files, c->next_file++);
	uint64_t found, rewritten, left;
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", in->mode & 07777);
	if (!o || !string_is(json_object_get(o, "path"), c->path, strlen(c->path)) ||
	    !integer_is(json_object_get(o, "size"), in->size) ||
	    !string_is(json_object_get(o, "mode"), mode, 4))
		return differs(c, "a file's path, size or mode");
	if (!count_of(o, "sites_found", &found) || !count_of(o, "sites_rewritten", &rewritten) ||
	    !count_of(o, "sites_left", &left) || found != rewritten + left)
		return differs(c, "a file's system call sites");
	return 0;
}

static int check_link(struct check *c, const struct jfs_inode *in, const char *names)
{
	json_t *o = json_array_get(c->links, c->next_link++);

	if (!o || !string_is(json_object_get(o, "path"), c->path, strlen(c->path)) ||
	    !string_is(json_object_get(o, "target"), names + in->data_off, in->size))
		return differs(c, "a symbolic link");
	return 0;
}

/* jfs_check() has bounded the depth: no path is longer than PATH_MAX. */
static int check_dir(struct check *c, uint32_t ino, size_t len)
{
	const struct jfs_super *s = (const struct jfs_super *)c->fs;
	const struct jfs_inode *inodes = (const struct jfs_inode *)(c->fs + s->inode_off), *in;
	const struct jfs_dirent *d = (const struct jfs_dirent *)(c->fs + s->dirent_off);
	const char *names = (const char *)c->fs + s->names_off;
	int ret = 0;

	in = &inodes[ino];
	d += in->first_dirent;
	for (uint32_t i = 0; i < in->dirent_count && !ret; i++, d++) {
		size_t n = len + 1 + d->name_len;

		if (n >= sizeof(c->path))
			return differs(c, "path lengths");
		c->path[len] = '/';
		memcpy(c->path + len + 1, names + d->name_off, d->name_len);
		c->path[n] = 0;
		if (S_ISDIR(inodes[d->ino].mode))
			ret = check_dir(c, d->ino, n);
		else if (S_ISLNK(inodes[d->ino].mode))
			ret = check_link(c, &inodes[d->ino], names);
		else
			ret = check_file(c, &inodes[d->ino]);
	}
	return ret;
}

int manifest_check(const struct image *img, const uint8_t *fs, struct err *e)
{
	struct check c = {.img = img, .e = e, .fs = fs};
	json_error_t je;
	json_t *m;
	int ret;

	m = json_loadb((const char *)img->bytes + img->header.manifest.off, img->header.manifest.len,
		       JSON_REJECT_DUPLICATES, &je);
	if (!json_is_object(m)) {
		json_decref(m);
		return err_set(e, "%s: the manifest is no JSON object; rebuild the image", img->name);
	}
	c.files = json_object_get(m, "files");
	c.links = json_object_get(m, "links");
	ret = check_record(&c, m);
	if (!ret)
		ret = check_dir(&c, 1, 0);
	if (!ret && (json_array_size(c.files) != c.next_file || json_array_size(c.links) != c.next_link))
		ret = differs(&c, "the list of files");
	json_decref(m);
	return ret;
}
