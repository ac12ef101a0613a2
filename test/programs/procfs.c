/* procfs.c - what glibc, Python and Go read of /proc, /sys and /dev: shapes, not the host's values. */
#include "t.h"

#include <dirent.h>
#include <sys/prctl.h>

static char text[65536];

static ssize_t slurp(const char *path)
{
	int fd = open(path, O_RDONLY);
	ssize_t n, total = 0;

	if (fd < 0) {
		say("%s: %s", path, t_errname(errno));
		text[0] = 0;
		return -1;
	}
	while ((n = read(fd, text + total, sizeof(text) - 1 - total)) > 0)
		total += n;
	text[total] = 0;
	close(fd);
	return total;
}

/* A line "key:" exists. */
static void has_key(const char *path, const char *key)
{
	char want[64];

	snprintf(want, sizeof(want), "\n%s:", key);
	say("%s has %s: %s", path, key,
	    strstr(text, want) || !strncmp(text, want + 1, strlen(want) - 1) ? "yes" : "no");
}

static void *in_thread(void *arg)
{
	char path[64], link[64];
	ssize_t n;

	prctl(PR_SET_NAME, "worker");
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", gettid_raw());
	slurp(path);
	S(text);
	slurp("/proc/thread-self/comm");
	S(text);
	slurp("/proc/self/comm");
	S(text);
	n = readlink("/proc/thread-self", link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = 0;
	snprintf(path, sizeof(path), "%d/task/%d", getpid(), gettid_raw());
	T(!strcmp(link, path));
	return NULL;
}

/* The mapping that holds an address must be in maps, with these permissions. */
static void mapped(const char *what, void *addr, const char *want_perms, const char *want_name)
{
	slurp("/proc/self/maps");
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned long a, b;
		char perms[8] = "", name[256] = "";

		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &a, &b, perms, name) < 3) {
			say("maps: odd line %s", line);
			continue;
		}
		if ((unsigned long)addr >= a && (unsigned long)addr < b) {
			say("%s: %s%s", what, !strcmp(perms, want_perms) ? "as expected " : perms,
			    want_name && strcmp(name, want_name) ? name : "");
			return;
		}
	}
	say("%s: not in maps", what);
}

