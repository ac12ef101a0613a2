#!/usr/bin/python3
"""bench.py - figures against native Linux, in one run on one machine: a table, and JSON in results/.

    test/bench/bench.py [--rounds N] [--save NAME] [calls|start|build|net ...]
"""
import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import netbench

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.path.join(ROOT, "build")
JUNCTION = os.path.join(BUILD, "bin", "junction")
BENCH = os.path.join(BUILD, "test", "bench")
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"}

# Upper bounds that we set ourselves, in the unit of the table.
LIMITS = {"getppid": 40, "pipe ping-pong, a hop": 400}


def say(text):
    print(text, flush=True)


def run(argv, **kw):
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kw)
    if r.returncode:
        sys.exit(f"bench: {' '.join(argv)}: exit status {r.returncode}: {r.stderr.decode()[-500:]}")
    return r.stdout.decode()


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def read_calls(text):
    out = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        out[name] = float(value)
    return out


def calls(work, rounds):
    """System-call costs in ns. Native also pinned to one core, which suits its ping-pongs best."""
    data = os.path.join(work, "data")
    with open(data, "wb") as f:
        f.write(os.urandom(65536))
    tree = os.path.join(work, "tree")
    os.makedirs(tree)
    shutil.copy(data, tree)
    columns = {}
    img = os.path.join(work, "calls.jimg")
    program = os.path.join(BENCH, "calls-musl")
    run([JUNCTION, "build", program, "-o", img, "--rootfs", tree])
    bind = 'd=$1; shift; mkdir -p "$d"; mount -t tmpfs tmpfs "$d" && mkdir "$d/tmp" && cp "$1" "$d/data" && '
    bind += 'cp "$2" "$d/calls" && shift 2 && exec "$@" chroot "$d" /calls'
    root = os.path.join(work, "root")
    native = ["unshare", "-m", "--propagation", "private", "sh", "-c", bind, "sh", root, data, program]
    plans = {
        "native": native,
        "native, one core": native + ["taskset", "-c", "1"],
        "1 kthread": [JUNCTION, "run", img, "--cores", "1"],
        "2 kthreads": [JUNCTION, "run", img, "--cores", "2"],
    }
    for r in range(rounds):
        for column, argv in plans.items():
            progress(f"calls, round {r + 1} of {rounds}, {column}")
            for name, ns in read_calls(run(argv)).items():
                columns.setdefault(column, {}).setdefault(name, []).append(ns)
    progress("")
    return {c: {n: {"best": min(v), "median": statistics.median(v)} for n, v in names.items()}
            for c, names in columns.items()}


def spawn(n, argv):
    return json.loads(run([os.path.join(BENCH, "spawn"), str(n), *argv], env=dict(os.environ, **ENV)))


