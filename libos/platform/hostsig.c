/*
 * hostsig.c - what a host signal found, and where to go on.
 *
 * The loader installed one handler for faults, SIGSYS and the kick, on an alternate stack per kthread, with
 * an empty mask and SA_NODEFER: leaving a handler without sigreturn leaves no trace in the host. So:
 *
 *   - In libOS code (rip in its text, or rsp in its window: it may be calling the host's vDSO) a kick sets
 *     kthread.work and returns. If the exit path stood between its last look at the flags and user mode, it is
 *     sent back to look again (entry.S, exit_restart): no kick is lost. A fault is one of usercopy, whose
 *     exception table gives the fixup, or a bug.
 *   - In application code the whole state is moved to the uthread (trapframe, vector state), the
 *     alternate stack is left for good, and the uthread goes on in trap_user() on its own libOS stack.
 */
#include "libos/platform/hostsig.h"

#include <asm/signal.h>

#include "libos/abi/control.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/sched/sched.h"

/* The part of struct ucontext that x86-64 fixes (arch/x86 uapi sigcontext.h, 64-bit layout). */
struct host_ucontext {
	u64 flags, link;
	u64 stack[3];
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2;
	u64 fpstate;
};

#define FP_XSTATE_MAGIC1 0x46505853u
#define FPSTATE_SW_RESERVED 464 /* struct _fpx_sw_bytes in the legacy area */

u8 altstacks[CTL_MAX_KTHREADS][ALTSTACK_SIZE] __attribute__((aligned(4096), section(".bss.stacks")));

extern const char __text_start[], __text_end[];
extern const char libos_entry[];
extern const char exit_fast_start[], exit_fast_end[], exit_full_start[], exit_full_end[], exit_restart[];
extern const struct {
	u64 insn, fixup;
} __ex_table_start[], __ex_table_end[];

static bool in_libos(const struct host_ucontext *uc)
{
	if (uc->rip >= (u64)__text_start && uc->rip < (u64)__text_end)
		return true;
	return uc->rsp >= LIBOS_WINDOW_START && uc->rsp < LIBOS_WINDOW_END;
}

static bool fix_usercopy(struct host_ucontext *uc)
{
	for (__typeof__(&__ex_table_start[0]) e = __ex_table_start; e < __ex_table_end; e++) {
		if (e->insn == uc->rip) {
			uc->rip = e->fixup;
			return true;
		}
	}
	return false;
}

static void kick_in_libos(struct kthread *kt, struct host_ucontext *uc)
{
	u64 rip = uc->rip;
	bool full = rip >= (u64)exit_full_start && rip < (u64)exit_full_end;

	if (!full && !(rip >= (u64)exit_fast_start && rip < (u64)exit_fast_end))
		return;
	if (full)
		uthread_set_work(kt->current, UT_WORK_FULL);
	uc->rip = (u64)exit_restart;
	uc->rsp = kt->kstack_top - sizeof(struct trapframe);
}

static void save_user_state(struct uthread *ut, const struct host_ucontext *uc)
{
	struct trapframe *tf = uthread_tf(ut);
	const u8 *fp = (const u8 *)uc->fpstate;
	u32 magic, xstate_size;

	*tf = (struct trapframe){
		.r15 = uc->r15, .r14 = uc->r14, .r13 = uc->r13, .r12 = uc->r12, .rbp = uc->rbp,
		.rbx = uc->rbx, .r11 = uc->r11, .r10 = uc->r10, .r9 = uc->r9, .r8 = uc->r8,
		.rax = uc->rax, .rcx = uc->rcx, .rdx = uc->rdx, .rsi = uc->rsi, .rdi = uc->rdi,
		.orig_rax = (u64)-1, .rip = uc->rip, .cs = uc->cs, .eflags = uc->eflags, .rsp = uc->rsp,
		.ss = uc->ss,
	};
	/* A host signal frame holds the vector state in the standard XSAVE format; registers are reset. */
	memcpy(&magic, fp + FPSTATE_SW_RESERVED, 4);
	memcpy(&xstate_size, fp + FPSTATE_SW_RESERVED + 16, 4);
	if (magic == FP_XSTATE_MAGIC1) {
		memcpy(ut->xsave, fp, min(xstate_size, xsave_size));
	} else {
		memset(ut->xsave + 512, 0, xsave_size - 512);
		memcpy(ut->xsave, fp, 512);
		*(u64 *)(ut->xsave + 512) = 3; /* x87 and SSE */
	}
	/* The software-reserved words are no part of the hardware format: XRSTOR ignores them. */
	uthread_set_work(ut, UT_WORK_XRSTOR | UT_WORK_FULL | (ut->rseq.uaddr ? UT_WORK_RSEQ : 0));
}

/*
 * Called by host_signal_entry on the alternate stack. Returns 0 to go back to where the signal came from, or the
 * trapframe on whose stack trap_user() is to run.
 */
struct trapframe *hostsig_handle(int sig, const struct siginfo_k *info, struct host_ucontext *uc)
{
	u32 id = ((u64)__builtin_frame_address(0) - (u64)altstacks) / ALTSTACK_SIZE;
	struct kthread *kt = &kthreads[id];

	/* The application may have moved %gs; the alternate stack says who we are. */
	if (__builtin_ia32_rdgsbase64() != (u64)kt)
		__builtin_ia32_wrgsbase64((u64)kt);

	if (sig == CTL_KICK_SIGNAL) {
		__atomic_fetch_or(&kt->work, KT_WORK_KICK, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&kt->kicks, 1, __ATOMIC_SEQ_CST);
		/* A kthread about to sleep must not. */
		park_kicked(kt, info->code);
	}
	if (in_libos(uc)) {
		if (sig == CTL_KICK_SIGNAL) {
			kick_in_libos(kt, uc);
			return NULL;
		}
		if ((sig == SIGSEGV || sig == SIGBUS) && fix_usercopy(uc))
			return NULL;
		/* A kthread was about to wait in the loader's stub when the filter came on: wait here instead. */
		if (sig == SIGSYS && uc->rip >= LOADER_STUB_BASE && id) {
			uc->rip = (u64)libos_entry;
			uc->rdi = id;
			return NULL;
		}
		panic("signal %d code %d at rip %#lx addr %#lx rsp %#lx rbp %#lx rax %#lx current %d", sig, info->code,
		      uc->rip, info->fault.addr, uc->rsp, uc->rbp, uc->rax,
		      kt->current ? kt->current->tid : -1);
	}
	struct uthread *ut = kt->current;

	save_user_state(ut, uc);
	/*
	 * The host lost the fs base in a task switch (control.h): put it back, repeat the access. Through the
	 * exit path, as after a kick: one that comes now only sets kthread.work, and somebody must look.
	 */
	if (sig == SIGSEGV && __builtin_ia32_rdfsbase64() == LIBOS_FS_LOST && ut->fsbase != LIBOS_FS_LOST) {
		__builtin_ia32_wrfsbase64(ut->fsbase);
		ut->trap_info.signo = CTL_KICK_SIGNAL;
		return uthread_tf(ut);
	}
	ut->trap_info = *info;
	ut->trap_no = uc->trapno;
	ut->trap_err = uc->err;
	ut->trap_cr2 = uc->cr2;
	return uthread_tf(ut);
}
