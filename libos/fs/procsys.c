/*
 * procsys.c - /proc/sys and /proc/net: parameters that programs read before they decide something.
 *
 * All are read-only here: the library OS has no such knobs.
 */
#include <linux/stat.h>

#include "libos/fs/fdtable.h"
#include "libos/fs/procfs.h"
#include "libos/lib/random.h"
#include "libos/lib/string.h"
#include "libos/net/procnet.h"
#include "libos/proc/info.h"

static void show_hostname(struct text *t, const struct inode *i)
{
	char name[UTS_LEN];

	uts_nodename(name);
	text_printf(t, "%s\n", name);
}

static void show_domainname(struct text *t, const struct inode *i)
{
	char name[UTS_LEN];

	uts_domainname(name);
	text_printf(t, "%s\n", name);
}

static void text_uuid(struct text *t, const u8 u[16])
{
	for (int k = 0; k < 16; k++)
		text_printf(t, "%s%02x", k == 4 || k == 6 || k == 8 || k == 10 ? "-" : "", u[k]);
	text_printf(t, "\n");
}

/* RFC 9562, version 4. */
static void new_uuid(u8 u[16])
{
	random_bytes(u, 16);
	u[6] = (u8)((u[6] & 0x0f) | 0x40);
	u[8] = (u8)((u[8] & 0x3f) | 0x80);
}

static void show_uuid(struct text *t, const struct inode *i)
{
	u8 u[16];

	new_uuid(u);
	text_uuid(t, u);
}

static void show_boot_id(struct text *t, const struct inode *i)
{
	static spinlock_t lock = SPINLOCK_INIT;
	static u8 id[16], made;
	u8 copy[16];

	spin_lock(&lock);
	if (!made)
		new_uuid(id);
	made = 1;
	memcpy(copy, id, sizeof(copy));
	spin_unlock(&lock);
	text_uuid(t, copy);
}

static void show_file_nr(struct text *t, const struct inode *i)
{
	text_printf(t, "%lu\t0\t9223372036854775807\n", files_count());
}

static const struct pseudo_entry random_files[] = {
	PFILE("uuid", show_uuid),
	PFILE("boot_id", show_boot_id),
	PTEXT("entropy_avail", "256\n"),
	PTEXT("poolsize", "256\n"),
	PTEXT("urandom_min_reseed_secs", "60\n"),
	PTEXT("write_wakeup_threshold", "256\n"),
	{.name = NULL},
};

static const struct pseudo_entry kernel_files[] = {
	PTEXT("ostype", UTS_SYSNAME "\n"),
	PTEXT("osrelease", UTS_RELEASE "\n"),
	PTEXT("version", UTS_VERSION "\n"),
	PFILE("hostname", show_hostname),
	PFILE("domainname", show_domainname),
	PDIR("random", random_files),
	PTEXT("pid_max", "32768\n"),
	PTEXT("threads-max", "32768\n"),
	PTEXT("ngroups_max", "65536\n"),
	PTEXT("cap_last_cap", "40\n"),
	PTEXT("overflowuid", "65534\n"),
	PTEXT("overflowgid", "65534\n"),
	PTEXT("randomize_va_space", "2\n"),
	PTEXT("core_pattern", "core\n"),
	PTEXT("core_uses_pid", "0\n"),
	PTEXT("perf_event_paranoid", "3\n"),
	PTEXT("shmmax", "18446744073692774399\n"),
	PTEXT("shmall", "18446744073692774399\n"),
	PTEXT("shmmni", "4096\n"),
	PTEXT("sem", "32000\t1024000000\t500\t32000\n"),
	PTEXT("msgmax", "8192\n"),
	PTEXT("msgmnb", "16384\n"),
	PTEXT("msgmni", "32000\n"),
	PTEXT("sched_rr_timeslice_ms", "100\n"),
	PTEXT("tainted", "0\n"),
	PTEXT("unprivileged_userns_clone", "0\n"),
	{.name = NULL},
};

