/*
 * hostcalls.h - the host system calls that an instance may make: the whole door to the host (DESIGN D5).
 *
 * The loader generates the seccomp filter from this list and `junction inspect` prints it. Each call is
 * allowed only from the text of the library OS and only with arguments as said here; anything else
 * from there kills the instance, anything from elsewhere traps into the library OS.
 * All threads exist before the filter does: there is no clone, and nothing makes a file descriptor.
 *
 * HOSTCALL(name, argument rule)
 */
#ifndef JUNCTION_ABI_HOSTCALLS_H
#define JUNCTION_ABI_HOSTCALLS_H

#define JUNCTION_HOSTCALLS(HOSTCALL) \
	HOSTCALL(mmap, "MAP_FIXED always; anonymous, or one of the listed fds") \
	HOSTCALL(munmap, "") \
	HOSTCALL(mprotect, "") \
	HOSTCALL(madvise, "DONTNEED, FREE, REMOVE, HUGEPAGE, NOHUGEPAGE, POPULATE_*") \
	HOSTCALL(mremap, "MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP") \
	HOSTCALL(futex, "WAIT_BITSET and WAKE, shared or private") \
	HOSTCALL(tgkill, "own thread group only, the kick signal only") \
	HOSTCALL(timer_settime, "timers that the loader made") \
	HOSTCALL(rt_sigreturn, "") \
	HOSTCALL(exit_group, "")

#endif
