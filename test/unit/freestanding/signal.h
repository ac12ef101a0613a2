/*
 * signal.h - the kernel's, for library OS sources that are compiled for the host with kernel headers only.
 */
#include <asm/signal.h>
