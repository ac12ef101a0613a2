/*
 * bench_loop.c - what a turn of the scheduler's loop costs with 1, 64 and 512 idle instances
 * attached.
 *
 *     bench_loop SCHEDULER [COUNT...]     SCHEDULER: path of junction-scheduler; prints one JSON
 * object
 *
 * Starts a scheduler in dedicated mode (root, two CPUs), attaches instances that never begin, with
 * a sleeping process for all of them, and reads the cycles of turns without work from its
 * statistics. The counts are gone through several times, up and down; the least of each is
 * reported, since all else is the machine's noise.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "junctiond/scheduler/client.h"

#define MAX_INSTANCES 4096u
#define ROUNDS 5u
#define WINDOWS 4u
#define WINDOW_US 150000u

static int conns[MAX_INSTANCES];
static uint32_t nr;
static char path[64];
static pid_t scheduler, stand_in;
static int stand_in_fd;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_loop: %s: %s\n", what, why);
	if (scheduler > 0)
		kill(scheduler, SIGTERM);
	if (stand_in > 0)
		kill(stand_in, SIGKILL);
	unlink(path);
	exit(1);
}

static void start(const char *program)
{
	struct sched_error err;

	snprintf(path, sizeof(path), "/tmp/bench_loop.%d.sock", getpid());
	scheduler = fork();
	if (!scheduler) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execl(program, program, "--socket", path, "--poll", "dedicated", "--core", "1",
		      "--cores", "0", "--buffers", "512", "--log-level", "error", NULL);
		_exit(127);
	}
	stand_in = fork();
	if (!stand_in) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	stand_in_fd = (int)syscall(SYS_pidfd_open, stand_in, 0);
	for (int i = 0; i < 500; i++) {
		int fd = sched_client_connect(path, &err);

		if (fd >= 0) {
			conns[nr++] = fd;
			return;
		}
		if (waitpid(scheduler, NULL, WNOHANG) == scheduler)
			break;
		usleep(10000);
	}
	die(program, err.text);
}

static void attach(void)
{
	struct sched_msg msg = {.nr_pairs = 1};
	struct sched_error err;
	uint32_t tid = (uint32_t)stand_in;
	int region, control, fd;

	fd = sched_client_connect(path, &err);
	snprintf(msg.name, sizeof(msg.name), "idle-%u", nr);
	control = memfd_create("control", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || control < 0 || ftruncate(control, CTL_SIZE) ||
	    pwrite(control, &tid, sizeof(tid), offsetof(struct control, boot.host_tid)) !=
		    sizeof(tid) ||
	    fcntl(control, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ||
	    sched_client_attach(fd, &msg, &region, &err) ||
	    sched_client_start(fd, control, stand_in_fd, &err))
		die("attach", fd < 0 ? strerror(errno) : err.text);
	close(region);
	close(control);
	conns[nr++] = fd;
}

/* ns of a turn that found nothing, the least of some windows. */
static double measure(const struct sstats *st)
{
	double best = 1e9;

	usleep(100000);
	for (uint32_t i = 0; i < WINDOWS; i++) {
		uint64_t loops = st->loops, busy = st->busy_loops, cycles = st->loop_cycles;
		double ns;

		usleep(WINDOW_US);
		loops = st->loops - loops - (st->busy_loops - busy);
		cycles = st->loop_cycles - cycles;
		ns = loops ? (double)cycles * 1e9 / (double)st->tsc_hz / (double)loops : 1e9;
		best = ns < best ? ns : best;
	}
	return best;
}

int main(int argc, char **argv)
{
	static const uint32_t defaults[] = {1, 64, 512};
	uint32_t counts[16], n = 0;
	double best[16];
	const struct sstats *st;
	struct sched_error err;

	if (argc < 2) {
		fprintf(stderr, "usage: bench_loop SCHEDULER [COUNT...]\n");
		return 2;
	}
	for (int i = 2; i < argc && n < 16; i++)
		counts[n++] = (uint32_t)strtoul(argv[i], NULL, 10);
	for (; argc == 2 && n < 3; n++)
		counts[n] = defaults[n];
	start(argv[1]);
	if (sched_client_stats(conns[0], &st, &err))
		die("statistics", err.text);
	for (uint32_t i = 0; i < n; i++)
		best[i] = 1e9;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t which = round % 2 ? n - 1 - i : i;
			double ns;

			if (counts[which] >= MAX_INSTANCES)
				die("COUNT", "too large");
			while (nr - 1 < counts[which])
				attach();
			while (nr - 1 > counts[which])
				close(conns[--nr]);
			ns = measure(st);
			best[which] = ns < best[which] ? ns : best[which];
		}
	}
	printf("{\"idle_instances\": {");
	for (uint32_t i = 0; i < n; i++)
		printf("%s\"%u\": {\"loop_ns\": %.2f, \"ratio\": %.3f}", i ? ", " : "", counts[i],
		       best[i], best[i] / best[0]);
	printf("}}\n");
	kill(scheduler, SIGTERM);
	waitpid(scheduler, NULL, 0);
	kill(stand_in, SIGKILL);
	waitpid(stand_in, NULL, 0);
	unlink(path);
	return 0;
}
