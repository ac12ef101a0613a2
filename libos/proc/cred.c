/*
 * cred.c - user and group ids, supplementary groups: credentials(7).
 *
 * Credentials belong to the process; Linux has them per thread and libraries keep them equal by
 * signalling every thread, which here is harmless repetition. They are written under proc->lock.
 */
#include <linux/capability.h>

#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"

#define SAME UINT32_MAX /* "leave it" of setresuid and the like */

static struct cred *cred(void)
{
	return &current_proc()->cred;
}

long sys_getuid(void)
{
	return cred()->uid;
}

long sys_geteuid(void)
{
	return cred()->euid;
}

long sys_getgid(void)
{
	return cred()->gid;
}

long sys_getegid(void)
{
	return cred()->egid;
}

static long put3(u64 ua, u64 ub, u64 uc, u32 a, u32 b, u32 c)
{
	if (put_user_u32(a, (void *)ua) || put_user_u32(b, (void *)ub) ||
	    put_user_u32(c, (void *)uc))
		return -EFAULT;
	return 0;
}

long sys_getresuid(u64 r, u64 e, u64 s)
{
	return put3(r, e, s, cred()->uid, cred()->euid, cred()->suid);
}

long sys_getresgid(u64 r, u64 e, u64 s)
{
	return put3(r, e, s, cred()->gid, cred()->egid, cred()->sgid);
}

static bool may_setuid(void)
{
	return capable(CAP_SETUID);
}

static bool may_setgid(void)
{
	return capable(CAP_SETGID);
}

static bool is_uid(u32 id)
{
	return id == cred()->uid || id == cred()->euid || id == cred()->suid;
}

static bool is_gid(u32 id)
{
	return id == cred()->gid || id == cred()->egid || id == cred()->sgid;
}

static void set_uids(u32 uid, u32 euid, u32 suid)
{
	struct cred *c = cred(), old;

	spin_lock(&current_proc()->lock);
	old = *c;
	c->uid = uid;
	c->euid = c->fsuid = euid;
	c->suid = suid;
	cred_fix_caps(c, &old);
	spin_unlock(&current_proc()->lock);
}

static void set_gids(u32 gid, u32 egid, u32 sgid)
{
	struct cred *c = cred();

	spin_lock(&current_proc()->lock);
	c->gid = gid;
	c->egid = c->fsgid = egid;
	c->sgid = sgid;
	spin_unlock(&current_proc()->lock);
}

long sys_setuid(u32 id)
{
	if (id == SAME)
		return -EINVAL;
	if (may_setuid())
		set_uids(id, id, id);
	else if (id == cred()->uid || id == cred()->suid)
		set_uids(cred()->uid, id, cred()->suid);
	else
		return -EPERM;
	return 0;
}

long sys_setgid(u32 id)
{
	if (id == SAME)
		return -EINVAL;
	if (may_setgid())
		set_gids(id, id, id);
	else if (id == cred()->gid || id == cred()->sgid)
		set_gids(cred()->gid, id, cred()->sgid);
	else
		return -EPERM;
	return 0;
}

long sys_setreuid(u32 r, u32 e)
{
	struct cred *c = cred();
	u32 s = c->suid;

	if (r != SAME && !may_setuid() && r != c->uid && r != c->euid)
		return -EPERM;
	if (e != SAME && !may_setuid() && !is_uid(e))
		return -EPERM;
	if (r != SAME || (e != SAME && e != c->uid))
		s = e != SAME ? e : c->euid;
	set_uids(r != SAME ? r : c->uid, e != SAME ? e : c->euid, s);
	return 0;
}

long sys_setregid(u32 r, u32 e)
{
	struct cred *c = cred();
	u32 s = c->sgid;

	if (r != SAME && !may_setgid() && r != c->gid && r != c->egid)
		return -EPERM;
	if (e != SAME && !may_setgid() && !is_gid(e))
		return -EPERM;
	if (r != SAME || (e != SAME && e != c->gid))
		s = e != SAME ? e : c->egid;
	set_gids(r != SAME ? r : c->gid, e != SAME ? e : c->egid, s);
	return 0;
}

long sys_setresuid(u32 r, u32 e, u32 s)
{
	struct cred *c = cred();

	if (!may_setuid() &&
	    ((r != SAME && !is_uid(r)) || (e != SAME && !is_uid(e)) || (s != SAME && !is_uid(s))))
		return -EPERM;
	set_uids(r != SAME ? r : c->uid, e != SAME ? e : c->euid, s != SAME ? s : c->suid);
	return 0;
}

long sys_setresgid(u32 r, u32 e, u32 s)
{
	struct cred *c = cred();

	if (!may_setgid() &&
	    ((r != SAME && !is_gid(r)) || (e != SAME && !is_gid(e)) || (s != SAME && !is_gid(s))))
		return -EPERM;
	set_gids(r != SAME ? r : c->gid, e != SAME ? e : c->egid, s != SAME ? s : c->sgid);
	return 0;
}

/* Both return the id before the call, whether it was changed or not. */
long sys_setfsuid(u32 id)
{
	struct cred *c = cred();
	u32 old = c->fsuid;

	if (id != SAME && (may_setuid() || is_uid(id) || id == old))
		c->fsuid = id;
	return old;
}

long sys_setfsgid(u32 id)
{
	struct cred *c = cred();
	u32 old = c->fsgid;

	if (id != SAME && (may_setgid() || is_gid(id) || id == old))
		c->fsgid = id;
	return old;
}

long sys_getgroups(int size, u64 list)
{
	struct cred *c = cred();

	if (size < 0)
		return -EINVAL;
	if (size) {
		if ((u32)size < c->ngroups)
			return -EINVAL;
		if (copy_to_user((void *)list, c->groups, c->ngroups * sizeof(u32)))
			return -EFAULT;
	}
	return c->ngroups;
}

long sys_setgroups(int size, u64 list)
{
	struct cred *c = cred();
	u32 groups[ARRAY_SIZE(c->groups)];

	if (!may_setgid())
		return -EPERM;
	if (size < 0 || size > 65536)
		return -EINVAL;
	if ((u32)size > ARRAY_SIZE(groups))
		return -ENOMEM; /* an instance keeps at most 32 */
	if (copy_from_user(groups, (void *)list, size * sizeof(u32)))
		return -EFAULT;
	spin_lock(&current_proc()->lock);
	memcpy(c->groups, groups, size * sizeof(u32));
	c->ngroups = size;
	spin_unlock(&current_proc()->lock);
	return 0;
}
