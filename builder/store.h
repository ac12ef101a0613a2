/*
 * store.h - the content-addressed store of unpacked images.
 *
 * A sealed image is verified and unpacked once; its unpacked form (struct jstore_header) stands in the
 * store as ROOTHEX.img, mode 0444, and every instance on the host maps that one file. A stat cache
 * (device, inode, size, mtime, ctime of the sealed file -> entry) lets a second start skip the
 * verification: store_open_image() then costs a stat, an open, an fstat and a mmap.
 *
 * The store is $JUNCTION_STORE, else for root /var/lib/junction/store, else
 * $XDG_CACHE_HOME/junction/store, else ~/.cache/junction/store; a directory of mode 0700 that the
 * user owns. Where it cannot be written, the image is unpacked into a sealed memfd of this process.
 * While a keeper serves the store (keeper.h), its sealed memfd is opened instead of the file.
 */
#ifndef JUNCTION_BUILDER_STORE_H
#define JUNCTION_BUILDER_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "builder/err.h"
#include "libos/abi/image.h"

struct store_image {
	int fd; /* the unpacked image, O_RDONLY | O_CLOEXEC */
	uint64_t size; /* bytes; equals header->file_size */
	const struct jstore_header *header; /* the whole file is mapped read-only here */
	const struct jimg_record *record; /* inside that mapping; strings are checked and terminated */
	bool kept; /* a sealed memfd of the keeper */
	bool cached; /* true: found by the stat cache, nothing was verified again */
};

/*
 * Opens the unpacked form of the sealed image `jimg`, verifying and unpacking it first unless it is in
 * the store already and the file is unchanged since. With `key` not NULL (32 bytes, Ed25519) the image
 * must be signed by that key; this is checked each time, at the cost of one signature verification.
 *
 * Returns 0, or -1 with one line in `e`. On success the caller owns out->fd and the mapping and gives
 * both back with store_close_image(); a caller that keeps the fd may take it out (set out->fd to -1).
 */
int store_open_image(const char *jimg, const uint8_t *key, struct store_image *out, struct err *e);

/*
 * Maps the unpacked image that fd holds (an entry of the store, or a sealed memfd of one), after a look at its
 * owner and its header: what they say of the rest was verified when it was unpacked. Fills *out, which then owns
 * the descriptor. -1: not such a file; the descriptor stays the caller's.
 */
int store_map(int fd, struct store_image *out);

/* Unmaps and closes; harmless on a zeroed or already closed struct whose fd is -1. */
void store_close_image(struct store_image *img);

/*
 * Copies an opened image into a new memfd sealed with F_SEAL_WRITE | SHRINK | GROW | SEAL, for a
 * long-lived owner that shares one image between instances. Returns the fd (O_CLOEXEC) or -1.
 */
int store_memfd(const struct store_image *img, struct err *e);

/* The entry of the store `dir` with that root, as the file that it is. -1: there is none. */
int store_open_root(const char *dir, const char *hex, struct store_image *out);

/* 64 hex digits and a NUL: how the root names an entry of the store. */
void store_root_hex(const uint8_t *root, char out[2 * JIMG_HASH_LEN + 1]);

/* Waits (at most 40 ms) until a file just written is old enough to be remembered by the stat cache. */
void store_wait_settled(const char *jimg);

/* The i-th string of a list of the record, or NULL when i is not below its count. */
const char *store_record_string(const struct jimg_record *rec, struct jrec_strings list, uint32_t i);

#endif
