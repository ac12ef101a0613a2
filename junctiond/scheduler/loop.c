/*
 * loop.c - one turn after the other: uplink, transmit rings of active instances, cores, control;
 * and sleep.
 *
 * An instance is active while its transmit rings are polled; then the device asks for no doorbell.
 * All others have been asked for it. Between the two, as in all such changes, the order is: ask for
 * the doorbell, fence, look at the rings once more. A driver that puts a packet in does it the
 * other way round.
 *
 * When nothing has happened for a while in adaptive mode, the same is done with all active ones,
 * and the thread sleeps in epoll until a doorbell, a frame, a client or the next timer. How long it
 * polls first follows how long it slept: short sleeps were not worth it.
 */
#include "junctiond/scheduler/loop.h"

#include <string.h>

#include "junctiond/scheduler/backlog.h"
#include "junctiond/scheduler/clock.h"
#include "junctiond/scheduler/control.h"
#include "junctiond/scheduler/doorbell.h"
#include "junctiond/scheduler/fault.h"
#include "junctiond/scheduler/instance.h"
#include "junctiond/scheduler/pcap.h"
#include "junctiond/scheduler/port.h"
#include "junctiond/scheduler/switch.h"
#include "junctiond/scheduler/vring.h"

#define CONTROL_NS 1000000u /* between looks at the sockets while busy */
#define SYNC_NS 100000000u
#define IDLE_MIN_NS 200000u
#define IDLE_MAX_NS 2000000u
#define SHORT_SLEEP_NS 100000u
#define LONG_SLEEP_NS 2000000u
#define SLEEP_MAX_NS 10000000000u
#define BLIND_SLEEP_NS 200000u /* while something must be polled: receive buffers, some uplinks */
#define DRAIN_TURNS 16u

static struct instance *active[SSTATS_MAX_INSTANCES];
static uint32_t nr_active;

/* Those that left the list, and are looked at until their rings are found empty. */
static struct {
	struct instance *in;
	uint32_t turns;
} draining[SSTATS_MAX_INSTANCES];
static uint32_t nr_draining;

static bool stopping;

static void device_events(struct instance *in, bool enable)
{
	for (uint32_t i = 0; i < in->nr_pairs; i++)
		vring_device_events(in->tx[i], enable);
}

static void forget_draining(const struct instance *in)
{
	for (uint32_t i = 0; i < nr_draining; i++)
		if (draining[i].in == in) {
			draining[i] = draining[--nr_draining];
			return;
		}
}

void loop_activate(struct instance *in)
{
	if (in->active)
		return;
	forget_draining(in);
	in->active = true;
	in->active_index = nr_active;
	active[nr_active++] = in;
	device_events(in, false);
}

static void remove_active(struct instance *in)
{
	in->active = false;
	active[in->active_index] = active[--nr_active];
	active[in->active_index]->active_index = in->active_index;
}

void loop_deactivate(struct instance *in)
{
	if (!in->active)
		return;
	remove_active(in);
	device_events(in, true);
	draining[nr_draining].in = in;
	draining[nr_draining++].turns = DRAIN_TURNS;
}

void loop_forget(struct instance *in)
{
	if (in->active)
		remove_active(in);
	forget_draining(in);
}

void loop_stop(void)
{
	stopping = true;
}

static void on_doorbell(void *owner)
{
	struct instance *in = owner;

	loop_activate(in);
	cores_doorbell(in, now_ns());
}

static bool drain(uint64_t now)
{
	bool any = false;

	for (uint32_t i = nr_draining; i-- > 0;) {
		struct instance *in = draining[i].in;

		if (switch_from_instance(in, now)) {
			any = true;
			if (--draining[i].turns)
				continue;
			/* It still sends: it runs, whatever its words say. */
			on_doorbell(in);
			continue;
		}
		draining[i] = draining[--nr_draining];
	}
	return any;
}

static bool from_uplink(void)
{
	struct rte_mbuf *frames[PORT_BURST];
	unsigned n = port_present() ? port_rx(frames) : 0;

	for (unsigned i = 0; i < n; i++)
		switch_from_uplink(frames[i]);
	if (n)
		switch_uplink_done();
	return n > 0;
}

