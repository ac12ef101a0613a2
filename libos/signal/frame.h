/*
 * frame.h - the signal frame of x86-64 Linux, byte for byte: libc, unwinders and run-times read it.
 */
#ifndef LIBOS_SIGNAL_FRAME_H
#define LIBOS_SIGNAL_FRAME_H

#include <asm/sigcontext.h>

#include "libos/signal/sigtypes.h"

/* struct sigcontext_64 */
struct sigcontext_k {
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2;
	u64 fpstate; /* user address of the vector state, or 0 */
	/*
	 * Linux reserves eight words and never writes them. Ours (see frame.c): how to go on if rip
	 * is still the one that the handler was shown.
	 */
	u64 mark; /* SIGFRAME_MARK | flags, or 0 */
	u64 shown_rip;
	u64 real_rip;
	u64 reserved[5];
};
_Static_assert(sizeof(struct sigcontext_k) == sizeof(struct sigcontext), "sigcontext");
_Static_assert(offsetof(struct sigcontext_k, rip) == offsetof(struct sigcontext, rip),
	       "sigcontext");
_Static_assert(offsetof(struct sigcontext_k, cr2) == offsetof(struct sigcontext, cr2),
	       "sigcontext");
_Static_assert(offsetof(struct sigcontext_k, fpstate) == offsetof(struct sigcontext, fpstate),
	       "sigcontext");
_Static_assert(offsetof(struct sigcontext_k, mark) == offsetof(struct sigcontext, reserved1),
	       "sigcontext");

#define SIGFRAME_MARK 0x4b52414d4a00ull
#define SIGFRAME_RESTART 1ull /* sigreturn makes system call rax again */

struct ucontext_k {
	u64 flags, link;
	struct sigaltstack_k stack;
	struct sigcontext_k mc;
	ksigset_t sigmask;
};

struct rt_sigframe {
	u64 pretcode;
	struct ucontext_k uc;
	struct siginfo_k info;
};
_Static_assert(offsetof(struct rt_sigframe, uc) == 8, "unwinders find the ucontext there");
_Static_assert(offsetof(struct ucontext_k, mc) == 40, "ucontext");
_Static_assert(offsetof(struct ucontext_k, sigmask) == 296, "ucontext");
_Static_assert(sizeof(struct rt_sigframe) == 440, "rt_sigframe");

#ifndef UC_FP_XSTATE
#define UC_FP_XSTATE 1
#endif
#define UC_SIGCONTEXT_SS_K 2
#define UC_STRICT_RESTORE_SS_K 4

/* Where things are in the vector state (struct _fpstate, struct _xstate of asm/sigcontext.h). */
#define FP_MXCSR 24
#define FP_MXCSR_MASK 28
#define FP_SW 464
#define FP_LEGACY_SIZE 512
#define FP_HEADER_SIZE 64
_Static_assert(sizeof(struct _fpstate) == FP_LEGACY_SIZE, "fpstate");
_Static_assert(offsetof(struct _fpstate, mxcsr) == FP_MXCSR, "fpstate");
_Static_assert(offsetof(struct _fpstate, sw_reserved) == FP_SW, "fpstate");

#endif
