/*
 * membarrier.c - membarrier(2): a memory barrier on every kthread that runs the program.
 *
 * The barrier is a kick: its handler makes locked stores, one of them to the kthread's count of kicks, which
 * therefore says that it ran. A kthread that switches threads meanwhile has passed barriers as well.
 */
#include <linux/membarrier.h>

#include "libos/platform/hostcall.h"
#include "libos/proc/proc.h"
#include "libos/sched/uthread.h"
#include "libos/time/clock.h"

#define SPINS 2000
#define NAP_NS 50000

#define REGISTERS \
	(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED | \
	 MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ)
#define COMMANDS \
	(REGISTERS | MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED | \
	 MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE | \
	 MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ)

static void barrier_on(struct kthread *kt)
{
	u32 *word = &kt->kicks, before = __atomic_load_n(word, __ATOMIC_SEQ_CST);
	struct uthread *ut = READ_ONCE(kt->current);

	if (ut == kt->idle)
		return;
	host_kick(kt->host_tid);
	for (u32 i = 0; __atomic_load_n(word, __ATOMIC_SEQ_CST) == before && READ_ONCE(kt->current) == ut; i++) {
		if (i < SPINS)
			cpu_relax();
		else /* the host runs it later, maybe on this very core */
			host_futex_wait(word, before, clock_monotonic_ns() + NAP_NS, true);
	}
}

static void barrier_everywhere(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i < nr_kthreads; i++)
		if (&kthreads[i] != this_kthread())
			barrier_on(&kthreads[i]);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

long sys_membarrier(int cmd, u32 flags, int cpu)
{
	struct proc *p = current_proc();

	if (flags && !(cmd == MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ && flags == MEMBARRIER_CMD_FLAG_CPU))
		return -EINVAL;
	if (!cmd)
		return COMMANDS;
	if (cmd < 0 || cmd & (cmd - 1) || !(cmd & COMMANDS))
		return -EINVAL;
	if (cmd & REGISTERS) {
		__atomic_fetch_or(&p->membarrier_registered, cmd, __ATOMIC_SEQ_CST);
		return 0;
	}
	/* A private command has its registration one bit above. */
	if (cmd >= MEMBARRIER_CMD_PRIVATE_EXPEDITED && !(p->membarrier_registered & (u64)cmd << 1))
		return -EPERM;
	barrier_everywhere();
	return 0;
}
