/*
 * top_sample.c - copies of the scheduler's statistics, and differences between them.
 */
#include "builder/top.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const top_drop_texts[SDROP_NR] = {
#define D(name, text) text,
	SSTATS_DROPS(D)
#undef D
};

static void copy_text(char *to, const char *from, size_t size)
{
	memcpy(to, from, size - 1);
	to[size - 1] = 0;
}

int top_take(const struct sstats *st, struct top_sample *s)
{
	uint32_t nr = __atomic_load_n(&st->nr_instances, __ATOMIC_RELAXED);
	struct timespec ts;

	top_free(s);
	if (nr > SSTATS_MAX_INSTANCES)
		nr = SSTATS_MAX_INSTANCES;
	s->instances = calloc(nr ? nr : 1, sizeof(s->instances[0]));
	if (!s->instances)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	s->at = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
	s->head.started_ns = st->started_ns;
	s->head.pid = st->pid;
	s->head.poll_mode = st->poll_mode;
	s->head.nr_cores = st->nr_cores < SSTATS_MAX_CORES ? st->nr_cores : SSTATS_MAX_CORES;
	copy_text(s->head.uplink, st->uplink, sizeof(s->head.uplink));
	s->head.loops = st->loops;
	s->head.busy_loops = st->busy_loops;
	s->head.sleeps = st->sleeps;
	s->head.loop_cycles = st->loop_cycles;
	s->head.tsc_hz = st->tsc_hz;
	s->head.rx_packets = st->uplink_rx_packets;
	s->head.rx_bytes = st->uplink_rx_bytes;
	s->head.tx_packets = st->uplink_tx_packets;
	s->head.tx_bytes = st->uplink_tx_bytes;
	memcpy(s->head.drops, st->drops, sizeof(s->head.drops));
	memcpy(s->head.core_instance, st->core_instance, sizeof(s->head.core_instance));
	for (uint32_t i = 0; i < SSTATS_MAX_INSTANCES && s->nr < nr; i++) {
		struct sstats_instance *in = &s->instances[s->nr];

		if (!__atomic_load_n(&st->instances[i].id, __ATOMIC_ACQUIRE))
			continue;
		*in = st->instances[i];
		in->name[sizeof(in->name) - 1] = in->stop_reason[sizeof(in->stop_reason) - 1] = 0;
		s->nr += in->id != 0;
	}
	return 0;
}

void top_free(struct top_sample *s)
{
	free(s->instances);
	memset(s, 0, sizeof(*s));
}

const struct sstats_instance *top_before(const struct top_sample *then,
					 const struct sstats_instance *now)
{
	static const struct sstats_instance none;

	for (uint32_t i = 0; i < then->nr; i++)
		if (then->instances[i].id == now->id &&
		    then->instances[i].generation == now->generation)
			return &then->instances[i];
	return &none;
}

double top_rate(const struct top_sample *then, const struct top_sample *now, uint64_t before,
		uint64_t after)
{
	if (now->at <= then->at || after <= before)
		return 0;
	return (double)(after - before) * 1e9 / (double)(now->at - then->at);
}

double top_loop_ns(const struct top_sample *then, const struct top_sample *now)
{
	uint64_t loops = now->head.loops - then->head.loops;
	uint64_t busy = now->head.busy_loops - then->head.busy_loops;

	if (!now->head.tsc_hz || loops <= busy)
		return 0;
	return (double)(now->head.loop_cycles - then->head.loop_cycles) * 1e9 /
	       (double)now->head.tsc_hz / (double)(loops - busy);
}

void top_address(const struct sstats_instance *in, char *buf, size_t size)
{
	if (in->addr_len != 4 || !inet_ntop(AF_INET, in->addr, buf, (socklen_t)size))
		snprintf(buf, size, "-");
}
