/*
 * sysfs.c - the part of /sys that C libraries, Python and Go look at: processors, huge pages,
 * cgroup.
 */
#include <linux/magic.h>
#include <linux/stat.h>

#include "libos/fs/pseudo.h"
#include "libos/lib/printf.h"
#include "libos/lib/string.h"
#include "libos/proc/info.h"
#include "libos/sched/uthread.h"

static void show_cpu_range(struct text *t, const struct inode *i)
{
	if (nr_kthreads > 1)
		text_printf(t, "0-%u\n", nr_kthreads - 1);
	else
		text_printf(t, "0\n");
}

static void show_empty_line(struct text *t, const struct inode *i)
{
	text_printf(t, "\n");
}

static void show_cpu_id(struct text *t, const struct inode *i)
{
	text_printf(t, "%lu\n", i->pseudo.key);
}

static void show_cpu_mask(struct text *t, const struct inode *i)
{
	text_printf(t, "%lx\n", 1ul << i->pseudo.key);
}

static const struct pseudo_entry cpu_topology[] = {
	PFILE("core_id", show_cpu_id),
	PTEXT("physical_package_id", "0\n"),
	PFILE("thread_siblings", show_cpu_mask),
	PFILE("thread_siblings_list", show_cpu_id),
	PFILE("core_siblings_list", show_cpu_range),
	PFILE("core_cpus_list", show_cpu_id),
	PFILE("package_cpus_list", show_cpu_range),
	{.name = NULL},
};

static const struct pseudo_entry cpu_files[] = {
	PTEXT("online", "1\n"),
	PDIR("topology", cpu_topology),
	{.name = NULL},
};

static const struct pseudo_entry cpu_dir = PDIR(NULL, cpu_files);

static int cpu_lookup(const struct inode *dir, const char *name, u32 len, struct pseudo_child *out)
{
	s64 n = len > 3 && !memcmp(name, "cpu", 3) ? parse_number(name + 3, len - 3) : -1;

	if (n < 0 || n >= nr_kthreads)
		return -ENOENT;
	out->entry = &cpu_dir;
	out->key = (u64)n;
	return 0;
}

static s64 cpu_next(const struct inode *dir, s64 from, char *buf, u8 *type,
		    struct pseudo_child *out)
{
	if (from >= nr_kthreads)
		return -1;
	out->entry = &cpu_dir;
	out->key = (u64)from;
	snprintf(buf, 24, "cpu%ld", from);
	*type = S_IFDIR >> 12;
	return from;
}

static const struct pseudo_entry cpus[] = {
	PFILE("online", show_cpu_range),
	PFILE("possible", show_cpu_range),
	PFILE("present", show_cpu_range),
	PFILE("offline", show_empty_line),
	PTEXT("kernel_max", "63\n"),
	PTEXT("isolated", "\n"),
	{.name = NULL},
};

static const struct pseudo_entry node0[] = {
	PFILE("cpulist", show_cpu_range),
	{.name = NULL},
};
static const struct pseudo_entry nodes[] = {
	PTEXT("online", "0\n"),	    PTEXT("possible", "0\n"), PTEXT("has_cpu", "0\n"),
	PTEXT("has_memory", "0\n"), PDIR("node0", node0),     {.name = NULL},
};

static const struct pseudo_entry devices_system[] = {
	{.name = "cpu",
	 .mode = S_IFDIR | 0555,
	 .children = cpus,
	 .lookup = cpu_lookup,
	 .next = cpu_next},
	PDIR("node", nodes),
	{.name = NULL},
};
static const struct pseudo_entry devices[] = {PDIR("system", devices_system), {.name = NULL}};

static const struct pseudo_entry thp[] = {
	PTEXT("enabled", "always [madvise] never\n"),
	PTEXT("defrag", "always defer defer+madvise [madvise] never\n"),
	PTEXT("shmem_enabled", "always within_size advise [never] deny force\n"),
	PTEXT("hpage_pmd_size", "2097152\n"),
	PTEXT("use_zero_page", "1\n"),
	{.name = NULL},
};
static const struct pseudo_entry kernel_mm[] = {PDIR("transparent_hugepage", thp), {.name = NULL}};

/* cgroup v2, as a container sees its own: the root of what it can see. */
static void show_memory_max(struct text *t, const struct inode *i)
{
	text_printf(t, "%lu\n", mem_total_bytes());
}

static void show_memory_current(struct text *t, const struct inode *i)
{
	text_printf(t, "%lu\n", mem_total_bytes() - mem_free_bytes());
}

static void show_cpu_max(struct text *t, const struct inode *i)
{
	text_printf(t, "%u 100000\n", nr_kthreads * 100000);
}

static const struct pseudo_entry cgroup[] = {
	PTEXT("cgroup.controllers", "cpu memory pids\n"),
	PTEXT("cgroup.type", "domain\n"),
	PTEXT("cgroup.subtree_control", ""),
	PFILE("memory.max", show_memory_max),
	PTEXT("memory.high", "max\n"),
	PTEXT("memory.swap.max", "0\n"),
	PFILE("memory.current", show_memory_current),
	PFILE("cpu.max", show_cpu_max),
	PTEXT("pids.max", "max\n"),
	{.name = NULL},
};

static const struct pseudo_entry sys_kernel[] = {PDIR("mm", kernel_mm), {.name = NULL}};
static const struct pseudo_entry sys_fs[] = {PDIR("cgroup", cgroup), {.name = NULL}};
static const struct pseudo_entry sys_class[] = {
	PDIR("net", NULL), PDIR("block", NULL), {.name = NULL}};

static const struct pseudo_entry top[] = {
	PDIR("class", sys_class),   PDIR("devices", devices), PDIR("fs", sys_fs),
	PDIR("kernel", sys_kernel), {.name = NULL},
};
static const struct pseudo_entry root = PDIR(NULL, top);

struct super *sysfs_mount(void)
{
	return pseudo_mount("sysfs", SYSFS_MAGIC, (u32)MKDEV(0, 22), &root);
}
