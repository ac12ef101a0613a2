/*
 * flagnames.c - names of flag bits and signals.
 */
#include "libos/syscall/flagnames.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/sched.h>

#include "libos/lib/printf.h"
#include "libos/lib/string.h"

struct flag {
	u64 bits;
	const char *name;
};
#define F(x) { x, #x }

static const struct flag open_flags[] = {
	/* O_SYNC and O_TMPFILE hold other flags: they come first */
	F(O_SYNC), { __O_TMPFILE | O_DIRECTORY, "O_TMPFILE" }, F(O_WRONLY), F(O_RDWR), F(O_CREAT), F(O_EXCL),
	F(O_NOCTTY), F(O_TRUNC), F(O_APPEND), F(O_NONBLOCK), F(O_DSYNC), F(O_DIRECT), F(O_LARGEFILE),
	F(O_DIRECTORY), F(O_NOFOLLOW), F(O_NOATIME), F(O_CLOEXEC), F(O_PATH), { 0, "O_RDONLY" },
};
static const struct flag prot_flags[] = { F(PROT_READ), F(PROT_WRITE), F(PROT_EXEC), { 0, "PROT_NONE" } };
static const struct flag map_flags[] = {
	{ MAP_SHARED_VALIDATE, "MAP_SHARED_VALIDATE" }, F(MAP_SHARED), F(MAP_PRIVATE), F(MAP_FIXED),
	F(MAP_ANONYMOUS), F(MAP_GROWSDOWN), F(MAP_DENYWRITE), F(MAP_LOCKED), F(MAP_NORESERVE), F(MAP_POPULATE),
	F(MAP_STACK), F(MAP_HUGETLB), F(MAP_FIXED_NOREPLACE), { 0, "0" },
};
static const struct flag clone_flags[] = {
	F(CLONE_VM), F(CLONE_FS), F(CLONE_FILES), F(CLONE_SIGHAND), F(CLONE_VFORK), F(CLONE_PARENT),
	F(CLONE_THREAD), F(CLONE_SYSVSEM), F(CLONE_SETTLS), F(CLONE_PARENT_SETTID), F(CLONE_CHILD_CLEARTID),
	F(CLONE_CHILD_SETTID), F(CLONE_PIDFD), { 0, "0" },
};
static const struct flag at_flags[] = {
	F(AT_SYMLINK_NOFOLLOW), F(AT_REMOVEDIR), F(AT_SYMLINK_FOLLOW), F(AT_NO_AUTOMOUNT), F(AT_EMPTY_PATH),
	{ 0, "0" },
};

/* Which argument of which call is which set. */
static const struct {
	const char *call;
	int arg;
	const struct flag *flags;
	size_t n;
} known[] = {
#define K(call, arg, set) { call, arg, set, ARRAY_SIZE(set) }
	K("open", 1, open_flags), K("openat", 2, open_flags), K("pipe2", 1, open_flags),
	K("dup3", 2, open_flags), K("eventfd2", 1, open_flags), K("epoll_create1", 0, open_flags),
	K("timerfd_create", 1, open_flags), K("signalfd4", 3, open_flags),
	K("mmap", 2, prot_flags), K("mmap", 3, map_flags), K("mprotect", 2, prot_flags),
	K("clone", 0, clone_flags), K("unshare", 0, clone_flags),
	K("newfstatat", 3, at_flags), K("statx", 2, at_flags), K("unlinkat", 2, at_flags),
	K("linkat", 4, at_flags), K("fchownat", 4, at_flags), K("utimensat", 3, at_flags),
#undef K
};

static size_t put_set(char *buf, size_t size, size_t pos, const struct flag *f, size_t n, u64 v)
{
	size_t start = pos;

	/* The last of a set is the name of 0. */
	for (; n > 1; n--, f++) {
		if ((v & f->bits) != f->bits)
			continue;
		pos = scnprintf_at(buf, size, pos, "%s%s", pos > start ? "|" : "", f->name);
		v &= ~f->bits;
	}
	if (v)
		return scnprintf_at(buf, size, pos, "%s%#lx", pos > start ? "|" : "", v);
	return pos > start ? pos : scnprintf_at(buf, size, pos, "%s", f->name);
}

size_t put_flag_names(char *buf, size_t size, size_t pos, const char *call, int arg, u64 v)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].arg == arg && !strcmp(known[i].call, call))
			return put_set(buf, size, pos, known[i].flags, known[i].n, (u32)v);
	return v ? scnprintf_at(buf, size, pos, "%#lx", v) : scnprintf_at(buf, size, pos, "0");
}

const char *signal_name(u64 sig)
{
	static const char *const names[] = {
		"0", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE",
		"SIGKILL", "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT",
		"SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU",
		"SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS", "SIGRTMIN",
		"SIGRT_1", "SIGRT_2", "SIGRT_3",
	};

	return sig < ARRAY_SIZE(names) ? names[sig] : sig <= 64 ? "SIGRT_n" : "SIG?";
}
