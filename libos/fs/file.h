/*
 * file.h - open files and descriptors: what every kind of file provides.
 */
#ifndef LIBOS_FS_FILE_H
#define LIBOS_FS_FILE_H

#include "libos/fs/iov.h"
#include "libos/lib/spinlock.h"
#include "libos/sched/wait.h"

struct file;
struct inode;
struct dentry;
struct kstat;

/* A poll in progress. poll functions call poll_wait() for each queue that can change their answer.
 */
struct poll_table {
	void (*queue)(struct poll_table *pt, struct file *f, struct waitq *q);
};
static inline void poll_wait(struct poll_table *pt, struct file *f, struct waitq *q)
{
	if (pt && pt->queue)
		pt->queue(pt, f, q);
}

/* Entries of getdents64 go through emit; false: buffer full, stop, come again at this offset. */
struct dir_context {
	bool (*emit)(struct dir_context *ctx, const char *name, size_t len, u64 ino, u8 type,
		     s64 next_pos);
	s64 pos;
};

struct file_ops {
	const char *name; /* kind, for strace and /proc/self/fd ("pipe", "eventfd", ...) */
	/* pos: file offset to use and advance, NULL for streams. Returns bytes or -errno; may
	 * sleep. */
	ssize_t (*read)(struct file *f, struct iov_iter *to, u64 *pos);
	ssize_t (*write)(struct file *f, struct iov_iter *from, u64 *pos);
	/* EPOLL* mask of what is ready now; pt may be NULL. NULL function: always readable and
	 * writable. */
	u32 (*poll)(struct file *f, struct poll_table *pt);
	long (*ioctl)(struct file *f, unsigned cmd, u64 arg);
	s64 (*llseek)(struct file *f, s64 off, int whence);
	bool lseek_zero; /* a stream, but lseek(2) answers 0 instead of ESPIPE (eventfd and its
			    kind) */
	/*
	 * Backing of file pages for mmap: see mm.h. NULL: not mappable (-ENODEV). Pages of
	 * CTL_FD_SHM come with a reference each, whatever the mapping; the caller gives it back
	 * with shm_put().
	 */
	s64 (*map_pages)(struct file *f, u64 pgoff, u64 n, bool shared_write, int *fd, u64 *off);
	int (*iterate)(struct file *f, struct dir_context *ctx);
	int (*getattr)(struct file *f, struct kstat *st);
	int (*truncate)(struct file *f, u64 size);
	int (*fallocate)(struct file *f, int mode, u64 off, u64 len);
	int (*fsync)(struct file *f);
	/* fcntl F_SETFL changed flags (O_NONBLOCK, O_APPEND, O_ASYNC): optional */
	void (*release)(struct file *f); /* last reference is gone */
	/* Called at each close(2) of a descriptor (not the last reference): optional. */
	void (*flush)(struct file *f);
};

struct file {
	const struct file_ops *ops;
	u32 refs;
	u32 flags; /* O_* status flags; O_RDONLY/WRONLY/RDWR in O_ACCMODE; O_PATH */
	u64 pos;
	struct mutex pos_lock; /* read/write/lseek on a shared offset */
	void *priv;	       /* of the kind */
	struct dentry *dentry; /* of the file system, or NULL */
	struct inode *inode;   /* of the file system, or NULL */
	spinlock_t ep_lock;
	struct list_head ep_links; /* epoll registrations on this file (ipc/epoll.c) */
	int owner;		   /* F_SETOWN */
	u32 seals;		   /* memfd */
};

#define FMODE_CAN_READ(f) (((f)->flags & O_ACCMODE) != O_WRONLY && !((f)->flags & O_PATH))
#define FMODE_CAN_WRITE(f) (((f)->flags & O_ACCMODE) != O_RDONLY && !((f)->flags & O_PATH))

/* New file with one reference, or NULL. */
struct file *file_alloc(const struct file_ops *ops, u32 flags, void *priv);
void file_get(struct file *f);
void file_put(struct file *f);

/* fdtable.c: on current_proc()'s table. */

/* The open file of fd with a reference, or NULL (-EBADF). O_PATH files only with fd_get_path(). */
struct file *fd_get(int fd);
struct file *fd_get_path(int fd);
/*
 * Lowest free descriptor >= min for f; takes over the caller's reference on success only.
 * fdflags: FD_CLOEXEC or 0. -EMFILE.
 */
int fd_install(struct file *f, int min, u32 fdflags);
/* Two at once (pipe, socketpair): both or neither. */
int fd_install_pair(struct file *a, struct file *b, u32 fdflags, int out[2]);
int fd_close(int fd);
/* Descriptor 0, 1, 2 from the control region (stdio.c). */
int stdio_init(void);
/* All descriptors of a dying process. */
struct fdtable;
struct fdtable *fdtable_create(void);
void fdtable_destroy(struct fdtable *t);

/* vfs, called at boot: mounts image, overlay, /proc, /dev, /sys; sets root and cwd of init_proc. */
int vfs_init(void);
/* Makes the directories that path (in libOS memory) names, where they are missing: 0755 less the umask. 0 or -errno. */
int vfs_make_path(const char *path);
/* Working directory of init_proc at boot; path in libOS memory. 0 or -errno. */
int vfs_set_cwd(const char *path);
/* In-kernel open for exec; file with a reference or err_ptr. Follows symlinks from init_proc's
 * root. */
struct file *file_open(const char *path, int flags, u32 mode);
/* In-kernel read at an offset into libOS memory. */
ssize_t file_read_kernel(struct file *f, void *buf, size_t n, u64 off);
/* If the whole file is image data in place: pointer to it, else NULL. */
const void *file_image_data(struct file *f, u64 *size);
/* The displaced system call sites of an image file (abi/image.h), sorted by trampoline; NULL: none.
 */
struct jfs_site;
const struct jfs_site *file_sites(struct file *f, u32 *count);
/* Absolute path of an open file into buf; returns length or -errno (" (deleted)" as Linux). */
int file_path(struct file *f, char *buf, size_t size);

#endif
