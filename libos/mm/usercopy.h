/*
 * usercopy.h - the only way to the application's memory (DESIGN D6).
 *
 * A fault inside one of these ends it with -EFAULT (exception table, platform/hostsig.c). User addresses
 * are u64 or pointers; nothing else dereferences them. The window of the library OS is not user memory.
 */
#ifndef LIBOS_MM_USERCOPY_H
#define LIBOS_MM_USERCOPY_H

#include "libos/abi/layout.h"
#include "libos/lib/types.h"

/* [p, p + n) lies in user space and outside the libOS window; says nothing of mappings. */
static inline bool access_ok(u64 p, size_t n)
{
	u64 end = p + n;

	return end >= p && end <= USER_ADDR_MAX && (end <= LIBOS_WINDOW_START || p >= LIBOS_WINDOW_END);
}

/* 0 or -EFAULT; a copy to the user may have been done in part. */
int copy_from_user(void *dst, const void *usrc, size_t n);
int copy_to_user(void *udst, const void *src, size_t n);
int clear_user(void *udst, size_t n);
/* As much as can be copied before a fault: returns bytes copied. */
size_t copy_from_user_partial(void *dst, const void *usrc, size_t n);
size_t copy_to_user_partial(void *udst, const void *src, size_t n);
/*
 * Copies a NUL-terminated string of at most size - 1 characters. Returns its length,
 * -EFAULT, or -ENAMETOOLONG when there is no NUL within size bytes.
 */
ssize_t strncpy_from_user(char *dst, const char *usrc, size_t size);

int get_user_u8(u8 *v, const void *p);
int get_user_u32(u32 *v, const void *p);
int get_user_u64(u64 *v, const void *p);
int put_user_u8(u8 v, void *p);
int put_user_u32(u32 v, void *p);
int put_user_u64(u64 v, void *p);
/* Atomic on user words, for futexes. *old is what was there. 0 or -EFAULT. */
int user_cmpxchg_u32(void *p, u32 expected, u32 desired, u32 *old);
int user_xchg_u32(void *p, u32 v, u32 *old);
int user_xadd_u32(void *p, u32 v, u32 *old);

#define get_user(v, p) copy_from_user(&(v), p, sizeof(v))
#define put_user(v, p) copy_to_user(p, &(v), sizeof(v))

#endif
