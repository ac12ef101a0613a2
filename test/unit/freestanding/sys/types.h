/*
 * sys/types.h - for library OS sources that are compiled for the host with kernel headers only.
 */
#ifndef TEST_UNIT_SYS_TYPES_H
#define TEST_UNIT_SYS_TYPES_H

typedef long ssize_t;
typedef long loff_t;

#endif
