/*
 * manifest.c - the JSON manifest: writing it.
 */
#include "builder/manifest.h"

#include <jansson.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "builder/build.h"
#include "builder/cmd.h"
#include "builder/manifest_int.h"

/*
 * JSON text is UTF-8, file names are bytes: each byte that is no part of valid UTF-8 becomes \xNN, and a
 * backslash before an x is doubled so that the two cannot be taken for one another.
 */
json_t *manifest_string(const char *s, size_t len)
{
	char *out = malloc(4 * len + 1);
	size_t o = 0, i = 0;
	json_t *j;

	if (!out)
		return NULL;
	while (i < len) {
		unsigned char c = s[i];
		size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3
			   : c >= 0xf0 && c < 0xf5		? 4 : 0;
		json_t *probe = n && n <= len - i ? json_stringn(s + i, n) : NULL;

		if (!probe || !c) {
			o += sprintf(out + o, "\\x%02x", c);
			i++;
			continue;
		}
		json_decref(probe);
		if (c == '\\' && i + 1 < len && s[i + 1] == 'x')
			out[o++] = '\\';
		memcpy(out + o, s + i, n);
		o += n;
		i += n;
	}
	j = json_stringn(out, o);
	free(out);
	return j;
}

static json_t *list(const struct strings *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->n; i++)
		json_array_append_new(a, manifest_string(s->v[i], strlen(s->v[i])));
	return a;
}

struct lists {
	json_t *files, *links;
};

static int add_node(struct node *n, void *arg)
{
	struct lists *l = arg;
	char path[2 * PATH_MAX], mode[8];
	json_t *o;

	if (S_ISDIR(n->mode))
		return 0;
	o = json_object();
	tree_path(n, path, sizeof(path));
	json_object_set_new(o, "path", manifest_string(path, strlen(path)));
	if (S_ISLNK(n->mode)) {
		json_object_set_new(o, "target", manifest_string(n->target, strlen(n->target)));
		return json_array_append_new(l->links, o);
	}
	snprintf(mode, sizeof(mode), "%04o", n->file->mode & 07777);
	json_object_set_new(o, "size", json_integer(n->file->blob->size));
	json_object_set_new(o, "mode", json_string(mode));
	json_object_set_new(o, "sites_found", json_integer(n->file->blob->sites_found));
	json_object_set_new(o, "sites_rewritten", json_integer(n->file->blob->sites_rewritten));
	json_object_set_new(o, "sites_left", json_integer(n->file->blob->sites_left));
	return json_array_append_new(l->files, o);
}

static json_t *describe_libos(const struct build *b)
{
	unsigned char hash[32];
	char hex[65];
	json_t *o = json_object();

	crypto_generichash_blake2b(hash, sizeof(hash), b->spec->libos, b->spec->libos_len, NULL, 0);
	sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	json_object_set_new(o, "size", json_integer(b->spec->libos_len));
	json_object_set_new(o, "blake2b", json_string(hex));
	return o;
}

int manifest_make(const struct build *b, char **out, size_t *len, struct err *e)
{
	const struct build_spec *s = b->spec;
	json_t *m = json_object(), *user = json_object(), *limits = json_object(), *ports = json_array();
	struct lists l = {json_array(), json_array()};
	int ret;

	json_object_set_new(m, "format", json_integer(JIMG_VERSION));
	json_object_set_new(m, "builder", json_string("junction " JUNCTION_VERSION));
	json_object_set_new(m, "name", manifest_string(s->name, strlen(s->name)));
	json_object_set_new(m, "entry", manifest_string(s->entry, strlen(s->entry)));
	json_object_set_new(m, "args", list(&s->args));
	json_object_set_new(m, "env", list(&s->env));
	json_object_set_new(m, "workdir", manifest_string(s->workdir, strlen(s->workdir)));
	json_object_set_new(user, "uid", json_integer(b->uid));
	json_object_set_new(user, "gid", json_integer(b->gid));
	json_object_set_new(m, "user", user);
	for (uint32_t i = 0; i < s->nr_ports; i++)
		json_array_append_new(ports, json_integer(s->ports[i]));
	json_object_set_new(m, "ports", ports);
	json_object_set_new(limits, "cores", json_integer(s->cores));
	json_object_set_new(limits, "memory", json_integer(s->memory));
	json_object_set_new(m, "limits", limits);
	json_object_set_new(m, "libos", describe_libos(b));
	ret = tree_walk(b->tree.root, add_node, &l);
	json_object_set_new(m, "files", l.files);
	json_object_set_new(m, "links", l.links);
	*out = ret ? NULL : json_dumps(m, JSON_INDENT(1));
	json_decref(m);
	if (!*out)
		return err_set(e, "%s: cannot write the manifest (out of memory)", s->where);
	*len = strlen(*out);
	return 0;
}
