/*
 * instance.c - an instance while it runs: output, ports, memory, stop, end; and one taken over from another zygote.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "junctiond/zygote/zygote.h"
#include "loader/ending.h"
#include "loader/internal.h"

#define NSEC_PER_MSEC 1000000ull
/* Memory is looked at this often; less often where it does not grow, because each look costs some microseconds. */
#define CHECK_MIN_NS (100 * NSEC_PER_MSEC)
#define CHECK_MAX_NS (800 * NSEC_PER_MSEC)
#define PART_NS (1000 * NSEC_PER_MSEC) /* how long a line may be without its end before it is written */

static struct instance *table[ZY_MAX_INSTANCES];
static uint32_t highest; /* beyond the last slot in use */
static uint32_t generations;

struct instance *instance_at(uint32_t slot)
{
	return slot < highest ? table[slot] : NULL;
}

uint32_t instance_slots(void)
{
	return highest;
}

struct instance *instance_find(uint64_t number)
{
	for (uint32_t i = 0; i < highest; i++)
		if (table[i] && table[i]->number == number)
			return table[i];
	return NULL;
}

uint32_t instance_living(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < highest; i++)
		n += table[i] && !table[i]->dead;
	return n;
}

static void close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

/* All but what is told of it. */
static void let_go(struct instance *in)
{
	doorbell_remove(in->slot + 1);
	if (in->proc.pidfd != -1)
		loop_unwatch(in->proc.pidfd);
	if (in->sched_fd != -1)
		loop_unwatch(in->sched_fd);
	logfile_close(&in->log);
	loader_release(&in->proc);
	close_fd(&in->nic_fd);
	close_fd(&in->sched_fd);
}

void instance_free(struct instance *in)
{
	let_go(in);
	table[in->slot] = NULL;
	while (highest && !table[highest - 1])
		highest--;
	free(in);
}

/* A free slot; where there is none, one whose end nobody has asked for. -1: all are alive. */
static int find_slot(void)
{
	for (uint32_t i = 0; i < ZY_MAX_INSTANCES; i++)
		if (i >= highest || !table[i])
			return (int)i;
	for (uint32_t i = 0; i < highest; i++)
		if (table[i]->dead) {
			instance_free(table[i]);
			return (int)i;
		}
	return -1;
}

struct instance *instance_new(uint64_t number, const char *name, struct loader_error *err)
{
	const char *dot = strrchr(name, '.');
	char path[LOGFILE_PATH];
	struct instance *in;
	int slot = -1, n;

	if (instance_find(number)) {
		loader_fail(err, "instance %llu is there already", (unsigned long long)number);
		return NULL;
	}
	n = snprintf(path, sizeof(path), "%s/%s/%.*s/%llu.log", config.logdir, dot + 1, (int)(dot - name), name,
		     (unsigned long long)number);
	if (n < 0 || (size_t)n + 3 > sizeof(path)) {
		loader_fail(err, "--logdir %s: the path is too long", config.logdir);
		return NULL;
	}
	in = calloc(1, sizeof(*in));
	slot = in ? find_slot() : -1;
	if (slot == -1) {
		free(in);
		loader_fail(err, "no room for another instance; there are at most %u", ZY_MAX_INSTANCES);
		return NULL;
	}
	in->number = number;
	in->slot = (uint32_t)slot;
	in->generation = ++generations & 0xffffff;
	in->proc = (struct loader_instance){.pid = -1, .pidfd = -1, .arena_fd = -1, .shm_fd = -1, .control_fd = -1,
					    .go_write = -1};
	in->nic_fd = in->sched_fd = -1;
	in->check_every_ns = CHECK_MIN_NS;
	in->about = (struct zy_msg){.magic = ZY_MAGIC, .type = ZY_INSTANCE, .instance = number};
	snprintf(in->about.name, sizeof(in->about.name), "%s", name);
	logfile_init(&in->log, path);
	table[slot] = in;
	if (in->slot >= highest)
		highest = in->slot + 1;
	return in;
}

