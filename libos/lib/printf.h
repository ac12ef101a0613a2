/*
 * printf.h - formatting into buffers, the log, and the end of the road.
 */
#ifndef LIBOS_LIB_PRINTF_H
#define LIBOS_LIB_PRINTF_H

#include "libos/lib/types.h"

/*
 * As snprintf(3) with %d %i %u %x %X %o %c %s %p %%, flags 0, - and #, width, precision (of %s), and the
 * lengths hh h l ll z. Returns the length that the whole would have had.
 */
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
int snprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Appends at buf + pos without overflow and returns the new pos (at most size - 1). */
size_t scnprintf_at(char *buf, size_t size, size_t pos, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* One line to the log ring: "level module: text". Never blocks; lines are dropped if the ring is full. */
void klog(const char *module, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A bug of the library OS: logs why, marks the instance as panicked and ends it. */
noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define BUG_ON(c) \
	do { \
		if (unlikely(c)) \
			panic("%s:%d: %s", __FILE__, __LINE__, #c); \
	} while (0)

#endif
