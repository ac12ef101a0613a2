/*
 * test_logfile.c - the zygote's log writer: lines, parts of lines, bounds, binary input, files that cannot be written.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "junctiond/zygote/logfile.h"

static char dir[] = "/tmp/junction-logfile-XXXXXX";
static char path[128], old[160];
static struct logfile l;

static void set_up(void)
{
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/ns/fn/1.log", dir);
	snprintf(old, sizeof(old), "%s.1", path);
	logfile_init(&l, path);
}

static void tear_down(void)
{
	char command[128];

	logfile_close(&l);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	cr_assert(!system(command));
}

TestSuite(logfile, .init = set_up, .fini = tear_down);

/* The whole file; *len may be NULL. The caller frees. */
static char *contents(const char *name, size_t *len)
{
	FILE *f = fopen(name, "re");
	char *buf = calloc(1, LOGFILE_MAX + 65536);
	size_t n = f ? fread(buf, 1, LOGFILE_MAX + 65535, f) : 0;

	if (f)
		fclose(f);
	if (len)
		*len = n;
	return buf;
}

/* The lines without their time stamps, whose form is checked. */
static char *lines(const char *name)
{
	size_t len, out = 0;
	char *buf = contents(name, &len);

	for (size_t i = 0; i < len;) {
		int year, month, day, hour, minute, second, us, n = 0;

		cr_assert(sscanf(buf + i, "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ %n", &year, &month, &day, &hour, &minute,
				 &second, &us, &n) == 7);
		cr_assert_eq(n, 28);
		i += 28;
		while (i < len && buf[i] != '\n')
			buf[out++] = buf[i++];
		cr_assert_lt(i, len);
		buf[out++] = buf[i++];
	}
	buf[out] = '\0';
	return buf;
}

static void expect_lines(const char *want)
{
	char *got = lines(path);

	cr_expect_str_eq(got, want);
	free(got);
}

static void put(enum log_stream s, const char *text)
{
	logfile_write(&l, s, text, strlen(text));
}

Test(logfile, lines_of_streams)
{
	put(LOG_STDOUT, "one\ntwo\n\n");
	put(LOG_STDERR, "three\n");
	put(LOG_LIBOS, "four\n");
	logfile_note(&l, "five");
	expect_lines("stdout one\nstdout two\nstdout \nstderr three\nlibos four\njunction five\n");
}

Test(logfile, parts_are_joined)
{
	put(LOG_STDOUT, "he");
	put(LOG_STDERR, "x");
	put(LOG_STDOUT, "ll");
	cr_expect(logfile_has_part(&l));
	cr_expect(access(path, F_OK) == -1, "nothing is made before there is a line");
	put(LOG_STDOUT, "o\nthere");
	expect_lines("stdout hello\n");
	logfile_flush(&l, false);
	cr_expect(!logfile_has_part(&l));
	put(LOG_STDOUT, "\n");
	logfile_close(&l);
	expect_lines("stdout hello\nstdout+ there\nstderr+ x\nstdout \n");
}

Test(logfile, end_writes_what_is_left)
{
	put(LOG_STDERR, "dying");
	logfile_close(&l);
	expect_lines("stderr dying\n");
}

Test(logfile, long_lines_are_split)
{
	static char big[3 * LOGFILE_LINE + 6];
	char *got, *p;

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\n';
	/* In every cut, the pieces are those of the whole. */
	for (size_t cut = 1; cut < sizeof(big); cut += 997) {
		size_t total = 0, pieces = 0;

		unlink(path);
		logfile_close(&l);
		logfile_init(&l, path);
		logfile_write(&l, LOG_STDOUT, big, cut);
		logfile_write(&l, LOG_STDOUT, big + cut, sizeof(big) - cut);
		got = lines(path);
		for (p = got; *p; p = strchr(p, '\n') + 1) {
			size_t len = strcspn(p, "\n");
			bool more = p[6] == '+';

			total += len - (more ? 8 : 7);
			pieces++;
			cr_expect_eq(more, pieces < 4);
		}
		cr_expect_eq(total, sizeof(big) - 1);
		cr_expect_eq(pieces, 4);
		free(got);
	}
}

Test(logfile, every_byte_is_kept)
{
	char all[256], *buf;
	size_t len;

	for (int i = 0; i < 255; i++)
		all[i] = (char)(i < '\n' ? i : i + 1);
	all[255] = '\n';
	logfile_write(&l, LOG_STDOUT, all, sizeof(all));
	buf = contents(path, &len);
	cr_expect_eq(len, 28 + 7 + 256);
	cr_expect(!memcmp(buf + 35, all, 256));
	free(buf);
}

Test(logfile, is_bounded)
{
	static char block[60000];
	struct stat st;
	char *got;

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = i % 100 == 99 ? '\n' : 'a';
	for (int i = 0; i < 100; i++) {
		logfile_write(&l, LOG_STDOUT, block, sizeof(block));
		cr_assert(!stat(path, &st) && st.st_size <= LOGFILE_MAX);
		cr_assert(stat(old, &st) || st.st_size <= LOGFILE_MAX);
	}
	cr_expect_eq(l.dropped, 0);
	cr_assert(!stat(old, &st));
	cr_expect(st.st_size > LOGFILE_MAX / 2);
	got = lines(old); /* whole lines only */
	free(got);
}

Test(logfile, goes_on_where_another_stopped)
{
	struct logfile again;

	put(LOG_STDOUT, "one\n");
	logfile_init(&again, path);
	logfile_write(&again, LOG_STDOUT, "two\n", 4);
	cr_expect_eq(again.size, l.size * 2);
	logfile_close(&again);
	expect_lines("stdout one\nstdout two\n");
}

Test(logfile, modes)
{
	struct stat st;
	char folder[160];

	put(LOG_STDOUT, "x\n");
	cr_assert(!stat(path, &st));
	cr_expect_eq(st.st_mode & 07777, 0600);
	snprintf(folder, sizeof(folder), "%s/ns/fn", dir);
	cr_assert(!stat(folder, &st));
	cr_expect_eq(st.st_mode & 07777, 0700);
}

Test(logfile, what_cannot_be_written_is_counted)
{
	char blocked[160];
	int fd;

	/* A file stands where the folder should be. */
	snprintf(blocked, sizeof(blocked), "%s/ns", dir);
	fd = open(blocked, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	put(LOG_STDOUT, "lost\n");
	cr_expect_gt(l.dropped, 0);
	unlink(blocked);
	put(LOG_STDOUT, "kept\n");
	expect_lines("stdout kept\n");
}

Test(logfile, never_writes_through_a_link_or_into_a_pipe)
{
	char folder[160], elsewhere[160];

	put(LOG_STDOUT, "x\n");
	logfile_close(&l);
	unlink(path);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", dir);
	cr_assert(!symlink(elsewhere, path));
	put(LOG_STDOUT, "y\n");
	cr_expect(access(elsewhere, F_OK) == -1);
	unlink(path);
	snprintf(folder, sizeof(folder), "%s", path);
	cr_assert(!mkfifo(folder, 0600));
	put(LOG_STDOUT, "z\n");
	cr_expect_gt(l.dropped, 0);
}
