/*
 * netexit.c - the network when the program has ended: what was sent leaves the instance, and peers
 * hear the end.
 *
 * The instance ends with its program, and with it the stack that would retransmit. So its end is
 * delayed, as long as the peers acknowledge; most often that is one round trip. A peer that says
 * nothing delays it by STALL_NS.
 */
#include "libos/net/ipv4.h"
#include "libos/net/poll.h"
#include "libos/net/tcp.h"
#include "libos/sched/uthread.h"
#include "libos/time/clock.h"

#define STALL_NS NSEC_PER_SEC /* without progress: three retransmissions at the least RTO */
#define LIMIT_NS (10 * NSEC_PER_SEC)
#define DEVICE_NS (20 * NSEC_PER_MSEC) /* for the device to take frames that nobody acknowledges   \
					*/
#define NAP_MAX_NS (5 * NSEC_PER_MSEC)

/* What others must answer first: acknowledgements, and the link-layer address of a next hop. */
static u64 unanswered(void)
{
	return (u64)tcp_exit_unfinished() + arp_waiting();
}

bool net_exit_begin(void)
{
	if (!net_started())
		return false;
	tcp_exit();
	net_poll(this_kthread()); /* also gets back what the device has sent */
	return unanswered() || virtio_unsent();
}

void net_exit_wait(void)
{
	u64 begin = clock_monotonic_ns(), progress = begin, now = begin,
	    last = unanswered(), nap = 50000;

	while (now - begin < LIMIT_NS) {
		u64 left = unanswered();

		if (left != last)
			progress = now;
		last = left;
		if (now - progress > (left ? STALL_NS : DEVICE_NS) || (!left && !virtio_unsent()))
			break;
		uthread_prepare(UT_UNINTERRUPTIBLE);
		uthread_schedule(now + nap);
		uthread_running();
		nap = min(2 * nap, NAP_MAX_NS);
		now = clock_monotonic_ns();
	}
}
