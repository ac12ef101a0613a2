/*
 * signalfd.c - signalfd(2): pending signals as records to read.
 *
 * The signals are those of the reader, not of the creator, as on Linux.
 */
#include <linux/fcntl.h>
#include <linux/signalfd.h>

#include "libos/ipc/pipe.h"
#include "libos/ipc/pollbits.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define SI_USER 0
#define SI_TIMER (-2)

struct signalfd {
	ksigset_t mask; /* signals that it takes */
};

static bool has_pending(struct signalfd *s)
{
	return signal_pending_set() & READ_ONCE(s->mask);
}

static void to_record(struct signalfd_siginfo *out, const struct siginfo_k *in)
{
	memset(out, 0, sizeof(*out));
	out->ssi_signo = in->signo;
	out->ssi_errno = in->err;
	out->ssi_code = in->code;
	if (in->code == SI_TIMER) {
		out->ssi_tid = in->timer.tid;
		out->ssi_overrun = in->timer.overrun;
		out->ssi_ptr = in->timer.value;
		out->ssi_int = in->timer.value;
		return;
	}
	if (in->code > SI_USER && in->code < 0x80) { /* SI_KERNEL is 0x80 */
		switch (in->signo) {
		case SIGILL:
		case SIGTRAP:
		case SIGBUS:
		case SIGFPE:
		case SIGSEGV:
			out->ssi_addr = in->fault.addr;
			return;
		case SIGSYS:
			out->ssi_call_addr = in->sys.call_addr;
			out->ssi_syscall = in->sys.syscall;
			out->ssi_arch = in->sys.arch;
			return;
		case SIGCHLD:
			out->ssi_status = in->chld.status;
			break;
		}
	}
	out->ssi_pid = in->rt.pid;
	out->ssi_uid = in->rt.uid;
	if (in->code < SI_USER) {
		out->ssi_ptr = in->rt.value;
		out->ssi_int = in->rt.value;
	}
}

static ssize_t signalfd_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct signalfd *s = f->priv;
	struct proc *p = current_proc();
	struct signalfd_siginfo rec;
	struct siginfo_k info;
	ssize_t done = 0;

	if (to->count < sizeof(rec))
		return -EINVAL;
	while (to->count >= sizeof(rec)) {
		long r;

		if (signal_dequeue(READ_ONCE(s->mask), &info) > 0) {
			to_record(&rec, &info);
			if (iov_copy_to(to, &rec, sizeof(rec)) != sizeof(rec))
				return done ? done : -EFAULT;
			done += sizeof(rec);
			continue;
		}
		if (done)
			break;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&p->signalfd_wait, has_pending(s), NEVER);
		if (r)
			return r;
	}
	return done;
}

static u32 signalfd_poll(struct file *f, struct poll_table *pt)
{
	poll_wait(pt, f, &current_proc()->signalfd_wait);
	return has_pending(f->priv) ? EPOLLIN : 0;
}

static void signalfd_release(struct file *f)
{
	if (f->priv)
		kfree(f->priv, sizeof(struct signalfd));
}

static const struct file_ops signalfd_ops = {
	.name = "signalfd",
	.read = signalfd_read,
	.poll = signalfd_poll,
	.lseek_zero = true,
	.getattr = anon_getattr,
	.release = signalfd_release,
};

long sys_signalfd4(int fd, const void *umask, size_t size, int flags)
{
	struct signalfd *s;
	struct file *f;
	ksigset_t mask;

	if (flags & ~(SFD_CLOEXEC | SFD_NONBLOCK) || size != sizeof(mask))
		return -EINVAL;
	if (get_user(mask, umask))
		return -EFAULT;
	mask &= ~(sigbit(SIGKILL) | sigbit(SIGSTOP));
	if (fd == -1) {
		s = kmalloc(sizeof(*s));
		if (!s)
			return -ENOMEM;
		s->mask = mask;
		fd = anon_install(&signalfd_ops, s, O_RDWR | (flags & SFD_NONBLOCK), flags & SFD_CLOEXEC);
		if (fd < 0)
			kfree(s, sizeof(*s));
		return fd;
	}
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (f->ops != &signalfd_ops) {
		file_put(f);
		return -EINVAL;
	}
	WRITE_ONCE(((struct signalfd *)f->priv)->mask, mask);
	file_put(f);
	waitq_wake(&current_proc()->signalfd_wait, POLLIN_BITS, 0);
	return fd;
}

long sys_signalfd(int fd, const void *umask, size_t size)
{
	return sys_signalfd4(fd, umask, size, 0);
}
