/*
 * tid.c - thread and process ids: one name space, handed out in ascending order as Linux does.
 *
 * The table is two levels of pages, so that an instance with few threads pays for one. tid_lock is
 * a leaf: nothing is locked inside it but uthread.refs, which is atomic.
 */
#include "libos/lib/printf.h"
#include "libos/mm/alloc.h"
#include "libos/proc/proc.h"
#include "libos/sched/sched.h"

#define TIDS_PER_LEAF 512
#define NR_LEAVES (PID_MAX / TIDS_PER_LEAF)

static spinlock_t tid_lock;
static struct uthread **leaves[NR_LEAVES];
static u32 leaf_used[NR_LEAVES];
static int last_tid = FIRST_PID - 1;

static struct uthread *slot(int tid)
{
	struct uthread **leaf = leaves[tid / TIDS_PER_LEAF];

	return leaf ? leaf[tid % TIDS_PER_LEAF] : NULL;
}

/* The id of the process outlives its first thread: it is never handed out again while that lives.
 */
static bool in_use(int tid)
{
	return slot(tid) || (init_proc && tid == init_proc->pid && init_proc->nr_threads);
}

/* A free tid, now naming ut; -EAGAIN when all are taken, -ENOMEM. */
int tid_alloc(struct uthread *ut)
{
	int tid = 0, n, r = -EAGAIN;

	spin_lock(&tid_lock);
	for (n = 0; n < PID_MAX; n++) {
		tid = last_tid + 1;
		if (tid >= PID_MAX)
			tid = 300; /* as Linux: low ids are not reused */
		last_tid = tid;
		if (!in_use(tid))
			break;
	}
	if (n < PID_MAX) {
		struct uthread ***leaf = &leaves[tid / TIDS_PER_LEAF];

		if (!*leaf)
			*leaf = kzalloc(TIDS_PER_LEAF * sizeof(**leaf));
		r = -ENOMEM;
		if (*leaf) {
			(*leaf)[tid % TIDS_PER_LEAF] = ut;
			leaf_used[tid / TIDS_PER_LEAF]++;
			r = tid;
		}
	}
	spin_unlock(&tid_lock);
	return r;
}

void tid_free(int tid)
{
	struct uthread **leaf;
	u32 l = tid / TIDS_PER_LEAF;

	spin_lock(&tid_lock);
	leaf = leaves[l];
	BUG_ON(!leaf || !leaf[tid % TIDS_PER_LEAF]);
	leaf[tid % TIDS_PER_LEAF] = NULL;
	if (--leaf_used[l] == 0 && l) {
		leaves[l] = NULL;
		kfree(leaf, TIDS_PER_LEAF * sizeof(*leaf));
	}
	spin_unlock(&tid_lock);
}

void tid_become_leader(struct uthread *ut)
{
	struct proc *p = ut->proc;
	int old = ut->tid;

	if (old == p->pid)
		return;
	spin_lock(&tid_lock);
	/* The leaf of the first process is the first, which stays. */
	BUG_ON(!leaves[p->pid / TIDS_PER_LEAF]);
	leaves[p->pid / TIDS_PER_LEAF][p->pid % TIDS_PER_LEAF] = ut;
	leaf_used[p->pid / TIDS_PER_LEAF]++;
	ut->tid = p->pid;
	spin_unlock(&tid_lock);
	tid_free(old);
	p->leader = ut;
}

struct uthread *uthread_find(int tid)
{
	struct uthread *ut = NULL;

	if (tid <= 0 || tid >= PID_MAX)
		return NULL;
	spin_lock(&tid_lock);
	ut = slot(tid);
	if (ut)
		uthread_get(ut);
	spin_unlock(&tid_lock);
	return ut;
}

struct proc *proc_find(int pid)
{
	return init_proc && pid == init_proc->pid ? init_proc : NULL;
}

int proc_next_tid(struct proc *p, int from)
{
	struct uthread *ut;
	int best = 0;

	spin_lock(&p->lock);
	list_for_each_entry(ut, &p->threads, proc_link)
		if (ut->tid >= from && (!best || ut->tid < best))
			best = ut->tid;
	spin_unlock(&p->lock);
	return best;
}

int proc_add_thread(struct uthread *ut)
{
	struct proc *p = ut->proc;
	int tid = tid_alloc(ut);

	if (tid < 0)
		return tid;
	ut->tid = tid;
	spin_lock(&p->lock);
	spin_lock(&p->sig_lock);
	list_add_tail(&ut->proc_link, &p->threads);
	if (!p->nr_threads++) {
		p->pid = tid;
		p->leader = ut;
	}
	spin_unlock(&p->sig_lock);
	spin_unlock(&p->lock);
	return 0;
}

struct uthread *proc_create_thread(struct proc *p, void (*fn)(void *), void *arg)
{
	struct uthread *ut = uthread_create_in(p, fn, arg);

	if (ut && proc_add_thread(ut)) {
		uthread_put(ut);
		ut = NULL;
	}
	return ut;
}
