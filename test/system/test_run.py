"""`junction run` with real programs: streams, terminals, signals, options, errors."""
import os
import pty
import select
import signal
import subprocess
import termios
import time

from harness import images
from harness.case import Case, Failure


def need(what, condition):
    if not condition:
        raise Failure(what)


def image(ctx, name):
    return images.image(ctx, "run-" + name, f"/usr/bin/{name}")


def run(ctx, name, *args, options=(), **kw):
    return ctx.run([ctx.junction, "run", image(ctx, name), *options, "--", *args], **kw)


def expect(r, code, out=None, err=None):
    need(r.describe(), not r.timed_out and r.code == code)
    need(f"stdout should be {out!r}; {r.describe()}", out is None or r.out == out)
    need(f"stderr should hold {err!r}; {r.describe()}", err is None or err in r.err)


def streams(ctx):
    data = os.urandom(300000)
    expect(run(ctx, "cat", stdin=data), 0, data)
    expect(run(ctx, "cat", "/nonexistent"), 1, b"", b"No such file")


def only_what_is_read(ctx):
    """Lines behind the one that the program reads stay for the next program of a shell script."""
    script = '"$0" run "$1" -- bs=4 count=1 2>/dev/null; cat'
    r = ctx.run(["sh", "-c", script, ctx.junction, image(ctx, "dd")], stdin=b"one\ntwo\n")
    expect(r, 0, b"one\ntwo\n")


def reader_leaves(ctx):
    script = '"$0" run "$1" | head -n 2; echo "${PIPESTATUS[0]}"'
    expect(ctx.run(["bash", "-c", script, ctx.junction, image(ctx, "yes")]), 0, b"y\ny\n141\n")


def streams_in_order(ctx):
    """Bytes to stdout and stderr keep their order where both are one pipe."""
    img = image(ctx, "perl")
    code = "$|=1; for (1..200) { print STDOUT qq(o$_\\n); print STDERR qq(e$_\\n); }"
    r = ctx.run(["sh", "-c", 'exec 2>&1; "$@"', "sh", ctx.junction, "run", img, "--", "-e", code])
    want = b"".join(b"o%d\ne%d\n" % (i, i) for i in range(1, 201))
    expect(r, 0, want)


def killed_by_signal(ctx):
    img = image(ctx, "sleep")
    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        p = subprocess.Popen([ctx.junction, "run", img, "--", "100"], stderr=subprocess.PIPE)
        time.sleep(0.3)
        p.send_signal(sig)
        _, err = p.communicate(timeout=30)
        need(f"signal {sig}: status {p.returncode}, {err}", p.returncode == -sig and not err)


def options(ctx):
    r = run(ctx, "env", options=["--env", "A=1", "--env", "B=2", "--env", "A=3", "--env", "HERE"],
            env={"HERE": "x", "PATH": os.environ["PATH"], "JUNCTION_STORE": os.environ["JUNCTION_STORE"],
                 "NOT_PASSED": "y"})
    expect(r, 0)
    lines = r.out.split()
    need(f"{lines}", {b"A=3", b"B=2", b"HERE=x"} <= set(lines) and b"NOT_PASSED=y" not in lines)
    expect(run(ctx, "pwd", options=["--workdir=/tmp"]), 0, b"/tmp\n")
    expect(run(ctx, "nproc", options=["--cores", "3"]), 0, b"3\n")
    expect(run(ctx, "pwd", options=["--strace"]), 0, b"/\n", b"exit_group(0)")
    expect(run(ctx, "pwd", options=["--stats"]), 0, b"/\n", b"system calls, rewritten sites")


def bad_usage(ctx):
    img = image(ctx, "pwd")
    for argv, word in (([], b"which image"), ([img, "--cores", "0"], b"1 to 64"),
                       ([img, "--cores", "2x"], b"1 to 64"), ([img, "--memory", "1Q"], b"64M"),
                       ([img, "--nonsense"], b"no such option"), ([img, img], b"only one image"),
                       ([img, "--workdir", "x"], b"absolute"), ([img, "--env", "=x"], b"no name"),
                       ([img, "--env"], b"needs a value")):
        r = ctx.run([ctx.junction, "run", *argv])
        need(f"{argv}: {r.describe()}", r.code == 2 and word in r.err and r.err.count(b"\n") == 1)
    r = ctx.run([ctx.junction, "run", ctx.path("none.jimg")])
    need(r.describe(), r.code == 1 and b"none.jimg" in r.err and r.err.count(b"\n") == 1)


