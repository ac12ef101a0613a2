/* misc.c - identity, limits, scheduling, getrandom, prctl, membarrier, rseq, auxv, unknown calls. */
#include "t.h"

#include <linux/membarrier.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>

static void identity(void)
{
	struct utsname u;
	struct sysinfo si;

	HEAD("identity");
	T(getpid() > 0);
	T(getppid() >= 0);
	V(getuid() == geteuid());
	V(getgid() == getegid());
	T(getpgrp() == getpgid(0));
	T(getsid(0) >= 0);
	R(getpgid(999999));
	R(uname(&u));
	S(u.sysname);
	S(u.machine);
	T(u.release[0] >= '4' && u.release[0] <= '9');
	T(strlen(u.nodename) > 0);
	R(sysinfo(&si));
	T(si.totalram > 0 && si.mem_unit > 0 && si.procs > 0);
	R(personality(0xffffffff));
	R(syscall(SYS_personality, 0xffffffff));
}

static void random_bytes(void)
{
	unsigned char a[64] = { 0 }, b[64] = { 0 };
	int zeros = 0;

	HEAD("getrandom");
	R(getrandom(a, 64, 0));
	R(getrandom(b, 64, GRND_NONBLOCK));
	T(memcmp(a, b, 64) != 0);
	R(getrandom(a, 0, 0));
	R(getrandom(a, 10, 0x100));
	R(getrandom(a, 64, GRND_RANDOM) > 0);
	for (int i = 0; i < 64; i++)
		zeros += b[i] == 0;
	T(zeros < 10);
	T(getauxval(AT_RANDOM) != 0);
}

static void limits(void)
{
	struct rlimit rl, old;
	int fd, n = 0;

	HEAD("limits");
	R(getrlimit(RLIMIT_NOFILE, &rl));
	T(rl.rlim_cur >= 256 && rl.rlim_cur <= rl.rlim_max);
	R(getrlimit(RLIMIT_STACK, &rl));
	T(rl.rlim_cur >= 1 << 20);
	R(getrlimit(99, &rl));
	old.rlim_cur = old.rlim_max = 0;
	getrlimit(RLIMIT_NOFILE, &old);
	rl = old;
	rl.rlim_cur = 20;
	R(setrlimit(RLIMIT_NOFILE, &rl));
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		n++;
	say("highest fd limit reached: %s %d", t_errname(errno), n + 3 <= 20);
	R(dup2(0, 30));
	R(fcntl(0, F_DUPFD, 30));
	for (int i = 3; i < 20; i++)
		close(i);
	setrlimit(RLIMIT_NOFILE, &old);
	rl.rlim_cur = 10;
	rl.rlim_max = 5;
	R(setrlimit(RLIMIT_NOFILE, &rl));
	R(prlimit(0, RLIMIT_NOFILE, NULL, &rl));
	T(rl.rlim_cur == old.rlim_cur);
	R(prlimit(999999, RLIMIT_NOFILE, NULL, &rl));
	/* A file may not grow past RLIMIT_FSIZE. */
	signal(SIGXFSZ, SIG_IGN);
	rl = (struct rlimit){ 1000, RLIM_INFINITY };
	fd = memfd_create("x", 0);
	setrlimit(RLIMIT_FSIZE, &rl);
	n = ftruncate(fd, 2000) ? errno : 0;
	rl.rlim_cur = RLIM_INFINITY;
	R(setrlimit(RLIMIT_FSIZE, &rl));
	say("past the limit: %s", t_errname(n));
	R(close(fd));
	R(getpriority(PRIO_PROCESS, 0));
	R(getpriority(77, 0));
}

