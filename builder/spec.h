/*
 * spec.h - what an image shall be: from the command line or from a recipe, for the builder.
 */
#ifndef JUNCTION_BUILDER_SPEC_H
#define JUNCTION_BUILDER_SPEC_H

#include <stddef.h>
#include <stdint.h>

#include "builder/err.h"
#include "builder/strlist.h"
#include "libos/abi/image.h"

/* Files to pack: a file, a directory with all in it, or what a glob(7) pattern matches. */
struct file_rule {
	char *from; /* absolute, on the host */
	char *to; /* in the image; NULL: the same absolute path. Ends in '/': into that directory */
	uint32_t mode; /* of the files, 0: as on the host */
	char *where; /* "recipe.yaml:12", for messages */
};

struct build_spec {
	char *name; /* NULL: the file name of the program */
	char *program; /* host path of the program, NULL: `entry` is in the files or on the host */
	char *entry; /* absolute path in the image, NULL: that of the program */
	struct strings args, env;
	char *workdir; /* NULL: / */
	char *user; /* NAME, UID or UID:GID; NULL: root */
	uint16_t ports[JREC_MAX_PORTS];
	uint32_t nr_ports;
	uint32_t cores;
	uint64_t memory; /* bytes */
	struct file_rule *files;
	size_t nr_files;
	struct strings rootfs; /* directories of the host */
	const void *libos; /* libos.elf, the caller's */
	size_t libos_len;
	char *where; /* what to name in messages: the recipe or the program */
};

void spec_free(struct build_spec *s);
void spec_add_file(struct build_spec *s, const char *from, const char *to, uint32_t mode,
		   const char *where);

/* Reads a recipe; the errors name file and line. */
int spec_read_recipe(struct build_spec *s, const char *path, struct err *e);

/* "64M", "2GiB", "4096": bytes. Returns 0 or -1. */
int parse_size(const char *text, uint64_t *out);

#endif
