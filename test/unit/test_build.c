/*
 * test_build.c - what the builder puts into an image, and who wins where two want one place.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "builder/build.h"
#include "builder/image.h"
#include "libos/abi/layout.h"
#include "test/unit/jfs_read.h"
#include "test/unit/small_image.h"

static struct build_spec spec;
static struct image img;
static uint8_t *fs; /* the whole root file system */

static void setup(void)
{
	memset(&spec, 0, sizeof(spec));
	spec.where = format("test");
	small_dir();
}

static void drop(void)
{
	free(fs);
	fs = NULL;
	image_close(&img);
}

static void teardown(void)
{
	drop();
	spec_free(&spec);
	small_cleanup();
}

TestSuite(build, .init = setup, .fini = teardown, .timeout = 120);

/* Builds `spec`, reads it all back. Returns 0, or -1 with the error in e. */
static int build(struct err *e)
{
	const char *out = small_path("b.jimg");
	uint64_t len;
	uint8_t *tables;

	drop();
	small_use_libos(&spec);
	memset(e, 0, sizeof(*e));
	if (build_image(&spec, out, e))
		return -1;
	cr_assert(!image_open(out, &img, e), "%s", e->text);
	cr_assert(!image_check_content(&img, e), "%s", e->text);
	cr_assert(!image_read_tables(&img, &tables, &len, e), "%s", e->text);
	free(tables);
	fs = malloc(img.header.rootfs_size);
	for (uint64_t i = 0; i < img.nr_chunks; i++)
		cr_assert(!image_read_chunk(&img, i, fs + i * JIMG_CHUNK_SIZE, e));
	return 0;
}

static void must_build(void)
{
	struct err e;

	cr_assert(!build(&e), "%s", e.text);
}

static int holds(const char *path, const char *text)
{
	const struct jfs_inode *in = jfs_find(fs, path);

	return in && S_ISREG(in->mode) && in->size == strlen(text) &&
	       !memcmp(fs + in->data_off, text, in->size);
}

Test(build, base_files)
{
	spec.program = format("%s", small_program());
	must_build();
	cr_assert_eq(jfs_find(fs, "/tmp")->mode, S_IFDIR | 01777);
	cr_assert_eq(jfs_find(fs, "/root")->mode, S_IFDIR | 0700);
	cr_assert(jfs_find(fs, "/proc") && jfs_find(fs, "/dev") && jfs_find(fs, "/sys"));
	cr_assert(jfs_find(fs, "/etc/passwd") && jfs_find(fs, "/etc/nsswitch.conf"));
	cr_assert(jfs_find(fs, spec.entry), "%s", spec.entry);
	cr_assert_eq(jfs_find(fs, "/etc/passwd")->uid, 0);
}

Test(build, dynamic_program_with_what_it_needs)
{
	spec.program = format("/bin/ls");
	must_build();
	cr_assert(jfs_link_is(fs, "/bin", "usr/bin"));
	cr_assert(jfs_find(fs, "/usr/bin/ls"));
	cr_assert(jfs_find(fs, "/usr/lib/x86_64-linux-gnu/libc.so.6"));
	cr_assert(jfs_find(fs, "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"));
	cr_assert(jfs_find(fs, "/usr/lib/x86_64-linux-gnu/libselinux.so.1"));
	cr_assert(jfs_find(fs, "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"), "pthread_exit() needs it");
	cr_assert(jfs_find(fs, "/etc/ld.so.cache"));
	cr_assert(jfs_find(fs, "/usr/lib/x86_64-linux-gnu/libc.so.6")->site_count > 0);
	cr_assert_str_eq(spec.entry, "/bin/ls");
}

static void compile(const char *source, const char *args)
{
	char *cmd = format("cd %s && echo '%s' > t.c && cc t.c %s", small_dir(), source, args);

	cr_assert(!system(cmd), "%s", cmd);
	free(cmd);
}

