/*
 * memfd.c - memfd_create(2) and file seals.
 */
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/locks.h"
#include "libos/fs/memfs.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"

#define MEMFD_PREFIX "memfd:"
#define MEMFD_NAME_MAX 249
#define MFD_KNOWN (MFD_CLOEXEC | MFD_ALLOW_SEALING | 8u /* NOEXEC_SEAL */ | 16u /* EXEC */)
#define SEAL_EXEC 0x20
#define SEALS_KNOWN                                                                                \
	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | SEAL_EXEC)

/* The file system that memfds live in; mounted nowhere. */
static struct super *memfd_super(void)
{
	static struct super *sb;
	struct super *s = __atomic_load_n(&sb, __ATOMIC_ACQUIRE), *expected = NULL;

	if (s)
		return s;
	s = memfs_mount("tmpfs", "tmpfs", "", TMPFS_MAGIC, 0777, NULL);
	if (!s || __atomic_compare_exchange_n(&sb, &expected, s, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE))
		return s;
	return expected; /* two first calls at once: the other's is taken */
}

long sys_memfd_create(u64 uname, u32 flags)
{
	char name[sizeof(MEMFD_PREFIX) + MEMFD_NAME_MAX + 1];
	struct super *sb = memfd_super();
	struct dentry *d = NULL;
	struct inode *i;
	struct file *f;
	ssize_t n;
	int fd;

	if (flags & ~MFD_KNOWN || (flags & 24) == 24)
		return -EINVAL;
	memcpy(name, MEMFD_PREFIX, sizeof(MEMFD_PREFIX) - 1);
	n = strncpy_from_user(name + sizeof(MEMFD_PREFIX) - 1, (const char *)uname,
			      MEMFD_NAME_MAX + 1);
	if (n < 0)
		return n == -ENAMETOOLONG ? -EINVAL : n;
	if (!sb)
		return -ENOMEM;
	ns_write_lock();
	i = memfs_new_inode(sb, NULL, S_IFREG | (flags & 8 ? 0666 : 0777), 0);
	if (!is_err(i)) {
		i->nlink = 0;
		i->reg.seals = flags & 8 ? SEAL_EXEC : flags & MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL;
		d = dentry_alloc(sb, NULL, name, (u32)strlen(name), i);
		if (!d)
			iput(i);
	}
	ns_write_unlock();
	if (!d)
		return -ENOMEM;
	f = dentry_open(d, O_RDWR);
	dput(d);
	if (is_err(f))
		return ptr_err(f);
	fd = fd_install(f, 0, flags & MFD_CLOEXEC ? FD_CLOEXEC : 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

long memfd_seals(struct file *f, unsigned cmd, u64 arg)
{
	struct inode *i = f->inode;
	long r = 0;

	if (!i || !S_ISREG(i->mode) || !inode_is_memfs(i) || i->sb->magic != TMPFS_MAGIC)
		return -EINVAL;
	if (cmd == F_GET_SEALS)
		return i->sb == memfd_super() ? i->reg.seals : F_SEAL_SEAL;
	if (arg & ~(u64)SEALS_KNOWN)
		return -EINVAL;
	if (!FMODE_CAN_WRITE(f))
		return -EPERM;
	mutex_lock(&i->mutex);
	if (i->reg.seals & F_SEAL_SEAL || i->sb != memfd_super())
		r = -EPERM;
	else if (arg & F_SEAL_WRITE && READ_ONCE(i->reg.writable_maps))
		r = -EBUSY;
	else
		i->reg.seals |= (u32)arg;
	mutex_unlock(&i->mutex);
	return r;
}
