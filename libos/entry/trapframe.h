/*
 * trapframe.h - the application's registers while the library OS serves it.
 *
 * The frame stands at the top of the uthread's libOS stack, laid out as Linux's struct pt_regs, so
 * that its tail (rip, cs, eflags, rsp, ss) is what iretq pops. entry.S knows these offsets.
 */
#ifndef LIBOS_ENTRY_TRAPFRAME_H
#define LIBOS_ENTRY_TRAPFRAME_H

#include "libos/lib/types.h"

#define USER_CS 0x33
#define USER_SS 0x2b

struct trapframe {
	u64 r15, r14, r13, r12, rbp, rbx;
	u64 r11, r10, r9, r8;
	u64 rax, rcx, rdx, rsi, rdi;
	u64 orig_rax; /* system call number, or -1: not in a system call */
	u64 rip, cs, eflags, rsp, ss;
};
_Static_assert(sizeof(struct trapframe) == 168, "entry.S pushes 21 words");

#define TF_SYSCALL_NR(tf) ((s32)(tf)->orig_rax)

#endif
