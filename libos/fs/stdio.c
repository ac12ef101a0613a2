/*
 * stdio.c - descriptors 0, 1 and 2: rings in the control region, pumped by the supervisor.
 *
 * A kthread never blocks in the host for a stream. A uthread that finds its ring full (or empty)
 * says so in the ring, rings the doorbell and sleeps; the supervisor answers with a kick, and the
 * kick handler calls stdio_kick(). As a belt to those braces, sleepers look again every few
 * milliseconds.
 *
 * stream.busy is held while bytes are copied, and across sleeping by a writer in the middle of its
 * write, so that concurrent writes are not interleaved. It is taken interruptibly.
 */
#include "libos/fs/stdio.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/eventpoll.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/abi/control.h"
#include "libos/fs/fdtable.h"
#include "libos/fs/vfs.h"
#include "libos/lib/string.h"
#include "libos/mm/usercopy.h"
#include "libos/platform/hostcall.h"
#include "libos/platform/log.h"
#include "libos/proc/proc.h"
#include "libos/signal/signal.h"

#define POLL_INTERVAL (5 * NSEC_PER_MSEC)
#define ANSWER_TIME (200 * NSEC_PER_USEC)
#define RING_MASK (CTL_RING_SIZE - 1)
#define PIPE_BUF_SIZE 4096u

struct stream {
	struct ctl_ring *ring;
	u8 *data;
	u32 kind; /* enum ctl_stream_kind */
	u32 busy;
	struct waitq busy_wait;
	struct waitq wait; /* for the supervisor */
	u32 seen;	   /* index of the other side at the last kick */
};

static struct stream streams[3];
static struct termios tty_termios;

static struct control *ctl(void)
{
	return (struct control *)LIBOS_CONTROL_BASE;
}

static inline bool stream_trylock(struct stream *s)
{
	return !__atomic_exchange_n(&s->busy, 1, __ATOMIC_ACQUIRE);
}

static long stream_lock(struct stream *s, bool nonblock)
{
	if (likely(stream_trylock(s)))
		return 0;
	if (nonblock)
		return -EAGAIN;
	return wait_event_exclusive(&s->busy_wait, stream_trylock(s), NEVER);
}

static void stream_unlock(struct stream *s)
{
	__atomic_store_n(&s->busy, 0, __ATOMIC_RELEASE);
	if (waitq_active(&s->busy_wait))
		waitq_wake(&s->busy_wait, 0, 1);
}

/* Sleeps for the supervisor: until cond, a signal, or time to look again (then 0, cond false). */
#define stream_wait(s, cond)                                                                       \
	({                                                                                         \
		long _w = wait_event(&(s)->wait, cond, host_clock_ns(1) + POLL_INTERVAL);          \
		_w == -ETIMEDOUT ? 0 : _w;                                                         \
	})

static inline u32 ring_used(struct ctl_ring *r)
{
	u32 n = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) -
		__atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);

	return n <= CTL_RING_SIZE ? n : 0; /* the supervisor is trusted, but do not run wild */
}

static inline u32 ring_space(struct ctl_ring *r)
{
	return (u32)CTL_RING_SIZE - ring_used(r);
}

static inline u32 closed_errno(struct ctl_ring *r)
{
	return __atomic_load_n(&r->consumer_closed, __ATOMIC_ACQUIRE);
}

/* Bytes put into the ring; fewer than asked for: fault, or full. */
static size_t ring_put(struct stream *s, struct iov_iter *from, size_t want)
{
	struct ctl_ring *r = s->ring;
	u32 head = r->head;
	size_t n = min(want, (size_t)ring_space(r)), done = 0;

	while (done < n) {
		u32 at = (head + (u32)done) & RING_MASK;
		size_t chunk = min(n - done, (size_t)(CTL_RING_SIZE - at));
		size_t c = iov_copy_from(from, s->data + at, chunk);

		done += c;
		if (c < chunk)
			break;
	}
	__atomic_store_n(&r->head, head + (u32)done, __ATOMIC_RELEASE);
	return done;
}

/* All descriptors of a terminal read and write the same one: the ring that goes the right way. */
static struct stream *stream_of(struct file *f, bool reading)
{
	struct stream *s = f->priv;

