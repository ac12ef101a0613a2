"""The junction command line: streams, signals, exit status, options, and errors that name the thing and the remedy."""
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import time

from harness import images
from harness.case import ROOT, Case, Failure, kill_group


def image(ctx):
    return images.image(ctx, "program-cli-musl", ctx.program("cli-musl"))


def run(ctx, *args, options=(), **kw):
    return ctx.run([ctx.junction, "run", image(ctx), *options, "--", *args], **kw)


def expect(r, code=0, out=None, err=None):
    if r.timed_out or r.code != code or (out is not None and r.out != out) or (err is not None and r.err != err):
        raise Failure(f"wanted status {code}" + (f", stdout {out!r}" if out is not None else "") + f": {r.describe()}")


def exit_status(ctx):
    for n in (0, 1, 42, 255):
        expect(run(ctx, "exit", str(n)), n, b"", b"")
    return 4


def death(ctx):
    for sig in (signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL):
        r = run(ctx, "die", str(int(sig)))
        if r.code not in (128 + sig, -sig):
            raise Failure(f"signal {sig}: {r.describe()}")
    return 4


def arguments(ctx):
    expect(run(ctx, "a b", "", "--env", "ü"), 0, "0 program\n1 a b\n2 \n3 --env\n4 ü\n".encode())


def environment(ctx):
    expect(run(ctx, "env", "X", options=["--env", "X=a=b c"]), 0, b'getenv(argv[2]) ?: "unset": a=b c\n')
    expect(run(ctx, "env", "SECRET", env=dict(os.environ, SECRET="host")), 0, b'getenv(argv[2]) ?: "unset": unset\n')
    return 2


def workdir(ctx):
    r = run(ctx, "cwd", options=["--workdir", "/tmp"])
    expect(r, 0, b"getcwd(path, sizeof(path)): /tmp\n")
    r = run(ctx, "cwd", options=["--workdir", "/made/for/it"])
    expect(r, 0, b"getcwd(path, sizeof(path)): /made/for/it\n")
    r = run(ctx, "cwd", options=["--workdir", "/etc/passwd"])
    if r.code == 0 or r.timed_out or b"/etc/passwd" not in r.err:
        raise Failure(r.describe())
    return 3


def stdin_data(ctx):
    expect(run(ctx, "echo-lines", stdin=b"one\ntwo\nthree"), 0, b"one\ntwo\nend of file after 5\n")
    lines = b"".join(b"line %d\n" % i for i in range(300))
    expect(run(ctx, "echo-lines", stdin=lines), 0, lines + b"end of file after 0\n")
    return 2


