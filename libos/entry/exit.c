/*
 * exit.c - the way to user mode when there is work to do, and traps of the application.
 */
#include <linux/audit.h>

#include "libos/lib/printf.h"
#include "libos/mm/mm.h"
#include "libos/platform/hostsig.h"
#include "libos/proc/proc.h"
#include "libos/sched/sched.h"
#include "libos/sched/xstate.h"
#include "libos/signal/signal.h"
#include "libos/syscall/syscall.h"

#define X32_BIT 0x40000000

/*
 * Called by entry.S on the uthread's libOS stack until nothing is left to do. Returns true if every
 * register must be restored from tf; false: those that a system call clobbers are enough.
 */
bool exit_work(struct trapframe *tf)
{
	struct uthread *ut = current();
	bool full = false;

	for (;;) {
		struct kthread *kt = this_kthread();
		u32 work;

		if (READ_ONCE(kt->work)) {
			kthread_poll(kt);
			kthread_resched(this_kthread());
			continue;
		}
		work = __atomic_load_n(&ut->work, __ATOMIC_SEQ_CST);
		if (!work)
			return full;
		if (work & UT_WORK_FULL) {
			uthread_clear_work(ut, UT_WORK_FULL);
			full = true;
		}
		if (work & UT_WORK_EXIT)
			thread_exit(0);
		if (work & UT_WORK_SIGNAL) {
			signal_deliver(tf);
			continue;
		}
		if (work & UT_WORK_RSEQ) {
			uthread_clear_work(ut, UT_WORK_RSEQ);
			rseq_exit_work(tf);
			continue;
		}
		/* Last, because all of the above may switch to another uthread. */
		if (work & UT_WORK_XRSTOR) {
			uthread_restore_xstate(ut);
			uthread_clear_work(ut, UT_WORK_XRSTOR);
		}
	}
}

static void trap_syscall(struct uthread *ut, struct trapframe *tf)
{
	const struct siginfo_k *info = &ut->trap_info;

	this_kthread()->nr_traps++;
	if (info->sys.arch != AUDIT_ARCH_X86_64 || info->sys.syscall & X32_BIT) {
		tf->rax = -ENOSYS;
		return;
	}
	tf->orig_rax = (u32)info->sys.syscall;
	tf->rax = -ENOSYS;
	if (this_kthread()->trace)
		syscall_dispatch_traced(tf);
	else
		syscall_dispatch(tf);
}

void trap_user(struct trapframe *tf)
{
	struct uthread *ut = current();
	struct siginfo_k *info = &ut->trap_info;

	switch (info->signo) {
	case CTL_KICK_SIGNAL:
		return; /* kthread.work says what for */
	case SIGSYS:
		trap_syscall(ut, tf);
		return;
	case SIGSEGV:
	case SIGBUS:
		__atomic_fetch_add(&((struct control *)LIBOS_CONTROL_BASE)->stats.page_faults, 1, __ATOMIC_RELAXED);
		/* What the host knows of our mappings is not what the application knows of its own. */
		if (info->code > 0 && info->code < 0x80) {
			u64 addr = info->fault.addr;

			info->code = mm_classify_fault(ut->proc->mm, addr, &info->signo);
			if (!info->signo)
				return; /* there is memory now */
		}
		break;
	}
	signal_force(ut, info);
}
