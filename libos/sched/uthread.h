/*
 * uthread.h - application threads and the kthreads (host threads) that run them (DESIGN D7).
 *
 * A uthread has its own libOS stack, so blocking inside the library OS is a stack switch. The library
 * OS is never preempted: a kick that arrives in it only sets a flag that the exit path looks at.
 *
 * Sleeping, the one pattern (wait.h wraps it):
 *
 *     uthread_prepare(state); if (!condition) uthread_schedule(deadline); uthread_running();
 *
 * State changes race with wakers under uthread.slock; a uthread is on a run queue, or runs, exactly when
 * `queued` is set. A uthread switched away may be picked up by another kthread only after
 * `on_cpu` has been cleared by its last kthread.
 *
 * Lock order: wait queue lock -> uthread.slock -> kthread.rq_lock; timer lock is a leaf.
 */
#ifndef LIBOS_SCHED_UTHREAD_H
#define LIBOS_SCHED_UTHREAD_H

#include "libos/abi/control.h"
#include "libos/entry/trapframe.h"
#include "libos/lib/list.h"
#include "libos/lib/spinlock.h"
#include "libos/lib/types.h"
#include "libos/sched/timer.h"
#include "libos/signal/sigtypes.h"

struct proc;
struct uthread;
struct robust_list_head;

#define UTHREAD_STACK_SIZE 32768ul /* libOS stack, bytes */

enum uthread_state { UT_RUNNING, UT_INTERRUPTIBLE, UT_UNINTERRUPTIBLE, UT_STOPPED, UT_DEAD };

/* uthread.work: reasons for the exit path to stop and look. Set with uthread_set_work(). */
#define UT_WORK_SIGNAL 1u /* signals may be pending */
#define UT_WORK_XRSTOR 2u /* vector state is in ut->xsave, not in the registers */
#define UT_WORK_FULL 4u /* trapframe was changed: restore every register (iretq) */
#define UT_WORK_EXIT 8u /* the process is exiting: this thread must end */
#define UT_WORK_RSEQ 16u /* preempted or migrated: fix up rseq before user code runs */

/* kthread.work */
#define KTHREAD_SPIN_FIRST 50000u /* cycles; see park.c */
#define KT_WORK_KICK 1u /* a kick arrived: timers, host signals, preemption */
#define KT_WORK_NET 2u /* packets that it sent to this host itself wait: net_poll() */

struct kthread {
	/* entry.S and rewritten code know these offsets */
	struct kthread *self; /* 0 */
	void *syscall_entry; /* 8 */
	struct uthread *current; /* 16 */
	u64 kstack_top; /* 24: end of current's trapframe */
	u64 user_rsp; /* 32: scratch of the entry path */
	u32 work; /* 40: KT_WORK_* */
	u32 id; /* 44 */
	void *vdso_clock_gettime, *vdso_gettimeofday, *vdso_time, *vdso_clock_getres; /* 48.. host's */
	u64 nr_syscalls; /* 80 */
	u32 trace; /* 88: nonzero: take the slow, tracing dispatcher */
	u32 pad0;

	cacheline_aligned spinlock_t rq_lock;
	u32 rq_len;
	struct list_head rq;
	struct uthread *prev; /* switched away from, to be finished by the next */
	struct uthread *idle; /* context of the idle loop */
	u32 kicks; /* handled; membarrier(2) waits for a change */
	u32 host_tid;
	s32 timer_id;
	u64 kick_armed; /* deadline for which the host timer is set, NEVER: none */
	u64 slice_end; /* CLOCK_MONOTONIC ns when current should make room */
	u64 switched_ns; /* when current was switched in */
	u64 regs_bv; /* XSTATE_BV of what the vector registers hold, XSTATE_UNKNOWN: could be anything */
	struct timer_heap timers;
	u64 nr_switches, nr_preemptions, nr_traps, nr_host_calls;
	u64 polled; /* TSC at the last net_poll() */
	u32 spin; /* cycles to spin before parking */
	bool polling; /* in net_poll() */
	u8 no_spin; /* parks yet to come without spinning first */
} cacheline_aligned;
_Static_assert(offsetof(struct kthread, work) == 40, "entry.S");
_Static_assert(offsetof(struct kthread, vdso_clock_gettime) == 48, "vdso.S");
_Static_assert(offsetof(struct kthread, nr_syscalls) == 80, "entry.S");
_Static_assert(offsetof(struct kthread, trace) == 88, "entry.S");

struct rseq_state {
	u64 uaddr;
	u32 len, sig;
};

struct uthread {
	/* entry.S knows these offsets */
	u32 work; /* 0: UT_WORK_*, atomic */
	u32 pad0;
	u64 ksp; /* 8: libOS stack pointer while switched away */

