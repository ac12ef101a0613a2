/*
 * fault.c - loss, duplication, reordering, corruption and delay of frames between uplink and
 * instances.
 */
#include "junctiond/scheduler/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/port.h"
#include "junctiond/scheduler/scheduler.h"
#include "junctiond/scheduler/switch.h"

#define MAX_HELD 2048u	    /* of the port's packet buffers; frames beyond them are lost */
#define REORDER_NS 1000000u /* how much longer a frame that is to be overtaken is held */

enum direction { TO_UPLINK, FROM_UPLINK };

static struct {
	bool on;
	uint64_t seed;
	double loss, dup, reorder, corrupt;
	uint64_t delay_ns, jitter_ns;
} fault;

/* Held frames: a binary heap, the earliest first; of equal ones that which came first. */
static struct held {
	uint64_t due, seq;
	struct rte_mbuf *m;
	enum direction dir;
} heap[MAX_HELD];
static uint32_t nr_held;
static uint64_t next_seq;
static uint64_t last_due[2]; /* jitter keeps the order */

/* splitmix64 */
static uint64_t random64(void)
{
	uint64_t z = fault.seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static bool chance(double p)
{
	return p > 0 && (double)(random64() >> 11) * 0x1p-53 < p;
}

static int number(const char *value, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(value, &end, 10);
	return *value < '0' || *value > '9' || *end || errno || *out > max ? -1 : 0;
}

static int probability(const char *value, double *out)
{
	char *end;

	*out = strtod(value, &end);
	return !*value || *end || !(*out >= 0 && *out <= 1) ? -1 : 0;
}

static int set(const char *key, const char *value)
{
	uint64_t us;

	if (!strcmp(key, "seed"))
		return number(value, UINT64_MAX, &fault.seed);
	if (!strcmp(key, "loss"))
		return probability(value, &fault.loss);
	if (!strcmp(key, "dup"))
		return probability(value, &fault.dup);
	if (!strcmp(key, "reorder"))
		return probability(value, &fault.reorder);
	if (!strcmp(key, "corrupt"))
		return probability(value, &fault.corrupt);
	if (!strcmp(key, "delay_us") && number(value, 10000000, &us) == 0) {
		fault.delay_ns = us * 1000;
		return 0;
	}
	if (!strcmp(key, "jitter_us") && number(value, 10000000, &us) == 0) {
		fault.jitter_ns = us * 1000;
		return 0;
	}
	return -1;
}

int fault_init(const char *spec, char *err, unsigned err_size)
{
	char copy[256], *save = NULL, *item;

	if (!spec)
		return 0;
	fault.seed = 1;
	snprintf(copy, sizeof(copy), "%s", spec);
	for (item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(item, '=');

		if (eq)
			*eq = '\0';
		if (!eq || set(item, eq + 1) < 0) {
			snprintf(err, err_size,
				 "--fault: '%s': not understood; give seed=N, loss=, dup=, "
				 "reorder=, corrupt= (0 to 1), "
				 "delay_us=N, jitter_us=N (at most 10000000), separated by commas",
				 item);
			return -1;
		}
	}
	fault.on = true;
	return 0;
}

void fault_exit(void)
{
	while (nr_held)
		port_free(heap[--nr_held].m);
}

static void hand_on(struct rte_mbuf *m, enum direction dir)
{
	if (dir == TO_UPLINK)
		port_tx(m);
	else
		switch_deliver_uplink(m);
}

static bool earlier(const struct held *a, const struct held *b)
{
	return a->due != b->due ? a->due < b->due : a->seq < b->seq;
}

static void hold(struct rte_mbuf *m, enum direction dir, uint64_t due)
{
	struct held new = {due, next_seq++, m, dir};
	uint32_t i = nr_held;

	if (nr_held == MAX_HELD) {
		sstats->drops[SDROP_FAULT]++;
		port_free(m);
		return;
	}
	for (nr_held++; i && earlier(&new, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = new;
}

static struct held take_first(void)
{
	struct held first = heap[0], last = heap[--nr_held];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < nr_held) {
		if (child + 1 < nr_held && earlier(&heap[child + 1], &heap[child]))
			child++;
		if (!earlier(&heap[child], &last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	return first;
}

/* One frame, or one of the two that duplication made. */
static void pass(struct rte_mbuf *m, enum direction dir)
{
	bool late = chance(fault.reorder);
	uint64_t due;

	if (!late && !fault.delay_ns && !fault.jitter_ns) {
		hand_on(m, dir);
		return;
	}
	due = now_ns() + fault.delay_ns;
	if (fault.jitter_ns)
		due += random64() % (fault.jitter_ns + 1);
	if (fault.delay_ns || fault.jitter_ns)
		sstats->fault_delay++;
	if (late) {
		due += REORDER_NS;
		sstats->fault_reorder++;
	} else {
		if (due < last_due[dir])
			due = last_due[dir];
		last_due[dir] = due;
	}
	hold(m, dir, due);
}

static void apply(struct rte_mbuf *m, enum direction dir)
{
	struct iovec iov[NIC_MAX_CHAIN];
	struct rte_mbuf *twin;
	uint32_t len;
	unsigned n;

	if (!fault.on) {
		hand_on(m, dir);
		return;
	}
	if (chance(fault.loss)) {
		sstats->drops[SDROP_FAULT]++;
		port_free(m);
		return;
	}
	n = port_iov(m, iov, NIC_MAX_CHAIN, &len);
	if (chance(fault.dup)) {
		twin = n ? port_copy(iov, n, len) : NULL;
		if (twin) {
			sstats->fault_dup++;
			pass(twin, dir);
		}
	}
	/* One bit, behind the Ethernet header: what a checksum of the packet finds. */
	if (chance(fault.corrupt) && n && iov[0].iov_len > ETH_LEN) {
		uint64_t r = random64();
		size_t at = ETH_LEN + (r >> 3) % (iov[0].iov_len - ETH_LEN);

		((uint8_t *)iov[0].iov_base)[at] ^= 1u << (r & 7);
		sstats->fault_corrupt++;
	}
	pass(m, dir);
}

void fault_to_uplink(struct rte_mbuf *m)
{
	apply(m, TO_UPLINK);
}

void fault_from_uplink(struct rte_mbuf *m)
{
	apply(m, FROM_UPLINK);
}

bool fault_tick(uint64_t now)
{
	bool any = false;

	while (nr_held && heap[0].due <= now) {
		struct held h = take_first();

		hand_on(h.m, h.dir);
		any = true;
	}
	if (any)
		switch_uplink_done();
	return any;
}

uint64_t fault_deadline(void)
{
	return nr_held ? heap[0].due : UINT64_MAX;
}
