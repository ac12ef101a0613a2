/*
 * locks.c - placeholder
 */
#include "libos/fs/locks.h"
long fcntl_lock(struct file *f, int fd, unsigned cmd, u64 arg)
{
	return 0;
}
void locks_closed(struct file *f, struct proc *p)
{
}
void locks_released(struct file *f)
{
}
long memfd_seals(struct file *f, unsigned cmd, u64 arg)
{
	return -EINVAL;
}
