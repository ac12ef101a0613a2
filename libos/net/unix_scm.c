/*
 * unix_scm.c - descriptors and credentials that travel with messages: SCM_RIGHTS, SCM_CREDENTIALS.
 */
#include <asm/fcntl.h>
#include <asm/socket.h>
#include <linux/capability.h>

#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/net/unix.h"
#include "libos/proc/proc.h"

void unix_scm_own_cred(struct unix_scm *scm)
{
	const struct proc *p = current_proc();

	scm->cred = (struct sock_cred){ p->pid, p->cred.uid, p->cred.gid };
}

static int files_from_user(struct unix_scm *scm, u64 ufds, u32 nr)
{
	struct file **files;
	int err = 0;
	u32 i, fd;

	if (nr > SCM_MAX_FD)
		return -EINVAL;
	if (!nr)
		return 0;
	files = kmalloc(nr * sizeof(*files));
	if (!files)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		if (get_user_u32(&fd, (void *)(ufds + i * 4)))
			err = -EFAULT;
		else if (!(files[i] = fd_get_path((int)fd)))
			err = -EBADF;
		if (err)
			break;
	}
	if (err) {
		while (i--)
			file_put(files[i]);
		kfree(files, nr * sizeof(*files));
		return err;
	}
	scm->files = files;
	scm->nr_files = nr;
	err = unix_inflight_add(scm);
	if (err) {
		for (i = 0; i < nr; i++)
			file_put(files[i]);
		kfree(files, nr * sizeof(*files));
		scm->files = NULL;
		scm->nr_files = 0;
	}
	return err;
}

/* unix(7): without privilege a sender can name only itself. */
static bool may_claim(const struct sock_cred *c)
{
	const struct proc *p = current_proc();
	const struct cred *own = &p->cred;

	return (c->pid == p->pid || fs_capable(CAP_SYS_ADMIN)) &&
	       (c->uid == own->uid || c->uid == own->euid || c->uid == own->suid || fs_capable(CAP_SETUID)) &&
	       (c->gid == own->gid || c->gid == own->egid || c->gid == own->sgid || fs_capable(CAP_SETGID));
}

static int parse_one(struct unix_scm *scm, const struct sock_cmsg *c)
{
	switch (c->type) {
	case SCM_RIGHTS:
		return scm->files ? -EINVAL : files_from_user(scm, c->data, (u32)min(c->len / 4, (u64)UINT32_MAX));
	case SCM_CREDENTIALS:
		if (c->len != sizeof(scm->cred))
			return -EINVAL;
		if (copy_from_user(&scm->cred, (void *)c->data, sizeof(scm->cred)))
			return -EFAULT;
		if (!may_claim(&scm->cred))
			return -EPERM;
		if (scm->cred.pid != current_proc()->pid && !proc_find(scm->cred.pid))
			return -ESRCH;
		return 0;
	}
	return -EINVAL;
}

int unix_scm_parse(struct unix_scm *scm, const struct sock_msg *sm)
{
	struct sock_cmsg c;
	u64 at = 0;
	int r;

	while ((r = sock_next_cmsg(sm, &at, &c)) > 0) {
		if (c.level != SOL_SOCKET)
			continue;
		r = parse_one(scm, &c);
		if (r)
			return r;
	}
	return r;
}

int unix_scm_copy(struct unix_scm *to, const struct unix_scm *from)
{
	struct file **files = kmalloc(from->nr_files * sizeof(*files));

	if (!files)
		return -ENOMEM;
	/* Not while the collector counts: a reference must not come out of a queue behind its back. */
	spin_lock(&unix_gc_lock);
	for (u32 i = 0; i < from->nr_files; i++) {
		files[i] = from->files[i];
		file_get(files[i]);
	}
	spin_unlock(&unix_gc_lock);
	to->files = files;
	to->nr_files = from->nr_files;
	return 0;
}

static void free_files(struct unix_scm *scm)
{
	for (u32 i = 0; i < scm->nr_files; i++)
		file_put(scm->files[i]);
	if (scm->files)
		kfree(scm->files, scm->nr_files * sizeof(*scm->files));
	scm->files = NULL;
	scm->nr_files = 0;
}

void unix_scm_free(struct unix_scm *scm)
{
	if (likely(!scm->nr_files))
		return;
	unix_inflight_del(scm);
	free_files(scm);
}

/* scm's files are not in flight any more, and nobody else's. */
void unix_scm_give(struct unix_sock *u, struct unix_scm *scm, struct sock_msg *sm)
{
	const u64 head = sizeof(u64) + 2 * sizeof(s32); /* struct cmsghdr */
	u32 fdflags = sm->flags & MSG_CMSG_CLOEXEC ? FD_CLOEXEC : 0, nr, i;
	s32 fds[SCM_MAX_FD];
	u64 room;

	if (sock_flag(&u->sock.c, SOCKF_PASSCRED))
		sock_put_cmsg(sm, SOL_SOCKET, SCM_CREDENTIALS, &scm->cred, sizeof(scm->cred));
	if (!scm->nr_files)
		return;
	room = sm->controllen - sm->control_used;
	nr = room < head ? 0 : (u32)min((room - head) / sizeof(s32), (u64)scm->nr_files);
	for (i = 0; i < nr; i++) {
		file_get(scm->files[i]);
		fds[i] = fd_install(scm->files[i], 0, fdflags);
		if (fds[i] < 0) {
			file_put(scm->files[i]);
			break;
		}
	}
	if (i < scm->nr_files)
		sm->flags |= MSG_CTRUNC;
	if (i)
		sock_put_cmsg(sm, SOL_SOCKET, SCM_RIGHTS, fds, i * (u32)sizeof(*fds));
	free_files(scm);
}
