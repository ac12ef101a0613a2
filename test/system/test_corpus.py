"""The corpus: unmodified Debian programs, each command line run on Linux and inside, compared byte for byte."""
import glob
import os
import shlex
import shutil

from harness import images
from harness.case import ROOT, Case

CORPUS = os.path.join(ROOT, "test", "system", "corpus")
TREE = os.path.join(CORPUS, "tree")
TIMEOUT = 60

# What programs open at run time without naming it in their ELF file: path -> files.
NEEDS = {
    "/usr/bin/perl": ["/usr/lib/x86_64-linux-gnu/perl-base"],
    "/usr/bin/openssl": ["/usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf"],
    "/usr/bin/python3.11": ["/usr/lib/python3.11"],
}
DROP = ("__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3", "config-3.11-*")


def lines():
    """(name, stdin path or None, argv) of each command line."""
    with open(os.path.join(CORPUS, "corpus.txt"), encoding="utf-8") as f:
        for line in f:
            line = line.rstrip("\n")
            if line and not line.startswith("#"):
                name, stdin, command = (x.strip() for x in line.split("|", 2))
                yield name, None if stdin == "-" else os.path.join(TREE, stdin), shlex.split(command)


def rootfs(build, program):
    """The tree that goes into a program's image: the corpus files at WORK, and what it needs."""
    out = os.path.join(build, "test-rootfs", program.strip("/@").replace("/", "-"))
    stamp = out + ".done"
    with images.lock_of(out):
        inputs = [os.path.join(d, f) for d, _, fs in os.walk(TREE) for f in fs] + [__file__]
        if os.path.exists(stamp) and os.path.getmtime(stamp) > images.newest(inputs):
            return out
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(TREE, out + images.WORK, symlinks=True)
        os.makedirs(out + "/tmp", exist_ok=True)
        for need in NEEDS.get(program, []):
            for path in glob.glob(need):
                os.makedirs(os.path.dirname(out + path), exist_ok=True)
                if os.path.isdir(path):
                    shutil.copytree(path, out + path, symlinks=True, ignore=shutil.ignore_patterns(*DROP))
                else:
                    shutil.copy2(path, out + path, follow_symlinks=True)
        open(stamp, "w", encoding="utf-8").close()
    return out


def cases(build):
    out = []
    for name, stdin, argv in lines():

        def func(ctx, stdin=stdin, argv=argv):
            program = argv[0]
            path = os.path.join(ctx.build, "test/programs/lang", program[1:]) if program[0] == "@" else program
            image_name = "corpus-" + os.path.basename(path)
            img = images.image(ctx, image_name, path, rootfs=rootfs(ctx.build, program))
            data = b""
            if stdin:
                with open(stdin, "rb") as f:
                    data = f.read()
            native = images.run_native(ctx, [path, *argv[1:]], tree=TREE, stdin=data, timeout=TIMEOUT)
            inside = images.run_inside(ctx, img, argv[1:], stdin=data, timeout=TIMEOUT)
            images.compare(native, inside)

        out.append(Case("corpus/" + name, func))
    return out
