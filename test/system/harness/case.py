"""case.py - one test: a name, a function, and the context it runs commands in."""
import os
import shutil
import signal
import subprocess

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))


class Failure(Exception):
    """A test saw something else than it must; the text says what."""


class Case:
    """`func(ctx)` returns if the test passes and raises Failure otherwise.

    serial: runs alone, after the others (it needs all cores, or measures what is left behind).
    """

    def __init__(self, name, func, serial=False):
        self.name = name
        self.func = func
        self.serial = serial


class Result:
    """What a command did: exit status (negative: the signal), output, and whether it was stopped."""

    def __init__(self, code, out, err, timed_out):
        self.code, self.out, self.err, self.timed_out = code, out, err, timed_out

    def describe(self):
        text = "timed out" if self.timed_out else f"exit status {self.code}"
        for name, data in (("stdout", self.out), ("stderr", self.err)):
            if data:
                text += f"\n{name}: {shorten(data)}"
        return text


def shorten(data, limit=1500):
    """The bytes as text, the middle cut out if long."""
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    if len(text) > limit:
        text = text[: limit // 2] + f"\n[... {len(text) - limit} characters ...]\n" + text[-limit // 2 :]
    return text


class Context:
    """Where a case runs: a scratch folder of its own, and the build under test."""

    def __init__(self, build, scratch):
        self.build = build
        self.scratch = scratch

    @property
    def junction(self):
        return os.path.join(self.build, "bin", "junction")

    def path(self, *parts):
        """A path in the case's scratch folder, which exists and is removed after the case."""
        os.makedirs(self.scratch, exist_ok=True)
        return os.path.join(self.scratch, *parts)

    def program(self, name):
        """A built test program."""
        return os.path.join(self.build, "test", "programs", name)

    def run(self, argv, timeout=60, stdin=b"", env=None, cwd=None):
        """Runs a command in a session of its own; a timeout kills its whole process group."""
        full = dict(os.environ if env is None else env)
        if env is None:
            full["TMPDIR"] = self.path()
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=full,
            cwd=cwd,
            start_new_session=True,
        ) as p:
            timed_out = False
            try:
                out, err = p.communicate(stdin, timeout=timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
                kill_group(p.pid)
                out, err = p.communicate()
        return Result(p.returncode, out, err, timed_out)

    def must(self, argv, **kw):
        """Runs a command that must succeed."""
        r = self.run(argv, **kw)
        if r.timed_out or r.code != 0:
            raise Failure(f"{' '.join(argv)}: {r.describe()}")
        return r

    def cleanup(self):
        shutil.rmtree(self.scratch, ignore_errors=True)


def kill_group(pid):
    """SIGTERM so that a supervisor can take its instance along, then SIGKILL."""
    import time

    for sig, wait in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 0)):
        try:
            os.killpg(pid, sig)
        except ProcessLookupError:
            return
        end = time.monotonic() + wait
        while time.monotonic() < end:
            try:
                os.kill(pid, 0)
                with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
                    if f.read().rpartition(")")[2].split()[0] == "Z":
                        break
            except (ProcessLookupError, FileNotFoundError):
                break
            time.sleep(0.02)
