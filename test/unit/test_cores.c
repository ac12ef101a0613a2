/*
 * test_cores.c - core allocation against real processes: wakes, kicks, grants, preemption, lies and
 * deaths.
 *
 * Here the test is the polling thread. Every wait is bounded, and bounds are far above what is
 * usual: no verdict rests on speed.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/resource.h>

#include "test/unit/fake_instance.h"

#define SECOND 1000000000ull

struct scheduler_config config;
struct sstats *sstats;

uint64_t now_ns(void)
{
	return fake_now();
}

void loop_activate(struct instance *in)
{
	in->active = true;
}

void loop_deactivate(struct instance *in)
{
	in->active = false;
}

static void setup(bool dedicated)
{
	cpu_set_t set;
	int cpu = 0;

	memset(&config, 0, sizeof(config));
	sstats = mmap(NULL, sizeof(*sstats), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	cr_assert(sstats != MAP_FAILED);
	if (dedicated) {
		sched_getaffinity(0, sizeof(set), &set);
		if (CPU_COUNT(&set) < 2 || getuid())
			cr_skip_test("needs two CPUs and root");
		while (!CPU_ISSET(cpu, &set))
			cpu++;
		CPU_CLR(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
		config.dedicated = true;
		config.nr_cores = 1;
		config.cores[0] = cpu;
	}
	cr_assert_eq(cores_init(), 0, "cores_init: %s", strerror(errno));
}

static void teardown(void)
{
	cores_exit();
	munmap(sstats, sizeof(*sstats));
}

/* Turns of the loop until cond holds; false after 10 s. */
#define turn_until(cond)                                                                           \
	({                                                                                         \
		uint64_t _end = fake_now() + 10 * SECOND;                                          \
		bool _ok;                                                                          \
		while (!(_ok = (cond)) && fake_now() < _end)                                       \
			cores_tick(fake_now());                                                    \
		_ok;                                                                               \
	})

static void turn_for(uint64_t ns)
{
	for (uint64_t end = fake_now() + ns; fake_now() < end;)
		cores_tick(fake_now());
}

static bool parked(struct fake *f, uint32_t k)
{
	return word_parked(word_read(f->in.control, k));
}

static void start(struct fake *f, uint32_t id, enum fake_mode mode, uint32_t nr)
{
	cr_assert(fake_start(f, id, mode, nr));
	cr_assert_eq(cores_attach(&f->in), 0, "attach: %s", strerror(errno));
}

static void stop(struct fake *f)
{
	fake_kill(f);
	cores_detach(&f->in);
	fake_free(f);
}

/* Sends n requests one after another; true if each was answered. */
static bool serve(struct fake *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t want = __atomic_add_fetch(&f->shared->requests, 1, __ATOMIC_SEQ_CST);

		cores_rx(&f->in, 0, fake_now());
		if (!turn_until(__atomic_load_n(&f->shared->answered, __ATOMIC_ACQUIRE) == want))
			return false;
		if (i % 3 == 0)
			turn_for(100000);
	}
	return true;
}

Test(cores, adaptive_packets_wake_a_parked_kthread, .timeout = 60)
{
	struct fake f;

	setup(false);
	start(&f, 1, FAKE_SERVE, 2);
	cr_expect(turn_until(parked(&f, 0) && parked(&f, 1)));
	cr_expect(turn_until(!f.in.active), "one that sleeps is still polled");
	cr_expect_eq(cores_deadline(), UINT64_MAX, "nothing to do, and yet a deadline");
	cr_expect(serve(&f, 200));
	cr_expect_gt(f.stats.wakes, 0);
	/* Packets of a kthread that is not there go to another. */
	__atomic_fetch_add(&f.shared->requests, 1, __ATOMIC_SEQ_CST);
	cores_rx(&f.in, 63, fake_now());
	cr_expect(turn_until(f.shared->answered == f.shared->requests));
	stop(&f);
	teardown();
}

