/*
 * words.h - the park words of kthreads (libos/abi/control.h), as the scheduler may touch them.
 *
 * All of it is memory that the instance writes as it likes: a word is read once, and what follows
 * rests on the copy. The worst that a false word does is that its own instance's kthread is not
 * woken, or for nothing.
 */
#ifndef JUNCTION_SCHEDULER_WORDS_H
#define JUNCTION_SCHEDULER_WORDS_H

#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libos/abi/control.h"

static inline uint32_t word_state(uint32_t w)
{
	return w & CTL_KT_STATE_MASK;
}

static inline uint32_t word_gen(uint32_t w)
{
	return w >> CTL_KT_GEN_SHIFT;
}

/* That generation's successor, in another state. */
static inline uint32_t word_next(uint32_t w, enum ctl_kt_state state)
{
	return (word_gen(w) + 1) << CTL_KT_GEN_SHIFT | state;
}

static inline uint32_t word_read(const struct control *c, uint32_t k)
{
	return __atomic_load_n(&c->kthreads[k].word, __ATOMIC_ACQUIRE);
}

/* Parked, and it has been in the library OS before: may be granted. */
static inline bool word_parked(uint32_t w)
{
	return word_state(w) == CTL_KT_PARKED && word_gen(w);
}

static inline bool word_running(uint32_t w)
{
	return word_state(w) == CTL_KT_RUNNING || word_state(w) == CTL_KT_SPINNING;
}

/* PARKED -> GRANTED. False: it was not as `seen` any more. *granted: the new word. */
static inline bool word_grant(struct control *c, uint32_t k, uint32_t seen, uint32_t *granted)
{
	*granted = word_next(seen, CTL_KT_GRANTED);
	return __atomic_compare_exchange_n(&c->kthreads[k].word, &seen, *granted, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline void word_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

#endif
