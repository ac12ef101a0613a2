"""The rewriter on a plain host: programs whose files are all rewritten behave as the originals do.

Each rewritten file is bind-mounted over its original in a mount namespace of the command, so that every
path, /proc/self/exe included, is what it was. Dynamic glibc programs run a third time with a library
preloaded that stands in for the library OS and counts (rewrite/gs.c): that the trampolines are really
executed, and speak the convention, shows there.
"""
import glob
import json
import os
import re
import subprocess
import threading

from harness import images
from harness.case import ROOT, Case, Failure

HERE = os.path.join(ROOT, "test", "system", "rewrite")

# What is compiled here: name -> (source, command).
PROGRAMS = {
    "exceptions": ("exceptions.cc", ["g++", "-O2", "-pthread"]),
    "signals": ("signals.c", ["gcc", "-O2", "-rdynamic", "-pthread"]),
    "cancel": ("cancel.c", ["gcc", "-O2", "-pthread"]),
    "cancel-static": ("cancel.c", ["gcc", "-O2", "-static", "-pthread"]),
    "cancel-spie": ("cancel.c", ["gcc", "-O2", "-static-pie", "-pthread"]),
    "cancel-musl": ("cancel.c", ["musl-gcc", "-O2", "-pthread"]),
    "cancel-musl-static": ("cancel.c", ["musl-gcc", "-O2", "-static", "-pthread"]),
    "cancel-musl-stripped": ("cancel.c", ["musl-gcc", "-O2", "-static", "-s", "-pthread"]),
    "jumps-gcc-O0": ("jumps.c", ["gcc", "-O0"]),
    "jumps-gcc-O2": ("jumps.c", ["gcc", "-O2"]),
    "jumps-gcc-O2-no-pie": ("jumps.c", ["gcc", "-O2", "-no-pie", "-fno-pie"]),
    "jumps-gcc-Os-stripped": ("jumps.c", ["gcc", "-Os", "-s"]),
    "jumps-gcc-static": ("jumps.c", ["gcc", "-O3", "-static", "-fcf-protection"]),
    "jumps-clang-O2": ("jumps.c", ["clang", "-O2"]),
    "jumps-clang-Os-no-pie": ("jumps.c", ["clang", "-Os", "-no-pie", "-fno-pie"]),
    "jumps-musl": ("jumps.c", ["musl-gcc", "-O2", "-static", "-s"]),
    "threads-rs": ("threads.rs", ["rustc", "-O"]),
    "server-go": ("server.go", ["go", "build"]),
    "server-go-pie": ("server.go", ["go", "build", "-buildmode=pie"]),
    "server-go-stripped": ("server.go", ["go", "build", "-ldflags=-s -w"]),
    "gs.so": ("gs.c", ["gcc", "-O2", "-shared", "-fPIC"]),
}

# What must come of a file: everything rewritten but so many sites. The system call of a signal return is
# left where unwinders know it by its bytes (musl, Go); stripped musl programs hold code that nothing calls.
EXPECTED_LEFT = {
    "/usr/lib/x86_64-linux-gnu/libc.so.6": (500, 0),
    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": (40, 0),
    "/usr/lib/x86_64-linux-musl/libc.so": (490, 1),
    "cancel-static": (90, 0),
    "cancel-spie": (90, 0),
    "cancel-musl-static": (20, 1),
    "server-go": (42, 1),
    "server-go-pie": (42, 1),
    "server-go-stripped": (42, 1),
}

