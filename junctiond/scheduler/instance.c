/*
 * instance.c - attach, start, detach: region, address, control words, threads.
 *
 *   attached   has region and address; its queues are not looked at, frames for it are dropped
 *   started    control words are mapped; its queues are served
 */
#include "junctiond/scheduler/instance.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "junctiond/scheduler/backlog.h"
#include "junctiond/scheduler/doorbell.h"
#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/log.h"
#include "junctiond/scheduler/loop.h"
#include "junctiond/scheduler/rules.h"
#include "junctiond/scheduler/switch.h"

#define FIND_TIDS_NS 10000000000u /* after that a thread that was not found does not exist */
#define FIND_TIDS_EVERY_NS 2000000u

static struct instance *instances[SSTATS_MAX_INSTANCES];
static uint32_t highest; /* slots below this may be in use */
static uint32_t next_host =
	1; /* addresses are taken round robin: an old one rests before it is given again */

/* Those whose threads are looked for. */
static struct pending {
	struct instance *in;
	uint64_t until, next, gap;
} pending[SSTATS_MAX_INSTANCES];
static unsigned nr_pending;

struct instance *instance_next(const struct instance *after)
{
	for (uint32_t i = after ? after->id : 0; i < highest; i++)
		if (instances[i])
			return instances[i];
	return NULL;
}

static int fail(char *err, const char *text)
{
	snprintf(err, SCHED_TEXT_MAX, "%s", text);
	return -1;
}

/* Is this host part of the network one that an instance may have? */
static bool host_usable(uint32_t host)
{
	uint32_t mask = 0xffffffffu >> config.net.prefix;
	uint32_t net = get_be32(config.net.bytes), addr = net | host;

	if (host == 0 || host >= mask || addr == get_be32(config.gateway.bytes))
		return false;
	return !switch_find(htonl(addr));
}

static int choose_address(struct instance *in, const struct ctl_addr *wish, char *err)
{
	uint32_t net = get_be32(config.net.bytes), mask = 0xffffffffu >> config.net.prefix, host;
	char text[INET6_ADDRSTRLEN] = "?";

	if (wish->family) {
		uint32_t want = get_be32(wish->bytes);

		inet_ntop(AF_INET, wish->bytes, text, sizeof(text));
		if (wish->family != AF_INET)
			return fail(err, "only IPv4 addresses can be asked for");
		if ((want & ~mask) != net) {
			snprintf(err, SCHED_TEXT_MAX,
				 "address %s is not in the scheduler's network; see its --net",
				 text);
			return -1;
		}
		if (!host_usable(want & mask)) {
			snprintf(err, SCHED_TEXT_MAX, "address %s is taken; choose another or none",
				 text);
			return -1;
		}
		host = want & mask;
	} else {
		uint32_t tries;

		/* Whoever holds addresses holds slots, so a free one comes within that many,
		 * gateway and ends aside. */
		for (tries = 0; tries <= SSTATS_MAX_INSTANCES + 4 && tries <= mask; tries++) {
			host = next_host++ & mask;
			if (host_usable(host))
				break;
			host = 0;
		}
		if (!host)
			return fail(err, "no free address in the scheduler's network; give it a "
					 "larger --net");
	}
	in->addr = (struct ctl_addr){.family = AF_INET, .prefix = config.net.prefix};
	put_be32(in->addr.bytes, net | host);
	return 0;
}

static int make_region(struct instance *in, int *fd, char *err)
{
	uint64_t bufs =
		config.nr_buffers > in->nr_pairs * 1024 ? config.nr_buffers : in->nr_pairs * 1024;
	uint64_t off = nic_region_bufs_off(in->nr_pairs), size = off + bufs * NIC_BUF_SIZE;
	void *map;

	*fd = memfd_create("junction-nic", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd == -1)
		return fail(err,
			    "the scheduler cannot make a memory file; is it out of descriptors?");
	if (ftruncate(*fd, (off_t)size) == -1 ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1)
		goto bad;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (map == MAP_FAILED)
		goto bad;
	in->region = map;
	in->region_size = size;
	*in->region = (struct nic_region){
		.magic = NIC_MAGIC,
		.version = NIC_VERSION,
		.nr_pairs = in->nr_pairs,
		.features = NIC_FEATURES,
		.region_size = size,
		.bufs_off = off,
		.mtu = (uint16_t)config.mtu,
	};
	memcpy(in->region->mac, in->mac, 6);
	return 0;
bad:
	close(*fd);
	*fd = -1;
	return fail(err, "the scheduler has no memory for another NIC region");
}

