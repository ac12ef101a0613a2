/*
 * toy.c - a library OS that does one odd thing and ends: fixture for loader and supervisor.
 *
 * argv[1] names the scenario, argv[2] is its argument. It speaks the real contracts (control.h,
 * hostcalls.h), and some scenarios break them, as a hostile instance would.
 */
#include <asm/unistd.h>

#include "libos/abi/control.h"

typedef unsigned long ulong;

#define CONTROL ((struct control *)LIBOS_CONTROL_BASE)
#define RING_DATA(i) ((volatile unsigned char *)(LIBOS_CONTROL_BASE + CTL_RING_OFF(i)))
#define STACK 16384
#define FUTEX_WAKE 1
#define FUTEX_WAIT_BITSET 9

#define SIGSEGV 11
#define SIGSYS 31
/* In the signal frame's ucontext (asm/ucontext.h, asm/sigcontext.h) and siginfo (asm-generic). */
#define UC_RAX (40 + 13 * 8)
#define UC_RIP (40 + 16 * 8)
#define SI_SYSCALL_NR 24
#define SI_ARCH 28

extern char __text_start[], __text_end[];
void toy_entry(void), toy_kthread(void), toy_signal(void), toy_restorer(void);

static unsigned char stacks[CTL_MAX_KTHREADS][STACK] __attribute__((aligned(4096)));
static volatile unsigned kicks, traps, last_nr, last_arch, kthreads_up;
static const char *volatile recover; /* where to go on after a fault */

__attribute__((section(".header"), used)) static const struct libos_header header = {
	.magic = LIBOS_HEADER_MAGIC,
	.host_signal_entry = (ulong)toy_signal,
	.host_signal_restorer = (ulong)toy_restorer,
	.kthread_entry = (ulong)toy_kthread,
	.altstack_base = (ulong)stacks,
	.altstack_size = STACK,
	.text_start = (ulong)__text_start,
	.text_end = (ulong)__text_end,
	.gs_base = (ulong)stacks,
	.gs_stride = STACK,
};

/* Each kthread's own stack is the lower half of its alternate stack; signals use the upper half. */
__asm__(".text\n"
	".globl toy_entry, toy_kthread, toy_signal, toy_restorer\n"
	"toy_entry: lea -8192(%rsp), %rsp; call toy_main; ud2\n"
	"toy_kthread: lea -8192(%rsp), %rsp; call toy_second; ud2\n"
	"toy_signal: jmp toy_on_signal\n"
	"toy_restorer: mov $15, %eax; syscall; ud2\n");

static long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#define SYS(nr, a, b, c) sys6(__NR_##nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)

__attribute__((used)) void toy_on_signal(int sig, char *info, char *uc)
{
	if (sig == CTL_KICK_SIGNAL) {
		__atomic_fetch_add(&kicks, 1, __ATOMIC_SEQ_CST);
		SYS(futex, &kicks, FUTEX_WAKE, 1);
	} else if (sig == SIGSYS) {
		last_nr = *(unsigned *)(info + SI_SYSCALL_NR);
		last_arch = *(unsigned *)(info + SI_ARCH);
		traps++;
		*(long *)(uc + UC_RAX) = -38;
	} else if (sig == SIGSEGV && **(unsigned short **)(uc + UC_RIP) == 0x80cd) {
		/* int 0x80 on a kernel without 32-bit calls: no answer of the host either. */
		*(long *)(uc + UC_RIP) += 2;
		*(long *)(uc + UC_RAX) = -38;
		traps++;
	} else if (recover) {
		*(long *)(uc + UC_RIP) = (long)recover;
		recover = 0;
	} else {
		__builtin_trap();
	}
}

static void doorbell(void)
{
	__atomic_fetch_add(&CONTROL->doorbell, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&CONTROL->supervisor_waiting, __ATOMIC_SEQ_CST))
		SYS(futex, &CONTROL->doorbell, FUTEX_WAKE, 1);
}

/* Sleeps until *word is not `value`, or for 20 ms (CLOCK_MONOTONIC has no cheap source here). */
static void wait_word(volatile unsigned *word, unsigned value)
{
	sys6(__NR_futex, (long)word, FUTEX_WAIT_BITSET, value, 0, 0, -1);
}

