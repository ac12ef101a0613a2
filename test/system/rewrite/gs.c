/*
 * gs.c - LD_PRELOAD library that stands in for the library OS below a rewritten C library.
 *
 * Points %gs at a block whose entry makes the system call and returns to %rcx, as the library OS
 * does, and counts. If trampolines are executed at all, and speak the right convention, the program
 * works and the count, appended to the file $GS_COUNT_FILE at exit, is not 0. Used by
 * test/system/test_rewrite.py.
 */
#include <asm/prctl.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

void gs_entry(void);

static struct {
	void *self;
	void (*entry)(void); /* GS_SYSCALL_ENTRY */
	uint64_t count;
} block = {.self = &block, .entry = gs_entry};

/*
 * Flags must survive, nothing may be pushed (red zone, stacks of clone children), and the kernel
 * takes rcx and r11: only a vector register that calls do not preserve is left for the return
 * address.
 */
__asm__(".globl gs_entry\n"
	".hidden gs_entry\n"
	"gs_entry:\n"
	"	movq %rcx, %xmm15\n"
	"	mov %gs:16, %r11\n"
	"	lea 1(%r11), %r11\n"
	"	mov %r11, %gs:16\n"
	"	syscall\n"
	"	movq %xmm15, %rcx\n"
	"	jmp *%rcx\n");

__attribute__((constructor)) static void start(void)
{
	syscall(SYS_arch_prctl, ARCH_SET_GS, &block);
}

__attribute__((destructor)) static void stop(void)
{
	const char *file = getenv("GS_COUNT_FILE");
	int fd = file ? open(file, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;

	if (fd < 0)
		return;
	dprintf(fd, "%lu\n", block.count);
	close(fd);
}
