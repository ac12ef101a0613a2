/*
 * hostcall.h - the host system calls of the library OS; the list is libos/abi/hostcalls.h.
 *
 * Each returns what the host returned: a value or -errno. Nothing else in libos executes a system call.
 */
#ifndef LIBOS_PLATFORM_HOSTCALL_H
#define LIBOS_PLATFORM_HOSTCALL_H

#include "libos/lib/types.h"

struct host_itimerspec {
	struct {
		s64 sec, nsec;
	} interval, value;
};

/* Always MAP_FIXED; fd is -1 with MAP_ANONYMOUS, or one of CTL_FD_*. Returns addr or -errno. */
long host_mmap(u64 addr, u64 len, int prot, int flags, int fd, u64 off);
long host_munmap(u64 addr, u64 len);
long host_mprotect(u64 addr, u64 len, int prot);
long host_madvise(u64 addr, u64 len, int advice);
/* MREMAP_MAYMOVE | MREMAP_FIXED to new_addr. */
long host_mremap(u64 addr, u64 old_len, u64 new_len, int flags, u64 new_addr);
/* Sleeps while *word == expected, until deadline_ns (CLOCK_MONOTONIC, NEVER: no limit). */
long host_futex_wait(u32 *word, u32 expected, u64 deadline_ns, bool shared);
long host_futex_wake(u32 *word, int n, bool shared);
/* Sends CTL_KICK_SIGNAL to the kthread with that host tid. */
long host_kick(u32 host_tid);
/* Arms POSIX timer `id` at deadline_ns (absolute, CLOCK_MONOTONIC), then every interval_ns; 0 disarms. */
long host_timer_arm(int id, u64 deadline_ns, u64 interval_ns);
noreturn void host_exit(int status);

/* CLOCK_* through the host's vDSO, in ns; no system call. */
u64 host_clock_ns(int clock);

#endif
