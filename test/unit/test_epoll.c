/*
 * test_epoll.c - epoll's ready list, registrations and nesting, on the host with one thread.
 *
 * The descriptor table, user copies and the scheduler are stand-ins; epoll.c and wait.c are the real ones.
 * A wait that would sleep ends the test.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "libos/ipc/epoll.h"
#include "libos/ipc/pipe.h"
#include "libos/mm/alloc.h"
#include "libos/net/netif.h"
#include "libos/sched/uthread.h"
#include "libos/sched/wait.h"

long sys_epoll_create1(int flags);
long sys_epoll_ctl(int epfd, int op, int fd, u64 uevent);
long sys_epoll_wait(int epfd, u64 uevents, int max, int timeout_ms);

/* Stand-ins */

__thread struct uthread *hosted_current;
struct kthread kthreads[CTL_MAX_KTHREADS];
static struct uthread thread;

#define NR_FDS 64
static struct file *fds[NR_FDS];
static long allocated; /* bytes that the code under test holds */
static int copies_until_fault = -1;

void *kmalloc(size_t n)
{
	allocated += n;
	return malloc(n);
}

void *kzalloc(size_t n)
{
	allocated += n;
	return calloc(1, n);
}

void kfree(void *p, size_t n)
{
	allocated -= n;
	free(p);
}

int copy_to_user(void *dst, const void *src, size_t n)
{
	if (copies_until_fault == 0)
		return -EFAULT;
	copies_until_fault -= copies_until_fault > 0;
	memcpy(dst, src, n);
	return 0;
}

