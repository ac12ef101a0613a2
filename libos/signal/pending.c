/*
 * pending.c - the queue of pending signals: standard signals are pending once, real-time signals
 * queue in the order in which they came, lower numbers first (signal(7)).
 */
#include "libos/signal/pending.h"

#ifdef LIBOS_HOSTED
#include <string.h>
#else
#include "libos/lib/string.h"
#endif

#define SI_TIMER_CODE (-2)

void sigpending_init(struct sigpending *p)
{
	p->set = 0;
	list_init(&p->queue);
}

enum sigpending_how sigpending_check(struct sigpending *p, const struct siginfo_k *info)
{
	struct sigqueue *q;

	if (info->code == SI_TIMER_CODE) {
		list_for_each_entry(q, &p->queue, link) {
			if (q->info.code == SI_TIMER_CODE && q->info.timer.tid == info->timer.tid) {
				u64 n = (u64)q->info.timer.overrun + info->timer.overrun + 1;

				q->info.timer.overrun = n < INT32_MAX ? n : INT32_MAX;
				return SIGPENDING_OVERRUN;
			}
		}
		return SIGPENDING_QUEUE;
	}
	if (info->signo < SIGRT_FIRST && p->set & sigbit(info->signo))
		return SIGPENDING_COALESCED;
	return SIGPENDING_QUEUE;
}

void sigpending_add(struct sigpending *p, int sig, struct sigqueue *q)
{
	if (q)
		list_add_tail(&q->link, &p->queue);
	p->set |= sigbit(sig);
}

int sigpending_next(const struct sigpending *p, ksigset_t set)
{
	set &= p->set;
	if (set & SIGMASK_SYNC)
		set &= SIGMASK_SYNC;
	return set ? __builtin_ctzll(set) + 1 : 0;
}

struct sigqueue *sigpending_take(struct sigpending *p, int sig, struct siginfo_k *info)
{
	struct sigqueue *q, *found = NULL;
	bool more = false;

	list_for_each_entry(q, &p->queue, link) {
		if (q->info.signo != sig)
			continue;
		if (found) {
			more = true;
			break;
		}
		found = q;
	}
	if (!more)
		p->set &= ~sigbit(sig);
	if (found) {
		list_del(&found->link);
		*info = found->info;
	} else {
		memset(info, 0, sizeof(*info));
		info->signo = sig;
	}
	return found;
}

u32 sigpending_flush(struct sigpending *p, ksigset_t set, struct list_head *dead)
{
	struct sigqueue *q, *n;
	u32 count = 0;

	if (!(p->set & set))
		return 0;
	p->set &= ~set;
	list_for_each_entry_safe(q, n, &p->queue, link) {
		if (set & sigbit(q->info.signo)) {
			list_move_tail(&q->link, dead);
			count++;
		}
	}
	return count;
}
