"""The rules of the house that a program can check: arrows between folders, file sizes, READMEs, linked libraries."""
import os
import re
import subprocess

from harness.case import ROOT, Case, Failure

MAX_LINES = 800
README_EVERYWHERE = ("libos", "loader", "builder", "images", "test")


def sources():
    files = subprocess.check_output(["git", "-C", ROOT, "ls-files", "*.c", "*.h", "*.S"], text=True).split()
    for f in files:
        with open(os.path.join(ROOT, f), encoding="utf-8") as fd:
            yield f, fd.read()


def arrows(ctx):
    """Only libos/abi is included from outside libos; libos/abi includes nothing of ours but itself."""
    bad = []
    for path, text in sources():
        for inc in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
            inside = path.startswith("libos/")
            if path.startswith("libos/abi/") and not inc.startswith("libos/abi/"):
                bad.append(f"{path} includes {inc}")
            elif inside and inc.startswith(("builder/", "loader/", "junctiond/", "test/")):
                bad.append(f"{path} includes {inc}")
            elif not inside and not path.startswith("test/") and inc.startswith("libos/") and not inc.startswith("libos/abi/"):
                bad.append(f"{path} includes {inc}")
    if bad:
        raise Failure("\n".join(bad))


def freestanding(ctx):
    """libos includes no header of the host's C library."""
    allowed = re.compile(r"(std(int|bool|def|arg|align|atomic|noreturn)\.h|limits\.h|linux/|asm/|asm-generic/|immintrin)")
    hosted = re.compile(r"^#ifdef LIBOS_HOSTED$.*?^#(?:else|endif)", re.M | re.S)  # for the unit tests
    bad = [f"{path} includes <{inc}>" for path, text in sources() if path.startswith("libos/")
           for inc in re.findall(r"^\s*#\s*include\s+<([^>]+)>", hosted.sub("", text), re.M)
           if not allowed.match(inc)]
    if bad:
        raise Failure("\n".join(bad))


def sizes(ctx):
    long = [f"{p}: {t.count(chr(10))} lines" for p, t in sources() if t.count("\n") > MAX_LINES]
    if long:
        raise Failure("a file is one idea; longer than 800 lines:\n" + "\n".join(long))


def openings(ctx):
    """Each file says what it is for on its first lines."""
    bad = []
    for path, text in sources():
        name = os.path.basename(path)
        if not re.match(r"(?:/\*\s*(?:\n \* )?|/\* )(?:[\w/]+/)?" + re.escape(name) + " - ", text):
            bad.append(path)
    if bad:
        raise Failure("no opening line `name - what it is for`: " + " ".join(bad))


def readmes(ctx):
    folders = {os.path.dirname(p) for p, _ in sources()}
    top = {f.split("/")[0] for f in folders} & set(README_EVERYWHERE)
    missing = [f for f in sorted(top | {f for f in folders if f.startswith("libos/")})
               if f != "libos/entry/vdso" and not os.path.exists(os.path.join(ROOT, f, "README.md"))]
    if missing:
        raise Failure("no README.md in: " + " ".join(missing))


def links(ctx):
    """The junction binary needs libc and nothing else at start: its start-up time counts."""
    out = ctx.must(["readelf", "-d", ctx.junction]).out.decode()
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", out)
    if any(not n.startswith(("libc.so", "libm.so", "ld-linux")) for n in needed):
        raise Failure(f"needs {needed}")


def cases(build):
    return [Case("house/" + f.__name__, f) for f in (arrows, freestanding, sizes, openings, readmes, links)]