PY = "/usr/bin/python3"
SQL = (
    "create table t(a,b); insert into t values(1,'x'),(2,'y'); select sum(a), group_concat(b) from t;"
    "select json_extract('{\"k\":[1,2]}','$.k[1]');"
)
PY_THREADS = """
import threading, queue, time
q = queue.Queue()
t = [threading.Thread(target=lambda i=i: [q.put(i * k) for k in range(100)]) for i in range(4)]
[x.start() for x in t]; [x.join() for x in t]
print(sum(q.get() for _ in range(400)))
"""
PY_ASYNC = """
import asyncio
async def f(i):
    await asyncio.sleep(0.001 * i)
    return i * i
async def main():
    print(await asyncio.gather(*[f(i) for i in range(20)]))
    p = await asyncio.create_subprocess_exec('echo', 'sub', stdout=-1)
    print((await p.communicate())[0])
asyncio.run(main())
"""
PY_SIGNAL = """
import signal, time, os
hits = []
signal.signal(signal.SIGALRM, lambda *a: hits.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
time.sleep(0.1)
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(hits) > 3)
pid = os.fork()
if not pid:
    os.kill(os.getpid(), 15)
print(os.waitpid(pid, 0)[1])
raise SystemExit(12)
"""
PY_SOCKET = """
import socket, threading
s = socket.create_server(('127.0.0.1', 0))
def serve():
    c, _ = s.accept()
    while (d := c.recv(4096)): c.sendall(d.upper())
    c.close()
t = threading.Thread(target=serve); t.start()
c = socket.create_connection(s.getsockname()); c.sendall(b'hello'); print(c.recv(10))
c.close(); t.join()
"""
PY_MP = """
import multiprocessing as m
if __name__ == '__main__':
    with m.Pool(2) as p:
        print(p.map(abs, range(-5, 5)))
"""

# name -> argv; "@name" is a program of PROGRAMS.
COMMANDS = {
    "true": ["true"],
    "false": ["false"],
    "echo": ["echo", "-e", "a\\tb"],
    "cat": ["cat", "/etc/passwd"],
    "ls": ["ls", "-la", "/usr/bin"],
    "wc": ["wc", "/etc/services"],
    "sort": ["sort", "-r", "--parallel=2", "/etc/services"],
    "head": ["head", "-n", "3", "/etc/services"],
    "tail": ["tail", "-c", "100", "/etc/services"],
    "cut": ["cut", "-d:", "-f1,7", "/etc/passwd"],
    "tr": ["sh", "-c", "tr a-z A-Z < /etc/passwd"],
    "md5sum": ["md5sum", "/etc/services", "/bin/true"],
    "sha256sum": ["sha256sum", "/etc/services"],
    "seq": ["seq", "1", "3", "20000"],
    "expr": ["expr", "6", "*", "7"],
    "factor": ["factor", "1234567890123"],
    "date": ["date", "-u", "-d", "@86400"],
    "stat": ["stat", "-c", "%n %s %a", "/etc/passwd", "/missing"],
    "cp-mv-rm": ["sh", "-c", "cp /etc/passwd a && mv a b && ln b c && ls && rm b c && ls; cat b"],
    "dd": ["dd", "if=/dev/zero", "bs=1k", "count=7", "status=none"],
    "timeout": ["timeout", "-s", "KILL", "0.1", "sleep", "5"],
    "find": ["find", "/etc/ssl", "-maxdepth", "1", "-type", "d"],
    "xargs": ["sh", "-c", "seq 100 | xargs -n 7 -P 1 echo"],
    "grep": ["grep", "-rn", "tcp", "/etc/services"],
    "sed": ["sed", "-n", "s/\\([a-z]*\\).*/<\\1>/p", "/etc/services"],
    "gawk": ["gawk", "-F:", "{n += $3} END {print n; system(\"echo hi\")}", "/etc/passwd"],
    "bc": ["sh", "-c", "echo 'scale=50; 4*a(1)' | bc -l"],
    "jq": ["sh", "-c", "echo '{\"a\":[1,2,{\"b\":3}]}' | jq -c '.a[2].b, (.a|length)'"],
    "xz": ["sh", "-c", "xz -T2 -c /etc/services | xz -dc | md5sum"],
    "gzip": ["sh", "-c", "gzip -c /etc/services | gunzip | md5sum"],
    "bzip2": ["sh", "-c", "bzip2 -c /etc/services | bunzip2 | md5sum"],
    "zstd": ["sh", "-c", "zstd -T2 -c /etc/services | zstd -dc | md5sum"],
    "tar": ["sh", "-c", "tar -C /etc -cf - ssl/openssl.cnf | tar -tvf - | wc -l"],
    "diff": ["diff", "/etc/passwd", "/etc/group"],
    "sqlite3": ["sqlite3", ":memory:", SQL],
    "openssl": ["sh", "-c", "openssl dgst -sha512 /etc/services && echo x | openssl enc -aes-256-cbc -K 00 -iv 00 | md5sum"],
    "bash": ["bash", "-c", "x=$(for i in 1 2 3; do echo $i & wait; done); echo $x; trap 'echo t' USR1; kill -USR1 $$; (exit 4)"],
    "dash": ["dash", "-c", "f() { return 3; }; f; echo $?; cd /tmp; pwd; kill -9 $$"],
    "perl": ["perl", "-e", "print join(',', map { $_ ** 2 } 1..9), \"\\n\"; print `echo sub`; open F, '/etc/passwd'; print scalar(<F>); exit 6"],
    "perl-fork": ["perl", "-e", "$SIG{ALRM} = sub { print \"alarm\\n\" }; alarm 1; if (!fork) { exit 3 } wait; print $? >> 8, \"\\n\"; select undef, undef, undef, 2"],
    "python-hello": [PY, "-c", "print('hi')"],
    "python-hashlib": [PY, "-c", "import hashlib, ssl, json, zlib; print(hashlib.sha256(b'x').hexdigest(), json.dumps({'a': 1}), zlib.crc32(b'y'))"],
    "python-threads": [PY, "-c", PY_THREADS],
    "python-asyncio": [PY, "-c", PY_ASYNC],
    "python-signal": [PY, "-c", PY_SIGNAL],
    "python-socket": [PY, "-c", PY_SOCKET],
    "python-pool": [PY, "-c", PY_MP],
    "python-mmap": [PY, "-c", "import mmap; m = mmap.mmap(-1, 1 << 20); m[:5] = b'hello'; print(m[:5]); m.close()"],
    "python-abort": [PY, "-c", "import os; os.abort()"],
    "exceptions": ["@exceptions"],
    "signals": ["@signals"],
    "cancel": ["@cancel", "arg"],
    "cancel-static": ["@cancel-static", "arg"],
    "cancel-spie": ["@cancel-spie"],
    "cancel-musl": ["@cancel-musl", "arg"],
    "cancel-musl-static": ["@cancel-musl-static"],
    "cancel-musl-stripped": ["@cancel-musl-stripped", "a", "b"],
    "threads-rs": ["@threads-rs"],
    **{n: ["@" + n] for n in PROGRAMS if n.startswith("jumps-")},
    "server-go": ["@server-go"],
    "server-go-pie": ["@server-go-pie"],
    "server-go-stripped": ["@server-go-stripped"],
    "server-go-panic": ["@server-go", "panic"],
    "ld-so": ["/lib64/ld-linux-x86-64.so.2", "/bin/echo", "by", "hand"],
    "musl-ld-so": ["/lib/ld-musl-x86_64.so.1", "@cancel-musl", "by", "hand"],
}

