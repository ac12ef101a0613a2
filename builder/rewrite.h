/*
 * rewrite.h - turn the system call instructions of an ELF file into jumps to trampolines.
 *
 * The whole interface of the rewriter. How it works, what it proves, and what the library OS must
 * do with the address pairs stands in rewrite.md beside this file.
 */
#ifndef JUNCTION_BUILDER_REWRITE_H
#define JUNCTION_BUILDER_REWRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libos/abi/image.h"

/* Why a site keeps its system call instruction and traps. */
enum rewrite_reason {
	REWRITE_OK,
	REWRITE_NOT_CODE,  /* not reached from any known code: may be data */
	REWRITE_NO_ROOM,   /* no neighbour can be displaced: jumped to, a call, or the like */
	REWRITE_SIGRETURN, /* unwinders know a signal frame by these very bytes */
	REWRITE_RELOCATED, /* the dynamic linker writes into these bytes */
	REWRITE_FAR,	   /* no place for a trampoline within 2 GiB */
	REWRITE_APPENDED,  /* the file has foreign data behind its end, which must stay there */
	REWRITE_NR_REASONS,
};

struct rewrite_result {
	/* The new file, malloc'ed, or NULL: keep the old bytes. */
	void *data;
	size_t len;
	uint32_t sites_found, sites_rewritten, sites_left; /* found = rewritten + left */
	uint32_t left[REWRITE_NR_REASONS];		   /* sites_left by reason */
	/*
	 * Address pairs, file offsets in the new file, ascending in both members; malloc'ed.
	 * To be stored as the jfs_site array of this file.
	 */
	struct jfs_site *sites;
	size_t nr_sites;
	/*
	 * Set when the file is none that can hold rewritable code (not ELF64 x86-64, not EXEC or
	 * DYN) or is damaged; a short English clause. The file is then left as it is, and is no
	 * error.
	 */
	const char *skipped;
};

/*
 * rewrite_elf - rewrite the file image (elf, len); fills *out, which rewrite_result_free()
 * releases.
 *
 * Any bytes may be given: what is no ELF file, or a malformed one, is left unchanged with
 * out->skipped set. Reads nothing outside (elf, len). Thread-safe. Returns 0, -ENOMEM, or -ENOENT
 * when the decoder library (libZydis.so.4.0) is needed and cannot be loaded; on error *out is
 * empty.
 */
int rewrite_elf(const void *elf, size_t len, struct rewrite_result *out);

/* Release what rewrite_elf() allocated; *out may be zero. */
void rewrite_result_free(struct rewrite_result *out);

/* A clause for people: "not proven to be code". */
const char *rewrite_reason_text(enum rewrite_reason reason);

#endif
