/*
 * cmd_build.c - `junction build`: from a program or a recipe to a sealed image.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/build.h"
#include "builder/cmd.h"
#include "builder/store.h"

const char cmd_build_help[] =
	"Usage: junction build PROGRAM -o OUT [--name NAME] [--rootfs DIR]... [-- ARGS...]\n"
	"       junction build -f RECIPE -o OUT [--rootfs DIR]... [-- ARGS...]\n"
	"\n"
	"Packs a Linux program, what it needs, and the library OS into one sealed image.\n"
	"Interpreter and shared libraries are found by reading ELF files; nothing is run.\n"
	"PROGRAM stands in the image at the absolute path that it has here.\n"
	"\n"
	"  -o OUT        the image to write\n"
	"  -f RECIPE     a YAML file: name, entry, args, env, workdir, files, user, ports, limits\n"
	"  --name NAME   the image's name; otherwise the recipe's or the program's\n"
	"  --rootfs DIR  add the tree below DIR\n"
	"  --libos ELF   another library OS than the one inside junction (for its developers)\n"
	"  ARGS          default arguments of the program (with -f: instead of the recipe's)\n";

/* The libOS that this junction was built with: libos_blob.S. */
extern const char libos_blob_start[] __attribute__((visibility("hidden")));
extern const char libos_blob_end[] __attribute__((visibility("hidden")));

struct options {
	const char *out, *recipe, *program, *name, *libos;
};

static int parse(int argc, char **argv, struct options *o, struct build_spec *s, struct err *e)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		const char *a = argv[i];
		const char **value = NULL;

		if (!strcmp(a, "-o") || !strcmp(a, "--output"))
			value = &o->out;
		else if (!strcmp(a, "-f") || !strcmp(a, "--file"))
			value = &o->recipe;
		else if (!strcmp(a, "--name"))
			value = &o->name;
		else if (!strcmp(a, "--libos"))
			value = &o->libos;
		else if (!strcmp(a, "--rootfs"))
			;
		else if (a[0] == '-')
			return cmd_usage(e, "build", "%s: no such option", a);
		else if (o->program)
			return cmd_usage(e, "build", "%s: only one program; its arguments go behind --", a);
		else {
			o->program = a;
			continue;
		}
		if (++i == argc)
			return cmd_usage(e, "build", "%s: needs a value", a);
		if (value)
			*value = argv[i];
		else
			strings_add(&s->rootfs, argv[i]);
	}
	if (!o->out)
		return cmd_usage(e, "build", "no output file; give one with -o");
	if (!o->recipe == !o->program)
		return cmd_usage(e, "build", o->recipe ? "a program and a recipe; give one of them"
						       : "no program; name one, or a recipe with -f");
	return 0;
}

/* What the finished image is, in a line, for a person. */
static void summarize(const char *out, const struct store_image *img)
{
	struct stat st;

	if (isatty(2) && !stat(out, &st))
		fprintf(stderr, "%s: %.1f MB, unpacked %.1f MB\n", out, st.st_size / 1e6, img->size / 1e6);
}

int cmd_build(int argc, char **argv, struct err *e)
{
	struct build_spec spec = {0};
	struct store_image img;
	struct options o = {0};
	uint8_t *libos = NULL;
	struct stat st;
	int status = parse(argc, argv, &o, &spec, e);

	if (status)
		goto out;
	status = CMD_FAILED;
	if (o.recipe) {
		if (spec_read_recipe(&spec, o.recipe, e))
			goto out;
	} else {
		spec.program = format("%s", o.program);
		spec.where = format("%s", o.program);
	}
	if (o.name) {
		free(spec.name);
		spec.name = format("%s", o.name);
	}
	spec.libos = libos_blob_start;
	spec.libos_len = libos_blob_end - libos_blob_start;
	if (o.libos) {
		libos = read_file(o.libos, &st, &spec.libos_len, e);
		if (!libos)
			goto out;
		spec.libos = libos;
	}
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--")) {
			strings_free(&spec.args);
			while (++i < argc)
				strings_add(&spec.args, argv[i]);
		}
	if (build_image(&spec, o.out, e))
		goto out;
	/* The first start shall be as fast as the next: verify, unpack and remember it now. */
	store_wait_settled(o.out);
	if (store_open_image(o.out, NULL, &img, e)) {
		unlink(o.out); /* never leave behind what would not start */
		goto out;
	}
	summarize(o.out, &img);
	store_close_image(&img);
	status = 0;
out:
	spec_free(&spec);
	free(libos);
	return status;
}
