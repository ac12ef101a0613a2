/*
 * xstate.h - the vector state of uthreads: saved when one is switched away, loaded on its way to user mode.
 */
#ifndef LIBOS_SCHED_XSTATE_H
#define LIBOS_SCHED_XSTATE_H

#include "libos/sched/uthread.h"

#define XSTATE_UNKNOWN (~0ull)
#define XSTATE_HEADER 512 /* offset of XSTATE_BV in an XSAVE image */

void xstate_init(void);
/* Writes the registers to an image in the standard format. */
void xstate_save(u8 *area);
/* An image of the initial state. */
void uthread_init_xstate(u8 *area);
/* Loads ut->xsave into the registers of this kthread. */
void uthread_restore_xstate(struct uthread *ut);

/* Which components an image holds that are not in their initial state. */
static inline u64 xstate_bv(const u8 *area)
{
	return *(const u64 *)(area + XSTATE_HEADER);
}

#endif
