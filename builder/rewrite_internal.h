/*
 * rewrite_internal.h - what the parts of the rewriter share.
 *
 *   rewrite.c        the order of things, and the public interface
 *   rewrite_file.c   the ELF file: segments, executable regions, symbols, relocations
 *   rewrite_eh.c     .eh_frame and exception tables: function starts and landing pads
 *   rewrite_flow.c   which bytes are instructions, and where control can arrive
 *   rewrite_cover.c  which instructions a site can displace
 *   rewrite_interp.c the .bss of dynamic linkers
 *   rewrite_emit.c   trampolines, and the layout of the new file
 *
 * Addresses are those of the file (p_vaddr), offsets are file offsets. Everything read from the
 * file is hostile: addresses are looked up through rw_at() and rw_code(), never added up and
 * trusted.
 */
#ifndef JUNCTION_BUILDER_REWRITE_INTERNAL_H
#define JUNCTION_BUILDER_REWRITE_INTERNAL_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/decode.h"
#include "builder/rewrite.h"
#include "libos/abi/layout.h"

#define RW_MAX_LOADS 64
#define RW_MAX_REGIONS 256
#define RW_MAX_DISPLACED 8 /* instructions on either side of a site */
#define RW_JMP_LEN 5
#define RW_PAGE 4096ul

/* What is known of a byte of an executable region. */
#define RW_INSN 0x01	/* an instruction that can be reached starts here */
#define RW_BODY 0x02	/* belongs to such an instruction, its first byte included */
#define RW_TARGET 0x04	/* control may arrive here from elsewhere */
#define RW_PATCHED 0x08 /* taken by a site */
#define RW_FIXED 0x10	/* headers, and what the dynamic linker writes */
#define RW_QUEUED 0x20	/* was put on the list of roots */
#define RW_MAYBE 0x40	/* was put on the list of what may be code */
#define RW_NAMED 0x80	/* RW_TARGET not only by a word in data */

struct rw_load {
	uint64_t vaddr, off, filesz, memsz;
	uint32_t flags; /* PF_* */
};

struct rw_region {
	uint64_t vaddr, off, size;
	uint8_t *map; /* RW_* of each byte */
};

struct rw_vec {
	uint64_t *v;
	size_t n, cap;
};

/* A site and what it displaces before and after it, in the order of the program. */
struct rw_site {
	uint64_t vaddr;	     /* of the syscall instruction */
	uint64_t start, end; /* displaced range */
	bool kept;	     /* the range ends where the syscall instruction stands, which stays */
	uint64_t tramp;	     /* address of the trampoline */
	enum rewrite_reason reason;
	uint8_t nr_before, nr_after;
	struct insn before[RW_MAX_DISPLACED], after[RW_MAX_DISPLACED];
};

struct rw {
	const uint8_t *elf;
	size_t len;
	uint8_t *owned; /* elf, once it is a changed copy of what was given */
	Elf64_Ehdr ehdr;
	size_t phnum;
	bool exec;	    /* ET_EXEC: addresses are absolute */
	bool has_sections;  /* regions are sections, not whole segments */
	size_t content_end; /* offset behind all that the headers speak of */
	struct rw_load loads[RW_MAX_LOADS];
	size_t nr_loads;
	struct rw_region regions[RW_MAX_REGIONS];
	size_t nr_regions;
	size_t last_region;		  /* cache of rw_code() */
	uint64_t eh_frame, eh_frame_size; /* address; size 0: none */
	struct rw_vec roots;		  /* to be walked: certainly code */
	struct rw_vec maybe;		  /* to be walked if what is there looks like code */
	struct rw_vec leas;		  /* addresses that code forms: tables, or labels */
	struct rw_vec functions;	  /* what the file says to be one; sorted */
	struct rw_vec jumps;		  /* to a sum of registers */
	struct rw_vec signal_frames;	  /* start, end, of what unwinders know as one */
	struct rw_site *sites;
	size_t nr_sites;
	bool oom;
	const char *skipped;
};

/* Stands behind the new segment, not loaded, so that a rewritten file can be packed too. */
struct rewrite_trailer {
	uint64_t magic;
	uint32_t sites_rewritten, sites_left;
	uint64_t nr_pairs; /* struct jfs_site each, behind this */
	uint64_t reserved;
};
#define REWRITE_TRAILER_MAGIC 0x315052574e554aull /* "JUNWRP1" */

/* rewrite_file.c */
int rw_parse(struct rw *rw);
/* Bytes at an address, as far as the file holds them; NULL if it holds none. */
const uint8_t *rw_at(const struct rw *rw, uint64_t vaddr, size_t *avail);
/* The executable region that holds an address, or NULL. */
struct rw_region *rw_code(struct rw *rw, uint64_t vaddr);
bool rw_push(struct rw *rw, struct rw_vec *vec, uint64_t value);
/* Control may arrive at vaddr, which is harmless if that is no code; `how` is RW_NAMED or 0. */
void rw_target(struct rw *rw, uint64_t vaddr);
void rw_root(struct rw *rw, uint64_t vaddr);
void rw_maybe(struct rw *rw, uint64_t vaddr, uint8_t how);
/* Function symbols, dynamic tags, relocations, pointers in data. */
void rw_file_evidence(struct rw *rw);

/* rewrite_eh.c */
void rw_eh_evidence(struct rw *rw);

/* rewrite_flow.c */
void rw_flow(struct rw *rw);
void rw_find_sites(struct rw *rw);

/* rewrite_cover.c */
void rw_cover(struct rw *rw);

/* rewrite_interp.c */
int rw_settle_bss(struct rw *rw);

/* rewrite_emit.c */
int rw_emit(struct rw *rw, struct rewrite_result *out);

/* mov $15, %rax; syscall: how every C library returns from a signal handler. */
static const uint8_t rw_sigreturn[9] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

#define RW_ALIGN(x, a) (((x) + (a)-1) & ~((uint64_t)(a)-1))

static inline uint16_t rw_u16(const uint8_t *p)
{
	uint16_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t rw_u32(const uint8_t *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t rw_u64(const uint8_t *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

#endif
