/*
 * tcp_exit.c - the end of the instance. Elsewhere a kernel outlives the program and finishes its
 * connections; here the stack ends with it, so it closes them first and stays until the other side
 * has all that was sent.
 */
#include "libos/mm/alloc.h"
#include "libos/net/tcp_internal.h"

struct found {
	struct tcp_sock **v;
	u32 n, cap;
};

/* Requests and TIME_WAIT are shown as copies (tcp_for_each): they need no closing. */
static bool is_open(const struct tcp_sock *tp)
{
	return tp->state != TCP_TIME_WAIT && tp->state != TCP_SYN_RECV && tp->state != TCP_CLOSE;
}

static void find_open(struct tcp_sock *tp, void *arg)
{
	struct found *f = arg;

	if (!is_open(tp) || tp->orphan)
		return;
	if (f->n < f->cap) {
		tcp_get(tp);
		f->v[f->n] = tp;
	}
	f->n++;
}

void tcp_exit(void)
{
	struct found f = {NULL, 0, 0};
	u32 n;

	tcp_for_each(find_open, &f);
	n = f.n;
	if (!n)
		return;
	/* More may come meanwhile; what does not fit hears nothing, as when a host loses its power.
	 */
	f = (struct found){kmalloc(n * sizeof(*f.v)), 0, n};
	if (!f.v)
		return;
	tcp_for_each(find_open, &f);
	for (u32 i = 0; i < min(f.n, f.cap); i++) {
		tcp_close(f.v[i]);
		tcp_put(f.v[i]);
	}
	kfree(f.v, n * sizeof(*f.v));
}

static void add_unfinished(struct tcp_sock *tp, void *arg)
{
	u64 *sum = arg;

	/* To ourselves nothing need arrive. */
	if (is_open(tp) && tp->state != TCP_LISTEN && tp->state != TCP_SYN_SENT &&
	    !netaddr_is_local(&tp->node.remote.addr))
		*sum += tp->snd_end - tp->snd_una;
}

u64 tcp_exit_unfinished(void)
{
	u64 sum = 0;

	tcp_for_each(add_unfinished, &sum);
	return sum;
}
