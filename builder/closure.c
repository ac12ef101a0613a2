/*
 * closure.c - interpreters and libraries.
 */
#include "builder/build.h"

int build_closure(struct build *b, struct err *e)
{
	return 0;
}
