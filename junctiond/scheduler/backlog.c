/*
 * backlog.c - frames of the uplink that wait until their instance has receive buffers again.
 */
#include "junctiond/scheduler/backlog.h"

#include <stdlib.h>
#include <string.h>

#include "junctiond/scheduler/port.h"
#include "junctiond/scheduler/scheduler.h"

#define MAX_EACH 512u
#define MAX_ALL 2048u /* of the port's packet buffers */
#define BURST 64u

struct queue {
	struct instance *in;
	uint32_t first, n;
	struct rte_mbuf *frames[MAX_EACH];
};

static struct queue *by_instance[SSTATS_MAX_INSTANCES];
static struct queue *list[MAX_ALL]; /* those that hold anything */
static uint32_t nr_list, nr_frames;

bool backlog_any(void)
{
	return nr_list > 0;
}

bool backlog_waits(const struct instance *in)
{
	return nr_list && by_instance[in->id - 1];
}

bool backlog_add(struct instance *in, struct rte_mbuf *m)
{
	struct queue *q = by_instance[in->id - 1];

	if (nr_frames == MAX_ALL || (q && q->n == MAX_EACH))
		return false;
	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q)
			return false;
		q->in = in;
		by_instance[in->id - 1] = q;
		list[nr_list++] = q;
	}
	q->frames[(q->first + q->n++) % MAX_EACH] = m;
	nr_frames++;
	return true;
}

static void end(uint32_t i)
{
	struct queue *q = list[i];

	for (; q->n; q->n--, nr_frames--)
		port_free(q->frames[q->first++ % MAX_EACH]);
	by_instance[q->in->id - 1] = NULL;
	list[i] = list[--nr_list];
	free(q);
}

bool backlog_retry(unsigned (*give)(struct instance *in, struct rte_mbuf **m, unsigned n))
{
	bool any = false;

	for (uint32_t i = nr_list; i-- > 0;) {
		struct queue *q = list[i];
		struct rte_mbuf *m[BURST];
		unsigned n = q->n < BURST ? q->n : BURST, taken;

		for (unsigned k = 0; k < n; k++)
			m[k] = q->frames[(q->first + k) % MAX_EACH];
		taken = give(q->in, m, n);
		any |= taken > 0;
		q->first += taken;
		q->n -= taken;
		nr_frames -= taken;
		if (!q->n)
			end(i);
	}
	return any;
}

void backlog_forget(const struct instance *in)
{
	for (uint32_t i = 0; i < nr_list; i++)
		if (list[i]->in == in) {
			end(i);
			return;
		}
}

void backlog_exit(void)
{
	while (nr_list)
		end(0);
}