static int make_rings(struct instance *in)
{
	struct vring *v = calloc(2 * in->nr_pairs, sizeof(*v));

	if (!v)
		return -1;
	for (uint32_t i = 0; i < in->nr_pairs; i++) {
		in->rx[i] = &v[NIC_RX(i)];
		in->tx[i] = &v[NIC_TX(i)];
		vring_init(in->rx[i], in->region, in->region_size,
			   nic_region_bufs_off(in->nr_pairs), NIC_RX(i));
		vring_init(in->tx[i], in->region, in->region_size,
			   nic_region_bufs_off(in->nr_pairs), NIC_TX(i));
	}
	return 0;
}

/* Names are shown to people and written into logs: no other bytes than these. */
static void clean_name(char *to, const char *from)
{
	size_t n = strnlen(from, SCHED_NAME_MAX - 1);

	for (size_t i = 0; i < n; i++)
		to[i] = isalnum((unsigned char)from[i]) || strchr("._-/@+", from[i]) ? from[i]
										     : '_';
	memset(to + n, 0, SCHED_NAME_MAX - n);
}

static int take_slot(struct instance *in)
{
	for (uint32_t i = 0; i < SSTATS_MAX_INSTANCES; i++) {
		if (instances[i])
			continue;
		instances[i] = in;
		if (i >= highest)
			highest = i + 1;
		in->id = i + 1;
		in->stats = &sstats->instances[i];
		return 0;
	}
	return -1;
}

static void fill_stats(struct instance *in, const char *name)
{
	struct sstats_instance *s = in->stats;
	uint32_t generation = s->generation + 1;

	memset(s, 0, sizeof(*s));
	s->generation = generation;
	memcpy(s->name, name, sizeof(s->name));
	s->nr_pairs = in->nr_pairs;
	memcpy(s->mac, in->mac, 6);
	s->addr_len = 4;
	memcpy(s->addr, in->addr.bytes, 4);
	__atomic_store_n(&s->id, in->id, __ATOMIC_RELEASE);
	sstats->nr_instances++;
}

struct instance *instance_attach(const struct sched_msg *req, struct sched_msg *answer,
				 int *region_fd, char *err)
{
	struct instance *in;
	char name[SCHED_NAME_MAX], text[INET6_ADDRSTRLEN];

	*region_fd = -1;
	if (req->nr_pairs < 1 || req->nr_pairs > NIC_MAX_PAIRS) {
		fail(err, "an instance has 1 to 64 queue pairs");
		return NULL;
	}
	if (req->max_cores > req->nr_pairs ||
	    req->guaranteed_cores > (req->max_cores ? req->max_cores : req->nr_pairs)) {
		fail(err, "guaranteed cores, maximum cores and kthreads must not decrease in this "
			  "order");
		return NULL;
	}
	in = calloc(1, sizeof(*in));
	if (!in || take_slot(in) < 0) {
		free(in);
		fail(err, "the scheduler serves as many instances as it can; stop one");
		return NULL;
	}
	in->conn_fd = in->pidfd = -1;
	in->nr_pairs = req->nr_pairs;
	in->guaranteed_cores = req->guaranteed_cores;
	in->max_cores = req->max_cores ? req->max_cores : req->nr_pairs;
	in->weight = req->weight ? req->weight : 1;
	if (choose_address(in, &req->addr, err) < 0)
		goto bad_slot;
	switch_mac(get_raw32(in->addr.bytes), in->mac);
	if (make_region(in, region_fd, err) < 0)
		goto bad_slot;
	if (make_rings(in) < 0) {
		fail(err, "the scheduler is out of memory");
		goto bad_region;
	}
	clean_name(name, req->name);
	fill_stats(in, name);
	rules_match(in, name);
	switch_add(in);

	*answer = (struct sched_msg){
		.magic = SCHED_MAGIC,
		.type = SCHED_ATTACHED,
		.nr_pairs = in->nr_pairs,
		.addr = in->addr,
		.gateway = config.gateway,
		.dns = config.dns,
		.mtu = (uint16_t)config.mtu,
		.region_size = in->region_size,
		.guaranteed_cores = in->guaranteed_cores,
		.max_cores = in->max_cores,
		.weight = in->weight,
		.instance_id = in->id,
	};
	memcpy(answer->mac, in->mac, 6);
	memcpy(answer->name, name, sizeof(name));
	log_line(LOG_INFO, "instance", "attached", "name=%s id=%u ip=%s pairs=%u", name, in->id,
		 inet_ntop(AF_INET, in->addr.bytes, text, sizeof(text)), in->nr_pairs);
	return in;

bad_region:
	munmap(in->region, in->region_size);
	close(*region_fd);
	*region_fd = -1;
bad_slot:
	instances[in->id - 1] = NULL;
	free(in);
	return NULL;
}

