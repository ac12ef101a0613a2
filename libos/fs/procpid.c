/*
 * procpid.c - /proc/PID and /proc/PID/task/TID: what a process says of itself; formats as in
 * proc(5).
 *
 * Inodes below carry the pid as key, and as arg the tid or, in fd and fdinfo, the descriptor.
 */
#include "libos/fs/procfs.h"

#include <linux/fcntl.h>
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/namei.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/mm/alloc.h"
#include "libos/mm/mm.h"
#include "libos/mm/usercopy.h"
#include "libos/proc/info.h"
#include "libos/proc/proc.h"

static struct proc *proc_of(const struct inode *i)
{
	return proc_find((int)i->pseudo.key);
}

/* The thread that a file is about, with a reference, or NULL. */
static struct uthread *thread_of(const struct inode *i)
{
	return uthread_find((int)i->pseudo.arg);
}

static struct uthread *some_thread(const struct inode *i, struct proc *p)
{
	struct uthread *ut = thread_of(i);
	int tid = ut ? 0 : proc_next_tid(p, 0);

	return ut ? ut : tid ? uthread_find(tid) : NULL;
}

/* Memory of the process */

struct maps_arg {
	struct text *t;
	bool smaps;
};

static void emit_area(void *arg, const struct mm_area_info *a)
{
	struct maps_arg *m = arg;
	struct text *t = m->t;
	size_t start = t->len;
	u64 dev = 0, ino = 0, kb = (a->end - a->start) >> 10;
	const char *name = a->name;
	char *path = NULL;

	if (a->file && a->file->inode) {
		dev = a->file->inode->sb ? a->file->inode->sb->dev : 0;
		ino = a->file->inode->ino;
		if (!name) {
			path = kmalloc(PATH_MAX_LEN);
			if (path && file_path(a->file, path, PATH_MAX_LEN) >= 0)
				name = path;
		}
	}
	text_printf(t, "%08lx-%08lx %c%c%c%c %08lx %02lx:%02lx %lu ", a->start, a->end,
		    a->prot & 1 ? 'r' : '-', a->prot & 2 ? 'w' : '-', a->prot & 4 ? 'x' : '-',
		    a->shared ? 's' : 'p', a->off, dev >> 8 & 0xfff, dev & 0xff, ino);
	if (name) {
		while (t->len - start < 73 && !t->err)
			text_write(t, " ", 1);
		text_write(t, name, strlen(name));
	}
	text_write(t, "\n", 1);
	if (m->smaps)
		text_printf(t,
			    "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:    "
			    "       4 kB\n"
			    "Rss:            %8lu kB\nPss:            %8lu kB\nShared_Clean:       "
			    "   0 kB\n"
			    "Shared_Dirty:          0 kB\nPrivate_Clean:         0 "
			    "kB\nPrivate_Dirty:  %8lu kB\n"
			    "Referenced:     %8lu kB\nAnonymous:      %8lu kB\nSwap:               "
			    "   0 kB\n",
			    kb, a->prot ? kb : 0, a->prot ? kb : 0, a->prot ? kb : 0,
			    a->prot ? kb : 0, a->file ? 0 : kb);
	if (path)
		kfree(path, PATH_MAX_LEN);
}

static void show_areas(struct text *t, const struct inode *i, bool smaps)
{
	struct proc *p = proc_of(i);
	struct maps_arg m = {.t = t, .smaps = smaps};

	if (p && p->mm)
		mm_for_each_area(p->mm, emit_area, &m);
}

static void show_maps(struct text *t, const struct inode *i)
{
	show_areas(t, i, false);
}

static void show_smaps(struct text *t, const struct inode *i)
{
	show_areas(t, i, true);
}

/* Bytes resident, as far as the library OS can tell: it does not ask the host. */
static u64 resident(const struct mm_stats *st)
{
	u64 used = mem_total_bytes() - mem_free_bytes();

	return min(st->total, used + st->text);
}

