/*
 * test_filter.c - the seccomp program, run by a small interpreter of classic BPF over single calls.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "libos/abi/control.h"
#include "libos/abi/hostcalls.h"
#include "loader/filter.h"

#define START 0x480000010000ul
#define END 0x480000050000ul
#define NR(a) (sizeof(a) / sizeof((a)[0]))

#define ALLOW SECCOMP_RET_ALLOW
#define TRAP SECCOMP_RET_TRAP
#define KILL SECCOMP_RET_KILL_PROCESS
#define BROKEN 1u /* the program left its own text, or uses what the kernel refuses */

static struct sock_filter prog[FILTER_MAX];
static int len;

static void build(void)
{
	len = filter_build(START, END, CTL_FD_SHM, prog, NR(prog));
	cr_assert_gt(len, 0);
}
TestSuite(filter, .init = build);

/* As the kernel runs it: net/core/filter.c, and seccomp_check_filter() for what may be used. */
static uint32_t run(const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (int pc = 0; pc < len; pc++) {
		const struct sock_filter *f = &prog[pc];
		bool taken;

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (f->k % 4 || f->k >= sizeof(*data))
				return BROKEN;
			memcpy(&a, (const char *)data + f->k, 4);
			continue;
		case BPF_RET | BPF_K:
			return f->k;
		case BPF_JMP | BPF_JEQ | BPF_K:
			taken = a == f->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			taken = a > f->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			taken = a >= f->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			taken = a & f->k;
			break;
		default:
			return BROKEN;
		}
		pc += taken ? f->jt : f->jf;
	}
	return BROKEN;
}

static uint32_t call_at(uint64_t ip, uint32_t arch, int nr, const uint64_t args[6])
{
	struct seccomp_data d = {.nr = nr, .arch = arch, .instruction_pointer = ip};

	memcpy(d.args, args, sizeof(d.args));
	return run(&d);
}

static uint32_t call(int nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	return call_at(START + 100, AUDIT_ARCH_X86_64, nr, (uint64_t[6]){a, b, c, d, e, 0});
}

static const int listed[] = {
#define HOSTCALL(name, rule) SYS_##name,
	JUNCTION_HOSTCALLS(HOSTCALL)
#undef HOSTCALL
};

static bool is_listed(int nr)
{
	for (size_t i = 0; i < NR(listed); i++)
		if (listed[i] == nr)
			return true;
	return false;
}

Test(filter, every_other_call_from_the_text_kills)
{
	for (int nr = 0; nr < 1024; nr++)
		if (!is_listed(nr))
			cr_expect_eq(call(nr, 0, 0, 0, 0, 0),
			     nr == SYS_restart_syscall ? SECCOMP_RET_ERRNO | EINTR : KILL, "call %d", nr);
}

Test(filter, every_call_from_elsewhere_traps)
{
	static const uint64_t elsewhere[] = {
		0, 0x400000, START - 1, END, END + 2, 0x7fffffffe000, START + (1ul << 32),
		START - (1ul << 32), START & 0xffffffff, 0xffffffffff600000,
	};
	static const uint64_t args[6] = {1, 1, 23, 0x32, 0xffffffff, 0};

	for (size_t i = 0; i < NR(elsewhere); i++)
		for (int nr = -1; nr < 1024; nr++)
			cr_expect_eq(call_at(elsewhere[i], AUDIT_ARCH_X86_64, nr, args), TRAP,
				     "call %d at %#lx", nr, elsewhere[i]);
}

Test(filter, other_numberings_trap_from_everywhere)
{
	static const uint64_t ips[] = {START, START + 100, END - 1, 0x400000};
	static const uint64_t args[6] = {};

	for (size_t i = 0; i < NR(ips); i++)
		for (int nr = 0; nr < 1024; nr++) {
			cr_expect_eq(call_at(ips[i], AUDIT_ARCH_I386, nr, args), TRAP);
			cr_expect_eq(call_at(ips[i], AUDIT_ARCH_X86_64, nr | 0x40000000, args), TRAP);
		}
}

Test(filter, text_range_is_half_open)
{
	static const uint64_t args[6] = {};

	cr_expect_eq(call_at(START, AUDIT_ARCH_X86_64, SYS_munmap, args), ALLOW);
	cr_expect_eq(call_at(END - 1, AUDIT_ARCH_X86_64, SYS_munmap, args), ALLOW);
	cr_expect_eq(call_at(END, AUDIT_ARCH_X86_64, SYS_munmap, args), TRAP);
	cr_expect_eq(call_at(START - 1, AUDIT_ARCH_X86_64, SYS_munmap, args), TRAP);
}

