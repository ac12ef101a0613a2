/*
 * pipe.c - pipes and FIFOs, as pipe(7) and fifo(7) say.
 *
 * A pipe is a ring of bytes under a mutex (user memory is copied while it is held), and two wait queues.
 * The buffer comes with the first byte, small at first, and grows to the capacity when it must: most pipes
 * carry little. Readers and writers wait exclusively: one event wakes one, who passes the wake-up
 * on if he leaves something behind.
 *
 * Lock order: fifo_lock -> nothing; pipe->lock -> wait queue locks. Ends are counted under pipe->lock.
 */
#include "libos/ipc/pipe.h"

#include <linux/capability.h>
#include <linux/eventpoll.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/ipc/pollbits.h"
#include "libos/ipc/ring.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/sched/wait.h"
#include "libos/signal/signal.h"

#define PIPE_BUF 4096u
#define PIPE_FIRST_SIZE 4096u
#define PIPE_DEFAULT_SIZE 65536u
#define PIPE_MAX_SIZE (1u << 20) /* fs.pipe-max-size: more takes CAP_SYS_RESOURCE */
#define FIONREAD 0x541b
#define SPLICE_F_NONBLOCK 2u
#define SPLICE_FLAGS 15u /* MOVE, NONBLOCK, MORE, GIFT */

struct pipe {
	struct mutex lock;
	struct byte_ring ring;
	u32 cap; /* bytes it may hold; the ring's buffer may be smaller yet */
	u32 readers, writers; /* open files */
	u32 r_opens, w_opens; /* ever opened: how an open FIFO sees that the other end came, even if it left */
	struct waitq rd_wait, wr_wait;
	u32 refs; /* under fifo_lock: files, and opens in progress */
	void **slot; /* of a FIFO's inode */
	u64 ino;
};

static spinlock_t fifo_lock;

static void buf_free(u8 *buf, u32 size)
{
	if (size)
		kfree(buf, size);
}

static struct pipe *pipe_alloc(void)
{
	struct pipe *p = kzalloc(sizeof(*p));

	if (!p)
		return NULL;
	mutex_init(&p->lock);
	waitq_init(&p->rd_wait);
	waitq_init(&p->wr_wait);
	p->cap = PIPE_DEFAULT_SIZE;
	p->ino = anon_new_ino();
	return p;
}

static void pipe_free(struct pipe *p)
{
	buf_free(p->ring.buf, p->ring.size);
	kfree(p, sizeof(*p));
}

/* Room for another byte if the capacity allows: 0 or -ENOMEM. */
static int pipe_grow(struct pipe *p, size_t want)
{
	u32 old_size = p->ring.size, size;
	u8 *buf, *old = p->ring.buf;

	if (likely(old_size == p->cap || ring_free(&p->ring) >= want))
		return 0;
	size = old_size || want > PIPE_FIRST_SIZE ? p->cap : min(PIPE_FIRST_SIZE, p->cap);
	buf = kmalloc(size);
	if (!buf)
		return ring_free(&p->ring) ? 0 : -ENOMEM;
	ring_move(&p->ring, buf, size);
	buf_free(old, old_size);
	return 0;
}

static u32 pipe_space(struct pipe *p)
{
	return p->cap - ring_used(&p->ring);
}

static inline bool pipe_readable(struct pipe *p)
{
	return ring_used_peek(&p->ring) || !READ_ONCE(p->writers);
}

static inline bool pipe_writable(struct pipe *p, u32 need)
{
	return READ_ONCE(p->cap) - ring_used_peek(&p->ring) >= need || !READ_ONCE(p->readers);
}

static ssize_t pipe_read(struct file *f, struct iov_iter *to, u64 *pos)
{
	struct pipe *p = f->priv;
	ssize_t done = 0;
	bool more;

	if (!to->count)
		return 0;
	for (;;) {
		long r;

		mutex_lock(&p->lock);
		if (ring_used(&p->ring))
			break;
		r = !p->writers ? 0 : f->flags & O_NONBLOCK ? -EAGAIN : 1;
		mutex_unlock(&p->lock);
		if (r <= 0)
			return r;
		r = wait_event_exclusive(&p->rd_wait, pipe_readable(p), NEVER);
		if (r)
			return r;
	}
	while (to->count && ring_used(&p->ring)) {
		u8 *src;
		u32 n = ring_read_span(&p->ring, &src), k;

		n = min((size_t)n, to->count);
		k = iov_copy_to(to, src, n);
		if (k < n) { /* what could not be copied whole stays */
			done = done ?: -EFAULT;
			break;
		}
		ring_consumed(&p->ring, n);
		done += n;
	}
	more = ring_used(&p->ring);
	mutex_unlock(&p->lock);
	if (done > 0)
		waitq_wake(&p->wr_wait, POLLOUT_BITS, 1);
	if (unlikely(more))
		waitq_wake(&p->rd_wait, POLLIN_BITS, 1);
	return done;
}

