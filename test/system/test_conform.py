"""The conformance programs (test/programs): each must print the same inside an instance as on Linux."""
import os

from harness import images
from harness.case import ROOT, Case

# A cores count for each run; the second catches what only shows on several kthreads.
CORES = (1, 2)


def programs(build):
    """Built conformance programs, in the order of test/programs/meson.build."""
    inside = False
    names = []
    with open(os.path.join(ROOT, "test", "programs", "meson.build"), encoding="utf-8") as f:
        for line in f:
            if line.startswith("conform_programs"):
                inside = True
            elif line.startswith("}"):
                inside = False
            elif inside:
                name, _, variants = line.strip().rstrip(",").partition(":")
                for v in variants.strip(" []").split(","):
                    names.append(name.strip("' ") + "-" + v.strip("' "))
    return names


def cases(build):
    out = []
    for name in programs(build):
        for cores in CORES:

            def func(ctx, name=name, cores=cores):
                program = ctx.program(name)
                img = images.image(ctx, "program-" + name, program)
                native = images.run_native(ctx, [program], env={"T_DIR": images.WORK})
                inside = images.run_inside(
                    ctx, img, [], env={"T_DIR": "/tmp"}, options=["--cores", str(cores)], workdir=None
                )
                images.compare(native, inside)

            out.append(Case(f"conform/{name}/{cores}-core", func))
    return out
