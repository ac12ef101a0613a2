/*
 * raw.h - system calls without libc, for the child between clone and the library OS.
 *
 * A cloned child finds none of libc in its page tables: each function of it that is called for the first
 * time costs page faults for its code and, with lazy binding, for a search through symbol tables. The
 * child makes a hundred different calls once each, so they are made here, inline.
 */
#ifndef JUNCTION_LOADER_RAW_H
#define JUNCTION_LOADER_RAW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* Returns what the kernel returns: a value or -errno. */
static inline long raw_call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
			    uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline size_t raw_strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && ((const volatile char *)s)[n])
		n++;
	return n;
}

#define RAW_6(nr, a, b, c, d, e, f, ...) \
	raw_call(SYS_##nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), \
		 (uint64_t)(f))
/* RAW(name, arguments...): missing arguments are 0. */
#define RAW(nr, ...) RAW_6(nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

#endif
