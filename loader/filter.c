/*
 * filter.c - the seccomp program of an instance, generated from libos/abi/hostcalls.h.
 *
 * Each host call of the list has a rule here, a function named after it; a call that is added to the
 * list without a rule does not link. A rule emits argument checks and ends in RET ALLOW and RET KILL,
 * so that all jumps stay inside its own block and below the 255 instructions that a BPF jump reaches.
 *
 * Arguments that the kernel takes as int or unsigned int are compared in their low 32 bits only, as the
 * kernel itself cuts them off; those that it takes as unsigned long are compared whole.
 */
#include "loader/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "libos/abi/control.h"
#include "libos/abi/hostcalls.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define X32_BIT 0x40000000u
#define NR(a) (sizeof(a) / sizeof((a)[0]))
/* x86 is little-endian: the low half of an argument comes first. */
#define ARG_LOW(i) (offsetof(struct seccomp_data, args) + 8 * (i))
#define ARG_HIGH(i) (ARG_LOW(i) + 4)
#define IP_LOW offsetof(struct seccomp_data, instruction_pointer)
#define IP_HIGH (IP_LOW + 4)

struct emit {
	struct sock_filter *prog;
	size_t len, max; /* len runs on past max, so that the caller sees the overflow */
	int last_fd;
};

static void emit(struct emit *e, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	if (e->len < e->max)
		e->prog[e->len] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
	e->len++;
}

static void emit_load(struct emit *e, size_t off)
{
	emit(e, BPF_LD | BPF_W | BPF_ABS, 0, 0, off);
}

static void emit_ret(struct emit *e, uint32_t action)
{
	emit(e, BPF_RET | BPF_K, 0, 0, action);
}

/* Goes on when the accumulator meets `code` k; else returns `action`. */
static void emit_require(struct emit *e, uint16_t code, uint32_t k, uint32_t action)
{
	emit(e, BPF_JMP | code | BPF_K, 1, 0, k);
	emit_ret(e, action);
}

/* The opposite: returns `action` when the accumulator meets it. */
static void emit_refuse(struct emit *e, uint16_t code, uint32_t k, uint32_t action)
{
	emit(e, BPF_JMP | code | BPF_K, 0, 1, k);
	emit_ret(e, action);
}

#define KILL SECCOMP_RET_KILL_PROCESS
#define TRAP SECCOMP_RET_TRAP

/* Argument i, an int, is one of the values. */
static void require_one_of(struct emit *e, int i, const uint32_t *values, size_t nr)
{
	emit_load(e, ARG_LOW(i));
	for (size_t v = 0; v < nr; v++)
		emit(e, BPF_JMP | BPF_JEQ | BPF_K, nr - v, 0, values[v]);
	emit_ret(e, KILL);
}

/* Argument i, an unsigned long, has no bit outside `mask`. */
static void require_mask(struct emit *e, int i, uint32_t mask)
{
	emit_load(e, ARG_HIGH(i));
	emit_require(e, BPF_JEQ, 0, KILL);
	emit_load(e, ARG_LOW(i));
	emit_refuse(e, BPF_JSET, ~mask, KILL);
}

static void rule_mmap(struct emit *e)
{
	require_mask(e, 2, PROT_READ | PROT_WRITE | PROT_EXEC);
	require_mask(e, 3, MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE |
				   MAP_POPULATE | MAP_STACK);
	emit_require(e, BPF_JSET, MAP_FIXED, KILL);
	emit(e, BPF_JMP | BPF_JSET | BPF_K, 0, 1, MAP_ANONYMOUS);
	emit_ret(e, SECCOMP_RET_ALLOW);
	emit_load(e, ARG_LOW(4));
	emit_require(e, BPF_JGE, CTL_FD_IMAGE, KILL);
	emit_refuse(e, BPF_JGT, e->last_fd, KILL);
}

static void rule_munmap(struct emit *e)
{
}

