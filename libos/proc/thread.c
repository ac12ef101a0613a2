/*
 * thread.c - what a thread tells the system about itself: FS base, clear_child_tid, robust list.
 */
#include <asm/prctl.h>

#include "libos/abi/layout.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"

#ifndef ARCH_GET_XCOMP_SUPP
#define ARCH_GET_XCOMP_SUPP 0x1021
#define ARCH_GET_XCOMP_PERM 0x1022
#endif

void thread_set_fsbase(u64 base)
{
	current()->fsbase = base;
	__builtin_ia32_wrfsbase64(base);
}

u64 thread_get_fsbase(void)
{
	u64 base = __builtin_ia32_rdfsbase64();

	return base == LIBOS_FS_LOST ? current()->fsbase : base;
}

/*
 * arch_prctl(2). %gs belongs to the library OS: a program that wants it is told so (EPERM), which
 * Linux answers for addresses outside user space.
 */
long sys_arch_prctl(int op, u64 arg)
{
	switch (op) {
	case ARCH_SET_FS:
		if (arg >= USER_ADDR_MAX)
			return -EPERM;
		thread_set_fsbase(arg);
		return 0;
	case ARCH_GET_FS:
		return put_user_u64(thread_get_fsbase(), (void *)arg);
	case ARCH_SET_GS:
		return arg ? -EPERM : 0;
	case ARCH_GET_GS:
		return put_user_u64(0, (void *)arg);
	case ARCH_GET_CPUID:
		return 1;
	case ARCH_SET_CPUID:
		return -ENODEV;
	case ARCH_GET_XCOMP_SUPP:
	case ARCH_GET_XCOMP_PERM:
		return put_user_u64(xsave_mask, (void *)arg);
	}
	return -EINVAL;
}

long sys_set_tid_address(u64 tidptr)
{
	current()->clear_child_tid = tidptr;
	return current()->tid;
}

#define ROBUST_LIST_HEAD_SIZE 24

long sys_set_robust_list(u64 head, size_t len)
{
	if (len != ROBUST_LIST_HEAD_SIZE)
		return -EINVAL;
	current()->robust_list = head;
	return 0;
}

long sys_get_robust_list(int tid, u64 uhead, u64 ulen)
{
	struct uthread *ut;
	u64 head;

	if (tid) {
		ut = uthread_find(tid);
		if (!ut)
			return -ESRCH;
		head = ut->robust_list;
		uthread_put(ut);
	} else {
		head = current()->robust_list;
	}
	if (put_user_u64(ROBUST_LIST_HEAD_SIZE, (void *)ulen))
		return -EFAULT;
	return put_user_u64(head, (void *)uhead);
}
