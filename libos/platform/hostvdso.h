/*
 * hostvdso.h - functions of the host's vDSO, found at boot; they make no system call for the common clocks.
 */
#ifndef LIBOS_PLATFORM_HOSTVDSO_H
#define LIBOS_PLATFORM_HOSTVDSO_H

#include "libos/lib/types.h"

struct host_vdso {
	int (*clock_gettime)(int clock, void *timespec);
	void *gettimeofday, *time, *clock_getres;
};
extern struct host_vdso host_vdso;

/* Reads the dynamic symbols of the ELF file at `base`. False if clock_gettime is not there. */
bool host_vdso_init(u64 base);

#endif
