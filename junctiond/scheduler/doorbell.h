/*
 * doorbell.h - threads that sleep on the doorbells of instances and tell the polling thread. The zygote's
 * loop uses it too, for other doorbells.
 */
#ifndef JUNCTION_SCHEDULER_DOORBELL_H
#define JUNCTION_SCHEDULER_DOORBELL_H

#include <stdbool.h>
#include <stdint.h>

#define DOORBELL_MAX 8192u

/* 0, or -1 with errno. */
int doorbell_init(void);
/* Ends the threads. */
void doorbell_exit(void);

/*
 * From now on, or no longer, somebody waits for this futex word, which starts at 0 and is shared between
 * processes. id: 1..DOORBELL_MAX, in use once. After remove the word may be unmapped. -1: no thread for it.
 */
int doorbell_add(uint32_t id, uint32_t *word, void *owner);
void doorbell_remove(uint32_t id);

/* Has any doorbell rung that doorbell_take() has not given yet? One load. */
bool doorbell_rung(void);
/* Calls fn for each owner whose doorbell rang. */
void doorbell_take(void (*fn)(void *owner));

/* Becomes readable when a doorbell rings while doorbell_sleep(true) holds. */
int doorbell_fd(void);
/* Fences: look at doorbell_rung() after doorbell_sleep(true). False also empties the descriptor. */
void doorbell_sleep(bool sleeping);

#endif