def interactive(ctx):
    """A line must come back before the next is written: nothing waits for a buffer to fill."""
    p = subprocess.Popen([ctx.junction, "run", image(ctx), "--", "echo-lines"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, start_new_session=True)
    try:
        for i in range(50):
            p.stdin.write(b"turn %d\n" % i)
            p.stdin.flush()
            if p.stdout.readline() != b"turn %d\n" % i:
                raise Failure(f"turn {i} did not come back")
        p.stdin.close()
        p.stdin = None
        p.communicate(timeout=20)
    finally:
        kill_group(p.pid)
        p.wait()


def flood(ctx):
    n = 20_000_003
    r = run(ctx, "flood", str(n))
    want = (bytes(ord("a") + i % 26 for i in range(8192)) * (n // 8192 + 1))
    if r.code != 0 or len(r.out) != n or r.out[:8192] != want[:8192]:
        raise Failure(f"status {r.code}, {len(r.out)} of {n} bytes; {r.err!r}")


def closed_pipe(ctx):
    """The reader goes away: EPIPE or SIGPIPE for the program, as on Linux, not an endless run."""
    r = ctx.run(["sh", "-c", f'"{ctx.junction}" run "{image(ctx)}" -- flood 100000000 | head -c 1000 | wc -c'], timeout=30)
    expect(r, 0, b"1000\n")


def signals(ctx):
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
        p = subprocess.Popen([ctx.junction, "run", image(ctx), "--", "wait-signal", str(int(sig))],
                             stdout=subprocess.PIPE, start_new_session=True)
        try:
            p.stdout.readline()
            p.send_signal(sig)
            out, _ = p.communicate(timeout=20)
        finally:
            kill_group(p.pid)
            p.wait()
        if out != b"caught %d\n" % sig or p.returncode != 10 + sig:
            raise Failure(f"signal {sig}: status {p.returncode}, {out!r}")
    return 5


def stopped_cleanly(ctx):
    """Ctrl-C ends a program that does not handle it, and nothing stays behind."""
    p = subprocess.Popen([ctx.junction, "run", image(ctx), "--", "flood", "1000000000000000000"],
                         stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(0.2)
    os.killpg(p.pid, signal.SIGINT)
    try:
        p.wait(timeout=20)
    except subprocess.TimeoutExpired:
        raise Failure("still running 20 s after SIGINT") from None
    finally:
        kill_group(p.pid)
        p.wait()
    if p.returncode not in (-signal.SIGINT, 128 + signal.SIGINT):
        raise Failure(f"status {p.returncode}")


def killed_supervisor(ctx):
    """kill -9 of `junction run` takes the instance along."""
    p = subprocess.Popen([ctx.junction, "run", image(ctx), "--", "wait-signal", "10"],
                         stdout=subprocess.PIPE, start_new_session=True)
    p.stdout.readline()
    p.kill()
    p.wait()
    # The instance holds the write end of nothing of ours, but it must be gone: its group is empty.
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.killpg(p.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    kill_group(p.pid)
    raise Failure("an instance outlived its supervisor by 10 s")


def strace_and_stats(ctx):
    r = run(ctx, "exit", "0", options=["--strace"])
    if r.code or b"exit_group(0" not in r.err:
        raise Failure(r.describe())
    r = run(ctx, "exit", "3", options=["--stats=json"])
    stats = json.loads(r.err)
    if r.code != 3 or stats["syscalls_fast"] < 1 or stats["syscalls_trapped"] != 0:
        raise Failure(r.describe())
    return 2


def one_line(r, *words):
    """One error line that holds these words, and a failure status."""
    text = r.err.decode("utf-8", "replace")
    if r.code == 0 or r.timed_out or text.count("\n") != 1 or not text.startswith("junction") or any(
        w not in text for w in words
    ):
        raise Failure(f"wanted one line with {words}: {r.describe()}")


def errors(ctx):
    j = ctx.junction
    junk = ctx.path("junk.jimg")
    with open(junk, "wb") as f:
        f.write(b"\x7fELF" + b"x" * 5000)
    out = ctx.path("out.jimg")
    script = ctx.path("text")
    with open(script, "w", encoding="utf-8") as f:
        f.write("not a program\n")
    one_line(ctx.run([j, "run", "/none.jimg"]), "junction run", "/none.jimg")
    one_line(ctx.run([j, "run", junk]), "junction run", junk)
    one_line(ctx.run([j, "verify", junk]), "junction verify", junk)
    one_line(ctx.run([j, "build", "/none", "-o", out]), "junction build", "/none")
    one_line(ctx.run([j, "build", script, "-o", out]), "junction build", script)
    one_line(ctx.run([j, "run", image(ctx), "--cores", "0"]), "--cores")
    one_line(ctx.run([j, "run", image(ctx), "--cores", "lots"]), "--cores", "lots")
    one_line(ctx.run([j, "run", image(ctx), "--memory", "much"]), "--memory", "much")
    one_line(ctx.run([j, "frobnicate"]), "frobnicate")
    if os.path.exists(out):
        raise Failure("a failed build left its output behind")
    return 9


def helps(ctx):
    verbs = ("build", "keep", "run", "inspect", "verify", "keygen", "sign", "rewrite")
    for v in verbs:
        r = ctx.must([ctx.junction, v, "--help"])
        if not r.out.startswith(b"Usage: junction " + v.encode()):
            raise Failure(r.describe())
    return len(verbs)


def reproducible(ctx):
    """Two builds, by other names and at other times, are the same file."""
    for i, argv in enumerate((["/usr/bin/sort"], ["/usr/bin/gawk", "--rootfs", os.path.join(ROOT, "test", "system")])):
        a, b = ctx.path(f"a{i}.jimg"), ctx.path(f"b{i}.jimg")
        ctx.must([ctx.junction, "build", *argv, "-o", a])
        time.sleep(1.1)
        ctx.must([ctx.junction, "build", *argv, "-o", b])
        with open(a, "rb") as fa, open(b, "rb") as fb:
            if fa.read() != fb.read():
                raise Failure(f"two builds of {argv[-1]} differ")
    return 2


def sealed(ctx):
    """A flipped bit anywhere in the data, a cut-off end: refused with one line that names the file."""
    with open(image(ctx), "rb") as f:
        good = f.read()
    bad = ctx.path("bad.jimg")
    tried = 0
    for where in range(1500, len(good), len(good) // 12):
        data = bytearray(good)
        data[where] ^= 0x10
        with open(bad, "wb") as f:
            f.write(data)
        one_line(ctx.run([ctx.junction, "run", bad, "--", "exit", "0"]), "junction run", bad)
        tried += 1
    for size in (0, 100, 4096, len(good) // 2, len(good) - 1):
        with open(bad, "wb") as f:
            f.write(good[:size])
        one_line(ctx.run([ctx.junction, "run", bad, "--", "exit", "0"]), "junction run", bad)
        tried += 1
    return tried


def signed(ctx):
    key, other = ctx.path("key"), ctx.path("other")
    img = ctx.path("signed.jimg")
    with open(image(ctx), "rb") as f, open(img, "wb") as g:
        g.write(f.read())
    for k in (key, other):
        ctx.must([ctx.junction, "keygen", k])
    ctx.must([ctx.junction, "sign", img, "--key", key + ".key"])
    ctx.must([ctx.junction, "verify", img, "--key", key + ".pub"])
    one_line(ctx.run([ctx.junction, "verify", img, "--key", other + ".pub"]), img)
    expect(ctx.run([ctx.junction, "run", img, "--key", key + ".pub", "--", "exit", "5"]), 5)
    one_line(ctx.run([ctx.junction, "run", img, "--key", other + ".pub", "--", "exit", "5"]), img)
    return 4


def inspection(ctx):
    got = json.loads(ctx.must([ctx.junction, "inspect", "--json", image(ctx)]).out)
    if not 0 < len(got["host_calls"]) <= 10:
        raise Failure(f"host calls: {got['host_calls']}")
    takes_path = {"open", "openat", "openat2", "execve", "stat", "unlink", "mkdir", "mount", "chroot"}
    if takes_path & set(got["host_calls"]):
        raise Failure(f"a host call takes a path: {got['host_calls']}")
    program = [f for f in got["files"] if f["path"].endswith("cli-musl")]
    if len(program) != 1 or program[0]["sites_left"] > 2 or program[0]["sites_rewritten"] < 10:
        raise Failure(f"files: {program}")
    text = ctx.must([ctx.junction, "inspect", image(ctx)]).out
    if not re.search(rb"cli-musl", text):
        raise Failure(text.decode())
    return 2


def no_processes_yet(ctx):
    """fork, vfork and clone of a process answer ENOSYS; nothing pretends."""
    img = images.image(ctx, "program-escape-musl", ctx.program("escape-musl"))
    for args in (("57",), ("58",), ("56", "17")):
        expect(ctx.run([ctx.junction, "run", img, "--", "gen", *args]), 0, b"answer -38\n")
    return 3


def unprivileged(ctx):
    """Works as an ordinary user too."""
    if os.getuid() != 0:
        raise Failure("run the tests as root, so that this can become an ordinary user")
    img = f"/tmp/jt-{os.getpid()}-image.jimg"
    with open(image(ctx), "rb") as f, open(img, "wb") as g:
        g.write(f.read())
    os.chmod(img, 0o644)
    exe = f"/tmp/jt-{os.getpid()}-junction"
    with open(ctx.junction, "rb") as f, open(exe, "wb") as g:
        g.write(f.read())
    os.chmod(exe, 0o755)
    store = f"/tmp/jt-{os.getpid()}-store"
    os.makedirs(store, mode=0o700, exist_ok=True)
    os.chown(store, 65534, 65534)
    try:
        r = ctx.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", exe, "run", img, "--", "exit", "6"],
                    env={"PATH": "/usr/bin:/bin", "JUNCTION_STORE": store, "HOME": "/"}, cwd="/")
        expect(r, 6, b"")
    finally:
        import shutil

        os.unlink(img)
        os.unlink(exe)
        shutil.rmtree(store, ignore_errors=True)


def keeper(ctx):
    """While `junction keep` runs, two instances map one memfd that nobody can write; afterwards the file again."""
    env = dict(os.environ, JUNCTION_STORE=ctx.path("store"), TMPDIR=ctx.path())
    sock = ctx.path("store", "keeper.sock")
    k = subprocess.Popen([ctx.junction, "keep", image(ctx)], env=env, stderr=subprocess.PIPE, start_new_session=True)
    try:
        wait_for(lambda: os.path.exists(sock), "no keeper.sock")
        one_line(ctx.run([ctx.junction, "keep"], env=env), "another keeper")
        kept = [mapped_image(ctx, env) for _ in range(2)]
        if kept[0] != kept[1] or not kept[0][1].startswith("/memfd:junction-image"):
            raise Failure(f"two instances map {kept}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(sock)
            s.send(b"../../../etc/passwd")
            answer = s.recv(300)
            if answer[:1] != b"\1" or b"root" not in answer:
                raise Failure(f"answer to nonsense: {answer!r}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(sock)
            with open(image(ctx), "rb"):
                root = next(f for f in os.listdir(ctx.path("store")) if f.endswith(".img"))[:64]
            s.send(root.encode())
            data, fds, _, _ = socket.recv_fds(s, 300, 1)
            seals = fcntl.fcntl(fds[0], fcntl.F_GET_SEALS)
            writable = fcntl.fcntl(fds[0], fcntl.F_GETFL) & os.O_ACCMODE
            os.close(fds[0])
            if seals & 0xF != 0xF or writable != os.O_RDONLY:
                raise Failure(f"seals {seals:#x}, access mode {writable}")
    finally:
        k.terminate()
        _, err = k.communicate(timeout=10)
    if k.returncode or err or os.path.exists(sock):
        raise Failure(f"the keeper ended with {k.returncode}, {err!r}; socket left: {os.path.exists(sock)}")
    if mapped_image(ctx, env)[1].startswith("/memfd"):
        raise Failure("a memfd without a keeper")
    return 5


def mapped_image(ctx, env):
    """Inode and name of what a running instance maps as its program."""
    p = subprocess.Popen([ctx.junction, "run", image(ctx), "--", "wait-signal", "10"], env=env, stdout=subprocess.PIPE,
                         start_new_session=True)
    try:
        p.stdout.readline()
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            child = f.read().split()[0]
        with open(f"/proc/{child}/maps", encoding="ascii") as f:
            line = next(x for x in f if x.startswith("480000000000-")).split(maxsplit=5)
        p.send_signal(signal.SIGUSR1)
        p.communicate(timeout=20)
    finally:
        kill_group(p.pid)
        p.wait()
    if p.returncode != 20:
        raise Failure(f"status {p.returncode}")
    return line[4], line[5].strip()


def wait_for(what, why, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise Failure(why)
        time.sleep(0.02)


def cases(build):
    return [Case("cli/" + f.__name__.replace("_", "-"), f) for f in (
        exit_status, death, arguments, environment, workdir, stdin_data, interactive, flood, closed_pipe,
        signals, stopped_cleanly, killed_supervisor, strace_and_stats, errors, helps, reproducible, sealed,
        signed, inspection, keeper, no_processes_yet, unprivileged)]
