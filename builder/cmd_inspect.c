/*
 * cmd_inspect.c - `junction inspect`: what an image holds, for people or as JSON.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/cmd.h"
#include "builder/image.h"
#include "libos/abi/hostcalls.h"

const char cmd_inspect_help[] =
	"Usage: junction inspect IMAGE [--json]\n"
	"\n"
	"Verifies an image and shows its manifest, its files with their sizes and system call sites\n"
	"(rewritten, and left to trap), and the host system calls that an instance of it may make.\n"
	"\n"
	"  --json  one JSON object on standard output\n";

static const struct {
	const char *name, *rule;
} host_calls[] = {
#define HOSTCALL(name, rule) {#name, rule},
	JUNCTION_HOSTCALLS(HOSTCALL)
#undef HOSTCALL
};

#define NR_HOST_CALLS (sizeof(host_calls) / sizeof(host_calls[0]))

static json_t *hex(const uint8_t *p, size_t len)
{
	char text[2 * 64 + 1];

	return json_string(sodium_bin2hex(text, sizeof(text), p, len));
}

/* The manifest, checked against the content, and what only the sealed file itself can tell. */
static json_t *describe(const struct image *img)
{
	json_t *m, *image = json_object(), *calls = json_array();
	json_error_t je;

	m = json_loadb((const char *)img->bytes + img->header.manifest.off, img->header.manifest.len,
		       JSON_REJECT_DUPLICATES, &je);
	json_object_set_new(image, "size", json_integer(img->size));
	json_object_set_new(image, "root", hex(img->header.root, sizeof(img->header.root)));
	json_object_set_new(image, "signed", json_boolean(img->header.flags & JIMG_SIGNED));
	if (img->header.flags & JIMG_SIGNED)
		json_object_set_new(image, "public_key",
				    hex(img->header.public_key, sizeof(img->header.public_key)));
	json_object_set_new(image, "rootfs_size", json_integer(img->header.rootfs_size));
	json_object_set_new(image, "chunks", json_integer(img->nr_chunks));
	json_object_set_new(m, "image", image);
	for (size_t i = 0; i < NR_HOST_CALLS; i++)
		json_array_append_new(calls, json_string(host_calls[i].name));
	json_object_set_new(m, "host_calls", calls);
	return m;
}

/* File names and arguments of others reach a terminal without control characters. */
static const char *clean(const char *s)
{
	static char buf[4][8192];
	static int next;
	char *out = buf[next = (next + 1) % 4];

	snprintf(out, sizeof(buf[0]), "%s", s ? s : "");
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return out;
}

static const char *text(json_t *o, const char *key)
{
	return clean(json_string_value(json_object_get(o, key)));
}

static long long number(json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void print_list(const char *label, json_t *list)
{
	size_t i;
	json_t *v;

	if (!json_array_size(list))
		return;
	printf("%-10s", label);
	json_array_foreach(list, i, v) {
		if (json_is_string(v))
			printf(" %s", clean(json_string_value(v)));
		else
			printf(" %lld", (long long)json_integer_value(v));
	}
	putchar('\n');
}

static void print_files(json_t *m)
{
	long long found = 0, rewritten = 0, left = 0;
	size_t i;
	json_t *f;

	printf("\n%-6s %12s %6s %9s %5s  %s\n", "mode", "size", "sites", "rewritten", "left", "file");
	json_array_foreach(json_object_get(m, "files"), i, f) {
		printf("%-6s %12lld", text(f, "mode"), number(f, "size"));
		if (number(f, "sites_found"))
			printf(" %6lld %9lld %5lld", number(f, "sites_found"), number(f, "sites_rewritten"),
			       number(f, "sites_left"));
		else
			printf(" %6s %9s %5s", "-", "-", "-");
		printf("  %s\n", text(f, "path"));
		found += number(f, "sites_found");
		rewritten += number(f, "sites_rewritten");
		left += number(f, "sites_left");
	}
	json_array_foreach(json_object_get(m, "links"), i, f)
		printf("%-6s %12s %6s %9s %5s  %s -> %s\n", "link", "-", "-", "-", "-", text(f, "path"),
		       text(f, "target"));
	printf("\n%zu files, %zu links; %lld system call sites, %lld rewritten, %lld left to trap\n",
	       json_array_size(json_object_get(m, "files")), json_array_size(json_object_get(m, "links")),
	       found, rewritten, left);
}

static void print_people(json_t *m, const struct image *img)
{
	json_t *image = json_object_get(m, "image"), *limits = json_object_get(m, "limits");

	printf("name       %s\nentry      %s\n", text(m, "name"), text(m, "entry"));
	print_list("args", json_object_get(m, "args"));
	print_list("env", json_object_get(m, "env"));
	printf("workdir    %s\nuser       %lld:%lld\n", text(m, "workdir"),
	       number(json_object_get(m, "user"), "uid"), number(json_object_get(m, "user"), "gid"));
	print_list("ports", json_object_get(m, "ports"));
	if (number(limits, "cores"))
		printf("cores      %lld\n", number(limits, "cores"));
	if (number(limits, "memory"))
		printf("memory     %lld bytes\n", number(limits, "memory"));
	printf("size       %lld bytes, root file system %lld bytes in %lld chunks\n", number(image, "size"),
	       number(image, "rootfs_size"), number(image, "chunks"));
	printf("root       %s\n", text(image, "root"));
	if (img->header.flags & JIMG_SIGNED)
		printf("signed by  %s\n", text(image, "public_key"));
	else
		printf("signed by  nobody\n");
	print_files(m);
	printf("\nhost system calls, from the text of the library OS only:\n");
	for (size_t i = 0; i < NR_HOST_CALLS; i++)
		printf("  %-14s %s\n", host_calls[i].name, host_calls[i].rule);
}

int cmd_inspect(int argc, char **argv, struct err *e)
{
	const char *path = NULL;
	int as_json = 0, status = CMD_FAILED;
	struct image img;
	json_t *m;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			as_json = 1;
		else if (argv[i][0] == '-' || path)
			return cmd_usage(e, "inspect", "%s: not understood", argv[i]);
		else
			path = argv[i];
	}
	if (!path)
		return cmd_usage(e, "inspect", "no image named");
	if (image_open(path, &img, e))
		return CMD_FAILED;
	if (!image_check_content(&img, e)) {
		m = describe(&img);
		if (as_json) {
			json_dumpf(m, stdout, JSON_INDENT(1));
			putchar('\n');
		} else {
			print_people(m, &img);
		}
		json_decref(m);
		status = fflush(stdout) ? CMD_FAILED : 0;
	}
	image_close(&img);
	return status;
}
