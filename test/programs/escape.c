/*
 * escape.c - tries to reach the host kernel past the library OS, one way a run (test/system/test_escape.py).
 *
 *   sweep zeros|ones|x32   every number 0..600 by a syscall instruction in generated code; the answer
 *                          must be that of the library OS, which a rewritten call gives
 *   identity               who and where am I, asked both ways
 *   text NR [ARG...]       a jump to a syscall instruction in the text of the library OS
 *   int80 NR [ARG]         the 32-bit entry, from 64-bit code
 *   compat NR [ARG]        the same from a 32-bit code segment
 *   sysenter NR            the other 32-bit entry
 *   vsyscall               the legacy page at the top of the address space
 *   gen NR [ARG...]        one call from generated code
 *
 * Prints "answer N" if control comes back. Being killed is fine; an answer of the host is not.
 */
#include "t.h"

#include <setjmp.h>
#include <sys/utsname.h>

#define LIBOS_TEXT ((const unsigned char *)0x480000000000ul)
#define LIBOS_TEXT_MAX (8ul << 20)

typedef long call_fn(long nr, const long *args);

/* rdi = number, rsi = arguments: loads the registers and executes syscall. */
static const unsigned char code_syscall[] = {
	0x53, /* push %rbx */
	0x48, 0x89, 0xf8, /* mov %rdi, %rax */
	0x48, 0x89, 0xf3, /* mov %rsi, %rbx */
	0x48, 0x8b, 0x3b, /* mov (%rbx), %rdi */
	0x48, 0x8b, 0x73, 0x08, /* mov 8(%rbx), %rsi */
	0x48, 0x8b, 0x53, 0x10, /* mov 16(%rbx), %rdx */
	0x4c, 0x8b, 0x53, 0x18, /* mov 24(%rbx), %r10 */
	0x4c, 0x8b, 0x43, 0x20, /* mov 32(%rbx), %r8 */
	0x4c, 0x8b, 0x4b, 0x28, /* mov 40(%rbx), %r9 */
	0x0f, 0x05, /* syscall */
	0x5b, /* pop %rbx */
	0xc3,
};

static call_fn *generate(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	NEED(p != MAP_FAILED);
	memcpy(p, code_syscall, sizeof(code_syscall));
	return (call_fn *)p;
}

/* Through the C library, whose syscall instruction the builder rewrote: the library OS's own answer. */
static long proper(long nr, const long *a)
{
	long r = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);

	return r == -1 ? -errno : r;
}

static int is(long nr, const short *list)
{
	for (; *list >= 0; list++)
		if (*list == nr)
			return 1;
	return 0;
}

/* Calls that end or stop this program whoever serves them. */
static const short never[] = { SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_pause, SYS_rt_sigsuspend,
			       SYS_fork, SYS_vfork, SYS_clone, SYS_clone3, SYS_reboot, SYS_vhangup,
			       335, 336 /* uretprobe, uprobe: newer kernels raise SIGILL before any filter */, -1 };
/* The second of two equal calls answers otherwise. */
static const short once[] = { SYS_close, SYS_close_range, SYS_setsid, -1 };
/* With all arguments zero these wait for ever. */
static const short waits[] = { SYS_select, SYS_pselect6, SYS_ppoll, -1 };

static int sweep(const char *how)
{
	call_fn *raw = generate();
	long fill = !strcmp(how, "ones") ? -1 : 0, bit = !strcmp(how, "x32") ? 0x40000000 : 0;
	long args[6] = { fill, fill, fill, fill, fill, fill };
	int calls = 0, different = 0;

	for (long nr = 0; nr <= 600; nr++) {
		long want, got;

		if (is(nr, never) || (!fill && is(nr, waits)))
			continue;
		want = proper(nr | bit, args);
		got = raw(nr | bit, args);
		calls++;
		if (is(nr, once))
			continue;
		/* Errors are equal; answers may vary in value (times, addresses). */
		if (want < 0 && want > -4096 ? got != want : got < 0 && got > -4096) {
			different++;
			say("call %ld: %ld from the library OS, %ld from generated code", nr, want, got);
		}
	}
	say("calls %d different %d", calls, different);
	return different != 0;
}

static int identity(void)
{
	call_fn *raw = generate();
	struct utsname a, b;
	char path[256], other[256];
	long fd;

	T(raw(SYS_getpid, (long[6]){ 0 }) == getpid());
	T(raw(SYS_gettid, (long[6]){ 0 }) == gettid_raw());
	T(raw(SYS_getppid, (long[6]){ 0 }) == getppid());
	T(raw(SYS_getuid, (long[6]){ 0 }) == getuid());
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	uname(&a);
	T(raw(SYS_uname, (long[6]){ (long)&b }) == 0 && !memcmp(&a, &b, sizeof(a)));
	NEED(getcwd(path, sizeof(path)));
	T(raw(SYS_getcwd, (long[6]){ (long)other, sizeof(other) }) > 0 && !strcmp(path, other));
	fd = raw(SYS_openat, (long[6]){ AT_FDCWD, (long)"/etc/hostname", O_RDONLY });
	say("host name file: %s", fd < 0 ? t_errname((int)-fd) : "open");
	fd = raw(SYS_openat, (long[6]){ AT_FDCWD, (long)"/etc/passwd", O_RDONLY });
	say("password file: %s", fd < 0 ? t_errname((int)-fd) : "open");
	fd = raw(SYS_openat, (long[6]){ AT_FDCWD, (long)"made-inside", O_RDWR | O_CREAT, 0600 });
	T(fd >= 0 && raw(SYS_write, (long[6]){ fd, (long)"x", 1 }) == 1 && access("made-inside", F_OK) == 0);
	return 0;
}

