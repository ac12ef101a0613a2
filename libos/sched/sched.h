/*
 * sched.h - what boot and the exit path need of the scheduler; the rest is in uthread.h.
 */
#ifndef LIBOS_SCHED_SCHED_H
#define LIBOS_SCHED_SCHED_H

#include "libos/sched/uthread.h"

/* entry.S */
void uthread_switch(u64 *save_ksp, u64 new_ksp);
void uthread_begin(void);
void uthread_finish_switch(void);
void syscall_entry(void);

void sched_init(const struct control_boot *boot);
/* entry/boot.c: fills the %gs block of kthread `id` and its idle context. */
void kthread_init(struct kthread *kt, u32 id);
/* A uthread of proc that runs fn(arg) inside the library OS and then goes to user mode. */
struct uthread *uthread_create_in(struct proc *proc, void (*fn)(void *), void *arg);

void kthread_poll(struct kthread *kt);
void kthread_resched(struct kthread *kt);
/* Arms the host timer for this kthread's first timer. */
void kthread_arm_timers(void);
noreturn void idle_loop(struct kthread *kt);
/* A kthread other than the first joins. */
noreturn void kthread_begin(struct kthread *kt);
/* Adds up the counters of the kthreads in control.stats; at the end of the instance. */
void sched_publish_stats(void);
/* TSC cycles, as uthread.cpu_ns counts, to ns. */
u64 cycles_to_ns(u64 c);

/* fs/stdio.c: the supervisor may have moved the standard streams. */
void stdio_kick(void);

#endif
