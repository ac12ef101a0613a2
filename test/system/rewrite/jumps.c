/*
 * jumps.c - system calls inside what compilers make of switches and computed gotos: every case is
 * entered.
 */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline __attribute__((always_inline)) long call(long n, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(n), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

__attribute__((noinline)) static long by_switch(int i, long a, long b)
{
	switch (i) {
	case 0:
		return call(SYS_getpid, a, b, 0) > 0;
	case 1:
		a += 2; /* falls through */
	case 2:
		return call(SYS_close, a + 1000000, b, 1);
	case 3:
		return call(SYS_sched_yield, a, b, 3) + 5;
	case 4:
		b += a; /* falls through */
	case 5:
		return call(SYS_write, 1, (long)"five\n", 5) + b;
	case 6:
		while (a-- > 0)
			b += call(SYS_sched_yield, a, b, 3) + 1;
		return b;
	case 7:
		return call(SYS_lseek, -1, a, b);
	}
	return a;
}

__attribute__((noinline)) static long by_address(const unsigned char *p, long a)
{
	static void *const table[] = {&&stop, &&add, &&yield, &&close, &&twice};

	goto *table[*p];
add:
	a += 3;
	goto *table[*++p];
yield:
	a += call(SYS_sched_yield, a, 0, 0);
	goto *table[*++p];
close:
	a -= call(SYS_close, -1, 0, 0);
	goto *table[*++p];
twice:
	a *= 2;
	a += call(SYS_dup, -1, 0, 0);
	goto *table[*++p];
stop:
	return call(SYS_dup2, -1, 1, 0) + a;
}

__attribute__((noinline)) static long by_offset(const unsigned char *p, long a)
{
	static const int table[] = {&&stop - &&base,  &&add - &&base,	&&yield - &&base,
				    &&close - &&base, &&twice - &&base, &&base - &&base};

	goto *(&&base + table[*p]);
base:
	a ^= call(SYS_dup, -1, a, 0);
	goto *(&&base + table[*++p]);
add:
	a += 3;
	goto *(&&base + table[*++p]);
yield:
	a += call(SYS_sched_yield, a, 0, 0);
	goto *(&&base + table[*++p]);
close:
	a -= call(SYS_close, -1, 0, 0);
	goto *(&&base + table[*++p]);
twice:
	a *= 2;
	a += call(SYS_dup, -1, 0, 0);
	goto *(&&base + table[*++p]);
stop:
	return call(SYS_dup2, -1, 1, 0) + a;
}

int main(void)
{
	static const unsigned char program[] = {1, 2, 3, 4, 2, 2, 4, 3, 1, 0};
	static const unsigned char program2[] = {1, 5, 2, 3, 5, 4, 2, 2, 4, 3, 1, 5, 0};

	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = -1; i < 9; i++)
		for (long a = 0; a < 3; a++)
			printf("switch %d %ld: %ld\n", i, a, by_switch(i, a, 7));
	for (int i = 0; i < 10; i++)
		printf("address %d: %ld\n", i, by_address(program + i, i));
	for (int i = 0; i < 13; i++)
		printf("offset %d: %ld\n", i, by_offset(program2 + i, i));
	return 6;
}
