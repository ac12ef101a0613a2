/*
 * child.c - the instance's own side of a start: map, isolate, lock the door, enter the library OS.
 *
 * Runs in a process that loader_spawn() has just cloned, with user, pid, mount, ipc and uts namespaces
 * of its own. It calls nothing of libc (raw.h), so that a caller with threads may spawn too. Order
 * matters:
 *
 *   1. maps and the empty root need nothing from the caller, and run while it writes the id maps;
 *   2. the identity changes next, because that clears the parent-death signal and the dumpable flag;
 *   3. capabilities go, then (unless it is detached) the parent-death signal is set, then the caller is seen to be alive:
 *      in this order there is no moment in which it can die unnoticed;
 *   4. kthreads are made after their own attributes (identity, capabilities, signal mask) are final,
 *      and before the filter, which is installed on all of them at once and is the last call of all.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loader/filter.h"
#include "loader/internal.h"
#include "loader/raw.h"

#define NR(a) (sizeof(a) / sizeof((a)[0]))
#define PF_W 2u
#define PF_X 1u
#define KERNEL_SA_RESTORER 0x04000000ul
#define RSEQ_SIGNATURE 0x53053053u

/* struct sigaction as the kernel wants it (asm/signal.h cannot be included beside signal.h). */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

static _Noreturn void fail(const struct loader_plan *plan, int error)
{
	plan->report->error = error;
	for (;;)
		RAW(exit_group, 127);
}

static void step(const struct loader_plan *plan, enum loader_step s)
{
	plan->report->step = s;
}

static long check(const struct loader_plan *plan, long result)
{
	if (result < 0)
		fail(plan, -result);
	return result;
}

static void map_fixed(const struct loader_plan *plan, uint64_t addr, uint64_t len, int prot, int flags,
		      int fd, uint64_t off)
{
	long p = RAW(mmap, addr, len, prot, flags | MAP_FIXED_NOREPLACE, fd, off);

	/* An address is below 2^47, so only an errno is negative. */
	if (check(plan, p) != (long)addr)
		fail(plan, EEXIST);
}

/* Bytes of the image into the arena's memfd: cheaper than faults through the mapping. */
static void fill_arena(const struct loader_plan *plan, const struct jstore_segment *s)
{
	uint64_t from = s->off, left = s->file_len;

	if (!left || plan->arena_filled)
		return;
	check(plan, RAW(lseek, plan->arena_fd, s->vaddr - LIBOS_ARENA_BASE, SEEK_SET));
	while (left) {
		long n = check(plan, RAW(sendfile, plan->arena_fd, plan->cfg->image_fd, &from, left));

		if (!n)
			fail(plan, ENODATA);
		left -= n;
	}
}

static void map_segments(const struct loader_plan *plan)
{
	const struct jstore_header *h = plan->cfg->header;
	int image = plan->cfg->image_fd;

	step(plan, LOADER_STEP_MAP_ARENA);
	map_fixed(plan, LIBOS_ARENA_BASE, plan->arena_size, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_NORESERVE, plan->arena_fd, 0);
	step(plan, LOADER_STEP_MAP_SEGMENT);
	for (uint32_t i = 0; i < h->nr_segments; i++) {
		const struct jstore_segment *s = &h->segments[i];

		if (s->flags & PF_W)
			fill_arena(plan, s);
		else
			map_fixed(plan, s->vaddr, s->file_len,
				  PROT_READ | (s->flags & PF_X ? PROT_EXEC : 0),
				  MAP_PRIVATE | MAP_POPULATE, image, s->off);
	}
	step(plan, LOADER_STEP_MAP_ROOTFS);
	if (h->rootfs.len)
		map_fixed(plan, LIBOS_ROOTFS_BASE, h->rootfs.len, PROT_READ, MAP_SHARED, image,
			  h->rootfs.off);
	step(plan, LOADER_STEP_MAP_CONTROL);
	map_fixed(plan, LIBOS_CONTROL_BASE, CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		  plan->control_fd, 0);
	step(plan, LOADER_STEP_MAP_SHM);
	map_fixed(plan, LIBOS_SHM_BASE, plan->shm_size, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_NORESERVE, plan->shm_fd, 0);
	if (plan->last_fd == CTL_FD_NIC) {
		step(plan, LOADER_STEP_MAP_NIC);
		map_fixed(plan, LIBOS_NIC_BASE, plan->cfg->net.region_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  plan->cfg->nic_fd, 0);
	}
	/* The page of our own text that holds the stub moves; ours is a copy of the caller's mapping. */
	step(plan, LOADER_STEP_MAP_STUB);
	check(plan, RAW(mremap, loader_stub_start, LOADER_STUB_SIZE, LOADER_STUB_SIZE,
			MREMAP_MAYMOVE | MREMAP_FIXED, LOADER_STUB_BASE));
}

