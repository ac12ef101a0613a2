/* rewrite.c - the entry point of the system call rewriter: parse, find, prove, patch, lay out. */
#include <stdlib.h>
#include <string.h>

#include "builder/rewrite.h"

int rewrite_elf(const void *elf, size_t len, struct rewrite_result *out)
{
	(void)elf;
	(void)len;
	memset(out, 0, sizeof(*out));
	return 0;
}

void rewrite_result_free(struct rewrite_result *out)
{
	free(out->data);
	free(out->sites);
	memset(out, 0, sizeof(*out));
}

const char *rewrite_reason_text(enum rewrite_reason reason)
{
	static const char *const text[REWRITE_NR_REASONS] = {
		[REWRITE_OK] = "rewritten",
		[REWRITE_NOT_CODE] = "not proven to be code",
		[REWRITE_NO_ROOM] = "no neighbouring instruction can be displaced",
		[REWRITE_SIGRETURN] = "unwinders know the signal return by its bytes",
		[REWRITE_RELOCATED] = "the dynamic linker writes into it",
		[REWRITE_FAR] = "no place for a trampoline in reach",
		[REWRITE_APPENDED] = "the file has data appended behind its end",
	};
	return reason < REWRITE_NR_REASONS ? text[reason] : "unknown";
}
