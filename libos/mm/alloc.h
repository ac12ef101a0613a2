/*
 * alloc.h - memory of the library OS itself, all of it in the arena.
 */
#ifndef LIBOS_MM_ALLOC_H
#define LIBOS_MM_ALLOC_H

#include "libos/lib/types.h"

/* Called once at boot with the part of the arena behind .bss. */
void alloc_init(u64 start, u64 end);

/* NULL when the arena is full. Any size; 16-byte aligned (64 from 64 bytes on, a page from a page on). */
void *kmalloc(size_t size);
void *kzalloc(size_t size);
/* Size must be the one asked for: there is no header before the block. */
void kfree(void *p, size_t size);
char *kstrdup(const char *s);
void kfree_str(char *s);

/* 2^order contiguous pages, page-aligned, contents undefined. */
void *pages_alloc(unsigned order);
void pages_free(void *p, unsigned order);

/* For large tables made once: page-aligned zeros from memory that was never touched. Never freed. */
void *alloc_untouched(size_t size);

/* Bytes in use now and at most. */
u64 alloc_used(void);
u64 alloc_peak(void);

#endif
