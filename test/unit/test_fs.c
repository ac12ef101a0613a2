/*
 * test_fs.c - libos/fs against the host's tmpfs: the same random calls on both must have the same
 * results.
 *
 * The tree starts in the image on one side, as ordinary files on the other, so every call also
 * tests how the memfs lies over the image. The seed is printed; FS_SEED sets it.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs_host.h"

#define NEST "1/2/3/4/5/6/7/8" /* links may lead up, but not out of the test's directory */
#define NR_FDS 6
#define STEPS 30000

static const struct fs_node sub[] = {{"fa", .size = 10}, {"fb", .size = 9000}, {NULL}};
static const struct fs_node deep[] = {{"da", .children = sub}, {"fd", .size = 4096}, {NULL}};
static const struct fs_node none[] = {{NULL}};
static const struct fs_node top[] = {
	{"da", .children = deep},
	{"db", .children = sub},
	{"dc", .children = none},
	{"fa", .size = 100},
	{"fb", .size = 8192},
	{"fc", .size = 0},
	{"fd", .size = 20000},
	{"la", .target = "fa"},
	{"lb", .target = "da"},
	{"lc", .target = "missing"},
	{NULL},
};
static const struct fs_node n8[] = {{"8", .children = top}, {NULL}};
static const struct fs_node n7[] = {{"7", .children = n8}, {NULL}};
static const struct fs_node n6[] = {{"6", .children = n7}, {NULL}};
static const struct fs_node n5[] = {{"5", .children = n6}, {NULL}};
static const struct fs_node n4[] = {{"4", .children = n5}, {NULL}};
static const struct fs_node n3[] = {{"3", .children = n4}, {NULL}};
static const struct fs_node n2[] = {{"2", .children = n3}, {NULL}};
static const struct fs_node n1[] = {{"1", .children = n2}, {NULL}};

static uint64_t rng;

static unsigned rnd(unsigned n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(rng >> 33) % n;
}

static void host_tree(const struct fs_node *n)
{
	for (; n->name; n++) {
		if (n->children) {
			cr_assert_eq(mkdir(n->name, 0755), 0);
			cr_assert_eq(chdir(n->name), 0);
			host_tree(n->children);
			cr_assert_eq(chdir(".."), 0);
		} else if (n->target) {
			cr_assert_eq(symlink(n->target, n->name), 0);
		} else {
			int fd = open(n->name, O_WRONLY | O_CREAT, 0644);

			for (uint64_t k = 0; k < n->size; k++) {
				unsigned char c = fs_node_byte(n, k);

				if (write(fd, &c, 1) != 1)
					cr_assert_fail("write");
			}
			close(fd);
		}
	}
}

static void boot(void)
{
	char dir[] = "/dev/shm/jt-fs-XXXXXX";
	const char *seed = getenv("FS_SEED");

	rng = seed ? strtoull(seed, NULL, 0) : 20240501;
	fprintf(stderr, "FS_SEED=%lu\n", (unsigned long)rng);
	umask(022);
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	host_tree(n1);
	cr_assert_eq(chdir(NEST), 0);
	fs_host_boot(n1, 16 << 20);
	cr_assert_eq(sys_chdir(P("/" NEST)), 0);
}

static void clean(void)
{
	char cmd[64];

	if (chdir("../../../../../../../..") == 0 && getcwd(cmd + 10, 50) &&
	    !strncmp(cmd + 10, "/dev/shm/jt-fs-", 15)) {
		memcpy(cmd, "rm -rf -- ", 10);
		if (system(cmd))
			fprintf(stderr, "cannot remove %s\n", cmd + 10);
	}
}

TestSuite(fs, .init = boot, .fini = clean);

static char what[400];

/* Result of a call on the host, as the library OS gives it. */
static long host(long r)
{
	return r < 0 ? -errno : r;
}

#define SAME(inside, outside)                                                                      \
	do {                                                                                       \
		long h_ = host(outside), l_ = (inside);                                            \
		cr_assert_eq(l_, h_, "step %d: %s: %ld inside, %ld on the host", step, what, l_,   \
			     h_);                                                                  \
	} while (0)

