#!/usr/bin/python3
"""gen_efault.py TABLE OUT.c - a program that gives a bad pointer to every call that takes one.

For each pointer argument of each call of libos/syscall/table.txt: every kind of bad pointer, the other
arguments such that the call gets as far as that pointer. Each answer is one line; native Linux's is
the expectation.
"""
import sys

# Not called: they would make a process of a bad pointer that is not looked at, or never return.
SKIP = {"clone", "fork", "vfork", "exit", "exit_group", "rt_sigreturn", "rseq", "restart_syscall"}

# Arguments that are not the type's default: call -> {index: C expression}.
ARGS = {
    "accept": {0: "sock"}, "accept4": {0: "sock"}, "bind": {0: "sock"}, "connect": {0: "sock"},
    "sendto": {0: "sock", 3: "MSG_DONTWAIT"}, "recvfrom": {0: "sock", 3: "MSG_DONTWAIT"},
    "sendmsg": {0: "sock", 2: "MSG_DONTWAIT"}, "recvmsg": {0: "sock", 2: "MSG_DONTWAIT"},
    "sendmmsg": {0: "sock", 2: "1", 3: "MSG_DONTWAIT"},
    "recvmmsg": {0: "sock", 2: "1", 3: "MSG_DONTWAIT"},
    "getsockname": {0: "sock", 2: "(long)&four"}, "getpeername": {0: "sock", 2: "(long)&four"},
    "getsockopt": {0: "sock", 1: "SOL_SOCKET", 2: "SO_TYPE", 4: "(long)&four"},
    "setsockopt": {0: "sock", 1: "SOL_SOCKET", 2: "SO_PASSCRED", 4: "4"},
    "socketpair": {0: "AF_UNIX", 1: "SOCK_STREAM"},
    "poll": {1: "1"}, "ppoll": {1: "1", 2: "(long)zeros", 4: "8"},
    "select": {0: "1", 4: "(long)zeros"}, "pselect6": {0: "1", 4: "(long)zeros"},
    "epoll_wait": {0: "ep", 2: "1"}, "epoll_pwait": {0: "ep", 2: "1", 5: "8"},
    "epoll_pwait2": {0: "ep", 2: "1", 3: "(long)zeros", 5: "8"},
    "epoll_ctl": {0: "ep", 1: "EPOLL_CTL_ADD", 2: "pipes[1]"},
    "timerfd_settime": {0: "tfd"}, "timerfd_gettime": {0: "tfd"},
    "timer_settime": {0: "(long)timer"}, "timer_gettime": {0: "(long)timer"},
    "timer_create": {0: "CLOCK_MONOTONIC"},
    "clock_gettime": {0: "CLOCK_MONOTONIC"}, "clock_getres": {0: "CLOCK_MONOTONIC"},
    "clock_settime": {0: "CLOCK_REALTIME"}, "clock_nanosleep": {0: "CLOCK_MONOTONIC"},
    "signalfd": {0: "-1", 2: "8"}, "signalfd4": {0: "-1", 2: "8"},
    "rt_sigaction": {0: "SIGUSR1", 3: "8"}, "rt_sigprocmask": {3: "8"}, "rt_sigpending": {1: "8"},
    "rt_sigtimedwait": {2: "(long)zeros", 3: "8"}, "rt_sigsuspend": {1: "8"},
    "rt_sigqueueinfo": {0: "getpid()", 1: "0"}, "rt_tgsigqueueinfo": {0: "getpid()", 1: "getpid()", 2: "0"},
    "getdents": {0: "dir"}, "getdents64": {0: "dir"},
    "getgroups": {0: "1"}, "setgroups": {0: "1"},
    "sendfile": {0: "file2", 1: "file", 3: "16"},
    "copy_file_range": {0: "file", 2: "file2", 4: "16"},
    "vmsplice": {0: "pipes[1]"}, "getrlimit": {0: "RLIMIT_NOFILE"}, "setrlimit": {0: "RLIMIT_NOFILE"},
    "prlimit64": {1: "RLIMIT_NOFILE"}, "sched_setscheduler": {1: "SCHED_OTHER"},
    "sched_setaffinity": {1: "8"}, "sched_getaffinity": {1: "128"},
    "pipe2": {1: "0"}, "getxattr": {3: "16"}, "getrandom": {1: "64"}, "clone3": {1: "88"},
    "openat2": {3: "24"}, "waitid": {0: "P_ALL", 3: "WEXITED"}, "mincore": {0: "(long)page", 1: "4096"},
    "readlink": {0: '(long)"l"'}, "readlinkat": {1: '(long)"l"'}, "io_setup": {0: "1"}, "process_vm_readv": {0: "getpid()"},
    "process_vm_writev": {0: "getpid()"}, "memfd_create": {1: "0"}, "capget": {0: "(long)cap"},
    # No queue of the host, whatever others left there: with one these would wait.
    "msgsnd": {0: "-1"}, "msgrcv": {0: "-1"}, "msgctl": {0: "-1"}, "semop": {0: "-1"},
    "semtimedop": {0: "-1"}, "shmctl": {0: "-1"},
    "capset": {0: "(long)cap"}, "setitimer": {0: "ITIMER_REAL"}, "getitimer": {0: "ITIMER_REAL"},
}

