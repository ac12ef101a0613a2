/*
 * syscall.h - the dispatch table and what goes with it.
 *
 * A handler is `long sys_NAME(args...)`: arguments arrive in registers as the application gave them, at
 * most six; an int parameter takes the low half, as on Linux. It returns a value or -errno; restart codes
 * (-ERESTARTSYS, ...) are turned into a restart or -EINTR by the signal code on the way out.
 */
#ifndef LIBOS_SYSCALL_SYSCALL_H
#define LIBOS_SYSCALL_SYSCALL_H

#include "libos/lib/types.h"

#define NR_SYSCALLS 512

typedef long (*syscall_fn)(u64, u64, u64, u64, u64, u64);

struct syscall_info {
	const char *name;
	const char *args; /* types as in table.txt */
	int nr_args;
};

extern syscall_fn syscall_table[NR_SYSCALLS];
void syscall_table_init(void);
extern const struct syscall_info syscall_info[NR_SYSCALLS];

struct trapframe;
/* For traps and tracing: does the call of tf->orig_rax and stores the result in tf->rax. */
void syscall_dispatch(struct trapframe *tf);
/* strace.c: the same with a line to the log ring before or after it. */
void syscall_dispatch_traced(struct trapframe *tf);
struct siginfo_k;
/* A line about a signal that current() takes; what becomes of it. */
void strace_signal(const struct siginfo_k *info, const char *what);

#endif
