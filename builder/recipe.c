/*
 * recipe.c - reads a recipe: YAML, every key known, every error with its line.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "builder/record.h"
#include "builder/spec.h"
#include "libos/abi/control.h"

struct recipe {
	const char *path;
	char *dir; /* of the recipe; `from` is relative to it */
	yaml_document_t doc;
	struct build_spec *spec;
	struct err *e;
};

static int bad(struct recipe *r, const yaml_node_t *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int bad(struct recipe *r, const yaml_node_t *at, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(r->e, "%s:%zu: %s", r->path, at ? at->start_mark.line + 1 : 1, what);
}

static yaml_node_t *node(struct recipe *r, yaml_node_item_t i)
{
	return yaml_document_get_node(&r->doc, i);
}

static const char *text(const yaml_node_t *n)
{
	return (const char *)n->data.scalar.value;
}

/* A scalar without NUL bytes, not empty. */
static int need_text(struct recipe *r, const yaml_node_t *n, const char *key, const char **out)
{
	if (n->type != YAML_SCALAR_NODE || strlen(text(n)) != n->data.scalar.length)
		return bad(r, n, "%s: a string is wanted here", key);
	if (!n->data.scalar.length)
		return bad(r, n, "%s: empty; give a value or leave the key out", key);
	*out = text(n);
	return 0;
}

static int get_text(struct recipe *r, const yaml_node_t *n, const char *key, char **slot)
{
	const char *s;

	if (need_text(r, n, key, &s))
		return -1;
	*slot = format("%s", s);
	return 0;
}

static int get_path(struct recipe *r, const yaml_node_t *n, const char *key, char **slot)
{
	if (get_text(r, n, key, slot))
		return -1;
	if (!path_is_plain(*slot))
		return bad(r, n, "%s: %s: an absolute path without . and .. is wanted", key, *slot);
	return 0;
}

static int get_number(struct recipe *r, const yaml_node_t *n, const char *key, unsigned long max,
		      unsigned long *out)
{
	const char *s;
	char *end;

	if (need_text(r, n, key, &s))
		return -1;
	*out = strtoul(s, &end, 10);
	if (s[strspn(s, "0123456789")] || *end || !*out || *out > max)
		return bad(r, n, "%s: %s: a number from 1 to %lu is wanted", key, s, max);
	return 0;
}

static int set_name(struct recipe *r, const yaml_node_t *n)
{
	if (get_text(r, n, "name", &r->spec->name))
		return -1;
	if (strlen(r->spec->name) > 255)
		return bad(r, n, "name: longer than 255 bytes");
	return 0;
}

static int set_entry(struct recipe *r, const yaml_node_t *n)
{
	return get_path(r, n, "entry", &r->spec->entry);
}

static int set_workdir(struct recipe *r, const yaml_node_t *n)
{
	if (get_path(r, n, "workdir", &r->spec->workdir))
		return -1;
	if (strlen(r->spec->workdir) >= sizeof(((struct control_boot *)0)->workdir))
		return bad(r, n, "workdir: too long");
	return 0;
}

static int set_user(struct recipe *r, const yaml_node_t *n)
{
	return get_text(r, n, "user", &r->spec->user);
}

static int set_args(struct recipe *r, const yaml_node_t *n)
{
	if (n->type != YAML_SEQUENCE_NODE)
		return bad(r, n, "args: a list of strings is wanted");
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
		const yaml_node_t *v = node(r, *i);

		/* An argument may be empty. */
		if (v->type != YAML_SCALAR_NODE || strlen(text(v)) != v->data.scalar.length)
			return bad(r, v, "args: a string is wanted here");
		strings_add(&r->spec->args, text(v));
	}
	return 0;
}