Test(build, origin_in_runpath)
{
	char real[4096], *lib;
	struct err e;

	mkdir(small_path("lib"), 0755);
	mkdir(small_path("bin"), 0755);
	compile("int f(void) { return 7; }", "-shared -fPIC -o lib/libjtf.so");
	compile("int f(void); int main(void) { return f(); }", "-o bin/m -Llib -ljtf -Wl,-rpath,\"\\$ORIGIN/../lib\"");
	cr_assert(realpath(small_dir(), real));
	spec.program = format("%s/bin/m", real);
	must_build();
	lib = format("%s/lib/libjtf.so", real);
	cr_assert(jfs_find(fs, lib), "%s", lib);
	/* Placed elsewhere, the library goes to where $ORIGIN leads there. */
	free(spec.program);
	spec.program = NULL;
	free(spec.entry);
	spec.entry = format("/app/bin/m");
	spec_add_file(&spec, small_path("bin/m"), "/app/bin/", 0, "test");
	must_build();
	cr_assert(jfs_find(fs, "/app/lib/libjtf.so"));
	cr_assert(!jfs_find(fs, lib));
	/* And without it there is one clear line. */
	unlink(lib);
	cr_assert(build(&e));
	cr_assert(strstr(e.text, "/app/bin/m: needs the library libjtf.so"), "%s", e.text);
	free(lib);
}

Test(build, script)
{
	static const char text[] = "#!/usr/bin/env -S sh -e\necho hi\n";

	spec.program = format("%s", small_file("s.sh", text, sizeof(text) - 1, 0755));
	must_build();
	cr_assert(jfs_find(fs, "/usr/bin/env"));
	cr_assert(jfs_find(fs, "/usr/bin/sh"));
	cr_assert(jfs_find(fs, "/usr/lib/x86_64-linux-gnu/libc.so.6"));
}

Test(build, no_program)
{
	static const char *const wrong[] = {"just text\n", "#!nowhere\n", "#!/no/such/interpreter\n", "#!\n", ""};
	struct err e;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		spec.program = format("%s", small_file("p", wrong[i], strlen(wrong[i]), 0755));
		cr_expect(build(&e) && e.text[0], "accepted: %s", wrong[i]);
		free(spec.program);
		free(spec.entry);
		spec.program = spec.entry = NULL;
	}
	cr_expect(access(small_path("b.jimg"), F_OK), "a failed build left a file");
}

Test(build, who_wins)
{
	mkdir(small_path("root"), 0755);
	mkdir(small_path("root/etc"), 0755);
	small_file("root/etc/hosts", "of the rootfs\n", 14, 0644);
	small_file("root/etc/both", "of the rootfs\n", 14, 0644);
	small_file("one", "one\n", 4, 0644);
	small_file("two", "two\n", 4, 0644);
	spec.program = format("%s", small_program());
	strings_add(&spec.rootfs, small_path("root"));
	spec_add_file(&spec, small_path("one"), "/etc/both", 0, "test");
	spec_add_file(&spec, small_path("two"), "/etc/both", 0640, "test");
	must_build();
	cr_assert(holds("/etc/hosts", "of the rootfs\n"), "a rootfs goes before the base files");
	cr_assert(holds("/etc/both", "two\n"), "the later rule goes before the earlier and the rootfs");
	cr_assert_eq(jfs_find(fs, "/etc/both")->mode & 07777, 0640);
}

Test(build, links)
{
	const struct jfs_inode *a, *b;

	mkdir(small_path("d"), 0755);
	small_file("d/x", "content", 7, 0644);
	small_file("d/copy", "content", 7, 0600);
	cr_assert(!link(small_path("d/x"), small_path("d/hard")));
	cr_assert(!symlink("x", small_path("d/soft")));
	cr_assert(!symlink("/no/where", small_path("d/dangling")));
	cr_assert(!mkfifo(small_path("d/fifo"), 0600));
	spec.program = format("%s", small_program());
	spec_add_file(&spec, small_path("d"), "/data", 0, "test");
	must_build();
	a = jfs_find(fs, "/data/x");
	b = jfs_find(fs, "/data/hard");
	cr_assert(a && a == b, "a hard link is one inode");
	cr_assert_eq(a->nlink, 2);
	b = jfs_find(fs, "/data/copy");
	cr_assert(b != a && b->data_off == a->data_off, "equal content is stored once");
	cr_assert(jfs_link_is(fs, "/data/soft", "x") && jfs_link_is(fs, "/data/dangling", "/no/where"));
	cr_assert(!jfs_find(fs, "/data/fifo"));
}

Test(build, globs_and_directories)
{
	struct err e;

	mkdir(small_path("g"), 0755);
	small_file("g/a.txt", "a", 1, 0644);
	small_file("g/b.txt", "b", 1, 0644);
	small_file("g/c.bin", "c", 1, 0644);
	spec.program = format("%s", small_program());
	spec_add_file(&spec, small_path("g/*.txt"), "/texts", 0444, "test");
	spec_add_file(&spec, small_path("g/c.bin"), "/bin-dir/", 0, "test");
	must_build();
	cr_assert(holds("/texts/a.txt", "a") && holds("/texts/b.txt", "b") && !jfs_find(fs, "/texts/c.bin"));
	cr_assert_eq(jfs_find(fs, "/texts/a.txt")->mode & 07777, 0444);
	cr_assert(holds("/bin-dir/c.bin", "c"));
	spec_add_file(&spec, small_path("g/*.none"), "/x", 0, "recipe.yaml:7");
	cr_assert(build(&e) && strstr(e.text, "recipe.yaml:7: ") && strstr(e.text, "no such file"), "%s", e.text);
}

