/*
 * poll.c - poll, ppoll, select, pselect6.
 *
 * One pass asks every file without waiting; only if none is ready does a second pass put a waiter on
 * each wait queue, ask again, and sleep. A waiter keeps a reference to its file, so the queue stays.
 */
#include <linux/resource.h>

#include "libos/fs/file.h"
#include "libos/ipc/pollbits.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/usercopy.h"
#include "libos/net/netif.h"
#include "libos/proc/proc.h"
#include "libos/sched/wait.h"
#include "libos/signal/signal.h"
#include "libos/time/clock.h"

#define NR_INLINE 4 /* waiters without an allocation */
#define SMALL_POLL 8 /* descriptors without an allocation */
#define WAITERS_A_PAGE 56
#define FD_MAX (1u << 20)

struct poll_waiter {
	struct waiter w;
	struct waitq *q;
	struct file *f;
	struct poll_set *set;
	u32 events; /* that it waits for; ERR and HUP always */
};

struct waiter_page {
	struct waiter_page *next;
	u32 nr;
	struct poll_waiter v[WAITERS_A_PAGE];
};

struct poll_set {
	struct poll_table pt;
	struct uthread *ut;
	u32 triggered;
	u32 events; /* of the descriptor being added */
	u32 nr;
	bool nomem;
	struct waiter_page *pages;
	struct poll_waiter v[NR_INLINE];
};

static bool poll_wake(struct waiter *w, u32 events)
{
	struct poll_waiter *pw = container_of(w, struct poll_waiter, w);

	if (events && !(events & pw->events))
		return false;
	WRITE_ONCE(pw->set->triggered, 1);
	return uthread_wake(pw->set->ut);
}

static struct poll_waiter *new_waiter(struct poll_set *s)
{
	struct waiter_page *page = s->pages;

	if (s->nr < NR_INLINE)
		return &s->v[s->nr++];
	if (!page || page->nr == WAITERS_A_PAGE) {
		page = kmalloc(sizeof(*page));
		if (!page)
			return NULL;
		page->nr = 0;
		page->next = s->pages;
		s->pages = page;
	}
	return &page->v[page->nr++];
}

static void poll_queue(struct poll_table *pt, struct file *f, struct waitq *q)
{
	struct poll_set *s = container_of(pt, struct poll_set, pt);
	struct poll_waiter *pw = new_waiter(s);

	if (!pw) {
		s->nomem = true;
		return;
	}
	file_get(f);
	pw->f = f;
	pw->q = q;
	pw->set = s;
	pw->events = s->events;
	pw->w.ut = s->ut;
	pw->w.fn = poll_wake;
	pw->w.exclusive = false;
	waitq_add_waiter(q, &pw->w);
}

static void poll_set_init(struct poll_set *s)
{
	s->pt.queue = poll_queue;
	s->ut = current();
	s->triggered = 0;
	s->nr = 0;
	s->nomem = false;
	s->pages = NULL;
}

static void drop_waiter(struct poll_waiter *pw)
{
	waitq_del(pw->q, &pw->w);
	file_put(pw->f);
}

static void poll_set_free(struct poll_set *s)
{
	for (u32 i = 0; i < s->nr; i++)
		drop_waiter(&s->v[i]);
	while (s->pages) {
		struct waiter_page *page = s->pages;

		s->pages = page->next;
		for (u32 i = 0; i < page->nr; i++)
			drop_waiter(&page->v[i]);
		kfree(page, sizeof(*page));
	}
}

/*
 * Sleeps until a waiter of the set was called since the last time, a signal is pending, or the deadline has passed.
 * True: ask the files again; false: give up.
 */
static bool poll_sleep(struct poll_set *s, u64 deadline)
{
	bool late = false;

	for (;;) {
		uthread_prepare(UT_INTERRUPTIBLE);
		if (__atomic_exchange_n(&s->triggered, 0, __ATOMIC_SEQ_CST)) {
			uthread_running();
			return true;
		}
		if (late || signal_pending(s->ut)) {
			uthread_running();
			return false;
		}
		late = uthread_schedule(deadline);
	}
}

/*
 * Asks with ask(arg, set) how many descriptors are ready (set is NULL: only look), until there are some.
 * The count, 0 at the deadline (0: do not sleep), -ERESTARTNOHAND, or what ask returned.
 */
