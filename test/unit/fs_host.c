/*
 * fs_host.c - what libos/fs needs around it, for the host: allocation, page store, user memory,
 * locks, one process; and a root file system in the image's format, made from a list.
 */
#include "fs_host.h"

#include <linux/mman.h>

#include "libos/fs/change.h"
#include "libos/fs/fdtable.h"
#include "libos/fs/jfs.h"
#include "libos/fs/memfs.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/mm.h"
#include "libos/mm/shm.h"
#include "libos/mm/usercopy.h"
#include "libos/signal/signal.h"

/* Of the host's C library, whose headers do not go with the kernel's. */
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void free(void *p);
noreturn void abort(void);
int vdprintf(int fd, const char *fmt, va_list ap);
void *mmap(void *addr, size_t len, int prot, int flags, int fd, long off);
int sched_yield(void);
int clock_gettime(int clock, struct timespec_k *ts);

/* alloc.h */

static long allocated;

void *kmalloc(size_t size)
{
	__atomic_fetch_add(&allocated, (long)size, __ATOMIC_RELAXED);
	return malloc(size);
}

void *kzalloc(size_t size)
{
	__atomic_fetch_add(&allocated, (long)size, __ATOMIC_RELAXED);
	return calloc(1, size);
}

void kfree(void *p, size_t size)
{
	if (!p)
		return;
	__atomic_fetch_sub(&allocated, (long)size, __ATOMIC_RELAXED);
	free(p);
}

char *kstrdup(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(kmalloc(n), s, n);
}

void kfree_str(char *s)
{
	kfree(s, strlen(s) + 1);
}

long fs_host_allocated(void)
{
	return allocated;
}

/* shm.h: a few pages at the real address */

#define STORE_PAGES 8192u

static u32 page_refs[STORE_PAGES];
static u64 pages_used;
static spinlock_t store_lock = SPINLOCK_INIT;

s64 shm_alloc(u64 n, u64 near)
{
	s64 found = -ENOSPC;

	spin_lock(&store_lock);
	for (u64 i = near + 1; found < 0 && i < STORE_PAGES + near; i++) {
		u64 p = i % STORE_PAGES, run = 0;

		while (p && run < n && p + run < STORE_PAGES && !page_refs[p + run])
			run++;
		if (run == n) {
			for (u64 k = 0; k < n; k++)
				page_refs[p + k] = 1;
			pages_used += n;
			found = (s64)p;
		}
	}
	spin_unlock(&store_lock);
	if (found > 0)
		memset(shm_ptr((u64)found), 0, n << PAGE_SHIFT);
	return found;
}

void shm_get(u64 page)
{
	BUG_ON(!page_refs[page]);
	__atomic_fetch_add(&page_refs[page], 1, __ATOMIC_RELAXED);
}

void shm_put(u64 page)
{
	spin_lock(&store_lock);
	BUG_ON(!page_refs[page]);
	if (!__atomic_sub_fetch(&page_refs[page], 1, __ATOMIC_RELAXED)) {
		memset(shm_ptr(page), 0xee, PAGE_SIZE); /* whoever looks at it now shall notice */
		pages_used--;
	}
	spin_unlock(&store_lock);
}

void shm_put_range(u64 page, u64 n)
{
	for (u64 k = 0; k < n; k++)
		shm_put(page + k);
}

unsigned long shm_pages_used(void)
{
	return pages_used;
}

/* usercopy.h: addresses below a page fault */

static bool bad(const void *p)
{
	return (u64)p < PAGE_SIZE;
}

size_t copy_from_user_partial(void *dst, const void *src, size_t n)
{
	if (bad(src))
		return 0;
	memcpy(dst, src, n);
	return n;
}

size_t copy_to_user_partial(void *dst, const void *src, size_t n)
{
	if (bad(dst))
		return 0;
	memcpy(dst, src, n);
	return n;
}

int copy_from_user(void *dst, const void *src, size_t n)
{
	return copy_from_user_partial(dst, src, n) < n ? -EFAULT : 0;
}

int copy_to_user(void *dst, const void *src, size_t n)
{
	return copy_to_user_partial(dst, src, n) < n ? -EFAULT : 0;
}

int clear_user(void *dst, size_t n)
{
	if (bad(dst))
		return -EFAULT;
	memset(dst, 0, n);
	return 0;
}

ssize_t strncpy_from_user(char *dst, const char *src, size_t size)
{
	size_t n = bad(src) ? 0 : strnlen(src, size);

	if (bad(src))
		return -EFAULT;
	if (n == size)
		return -ENAMETOOLONG;
	memcpy(dst, src, n + 1);
	return (ssize_t)n;
}

int get_user_u8(u8 *v, const void *p)
{
	return copy_from_user(v, p, 1);
}

int get_user_u32(u32 *v, const void *p)
{
	return copy_from_user(v, p, 4);
}

int put_user_u32(u32 v, void *p)
{
	return copy_to_user(p, &v, 4);
}

/* Locks and waiting: threads of the host stand for kthreads, nobody sleeps on a queue. */

