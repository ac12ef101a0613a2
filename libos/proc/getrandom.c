/*
 * getrandom.c - getrandom(2). Our generator is seeded before the program starts, so it never blocks.
 */
#include <linux/random.h>

#include "libos/lib/random.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/signal/signal.h"

#define CHUNK 1024 /* bytes at a time, on the stack */
#define MAX_BYTES 0x7fffffffull

/* As memset(p, 0, n), but never left out. */
static void wipe(void *p, size_t n)
{
	memset(p, 0, n);
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* Short requests come from the kthread's buffer, long ones from the stream of a key made for them. */
long sys_getrandom(u8 *ubuf, size_t len, u32 flags)
{
	u8 key[RANDOM_KEY_LEN], buf[CHUNK];
	size_t done = 0, most = 0, n, k;
	bool stream;

	if (flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	if ((flags & (GRND_INSECURE | GRND_RANDOM)) == (GRND_INSECURE | GRND_RANDOM))
		return -EINVAL;
	len = min(len, (size_t)MAX_BYTES);
	stream = len > CHUNK / 4;
	if (stream)
		random_bytes(key, sizeof(key));
	while (done < len) {
		n = min(len - done, sizeof(buf));
		most = max(most, n);
		if (stream)
			random_stream(key, done / RANDOM_BLOCK, buf, (n + RANDOM_BLOCK - 1) / RANDOM_BLOCK);
		else
			random_bytes(buf, n);
		k = copy_to_user_partial(ubuf + done, buf, n);
		done += k;
		if (k < n) {
			done = done ?: (size_t)-EFAULT;
			break;
		}
		/* Large requests may be interrupted at page boundaries. */
		if (!(done % PAGE_SIZE) && done < len && signal_pending(current()))
			break;
	}
	wipe(buf, align_up(most, RANDOM_BLOCK));
	if (stream)
		wipe(key, sizeof(key));
	return done;
}
