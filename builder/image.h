/*
 * image.h - reading sealed images: seal, layout, signature, content.
 *
 * Every function here takes bytes that may be hostile. The order is fixed: the whole file is read into
 * private memory, the header's few numbers that locate the hash tree are checked, the seal is verified,
 * and only then is anything else looked at. A refused image gives one line in struct err.
 */
#ifndef JUNCTION_BUILDER_IMAGE_H
#define JUNCTION_BUILDER_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "builder/err.h"
#include "libos/abi/image.h"

struct image {
	const char *name; /* for messages; not owned */
	const uint8_t *bytes; /* the whole file */
	uint64_t size;
	size_t mapped; /* bytes to munmap, 0 when the caller owns them */
	struct jimg_header header; /* a copy, aligned */
	const struct jimg_record *record;
	const struct jimg_chunk *chunks;
	uint64_t nr_chunks;
	/* The libOS: segments with `off` in the sealed file. */
	uint32_t nr_segments;
	uint64_t entry;
	struct jstore_segment segments[JSTORE_MAX_SEGMENTS];
};

/*
 * Verifies seal, signature, layout and boot record of an image in memory. `bytes` must stay until
 * image_close() and be 8-byte aligned. Nothing of the root file system is unpacked.
 */
int image_parse(const uint8_t *bytes, uint64_t size, const char *name, struct image *img, struct err *e);

/* Reads the file into private memory (a writer can no longer change it), then image_parse(). */
int image_open(const char *path, struct image *img, struct err *e);
int image_open_fd(int fd, const char *name, struct image *img, struct err *e);
void image_close(struct image *img);

/* Checks that the image is signed and that the signature is by `key` (32 bytes). */
int image_check_key(const struct image *img, const uint8_t *key, struct err *e);
/* The same for a header alone, whose root is the caller's business. */
int image_check_header_key(const struct jimg_header *h, const uint8_t *key, const char *name,
			   struct err *e);

/* Bytes of chunk i after decompression. */
uint64_t image_chunk_size(const struct image *img, uint64_t i);
/* Decompresses chunk i to dst, which holds image_chunk_size() bytes. */
int image_read_chunk(const struct image *img, uint64_t i, uint8_t *dst, struct err *e);

/*
 * Decompresses the head of the root file system, superblock and all tables, and checks every table
 * (jfs_check()). *out is malloc()ed, *len its bytes; file data is not in it.
 */
int image_read_tables(const struct image *img, uint8_t **out, uint64_t *len, struct err *e);

/* Everything: every chunk decompresses, tables are valid, the manifest tells the same as the record. */
int image_check_content(const struct image *img, struct err *e);

/* Writes the unpacked form (struct jstore_header) to an empty file, checking all that it writes. */
int image_unpack(const struct image *img, int fd, struct err *e);

/*
 * The seal of an image in memory whose header already holds the tree's range. Writes the leaves
 * (header.tree.len bytes) and the root.
 */
void image_compute_seal(const uint8_t *bytes, const struct jimg_header *h, uint8_t *leaves,
			uint8_t root[JIMG_HASH_LEN]);

/* What an Ed25519 signature is made over: a context string and the root. */
#define IMAGE_SIGNED_LEN (16 + JIMG_HASH_LEN)
void image_signed_message(const uint8_t root[JIMG_HASH_LEN], uint8_t out[IMAGE_SIGNED_LEN]);

/* Validates the flat record: `len` is what the header says. Strings end inside it. */
int record_check(const void *rec, uint64_t len, const char *name, struct err *e);

/*
 * Validates superblock and tables of a root file system. `fs` holds `have` bytes, at least
 * [0, data_off); `size` is the size of the whole root file system.
 */
int jfs_check(const uint8_t *fs, uint64_t have, uint64_t size, const char *name, struct err *e);

#endif
