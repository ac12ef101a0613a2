/*
 * cmd_rewrite.c - `junction rewrite`: rewrite one ELF file, for developers and tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/cmd.h"
#include "builder/rewrite.h"

const char cmd_rewrite_help[] =
	"Usage: junction rewrite FILE [-o OUT] [--json]\n\n"
	"Turn the system call instructions of one ELF file into jumps to trampolines, as\n"
	"junction build does with each file that it packs, and say what was found. Without a\n"
	"library OS below it a rewritten file behaves on Linux as it did before.\n\n"
	"  -o, --output OUT   write the new file (same permissions; may be FILE itself)\n"
	"      --json         one JSON object instead of text\n";

static void print_text(const char *file, const struct rewrite_result *r)
{
	if (r->skipped) {
		printf("%s: unchanged: %s\n", file, r->skipped);
		return;
	}
	printf("%s: %u sites: %u rewritten, %u left\n", file, r->sites_found, r->sites_rewritten,
	       r->sites_left);
	for (int i = 0; i < REWRITE_NR_REASONS; i++)
		if (r->left[i])
			printf("  %u left: %s\n", r->left[i], rewrite_reason_text(i));
}

static void print_json(const char *file, const struct rewrite_result *r)
{
	json_t *left = json_object(), *o;

	for (int i = 0; i < REWRITE_NR_REASONS; i++)
		if (r->left[i])
			json_object_set_new(left, rewrite_reason_text(i), json_integer(r->left[i]));
	o = json_pack("{s:s, s:I, s:I, s:I, s:o, s:I, s:b, s:s?}", "path", file, "sites_found",
		      (json_int_t)r->sites_found, "sites_rewritten", (json_int_t)r->sites_rewritten,
		      "sites_left", (json_int_t)r->sites_left, "left", left, "pairs",
		      (json_int_t)r->nr_sites, "changed", r->data != NULL, "skipped", r->skipped);
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
}

/* Written beside OUT and renamed, so that OUT may be a file in use, or the input. */
static int write_output(const char *out, const void *data, size_t len, mode_t mode, struct err *e)
{
	char tmp[4096];
	int fd;

	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", out) >= (int)sizeof(tmp))
		return err_set(e, "%s: name too long", out);
	fd = mkstemp(tmp);
	if (fd < 0)
		return err_errno(e, "%s: cannot be created", out);
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto fail;
		data = (const char *)data + n;
		len -= n;
	}
	if (fchmod(fd, mode) < 0 || rename(tmp, out) < 0)
		goto fail;
	close(fd);
	return 0;
fail:
	err_errno(e, "%s: cannot be written", out);
	unlink(tmp);
	close(fd);
	return -1;
}

int cmd_rewrite(int argc, char **argv, struct err *e)
{
	static const struct option options[] = {
		{"output", required_argument, NULL, 'o'}, {"json", no_argument, NULL, 'j'}, {0}};
	struct rewrite_result result = {0};
	const char *file, *out = NULL;
	int opt, fd, err, json = 0, status = CMD_FAILED;
	void *map = NULL;
	struct stat st;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (opt == 'o')
			out = optarg;
		else if (opt == 'j')
			json = 1;
		else
			return cmd_usage(e, "rewrite",
					 "%s: unknown option, or one without its value",
					 argv[optind - 1]);
	}
	if (argc - optind != 1)
		return cmd_usage(e, "rewrite", "one FILE expected");
	file = argv[optind];
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_errno(e, "%s: cannot be read", file);
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, "%s: not a regular file", file);
		goto out;
	}
	if (st.st_size) {
		map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED) {
			map = NULL;
			err_errno(e, "%s: cannot be read", file);
			goto out;
		}
	}
	err = rewrite_elf(map, st.st_size, &result);
	if (err == -ENOENT) {
		err_set(e, "libZydis.so.4.0 cannot be loaded; install the package libzydis4.0");
		goto out;
	}
	if (err) {
		errno = -err;
		err_errno(e, "%s: cannot be rewritten", file);
		goto out;
	}
	if (out &&
	    write_output(out, result.data ? result.data : map,
			 result.data ? result.len : (size_t)st.st_size, st.st_mode & 07777, e))
		goto out;
	if (json)
		print_json(file, &result);
	else
		print_text(file, &result);
	status = 0;
out:
	rewrite_result_free(&result);
	if (map)
		munmap(map, st.st_size);
	if (fd >= 0)
		close(fd);
	return status;
}
