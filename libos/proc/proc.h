/*
 * proc.h - a process of the instance: what its threads share.
 *
 * An instance starts with one. Nothing here assumes that there is only one (DESIGN D7b).
 * Lock order: proc->lock -> proc->sig_lock -> uthread.slock.
 */
#ifndef LIBOS_PROC_PROC_H
#define LIBOS_PROC_PROC_H

#include "libos/lib/list.h"
#include "libos/lib/spinlock.h"
#include "libos/sched/wait.h"
#include "libos/signal/sigtypes.h"

struct mm;
struct fdtable;
struct fs_path;

#define NR_RLIMITS 16
struct rlimit_k {
	u64 cur, max;
};

struct cred {
	u32 uid, euid, suid, fsuid;
	u32 gid, egid, sgid, fsgid;
	u32 ngroups;
	u32 groups[32];
	u64 cap_effective; /* what root of the instance may do inside it */
	u64 cap_permitted, cap_inheritable, cap_ambient; /* proc/prctl.c */
	u64 cap_dropped; /* from the bounding set */
	u32 securebits;
};

#define FIRST_PID 2 /* of the first process; its parent is 1, as if an init had started it */
#define PID_MAX 32768

struct proc {
	spinlock_t lock; /* threads, nr_threads, exiting, cred */
	int pid, ppid, pgid, sid;
	struct list_head threads; /* changed with lock and sig_lock held: readers need one of them */
	struct uthread *leader; /* NULL after the first thread has ended */
	u32 nr_threads;
	u32 exiting; /* exit_group or a fatal signal: threads must end */
	int exit_status; /* as wait(2) */
	int leader_status; /* of the first thread, when it ended by exit(2) before the others */
	u32 execing; /* a thread replaces the program: the others must end */
	struct waitq exit_wait; /* threads of a dying process wait here for the others */

	struct mm *mm;
	struct fdtable *fdt;

	/* fs/: under fs_lock */
	spinlock_t fs_lock;
	struct dentry *cwd, *root;
	u32 umask;

	struct cred cred;
	struct rlimit_k rlim[NR_RLIMITS];
	char *exe_path; /* absolute path of the program */
	u64 arg_start, arg_end, env_start, env_end; /* user addresses, for /proc/self/cmdline */
	u64 auxv[64]; /* pairs, for /proc/self/auxv */
	u32 auxv_len; /* u64 words */
	u64 start_ns; /* CLOCK_BOOTTIME ns */
	bool dumpable, no_new_privs;
	int pdeathsig;
	u64 membarrier_registered;
	u32 personality;
	bool thp_disabled, child_subreaper;

	/* signal/ */
	spinlock_t sig_lock; /* actions, pending sets of the process and its threads */
	struct ksigaction actions[NSIG];
	struct sigpending pending;
	u32 nr_sigqueued;
	u32 stopped; /* the stop signal by which all threads are stopped, or 0 */
	struct waitq signalfd_wait; /* signalfd readers */

	/* time/: setitimer and timer_create */
	struct itimers *itimers;

	u64 dead_cpu_ns; /* of threads that ended */
	u64 nr_minor_faults;
};

extern struct proc *init_proc;

/* proc/init.c: makes process 1... from the boot record and enters its program (exec.h). */
struct proc *proc_create(void);
/*
 * A thread of p that runs fn(arg) inside the library OS (NULL: nothing) and then enters user mode with its
 * trapframe; on p->threads, with a tid; not started (uthread_start). NULL: no memory or limit.
 */
struct uthread *proc_create_thread(struct proc *p, void (*fn)(void *), void *arg);
/*
 * Gives a fresh uthread its tid (the pid for the first one) and puts it among the threads of its
 * process; call before uthread_start(). 0 or -EAGAIN (no tid free) or -ENOMEM.
 */
int proc_add_thread(struct uthread *ut);
/* Number of threads, and tids in ascending order from `from` on, for /proc/self/task: 0 at the end. */
int proc_next_tid(struct proc *p, int from);
static inline struct proc *current_proc(void)
{
	return current()->proc;
}
/* Thread by tid in the instance, with a reference (uthread_put), or NULL. */
struct uthread *uthread_find(int tid);
struct proc *proc_find(int pid);
/* The process of a pidfd, or NULL: it is none (pidfd.c). */
struct proc *pidfd_proc(int fd);
/* Ends the process with a wait(2) status: kills all its threads. From any of its threads; never returns. */
noreturn void proc_exit_group(int wait_status);
/* From the exit path of a thread that saw UT_WORK_EXIT; code as exit(2) takes it. */
noreturn void thread_exit(int code);
/*
 * For execve: ends all threads of the process but current(), which becomes its first thread in name. May
 * sleep. 0, or -EAGAIN if another thread is at it (current() is about to end).
 */
int proc_stop_other_threads(void);
/* Sets current's FS base now and for later switches. */
void thread_set_fsbase(u64 base);
u64 thread_get_fsbase(void);
/* On the way to user mode when UT_WORK_RSEQ was set: current() was switched, preempted or signalled. */
void rseq_exit_work(struct trapframe *tf);

/* tid.c: tids and pids are one name space; the table holds a pointer per tid in use. */
int tid_alloc(struct uthread *ut);
void tid_free(int tid);
/* current() gives up its tid for the pid of its process, whose first thread has ended. */
void tid_become_leader(struct uthread *ut);

#endif