Test(cores, adaptive_unseen_packets_bring_a_kick, .timeout = 60)
{
	struct fake f;

	setup(false);
	start(&f, 1, FAKE_BUSY, 1);
	/* One may come for what was there before it was known. */
	turn_for(SECOND / 4);
	f.in.control->kthreads[0].rx_polls++;
	turn_for(SECOND / 4);
	f.shared->kicks = 0;
	turn_for(SECOND / 10);
	cr_expect_eq(f.shared->kicks, 0, "kicked though no packet came");
	cores_rx(&f.in, 0, fake_now());
	cr_expect(turn_until(f.shared->kicks > 0));
	f.in.control->kthreads[0].rx_polls++;
	turn_for(SECOND / 4);
	uint32_t kicks = f.shared->kicks;

	turn_for(SECOND / 10);
	cr_expect_eq(f.shared->kicks, kicks, "kicked though it looked");
	stop(&f);
	teardown();
}

Test(cores, dedicated_serves_and_parks, .timeout = 60)
{
	struct fake f;

	setup(true);
	start(&f, 1, FAKE_SERVE, 2);
	cr_expect_eq(f.in.control->sched.managed, 1);
	cr_expect(turn_until(f.shared->begun == 3 && parked(&f, 0) && parked(&f, 1)));
	cr_expect(turn_until(!f.in.active && f.stats.cores == 0), "parked, and holds %lu cores",
		  f.stats.cores);
	cr_expect(serve(&f, 500));
	cr_expect(turn_until(f.stats.cores == 0));
	cr_expect_gt(f.stats.core_ns, 0);
	stop(&f);
	teardown();
}

Test(cores, dedicated_one_that_never_begins_gets_no_core, .timeout = 60)
{
	struct fake f;

	setup(true);
	start(&f, 1, FAKE_ABSENT, 2);
	cores_rx(&f.in, 0, fake_now());
	turn_for(SECOND / 2);
	cores_rx(&f.in, 1, fake_now());
	turn_for(SECOND / 10);
	cr_expect_eq(f.stats.core_ns, 0);
	cr_expect_not(f.in.active, "still polled");
	stop(&f);
	teardown();
}

Test(cores, dedicated_timers_wake, .timeout = 60)
{
	struct fake f;

	setup(true);
	cr_assert(fake_start(&f, 1, FAKE_SERVE, 1));
	f.shared->timer_ns = 3000000;
	cr_assert_eq(cores_attach(&f.in), 0);
	cr_expect(serve(&f, 1));
	cr_expect(turn_until(f.shared->timers_seen >= 20), "%u timers", f.shared->timers_seen);
	stop(&f);
	teardown();
}

Test(cores, dedicated_wanted_grants_more_kthreads, .timeout = 60)
{
	struct fake f;
	uint64_t wakes;

	setup(true);
	start(&f, 1, FAKE_SERVE, 4);
	cr_expect(turn_until(f.shared->begun == 15 && !f.in.active));
	wakes = f.stats.wakes;
	f.in.control->sched.wanted = UINT32_MAX;
	cores_doorbell(&f.in, fake_now());
	cr_expect(turn_until(f.stats.wakes >= wakes + 8));
	f.in.control->sched.wanted = 0;
	cr_expect(turn_until(!f.in.active && f.stats.cores == 0),
		  "runs on though nothing is wanted");
	stop(&f);
	teardown();
}

static void beside(enum fake_mode mode)
{
	struct fake bad, good;

	setup(true);
	start(&bad, 1, mode, 2);
	start(&good, 2, FAKE_SERVE, 1);
	turn_for(SECOND / 20);
	cr_expect(serve(&good, 100), "no answer beside a bad neighbour");
	if (mode == FAKE_BUSY || mode == FAKE_DEAF)
		cr_expect_gt(bad.stats.preemptions, 0);
	cr_expect_gt(bad.shared->turns, 0, "the neighbour never ran");
	stop(&good);
	stop(&bad);
	teardown();
}

Test(cores, dedicated_beside_a_busy_one, .timeout = 100)
{
	beside(FAKE_BUSY);
}

Test(cores, dedicated_beside_one_that_never_parks, .timeout = 100)
{
	beside(FAKE_DEAF);
}

Test(cores, dedicated_beside_one_that_says_parked_and_runs, .timeout = 100)
{
	beside(FAKE_LIAR);
}

Test(cores, dedicated_beside_one_that_scribbles, .timeout = 100)
{
	beside(FAKE_SCRIBBLE);
}

