"""Every pointer argument of every call in the table, bad in every way: EFAULT as on Linux, and alive at the end."""
import re

from harness import images
from harness.case import Case, Failure

# Calls that the file systems and sockets inside refuse before they look at anything.
REFUSED = {b"EOPNOTSUPP": ("xattr", "recvmmsg")}


def agrees(call, want, got):
    """Whether an answer inside is right, given this host's: equal, or wrong only about what comes first."""
    if got == want or got == b"EPERM":  # EPERM: needs a privilege which nothing inside has
        return True
    if got == b"EFAULT":  # the host found another error before it looked at the pointer, or moved a byte
        return not want.startswith(b"ok") or call == "vmsplice"
    return any(call.endswith(c) for c in REFUSED.get(got, ()))


def compare(ctx):
    program = ctx.program("efault-musl")
    img = images.image(ctx, "program-efault-musl", program)
    native = images.run_native(ctx, [program], env={"T_DIR": images.WORK})
    inside = images.run_inside(ctx, img, [], env={"T_DIR": "/tmp"}, workdir=None)
    if native.code != 0 or inside.code != 0 or inside.timed_out:
        raise Failure(f"native {native.code}; inside {inside.describe()}")
    passed, wrong = 0, {}
    answers = dict(line.rsplit(b": ", 1) for line in inside.out.splitlines())
    for line in native.out.splitlines():
        what, want = line.rsplit(b": ", 1)
        got = answers.get(what, b"no answer")
        if got == b"ENOSYS":
            continue  # not implemented, whatever its arguments
        if agrees(what.split()[0].decode(), want, got):
            passed += 1
        else:
            argument, kind = re.match(rb"(.* -?\d+) (.*)", what).groups()
            key = f"{argument.decode()}: {want.decode()} on Linux, {got.decode()} inside"
            wrong.setdefault(key, []).append(kind.decode())
    if wrong:
        text = "\n".join(f"{k} ({', '.join(v)})" for k, v in wrong.items())
        raise Failure(f"{sum(map(len, wrong.values()))} answers differ:\n{text}", passed, 1)
    return passed


def cases(build):
    return [Case("efault/table", compare)]
