/*
 * lib_dirs.h - the directories in which a dynamic linker looks for libraries.
 */
#ifndef JUNCTION_BUILDER_LIB_DIRS_H
#define JUNCTION_BUILDER_LIB_DIRS_H

#include "builder/strlist.h"

/* glibc on Debian: those of /etc/ld.so.conf and what it includes, then the built-in ones. */
void lib_dirs_glibc(struct strings *out);
/* musl: /etc/ld-musl-x86_64.path, else its built-in ones. */
void lib_dirs_musl(struct strings *out);

/*
 * The directories of a DT_RPATH or DT_RUNPATH, with $ORIGIN, $LIB and $PLATFORM replaced (ld.so(8)).
 * Relative ones are left out: what they mean depends on where the program is started. Directory i of two
 * calls that differ in `origin` only comes from the same element of the path.
 */
void lib_dirs_expand(const char *path, const char *origin, struct strings *out);

#endif
