/*
 * ring.c - the supervisor's ends of the byte rings, against a peer that may be hostile.
 */
#include "loader/ring.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert((CTL_RING_SIZE & (CTL_RING_SIZE - 1)) == 0, "indices wrap at a power of two");

void ring_init(struct ring_end *r, struct control *control, enum ctl_ring_id id)
{
	r->shared = &control->rings[id];
	r->data = (uint8_t *)control + CTL_RING_OFF(id);
	r->index = 0;
}

int64_t ring_readable(const struct ring_end *r)
{
	uint32_t n = __atomic_load_n(&r->shared->head, __ATOMIC_ACQUIRE) - r->index;

	return n <= CTL_RING_SIZE ? (int64_t)n : -1;
}

int64_t ring_writable(const struct ring_end *r)
{
	uint32_t n = r->index - __atomic_load_n(&r->shared->tail, __ATOMIC_ACQUIRE);

	return n <= CTL_RING_SIZE ? (int64_t)(CTL_RING_SIZE - n) : -1;
}

int ring_pieces(const struct ring_end *r, uint32_t len, struct iovec iov[2])
{
	uint32_t off = r->index & (CTL_RING_SIZE - 1), first = CTL_RING_SIZE - off;

	if (!len)
		return 0;
	iov[0] = (struct iovec){r->data + off, len < first ? len : first};
	if (len <= first)
		return 1;
	iov[1] = (struct iovec){r->data, len - first};
	return 2;
}

bool ring_consume(struct ring_end *r, uint32_t len)
{
	r->index += len;
	__atomic_store_n(&r->shared->tail, r->index, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&r->shared->producer_waiting, __ATOMIC_SEQ_CST))
		return false;
	__atomic_store_n(&r->shared->producer_waiting, 0, __ATOMIC_SEQ_CST);
	return true;
}

void ring_produce(struct ring_end *r, uint32_t len)
{
	r->index += len;
	__atomic_store_n(&r->shared->head, r->index, __ATOMIC_SEQ_CST);
}

void ring_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void ring_kick(struct control *control, int pidfd)
{
	int saved = errno;

	if (__atomic_load_n(&control->state, __ATOMIC_SEQ_CST) == CTL_RUNNING)
		syscall(SYS_pidfd_send_signal, pidfd, CTL_KICK_SIGNAL, NULL, 0);
	errno = saved;
}

bool ring_signal(struct control *control, int pidfd, int sig)
{
	uint64_t bit = 1ull << (sig - 1);
	bool taken = !(__atomic_fetch_or(&control->host_signals, bit, __ATOMIC_SEQ_CST) & bit);

	ring_kick(control, pidfd);
	return taken;
}
