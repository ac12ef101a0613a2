"""runner.py - collects the cases, runs them on all cores, counts, and looks for what was left behind."""
import concurrent.futures
import ctypes
import glob
import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback

from .case import ROOT, Case, Context, Failure

SYSTEM = os.path.join(ROOT, "test", "system")
PR_SET_CHILD_SUBREAPER = 36


def meson_unit_cases(build):
    """Each meson test; a Criterion program (suite `unit`) counts each of its own tests."""
    tests = json.loads(
        subprocess.check_output(["meson", "introspect", "--tests", build], text=True) or "[]"
    )
    out = []
    for t in tests:
        criterion = any("unit" in s for s in t["suite"])

        def func(ctx, t=t, criterion=criterion):
            env = dict(os.environ, **t["env"], TMPDIR=ctx.path())
            cmd = t["cmd"] + (["--tap=-", "-j1"] if criterion else [])
            r = ctx.run(cmd, timeout=max(60, t["timeout"] or 0), env=env, cwd=t["workdir"])
            if not criterion:
                if r.code != 0 or r.timed_out:
                    raise Failure(r.describe())
                return 1
            passed = len(re.findall(rb"^ok ", r.out, re.M))
            failed = re.findall(rb"^not ok [^\n]*(?:\n  [^\n]*)*", r.out, re.M)
            if failed or r.code != 0 or r.timed_out:
                text = b"\n".join(failed).decode("utf-8", "replace") or r.describe()
                raise Failure(text, passed, max(1, len(failed)))
            return passed

        out.append(Case("unit/" + t["name"], func))
    return out


# Of the time that fuzz targets get; those not named get all of it.
FUZZ_SHARE = {"fuzz_tcp": 1 / 3, "fuzz_tcp_segment": 1 / 4}


def fuzz_cases(seconds_each):
    """Each test/fuzz/fuzz_*.c, built with libFuzzer and run from its corpus for so many seconds."""
    out = []
    for src in sorted(glob.glob(os.path.join(ROOT, "test", "fuzz", "fuzz_*.c"))):
        name = os.path.basename(src)[:-2]
        seconds = max(1, int(seconds_each * FUZZ_SHARE.get(name, 1)))

        def func(ctx, name=name, seconds=seconds):
            binary = os.path.join(ROOT, "build-fuzz", "test", "fuzz", name)
            seeds = os.path.join(ROOT, "test", "fuzz", "corpus", name)
            work = ctx.path("corpus")
            os.makedirs(work, exist_ok=True)
            argv = [binary, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048",
                    "-print_final_stats=1", f"-artifact_prefix={ctx.path('crash-')}", work]
            if os.path.isdir(seeds):
                argv.append(seeds)
            r = ctx.run(argv, timeout=seconds + 60)
            if r.code != 0 or r.timed_out:
                keep = os.path.join(ROOT, "build-fuzz", "crashes")
                os.makedirs(keep, exist_ok=True)
                for f in glob.glob(ctx.path("crash-*")):
                    os.replace(f, os.path.join(keep, name + "-" + os.path.basename(f)))
                raise Failure(f"{r.describe()}\ninputs kept in {keep}")
            return 1

        out.append(Case("fuzz/" + name, func))
    return out


def system_cases(build, sanitize):
    """cases(build) of each test/system/test_*.py; a module with SANITIZE = True also runs there."""
    out = []
    for path in sorted(glob.glob(os.path.join(SYSTEM, "test_*.py"))):
        mod = importlib.import_module(os.path.basename(path)[:-3])
        if not sanitize or getattr(mod, "SANITIZE", False):
            out += mod.cases(build)
    return out


def setup_build(args):
    """The build under test: build/, or build-sanitize/. Also the test programs and fuzz targets."""
    build = os.path.join(ROOT, "build-sanitize" if args.sanitize else "build")
    if not os.path.exists(os.path.join(build, "build.ninja")):
        opts = ["-Db_sanitize=address,undefined", "-Db_lundef=false"] if args.sanitize else []
        subprocess.check_call(["meson", "setup", build, ROOT, *opts], stdout=subprocess.DEVNULL)
    ninja(build, "all", "test-programs")
    return build


def ninja(build, *targets):
    """Builds; what ninja says is shown only if it fails."""
    r = subprocess.run(["ninja", "-C", build, *targets], stdout=subprocess.PIPE, check=False)
    if r.returncode:
        sys.stdout.buffer.write(r.stdout)
        sys.exit(f"test/run: the build in {build} failed")