int instance_watch(struct instance *in, struct loader_error *err)
{
	static const enum ctl_ring_id rings[LOG_NR_STREAMS] = {CTL_RING_STDOUT, CTL_RING_STDERR, CTL_RING_LOG};
	struct control *c = in->proc.control;

	for (int i = 0; i < LOG_NR_STREAMS; i++) {
		ring_init(&in->out[i], c, rings[i]);
		/* What an earlier zygote took is gone; a lie here costs the instance its own output. */
		in->out[i].index = __atomic_load_n(&in->out[i].shared->tail, __ATOMIC_ACQUIRE);
	}
	/* Standard input is at its end. */
	__atomic_store_n(&c->rings[CTL_RING_STDIN].producer_closed, 1, __ATOMIC_SEQ_CST);
	/* There is always somebody who waits for the doorbell. */
	__atomic_store_n(&c->supervisor_waiting, 1, __ATOMIC_SEQ_CST);
	if (doorbell_add(in->slot + 1, &c->doorbell, in) == -1)
		return loader_fail(err, "no thread for another doorbell; raise ulimit -u");
	if (loop_watch(in->proc.pidfd, ZK_PROCESS, in, EPOLLIN) == -1 ||
	    loop_watch(in->sched_fd, ZK_SCHED, in, EPOLLIN | EPOLLRDHUP) == -1)
		return loader_fail_errno(err, errno, "epoll");
	in->check_at_ns = loader_now_ns() + CHECK_MIN_NS;
	loop_wake_at(in->check_at_ns);
	return 0;
}

static void kill_it(struct instance *in, enum zy_verdict why)
{
	if (!in->verdict)
		in->verdict = why;
	syscall(SYS_pidfd_send_signal, in->proc.pidfd, SIGKILL, NULL, 0);
}

/* What is in the rings, into the log: one ring's worth at most. False: a ring is impossible. */
static bool pump(struct instance *in)
{
	for (int i = 0; i < LOG_NR_STREAMS; i++) {
		struct ring_end *r = &in->out[i];
		int64_t len = ring_readable(r);
		struct iovec iov[2];
		int nr;

		if (len < 0)
			return false;
		if (!len)
			continue;
		nr = ring_pieces(r, (uint32_t)len, iov);
		for (int k = 0; k < nr; k++)
			logfile_write(&in->log, (enum log_stream)i, iov[k].iov_base, iov[k].iov_len);
		if (ring_consume(r, (uint32_t)len)) {
			ring_wake(&r->shared->tail);
			ring_kick(in->proc.control, in->proc.pidfd);
		}
	}
	if (!logfile_has_part(&in->log)) {
		in->part_since_ns = 0;
	} else if (!in->part_since_ns) {
		in->part_since_ns = loader_now_ns();
		loop_wake_at(in->part_since_ns + PART_NS);
	}
	return true;
}

static void look_at_first_instruction(struct instance *in)
{
	uint64_t ns = __atomic_load_n(&in->proc.control->stats.first_instruction_ns, __ATOMIC_ACQUIRE);

	if (!in->about.first_ns && ns > in->about.attached_ns && ns <= loader_now_ns())
		in->about.first_ns = ns;
}

static void look_at_ports(struct instance *in)
{
	struct ctl_listen *l = &in->proc.control->listen;
	uint16_t n = __atomic_load_n(&l->count, __ATOMIC_ACQUIRE);
	bool first = !in->about.listening_ns;

	if (n > CTL_MAX_PORTS || n <= in->nr_ports)
		return;
	if (first)
		in->about.listening_ns = loader_now_ns();
	for (; in->nr_ports < n; in->nr_ports++)
		in->ports[in->nr_ports] = __atomic_load_n(&l->ports[in->nr_ports], __ATOMIC_RELAXED);
	in->about.port = in->ports[0];
	client_tell(in);
	if (first)
		start_learn(in);
}

void instance_rang(void *owner)
{
	struct instance *in = owner;

	if (in->dead)
		return;
	look_at_first_instruction(in);
	if (!in->verdict && !pump(in))
		kill_it(in, ZY_BROKE_RINGS);
	look_at_ports(in);
}

/* How a process ended that is not our child: since Linux 6.15 its pidfd tells (linux/pidfd.h). */
static int ask_pidfd(int pidfd)
{
	struct {
		uint64_t mask, cgroupid;
		uint32_t ids[11];
		int32_t exit_code;
	} info = {.mask = 1ull << 3 /* PIDFD_INFO_EXIT */};

	_Static_assert(sizeof(info) == 64, "PIDFD_INFO_SIZE_VER0");
	/* Until it has been reaped there is nothing to know; its parent now is init, which does so at once. */
	for (int i = 0; i < 20; i++) {
		struct timespec ms = {0, NSEC_PER_MSEC};

		if (ioctl(pidfd, _IOWR(0xff, 11, info), &info) == 0 && info.mask & 1ull << 3)
			return info.exit_code;
		if (errno == ENOTTY || errno == EINVAL)
			break;
		info.mask = 1ull << 3;
		nanosleep(&ms, NULL);
	}
	return LOADER_NO_WSTATUS;
}