# Pointers that the table cannot name, because the type depends on a command; BAD stands for it, ? allows NULL.
EXTRA = [
    ("fcntl F_GETLK", "IO", 32, "SYS_fcntl, file, F_GETLK, BAD"),
    ("fcntl F_SETLK", "IN", 32, "SYS_fcntl, file, F_SETLK, BAD"),
    ("fcntl F_OFD_GETLK", "IO", 32, "SYS_fcntl, file, 36 /* F_OFD_GETLK */, BAD"),
    ("fcntl F_OFD_SETLK", "IN", 32, "SYS_fcntl, file, 37 /* F_OFD_SETLK */, BAD"),
    ("ioctl FIONREAD", "OUT", 4, "SYS_ioctl, pipes[0], FIONREAD, BAD"),
    ("ioctl FIONBIO", "IN", 4, "SYS_ioctl, pipes[0], FIONBIO, BAD"),
    ("prctl PR_SET_NAME", "STR", 16, "SYS_prctl, PR_SET_NAME, BAD"),
    ("prctl PR_GET_NAME", "OUT", 16, "SYS_prctl, PR_GET_NAME, BAD"),
    ("prctl PR_GET_PDEATHSIG", "OUT", 4, "SYS_prctl, PR_GET_PDEATHSIG, BAD"),
    ("arch_prctl ARCH_GET_FS", "OUT", 8, "SYS_arch_prctl, 0x1003, BAD"),
    ("futex FUTEX_WAIT", "IN", 4, "SYS_futex, BAD, 0, 0, zeros"),
    ("futex FUTEX_WAIT timeout", "IN?", 16, "SYS_futex, &four, 0, 4, BAD"),
    ("futex FUTEX_WAIT_BITSET timeout", "IN?", 16, "SYS_futex, &four, 9, 4, BAD, 0, -1"),
    ("futex FUTEX_REQUEUE second", "NONE", 4, "SYS_futex, &four, 4 /* CMP */, 1, 1, BAD, 4"),
    ("futex FUTEX_WAKE_OP second", "IO", 4, "SYS_futex, &four, 5, 1, 1, BAD, 0"),
    ("splice in offset", "IO?", 8, "SYS_splice, file, BAD, pipes[1], 0, 16, 0"),
    ("splice out offset", "IO?", 8, "SYS_splice, pipes[0], 0, file, BAD, 16, 0"),
    ("read eventfd", "OUT", 8, "SYS_read, event, BAD, 8"),
    ("write eventfd", "IN", 8, "SYS_write, event, BAD, 8"),
    ("read pipe", "OUT", 4, "SYS_read, pipes[0], BAD, 4"),
    ("write pipe", "IN", 4, "SYS_write, pipes[1], BAD, 4"),
    ("read /dev/zero", "OUT", 64, "SYS_read, zero, BAD, 64"),
    ("read /dev/urandom", "OUT", 64, "SYS_read, urandom, BAD, 64"),
    ("read /proc/self/stat", "OUT", 64, "SYS_pread64, procstat, BAD, 64, 0"),
]