int copy_from_user(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

void file_put(struct file *f)
{
	if (--f->refs)
		return;
	if (!list_empty(&f->ep_links))
		epoll_file_release(f);
	if (f->ops->release)
		f->ops->release(f);
	free(f);
}

struct file *fd_get(int fd)
{
	struct file *f = fd >= 0 && fd < NR_FDS ? fds[fd] : NULL;

	if (f)
		f->refs++;
	return f;
}

static int fd_put_in(const struct file_ops *ops, void *priv)
{
	struct file *f = calloc(1, sizeof(*f));

	f->ops = ops;
	f->priv = priv;
	f->refs = 1;
	list_init(&f->ep_links);
	for (int fd = 3; fd < NR_FDS; fd++) {
		if (!fds[fd]) {
			fds[fd] = f;
			return fd;
		}
	}
	cr_assert_fail("out of descriptors");
	return -1;
}

static void close_fd(int fd)
{
	struct file *f = fds[fd];

	fds[fd] = NULL;
	file_put(f);
}

static int dup_fd(int fd, int to)
{
	fds[to] = fds[fd];
	fds[to]->refs++;
	return to;
}

int anon_install(const struct file_ops *ops, void *priv, u32 oflags, bool cloexec)
{
	return fd_put_in(ops, priv);
}

int anon_getattr(struct file *f, struct kstat *st)
{
	return 0;
}

u64 host_clock_ns(int clock)
{
	return 1;
}

int timeout_from_timespec(u64 uts, u64 *deadline)
{
	*deadline = 0;
	return 0;
}

int signal_set_mask_for_call(u64 uset, size_t size)
{
	return 0;
}

void signal_restore_mask_if(bool interrupted)
{
}

void net_poll_due(struct kthread *kt)
{
}

void spin_lock_slow(spinlock_t *l)
{
	cr_assert_fail("a lock was taken twice");
}

void uthread_prepare(enum uthread_state state)
{
}

void uthread_running(void)
{
}

bool uthread_schedule(u64 deadline_ns)
{
	cr_assert_fail("would sleep");
	return false;
}

bool uthread_wake(struct uthread *ut)
{
	return true;
}

/* A file that is ready when it is told so. */

struct source {
	struct waitq wait;
	u32 ready;
};

static u32 source_poll(struct file *f, struct poll_table *pt)
{
	struct source *s = f->priv;

	poll_wait(pt, f, &s->wait);
	return s->ready;
}

static void source_release(struct file *f)
{
	cr_assert(list_empty(&((struct source *)f->priv)->wait.head), "a hook stayed on a dead file");
}

static const struct file_ops source_ops = { .name = "source", .poll = source_poll, .release = source_release };
static const struct file_ops plain_ops = { .name = "plain" };

static struct source src[16];

static int open_source(int i)
{
	waitq_init(&src[i].wait);
	return fd_put_in(&source_ops, &src[i]);
}

static void signal_source(int i, u32 events)
{
	src[i].ready |= events;
	waitq_wake(&src[i].wait, events, 1);
}

/* Short forms */

static int ep;

static long ctl(int e, int op, int fd, u32 events, u64 data)
{
	struct epoll_event ev = { events, { .u64 = data } };

	return sys_epoll_ctl(e, op, fd, (u64)&ev);
}

static long add(int fd, u32 events, u64 data)
{
	return ctl(ep, EPOLL_CTL_ADD, fd, events, data);
}

/* What is ready, as "data data ..."; at most max at once. */
static const char *ready(int e, int max)
{
	static char text[256];
	struct epoll_event ev[16];
	long n = sys_epoll_wait(e, (u64)ev, max, 0);
	size_t at = 0;

	text[0] = 0;
	if (n < 0)
		snprintf(text, sizeof(text), "error %ld", -n);
	for (long i = 0; i < n; i++)
		at += snprintf(text + at, sizeof(text) - at, i ? " %lu" : "%lu", (unsigned long)ev[i].data.u64);
	return text;
}

static void setup(void)
{
	hosted_current = &thread;
	ep = sys_epoll_create1(0);
}

static void teardown(void)
{
	for (int fd = 0; fd < NR_FDS; fd++)
		if (fds[fd])
			close_fd(fd);
	cr_assert_eq(allocated, 0, "%ld bytes were not freed", allocated);
}

TestSuite(epoll, .init = setup, .fini = teardown);

Test(epoll, level_triggered_items_take_turns)
{
	for (int i = 0; i < 3; i++) {
		int fd = open_source(i);

		cr_assert_eq(add(fd, EPOLLIN, i), 0);
		signal_source(i, EPOLLIN);
	}
	cr_assert_str_eq(ready(ep, 2), "0 1");
	cr_assert_str_eq(ready(ep, 2), "2 0");
	cr_assert_str_eq(ready(ep, 2), "1 2");
	src[1].ready = 0;
	cr_assert_str_eq(ready(ep, 10), "0 2");
	cr_assert_str_eq(ready(ep, 10), "0 2");
}

Test(epoll, edge_triggered_items_come_once_an_event)
{
	cr_assert_eq(add(open_source(0), EPOLLIN | EPOLLET, 7), 0);
	cr_assert_str_eq(ready(ep, 10), "");
	signal_source(0, EPOLLIN);
	cr_assert_str_eq(ready(ep, 10), "7");
	cr_assert_str_eq(ready(ep, 10), "");
	signal_source(0, EPOLLIN);
	signal_source(0, EPOLLIN);
	cr_assert_str_eq(ready(ep, 10), "7");
	cr_assert_str_eq(ready(ep, 10), "");
	/* MOD asks again */
	cr_assert_eq(ctl(ep, EPOLL_CTL_MOD, 4, EPOLLIN | EPOLLET, 8), 0);
	cr_assert_str_eq(ready(ep, 10), "8");
}

Test(epoll, one_shot_items_rest_until_they_are_armed_again)
{
	int fd = open_source(0);

	cr_assert_eq(add(fd, EPOLLIN | EPOLLONESHOT, 1), 0);
	signal_source(0, EPOLLIN);
	cr_assert_str_eq(ready(ep, 10), "1");
	signal_source(0, EPOLLIN);
	cr_assert_str_eq(ready(ep, 10), "");
	cr_assert_eq(ctl(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, 2), 0);
	cr_assert_str_eq(ready(ep, 10), "2");
}

Test(epoll, a_fault_loses_no_event_and_keeps_the_order)
{
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(add(open_source(i), EPOLLIN | EPOLLET, i), 0);
		signal_source(i, EPOLLIN);
	}
	copies_until_fault = 0;
	cr_assert_str_eq(ready(ep, 10), "error 14");
	copies_until_fault = 2;
	cr_assert_str_eq(ready(ep, 10), "0 1");
	copies_until_fault = -1;
	cr_assert_str_eq(ready(ep, 10), "2 3");
}

Test(epoll, a_registration_lives_as_long_as_the_open_file)
{
	int fd = open_source(0), copy = dup_fd(fd, 40);

	cr_assert_eq(add(fd, EPOLLIN, 1), 0);
	signal_source(0, EPOLLIN);
	close_fd(fd);
	cr_assert_str_eq(ready(ep, 10), "1", "the copy keeps it");
	cr_assert_eq(add(copy, EPOLLIN, 2), 0, "a pair of its own");
	cr_assert_str_eq(ready(ep, 10), "1 2");
	close_fd(copy);
	cr_assert_str_eq(ready(ep, 10), "");
}

