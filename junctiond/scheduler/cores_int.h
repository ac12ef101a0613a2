/*
 * cores_int.h - what the files of core allocation share: cores.c (both modes), managed.c (dedicated
 * mode).
 */
#ifndef JUNCTION_SCHEDULER_CORES_INT_H
#define JUNCTION_SCHEDULER_CORES_INT_H

#include "junctiond/scheduler/latency.h"
#include "junctiond/scheduler/scheduler.h"

#define NEVER UINT64_MAX
#define SCAN_NS 20000ull /* the words of active instances are looked at this often */
#define KICK_NS 100000ull /* packets that lie unseen for this long are worth a signal */
#define KICK_MAX_NS 10000000ull /* no signal after so long in vain */
#define WAKE_LOST_NS 50000000ull /* a wake that is not answered is not waited for longer */
#define BOOT_NS 200000000ull /* so long its words are watched though it has not begun */

/* Why a kthread wants a core: cores_kt.wants, dedicated mode. */
#define WANT_RX 1u	 /* packets lie in its queue */
#define WANT_RUNNABLE 2u /* it parked with uthreads left to run */
#define WANT_TIMER 4u
#define WANT_WANTED 8u /* the instance raised `wanted` */
#define WANT_LOOSE 16u /* it runs, without a grant */

struct cores_kt {
	uint64_t kick_since;   /* packets lie in its receive queue since then; 0: none known */
	uint32_t kick_polls;   /* its rx_polls at that time */
	uint64_t kick_gap; /* ns from kick_since to the signal */
	uint64_t waking_since; /* it wanted a core then and has been granted one; 0: it is not being
				  woken */
	uint32_t waking_word;  /* the word of that grant */

	/* dedicated mode */
	uint32_t wants;	 /* WANT_* */
	int affinity;	 /* index of the managed core that its host thread may use; -1: not set */
	bool idle_class; /* its host thread is in class SCHED_IDLE, and counts in that core's
			    nr_idle_class */
	uint64_t timer;	 /* in the heap of timers; NEVER: not */
	uint32_t timer_pos;
};

struct cores_instance {
	struct instance *in;
	uint32_t nr;	     /* kthreads */
	uint32_t list_index; /* in the list of active ones */
	bool listed;
	uint32_t nr_kick, nr_waking; /* kthreads whose *_since is not 0 */
	struct latency wake;
	uint64_t attached_ns, published_ns;

	/* dedicated mode */
	uint32_t nr_idle_class;
	uint64_t audit_core_ns, audit_cpu_ns; /* both at the last audit */
	uint64_t distrusted_until; /* its host threads are idle class while they hold no core */
	struct cores_kt kt[];
};

/* cores.c */

/* Notes that kthread k was granted `word` for a wish as old as `since`. */
void cores_note_wake(struct cores_instance *ci, uint32_t k, uint32_t word, uint64_t since);
/* Of an instance's kthreads, by their words: the first that runs, the first that is parked; UINT32_MAX: none. */
struct survey {
	uint32_t running, parked, parked_word;
};

/* False: one spins, and polls the queues of all that are parked. */
bool cores_survey(const struct cores_instance *ci, struct survey *s);
/* Packets came for kthread k, which runs: see that it looks. */
void cores_kick_arm(struct cores_instance *ci, uint32_t k, uint64_t now);
/* Packets came for kthread k, and it has not looked since. */
bool cores_unseen(const struct cores_instance *ci, uint32_t k);
/* Puts it on the list of those whose words are looked at, and that the loop drains. */
void cores_list(struct cores_instance *ci);
/* The instance's process lives. Its pid then means it, and may be used at once. */
bool cores_alive(const struct instance *in);
/* CPU time of its process in ns, as the host counts it. 0: not known. */
uint64_t cores_cpu_ns(const struct instance *in);
/* SIGURG to kthread k: look at your control words. */
void cores_signal(const struct instance *in, uint32_t k);

/* managed.c: dedicated mode */

int managed_init(void);
void managed_exit(void);
int managed_attach(struct cores_instance *ci, uint64_t now);
void managed_detach(struct cores_instance *ci, uint64_t now);
void managed_rx(struct cores_instance *ci, uint32_t pair, uint64_t now);
/* Packets lie before kthread k, which has parked. */
void managed_want_rx(struct cores_instance *ci, uint32_t k, uint64_t now);
/* Looks at all words of an instance. True: a kthread of it runs, or waits for a core. */
bool managed_look(struct cores_instance *ci, uint64_t now);
bool managed_tick(uint64_t now);
uint64_t managed_deadline(uint64_t now);
/* Brings its counters in the statistics up to date. */
void managed_publish(struct cores_instance *ci, uint64_t now);

#endif