def setup_fuzz():
    build = os.path.join(ROOT, "build-fuzz")
    if not os.path.exists(os.path.join(build, "build.ninja")):
        subprocess.check_call(
            ["meson", "setup", build, ROOT, "-Dfuzz=true", "-Db_lundef=false",
             "-Db_sanitize=address,undefined"],
            env=dict(os.environ, CC="clang", CXX="clang++"),
            stdout=subprocess.DEVNULL,
        )
    ninja(build, "fuzz-targets")


def processes():
    """pid -> (parent, command name), of every process that can be read."""
    out = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                with open(f"/proc/{d}/stat", encoding="latin-1") as f:
                    stat = f.read()
            except OSError:
                continue
            comm = stat[stat.index("(") + 1 : stat.rindex(")")]
            out[int(d)] = (int(stat.rpartition(")")[2].split()[1]), comm)
    return out


def descendants():
    """Processes below this one. As a subreaper we inherit every orphan of every test."""
    procs = processes()
    mine, grew = {os.getpid()}, True
    while grew:
        more = {p for p, (parent, _) in procs.items() if parent in mine} - mine
        mine |= more
        grew = bool(more)
    mine.discard(os.getpid())
    return {p: procs[p][1] for p in mine}


def stray_files():
    """Files of ours that outlive a test: nothing may stay in /tmp or /dev/shm."""
    return {f for d in ("/tmp", "/dev/shm", "/run/netns")
            for f in glob.glob(d + "/junction*") + glob.glob(f"{d}/jt-{os.getpid()}-*")}


def check_leftovers(before):
    """One more test at the end: no process and no file was left behind."""
    for pid in list(descendants()):  # reap the zombies that only wait for us
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
    procs = descendants()
    files = stray_files() - before
    if procs or files:
        raise Failure(f"processes left: {procs or 'none'}; files left: {sorted(files) or 'none'}")
    return 1


class Progress:
    """Counts, and prints a line per case."""

    def __init__(self, total):
        self.lock = threading.Lock()
        self.done, self.total, self.passed, self.failed = 0, total, 0, 0
        self.failures = []

    def report(self, name, seconds, passed, failed, text):
        with self.lock:
            self.done += 1
            self.passed += passed
            self.failed += failed
            word = "FAIL" if failed else "ok"
            print(f"[{self.done}/{self.total}] {word:4} {name} ({seconds:.1f} s)", flush=True)
            if failed:
                self.failures.append(name)
                print("    " + text.strip().replace("\n", "\n    "), flush=True)


def run_case(case, build, scratch, progress):
    ctx = Context(build, os.path.join(scratch, re.sub(r"[^A-Za-z0-9._-]", "_", case.name)))
    start = time.monotonic()
    passed, failed, text = 0, 0, ""
    try:
        n = case.func(ctx)
        passed = n if isinstance(n, int) and not isinstance(n, bool) else 1
    except Failure as e:
        text = str(e.args[0])
        passed, failed = (e.args[1], e.args[2]) if len(e.args) == 3 else (0, 1)
    except Exception:  # a bug of the test is a failure too
        failed, text = 1, traceback.format_exc()
    ctx.cleanup()
    progress.report(case.name, time.monotonic() - start, passed, failed, text)


def main(args):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    start = time.monotonic()
    files_before = stray_files()
    build = setup_build(args)
    cases = meson_unit_cases(build) + system_cases(build, args.sanitize)
    if not args.sanitize:
        cases += fuzz_cases(args.fuzz_seconds)
    if args.filter:
        cases = [c for c in cases if any(f in c.name for f in args.filter)]
    if args.list:
        print("\n".join(c.name for c in cases))
        return 0
    if any(c.name.startswith("fuzz/") for c in cases):
        setup_fuzz()

    scratch = os.path.join(build, "test-scratch")
    os.makedirs(scratch, exist_ok=True)
    os.environ["JUNCTION_STORE"] = os.path.join(build, "test-store")
    progress = Progress(len(cases) + 1)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for f in [pool.submit(run_case, c, build, scratch, progress) for c in cases if not c.serial]:
            f.result()
    for c in cases:
        if c.serial:
            run_case(c, build, scratch, progress)
    leftovers = Case("leftovers", lambda ctx: check_leftovers(files_before))
    run_case(leftovers, build, scratch, progress)
    if progress.failures:
        print("failed: " + " ".join(progress.failures))
    print(f"seconds: {time.monotonic() - start:.0f}")
    print(f"{progress.passed} passed, {progress.failed} failed", flush=True)
    return 1 if progress.failed else 0