static long poll_loop(long (*ask)(void *arg, struct poll_set *set), void *arg, u64 deadline)
{
	struct poll_set set;
	long n;

	net_poll_due(this_kthread()); /* a program that never waits would not see packets otherwise */
	n = ask(arg, NULL);
	if (n || !deadline)
		return n;
	if (signal_pending(current()))
		return -ERESTARTNOHAND;
	poll_set_init(&set);
	n = ask(arg, &set);
	if (!n && set.nomem)
		n = -ENOMEM;
	while (!n) {
		if (!poll_sleep(&set, deadline)) {
			n = ask(arg, NULL);
			if (!n && signal_pending(current()) && clock_monotonic_ns() < deadline)
				n = -ERESTARTNOHAND;
			break;
		}
		n = ask(arg, NULL);
	}
	poll_set_free(&set);
	return n;
}

static inline u32 file_poll(struct file *f, struct poll_table *pt)
{
	return f->ops->poll ? f->ops->poll(f, pt) : POLLIN_BITS | POLLOUT_BITS;
}

/* poll */

struct pollfd_k {
	s32 fd;
	s16 events, revents;
};

struct poll_args {
	struct pollfd_k *fds;
	u32 n;
};

static long ask_pollfds(void *arg, struct poll_set *set)
{
	struct poll_args *a = arg;
	long ready = 0;

	for (u32 i = 0; i < a->n; i++) {
		struct pollfd_k *p = &a->fds[i];
		u32 want = (u16)p->events | EPOLLERR | EPOLLHUP, mask;
		struct file *f;

		p->revents = 0;
		if (p->fd < 0)
			continue;
		f = fd_get(p->fd);
		if (f) {
			if (set)
				set->events = want;
			mask = file_poll(f, set ? &set->pt : NULL) & want;
			file_put(f);
		} else {
			mask = POLLNVAL_BIT;
		}
		p->revents = mask;
		ready += mask != 0;
	}
	return ready;
}

static long do_poll(u64 ufds, u32 n, u64 deadline)
{
	struct pollfd_k small[SMALL_POLL];
	struct poll_args a = { small, n };
	size_t bytes = (size_t)n * sizeof(struct pollfd_k);
	long r;

	if (n > current_proc()->rlim[RLIMIT_NOFILE].cur)
		return -EINVAL;
	if (n > SMALL_POLL) {
		a.fds = kmalloc(bytes);
		if (!a.fds)
			return -ENOMEM;
	}
	r = -EFAULT;
	if (copy_from_user(a.fds, (void *)ufds, bytes))
		goto out;
	r = poll_loop(ask_pollfds, &a, deadline);
	if (r < 0)
		goto out;
	/* Only revents: the rest is the program's, and may be in use by another thread. */
	for (u32 i = 0; i < n; i++) {
		u64 at = ufds + i * sizeof(struct pollfd_k) + offsetof(struct pollfd_k, revents);

		if (copy_to_user((void *)at, &a.fds[i].revents, sizeof(s16))) {
			r = -EFAULT;
			break;
		}
	}
out:
	if (a.fds != small)
		kfree(a.fds, bytes);
	return r;
}

/* restart_args: fds, n, deadline. */
static long poll_restart(struct uthread *ut)
{
	long r = do_poll(ut->restart_args[0], ut->restart_args[1], ut->restart_args[2]);

	if (r != -ERESTARTNOHAND)
		return r;
	ut->restart_fn = poll_restart;
	return -ERESTART_RESTARTBLOCK;
}

long sys_poll(u64 ufds, u32 n, int timeout_ms)
{
	struct uthread *ut = current();
	u64 deadline = timeout_ms < 0 ? NEVER : 0;

	if (timeout_ms > 0)
		deadline = clock_monotonic_ns() + timeout_ms * NSEC_PER_MSEC;
	ut->restart_args[0] = ufds;
	ut->restart_args[1] = n;
	ut->restart_args[2] = deadline;
	return poll_restart(ut);
}

/*
 * The end of ppoll, select and pselect6: the mask comes back, the time that is left is told. If that
 * fails, the call cannot be restarted, since it would wait for the whole time again.
 */
static long finish(long r, u64 utimeout, u64 deadline, bool is_timeval)
{
	bool told = is_timeval ? timeout_left_timeval(utimeout, deadline) :
				 timeout_left_timespec(utimeout, deadline);

	return !told && r == -ERESTARTNOHAND ? -EINTR : r;
}