/* The process behind a pidfd, in our pid namespace; 0: gone, or not one. */
static pid_t pidfd_pid(int pidfd)
{
	char path[64], line[128];
	pid_t pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "Pid:", 4))
			pid = atoi(line + 4);
	fclose(f);
	return pid > 0 ? pid : 0;
}

/* The number of a thread in its innermost pid namespace (proc_pid_status(5), NSpid); 0: cannot be
 * read. */
static uint32_t inner_tid(pid_t pid, const char *tid)
{
	char path[64], line[256];
	uint32_t inner = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		char *last;

		if (strncmp(line, "NSpid:", 6))
			continue;
		line[strcspn(line, "\n")] = '\0';
		last = strrchr(line, '\t');
		inner = last ? (uint32_t)strtoul(last + 1, NULL, 10) : 0;
		break;
	}
	fclose(f);
	return inner;
}

/*
 * Finds its kthreads among the threads of its process. The numbers that the instance gives are not
 * trusted: a wrong one finds another thread of the same process, or none. True: none is missing.
 */
static bool find_tids(struct instance *in)
{
	uint32_t want[CTL_MAX_KTHREADS], missing = 0, i;
	char path[32];
	struct dirent *e;
	DIR *d;

	for (i = 0; i < in->nr_pairs; i++) {
		want[i] = __atomic_load_n(&in->control->boot.host_tid[i], __ATOMIC_RELAXED);
		missing += in->tids[i] == 0;
	}
	if (!missing)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/task", in->pid);
	d = opendir(path);
	if (!d)
		return false;
	while (missing && (e = readdir(d))) {
		uint32_t inner;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		inner = inner_tid(in->pid, e->d_name);
		for (i = 0; inner && i < in->nr_pairs; i++)
			if (want[i] == inner && !in->tids[i]) {
				in->tids[i] = atoi(e->d_name);
				missing--;
				break;
			}
	}
	closedir(d);
	return missing == 0;
}

void instance_tick(uint64_t now)
{
	for (unsigned i = nr_pending; i-- > 0;) {
		struct pending *p = &pending[i];

		if (now < p->next)
			continue;
		/* Ever less often: one that has no such threads shall not keep us busy. */
		p->gap *= 2;
		p->next = now + p->gap;
		if (find_tids(p->in) || now >= p->until)
			*p = pending[--nr_pending];
	}
}

uint64_t instance_deadline(void)
{
	uint64_t due = UINT64_MAX;

	for (unsigned i = 0; i < nr_pending; i++)
		if (pending[i].next < due)
			due = pending[i].next;
	return due;
}

