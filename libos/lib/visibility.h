/*
 * visibility.h - included before everything else: no symbol of the library OS is reached through a GOT.
 */
#pragma GCC visibility push(hidden)
