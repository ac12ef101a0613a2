/*
 * test_seed.h - random numbers of unit tests: the same each time unless TEST_SEED says otherwise.
 */
#ifndef TEST_UNIT_TEST_SEED_H
#define TEST_UNIT_TEST_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t test_seed_state;

/* xorshift64*; printed once, so that a failure can be repeated. */
static inline uint64_t test_random64(void)
{
	if (!test_seed_state) {
		const char *s = getenv("TEST_SEED");

		test_seed_state = s ? strtoull(s, NULL, 0) | 1 : 0x9e3779b97f4a7c15ull;
		fprintf(stderr, "TEST_SEED=%#llx\n", (unsigned long long)test_seed_state);
	}
	test_seed_state ^= test_seed_state >> 12;
	test_seed_state ^= test_seed_state << 25;
	test_seed_state ^= test_seed_state >> 27;
	return test_seed_state * 0x2545f4914f6cdd1dull;
}

/* In [0, n). */
static inline uint32_t test_random(uint64_t n)
{
	return (uint32_t)((test_random64() >> 32) * n >> 32);
}

static inline __attribute__((unused)) void test_shuffle(void **v, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t k = test_random(i);
		void *t = v[k];

		v[k] = v[i - 1];
		v[i - 1] = t;
	}
}

#endif