Test(build, byte_code_stays_valid)
{
	struct timespec t[2] = {{1700000000, 0}, {1700000000, 0}};
	uint32_t pyc[4] = {0x0a0d0da7, 0, 1700000000, 5}, stale[4] = {0x0a0d0da7, 0, 1600000000, 5}, now[4];
	const struct jfs_super *s;

	mkdir(small_path("py"), 0755);
	mkdir(small_path("py/__pycache__"), 0755);
	small_file("py/m.py", "x = 1", 5, 0644);
	small_file("py/n.py", "x = 2", 5, 0644);
	utimensat(AT_FDCWD, small_path("py/m.py"), t, 0);
	utimensat(AT_FDCWD, small_path("py/n.py"), t, 0);
	small_file("py/__pycache__/m.cpython-311.pyc", pyc, sizeof(pyc), 0644);
	small_file("py/__pycache__/n.cpython-311.pyc", stale, sizeof(stale), 0644);
	spec.program = format("%s", small_program());
	spec_add_file(&spec, small_path("py"), "/py", 0, "test");
	must_build();
	s = (const struct jfs_super *)fs;
	memcpy(now, fs + jfs_find(fs, "/py/__pycache__/m.cpython-311.pyc")->data_off, sizeof(now));
	cr_assert_eq(now[2], s->mtime);
	memcpy(now, fs + jfs_find(fs, "/py/__pycache__/n.cpython-311.pyc")->data_off, sizeof(now));
	cr_assert_eq(now[2], 1600000000, "byte code that was stale stays so");
}

Test(build, user)
{
	struct err e;

	spec.program = format("%s", small_program());
	spec.user = format("1000:100");
	must_build();
	cr_assert_eq(img.record->uid, 1000);
	cr_assert_eq(img.record->gid, 100);
	free(spec.user);
	spec.user = format("mail");
	cr_assert(build(&e) && strstr(e.text, "user mail: not in the image's /etc/passwd"), "%s", e.text);
	free(spec.user);
	spec.user = format("nobody");
	must_build();
	cr_assert_eq(img.record->uid, 65534);
	mkdir(small_path("r"), 0755);
	mkdir(small_path("r/etc"), 0755);
	small_file("r/etc/passwd", "nobodyx:x:1:1::/:\nnobody:x:12:34::/:\n", 38, 0644);
	strings_add(&spec.rootfs, small_path("r"));
	must_build();
	cr_assert_eq(img.record->uid, 12);
	cr_assert_eq(img.record->gid, 34);
}

Test(build, odd_names)
{
	mkdir(small_path("odd"), 0755);
	small_file("odd/\xff\xfe latin", "1", 1, 0644);
	small_file("odd/new\nline", "2", 1, 0644);
	small_file("odd/back\\x41slash", "3", 1, 0644);
	spec.program = format("%s", small_program());
	spec_add_file(&spec, small_path("odd"), "/odd", 0, "test");
	must_build();
	cr_assert(holds("/odd/\xff\xfe latin", "1") && holds("/odd/new\nline", "2") &&
		  holds("/odd/back\\x41slash", "3"));
}

Test(build, large_file_that_does_not_compress)
{
	size_t len = (3u << 20) + 123;
	uint8_t *noise = malloc(len);
	const struct jfs_inode *in;
	uint64_t x = 88172645463325252ull, raw = 0;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		noise[i] = x >> 32;
	}
	small_file("noise", noise, len, 0644);
	spec.program = format("%s", small_program());
	spec_add_file(&spec, small_path("noise"), "/noise", 0, "test");
	must_build();
	in = jfs_find(fs, "/noise");
	cr_assert(in->size == len && !memcmp(fs + in->data_off, noise, len));
	for (uint64_t i = 0; i < img.nr_chunks; i++)
		raw += img.chunks[i].len == img.chunks[i].raw_len;
	cr_assert(raw >= 11, "%llu chunks stored as they are", (unsigned long long)raw);
	free(noise);
}
