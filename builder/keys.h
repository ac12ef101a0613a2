/*
 * keys.h - Ed25519 keys for signing images.
 *
 * A key file is one line of text: a word that says what it is, and hexadecimal digits.
 */
#ifndef JUNCTION_BUILDER_KEYS_H
#define JUNCTION_BUILDER_KEYS_H

#include <stdint.h>

#include "builder/err.h"

#define KEYS_PUBLIC_LEN 32
#define KEYS_SECRET_LEN 64

/* `text` is a file, or the 64 hexadecimal digits themselves. */
int keys_read_public(const char *text, uint8_t out[KEYS_PUBLIC_LEN], struct err *e);

/* Refuses a file that others can read. The caller wipes `out`. */
int keys_read_secret(const char *path, uint8_t out[KEYS_SECRET_LEN], struct err *e);

/* Writes a new pair to PATH.key (mode 0600) and PATH.pub; neither may exist. */
int keys_make(const char *path, struct err *e);

#endif
