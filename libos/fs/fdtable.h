/*
 * fdtable.h - the descriptor table of a process, for the code of libos/fs itself.
 *
 * Readers take no lock. struct file memory is never given back to the allocator for another use, so
 * a reader may look at the count of a file that is being freed: it takes a reference only if the
 * count is not zero, and then looks again whether the slot still holds that file. Arrays that were
 * outgrown stay until the table goes.
 */
#ifndef LIBOS_FS_FDTABLE_H
#define LIBOS_FS_FDTABLE_H

#include "libos/fs/file.h"
#include "libos/proc/proc.h"

#define FD_INITIAL 64u
#define FD_LIMIT (1u << 20) /* /proc/sys/fs/nr_open */

struct fdarray {
	u32 max; /* a multiple of 64 */
	struct fdarray *older;
	u64 *open, *cloexec; /* bit per descriptor */
	struct file **fd;
};

struct fdtable {
	spinlock_t lock;
	u32 refs; /* processes that share it */
	struct fdarray *arr;
	u32 next; /* no free descriptor below */
	u32 nr_open;
};

/* Memory of an array with room for max descriptors. */
static inline size_t fdarray_size(u32 max)
{
	return sizeof(struct fdarray) + (size_t)max * sizeof(struct file *) + 2 * (max / 8);
}

/*
 * The file of fd without a reference where none is needed: a process with a single thread cannot
 * close it under itself. *ref says whether fd_put_fast() has to drop one. NULL: not open. O_PATH
 * files included.
 */
struct file *fd_get_any(struct fdtable *t, int fd);
static inline struct file *fd_get_fast(int fd, bool *ref)
{
	struct proc *p = current_proc();
	struct fdtable *t = p->fdt;

	if (likely(READ_ONCE(p->nr_threads) == 1 && t->refs == 1)) {
		struct fdarray *a = t->arr;

		*ref = false;
		return (u32)fd < a->max ? a->fd[fd] : NULL;
	}
	*ref = true;
	return fd_get_any(t, fd);
}
static inline void fd_put_fast(struct file *f, bool ref)
{
	if (unlikely(ref))
		file_put(f);
}

/* Puts f at exactly fd, closing what was there; takes over the reference. fd or -EBADF, -EMFILE. */
int fd_install_at(struct fdtable *t, struct file *f, int fd, u32 fdflags);
/* Next open descriptor >= fd in t, or -1: for /proc/PID/fd. */
int fd_next_open(struct fdtable *t, int fd);
/*
 * The dentry of fd without a reference: valid while the caller holds the name space lock exclusive.
 * NULL: not open, or a file without one.
 */
struct dentry *fd_peek_dentry(struct fdtable *t, int fd);
/* FD_CLOEXEC or 0; -EBADF. */
int fd_get_flags(struct fdtable *t, int fd);
int fd_set_flags(struct fdtable *t, int fd, u32 fdflags);
/* Closes the descriptors marked close-on-exec. */
void fdtable_close_on_exec(struct fdtable *t);
/* A table with the same open files (fork): NULL if memory runs out. */
struct fdtable *fdtable_copy(struct fdtable *t);
void fdtable_get(struct fdtable *t);

#endif
