/*
 * frame.c - writing a signal frame on the user's stack, and sigreturn.
 *
 * The frame shows the handler the registers that the program has on Linux. rip may differ from
 * where we really are: behind a rewritten system call that is to be made again it is shown at the
 * SYSCALL instruction, and behind one whose trampoline holds displaced instructions it is shown in
 * the original code. Neither is an address to return to. So the frame carries a mark, the shown rip
 * and the real one, in words that Linux reserves: sigreturn takes the real one if the handler left
 * rip alone, and makes the call again if the mark says so. A handler that moves rip elsewhere gets
 * what it asks for.
 */
#include "libos/abi/layout.h"
#include "libos/lib/string.h"
#include "libos/mm/mm.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/signal/frame.h"
#include "libos/signal/internal.h"
#include "libos/signal/signal.h"

#define RED_ZONE 128
#define SYSCALL_INSN_LEN 2
#define NR_RT_SIGRETURN 15 /* never made again: a forged frame could lead to itself */
#define EFLAGS_DF 0x400ull
#define EFLAGS_RF 0x10000ull
#define EFLAGS_TF 0x100ull
/* What sigreturn may change: AC OF DF TF SF ZF AF PF CF RF */
#define EFLAGS_USER \
	(0x40000ull | 0x800 | EFLAGS_DF | EFLAGS_TF | 0x80 | 0x40 | 0x10 | 0x4 | 0x1 | EFLAGS_RF)
#define XSTATE_FPSSE 3ull
#define MXCSR_DEFAULT 0x1f80u
#define FCW_DEFAULT 0x37f
#define MXCSR_MASK_DEFAULT 0xffbfu

static u64 fpstate_size(void)
{
	return xsave_size + FP_XSTATE_MAGIC2_SIZE;
}

u64 signal_min_stack(void)
{
	return align_up(sizeof(struct rt_sigframe) + 8 + 16 + 63 + fpstate_size() + RED_ZONE,
			16ull);
}

/*
 * The XSAVE image leaves out what is in its initial state. Programs read the legacy part (struct
 * _fpstate) without knowing that, and may change it without setting a bit: fill it in and say that
 * it is there.
 */
static void complete_legacy(u8 *xs)
{
	u64 *bv = (u64 *)(xs + FP_LEGACY_SIZE);

	if (!(*bv & 1)) {
		memset(xs, 0, FP_MXCSR);
		*(u16 *)xs = FCW_DEFAULT;
		memset(xs + 32, 0, 128); /* st0..st7 */
	}
	if (!(*bv & 2))
		memset(xs + 160, 0, 256); /* xmm0..xmm15 */
	*bv |= XSTATE_FPSSE;
}

/* Handlers start with vector state as a new program has it. */
static void reset_xstate(struct uthread *ut)
{
	u8 *xs = ut->xsave;

	memset(xs + FP_LEGACY_SIZE, 0, FP_HEADER_SIZE);
	*(u32 *)(xs + FP_MXCSR) = MXCSR_DEFAULT;
	uthread_set_work(ut, UT_WORK_XRSTOR);
}

static bool save_fpstate(struct uthread *ut, u64 fp)
{
	struct _fpx_sw_bytes *sw;
	u8 *xs = ut->xsave;
	u32 magic2 = FP_XSTATE_MAGIC2;

	uthread_save_xstate(ut);
	/* From here on the memory is what counts: it is loaded again before user code runs. */
	uthread_set_work(ut, UT_WORK_XRSTOR);
	complete_legacy(xs);
	sw = (struct _fpx_sw_bytes *)(xs + FP_SW);
	memset(sw, 0, sizeof(*sw));
	sw->magic1 = FP_XSTATE_MAGIC1;
	sw->extended_size = fpstate_size();
	sw->xfeatures = xsave_mask;
	sw->xstate_size = xsave_size;
	if (copy_to_user((void *)fp, xs, xsave_size) ||
	    copy_to_user((void *)(fp + xsave_size), &magic2, sizeof(magic2)))
		return false;
	reset_xstate(ut);
	return true;
}

/* The bits of MXCSR that this CPU has: setting another one faults in XRSTOR. */
static u32 mxcsr_mask(void)
{
	static u32 mask;
	u8 area[FP_LEGACY_SIZE] __attribute__((aligned(16)));

	if (!mask) {
		__asm__ volatile("fxsave64 %0" : "=m"(area));
		mask = *(u32 *)(area + FP_MXCSR_MASK);
		if (!mask)
			mask = MXCSR_MASK_DEFAULT;
	}
	return mask;
}