	if ((s == &streams[0]) == reading)
		return s;
	if (reading)
		return streams[0].kind == CTL_STREAM_TTY ? &streams[0] : NULL;
	for (int i = 1; i < 3; i++)
		if (streams[i].kind == CTL_STREAM_TTY)
			return &streams[i];
	return NULL;
}

static ssize_t stream_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct stream *s = stream_of(f, false);
	struct ctl_ring *r;
	bool nonblock = READ_ONCE(f->flags) & O_NONBLOCK;
	ssize_t total = 0;
	long err;

	if (!s)
		return -EIO;
	r = s->ring;
	if (!from->count)
		return 0;
	err = stream_lock(s, nonblock);
	if (err)
		return err;
	while (from->count) {
		u32 space, e = closed_errno(r);
		size_t n, want;

		if (unlikely(e)) {
			if (e == EPIPE)
				signal_sigpipe();
			err = -(long)e;
			break;
		}
		space = ring_space(r);
		/* pipe(7): a write of at most PIPE_BUF bytes is whole or not at all. */
		want = from->count;
		if (space < min(want, (size_t)PIPE_BUF_SIZE)) {
			if (nonblock) {
				err = -EAGAIN;
				break;
			}
			__atomic_store_n(&r->producer_waiting, 1, __ATOMIC_SEQ_CST);
			if (ring_space(r) >= min(want, (size_t)PIPE_BUF_SIZE) || closed_errno(r))
				continue;
			ring_doorbell();
			err = stream_wait(s, ring_space(r) >= min(want, (size_t)PIPE_BUF_SIZE) ||
						     closed_errno(r));
			if (err)
				break;
			continue;
		}
		n = ring_put(s, from, want);
		total += n;
		if (n < min(want, (size_t)space)) {
			err = -EFAULT;
			break;
		}
	}
	stream_unlock(s);
	if (total)
		ring_doorbell();
	return total ? total : err;
}

static bool stdin_end(struct ctl_ring *r)
{
	return __atomic_load_n(&r->producer_closed, __ATOMIC_ACQUIRE);
}

static ssize_t stream_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct stream *s = stream_of(f, true);
	struct ctl_ring *r;
	struct control *c = ctl();
	bool nonblock = READ_ONCE(f->flags) & O_NONBLOCK;
	size_t want = min(to->count, (size_t)CTL_RING_SIZE), done = 0;
	int patience = 20; /* of a non-blocking reader that was told of bytes, in POLL_INTERVALs */
	long err;

	if (!s)
		return -EIO;
	r = s->ring;
	if (!want)
		return 0;
	err = stream_lock(s, nonblock);
	if (err)
		return err;
	while (!ring_used(r)) {
		if (stdin_end(r)) {
			/* The end of a terminal's input is the end of one input: the next read asks
			 * again. */
			if (s->kind == CTL_STREAM_TTY) {
				__atomic_store_n(&r->producer_closed, 0, __ATOMIC_SEQ_CST);
				__atomic_store_n(&c->stdin_ready, 0, __ATOMIC_SEQ_CST);
			}
			stream_unlock(s);
			return 0;
		}
		/* What poll promised is in the host's hands still: it is fetched below, or in no
		 * time. */
		if (nonblock &&
		    (!__atomic_load_n(&c->stdin_ready, __ATOMIC_ACQUIRE) || !patience--)) {
			err = -EAGAIN;
			break;
		}
		__atomic_store_n(&r->consumer_waiting, 1, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&c->stdin_want, __ATOMIC_SEQ_CST)) {
			__atomic_store_n(&c->stdin_want, (u32)want, __ATOMIC_SEQ_CST);
			ring_doorbell();
		}
		err = stream_wait(s, ring_used(r) || stdin_end(r));
		if (err)
			break;
	}
	if (!err) {
		u32 tail = r->tail;
		size_t n = min(want, (size_t)ring_used(r));

		while (done < n) {
			u32 at = (tail + (u32)done) & RING_MASK;
			size_t chunk = min(n - done, (size_t)(CTL_RING_SIZE - at));
			size_t k = iov_copy_to(to, s->data + at, chunk);

			done += k;
			if (k < chunk) {
				err = -EFAULT;
				break;
			}
		}
		__atomic_store_n(&r->tail, tail + (u32)done, __ATOMIC_RELEASE);
		if (!ring_used(r) && !stdin_end(r))
			__atomic_store_n(&c->stdin_ready, 0, __ATOMIC_RELEASE);
		if (__atomic_load_n(&r->producer_waiting, __ATOMIC_SEQ_CST))
			ring_doorbell();
	}
	stream_unlock(s);
	return done ? (ssize_t)done : err;
}

