/*
 * boot.c - from the first instruction in the library OS to the first of the application.
 */
#include <linux/mman.h>

#include "libos/abi/image.h"
#include "libos/fs/bootfile.h"
#include "libos/fs/file.h"
#include "libos/lib/printf.h"
#include "libos/lib/random.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/mm.h"
#include "libos/mm/shm.h"
#include "libos/net/netif.h"
#include "libos/platform/hostcall.h"
#include "libos/platform/hostvdso.h"
#include "libos/platform/log.h"
#include "libos/proc/proc.h"
#include "libos/sched/sched.h"
#include "libos/syscall/syscall.h"
#include "libos/time/clock.h"

#define IDLE_STACK_SIZE 16384

_Static_assert(sizeof(struct kthread) == 320, "KTHREAD_SIZE in entry.S");
_Static_assert(NR_SYSCALLS == 512, "entry.S");

u8 idle_stacks[CTL_MAX_KTHREADS][IDLE_STACK_SIZE] __attribute__((aligned(4096), section(".bss.stacks")));
static struct uthread idle_uthreads[CTL_MAX_KTHREADS] __cold_data;
static struct control *const ctl = (struct control *)LIBOS_CONTROL_BASE;

extern const char __arena_start[], __bss_hot_start[], __bss_hot_end[];

void kthread_init(struct kthread *kt, u32 id)
{
	struct uthread *idle = &idle_uthreads[id];

	kt->self = kt;
	kt->id = id;
	kt->syscall_entry = syscall_entry;
	kt->vdso_clock_gettime = host_vdso.clock_gettime;
	kt->vdso_gettimeofday = host_vdso.gettimeofday;
	kt->vdso_time = host_vdso.time;
	kt->vdso_clock_getres = host_vdso.clock_getres;
	kt->trace = !!(ctl->boot.flags & CTL_BOOT_STRACE);
	list_init(&kt->rq);
	kt->kick_armed = NEVER;
	kt->slice_end = NEVER;
	kt->timers.first = NEVER;
	kt->spin = KTHREAD_SPIN_FIRST;
	idle->kstack = idle_stacks[id];
	idle->queued = 1;
	idle->on_cpu = 1;
	idle->refs = 1;
	idle->kt = kt;
	strlcpy(idle->comm, "idle", sizeof(idle->comm));
	kt->idle = idle;
	kt->current = idle;
	kt->kstack_top = (u64)idle->kstack + IDLE_STACK_SIZE - 8;
}

/*
 * Leaves the loader behind: unmaps all that is neither ours nor the host's vDSO. What a kthread that has
 * just been made may still execute stands inside the window (loader/stub.S).
 */
static void unmap_loader(void)
{
	const struct control_boot *b = &ctl->boot;
	u64 start = b->host_vdso_start, end = b->host_vdso_end;

	host_munmap(0, LIBOS_WINDOW_START);
	if (start >= LIBOS_WINDOW_END && end > start && end <= USER_ADDR_MAX) {
		host_munmap(LIBOS_WINDOW_END, start - LIBOS_WINDOW_END);
		host_munmap(end, USER_ADDR_MAX - end);
	} else {
		panic("host vDSO at %#lx-%#lx is not where it can stay", start, end);
	}
}

static const struct jimg_record *boot_record(void)
{
	const struct jimg_record *r = (const void *)(LIBOS_CONTROL_BASE + CTL_RECORD_OFF);

	if (r->magic != JREC_MAGIC)
		panic("no boot record");
	return r;
}

static const char *record_string(const struct jimg_record *r, struct jrec_strings s)
{
	return s.count ? (const char *)r + s.off : "";
}

/* The pointer array of `count` strings standing one behind the other at *s, which is moved on. */
static char **string_vector(char **s, u32 count)
{
	char **v = kmalloc((count + 1) * sizeof(*v));

	if (!v)
		panic("no memory for arguments");
	for (u32 i = 0; i < count; i++) {
		v[i] = *s;
		*s += strlen(*s) + 1;
	}
	v[count] = NULL;
	return v;
}