/* Loads the vector state at user address fp (0: the initial one). False: it is not well-formed. */
static bool restore_fpstate(struct uthread *ut, u64 fp)
{
	u8 *xs = ut->xsave;
	struct _fpx_sw_bytes *sw = (struct _fpx_sw_bytes *)(xs + FP_SW);
	u64 *hdr = (u64 *)(xs + FP_LEGACY_SIZE);
	u32 magic2;

	uthread_set_work(ut, UT_WORK_XRSTOR);
	reset_xstate(ut);
	if (!fp)
		return true;
	if (copy_from_user(xs, (void *)fp, FP_LEGACY_SIZE))
		return false;
	if (sw->magic1 == FP_XSTATE_MAGIC1 && sw->xstate_size >= FP_LEGACY_SIZE + FP_HEADER_SIZE &&
	    sw->xstate_size <= xsave_size && sw->xstate_size <= sw->extended_size &&
	    !get_user_u32(&magic2, (void *)(fp + sw->xstate_size)) && magic2 == FP_XSTATE_MAGIC2) {
		u64 size = sw->xstate_size;

		if (copy_from_user(xs + FP_LEGACY_SIZE, (void *)(fp + FP_LEGACY_SIZE),
				   size - FP_LEGACY_SIZE))
			return false;
		if (size < xsave_size)
			memset(xs + size, 0, xsave_size - size);
		hdr[0] &= sw->xfeatures;
		for (int i = 1; i < FP_HEADER_SIZE / 8; i++)
			if (hdr[i])
				goto bad;
		if (hdr[0] & ~xsave_mask)
			goto bad;
	} else {
		hdr[0] = XSTATE_FPSSE; /* only the legacy part, as FXSAVE writes it */
	}
	if (*(u32 *)(xs + FP_MXCSR) & ~mxcsr_mask())
		goto bad;
	return true;
bad:
	reset_xstate(ut);
	return false;
}

/* The stack pointer from which the frame grows down; 0: it would run off the alternate stack. */
static u64 frame_start(const struct trapframe *tf, const struct ksigaction *action, u64 *fp)
{
	const struct sigaltstack_k *as = &current()->sig.altstack;
	bool nested = on_altstack(as, tf->rsp), entering = false;
	u64 sp = tf->rsp - RED_ZONE;

	if (action->flags & SA_ONSTACK && as->size && !nested) {
		sp = as->sp + as->size;
		entering = true;
	}
	sp = align_down(sp - fpstate_size(), 64ull);
	*fp = sp;
	sp = align_down(sp - sizeof(struct rt_sigframe), 16ull) - 8;
	if ((nested || entering) && !(sp > as->sp && sp - as->sp <= as->size))
		return 0;
	return sp;
}

/* How rip is to be shown; see the top of this file. */
static void save_rip(struct sigcontext_k *mc, const struct trapframe *tf,
		     const struct sigframe_request *rq)
{
	u64 shown = mm_translate_site(current_proc()->mm, tf->rip, true);

	mc->rax = tf->rax;
	if (rq->restart) {
		shown -= SYSCALL_INSN_LEN;
		mc->rax = tf->orig_rax;
	}
	mc->rip = shown;
	if (rq->restart || shown != tf->rip) {
		mc->mark = SIGFRAME_MARK | (rq->restart ? SIGFRAME_RESTART : 0);
		mc->shown_rip = shown;
		mc->real_rip = tf->rip;
	}
}

