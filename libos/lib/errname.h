/*
 * errname.h - names of error numbers, for traces and logs.
 */
#ifndef LIBOS_LIB_ERRNAME_H
#define LIBOS_LIB_ERRNAME_H

#include "libos/lib/types.h"

/* "ENOENT" for ENOENT; restart codes too; never NULL. */
const char *errno_name(int e);

#endif
