/*
 * test_gro.c - which TCP segments are put together, and what becomes of their headers.
 */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

#include "junctiond/scheduler/gro.h"

#define SEG 1000u

static uint8_t bytes[64][2048];
static struct frame f;
static struct gro g;

static void sums(uint8_t *p)
{
	uint32_t len = get_be16(p + 16) - 20u;
	uint16_t c;

	memset(p + 24, 0, 2);
	c = csum_fold(csum_add(0, p + 14, 20));
	memcpy(p + 24, &c, 2);
	memset(p + 50, 0, 2);
	c = csum_fold(csum_add(csum_add(htons(6) + (uint64_t)htons((uint16_t)len), p + 26, 8),
			       p + 34, len));
	memcpy(p + 50, &c, 2);
}

/* Segment i of a stream, with a timestamp option. */
static uint8_t *make(unsigned i, uint32_t len)
{
	uint8_t *p = bytes[i];

	memset(p, 0, sizeof(bytes[i]));
	put_be16(p + 12, ETH_TYPE_IPV4);
	p[14] = 0x45;
	put_be16(p + 16, (uint16_t)(20 + 32 + len));
	put_be16(p + 18, (uint16_t)i);
	p[22] = 64;
	p[23] = 6;
	put_be32(p + 26, 0x0a000001);
	put_be32(p + 30, 0x0a000002);
	put_be16(p + 34, 80);
	put_be16(p + 36, 1234);
	put_be32(p + 38, 0xfffffc00 + i * SEG);
	put_be32(p + 42, 77);
	p[46] = 8 << 4;
	p[47] = 0x10;
	put_be16(p + 48, 500);
	p[54] = p[55] = 1;
	p[56] = 8;
	p[57] = 10;
	for (uint32_t k = 0; k < len; k++)
		p[66 + k] = (uint8_t)(i * 7 + k);
	sums(p);
	return p;
}

static void load(const uint8_t *p)
{
	struct iovec io = {(void *)(uintptr_t)p, 14u + get_be16(p + 16)};

	frame_load(&f, &io, 1, (uint32_t)io.iov_len);
	cr_assert(frame_parse(&f));
}

static bool start(unsigned i)
{
	load(bytes[i]);
	return gro_start(&g, &f, bytes[i], false);
}

static bool add(unsigned i)
{
	load(bytes[i]);
	return gro_add(&g, &f, bytes[i], false);
}

Test(gro, puts_segments_together)
{
	static uint8_t all[70000];
	uint32_t len = 0;
	struct frame w;
	struct iovec io;

	for (unsigned i = 0; i < 40; i++)
		make(i, SEG);
	cr_assert(start(0));
	for (unsigned i = 1; i < GRO_MAX_SEGMENTS; i++)
		cr_assert(add(i), "segment %u", i);
	cr_assert(!add(GRO_MAX_SEGMENTS), "more than fit");
	gro_finish(&g);
	for (unsigned i = 0; i < g.f.niov; i++) {
		memcpy(all + len, g.f.iov[i].iov_base, g.f.iov[i].iov_len);
		len += g.f.iov[i].iov_len;
	}
	cr_assert_eq(len, 66 + GRO_MAX_SEGMENTS * SEG);
	cr_assert_eq(g.f.len, len);
	for (uint32_t k = 0; k < GRO_MAX_SEGMENTS * SEG; k++)
		cr_assert_eq(all[66 + k], (uint8_t)(k / SEG * 7 + k % SEG), "byte %u", k);
	cr_assert_eq(csum_fold(csum_add(0, all + 14, 20)), 0);
	/* What an instance says of such a frame is true of it. */
	io = (struct iovec){all, len};
	frame_load(&w, &io, 1, len);
	cr_assert(frame_parse(&w) && frame_offload(&w, &g.f.hdr, 1500));
	cr_assert_eq(w.hdr.gso_size, SEG);
	cr_assert_eq(w.hash, g.f.hash);
}

Test(gro, short_and_pushed_ones_are_the_last)
{
	make(0, SEG), make(1, SEG - 1), make(2, SEG);
	cr_assert(start(0) && add(1));
	put_be32(bytes[2] + 38, 0xfffffc00 + 2 * SEG - 1);
	sums(bytes[2]);
	cr_assert(!add(2), "behind a short one");

	make(1, SEG)[47] = 0x18;
	sums(bytes[1]);
	make(2, SEG);
	cr_assert(start(0) && add(1));
	cr_assert(!add(2), "behind a pushed one");
	gro_finish(&g);
	cr_assert_eq(g.f.head[47], 0x18);

	make(1, SEG + 1);
	cr_assert(start(0) && !add(1), "longer than the first");
}

Test(gro, a_single_one_stays_as_it_is)
{
	make(0, SEG);
	cr_assert(start(0));
	gro_finish(&g);
	cr_assert_eq(g.f.hdr.flags, 0);
	cr_assert_eq(g.f.hdr.gso_type, NIC_HDR_GSO_NONE);
	cr_assert_eq(memcmp(g.f.head, bytes[0], 66), 0);
}

/* Each byte of the headers that may not differ. */
Test(gro, differences)
{
	static const struct {
		unsigned at;
		const char *what;
		bool l4; /* the sum is made right again */
	} diff[] = {
		{0, "destination MAC", true},
		{6, "source MAC", true},
		{15, "TOS", true},
		{20, "DF", true},
		{22, "TTL", true},
		{29, "source", true},
		{33, "destination", true},
		{35, "source port", true},
		{37, "port", true},
		{41, "sequence", true},
		{45, "acknowledgment", true},
		{49, "window", true},
		{53, "urgent pointer", true},
		{61, "timestamp", true},
		{100, "damaged data", false},
		{24, "damaged IPv4 sum", false},
		{50, "damaged TCP sum", false},
	};

	for (unsigned i = 0; i < sizeof(diff) / sizeof(diff[0]); i++) {
		make(0, SEG);
		make(1, SEG)[diff[i].at] ^= diff[i].at == 20 ? 0x40 : 1;
		if (diff[i].l4)
			sums(bytes[1]);
		cr_assert(start(0));
		cr_assert(!add(1), "%s", diff[i].what);
		cr_assert_eq(g.n, 1);
	}
	for (unsigned flags = 0; flags < 256; flags++) {
		make(0, SEG);
		make(1, SEG)[47] = (uint8_t)flags;
		sums(bytes[1]);
		cr_assert(start(0));
		cr_assert_eq(add(1), flags == 0x10 || flags == 0x18, "flags %#x", flags);
		bytes[0][47] = (uint8_t)flags;
		cr_assert_eq(start(0), flags == 0x10 || flags == 0x18, "flags %#x", flags);
	}
}

Test(gro, a_damaged_first_one_is_left_alone)
{
	make(0, SEG)[200] ^= 1;
	make(1, SEG);
	cr_assert(start(0));
	cr_assert(!add(1));
	gro_finish(&g);
	cr_assert_eq(g.f.hdr.flags, 0);
}

Test(gro, what_cannot_begin)
{
	make(0, 0);
	cr_assert(!start(0), "no data");
	make(0, SEG)[23] = 17;
	cr_assert(!start(0), "UDP");
	make(0, SEG);
	put_be16(bytes[0] + 20, 0x2000);
	cr_assert(!start(0), "a fragment");
}
