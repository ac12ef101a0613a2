/*
 * cores_int.h - what the files of core allocation share: cores.c (both modes), managed.c (dedicated
 * mode).
 */
#ifndef JUNCTION_SCHEDULER_CORES_INT_H
#define JUNCTION_SCHEDULER_CORES_INT_H

#include "junctiond/scheduler/latency.h"
#include "junctiond/scheduler/scheduler.h"

#define NEVER UINT64_MAX
#define SCAN_NS 20000ull  /* the words of active instances are looked at this often */
#define KICK_NS 100000ull /* packets that lie unseen for this long are worth a signal */
#define WAKE_LOST_NS                                                                               \
	50000000ull /* a kthread that does not answer its grant is not waited for longer */

struct cores_kt {
	uint64_t kick_since;   /* packets lie in its receive queue since then; 0: none known */
	uint32_t kick_polls;   /* its rx_polls at that time */
	uint64_t waking_since; /* it wanted a core then and has been granted one; 0: it is not being
				  woken */
	uint32_t waking_word;  /* the word of that grant */
};

struct cores_instance {
	struct instance *in;
	uint32_t nr;	     /* kthreads */
	uint32_t list_index; /* in the list of active ones */
	bool listed;
	uint32_t nr_kick, nr_waking; /* kthreads whose *_since is not 0 */
	struct latency wake;
	struct cores_kt kt[];
};

/* Notes that kthread k was granted `word` for a wish as old as `since`. */
void cores_note_wake(struct cores_instance *ci, uint32_t k, uint32_t word, uint64_t since);
/* Puts it on the list of those whose words are looked at, and that the loop drains. */
void cores_list(struct cores_instance *ci);
/* The instance's process lives. Its pid then means it, and may be used at once. */
bool cores_alive(const struct instance *in);
/* SIGURG to kthread k: look at your control words. */
void cores_signal(const struct instance *in, uint32_t k);

#endif