static void show_statm(struct text *t, const struct inode *i)
{
	struct proc *p = proc_of(i);
	struct mm_stats st;

	if (!p)
		return;
	mm_get_stats(p->mm, &st);
	text_printf(t, "%lu %lu %lu %lu 0 %lu 0\n", st.total >> PAGE_SHIFT,
		    resident(&st) >> PAGE_SHIFT, st.text >> PAGE_SHIFT, st.text >> PAGE_SHIFT,
		    (st.data + st.stack) >> PAGE_SHIFT);
}

/* Bytes [start, end) of the application, as they are now. */
static void show_user_bytes(struct text *t, const struct inode *i, u64 start, u64 end)
{
	char buf[512];

	if (proc_of(i) != current_proc())
		return;
	while (start < end && !t->err) {
		size_t n = min((size_t)(end - start), sizeof(buf));
		size_t got = copy_from_user_partial(buf, (void *)start, n);

		text_write(t, buf, got);
		if (got < n)
			break;
		start += n;
	}
}

static void show_cmdline(struct text *t, const struct inode *i)
{
	struct proc *p = proc_of(i);

	if (p)
		show_user_bytes(t, i, p->arg_start, p->arg_end);
}

static void show_environ(struct text *t, const struct inode *i)
{
	struct proc *p = proc_of(i);

	if (p)
		show_user_bytes(t, i, p->env_start, p->env_end);
}

static void show_auxv(struct text *t, const struct inode *i)
{
	struct proc *p = proc_of(i);

	if (p)
		text_write(t, p->auxv, min(p->auxv_len, (u32)ARRAY_SIZE(p->auxv)) * sizeof(u64));
}

/* Status */

static char state_char(struct uthread *ut)
{
	switch (READ_ONCE(ut->state)) {
	case UT_RUNNING:
		return 'R';
	case UT_INTERRUPTIBLE:
		return 'S';
	case UT_UNINTERRUPTIBLE:
		return 'D';
	case UT_STOPPED:
		return 'T';
	}
	return 'Z';
}

static const char *state_name(char c)
{
	return c == 'R'	  ? "running"
	       : c == 'S' ? "sleeping"
	       : c == 'D' ? "disk sleep"
	       : c == 'T' ? "stopped"
			  : "zombie";
}

static u64 process_cpu_ns(struct proc *p)
{
	u64 ns = p->dead_cpu_ns;

	for (int tid = 0; (tid = proc_next_tid(p, tid)); tid++) {
		struct uthread *ut = uthread_find(tid);

		if (ut) {
			ns += uthread_cpu_ns(ut);
			uthread_put(ut);
		}
	}
	return ns;
}

struct sigsets {
	ksigset_t pending, shared, blocked, ignored, caught;
};

static void signal_sets(struct proc *p, struct uthread *ut, struct sigsets *s)
{
	spin_lock(&p->sig_lock);
	s->pending = ut->sig.pending.set;
	s->shared = p->pending.set;
	s->blocked = ut->sig.blocked;
	s->ignored = s->caught = 0;
	for (int k = 0; k < NSIG; k++) {
		if (p->actions[k].handler == 1)
			s->ignored |= 1ull << k;
		else if (p->actions[k].handler)
			s->caught |= 1ull << k;
	}
	spin_unlock(&p->sig_lock);
}

#define TICKS(ns) ((ns) / 10000000)

