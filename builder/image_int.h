/*
 * image_int.h - between the files that read images; for nobody else.
 */
#ifndef JUNCTION_BUILDER_IMAGE_INT_H
#define JUNCTION_BUILDER_IMAGE_INT_H

#include "builder/image.h"

/* Verifies the seal of a file in memory and copies its header to *h. */
int image_check_seal(const uint8_t *bytes, uint64_t size, const char *name, struct jimg_header *h,
		     struct err *e);

#endif