/* Takes what there is room for. -EFAULT: what the fault cut short of a page is not taken, as on Linux. */
static long pipe_fill(struct pipe *p, struct iov_iter *from, ssize_t *done)
{
	ssize_t before = *done;
	u32 n, k;
	u8 *dst;
	long r = pipe_grow(p, from->count);

	if (r)
		return r;
	while ((n = min((size_t)ring_write_span(&p->ring, &dst), from->count))) {
		k = iov_copy_from(from, dst, n);
		ring_produced(&p->ring, k);
		*done += k;
		if (k < n) {
			u32 undo = min(*done - before, *done % (ssize_t)PAGE_SIZE);

			p->ring.head -= undo;
			*done -= undo;
			return -EFAULT;
		}
	}
	return 0;
}

static ssize_t pipe_write(struct file *f, struct iov_iter *from, u64 *pos)
{
	struct pipe *p = f->priv;
	size_t total = from->count;
	/* At most PIPE_BUF bytes go in one piece or not at all. */
	u32 need = total <= PIPE_BUF ? total : 1;
	ssize_t done = 0;
	long r = 0;

	if (!total)
		return 0;
	mutex_lock(&p->lock);
	for (;;) {
		if (!p->readers) {
			r = -EPIPE;
			break;
		}
		if (pipe_space(p) >= need) {
			r = pipe_fill(p, from, &done);
			if (r || !from->count)
				break;
		}
		if (f->flags & O_NONBLOCK) {
			r = -EAGAIN;
			break;
		}
		mutex_unlock(&p->lock);
		if (done)
			waitq_wake(&p->rd_wait, POLLIN_BITS, 1);
		r = wait_event_exclusive(&p->wr_wait, pipe_writable(p, need), NEVER);
		mutex_lock(&p->lock);
		if (r)
			break;
	}
	/* Pass on a wake-up that we were given and leave something of. */
	bool room = pipe_space(p) >= PIPE_BUF;

	mutex_unlock(&p->lock);
	if (done)
		waitq_wake(&p->rd_wait, POLLIN_BITS, 1);
	if (room && waitq_active(&p->wr_wait))
		waitq_wake(&p->wr_wait, POLLOUT_BITS, 1);
	if (r == -EPIPE)
		signal_sigpipe();
	return done ? done : r;
}

static u32 pipe_poll(struct file *f, struct poll_table *pt)
{
	struct pipe *p = f->priv;
	u32 mask = 0, used;

	if (FMODE_CAN_READ(f))
		poll_wait(pt, f, &p->rd_wait);
	if (FMODE_CAN_WRITE(f))
		poll_wait(pt, f, &p->wr_wait);
	used = ring_used_peek(&p->ring);
	if (FMODE_CAN_READ(f)) {
		if (used)
			mask |= POLLIN_BITS;
		/* Not before a writer came at all: f->pos counts those before us. */
		if (!READ_ONCE(p->writers) && f->pos != READ_ONCE(p->w_opens))
			mask |= EPOLLHUP;
	}
	if (FMODE_CAN_WRITE(f)) {
		if (READ_ONCE(p->cap) - used >= PIPE_BUF)
			mask |= POLLOUT_BITS;
		if (!READ_ONCE(p->readers))
			mask |= EPOLLERR;
	}
	return mask;
}

static long pipe_ioctl(struct file *f, unsigned cmd, u64 arg)
{
	struct pipe *p = f->priv;

	if (cmd != FIONREAD)
		return -ENOTTY;
	mutex_lock(&p->lock);
	u32 used = ring_used(&p->ring);

	mutex_unlock(&p->lock);
	return put_user_u32(used, (void *)arg);
}

static void pipe_put(struct pipe *p)
{
	bool last;

	spin_lock(&fifo_lock);
	last = !--p->refs;
	if (last && p->slot)
		*p->slot = NULL;
	spin_unlock(&fifo_lock);
	if (last)
		pipe_free(p);
}