PRELUDE = r"""/* Generated by gen_efault.py from the system call table: bad pointers to every call. */
#include "t.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { IN, OUT, IO, STR, NONE };

static char zeros[4096] __attribute__((aligned(16)));
static char buffer[4096] __attribute__((aligned(16)));
static uint32_t cap[2] = { 0x20080522, 0 }, four = 4;
static char *page, *readonly, *protected, *unmapped;
static int file, file2, dir, sock, peer, pipes[2], ep, tfd, event, zero, urandom, procstat;
static timer_t timer;
static struct iovec good_iov[1] = { { buffer, 16 } }, bad_iov[1];
static char *good_strv[2] = { "x", NULL };

/* Before each call: positions and queues as at the start. */
static void reset(void)
{
	char drain[4096];
	uint64_t one = 1;

	lseek(file, 0, SEEK_SET);
	lseek(file2, 0, SEEK_SET);
	lseek(dir, 0, SEEK_SET);
	while (read(pipes[0], drain, sizeof(drain)) > 0)
		;
	while (read(sock, drain, sizeof(drain)) > 0)
		;
	write(peer, buffer, 64);
	memset(page + 4000, 'a', 96);
	write(pipes[1], "0123456789abcdef", 16);
	read(event, drain, 8);
	write(event, &one, 8);
	epoll_ctl(ep, EPOLL_CTL_DEL, pipes[1], NULL);
	memset(zeros, 0, sizeof(zeros));
	four = 4;
}

/* The ways to be bad. 0: this kind does not apply here. */
static long bad(int kind, int use, long size, int optional)
{
	switch (kind) {
	case 0:
		return optional ? 0 : 1; /* 1 stands for NULL: see run() */
	case 1:
		return (long)unmapped;
	case 2:
		return (long)0xffff888000000000ul;
	case 3:
		return 0x800000000000;
	case 4:
		return (long)protected;
	case 5:
		return use == OUT || use == IO ? (long)readonly : 0;
	default:
		return size > 1 && use != NONE ? (long)(page + 4095) : 0;
	}
}

static const char *const kinds[] = { "null", "unmapped", "kernel", "non-canonical", "PROT_NONE",
				     "read-only", "page end" };

/* `at` is the index of the bad argument among a[0..5]; -1: it is the base of bad_iov. */
static void run(const char *name, long nr, int at, int use, long size, int optional, const long *args)
{
	for (int kind = 0; kind < 7; kind++) {
		long p = bad(kind, use, size, optional), a[6], r;

		if (!p)
			continue;
		if (p == 1)
			p = 0;
		reset();
		memcpy(a, args, sizeof(a));
		if (at >= 0)
			a[at] = p;
		else
			bad_iov[0] = (struct iovec){ (void *)p, 16 };
		r = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		say("%s %d %s: %s%s", name, at, kinds[kind], r < 0 ? t_errname(errno) : "ok",
		    r > 0 && r < 64 ? (char[2]){ (char)('0' + r % 10), 0 } : "");
	}
}

static void setup(void)
{
	int pair[2] = { -1, -1 };

	enter_scratch("efault");
	put_file("f", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	put_file("g", "");
	mkdir("d", 0755);
	symlink("f", "l");
	file = open("f", O_RDWR);
	file2 = open("g", O_RDWR);
	dir = open("d", O_RDONLY);
	pipe2(pipes, O_NONBLOCK);
	sock = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) ? -1 : pair[0];
	peer = pair[1];
	event = eventfd(1, EFD_NONBLOCK);
	ep = epoll_create1(0);
	epoll_ctl(ep, EPOLL_CTL_ADD, event, &(struct epoll_event){ .events = EPOLLIN });
	tfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	zero = open("/dev/zero", O_RDWR);
	urandom = open("/dev/urandom", O_RDONLY);
	procstat = open("/proc/self/stat", O_RDONLY);
	syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &timer);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(page, 'a', 4096);
	mprotect(page + 4096, 4096, PROT_NONE);
	unmapped = (char *)0x20000; /* nothing goes there by itself */
	readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	protected = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
"""


