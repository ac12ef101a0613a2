/*
 * mount.c - what stands where at boot: the image's root, /dev, /dev/shm, /proc, /sys.
 */
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/stat.h>

#include "libos/abi/control.h"
#include "libos/fs/change.h"
#include "libos/fs/jfs.h"
#include "libos/fs/memfs.h"
#include "libos/fs/pseudo.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/proc/proc.h"

#define MAX_MOUNTS 8

struct super *root_super;
static struct super *mounts[MAX_MOUNTS];
static u32 nr_mounts;

struct super *mount_get(u32 i)
{
	return i < nr_mounts ? mounts[i] : NULL;
}

static void mount_register(struct super *sb)
{
	sb->mount_id = 21 + nr_mounts;
	mounts[nr_mounts++] = sb;
}

int mount_at(const char *path, struct super *sb)
{
	struct dentry *d;
	int err;

	if (!sb || nr_mounts == MAX_MOUNTS)
		return -ENOMEM;
	err = do_mkdirat(AT_FDCWD, path, 0755);
	if (err && err != -EEXIST)
		return err;
	err = path_lookup(AT_FDCWD, path, WALK_FOLLOW | WALK_DIRECTORY, &d, NULL);
	if (err)
		return err;
	ns_write_lock();
	d->mounted = sb;
	sb->mountpoint = d; /* keeps the reference */
	mount_register(sb);
	ns_write_unlock();
	return 0;
}

/* tmpfs's default: half of the memory, and what the store can hold. */
static u64 quota(const struct control_boot *b)
{
	u64 half = b->memory_limit / 2;

	return half && half < b->shm_size ? half : b->shm_size;
}

int vfs_init(void)
{
	const struct control_boot *b = &((struct control *)LIBOS_CONTROL_BASE)->boot;
	u32 old_umask = init_proc->umask;
	struct dentry *top;
	int err = jfs_init(&jfs, (void *)LIBOS_ROOTFS_BASE, b->rootfs_size, b->rootfs_off);

	if (err)
		return err;
	memfs_set_quota(quota(b));
	root_super = memfs_mount("overlay", "overlay", "", OVERLAYFS_SUPER_MAGIC, 0755,
				 &jfs.inodes[jfs.super->root_ino]);
	if (!root_super)
		return -ENOMEM;
	mount_register(root_super);
	top = root_super->root;
	init_proc->root = dget(top);
	init_proc->cwd = dget(top);
	init_proc->umask = 0;
	err = mount_at("/dev", memfs_mount("tmpfs", "tmpfs", "size=65536k,mode=755", TMPFS_MAGIC,
					   0755, NULL));
	if (!err)
		err = dev_populate();
	if (!err)
		err = mount_at("/dev/shm",
			       memfs_mount("tmpfs", "shm", "", TMPFS_MAGIC, 01777, NULL));
	if (!err)
		err = mount_at("/proc", procfs_mount());
	if (!err)
		err = mount_at("/sys", sysfs_mount());
	if (!err) {
		err = do_mkdirat(AT_FDCWD, "/tmp", 01777);
		if (err == -EEXIST)
			err = 0;
	}
	init_proc->umask = old_umask;
	return err;
}

int vfs_make_path(const char *path)
{
	size_t len = strlen(path);
	char *p = kstrdup(path);
	int err = 0;

	if (!p)
		return -ENOMEM;
	for (size_t i = 1; i <= len && !err; i++)
		if (p[i] == '/' || !p[i]) {
			char c = p[i];

			p[i] = 0;
			err = do_mkdirat(AT_FDCWD, p, 0755);
			if (err == -EEXIST)
				err = 0;
			p[i] = c;
		}
	kfree_str(p);
	return err;
}

/* A working directory that is missing is made, as container runtimes do. */
int vfs_set_cwd(const char *path)
{
	struct proc *p = fs_proc();
	struct dentry *d, *old;
	int err = path_lookup(AT_FDCWD, path, WALK_FOLLOW | WALK_DIRECTORY, &d, NULL);

	if (err == -ENOENT) {
		err = vfs_make_path(path);
		if (!err)
			err = path_lookup(AT_FDCWD, path, WALK_FOLLOW | WALK_DIRECTORY, &d, NULL);
	}
	if (err)
		return err;
	spin_lock(&p->fs_lock);
	old = p->cwd;
	p->cwd = d;
	spin_unlock(&p->fs_lock);
	dput(old);
	return 0;
}

/* Nobody inside may change what is mounted; privileges over the host do not exist here. */
long sys_mount(u64 source, u64 target, u64 type, u64 flags, u64 data)
{
	return -EPERM;
}

long sys_umount2(u64 target, int flags)
{
	return -EPERM;
}

long sys_pivot_root(u64 new_root, u64 put_old)
{
	return -EPERM;
}
