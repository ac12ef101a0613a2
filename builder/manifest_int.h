/*
 * manifest_int.h - between the files that write, check and show manifests; for nobody else.
 */
#ifndef JUNCTION_BUILDER_MANIFEST_INT_H
#define JUNCTION_BUILDER_MANIFEST_INT_H

#include <jansson.h>
#include <stddef.h>

/* A JSON string for any bytes, see manifest.c. NULL when out of memory. */
json_t *manifest_string(const char *s, size_t len);

#endif