static bool can_read(const struct stream *s)
{
	return s == &streams[0];
}

static u32 stdin_mask(struct stream *s)
{
	struct ctl_ring *r = s->ring;
	bool end = stdin_end(r);

	if (ring_used(r) || s->kind == CTL_STREAM_FILE || (end && s->kind != CTL_STREAM_PIPE) ||
	    (!end && __atomic_load_n(&ctl()->stdin_ready, __ATOMIC_SEQ_CST)))
		return EPOLLIN | EPOLLRDNORM | (end && s->kind == CTL_STREAM_PIPE ? EPOLLHUP : 0);
	return end ? EPOLLHUP : 0;
}

static u32 stream_poll(struct file *f, struct poll_table *pt)
{
	struct stream *s = f->priv;
	struct ctl_ring *r = s->ring;
	struct control *c = ctl();
	u32 mask;

	poll_wait(pt, f, &s->wait);
	if (can_read(s)) {
		mask = stdin_mask(s);
		if (!mask && !__atomic_load_n(&c->stdin_poll, __ATOMIC_SEQ_CST)) {
			__atomic_store_n(&c->stdin_poll, 1, __ATOMIC_SEQ_CST);
			ring_doorbell();
			/*
			 * The answer comes from outside. Who only looks (a poll that does not wait)
			 * would never see it, so the first look after a change gives the supervisor
			 * a moment.
			 */
			if (!pt || !pt->queue) {
				host_futex_wait(&c->stdin_ready, 0, host_clock_ns(1) + ANSWER_TIME,
						true);
				mask = stdin_mask(s);
			}
		}
		return mask;
	}
	if (closed_errno(r))
		return EPOLLOUT | EPOLLWRNORM | EPOLLERR;
	if (ring_space(r) >= PIPE_BUF_SIZE)
		return EPOLLOUT | EPOLLWRNORM;
	__atomic_store_n(&r->producer_waiting, 1, __ATOMIC_SEQ_CST);
	if (ring_space(r) >= PIPE_BUF_SIZE)
		return EPOLLOUT | EPOLLWRNORM;
	ring_doorbell();
	return 0;
}

void stdio_kick(void)
{
	for (int i = 0; i < 3; i++) {
		struct stream *s = &streams[i];

		if (!s->ring || !waitq_active(&s->wait))
			continue;
		if (can_read(s)) {
			if (ring_used(s->ring) || stdin_end(s->ring) ||
			    __atomic_load_n(&ctl()->stdin_ready, __ATOMIC_ACQUIRE))
				waitq_wake(&s->wait, EPOLLIN | EPOLLRDNORM, 0);
		} else if (ring_space(s->ring) >= PIPE_BUF_SIZE || closed_errno(s->ring)) {
			waitq_wake(&s->wait, EPOLLOUT | EPOLLWRNORM, 0);
		}
	}
}

/*
 * A terminal's modes are remembered, so that programs that set and restore them work; the host's
 * terminal is not changed by them.
 */
static long tty_ioctl(struct stream *s, unsigned cmd, u64 arg)
{
	struct ctl_winsize *w = &ctl()->boot.winsize;
	struct proc *p = current_proc();
	u16 ws[4];

	switch (cmd) {
	case TCGETS:
		return copy_to_user((void *)arg, &tty_termios, sizeof(tty_termios));
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return copy_from_user(&tty_termios, (void *)arg, sizeof(tty_termios));
	case TIOCGWINSZ:
		ws[0] = w->rows;
		ws[1] = w->cols;
		ws[2] = w->xpixel;
		ws[3] = w->ypixel;
		return copy_to_user((void *)arg, ws, sizeof(ws));
	case TIOCGPGRP:
		return put_user_u32((u32)p->pgid, (void *)arg);
	case TIOCGSID:
		return put_user_u32((u32)p->sid, (void *)arg);
	case TCFLSH:
	case TCXONC:
	case TCSBRK:
	case TCSBRKP:
		return 0;
	case TIOCSPGRP:
		return -ENOTTY; /* no job control terminal: as for a process in another session */
	}
	return -ENOTTY;
}