static void put(int ring, const char *s, unsigned long len)
{
	struct ctl_ring *r = &CONTROL->rings[ring];

	while (len) {
		unsigned tail = __atomic_load_n(&r->tail, __ATOMIC_SEQ_CST);

		if (__atomic_load_n(&r->consumer_closed, __ATOMIC_SEQ_CST)) {
			/* SIGPIPE when the reader has gone, else what a program does with a write error. */
			CONTROL->exit_status = r->consumer_closed == 32 ? 13 : 0;
			CONTROL->state = CTL_EXITED;
			SYS(exit_group, 0, 0, 0);
		}
		if (r->head - tail == CTL_RING_SIZE) {
			doorbell();
			__atomic_store_n(&r->producer_waiting, 1, __ATOMIC_SEQ_CST);
			if (__atomic_load_n(&r->tail, __ATOMIC_SEQ_CST) == tail)
				wait_word(&r->tail, tail);
			continue;
		}
		RING_DATA(ring)[r->head % CTL_RING_SIZE] = *s++;
		__atomic_store_n(&r->head, r->head + 1, __ATOMIC_SEQ_CST);
		len--;
	}
	doorbell();
}

static ulong len_of(const char *s)
{
	ulong n = 0;

	while (s[n])
		n++;
	return n;
}

static void say(const char *s)
{
	put(CTL_RING_STDOUT, s, len_of(s));
}

static void say_number(const char *name, ulong v)
{
	char text[24];
	int i = 24;

	text[--i] = '\n';
	do
		text[--i] = '0' + v % 10;
	while (v /= 10);
	say(name);
	say(" ");
	put(CTL_RING_STDOUT, text + i, 24 - i);
}