static void scheduling(void)
{
	struct sched_param sp = { 0 };
	struct timespec ts;
	cpu_set_t set;
	unsigned cpu = 999, node = 999;
	int cpus;

	HEAD("scheduling");
	R(sched_yield());
	R(sched_getscheduler(0));
	R(sched_getparam(0, &sp));
	V(sp.sched_priority);
	R(sched_setscheduler(0, SCHED_OTHER, &sp));
	R(sched_setscheduler(0, 99, &sp));
	R(sched_get_priority_max(SCHED_FIFO));
	R(sched_get_priority_min(SCHED_FIFO));
	R(sched_get_priority_max(SCHED_OTHER));
	R(sched_get_priority_max(99));
	R(sched_rr_get_interval(0, &ts));
	CPU_ZERO(&set);
	T(syscall(SYS_sched_getaffinity, 0, sizeof(set), &set) >= 8);
	cpus = CPU_COUNT(&set);
	T(cpus >= 1);
	T(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	R(syscall(SYS_sched_getaffinity, 0, 1, &set));
	R(sched_setaffinity(0, sizeof(set), &set));
	CPU_ZERO(&set);
	R(sched_setaffinity(0, sizeof(set), &set));
	R(syscall(SYS_getcpu, &cpu, &node, NULL));
	T(cpu < 4096 && node < 64);
	T(sched_getcpu() >= 0);
}

static void process_control(void)
{
	char name[16];
	int v;

	HEAD("prctl");
	R(prctl(PR_SET_NAME, "a-very-long-name-cut"));
	R(prctl(PR_GET_NAME, name));
	S(name);
	R(prctl(PR_GET_DUMPABLE));
	R(prctl(PR_SET_DUMPABLE, 0));
	R(prctl(PR_GET_DUMPABLE));
	R(prctl(PR_SET_DUMPABLE, 77));
	R(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	R(prctl(PR_SET_PDEATHSIG, SIGTERM));
	R(prctl(PR_GET_PDEATHSIG, &v));
	V(v);
	R(prctl(PR_SET_PDEATHSIG, 999));
	R(prctl(PR_SET_KEEPCAPS, 1));
	R(prctl(PR_GET_KEEPCAPS));
	R(prctl(PR_SET_TIMERSLACK, 1000));
	R(prctl(PR_GET_TIMERSLACK));
	R(prctl(9999, 0, 0, 0, 0));
	R(syscall(SYS_arch_prctl, 0x1003, &(unsigned long){ 0 })); /* ARCH_GET_FS */
	R(syscall(SYS_arch_prctl, 0x9999, 0));

	HEAD("membarrier");
	v = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	T((v & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0);
	R(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	R(syscall(SYS_membarrier, 0x4000000, 0, 0));
	R(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 77, 0));
}

static void sequences(void)
{
	static struct {
		uint32_t cpu_start, cpu_id;
		uint64_t cs;
		uint32_t flags, node, mm, pad;
	} area __attribute__((aligned(32)));
	long r;

	HEAD("rseq");
	r = syscall(SYS_rseq, &area, 32, 0, 0x53053053);
	say("%s", r == 0 ? "registered" : errno == EBUSY || errno == EINVAL ? "had already" : t_errname(errno));
	if (r == 0) {
		T(area.cpu_id < 4096);
		R(syscall(SYS_rseq, &area, 32, 0, 0x53053053));
		R(syscall(SYS_rseq, &area, 32, 1, 0x1234));
		R(syscall(SYS_rseq, &area, 32, 1, 0x53053053));
	}
	R(syscall(SYS_rseq, &area, 4, 0, 0x53053053) ? 1 : 0);
}

static void auxiliary(void)
{
	HEAD("auxiliary vector");
	V(getauxval(AT_PAGESZ));
	V(getauxval(AT_CLKTCK));
	T(getauxval(AT_PHDR) != 0);
	V(getauxval(AT_PHENT));
	T(getauxval(AT_PHNUM) > 0);
	T(getauxval(AT_ENTRY) != 0);
	V(getauxval(AT_SECURE));
	T(getauxval(AT_SYSINFO_EHDR) != 0);
	T(getauxval(AT_HWCAP) != 0);
	S((char *)getauxval(AT_PLATFORM));
	T(strstr((char *)getauxval(AT_EXECFN), "misc") != NULL);
	T(getauxval(AT_UID) == getuid());
	if (getauxval(AT_SYSINFO_EHDR))
		T(!memcmp((void *)getauxval(AT_SYSINFO_EHDR), "\177ELF", 4));
}

static void unknown(void)
{
	struct winsize ws;

	HEAD("calls that are not there");
	R(syscall(1023));
	R(syscall(-5));
	R(syscall(SYS_create_module));
	R(syscall(SYS_uselib, 0));
	R(syscall(SYS_afs_syscall));
	R(ioctl(0, 0x12345678, 0));
	R(ioctl(1000, TIOCGWINSZ, &ws));
	R(ioctl(1, TIOCGWINSZ, &ws));
	R(wait4(-1, NULL, 0, NULL));
	R(waitid(P_ALL, 0, NULL, WEXITED));
	R(wait4(-1, NULL, WNOHANG, NULL));
	R(open("/etc/shadow-none", O_RDONLY));
}

int main(void)
{
	identity();
	random_bytes();
	limits();
	scheduling();
	process_control();
	sequences();
	auxiliary();
	unknown();
	return 0;
}