# Through the counting stand-in: what is dynamic glibc from end to end, in every child too, and does not
# unwind through a blocked call, which there stands in the stand-in.
COUNTED = [
    "ls", "sort", "cp-mv-rm", "xargs", "gawk", "xz", "zstd", "tar", "sqlite3", "openssl", "bash", "perl",
    "python-threads", "python-asyncio", "python-signal", "python-socket", "python-pool", "cancel",
    "threads-rs",
]

_lock = threading.Lock()
_tree = {}


def is_elf(path):
    try:
        with open(path, "rb") as f:
            return f.read(4) == b"\x7fELF"
    except OSError:
        return False


def libraries(path):
    """What the dynamic linker would map for a program, by its own word."""
    r = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return re.findall(r"(/[^ \n]+) \(0x", r.stdout.decode())


def compile_programs(ctx, folder):
    env = dict(os.environ, GOCACHE=os.path.join(folder, "go-cache"), GOFLAGS="-mod=mod", GO111MODULE="off")
    for name, (source, command) in PROGRAMS.items():
        out, src = os.path.join(folder, name), os.path.join(HERE, source)
        if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(src):
            ctx.must([*command, "-o", out, src], timeout=300, env=env)


def which(name):
    for d in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        if os.path.exists(os.path.join(d, name)):
            return os.path.join(d, name)
    raise Failure(f"{name}: no such program; ./build.sh deps installs what the tests use")