static const struct pseudo_entry vm_files[] = {
	PTEXT("overcommit_memory", "0\n"),
	PTEXT("overcommit_ratio", "50\n"),
	PTEXT("max_map_count", "65530\n"),
	PTEXT("mmap_min_addr", "65536\n"),
	PTEXT("swappiness", "60\n"),
	PTEXT("nr_hugepages", "0\n"),
	PTEXT("min_free_kbytes", "67584\n"),
	PTEXT("dirty_ratio", "20\n"),
	{.name = NULL},
};

static const struct pseudo_entry fs_files[] = {
	PTEXT("file-max", "9223372036854775807\n"),
	PFILE("file-nr", show_file_nr),
	PTEXT("nr_open", "1048576\n"),
	PTEXT("pipe-max-size", "1048576\n"),
	PTEXT("pipe-user-pages-soft", "16384\n"),
	PTEXT("aio-max-nr", "65536\n"),
	PTEXT("protected_hardlinks", "0\n"),
	PTEXT("protected_symlinks", "0\n"),
	PTEXT("suid_dumpable", "0\n"),
	{.name = NULL},
};

static const struct pseudo_entry net_core[] = {
	PTEXT("somaxconn", "4096\n"),
	PTEXT("rmem_default", "212992\n"),
	PTEXT("rmem_max", "4194304\n"),
	PTEXT("wmem_default", "212992\n"),
	PTEXT("wmem_max", "4194304\n"),
	PTEXT("netdev_max_backlog", "1000\n"),
	PTEXT("optmem_max", "131072\n"),
	PTEXT("max_skb_frags", "17\n"),
	{.name = NULL},
};
static const struct pseudo_entry net_ipv4[] = {
	PTEXT("ip_local_port_range", "32768\t60999\n"),
	PTEXT("ip_unprivileged_port_start", "1024\n"),
	PTEXT("tcp_rmem", "4096\t131072\t6291456\n"),
	PTEXT("tcp_wmem", "4096\t16384\t4194304\n"),
	PTEXT("tcp_max_syn_backlog", "1024\n"),
	PTEXT("tcp_fin_timeout", "60\n"),
	PTEXT("tcp_keepalive_time", "7200\n"),
	PTEXT("tcp_keepalive_intvl", "75\n"),
	PTEXT("tcp_keepalive_probes", "9\n"),
	PTEXT("tcp_syn_retries", "6\n"),
	PTEXT("tcp_syncookies", "1\n"),
	PTEXT("tcp_fastopen", "0\n"),
	PTEXT("tcp_sack", "1\n"),
	PTEXT("tcp_timestamps", "1\n"),
	PTEXT("tcp_window_scaling", "1\n"),
	PTEXT("tcp_congestion_control", "cubic\n"),
	PTEXT("tcp_available_congestion_control", "reno cubic\n"),
	PTEXT("tcp_allowed_congestion_control", "reno cubic\n"),
	PTEXT("ip_forward", "0\n"),
	PTEXT("ip_nonlocal_bind", "0\n"),
	{.name = NULL},
};
static const struct pseudo_entry net_unix[] = {PTEXT("max_dgram_qlen", "10\n"), {.name = NULL}};
static const struct pseudo_entry sys_net[] = {
	PDIR("core", net_core),
	PDIR("ipv4", net_ipv4),
	PDIR("unix", net_unix),
	{.name = NULL},
};

const struct pseudo_entry proc_sys_dirs[] = {
	PDIR("kernel", kernel_files), PDIR("vm", vm_files), PDIR("fs", fs_files),
	PDIR("net", sys_net),	      {.name = NULL},
};

const struct pseudo_entry proc_net_files[] = {
	PFILE("dev", procnet_dev),
	PFILE("tcp", procnet_tcp),
	PFILE("udp", procnet_udp),
	PFILE("unix", procnet_unix),
	PFILE("route", procnet_route),
	PFILE("arp", procnet_arp),
	PFILE("snmp", procnet_snmp),
	PTEXT("if_inet6", ""),
	{.name = NULL},
};
