"""Park words against a scheduler that grants and takes cores at random (test/loader/granter.c): no hang, no wrong sum."""
import os
import subprocess
import tempfile

from harness import images
from harness.case import Case, Failure

RUNS = 3


def once(ctx, img, cores, mode, seed):
    # On one kthread the thread that only computes costs the others a time slice at each turn.
    rounds = 100 if cores == 1 else 8000
    want = f"{2 * rounds} {2 * rounds} {4 * rounds} {2 * rounds // 10}\n".encode()
    with tempfile.TemporaryDirectory(prefix=f"jt-{os.getpid()}-") as folder:
        sock = os.path.join(folder, "sock")
        granter = os.path.join(ctx.build, "test/loader/granter")
        with subprocess.Popen([granter, sock, mode, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as g:
            try:
                if g.stdout.readline() != b"ready\n":
                    raise Failure("the granter did not begin")
                r = images.run_inside(
                    ctx, img, [str(rounds)], workdir=None, timeout=100,
                    options=["--cores", str(cores), "--net", "--scheduler", sock],
                )
                if r.timed_out or r.code != 0 or r.out != want:
                    raise Failure(f"seed {seed}: {r.describe()}")
                out, _ = g.communicate(timeout=10)
                if g.returncode:
                    raise Failure(f"seed {seed}: granter: {out.decode()}")
            finally:
                g.kill()


def cases(build):
    out = []
    for mode in ("managed", "flipping", "unmanaged"):
        for cores in (1, 2, 4):

            def func(ctx, mode=mode, cores=cores):
                img = images.image(ctx, "program-parks-musl", ctx.program("parks-musl"))
                for seed in range(1, RUNS + 1):
                    once(ctx, img, cores, mode, seed)

            out.append(Case(f"stress/park-{mode}/{cores}-core", func))
    return out