static void show_stat_of(struct text *t, const struct inode *i, bool whole)
{
	struct proc *p = proc_of(i);
	struct uthread *ut = p ? some_thread(i, p) : NULL;
	struct sigsets s;
	struct mm_stats st;
	u64 cpu;

	if (!ut)
		return;
	cpu = whole ? process_cpu_ns(p) : uthread_cpu_ns(ut);
	signal_sets(p, ut, &s);
	mm_get_stats(p->mm, &st);
	text_printf(t, "%lu (%s) %c %d %d %d 0 -1 4194304 %lu 0 0 0 %lu 0 0 0 %d %d %u 0 %lu ",
		    i->pseudo.arg, ut->comm, state_char(ut), p->ppid, p->pgid, p->sid,
		    p->nr_minor_faults, TICKS(cpu),
		    ut->rt_priority ? -1 - ut->rt_priority : 20 + ut->nice, ut->nice, p->nr_threads,
		    TICKS(p->start_ns));
	text_printf(t,
		    "%lu %lu %lu 1 1 0 0 0 %lu %lu %lu %lu 0 0 0 17 %u %d %d 0 0 0 0 0 0 %lu %lu "
		    "%lu %lu 0\n",
		    st.total, resident(&st) >> PAGE_SHIFT, p->rlim[5].cur, s.pending & 0x7fffffff,
		    s.blocked & 0x7fffffff, s.ignored & 0x7fffffff, s.caught & 0x7fffffff,
		    ut->kt ? ut->kt->id : 0, ut->rt_priority, ut->policy, p->arg_start, p->arg_end,
		    p->env_start, p->env_end);
	uthread_put(ut);
}

static void show_stat(struct text *t, const struct inode *i)
{
	show_stat_of(t, i, true);
}

static void show_task_stat(struct text *t, const struct inode *i)
{
	show_stat_of(t, i, false);
}

/* "0-3,5" of a mask. */
static void text_cpu_list(struct text *t, u64 mask)
{
	const char *sep = "";

	for (u32 c = 0; c < 64; c++) {
		u32 end = c;

		if (!(mask >> c & 1))
			continue;
		while (end < 63 && mask >> (end + 1) & 1)
			end++;
		if (end > c)
			text_printf(t, "%s%u-%u", sep, c, end);
		else
			text_printf(t, "%s%u", sep, c);
		sep = ",";
		c = end;
	}
}

static u64 all_cpus(void)
{
	return nr_kthreads >= 64 ? ~0ull : (1ull << nr_kthreads) - 1;
}

static void show_status(struct text *t, const struct inode *i)
{
	struct proc *p = proc_of(i);
	struct uthread *ut = p ? some_thread(i, p) : NULL;
	const struct cred *c;
	struct mm_stats st;
	struct sigsets s;
	u64 cpus;
	char state;

	if (!ut)
		return;
	c = &p->cred;
	state = state_char(ut);
	signal_sets(p, ut, &s);
	mm_get_stats(p->mm, &st);
	text_printf(
		t,
		"Name:\t%s\nUmask:\t%04o\nState:\t%c "
		"(%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%lu\nPPid:\t%d\n"
		"TracerPid:\t0\nUid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t%u\nGroups:\t",
		ut->comm, p->umask, state, state_name(state), p->pid, i->pseudo.arg, p->ppid,
		c->uid, c->euid, c->suid, c->fsuid, c->gid, c->egid, c->sgid, c->fsgid,
		p->fdt->arr->max);
	for (u32 k = 0; k < c->ngroups && k < ARRAY_SIZE(c->groups); k++)
		text_printf(t, "%u ", c->groups[k]);
	text_printf(t, "\nNStgid:\t%d\nNSpid:\t%lu\nNSpgid:\t%d\nNSsid:\t%d\n", p->pid,
		    i->pseudo.arg, p->pgid, p->sid);
	text_printf(t,
		    "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t       0 kB\n"
		    "VmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t%8lu kB\n"
		    "RssShmem:\t       0 kB\nVmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8lu kB\n"
		    "VmLib:\t       0 kB\nVmPTE:\t       4 kB\nVmSwap:\t       0 "
		    "kB\nHugetlbPages:\t       0 kB\n",
		    st.total >> 10, st.total >> 10, st.locked >> 10, resident(&st) >> 10,
		    resident(&st) >> 10, (resident(&st) - min(resident(&st), st.text)) >> 10,
		    st.text >> 10, st.data >> 10, st.stack >> 10, st.text >> 10);
	text_printf(
		t,
		"CoreDumping:\t0\nTHP_enabled:\t%d\nThreads:\t%u\nSigQ:\t%u/%lu\nSigPnd:\t%016lx\n"
		"ShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
		!p->thp_disabled, p->nr_threads, p->nr_sigqueued, p->rlim[11].cur, s.pending,
		s.shared, s.blocked, s.ignored, s.caught);
	text_printf(t,
		    "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t%"
		    "016lx\n"
		    "NoNewPrivs:\t%d\nSeccomp:\t0\nSeccomp_filters:\t0\n"
		    "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:"
		    "\tconditional enabled\n",
		    c->cap_inheritable, c->cap_permitted, c->cap_effective,
		    (u64)CAPS_CONTAINER & ~c->cap_dropped, c->cap_ambient, p->no_new_privs);
	cpus = ut->affinity & all_cpus();
	text_printf(t, "Cpus_allowed:\t%lx\nCpus_allowed_list:\t", cpus);
	text_cpu_list(t, cpus);
	text_printf(t,
		    "\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t%lu\n"
		    "nonvoluntary_ctxt_switches:\t%lu\n",
		    ut->nr_voluntary, ut->nr_involuntary);
	uthread_put(ut);
}

