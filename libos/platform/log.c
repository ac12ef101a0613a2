/*
 * log.c - the log ring, and panic.
 */
#include "libos/lib/printf.h"
#include "libos/lib/spinlock.h"
#include "libos/lib/string.h"
#include "libos/platform/hostcall.h"
#include "libos/platform/log.h"
#include "libos/sched/uthread.h"

static spinlock_t log_lock;

void ring_doorbell(void)
{
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;

	__atomic_fetch_add(&ctl->doorbell, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ctl->supervisor_waiting, __ATOMIC_SEQ_CST))
		host_futex_wake(&ctl->doorbell, 1, true);
}

void log_raw(const char *line, size_t n)
{
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;
	struct ctl_ring *r = &ctl->rings[CTL_RING_LOG];
	u8 *data = (u8 *)LIBOS_CONTROL_BASE + CTL_RING_OFF(CTL_RING_LOG);

	/* A tracer would rather be slow than lose lines: give the supervisor a moment. */
	for (int i = 0; i < 1000; i++) {
		if (CTL_RING_SIZE - (r->head - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE)) >= n)
			break;
		ring_doorbell();
		u32 word = 0;
		host_futex_wait(&word, 0, host_clock_ns(1) + 100000, false);
	}
	spin_lock(&log_lock);
	u32 head = r->head;

	if (CTL_RING_SIZE - (head - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE)) >= n) {
		for (size_t i = 0; i < n; i++)
			data[(head + i) & (CTL_RING_SIZE - 1)] = line[i];
		__atomic_store_n(&r->head, head + (u32)n, __ATOMIC_SEQ_CST);
	}
	spin_unlock(&log_lock);
	ring_doorbell();
}

void klog(const char *module, const char *fmt, ...)
{
	char line[320];
	size_t n = scnprintf_at(line, sizeof(line), 0, "junction: %s: ", module);
	va_list ap;

	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	n = min(n, sizeof(line) - 2);
	line[n++] = '\n';
	log_raw(line, n);
}

void panic(const char *fmt, ...)
{
	static u32 panicking;
	struct control *ctl = (struct control *)LIBOS_CONTROL_BASE;
	char text[256];
	va_list ap;

	if (__atomic_exchange_n(&panicking, 1, __ATOMIC_SEQ_CST))
		host_exit(125);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	klog("panic", "%s", text);
	ctl->exit_status = 125 << 8;
	__atomic_store_n(&ctl->state, CTL_PANIC, __ATOMIC_SEQ_CST);
	ring_doorbell();
	host_exit(125);
}

void spin_lock_slow(spinlock_t *l)
{
	u32 spins = 0;

	do {
		while (__atomic_load_n(&l->v, __ATOMIC_RELAXED)) {
			cpu_relax();
			/* The holder was descheduled by the host: let it run. */
			if (++spins % 20000 == 0) {
				u32 word = 0;

				host_futex_wait(&word, 0, host_clock_ns(1) + 50000, false);
			}
		}
	} while (__atomic_exchange_n(&l->v, 1, __ATOMIC_ACQUIRE));
}
