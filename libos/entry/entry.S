/*
 * entry.S - the ways into and out of the library OS.
 *
 * In:   syscall_entry        rewritten system call sites: %rcx return address, %r11 scratch, the rest as
 *                            for the SYSCALL instruction
 *       host_signal_entry    host signals, on the alternate stack of the kthread
 *       libos_entry          a kthread begins
 * Out:  exit_fast            to the instruction behind a system call: caller-saved registers, jmp
 *       exit_full            every register, with iretq: after signals, preemption, for new threads
 *
 * Between the last look at the work flags and user mode a kick must not get lost. The kick handler
 * (platform/hostsig.c) sends a kthread that it finds in one of the two windows [exit_fast_start, exit_fast_end),
 * [exit_full_start, exit_full_end) back to exit_restart. All state that a restart needs is in the trapframe.
 */
#define GS_ENTRY 8
#define GS_CURRENT 16
#define GS_KSTACK 24
#define GS_USER_RSP 32
#define GS_WORK 40
#define GS_NR_SYSCALLS 80
#define GS_TRACE 88

#define UT_WORK 0
#define UT_KSP 8

#define TF_RBX 40
#define TF_R11 48
#define TF_R10 56
#define TF_R9 64
#define TF_R8 72
#define TF_RAX 80
#define TF_RDX 96
#define TF_RSI 104
#define TF_RDI 112
#define TF_ORIG_RAX 120
#define TF_RIP 128
#define TF_EFLAGS 144
#define TF_RSP 152
#define TF_SIZE 168

#define NR_SYSCALLS 512
#define IDLE_STACK_SIZE 16384 /* boot.c asserts both */
#define KTHREAD_SIZE 320
#define ENOSYS 38

	.text

	.globl syscall_entry
	.hidden syscall_entry
	.p2align 6
syscall_entry:
	movq %rsp, %gs:GS_USER_RSP
	movq %gs:GS_KSTACK, %rsp
	pushq $0x2b
	pushq %gs:GS_USER_RSP
	pushfq
	pushq $0x33
	pushq %rcx
	pushq %rax
	pushq %rdi
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq $-ENOSYS
	pushq %r8
	pushq %r9
	pushq %r10
	pushq TF_EFLAGS-TF_R10(%rsp) /* r11: the flags, as SYSCALL leaves them */
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	xorl %ebp, %ebp
	cld
	incq %gs:GS_NR_SYSCALLS
	cmpl $0, %gs:GS_TRACE
	jne .Ltraced
	cmpq $NR_SYSCALLS, %rax
	jae .Lunknown
	movq %r10, %rcx
	leaq syscall_table(%rip), %r11
	call *(%r11, %rax, 8)
.Ldone:
	movq %rax, TF_RAX(%rsp)
exit_fast_start:
	cmpl $0, %gs:GS_WORK
	jne exit_slow
	movq %gs:GS_CURRENT, %rcx
	cmpl $0, UT_WORK(%rcx)
	jne exit_slow
	movq TF_RDI(%rsp), %rdi
	movq TF_RSI(%rsp), %rsi
	movq TF_RDX(%rsp), %rdx
	movq TF_R10(%rsp), %r10
	movq TF_R9(%rsp), %r9
	movq TF_R8(%rsp), %r8
	movq TF_R11(%rsp), %r11
	movq TF_RIP(%rsp), %rcx
	/* rbp carried the frame chain of the library OS */
	movq 32(%rsp), %rbp
	pushq TF_EFLAGS(%rsp)
	popfq
	movq TF_RSP(%rsp), %rsp
	jmp *%rcx
exit_fast_end:

.Ltraced:
	movq %rsp, %rdi
	call syscall_dispatch_traced
	movq TF_RAX(%rsp), %rax
	jmp exit_fast_start

.Lunknown:
	movq %rsp, %rdi
	call syscall_dispatch
	movq TF_RAX(%rsp), %rax
	jmp exit_fast_start

	.globl exit_restart
	.hidden exit_restart
exit_restart:
exit_slow:
	movq %rsp, %rdi
	call exit_work /* returns whether every register must be restored */
	testb %al, %al
	jz exit_reload
exit_full_start:
	cmpl $0, %gs:GS_WORK
	jne exit_full_again
	movq %gs:GS_CURRENT, %rcx
	cmpl $0, UT_WORK(%rcx)
	jne exit_full_again
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rax
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
	addq $8, %rsp
	iretq
exit_full_end:
exit_full_again:
	movq %gs:GS_CURRENT, %rcx /* remember UT_WORK_FULL for the next round */
	lock orl $4, UT_WORK(%rcx)
	jmp exit_slow

	/* A system call that went through exit_work: callee-saved registers are in place. */
exit_reload:
	movq TF_RAX(%rsp), %rax
	jmp exit_fast_start

	.globl exit_fast_start, exit_fast_end, exit_full_start, exit_full_end
	.hidden exit_fast_start, exit_fast_end, exit_full_start, exit_full_end

/* void uthread_switch(u64 *save_ksp, u64 new_ksp) */
	.globl uthread_switch
	.hidden uthread_switch
	.p2align 4
uthread_switch:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret

/* First activation of a uthread: r12 function or 0, r13 its argument; then to user mode. */
	.globl uthread_begin
	.hidden uthread_begin
uthread_begin:
	xorl %ebp, %ebp
	call uthread_finish_switch
	testq %r12, %r12
	jz 1f
	movq %r13, %rdi
	call *%r12
1:	jmp exit_slow

/* (signo, siginfo, ucontext) on the alternate stack; the return address is the restorer. */
	.globl host_signal_entry
	.hidden host_signal_entry
	.p2align 4
host_signal_entry:
	xorl %ebp, %ebp
	cld
	subq $8, %rsp
	call hostsig_handle
	addq $8, %rsp
	testq %rax, %rax
	jnz 1f
	ret
1:	movq %rax, %rsp
	movq %rax, %rdi
	call trap_user
	jmp exit_slow

	.globl host_signal_restorer
	.hidden host_signal_restorer
host_signal_restorer:
	movl $15, %eax
	syscall
	ud2

/* A kthread begins: %rdi is its number. Its first stack is that of its idle context. */
	.globl libos_entry
	.hidden libos_entry
libos_entry:
	xorl %ebp, %ebp
	movq %rdi, %rax
	incq %rax
	imulq $IDLE_STACK_SIZE, %rax
	leaq idle_stacks(%rip), %rcx
	leaq (%rcx, %rax), %rsp
	movq %rdi, %rax
	imulq $KTHREAD_SIZE, %rax
	leaq kthreads(%rip), %rcx
	addq %rax, %rcx
	movq %rcx, %gs:0 /* the loader has set the base (control.h) */
	call libos_main
	ud2

	.section .libos_header, "a"
	.quad 0x335244484f4e554a
	.quad host_signal_entry
	.quad host_signal_restorer
	.quad libos_entry
	.quad altstacks
	.quad 32768
	.quad __text_start
	.quad __text_end
	.quad kthreads
	.quad KTHREAD_SIZE

	.section .note.GNU-stack, "", @progbits
