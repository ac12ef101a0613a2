/*
 * test_rewrite.c - the rewriter on small programs in assembly, one difficulty each.
 *
 * A program is assembled into this file's .rodata, put into an ELF file of one executable segment,
 * rewritten, and run before and after: it must exit with the same, expected status. The counts say
 * whether the site was rewritten at all, and whether what is no site was left alone.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builder/rewrite.h"

#define VADDR 0x400000ul
#define CODE_OFF 0x1000ul

/* NAME_code and NAME_end frame the bytes. Programs leave by `exit`, status in %edi. */
#define PROGRAM(name, text)                                                                        \
	extern const uint8_t name##_code[], name##_end[];                                          \
	__asm__(".pushsection .rodata\n.balign 64\n" #name "_code:\n" text "\n" #name              \
		"_end:\n.popsection")

#define EXIT "	mov $60, %eax\n	syscall\n	hlt\n"
#define GETPID "	mov $39, %eax\n	syscall\n"

struct elf {
	uint8_t *data;
	size_t len;
};

static struct elf make(const uint8_t *code, const uint8_t *end, size_t tail)
{
	size_t n = end - code;
	struct elf e = {.len = CODE_OFF + n + tail};
	Elf64_Ehdr eh = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = VADDR + CODE_OFF,
		.e_phoff = sizeof(eh),
		.e_ehsize = sizeof(eh),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	Elf64_Phdr ph[2] = {
		{PT_LOAD, PF_R | PF_X, CODE_OFF, VADDR + CODE_OFF, VADDR + CODE_OFF, n, n, 4096},
		{PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16},
	};

	e.data = calloc(1, e.len);
	memcpy(e.data, &eh, sizeof(eh));
	memcpy(e.data + sizeof(eh), ph, sizeof(ph));
	memcpy(e.data + CODE_OFF, code, n);
	memset(e.data + CODE_OFF + n, 'T', tail);
	return e;
}

