/*
 * stub.S - the last instructions of the loader: starts kthreads and enters the library OS.
 *
 * The main thread unmaps the loader's memory as soon as it runs in the libOS, perhaps before another
 * kthread has run at all. So the code that a kthread executes stands in a page of its own inside the
 * reserved window, which the libOS leaves alone, and touches no memory of the loader after it has set
 * `arrived`, for which the main thread waits. C code cannot run here: %fs, with which it finds its
 * thread-local variables, is set to nowhere (libos/abi/control.h).
 *
 * The library OS is part of the image, so none of its code may run before the filter is on for every
 * thread: an unfiltered thread shares its memory with all others. A kthread therefore waits here until its
 * park word is not zero. Only the libOS of the main thread changes that, and it runs behind the filter.
 * A kthread that comes to its wait so late that the filter is on gets SIGSYS, whose handler enters the libOS.
 *
 * The page lies outside the libOS text: a system call from here is trapped once the filter is on.
 */
#include <asm/prctl.h>
#include <asm/unistd.h>

/* linux/seccomp.h, which the assembler cannot read */
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_FILTER_FLAG_TSYNC 1

/* struct loader_kthread */
#define K_ALTSTACK 0
#define K_INDEX 24
#define K_ENTRY 32
#define K_STACK_TOP 40
#define K_GS_BASE 48
#define K_ARRIVED 56
#define K_ERROR 60
#define K_PARK 64

	/* A page of its own: the child moves it to LOADER_STUB_BASE. */
	.section .text.loader_stub, "ax", @progbits
	.balign	4096
	.globl loader_stub_start, loader_stub_end, loader_stub_clone, loader_stub_enter
	.hidden loader_stub_start, loader_stub_end, loader_stub_clone, loader_stub_enter

loader_stub_start:

/*
 * long clone(unsigned long flags, struct loader_kthread *k)
 * Returns the new thread's id or -errno to the caller; the new thread never returns.
 */
loader_stub_clone:
	pushq	%rbx
	movq	%rsi, %rbx
	movq	K_STACK_TOP(%rbx), %rsi
	xorl	%edx, %edx
	xorl	%r10d, %r10d
	xorl	%r8d, %r8d
	movl	$__NR_clone, %eax
	syscall
	testq	%rax, %rax
	jz	1f
	popq	%rbx
	ret
1:	call	prepare
	testl	%eax, %eax
	js	4f
	movq	K_INDEX(%rbx), %r12
	movq	K_ENTRY(%rbx), %r13
	movq	K_PARK(%rbx), %r14
	movl	$1, K_ARRIVED(%rbx)
	/* Nothing of the loader is touched from here on. */
2:	cmpl	$0, (%r14)
	jne	3f
	movl	$__NR_futex, %eax
	movq	%r14, %rdi
	xorl	%esi, %esi /* FUTEX_WAIT, shared */
	xorl	%edx, %edx
	xorl	%r10d, %r10d
	syscall
	jmp	2b
3:	movq	%r12, %rdi
	movq	%r13, %rax
	jmp	enter_libos

	/* The main thread sees the error and ends the process. */
4:	movl	%eax, K_ERROR(%rbx)
	movl	$1, K_ARRIVED(%rbx)
5:	movl	$__NR_exit, %eax
	syscall
	jmp	5b

/*
 * void enter(struct loader_kthread *k, const struct sock_fprog *filter)
 * The main thread's way in: the filter, for all threads, is its last system call. Never returns.
 */
loader_stub_enter:
	movq	%rdi, %rbx
	movq	%rsi, %rbp
	movq	K_STACK_TOP(%rbx), %rsp
	call	prepare
	testl	%eax, %eax
	js	4f
	movl	$__NR_seccomp, %eax
	movl	$SECCOMP_SET_MODE_FILTER, %edi
	movl	$SECCOMP_FILTER_FLAG_TSYNC, %esi
	movq	%rbp, %rdx
	syscall
	testq	%rax, %rax
	jnz	4f
	movq	K_INDEX(%rbx), %rdi
	movq	K_ENTRY(%rbx), %rax
	movl	$1, K_ARRIVED(%rbx)
	jmp	enter_libos

	/* A positive result is a thread that could not be brought along. */
4:	movl	%eax, K_ERROR(%rbx)
5:	movl	$127, %edi
	movl	$__NR_exit_group, %eax
	syscall
	jmp	5b

/* Alternate stack and segment bases of the calling thread. %rbx: its struct. Returns 0 or -errno. */
prepare:
	movl	$__NR_sigaltstack, %eax
	leaq	K_ALTSTACK(%rbx), %rdi
	xorl	%esi, %esi
	syscall
	testl	%eax, %eax
	js	6f
	movl	$__NR_arch_prctl, %eax
	movl	$ARCH_SET_GS, %edi
	movq	K_GS_BASE(%rbx), %rsi
	syscall
	testl	%eax, %eax
	js	6f
	movl	$__NR_arch_prctl, %eax
	movl	$ARCH_SET_FS, %edi
	movabsq	$0x48c000000000, %rsi /* LIBOS_FS_LOST, without C's suffix */
	syscall
6:	ret

enter_libos:
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%ebp, %ebp
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	cld
	jmp	*%rax

loader_stub_end:
	.balign	4096
	.section .note.GNU-stack, "", @progbits
