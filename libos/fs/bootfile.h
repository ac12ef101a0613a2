/*
 * bootfile.h - files that are made at boot, before the program starts.
 */
#ifndef LIBOS_FS_BOOTFILE_H
#define LIBOS_FS_BOOTFILE_H

#include "libos/lib/types.h"

/*
 * Writes `len` bytes to a file, which is made with mode 0644 if it is not there; flags: O_TRUNC or O_APPEND.
 * A failure is logged. 0 or -errno.
 */
int bootfile_put(const char *path, int flags, const void *data, size_t len);

/*
 * Makes the `count` files whose records stand from `records` to `end` (abi/control.h), with the modes that they
 * say, and the directories above them (0755). Called once, after vfs_init(). 0, or -errno and *failed: which one.
 */
int bootfiles_create(char *records, const char *end, u32 count, const char **failed);

#endif
