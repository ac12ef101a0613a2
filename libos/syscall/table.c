/*
 * table.c - the dispatch table, made from table.txt; and the answer to calls that nobody serves.
 */
#include "libos/syscall/syscall.h"

#include "libos/abi/control.h"
#include "libos/entry/trapframe.h"
#include "syscall_table_gen.h"

static syscall_fn declared[NR_SYSCALLS] = {
	SYSCALL_TABLE_INIT
};
syscall_fn syscall_table[NR_SYSCALLS];

const struct syscall_info syscall_info[NR_SYSCALLS] = { SYSCALL_INFO_INIT };

static long syscall_unknown(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;

	__atomic_fetch_add(&ctl->stats.syscalls_unknown, 1, __ATOMIC_RELAXED);
	return -ENOSYS;
}

void syscall_table_init(void)
{
	for (int i = 0; i < NR_SYSCALLS; i++)
		syscall_table[i] = declared[i] ? declared[i] : syscall_unknown;
}

void syscall_dispatch(struct trapframe *tf)
{
	u64 nr = tf->orig_rax;

	if (nr >= NR_SYSCALLS)
		tf->rax = syscall_unknown(0, 0, 0, 0, 0, 0);
	else
		tf->rax = syscall_table[nr](tf->rdi, tf->rsi, tf->rdx, tf->r10, tf->r8, tf->r9);
}
