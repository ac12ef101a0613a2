/*
 * test_random.c - the random number generator: ChaCha20 against RFC 8439, key erasure, reseeding.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "libos/lib/random.h"
#include "libos/lib/spinlock.h"

void spin_lock_slow(spinlock_t *l)
{
	cr_assert_fail("a lock was taken twice");
}

static void seed_with(u8 fill)
{
	u8 seed[RANDOM_SEED_LEN];

	memset(seed, fill, sizeof(seed));
	random_reseed(seed);
	for (size_t i = 0; i < sizeof(seed); i++)
		cr_assert_eq(seed[i], 0, "byte %zu of the seed was not wiped", i);
}

/* RFC 8439, 2.3.2: key 00..1f, nonce 000000090000004a00000000, block count 1. */
Test(random, chacha20_block_function)
{
	static const u8 expected[64] = {
		0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4,
		0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e,
		0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2,
		0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
	};
	u32 state[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	u8 out[64], *key = (u8 *)&state[4];

	for (int i = 0; i < 32; i++)
		key[i] = i;
	state[12] = 1;
	state[13] = 0x09000000;
	state[14] = 0x4a000000;
	chacha20_block(state, out);
	cr_assert_arr_eq(out, expected, sizeof(out));
}

/* RFC 8439, A.1, test vector 1: all zero. */
Test(random, chacha20_zero_key)
{
	static const u8 expected[16] = { 0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90,
					 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28 };
	u32 state[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	u8 out[64];

	chacha20_block(state, out);
	cr_assert_arr_eq(out, expected, sizeof(expected));
}

Test(random, the_old_key_is_mixed_into_a_new_seed)
{
	u8 whole[3000], parts[3000];

	seed_with(7);
	random_bytes(whole, sizeof(whole));
	seed_with(7);
	for (size_t i = 0, n = 1; i < sizeof(parts); i += n, n = n % 97 + 1)
		random_bytes(parts + i, i + n > sizeof(parts) ? sizeof(parts) - i : n);
	cr_assert_arr_neq(whole, parts, sizeof(whole));
}

Test(random, no_repetition_across_buffers)
{
	static u8 buf[1 << 16];

	seed_with(1);
	random_bytes(buf, sizeof(buf));
	for (size_t i = 0; i + 32 <= sizeof(buf); i += 16)
		for (size_t j = i + 16; j + 16 <= sizeof(buf) && j < i + 4096; j += 16)
			cr_assert(memcmp(buf + i, buf + j, 16), "16 bytes at %zu and %zu are equal", i, j);
}

Test(random, reseeding_changes_what_was_buffered)
{
	u8 a[32], b[32];

	seed_with(1);
	random_bytes(a, 1); /* the rest of the buffer is there now */
	seed_with(2);
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	cr_assert_arr_neq(a, b, sizeof(a));
}

Test(random, bits_are_balanced)
{
	static u8 buf[1 << 16];
	long ones = 0, bits = 8l * sizeof(buf);

	seed_with(3);
	random_bytes(buf, sizeof(buf));
	for (size_t i = 0; i < sizeof(buf); i++)
		ones += __builtin_popcount(buf[i]);
	/* Six standard deviations of a fair coin. */
	cr_assert(labs(2 * ones - bits) < 6 * 725, "%ld ones of %ld bits", ones, bits);
}
