/*
 * launch.h - arguments and environment of a program, from its image's record and its starter's wishes.
 *
 * The arrays are NULL-terminated and are freed with free(); their strings belong to the record and to the caller.
 * NULL: out of memory.
 */
#ifndef JUNCTION_BUILDER_LAUNCH_H
#define JUNCTION_BUILDER_LAUNCH_H

#include <stddef.h>

#include "libos/abi/image.h"

/* The image's environment, overridden and extended by `nr` strings K=V, where a later one wins. */
char **launch_env(const struct jimg_record *rec, char *const *env, size_t nr);

/* The program's path, as a shell would have found it, then `args` (NULL-terminated); args NULL: the image's own. */
char **launch_argv(const struct jimg_record *rec, char *const *args);

#endif
