/*
 * types.h - the base vocabulary of the library OS: integer types, errno, small helpers.
 */
#ifndef LIBOS_LIB_TYPES_H
#define LIBOS_LIB_TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/errno.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
#ifdef LIBOS_HOSTED
#include <sys/types.h>
#else
typedef long ssize_t;
typedef long loff_t;
#endif

/* In-kernel restart codes (never seen by the application); values as in Linux. */
#define ERESTARTSYS 512 /* restart if SA_RESTART, else EINTR */
#define ERESTARTNOINTR 513 /* always restart */
#define ERESTARTNOHAND 514 /* restart only if no handler ran */
#define ERESTART_RESTARTBLOCK 516 /* restart through restart_syscall */

#define PAGE_SIZE 4096ul
#define PAGE_SHIFT 12
#define PAGE_MASK (~(PAGE_SIZE - 1))

#define NSEC_PER_SEC 1000000000ull
#define NSEC_PER_USEC 1000ull
#define NSEC_PER_MSEC 1000000ull
#define NEVER UINT64_MAX /* a deadline that does not come */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
/* Zero at first, and mostly never touched: kept apart from what every start writes (libos.ld). */
#define __cold_data __attribute__((section(".bss.cold")))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define barrier() __asm__ volatile("" ::: "memory")
#define min(a, b) \
	({ \
		__typeof__(a) _a = (a); \
		__typeof__(b) _b = (b); \
		_a < _b ? _a : _b; \
	})
#define max(a, b) \
	({ \
		__typeof__(a) _a = (a); \
		__typeof__(b) _b = (b); \
		_a > _b ? _a : _b; \
	})
#define align_up(x, a) (((x) + (a) - 1) & ~((__typeof__(x))(a) - 1))
#define align_down(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define page_up(x) align_up((u64)(x), PAGE_SIZE)
#define page_down(x) ((u64)(x) & PAGE_MASK)

#define MAX_ERRNO 4095
static inline bool is_err(const void *p)
{
	return (uintptr_t)p >= (uintptr_t)-MAX_ERRNO;
}
static inline long ptr_err(const void *p)
{
	return (long)p;
}
static inline void *err_ptr(long e)
{
	return (void *)e;
}

#define noinline __attribute__((noinline))
#define noreturn __attribute__((noreturn))
#define __packed __attribute__((packed))
#define cacheline_aligned __attribute__((aligned(64)))

#endif
