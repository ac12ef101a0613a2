/*
 * poll.c - the receive loop: what makes packets that arrived move, and when.
 *
 * net_poll() is called by a kthread that is idle, that switches uthreads, that was kicked, or at
 * the end of a socket call. It serves the kthread's own queues first and then those of kthreads
 * that do not run: a queue whose kthread is parked is never left to wait while another runs.
 *
 * An instance that never makes a socket of the Internet families and has no NIC pays a flag that is
 * not set: pool, backlogs and tables come with the first socket (net_start).
 */
#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/mm/alloc.h"
#include "libos/net/poll.h"
#include "libos/net/tcp.h"
#include "libos/sched/sched.h"

/* The pool without a NIC: arena memory, of which only what is used at once comes to be. */
#define POOL_MAX (32ul << 20)
#define POOL_MIN (2ul << 20)

static struct control *const ctl = (struct control *)LIBOS_CONTROL_BASE;
static spinlock_t start_lock;
static u32 started;

/* Is nobody standing there who would look at this kthread's queues? */
static bool not_running(u32 id)
{
	u32 state = __atomic_load_n(&ctl->kthreads[id].word, __ATOMIC_ACQUIRE) & CTL_KT_STATE_MASK;

	return state != CTL_KT_RUNNING && state != CTL_KT_SPINNING;
}

static int start_all(void)
{
	int err = 0;

	if (!nbuf_total()) {
		u64 size = min(max(ctl->boot.arena_size / 8, POOL_MIN), POOL_MAX);
		void *base = alloc_untouched(size);

		err = base ? nbuf_init(base, size / NBUF_SIZE) : -ENOMEM;
	}
	if (!err)
		err = loopback_start(nr_kthreads);
	if (!err)
		err = tcp_init();
	return err;
}

int net_start(void)
{
	int err = 0;

	if (__atomic_load_n(&started, __ATOMIC_ACQUIRE))
		return 0;
	spin_lock(&start_lock);
	if (!started) {
		err = start_all();
		if (!err)
			__atomic_store_n(&started, 1, __ATOMIC_RELEASE);
	}
	spin_unlock(&start_lock);
	return err;
}

bool net_started(void)
{
	return __atomic_load_n(&started, __ATOMIC_ACQUIRE);
}

int net_init(const struct control_boot *boot)
{
	int err;

	loopback_add();
	if (!boot->net.region_size)
		return 0;
	err = virtio_add((void *)LIBOS_NIC_BASE, boot->net.region_size, nr_kthreads);
	if (!err)
		err = net_start();
	if (!err)
		err = ipv4_configure(&boot->net, virtio_netif());
	return err;
}

bool net_poll(struct kthread *kt)
{
	bool did;

	if (!__atomic_load_n(&started, __ATOMIC_ACQUIRE) || kt->polling)
		return false;
	kt->polling = true;
	kt->polled = __builtin_ia32_rdtsc();
	if (kt->work & KT_WORK_NET)
		__atomic_fetch_and(&kt->work, ~KT_WORK_NET, __ATOMIC_RELAXED);
	did = loopback_poll(kt->id);
	if (virtio_netif()) {
		struct ctl_kthread *c = &ctl->kthreads[kt->id];

		/* What the scheduler goes by when it wonders whether we see our packets. */
		WRITE_ONCE(c->rx_polls, c->rx_polls + 1);
		if (virtio_poll(kt->id, not_running)) {
			did = true;
			loopback_poll(
				kt->id); /* a packet from outside may cause one to ourselves */
		}
	}
	kt->polling = false;
	/* What loopback_poll() left when it had done enough. */
	if (unlikely(loopback_pending(kt->id)))
		__atomic_fetch_or(&kt->work, KT_WORK_NET, __ATOMIC_RELAXED);
	return did;
}

bool net_pending(struct kthread *kt)
{
	if (!__atomic_load_n(&started, __ATOMIC_ACQUIRE) || kt->polling)
		return false;
	return loopback_pending(kt->id) || (virtio_netif() && virtio_pending(kt->id, not_running));
}

void net_poll_due(struct kthread *kt)
{
	if (READ_ONCE(started) &&
	    (loopback_pending(kt->id) ||
	     (virtio_netif() && __builtin_ia32_rdtsc() - kt->polled > NET_POLL_CYCLES)))
		net_poll(kt);
}

bool net_has_nic(void)
{
	return virtio_netif();
}

u64 net_deadline(struct kthread *kt, u64 now)
{
	return virtio_netif() && virtio_backlogged(kt->id) ? now + NET_BACKLOG_NS : NEVER;
}

void net_events(struct kthread *kt, bool on)
{
	if (virtio_netif())
		virtio_events(kt->id, on);
}

void net_doorbell(void)
{
	if (virtio_netif())
		virtio_doorbell();
}