def start(work, rounds):
    """Wall time of whole commands in ms: hello in C and print("hi") in Python."""
    out = {}
    hello_c = os.path.join(work, "hello.c")
    with open(hello_c, "w", encoding="utf-8") as f:
        f.write('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
    for name, cc in (("hello, static musl", ["musl-gcc", "-static"]), ("hello, dynamic glibc", ["gcc"])):
        exe = os.path.join(work, name.split()[-1])
        img = exe + ".jimg"
        run(cc + ["-O2", hello_c, "-o", exe])
        run([JUNCTION, "build", exe, "-o", img])
        progress(name)
        out[name] = {"native": spawn(40 * rounds, [exe]), "inside": spawn(40 * rounds, [JUNCTION, "run", img])}
    recipe = os.path.join(ROOT, "images", "python", "recipe.yaml")
    if os.path.exists(recipe):
        img = os.path.join(work, "python.jimg")
        run([JUNCTION, "build", "-f", recipe, "-o", img])
        progress("python")
        out['python3 -c print("hi")'] = {
            "native": spawn(4 * rounds, ["/usr/bin/python3.11", "-c", 'print("hi")']),
            "inside": spawn(4 * rounds, [JUNCTION, "run", img, "--", "-c", 'print("hi")']),
        }
    progress("")
    return out


def build(work, rounds):
    """Seconds to build images, bytes of the result."""
    out = {}
    for name in ("hello", "python"):
        recipe = os.path.join(ROOT, "images", name, "recipe.yaml")
        if not os.path.exists(recipe):
            continue
        img = os.path.join(work, name + ".jimg")
        times = []
        for _ in range(3):
            t0 = time.monotonic()
            run([JUNCTION, "build", "-f", recipe, "-o", img])
            times.append(time.monotonic() - t0)
        out[name] = {"seconds": round(statistics.median(times), 3), "bytes": os.path.getsize(img)}
    return out


def table(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        say("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))))


def show(result):
    if "calls" in result:
        c = {col: {n: v["best"] for n, v in names.items()} for col, names in result["calls"].items()}
        names = list(c)
        say("\nsystem calls, ns (best of all runs; the JSON has the medians too)")
        rows = [["", *names, "native / inside"]]
        for n in c["native"]:
            best = min(c["native"][n], c["native, one core"][n])
            inside = min(c["1 kthread"][n], c["2 kthreads"][n])
            note = f"{best / inside:.2f}" if inside else "-"
            if n in LIMITS:
                note += f" (limit {LIMITS[n]}: {'met' if inside <= LIMITS[n] else 'NOT MET'})"
            rows.append([n, *(f"{c[k][n]:.0f}" for k in names), note])
        table(rows)
    if "start" in result:
        say("\nwhole command, ms")
        rows = [["", "native p50", "inside p50", "inside min", "inside p99", "inside / native"]]
        for n, v in result["start"].items():
            a, b = v["native"], v["inside"]
            rows.append([n, f"{a['p50']:.2f}", f"{b['p50']:.2f}", f"{b['min']:.2f}", f"{b['p99']:.2f}",
                         f"{b['p50'] / a['p50']:.2f}"])
        table(rows)
    if "net" in result:
        show_net(result["net"])
    if "build" in result:
        say("\nimage builds")
        table([["", "seconds", "bytes"]] + [[n, str(v["seconds"]), str(v["bytes"])] for n, v in result["build"].items()])


def net(work, rounds):
    return netbench.net(work, rounds, JUNCTION, os.path.join(BUILD, "bin", "junction-scheduler"), BENCH)


def show_net(parts):
    for part, sides in parts.items():
        say(f"\n{part}: medians; containers joined by a bridge, and instances")
        flat = {side: dict(flatten(v)) for side, v in sides.items()}
        keys = list(next(iter(flat.values())))
        rows = [["", *flat, "instances / containers"]]
        for k in keys:
            values = [flat[s][k] for s in flat]
            best = min(values[1:], key=lambda v: v if "_ns" in k or "_ms" in k or "_us" in k else -v)
            rows.append([k, *(f"{v:.6g}" for v in values), f"{best / values[0]:.3f}" if values[0] else "-"])
        table(rows)


def flatten(tree, prefix=""):
    for k, v in tree.items():
        if isinstance(v, dict):
            yield from flatten(v, prefix + k + " ")
        else:
            yield prefix + k, v


def main():
    p = argparse.ArgumentParser(prog="build.sh bench")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--save", metavar="NAME", help="write results/NAME.json (default: latest)", default="latest")
    p.add_argument("what", nargs="*", default=["calls", "start", "build", "net"])
    args = p.parse_args()
    subprocess.run(["ninja", "-C", BUILD, "bench-programs"], stdout=subprocess.DEVNULL, check=True)
    result = {"machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "cpu": cpu_name()}}
    work = tempfile.mkdtemp(prefix="junction-bench-")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    os.environ["JUNCTION_STORE"] = os.path.join(work, "store")
    try:
        for what, fn in (("calls", calls), ("start", start), ("build", build), ("net", net)):
            if what in args.what:
                result[what] = fn(os.path.join(work), args.rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    show(result)
    path = os.path.join(ROOT, "test", "bench", "results", args.save + ".json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):  # what was not measured this time stays
        with open(path, encoding="utf-8") as f:
            result = {**json.load(f), **result}
    with open(path, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1, sort_keys=True)
        f.write("\n")
    say(f"\nwritten: {os.path.relpath(path, ROOT)}")


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown"


if __name__ == "__main__":
    main()
