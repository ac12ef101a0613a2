/*
 * log.h - lines for the supervisor.
 */
#ifndef LIBOS_PLATFORM_LOG_H
#define LIBOS_PLATFORM_LOG_H

#include "libos/lib/types.h"

/* n bytes, whole lines, to the log ring; waits a little when it is full, then drops them. */
void log_raw(const char *line, size_t n);
/* Tells the supervisor that something in the control region changed. One host call only if it sleeps. */
void ring_doorbell(void);

#endif
