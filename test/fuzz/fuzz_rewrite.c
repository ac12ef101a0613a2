/*
 * fuzz_rewrite.c - any bytes given to the rewriter: no crash, no read outside, and a sound result.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/rewrite.h"

#define check(x) ((x) ? (void)0 : failed(#x))

static void failed(const char *what)
{
	fprintf(stderr, "not true: %s\n", what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rewrite_result r, again;

	if (rewrite_elf(data, size, &r))
		return 0;
	check(r.sites_found == r.sites_rewritten + r.sites_left);
	for (size_t i = 1; i < r.nr_sites; i++)
		check(r.sites[i - 1].trampoline < r.sites[i].trampoline &&
		      r.sites[i - 1].original <= r.sites[i].original);
	if (r.data) {
		check(r.len > size && r.nr_sites >= r.sites_rewritten && r.sites_rewritten);
		for (size_t i = 0; i < r.nr_sites; i++)
			check(r.sites[i].original < size && r.sites[i].trampoline >= size &&
			      r.sites[i].trampoline < r.len);
		/* Its own output is recognised, and kept. */
		check(!rewrite_elf(r.data, r.len, &again));
		check(!again.data && again.nr_sites == r.nr_sites &&
		      again.sites_rewritten == r.sites_rewritten &&
		      !memcmp(again.sites, r.sites, r.nr_sites * sizeof(*r.sites)));
		rewrite_result_free(&again);
	}
	rewrite_result_free(&r);
	return 0;
}