/* One that runs on beside whoever has the core ends in class SCHED_IDLE. */
Test(cores, dedicated_lies_are_found_out, .timeout = 60)
{
	struct fake bad, good;
	bool found = false;

	setup(true);
	start(&bad, 1, FAKE_LIAR, 1);
	start(&good, 2, FAKE_BUSY, 1);
	for (uint32_t i = 0; i < 500 && !found; i++) {
		turn_for(10000000);
		found = sched_getscheduler(bad.in.tids[0]) == SCHED_IDLE;
	}
	cr_expect(found, "class %d", sched_getscheduler(bad.in.tids[0]));
	stop(&good);
	stop(&bad);
	teardown();
}

Test(cores, dedicated_two_busy_ones_share, .timeout = 60)
{
	struct fake a, b;

	setup(true);
	start(&a, 1, FAKE_BUSY, 1);
	start(&b, 2, FAKE_DEAF, 1);
	turn_for(SECOND);
	cr_log_info("busy %.1f ms, deaf %.1f ms, %lu + %lu preemptions",
		    (double)a.stats.core_ns / 1e6, (double)b.stats.core_ns / 1e6,
		    a.stats.preemptions, b.stats.preemptions);
	cr_expect(a.stats.core_ns > SECOND / 4 && b.stats.core_ns > SECOND / 4);
	cr_expect_gt(a.stats.preemptions + b.stats.preemptions, 20);
	stop(&a);
	stop(&b);
	teardown();
}

/* Both cores are one instance's until another wants one. Our own thread shares them. */
Test(cores, dedicated_two_cores, .timeout = 60)
{
	struct fake a, b;
	cpu_set_t set;

	setup(true);
	teardown();
	CPU_ZERO(&set);
	CPU_SET(config.cores[0], &set);
	sched_setaffinity(0, sizeof(set), &set);
	sstats = mmap(NULL, sizeof(*sstats), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	config.cores[1] = config.cores[0] + 1;
	config.nr_cores = 2;
	cr_assert_eq(cores_init(), 0);
	start(&a, 1, FAKE_BUSY, 2);
	a.in.control->sched.wanted = 1;
	cores_doorbell(&a.in, fake_now());
	cr_expect(turn_until(a.stats.cores == 2), "%lu cores", a.stats.cores);
	start(&b, 2, FAKE_DEAF, 1);
	cr_expect(turn_until(b.stats.cores == 1 && a.stats.cores == 1));
	cr_expect(turn_until(a.stats.core_ns > SECOND / 2 && b.stats.core_ns > SECOND / 4));
	cr_expect(sstats->core_instance[0] && sstats->core_instance[1]);
	stop(&b);
	a.in.control->sched.wanted = 1;
	cr_expect(turn_until(a.stats.cores == 2), "%lu cores", a.stats.cores);
	stop(&a);
	teardown();
}

/* Deaths at any moment; another takes the slot. */
Test(cores, dedicated_deaths, .timeout = 100)
{
	struct fake good, other;

	setup(true);
	start(&good, 1, FAKE_SERVE, 1);
	for (uint32_t i = 0; i < 25; i++) {
		start(&other, 2, i % 6, 1 + i % 3);
		turn_for(i * 100000);
		fake_kill(&other);
		turn_for(i * 50000);
		cr_expect(serve(&good, 2));
		cores_detach(&other.in);
		fake_free(&other);
	}
	cr_expect(serve(&good, 50));
	stop(&good);
	cr_expect(turn_until(cores_deadline() == UINT64_MAX), "something is left to be done");
	teardown();
}

/* Left by the scheduler, an instance goes on as the host schedules it. */
Test(cores, dedicated_detach_of_a_living_one, .timeout = 60)
{
	struct fake f;

	setup(true);
	start(&f, 1, FAKE_SERVE, 1);
	cr_expect(serve(&f, 3));
	cores_detach(&f.in);
	cr_expect_eq(f.in.control->sched.managed, 0);
	config.dedicated = false;
	cr_assert_eq(cores_attach(&f.in), 0);
	cr_expect(serve(&f, 20));
	stop(&f);
	config.dedicated = true;
	teardown();
}

Test(cores, dedicated_guarantees_beyond_the_cores_are_refused, .timeout = 60)
{
	struct fake f;

	setup(true);
	cr_assert(fake_start(&f, 1, FAKE_SERVE, 2));
	f.in.guaranteed_cores = 2;
	cr_expect_eq(cores_attach(&f.in), -1);
	cr_expect_eq(errno, ENOSPC);
	cr_expect_null(f.in.cores);
	fake_kill(&f);
	fake_free(&f);
	teardown();
}
