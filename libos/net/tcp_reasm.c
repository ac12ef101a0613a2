/*
 * tcp_reasm.c - segments that came before those in front of them: gap-free runs, in order.
 *
 * Runs are few even when packets are many, so a list does. Both are bounded: the number of runs,
 * and the memory by the receive buffer; what is too much is dropped and comes again (RFC 2018, 8
 * allows it).
 */
#include "libos/net/tcp_internal.h"

#include "libos/mm/alloc.h"

static void ooo_charge(struct tcp_sock *tp, s32 n)
{
	tp->ooo_mem += n;
	tp->rmem += n;
}

static void ooo_drop_pkt(struct tcp_sock *tp, struct pkt *p)
{
	ooo_charge(tp, -(s32)tcp_cb(p)->truesize);
	list_del(&p->link);
	pkt_free(p);
}

static void run_free(struct tcp_sock *tp, struct tcp_run *r)
{
	struct pkt *p, *n;

	list_for_each_entry_safe(p, n, &r->pkts, link)
		ooo_drop_pkt(tp, p);
	list_del(&r->link);
	tp->nr_runs--;
	kfree(r, sizeof(*r));
}

void tcp_ooo_free(struct tcp_sock *tp)
{
	while (!list_empty(&tp->runs))
		run_free(tp, list_first(&tp->runs, struct tcp_run, link));
	tp->fin_ooo = false;
}

/* The runs farthest from being of use go first; when buffers are scarce, all. */
void tcp_ooo_prune(struct tcp_sock *tp)
{
	while (!list_empty(&tp->runs) && (tp->rmem > tp->opts.rcvbuf || tcp_pressure()))
		run_free(tp, list_last(&tp->runs, struct tcp_run, link));
}

void tcp_dsack(struct tcp_sock *tp, u32 start, u32 end)
{
	if (!tp->sack_ok)
		return;
	tp->dsack = (struct tcp_sackblk){start, end};
	tp->dsack_ok = true;
}

/* Puts p, which begins where the run ends, behind it. */
static void run_append(struct tcp_sock *tp, struct tcp_run *r, struct pkt *p)
{
	u32 n = p->total;
	struct pkt *last = list_empty(&r->pkts) ? NULL : list_last(&r->pkts, struct pkt, link);

	r->end += n;
	if (last && tcp_coalesce(tp, last, p))
		return;
	tcp_cb(p)->seq = r->end - n;
	tcp_cb(p)->end = r->end;
	tcp_cb(p)->truesize = tcp_truesize(p);
	ooo_charge(tp, tcp_cb(p)->truesize);
	list_add_tail(&p->link, &r->pkts);
}

/* The run that seq stands in or right behind; *before: the last one that begins at or before seq,
 * or the list's head. */
static struct tcp_run *run_find(struct tcp_sock *tp, u32 seq, struct list_head **before)
{
	for (struct list_head *l = tp->runs.prev; l != &tp->runs; l = l->prev) {
		struct tcp_run *r = list_entry(l, struct tcp_run, link);

		if (seq_le(r->seq, seq)) {
			*before = l;
			return seq_le(seq, r->end) ? r : NULL;
		}
	}
	*before = &tp->runs;
	return NULL;
}

static struct tcp_run *run_new(struct tcp_sock *tp, u32 seq, struct list_head *before)
{
	struct tcp_run *r = tp->nr_runs < TCP_MAX_RUNS ? kmalloc(sizeof(*r)) : NULL;

	if (!r)
		return NULL;
	r->seq = r->end = seq;
	list_init(&r->pkts);
	list_add(&r->link, before);
	tp->nr_runs++;
	return r;
}

/* Followers that r has reached: swallowed if p covers them, else joined; p is cut in front of the
 * last one. */
static struct tcp_run *runs_reached(struct tcp_sock *tp, struct tcp_run *r, struct pkt *p, u32 *end)
{
	while (r->link.next != &tp->runs) {
		struct tcp_run *n = list_entry(r->link.next, struct tcp_run, link);

		if (seq_lt(*end, n->seq))
			break;
		if (seq_gt(*end, n->seq))
			tcp_dsack(tp, n->seq, seq_lt(*end, n->end) ? *end : n->end);
		if (seq_ge(*end, n->end)) {
			run_free(tp, n);
			continue;
		}
		pkt_trim(p, p->total - (*end - n->seq));
		*end = n->seq;
		return n;
	}
	return NULL;
}

void tcp_ooo_add(struct tcp_sock *tp, struct pkt *p, u32 seq)
{
	u32 end = seq + p->total;
	struct list_head *before;
	struct tcp_run *r = run_find(tp, seq, &before), *joined;

	if (r && seq_le(end, r->end)) {
		tcp_dsack(tp, seq, end);
		r->stamp = ++tp->run_stamp;
		pkt_free(p);
		return;
	}
	if (tp->rmem > (tcp_pressure() ? min(tp->opts.rcvbuf, 16384u) : tp->opts.rcvbuf) ||
	    nbuf_free_count() < nbuf_total() / 8) {
		pkt_free(p);
		return;
	}
	if (r) {
		if (seq_lt(seq, r->end)) {
			tcp_dsack(tp, seq, r->end);
			pkt_pull(p, r->end - seq);
		}
	} else {
		r = run_new(tp, seq, before);
		if (!r) {
			pkt_free(p);
			return;
		}
	}
	r->stamp = ++tp->run_stamp;
	joined = runs_reached(tp, r, p, &end);
	if (p->total)
		run_append(tp, r, p);
	else
		pkt_free(p);
	if (joined) {
		struct pkt *q, *n;

		list_for_each_entry_safe(q, n, &joined->pkts, link)
			list_move_tail(&q->link, &r->pkts);
		r->end = joined->end;
		run_free(tp, joined);
	}
}

void tcp_ooo_drain(struct tcp_sock *tp)
{
	while (!list_empty(&tp->runs)) {
		struct tcp_run *r = list_first(&tp->runs, struct tcp_run, link);
		struct pkt *p, *n;

		if (seq_gt(r->seq, tp->rcv_nxt))
			return;
		if (seq_lt(r->seq, tp->rcv_nxt))
			tcp_dsack(tp, r->seq, seq_lt(r->end, tp->rcv_nxt) ? r->end : tp->rcv_nxt);
		list_for_each_entry_safe(p, n, &r->pkts, link) {
			u32 seq = tcp_cb(p)->seq;

			if (seq_le(tcp_cb(p)->end, tp->rcv_nxt))
				continue;
			ooo_charge(tp, -(s32)tcp_cb(p)->truesize);
			list_del(&p->link);
			if (seq_lt(seq, tp->rcv_nxt)) {
				pkt_pull(p, tp->rcv_nxt - seq);
				seq = tp->rcv_nxt;
			}
			tcp_rq_add(tp, p, seq);
		}
		run_free(tp, r);
	}
}