/* One turn. True: there was something to do. */
static bool turn(uint64_t now)
{
	bool busy = switch_uplink_retry();

	busy |= from_uplink();

	busy |= fault_tick(now);
	if (doorbell_rung()) {
		doorbell_take(on_doorbell);
		busy = true;
	}
	/* From the end: those that leave are replaced by one that was looked at. */
	for (uint32_t i = nr_active; i-- > 0;)
		busy |= switch_from_instance(active[i], now);
	if (nr_draining)
		busy |= drain(now);
	port_flush();
	switch_notify(now);
	busy |= cores_tick(now);
	return busy;
}

static uint64_t sleep_timeout(uint64_t now)
{
	uint64_t due = cores_deadline(), f = fault_deadline();

	if (f < due)
		due = f;
	f = instance_deadline();
	if (f < due)
		due = f;
	if ((backlog_any() || (port_present() && port_event_fd() == -1)) &&
	    due > now + BLIND_SLEEP_NS)
		due = now + BLIND_SLEEP_NS;
	if (due <= now)
		return 0;
	return due - now < SLEEP_MAX_NS ? due - now : SLEEP_MAX_NS;
}

/*
 * Everything that could wake us is asked to; then we look once more. True: nothing is there. Active
 * instances are so no longer: their doorbells, or packets for them, bring back those that do
 * something.
 */
static bool prepare_sleep(void)
{
	while (nr_active)
		loop_deactivate(active[nr_active - 1]);
	if (drain(now_ns())) {
		port_flush();
		switch_notify(now_ns());
		return false;
	}
	port_events(true);
	doorbell_sleep(true);
	if (doorbell_rung() || nr_draining || nr_active)
		return false;
	if (from_uplink()) {
		port_flush();
		switch_notify(now_ns());
		return false;
	}
	return true;
}

static void finish_sleep(void)
{
	doorbell_sleep(false);
	port_events(false);
}

/* Returns for how long we slept, in ns; 0: not at all. */
static uint64_t sleep_now(void)
{
	uint64_t before = now_ns(), timeout = sleep_timeout(before), after = before;

	if (!timeout)
		return 0;
	pcap_flush();
	if (prepare_sleep()) {
		sstats->sleeps++;
		control_poll(timeout);
		clock_sync();
		after = now_ns();
	}
	finish_sleep();
	return after - before;
}

/* How long to poll before the next sleep, after one of `slept` ns that work ended. */
static uint64_t adapt(uint64_t idle, uint64_t slept)
{
	if (slept < SHORT_SLEEP_NS && idle < IDLE_MAX_NS)
		return idle * 2;
	if (slept > LONG_SLEEP_NS && idle > IDLE_MIN_NS)
		return idle / 2;
	return idle;
}

void loop_run(void)
{
	uint64_t idle_since = now_ns(), next_control = 0, next_sync = idle_since;
	uint64_t idle = IDLE_MIN_NS, slept = 0;

	sstats->tsc_hz = clock_tsc_hz();
	while (!stopping) {
		uint64_t tsc = clock_tsc(), now = now_ns();
		bool busy = turn(now);

		sstats->loops++;
		if (busy) {
			sstats->busy_loops++;
			idle_since = now;
			if (slept)
				idle = adapt(idle, slept);
			slept = 0;
		} else {
			sstats->loop_cycles += clock_tsc() - tsc;
		}
		if (now >= next_control) {
			control_poll(0);
			instance_tick(now);
			next_control = now + CONTROL_NS;
			if (now >= next_sync) {
				clock_sync();
				pcap_flush();
				sstats->tsc_hz = clock_tsc_hz();
				sstats->updated_ns = now;
				next_sync = now + SYNC_NS;
			}
		}
		/* A sleep that ended for nothing is no reason to poll. */
		if (!busy && !stopping && !config.dedicated && now - idle_since >= idle)
			slept += sleep_now();
	}
}
