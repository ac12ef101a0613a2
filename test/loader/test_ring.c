/*
 * test_ring.c - the supervisor's ends of the rings, with good and with hostile peers.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loader/ring.h"

static struct control *control;
static struct ring_end ring;

static void setup(void)
{
	control = mmap(NULL, CTL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(control, MAP_FAILED);
	ring_init(&ring, control, CTL_RING_STDOUT);
}

static void teardown(void)
{
	munmap(control, CTL_SIZE);
}
TestSuite(ring, .init = setup, .fini = teardown);

Test(ring, empty)
{
	struct iovec iov[2];

	cr_expect_eq(ring_readable(&ring), 0);
	cr_expect_eq(ring_writable(&ring), CTL_RING_SIZE);
	cr_expect_eq(ring_pieces(&ring, 0, iov), 0);
}

Test(ring, each_ring_lies_in_the_region_behind_the_last)
{
	for (int id = 0; id < CTL_NR_RINGS; id++) {
		struct ring_end r;

		ring_init(&r, control, id);
		cr_expect_geq((char *)r.data - (char *)control, CTL_ARGS_OFF + CTL_ARGS_MAX);
		cr_expect_leq((char *)r.data + CTL_RING_SIZE - (char *)control, CTL_SIZE);
	}
}

Test(ring, pieces_stay_inside_and_add_up)
{
	for (uint64_t index = 0; index < 3 * CTL_RING_SIZE; index += 1021)
		for (uint64_t len = 1; len <= CTL_RING_SIZE; len += 4093) {
			struct iovec iov[2];
			size_t sum = 0;
			int nr;

			ring.index = index;
			nr = ring_pieces(&ring, len, iov);
			for (int i = 0; i < nr; i++) {
				uint8_t *p = iov[i].iov_base;

				cr_assert(p >= ring.data && p + iov[i].iov_len <= ring.data + CTL_RING_SIZE);
				sum += iov[i].iov_len;
			}
			cr_assert_eq(sum, len);
		}
}

Test(ring, every_head_is_either_in_reach_or_refused)
{
	static const uint32_t tails[] = {0, 5, CTL_RING_SIZE - 1, 0x7fffffff, 0xfffffff0};

	for (size_t t = 0; t < sizeof(tails) / sizeof(tails[0]); t++)
		for (uint64_t d = 0; d < 1ull << 32; d += d < 2 * CTL_RING_SIZE ? 1 : 999983) {
			int64_t n;

			ring.index = tails[t];
			control->rings[CTL_RING_STDOUT].head = tails[t] + (uint32_t)d;
			n = ring_readable(&ring);
			cr_assert_eq(n, d <= CTL_RING_SIZE ? (int64_t)d : -1);
		}
}

Test(ring, every_tail_is_either_in_reach_or_refused)
{
	for (uint64_t d = 0; d < 1ull << 32; d += d < 2 * CTL_RING_SIZE ? 1 : 999983) {
		ring.index = 7;
		control->rings[CTL_RING_STDOUT].tail = 7 - (uint32_t)d;
		cr_assert_eq(ring_writable(&ring), d <= CTL_RING_SIZE ? (int64_t)(CTL_RING_SIZE - d) : -1);
	}
}

Test(ring, our_index_is_never_read_back)
{
	control->rings[CTL_RING_STDOUT].head = 100;
	ring_consume(&ring, 60);
	control->rings[CTL_RING_STDOUT].tail = 0xdeadbeef;
	cr_expect_eq(ring_readable(&ring), 40);
}

Test(ring, a_waiting_producer_is_woken_once)
{
	control->rings[CTL_RING_STDOUT].head = 10;
	control->rings[CTL_RING_STDOUT].producer_waiting = 1;
	cr_expect(ring_consume(&ring, 5));
	cr_expect_not(ring_consume(&ring, 5));
	cr_expect_eq(control->rings[CTL_RING_STDOUT].tail, 10);
}

Test(ring, bytes_come_out_as_they_went_in)
{
	unsigned int seed = 20240607;
	uint32_t next_in = 0, next_out = 0;
	struct ring_end in, out;

	ring_init(&in, control, CTL_RING_STDIN);
	ring_init(&out, control, CTL_RING_STDIN);
	for (int round = 0; round < 2000; round++) {
		struct iovec iov[2];
		uint32_t n = ring_writable(&in), len = n ? rand_r(&seed) % (n + 1) : 0;
		int nr = ring_pieces(&in, len, iov);

		for (int i = 0; i < nr; i++)
			for (size_t k = 0; k < iov[i].iov_len; k++)
				((uint8_t *)iov[i].iov_base)[k] = next_in++ * 31;
		ring_produce(&in, len);
		n = ring_readable(&out);
		len = n ? rand_r(&seed) % (n + 1) : 0;
		nr = ring_pieces(&out, len, iov);
		for (int i = 0; i < nr; i++)
			for (size_t k = 0; k < iov[i].iov_len; k++)
				cr_assert_eq(((uint8_t *)iov[i].iov_base)[k], (uint8_t)(next_out++ * 31),
					     "seed 20240607, round %d", round);
		ring_consume(&out, len);
	}
}
