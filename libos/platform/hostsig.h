/*
 * hostsig.h - host signals: faults and traps of the application, faults in usercopy, kicks.
 */
#ifndef LIBOS_PLATFORM_HOSTSIG_H
#define LIBOS_PLATFORM_HOSTSIG_H

#include "libos/lib/types.h"

#define ALTSTACK_SIZE 32768ul

struct trapframe;

/* entry/trap.c: current() was interrupted in application code; its siginfo is in current()->trap_info. */
void trap_user(struct trapframe *tf);

#endif
