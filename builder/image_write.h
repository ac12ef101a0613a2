/*
 * image_write.h - writing sealed images.
 */
#ifndef JUNCTION_BUILDER_IMAGE_WRITE_H
#define JUNCTION_BUILDER_IMAGE_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "builder/err.h"
#include "builder/rootfs.h"

struct image_parts {
	const void *libos; /* libos.elf */
	size_t libos_len;
	const char *manifest; /* JSON */
	size_t manifest_len;
	const void *record; /* struct jimg_record with its strings */
	size_t record_len;
	struct rootfs *rootfs; /* read to its end */
	void (*progress)(uint64_t done, uint64_t total); /* bytes of root file system; may be NULL */
};

/* Writes the image to `fd`, an empty file open for reading and writing; `name` is for messages. */
int image_write(int fd, const char *name, const struct image_parts *parts, struct err *e);

/* Signs an image in memory: sets flag, key and signature in the header at `bytes`. 64-byte secret key. */
void image_sign(uint8_t *bytes, const uint8_t *secret_key);

#endif