bool signal_setup_frame(struct trapframe *tf, const struct sigframe_request *rq)
{
	struct uthread *ut = current();
	struct sigaltstack_k *as = &ut->sig.altstack;
	struct rt_sigframe f;
	u64 fp, sp = frame_start(tf, rq->action, &fp);
	size_t len = sizeof(f);

	/* Linux demands a restorer on this architecture */
	if (!sp || !(rq->action->flags & SA_RESTORER) || !save_fpstate(ut, fp))
		return false;
	f.pretcode = rq->action->restorer;
	f.uc = (struct ucontext_k){
		.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS_K | UC_STRICT_RESTORE_SS_K,
		.stack = { .sp = as->sp, .flags = as->flags, .size = as->size },
		.mc = {
			.r8 = tf->r8, .r9 = tf->r9, .r10 = tf->r10, .r11 = tf->r11,
			.r12 = tf->r12, .r13 = tf->r13, .r14 = tf->r14, .r15 = tf->r15,
			.rdi = tf->rdi, .rsi = tf->rsi, .rbp = tf->rbp, .rbx = tf->rbx,
			.rdx = tf->rdx, .rcx = tf->rcx, .rsp = tf->rsp, .eflags = tf->eflags,
			.cs = USER_CS, .ss = USER_SS,
			.err = ut->trap_err, .trapno = ut->trap_no, .cr2 = ut->trap_cr2,
			.oldmask = rq->mask, .fpstate = fp,
		},
		.sigmask = rq->mask,
	};
	save_rip(&f.uc.mc, tf, rq);
	if (rq->action->flags & SA_SIGINFO)
		f.info = *rq->info;
	else
		len = offsetof(struct rt_sigframe, info);
	if (copy_to_user((void *)sp, &f, len))
		return false;
	if (as->flags & SS_AUTODISARM)
		*as = (struct sigaltstack_k){ .flags = SS_DISABLE };
	tf->rdi = rq->sig;
	tf->rax = 0;
	tf->rsi = sp + offsetof(struct rt_sigframe, info);
	tf->rdx = sp + offsetof(struct rt_sigframe, uc);
	tf->rip = rq->action->handler;
	tf->rsp = sp;
	tf->cs = USER_CS;
	tf->ss = USER_SS;
	tf->eflags &= ~(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
	uthread_set_work(ut, UT_WORK_FULL);
	return true;
}

/* iretq faults inside the library OS on such an address; the program gets its fault where it
 * belongs. */
static u64 canonical_rip(u64 rip)
{
	s64 top = (s64)rip >> 47;

	return top == 0 || top == -1 ? rip : USER_ADDR_MAX;
}

static long bad_frame(struct uthread *ut)
{
	struct siginfo_k info = { .signo = SIGSEGV, .code = SI_CODE_KERNEL };

	signal_force(ut, &info);
	return 0;
}

long sys_rt_sigreturn(void)
{
	struct uthread *ut = current();
	struct trapframe *tf = uthread_tf(ut);
	u64 frame = tf->rsp - offsetof(struct rt_sigframe, uc);
	struct sigcontext_k *mc;
	struct ucontext_k uc;

	tf->orig_rax = (u64)-1;
	if (copy_from_user(&uc, (void *)(frame + offsetof(struct rt_sigframe, uc)), sizeof(uc)))
		return bad_frame(ut);
	signal_set_blocked(uc.sigmask);
	mc = &uc.mc;
	ut->restart_fn = NULL;
	*tf = (struct trapframe){
		.r8 = mc->r8,
		.r9 = mc->r9,
		.r10 = mc->r10,
		.r11 = mc->r11,
		.r12 = mc->r12,
		.r13 = mc->r13,
		.r14 = mc->r14,
		.r15 = mc->r15,
		.rdi = mc->rdi,
		.rsi = mc->rsi,
		.rbp = mc->rbp,
		.rbx = mc->rbx,
		.rdx = mc->rdx,
		.rax = mc->rax,
		.rcx = mc->rcx,
		.rsp = mc->rsp,
		.rip = canonical_rip(mc->rip),
		.cs = USER_CS,
		.ss = USER_SS,
		.orig_rax = (u64)-1,
		.eflags = (tf->eflags & ~EFLAGS_USER) | (mc->eflags & EFLAGS_USER),
	};
	uthread_set_work(ut, UT_WORK_FULL);
	if (!restore_fpstate(ut, mc->fpstate))
		return bad_frame(ut);
	altstack_set(&uc.stack, tf->rsp); /* what Linux does with an error here: nothing */
	if ((mc->mark & ~SIGFRAME_RESTART) == SIGFRAME_MARK && mc->rip == mc->shown_rip) {
		tf->rip = canonical_rip(mc->real_rip);
		if (mc->mark & SIGFRAME_RESTART && mc->rax != NR_RT_SIGRETURN) {
			tf->orig_rax = mc->rax;
			return signal_restart_syscall(tf);
		}
	} else {
		/* Code in the original that was moved into a trampoline is there now. */
		tf->rip = mm_translate_site(ut->proc->mm, tf->rip, false);
	}
	return tf->rax;
}
