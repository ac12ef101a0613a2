/*
 * rseq.c - restartable sequences: registration, and counters per CPU that are only right if a sequence
 * interrupted in the middle is aborted. For a libc that does not register the area itself.
 */
#include "t.h"

#include <linux/rseq.h>
#include <sched.h>

#define SIG 0x53053053u
#define MAX_CPUS 1024

static __thread struct rseq area __attribute__((aligned(32)));

static struct {
	volatile long count;
	char pad[56];
} cpu_count[MAX_CPUS] __attribute__((aligned(64)));
static volatile long aborts, signals;

static long rseq(struct rseq *r, uint32_t len, int flags, uint32_t sig)
{
	return syscall(SYS_rseq, r, len, flags, sig);
}

/* Adds one to the counter of this CPU, slowly. 0: aborted. */
static __attribute__((noinline)) int add_one(void)
{
	uint32_t cpu = *(volatile uint32_t *)&area.cpu_id_start;
	long v;

	__asm__ goto volatile(
		".pushsection .data.rseq, \"aw\"\n\t"
		".balign 32\n"
		"1:	.long 0, 0\n\t"
		"	.quad 2f, 3f - 2f, 4f\n\t"
		".popsection\n\t"
		"lea 1b(%%rip), %%rax\n\t"
		"mov %%rax, %[cs]\n"
		"2:	cmp %[cpu], %[now]\n\t"
		"jne 5f\n\t"
		"mov %[counter], %%rax\n\t"
		"mov $40, %%ecx\n"
		"6:	pause\n\t"
		"dec %%ecx\n\t"
		"jnz 6b\n\t"
		"inc %%rax\n\t"
		"mov %%rax, %[counter]\n"
		"3:\n\t"
		".pushsection .text.rseq, \"ax\"\n\t"
		".long 0x53053053\n"
		"4:	jmp %l[abort]\n"
		"5:	jmp %l[abort]\n\t"
		".popsection\n\t"
		:
		: [cs] "m"(*(uint64_t *)&area.rseq_cs), [cpu] "r"(cpu), [now] "m"(area.cpu_id),
		  [counter] "m"(cpu_count[cpu].count)
		: "rax", "rcx", "memory", "cc"
		: abort);
	(void)v;
	return 1;
abort:
	__atomic_fetch_add(&aborts, 1, __ATOMIC_RELAXED);
	return 0;
}

static void on_signal(int sig)
{
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
	while (!add_one()) /* a sequence of its own, inside an aborted one */
		;
}

enum { THREADS = 4, ROUNDS = 60000 };

static volatile int ready;

static void *work(void *arg)
{
	if (rseq(&area, 32, 0, SIG))
		say("thread cannot register: %s", t_errname(errno));
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < ROUNDS; i++)
		while (!add_one())
			;
	return NULL;
}

int main(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pthread_t t[THREADS];
	long sum = 0;

	HEAD("registration");
	R(rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG));
	R(rseq(&area, 16, 0, SIG));
	R(rseq((struct rseq *)((char *)&area + 4), 32, 0, SIG));
	R(rseq(&area, 32, 2, SIG));
	R(rseq((struct rseq *)-32l, 32, 0, SIG));
	R(rseq(&area, 32, 0, SIG));
	T(area.cpu_id < MAX_CPUS && area.cpu_id == area.cpu_id_start);
	R(rseq(&area, 32, 0, SIG));
	R(rseq(&area, 32, 0, SIG + 1));
	R(rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG + 1));
	R(rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG));
	T(area.cpu_id == (uint32_t)RSEQ_CPU_ID_UNINITIALIZED);
	R(rseq(&area, 32, 0, SIG));
	HEAD("counters per CPU");
	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < THREADS; i++)
		t[i] = spawn(work, NULL);
	while (ready < THREADS)
		sched_yield();
	for (int i = 0; i < 100; i++) {
		pthread_kill(t[i % THREADS], SIGUSR1);
		usleep(200);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < MAX_CPUS; i++)
		sum += cpu_count[i].count;
	T(sum == THREADS * (long)ROUNDS + signals);
	T(signals > 0);
	return 0;
}
