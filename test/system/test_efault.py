"""Every pointer argument of every call in the table, bad in every way: EFAULT as on Linux, and alive at the end."""
from harness import images
from harness.case import Case, Failure

# Where an answer inside may differ from this host's for another reason than the pointer.
ELSEWHERE = (b"EPERM",)  # a call that needs a privilege which nothing inside has


def compare(ctx):
    program = ctx.program("efault-musl")
    img = images.image(ctx, "program-efault-musl", program)
    native = images.run_native(ctx, [program], env={"T_DIR": images.WORK})
    inside = images.run_inside(ctx, img, [], env={"T_DIR": "/tmp"}, workdir=None)
    if native.code != 0 or inside.code != 0 or inside.timed_out:
        raise Failure(f"native {native.code}; inside {inside.describe()}")
    passed, missing, wrong = 0, set(), []
    answers = dict(line.rsplit(b": ", 1) for line in inside.out.splitlines())
    for line in native.out.splitlines():
        what, want = line.rsplit(b": ", 1)
        got = answers.get(what, b"no answer")
        if got == b"ENOSYS":
            missing.add(what.split()[0].decode())
        elif got == want or got in ELSEWHERE:
            passed += 1
        else:
            wrong.append(f"{what.decode()}: {want.decode()} on Linux, {got.decode()} inside")
    if wrong:
        text = "\n".join(wrong[:60]) + ("\n..." if len(wrong) > 60 else "")
        raise Failure(f"{len(wrong)} of {passed + len(wrong)} answers differ:\n{text}", passed, 1)
    return passed


def cases(build):
    return [Case("efault/table", compare)]