static const char *pick_path(char *buf)
{
	static const char *const names[] = {"da", "db", "dc", "fa", "fb", "fc",
					    "fd", "la", "lb", "lc", "na", "nb"};
	unsigned depth = 1 + rnd(3);

	*buf = 0;
	for (unsigned i = 0; i < depth; i++) {
		if (i)
			strcat(buf, "/");
		strcat(buf, i && !rnd(12) ? ".." : !rnd(30) ? "." : names[rnd(12)]);
	}
	if (!rnd(15))
		strcat(buf, "/");
	return buf;
}

static int host_fd[NR_FDS], lib_fd[NR_FDS];
static int step;

static void compare_stat(const char *path, int flags)
{
	struct stat a, b;
	long h = host(fstatat(AT_FDCWD, path, &a, flags)),
	     l = sys_newfstatat(AT_FDCWD, P(path), P(&b), flags);

	cr_assert_eq(l, h, "step %d: stat %s: %ld inside, %ld on the host", step, path, l, h);
	if (h)
		return;
	cr_assert_eq(a.st_mode, b.st_mode, "step %d: mode of %s: %o inside, %o", step, path,
		     b.st_mode, a.st_mode);
	cr_assert_eq(a.st_nlink, b.st_nlink, "step %d: links of %s: %lu inside, %lu", step, path,
		     (unsigned long)b.st_nlink, (unsigned long)a.st_nlink);
	if (!S_ISDIR(a.st_mode))
		cr_assert_eq(a.st_size, b.st_size, "step %d: size of %s: %ld inside, %ld", step,
			     path, (long)b.st_size, (long)a.st_size);
}

