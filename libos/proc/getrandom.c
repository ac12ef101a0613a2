/*
 * getrandom.c - getrandom(2). Our generator is seeded before the program starts, so it never blocks.
 */
#include <linux/random.h>

#include "libos/lib/random.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/signal/signal.h"

#define CHUNK 512
#define MAX_BYTES 0x7fffffffull

long sys_getrandom(u8 *ubuf, size_t len, u32 flags)
{
	u8 buf[CHUNK];
	size_t done = 0;

	if (flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	if ((flags & (GRND_INSECURE | GRND_RANDOM)) == (GRND_INSECURE | GRND_RANDOM))
		return -EINVAL;
	len = min(len, (size_t)MAX_BYTES);
	while (done < len) {
		size_t n = min(len - done, sizeof(buf)), k;

		random_bytes(buf, n);
		k = copy_to_user_partial(ubuf + done, buf, n);
		memset(buf, 0, n);
		barrier();
		done += k;
		if (k < n)
			return done ? (long)done : -EFAULT;
		/* Large requests may be interrupted at page boundaries. */
		if (!(done % PAGE_SIZE) && done < len && signal_pending(current()))
			break;
	}
	return done;
}
