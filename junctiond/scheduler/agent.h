/*
 * agent.h - core agents: one thread a managed core that wakes kthreads there without an interrupt.
 *
 * Waking a thread that sleeps in the kernel on another core costs that core an inter-processor
 * interrupt. A thread of class SCHED_IDLE that polls a mailbox there makes the same system call
 * locally, and yields at once to whom it woke. It runs only while nothing else wants the core; who
 * depends on it must look whether it has reported, and wake directly if it has not for long.
 */
#ifndef JUNCTION_SCHEDULER_AGENT_H
#define JUNCTION_SCHEDULER_AGENT_H

#include <stdbool.h>
#include <stdint.h>

struct agent;

/* Starts one, pinned to that CPU. NULL with errno. */
struct agent *agent_start(int cpu);
/* Ends it, and waits for it. */
void agent_stop(struct agent *a);
/*
 * Has it call FUTEX_WAKE (shared) on word. It does not read the word, so that one that has been
 * unmapped by then does no harm. A wish that it has not taken up yet is replaced.
 */
void agent_wake(struct agent *a, uint32_t *word);
/* It has carried out the last wish. */
bool agent_done(const struct agent *a);

#endif
