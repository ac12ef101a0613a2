/* faults.c - faults of the program itself: signal, code and address of each kind. */
#include "t.h"

#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf env;
static siginfo_t info;
static unsigned long fault_rip, fault_err, fault_trapno, fault_cr2;

static void on_fault(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;

	info = *si;
	fault_rip = uc->uc_mcontext.gregs[REG_RIP];
	fault_err = uc->uc_mcontext.gregs[REG_ERR];
	fault_trapno = uc->uc_mcontext.gregs[REG_TRAPNO];
	fault_cr2 = uc->uc_mcontext.gregs[REG_CR2];
	siglongjmp(env, 1);
}

/* A pointer that the compiler knows nothing about. */
static volatile char *at(unsigned long addr)
{
	__asm__("" : "+r"(addr));
	return (volatile char *)addr;
}

static void show(const char *what, const void *addr)
{
	say("%s: signal %d code %d address %s trap %lu", what, info.si_signo, info.si_code,
	    addr == (void *)-1 ? "any" : info.si_addr == addr ? "right" : "wrong", fault_trapno);
}

#define TRY(code)                                                                                  \
	do {                                                                                       \
		memset(&info, 0, sizeof(info));                                                    \
		if (!sigsetjmp(env, 1)) {                                                          \
			code;                                                                      \
			say("no fault");                                                           \
		}                                                                                  \
	} while (0)

static void memory(void)
{
	char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;
	int fd = memfd_create("x", 0);

	HEAD("memory");
	munmap(p + 4096, 4096);
	TRY((void)*at(0x10));
	show("null read", (void *)0x10);
	say("error code %lu cr2 right %d", fault_err, fault_cr2 == 0x10);
	TRY(*at(0x18) = 1);
	show("null write", (void *)0x18);
	V(fault_err);
	TRY(*(volatile char *)p = 1);
	show("write to read-only", p);
	V(fault_err);
	TRY((void)*(volatile char *)(p + 4097));
	show("unmapped", p + 4097);
	TRY((void)*(volatile int *)(p + 4094));
	show("across the end", p + 4096);
	TRY(((void (*)(void))(uintptr_t)p)());
	show("execute of data", p);
	T(fault_rip == (unsigned long)p);
	TRY(((void (*)(void))(uintptr_t)0x20)());
	show("jump to null", (void *)0x20);
	TRY((void)*at(0x8000000000000000ul));
	show("non-canonical", NULL);
	TRY((void)*at(0xffffffff81000000ul));
	show("kernel address", (void *)0xffffffff81000000ul);
	ftruncate(fd, 4096);
	q = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	q[0] = 1;
	TRY(q[4096] = 1);
	show("past the end of a file", q + 4096);
	munmap(q, 8192);
	munmap(p, 4096);
}

static void instructions(void)
{
	volatile int zero = 0, one = 1, min = INT_MIN, minus = -1;
	volatile double x = 1.0, y = 0.0;
	unsigned masked = 0x1f80, unmasked = 0x1d80; /* MXCSR: the divide-by-zero exception */

	HEAD("instructions");
	TRY(__asm__ volatile("ud2"));
	show("ud2", (void *)fault_rip);
	TRY(one = one / zero);
	show("division by zero", (void *)fault_rip);
	TRY(one = min / minus);
	show("division overflow", (void *)fault_rip);
	TRY(__asm__ volatile("int3"));
	show("int3", (void *)-1);
	TRY(__asm__ volatile("hlt"));
	show("hlt", NULL);
	TRY(__asm__ volatile("mov %%cr0, %%rax" ::: "rax"));
	show("mov cr0", NULL);
	TRY(__asm__ volatile("in $0x60, %%al" ::: "rax"));
	show("in", NULL);
	TRY(__asm__ volatile("int $0x40"));
	show("int 0x40", NULL);
	/* A single step: the trap comes after the next instruction. */
	TRY(__asm__ volatile("pushf; orl $0x100, (%%rsp); popf; nop; nop" ::: "memory", "cc"));
	show("single step", (void *)-1);
	__asm__ volatile("ldmxcsr %0" ::"m"(unmasked));
	TRY(x = x / y);
	show("floating division by zero", (void *)fault_rip);
	__asm__ volatile("ldmxcsr %0" ::"m"(masked));
}

/* The handler mends the cause and the instruction runs again. */
static char *lazy;
static int mended;

static void mend(int sig, siginfo_t *si, void *uc)
{
	mended++;
	mprotect((void *)((uintptr_t)si->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

static void repair(void)
{
	struct sigaction sa = { .sa_sigaction = mend, .sa_flags = SA_SIGINFO }, old;
	long sum = 0;

	HEAD("repaired in the handler");
	sigaction(SIGSEGV, &sa, &old);
	lazy = mmap(NULL, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 64; i++)
		lazy[i * 4096] = (char)i;
	for (int i = 0; i < 64; i++)
		sum += lazy[i * 4096];
	V(mended);
	V(sum);
	munmap(lazy, 64 * 4096);
	sigaction(SIGSEGV, &old, NULL);
}

static int thread_faults;

static void *fault_in_thread(void *arg)
{
	char *p = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 50; i++) {
		*(volatile char *)p = 1;
		mprotect(p, 4096, PROT_NONE);
		__atomic_fetch_add(&thread_faults, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void in_threads(void)
{
	struct sigaction sa = { .sa_sigaction = mend, .sa_flags = SA_SIGINFO }, old;
	pthread_t t[4];

	HEAD("in threads");
	sigaction(SIGSEGV, &sa, &old);
	for (int i = 0; i < 4; i++)
		t[i] = spawn(fault_in_thread, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	V(thread_faults);
	sigaction(SIGSEGV, &old, NULL);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	sigset_t s;

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGTRAP, &sa, NULL);
	memory();
	instructions();
	repair();
	in_threads();
	HEAD("a blocked fault kills");
	sigemptyset(&s);
	sigaddset(&s, SIGSEGV);
	sigprocmask(SIG_BLOCK, &s, NULL);
	*at(0) = 1;
	say("not reached");
	return 0;
}
