/*
 * execve.c - becoming another program: at boot, and by execve(2).
 */
#include <linux/limits.h>

#include "libos/entry/trapframe.h"
#include "libos/mm/exec.h"
#include "libos/mm/internal.h"
#include "libos/mm/usercopy.h"

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
		r = exec_open(x, path);
	if (!r)
		r = load(x, tf);
	if (r < 0 && x->why)
		klog("exec", "%s: %s", path, x->why);
	exec_close(x);
	kfree(x, sizeof(*x));
	return r;
}
