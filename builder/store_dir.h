/*
 * store_dir.h - where the store is, and keeping it in order; for store.c.
 */
#ifndef JUNCTION_BUILDER_STORE_DIR_H
#define JUNCTION_BUILDER_STORE_DIR_H

#include <stdbool.h>
#include <stddef.h>

#include "builder/err.h"

/* The path of the store; false (and an empty string) when the user has no place for one. */
bool store_dir_name(char *out, size_t len);

/*
 * Makes the store's directories if need be. Returns 0; 1 when there can be no store (read-only,
 * forbidden, or mounted noexec, from where libOS text could not be mapped) and the caller must do
 * without; -1 with e set when the directory is there but others could write it. `jimg` is for the message.
 */
int store_dir_make(const char *dir, const char *jimg, struct err *e);

/*
 * Removes the oldest entries while the store is larger than its limit, but never the one named `keep`;
 * what was left half-written long ago; and the stat cache's links when they have become too many.
 */
void store_dir_trim(const char *dir, const char *keep);

#endif
