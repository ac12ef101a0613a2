/*
 * elf_needs.h - what a dynamic ELF file asks of its surroundings. Read with libelf, never run.
 */
#ifndef JUNCTION_BUILDER_ELF_NEEDS_H
#define JUNCTION_BUILDER_ELF_NEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/strlist.h"

struct elf_needs {
	char *interp; /* PT_INTERP, or NULL */
	char *soname; /* DT_SONAME, or NULL */
	char *rpath; /* DT_RPATH; NULL where there is a DT_RUNPATH, which makes ld.so ignore it */
	char *runpath;
	struct strings needed; /* DT_NEEDED, in order */
};

/*
 * Fills *out, which elf_needs_free() releases. A file that is damaged or static gives an empty result:
 * whether it runs is not for the builder to say. Returns 0, or -1 when it is no ELF64 x86-64 file.
 */
int elf_needs_read(const uint8_t *bytes, size_t len, struct elf_needs *out);
void elf_needs_free(struct elf_needs *n);

/* The header of an ELF64 x86-64 executable or shared object. */
bool elf_is_code(const uint8_t *bytes, size_t len);

/* The first bytes of the host's file are those of an ELF64 x86-64 shared object or executable. */
bool elf_on_host(const char *path);

#endif
