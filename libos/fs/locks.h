/*
 * locks.h - flock(2) and fcntl(2) record locks.
 */
#ifndef LIBOS_FS_LOCKS_H
#define LIBOS_FS_LOCKS_H

#include "libos/fs/file.h"

struct proc;

/* F_GETLK, F_SETLK, F_SETLKW and their F_OFD_ forms; arg is the user's struct flock. */
long fcntl_lock(struct file *f, int fd, unsigned cmd, u64 arg);
/* The process closed a descriptor of f: its traditional record locks on the file go. */
void locks_closed(struct file *f, struct proc *p);
/* The open file goes: its flock and open file description locks go. */
void locks_released(struct file *f);
/* An inode goes. */
void locks_free(struct inode *i);
/* F_ADD_SEALS, F_GET_SEALS (memfd.c). */
long memfd_seals(struct file *f, unsigned cmd, u64 arg);

#endif
