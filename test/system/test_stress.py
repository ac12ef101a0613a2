"""Threads, signals and timers at once, 1000 seeded runs on one and on two kthreads: no hang, no wrong sum."""
from harness import images
from harness.case import Case, Failure

RUNS = 1000
BATCH = 100
WANT = b"counter 600 handed 0\n"


def cases(build):
    out = []
    for cores in (1, 2):
        for first in range(1, RUNS + 1, BATCH):

            def func(ctx, cores=cores, first=first):
                img = images.image(ctx, "program-stress-musl", ctx.program("stress-musl"))
                for seed in range(first, first + BATCH):
                    r = images.run_inside(
                        ctx, img, [str(seed)], options=["--cores", str(cores)], workdir=None, timeout=20
                    )
                    if r.timed_out or r.code != 0 or r.out != WANT:
                        raise Failure(f"seed {seed}, {seed - first} good runs before: {r.describe()}")

            out.append(Case(f"stress/{cores}-core/seeds-{first}-{first + BATCH - 1}", func))
    return out
