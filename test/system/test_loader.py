"""The loader and the supervisor of `junction run`, with the toy library OS of test/loader.

The toy plays one scenario a run, some of them as a hostile instance would; the rest of the tests look
at a running instance from outside.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import time

from harness.case import Case, Failure

SANITIZE = True
FAILED, CANNOT_START = 125, 126  # loader/supervisor.h


def need(what, condition):
    if not condition:
        raise Failure(what)


def toy(ctx, *args, cores=2, memory=0, stats=0, folder=None):
    """The command line that runs the toy library OS."""
    folder = folder or os.path.join(ctx.build, "test", "loader")
    return [os.path.join(folder, "runstore"), os.path.join(folder, "toy.store"), str(cores), str(memory),
            str(stats), *map(str, args)]


def expect(r, code, out=None, err=None):
    need(r.describe(), not r.timed_out and r.code == code)
    if out is not None:
        need(f"stdout should be {out!r}; {r.describe()}", r.out == out)
    if err:
        need(f"stderr should hold {err!r}; {r.describe()}", err in r.err)
        need(f"more than one line for the error; {r.describe()}", r.err.count(b"runstore:") == 1)


# name -> arguments, cores, exit status, stdout, words in stderr
SCENARIOS = {
    "hello": (["hello"], 1, 0, b"hello\n", b""),
    "exit-status": (["status", 7 << 8], 1, 7, b"", b""),
    "exit-status-wraps": (["status", 0x1FF00], 1, 255, b"", b""),
    "all-streams": (["both"], 1, 0, b"out\n", b"err\nlog\n"),
    "kthreads-1": (["kthreads"], 1, 0, b"kthreads 1\nfirst 1\n", b""),
    "kthreads-64": (["kthreads"], 64, 0, b"kthreads 64\nfirst 1\n", b""),
    "timers": (["timers"], 4, 0, b"kicks 4\n", b""),
    "clean-address-space": (["clean"], 2, 0, b"kicks 1\nvdso 1\n", b""),
    "fault-handler": (["fault"], 1, 0, b"recovered\n", b""),
    "trap-outside-text": (
        ["traps"], 1, 0, b"direct 38\nnr 39\nx32 38\nint80 38\nallowed-elsewhere 38\ntraps 4\n", b""),
    "trap-inside-text": (["traps-text"], 1, 0, b"x32 38\nint80 38\ntraps 2\n", b""),
    "image-not-writable": (["image-write"], 1, 0, b"errno 13\n", b""),
    "panic": (["panic"], 1, FAILED, b"", b"library OS stopped"),
    "ends-silently": (["silent"], 1, FAILED, b"", b"without an exit status"),
    "crash": (["crash"], 1, FAILED, b"", b"signal 11"),
    "hostile-head": (["bad-head"], 2, FAILED, b"", b"broke the protocol"),
    "hostile-tail": (["bad-tail"], 2, FAILED, b"", b"broke the protocol"),
    "hostile-scribble": (["scribble"], 2, FAILED, None, b""),
    "hostile-stdin-spam": (["stdin-spam"], 2, 0, b"", b""),
    "mmap-without-fixed": (["mmap-nofixed"], 1, 159, b"", b"not allowed"),
    "mmap-stdin": (["mmap-fd", 0], 1, 159, b"", b"not allowed"),
    "mmap-fd-6": (["mmap-fd", 6], 1, 159, b"", b"not allowed"),
    "kill-with-other-signal": (["tgkill", 9], 1, 159, b"", b"not allowed"),
    "kill-other-process": (["tgkill-other", 2], 1, 159, b"", b"not allowed"),
}

# Calls that the libOS text may not make: with paths, making descriptors or processes, changing itself.
FORBIDDEN = {
    "read": 0, "write": 1, "open": 2, "socket": 41, "clone": 56, "fork": 57, "execve": 59, "ptrace": 101,
    "prctl": 157, "mount": 165, "openat": 257, "unshare": 272, "memfd_create": 319, "bpf": 321,
    "userfaultfd": 323, "io_uring_setup": 425, "clone3": 435, "getpid": 39, "process_vm_readv": 310,
    "rt_sigaction": 13, "timer_create": 222, "shmat": 30, "pidfd_open": 434, "seccomp": 317,
}


def scenario(args, cores, code, out, err):
    def func(ctx):
        r = ctx.run(toy(ctx, *args, cores=cores))
        expect(r, code, out, err if code else None)
        if not code:
            need(f"stderr should be {err!r}; {r.describe()}", r.err == err)

    return func


def forbidden(nr):
    def func(ctx):
        expect(ctx.run(toy(ctx, "call", nr)), 128 + signal.SIGSYS, b"", b"not allowed")

    return func


def exit_by_signal(ctx):
    """The supervisor dies of the signal that the program died of, without a core."""
    for sig in (signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV, signal.SIGPIPE, signal.SIGKILL):
        r = ctx.run(toy(ctx, "status", int(sig)), cwd=ctx.path())
        need(f"signal {sig}: {r.describe()}", r.code == -sig and not r.err)
    need("a core file was written", os.listdir(ctx.path()) == [])


def stdin_pipe(ctx):
    data = os.urandom(1 << 20)
    r = ctx.run(toy(ctx, "echo"), stdin=data)
    expect(r, 0)
    need("bytes differ", r.out == data)


def stdin_file(ctx):
    data = os.urandom(1 << 20)
    with open(ctx.path("in"), "wb") as f:
        f.write(data)
    with open(ctx.path("in"), "rb") as f:
        r = subprocess.run(toy(ctx, "echo"), stdin=f, stdout=subprocess.PIPE, timeout=60, check=True)
    need("bytes differ", r.stdout == data)


def stdin_late(ctx):
    """Input that comes after the program has asked, in pieces."""
    with running(ctx, "echo", stdin=subprocess.PIPE) as p:
        for text in (b"one\n", b"two\n", b"three\n"):
            time.sleep(0.05)
            p.stdin.write(text)
            p.stdin.flush()
            need(f"no echo of {text!r}", p.stdout.readline() == text)
        p.stdin.close()
        need("exit status", p.wait(30) == 0)


def stdin_untouched(ctx):
    """A program that does not read leaves its input to the next one."""
    with open(ctx.path("in"), "wb") as f:
        f.write(b"for the next one\n")
    with open(ctx.path("in"), "rb") as f:
        subprocess.run(toy(ctx, "hello"), stdin=f, stdout=subprocess.DEVNULL, timeout=60, check=True)
        need("input is gone", os.read(f.fileno(), 100) == b"for the next one\n")


def stdout_slow_reader(ctx):
    with running(ctx, "fill", 3000) as p:
        time.sleep(0.3)
        data = p.stdout.read()
        need(f"{len(data)} bytes", len(data) == 3000 * 1024 and p.wait(30) == 0)


def stdout_nonblocking(ctx):
    r, w = os.pipe()
    os.set_blocking(w, False)
    with subprocess.Popen(toy(ctx, "fill", 1000), stdout=w, stdin=subprocess.DEVNULL) as p:
        os.close(w)
        time.sleep(0.2)
        with os.fdopen(r, "rb") as f:
            n = len(f.read())
        need(f"{n} bytes, exit status {p.wait(30)}", n == 1000 * 1024 and p.returncode == 0)


def stdout_reader_leaves(ctx):
    with running(ctx, "fill", 100000) as p:
        p.stdout.read(10)
        p.stdout.close()
        need(f"exit status {p.wait(30)}", p.returncode == -signal.SIGPIPE)


def stdout_full(ctx):
    with open("/dev/full", "wb") as f:
        r = subprocess.run(toy(ctx, "fill", 1000), stdout=f, stderr=subprocess.PIPE, timeout=60, check=False)
    need(f"status {r.returncode}, {r.stderr}", r.returncode == 1 and b"No space left" in r.stderr)


def closed_streams(ctx):
    """Nothing that is opened later may take the place of a closed standard stream."""
    for fds in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
        r = ctx.run(["sh", "-c", f'"$@" {fds}', "sh", *toy(ctx, "both")])
        need(f"{fds}: {r.describe()}", r.code == 0)
        need(f"{fds}: {r.describe()}", r.out == (b"" if "1>&-" in fds else b"out\n"))


@contextlib.contextmanager
def running(ctx, *args, cores=2, stdin=subprocess.DEVNULL, wait=None, command=None):
    """A running instance; what still runs at the end is killed."""
    command = command or toy(ctx, *args, cores=cores)
    p = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        if wait:
            need(f"{args} did not say {wait!r}", p.stdout.readline() == wait)
        yield p
    finally:
        p.kill()
        if p.stdin and p.stdin.closed:
            p.stdin = None
        p.communicate()


def instance_of(p):
    """The process of the instance: the supervisor's only child."""
    with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
        pids = f.read().split()
    need(f"children {pids}", len(pids) == 1)
    return int(pids[0])


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {k: v.split() for k, v in (line.split(":", 1) for line in f)}


