/*
 * net_host.h - what libos/net needs around it, on the host and in virtual time: no network, no root, no waiting.
 *
 * The clock stands still until a test moves it; timers (the real sched/timer.c) and host events then run in
 * order. One thread; a spin lock that is taken twice ends the test. Memory is counted.
 */
#ifndef TEST_UNIT_NET_HOST_H
#define TEST_UNIT_NET_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libos/lib/types.h"
#include "libos/net/netif.h"
#include "libos/sched/wait.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

/* Once a process: clock, random numbers of `seed`, a pool of nbufs (0: 4096). Nothing of net is initialized. */
void net_host_start(u64 seed, u32 nbufs);

/* Ends the test with a message; through the hook if there is one (Criterion's), else by abort(). */
noreturn void net_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern void (*net_fail_hook)(const char *text);

/* Virtual time, ns. */
u64 net_now(void);
/* Moves the clock on by ns and runs what is due on the way, each thing at its own time. */
void net_advance(u64 ns);
#define advance_ms(n) net_advance((n) * MS)
/* Moves to the next timer or event, if it is due before `until`, and runs it; else moves to `until`: false. */
bool net_step(u64 until);
/* When the first armed timer is due, NEVER: none is armed. */
u64 net_next_timer(void);
u32 net_timers_armed(void);
/* What the heap of timers holds of kmalloc(): it grows and stays. */
long net_timer_heap_bytes(void);

/* Something of the test itself to happen at `when`. */
void net_at(u64 when, void (*fn)(void *arg), void *arg);
u32 net_events_waiting(void);
void net_events_drop(void (*drop)(void *arg));

/* Bytes that kmalloc() gave out and that are not given back. */
long net_allocated(void);
/* kmalloc() fails while more than `bytes` would be held; 0: no limit. */
void net_memory_limit(long bytes);

/* Seeded random numbers of the test. */
u32 net_random(u32 n);

/* Counts what is announced on a wait queue. */
struct net_watch {
	struct waiter w;
	u32 calls;
	u32 in, out, rdhup, hup, err; /* EPOLL* bits */
};
void net_watch(struct waitq *q, struct net_watch *w);
void net_unwatch(struct waitq *q, struct net_watch *w);

#endif
