/*
 * record.h - the boot record: making one, and what its strings may be.
 */
#ifndef JUNCTION_BUILDER_RECORD_H
#define JUNCTION_BUILDER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/err.h"
#include "builder/spec.h"

/* Absolute, no empty, "." or ".." component, no slash at the end (but for "/" itself), below PATH_MAX. */
bool path_is_plain(const char *p);

/* The flat record of a specification whose defaults are filled in; *out is malloc'ed. */
int record_make(const struct build_spec *s, uint32_t uid, uint32_t gid, void **out, size_t *len,
		struct err *e);

#endif