def memory_limit(ctx):
    """More memory than the limit is refused or ends the instance; the host does not pay for it."""
    r = run(ctx, "dd", "if=/dev/zero", "of=/dev/null", "bs=600M", "count=1", options=["--memory", "64M"])
    need(r.describe(), r.code in (1, 137) and b"memory" in r.err)


def on_terminal(argv, play, timeout=20):
    """Runs argv on a terminal of its own; play(write, wait_for, pid) acts. Returns (status, text)."""
    pid, fd = pty.fork()
    if not pid:
        os.execv(argv[0], argv)
    text = b""

    def wait_for(word):
        nonlocal text
        end = time.monotonic() + timeout
        while word not in text:
            left = end - time.monotonic()
            need(f"no {word!r} in {text!r}", left > 0)
            if select.select([fd], [], [], left)[0]:
                try:
                    data = os.read(fd, 4096)
                except OSError:
                    data = b""
                need(f"terminal ended without {word!r}: {text!r}", data)
                text += data

    try:
        play(fd, wait_for, pid)
        end = time.monotonic() + timeout
        while True:
            if select.select([fd], [], [], 0.05)[0]:
                try:
                    text += os.read(fd, 4096)
                except OSError:
                    pass
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                pid = 0
                return status, text
            need(f"still running: {text!r}", time.monotonic() < end)
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(fd)


def terminal(ctx):
    """Ctrl-C and end of file from a terminal; the program sees a terminal and its size."""
    img = image(ctx, "cat")

    def ctrl_c(fd, wait_for, pid):
        os.write(fd, b"first\n")
        wait_for(b"first\r\nfirst\r\n")
        os.write(fd, b"\x03")

    status, text = on_terminal([ctx.junction, "run", img], ctrl_c)
    need(f"status {status}, {text!r}", os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT)

    def ctrl_d(fd, wait_for, pid):
        os.write(fd, b"second\n")
        wait_for(b"second\r\nsecond\r\n")
        os.write(fd, b"\x04")

    status, text = on_terminal([ctx.junction, "run", img], ctrl_d)
    need(f"status {status}, {text!r}", status == 0)

    code = (
        'require "sys/ioctl.ph" if 0; $w = ""; ioctl(STDOUT, 0x5413, $w); print join(" ", (unpack "S4", $w)[0,1]),'
        ' -t STDIN ? " tty\\n" : " no\\n"; $SIG{WINCH} = sub { ioctl(STDOUT, 0x5413, $w);'
        ' print "now ", join(" ", (unpack "S4", $w)[0,1]), "\\n"; exit 0 }; $| = 1; print "ready\\n"; sleep 20'
    )

    def winsize(fd, wait_for, pid):
        wait_for(b"ready")
        termios.tcsetwinsize(fd, (33, 77))
        wait_for(b"now 33 77")

    status, text = on_terminal([ctx.junction, "run", image(ctx, "perl"), "--", "-e", code], winsize)
    need(f"status {status}, {text!r}", status == 0 and b" tty" in text)


def ctrl_z(ctx):
    img = image(ctx, "sleep")
    p = subprocess.Popen([ctx.junction, "run", img, "--", "0.5"])
    time.sleep(0.2)
    p.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(p.pid, os.WUNTRACED)
    need(f"status {status:#x}", os.WIFSTOPPED(status))
    p.send_signal(signal.SIGCONT)
    need(f"status {p.wait(30)}", p.returncode == 0)


def cases(build):
    return [Case("run/" + f.__name__.replace("_", "-"), f)
            for f in (streams, only_what_is_read, reader_leaves, streams_in_order, killed_by_signal, options,
                      bad_usage, memory_limit, terminal, ctrl_z)]
