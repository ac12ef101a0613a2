/*
 * hostcall.c - the host system calls of the library OS, and the host's clock through its vDSO.
 */
#include "libos/platform/hostcall.h"

#include <asm/mman.h>
#include <asm/unistd_64.h>
#include <linux/futex.h>

#include "libos/abi/control.h"
#include "libos/lib/printf.h"
#include "libos/platform/hostvdso.h"
#include "libos/sched/uthread.h"

static inline long host_syscall6(long nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;
	long ret;

	this_kthread()->nr_host_calls++;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

long host_mmap(u64 addr, u64 len, int prot, int flags, int fd, u64 off)
{
	return host_syscall6(__NR_mmap, addr, len, prot, flags | MAP_FIXED, fd, off);
}

long host_munmap(u64 addr, u64 len)
{
	return host_syscall6(__NR_munmap, addr, len, 0, 0, 0, 0);
}

long host_mprotect(u64 addr, u64 len, int prot)
{
	return host_syscall6(__NR_mprotect, addr, len, prot, 0, 0, 0);
}

long host_madvise(u64 addr, u64 len, int advice)
{
	return host_syscall6(__NR_madvise, addr, len, advice, 0, 0, 0);
}

long host_mremap(u64 addr, u64 old_len, u64 new_len, int flags, u64 new_addr)
{
	return host_syscall6(__NR_mremap, addr, old_len, new_len, flags, new_addr, 0);
}

long host_futex_wait(u32 *word, u32 expected, u64 deadline_ns, bool shared)
{
	struct {
		s64 sec, nsec;
	} ts = { deadline_ns / NSEC_PER_SEC, deadline_ns % NSEC_PER_SEC };

	return host_syscall6(__NR_futex, (u64)word,
			     FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG), expected,
			     deadline_ns == NEVER ? 0 : (u64)&ts, 0, FUTEX_BITSET_MATCH_ANY);
}

long host_futex_wake(u32 *word, int n, bool shared)
{
	return host_syscall6(__NR_futex, (u64)word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG), n,
			     0, 0, 0);
}

long host_kick(u32 host_tid)
{
	/* The instance is the first process of its pid namespace; its main thread is kthread 0. */
	return host_syscall6(__NR_tgkill, kthreads[0].host_tid, host_tid, CTL_KICK_SIGNAL, 0, 0, 0);
}

long host_timer_arm(int id, u64 deadline_ns, u64 interval_ns)
{
	struct host_itimerspec its = {
		.interval = { interval_ns / NSEC_PER_SEC, interval_ns % NSEC_PER_SEC },
		.value = { deadline_ns / NSEC_PER_SEC, deadline_ns % NSEC_PER_SEC },
	};

	return host_syscall6(__NR_timer_settime, id, 1 /* TIMER_ABSTIME */, (u64)&its, 0, 0, 0);
}

void host_exit(int status)
{
	for (;;)
		host_syscall6(__NR_exit_group, status, 0, 0, 0, 0, 0);
}
