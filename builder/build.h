/*
 * build.h - from a specification to a sealed image.
 */
#ifndef JUNCTION_BUILDER_BUILD_H
#define JUNCTION_BUILDER_BUILD_H

#include "builder/spec.h"
#include "builder/tree.h"

struct build {
	struct build_spec *spec;
	struct tree tree;
	struct node *program;
	uint32_t uid, gid;
	bool glibc, musl; /* a program in it wants that interpreter */
	struct strings lib_dirs; /* where glibc's ld.so looks: ld.so.conf, then its own defaults */
	bool progress; /* write to a terminal what is being done */
	size_t warnings;
};

/*
 * Builds `out` from the specification. The file appears under its name only when it is complete.
 * Fills in the defaults of `spec`.
 */
int build_image(struct build_spec *spec, const char *out, struct err *e);

/* build_base.c: /etc/passwd and the rest that every program expects, unless it is there. */
int build_base_files(struct build *b, struct err *e);

/* closure.c: interpreters and libraries of every ELF file in the tree that was not looked at. */
int build_closure(struct build *b, struct err *e);

/* closure.c: the interpreter of a script, and what that needs to be found. */
int build_script(struct build *b, struct node *script, struct err *e);

/* ld_cache.c: /etc/ld.so.cache for the libraries in b->lib_dirs, unless the image has one. */
int build_ld_cache(struct build *b, struct err *e);

/* A line on standard error that does not stop the build. */
void build_warn(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