def default(kind, following, call):
    """A valid argument of this type."""
    base = kind.rstrip("?")
    if base == "fd":
        return "AT_FDCWD" if following == "path" else "file"
    if kind.endswith("?") or base == "addr":
        return "0"
    if base == "path":
        return '(long)"f"'
    if base == "str":
        return '(long)"user.x"'
    if base in ("inbuf", "outbuf"):
        return "(long)buffer"
    if base.startswith(("in:", "out:", "inout:")):
        return "(long)zeros"
    if base in ("iovin", "iovout"):
        return "(long)good_iov"
    if base == "strv":
        return "(long)good_strv"
    if base == "size":
        return "64"
    if base == "uaddr":
        return "(long)&four"
    return "0"


def use_and_size(kind):
    """How a pointer argument is used, and the bytes at it; None if it is no pointer."""
    base, optional = kind.rstrip("?"), kind.endswith("?")
    if base in ("path", "str"):
        return "STR", 2, optional
    if base == "inbuf":
        return "IN", 64, optional
    if base == "outbuf":
        return "OUT", 64, optional
    for prefix, use in (("in:", "IN"), ("out:", "OUT"), ("inout:", "IO")):
        if base.startswith(prefix):
            return use, int(base[len(prefix):]), optional
    if base in ("iovin", "iovout"):
        return "IN", 16, optional
    if base == "strv":
        return "IN", 8, optional
    return None


def main(table, out):
    cases = []
    for line in open(table, encoding="utf-8"):
        words = line.split("#")[0].split()
        if len(words) < 3 or not words[0].isdigit() or words[1] in SKIP:
            continue
        nr, name, types = int(words[0]), words[1], words[2:]
        args = [default(t, types[i + 1] if i + 1 < len(types) else "", name) for i, t in enumerate(types)]
        for i, t in enumerate(types):
            if i and types[i - 1] in ("iovin", "iovout"):
                args[i] = "1"
            if i in ARGS.get(name, {}):
                args[i] = ARGS[name][i]
        args += ["0"] * (6 - len(args))
        for i, t in enumerate(types):
            pointer = use_and_size(t)
            if not pointer:
                continue
            use, size, optional = pointer
            cases.append((name, nr, i, use, size, int(optional), args[:6]))
            if t in ("iovin", "iovout"):
                iov = list(args[:6])
                iov[i] = "(long)bad_iov"
                cases.append((name + " base", nr, -1, "OUT" if t == "iovout" else "IN", 16, 0, iov))
    with open(out, "w", encoding="utf-8") as f:
        f.write(PRELUDE)
        f.write("\nint main(void)\n{\n\tsetup();\n")
        for name, nr, i, use, size, optional, args in cases:
            f.write(f'\trun("{name}", {nr}, {i}, {use}, {size}, {optional}, (long[6]){{ {", ".join(args)} }});\n')
        for name, use, size, call in EXTRA:
            parts = [p.strip() for p in call.split(",")]
            at = parts.index("BAD") - 1
            args = ["0" if p == "BAD" else f"(long)({p})" for p in parts[1:]]
            args += ["0"] * (6 - len(args))
            optional = int(use.endswith("?"))
            use = use.rstrip("?")
            f.write(f'\trun("{name}", {parts[0]}, {at}, {use}, {size}, {optional}, (long[6]){{ {", ".join(args)} }});\n')
        f.write("\treturn 0;\n}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