noreturn static void boot_fail(const char *what, int err)
{
	klog("boot", "%s: error %d", what, -err);
	ctl->exit_status = 127 << 8;
	__atomic_store_n(&ctl->state, CTL_EXITED, __ATOMIC_SEQ_CST);
	ring_doorbell();
	host_exit(127);
}

/* Runs as the first uthread; returns into user mode. */
static void init_main(void *arg)
{
	const struct jimg_record *r = boot_record();
	char *strings = (char *)LIBOS_CONTROL_BASE + CTL_ARGS_OFF;
	char **argv = string_vector(&strings, ctl->boot.argc);
	char **envp = string_vector(&strings, ctl->boot.envc);
	const char *workdir = ctl->boot.workdir[0] ? ctl->boot.workdir : record_string(r, r->workdir);
	const char *entry = record_string(r, r->entry);
	const char *failed;
	int err;

	if (ctl->boot.nr_files) {
		err = bootfiles_create(strings, (char *)LIBOS_CONTROL_BASE + CTL_ARGS_OFF + ctl->boot.args_len,
				       ctl->boot.nr_files, &failed);
		if (err)
			boot_fail(failed, err);
	}
	if (workdir[0]) {
		err = vfs_set_cwd(workdir);
		if (err)
			boot_fail(workdir, err);
	}
	err = exec_load(entry, argv, envp, uthread_tf(current()));
	if (err)
		boot_fail(entry, err);
	kfree(argv, (ctl->boot.argc + 1) * sizeof(*argv));
	kfree(envp, (ctl->boot.envc + 1) * sizeof(*envp));
	ctl->stats.first_instruction_ns = clock_monotonic_ns();
	__atomic_store_n(&ctl->state, CTL_RUNNING, __ATOMIC_SEQ_CST);
	/* No kick came before that: look for signals that did. */
	if (__atomic_load_n(&ctl->host_signals, __ATOMIC_SEQ_CST))
		__atomic_fetch_or(&this_kthread()->work, KT_WORK_KICK, __ATOMIC_SEQ_CST);
}

static void boot_first(void)
{
	struct control_boot *b = &ctl->boot;
	struct uthread *ut;
	int err;

	if (b->magic != CTL_MAGIC || b->version != CTL_VERSION || !b->nr_kthreads ||
	    b->nr_kthreads > CTL_MAX_KTHREADS)
		host_exit(125);
	/* One host call instead of a page fault each; a host that does not know it gives the faults. */
	host_madvise((u64)__bss_hot_start, (u64)(__bss_hot_end - __bss_hot_start), MADV_POPULATE_WRITE);
	kthreads[0].host_tid = b->host_tid[0];
	if (!host_vdso_init(b->host_vdso))
		panic("the host's vDSO has no clock_gettime");
	sched_init(b);
	alloc_init((u64)__arena_start, LIBOS_ARENA_BASE + b->arena_size);
	random_reseed(b->seed);
	syscall_table_init();
	unmap_loader();
	shm_init(b->shm_size);
	init_proc = proc_create();
	if (!init_proc)
		panic("no memory for the first process");
	err = vfs_init();
	if (err)
		panic("cannot set up the file systems: error %d", -err);
	err = stdio_init();
	if (err)
		panic("cannot set up the standard streams: error %d", -err);
	err = net_init(b);
	if (err)
		panic("cannot set up the network: error %d", -err);
	if (b->net.region_size)
		net_etc_files(b);
	ut = proc_create_thread(init_proc, init_main, NULL);
	if (!ut)
		panic("no memory for the first thread");
	uthread_start(ut);
}

noreturn void libos_main(u32 id)
{
	struct kthread *kt = &kthreads[id];

	if (id) {
		while (!__atomic_load_n(&ctl->kthreads[id].word, __ATOMIC_ACQUIRE))
			host_futex_wait(&ctl->kthreads[id].word, 0, NEVER, true);
		kthread_begin(kt);
	}
	boot_first();
	idle_loop(kt);
}
