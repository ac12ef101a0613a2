/*
 * lib_dirs.c - the directories in which a dynamic linker looks for libraries.
 */
#include "builder/lib_dirs.h"

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const glibc_builtin[] = {
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib",
	"/lib64", "/usr/lib64",
};
static const char *const musl_builtin[] = {"/lib", "/usr/local/lib", "/usr/lib"};

static void add(struct strings *out, const char *dir)
{
	char *d = format("%s", dir);
	size_t n = strlen(d);

	while (n > 1 && d[n - 1] == '/')
		d[--n] = 0;
	if (d[0] == '/' && !strings_has(out, d))
		strings_add(out, d);
	free(d);
}

/* ldconfig(8): a directory a line, `include PATTERN`, comments; a file may include others. */
static void read_conf(const char *path, struct strings *out, int depth)
{
	FILE *f = depth < 8 ? fopen(path, "re") : NULL;
	char line[4096];

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		char *s = line;
		glob_t g;

		s[strcspn(s, "#\n")] = 0;
		s += strspn(s, " \t");
		for (size_t n = strlen(s); n && isspace((unsigned char)s[n - 1]);)
			s[--n] = 0;
		if (strncmp(s, "include", 7) || !isspace((unsigned char)s[7])) {
			add(out, s);
			continue;
		}
		s += 7 + strspn(s + 7, " \t");
		if (glob(s, 0, NULL, &g))
			continue;
		for (size_t i = 0; i < g.gl_pathc; i++)
			read_conf(g.gl_pathv[i], out, depth + 1);
		globfree(&g);
	}
	fclose(f);
}

void lib_dirs_glibc(struct strings *out)
{
	read_conf("/etc/ld.so.conf", out, 0);
	for (size_t i = 0; i < sizeof(glibc_builtin) / sizeof(glibc_builtin[0]); i++)
		add(out, glibc_builtin[i]);
}

/* Directories separated by colons or newlines. */
static void add_list(char *text, const char *separators, struct strings *out)
{
	char *save = NULL;

	for (char *d = strtok_r(text, separators, &save); d; d = strtok_r(NULL, separators, &save))
		add(out, d);
}

void lib_dirs_musl(struct strings *out)
{
	FILE *f = fopen("/etc/ld-musl-x86_64.path", "re");
	char text[4096];
	size_t n;

	if (f) {
		n = fread(text, 1, sizeof(text) - 1, f);
		text[n] = 0;
		fclose(f);
		add_list(text, ":\n", out);
		return;
	}
	for (size_t i = 0; i < sizeof(musl_builtin) / sizeof(musl_builtin[0]); i++)
		add(out, musl_builtin[i]);
}

/* The length of $NAME or ${NAME} at s, 0 if it is not that. */
static size_t token(const char *s, const char *name)
{
	size_t n = strlen(name);

	if (s[0] != '$')
		return 0;
	if (s[1] == '{' && !strncmp(s + 2, name, n) && s[n + 2] == '}')
		return n + 3;
	if (!strncmp(s + 1, name, n) && !isalnum((unsigned char)s[n + 1]) && s[n + 1] != '_')
		return n + 1;
	return 0;
}

void lib_dirs_expand(const char *path, const char *origin, struct strings *out)
{
	const struct {
		const char *name, *value;
	} tokens[] = {{"ORIGIN", origin}, {"LIB", "lib/x86_64-linux-gnu"}, {"PLATFORM", "x86_64"}};
	char dir[4096];

	while (*path) {
		size_t o = 0;

		while (*path && *path != ':') {
			size_t n = 0;

			for (int i = 0; i < 3 && !n; i++) {
				n = token(path, tokens[i].name);
				if (n && o < sizeof(dir))
					o += snprintf(dir + o, sizeof(dir) - o, "%s", tokens[i].value);
			}
			if (!n) {
				n = 1;
				if (o < sizeof(dir))
					dir[o++] = *path;
			}
			path += n;
		}
		if (o && o < sizeof(dir) && dir[0] == '/') {
			dir[o] = 0;
			strings_add(out, dir);
		}
		if (*path)
			path++;
	}
}
