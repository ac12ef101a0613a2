/*
 * procfs.h - the parts of /proc among themselves.
 */
#ifndef LIBOS_FS_PROCFS_H
#define LIBOS_FS_PROCFS_H

#include "libos/fs/pseudo.h"

/* procpid.c: /proc/PID in the root directory */
int procpid_lookup(const struct inode *dir, const char *name, u32 len, struct pseudo_child *out);
s64 procpid_next(const struct inode *dir, s64 from, char *buf, u8 *type, struct pseudo_child *out);

/* procsys.c */
extern const struct pseudo_entry proc_sys_dirs[], proc_net_files[];
/* cpuinfo.c */
void show_cpuinfo(struct text *t, const struct inode *i);

#endif