Test(epoll, errors)
{
	int fd = open_source(0), plain = fd_put_in(&plain_ops, NULL);

	cr_assert_eq(add(fd, EPOLLIN, 1), 0);
	cr_assert_eq(add(fd, EPOLLIN, 1), -EEXIST);
	cr_assert_eq(add(plain, EPOLLIN, 1), -EPERM);
	cr_assert_eq(add(50, EPOLLIN, 1), -EBADF);
	cr_assert_eq(add(ep, EPOLLIN, 1), -EINVAL);
	cr_assert_eq(ctl(50, EPOLL_CTL_ADD, fd, 0, 0), -EBADF);
	cr_assert_eq(ctl(fd, EPOLL_CTL_ADD, ep, 0, 0), -EINVAL);
	cr_assert_eq(ctl(ep, EPOLL_CTL_DEL, fd, 0, 0), 0);
	cr_assert_eq(ctl(ep, EPOLL_CTL_DEL, fd, 0, 0), -ENOENT);
	cr_assert_eq(ctl(ep, EPOLL_CTL_MOD, fd, 0, 0), -ENOENT);
	cr_assert_eq(ctl(ep, 9, fd, 0, 0), -EINVAL);
	cr_assert_eq(add(fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1), -EINVAL);
	cr_assert_eq(add(fd, EPOLLIN | EPOLLEXCLUSIVE, 1), 0);
	cr_assert_eq(ctl(ep, EPOLL_CTL_MOD, fd, EPOLLIN, 1), -EINVAL);
	cr_assert_eq(sys_epoll_wait(ep, 0x1000, 0, 0), -EINVAL);
	cr_assert_eq(sys_epoll_wait(fd, 0x1000, 1, 0), -EINVAL);
}

Test(epoll, sets_watch_sets)
{
	int fd = open_source(0), outer = sys_epoll_create1(0);

	cr_assert_eq(add(fd, EPOLLIN, 1), 0);
	cr_assert_eq(ctl(outer, EPOLL_CTL_ADD, ep, EPOLLIN, 2), 0);
	cr_assert_str_eq(ready(outer, 10), "");
	signal_source(0, EPOLLIN);
	cr_assert_str_eq(ready(outer, 10), "2");
	cr_assert_str_eq(ready(outer, 10), "2", "asking uses nothing up");
	cr_assert_str_eq(ready(ep, 10), "1");
	src[0].ready = 0;
	cr_assert_str_eq(ready(outer, 10), "");
}

Test(epoll, no_cycles_and_no_deep_chains)
{
	int chain[7];

	for (int i = 0; i < 7; i++)
		chain[i] = sys_epoll_create1(0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(ctl(chain[i], EPOLL_CTL_ADD, chain[i + 1], EPOLLIN, 0), 0, "link %d", i);
	cr_assert_eq(ctl(chain[4], EPOLL_CTL_ADD, chain[5], EPOLLIN, 0), -ELOOP, "five sets are enough");
	cr_assert_eq(ctl(chain[6], EPOLL_CTL_ADD, chain[0], EPOLLIN, 0), -ELOOP);
	cr_assert_eq(ctl(chain[3], EPOLL_CTL_ADD, chain[0], EPOLLIN, 0), -ELOOP, "a cycle");
	cr_assert_eq(ctl(chain[0], EPOLL_CTL_DEL, chain[1], 0, 0), 0);
	cr_assert_eq(ctl(chain[4], EPOLL_CTL_ADD, chain[5], EPOLLIN, 0), 0, "room again");
	close_fd(chain[2]);
	cr_assert_eq(ctl(chain[3], EPOLL_CTL_ADD, chain[1], EPOLLIN, 0), 0);
}

/* Random adding, removing, signalling and waiting against a model; every ready item must come out in one round. */
Test(epoll, random_against_a_model)
{
	unsigned seed = 4711;
	int fd[16];
	bool in[16] = { false };

	cr_log_info("seed %u", seed);
	srand(seed);
	for (int i = 0; i < 16; i++)
		fd[i] = open_source(i);
	for (int step = 0; step < 20000; step++) {
		int i = rand() % 16;

		switch (rand() % 6) {
		case 0:
			cr_assert_eq(add(fd[i], EPOLLIN, i), in[i] ? -EEXIST : 0);
			in[i] = true;
			break;
		case 1:
			cr_assert_eq(ctl(ep, EPOLL_CTL_DEL, fd[i], 0, 0), in[i] ? 0 : -ENOENT);
			in[i] = false;
			break;
		case 2:
		case 3:
			signal_source(i, EPOLLIN);
			break;
		case 4:
			src[i].ready = 0;
			break;
		case 5: {
			struct epoll_event ev[16];
			long n = sys_epoll_wait(ep, (u64)ev, 16, 0);
			u32 got = 0, want = 0;

			for (long k = 0; k < n; k++)
				got |= 1u << ev[k].data.u64;
			for (int k = 0; k < 16; k++)
				want |= in[k] && src[k].ready ? 1u << k : 0;
			cr_assert_eq(got, want, "step %d: got %#x want %#x", step, got, want);
		}
		}
	}
}