static int set_env(struct recipe *r, const yaml_node_t *n)
{
	if (n->type != YAML_MAPPING_NODE)
		return bad(r, n, "env: a mapping of names to values is wanted");
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = node(r, p->key), *v = node(r, p->value);
		const char *name;
		char *line;

		if (need_text(r, k, "env", &name))
			return -1;
		if (strchr(name, '='))
			return bad(r, k, "env: %s: a name holds no '='", name);
		if (v->type != YAML_SCALAR_NODE || strlen(text(v)) != v->data.scalar.length)
			return bad(r, v, "env: %s: a string is wanted here", name);
		for (size_t i = 0; i < r->spec->env.n; i++)
			if (!strncmp(r->spec->env.v[i], name, strlen(name)) &&
			    r->spec->env.v[i][strlen(name)] == '=')
				return bad(r, k, "env: %s: given twice", name);
		line = format("%s=%s", name, text(v));
		strings_add(&r->spec->env, line);
		free(line);
	}
	return 0;
}

static int set_ports(struct recipe *r, const yaml_node_t *n)
{
	if (n->type != YAML_SEQUENCE_NODE)
		return bad(r, n, "ports: a list of port numbers is wanted");
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
		unsigned long port;

		if (get_number(r, node(r, *i), "ports", 65535, &port))
			return -1;
		if (r->spec->nr_ports == JREC_MAX_PORTS)
			return bad(r, node(r, *i), "ports: more than %d", JREC_MAX_PORTS);
		r->spec->ports[r->spec->nr_ports++] = port;
	}
	return 0;
}

/* A setter for each key of a mapping; what stands in `seen` was there already. */
struct key {
	const char *name;
	int (*set)(struct recipe *r, const yaml_node_t *value);
};

static int read_mapping(struct recipe *r, const yaml_node_t *n, const char *what, const struct key *keys,
			size_t nr)
{
	char known[256] = "";
	unsigned int seen = 0;

	if (n->type != YAML_MAPPING_NODE)
		return bad(r, n, "%s: a mapping of keys to values is wanted", what);
	for (size_t i = 0; i < nr; i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", i ? ", " : "",
			 keys[i].name);
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = node(r, p->key);
		size_t i;

		if (k->type != YAML_SCALAR_NODE)
			return bad(r, k, "%s: a key is wanted here: %s", what, known);
		for (i = 0; i < nr && strcmp(keys[i].name, text(k)); i++)
			;
		if (i == nr)
			return bad(r, k, "%s: unknown key; known are %s", text(k), known);
		if (seen & 1u << i)
			return bad(r, k, "%s: given twice", text(k));
		seen |= 1u << i;
		if (keys[i].set(r, node(r, p->value)))
			return -1;
	}
	return 0;
}

static int set_cores(struct recipe *r, const yaml_node_t *n)
{
	unsigned long v;

	if (get_number(r, n, "cores", CTL_MAX_KTHREADS, &v))
		return -1;
	r->spec->cores = v;
	return 0;
}

static int set_memory(struct recipe *r, const yaml_node_t *n)
{
	const char *s;

	if (need_text(r, n, "memory", &s))
		return -1;
	if (parse_size(s, &r->spec->memory) || !r->spec->memory)
		return bad(r, n, "memory: %s: a size is wanted, like 64M or 2G", s);
	return 0;
}

static int set_limits(struct recipe *r, const yaml_node_t *n)
{
	static const struct key keys[] = {{"cores", set_cores}, {"memory", set_memory}};

	return read_mapping(r, n, "limits", keys, 2);
}

static int set_from(struct recipe *r, const yaml_node_t *n)
{
	struct file_rule *f = &r->spec->files[r->spec->nr_files - 1];
	const char *s;

	if (need_text(r, n, "from", &s))
		return -1;
	free(f->from);
	f->from = s[0] == '/' ? format("%s", s) : format("%s/%s", r->dir, s);
	return 0;
}

static int set_to(struct recipe *r, const yaml_node_t *n)
{
	struct file_rule *f = &r->spec->files[r->spec->nr_files - 1];
	size_t len;

	if (get_text(r, n, "to", &f->to))
		return -1;
	len = strlen(f->to);
	if (len > 1 && f->to[len - 1] == '/')
		f->to[len - 1] = 0;
	if (!path_is_plain(f->to))
		return bad(r, n, "to: %s: an absolute path without . and .. is wanted", f->to);
	if (len > 1 && strlen(f->to) < len)
		f->to[len - 1] = '/';
	return 0;
}