static void describe_end(struct instance *in, int wstatus)
{
	unsigned long long limit = in->memory_limit >> 20;
	struct loader_error text = {};
	struct loader_ending end;
	char *out = in->text;
	uint32_t status;

	loader_ended(&in->proc, wstatus, &end, &text);
	status = wstatus == LOADER_NO_WSTATUS ? SIGKILL : (uint32_t)wstatus;
	switch (end.how) {
	case LOADER_EXITED:
		status = (uint32_t)end.value << 8;
		snprintf(out, sizeof(in->text), "exited with status %d", end.value);
		break;
	case LOADER_SIGNALED:
		status = (uint32_t)end.value;
		snprintf(out, sizeof(in->text), "killed by signal %d (%s)", end.value, strsignal(end.value));
		break;
	default:
		snprintf(out, sizeof(in->text), "%.255s", text.text);
	}
	switch (in->verdict) {
	case ZY_OVER_MEMORY:
		snprintf(out, sizeof(in->text), "out of memory, more than %llu MiB in use", limit);
		break;
	case ZY_BROKE_RINGS:
		snprintf(out, sizeof(in->text), "killed, it broke the protocol of its rings");
		break;
	case ZY_NO_SCHEDULER:
		snprintf(out, sizeof(in->text), "killed, the scheduler that it had its network from has gone");
		break;
	case ZY_TOO_SLOW:
		snprintf(out, sizeof(in->text), "killed, it had not ended within its grace");
		break;
	case ZY_NO_VERDICT:
		break;
	}
	in->about.wstatus = status;
}

void instance_ended(struct instance *in)
{
	int wstatus = LOADER_NO_WSTATUS;
	pid_t pid;

	if (in->dead)
		return;
	do
		pid = waitpid(in->proc.pid, &wstatus, WNOHANG);
	while (pid == -1 && errno == EINTR);
	if (pid == 0) /* not yet, whatever woke us */
		return;
	if (pid == -1)
		wstatus = ask_pidfd(in->proc.pidfd);
	look_at_first_instruction(in);
	pump(in);
	logfile_flush(&in->log, true);
	describe_end(in, wstatus);
	logfile_note(&in->log, in->text);
	log_line(LOG_INFO, "zygote", "ended", "instance=%llu name=%s pid=%d reason=\"%s\"",
		 (unsigned long long)in->number, in->about.name, in->proc.pid, in->text);
	let_go(in);
	in->dead = true;
	in->about.type = ZY_EXITED;
	client_tell(in);
}

void instance_lost_scheduler(struct instance *in)
{
	struct pollfd p = {.fd = in->proc.pidfd, .events = POLLIN};

	loop_unwatch(in->sched_fd);
	/* The scheduler lets go of an instance that is dead; that is no reason, only a consequence. */
	if (poll(&p, 1, 0) == 0)
		kill_it(in, ZY_NO_SCHEDULER);
}

void instance_stop(struct instance *in, uint32_t grace_ms)
{
	uint64_t at = loader_now_ns() + grace_ms * NSEC_PER_MSEC;

	if (in->dead)
		return;
	if (!grace_ms) {
		kill_it(in, ZY_NO_VERDICT);
		return;
	}
	if (!in->kill_at_ns || at < in->kill_at_ns)
		in->kill_at_ns = at;
	ring_signal(in->proc.control, in->proc.pidfd, SIGTERM);
	loop_wake_at(in->kill_at_ns);
}

bool instance_stop_all(uint32_t grace_ms)
{
	for (uint32_t i = 0; i < highest; i++)
		if (table[i])
			instance_stop(table[i], grace_ms);
	return !instance_living();
}

