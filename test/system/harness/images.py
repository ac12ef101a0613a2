"""images.py - builds images of programs once a test run, and runs a program natively or inside."""
import os
import shutil
import tempfile
import threading

from .case import ROOT, Failure

# In the order in which an image's own variables come first, so that env(1) prints the same.
ENV = {"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C", "TZ": "UTC", "TERM": "dumb"}
IMAGE_TIME = 315619200  # every file of an image bears this time: 1980-01-02
WORK = "/mnt"  # the working directory of both runs, so that paths are equal

_locks = {}
_locks_lock = threading.Lock()


def lock_of(path):
    with _locks_lock:
        return _locks.setdefault(path, threading.Lock())


def newest(paths):
    return max((os.path.getmtime(p) for p in paths if os.path.exists(p)), default=0)


def image(ctx, name, program, rootfs=None, recipe=None, timeout=120):
    """The image of a program (or recipe), built unless a newer one stands in BUILD/test-images."""
    folder = os.path.join(ctx.build, "test-images")
    os.makedirs(folder, exist_ok=True)
    out = os.path.join(folder, name + ".jimg")
    with lock_of(out):
        inputs = [ctx.junction, recipe or program] + ([rootfs] if rootfs else [])
        if os.path.exists(out) and os.path.getmtime(out) > newest(inputs):
            return out
        argv = [ctx.junction, "build"]
        argv += ["-f", recipe] if recipe else [program]
        argv += ["-o", out + ".new"]
        if rootfs:
            argv += ["--rootfs", rootfs]
        ctx.must(argv, timeout=timeout)
        os.replace(out + ".new", out)
    return out


def run_native(ctx, argv, tree=None, stdin=b"", timeout=60, env=None):
    """Runs on Linux: a clean environment, in a copy of `tree` that stands at WORK, in a mount namespace."""
    work = tempfile.mkdtemp(prefix=f"jt-{os.getpid()}-", dir="/dev/shm")
    try:
        if tree:
            shutil.copytree(tree, work, dirs_exist_ok=True, symlinks=True)
            for folder, _, files in os.walk(work, topdown=False):
                for f in [*files, "."]:
                    os.utime(os.path.join(folder, f), (IMAGE_TIME, IMAGE_TIME))
        flags = ["-m"] if os.getuid() == 0 else ["-rm"]
        # env -i at the end: the shell would add variables of its own.
        script = f'mount --bind {work} {WORK} && exec env -i -C {WORK} "$@"'
        variables = [f"{k}={v}" for k, v in dict(ENV, **(env or {})).items()]
        return ctx.run(
            ["unshare", *flags, "--propagation", "private", "sh", "-c", script, "sh", *variables, *argv],
            timeout=timeout, stdin=stdin,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run_inside(ctx, img, args, stdin=b"", timeout=60, env=None, options=(), workdir=WORK):
    """`junction run` with the same environment as run_native."""
    argv = [ctx.junction, "run", img]
    for k, v in dict(ENV, **(env or {})).items():
        argv += ["--env", f"{k}={v}"]
    if workdir:
        argv += ["--workdir", workdir]
    argv += [*options, "--", *args]
    host = {k: os.environ[k] for k in ("PATH", "JUNCTION_STORE", "HOME") if k in os.environ}
    return ctx.run(argv, timeout=timeout, stdin=stdin, env=host)


def lines_differ(what, native, inside):
    """The first lines at which two outputs differ, or None."""
    if native == inside:
        return None
    a = native.decode("utf-8", "backslashreplace").splitlines()
    b = inside.decode("utf-8", "backslashreplace").splitlines()
    text = []
    import difflib

    for line in difflib.unified_diff(a, b, f"{what} native", f"{what} inside", lineterm="", n=0):
        text.append(line[:200])
        if len(text) == 16:
            text.append("[more]")
            break
    return "\n".join(text) or f"{what}: only the line ends differ"


def compare(native, inside):
    """Raises Failure unless two Results are equal in status, standard output and error output."""
    problems = []
    if native.timed_out:
        problems.append("the native run timed out")
    if inside.timed_out:
        problems.append("the run inside timed out")
    if native.code != inside.code:
        problems.append(f"exit status {native.code} native, {inside.code} inside")
    for what, a, b in (("stdout", native.out, inside.out), ("stderr", native.err, inside.err)):
        d = lines_differ(what, a, b)
        if d:
            problems.append(d)
    if problems:
        raise Failure("\n".join(problems))


__all__ = ["ENV", "ROOT", "WORK", "compare", "image", "run_inside", "run_native"]
