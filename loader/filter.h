/*
 * filter.h - the seccomp program of an instance, generated from libos/abi/hostcalls.h.
 */
#ifndef JUNCTION_LOADER_FILTER_H
#define JUNCTION_LOADER_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_MAX 256 /* instructions; the kernel's own limit is 4096 */

/*
 * Writes the filter for a libOS whose text is [text_start, text_end) into prog, which has room for
 * `max` instructions. Descriptors from CTL_FD_IMAGE to last_fd may be mapped. Returns the length, or -EINVAL when the range is empty or crosses a 4 GiB
 * boundary, or -ENOSPC. A pure function: the same arguments give the same program.
 *
 * What the program answers (seccomp(2)):
 *   - a call by another architecture's numbers (int 0x80) or an x32 number: SECCOMP_RET_TRAP
 *   - a call whose instruction pointer is outside the libOS text: SECCOMP_RET_TRAP
 *   - a listed call from the libOS text whose arguments obey its rule: SECCOMP_RET_ALLOW
 *   - any other call from the libOS text: SECCOMP_RET_KILL_PROCESS
 */
int filter_build(uint64_t text_start, uint64_t text_end, int last_fd, struct sock_filter *prog, size_t max);

#endif
