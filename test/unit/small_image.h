/*
 * small_image.h - a complete image of a few pages, for tests of the reader and the store.
 */
#ifndef JUNCTION_TEST_SMALL_IMAGE_H
#define JUNCTION_TEST_SMALL_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "builder/rootfs.h"

/* A fresh directory below $TMPDIR, the test's own; removed by small_cleanup(). */
const char *small_dir(void);
void small_cleanup(void);

/* Writes a file of that name in small_dir() and returns its path (static storage, eight in turn). */
const char *small_file(const char *name, const void *bytes, size_t len, unsigned int mode);
/* The path alone. */
const char *small_path(const char *name);

/*
 * Builds an image of a program that holds nothing but an ELF header, with a libOS of two tiny
 * segments. The bytes are 8-byte aligned and malloc'ed.
 */
uint8_t *small_image(size_t *len);

/* Sets the tiny libOS, which stands in static storage, as the one to build with. */
struct build_spec;
void small_use_libos(struct build_spec *spec);

/* Path of a tiny program. */
const char *small_program(void);

/* An image from parts, with whatever the test did to the tables of `r`. */
uint8_t *small_image_of(struct rootfs *r, size_t *len);

/* A tree of a few files, directories, links and hard links, and its tables. */
void small_tree(struct tree *t, struct rootfs *r);

/* Makes the seal right again after a test has changed bytes before the tree. */
void small_reseal(uint8_t *bytes);

#endif