static long stream_ioctl(struct file *f, unsigned cmd, u64 arg)
{
	struct stream *s = f->priv;

	if (cmd == FIONREAD && can_read(s) && s->kind != CTL_STREAM_NULL)
		return put_user_u32(ring_used(s->ring), (void *)arg);
	if (cmd == TIOCOUTQ && s->kind == CTL_STREAM_TTY)
		return put_user_u32(ring_used(s->ring), (void *)arg);
	return s->kind == CTL_STREAM_TTY ? tty_ioctl(s, cmd, arg) : -ENOTTY;
}

static int stream_getattr(struct file *f, struct kstat *st)
{
	struct stream *s = f->priv;
	struct proc *p = current_proc();

	memset(st, 0, sizeof(*st));
	st->nlink = 1;
	st->uid = p->cred.uid;
	st->gid = p->cred.gid;
	st->blksize = 4096;
	st->ino = 3 + (u64)(s - streams);
	st->atime = st->mtime = st->ctime = st->btime = ns_to_timespec(clock_realtime_ns());
	switch (s->kind) {
	case CTL_STREAM_TTY:
		st->mode = S_IFCHR | 0620;
		st->dev = MKDEV(0, 24);
		st->rdev = MKDEV(136, 0);
		st->ino = 3;
		st->blksize = 1024;
		break;
	case CTL_STREAM_FILE:
		st->mode = S_IFREG | 0644;
		st->dev = MKDEV(0, 25);
		break;
	default:
		st->mode = S_IFIFO | 0600;
		st->dev = MKDEV(0, 13);
	}
	return 0;
}

#define STREAM_OPS(kind_name)                                                                      \
	{                                                                                          \
		.name = kind_name, .read = stream_read, .write = stream_write,                     \
		.poll = stream_poll, .ioctl = stream_ioctl, .getattr = stream_getattr,             \
	}
static const struct file_ops tty_ops = STREAM_OPS("tty");
static const struct file_ops pipe_ops = STREAM_OPS("pipe");

static void termios_init(struct termios *t)
{
	static const u8 cc[NCCS] = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22};

	t->c_iflag = ICRNL | IXON;
	t->c_oflag = OPOST | ONLCR;
	t->c_cflag = B38400 | CS8 | CREAD;
	t->c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
	memcpy(t->c_cc, cc, sizeof(cc));
}

int stdio_open_tty(struct file *f)
{
	for (int i = 0; i < 3; i++)
		if (streams[i].kind == CTL_STREAM_TTY && streams[i].ring) {
			f->ops = &tty_ops;
			f->priv = &streams[i];
			return 0;
		}
	return -ENXIO;
}

int stdio_init(void)
{
	struct control *c = ctl();
	struct fdtable *t = init_proc->fdt;

	termios_init(&tty_termios);
	for (int i = 0; i < 3; i++) {
		u32 kind = c->boot.stream_kind[i], flags = i ? O_WRONLY : O_RDONLY;
		struct stream *s = &streams[i];
		struct file *f;

		if (kind == CTL_STREAM_CLOSED)
			continue;
		if (i == 2 && c->boot.flags & CTL_BOOT_STDERR_IS_STDOUT &&
		    c->boot.stream_kind[1] != CTL_STREAM_CLOSED) {
			f = fd_get_any(t, 1);
		} else if (kind == CTL_STREAM_NULL) {
			f = null_file(O_RDWR);
		} else {
			int ring = CTL_RING_STDIN + i;

			s->ring = &c->rings[ring];
			s->data = (u8 *)LIBOS_CONTROL_BASE + CTL_RING_OFF(ring);
			s->kind = kind;
			waitq_init(&s->busy_wait);
			waitq_init(&s->wait);
			f = file_alloc(kind == CTL_STREAM_TTY ? &tty_ops : &pipe_ops,
				       kind == CTL_STREAM_TTY ? O_RDWR : flags, s);
		}
		if (!f)
			return -ENOMEM;
		if (fd_install_at(t, f, i, 0) < 0)
			return -ENOMEM;
	}
	return 0;
}
