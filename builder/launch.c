/*
 * launch.c - arguments and environment of a program, from its image's record and its starter's wishes.
 */
#include "builder/launch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "builder/store.h"

static bool same_name(const char *a, const char *b)
{
	size_t len = strchrnul(a, '=') - a;

	return !strncmp(a, b, len) && b[len] == '=';
}

char **launch_env(const struct jimg_record *rec, char *const *env, size_t nr)
{
	char **all = calloc(rec->env.count + nr + 1, sizeof(*all));
	size_t have = 0;

	for (size_t i = 0; all && i < rec->env.count + nr; i++) {
		char *s = i < rec->env.count ? (char *)store_record_string(rec, rec->env, i)
					     : env[i - rec->env.count];
		size_t at = 0;

		while (at < have && !same_name(all[at], s))
			at++;
		all[at] = s;
		have += at == have;
	}
	return all;
}

char **launch_argv(const struct jimg_record *rec, char *const *args)
{
	size_t count = rec->args.count, nr = 0;
	char **argv;

	if (args)
		for (count = 0; args[count]; count++)
			;
	argv = calloc(count + 2, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[nr++] = (char *)store_record_string(rec, rec->entry, 0);
	for (size_t i = 0; i < count; i++)
		argv[nr++] = args ? args[i] : (char *)store_record_string(rec, rec->args, i);
	return argv;
}
