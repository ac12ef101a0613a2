/*
 * net_link.c - a link that loses, repeats, damages and reorders segments, seeded, in virtual time.
 */
#include <stdlib.h>
#include <string.h>

#include "net_wire.h"

struct flight {
	struct link *l;
	u32 src, dst, n;
	u8 bytes[];
};

static bool chance(u32 per_million)
{
	return per_million && net_random(1000000) < per_million;
}

static void arrive(void *arg)
{
	struct flight *x = arg;

	x->l->delivered++;
	inject_bytes(x->src, x->dst, x->bytes, x->n);
	free(x);
}

void link_send(struct link *l, const u8 *tcp, u32 n, u32 src, u32 dst)
{
	u64 *busy = &l->busy[src < dst], at = net_now();
	u32 copies = 1;

	if (l->rate) {
		if (*busy < at)
			*busy = at;
		if (l->queue && (*busy - at) * l->rate / SEC > l->queue) {
			l->dropped++;
			return;
		}
		*busy += (n + 20) * SEC / l->rate;
		at = *busy;
	}
	if (chance(l->loss)) {
		l->dropped++;
		return;
	}
	if (chance(l->dup)) {
		l->duplicated++;
		copies++;
	}
	while (copies--) {
		struct flight *x = malloc(sizeof(*x) + n);
		u64 when = at + l->delay + (l->jitter ? net_random((u32)l->jitter) : 0);

		*x = (struct flight){ l, src, dst, n };
		memcpy(x->bytes, tcp, n);
		if (chance(l->reorder)) {
			l->reordered++;
			when += net_random((u32)l->reorder_delay);
		}
		if (chance(l->corrupt)) {
			l->corrupted++;
			x->bytes[net_random(n)] ^= (u8)(1u << net_random(8));
		}
		net_at(when, arrive, x);
	}
}
