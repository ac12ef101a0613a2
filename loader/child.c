/*
 * child.c - the instance's own side of a start: map, isolate, lock the door, enter the library OS.
 *
 * Runs in a process that loader_spawn() has just cloned, with user, pid, mount, ipc and uts namespaces
 * of its own. It allocates nothing and uses only thin wrappers of system calls, so that a caller with
 * threads may spawn too. Order matters:
 *
 *   1. maps and the empty root need nothing from the caller, and run while it writes the id maps;
 *   2. the identity changes next, because that clears the parent-death signal and the dumpable flag;
 *   3. capabilities go, then the parent-death signal is set, then the caller is seen to be alive:
 *      in this order there is no moment in which it can die unnoticed;
 *   4. kthreads are made last, so that they inherit all of this, and before the filter, which is
 *      installed on all of them at once.
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
#include <string.h>
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
		syscall(SYS_exit_group, 127);
}

static void step(const struct loader_plan *plan, enum loader_step s)
{
	plan->report->step = s;
}

/* For calls that give -1 and errno. */
static long check(const struct loader_plan *plan, long result)
{
	if (result == -1)
		fail(plan, errno);
	return result;
}

static void map_fixed(const struct loader_plan *plan, uint64_t addr, uint64_t len, int prot, int flags,
		      int fd, uint64_t off)
{
	void *p = mmap((void *)addr, len, prot, flags | MAP_FIXED_NOREPLACE, fd, off);

	if (p == MAP_FAILED)
		fail(plan, errno);
	if ((uint64_t)p != addr)
		fail(plan, EEXIST);
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

		if (!(s->flags & PF_W)) {
			map_fixed(plan, s->vaddr, s->file_len,
				  PROT_READ | (s->flags & PF_X ? PROT_EXEC : 0), MAP_PRIVATE, image,
				  s->off);
			continue;
		}
		for (uint64_t done = 0; done < s->file_len;) {
			long n = check(plan, pread(image, (void *)(s->vaddr + done),
						   s->file_len - done, s->off + done));

			if (!n)
				fail(plan, ENODATA);
			done += n;
		}
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
	step(plan, LOADER_STEP_MAP_STUB);
	map_fixed(plan, LOADER_STUB_BASE, LOADER_MAX_STUB, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy((void *)LOADER_STUB_BASE, loader_stub_start, loader_stub_end - loader_stub_start);
	check(plan, mprotect((void *)LOADER_STUB_BASE, LOADER_MAX_STUB, PROT_READ | PROT_EXEC));
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
	uint64_t stacks;

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
	fs = check(plan, fsopen("tmpfs", FSOPEN_CLOEXEC));
	check(plan, fsconfig(fs, FSCONFIG_SET_STRING, "size", "4096", 0));
	check(plan, fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0));
	check(plan, fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	mnt = check(plan, fsmount(fs, FSMOUNT_CLOEXEC,
				  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					  MOUNT_ATTR_NOEXEC));
	check(plan, move_mount(mnt, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
	check(plan, fchdir(mnt));
	check(plan, syscall(SYS_pivot_root, ".", "."));
	check(plan, umount2(".", MNT_DETACH));
	check(plan, chdir("/"));
}

static void set_limits(const struct loader_plan *plan)
{
	static const struct {
		int resource;
		rlim_t value;
	} limits[] = {
		{RLIMIT_CORE, 0},     {RLIMIT_NOFILE, CTL_FD_SHM + 1}, {RLIMIT_MEMLOCK, 0},
		{RLIMIT_MSGQUEUE, 0}, {RLIMIT_RTPRIO, 0},	       {RLIMIT_FSIZE, 0},
	};

	step(plan, LOADER_STEP_RLIMIT);
	for (size_t i = 0; i < NR(limits); i++) {
		struct rlimit r = {limits[i].value, limits[i].value};

		check(plan, setrlimit(limits[i].resource, &r));
	}
}

/* The byte that the caller sends when the id maps and the boot record are complete. */
static void wait_go(const struct loader_plan *plan)
{
	enum loader_step before = plan->report->step;
	char byte;
	long n;

	step(plan, LOADER_STEP_PARENT_DIED);
	while ((n = read(plan->go_read, &byte, 1)) == -1 && errno == EINTR)
		;
	if (n != 1)
		fail(plan, n ? errno : EPIPE);
	step(plan, before);
}

static void take_identity(const struct loader_plan *plan)
{
	step(plan, LOADER_STEP_IDENTITY);
	if (!plan->set_identity)
		return;
	/* Raw: glibc would pass the call on to threads that this copy of the process does not have. */
	check(plan, syscall(SYS_setresgid, LOADER_INNER_ID, LOADER_INNER_ID, LOADER_INNER_ID));
	check(plan, syscall(SYS_setresuid, LOADER_INNER_ID, LOADER_INNER_ID, LOADER_INNER_ID));
}

static void drop_privileges(const struct loader_plan *plan)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {};

	step(plan, LOADER_STEP_CAPABILITIES);
	check(plan, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == -1) {
			if (errno == EINVAL) /* the kernel knows no more of them */
				break;
			fail(plan, errno);
		}
	check(plan, prctl(PR_SET_SECUREBITS,
			  SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
			  0, 0, 0));
	check(plan, syscall(SYS_capset, &hdr, none));
	step(plan, LOADER_STEP_NO_NEW_PRIVS);
	check(plan, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	/* Nobody of the same user may trace it or read its memory. */
	check(plan, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

/* From here on it dies with its supervisor; if that has died already, it dies now. */
static void tie_to_parent(const struct loader_plan *plan)
{
	struct pollfd p = {.fd = plan->go_read};

	step(plan, LOADER_STEP_DEATHSIG);
	check(plan, prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
	step(plan, LOADER_STEP_PARENT_DIED);
	if (check(plan, poll(&p, 1, 0)))
		fail(plan, EPIPE);
}

/* Image, arena and shm at their fixed numbers, and nothing else. */
static void arrange_fds(const struct loader_plan *plan)
{
	int fds[] = {plan->cfg->image_fd, plan->arena_fd, plan->shm_fd};

	step(plan, LOADER_STEP_FDS);
	/* First out of the way of the places that they shall take. */
	for (size_t i = 0; i < NR(fds); i++)
		fds[i] = check(plan, fcntl(fds[i], F_DUPFD, CTL_FD_SHM + 1));
	for (size_t i = 0; i < NR(fds); i++)
		check(plan, dup2(fds[i], CTL_FD_IMAGE + (int)i));
	check(plan, syscall(SYS_close_range, 0, CTL_FD_IMAGE - 1, 0));
	check(plan, syscall(SYS_close_range, CTL_FD_SHM + 1, ~0u, 0));
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
		check(plan, syscall(SYS_rt_sigaction, handled[i], &sa, NULL, 8));
		blocked &= ~(1ull << (handled[i] - 1));
	}
	check(plan, syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, 8));
}

/* The kernel would write to glibc's area, which the libOS unmaps, and kill us for the fault. */
static void leave_rseq(const struct loader_plan *plan)
{
	step(plan, LOADER_STEP_RSEQ);
	if (__rseq_size)
		check(plan, syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, 1,
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
		k->park = &((struct control *)LIBOS_CONTROL_BASE)->park[i].word;
		k->gs_base = l->gs_base ? l->gs_base + i * l->gs_stride : 0;
		if (i)
			tid = clone_kthread(flags, k);
		if (tid < 0)
			fail(plan, -tid);
		boot->host_tid[i] = tid;
	}
	step(plan, LOADER_STEP_TIMERS);
	for (uint32_t i = 0; i < nr; i++) {
		struct sigevent ev = {
			.sigev_notify = SIGEV_THREAD_ID,
			.sigev_signo = CTL_KICK_SIGNAL,
			.sigev_value.sival_int = i,
		};

		ev._sigev_un._tid = boot->host_tid[i];
		check(plan, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &boot->timer_id[i]));
	}
	step(plan, LOADER_STEP_KTHREADS);
	for (uint32_t i = 1; i < nr; i++) {
		struct loader_kthread *k = &plan->report->kthreads[i];

		while (!__atomic_load_n(&k->arrived, __ATOMIC_ACQUIRE))
			sched_yield();
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

	close(plan->go_write);
	setsid();
	map_segments(plan);
	l = find_libos(plan);
	len = filter_build(l->text_start, l->text_end, code, NR(code));
	if (len < 0)
		fail(plan, -len);
	prog.len = len;
	make_root(plan);
	step(plan, LOADER_STEP_HOSTNAME);
	check(plan, sethostname(boot->hostname, strnlen(boot->hostname, sizeof(boot->hostname))));
	prctl(PR_SET_NAME, boot->hostname, 0, 0, 0);
	wait_go(plan);
	take_identity(plan);
	drop_privileges(plan);
	tie_to_parent(plan);
	arrange_fds(plan);
	set_limits(plan);
	boot->text_start = l->text_start;
	boot->text_end = l->text_end;
	install_signals(plan, l);
	leave_rseq(plan);
	start_kthreads(plan, l);
	step(plan, LOADER_STEP_FILTER);
	enter(&plan->report->kthreads[0], &prog);
}
