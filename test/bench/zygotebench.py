#!/usr/bin/python3
"""zygotebench.py - what a start by the zygote takes, step by step, as JSON.

    test/bench/zygotebench.py [--starts N] [--image FILE] [--others N] [BUILD]

Starts one instance after the other (aes-c), waits until its port accepts, and stops it. Times are those that the zygote
reports, in microseconds from the moment it received START: NIC attached, process cloned and told to go on, first
instruction of the program, port accepts (as the zygote saw it). `others` more instances idle meanwhile.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
sys.path.insert(0, os.path.join(ROOT, "test", "system"))

from harness.case import Context  # noqa: E402
from harness.images import image  # noqa: E402
from harness.zygote import EXITED, LISTENING, Client, Zygote, image_memfd  # noqa: E402


def spread(values):
    v = sorted(values)
    return {name: round(v[min(len(v) - 1, int(len(v) * q))], 1)
            for name, q in (("min", 0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))}


def measure(ctx, args):
    jimg = args.image or image(ctx, "aes-c", None, recipe=os.path.join(ROOT, "images/aes-c/recipe.yaml"))
    memfd = image_memfd(ctx, jimg)
    steps = {"attached": [], "cloned": [], "first_instruction": [], "listening": []}
    scheduler = subprocess.Popen([os.path.join(ctx.build, "bin", "junction-scheduler"), "--socket", ctx.path("s.sock"),
                                  "--log-level", "error"], stdin=subprocess.DEVNULL)
    while not os.path.exists(ctx.path("s.sock")):
        time.sleep(0.01)
    z = Zygote(ctx, ctx.path("s.sock"), "--log-level", "info")
    c = Client(z.socket)
    try:
        for n in range(args.others):
            c.started(100000 + n, memfd).close()
            c.wait(LISTENING)
        for n in range(1, args.starts + 1):
            c.started(n, memfd).close()
            m = c.wait(LISTENING, instance=n)
            for step, ns in (("attached", m.attached_ns), ("cloned", m.cloned_ns), ("first_instruction", m.first_ns),
                             ("listening", m.listening_ns)):
                steps[step].append((ns - m.asked_ns) / 1000)
            c.stop(n)
            c.wait(EXITED, instance=n)
            time.sleep(args.pause / 1000)
        with open(f"/proc/{z.p.pid}/maps", encoding="ascii") as f:
            mappings = len(f.readlines())
        with open(f"/proc/{z.p.pid}/statm", encoding="ascii") as f:
            resident = int(f.read().split()[1]) * 4
    finally:
        z.stop()
        scheduler.terminate()
        scheduler.wait()
        os.close(memfd)
    return {"starts": args.starts, "others": args.others, "load": os.getloadavg()[0], "zygote_mappings": mappings,
            "zygote_resident_kib": resident, "us": {k: spread(v) for k, v in steps.items()}}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--starts", type=int, default=200)
    p.add_argument("--others", type=int, default=0)
    p.add_argument("--pause", type=float, default=2, help="ms between two starts")
    p.add_argument("--image")
    p.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="junction-zygotebench-") as scratch:
        print(json.dumps(measure(Context(args.build, scratch), args), indent=1))


if __name__ == "__main__":
    main()
