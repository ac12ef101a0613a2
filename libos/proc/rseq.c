/*
 * rseq.c - restartable sequences, rseq(2): cpu numbers in user memory, and aborting critical
 * sections.
 */
#include <linux/rseq.h>

#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define RSEQ_ORIG_SIZE 32 /* and what AT_RSEQ_FEATURE_SIZE does not extend here */

/* Member of the registered struct rseq, as a user address. */
#define FIELD(ut, f) ((void *)((ut)->rseq.uaddr + offsetof(struct rseq, f)))

static bool write_cpu(struct uthread *ut, u32 cpu_start, u32 cpu)
{
	return !put_user_u32(cpu_start, FIELD(ut, cpu_id_start)) &&
	       !put_user_u32(cpu, FIELD(ut, cpu_id));
}

/* If rip stands in the critical section that is announced, go to its abort handler. False: bad
 * pointers. */
static bool abort_section(struct uthread *ut, struct trapframe *tf)
{
	struct rseq_cs cs;
	u64 ptr;
	u32 sig;

	if (get_user_u64(&ptr, FIELD(ut, rseq_cs)))
		return false;
	if (!ptr)
		return true;
	if (copy_from_user(&cs, (void *)ptr, sizeof(cs)))
		return false;
	if (cs.version || cs.start_ip + cs.post_commit_offset < cs.start_ip ||
	    cs.start_ip + cs.post_commit_offset >= USER_ADDR_MAX || cs.abort_ip >= USER_ADDR_MAX ||
	    cs.abort_ip - cs.start_ip < cs.post_commit_offset)
		return false;
	if (get_user_u32(&sig, (void *)(cs.abort_ip - sizeof(u32))) || sig != ut->rseq.sig)
		return false;
	/* Left behind or aborted: either way it is over. */
	if (put_user_u64(0, FIELD(ut, rseq_cs)))
		return false;
	if (tf->rip - cs.start_ip < cs.post_commit_offset) {
		tf->rip = cs.abort_ip;
		uthread_set_work(ut, UT_WORK_FULL);
	}
	return true;
}

void rseq_exit_work(struct trapframe *tf)
{
	struct uthread *ut = current();
	struct siginfo_k info = { .signo = SIGSEGV, .code = 0x80 /* SI_KERNEL */ };
	u32 cpu = this_kthread()->id;

	if (!ut->rseq.uaddr)
		return;
	if (!abort_section(ut, tf) || !write_cpu(ut, cpu, cpu)) {
		ut->rseq.uaddr = 0;
		signal_force(ut, &info);
	}
}

long sys_rseq(u64 uaddr, u32 len, int flags, u32 sig)
{
	struct uthread *ut = current();
	struct rseq_state *r = &ut->rseq;

	if (flags & RSEQ_FLAG_UNREGISTER) {
		if (flags & ~RSEQ_FLAG_UNREGISTER || r->uaddr != uaddr || !r->uaddr ||
		    len != r->len)
			return -EINVAL;
		if (r->sig != sig)
			return -EPERM;
		if (!write_cpu(ut, 0, (u32)RSEQ_CPU_ID_UNINITIALIZED))
			return -EFAULT;
		r->uaddr = 0;
		return 0;
	}
	if (flags)
		return -EINVAL;
	if (r->uaddr) {
		if (r->uaddr != uaddr || r->len != len)
			return -EINVAL;
		return r->sig != sig ? -EPERM : -EBUSY;
	}
	if (uaddr % RSEQ_ORIG_SIZE || len != RSEQ_ORIG_SIZE)
		return -EINVAL;
	if (!access_ok(uaddr, len))
		return -EFAULT;
	*r = (struct rseq_state){ .uaddr = uaddr, .len = len, .sig = sig };
	uthread_set_work(ut, UT_WORK_RSEQ);
	return 0;
}