/* The control region: of the right size, and such that it keeps it. NULL with err. */
static struct control *map_control(int fd, char *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *map;

	if (seals == -1 || !(seals & F_SEAL_SHRINK)) {
		fail(err,
		     "START: the first descriptor is not a memory file sealed against shrinking");
		return NULL;
	}
	if (fstat(fd, &st) == -1 || st.st_size < (off_t)CTL_SIZE) {
		fail(err, "START: the control region is too small");
		return NULL;
	}
	map = mmap(NULL, CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		fail(err, "START: the control region cannot be mapped writable");
		return NULL;
	}
	return map;
}

static uint32_t *doorbell_word(struct instance *in)
{
	uint8_t *block = (uint8_t *)in->region + NIC_QUEUE_OFF(NIC_DOORBELL_QUEUE) + NIC_EVENT_OFF;

	return &((struct nic_events *)block)->doorbell;
}

int instance_start(struct instance *in, int control_fd, int pidfd, char *err)
{
	uint64_t now = now_ns();
	pid_t pid = pidfd_pid(pidfd);

	if (in->control)
		return fail(err, "START: it was started before");
	if (!pid)
		return fail(err,
			    "START: the second descriptor is not a pidfd of a process that lives");
	in->control = map_control(control_fd, err);
	if (!in->control)
		return -1;
	in->pid = pid;
	in->pidfd = pidfd;
	find_tids(in);
	if (cores_attach(in) < 0) {
		munmap(in->control, CTL_SIZE);
		in->control = NULL;
		in->pid = 0;
		in->pidfd = -1;
		if (errno == ENOSPC)
			return fail(
				err,
				"START: so many cores cannot be guaranteed beside what is already");
		if (errno == EINVAL)
			return fail(err, "START: more cores are guaranteed than it has queue pairs "
					 "or may have");
		return fail(err, "START: the scheduler has no room for its cores");
	}
	close(control_fd);
	in->stats->pid = pid;
	doorbell_add(in->id, doorbell_word(in), in);
	if (!find_tids(in))
		pending[nr_pending++] = (struct pending){
			in, now + FIND_TIDS_NS, now + FIND_TIDS_EVERY_NS, FIND_TIDS_EVERY_NS};
	log_line(LOG_INFO, "instance", "started", "name=%s id=%u pid=%d", in->stats->name, in->id,
		 pid);
	return 0;
}

void instance_detach(struct instance *in)
{
	struct sstats_instance *s = in->stats;

	log_line(LOG_INFO, "instance", "detached", "name=%s id=%u rx=%llu tx=%llu", s->name, in->id,
		 (unsigned long long)s->rx_packets, (unsigned long long)s->tx_packets);
	if (in->control)
		switch_last_words(in);
	switch_remove(in);
	backlog_forget(in);
	for (unsigned i = nr_pending; i-- > 0;)
		if (pending[i].in == in)
			pending[i] = pending[--nr_pending];
	if (in->control) {
		doorbell_remove(in->id);
		cores_detach(in);
		loop_forget(in);
		munmap(in->control, CTL_SIZE);
	}
	munmap(in->region, in->region_size);
	if (in->pidfd != -1)
		close(in->pidfd);
	__atomic_store_n(&s->id, 0, __ATOMIC_RELEASE);
	sstats->nr_instances--;
	instances[in->id - 1] = NULL;
	while (highest && !instances[highest - 1])
		highest--;
	free(in->rx[0]); /* all rings are one piece */
	free(in);
}

void instance_stopped(struct instance *in, uint32_t pair, const struct vring *v)
{
	struct sstats_instance *s = in->stats;
	uint32_t stopped = 0;

	snprintf(s->stop_reason, sizeof(s->stop_reason), "pair %u %s: %s", pair,
		 v->receive ? "rx" : "tx", v->stop);
	if (!in->rx[pair]->stop)
		in->rx[pair]->stop = v->stop;
	if (!in->tx[pair]->stop)
		in->tx[pair]->stop = v->stop;
	for (uint32_t i = 0; i < in->nr_pairs; i++)
		stopped += in->tx[i]->stop != NULL;
	in->stopped = stopped == in->nr_pairs;
	s->stopped = 1;
	log_line(LOG_WARN, "instance", "queue pair stopped", "name=%s id=%u reason=\"%s\"", s->name,
		 in->id, s->stop_reason);
}