static bool inside(uint64_t addr, uint64_t len, uint64_t base, uint64_t size)
{
	return addr >= base && len <= size && addr - base <= size - len;
}

static uint64_t page_up(uint64_t n)
{
	return (n + JUNCTION_PAGE_SIZE - 1) & ~(JUNCTION_PAGE_SIZE - 1);
}

/* An address that an executable, read-only segment of the libOS holds. */
static bool is_text(const struct jstore_header *h, uint64_t addr, uint64_t len)
{
	for (uint32_t i = 0; i < h->nr_segments; i++)
		if (h->segments[i].flags & PF_X &&
		    inside(addr, len, h->segments[i].vaddr, page_up(h->segments[i].file_len)))
			return true;
	return false;
}

/* The image was verified, so this finds mistakes of the libOS's build, not attacks. */
static const struct libos_header *find_libos(const struct loader_plan *plan)
{
	const struct libos_header *l = (const struct libos_header *)LIBOS_TEXT_BASE;
	const struct jstore_header *h = plan->cfg->header;
	uint64_t stacks, blocks;

	step(plan, LOADER_STEP_LIBOS_HEADER);
	if (!h->nr_segments || h->segments[0].vaddr != LIBOS_TEXT_BASE ||
	    h->segments[0].file_len < sizeof(*l) || l->magic != LIBOS_HEADER_MAGIC)
		fail(plan, EINVAL);
	if (l->text_start >= l->text_end || !is_text(h, l->text_start, l->text_end - l->text_start) ||
	    !is_text(h, h->entry, 1) || !is_text(h, l->kthread_entry, 1) ||
	    !is_text(h, l->host_signal_entry, 1) || !is_text(h, l->host_signal_restorer, 1))
		fail(plan, EINVAL);
	if (__builtin_mul_overflow(l->altstack_size, plan->cfg->nr_kthreads, &stacks) ||
	    !inside(l->altstack_base, stacks, LIBOS_ARENA_BASE, plan->arena_size))
		fail(plan, EINVAL);
	if (l->gs_base &&
	    (__builtin_mul_overflow(l->gs_stride, plan->cfg->nr_kthreads, &blocks) ||
	     !inside(l->gs_base, blocks, LIBOS_ARENA_BASE, plan->arena_size)))
		fail(plan, EINVAL);
	return l;
}

/*
 * An empty, read-only tmpfs becomes the root, and the host's tree is detached. The mounts of a new
 * namespace below a new user namespace are slaves, so nothing of this is seen outside.
 */