def tree(ctx):
    """Compiles, rewrites; once a test run. Gives {original: rewritten} and {original: its counts}."""
    with _lock:
        if _tree:
            return _tree
        folder = os.path.join(ctx.build, "test-rewrite")
        os.makedirs(os.path.join(folder, "new"), exist_ok=True)
        compile_programs(ctx, folder)
        programs = {os.path.join(folder, n) for n in PROGRAMS if n != "gs.so"}
        for argv in COMMANDS.values():
            if not argv[0].startswith("@"):
                programs.add(argv[0] if argv[0][0] == "/" else which(argv[0]))
        programs |= {which(n) for n in ("bunzip2", "gunzip", "mount", "sleep", "mv", "rm", "ln")}
        files = {p for p in programs if is_elf(p)}
        for p in programs:
            files |= set(libraries(p))
        files |= set(glob.glob("/usr/lib/python3*/lib-dynload/*.so"))
        files.add("/usr/lib/x86_64-linux-musl/libc.so")
        changed, counts = {}, {}
        for f in sorted({os.path.realpath(f) for f in files}):
            new = os.path.join(folder, "new", f.replace("/", "%"))
            counts[f] = json.loads(ctx.must([ctx.junction, "rewrite", f, "-o", new, "--json"]).out)
            if counts[f]["changed"]:
                changed[f] = new
            else:
                os.unlink(new)
        _tree.update(folder=folder, changed=changed, counts=counts)
        return _tree


def run(ctx, argv, changed, env=None):
    """As on any Linux, but with each file of `changed` in the place of its original."""
    script = "".join(f"mount --bind '{new}' '{old}' && " for old, new in changed.items())
    work = ctx.path("work")
    os.makedirs(work, exist_ok=True)
    flags = ["-m"] if os.getuid() == 0 else ["-rm"]
    return ctx.run(
        ["unshare", *flags, "--propagation", "private", "sh", "-c", script + 'exec env "$@"', "sh",
         *(f"{k}={v}" for k, v in (env or {}).items()), *argv],
        env=dict(images.ENV), cwd=work, timeout=60,
    )


def normal(r):
    """Goroutine numbers, addresses and the like differ from run to run."""
    r.err = re.sub(rb"0x[0-9a-f]+|goroutine \d+|pid \d+", b"#", r.err)
    return r


def command_case(name):
    def func(ctx):
        t = tree(ctx)
        argv = [os.path.join(t["folder"], a[1:]) if a[0] == "@" else a for a in COMMANDS[name]]
        native = normal(run(ctx, argv, {}))
        images.compare(native, normal(run(ctx, argv, t["changed"])))
        if name not in COUNTED:
            return 1
        count = ctx.path("count")
        stub = {"LD_PRELOAD": os.path.join(t["folder"], "gs.so"), "GS_COUNT_FILE": count}
        images.compare(native, normal(run(ctx, argv, t["changed"], stub)))
        with open(count, encoding="ascii") as f:
            counts = [int(x) for x in f]
        if not counts or max(counts) < 10:
            raise Failure(f"system calls through trampolines, by process: {counts}")
        return 2

    return Case("rewrite/" + name, func)


def counts_case(ctx):
    t = tree(ctx)
    problems = []
    for f, (at_least, left) in EXPECTED_LEFT.items():
        c = t["counts"][os.path.realpath(f if f[0] == "/" else os.path.join(t["folder"], f))]
        if c["sites_rewritten"] < at_least or c["sites_left"] > left:
            problems.append(f"{f}: {c['sites_rewritten']} rewritten, {c['sites_left']} left")
    if problems:
        raise Failure("\n".join(problems))
    return len(EXPECTED_LEFT)


def same_twice_case(ctx):
    """Rewriting gives the same bytes each time, and leaves its own output alone."""
    t = tree(ctx)
    old = "/usr/lib/x86_64-linux-gnu/libc.so.6"
    a, b = ctx.path("a"), ctx.path("b")
    ctx.must([ctx.junction, "rewrite", old, "-o", a])
    r = json.loads(ctx.must([ctx.junction, "rewrite", a, "-o", b, "--json"]).out)
    with open(a, "rb") as x, open(b, "rb") as y, open(t["changed"][old], "rb") as z:
        first = x.read()
        if first != y.read() or first != z.read():
            raise Failure("the bytes differ")
    if r["changed"] or r["sites_rewritten"] != t["counts"][old]["sites_rewritten"]:
        raise Failure(f"second pass: {r}")


def cases(build):
    return [
        Case("rewrite/counts", counts_case),
        Case("rewrite/same-twice", same_twice_case),
        *[command_case(name) for name in COMMANDS],
    ]
