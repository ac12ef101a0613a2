/*
 * spec.c - what an image shall be: the specification's own small functions.
 */
#include "builder/spec.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void spec_free(struct build_spec *s)
{
	for (size_t i = 0; i < s->nr_files; i++) {
		free(s->files[i].from);
		free(s->files[i].to);
		free(s->files[i].where);
	}
	free(s->files);
	free(s->name);
	free(s->program);
	free(s->entry);
	free(s->workdir);
	free(s->user);
	free(s->where);
	strings_free(&s->args);
	strings_free(&s->env);
	strings_free(&s->rootfs);
	memset(s, 0, sizeof(*s));
}

void spec_add_file(struct build_spec *s, const char *from, const char *to, uint32_t mode,
		   const char *where)
{
	struct file_rule *grown = realloc(s->files, (s->nr_files + 1) * sizeof(*grown));

	if (!grown)
		abort();
	s->files = grown;
	grown[s->nr_files++] = (struct file_rule){
		.from = format("%s", from), .to = to ? format("%s", to) : NULL, .mode = mode,
		.where = format("%s", where)};
}

int parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	unsigned long long v;
	const char *unit;
	char *end;
	int shift = 0;

	if (!isdigit((unsigned char)*text))
		return -1;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -1;
	if (*end && (unit = strchr(units, toupper((unsigned char)*end)))) {
		shift = 10 * (int)(unit - units + 1);
		end++;
		if (*end == 'i')
			end++;
		if (*end == 'B')
			end++;
	}
	if (*end || v > UINT64_MAX >> shift)
		return -1;
	*out = v << shift;
	return 0;
}
