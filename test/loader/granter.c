/*
 * granter.c - a scheduler that grants and takes cores at random, to find races of the park words.
 *
 *     granter SOCKET managed|flipping|unmanaged SEED
 *
 * Serves one `junction run --net --scheduler SOCKET` and ends with it. It keeps the protocol of
 * struct ctl_kthread (libos/abi/control.h) and does all that it allows: late wake-ups, wake-ups for
 * nothing, grants for nothing, kicks, preemptions of generations that have passed. A kthread that
 * shall give its core back, was signalled, and runs on for long is reported. The NIC has nothing
 * behind it.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "junctiond/scheduler/protocol.h"
#include "libos/abi/nic.h"

#define REGION_SIZE (4ul << 20)
#define PATIENCE_NS 20000000000ull

static struct control *ctl;
static uint32_t nr;
static pid_t pid, tids[CTL_MAX_KTHREADS];
static uint64_t rng;
static uint64_t grants, asked, given_back;

static struct {
	uint32_t gen; /* asked to give back; 0: none */
	uint64_t at, signalled;
	uint64_t wake_at; /* a wake-up that is still owed */
} kt[CTL_MAX_KTHREADS];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static uint32_t rnd(uint32_t n)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (uint32_t)((rng * 0x2545f4914f6cdd1dull) >> 32) % n;
}