static void make_root(const struct loader_plan *plan)
{
	int fs, mnt;

	step(plan, LOADER_STEP_ROOT);
	fs = check(plan, RAW(fsopen, "tmpfs", FSOPEN_CLOEXEC));
	check(plan, RAW(fsconfig, fs, FSCONFIG_SET_STRING, "size", "4096", 0));
	check(plan, RAW(fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0555", 0));
	check(plan, RAW(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	mnt = check(plan, RAW(fsmount, fs, FSMOUNT_CLOEXEC,
			      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				      MOUNT_ATTR_NOEXEC));
	check(plan, RAW(move_mount, mnt, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
	check(plan, RAW(fchdir, mnt));
	check(plan, RAW(pivot_root, ".", "."));
	check(plan, RAW(umount2, ".", MNT_DETACH));
	check(plan, RAW(chdir, "/"));
}

static void set_limits(const struct loader_plan *plan)
{
	const struct {
		int resource;
		rlim_t value;
	} limits[] = {
		{RLIMIT_CORE, 0},     {RLIMIT_NOFILE, plan->last_fd + 1}, {RLIMIT_MEMLOCK, 0},
		{RLIMIT_MSGQUEUE, 0}, {RLIMIT_RTPRIO, 0},	       {RLIMIT_FSIZE, 0},
	};

	step(plan, LOADER_STEP_RLIMIT);
	for (size_t i = 0; i < NR(limits); i++) {
		struct rlimit r = {limits[i].value, limits[i].value};

		check(plan, RAW(setrlimit, limits[i].resource, &r));
	}
}

/* The byte that the caller sends when the id maps and the boot record are complete. */
static void wait_go(const struct loader_plan *plan)
{
	enum loader_step before = plan->report->step;
	char byte;
	long n;

	step(plan, LOADER_STEP_PARENT_DIED);
	while ((n = RAW(read, plan->go_read, &byte, 1)) == -EINTR)
		;
	if (n != 1)
		fail(plan, n ? -n : EPIPE);
	step(plan, before);
}

static void take_identity(const struct loader_plan *plan)
{
	step(plan, LOADER_STEP_IDENTITY);
	if (!plan->set_identity)
		return;
	check(plan, RAW(setresgid, LOADER_INNER_ID, LOADER_INNER_ID, LOADER_INNER_ID));
	check(plan, RAW(setresuid, LOADER_INNER_ID, LOADER_INNER_ID, LOADER_INNER_ID));
}

static void drop_privileges(const struct loader_plan *plan)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {};

	step(plan, LOADER_STEP_CAPABILITIES);
	check(plan, RAW(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL));
	for (int cap = 0; cap < 64; cap++) {
		long ret = RAW(prctl, PR_CAPBSET_DROP, cap);

		if (ret == -EINVAL) /* the kernel knows no more of them */
			break;
		check(plan, ret);
	}
	check(plan, RAW(prctl, PR_SET_SECUREBITS,
			SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED));
	check(plan, RAW(capset, &hdr, none));
	step(plan, LOADER_STEP_NO_NEW_PRIVS);
	check(plan, RAW(prctl, PR_SET_NO_NEW_PRIVS, 1));
	/* Nobody of the same user may trace it or read its memory. */
	check(plan, RAW(prctl, PR_SET_DUMPABLE, 0));
}

/* From here on it dies with its supervisor; if that has died already, it dies now. */
static void tie_to_parent(const struct loader_plan *plan)
{
	struct pollfd p = {.fd = plan->go_read};

	if (plan->cfg->detached)
		return;
	step(plan, LOADER_STEP_DEATHSIG);
	check(plan, RAW(prctl, PR_SET_PDEATHSIG, SIGKILL));
	step(plan, LOADER_STEP_PARENT_DIED);
	if (check(plan, RAW(poll, &p, 1, 0)))
		fail(plan, EPIPE);
}

/* Image, arena, shm and, with a network, the NIC at their fixed numbers, and nothing else. */
static void arrange_fds(const struct loader_plan *plan)
{
	int fds[] = {plan->cfg->image_fd, plan->arena_fd, plan->shm_fd, plan->cfg->nic_fd};
	size_t nr = plan->last_fd - CTL_FD_IMAGE + 1;

	step(plan, LOADER_STEP_FDS);
	/* First out of the way of the places that they shall take. */
	for (size_t i = 0; i < nr; i++)
		fds[i] = check(plan, RAW(fcntl, fds[i], F_DUPFD, plan->last_fd + 1));
	for (size_t i = 0; i < nr; i++)
		check(plan, RAW(dup2, fds[i], CTL_FD_IMAGE + i));
	check(plan, RAW(close_range, 0, CTL_FD_IMAGE - 1, 0));
	check(plan, RAW(close_range, plan->last_fd + 1, ~0u, 0));
}

static const int handled[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, CTL_KICK_SIGNAL};

static void install_signals(const struct loader_plan *plan, const struct libos_header *l)
{
	struct kernel_sigaction sa = {
		.handler = l->host_signal_entry,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | KERNEL_SA_RESTORER,
		.restorer = l->host_signal_restorer,
	};
	uint64_t blocked = ~0ull;

	step(plan, LOADER_STEP_SIGNALS);
	for (size_t i = 0; i < NR(handled); i++) {
		check(plan, RAW(rt_sigaction, handled[i], &sa, NULL, 8));
		blocked &= ~(1ull << (handled[i] - 1));
	}
	check(plan, RAW(rt_sigprocmask, SIG_SETMASK, &blocked, NULL, 8));
}

/* The kernel would write to glibc's area, which the libOS unmaps, and kill us for the fault. */
static void leave_rseq(const struct loader_plan *plan)
{
	step(plan, LOADER_STEP_RSEQ);
	if (__rseq_size)
		check(plan, RAW(rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, 1,
				RSEQ_SIGNATURE));
}

static void start_kthreads(const struct loader_plan *plan, const struct libos_header *l)
{
	const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
				    CLONE_SYSVSEM;
	struct control_boot *boot = &((struct control *)LIBOS_CONTROL_BASE)->boot;
	uint32_t nr = plan->cfg->nr_kthreads;
	long (*clone_kthread)(unsigned long, struct loader_kthread *) =
		(void *)(LOADER_STUB_BASE + (loader_stub_clone - loader_stub_start));

	step(plan, LOADER_STEP_KTHREADS);
	for (uint32_t i = 0; i < nr; i++) {
		struct loader_kthread *k = &plan->report->kthreads[i];
		uint64_t base = l->altstack_base + i * l->altstack_size;
		long tid = 1;

		k->altstack.ss_sp = (void *)base;
		k->altstack.ss_size = l->altstack_size;
		k->stack_top = (base + l->altstack_size) & ~15ull;
		k->index = i;
		k->entry = i ? l->kthread_entry : plan->cfg->header->entry;
		k->park = &((struct control *)LIBOS_CONTROL_BASE)->kthreads[i].word;
		k->gs_base = l->gs_base ? l->gs_base + i * l->gs_stride : 0;
		if (i)
			tid = clone_kthread(flags, k);
		if (tid < 0)
			fail(plan, -tid);
		boot->host_tid[i] = tid;
	}
}

static void make_timers(const struct loader_plan *plan)
{
	struct control_boot *boot = &((struct control *)LIBOS_CONTROL_BASE)->boot;

	step(plan, LOADER_STEP_TIMERS);
	for (uint32_t i = 0; i < plan->cfg->nr_kthreads; i++) {
		struct sigevent ev = {
			.sigev_notify = SIGEV_THREAD_ID,
			.sigev_signo = CTL_KICK_SIGNAL,
			.sigev_value.sival_int = i,
		};

		ev._sigev_un._tid = boot->host_tid[i];
		check(plan, RAW(timer_create, CLOCK_MONOTONIC, &ev, &boot->timer_id[i]));
	}
}

/* The filter must find each kthread past its own last calls. */
static void wait_for_kthreads(const struct loader_plan *plan)
{
	step(plan, LOADER_STEP_KTHREADS);
	for (uint32_t i = 1; i < plan->cfg->nr_kthreads; i++) {
		struct loader_kthread *k = &plan->report->kthreads[i];

		while (!__atomic_load_n(&k->arrived, __ATOMIC_ACQUIRE))
			RAW(sched_yield);
		if (k->error)
			fail(plan, -k->error);
	}
}

_Noreturn void loader_child(const struct loader_plan *plan)
{
	void (*enter)(struct loader_kthread *, const struct sock_fprog *) __attribute__((noreturn)) =
		(void *)(LOADER_STUB_BASE + (loader_stub_enter - loader_stub_start));
	struct control_boot *boot = &((struct control *)LIBOS_CONTROL_BASE)->boot;
	struct sock_filter code[FILTER_MAX];
	struct sock_fprog prog = {.filter = code};
	const struct libos_header *l;
	int len;

	RAW(close, plan->go_write);
	RAW(setsid);
	map_segments(plan);
	l = find_libos(plan);
	len = filter_build(l->text_start, l->text_end, plan->last_fd, code, NR(code));
	if (len < 0)
		fail(plan, -len);
	prog.len = len;
	make_root(plan);
	step(plan, LOADER_STEP_HOSTNAME);
	check(plan, RAW(sethostname, boot->hostname,
			raw_strnlen(boot->hostname, sizeof(boot->hostname))));
	RAW(prctl, PR_SET_NAME, boot->hostname);
	wait_go(plan);
	take_identity(plan);
	drop_privileges(plan);
	install_signals(plan, l);
	start_kthreads(plan, l);
	/* What follows holds for the whole process, and gives the kthreads time to start. */
	tie_to_parent(plan);
	arrange_fds(plan);
	set_limits(plan);
	make_timers(plan);
	leave_rseq(plan);
	boot->text_start = l->text_start;
	boot->text_end = l->text_end;
	wait_for_kthreads(plan);
	step(plan, LOADER_STEP_FILTER);
	enter(&plan->report->kthreads[0], &prog);
}