static void show_comm(struct text *t, const struct inode *i)
{
	struct proc *p = proc_of(i);
	struct uthread *ut = p ? some_thread(i, p) : NULL;

	if (!ut)
		return;
	text_printf(t, "%s\n", ut->comm);
	uthread_put(ut);
}

static ssize_t write_comm(struct inode *i, char *buf, size_t n)
{
	struct uthread *ut = thread_of(i);
	size_t len = n;

	if (!ut)
		return -ESRCH;
	if (ut->proc != current_proc()) {
		uthread_put(ut);
		return -EINVAL;
	}
	if (len > 15)
		len = 15;
	buf[len] = 0;
	if (len && buf[len - 1] == '\n')
		buf[len - 1] = 0;
	strlcpy(ut->comm, buf, sizeof(ut->comm));
	uthread_put(ut);
	return (ssize_t)n;
}

static void text_limit(struct text *t, u64 v)
{
	if (v == ~0ull)
		text_printf(t, "%-20s ", "unlimited");
	else
		text_printf(t, "%-20lu ", v);
}

static void show_limits(struct text *t, const struct inode *i)
{
	static const struct {
		const char *name, *unit;
	} limits[NR_RLIMITS] = {
		{"Max cpu time", "seconds"},	 {"Max file size", "bytes"},
		{"Max data size", "bytes"},	 {"Max stack size", "bytes"},
		{"Max core file size", "bytes"}, {"Max resident set", "bytes"},
		{"Max processes", "processes"},	 {"Max open files", "files"},
		{"Max locked memory", "bytes"},	 {"Max address space", "bytes"},
		{"Max file locks", "locks"},	 {"Max pending signals", "signals"},
		{"Max msgqueue size", "bytes"},	 {"Max nice priority", NULL},
		{"Max realtime priority", NULL}, {"Max realtime timeout", "us"},
	};
	struct proc *p = proc_of(i);

	if (!p)
		return;
	text_printf(t, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (u32 k = 0; k < NR_RLIMITS; k++) {
		text_printf(t, "%-25s ", limits[k].name);
		text_limit(t, p->rlim[k].cur);
		text_limit(t, p->rlim[k].max);
		if (limits[k].unit)
			text_printf(t, "%-10s\n", limits[k].unit);
		else
			text_printf(t, "\n");
	}
}

static void show_mounts(struct text *t, const struct inode *i)
{
	struct super *sb;

	for (u32 k = 0; (sb = mount_get(k)); k++) {
		char *buf = kmalloc(PATH_MAX_LEN), *p;

		if (!buf)
			return;
		p = dentry_path(sb->root, root_super->root, buf, PATH_MAX_LEN);
		text_printf(t, "%s %s %s rw,relatime%s%s 0 0\n", sb->source, p ? p : "/", sb->type,
			    *sb->options ? "," : "", sb->options);
		kfree(buf, PATH_MAX_LEN);
	}
}

static void show_mountinfo(struct text *t, const struct inode *i)
{
	struct super *sb;

	for (u32 k = 0; (sb = mount_get(k)); k++) {
		char *buf = kmalloc(PATH_MAX_LEN), *p;
		u32 parent = sb->mountpoint ? sb->mountpoint->sb->mount_id : sb->mount_id - 1;

		if (!buf)
			return;
		p = dentry_path(sb->root, root_super->root, buf, PATH_MAX_LEN);
		text_printf(t, "%u %u %u:%u / %s rw,relatime - %s %s rw%s%s\n", sb->mount_id,
			    parent, sb->dev >> 8, sb->dev & 0xff, p ? p : "/", sb->type, sb->source,
			    *sb->options ? "," : "", sb->options);
		kfree(buf, PATH_MAX_LEN);
	}
}

static int oom_score_adj;

static void show_oom_score_adj(struct text *t, const struct inode *i)
{
	text_printf(t, "%d\n", oom_score_adj);
}

static ssize_t write_oom_score_adj(struct inode *i, char *buf, size_t n)
{
	bool negative = *buf == '-';
	u32 len = 0;
	s64 v;

	while (buf[negative + len] >= '0' && buf[negative + len] <= '9')
		len++;
	v = parse_number(buf + negative, len);
	if (v < 0 || v > 1000)
		return -EINVAL;
	oom_score_adj = (int)(negative ? -v : v);
	return (ssize_t)n;
}

/* Links */

static const char *exe_target(const struct inode *i)
{
	struct proc *p = proc_of(i);

	return p && p->exe_path ? p->exe_path : err_ptr(-ENOENT);
}

static int follow_cwd(struct inode *i, struct path_walk *w)
{
	struct proc *p = proc_of(i);

	if (!p)
		return -ENOENT;
	w->jump = READ_ONCE(p->cwd);
	return 0;
}

static int follow_root(struct inode *i, struct path_walk *w)
{
	struct proc *p = proc_of(i);

	if (!p)
		return -ENOENT;
	w->jump = READ_ONCE(p->root);
	return 0;
}

static int read_dir_link(struct inode *i, char *buf, bool root)
{
	struct proc *p = proc_of(i);
	struct dentry *d;
	char *tmp = kmalloc(PATH_MAX_LEN), *s;
	int n = -ENOMEM;

	if (!tmp)
		return n;
	if (!p) {
		kfree(tmp, PATH_MAX_LEN);
		return -ENOENT;
	}
	spin_lock(&p->fs_lock);
	d = dget(root ? p->root : p->cwd);
	spin_unlock(&p->fs_lock);
	s = dentry_path(d, fs_proc()->root, tmp, PATH_MAX_LEN);
	n = s ? (int)strlcpy(buf, s, PATH_MAX_LEN) : -ENAMETOOLONG;
	dput(d);
	kfree(tmp, PATH_MAX_LEN);
	return n;
}

static int readlink_cwd(struct inode *i, char *buf)
{
	return read_dir_link(i, buf, false);
}

static int readlink_root(struct inode *i, char *buf)
{
	return read_dir_link(i, buf, true);
}

/* Descriptors */

static int follow_fd(struct inode *i, struct path_walk *w)
{
	struct proc *p = proc_of(i);

	if (!p)
		return -ENOENT;
	w->jump = fd_peek_dentry(p->fdt, (int)i->pseudo.arg);
	if (!w->jump)
		w->jump_file = fd_get_any(p->fdt, (int)i->pseudo.arg);
	return w->jump || w->jump_file ? 0 : -ENOENT;
}

static int readlink_fd(struct inode *i, char *buf)
{
	struct proc *p = proc_of(i);
	struct file *f = p ? fd_get_any(p->fdt, (int)i->pseudo.arg) : NULL;
	int n;

	if (!f)
		return -ENOENT;
	n = file_path(f, buf, PATH_MAX_LEN);
	file_put(f);
	return n;
}

static const struct pseudo_entry fd_link = {
	.mode = S_IFLNK | 0700, .follow = follow_fd, .readlink = readlink_fd};

static void show_fdinfo(struct text *t, const struct inode *i)
{
	struct proc *p = proc_of(i);
	struct file *f = p ? fd_get_any(p->fdt, (int)i->pseudo.arg) : NULL;
	struct kstat st = {.ino = 0};
	u32 cloexec;

	if (!f)
		return;
	cloexec = fd_get_flags(p->fdt, (int)i->pseudo.arg) == FD_CLOEXEC ? O_CLOEXEC : 0;
	file_getattr(f, &st);
	text_printf(t, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%u\nino:\t%lu\n", f->pos,
		    f->flags | cloexec, f->dentry ? f->dentry->sb->mount_id : 15, st.ino);
	file_put(f);
}

static const struct pseudo_entry fdinfo_file = {.mode = S_IFREG | 0444, .show = show_fdinfo};

static int fd_child(const struct inode *dir, const char *name, u32 len, struct pseudo_child *out,
		    const struct pseudo_entry *entry)
{
	struct proc *p = proc_of(dir);
	s64 fd = parse_number(name, len);

	if (!p || fd < 0 || fd >= FD_LIMIT || fd_next_open(p->fdt, (int)fd) != fd)
		return -ENOENT;
	out->entry = entry;
	out->arg = (u64)fd;
	return 0;
}

static int fd_lookup(const struct inode *dir, const char *name, u32 len, struct pseudo_child *out)
{
	return fd_child(dir, name, len, out, &fd_link);
}

static int fdinfo_lookup(const struct inode *dir, const char *name, u32 len,
			 struct pseudo_child *out)
{
	return fd_child(dir, name, len, out, &fdinfo_file);
}

static s64 fd_next_child(const struct inode *dir, s64 from, char *buf, struct pseudo_child *out)
{
	struct proc *p = proc_of(dir);
	int fd = p && from < FD_LIMIT ? fd_next_open(p->fdt, (int)from) : -1;

	if (fd < 0)
		return -1;
	out->arg = (u64)fd;
	snprintf(buf, 24, "%d", fd);
	return fd;
}

static s64 fd_next(const struct inode *dir, s64 from, char *buf, u8 *type, struct pseudo_child *out)
{
	out->entry = &fd_link;
	*type = S_IFLNK >> 12;
	return fd_next_child(dir, from, buf, out);
}

static s64 fdinfo_next(const struct inode *dir, s64 from, char *buf, u8 *type,
		       struct pseudo_child *out)
{
	out->entry = &fdinfo_file;
	*type = S_IFREG >> 12;
	return fd_next_child(dir, from, buf, out);
}

/* The directories */

#define COMMON_FILES                                                                               \
	PFILE("maps", show_maps), PFILE("smaps", show_smaps), PFILE("statm", show_statm),          \
		PFILE("status", show_status), PFILE("cmdline", show_cmdline),                      \
		{.name = "environ", .mode = S_IFREG | 0400, .show = show_environ},                 \
		{.name = "auxv", .mode = S_IFREG | 0400, .show = show_auxv},                       \
		{.name = "comm", .mode = S_IFREG | 0644, .show = show_comm, .write = write_comm},  \
		PFILE("limits", show_limits), PFILE("mounts", show_mounts),                        \
		PFILE("mountinfo", show_mountinfo), PTEXT("cgroup", "0::/\n"),                     \
		PTEXT("cpuset", "/\n"), PTEXT("loginuid", "4294967295"),                           \
		PTEXT("sessionid", "4294967295"), PTEXT("oom_score", "0\n"), PTEXT("wchan", "0"),  \
		PTEXT("uid_map", "         0          0 4294967295\n"),                            \
		PTEXT("gid_map", "         0          0 4294967295\n"),                            \
		PTEXT("setgroups", "allow\n"), PTEXT("personality", "00000000\n"),                 \
		PTEXT("schedstat", "0 0 0\n"),                                                     \
		PTEXT("io",                                                                        \
		      "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n"    \
		      "cancelled_write_bytes: 0\n"),                                               \
		{.name = "oom_score_adj",                                                          \
		 .mode = S_IFREG | 0644,                                                           \
		 .show = show_oom_score_adj,                                                       \
		 .write = write_oom_score_adj},                                                    \
		{.name = "exe", .mode = S_IFLNK | 0777, .target = exe_target},                     \
		{.name = "cwd",                                                                    \
		 .mode = S_IFLNK | 0777,                                                           \
		 .follow = follow_cwd,                                                             \
		 .readlink = readlink_cwd},                                                        \
		{.name = "root",                                                                   \
		 .mode = S_IFLNK | 0777,                                                           \
		 .follow = follow_root,                                                            \
		 .readlink = readlink_root},                                                       \
		{.name = "fd", .mode = S_IFDIR | 0500, .lookup = fd_lookup, .next = fd_next},      \
		{.name = "fdinfo",                                                                 \
		 .mode = S_IFDIR | 0555,                                                           \
		 .lookup = fdinfo_lookup,                                                          \
		 .next = fdinfo_next},                                                             \
		PDIR("net", proc_net_files)

static const struct pseudo_entry task_files[] = {
	COMMON_FILES,
	PFILE("stat", show_task_stat),
	{.name = NULL},
};
static const struct pseudo_entry task_dir = PDIR(NULL, task_files);

static int task_lookup(const struct inode *dir, const char *name, u32 len, struct pseudo_child *out)
{
	s64 tid = parse_number(name, len);
	struct uthread *ut = tid > 0 && tid <= PID_MAX ? uthread_find((int)tid) : NULL;
	bool ours;

	if (!ut)
		return -ENOENT;
	ours = ut->proc == proc_of(dir);
	uthread_put(ut);
	if (!ours)
		return -ENOENT;
	out->entry = &task_dir;
	out->arg = (u64)tid;
	return 0;
}

static s64 task_next(const struct inode *dir, s64 from, char *buf, u8 *type,
		     struct pseudo_child *out)
{
	struct proc *p = proc_of(dir);
	int tid = p ? proc_next_tid(p, (int)from) : 0;

	if (!tid)
		return -1;
	out->entry = &task_dir;
	out->arg = (u64)tid;
	*type = S_IFDIR >> 12;
	snprintf(buf, 24, "%d", tid);
	return tid;
}

static const struct pseudo_entry pid_files[] = {
	COMMON_FILES,
	PFILE("stat", show_stat),
	{.name = "task", .mode = S_IFDIR | 0555, .lookup = task_lookup, .next = task_next},
	{.name = NULL},
};
static const struct pseudo_entry pid_dir = PDIR(NULL, pid_files);

int procpid_lookup(const struct inode *dir, const char *name, u32 len, struct pseudo_child *out)
{
	s64 id = parse_number(name, len);
	struct uthread *ut;

	if (id <= 0 || id > PID_MAX)
		return -ENOENT;
	out->entry = &pid_dir;
	out->arg = (u64)id;
	if (proc_find((int)id)) {
		out->key = (u64)id;
		return 0;
	}
	/* A thread can be looked up here as well, though it is not listed. */
	ut = uthread_find((int)id);
	if (!ut)
		return -ENOENT;
	out->key = ut->proc ? (u64)ut->proc->pid : 0;
	uthread_put(ut);
	return out->key ? 0 : -ENOENT;
}

s64 procpid_next(const struct inode *dir, s64 from, char *buf, u8 *type, struct pseudo_child *out)
{
	/* One process so far; asking for each number would do for several. */
	int pid = init_proc->pid;

	if (from > pid)
		return -1;
	out->entry = &pid_dir;
	out->key = out->arg = (u64)pid;
	*type = S_IFDIR >> 12;
	snprintf(buf, 24, "%d", pid);
	return pid;
}
