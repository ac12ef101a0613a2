/*
 * sigvec.c - vector and floating-point state across handlers, and what of it a handler sees and may
 * change.
 */
#include "t.h"

#include <cpuid.h>
#include <ucontext.h>

#define N 64

static volatile int runs;
static double seen;
static int change;

static void handler(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;
	char *fp = (void *)uc->uc_mcontext.fpregs;
	uint32_t mxcsr = 0;
	uint16_t cw = 0;

	memcpy(&seen, fp + 160 + 16 * 5, 8); /* xmm5 */
	if (change) {
		double v = 99.5;

		memcpy(fp + 160 + 16 * 5, &v, 8);
	}
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(cw));
	if (runs == 0)
		say("in the handler: mxcsr %x fcw %x", mxcsr, cw);
	/* wreck everything */
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0; movaps %%xmm0, %%xmm5; movaps %%xmm0, %%xmm1;"
			 "movaps %%xmm0, %%xmm15; fninit; fld1; fldpi" ::
				 : "xmm0", "xmm1", "xmm5", "xmm15");
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile(
			"vpcmpeqd %%xmm0, %%xmm0, %%xmm0; vinsertf128 $1, %%xmm0, %%ymm0, %%ymm5" ::
				: "xmm0", "xmm5");
	runs++;
}

static void frame_layout(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;
	char *fp = (void *)uc->uc_mcontext.fpregs;
	uint32_t magic1, size, xsize, magic2;
	uint64_t features, bv;

	memcpy(&magic1, fp + 464, 4);
	memcpy(&size, fp + 468, 4);
	memcpy(&features, fp + 472, 8);
	memcpy(&xsize, fp + 480, 4);
	memcpy(&magic2, fp + xsize, 4);
	memcpy(&bv, fp + 512, 8);
	say("flags %lx link %p magic %x %x", uc->uc_flags, (void *)uc->uc_link, magic1, magic2);
	say("size right %d aligned %d sse+x87 present %d known features %d", size == xsize + 4,
	    (uintptr_t)fp % 64 == 0, (bv & 3) == 3, (features & 7) == 7);
	say("frame: info above context %d stack aligned %d", (char *)si - (char *)uc == 304,
	    ((uintptr_t)uc - 8) % 16 == 8);
	say("cs %x ss %x gs %x fs %x", (unsigned)(uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff),
	    (unsigned)(uc->uc_mcontext.gregs[REG_CSGSFS] >> 48),
	    (unsigned)(uc->uc_mcontext.gregs[REG_CSGSFS] >> 16 & 0xffff),
	    (unsigned)(uc->uc_mcontext.gregs[REG_CSGSFS] >> 32 & 0xffff));
}

static void install(int sig, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO };

	NEED(sigaction(sig, &sa, NULL) == 0);
}

/* xmm5 before and after a signal that arrives by a system call (raw: nothing of libc in between).
 */
static double through_kill(double in)
{
	register long rax __asm__("rax") = SYS_tgkill, rdi __asm__("rdi") = getpid(),
			  rsi __asm__("rsi") = gettid_raw(), rdx __asm__("rdx") = SIGUSR1;
	double out;

	__asm__ volatile("movsd %[in], %%xmm5\n\tsyscall\n\tmovsd %%xmm5, %[out]"
			 : [out] "=m"(out), "+r"(rax)
			 : [in] "m"(in), "r"(rdi), "r"(rsi), "r"(rdx)
			 : "rcx", "r11", "memory", "xmm5");
	return out;
}

/* Sums while a timer fires: all of the sums must be right, in vectors and on the x87 stack. */
static void under_timer(void)
{
	struct sigevent se = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec its = { ts_ns(300000), ts_ns(300000) };
	long end;
	timer_t t;
	int bad = 0, rounds = 0;

	change = 0;
	runs = 1;
	NEED(timer_create(CLOCK_MONOTONIC, &se, &t) == 0);
	NEED(timer_settime(t, 0, &its, NULL) == 0);
	end = now_ns(CLOCK_MONOTONIC) + 150 * NS_PER_MS;
	while (now_ns(CLOCK_MONOTONIC) < end) {
		float a[N], s = 0;
		long double x = 1.0L;

		for (int i = 0; i < N; i++)
			a[i] = (float)i;
		for (int k = 0; k < 500; k++) {
			for (int i = 0; i < N; i++)
				a[i] = a[i] * 2.0f;
			for (int i = 0; i < N; i++)
				a[i] = a[i] * 0.5f;
			x = x * 2.0L;
			x = x * 0.5L;
			__asm__ volatile("" ::: "memory");
		}
		for (int i = 0; i < N; i++)
			s += a[i];
		bad += s != N * (N - 1) / 2 || x != 1.0L;
		rounds++;
	}
	timer_delete(t);
	T(runs > 5);
	T(rounds > 10);
	V(bad);
}

int main(void)
{
	uint32_t rounding = 0x3f80, mxcsr; /* toward negative infinity... */
	uint16_t cw = 0x0f7f, cw2;

	HEAD("registers");
	install(SIGUSR1, handler);
	T(through_kill(2.25) == 2.25);
	T(seen == 2.25);
	change = 1;
	T(through_kill(3.5) == 99.5);
	T(seen == 3.5);
	HEAD("control words");
	change = 0;
	runs = 0;
	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(rounding), "m"(cw));
	kill(getpid(), SIGUSR1);
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(cw2));
	say("after: mxcsr %x fcw %x", mxcsr & 0xffc0, cw2);
	rounding = 0x1f80;
	cw = 0x37f;
	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(rounding), "m"(cw));
	HEAD("frame");
	install(SIGUSR2, frame_layout);
	raise(SIGUSR2);
	HEAD("under a timer");
	under_timer();
	return 0;
}