Test(filter, mmap_needs_fixed_and_a_listed_fd)
{
	const uint64_t anon = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, file = MAP_SHARED | MAP_FIXED;

	cr_expect_eq(call(SYS_mmap, 4096, 4096, 7, anon, -1), ALLOW);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 7, anon | MAP_NORESERVE | MAP_POPULATE, -1), ALLOW);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 3, anon & ~(uint64_t)MAP_FIXED, -1), KILL);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 8, anon, -1), KILL, "PROT_SEM");
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 1ul << 32, anon, -1), KILL);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 3, anon | MAP_HUGETLB, -1), KILL);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 3, anon | MAP_LOCKED, -1), KILL);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 3, anon | MAP_GROWSDOWN, -1), KILL);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 3, anon | 1ul << 40, -1), KILL);
	for (uint64_t fd = 0; fd < 70000; fd++)
		cr_expect_eq(call(SYS_mmap, 4096, 4096, 1, file, fd),
			     fd >= CTL_FD_IMAGE && fd <= CTL_FD_SHM ? ALLOW : KILL, "fd %lu", fd);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 1, file, -1), KILL);
	cr_expect_eq(call(SYS_mmap, 4096, 4096, 1, file, 1ul << 31 | 3), KILL);
}

Test(filter, the_nic_may_be_mapped_only_where_there_is_one)
{
	const uint64_t file = MAP_SHARED | MAP_FIXED;

	cr_expect_eq(call(SYS_mmap, 4096, 4096, 3, file, CTL_FD_NIC), KILL);
	len = filter_build(START, END, CTL_FD_NIC, prog, NR(prog));
	cr_assert_gt(len, 0);
	for (uint64_t fd = 0; fd < 1000; fd++)
		cr_expect_eq(call(SYS_mmap, 4096, 4096, 3, file, fd),
			     fd >= CTL_FD_IMAGE && fd <= CTL_FD_NIC ? ALLOW : KILL, "fd %lu", fd);
}

Test(filter, futex_operations_are_exact)
{
	for (uint64_t op = 0; op < 1024; op++)
		cr_expect_eq(call(SYS_futex, 0, op, 0, 0, 0),
			     op == 1 || op == 9 || op == 129 || op == 137 ? ALLOW : KILL, "op %lu", op);
	/* The kernel takes an int: the upper half is not there. */
	cr_expect_eq(call(SYS_futex, 0, 1ul << 32 | 9, 0, 0, 0), ALLOW);
	cr_expect_eq(call(SYS_futex, 0, 1ul << 32 | 3, 0, 0, 0), KILL);
}

Test(filter, tgkill_reaches_only_ourselves_with_the_kick)
{
	for (uint64_t sig = 0; sig < 70; sig++) {
		cr_expect_eq(call(SYS_tgkill, 1, 7, sig, 0, 0), sig == CTL_KICK_SIGNAL ? ALLOW : KILL);
		cr_expect_eq(call(SYS_tgkill, 2, 7, sig, 0, 0), KILL);
		cr_expect_eq(call(SYS_tgkill, -1, 7, sig, 0, 0), KILL);
	}
}

Test(filter, madvise_advice_is_listed)
{
	static const int good[] = {4, 8, 9, 14, 15, 22, 23};

	for (int advice = 0; advice < 128; advice++) {
		bool ok = false;

		for (size_t i = 0; i < NR(good); i++)
			ok |= good[i] == advice;
		cr_expect_eq(call(SYS_madvise, 0, 0, advice, 0, 0), ok ? ALLOW : KILL, "%d", advice);
	}
}

Test(filter, flags_of_mremap_and_timer_settime)
{
	for (uint64_t flags = 0; flags < 64; flags++) {
		cr_expect_eq(call(SYS_mremap, 0, 0, 0, flags, 0), flags < 8 ? ALLOW : KILL);
		cr_expect_eq(call(SYS_timer_settime, 0, flags, 0, 0, 0), flags < 2 ? ALLOW : KILL);
	}
	cr_expect_eq(call(SYS_mremap, 0, 0, 0, 1ul << 33, 0), KILL);
}

Test(filter, calls_without_a_rule_pass)
{
	cr_expect_eq(call(SYS_munmap, 1, 2, 3, 4, 5), ALLOW);
	cr_expect_eq(call(SYS_mprotect, 1, 2, 3, 4, 5), ALLOW);
	cr_expect_eq(call(SYS_rt_sigreturn, 1, 2, 3, 4, 5), ALLOW);
	cr_expect_eq(call(SYS_exit_group, 1, 2, 3, 4, 5), ALLOW);
}

Test(filter, no_more_than_ten_and_no_path)
{
	static const int with_path_or_fd[] = {SYS_open,   SYS_openat, SYS_execve, SYS_socket, SYS_clone,
					      SYS_memfd_create, SYS_dup, SYS_fork, SYS_ioctl,
					      SYS_rt_sigaction, SYS_prctl};

	cr_expect_leq(NR(listed), 10);
	for (size_t i = 0; i < NR(with_path_or_fd); i++)
		cr_expect_not(is_listed(with_path_or_fd[i]));
}

Test(filter, refuses_bad_ranges_and_small_buffers)
{
	cr_expect_eq(filter_build(START, START, CTL_FD_SHM, prog, NR(prog)), -EINVAL);
	cr_expect_eq(filter_build(END, START, CTL_FD_SHM, prog, NR(prog)), -EINVAL);
	cr_expect_eq(filter_build(START, START + (1ul << 32), CTL_FD_SHM, prog, NR(prog)), -EINVAL);
	for (int max = 0; max < len; max++)
		cr_expect_eq(filter_build(START, END, CTL_FD_SHM, prog, max), -ENOSPC, "max %d", max);
	cr_expect_eq(filter_build(START, END, CTL_FD_SHM, prog, len), len);
}
