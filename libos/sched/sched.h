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
/* A uthread that is ready, off its queue; NULL: none. */
struct uthread *sched_pick(struct kthread *kt);
/* Makes what the scheduler process sees of the run queue (ctl_kthread.runnable) what it is. */
void sched_publish_runnable(struct kthread *kt);
/* From the idle context to next. */
void sched_run(struct kthread *kt, struct uthread *next);

/* park.c */
void park_init(void);
noreturn void idle_loop(struct kthread *kt);
/* A kthread other than the first joins. */
noreturn void kthread_begin(struct kthread *kt);
extern u32 nr_parked; /* kthreads that do not run, about */
/* Work waits that a kthread more could do: wakes a parked one, or asks for a core for it. */
void wake_sibling(void);
/* The handler of a kick, on the kthread that was kicked; code: si_code. */
void park_kicked(struct kthread *kt, int code);
/* Does a scheduler say who runs (struct ctl_sched)? */
bool sched_managed(void);
/* Does it want this kthread's core back? */
bool preempt_asked(const struct kthread *kt);

/* Adds up the counters of the kthreads in control.stats; at the end of the instance. */
void sched_publish_stats(void);
/* TSC cycles, as uthread.cpu_ns counts, to ns. */
u64 cycles_to_ns(u64 c);

/* fs/stdio.c: the supervisor may have moved the standard streams. */
void stdio_kick(void);

#endif
