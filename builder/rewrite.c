/* rewrite.c - the system call rewriter: parse, follow the code, choose covers, lay out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "builder/rewrite_internal.h"

/* Most libraries hold no system call: that is seen without decoding anything. */
static bool any_candidate(const struct rw *rw)
{
	for (size_t i = 0; i < rw->nr_regions; i++)
		if (memmem(rw->elf + rw->regions[i].off, rw->regions[i].size, "\x0f\x05", 2))
			return true;
	return false;
}

/*
 * A file that was rewritten before: its pairs stand in the trailer behind the segment that holds
 * the program headers. It is kept as it is.
 */
static int read_trailer(const struct rw *rw, struct rewrite_result *out)
{
	struct rewrite_trailer t;
	uint64_t off;

	for (size_t i = 0; i < rw->nr_loads; i++) {
		const struct rw_load *l = &rw->loads[i];

		if (rw->ehdr.e_phoff != l->off)
			continue;
		off = RW_ALIGN(l->off + l->filesz, 16);
		if (off > rw->len || rw->len - off < sizeof(t))
			continue;
		memcpy(&t, rw->elf + off, sizeof(t));
		off += sizeof(t);
		if (t.magic != REWRITE_TRAILER_MAGIC || !t.nr_pairs ||
		    t.nr_pairs > (rw->len - off) / sizeof(*out->sites))
			continue;
		out->sites = malloc(t.nr_pairs * sizeof(*out->sites));
		if (!out->sites)
			return -ENOMEM;
		memcpy(out->sites, rw->elf + off, t.nr_pairs * sizeof(*out->sites));
		out->nr_sites = t.nr_pairs;
		for (size_t k = 0; k < t.nr_pairs; k++) {
			const struct jfs_site *s = &out->sites[k];

			if (s->trampoline - l->off >= l->filesz || s->original >= rw->len ||
			    (k &&
			     (s->trampoline <= s[-1].trampoline || s->original < s[-1].original))) {
				free(out->sites);
				out->sites = NULL;
				out->nr_sites = 0;
				out->skipped = "damaged ELF headers";
				return 1;
			}
		}
		out->sites_found = t.sites_rewritten + t.sites_left;
		out->sites_rewritten = t.sites_rewritten;
		out->sites_left = t.sites_left;
		return 1;
	}
	return 0;
}

static int analyse(struct rw *rw, struct rewrite_result *out)
{
	int err;

	if (rw_parse(rw) < 0) {
		out->skipped = rw->skipped;
		return 0;
	}
	err = read_trailer(rw, out);
	if (err)
		return err < 0 ? err : 0;
	if (!any_candidate(rw))
		return 0;
	err = decode_init();
	if (err)
		return err;
	for (size_t i = 0; i < rw->nr_regions; i++) {
		rw->regions[i].map = calloc(1, rw->regions[i].size);
		if (!rw->regions[i].map)
			return -ENOMEM;
	}
	rw_file_evidence(rw);
	rw_eh_evidence(rw);
	rw_flow(rw);
	rw_find_sites(rw);
	rw_cover(rw);
	if (rw->oom)
		return -ENOMEM;
	err = rw_emit(rw, out);
	for (size_t i = 0; i < rw->nr_sites && !err; i++) {
		out->sites_found++;
		out->sites_rewritten += rw->sites[i].reason == REWRITE_OK;
		out->sites_left += rw->sites[i].reason != REWRITE_OK;
		out->left[rw->sites[i].reason] += rw->sites[i].reason != REWRITE_OK;
	}
	return err;
}

int rewrite_elf(const void *elf, size_t len, struct rewrite_result *out)
{
	struct rw *rw = calloc(1, sizeof(*rw));
	int err;

	memset(out, 0, sizeof(*out));
	if (!rw)
		return -ENOMEM;
	rw->elf = elf;
	rw->len = len;
	err = analyse(rw, out);
	for (size_t i = 0; i < rw->nr_regions; i++)
		free(rw->regions[i].map);
	free(rw->roots.v);
	free(rw->maybe.v);
	free(rw->leas.v);
	free(rw->functions.v);
	free(rw->jumps.v);
	free(rw->signal_frames.v);
	free(rw->sites);
	free(rw->owned);
	free(rw);
	if (err)
		rewrite_result_free(out);
	return err;
}

void rewrite_result_free(struct rewrite_result *out)
{
	free(out->data);
	free(out->sites);
	memset(out, 0, sizeof(*out));
}

const char *rewrite_reason_text(enum rewrite_reason reason)
{
	static const char *const text[REWRITE_NR_REASONS] = {
		[REWRITE_OK] = "rewritten",
		[REWRITE_NOT_CODE] = "not proven to be code",
		[REWRITE_NO_ROOM] = "no neighbouring instruction can be displaced",
		[REWRITE_SIGRETURN] = "unwinders know the signal return by its bytes",
		[REWRITE_RELOCATED] = "the dynamic linker writes into it",
		[REWRITE_FAR] = "no place for a trampoline in reach",
		[REWRITE_APPENDED] = "too much foreign data behind the end of the file",
	};
	return reason < REWRITE_NR_REASONS ? text[reason] : "unknown";
}