long sys_ppoll(u64 ufds, u32 n, u64 utimeout, u64 umask, size_t masksize)
{
	u64 deadline;
	long r = timeout_from_timespec(utimeout, &deadline);

	if (!r && umask)
		r = signal_set_mask_for_call(umask, masksize);
	if (r)
		return r;
	r = do_poll(ufds, n, deadline);
	if (umask)
		signal_restore_mask_if(r == -ERESTARTNOHAND);
	return finish(r, utimeout, deadline, false);
}

/* select */

struct select_args {
	u32 n; /* descriptors */
	u32 words; /* u64 words a set */
	u64 *in; /* three sets, then three for the answer */
	u64 *out;
};

static long ask_select(void *arg, struct poll_set *set)
{
	struct select_args *a = arg;
	u64 *rd = a->in, *wr = rd + a->words, *ex = wr + a->words;
	long ready = 0;

	memset(a->out, 0, 3 * a->words * sizeof(u64));
	for (u32 w = 0; w < a->words; w++) {
		u64 bits = rd[w] | wr[w] | ex[w];

		while (bits) {
			u32 b = __builtin_ctzll(bits), fd = w * 64 + b, want = 0, mask;
			u64 bit = 1ull << b;
			struct file *f;

			bits &= bits - 1;
			if (fd >= a->n)
				break;
			f = fd_get(fd);
			if (!f)
				return -EBADF;
			want |= rd[w] & bit ? SELECT_IN : 0;
			want |= wr[w] & bit ? SELECT_OUT : 0;
			want |= ex[w] & bit ? SELECT_EX : 0;
			if (set)
				set->events = want;
			mask = file_poll(f, set ? &set->pt : NULL);
			file_put(f);
			if (rd[w] & bit && mask & SELECT_IN)
				a->out[w] |= bit, ready++;
			if (wr[w] & bit && mask & SELECT_OUT)
				a->out[a->words + w] |= bit, ready++;
			if (ex[w] & bit && mask & SELECT_EX)
				a->out[2 * a->words + w] |= bit, ready++;
		}
	}
	return ready;
}

static long do_select(int n, u64 usets[3], u64 deadline)
{
	u64 small[6 * 2]; /* up to 128 descriptors */
	struct select_args a;
	size_t set_bytes, bytes;
	long r;

	if (n < 0)
		return -EINVAL;
	a.n = min((u32)n, FD_MAX);
	a.words = (a.n + 63) / 64;
	set_bytes = a.words * sizeof(u64);
	bytes = 6 * set_bytes;
	a.in = bytes <= sizeof(small) ? small : kmalloc(bytes);
	if (!a.in)
		return -ENOMEM;
	a.out = a.in + 3 * a.words;
	r = -EFAULT;
	for (int i = 0; i < 3; i++) {
		u64 *set = a.in + i * a.words;

		if (!usets[i])
			memset(set, 0, set_bytes);
		else if (copy_from_user(set, (void *)usets[i], set_bytes))
			goto out;
	}
	r = poll_loop(ask_select, &a, deadline);
	if (r < 0)
		goto out;
	for (int i = 0; i < 3; i++) {
		if (usets[i] && copy_to_user((void *)usets[i], a.out + i * a.words, set_bytes)) {
			r = -EFAULT;
			break;
		}
	}
out:
	if (a.in != small)
		kfree(a.in, bytes);
	return r;
}

long sys_select(int n, u64 urd, u64 uwr, u64 uex, u64 utimeout)
{
	u64 sets[3] = { urd, uwr, uex }, deadline;
	long r = timeout_from_timeval(utimeout, &deadline);

	if (r)
		return r;
	r = do_select(n, sets, deadline);
	return finish(r, utimeout, deadline, true);
}

long sys_pselect6(int n, u64 urd, u64 uwr, u64 uex, u64 utimeout, u64 usig)
{
	u64 sets[3] = { urd, uwr, uex }, deadline, sig[2] = { 0, 0 }; /* mask, its size */
	long r;

	if (usig && copy_from_user(sig, (void *)usig, sizeof(sig)))
		return -EFAULT;
	r = timeout_from_timespec(utimeout, &deadline);
	if (!r && sig[0])
		r = signal_set_mask_for_call(sig[0], sig[1]);
	if (r)
		return r;
	r = do_select(n, sets, deadline);
	if (sig[0])
		signal_restore_mask_if(r == -ERESTARTNOHAND);
	return finish(r, utimeout, deadline, false);
}
