/*
 * perm.c - who may do what: permission bits, capabilities, credentials of the calling process.
 */
#include <linux/capability.h>
#include <linux/stat.h>

#include "libos/fs/vfs.h"
#include "libos/proc/proc.h"

bool fs_capable(int cap)
{
	struct proc *p = current_proc();

	return !p || p->cred.cap_effective >> cap & 1;
}

static bool cred_in_group(const struct cred *c, u32 own_gid, u32 gid)
{
	if (gid == own_gid)
		return true;
	for (u32 i = 0; i < c->ngroups && i < ARRAY_SIZE(c->groups); i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

bool in_group(u32 gid)
{
	const struct cred *c = &fs_proc()->cred;

	return cred_in_group(c, c->fsgid, gid);
}

int inode_permission_cred(const struct inode *inode, int mask, u32 uid, u32 gid,
			  const struct cred *c)
{
	u32 mode = inode->mode, bits;

	if (mask & MAY_WRITE && inode->sb && inode->sb->readonly && !S_ISCHR(mode) &&
	    !S_ISFIFO(mode))
		return -EROFS;
	if (uid == inode->uid)
		bits = mode >> 6;
	else if ((mode >> 3 & 7) != (mode & 7) && cred_in_group(c, gid, inode->gid))
		bits = mode >> 3;
	else
		bits = mode;
	if (!(mask & ~(int)bits & 7))
		return 0;
	/* CAP_DAC_OVERRIDE: everything, but execute only what somebody may execute. */
	if (fs_capable(CAP_DAC_OVERRIDE) && (S_ISDIR(mode) || !(mask & MAY_EXEC) || mode & 0111))
		return 0;
	if (fs_capable(CAP_DAC_READ_SEARCH) &&
	    (mask == MAY_READ || (S_ISDIR(mode) && !(mask & MAY_WRITE))))
		return 0;
	return -EACCES;
}

int inode_permission(const struct inode *inode, int mask)
{
	const struct cred *c = &fs_proc()->cred;

	return inode_permission_cred(inode, mask, c->fsuid, c->fsgid, c);
}

bool inode_owner_or_capable(const struct inode *inode)
{
	return fs_proc()->cred.fsuid == inode->uid || fs_capable(CAP_FOWNER);
}