def check_status(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        s = status_of(f"{pid}/task/{task}")
        for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            need(f"task {task}: {cap} {s[cap]}", int(s[cap][0], 16) == 0)
        need(f"task {task}: no_new_privs {s['NoNewPrivs']}", s["NoNewPrivs"] == ["1"])
        need(f"task {task}: seccomp {s['Seccomp']} {s['Seccomp_filters']}", s["Seccomp"] == ["2"])
        caught = sum(1 << (n - 1) for n in (4, 5, 7, 8, 11, 23, 31))
        need(f"task {task}: caught {s['SigCgt']}", int(s["SigCgt"][0], 16) == caught)
        # SIGKILL and SIGSTOP cannot be blocked.
        blocked = (1 << 64) - 1 & ~caught & ~(1 << 8) & ~(1 << 18)
        need(f"task {task}: blocked {s['SigBlk']}", int(s["SigBlk"][0], 16) == blocked)
        need(f"task {task}: pids {s['NSpid']}", len(s["NSpid"]) == 2)


def isolation(ctx):
    """What an administrator sees of a running instance."""
    with running(ctx, "sleep", wait=b"ready\n") as p:
        pid = instance_of(p)
        s = status_of(pid)
        need(f"process number inside {s['NSpid']}", s["NSpid"][-1] == "1")
        need(f"threads {s['Threads']}", s["Threads"] == ["2"])
        if os.getuid() == 0:
            need(f"user {s['Uid']} {s['Gid']}", set(s["Uid"] + s["Gid"]) == {"65534"})
            need(f"groups {s['Groups']}", s["Groups"] == [])
        check_status(pid)
        for ns in ("user", "pid", "mnt", "ipc", "uts"):
            need(f"{ns} namespace is the host's",
                 os.readlink(f"/proc/{pid}/ns/{ns}") != os.readlink(f"/proc/self/ns/{ns}"))
        fds = {int(f): os.readlink(f"/proc/{pid}/fd/{f}") for f in os.listdir(f"/proc/{pid}/fd")}
        need(f"descriptors {fds}", sorted(fds) == [3, 4, 5])
        need(f"descriptors {fds}", fds[3].endswith("toy.store") and "arena" in fds[4] and "shm" in fds[5])
        with open(f"/proc/{pid}/fdinfo/3", encoding="ascii") as f:
            flags = int(dict(line.split(":", 1) for line in f)["flags"], 8)
        need("the image is writable", flags & os.O_ACCMODE == os.O_RDONLY)
        need("files in its root", os.listdir(f"/proc/{pid}/root") == [])
        with open(f"/proc/{pid}/mountinfo", encoding="ascii") as f:
            mounts = f.read().splitlines()
        need(f"mounts {mounts}", len(mounts) == 1 and " - tmpfs " in mounts[0] and " ro," in mounts[0])
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            limits = f.read()
        for line in ("Max core file size        0 ", "Max open files            6 ",
                     "Max locked memory         0 ", "Max file size             0 "):
            need(f"limits: no {line!r} in\n{limits}", line in limits)
        need("session is the supervisor's", os.getsid(pid) == pid)


def maps_of_a_running_instance(ctx):
    """The window holds what it must, with the right rights; the image is not writable anywhere."""
    with running(ctx, "sleep", wait=b"ready\n") as p:
        with open(f"/proc/{instance_of(p)}/maps", encoding="ascii") as f:
            maps = [line.split() for line in f]
    rights = {m[0].split("-")[0]: m[1] for m in maps}
    for addr, want in (("480000000000", "r-xp"), ("480010000000", "rw-s"), ("481000000000", "r--s"),
                       ("48000fe00000", "rw-s"), ("483000000000", "rw-s"), ("48000ff00000", "r-xp")):
        need(f"{addr}: {rights.get(addr)}, not {want}", rights.get(addr) == want)
    for m in maps:
        if m[-1].endswith("toy.store"):
            need(f"image mapped writable: {m}", "w" not in m[1])


def death_of_supervisor(ctx):
    """kill -9 of the supervisor takes the instance along, at any moment of its start."""
    for delay in (0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03):
        r, w = os.pipe()
        p = subprocess.Popen(toy(ctx, "sleep"), stdin=subprocess.DEVNULL, stdout=w)
        os.close(w)
        time.sleep(delay)
        try:
            with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                children = f.read().split()
        except FileNotFoundError:
            children = []
        p.kill()
        p.wait()
        end = time.monotonic() + 20
        for c in children:
            while os.path.exists(f"/proc/{c}") and time.monotonic() < end:
                with contextlib.suppress(OSError):
                    if status_of(c)["State"][0] == "Z":
                        break
                time.sleep(0.01)
            alive = os.path.exists(f"/proc/{c}") and status_of(c)["State"][0] != "Z"
            need(f"instance {c} outlived its supervisor (killed after {delay} s)", not alive)
        os.close(r)


def signals(ctx):
    sent = [signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGALRM,
            signal.SIGUSR2, signal.SIGCONT, signal.SIGWINCH]
    with running(ctx, "signals", len(sent), wait=b"ready\n") as p:
        for sig in sent:
            p.send_signal(sig)
            need(f"signal {sig}", p.stdout.readline() == b"signal %d\n" % sig)
        need("exit status", p.wait(30) == 0)


def signal_not_taken(ctx):
    """A second signal ends an instance that does not take the first; two at once are one request."""
    for name in ("spin", "booting"):
        with running(ctx, name, wait=b"ready\n") as p:
            p.send_signal(signal.SIGINT)
            p.send_signal(signal.SIGINT)
            time.sleep(0.5)
            need("one request killed it", p.poll() is None)
            p.send_signal(signal.SIGINT)
            need(f"exit status {p.wait(30)}", p.returncode == 128 + signal.SIGINT)
            need("no word of it", b"did not take signal 2" in p.stderr.read())


def stop_and_continue(ctx):
    with running(ctx, "signals", 2, wait=b"ready\n") as p:
        inst = instance_of(p)
        p.send_signal(signal.SIGTSTP)
        end = time.monotonic() + 20
        states = ()
        while states != ("T", "T") and time.monotonic() < end:
            states = tuple(status_of(x)["State"][0] for x in (p.pid, inst))
            time.sleep(0.01)
        need(f"states {states}", states == ("T", "T"))
        p.send_signal(signal.SIGCONT)
        need("no SIGCONT", p.stdout.readline() == b"signal 18\n")
        p.send_signal(signal.SIGTERM)
        need("no SIGTERM", p.stdout.readline() == b"signal 15\n")
        need("exit status", p.wait(30) == 0)


def exited_but_alive(ctx):
    """An instance that says that it has exited, and does not, can be ended."""
    with running(ctx, "exited-but-alive") as p:
        time.sleep(0.3)
        p.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        p.send_signal(signal.SIGTERM)
        need(f"exit status {p.wait(30)}", p.returncode in (5, 128 + signal.SIGTERM))


def memory_limit(ctx):
    r = ctx.run(toy(ctx, "eat", 400, memory=64 << 20))
    expect(r, 128 + signal.SIGKILL, err=b"out of memory, more than 64 MiB")


def stats(ctx):
    import json

    r = ctx.run(toy(ctx, "hello", stats=2))
    expect(r, 0, b"hello\n")
    need(f"stats {r.err}", json.loads(r.err)["total_us"] > 0)


def ordinary_user(ctx):
    """Works without root; the instance is then the user's own, with no more rights than inside root's."""
    folder = ctx.path("bin")
    os.makedirs(folder)
    for name in ("runstore", "toy.store"):
        shutil.copy(os.path.join(ctx.build, "test", "loader", name), folder)
    d = folder
    while d not in ("/", "/tmp"):
        if os.stat(d).st_uid == os.getuid():
            os.chmod(d, 0o755)
        d = os.path.dirname(d)
    drop = []
    if os.getuid() == 0:
        drop = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    expect(ctx.run(drop + toy(ctx, "hello", folder=folder)), 0, b"hello\n")
    with running(ctx, wait=b"ready\n", command=drop + toy(ctx, "sleep", folder=folder)) as p:
        pid = instance_of(p)
        check_status(pid)
        uid = 12345 if drop else os.getuid()
        need(f"user {status_of(pid)['Uid']}", set(status_of(pid)["Uid"]) == {str(uid)})
        if drop:
            # Not even the same user may look into it.
            r = ctx.run([*drop, "ls", f"/proc/{pid}/fd"])
            need("its user can read its descriptors", r.code != 0)


def nic_region(ctx):
    """With a network there is a descriptor more, mapped at its place; without, no more than before."""
    env = dict(os.environ, RUNSTORE_NIC="1048576")
    expect(ctx.run(toy(ctx, "nic"), env=env), 0, b"size 1048576\naddr 167838211\nlast 7\n")
    expect(ctx.run(toy(ctx, "mmap-fd", 7), env=env), 128 + signal.SIGSYS, b"", b"not allowed")
    with running(ctx, command=["env", "RUNSTORE_NIC=1048576", *toy(ctx, "sleep")], wait=b"ready\n") as p:
        pid = instance_of(p)
        need("descriptors", sorted(os.listdir(f"/proc/{pid}/fd")) == ["3", "4", "5", "6"])
        need("descriptor 6", "junction-nic" in os.readlink(f"/proc/{pid}/fd/6"))
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            need("limit of open files", "Max open files            7 " in f.read())
        with open(f"/proc/{pid}/maps", encoding="ascii") as f:
            need("mapping", any(m.startswith("482000000000-482000100000 rw-s ") for m in f))
    for bad in ({"RUNSTORE_NIC": "4097"}, {"RUNSTORE_NIC": str(2 << 30)},
                {"RUNSTORE_NIC": "65536", "RUNSTORE_NIC_SHORT": "1"}):
        expect(ctx.run(toy(ctx, "nic"), env=dict(os.environ, **bad)), CANNOT_START, b"", b"memory of the NIC")


def namespaces_forbidden(ctx):
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    r = ctx.run(["unshare", "-r", "sh", "-c", script, "sh", *toy(ctx, "hello")])
    expect(r, CANNOT_START, b"", b"raise /proc/sys/user/max")


def limits_of_the_user(ctx):
    """A limit that is too low gets one line that names it; no signal, no hang."""
    for limit, word in (("-n 5", b"ulimit -n"), ("-n 12", b"ulimit -n"), ("-f 0", b"ulimit -f"),
                        ("-v 200000", b"ulimit -v"), ("-i 0", b"ulimit -i")):
        if limit.startswith("-v") and "sanitize" in ctx.build:
            continue  # the sanitizers themselves need more address space
        r = ctx.run(["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", *toy(ctx, "hello")])
        need(f"ulimit {limit}: {r.describe()}",
             r.code == CANNOT_START and word in r.err and r.err.count(b"\n") == 1)


def ignored_sigchld(ctx):
    """A parent that ignores SIGCHLD hands that down; the supervisor must see its child die all the same."""
    p = subprocess.run(toy(ctx, "status", 9 << 8), timeout=30, check=False,
                       preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    need(f"status {p.returncode}", p.returncode == 9)


def root_of_a_small_namespace(ctx):
    """Root who may map only itself, as in a rootless container."""
    expect(ctx.run(["unshare", "-r", *toy(ctx, "hello")]), 0, b"hello\n")


def store_without_exec(ctx):
    src = os.path.join(ctx.build, "test", "loader", "toy.store")
    argv = toy(ctx, "hello")
    argv[1] = "/mnt/toy.store"
    script = 'mount -t tmpfs -o noexec none /mnt && cp "$0" /mnt && exec "$@"'
    r = ctx.run(["unshare", "-rm", "sh", "-c", script, src, *argv])
    expect(r, CANNOT_START, b"", b"without exec, set JUNCTION_STORE")


def damaged_store(ctx):
    """The loader's own check of what it maps: one line, no crash, whatever stands in page 0."""
    src = os.path.join(ctx.build, "test", "loader", "toy.store")
    with open(src, "rb") as f:
        good = bytearray(f.read())
    argv = toy(ctx, "hello", cores=1)
    argv[1] = ctx.path("bad.store")
    for at, value in ((0, b"X"), (8, b"\x09"), (12, b"\xff\xff"), (48, b"\xff" * 8), (88, b"\xff" * 8),
                      (96, b"\x00" * 8), (104, b"\x01"), (112, b"\xff" * 8), (120, b"\xff" * 8)):
        bad = bytearray(good)
        bad[at : at + len(value)] = value
        with open(argv[1], "wb") as f:
            f.write(bad)
        r = ctx.run(argv)
        need(f"offset {at}: {r.describe()}",
             r.code == CANNOT_START and r.err.count(b"\n") == 1 and b"runstore: " in r.err)


def nothing_left(ctx):
    """No file in /tmp or /dev/shm, no mount, no process, whatever way a run ends."""

    def look():
        with open("/proc/self/mountinfo", encoding="ascii") as f:
            mounts = f.read()
        names = [n for d in ("/dev/shm", "/run") for n in os.listdir(d)]
        return sorted(names), mounts

    before = look()
    for args in (["hello"], ["call", 57], ["panic"], ["bad-head"], ["status", 9]):
        ctx.run(toy(ctx, *args))
    with running(ctx, "sleep", wait=b"ready\n") as p:
        pid = instance_of(p)
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        with contextlib.suppress(OSError):
            if status_of(pid)["State"][0] == "Z":
                break
        time.sleep(0.01)
    after = look()
    need(f"before {before}, after {after}", before == after)


def cases(build):
    out = [Case("loader/" + name, scenario(*s)) for name, s in SCENARIOS.items()]
    out += [Case("loader/forbidden-" + name, forbidden(nr)) for name, nr in FORBIDDEN.items()]
    for func in (exit_by_signal, stdin_pipe, stdin_file, stdin_late, stdin_untouched, stdout_slow_reader,
                 stdout_nonblocking, stdout_reader_leaves, stdout_full, closed_streams, isolation,
                 maps_of_a_running_instance, death_of_supervisor, signals, signal_not_taken,
                 stop_and_continue, exited_but_alive, memory_limit, stats, ordinary_user, nic_region,
                 namespaces_forbidden, limits_of_the_user, ignored_sigchld, root_of_a_small_namespace,
                 store_without_exec, damaged_store):
        out.append(Case("loader/" + func.__name__.replace("_", "-"), func))
    out.append(Case("loader/nothing-left", nothing_left, serial=True))
    return out