int main(void)
{
	char buf[256], path[64], self[16];
	ssize_t n;
	int fd, fd2, count = 0;
	DIR *d;
	char *anon;

	enter_scratch("procfs");
	prctl(PR_SET_NAME, "tester");
	snprintf(self, sizeof(self), "%d", getpid());

	HEAD("self");
	n = readlink("/proc/self", buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	T(!strcmp(buf, self));
	n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	T(strstr(buf, "procfs") != NULL);
	n = readlink("/proc/self/cwd", buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	T(strstr(buf, "/procfs") != NULL);
	n = readlink("/proc/self/root", buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	S(buf);
	slurp("/proc/self/comm");
	S(text);
	T(slurp("/proc/self/cmdline") > 0 && strstr(text, "procfs"));
	T(slurp("/proc/self/environ") > 0);
	put_file("/proc/self/comm", "renamed");
	slurp("/proc/self/comm");
	S(text);
	prctl(PR_SET_NAME, "tester");
	T(slurp("/proc/self/stat") > 0);
	T(atoi(text) == getpid());
	say("%.10s", strchr(text, '('));
	for (char *p = strrchr(text, ')'); *p; p++)
		count += *p == ' ';
	V(count);
	T(slurp("/proc/self/status") > 0);
	for (const char *const *k = (const char *const[]){ "Name", "State", "Tgid", "Pid", "PPid",
			"Uid", "Gid", "FDSize", "VmSize", "VmRSS", "Threads", "SigPnd", "SigBlk",
			"SigCgt", "CapEff", "Cpus_allowed_list", "NoNewPrivs", NULL };
	     *k; k++)
		has_key("status", *k);
	T(slurp("/proc/self/statm") > 0);
	count = 0;
	for (char *p = text; *p; p++)
		count += *p == ' ';
	V(count);
	T(slurp("/proc/self/limits") > 0 && strstr(text, "Max open files"));
	T(slurp("/proc/self/auxv") > 0 && ((unsigned long *)text)[0] != 0);
	slurp("/proc/self/oom_score_adj");
	T(slurp("/proc/self/mounts") > 0 && strstr(text, " / "));
	T(slurp("/proc/self/mountinfo") > 0);
	T(slurp("/proc/self/cgroup") > 0);

	HEAD("fd");
	put_file("f", "0123456789");
	fd = open("f", O_RDONLY);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	T(n > 0 && !strcmp(strrchr(buf, '/'), "/f"));
	R(read(fd, buf, 4));
	fd2 = Z(open(path, O_RDONLY)); /* a fresh open of the same file */
	R(read(fd2, buf, 20));
	R(close(fd2));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	T(slurp(path) > 0 && strstr(text, "pos:\t4\n"));
	R(unlink("f"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	T(n > 10 && !strcmp(buf + n - 10, " (deleted)"));
	R(close(fd));
	R(open(path, O_RDONLY));
	NEED(pipe((int[2]){ 0 }) == 0);
	fd = open("/dev/null", O_RDWR);
	d = opendir("/proc/self/fd");
	T(d != NULL);
	count = 0;
	for (struct dirent *de; d && (de = readdir(d));)
		if (atoi(de->d_name) == fd && de->d_type == DT_LNK)
			count++;
	V(count);
	if (d)
		closedir(d);
	n = readlink("/dev/fd", buf, sizeof(buf) - 1);
	say("%.*s", (int)(n > 0 ? n : 0), buf);
	R(open("/dev/fd/3", O_RDONLY) >= 0);
	R(access("/dev/stdin", F_OK));

	HEAD("task");
	pthread_join(spawn(in_thread, NULL), NULL);
	d = opendir("/proc/self/task");
	count = 0;
	for (struct dirent *de; d && (de = readdir(d));)
		count += de->d_name[0] != '.';
	T(count >= 1);
	if (d)
		closedir(d);
	R(access("/proc/999999", F_OK));
	R(access("/proc/nothing", F_OK));
	R(mkdir("/proc/x", 0755));
	R(open("/proc/self/x", O_WRONLY | O_CREAT, 0644));

	HEAD("maps");
	anon = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mapped("anonymous", anon, "r--p", NULL);
	mprotect(anon, 4096, PROT_NONE);
	mapped("protected", anon, "---p", NULL);
	munmap(anon, 4096);
	mapped("unmapped", anon, "", NULL);
	mapped("text", (void *)main, "r-xp", NULL);
	mapped("stack", buf, "rw-p", "[stack]");
	anon = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mapped("shared", anon, "rw-s", NULL);
	T(slurp("/proc/self/smaps") > 0 || 1);

	HEAD("system");
	slurp("/proc/meminfo");
	for (const char *const *k = (const char *const[]){ "MemTotal", "MemFree", "MemAvailable",
			"Buffers", "Cached", "SwapTotal", NULL };
	     *k; k++)
		has_key("meminfo", *k);
	T(slurp("/proc/cpuinfo") > 0 && strstr(text, "processor\t: 0"));
	T(slurp("/proc/stat") > 0 && !strncmp(text, "cpu ", 4) && strstr(text, "\nbtime "));
	T(slurp("/proc/uptime") > 0 && atof(text) > 0);
	T(slurp("/proc/loadavg") > 0);
	T(slurp("/proc/version") > 0 && !strncmp(text, "Linux version ", 14));
	T(slurp("/proc/filesystems") > 0 && strstr(text, "tmpfs"));
	T(slurp("/proc/sys/kernel/ostype") == 6 && !strcmp(text, "Linux\n"));
	T(slurp("/proc/sys/kernel/osrelease") > 0);
	T(slurp("/proc/sys/kernel/hostname") > 0);
	T(slurp("/proc/sys/kernel/pid_max") > 0 && atoi(text) > 0);
	T(slurp("/proc/sys/kernel/random/uuid") == 37);
	T(slurp("/proc/sys/kernel/random/boot_id") == 37);
	T(slurp("/proc/sys/vm/overcommit_memory") == 2);
	T(slurp("/proc/sys/vm/max_map_count") > 0 && atoi(text) > 0);
	T(slurp("/proc/sys/net/core/somaxconn") > 0 && atoi(text) > 0);
	T(slurp("/sys/devices/system/cpu/online") > 0 && text[0] == '0');
	T(slurp("/sys/devices/system/cpu/possible") > 0 && text[0] == '0');
	slurp("/sys/kernel/mm/transparent_hugepage/enabled");
	R(access("/sys/devices/system/cpu/cpu0", F_OK));
	return 0;
}
