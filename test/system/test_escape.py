"""No way to the host kernel around the library OS: test/programs/escape.c, each dangerous case in a run of its own.

Being killed is fine; an answer is fine only if it is the library OS's.
"""
import json
import re

from harness import images
from harness.case import Case, Failure

ENOSYS = -38

# Calls that the filter allows, with arguments that it must not: nothing here may succeed.
HOSTILE = {
    "mmap without MAP_FIXED": "9 0 4096 3 0x22 -1 0",
    "mmap of standard input": "9 0x200000000000 4096 1 0x12 0 0",
    "mmap of a file not listed": "9 0x200000000000 4096 1 0x12 6 0",
    "madvise hardware poison": "28 0x480000000000 4096 100",
    "madvise cold": "28 0x480000000000 4096 20",
    "mremap with unknown flags": "25 0x480000000000 4096 4096 0x100 0",
    "futex with priority inheritance": "202 0x482000000000 6 0 0 0 0",
    "futex requeue": "202 0x482000000000 4 0 0 0x482000000100 0",
    "tgkill of another group": "234 99 99 23",
    "tgkill with SIGKILL": "234 1 1 9",
    "timer_settime of a timer not made": "223 9999 0 0 0",
    "memfd_create": "319 0x480000000000 0",
    "seccomp": "317 1 0 0",
    "prctl": "157 22 0 0 0 0",
    "clone": "56 0 0 0 0 0",
    "io_uring_setup": "425 8 0x482000000000",
    "ptrace": "101 0 1 0 0",
}


def image(ctx):
    return images.image(ctx, "program-escape-musl", ctx.program("escape-musl"))


def run(ctx, *args, options=()):
    return images.run_inside(ctx, image(ctx), [str(a) for a in args], workdir=None, options=options, timeout=30)


def answer(r):
    m = re.search(rb"^answer (-?\d+)$", r.out, re.M)
    return int(m.group(1)) if m else None


def sweep(how):
    def func(ctx):
        r = run(ctx, "sweep", how, options=["--stats=json"])
        m = re.search(rb"calls (\d+) different (\d+)", r.out)
        if r.code != 0 or not m or m.group(2) != b"0":
            raise Failure(r.describe())
        # Each call from generated code must have been trapped: none can have gone past.
        stats = json.loads(next(line for line in r.err.splitlines() if line.startswith(b"{")))
        if stats["syscalls_trapped"] < int(m.group(1)):
            raise Failure(f"{m.group(1).decode()} calls, only {stats['syscalls_trapped']} trapped")

    return func


def identity(ctx):
    r = run(ctx, "identity")
    if r.code != 0 or b"false" in r.out or b"host name file: open" in r.out:
        raise Failure(r.describe())


def dies_or(ctx, want, *args):
    """The run is killed, or prints an answer for which want() holds."""
    r = run(ctx, *args)
    got = answer(r)
    if r.timed_out or (got is None and r.code == 0) or (got is not None and not want(got)):
        raise Failure(f"escape {' '.join(map(str, args))}: {r.describe()}")
    return r


def text_range(first, last):
    """Every number through the libOS's own syscall instruction: what is not on the list kills."""

    def func(ctx):
        allowed = json.loads(ctx.must([ctx.junction, "inspect", "--json", image(ctx)]).out)["host_calls"]
        if len(allowed) > 10:
            raise Failure(f"{len(allowed)} host calls are allowed: {allowed}")
        ok_numbers = {"mmap": 9, "munmap": 11, "mprotect": 10, "madvise": 28, "mremap": 25, "futex": 202,
                      "tgkill": 234, "timer_settime": 223, "rt_sigreturn": 15, "exit_group": 231}
        numbers = {ok_numbers[n] for n in allowed}
        n = 0
        for nr in range(first, last):
            # restart_syscall (219) answers EINTR: the kernel itself makes it after a disturbed wait.
            if nr in numbers or nr in (219, 335, 336):
                continue
            r = run(ctx, "text", nr)
            if b"site found" not in r.out or answer(r) is not None or r.code != 128 + 31:
                raise Failure(f"call {nr} by the library OS's text: {r.describe()}")
            n += 1
        return n

    return func


def cases(build):
    out = [Case(f"escape/generated-code/{how}", sweep(how)) for how in ("zeros", "ones", "x32")]
    out.append(Case("escape/identity", identity))
    out += [Case(f"escape/libos-text/{n}", text_range(n, min(n + 100, 460))) for n in range(0, 460, 100)]
    for name, args in HOSTILE.items():

        def hostile(ctx, args=args):
            dies_or(ctx, lambda v: v < 0, "text", *args.split())

        out.append(Case("escape/hostile-arguments/" + name.replace(" ", "-"), hostile))
    for entry in ("int80", "compat", "sysenter"):
        for nr in (1, 5, 11, 20, 122, 192, 224, 295, 359):  # exit open execve getpid uname mmap2 gettid openat socket

            def legacy(ctx, entry=entry, nr=nr):
                dies_or(ctx, lambda v: v == ENOSYS, entry, nr)

            out.append(Case(f"escape/{entry}/{nr}", legacy))
    out.append(Case("escape/vsyscall", lambda ctx: dies_or(ctx, lambda v: v > 1700000000, "vsyscall")))
    # uretprobe and uprobe: recent kernels let them past every seccomp filter. Outside a probe's
    # trampoline they do nothing but raise SIGILL or answer an error.
    for nr in (335, 336):
        out.append(Case(f"escape/generated-code/{nr}", lambda ctx, nr=nr: dies_or(ctx, lambda v: v < 0, "gen", nr)))
    return out
