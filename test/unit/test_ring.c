/*
 * test_ring.c - the byte ring of pipes, against a plain buffer.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/ipc/ring.h"

static u32 put(struct byte_ring *r, const u8 *src, u32 len)
{
	u32 done = 0, n;
	u8 *p;

	while (done < len && (n = ring_write_span(r, &p))) {
		n = n < len - done ? n : len - done;
		memcpy(p, src + done, n);
		ring_produced(r, n);
		done += n;
	}
	return done;
}

static u32 get(struct byte_ring *r, u8 *dst, u32 len)
{
	u32 done = 0, n;
	u8 *p;

	while (done < len && (n = ring_read_span(r, &p))) {
		n = n < len - done ? n : len - done;
		memcpy(dst + done, p, n);
		ring_consumed(r, n);
		done += n;
	}
	return done;
}

Test(ring, empty_and_full)
{
	u8 buf[16], data[20] = "abcdefghijklmnopqrs", out[20];
	struct byte_ring r = { .buf = buf, .size = sizeof(buf) };
	u8 *p;

	cr_assert_eq(ring_read_span(&r, &p), 0);
	cr_assert_eq(put(&r, data, 20), 16);
	cr_assert_eq(ring_free(&r), 0);
	cr_assert_eq(ring_write_span(&r, &p), 0);
	cr_assert_eq(ring_used_peek(&r), 16);
	cr_assert_eq(get(&r, out, 20), 16);
	cr_assert_arr_eq(out, data, 16);
	cr_assert_eq(ring_used(&r), 0);
	cr_assert_eq(r.both, 0, "an empty ring starts from its beginning");
}

Test(ring, indices_wrap_at_2_to_the_32)
{
	u8 buf[8], out[8];
	struct byte_ring r = { .buf = buf, .size = 8, .head = UINT32_MAX - 1, .tail = UINT32_MAX - 2 };

	buf[(UINT32_MAX - 2) & 7] = 'x';
	cr_assert_eq(put(&r, (const u8 *)"1234567", 7), 7);
	cr_assert_eq(ring_free(&r), 0);
	cr_assert_eq(get(&r, out, 8), 8);
	cr_assert_arr_eq(out, "x1234567", 8);
}

/* Random traffic with the ring growing and shrinking under it; what comes out is what went in. */
Test(ring, random_traffic)
{
	unsigned seed = 12345;
	struct byte_ring r = { 0 };
	u64 in = 0, out = 0;
	u8 chunk[700];

	cr_log_info("seed %u", seed);
	srand(seed);
	r.size = 64;
	r.buf = malloc(r.size);
	for (int step = 0; step < 20000; step++) {
		u32 n = rand() % sizeof(chunk);

		switch (rand() % 5) {
		case 0:
		case 1:
			for (u32 i = 0; i < n; i++)
				chunk[i] = (in + i) * 31;
			in += put(&r, chunk, n);
			break;
		case 2:
		case 3:
			n = get(&r, chunk, n);
			for (u32 i = 0; i < n; i++)
				cr_assert_eq(chunk[i], (u8)((out + i) * 31), "byte %lu", (unsigned long)(out + i));
			out += n;
			break;
		case 4:
			n = 1u << (rand() % 6 + 5);
			if (n >= ring_used(&r)) {
				u8 *old = r.buf;

				ring_move(&r, malloc(n), n);
				free(old);
			}
		}
		cr_assert_eq(ring_used(&r), in - out);
	}
	free(r.buf);
}
