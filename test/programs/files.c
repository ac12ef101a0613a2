/* files.c - names: directories, links, rename, unlink, stat, getdents64, *at calls, descriptors. */
#include "t.h"

#include <dirent.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <utime.h>

#define FLAGS_OF(fd) (fcntl(fd, F_GETFL) & ~0100000) /* without the kernel's own O_LARGEFILE */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted, with their types. */
static void list(const char *path)
{
	char *names[64];
	char line[800] = "";
	struct dirent *de;
	DIR *d = opendir(path);
	int n = 0;

	if (!d) {
		say("list %s: %s", path, t_errname(errno));
		return;
	}
	while (n < 64 && (de = readdir(d))) {
		char buf[300];

		snprintf(buf, sizeof(buf), "%s:%d", de->d_name, de->d_type);
		names[n++] = strdup(buf);
	}
	closedir(d);
	qsort(names, n, sizeof(names[0]), by_name);
	for (int i = 0; i < n; i++) {
		strncat(line, " ", sizeof(line) - strlen(line) - 1);
		strncat(line, names[i], sizeof(line) - strlen(line) - 1);
		free(names[i]);
	}
	say("list %s:%s", path, line);
}

static void show_stat(const char *path)
{
	struct stat st;

	if (lstat(path, &st)) {
		say("stat %s: %s", path, t_errname(errno));
		return;
	}
	if (S_ISDIR(st.st_mode))
		say("stat %s: mode %o nlink %ld", path, st.st_mode, (long)st.st_nlink);
	else
		say("stat %s: mode %o nlink %ld size %ld", path, st.st_mode, (long)st.st_nlink,
		    (long)st.st_size);
}

static ino_t ino_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? 0 : st.st_ino;
}

