/*
 * fs_host.h - libos/fs on the host, for unit tests. Includes nothing of libos, so that tests may
 * use libc.
 */
#ifndef TEST_UNIT_FS_HOST_H
#define TEST_UNIT_FS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An entry of the image's tree; an array ends with a NULL name and is sorted. */
struct fs_node {
	const char *name;
	uint64_t size;			/* regular file */
	const char *target;		/* symbolic link */
	const struct fs_node *children; /* directory */
};

/* Byte at offset off of an image file. */
static inline unsigned char fs_node_byte(const struct fs_node *n, uint64_t off)
{
	return (unsigned char)(n->name[0] + off * 7 + (off >> 8));
}

/* Mounts a memfs over an image with that tree; quota in bytes. Once a process. */
void fs_host_boot(const struct fs_node *tree, uint64_t quota);
/* Makes the calling thread one of the process. */
void fs_host_thread(bool first);
/* Bytes that libos/fs holds, and pages of the store in use. */
long fs_host_allocated(void);
unsigned long shm_pages_used(void);
unsigned long memfs_used_pages(void);
unsigned long files_count(void);

/* The calls under test; pointers as integers. */
long sys_openat(int dfd, uint64_t path, int flags, unsigned mode);
long sys_close(int fd);
long sys_read(int fd, uint64_t buf, size_t n);
long sys_write(int fd, uint64_t buf, size_t n);
long sys_pread64(int fd, uint64_t buf, size_t n, int64_t pos);
long sys_pwrite64(int fd, uint64_t buf, size_t n, int64_t pos);
long sys_readv(int fd, uint64_t iov, uint64_t nr);
long sys_writev(int fd, uint64_t iov, uint64_t nr);
long sys_lseek(int fd, int64_t off, int whence);
long sys_ftruncate(int fd, int64_t size);
long sys_truncate(uint64_t path, int64_t size);
long sys_fallocate(int fd, int mode, int64_t off, int64_t len);
long sys_mkdirat(int dfd, uint64_t path, unsigned mode);
long sys_unlinkat(int dfd, uint64_t path, int flags);
long sys_symlinkat(uint64_t target, int dfd, uint64_t path);
long sys_linkat(int odfd, uint64_t old, int ndfd, uint64_t new, int flags);
long sys_renameat2(int odfd, uint64_t old, int ndfd, uint64_t new, unsigned flags);
long sys_readlinkat(int dfd, uint64_t path, uint64_t buf, int size);
long sys_newfstatat(int dfd, uint64_t path, uint64_t buf, int flags);
long sys_fstat(int fd, uint64_t buf);
long sys_getdents64(int fd, uint64_t buf, unsigned size);
long sys_fchmodat(int dfd, uint64_t path, unsigned mode);
long sys_chdir(uint64_t path);
long sys_getcwd(uint64_t buf, size_t size);
long sys_dup(int fd);
long sys_dup3(int from, int to, int flags);
long sys_fcntl(int fd, unsigned cmd, uint64_t arg);
long sys_close_range(unsigned first, unsigned last, unsigned flags);
long sys_copy_file_range(int in, uint64_t uin, int out, uint64_t uout, size_t n, unsigned flags);
long sys_flock(int fd, unsigned op);

#define P(p) ((uint64_t)(uintptr_t)(p))

#endif