void instance_usage(struct instance *in, struct zy_msg *msg)
{
	struct timespec ts = {0};
	clockid_t clock;

	msg->memory_used = loader_memory_used(&in->proc);
	if (!clock_getcpuclockid(in->proc.pid, &clock) && !clock_gettime(clock, &ts))
		msg->cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void check_memory(struct instance *in, uint64_t now)
{
	uint64_t used = loader_memory_used(&in->proc), before = in->about.memory_used;

	in->about.memory_used = used;
	if (used > in->memory_limit) {
		kill_it(in, ZY_OVER_MEMORY);
		return;
	}
	if (used > before + (1u << 20) || used > in->memory_limit / 4 * 3)
		in->check_every_ns = CHECK_MIN_NS;
	else if (in->check_every_ns < CHECK_MAX_NS)
		in->check_every_ns *= 2;
	in->check_at_ns = now + in->check_every_ns;
}

void instance_tick(uint64_t now)
{
	for (uint32_t i = 0; i < highest; i++) {
		struct instance *in = table[i];

		if (!in || in->dead)
			continue;
		if (in->memory_limit && !in->verdict) {
			if (now >= in->check_at_ns)
				check_memory(in, now);
			loop_wake_at(in->check_at_ns);
		}
		if (in->part_since_ns && now >= in->part_since_ns + PART_NS) {
			logfile_flush(&in->log, false);
			in->part_since_ns = 0;
		} else if (in->part_since_ns) {
			loop_wake_at(in->part_since_ns + PART_NS);
		}
		if (in->kill_at_ns && now >= in->kill_at_ns) {
			kill_it(in, ZY_TOO_SLOW);
			in->kill_at_ns = 0;
		} else if (in->kill_at_ns) {
			loop_wake_at(in->kill_at_ns);
		}
	}
}

/* The process that a pidfd stands for; -1: it is none, or dead. */
static pid_t pid_of(int pidfd)
{
	char path[64], line[128];
	int pid = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	if (f)
		fclose(f);
	return pid > 0 ? pid : -1;
}

/* For accounting; not readable for a zygote that is not root. */
static int open_memory(pid_t pid, int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	return open(path, O_PATH | O_CLOEXEC);
}

struct instance *instance_adopt(const struct zy_msg *msg, const int fds[ZY_NR_FDS], struct loader_error *err)
{
	const int want = F_SEAL_SHRINK | F_SEAL_GROW;
	pid_t pid = pid_of(fds[ZY_FD_PIDFD]);
	struct instance *in;
	struct control *c;
	struct stat st;
	int seals;

	if (pid == -1 || pid != msg->pid) {
		loader_fail(err, "ADOPT: process %d is not there any more", msg->pid);
		return NULL;
	}
	seals = fcntl(fds[ZY_FD_CONTROL], F_GET_SEALS);
	if (seals == -1 || (seals & want) != want || fstat(fds[ZY_FD_CONTROL], &st) == -1 || st.st_size != CTL_SIZE) {
		loader_fail(err, "ADOPT: the second descriptor is not the control region of an instance");
		return NULL;
	}
	in = instance_new(msg->instance, msg->name, err);
	if (!in)
		return NULL;
	c = mmap(NULL, CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[ZY_FD_CONTROL], 0);
	if (c == MAP_FAILED) {
		loader_fail_errno(err, errno, "ADOPT: cannot map the control region");
		instance_free(in);
		return NULL;
	}
	madvise(c, CTL_SIZE, MADV_DONTFORK);
	in->adopted = true;
	in->proc.pid = pid;
	in->proc.control = c;
	in->proc.pidfd = fds[ZY_FD_PIDFD];
	in->proc.control_fd = fds[ZY_FD_CONTROL];
	in->proc.arena_fd = open_memory(pid, CTL_FD_ARENA);
	in->proc.shm_fd = open_memory(pid, CTL_FD_SHM);
	in->nic_fd = fds[ZY_FD_NIC];
	in->sched_fd = fds[ZY_FD_SCHED];
	in->memory_limit = msg->memory;
	in->about = *msg;
	in->about.type = ZY_INSTANCE;
	in->about.text_len = 0;
	if (instance_watch(in, err)) {
		/* The descriptors stay the caller's. */
		loop_unwatch(in->proc.pidfd);
		in->proc.pidfd = in->proc.control_fd = in->nic_fd = in->sched_fd = -1;
		instance_free(in);
		return NULL;
	}
	/* Its first port is known to whoever hands it over. */
	in->nr_told = msg->port ? 1 : 0;
	/* A ring that nobody heard, and room for which nobody has been told. */
	for (int i = 0; i < LOG_NR_STREAMS; i++)
		ring_wake(&in->out[i].shared->tail);
	instance_rang(in);
	return in;
}