void spin_lock_slow(spinlock_t *l)
{
	while (__atomic_exchange_n(&l->v, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

void mutex_init(struct mutex *m)
{
	m->locked = 0;
}

void mutex_lock(struct mutex *m)
{
	while (__atomic_exchange_n(&m->locked, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

void mutex_unlock(struct mutex *m)
{
	__atomic_store_n(&m->locked, 0, __ATOMIC_RELEASE);
}

void waitq_init(struct waitq *q)
{
	list_init(&q->head);
}

void waitq_wake(struct waitq *q, u32 events, int nr)
{
}

#define NOT_HERE(name)                                                                             \
	name                                                                                       \
	{                                                                                          \
		panic("%s in a unit test", __func__);                                              \
	}
NOT_HERE(void waitq_add(struct waitq *q, struct waiter *w, bool exclusive))
NOT_HERE(void waitq_del(struct waitq *q, struct waiter *w))
NOT_HERE(void uthread_prepare(enum uthread_state s))
NOT_HERE(void uthread_running(void))
NOT_HERE(bool uthread_schedule(u64 deadline))
NOT_HERE(int fifo_open(struct file *f, void **slot))
NOT_HERE(int special_open(struct inode *inode, struct file *f))
int signal_send_thread(struct uthread *ut, const struct siginfo_k *info)
{
	return 0;
}
void signal_sigpipe(void)
{
}
void mm_file_grown(struct inode *inode)
{
}

void mm_file_changed(struct inode *inode, u64 from, u64 to, bool truncated)
{
}
bool file_is_pipe(struct file *f)
{
	return false;
}

/* The rest */

u64 host_clock_ns(int clock)
{
	struct timespec_k ts;

	clock_gettime(clock, &ts);
	return (u64)ts.sec * NSEC_PER_SEC + (u64)ts.nsec;
}

long host_futex_wait(u32 *word, u32 expected, u64 deadline, bool shared)
{
	sched_yield();
	return 0;
}

noreturn void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vdprintf(2, fmt, ap);
	abort();
}

size_t strlcpy(char *dst, const char *src, size_t n)
{
	size_t len = strlen(src);

	if (n) {
		size_t c = len < n - 1 ? len : n - 1;

		memcpy(dst, src, c);
		dst[c] = 0;
	}
	return len;
}

__thread struct uthread *hosted_current;
struct proc *init_proc;
struct super *root_super;
static struct proc the_proc;

void fs_host_thread(bool first)
{
	static __thread struct uthread thread;

	hosted_current = &thread;
	hosted_current->proc = &the_proc;
	__atomic_fetch_add(&the_proc.nr_threads, first ? 1 : 2, __ATOMIC_RELAXED);
}

/* A root file system in the image's format. */

static u8 *image;
static u64 image_size;

static struct jfs_inode *add_inode(struct jfs_super *s, u32 mode)
{
	struct jfs_inode *i = (struct jfs_inode *)(image + s->inode_off) + s->inode_count++;

	i->mode = mode;
	i->nlink = (mode & 0170000) == 0040000 ? 2 : 1;
	return i;
}

static u64 add_bytes(struct jfs_super *s, const char *p, u64 n)
{
	u64 off = s->names_len;

	memcpy(image + s->names_off + off, p, n);
	s->names_len += n;
	return off;
}

static u32 build_dir(struct jfs_super *s, const struct fs_node *nodes, u32 parent, u64 *data)
{
	struct jfs_inode *dir = add_inode(s, 0040755);
	u32 ino = s->inode_count - 1, n = 0, first = s->dirent_count;
	struct jfs_dirent *d = (struct jfs_dirent *)(image + s->dirent_off);

	dir->parent = parent ? parent : ino;
	while (nodes && nodes[n].name)
		n++;
	dir->first_dirent = first;
	dir->dirent_count = n;
	s->dirent_count += n;
	for (u32 k = 0; k < n; k++) {
		const struct fs_node *node = &nodes[k];
		struct jfs_dirent *e = &d[first + k];
		u32 child;

		e->name_off = (u32)add_bytes(s, node->name, strlen(node->name));
		e->name_len = (u16)strlen(node->name);
		if (node->children) {
			child = build_dir(s, node->children, ino, data);
			dir->nlink++;
			e->type = 4;
		} else {
			struct jfs_inode *i = add_inode(s, node->target ? 0120777 : 0100644);

			child = s->inode_count - 1;
			e->type = node->target ? 10 : 8;
			if (node->target) {
				i->size = strlen(node->target);
				i->data_off = add_bytes(s, node->target, i->size);
			} else {
				i->size = node->size;
				i->data_off = node->size ? *data : 0;
				for (u64 b = 0; b < node->size; b++)
					image[*data + b] = fs_node_byte(node, b);
				*data += page_up(node->size);
			}
		}
		e->ino = child;
	}
	return ino;
}

void fs_host_boot(const struct fs_node *tree, u64 quota)
{
	struct jfs_super *s;
	u64 data;

	mmap((void *)LIBOS_SHM_BASE, STORE_PAGES << PAGE_SHIFT, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	image_size = 4 << 20;
	image = mmap(NULL, image_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s = (void *)image;
	s->magic = JFS_MAGIC;
	s->size = image_size;
	s->inode_off = 4096;
	s->dirent_off = 65536;
	s->site_off = 131072;
	s->names_off = 131072;
	s->data_off = 262144;
	s->mtime = 1000000000;
	s->inode_count = 1;
	data = s->data_off;
	s->root_ino = build_dir(s, tree, 0, &data);
	BUG_ON(jfs_init(&jfs, image, image_size, 0));

	init_proc = &the_proc;
	the_proc.fdt = fdtable_create();
	the_proc.rlim[7].cur = 1024;
	the_proc.rlim[1].cur = ~0ull;
	the_proc.cred.cap_effective = ~0ull;
	fs_host_thread(true);
	memfs_set_quota(quota);
	root_super = memfs_mount("overlay", "overlay", "", 0x794c7630, 0755,
				 &jfs.inodes[jfs.super->root_ino]);
	the_proc.root = dget(root_super->root);
	the_proc.cwd = dget(root_super->root);
	the_proc.umask = 022;
}