/* Exit status, or 1000 + the signal. */
static int run(const void *elf, size_t len)
{
	int fd = memfd_create("program", MFD_CLOEXEC), status;
	pid_t pid;

	cr_assert_eq(write(fd, elf, len), (ssize_t)len);
	pid = fork();
	if (!pid) {
		char *argv[] = {"program", NULL}, *envp[] = {NULL};

		alarm(10);
		fexecve(fd, argv, envp);
		_exit(255);
	}
	close(fd);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* The pair whose trampoline address is the last not above `at`. */
static const struct jfs_site *pair_of(const struct rewrite_result *r, uint64_t at)
{
	const struct jfs_site *found = NULL;

	for (size_t i = 0; i < r->nr_sites && r->sites[i].trampoline <= at; i++)
		found = &r->sites[i];
	return found;
}

static void check(const uint8_t *code, const uint8_t *end, unsigned int rewritten,
		  unsigned int left, int status, struct rewrite_result *keep)
{
	struct elf e = make(code, end, 0);
	struct rewrite_result r;

	cr_assert_eq(rewrite_elf(e.data, e.len, &r), 0);
	cr_assert_null(r.skipped, "skipped: %s", r.skipped);
	cr_expect_eq(r.sites_rewritten, rewritten, "%u rewritten", r.sites_rewritten);
	cr_expect_eq(r.sites_left, left, "%u left", r.sites_left);
	cr_expect_eq(run(e.data, e.len), status, "the original exits with %d", run(e.data, e.len));
	if (r.data)
		cr_expect_eq(run(r.data, r.len), status, "rewritten it exits with %d",
			     run(r.data, r.len));
	for (size_t i = 1; i < r.nr_sites; i++) {
		cr_expect_lt(r.sites[i - 1].trampoline, r.sites[i].trampoline);
		cr_expect_leq(r.sites[i - 1].original, r.sites[i].original);
	}
	free(e.data);
	if (keep)
		*keep = r;
	else
		rewrite_result_free(&r);
}

#define CHECK(name, rewritten, left, status)                                                       \
	check(name##_code, name##_end, rewritten, left, status, NULL)

PROGRAM(plain, "	mov $42, %edi\n" EXIT);

Test(rewrite, plain_site_keeps_its_syscall)
{
	struct rewrite_result r;
	const uint8_t *code;

	check(plain_code, plain_end, 1, 0, 42, &r);
	code = (uint8_t *)r.data + CODE_OFF;
	cr_expect_eq(code[5], 0xe9);
	cr_expect_arr_eq(code + 10, "\x0f\x05\xf4", 3);
	/* One pair for the displaced mov, one for the call itself. */
	cr_assert_eq(r.nr_sites, 2);
	cr_expect_eq(r.sites[0].original, CODE_OFF + 5);
	cr_expect_eq(r.sites[1].original, CODE_OFF + 10);
	cr_expect_eq(r.sites[1].trampoline, r.sites[0].trampoline + 5);
	cr_expect_eq(pair_of(&r, r.sites[1].trampoline + 11), &r.sites[1]);
	rewrite_result_free(&r);
}

/* A branch into what would be displaced: there is room only behind the branch target. */
PROGRAM(into, "	mov $42, %edi\n"
	      "	jmp 1f\n"
	      "	mov $7, %edi\n"
	      "1:	push $60\n	pop %rax\n	syscall\n	hlt\n");

Test(rewrite, branch_target_starts_the_range)
{
	struct rewrite_result r;

	check(into_code, into_end, 1, 0, 42, &r);
	cr_expect_eq(((uint8_t *)r.data)[CODE_OFF + 12], 0xe9);
	rewrite_result_free(&r);
}

/* Branch targets on the call's neighbour, and a call behind: nothing can be displaced. */
PROGRAM(no_room, "	mov $42, %edi\n"
		 "	push $60\n"
		 "	test %edi, %edi\n"
		 "	jnz 1f\n"
		 "	push $39\n"
		 "1:	pop %rax\n	syscall\n	call 2f\n2:	hlt\n");

Test(rewrite, site_without_room_is_left)
{
	struct rewrite_result r;

	check(no_room_code, no_room_end, 0, 1, 42, &r);
	cr_expect_eq(r.left[REWRITE_NO_ROOM], 1);
	cr_expect_null(r.data);
	rewrite_result_free(&r);
}

/* Operands relative to rip, one with an immediate behind the displacement. */
PROGRAM(riprel, "	mov $60, %eax\n"
		"	mov 1f(%rip), %edi\n"
		"	syscall\n	hlt\n"
		"	.balign 8\n1:	.long 77");
PROGRAM(riprel_imm, "	mov $39, %eax\n"
		    "	jmp 1f\n"
		    "1:	cmpl $5, 2f(%rip)\n"
		    "	syscall\n"
		    "	sete %dil\n	movzbl %dil, %edi\n"
		    "	add $30, %edi\n" EXIT "	.balign 8\n2:	.long 5");

Test(rewrite, rip_relative_operands_are_relocated)
{
	CHECK(riprel, 1, 0, 77);
}

Test(rewrite, flags_and_immediate_behind_displacement)
{
	CHECK(riprel_imm, 2, 0, 31);
}

/* A switch: its table names the middle of what could be displaced. */
#define SWITCH(number)                                                                             \
	"	mov $" number ", %edx\n"                                                           \
	"	xor %edi, %edi\n"                                                                        \
	"	lea 5f(%rip), %rbx\n"                                                                    \
	"	movslq (%rbx,%rdx,4), %rax\n"                                                            \
	"	add %rbx, %rax\n"                                                                        \
	"	jmp *%rax\n"                                                                             \
	"1:	add $1, %edi\n"                                                                        \
	"2:	add $2, %edi\n"                                                                        \
	"3:	push $60\n	pop %rax\n	syscall\n	call 1b\n"                                             \
	"	.balign 4\n5:	.long 1b - 5b, 2b - 5b, 3b - 5b"
PROGRAM(switch0, SWITCH("0"));
PROGRAM(switch1, SWITCH("1"));
PROGRAM(switch2, SWITCH("2"));

Test(rewrite, jump_table_of_offsets)
{
	CHECK(switch0, 1, 0, 3);
	CHECK(switch1, 1, 0, 2);
	CHECK(switch2, 1, 0, 0);
}

/* Computed goto: offsets from a label that is not the table. */
PROGRAM(computed, "	mov $2, %edx\n"
		  "	xor %edi, %edi\n"
		  "	lea 5f(%rip), %rbx\n"
		  "	movslq (%rbx,%rdx,4), %rax\n"
		  "	lea 4f(%rip), %rcx\n"
		  "	add %rcx, %rax\n"
		  "	jmp *%rax\n"
		  "4:	add $1, %edi\n"
		  "1:	add $2, %edi\n"
		  "2:	add $4, %edi\n"
		  "3:	push $60\n	pop %rax\n	syscall\n	call 4b\n"
		  "	.balign 4\n5:	.long 1b - 4b, 2b - 4b, 3b - 4b, 1b - 4b");

Test(rewrite, jump_table_of_offsets_from_a_label)
{
	struct rewrite_result r;

	check(computed_code, computed_end, 1, 0, 0, &r);
	/* 3: stands within 5 bytes of the call, and is the only place where the range may start. */
	cr_assert_geq(r.nr_sites, 3);
	cr_expect_eq(r.sites[1].original - r.sites[0].original, 2);
	rewrite_result_free(&r);
}

/* The same with absolute addresses, and only a pointer to say where code is. */
PROGRAM(absolute, "	mov $1, %edx\n"
		  "	mov $9, %edi\n"
		  "	lea 5f(%rip), %rbx\n"
		  "	mov (%rbx,%rdx,8), %rax\n"
		  "	jmp *%rax\n"
		  "	ud2\n"
		  "1:	add $1, %edi\n"
		  "2:	push $60\n	pop %rax\n	syscall\n	hlt\n"
		  "	.balign 8\n5:	.quad 0x401000 + 1b - absolute_code, 0x401000 + 2b - "
		  "absolute_code");

Test(rewrite, jump_table_of_addresses)
{
	CHECK(absolute, 1, 0, 9);
}

/* A function that is nothing but the call: what follows it is displaced, padding included. */
PROGRAM(start, "	mov $24, %eax\n"
	       "	call 1f\n"
	       "	mov %eax, %edi\n	add $3, %edi\n" EXIT
	       "	.balign 16\n1:	syscall\n	ret\n	.balign 16, 0xcc\n");

Test(rewrite, syscall_at_function_start)
{
	struct rewrite_result r;

	check(start_code, start_end, 2, 0, 3, &r);
	/* call site: the return address in the trampoline is that behind the original syscall */
	cr_expect_eq(r.sites[r.nr_sites - 2].original, CODE_OFF + (start_end - start_code) - 16);
	cr_expect_eq(r.sites[r.nr_sites - 1].original, CODE_OFF + (start_end - start_code) - 14);
	rewrite_result_free(&r);
}

/* sched_yield gives 0, which is read: of a bad descriptor. */
PROGRAM(adjacent, "	mov $-1, %edi\n	mov $24, %eax\n	syscall\n	syscall\n"
		  "	neg %eax\n	mov %eax, %edi\n" EXIT);

Test(rewrite, adjacent_sites)
{
	CHECK(adjacent, 3, 0, EBADF);
}

PROGRAM(last, "	mov $5, %edi\n	mov $60, %eax\n	syscall");
PROGRAM(last_short, "	push $5\n	pop %rdi\n	push $60\n	pop %rax\n	syscall");

Test(rewrite, site_at_the_end)
{
	CHECK(last, 1, 0, 5);
	CHECK(last_short, 1, 0, 5);
}

PROGRAM(redzone, "	movq $66, -8(%rsp)\n	movq $5, -128(%rsp)\n" GETPID
		 "	mov -8(%rsp), %rdi\n	sub -128(%rsp), %rdi\n" EXIT);

Test(rewrite, red_zone_survives)
{
	CHECK(redzone, 2, 0, 61);
}

/* Skipping a lock prefix: the range must not start behind the prefix. */
PROGRAM(lock, "	push $20\n"
	      "	xor %ecx, %ecx\n"
	      "	mov $24, %eax\n"
	      "	test %ecx, %ecx\n"
	      "	je 1f\n"
	      "	lock\n"
	      "1:	incl (%rsp)\n"
	      "	syscall\n"
	      "	add %eax, %eax\n	add %eax, %eax\n"
	      "	inc %ecx\n	cmp $7, %ecx\n"
	      "	pop %rdi\n" EXIT);

Test(rewrite, lock_prefix_that_is_skipped)
{
	CHECK(lock, 2, 0, 21);
}

/* A constant that reads like an exit: it is loaded, and never reached. */
PROGRAM(data, "	mov 1f(%rip), %rdi\n	shr $8, %rdi\n	and $0x7f, %edi\n" EXIT
	      "	.balign 16\n1:	mov $60, %eax\n	syscall\n	ret\n");

Test(rewrite, data_is_left_alone)
{
	struct rewrite_result r;

	check(data_code, data_end, 1, 0, 60, &r);
	cr_expect_arr_eq((uint8_t *)r.data + CODE_OFF + (data_end - data_code) - 8,
			 "\xb8\x3c\0\0\0\x0f\x05\xc3", 8);
	rewrite_result_free(&r);
}

PROGRAM(immediate, "	mov $0x050f, %edi\n	shr $8, %edi\n" EXIT);

Test(rewrite, bytes_inside_an_instruction)
{
	CHECK(immediate, 1, 0, 5);
}

/* A loop back to the call itself, and a branch right behind it that has to be lengthened. */
PROGRAM(loop, "	mov $3, %ebx\n	xor %edi, %edi\n	mov $24, %eax\n"
	      "1:	syscall\n"
	      "	test %eax, %eax\n"
	      "	jnz 2f\n"
	      "	mov $24, %eax\n	add $4, %edi\n	dec %ebx\n	jnz 1b\n"
	      "2:	" EXIT);

Test(rewrite, loop_to_the_site)
{
	CHECK(loop, 2, 0, 12);
}

/* A branch before the call is displaced with it. */
PROGRAM(branch, "	xor %edi, %edi\n"
		"	mov $24, %eax\n"
		"	jmp 1f\n"
		"1:	cmpb $1, 3f(%rip)\n"
		"	je 2f\n"
		"	xor %esi, %esi\n"
		"	syscall\n"
		"	mov $8, %edi\n"
		"2:	" EXIT "3:	.byte 1");
PROGRAM(branch_not, "	xor %edi, %edi\n"
		    "	mov $24, %eax\n"
		    "	jmp 1f\n"
		    "1:	cmpb $1, 3f(%rip)\n"
		    "	je 2f\n"
		    "	xor %esi, %esi\n"
		    "	syscall\n"
		    "	mov $8, %edi\n"
		    "2:	" EXIT "3:	.byte 0");

Test(rewrite, displaced_branch)
{
	CHECK(branch, 2, 0, 0);
	CHECK(branch_not, 2, 0, 8);
}

PROGRAM(sigreturn, "	mov $4, %edi\n"
		   "	test %edi, %edi\n"
		   "	jnz 1f\n"
		   "	mov $15, %rax\n	syscall\n"
		   "1:	" EXIT);

Test(rewrite, signal_return_keeps_its_bytes)
{
	struct rewrite_result r;

	check(sigreturn_code, sigreturn_end, 1, 1, 4, &r);
	cr_expect_eq(r.left[REWRITE_SIGRETURN], 1);
	rewrite_result_free(&r);
}

/*
 * With a library OS below, as far as the convention goes: gs points at a block whose second word is
 * an entry that counts in r15 and makes the call itself. getpid and sched_yield go through it, and
 * so does the exit, which says how many there were.
 */
PROGRAM(below,
	"	xor %r15d, %r15d\n"
	"	lea 3f(%rip), %rax\n	push %rax\n	push $0\n"
	"	mov $0x1001, %edi\n	mov %rsp, %rsi\n"
	"	mov $158, %eax\n	syscall\n" GETPID
	"	stc\n	mov $24, %eax\n	syscall\n	jnc 4f\n"
	"	mov %r15d, %edi\n"
	"	add $10, %edi\n" EXIT "3:	lea 1(%r15), %r15\n	mov %rcx, %r14\n	"
				      "syscall\n	mov %r14, %rcx\n	jmp *%rcx\n"
	"4:	mov $99, %edi\n" EXIT);

Test(rewrite, trampolines_speak_the_convention)
{
	struct elf e = make(below_code, below_end, 0);
	struct rewrite_result r;
	uint8_t *entry;

	cr_assert_eq(rewrite_elf(e.data, e.len, &r), 0);
	cr_assert_not_null(r.data);
	/* The entry's own call must not go through itself: put the original bytes back. */
	entry = memmem(e.data, e.len, "\x4d\x8d\x7f\x01", 4);
	cr_assert_not_null(entry);
	memcpy((uint8_t *)r.data + (entry - e.data), entry, 16);
	cr_expect_eq(run(e.data, e.len), 10);
	cr_expect_eq(run(r.data, r.len), 12, "exits with %d", run(r.data, r.len));
	rewrite_result_free(&r);
	free(e.data);
}

Test(rewrite, appended_data_stays_where_it_is_looked_for)
{
	struct elf e = make(plain_code, plain_end, 100);
	struct rewrite_result r;

	cr_assert_eq(rewrite_elf(e.data, e.len, &r), 0);
	cr_assert_not_null(r.data);
	cr_expect_arr_eq((uint8_t *)r.data + e.len - 100, e.data + e.len - 100, 100);
	cr_expect_arr_eq((uint8_t *)r.data + r.len - 100, e.data + e.len - 100, 100);
	cr_expect_eq(run(r.data, r.len), 42);
	rewrite_result_free(&r);
	free(e.data);
}

Test(rewrite, own_output_is_recognised)
{
	struct elf e = make(plain_code, plain_end, 0);
	struct rewrite_result r, again;

	cr_assert_eq(rewrite_elf(e.data, e.len, &r), 0);
	cr_assert_eq(rewrite_elf(r.data, r.len, &again), 0);
	cr_expect_null(again.data);
	cr_expect_eq(again.sites_rewritten, 1);
	cr_assert_eq(again.nr_sites, r.nr_sites);
	cr_expect_arr_eq(again.sites, r.sites, r.nr_sites * sizeof(*r.sites));
	rewrite_result_free(&again);
	rewrite_result_free(&r);
	free(e.data);
}

Test(rewrite, other_files_are_left)
{
	static const char text[] = "#!/bin/sh\nexit 0\n";
	struct elf e = make(plain_code, plain_end, 0);
	struct rewrite_result r;

	cr_assert_eq(rewrite_elf(text, sizeof(text), &r), 0);
	cr_expect_not_null(r.skipped);
	cr_assert_eq(rewrite_elf(NULL, 0, &r), 0);
	cr_expect_not_null(r.skipped);
	((Elf64_Ehdr *)e.data)->e_type = ET_REL;
	cr_assert_eq(rewrite_elf(e.data, e.len, &r), 0);
	cr_expect_not_null(r.skipped);
	((Elf64_Ehdr *)e.data)->e_type = ET_EXEC;
	((Elf64_Ehdr *)e.data)->e_ident[EI_CLASS] = ELFCLASS32;
	cr_assert_eq(rewrite_elf(e.data, e.len, &r), 0);
	cr_expect_not_null(r.skipped);
	free(e.data);
}

/* Each length, and each bit of the headers: under the sanitizers nothing may be read outside. */
Test(rewrite, damaged_files)
{
	struct elf e = make(switch0_code, switch0_end, 0);
	struct rewrite_result r;

	for (size_t n = 0; n <= e.len; n++) {
		uint8_t *p;

		if (n > sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr) && n < CODE_OFF)
			continue;
		p = malloc(n ? n : 1);
		memcpy(p, e.data, n);
		cr_assert_eq(rewrite_elf(p, n, &r), 0);
		rewrite_result_free(&r);
		free(p);
	}
	for (size_t bit = 0; bit < 8 * (sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr)); bit++) {
		e.data[bit / 8] ^= 1 << bit % 8;
		cr_assert_eq(rewrite_elf(e.data, e.len, &r), 0);
		rewrite_result_free(&r);
		e.data[bit / 8] ^= 1 << bit % 8;
	}
	free(e.data);
}
