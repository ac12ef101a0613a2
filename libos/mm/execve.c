/*
 * execve.c - becoming another program: at boot, and by execve(2).
 */
#include <linux/limits.h>
#include <linux/stat.h>

#include "libos/entry/trapframe.h"
#include "libos/fs/fdtable.h"
#include "libos/fs/namei.h"
#include "libos/mm/exec.h"
#include "libos/mm/internal.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/futex.h"
#include "libos/sched/sched.h"
#include "libos/sched/xstate.h"
#include "libos/signal/signal.h"
#include "libos/time/itimer.h"

#define SIGKILL_STATUS 9 /* as wait(2) says it */

/* The registers and names of a program that begins. */
static void enter(struct exec_args *x, struct trapframe *tf, u64 start, u64 sp, const char *comm)
{
	struct uthread *ut = current();
	const char *base = strrchr(comm, '/');

	memset(tf, 0, sizeof(*tf));
	tf->rip = start;
	tf->rsp = sp;
	tf->cs = USER_CS;
	tf->ss = USER_SS;
	tf->eflags = 0x202;
	tf->orig_rax = -1ul;
	ut->fsbase = 0;
	__builtin_ia32_wrfsbase64(0);
	strlcpy(ut->comm, base ? base + 1 : comm, sizeof(ut->comm));
	uthread_set_work(ut, UT_WORK_FULL);
}

static void set_exe_path(struct proc *p, struct exec_args *x)
{
	char *buf = kmalloc(PATH_MAX);
	int n;

	if (!buf)
		return;
	n = file_path(exec_program(x), buf, PATH_MAX);
	if (n > 0 && n < PATH_MAX) {
		char *path = kstrdup(buf);

		if (path) {
			kfree_str(p->exe_path);
			p->exe_path = path;
		}
	}
	kfree(buf, PATH_MAX);
}

/* Fills the empty address space of current_proc(). */
static int load(struct exec_args *x, struct trapframe *tf)
{
	struct exec_addrs at;
	u64 sp;
	int r;

	/*
	 * The stack first: it decides where mappings go. Its contents need the addresses of the program,
	 * which does not depend on the layout but for its interpreter.
	 */
	r = stack_map(x);
	if (r < 0)
		return r;
	r = exec_map(x, &at);
	if (r < 0)
		return r;
	r = stack_build(x, &at, &sp);
	if (r < 0)
		return r;
	set_exe_path(current_proc(), x);
	enter(x, tf, at.start, sp, x->filename);
	return 0;
}

int exec_load(const char *path, char **argv, char **envp, struct trapframe *tf)
{
	struct exec_args *x = kzalloc(sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	r = exec_args_set(x, path, argv, envp);
	if (!r)
		r = exec_open_program(x, path, &x->file);
	if (!r)
		r = exec_open(x);
	if (!r)
		r = load(x, tf);
	if (r < 0 && x->why)
		klog("exec", "%s: %s", path, x->why);
	exec_close(x);
	kfree(x, sizeof(*x));
	return r;
}

/* The old program's memory goes, and with it everything that the kernel remembers of its addresses. */
static void forget_program(struct proc *p)
{
	struct uthread *ut = current();

	ut->robust_list = 0;
	ut->clear_child_tid = 0;
	ut->rseq = (struct rseq_state){ 0 };
	ut->restart_fn = NULL;
	p->membarrier_registered = 0;
	p->dumpable = true;
	ptimers_delete_all(p);
	signal_exec(p);
	fdtable_close_on_exec(p->fdt);
	mm_clear(p->mm);
	uthread_init_xstate(ut->xsave);
	uthread_set_work(ut, UT_WORK_XRSTOR);
}

/* Becomes the program that x has opened. Returns only on an error that the old program can still hear of. */
static int replace_program(struct exec_args *x)
{
	struct proc *p = current_proc();
	int r = proc_stop_other_threads();

	if (r < 0)
		return r;
	futex_exit_robust_list();
	if (current()->clear_child_tid) {
		u64 addr = current()->clear_child_tid;

		if (!put_user_u32(0, (void *)addr))
			futex_wake(addr, 1);
	}
	forget_program(p);
	r = load(x, uthread_tf(current()));
	if (r < 0) {
		klog("exec", "%s: %s", x->filename, x->why ? x->why : "no memory to load it");
		exec_close(x);
		kfree(x, sizeof(*x));
		proc_exit_group(SIGKILL_STATUS);
	}
	return 0;
}

static long do_execve(int dfd, u64 upath, u64 argv, u64 envp, int flags)
{
	struct exec_args *x;
	struct dentry *d = NULL;
	char *path, *name;
	long r;

	if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	path = path_from_user(upath);
	if (is_err(path))
		return ptr_err(path);
	x = kzalloc(sizeof(*x));
	name = kmalloc(PATH_MAX + 32);
	r = -ENOMEM;
	if (!x || !name)
		goto out;
	if (!*path && !(flags & AT_EMPTY_PATH)) {
		r = -ENOENT;
		goto out;
	}
	r = path_lookup(dfd, path, (flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) |
			(flags & AT_EMPTY_PATH ? WALK_EMPTY : 0), &d, &x->file);
	if (r < 0)
		goto out;
	if (d) {
		r = d->inode && S_ISLNK(d->inode->mode) ? -ELOOP : 0;
		if (!r)
			x->file = dentry_open(d, O_RDONLY);
		dput(d);
		if (r < 0)
			goto out;
		if (is_err(x->file)) {
			r = ptr_err(x->file);
			x->file = NULL;
			goto out;
		}
	}
	/* The name that a script's interpreter is given. */
	if (dfd == AT_FDCWD || *path == '/')
		strlcpy(name, path, PATH_MAX);
	else
		snprintf(name, PATH_MAX + 32, *path ? "/dev/fd/%d/%s" : "/dev/fd/%d", dfd, path);
	r = exec_args_user(x, name, argv, envp);
	if (!r)
		r = exec_open(x);
	if (!r)
		r = replace_program(x);
out:
	if (x) {
		exec_close(x);
		kfree(x, sizeof(*x));
	}
	if (name)
		kfree(name, PATH_MAX + 32);
	path_free(path);
	return r;
}

long sys_execve(u64 path, u64 argv, u64 envp)
{
	return do_execve(AT_FDCWD, path, argv, envp, 0);
}

long sys_execveat(int dfd, u64 path, u64 argv, u64 envp, int flags)
{
	return do_execve(dfd, path, argv, envp, flags);
}
