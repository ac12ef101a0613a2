/*
 * store_dir.c - where the store is, and keeping it in order.
 */
#include "builder/store_dir.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define STORE_LIMIT (8ull << 30) /* bytes of unpacked images kept */

bool store_dir_name(char *out, size_t len)
{
	const char *s = getenv("JUNCTION_STORE");
	int n = -1;

	if (s && *s)
		n = snprintf(out, len, "%s", s);
	else if (geteuid() == 0)
		n = snprintf(out, len, "/var/lib/junction/store");
	else if ((s = getenv("XDG_CACHE_HOME")) && *s == '/')
		n = snprintf(out, len, "%s/junction/store", s);
	else if ((s = getenv("HOME")) && *s == '/')
		n = snprintf(out, len, "%s/.cache/junction/store", s);
	if (n < 0 || (size_t)n >= len) {
		out[0] = 0;
		return false;
	}
	return true;
}

/* mkdir -p; only the last directory must be private. */
static int make_dirs(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", dir);
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0755) && errno != EEXIST)
			return -1;
		*p = '/';
	}
	return mkdir(path, 0700) && errno != EEXIST ? -1 : 0;
}

int store_dir_make(const char *dir, const char *jimg, struct err *e)
{
	char sub[PATH_MAX];
	struct statvfs fs;
	struct stat st;

	if (!dir[0] || make_dirs(dir) || stat(dir, &st))
		return 1;
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
		return err_set(e, "%s: the store %s can be written by other users; "
				  "chmod 700 it or set JUNCTION_STORE", jimg, dir);
	if (access(dir, W_OK | X_OK) || statvfs(dir, &fs) || (fs.f_flag & (ST_NOEXEC | ST_RDONLY)))
		return 1;
	snprintf(sub, sizeof(sub), "%s/by-stat", dir);
	return mkdir(sub, 0700) && errno != EEXIST ? 1 : 0;
}

struct entry {
	char name[80];
	uint64_t bytes;
	struct timespec made;
};

static int older(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->made.tv_sec != y->made.tv_sec)
		return x->made.tv_sec < y->made.tv_sec ? -1 : 1;
	return x->made.tv_nsec < y->made.tv_nsec ? -1 : x->made.tv_nsec > y->made.tv_nsec;
}

/* Links whose entry is gone. */
static void drop_dangling(const char *dir)
{
	char sub[PATH_MAX];
	struct dirent *de;
	struct stat st;
	DIR *d;

	snprintf(sub, sizeof(sub), "%s/by-stat", dir);
	d = opendir(sub);
	if (!d)
		return;
	while ((de = readdir(d)))
		if (de->d_name[0] != '.' && fstatat(dirfd(d), de->d_name, &st, 0) && errno == ENOENT)
			unlinkat(dirfd(d), de->d_name, 0);
	closedir(d);
}

void store_dir_trim(const char *dir, const char *keep)
{
	struct entry *all = NULL, *grown;
	uint64_t total = 0;
	size_t n = 0, cap = 0;
	struct dirent *de;
	struct stat st;
	DIR *d = opendir(dir);

	if (!d)
		return;
	while ((de = readdir(d))) {
		size_t len = strlen(de->d_name);

		if (len != 68 || strcmp(de->d_name + 64, ".img") || fstatat(dirfd(d), de->d_name, &st, 0))
			continue;
		total += st.st_blocks * 512ull;
		if (!strncmp(de->d_name, keep, 64))
			continue;
		if (n == cap) {
			cap = cap ? 2 * cap : 64;
			grown = realloc(all, cap * sizeof(*all));
			if (!grown)
				break;
			all = grown;
		}
		memcpy(all[n].name, de->d_name, len + 1);
		all[n].bytes = st.st_blocks * 512ull;
		all[n++].made = st.st_mtim;
	}
	if (total > STORE_LIMIT) {
		qsort(all, n, sizeof(*all), older);
		for (size_t i = 0; i < n && total > STORE_LIMIT; i++)
			if (!unlinkat(dirfd(d), all[i].name, 0))
				total -= all[i].bytes;
		drop_dangling(dir);
	}
	free(all);
	closedir(d);
}
