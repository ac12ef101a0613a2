/*
 * usercopy.c - copies from and to the application, with an exception table (DESIGN D6).
 *
 * Each instruction here that touches user memory has an entry {its address, where to go on a fault}.
 */
#include "libos/mm/usercopy.h"

#include "libos/lib/string.h"

#define EX_ENTRY(from, to) ".pushsection .ex_table,\"a\"\n .quad " from ", " to "\n .popsection\n"

/* Returns the number of bytes not copied. */
static inline size_t raw_copy(void *dst, const void *src, size_t n)
{
	__asm__ volatile("1: rep movsb\n2:\n" EX_ENTRY("1b", "2b")
			 : "+D"(dst), "+S"(src), "+c"(n)
			 :
			 : "memory");
	return n;
}

#define DEFINE_GET(bits, suffix) \
	int get_user_u##bits(u##bits *v, const void *p) \
	{ \
		u##bits x; \
\
		if (!access_ok((u64)p, bits / 8)) \
			return -EFAULT; \
		__asm__ goto("1: mov" suffix " %1, %0\n" EX_ENTRY("1b", "%l[fault]") \
			     : "=r"(x) \
			     : "m"(*(const u##bits *)p) \
			     : \
			     : fault); \
		*v = x; \
		return 0; \
	fault: \
		return -EFAULT; \
	}

#define DEFINE_PUT(bits, suffix) \
	int put_user_u##bits(u##bits v, void *p) \
	{ \
		if (!access_ok((u64)p, bits / 8)) \
			return -EFAULT; \
		__asm__ goto("1: mov" suffix " %0, (%1)\n" EX_ENTRY("1b", "%l[fault]") \
			     : \
			     : "r"(v), "r"(p) \
			     : "memory" \
			     : fault); \
		return 0; \
	fault: \
		return -EFAULT; \
	}

DEFINE_GET(8, "b")
DEFINE_GET(32, "l")
DEFINE_GET(64, "q")
DEFINE_PUT(8, "b")
DEFINE_PUT(32, "l")
DEFINE_PUT(64, "q")

size_t copy_from_user_partial(void *dst, const void *usrc, size_t n)
{
	u64 p = (u64)usrc;

	if (!access_ok(p, n))
		return 0;
	return n - raw_copy(dst, usrc, n);
}

size_t copy_to_user_partial(void *udst, const void *src, size_t n)
{
	if (!access_ok((u64)udst, n))
		return 0;
	return n - raw_copy(udst, src, n);
}

int copy_from_user(void *dst, const void *usrc, size_t n)
{
	u64 w[2];

	switch (n) {
	case 0:
		return 0;
	case 8:
		if (get_user_u64(w, usrc))
			return -EFAULT;
		memcpy(dst, w, 8);
		return 0;
	case 16:
		if (get_user_u64(w, usrc) || get_user_u64(w + 1, (const u8 *)usrc + 8))
			return -EFAULT;
		memcpy(dst, w, 16);
		return 0;
	}
	return copy_from_user_partial(dst, usrc, n) == n ? 0 : -EFAULT;
}

int copy_to_user(void *udst, const void *src, size_t n)
{
	u64 w[2];

	switch (n) {
	case 0:
		return 0;
	case 8:
		memcpy(w, src, 8);
		return put_user_u64(w[0], udst);
	case 16:
		memcpy(w, src, 16);
		if (put_user_u64(w[0], udst))
			return -EFAULT;
		return put_user_u64(w[1], (u8 *)udst + 8);
	}
	return copy_to_user_partial(udst, src, n) == n ? 0 : -EFAULT;
}

int clear_user(void *udst, size_t n)
{
	if (!access_ok((u64)udst, n))
		return -EFAULT;
	__asm__ volatile("1: rep stosb\n2:\n" EX_ENTRY("1b", "2b")
			 : "+D"(udst), "+c"(n)
			 : "a"(0)
			 : "memory");
	return n ? -EFAULT : 0;
}

ssize_t strncpy_from_user(char *dst, const char *usrc, size_t size)
{
	size_t done = 0;

	while (done < size) {
		/* Up to the end of the page: the next one may be missing, and the string may not need it. */
		size_t n = min(size - done, PAGE_SIZE - ((u64)(usrc + done) & ~PAGE_MASK));

		n = min(n, (size_t)128);
		if (copy_from_user_partial(dst + done, usrc + done, n) != n)
			return -EFAULT;
		char *end = memchr(dst + done, 0, n);

		if (end)
			return end - dst;
		done += n;
	}
	return -ENAMETOOLONG;
}

int user_cmpxchg_u32(void *p, u32 expected, u32 desired, u32 *old)
{
	if (!access_ok((u64)p, 4))
		return -EFAULT;
	__asm__ goto("1: lock cmpxchgl %2, (%1)\n" EX_ENTRY("1b", "%l[fault]")
		     : "+a"(expected)
		     : "r"(p), "r"(desired)
		     : "memory"
		     : fault);
	*old = expected;
	return 0;
fault:
	return -EFAULT;
}

int user_xchg_u32(void *p, u32 v, u32 *old)
{
	if (!access_ok((u64)p, 4))
		return -EFAULT;
	__asm__ goto("1: xchgl %0, (%1)\n" EX_ENTRY("1b", "%l[fault]") : "+r"(v) : "r"(p) : "memory" : fault);
	*old = v;
	return 0;
fault:
	return -EFAULT;
}

int user_xadd_u32(void *p, u32 v, u32 *old)
{
	if (!access_ok((u64)p, 4))
		return -EFAULT;
	__asm__ goto("1: lock xaddl %0, (%1)\n" EX_ENTRY("1b", "%l[fault]")
		     : "+r"(v)
		     : "r"(p)
		     : "memory"
		     : fault);
	*old = v;
	return 0;
fault:
	return -EFAULT;
}
