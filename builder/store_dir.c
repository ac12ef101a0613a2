/*
 * store_dir.c - where the store is, and keeping it in order.
 */
#include "builder/store_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define STORE_LIMIT (8ull << 30) /* bytes of unpacked images kept */
#define STORE_MAX_LINKS 4096

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

/* The links are a cache: when there are very many, all go, else those whose entry is gone. */
static void drop_links(const char *dir, bool dangling_too)
{
	char sub[PATH_MAX];
	struct dirent *de;
	struct stat st;
	size_t n = 0;
	bool all;
	DIR *d;

	snprintf(sub, sizeof(sub), "%s/by-stat", dir);
	d = opendir(sub);
	if (!d)
		return;
	while (readdir(d))
		n++;
	all = n > STORE_MAX_LINKS;
	rewinddir(d);
	while ((all || dangling_too) && (de = readdir(d)))
		if (de->d_name[0] != '.' &&
		    (all || (fstatat(dirfd(d), de->d_name, &st, 0) && errno == ENOENT)))
			unlinkat(dirfd(d), de->d_name, 0);
	closedir(d);
}

struct scan {
	struct entry *v; /* every entry but the one to keep */
	size_t n, cap;
	uint64_t total; /* bytes, that one included */
};

static void scan_one(struct scan *s, int dirfd, const char *name, const char *keep)
{
	struct entry *grown;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return;
	if (!strncmp(name, ".new-", 5) && time(NULL) - st.st_mtime > 3600) {
		unlinkat(dirfd, name, 0);
		return;
	}
	if (strlen(name) != 68 || strcmp(name + 64, ".img"))
		return;
	s->total += st.st_blocks * 512ull;
	if (!strncmp(name, keep, 64))
		return;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		grown = realloc(s->v, s->cap * sizeof(*s->v));
		if (!grown) {
			s->cap = s->n;
			return;
		}
		s->v = grown;
	}
	memcpy(s->v[s->n].name, name, 69);
	s->v[s->n].bytes = st.st_blocks * 512ull;
	s->v[s->n++].made = st.st_mtim;
}

void store_dir_trim(const char *dir, const char *keep)
{
	struct scan s = {0};
	struct dirent *de;
	DIR *d = opendir(dir);
	bool full;

	if (!d)
		return;
	while ((de = readdir(d)))
		scan_one(&s, dirfd(d), de->d_name, keep);
	full = s.total > STORE_LIMIT;
	if (full)
		qsort(s.v, s.n, sizeof(*s.v), older);
	for (size_t i = 0; i < s.n && s.total > STORE_LIMIT; i++)
		if (!unlinkat(dirfd(d), s.v[i].name, 0))
			s.total -= s.v[i].bytes;
	drop_links(dir, full);
	free(s.v);
	closedir(d);
}