static sigjmp_buf end_of_text;

static void on_fault(int sig)
{
	siglongjmp(end_of_text, 1);
}

/* Finds a syscall instruction in the text of the library OS, best one that returns at once. */
static const unsigned char *find_site(void)
{
	static const unsigned char *volatile any, *volatile good;
	struct sigaction sa = { .sa_handler = on_fault }, old;

	sigaction(SIGSEGV, &sa, &old);
	if (!sigsetjmp(end_of_text, 1))
		for (const unsigned char *p = LIBOS_TEXT; p < LIBOS_TEXT + LIBOS_TEXT_MAX; p++)
			if (p[0] == 0x0f && p[1] == 0x05) {
				any = any ?: p;
				if (p[2] == 0xc3)
					good = good ?: p;
			}
	sigaction(SIGSEGV, &old, NULL);
	return good ?: any;
}

static long call_site(const unsigned char *site, long nr, const long *a)
{
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];
	long ret;

	__asm__ volatile("call *%[site]"
			 : "=a"(ret), "+r"(r10), "+r"(r8), "+r"(r9)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), [site] "b"(site)
			 : "rcx", "r11", "r12", "r13", "r14", "r15", "memory");
	return ret;
}

static int text(long nr, const long *a)
{
	const unsigned char *site = find_site();

	if (!site) {
		say("no library OS below");
		return 0;
	}
	say("site found");
	say("answer %ld", call_site(site, nr, a));
	return 0;
}

static int int80(long nr, long arg)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(arg), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
	say("answer %ld", ret);
	return 0;
}

static int sysenter(long nr)
{
	long ret;

	__asm__ volatile("sysenter" : "=a"(ret) : "a"(nr), "b"(0) : "memory", "rcx", "rdx");
	say("answer %ld", ret);
	return 0;
}

/* Generated below 4 GiB: far return to the 32-bit code segment, int 0x80, far return to 64-bit code. */
static int compat(long nr, long arg)
{
	unsigned char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	static const unsigned char code32[] = { 0xcd, 0x80, 0xcb }; /* int $0x80; lret */
	unsigned *stack = (unsigned *)(p + 8192 - 64);
	static long saved_sp;
	long ret;

	NEED(p != MAP_FAILED);
	memcpy(p, code32, sizeof(code32));
	/* What the 32-bit lret pops: a 32-bit address in the 64-bit segment. */
	memcpy(p + 64, "\xff\x25\x00\x00\x00\x00", 6); /* jmp *(%rip) */
	stack[0] = (unsigned)(uintptr_t)(p + 64);
	stack[1] = 0x33;
	__asm__ volatile("mov %%rsp, %[saved]\n\t"
			 "lea 1f(%%rip), %%rdx\n\t"
			 "mov %%rdx, 70(%[page])\n\t"
			 "mov %[stack], %%rsp\n\t"
			 "pushq $0x23\n\t"
			 "push %[page]\n\t"
			 "lretq\n"
			 "1: mov %[saved], %%rsp"
			 : "=a"(ret), [saved] "+m"(saved_sp)
			 : "a"(nr), "b"(arg), "c"(0), [stack] "S"(stack), [page] "D"(p)
			 : "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
	say("answer %d", (int)ret);
	return 0;
}

int main(int argc, char **argv)
{
	long nr = argc > 2 ? strtol(argv[2], NULL, 0) : 0, args[6] = { 0 };

	for (int i = 3; i < argc && i < 9; i++)
		args[i - 3] = strtol(argv[i], NULL, 0);
	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "sweep"))
		return sweep(argv[2]);
	if (!strcmp(argv[1], "identity"))
		return identity();
	if (!strcmp(argv[1], "text"))
		return text(nr, args);
	if (!strcmp(argv[1], "int80"))
		return int80(nr, args[0]);
	if (!strcmp(argv[1], "compat"))
		return compat(nr, args[0]);
	if (!strcmp(argv[1], "sysenter"))
		return sysenter(nr);
	if (!strcmp(argv[1], "gen")) {
		say("answer %ld", generate()(nr, args));
		return 0;
	}
	if (!strcmp(argv[1], "vsyscall")) {
		say("answer %ld", ((long (*)(long))(uintptr_t)0xffffffffff600400ul)(0));
		return 0;
	}
	return 2;
}
