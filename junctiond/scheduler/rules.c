/*
 * rules.c - which instances may talk to one another.
 */
#include "junctiond/scheduler/rules.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "junctiond/scheduler/protocol.h"

static struct rule {
	char left[SCHED_NAME_MAX], right[SCHED_NAME_MAX];
} rules[MAX_RULES];
static unsigned nr_rules;

int rules_add(const char *spec, char *err, unsigned err_size)
{
	const char *colon = strchr(spec, ':');
	struct rule *r = &rules[nr_rules];

	if (!colon || colon == spec || !colon[1] || strchr(colon + 1, ':') ||
	    colon - spec >= SCHED_NAME_MAX || strlen(colon + 1) >= SCHED_NAME_MAX) {
		snprintf(err, err_size, "--allow %s: give two names or addresses of instances, A:B",
			 spec);
		return -1;
	}
	if (nr_rules == MAX_RULES) {
		snprintf(err, err_size, "--allow %s: more than %d rules; use '*' or --allow-all",
			 spec, MAX_RULES);
		return -1;
	}
	snprintf(r->left, sizeof(r->left), "%.*s", (int)(colon - spec), spec);
	snprintf(r->right, sizeof(r->right), "%s", colon + 1);
	nr_rules++;
	return 0;
}

void rules_match(struct instance *in, const char *name)
{
	char addr[INET6_ADDRSTRLEN] = "";

	inet_ntop(in->addr.family, in->addr.bytes, addr, sizeof(addr));
	in->allow_left = in->allow_right = 0;
	for (unsigned i = 0; i < nr_rules; i++) {
		const struct rule *r = &rules[i];

		if (!strcmp(r->left, "*") || !strcmp(r->left, name) || !strcmp(r->left, addr))
			in->allow_left |= 1ull << i;
		if (!strcmp(r->right, "*") || !strcmp(r->right, name) || !strcmp(r->right, addr))
			in->allow_right |= 1ull << i;
	}
}
