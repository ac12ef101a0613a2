/*
 * rules.h - which instances may talk to one another: --allow A:B, by name or address, `*` for any.
 */
#ifndef JUNCTION_SCHEDULER_RULES_H
#define JUNCTION_SCHEDULER_RULES_H

#include "junctiond/scheduler/scheduler.h"

#define MAX_RULES 64 /* bits of instance.allow_left */

/* Adds a rule "A:B": traffic both ways. 0, or -1 with one line in `err`. */
int rules_add(const char *spec, char *err, unsigned err_size);
/* Sets in->allow_left and allow_right from its name and address. */
void rules_match(struct instance *in, const char *name);

#endif