static void opening(void)
{
	int fd, fd2;

	HEAD("open");
	R(open("none", O_RDONLY));
	R(open("", O_RDONLY));
	fd = Z(open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
	R(open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
	show_stat("a");
	R(write(fd, "hello", 5));
	R(FLAGS_OF(fd));
	R(fcntl(fd, F_GETFD));
	R(close(fd));
	R(close(fd));
	R(read(fd, &fd, 1));
	R(mkdir("d", 0700));
	R(open("d", O_WRONLY));
	R(open("d", O_RDWR | O_CREAT, 0600));
	R(open("a", O_RDONLY | O_DIRECTORY));
	R(open("a/x", O_RDONLY));
	R(open("d/x/y", O_RDONLY));
	R(open("d/", O_WRONLY | O_CREAT, 0600));
	R(open("new/", O_WRONLY | O_CREAT, 0600));
	fd = Z(open("a", O_WRONLY | O_TRUNC));
	show_stat("a");
	R(read(fd, &fd2, 1));
	R(close(fd));
	fd = Z(open("a", O_RDONLY | O_CLOEXEC));
	R(fcntl(fd, F_GETFD));
	R(write(fd, "x", 1));
	fd2 = fcntl(fd, F_DUPFD, 100);
	V(fd2);
	R(fcntl(fd2, F_GETFD));
	R(fcntl(fd, F_DUPFD_CLOEXEC, 100));
	R(fcntl(101, F_GETFD));
	R(dup2(fd, 100));
	R(dup2(fd, fd) == fd);
	R(dup2(300, 100));
	R(dup3(fd, fd, 0));
	R(dup3(fd, 102, O_CLOEXEC));
	R(fcntl(102, F_GETFD));
	R(syscall(SYS_dup3, fd, 103, 5));
	R(fcntl(fd, F_SETFD, 0));
	R(fcntl(fd, F_GETFD));
	R(fcntl(fd, 9999));
	R(syscall(SYS_close_range, 100, 103, 0));
	R(close(101));
	R(syscall(SYS_close_range, 5, 4, 0));
	R(close(fd));
	R(close(-1));
	fd = Z(open("d", O_PATH));
	R(read(fd, &fd2, 1));
	R(syscall(SYS_fchmod, fd, 0700));
	fd2 = Z(openat(fd, "in", O_WRONLY | O_CREAT, 0600));
	R(close(fd2));
	R(close(fd));
	show_stat("d/in");
	fd = Z(open("d", O_RDWR | O_TMPFILE, 0600));
	R(write(fd, "tmp", 3));
	R(close(fd));
	list("d");
	R(creat("c", 0444) >= 0);
	show_stat("c");
	R(unlink("c"));
	R(unlink("a"));
	R(unlink("d/in"));
	R(rmdir("d"));
}

static void links(void)
{
	char buf[64], longname[300];
	ssize_t n;

	HEAD("links");
	put_file("a", "aa");
	R(link("a", "b"));
	show_stat("a");
	T(ino_of("a") == ino_of("b"));
	R(link("a", "b"));
	R(link("none", "z"));
	R(mkdir("d", 0755));
	R(link("d", "dl"));
	R(symlink("a", "s"));
	R(symlink("a", "s"));
	R(symlink("", "s2"));
	show_stat("s");
	show_file("s");
	n = readlink("s", buf, sizeof(buf));
	say("readlink %.*s %zd", (int)n, buf, n);
	R(readlink("s", buf, 1));
	R(readlink("a", buf, sizeof(buf)));
	R(readlink("none", buf, sizeof(buf)));
	R(syscall(SYS_readlink, "s", buf, 0));
	R(symlink("loop2", "loop1"));
	R(symlink("loop1", "loop2"));
	R(open("loop1", O_RDONLY));
	R(open("s", O_RDONLY | O_NOFOLLOW));
	R(open("s", O_WRONLY | O_CREAT | O_EXCL, 0600));
	R(symlink("gone", "dangling"));
	R(open("dangling", O_RDONLY));
	R(open("dangling", O_WRONLY | O_CREAT, 0600) >= 0);
	show_stat("gone");
	R(linkat(AT_FDCWD, "s", AT_FDCWD, "sl", 0));
	show_stat("sl");
	R(linkat(AT_FDCWD, "s", AT_FDCWD, "al", AT_SYMLINK_FOLLOW));
	show_stat("al");
	R(symlink("d", "dd"));
	put_file("dd/x", "x");
	list("d");
	show_file("dd/../d/./x");
	show_stat("dd/");
	R(rmdir("dd"));
	R(unlink("d"));
	R(unlink("none"));
	R(unlink("a/b"));
	R(rmdir("d"));
	R(rmdir("a"));
	R(rmdir("."));
	R(unlinkat(AT_FDCWD, "d", 0));
	R(unlinkat(AT_FDCWD, "a", AT_REMOVEDIR));
	R(unlinkat(AT_FDCWD, "a", 0x8000));
	R(unlink("d/x"));
	R(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	memset(longname, 'n', 255);
	longname[255] = 0;
	R(mkdir(longname, 0755));
	R(rmdir(longname));
	longname[255] = 'n';
	longname[256] = 0;
	R(mkdir(longname, 0755));
	list(".");
	for (const char *const *p = (const char *const[]){ "a", "b", "s", "sl", "al", "dd", "loop1",
							   "loop2", "dangling", "gone", NULL };
	     *p; p++)
		unlink(*p);
	list(".");
}

static void renames(void)
{
	int fd;

	HEAD("rename");
	put_file("a", "1");
	put_file("b", "22");
	fd = open("b", O_RDONLY);
	R(rename("a", "b"));
	show_file("b");
	{
		char c[3] = "";

		R(read(fd, c, 2));
		S(c);
	}
	{
		struct stat st;

		fstat(fd, &st);
		V(st.st_nlink);
	}
	close(fd);
	R(rename("a", "b"));
	R(mkdir("d", 0755));
	R(mkdir("e", 0755));
	R(rename("b", "d"));
	R(rename("d", "b"));
	put_file("e/f", "f");
	R(rename("d", "e"));
	R(rename("e", "d"));
	list(".");
	list("d");
	R(rename("d", "d/sub"));
	R(mkdir("d/sub", 0755));
	R(rename("d", "d/sub/x"));
	R(rename("d/sub", "."));
	R(rename("b", "b"));
	R(link("b", "b2"));
	R(rename("b", "b2")); /* same inode: nothing happens, both names stay */
	list(".");
	R(renameat2(AT_FDCWD, "b", AT_FDCWD, "b2", RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "b", AT_FDCWD, "b3", RENAME_NOREPLACE));
	put_file("x", "xx");
	R(renameat2(AT_FDCWD, "x", AT_FDCWD, "d", RENAME_EXCHANGE));
	show_stat("x");
	show_file("d");
	R(renameat2(AT_FDCWD, "x", AT_FDCWD, "none", RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "x", AT_FDCWD, "d", RENAME_EXCHANGE | RENAME_NOREPLACE));
	R(rename("x/sub", "moved"));
	{
		struct stat a, b;

		stat(".", &a);
		stat("moved/..", &b);
		T(a.st_ino == b.st_ino);
		V(a.st_nlink);
	}
	R(rename("moved/", "moved2/"));
	R(rename("d/", "q"));
	list(".");
	unlink("x/f");
	rmdir("x");
	rmdir("moved2");
	unlink("b2");
	unlink("b3");
	unlink("d");
	list(".");
}

static void directories(void)
{
	char buf[4096];
	int fd, n = 0, entries = 0, dots = 0;
	long r;
	char cwd[256];

	HEAD("directories");
	R(mkdir("d", 0755));
	R(mkdir("d", 0755));
	R(mkdir("d/", 0755));
	R(mkdir("x/y", 0755));
	R(mkdir(".", 0755));
	R(mkdir("/", 0755));
	R(mkdir("slash/", 0755));
	R(rmdir("slash/"));
	R(mkdir("sticky", 01777));
	show_stat("sticky");
	R(rmdir("sticky"));
	for (int i = 0; i < 500; i++) {
		snprintf(buf, sizeof(buf), "d/file%03d", i);
		fd = open(buf, O_WRONLY | O_CREAT, 0600);
		n += fd >= 0;
		close(fd);
	}
	V(n);
	fd = open("d", O_RDONLY | O_DIRECTORY);
	R(syscall(SYS_getdents64, fd, buf, 4));
	while ((r = syscall(SYS_getdents64, fd, buf, 1000)) > 0) {
		for (long o = 0; o < r;) {
			unsigned short len;
			memcpy(&len, buf + o + 16, 2);
			if (buf[o + 19] == '.')
				dots++;
			else
				entries++;
			T(len % 8 == 0);
			o += len;
			if (entries > 2)
				goto counted;
		}
	}
counted:
	R(lseek(fd, 0, SEEK_SET));
	entries = dots = 0;
	while ((r = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long o = 0; o < r;) {
			unsigned short len;

			memcpy(&len, buf + o + 16, 2);
			if (buf[o + 19] == '.')
				dots++;
			else
				entries++;
			o += len;
		}
	V(r);
	V(entries);
	V(dots);
	R(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
	R(syscall(SYS_getdents64, 1000, buf, sizeof(buf)));
	R(read(fd, buf, 1));
	R(write(fd, buf, 1));
	R(fchdir(fd));
	T(ino_of("file007") != 0);
	R(chdir(".."));
	close(fd);
	/* Removing while reading loses no entry. */
	{
		DIR *d = opendir("d");
		struct dirent *de;
		int removed = 0;

		while ((de = readdir(d)))
			if (de->d_name[0] != '.')
				removed += unlinkat(dirfd(d), de->d_name, 0) == 0;
		closedir(d);
		V(removed);
	}
	list("d");
	fd = open("d", O_RDONLY);
	R(syscall(SYS_getdents64, 1, buf, sizeof(buf)));
	R(rmdir("d"));
	R(openat(fd, "x", O_WRONLY | O_CREAT, 0600));
	R(close(fd));
	R(mkdir("w", 0755));
	R(chdir("w"));
	getcwd(cwd, sizeof(cwd));
	S(strrchr(cwd, '/'));
	R(getcwd(cwd, 2) == NULL ? 0 : 1);
	R(syscall(SYS_getcwd, cwd, 1));
	R(rmdir("../w"));
	R(syscall(SYS_getcwd, cwd, sizeof(cwd)));
	R(open("x", O_WRONLY | O_CREAT, 0600));
	R(chdir(".."));
	R(chdir("none"));
	R(chdir("/"));
	R(fchdir(1000));
}

static void stats(void)
{
	struct statx sx;
	struct stat st;
	struct timespec times[2] = { { 1000000000, 123456789 }, { 1100000000, 5 } };
	struct statfs sf;
	int fd;

	HEAD("stat");
	put_file("a", "12345");
	memset(&sx, 0, sizeof(sx));
	R(statx(AT_FDCWD, "a", 0, STATX_BASIC_STATS, &sx));
	say("statx mode %o nlink %u size %llu", sx.stx_mode, sx.stx_nlink,
	    (unsigned long long)sx.stx_size);
	T((sx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	R(statx(AT_FDCWD, "none", 0, STATX_BASIC_STATS, &sx));
	R(statx(AT_FDCWD, "a", 0x40000, STATX_BASIC_STATS, &sx));
	R(statx(1, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx));
	R(statx(1, "", 0, STATX_BASIC_STATS, &sx));
	fd = open("a", O_RDWR);
	R(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx));
	V(sx.stx_size);
	R(utimensat(AT_FDCWD, "a", times, 0));
	R(stat("a", &st));
	say("atime %ld.%09ld mtime %ld.%09ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
	    (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	R(futimens(fd, times));
	R(stat("a", &st));
	say("atime %ld.%09ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
	T(labs(st.st_mtim.tv_sec - time(NULL)) < 5);
	T(labs(st.st_ctim.tv_sec - time(NULL)) < 5);
	times[0].tv_nsec = 1000000000;
	R(utimensat(AT_FDCWD, "a", times, 0));
	R(utimensat(AT_FDCWD, "none", NULL, 0));
	R(chmod("a", 04751));
	show_stat("a");
	R(fchmod(fd, 0600));
	R(fchmodat(AT_FDCWD, "a", 0644, 0));
	R(chmod("none", 0644));
	show_stat("a");
	R(access("a", R_OK | W_OK));
	R(access("a", F_OK));
	R(access("none", F_OK));
	R(access("a", 8));
	R(faccessat(AT_FDCWD, "a", R_OK, AT_EACCESS));
	R(fstat(1000, &st));
	R(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
	T(S_ISDIR(st.st_mode));
	R(fstatat(fd, "x", &st, 0));
	R(fstatat(1000, "x", &st, 0));
	R(fstatat(1000, "/", &st, 0));
	R(umask(077));
	put_file("b", "");
	R(mkdir("d", 0777));
	show_stat("b");
	show_stat("d");
	R(umask(022));
	R(statfs(".", &sf));
	T(sf.f_bsize == 4096 && sf.f_namelen == 255 && sf.f_blocks > 0);
	R(fstatfs(fd, &sf));
	R(fstatfs(1000, &sf));
	R(statfs("none", &sf));
	R(mknod("fifo", S_IFIFO | 0600, 0));
	show_stat("fifo");
	R(mknod("reg", S_IFREG | 0600, 0));
	show_stat("reg");
	R(mknod("a", S_IFREG | 0600, 0));
	V(stat("/dev/null", &st));
	say("/dev/null %o %lx", st.st_mode, (long)st.st_rdev);
	V(stat("/dev/zero", &st));
	say("/dev/zero %o %lx", st.st_mode, (long)st.st_rdev);
	R(close(fd));
	R(lchown("a", -1, -1));
	R(truncate("a", 2));
	R(truncate("d", 2));
	R(truncate("none", 2));
	R(truncate("a", -1));
	show_stat("a");
	for (const char *const *p = (const char *const[]){ "a", "b", "fifo", "reg", NULL }; *p; p++)
		unlink(*p);
	rmdir("d");
	list(".");
}

static void devices(void)
{
	char buf[16] = "xxxxxxxxxxxxxxx";
	int fd;

	HEAD("devices");
	fd = Z(open("/dev/null", O_RDWR));
	R(read(fd, buf, 4));
	R(write(fd, buf, 4));
	R(lseek(fd, 10, SEEK_SET));
	R(ftruncate(fd, 0));
	R(close(fd));
	fd = Z(open("/dev/zero", O_RDWR));
	R(read(fd, buf, 4));
	V(buf[0] | buf[1] | buf[2] | buf[3]);
	R(write(fd, buf, 4));
	R(close(fd));
	fd = Z(open("/dev/full", O_RDWR));
	R(write(fd, buf, 4));
	R(read(fd, buf, 4));
	R(close(fd));
	fd = Z(open("/dev/urandom", O_RDONLY));
	R(read(fd, buf, 16));
	R(close(fd));
	fd = Z(open("/dev/random", O_RDONLY));
	R(read(fd, buf, 16));
	R(close(fd));
	R(open("/dev/none", O_RDONLY));
	R(isatty(0));
}

int main(void)
{
	char cwd[256];

	enter_scratch("files");
	NEED(getcwd(cwd, sizeof(cwd)));
	opening();
	links();
	renames();
	directories();
	NEED(chdir(cwd) == 0);
	stats();
	devices();
	return 0;
}
