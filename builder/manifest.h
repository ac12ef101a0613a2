/*
 * manifest.h - the JSON manifest of an image: written by the builder, read by people and tools.
 *
 * It says the same as the boot record and the root file system's tables, and in addition what the
 * rewriter did to each file. Nothing that runs an image reads it.
 */
#ifndef JUNCTION_BUILDER_MANIFEST_H
#define JUNCTION_BUILDER_MANIFEST_H

#include <stddef.h>

#include "builder/image.h"

struct build;

/* Writes the manifest of what is to be built; the tree is final. *out is malloc'ed. */
int manifest_make(const struct build *b, char **out, size_t *len, struct err *e);

/*
 * Checks that the manifest is JSON of the expected shape and says the same as the boot record and the
 * tables of the root file system (`fs`, already checked).
 */
int manifest_check(const struct image *img, const uint8_t *fs, struct err *e);

#endif
