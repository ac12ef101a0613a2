/*
 * vecstate.c - vector registers across system calls that switch threads, and across preemption.
 *
 * Each thread fills the widest registers that the CPU has with a pattern of its own, makes a system call (or only
 * spins), and compares, all within one asm statement. Threads differ in which components they use, so that
 * a switch must also clear what the next one does not have.
 */
#include "t.h"

#define ROUNDS 3000
#define THREADS 6

static unsigned long bad[THREADS];

/* LOAD width: fills registers from p; call; stores them to q. */
#define REGS16(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define REGS_HI(op) op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) op(29) op(30) op(31)
#define LD_XMM(i) "movdqu 64*" #i "(%[p]), %%xmm" #i "\n"
#define ST_XMM(i) "movdqu %%xmm" #i ", 64*" #i "(%[q])\n"
#define LD_YMM(i) "vmovdqu 64*" #i "(%[p]), %%ymm" #i "\n"
#define ST_YMM(i) "vmovdqu %%ymm" #i ", 64*" #i "(%[q])\n"
#define LD_ZMM(i) "vmovdqu64 64*" #i "(%[p]), %%zmm" #i "\n"
#define ST_ZMM(i) "vmovdqu64 %%zmm" #i ", 64*" #i "(%[q])\n"
#define LD_K(i) "kmovq 2048+8*" #i "(%[p]), %%k" #i "\n"
#define ST_K(i) "kmovq %%k" #i ", 2048+8*" #i "(%[q])\n"
#define REGS_K(op) op(1) op(2) op(3) op(4) op(5) op(6) op(7)

#define RUN(load, store) \
	do { \
		long _n = nr; \
		register long _r10 __asm__("r10") = 0; \
		__asm__ volatile(load "test %%rax, %%rax\njs 1f\nsyscall\njmp 2f\n" \
				      "1: mov %[spin], %%rcx\n3: pause\ndec %%rcx\njnz 3b\n2:\n" store \
				 : "+a"(_n), "+r"(_r10) \
				 : [p] "r"(p), [q] "r"(q), [spin] "r"(spin), "D"(0l), "S"(0l), "d"(0l) \
				 : "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", \
				   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
				   "xmm13", "xmm14", "xmm15"); \
	} while (0)

static void run_sse(const void *p, void *q, long nr, long spin)
{
	RUN(REGS16(LD_XMM), REGS16(ST_XMM));
}

static void __attribute__((target("avx2"))) run_avx(const void *p, void *q, long nr, long spin)
{
	RUN(REGS16(LD_YMM), REGS16(ST_YMM) "vzeroupper\n");
}

static void __attribute__((target("avx512f,avx512bw"))) run_avx512(const void *p, void *q, long nr, long spin)
{
	RUN(REGS16(LD_ZMM) REGS_HI(LD_ZMM) REGS_K(LD_K), REGS16(ST_ZMM) REGS_HI(ST_ZMM) REGS_K(ST_K) "vzeroupper\n");
}

static void run_x87(const void *p, void *q, long nr, long spin)
{
	double in = *(const double *)p, out;

	__asm__ volatile("fldl %1\nsyscall\nfstpl %0" : "=m"(out) : "m"(in), "a"(SYS_sched_yield) : "rcx", "r11", "memory");
	memcpy(q, p, 4096);
	if (in != out)
		*(char *)q ^= 1;
}

static void *thread(void *arg)
{
	long id = (long)arg;
	static void (*const kinds[])(const void *, void *, long, long) = { run_sse, run_avx, run_avx512, run_x87 };
	int kind = id % 4, width;
	unsigned char *p = aligned_alloc(64, 4096), *q = aligned_alloc(64, 4096);
	unsigned mxcsr = 0x1f80 | (id & 3) << 13, seen;

	if (kind == 2 && !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")))
		kind = 1;
	if (kind == 1 && !__builtin_cpu_supports("avx2"))
		kind = 0;
	width = kind == 2 ? 64 : kind == 1 ? 32 : 16;
	for (int i = 0; i < 4096; i++)
		p[i] = (i * 7 + id * 29 + 1) | 1;
	*(double *)p = 1.5 + id;
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	for (int round = 0; round < ROUNDS; round++) {
		int spin = round % 100 == 99;

		memset(q, 0, 4096);
		kinds[kind](p, q, spin ? -1 : SYS_sched_yield, 20000);
		if (kind == 3)
			bad[id] += !!memcmp(p, q, 4096);
		for (int r = 0; kind != 3 && r < (kind == 2 ? 32 : 16); r++)
			bad[id] += !!memcmp(p + 64 * r, q + 64 * r, width);
		if (kind == 2)
			bad[id] += !!memcmp(p + 2048 + 8, q + 2048 + 8, 56);
		__asm__ volatile("stmxcsr %0" : "=m"(seen));
		bad[id] += (seen & 0x6000) != (mxcsr & 0x6000);
	}
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];

	for (long i = 0; i < THREADS; i++)
		t[i] = spawn(thread, (void *)i);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		V(bad[i]);
	}
	return 0;
}