/* One end less: the others must see end of file or EPIPE. */
static void pipe_drop_ends(struct pipe *p, u32 readers, u32 writers)
{
	bool wake;

	mutex_lock(&p->lock);
	p->readers -= readers;
	p->writers -= writers;
	wake = !p->readers != !p->writers;
	mutex_unlock(&p->lock);
	if (wake) {
		waitq_wake(&p->rd_wait, POLLIN_BITS | EPOLLHUP, 0);
		waitq_wake(&p->wr_wait, POLLOUT_BITS | EPOLLERR, 0);
	}
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->priv;

	pipe_drop_ends(p, FMODE_CAN_READ(f), FMODE_CAN_WRITE(f));
	pipe_put(p);
}

#define PIPE_OPS \
	.name = "pipe", .read = pipe_read, .write = pipe_write, .poll = pipe_poll, .ioctl = pipe_ioctl, \
	.release = pipe_release

static int pipe_getattr(struct file *f, struct kstat *st)
{
	struct pipe *p = f->priv;

	anon_getattr(f, st);
	st->mode = S_IFIFO | 0600;
	st->ino = p->ino;
	st->dev = PIPEFS_DEV;
	return 0;
}

static const struct file_ops pipe_ops = { PIPE_OPS, .getattr = pipe_getattr };
static const struct file_ops fifo_ops = { PIPE_OPS }; /* its inode knows the attributes */

bool file_is_pipe(struct file *f)
{
	return f->ops == &pipe_ops || f->ops == &fifo_ops;
}

int fifo_open(struct file *f, void **slot)
{
	struct pipe *p, *fresh = pipe_alloc();
	bool rd = FMODE_CAN_READ(f), wr = FMODE_CAN_WRITE(f);
	u32 seen;
	long r = 0;

	if (!fresh)
		return -ENOMEM;
	spin_lock(&fifo_lock);
	p = *slot;
	if (!p) {
		*slot = p = fresh;
		p->slot = slot;
		fresh = NULL;
	}
	p->refs++;
	spin_unlock(&fifo_lock);
	if (fresh)
		pipe_free(fresh);

	mutex_lock(&p->lock);
	if (wr && !rd && f->flags & O_NONBLOCK && !p->readers) {
		mutex_unlock(&p->lock);
		pipe_put(p);
		return -ENXIO;
	}
	p->readers += rd;
	p->r_opens += rd;
	p->writers += wr;
	p->w_opens += wr;
	/* See pipe_poll: writers that left before we came are no hang-up to us. */
	f->pos = rd && !wr && !p->writers && f->flags & O_NONBLOCK ? p->w_opens : 0;
	seen = rd ? p->w_opens : p->r_opens;
	mutex_unlock(&p->lock);
	/* Those who wait in open for us, and those who poll. */
	waitq_wake(&p->rd_wait, 0, 0);
	waitq_wake(&p->wr_wait, 0, 0);
	if (rd && !wr && !(f->flags & O_NONBLOCK))
		r = wait_event(&p->rd_wait, READ_ONCE(p->writers) || READ_ONCE(p->w_opens) != seen, NEVER);
	else if (wr && !rd)
		r = wait_event(&p->wr_wait, READ_ONCE(p->readers) || READ_ONCE(p->r_opens) != seen, NEVER);
	if (r) {
		pipe_drop_ends(p, rd, wr);
		pipe_put(p);
		return r;
	}
	f->ops = &fifo_ops;
	f->priv = p;
	return 0;
}

static long pipe_set_size(struct pipe *p, u64 arg)
{
	u32 size = PAGE_SIZE;
	u8 *buf, *old;
	u32 old_size;
	long r;

	if (arg > 1u << 31)
		return -EINVAL;
	while (size < arg)
		size <<= 1;
	if (size > PIPE_MAX_SIZE && size > p->cap && !capable(CAP_SYS_RESOURCE))
		return -EPERM;
	mutex_lock(&p->lock);
	r = size;
	if (size < ring_used(&p->ring)) {
		r = -EBUSY;
	} else if (size < p->ring.size) {
		buf = kmalloc(size);
		if (!buf) {
			r = -ENOMEM;
		} else {
			old = p->ring.buf;
			old_size = p->ring.size;
			ring_move(&p->ring, buf, size);
			buf_free(old, old_size);
		}
	}
	if (r > 0)
		p->cap = size;
	mutex_unlock(&p->lock);
	if (r > 0)
		waitq_wake(&p->wr_wait, POLLOUT_BITS, 1);
	return r;
}

