/*
 * procfs.c - the root of /proc and what is there of the whole instance.
 */
#include "libos/fs/procfs.h"

#include <linux/magic.h>
#include <linux/stat.h>
#include <linux/time.h>

#include "libos/fs/memfs.h"
#include "libos/lib/printf.h"
#include "libos/mm/shm.h"
#include "libos/platform/hostcall.h"
#include "libos/proc/info.h"
#include "libos/sched/uthread.h"

static void show_meminfo(struct text *t, const struct inode *i)
{
	u64 total = mem_total_bytes() >> 10, avail = mem_free_bytes() >> 10;
	u64 shmem = shm_pages_used() << 2;
	const struct {
		const char *key;
		u64 kb;
	} rows[] = {
		{"MemTotal:", total},
		{"MemFree:", avail},
		{"MemAvailable:", avail},
		{"Buffers:", 0},
		{"Cached:", shmem},
		{"SwapCached:", 0},
		{"Active:", total - avail},
		{"Inactive:", 0},
		{"Active(anon):", total - avail},
		{"Inactive(anon):", 0},
		{"Active(file):", 0},
		{"Inactive(file):", 0},
		{"Unevictable:", 0},
		{"Mlocked:", 0},
		{"SwapTotal:", 0},
		{"SwapFree:", 0},
		{"Dirty:", 0},
		{"Writeback:", 0},
		{"AnonPages:", total - avail},
		{"Mapped:", 0},
		{"Shmem:", shmem},
		{"KReclaimable:", 0},
		{"Slab:", 0},
		{"SReclaimable:", 0},
		{"SUnreclaim:", 0},
		{"KernelStack:", 0},
		{"PageTables:", 0},
		{"CommitLimit:", total / 2},
		{"Committed_AS:", total - avail},
		{"VmallocTotal:", 34359738367},
		{"VmallocUsed:", 0},
		{"VmallocChunk:", 0},
		{"AnonHugePages:", 0},
		{"ShmemHugePages:", 0},
	};

	for (u32 k = 0; k < ARRAY_SIZE(rows); k++)
		text_printf(t, "%-15s %8lu kB\n", rows[k].key, rows[k].kb);
	text_printf(t,
		    "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n"
		    "HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               "
		    "0 kB\n");
}

#define TICKS(ns) ((ns) / 10000000)

/* Time that kthreads spent on application threads counts as user time, the rest as idle. */
static void show_stat(struct text *t, const struct inode *i)
{
	u64 up = TICKS(host_clock_ns(CLOCK_MONOTONIC)), switches = 0, user = 0;
	u64 boot = (host_clock_ns(CLOCK_REALTIME) - host_clock_ns(CLOCK_BOOTTIME)) / NSEC_PER_SEC;

	for (int tid = 0; (tid = proc_next_tid(init_proc, tid)); tid++) {
		struct uthread *ut = uthread_find(tid);

		if (ut) {
			user += TICKS(uthread_cpu_ns(ut));
			uthread_put(ut);
		}
	}
	up = min(up, TICKS(host_clock_ns(CLOCK_BOOTTIME) - init_proc->start_ns));
	text_printf(t, "cpu  %lu 0 0 %lu 0 0 0 0 0 0\n", user,
		    up * nr_kthreads - min(user, up * nr_kthreads));
	for (u32 c = 0; c < nr_kthreads; c++) {
		u64 mine = user / nr_kthreads;

		text_printf(t, "cpu%u %lu 0 0 %lu 0 0 0 0 0 0\n", c, mine, up - min(mine, up));
		switches += READ_ONCE(kthreads[c].nr_switches);
	}
	text_printf(t,
		    "intr 0\nctxt %lu\nbtime %lu\nprocesses %u\nprocs_running 1\nprocs_blocked 0\n"
		    "softirq 0 0 0 0 0 0 0 0 0 0 0\n",
		    switches, boot, init_proc->nr_threads);
}

static void show_uptime(struct text *t, const struct inode *i)
{
	u64 cs = TICKS(host_clock_ns(CLOCK_BOOTTIME));

	text_printf(t, "%lu.%02lu %lu.%02lu\n", cs / 100, cs % 100, cs / 100, cs % 100);
}

static void show_loadavg(struct text *t, const struct inode *i)
{
	text_printf(t, "0.00 0.00 0.00 1/%u %d\n", init_proc->nr_threads, init_proc->pid);
}

static int self_link(const struct inode *i, char *buf, size_t size)
{
	struct proc *p = current_proc();

	return p ? snprintf(buf, size, "%d", p->pid) : -ENOENT;
}

static int thread_self_link(const struct inode *i, char *buf, size_t size)
{
	struct proc *p = current_proc();

	return p ? snprintf(buf, size, "%d/task/%d", p->pid, current()->tid) : -ENOENT;
}

static const struct pseudo_entry top[] = {
	{.name = "self", .mode = S_IFLNK | 0777, .link = self_link},
	{.name = "thread-self", .mode = S_IFLNK | 0777, .link = thread_self_link},
	PFILE("cpuinfo", show_cpuinfo),
	PFILE("meminfo", show_meminfo),
	PFILE("stat", show_stat),
	PFILE("uptime", show_uptime),
	PFILE("loadavg", show_loadavg),
	PTEXT("version",
	      "Linux version " UTS_RELEASE " (junction@localhost) (gcc) " UTS_VERSION "\n"),
	PTEXT("filesystems",
	      "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tpipefs\nnodev\toverlay\n"),
	PLINK("mounts", "self/mounts"),
	PLINK("net", "self/net"),
	PTEXT("cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
			 "cpu\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n"),
	PTEXT("cmdline", "\n"),
	PTEXT("devices", "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n"),
	PTEXT("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
	PTEXT("partitions", "major minor  #blocks  name\n\n"),
	PTEXT("diskstats", ""),
	PTEXT("modules", ""),
	PTEXT("vmstat", "pgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\n"),
	PDIR("sys", proc_sys_dirs),
	{.name = NULL},
};

static const struct pseudo_entry root = {
	.mode = S_IFDIR | 0555,
	.children = top,
	.lookup = procpid_lookup,
	.next = procpid_next,
};

struct super *procfs_mount(void)
{
	return pseudo_mount("proc", PROC_SUPER_MAGIC, (u32)MKDEV(0, 21), &root);
}