struct names {
	int n;
	char name[64][280];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void gather(struct names *v, const char *buf, long len)
{
	for (long o = 0; o < len;) {
		const struct dirent64 *d = (const void *)(buf + o);

		if (v->n < 64)
			snprintf(v->name[v->n++], 280, "%s:%d", d->d_name, d->d_type);
		o += d->d_reclen;
	}
}

static void compare_dir(const char *path)
{
	static struct names a, b;
	char buf[1024];
	int hfd = open(path, O_RDONLY | O_DIRECTORY);
	long lfd = sys_openat(AT_FDCWD, P(path), O_RDONLY | O_DIRECTORY, 0), n;

	snprintf(what, sizeof(what), "open directory %s", path);
	SAME(lfd < 0 ? lfd : 0, hfd < 0 ? -1 : 0);
	if (hfd < 0)
		return;
	a.n = b.n = 0;
	while ((n = syscall(SYS_getdents64, hfd, buf, sizeof(buf))) > 0)
		gather(&a, buf, n);
	/* A small buffer, so that positions matter. */
	while ((n = sys_getdents64((int)lfd, P(buf), 100)) > 0)
		gather(&b, buf, n);
	qsort(a.name, (size_t)a.n, 280, by_name);
	qsort(b.name, (size_t)b.n, 280, by_name);
	cr_assert_eq(a.n, b.n, "step %d: %s has %d names inside, %d on the host", step, path, b.n,
		     a.n);
	for (int i = 0; i < a.n; i++)
		cr_assert_str_eq(a.name[i], b.name[i], "step %d: %s", step, path);
	close(hfd);
	sys_close((int)lfd);
}

static void compare_contents(int k)
{
	static char a[65536], b[65536];
	ssize_t n = pread(host_fd[k], a, sizeof(a), 0);
	long m = sys_pread64(lib_fd[k], P(b), sizeof(b), 0);

	cr_assert_eq(m, host(n), "step %d: read back: %ld inside, %ld", step, m, host(n));
	if (n > 0)
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(a[i], b[i], "step %d: byte %zd of %zd differs", step, i, n);
}

static void do_open(void)
{
	static const int extra[] = {0,
				    0,
				    O_CREAT,
				    O_CREAT,
				    O_CREAT | O_EXCL,
				    O_TRUNC,
				    O_CREAT | O_TRUNC,
				    O_APPEND,
				    O_DIRECTORY,
				    O_NOFOLLOW,
				    O_PATH,
				    O_CREAT | O_NOFOLLOW};
	char path[128];
	int k = (int)rnd(NR_FDS), flags = (int)rnd(3) | extra[rnd(12)];
	long l;
	int h;

	pick_path(path);
	if (host_fd[k]) {
		close(host_fd[k]);
		sys_close(lib_fd[k]);
		host_fd[k] = lib_fd[k] = 0;
	}
	snprintf(what, sizeof(what), "open %s %o", path, flags);
	h = open(path, flags, 0640);
	l = sys_openat(AT_FDCWD, P(path), flags, 0640);
	cr_assert_eq(l < 0 ? l : 0, h < 0 ? -errno : 0, "step %d: %s: %ld inside, %d (%s)", step,
		     what, l, h, h < 0 ? strerror(errno) : "");
	if (h >= 0) {
		host_fd[k] = h;
		lib_fd[k] = (int)l;
	}
}

static void do_io(void)
{
	static char data[16384], back[16384], back2[16384];
	int k = (int)rnd(NR_FDS), h = host_fd[k], l = lib_fd[k];
	size_t n = rnd(4) ? rnd(300) : rnd(sizeof(data));
	off_t at = rnd(3) ? rnd(10000) : rnd(40000);
	long r;

	if (!h)
		return;
	for (size_t i = 0; i < n; i++)
		data[i] = (char)rnd(256);
	switch (rnd(11)) {
	case 0:
		snprintf(what, sizeof(what), "write %zu", n);
		SAME(sys_write(l, P(data), n), write(h, data, n));
		break;
	case 1:
	case 2:
		snprintf(what, sizeof(what), "pwrite %zu at %ld", n, (long)at);
		SAME(sys_pwrite64(l, P(data), n, at), pwrite(h, data, n, at));
		break;
	case 3:
		snprintf(what, sizeof(what), "read %zu", n);
		r = read(h, back, n);
		SAME(sys_read(l, P(back2), n), r);
		if (r > 0)
			cr_assert_eq(memcmp(back, back2, (size_t)r), 0, "step %d: %s", step, what);
		break;
	case 4:
		snprintf(what, sizeof(what), "ftruncate %ld", (long)at);
		SAME(sys_ftruncate(l, at), ftruncate(h, at));
		break;
	case 5: {
		struct stat st;

		/* Directories' own offsets differ; so do sizes of what is no file. */
		if (fstat(h, &st) || !S_ISREG(st.st_mode))
			return;
		int whence = (int)rnd(3);

		snprintf(what, sizeof(what), "lseek %ld %d", (long)at, whence);
		SAME(sys_lseek(l, at - 5000, whence), lseek(h, at - 5000, whence));
		break;
	}
	case 6: {
		int mode = rnd(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : (int)rnd(2);

		snprintf(what, sizeof(what), "fallocate %d %ld+%zu", mode, (long)at, n);
		SAME(sys_fallocate(l, mode, at, (int64_t)n), fallocate(h, mode, at, (off_t)n));
		break;
	}
	case 7: {
		struct iovec v[3] = {{data, n / 3}, {data + n / 3, 0}, {data + n / 3, n - n / 3}};

		snprintf(what, sizeof(what), "writev %zu", n);
		SAME(sys_writev(l, P(v), 3), writev(h, v, 3));
		break;
	}
	case 8: {
		int k2 = (int)rnd(NR_FDS);
		loff_t a = at, b = rnd(20000), c = a, d = b;

		if (!host_fd[k2])
			return;
		struct stat s1, s2;

		/* The host refuses some pairs for reasons of its own (devices, file systems). */
		if (fstat(h, &s1) || fstat(host_fd[k2], &s2) || !S_ISREG(s1.st_mode) ||
		    !S_ISREG(s2.st_mode))
			return;
		snprintf(what, sizeof(what), "copy_file_range %ld to %ld, %zu", (long)a, (long)b,
			 n);
		SAME(sys_copy_file_range(l, P(&a), lib_fd[k2], P(&b), n, 0),
		     copy_file_range(h, &c, host_fd[k2], &d, n, 0));
		break;
	}
	default:
		compare_contents(k);
	}
}

static void do_names(void)
{
	char p[128], q[128], buf[200], buf2[200];
	struct stat st;
	long r;

	pick_path(p);
	pick_path(q);
	switch (rnd(12)) {
	case 0:
		snprintf(what, sizeof(what), "mkdir %s", p);
		SAME(sys_mkdirat(AT_FDCWD, P(p), 0755), mkdir(p, 0755));
		break;
	case 1:
		snprintf(what, sizeof(what), "unlink %s", p);
		SAME(sys_unlinkat(AT_FDCWD, P(p), 0), unlink(p));
		break;
	case 2:
		snprintf(what, sizeof(what), "rmdir %s", p);
		SAME(sys_unlinkat(AT_FDCWD, P(p), AT_REMOVEDIR), rmdir(p));
		break;
	case 3: {
		static const char *const targets[] = {"fa",   "da", "../fa", "da/fa",
						      "./db", "la", "lb/fd", "nowhere"};
		const char *t = targets[rnd(8)];

		snprintf(what, sizeof(what), "symlink %s at %s", t, p);
		SAME(sys_symlinkat(P(t), AT_FDCWD, P(p)), symlink(t, p));
		break;
	}
	case 4: {
		int flags = rnd(2) ? AT_SYMLINK_FOLLOW : 0;

		snprintf(what, sizeof(what), "link %s to %s %d", p, q, flags);
		SAME(sys_linkat(AT_FDCWD, P(p), AT_FDCWD, P(q), flags),
		     linkat(AT_FDCWD, p, AT_FDCWD, q, flags));
		break;
	}
	case 5:
	case 6:
	case 7: {
		unsigned flags = rnd(3) ? 0 : rnd(4);

		snprintf(what, sizeof(what), "rename %s to %s %u", p, q, flags);
		SAME(sys_renameat2(AT_FDCWD, P(p), AT_FDCWD, P(q), flags),
		     syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, q, flags));
		break;
	}
	case 8:
		snprintf(what, sizeof(what), "readlink %s", p);
		r = readlink(p, buf, sizeof(buf));
		SAME(sys_readlinkat(AT_FDCWD, P(p), P(buf2), sizeof(buf2)), r);
		if (r > 0)
			cr_assert_eq(memcmp(buf, buf2, (size_t)r), 0, "step %d: %s", step, what);
		break;
	case 9:
		if (fstatat(AT_FDCWD, p, &st, 0) == 0 && S_ISDIR(st.st_mode))
			break; /* keep directories usable for an ordinary user */
		snprintf(what, sizeof(what), "chmod %s", p);
		SAME(sys_fchmodat(AT_FDCWD, P(p), 0644), chmod(p, 0644));
		break;
	case 10:
		snprintf(what, sizeof(what), "truncate %s", p);
		SAME(sys_truncate(P(p), 5000), truncate(p, 5000));
		break;
	default:
		compare_dir(p);
	}
	compare_stat(p, 0);
	compare_stat(q, AT_SYMLINK_NOFOLLOW);
}

/* Everything goes, by the calls under test: nothing may be left behind. */
static void remove_all(const char *dir)
{
	char buf[4096], path[512];
	long n, fd = sys_openat(AT_FDCWD, P(dir), O_RDONLY | O_DIRECTORY, 0);

	cr_assert_geq(fd, 0, "%s", dir);
	while ((n = sys_getdents64((int)fd, P(buf), sizeof(buf))) > 0)
		for (long o = 0; o < n;) {
			const struct dirent64 *d = (const void *)(buf + o);

			o += d->d_reclen;
			if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
				continue;
			snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
			if (d->d_type == DT_DIR) {
				remove_all(path);
				cr_assert_eq(sys_unlinkat(AT_FDCWD, P(path), AT_REMOVEDIR), 0, "%s",
					     path);
			} else {
				cr_assert_eq(sys_unlinkat(AT_FDCWD, P(path), 0), 0, "%s", path);
			}
		}
	sys_close((int)fd);
}

Test(fs, same_as_tmpfs, .timeout = 120)
{
	for (step = 0; step < STEPS; step++) {
		unsigned c = rnd(10);

		if (c < 3)
			do_open();
		else if (c < 7)
			do_io();
		else
			do_names();
	}
	sys_close_range(0, ~0u, 0);
	cr_assert_eq(files_count(), 0, "%lu files are open still", files_count());
	remove_all("/1");
	cr_assert_eq(memfs_used_pages(), 0, "%lu pages left", memfs_used_pages());
	cr_assert_eq(shm_pages_used(), 0, "%lu pages of the store left", shm_pages_used());
	compare_stat("none", 0);
}

Test(fs, paths)
{
	char buf[4200], cwd[300];
	long fd;

	cr_assert_eq(sys_getcwd(P(cwd), sizeof(cwd)), (long)sizeof("/" NEST));
	cr_assert_str_eq(cwd, "/" NEST);
	cr_assert_eq(sys_openat(AT_FDCWD, P(""), O_RDONLY, 0), -ENOENT);
	cr_assert_eq(sys_openat(AT_FDCWD, 0, O_RDONLY, 0), -EFAULT);
	cr_assert_eq(sys_openat(999, P("x"), O_RDONLY, 0), -EBADF);
	memset(buf, 'x', sizeof(buf));
	buf[4199] = 0;
	cr_assert_eq(sys_openat(AT_FDCWD, P(buf), O_RDONLY, 0), -ENAMETOOLONG);
	buf[256] = 0;
	cr_assert_eq(sys_openat(AT_FDCWD, P(buf), O_RDONLY, 0), -ENAMETOOLONG);
	cr_assert_eq(sys_mkdirat(AT_FDCWD, P(buf + 1), 0755), 0);
	cr_assert_eq(sys_openat(AT_FDCWD, P("//1//./2/../2"), O_RDONLY | O_DIRECTORY, 0), 0);
	cr_assert_eq(sys_openat(AT_FDCWD, P("/../../1"), O_RDONLY, 0), 1);
	/* A chain of 40 links is followed, one of 41 is not. */
	cr_assert_eq(sys_symlinkat(P("fa"), AT_FDCWD, P("chain0")), 0);
	for (int i = 1; i < 41; i++) {
		char name[20], target[20];

		snprintf(name, sizeof(name), "chain%d", i);
		snprintf(target, sizeof(target), "chain%d", i - 1);
		cr_assert_eq(sys_symlinkat(P(target), AT_FDCWD, P(name)), 0);
	}
	fd = sys_openat(AT_FDCWD, P("chain39"), O_RDONLY, 0);
	cr_assert_eq(fd, 2);
	cr_assert_eq(sys_openat(AT_FDCWD, P("chain40"), O_RDONLY, 0), -ELOOP);
}

Test(fs, image_shows_through)
{
	unsigned char buf[20000];
	long fd = sys_openat(AT_FDCWD, P("fd"), O_RDWR, 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(sys_pwrite64((int)fd, P("!"), 1, 5000), 1);
	cr_assert_eq(memfs_used_pages(), 1, "one page is copied, not the file");
	cr_assert_eq(sys_pread64((int)fd, P(buf), sizeof(buf), 0), 20000);
	for (unsigned i = 0; i < sizeof(buf); i++)
		cr_assert_eq(buf[i], i == 5000 ? '!' : fs_node_byte(&top[6], i), "byte %u", i);
	/* The name goes, the file stays while it is open. */
	cr_assert_eq(sys_unlinkat(AT_FDCWD, P("fd"), 0), 0);
	cr_assert_eq(sys_pread64((int)fd, P(buf), 1, 5000), 1);
	cr_assert_eq(buf[0], '!');
	sys_close((int)fd);
	cr_assert_eq(memfs_used_pages(), 0);
	cr_assert_eq(sys_openat(AT_FDCWD, P("fd"), O_RDWR, 0), -ENOENT);
	/* A directory of the image moves with all that is below. */
	cr_assert_eq(sys_renameat2(AT_FDCWD, P("da"), AT_FDCWD, P("moved"), 0), 0);
	cr_assert_geq(sys_openat(AT_FDCWD, P("moved/da/fb"), O_RDONLY, 0), 0);
	cr_assert_eq(sys_openat(AT_FDCWD, P("da/fd"), O_RDONLY, 0), -ENOENT);
}

Test(fs, quota)
{
	static char page[4096];
	long fd = sys_openat(AT_FDCWD, P("big"), O_RDWR | O_CREAT, 0600), n = 0, r;

	while ((r = sys_write((int)fd, P(page), sizeof(page))) == 4096)
		n++;
	cr_assert_eq(r, -ENOSPC);
	cr_assert_eq(n, (16 << 20) / 4096);
	cr_assert_eq(sys_ftruncate((int)fd, 4096), 0);
	cr_assert_eq(memfs_used_pages(), 1);
	cr_assert_eq(sys_write((int)fd, P(page), 1), 1, "there is room again");
}

Test(fs, descriptors)
{
	long fd = sys_openat(AT_FDCWD, P("fa"), O_RDONLY, 0);

	cr_assert_eq(fd, 0, "the lowest");
	for (int i = 1; i < 1024; i++)
		cr_assert_eq(sys_dup(0), i);
	cr_assert_eq(sys_dup(0), -EMFILE);
	cr_assert_eq(sys_fcntl(0, F_DUPFD, 1024), -EINVAL);
	cr_assert_eq(sys_dup3(0, 1024, 0), -EBADF);
	cr_assert_eq(sys_close(500), 0);
	cr_assert_eq(sys_close(700), 0);
	cr_assert_eq(sys_fcntl(0, F_DUPFD_CLOEXEC, 600), 700);
	cr_assert_eq(sys_fcntl(700, F_GETFD, 0), FD_CLOEXEC);
	cr_assert_eq(sys_dup(0), 500);
	cr_assert_eq(sys_close_range(1, 1022, 0), 0);
	cr_assert_eq(sys_dup(1023), 1);
	cr_assert_eq(sys_close_range(0, ~0u, 0), 0);
	cr_assert_eq(files_count(), 0);
}

/* Several kthreads at once: nothing to compare with, but nothing may be lost or left. */

static void *hammer(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg * 7919 + 1;
	char buf[9000];

	fs_host_thread(false);
	memset(buf, 'h', sizeof(buf));
	for (int i = 0; i < 20000; i++) {
		static const char *const paths[] = {"da",	"da/x", "db/x", "fa",	"fb",
						    "da/da/fb", "x/y",	"x",	"lb/x", "dc/x"};
		const char *p, *q;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		p = paths[(seed >> 33) % 10];
		q = paths[(seed >> 40) % 10];
		switch ((seed >> 50) % 8) {
		case 0:
			sys_mkdirat(AT_FDCWD, P(p), 0755);
			break;
		case 1:
			sys_unlinkat(AT_FDCWD, P(p), (seed >> 60) & 1 ? AT_REMOVEDIR : 0);
			break;
		case 2:
			sys_renameat2(AT_FDCWD, P(p), AT_FDCWD, P(q), 0);
			break;
		case 3:
			sys_linkat(AT_FDCWD, P(p), AT_FDCWD, P(q), 0);
			break;
		case 4:
			sys_truncate(P(p), (long)(seed >> 20) % 9000);
			break;
		default: {
			long fd = sys_openat(AT_FDCWD, P(p),
					     O_RDWR | ((seed >> 61) & 1 ? O_CREAT : 0), 0644);

			if (fd < 0)
				break;
			sys_pwrite64((int)fd, P(buf), (seed >> 10) % sizeof(buf),
				     (long)(seed >> 25) % 20000);
			sys_pread64((int)fd, P(buf), sizeof(buf), (long)(seed >> 22) % 20000);
			if ((seed >> 30) & 1)
				sys_close((int)sys_dup((int)fd));
			sys_close((int)fd);
		}
		}
	}
	return NULL;
}

Test(fs, concurrent, .timeout = 120)
{
	pthread_t t[4];

	fs_host_thread(false);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, hammer, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	cr_assert_eq(files_count(), 0);
	remove_all("/1");
	cr_assert_eq(memfs_used_pages(), 0);
	cr_assert_eq(shm_pages_used(), 0);
}
