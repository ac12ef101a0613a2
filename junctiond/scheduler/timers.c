/*
 * timers.c - when parked kthreads want to be woken (timers.h). A binary heap; each entry knows its
 * place.
 */
#include "junctiond/scheduler/timers.h"

#include <stdlib.h>

#include "junctiond/scheduler/cores_int.h"

struct entry {
	uint64_t at;
	struct cores_instance *ci;
	uint32_t k;
};

static struct entry *heap;
static uint32_t len, cap, reserved;

int timers_reserve(uint32_t nr)
{
	struct entry *v;
	uint32_t want = cap ? cap : 64;

	while (want < reserved + nr)
		want *= 2;
	if (want != cap) {
		v = realloc(heap, want * sizeof(*v));
		if (!v)
			return -1;
		heap = v;
		cap = want;
	}
	reserved += nr;
	return 0;
}

void timers_unreserve(uint32_t nr)
{
	reserved -= nr;
}

void timers_exit(void)
{
	free(heap);
	heap = NULL;
	len = cap = reserved = 0;
}

static void put(uint32_t pos, struct entry e)
{
	heap[pos] = e;
	e.ci->kt[e.k].timer_pos = pos;
}

/* Finds the place of e, for which the hole at pos is open. */
static void settle(uint32_t pos, struct entry e)
{
	uint32_t kid;

	for (; pos && e.at < heap[(pos - 1) / 2].at; pos = (pos - 1) / 2)
		put(pos, heap[(pos - 1) / 2]);
	while ((kid = 2 * pos + 1) < len) {
		if (kid + 1 < len && heap[kid + 1].at < heap[kid].at)
			kid++;
		if (heap[kid].at >= e.at)
			break;
		put(pos, heap[kid]);
		pos = kid;
	}
	put(pos, e);
}

void timers_set(struct cores_instance *ci, uint32_t k, uint64_t at)
{
	struct cores_kt *kt = &ci->kt[k];
	struct entry last;

	if (kt->timer == at)
		return;
	if (kt->timer == NEVER) {
		kt->timer = at;
		len++;
		settle(len - 1, (struct entry){at, ci, k});
	} else if (at != NEVER) {
		kt->timer = at;
		settle(kt->timer_pos, (struct entry){at, ci, k});
	} else {
		kt->timer = NEVER;
		last = heap[--len];
		if (kt->timer_pos != len)
			settle(kt->timer_pos, last);
	}
}

bool timers_due(uint64_t now, struct cores_instance **ci, uint32_t *k)
{
	if (!len || heap[0].at > now)
		return false;
	*ci = heap[0].ci;
	*k = heap[0].k;
	timers_set(*ci, *k, NEVER);
	return true;
}

uint64_t timers_first(void)
{
	return len ? heap[0].at : NEVER;
}
