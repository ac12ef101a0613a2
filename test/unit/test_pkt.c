/*
 * test_pkt.c - packet buffers and packets: references, linear and fragmented data, checksums.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "libos/net/pkt.h"
#include "pkt_host.h"
#include "test_seed.h"

#define POOL 256

static void same_bytes(const struct pkt *p, u32 off, u8 first)
{
	u8 buf[65536];

	pkt_copy_out(p, off, buf, p->total - off);
	for (u32 i = 0; i < p->total - off; i++)
		cr_assert_eq(buf[i], (u8)(first + i), "byte %u is %u", i, buf[i]);
}

/* Byte by byte, as RFC 1071 states it. */
static u16 plain_csum(const u8 *b, u32 n)
{
	u32 sum = 0;

	for (u32 i = 0; i < n; i++)
		sum += (u32)b[i] << (i % 2 ? 8 : 0);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* 0 and 0xffff are one number */
static u16 canonical(u16 sum)
{
	return sum == 0xffff ? 0 : sum;
}

Test(pkt, pool_gives_each_buffer_once)
{
	bool seen[POOL] = {false};
	u32 nbs[POOL];

	pkt_host_pool(POOL);
	for (int round = 0; round < 3; round++) {
		memset(seen, 0, sizeof(seen));
		cr_assert_eq(nbuf_free_count(), POOL);
		for (u32 i = 0; i < POOL; i++) {
			nbs[i] = nbuf_alloc();
			cr_assert_lt(nbs[i], POOL, "only %u of them", i);
			cr_assert(!seen[nbs[i]], "%u twice", nbs[i]);
			seen[nbs[i]] = true;
			cr_assert_eq(nbuf_refs(nbs[i]), 1);
			cr_assert_eq(nbuf_of(nbuf_addr(nbs[i]) + NBUF_SIZE - 1), nbs[i]);
		}
		cr_assert_eq(nbuf_alloc(), NBUF_NONE);
		cr_assert_eq(nbuf_free_count(), 0);
		for (u32 i = 0; i < POOL; i++)
			nbuf_put(nbs[i]);
	}
}

Test(pkt, pool_reuses_what_was_freed_last)
{
	u32 first, top = 0;

	pkt_host_pool(POOL);
	first = nbuf_alloc();
	nbuf_put(first);
	for (int i = 0; i < 1000; i++) {
		u32 a = nbuf_alloc(), b = nbuf_alloc();

		top = max(top, max(a, b));
		nbuf_put(a);
		nbuf_put(b);
	}
	cr_assert_leq(top, 8, "buffer %u was touched for two in use", top);
}

Test(pkt, references)
{
	u32 nb;

	pkt_host_pool(POOL);
	nb = nbuf_alloc();
	nbuf_get(nb);
	cr_assert_eq(nbuf_refs(nb), 2);
	nbuf_put(nb);
	cr_assert_eq(nbuf_refs(nb), 1);
	nbuf_put(nb);
	cr_assert_eq(nbuf_free_count(), POOL);
}

Test(pkt, without_a_pool_there_is_none)
{
	cr_assert_eq(nbuf_alloc(), NBUF_NONE);
	cr_assert_eq(nbuf_free_count(), 0);
	cr_assert_null(pkt_alloc(0));
	cr_assert_eq(pkt_host_allocated(), 0);
}

Test(pkt, push_and_put_stay_in_the_buffer)
{
	struct pkt *p;

	pkt_host_pool(POOL);
	p = pkt_alloc(PKT_HEADROOM);
	cr_assert_eq(p->len, 0);
	cr_assert_null(pkt_put(p, NBUF_SIZE - PKT_HEADROOM + 1));
	cr_assert_not_null(pkt_put(p, NBUF_SIZE - PKT_HEADROOM));
	cr_assert_null(pkt_put(p, 1));
	cr_assert_null(pkt_push(p, PKT_HEADROOM + 1));
	cr_assert_eq(pkt_push(p, PKT_HEADROOM), nbuf_addr(p->head));
	cr_assert_eq(p->total, NBUF_SIZE);
	pkt_free(p);
	cr_assert_eq(nbuf_free_count(), POOL);
	cr_assert_eq(pkt_host_allocated(), 0);
}

Test(pkt, nobody_writes_into_a_shared_buffer)
{
	struct pkt *p;
	u32 nb;

	pkt_host_pool(POOL);
	p = pkt_host_make(10, 300, 100, 1);
	nb = p->head;
	nbuf_get(nb);
	cr_assert_null(pkt_push(p, 1));
	cr_assert_null(pkt_put(p, 1));
	memset(nbuf_addr(nb) + PKT_HEADROOM + 10, 0xee, 100);
	cr_assert_not_null(pkt_linear(p, 50));
	cr_assert_neq(p->head, nb);
	cr_assert_eq(nbuf_addr(nb)[PKT_HEADROOM + 10], 0xee);
	cr_assert_eq(nbuf_refs(nb), 1);
	same_bytes(p, 0, 1);
	cr_assert_not_null(pkt_push(p, 14));
	pkt_free(p);
	nbuf_put(nb);
	cr_assert_eq(nbuf_free_count(), POOL);
}

Test(pkt, pull_and_trim_across_fragments)
{
	pkt_host_pool(POOL);
	for (u32 front = 0; front <= 500; front += 7) {
		for (u32 n = 0; front + n <= 500; n += 31) {
			struct pkt *p = pkt_host_make(100, 500, 90, 3);

			pkt_trim(p, front + n);
			cr_assert_eq(p->total, front + n);
			pkt_pull(p, front);
			cr_assert_eq(p->total, n);
			same_bytes(p, 0, 3 + front);
			pkt_free(p);
		}
	}
	cr_assert_eq(nbuf_free_count(), POOL);
	cr_assert_eq(pkt_host_allocated(), 0);
}

Test(pkt, linear_gathers_headers)
{
	pkt_host_pool(POOL);
	for (u32 n = 1; n <= 500; n += 3) {
		struct pkt *p = pkt_host_make(20, 500, 60, 9);

		cr_assert_null(pkt_linear(p, 501));
		cr_assert_eq(pkt_linear(p, n), p->data);
		cr_assert_geq(p->len, n);
		cr_assert_eq(p->total, 500);
		same_bytes(p, 0, 9);
		pkt_free(p);
	}
	cr_assert_eq(nbuf_free_count(), POOL);
}

Test(pkt, linear_moves_nothing_when_the_header_was_consumed)
{
	struct pkt *p;
	u32 nb;

	pkt_host_pool(POOL);
	p = pkt_host_make(20, 500, 240, 0);
	nb = p->frags[0].nb;
	pkt_pull(p, 20);
	cr_assert_not_null(pkt_linear(p, 240));
	cr_assert_eq(p->head, nb);
	cr_assert_eq(p->nr_frags, 1);
	same_bytes(p, 0, 20);
	pkt_free(p);
	cr_assert_eq(nbuf_free_count(), POOL);
}

Test(pkt, linear_without_memory_changes_nothing)
{
	u32 taken[POOL], n = 0;
	struct pkt *p;

	pkt_host_pool(POOL);
	p = pkt_host_make(20, 3000, 1500, 4);
	nbuf_get(p->head);
	while ((taken[n] = nbuf_alloc()) != NBUF_NONE)
		n++;
	cr_assert_null(pkt_linear(p, 40));
	cr_assert_eq(p->len, 20);
	same_bytes(p, 0, 4);
	while (n)
		nbuf_put(taken[--n]);
	cr_assert_null(pkt_linear(p, NBUF_SIZE + 1), "no buffer is that long");
	cr_assert_not_null(pkt_linear(p, NBUF_SIZE));
	same_bytes(p, 0, 4);
	pkt_free(p);
}

Test(pkt, fragments_join_and_are_limited)
{
	struct pkt *p;
	u32 nb;

	pkt_host_pool(POOL);
	p = pkt_alloc_bare();
	nb = nbuf_alloc();
	cr_assert_eq(pkt_add_frag(p, nb, 0, 100), 0);
	nbuf_get(nb);
	cr_assert_eq(pkt_add_frag(p, nb, 100, 50), 0);
	cr_assert_eq(p->nr_frags, 1);
	cr_assert_eq(nbuf_refs(nb), 1);
	cr_assert_eq(p->total, 150);
	while (p->nr_frags < PKT_MAX_FRAGS)
		cr_assert_eq(pkt_add_frag(p, nbuf_alloc(), 0, 10), 0);
	nb = nbuf_alloc();
	cr_assert_eq(pkt_add_frag(p, nb, 0, 10), -ENOSPC);
	nbuf_put(nb);
	cr_assert_eq(pkt_add_frag(p, nbuf_alloc(), 0, 0), 0);
	cr_assert_eq(p->nr_frags, PKT_MAX_FRAGS);
	pkt_free(p);
	cr_assert_eq(nbuf_free_count(), POOL);
}

Test(pkt, checksum_of_memory)
{
	u8 buf[4096];

	for (int round = 0; round < 20000; round++) {
		u32 off = (u32)test_random64() % 16, n = (u32)test_random64() % 200,
		    cut = (u32)test_random64() % (n / 2 + 1) * 2;

		for (u32 i = 0; i < off + n; i++)
			buf[i] = (u32)test_random64() % 3 ? (u32)test_random64() : 0xff;
		u16 whole = csum_fold(csum_add(buf + off, n, 0));
		u16 pieces =
			csum_fold(csum_add(buf + off + cut, n - cut, csum_add(buf + off, cut, 0)));

		cr_assert_eq(canonical(whole), canonical(plain_csum(buf + off, n)));
		cr_assert_eq(canonical(pieces), canonical(whole));
	}
	memset(buf, 0xff, sizeof(buf));
	cr_assert_eq(csum_fold(csum_add(buf, sizeof(buf), 0xffffffff)), 0xffff);
	cr_assert_eq(csum_fold(csum_add(buf, 0, 0)), 0);
}

Test(pkt, checksum_of_packets)
{
	u8 buf[4096];

	pkt_host_pool(POOL);
	for (int round = 0; round < 3000; round++) {
		u32 n = 1 + (u32)test_random64() % 2000,
		    linear = (u32)test_random64() % min(n + 1, 500u);
		struct pkt *p = pkt_host_make(linear, n, 60 + (u32)test_random64() % 300,
					      (u32)test_random64());
		u32 off = (u32)test_random64() % (n + 1),
		    len = (u32)test_random64() % (n - off + 1), sum = (u32)test_random64() % 65536;

		memcpy(buf, &(u16){sum}, 2);
		pkt_copy_out(p, off, buf + 2, len);
		cr_assert_eq(canonical(pkt_csum(p, off, len, sum)),
			     canonical(plain_csum(buf, len + 2)));
		pkt_free(p);
	}
	cr_assert_eq(nbuf_free_count(), POOL);
}

Test(pkt, partial_checksum_is_finished)
{
	u8 buf[4096];

	pkt_host_pool(POOL);
	for (int round = 0; round < 1000; round++) {
		u32 n = 40 + (u32)test_random64() % 1500, before = (u32)test_random64() % 20;
		struct pkt *p = pkt_host_make(60, n + 60, 333, (u32)test_random64());
		u16 pseudo = (u32)test_random64();

		p->flags = PKT_CSUM_PARTIAL | PKT_CSUM_OK;
		p->csum_start = p->data + before - nbuf_addr(p->head);
		p->csum_offset = round % 2 ? 16 : 6;
		memcpy(p->data + before + p->csum_offset, &pseudo, 2);
		if (round % 3 == 0) /* moves the header to another buffer */
			cr_assert_not_null(pkt_linear(p, 61 + (u32)test_random64() % n));
		pkt_csum_finish(p);
		cr_assert_eq(p->flags, PKT_CSUM_OK);
		/* A receiver adds the pseudo-header to all of it. */
		memcpy(buf, &pseudo, 2);
		pkt_copy_out(p, before, buf + 2, p->total - before);
		cr_assert_eq(plain_csum(buf, 2 + p->total - before), 0xffff);
		pkt_free(p);
	}
}

Test(pkt, udp_checksum_is_never_zero)
{
	struct pkt *p;
	u16 field = 0xffff;

	pkt_host_pool(POOL);
	p = pkt_alloc(PKT_HEADROOM);
	memset(pkt_put(p, 8), 0, 8);
	memcpy(p->data + 6, &field, 2);
	p->flags = PKT_CSUM_PARTIAL;
	p->csum_start = PKT_HEADROOM;
	p->csum_offset = 6;
	pkt_csum_finish(p);
	memcpy(&field, p->data + 6, 2);
	cr_assert_eq(field, 0xffff);
	pkt_free(p);
}
