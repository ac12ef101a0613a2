/*
 * flagnames.h - names of flag bits and signals, for strace.c.
 */
#ifndef LIBOS_SYSCALL_FLAGNAMES_H
#define LIBOS_SYSCALL_FLAGNAMES_H

#include "libos/lib/types.h"

/*
 * Appends the value v of argument `arg` (of type flags) of a call at buf + pos: names where the call
 * is known, else hexadecimal. Returns the new pos.
 */
size_t put_flag_names(char *buf, size_t size, size_t pos, const char *call, int arg, u64 v);
/* "SIGTERM", "SIGRT_3" (SIGRTMIN + 3 of the kernel), "SIGRT_n" for those above, or "SIG?". */
const char *signal_name(u64 sig);

#endif
