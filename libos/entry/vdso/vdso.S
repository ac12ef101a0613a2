/*
 * vdso.S - the vDSO that applications of an instance see: clocks without entering the library OS.
 *
 * Each function jumps to the host's own vDSO function, whose address stands in the per-kthread block at
 * %gs (struct kthread, sched/uthread.h). Where the host has none, it makes the system call by the
 * library OS entry: rcx = return address. Nothing here touches the stack.
 */
#include <asm/unistd_64.h>

#define KT_SYSCALL_ENTRY 8
#define KT_ID 44

	.text
	.macro clock name, slot, nr
	.globl __vdso_\name
	.type __vdso_\name, @function
	.p2align 4
__vdso_\name:
	.cfi_startproc
	movq %gs:\slot, %rax
	testq %rax, %rax
	jz 1f
	jmp *%rax
1:	movl $\nr, %eax
	leaq 2f(%rip), %rcx
	jmp *%gs:KT_SYSCALL_ENTRY
2:	ret
	.cfi_endproc
	.size __vdso_\name, . - __vdso_\name
	.weak \name
	.set \name, __vdso_\name
	.endm

	clock clock_gettime, 48, __NR_clock_gettime
	clock gettimeofday, 56, __NR_gettimeofday
	clock time, 64, __NR_time
	clock clock_getres, 72, __NR_clock_getres

/* int getcpu(unsigned *cpu, unsigned *node): the virtual core, which is the kthread's number. */
	.globl __vdso_getcpu
	.type __vdso_getcpu, @function
	.p2align 4
__vdso_getcpu:
	.cfi_startproc
	testq %rdi, %rdi
	jz 1f
	movl %gs:KT_ID, %eax
	movl %eax, (%rdi)
1:	testq %rsi, %rsi
	jz 2f
	movl $0, (%rsi)
2:	xorl %eax, %eax
	ret
	.cfi_endproc
	.size __vdso_getcpu, . - __vdso_getcpu
	.weak getcpu
	.set getcpu, __vdso_getcpu

	.section .note.GNU-stack, "", @progbits