long pipe_fcntl(struct file *f, unsigned cmd, u64 arg)
{
	if (!file_is_pipe(f))
		return -EBADF;
	return cmd == F_GETPIPE_SZ ? READ_ONCE(((struct pipe *)f->priv)->cap) : pipe_set_size(f->priv, (u32)arg);
}

long sys_pipe2(void *ufds, u32 flags)
{
	struct file *rd, *wr;
	struct pipe *p;
	int fds[2], r = -ENOMEM;

	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL; /* packet mode (O_DIRECT) is not there */
	p = pipe_alloc();
	if (!p)
		return -ENOMEM;
	p->readers = p->writers = p->r_opens = p->w_opens = 1;
	p->refs = 2;
	rd = file_alloc(&pipe_ops, O_RDONLY | (flags & O_NONBLOCK), p);
	if (!rd)
		goto no_rd;
	wr = file_alloc(&pipe_ops, O_WRONLY | (flags & O_NONBLOCK), p);
	if (!wr)
		goto no_wr;
	r = fd_install_pair(rd, wr, flags & O_CLOEXEC ? FD_CLOEXEC : 0, fds);
	if (r)
		goto no_fds;
	if (copy_to_user(ufds, fds, sizeof(fds))) {
		fd_close(fds[0]);
		fd_close(fds[1]);
		return -EFAULT;
	}
	return 0;

no_fds:
	file_put(wr);
	file_put(rd);
	return r;
no_wr:
	p->refs--;
	file_put(rd);
	return r;
no_rd:
	pipe_free(p);
	return r;
}

long sys_pipe(void *ufds)
{
	return sys_pipe2(ufds, 0);
}

static void lock_two(struct pipe *a, struct pipe *b)
{
	mutex_lock(a < b ? &a->lock : &b->lock);
	mutex_lock(a < b ? &b->lock : &a->lock);
}

/* As much of `in` as there is room for goes to `out` and stays in `in`; 0: nothing could be done. */
static ssize_t copy_pipe(struct pipe *in, struct pipe *out, size_t len)
{
	struct byte_ring from = in->ring; /* a cursor: consuming it leaves the pipe as it is */
	size_t done = 0;

	len = min(len, (size_t)min(ring_used(&from), pipe_space(out)));
	if (!len || pipe_grow(out, len))
		return len ? -ENOMEM : 0;
	len = min(len, (size_t)ring_free(&out->ring));
	while (done < len) {
		u8 *src, *dst;
		size_t n = min(ring_read_span(&from, &src), ring_write_span(&out->ring, &dst));

		n = min(n, len - done);
		memcpy(dst, src, n);
		from.tail += n;
		ring_produced(&out->ring, n);
		done += n;
	}
	return done;
}

static ssize_t tee(struct pipe *in, struct pipe *out, size_t len, bool nonblock)
{
	for (;;) {
		bool empty, eof, broken;
		ssize_t n = 0;
		long r;

		lock_two(in, out);
		empty = !ring_used(&in->ring);
		eof = empty && !in->writers;
		broken = !out->readers;
		if (!broken)
			n = copy_pipe(in, out, len);
		mutex_unlock(&in->lock);
		mutex_unlock(&out->lock);
		if (n > 0)
			waitq_wake(&out->rd_wait, POLLIN_BITS, 1);
		if (n || eof)
			return n;
		if (broken)
			signal_sigpipe();
		if (broken || nonblock)
			return broken ? -EPIPE : -EAGAIN;
		r = empty ? wait_event(&in->rd_wait, pipe_readable(in), NEVER) :
			    wait_event(&out->wr_wait, pipe_writable(out, 1), NEVER);
		if (r)
			return r;
	}
}

long sys_tee(int fd_in, int fd_out, size_t len, u32 flags)
{
	struct file *in, *out;
	long r = -EBADF;

	if (flags & ~SPLICE_FLAGS)
		return -EINVAL;
	if (!len)
		return 0;
	in = fd_get(fd_in);
	out = fd_get(fd_out);
	if (in && out && FMODE_CAN_READ(in) && FMODE_CAN_WRITE(out)) {
		bool nonblock = flags & SPLICE_F_NONBLOCK || (in->flags | out->flags) & O_NONBLOCK;

		r = -EINVAL;
		if (file_is_pipe(in) && file_is_pipe(out) && in->priv != out->priv)
			r = tee(in->priv, out->priv, len, nonblock);
	}
	if (in)
		file_put(in);
	if (out)
		file_put(out);
	return r;
}
