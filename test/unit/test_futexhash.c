/*
 * test_futexhash.c - futex keys: private and shared ones differ, and the usual patterns of
 * addresses spread.
 */
#include <criterion/criterion.h>

#include "libos/proc/futex_hash.h"

/* The fullest bucket of n futexes at base, base + step, ... */
static unsigned fullest(u64 base, u64 step, unsigned n)
{
	unsigned count[FUTEX_BUCKETS] = { 0 }, most = 0;

	for (unsigned i = 0; i < n; i++) {
		u32 b = futex_hash((struct futex_key){ 0x480015c6a000, base + i * step });

		cr_assert_lt(b, FUTEX_BUCKETS);
		if (++count[b] > most)
			most = count[b];
	}
	return most;
}

Test(futexhash, keys_match_only_as_a_whole)
{
	struct futex_key a = { 1000, 4 }, b = { 1001, 4 }, c = { 1000, 8 };

	cr_assert(futex_match(a, a));
	cr_assert_not(futex_match(a, b));
	cr_assert_not(futex_match(a, c));
}

Test(futexhash, words_structures_pages_and_stacks_spread)
{
	static const u64 steps[] = { 4, 8, 40, 64, 4096, 135168, 8ul << 20, (8ul << 20) + 4096 };

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		unsigned most = fullest(0x7f1234560000, steps[i], FUTEX_BUCKETS);

		cr_assert_leq(most, 16, "step %lu: %u of %u in one bucket", steps[i], most,
			      FUTEX_BUCKETS);
	}
}