static int set_mode(struct recipe *r, const yaml_node_t *n)
{
	struct file_rule *f = &r->spec->files[r->spec->nr_files - 1];
	const char *s;

	if (need_text(r, n, "mode", &s))
		return -1;
	f->mode = strtoul(s, NULL, 8);
	if (s[strspn(s, "01234567")] || strlen(s) > 5 || !f->mode || f->mode > 07777)
		return bad(r, n, "mode: %s: an octal number like 0755 is wanted", s);
	return 0;
}

static int set_files(struct recipe *r, const yaml_node_t *n)
{
	static const struct key keys[] = {{"from", set_from}, {"to", set_to}, {"mode", set_mode}};

	if (n->type != YAML_SEQUENCE_NODE)
		return bad(r, n, "files: a list is wanted, each with from, to, mode");
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
		const yaml_node_t *v = node(r, *i);
		char *where = format("%s:%zu", r->path, v->start_mark.line + 1);
		const struct file_rule *f;

		spec_add_file(r->spec, "", NULL, 0, where);
		free(where);
		if (read_mapping(r, v, "files", keys, 3))
			return -1;
		f = &r->spec->files[r->spec->nr_files - 1];
		if (!*f->from)
			return bad(r, v, "files: no `from`; say what to pack");
	}
	return 0;
}

static int read_recipe(struct recipe *r)
{
	static const struct key keys[] = {
		{"name", set_name}, {"entry", set_entry}, {"args", set_args}, {"env", set_env},
		{"workdir", set_workdir}, {"files", set_files}, {"user", set_user}, {"ports", set_ports},
		{"limits", set_limits},
	};
	const yaml_node_t *root = yaml_document_get_root_node(&r->doc);

	if (!root)
		return err_set(r->e, "%s: empty; a recipe names at least an entry", r->path);
	if (read_mapping(r, root, "recipe", keys, sizeof(keys) / sizeof(keys[0])))
		return -1;
	if (!r->spec->entry)
		return err_set(r->e, "%s: no entry; say which program shall run", r->path);
	return 0;
}

/* A directory, so that relative paths work from everywhere and mean the same in messages. */
static int recipe_dir(struct recipe *r)
{
	const char *slash = strrchr(r->path, '/');
	char *dir = slash ? format("%.*s/", (int)(slash - r->path), r->path) : format(".");

	r->dir = realpath(dir, NULL);
	free(dir);
	return r->dir ? 0 : err_errno(r->e, "%s", r->path);
}

int spec_read_recipe(struct build_spec *s, const char *path, struct err *e)
{
	struct recipe r = {.path = path, .spec = s, .e = e};
	yaml_parser_t parser;
	yaml_document_t more;
	FILE *f = fopen(path, "re");
	int ret = -1;

	if (!f)
		return err_errno(e, "%s", path);
	if (recipe_dir(&r) || !yaml_parser_initialize(&parser)) {
		fclose(f);
		free(r.dir);
		return err_set(e, "%s: out of memory", path);
	}
	s->where = format("%s", path);
	yaml_parser_set_input_file(&parser, f);
	if (!yaml_parser_load(&parser, &r.doc)) {
		err_set(e, "%s:%zu: %s", path, parser.problem_mark.line + 1,
			parser.problem ? parser.problem : "not YAML");
		goto out;
	}
	ret = read_recipe(&r);
	if (!ret && yaml_parser_load(&parser, &more)) {
		if (yaml_document_get_root_node(&more))
			ret = err_set(e, "%s:%zu: a second document; a recipe is one", path,
				      yaml_document_get_root_node(&more)->start_mark.line + 1);
		yaml_document_delete(&more);
	}
	yaml_document_delete(&r.doc);
out:
	yaml_parser_delete(&parser);
	fclose(f);
	free(r.dir);
	return ret;
}