	spinlock_t slock; /* state, queued */
	u32 state; /* enum uthread_state */
	u32 queued; /* on a run queue or running */
	u32 on_cpu; /* a kthread still stands on the libOS stack */
	struct list_head rq_link;
	struct kthread *kt; /* where it last ran */
	u8 *kstack; /* lowest address */
	u8 *xsave; /* 64-byte aligned, xsave_size bytes */
	u64 fsbase; /* whoever sets the register sets this too: the host may lose the register (control.h) */
	u64 ready_ns; /* CLOCK_MONOTONIC, when it was put on a run queue, if the scheduler is told */
	u64 cpu_ns; /* time on a kthread, up to switched_ns */
	u64 start_ns;
	u64 nr_voluntary, nr_involuntary;
	struct timer sleep_timer;
	u32 timed_out;

	/* proc/ */
	struct proc *proc;
	struct list_head proc_link; /* proc->threads, under proc->lock */
	int tid;
	u32 refs; /* released by uthread_put() */
	u64 clear_child_tid; /* user address */
	u64 robust_list; /* user address of struct robust_list_head */
	u32 exiting;
	char comm[16];
	u64 affinity; /* bit per virtual core */
	int nice, policy, rt_priority;
	u64 timer_slack; /* ns, kept for prctl; 0: the default */
	struct rseq_state rseq;
	long exit_code;

	/* signal/ */
	struct sigstate sig;
	struct siginfo_k trap_info; /* of the fault being handled */
	u64 trap_no, trap_err, trap_cr2; /* as the CPU reported it, for sigcontext */

	/* system call restart: ERESTART_RESTARTBLOCK */
	long (*restart_fn)(struct uthread *);
	u64 restart_args[6];
	u64 user_scratch[4]; /* for the owner of the current system call */
};
_Static_assert(offsetof(struct uthread, work) == 0 && offsetof(struct uthread, ksp) == 8, "entry.S");

extern struct kthread kthreads[CTL_MAX_KTHREADS];
extern u32 nr_kthreads;
extern u32 xsave_size; /* bytes of a uthread's vector state (XCR0 components, standard format) */
extern u64 xsave_mask; /* XCR0 */

#ifdef LIBOS_HOSTED /* unit tests on the host: one kthread */
extern __thread struct uthread *hosted_current;

static inline struct kthread *this_kthread(void)
{
	return &kthreads[0];
}

static inline struct uthread *current(void)
{
	return hosted_current;
}
#else
/* The kthread under our feet. Do not keep it across anything that may sleep. */
static inline struct kthread *this_kthread(void)
{
	struct kthread *k;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(k));
	return k;
}

static inline struct uthread *current(void)
{
	struct uthread *u;

	__asm__ volatile("movq %%gs:16, %0" : "=r"(u));
	return u;
}
#endif

static inline struct trapframe *uthread_tf(struct uthread *ut)
{
	return (struct trapframe *)(ut->kstack + UTHREAD_STACK_SIZE - 8 - sizeof(struct trapframe));
}

static inline void uthread_set_work(struct uthread *ut, u32 bits)
{
	__atomic_fetch_or(&ut->work, bits, __ATOMIC_SEQ_CST);
}

static inline void uthread_clear_work(struct uthread *ut, u32 bits)
{
	__atomic_fetch_and(&ut->work, ~bits, __ATOMIC_SEQ_CST);
}

/* sched.c */

/*
 * Makes a uthread that will start in user mode with the registers that the caller then writes into
 * uthread_tf(). It is not runnable before uthread_start(). NULL: no memory.
 */
struct uthread *uthread_create(struct proc *proc);
/* Makes a fresh uthread runnable, once. */
void uthread_start(struct uthread *ut);
/* A kernel-side thread: runs fn(arg) on its own libOS stack, never enters user mode; no proc. */
struct uthread *uthread_create_kernel(void (*fn)(void *), void *arg);
void uthread_get(struct uthread *ut);
void uthread_put(struct uthread *ut);

/* Announces that current() will sleep; then look at the condition; then uthread_schedule(). */
void uthread_prepare(enum uthread_state state);
/* Takes the announcement back (the condition held). */
void uthread_running(void);
/*
 * Gives the kthread away if current() is still asleep by its announcement. Returns when woken, at
 * deadline_ns (CLOCK_MONOTONIC ns; NEVER: none), or at once if an interruptible sleeper has signals pending.
 * Returns true if the deadline passed. The caller holds no lock.
 */
bool uthread_schedule(u64 deadline_ns);
/* Lets others run; current() stays runnable. */
void uthread_yield(void);
/* Wakes a sleeper of any kind (but not a stopped one). True if it slept. Any context, any lock but slock/rq_lock. */
bool uthread_wake(struct uthread *ut);
/* Wakes only if the state is in the mask of (1 << enum uthread_state). */
bool uthread_wake_state(struct uthread *ut, u32 state_mask);
/* Makes ut look at its work flags soon, wherever it is: wakes an interruptible sleeper, kicks a runner. */
void uthread_kick(struct uthread *ut);
/* Ends current(): never returns. The last reference frees it. */
noreturn void uthread_exit(void);
/* CPU time of ut in ns, including the current stretch. */
u64 uthread_cpu_ns(struct uthread *ut);

/* Saves current's vector state to ut->xsave (standard XSAVE format) unless it is there already. */
void uthread_save_xstate(struct uthread *ut);

#endif