static void __attribute__((noreturn)) leave(unsigned status)
{
	CONTROL->exit_status = status;
	__atomic_store_n(&CONTROL->state, CTL_EXITED, __ATOMIC_SEQ_CST);
	for (;;)
		SYS(exit_group, 0, 0, 0);
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static ulong number(const char *s)
{
	ulong v = 0;

	while (*s >= '0' && *s <= '9')
		v = v * 10 + *s++ - '0';
	return v;
}

__attribute__((used)) void toy_second(long index)
{
	__atomic_fetch_add(&kthreads_up, 1, __ATOMIC_SEQ_CST);
	SYS(futex, &kthreads_up, FUTEX_WAKE, 1);
	for (;;)
		wait_word(&CONTROL->kthreads[index].word, 8);
}

/* What a program does when it runs code of its own making: "mov $nr,%eax; syscall; ret" elsewhere. */
static long call_from_elsewhere(const unsigned char *code, ulong len)
{
	unsigned char *page = (unsigned char *)0x10000000;

	sys6(__NR_mmap, (long)page, 4096, 7, 0x32, -1, 0);
	for (ulong i = 0; i < len; i++)
		page[i] = code[i];
	return ((long (*)(void))page)();
}

static void scenario_traps(void)
{
	static const unsigned char direct[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
	static const unsigned char x32[] = {0xb8, 39, 0, 0, 0x40, 0x0f, 0x05, 0xc3};
	static const unsigned char int80[] = {0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3};
	static const unsigned char allowed[] = {0xb8, 202, 0, 0, 0, 0x0f, 0x05, 0xc3};

	say_number("direct", -call_from_elsewhere(direct, sizeof(direct)));
	say_number("nr", last_nr);
	say_number("x32", -call_from_elsewhere(x32, sizeof(x32)));
	say_number("int80", -(int)call_from_elsewhere(int80, sizeof(int80)));
	say_number("allowed-elsewhere", -call_from_elsewhere(allowed, sizeof(allowed)));
	say_number("traps", traps);
	leave(0);
}

/* An x32 number and int 0x80 from the libOS text itself. */
static void scenario_traps_text(void)
{
	long ret;

	ret = sys6(__NR_getpid | 0x40000000, 0, 0, 0, 0, 0, 0);
	say_number("x32", -ret);
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	say_number("int80", -(int)ret);
	say_number("traps", traps);
	leave(0);
}

static void scenario_echo(void)
{
	struct ctl_ring *r = &CONTROL->rings[CTL_RING_STDIN];
	static char buf[4096];

	for (;;) {
		ulong n = 0;

		__atomic_store_n(&CONTROL->stdin_want, sizeof(buf), __ATOMIC_SEQ_CST);
		doorbell();
		while (__atomic_load_n(&CONTROL->stdin_want, __ATOMIC_SEQ_CST))
			wait_word(&r->head, r->tail);
		while (r->tail != __atomic_load_n(&r->head, __ATOMIC_SEQ_CST) && n < sizeof(buf)) {
			buf[n++] = RING_DATA(CTL_RING_STDIN)[r->tail % CTL_RING_SIZE];
			__atomic_store_n(&r->tail, r->tail + 1, __ATOMIC_SEQ_CST);
		}
		if (!n)
			leave(0);
		put(CTL_RING_STDOUT, buf, n);
	}
}

static void scenario_signals(ulong count)
{
	say("ready\n");
	while (count) {
		ulong bits = __atomic_exchange_n(&CONTROL->host_signals, 0, __ATOMIC_SEQ_CST);
		unsigned seen = kicks;

		for (int sig = 1; sig <= 64; sig++)
			if (bits >> (sig - 1) & 1) {
				say_number("signal", sig);
				count--;
			}
		if (!bits && !CONTROL->host_signals)
			wait_word(&kicks, seen);
	}
	leave(0);
}

/* Everything of the loader goes, and the instance still runs, takes signals and ends. */
static void scenario_clean(void)
{
	ulong vdso = CONTROL->boot.host_vdso_start, vdso_end = CONTROL->boot.host_vdso_end;

	SYS(munmap, 0x10000, LIBOS_WINDOW_START - 0x10000, 0);
	SYS(munmap, LIBOS_WINDOW_END, vdso - LIBOS_WINDOW_END, 0);
	SYS(munmap, vdso_end, USER_ADDR_MAX - vdso_end, 0);
	SYS(tgkill, 1, CONTROL->boot.host_tid[0], CTL_KICK_SIGNAL);
	say_number("kicks", kicks);
	say_number("vdso", *(unsigned *)CONTROL->boot.host_vdso == 0x464c457f);
	if (!kicks)
		leave(1 << 8);
	leave(0);
}

static void scenario_kthreads(void)
{
	unsigned up;

	/* They wait for this: nobody runs our code before the filter is on. */
	for (unsigned i = 1; i < CONTROL->boot.nr_kthreads; i++) {
		CONTROL->kthreads[i].word = 8;
		SYS(futex, &CONTROL->kthreads[i].word, FUTEX_WAKE, 1);
	}
	while ((up = kthreads_up) != CONTROL->boot.nr_kthreads - 1)
		wait_word(&kthreads_up, up);
	say_number("kthreads", up + 1);
	say_number("first", CONTROL->boot.host_tid[0]);
	leave(0);
}

static void scenario_timers(void)
{
	for (unsigned i = 0; i < CONTROL->boot.nr_kthreads; i++) {
		long spec[4] = {0, 0, 0, 1000000};
		unsigned seen = kicks;

		if (SYS(timer_settime, CONTROL->boot.timer_id[i], 0, spec))
			leave(1 << 8);
		while (kicks == seen)
			wait_word(&kicks, seen);
	}
	say_number("kicks", kicks);
	leave(0);
}

/* The region is where it must be, and the same memory as the descriptor. */
static void scenario_nic(void)
{
	volatile unsigned *region = (unsigned *)LIBOS_NIC_BASE, *again = (unsigned *)0x10000000;
	const struct ctl_net *net = &CONTROL->boot.net;

	say_number("size", net->region_size);
	say_number("addr", net->addr.bytes[0] << 24 | net->addr.bytes[1] << 16 | net->addr.bytes[2] << 8 |
				   net->addr.bytes[3]);
	region[net->region_size / 4 - 1] = 7;
	if (sys6(__NR_mmap, (long)again, net->region_size, 3, 0x11, CTL_FD_NIC, 0) != (long)again)
		leave(1 << 8);
	say_number("last", again[net->region_size / 4 - 1]);
	leave(0);
}

static void scenario_eat(ulong mib)
{
	sys6(__NR_mmap, 0x20000000, mib << 20, 3, 0x32, -1, 0);
	for (ulong i = 0; i < mib << 20; i += 4096)
		*(volatile char *)(0x20000000 + i) = 1;
	say("eaten\n");
	for (;;)
		wait_word(&kicks, kicks);
}

static void scenario_fill(int ring, ulong kib)
{
	static char line[1024];

	for (int i = 0; i < 1024; i++)
		line[i] = i == 1023 ? '\n' : 'x';
	while (kib--)
		put(ring, line, sizeof(line));
	leave(0);
}

/* Hostile: everything that the supervisor reads changes all the time. */
static void scenario_scribble(void)
{
	ulong x = 88172645463325252ul;

	for (ulong i = 0; i < 3000000; i++) {
		volatile unsigned *p = (volatile unsigned *)&CONTROL->doorbell;
		ulong words = (sizeof(struct control) - __builtin_offsetof(struct control, doorbell)) / 4;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[x % words] = x >> 32;
		if (!(i % 1000))
			SYS(futex, &CONTROL->doorbell, FUTEX_WAKE, 1);
	}
	SYS(exit_group, 0, 0, 0);
}

__attribute__((used)) void toy_main(void)
{
	const char *name = (const char *)(LIBOS_CONTROL_BASE + CTL_ARGS_OFF), *arg = "";

	name += len_of(name) + 1;
	if (CONTROL->boot.argc > 2)
		arg = name + len_of(name) + 1;
	if (!equal(name, "booting"))
		__atomic_store_n(&CONTROL->state, CTL_RUNNING, __ATOMIC_SEQ_CST);

	if (equal(name, "hello")) {
		say("hello\n");
		leave(0);
	} else if (equal(name, "status")) {
		leave(number(arg));
	} else if (equal(name, "both")) {
		say("out\n");
		put(CTL_RING_STDERR, "err\n", 4);
		put(CTL_RING_LOG, "log\n", 4);
		leave(0);
	} else if (equal(name, "panic")) {
		put(CTL_RING_LOG, "toy panics\n", 11);
		CONTROL->state = CTL_PANIC;
		SYS(exit_group, 1, 0, 0);
	} else if (equal(name, "silent")) {
		SYS(exit_group, 0, 0, 0);
	} else if (equal(name, "booting") || equal(name, "sleep")) {
		say("ready\n");
		for (;;)
			wait_word(&kicks, kicks);
	} else if (equal(name, "spin")) {
		say("ready\n");
		for (;;)
			;
	} else if (equal(name, "crash")) {
		__asm__ volatile("movl $1, 8" : : : "memory");
	} else if (equal(name, "call")) {
		/* A host call that is not allowed: the filter must not let it return. */
		sys6(number(arg), 0, 0, 0, 0, 0, 0);
		say("returned\n");
		leave(0);
	} else if (equal(name, "tgkill")) {
		SYS(tgkill, 1, 1, number(arg));
		say("returned\n");
		leave(0);
	} else if (equal(name, "tgkill-other")) {
		SYS(tgkill, number(arg), 1, CTL_KICK_SIGNAL);
		say("returned\n");
		leave(0);
	} else if (equal(name, "mmap-nofixed")) {
		sys6(__NR_mmap, 0, 4096, 3, 0x22, -1, 0);
		say("returned\n");
		leave(0);
	} else if (equal(name, "mmap-fd")) {
		sys6(__NR_mmap, 0x10000000, 4096, 1, 0x11, number(arg), 0);
		say("returned\n");
		leave(0);
	} else if (equal(name, "image-write")) {
		/* The image is shared by all instances; nobody may map it writable. */
		long ret = sys6(__NR_mmap, 0x10000000, 4096, 3, 0x11, CTL_FD_IMAGE, 0);

		say_number("errno", -ret);
		leave(0);
	} else if (equal(name, "traps")) {
		scenario_traps();
	} else if (equal(name, "traps-text")) {
		scenario_traps_text();
	} else if (equal(name, "echo")) {
		scenario_echo();
	} else if (equal(name, "signals")) {
		scenario_signals(number(arg));
	} else if (equal(name, "clean")) {
		scenario_clean();
	} else if (equal(name, "kthreads")) {
		scenario_kthreads();
	} else if (equal(name, "timers")) {
		scenario_timers();
	} else if (equal(name, "nic")) {
		scenario_nic();
	} else if (equal(name, "eat")) {
		scenario_eat(number(arg));
	} else if (equal(name, "fill")) {
		scenario_fill(CTL_RING_STDOUT, number(arg));
	} else if (equal(name, "bad-head")) {
		CONTROL->rings[CTL_RING_STDOUT].head = CTL_RING_SIZE + 1;
		doorbell();
		for (;;)
			wait_word(&kicks, kicks);
	} else if (equal(name, "bad-tail")) {
		CONTROL->rings[CTL_RING_STDIN].tail = 5;
		CONTROL->stdin_want = 100;
		doorbell();
		for (;;)
			wait_word(&kicks, kicks);
	} else if (equal(name, "exited-but-alive")) {
		CONTROL->state = CTL_EXITED;
		CONTROL->exit_status = 5 << 8;
		doorbell();
		for (;;)
			wait_word(&kicks, kicks);
	} else if (equal(name, "stdin-spam")) {
		/* Asks for input again and again without ever taking it, and never ends by itself. */
		for (ulong i = 0; i < 20000; i++) {
			CONTROL->stdin_want = 0xffffffff;
			CONTROL->stdin_poll = 1;
			doorbell();
		}
		leave(0);
	} else if (equal(name, "scribble")) {
		scenario_scribble();
	} else if (equal(name, "fault")) {
		__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; movl $1, 8; 1:"
				 : "=m"(recover) : : "rax", "memory");
		say("recovered\n");
		leave(0);
	}
	say("no such scenario\n");
	leave(99 << 8);
}