static void wake(uint32_t k)
{
	syscall(SYS_futex, &ctl->kthreads[k].word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void kick(uint32_t k)
{
	if (tids[k])
		syscall(SYS_tgkill, pid, tids[k], CTL_KICK_SIGNAL);
}

static uint32_t word(uint32_t k)
{
	return __atomic_load_n(&ctl->kthreads[k].word, __ATOMIC_SEQ_CST);
}

static bool grant(uint32_t k)
{
	uint32_t w = word(k);

	if ((w & CTL_KT_STATE_MASK) != CTL_KT_PARKED || !(w >> CTL_KT_GEN_SHIFT))
		return false;
	if (!__atomic_compare_exchange_n(&ctl->kthreads[k].word, &w,
					 ((w >> CTL_KT_GEN_SHIFT) + 1) << CTL_KT_GEN_SHIFT |
						 CTL_KT_GRANTED,
					 false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	grants++;
	if (rnd(4))
		wake(k);
	else
		kt[k].wake_at = now_ns() + rnd(300000);
	return true;
}

/* One turn for a managed instance that may have `cores` cores. */
static void turn_managed(uint32_t cores, uint64_t now)
{
	uint32_t running = 0, first = rnd(nr),
		 wanted = __atomic_load_n(&ctl->sched.wanted, __ATOMIC_SEQ_CST);

	for (uint32_t k = 0; k < nr; k++) {
		uint32_t w = word(k), state = w & CTL_KT_STATE_MASK;

		running += state != CTL_KT_PARKED;
		if (kt[k].gen && (w >> CTL_KT_GEN_SHIFT != kt[k].gen || state == CTL_KT_PARKED)) {
			given_back++;
			kt[k].gen = 0;
		}
		if (kt[k].gen && now > kt[k].at + 100000 && !kt[k].signalled) {
			kick(k);
			kt[k].signalled = now;
		}
		if (kt[k].gen && kt[k].signalled && now > kt[k].signalled + PATIENCE_NS)
			errx(1, "kthread %u does not give its core back: generation %u, state %u",
			     k, kt[k].gen, state);
		if (!kt[k].gen && (state == CTL_KT_RUNNING || state == CTL_KT_SPINNING) &&
		    (running > cores || !rnd(40))) {
			kt[k].gen = w >> CTL_KT_GEN_SHIFT;
			kt[k].at = now;
			kt[k].signalled = 0;
			__atomic_store_n(&ctl->kthreads[k].preempt, kt[k].gen, __ATOMIC_SEQ_CST);
			asked++;
		}
	}
	for (uint32_t i = 0; i < nr && running < cores; i++) {
		uint32_t k = (first + i) % nr;
		struct ctl_kthread *c = &ctl->kthreads[k];

		if (!__atomic_load_n(&c->runnable, __ATOMIC_SEQ_CST) && !wanted &&
		    __atomic_load_n(&c->next_timer, __ATOMIC_SEQ_CST) > now && rnd(300))
			continue;
		running += grant(k);
	}
}

/* What harms nobody. */
static void noise(void)
{
	uint32_t k = rnd(nr), w = word(k);

	switch (rnd(12)) {
	case 0:
		wake(k);
		break;
	case 1:
		/* Before, it may still be in the loader. */
		if (w >> CTL_KT_GEN_SHIFT && !rnd(10))
			kick(k);
		break;
	case 2: /* a generation that has passed */
		if (!kt[k].gen)
			__atomic_store_n(&ctl->kthreads[k].preempt,
					 (w >> CTL_KT_GEN_SHIFT) - 1 - rnd(5), __ATOMIC_SEQ_CST);
		break;
	}
}

static void play(const char *mode, int conn)
{
	bool managed = strcmp(mode, "unmanaged"), flipping = !strcmp(mode, "flipping");
	struct pollfd pfd = {.fd = conn, .events = POLLIN};
	uint32_t cores = 1 + rnd(nr);
	uint64_t flip = now_ns() + rnd(3000000);

	__atomic_store_n(&ctl->sched.managed, managed, __ATOMIC_SEQ_CST);
	while (poll(&pfd, 1, 0) == 0) {
		uint64_t now = now_ns();
		struct timespec nap = {0, rnd(20000)};

		if (flipping && now > flip) {
			managed = !managed;
			__atomic_store_n(&ctl->sched.managed, managed, __ATOMIC_SEQ_CST);
			flip = now + rnd(3000000);
		}
		/* Nobody waits for a grant who is not managed; one that waits from before gets it
		 * now. */
		for (uint32_t k = 0; k < nr; k++) {
			if (!managed && flipping)
				grant(k);
			if (kt[k].wake_at && now >= kt[k].wake_at) {
				kt[k].wake_at = 0;
				wake(k);
			}
		}
		if (managed)
			turn_managed(cores, now);
		if (!rnd(100))
			cores = 1 + rnd(nr);
		noise();
		if (rnd(2))
			nanosleep(&nap, NULL);
	}
}

/* The control socket */

static void answer(int conn, const struct sched_msg *m, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {(void *)m, sizeof(*m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *cm;

		mh.msg_control = control;
		mh.msg_controllen = sizeof(control);
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	}
	if (sendmsg(conn, &mh, MSG_NOSIGNAL) != sizeof(*m))
		err(1, "answer");
}

static void hear(int conn, struct sched_msg *m, int fds[2])
{
	char control[CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov = {m, sizeof(*m)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *cm;

	if (recvmsg(conn, &mh, MSG_CMSG_CLOEXEC) != sizeof(*m))
		errx(1, "no whole message");
	cm = CMSG_FIRSTHDR(&mh);
	if (cm && cm->cmsg_len == CMSG_LEN(2 * sizeof(int)))
		memcpy(fds, CMSG_DATA(cm), 2 * sizeof(int));
}

static int make_region(uint32_t pairs)
{
	int fd = memfd_create("junction-nic", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct nic_region *r;

	if (fd < 0 || ftruncate(fd, REGION_SIZE) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		err(1, "region");
	r = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (r == MAP_FAILED)
		err(1, "region");
	*r = (struct nic_region){.magic = NIC_MAGIC,
				 .version = NIC_VERSION,
				 .nr_pairs = pairs,
				 .features = NIC_FEATURES,
				 .region_size = REGION_SIZE,
				 .bufs_off = nic_region_bufs_off(pairs),
				 .mac = {2, 0, 0, 0, 0, 1},
				 .mtu = 1500};
	return fd;
}

static int by_number(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

/* Threads of the instance in the order in which they were made. */
static void find_threads(int pidfd)
{
	char path[64], line[256];
	uint32_t n = 0;
	struct dirent *d;
	FILE *f;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "Pid:", 4))
			pid = atoi(line + 4);
	if (f)
		fclose(f);
	if (pid <= 0)
		return; /* it has ended */
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir)) && n < CTL_MAX_KTHREADS)
		if (d->d_name[0] != '.')
			tids[n++] = atoi(d->d_name);
	if (dir)
		closedir(dir);
	qsort(tids, n, sizeof(tids[0]), by_number);
}

int main(int argc, char **argv)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct sched_msg m = {0};
	int listener, conn, region, fds[2] = {-1, -1};

	if (argc != 4)
		errx(2, "usage: granter SOCKET managed|flipping|unmanaged SEED");
	rng = strtoull(argv[3], NULL, 0) * 2 + 1;
	for (int i = 0; i < 10; i++)
		rnd(1);
	strncpy(sun.sun_path, argv[1], sizeof(sun.sun_path) - 1);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (void *)&sun, sizeof(sun)) || listen(listener, 1))
		err(1, "%s", argv[1]);
	puts("ready");
	fflush(stdout);
	conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (conn < 0)
		err(1, "accept");
	hear(conn, &m, fds);
	nr = m.nr_pairs;
	if (m.type != SCHED_ATTACH || !nr || nr > CTL_MAX_KTHREADS)
		errx(1, "no attach");
	region = make_region(nr);
	m.type = SCHED_ATTACHED;
	m.addr = (struct ctl_addr){.family = AF_INET, .prefix = 24, .bytes = {10, 77, 0, 2}};
	m.gateway = (struct ctl_addr){.family = AF_INET, .prefix = 24, .bytes = {10, 77, 0, 1}};
	m.mtu = 1500;
	m.region_size = REGION_SIZE;
	m.instance_id = 1;
	answer(conn, &m, region);
	hear(conn, &m, fds);
	if (m.type != SCHED_START || fds[0] < 0)
		errx(1, "no start");
	ctl = mmap(NULL, CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	if (ctl == MAP_FAILED)
		err(1, "control region");
	find_threads(fds[1]);
	m.type = SCHED_STARTED;
	answer(conn, &m, -1);
	play(argv[2], conn);
	printf("%llu grants, %llu preemptions asked, %llu seen\n", (unsigned long long)grants,
	       (unsigned long long)asked, (unsigned long long)given_back);
	return 0;
}
