/*
 * ending.c - how an instance came to its end: what the host says of its process, and what its control page says.
 *
 * The page can be anything, because the instance writes it; it can harm nobody but the instance's own fame.
 */
#include "loader/ending.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "loader/internal.h"

static void set(struct loader_ending *end, enum loader_how how, int value)
{
	end->how = how;
	end->value = value;
}

void loader_ended(const struct loader_instance *inst, int wstatus, struct loader_ending *end,
		  struct loader_error *text)
{
	uint32_t state = __atomic_load_n(&inst->control->state, __ATOMIC_SEQ_CST);
	uint32_t status = __atomic_load_n(&inst->control->exit_status, __ATOMIC_SEQ_CST);
	int sig = wstatus != LOADER_NO_WSTATUS && WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : 0;

	text->text[0] = '\0';
	if (inst->report && wstatus != LOADER_NO_WSTATUS && loader_explain(inst, wstatus, text)) {
		set(end, LOADER_NOT_STARTED, sig);
	} else if (state == CTL_PANIC) {
		loader_fail(text, "the library OS stopped on an error of its own; what it said stands above, "
				  "--strace shows what led to it");
		set(end, LOADER_BROKEN, 0);
	} else if (state == CTL_EXITED && status & 0x7f) {
		set(end, LOADER_SIGNALED, status & 0x7f);
	} else if (state == CTL_EXITED) {
		set(end, LOADER_EXITED, status >> 8 & 0xff);
	} else if (sig == SIGSYS) {
		loader_fail(text, "killed, it made a host system call that is not allowed");
		set(end, LOADER_FORBIDDEN, sig);
	} else if (sig == SIGKILL) {
		loader_fail(text, "killed from outside (by a user, or the host has no memory left)");
		set(end, LOADER_KILLED, sig);
	} else if (sig) {
		loader_fail(text, "the library OS died of signal %d (%s)", sig, strsignal(sig));
		set(end, LOADER_BROKEN, sig);
	} else if (wstatus == LOADER_NO_WSTATUS) {
		loader_fail(text, "killed; by what is not known");
		set(end, LOADER_KILLED, SIGKILL);
	} else {
		loader_fail(text, "the library OS ended without an exit status");
		set(end, LOADER_BROKEN, 0);
	}
}