static void rule_mprotect(struct emit *e)
{
}

static void rule_madvise(struct emit *e)
{
	static const uint32_t advice[] = {
		MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};

	require_one_of(e, 2, advice, NR(advice));
}

static void rule_mremap(struct emit *e)
{
	require_mask(e, 3, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP);
}

static void rule_futex(struct emit *e)
{
	static const uint32_t ops[] = {
		FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG,
		FUTEX_WAKE | FUTEX_PRIVATE_FLAG,
		FUTEX_WAIT_BITSET,
		FUTEX_WAKE,
	};

	require_one_of(e, 1, ops, NR(ops));
}

static void rule_tgkill(struct emit *e)
{
	/* The instance is process 1 of a pid namespace of its own. */
	static const uint32_t self[] = {1}, signals[] = {CTL_KICK_SIGNAL};

	require_one_of(e, 0, self, NR(self));
	require_one_of(e, 2, signals, NR(signals));
}

static void rule_timer_settime(struct emit *e)
{
	/* Only the loader makes timers, so each id that exists is one of its own. */
	static const uint32_t flags[] = {0, 1 /* TIMER_ABSTIME */};

	require_one_of(e, 1, flags, NR(flags));
}

static void rule_rt_sigreturn(struct emit *e)
{
}

static void rule_exit_group(struct emit *e)
{
}

static const struct rule {
	uint32_t nr;
	void (*emit)(struct emit *e);
} rules[] = {
#define HOSTCALL(name, text) {SYS_##name, rule_##name},
	JUNCTION_HOSTCALLS(HOSTCALL)
#undef HOSTCALL
};
_Static_assert(NR(rules) <= 10, "an instance has at most ten host calls (DESIGN D5)");

/* What a busy instance does most is looked for first. */
static bool is_hot(uint32_t nr)
{
	return nr == SYS_futex || nr == SYS_rt_sigreturn || nr == SYS_mmap;
}

static void emit_rule(struct emit *e, const struct rule *rule)
{
	size_t jump = e->len;

	emit(e, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, rule->nr);
	rule->emit(e);
	emit_ret(e, SECCOMP_RET_ALLOW);
	if (jump < e->max && e->len - jump - 1 <= UINT8_MAX)
		e->prog[jump].jf = e->len - jump - 1;
	else
		e->len = e->max + 1;
}

int filter_build(uint64_t text_start, uint64_t text_end, int last_fd, struct sock_filter *prog, size_t max)
{
	struct emit e = {.prog = prog, .max = max, .last_fd = last_fd};

	if (text_start >= text_end || text_start >> 32 != (text_end - 1) >> 32)
		return -EINVAL;

	emit_load(&e, offsetof(struct seccomp_data, arch));
	emit_require(&e, BPF_JEQ, AUDIT_ARCH_X86_64, TRAP);
	emit_load(&e, IP_HIGH);
	emit_require(&e, BPF_JEQ, text_start >> 32, TRAP);
	emit_load(&e, IP_LOW);
	emit_require(&e, BPF_JGE, (uint32_t)text_start, TRAP);
	emit_refuse(&e, BPF_JGT, (uint32_t)(text_end - 1), TRAP);
	emit_load(&e, offsetof(struct seccomp_data, nr));
	emit_refuse(&e, BPF_JSET, X32_BIT, TRAP);

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < NR(rules); i++)
			if (is_hot(rules[i].nr) == !pass)
				emit_rule(&e, &rules[i]);
	/*
	 * Not made by the instance but by the kernel, when a timed futex wait was disturbed and no handler
	 * ran (a sibling took the signal): to the library OS that wait ends like an interrupted one.
	 */
	emit_refuse(&e, BPF_JEQ, SYS_restart_syscall, SECCOMP_RET_ERRNO | EINTR);
	emit_ret(&e, KILL);
	return e.len <= e.max ? (int)e.len : -ENOSPC;
}
