/*
 * record.c - the boot record: validation, and making one.
 */
#include <stdlib.h>
#include <string.h>

#include "builder/checked.h"
#include "builder/image.h"
#include "builder/record.h"
#include "libos/abi/control.h"

static int bad(const char *name, struct err *e, const char *what)
{
	return err_set(e, "%s: malformed boot record: %s; rebuild the image", name, what);
}

/* Every string of the list ends inside the record. */
static bool list_inside(const char *rec, uint64_t len, struct jrec_strings l)
{
	uint64_t off = l.off;

	if (off < sizeof(struct jimg_record) || off > len)
		return false;
	for (uint32_t i = 0; i < l.count; i++) {
		const char *nul = off < len ? memchr(rec + off, 0, len - off) : NULL;

		if (!nul)
			return false;
		off = nul - rec + 1;
	}
	return true;
}

bool path_is_plain(const char *p)
{
	if (*p != '/' || strlen(p) >= 4096)
		return false;
	if (!p[1])
		return true;
	while (*p == '/') {
		size_t n = strcspn(++p, "/");

		if (n == 0 || n > 255 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
	}
	return true;
}

int record_check(const void *bytes, uint64_t len, const char *name, struct err *e)
{
	const char *s = bytes;
	const struct jimg_record *r = bytes;
	const struct jrec_strings *lists[5];

	if (len < sizeof(*r) || len > JREC_MAX_SIZE)
		return bad(name, e, "its size is out of bounds");
	if (r->magic != JREC_MAGIC || r->size != len)
		return bad(name, e, "wrong magic or size");
	lists[0] = &r->name;
	lists[1] = &r->entry;
	lists[2] = &r->args;
	lists[3] = &r->env;
	lists[4] = &r->workdir;
	for (unsigned int i = 0; i < 5; i++)
		if (!list_inside(s, len, *lists[i]))
			return bad(name, e, "a string leaves the record");
	if (r->name.count != 1 || r->entry.count != 1 || r->workdir.count != 1)
		return bad(name, e, "not one name, one entry, one workdir");
	if (!s[r->name.off] || strlen(s + r->name.off) > 255)
		return bad(name, e, "the name is empty or too long");
	if (!path_is_plain(s + r->entry.off))
		return bad(name, e, "the entry is not an absolute path");
	if (!path_is_plain(s + r->workdir.off) || strlen(s + r->workdir.off) >= sizeof(((struct control_boot *)0)->workdir))
		return bad(name, e, "the workdir is not an absolute path or too long");
	for (uint64_t i = 0, off = r->env.off; i < r->env.count; i++, off += strlen(s + off) + 1)
		if (!strchr(s + off, '=') || s[off] == '=')
			return bad(name, e, "an environment string is not of the form K=V");
	if (r->nr_ports > JREC_MAX_PORTS)
		return bad(name, e, "too many ports");
	for (unsigned int i = 0; i < JREC_MAX_PORTS; i++)
		if (!r->ports[i] != (i >= r->nr_ports))
			return bad(name, e, "a port is 0 or stands behind the last");
	if (r->max_cores > CTL_MAX_KTHREADS)
		return bad(name, e, "more cores than an instance can have");
	if (r->uid > INT32_MAX || r->gid > INT32_MAX)
		return bad(name, e, "user or group id out of bounds");
	if (!all_zero(r->reserved, sizeof(r->reserved)))
		return bad(name, e, "reserved bytes are not zero");
	return 0;
}

struct out {
	char *bytes;
	size_t len;
};

static struct jrec_strings put(struct out *o, char *const *v, size_t n)
{
	struct jrec_strings l = {o->len, n};

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(v[i]) + 1;

		if (o->len + len <= JREC_MAX_SIZE)
			memcpy(o->bytes + o->len, v[i], len);
		o->len += len;
		if (o->len > JREC_MAX_SIZE)
			o->len = JREC_MAX_SIZE + 1;
	}
	return l;
}

int record_make(const struct build_spec *s, uint32_t uid, uint32_t gid, void **out, size_t *len,
		struct err *e)
{
	struct out o = {calloc(1, JREC_MAX_SIZE), sizeof(struct jimg_record)};
	struct jimg_record r = {.magic = JREC_MAGIC};

	if (!o.bytes)
		return err_set(e, "out of memory");
	r.name = put(&o, &s->name, 1);
	r.entry = put(&o, &s->entry, 1);
	r.args = put(&o, s->args.v, s->args.n);
	r.env = put(&o, s->env.v, s->env.n);
	r.workdir = put(&o, &s->workdir, 1);
	r.uid = uid;
	r.gid = gid;
	r.max_cores = s->cores;
	r.nr_ports = s->nr_ports;
	memcpy(r.ports, s->ports, s->nr_ports * sizeof(r.ports[0]));
	r.memory_limit = s->memory;
	r.size = o.len;
	if (o.len > JREC_MAX_SIZE) {
		free(o.bytes);
		return err_set(e, "%s: arguments and environment are longer than %lu bytes; shorten them",
			       s->where, JREC_MAX_SIZE);
	}
	memcpy(o.bytes, &r, sizeof(r));
	*out = o.bytes;
	*len = o.len;
	if (record_check(o.bytes, o.len, s->where, e)) {
		free(o.bytes);
		*out = NULL;
		return -1;
	}
	return 0;
}
