/*
 * host.c - what the host offers: processor features, vDSO, clock, memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "loader/internal.h"

#define HWCAP2_FSGSBASE_BIT 2ul /* asm/hwcap2.h: HWCAP2_FSGSBASE */

static sigjmp_buf no_such_instruction;

static void on_sigill(int sig)
{
	siglongjmp(no_such_instruction, 1);
}

/*
 * A paravirtual machine may let the instructions through although its kernel does not announce them.
 * That is enough: bases that the kernel then loses are dealt with (libos/abi/control.h).
 */
static bool try_fsgsbase(void)
{
	struct sigaction sa = {.sa_handler = on_sigill}, old;
	volatile bool works = false;
	uint64_t base;

	sigaction(SIGILL, &sa, &old);
	if (!sigsetjmp(no_such_instruction, 1)) {
		__asm__ volatile("rdgsbase %0; wrgsbase %0" : "=r"(base));
		works = true;
	}
	sigaction(SIGILL, &old, NULL);
	return works;
}

int loader_probe_cpu(struct loader_error *err)
{
	static bool good;

	if (good)
		return 0;
	good = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT || try_fsgsbase();
	if (good)
		return 0;
	return loader_fail(err, "the host does not let programs use the FSGSBASE instructions; use a "
				"processor that has them and Linux 5.9 or later without nofsgsbase");
}

/* Whole file into buf, NUL-terminated; -1 with errno. */
static long read_file(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = '\0';
	return len;
}

/*
 * The clock of the instance is the host's vDSO. With a clock source that the vDSO cannot read, it
 * falls back to a system call, which the filter would trap for ever.
 */
int loader_probe_clock(struct loader_error *err)
{
	static const char path[] = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
	static const char *const good[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page"};
	static bool is_good; /* it hardly ever changes, and never for the better */
	char name[64];

	if (is_good)
		return 0;
	/* Without sysfs there is no telling; all common machines have a good one. */
	if (read_file(path, name, sizeof(name)) <= 0)
		return 0;
	name[strcspn(name, "\n")] = '\0';
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!strcmp(name, good[i])) {
			is_good = true;
			return 0;
		}
	return loader_fail(err,
			   "the host's clock source is %s, which programs cannot read without a system "
			   "call; use a machine with a stable TSC, or boot with clocksource=tsc",
			   name);
}

/*
 * The vDSO and the data pages that stand before it, from /proc/self/maps; a child that was cloned
 * without exec has them at the same place. They are one run of neighbouring mappings.
 */
int loader_find_vdso(struct control_boot *boot, struct loader_error *err)
{
	static uint64_t start, end; /* of a process they do not change */
	char maps[16384];
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR);

	if (end)
		goto found;
	if (!vdso)
		return loader_fail(err, "the host gives programs no vDSO; boot without vdso=0");
	if (read_file("/proc/self/maps", maps, sizeof(maps)) <= 0)
		return loader_fail_errno(err, errno, "cannot read /proc/self/maps (is /proc mounted?)");
	for (char *line = maps, *next; line && *line; line = next) {
		uint64_t from, to;
		char *p;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		from = strtoull(line, &p, 16);
		if (*p++ != '-')
			continue;
		to = strtoull(p, NULL, 16);
		if (!strstr(line, "[vvar") && !strstr(line, "[vdso]"))
			continue;
		if (end && from != end)
			start = 0; /* a gap: what came before is not ours */
		if (!start)
			start = from;
		end = to;
		if (vdso >= from && vdso < to)
			break;
	}
	if (!start || vdso < start || vdso >= end) {
		start = end = 0;
		return loader_fail(err, "no vDSO in /proc/self/maps, although the kernel announced one");
	}
found:
	boot->host_vdso = vdso;
	boot->host_vdso_start = start;
	boot->host_vdso_end = end;
	return 0;
}

uint64_t loader_host_memory(void)
{
	struct sysinfo si;

	if (sysinfo(&si) == -1)
		return 1ull << 30;
	return (uint64_t)si.totalram * si.mem_unit;
}
