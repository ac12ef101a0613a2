"""`junction run --net`: private schedulers and published ports, shared ones, many instances, and what ends with what."""
import contextlib
import glob
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import time

from harness import images
from harness.case import Case, Failure
from harness.network import GATEWAY, NATIVE, Instance, Network, Server, need, record

HELLO = Server("hello", 8080, program=lambda ctx: os.path.join(ctx.build, "test", "net", "hello-musl"))
TRANSFER = Server("transfer", 7000, program=lambda ctx: os.path.join(ctx.build, "test", "net", "transfer-musl"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(addr, port, timeout=30):
    """One request of a connection of its own."""
    c = http.client.HTTPConnection(addr, port, timeout=timeout)
    c.request("GET", "/")
    data = c.getresponse().read()
    c.close()
    need(f"answer {data!r}", data == b"hello\n")


def below(pid):
    """All processes below one, with their names."""
    found, todo = {}, [pid]
    while todo:
        p = todo.pop()
        for path in glob.glob(f"/proc/{p}/task/*/children"):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as f:
                for c in map(int, f.read().split()):
                    with open(f"/proc/{c}/comm", encoding="ascii") as name:
                        found[c] = name.read().strip()
                    todo.append(c)
    return found


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def all_gone(pids, timeout=10):
    end = time.monotonic() + timeout
    while left := {p: n for p, n in pids.items() if not gone(p)}:
        need(f"left running: {left}", time.monotonic() < end)
        time.sleep(0.02)


class Run(Instance):
    """`junction run` alone in its session, on the host's own network."""

    def __init__(self, ctx, argv, name="hello"):
        self.ctx = ctx
        super().__init__(self, name, argv, "127.0.0.1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def connect(self, addr, port, timeout=30):
        return socket.create_connection((addr, port), timeout=timeout)


def private(ctx, *options, server=HELLO, args=None, prefix=()):
    # No scheduler of this machine may answer, so the usual place is looked for elsewhere.
    argv = [*prefix, ctx.junction, "run", server.image(ctx), "--net", *options]
    return Run(ctx, argv + (["--", *args] if args else []), server.name)


def publish(ctx):
    """Two instances, each with a private scheduler; an answer to the first connection, however early it comes."""
    a, b, c = free_port(), free_port(), free_port()
    with private(ctx, "--publish", f"127.0.0.1:{a}:8080", "--publish", f"{c}:8080") as one, \
            private(ctx, f"--publish=127.0.0.1:{b}:8080") as two:
        for i, port in ((one, a), (one, c), (two, b)):
            end = time.monotonic() + 30
            while True: # until the socket is open, which is before anything else
                with contextlib.suppress(ConnectionRefusedError):
                    ask("127.0.0.1", port)
                    break
                need(f"refused; {i.describe()}", time.monotonic() < end and i.p.poll() is None)
        for _ in range(100):
            ask("127.0.0.1", random.choice((a, b, c)))
        mine = {**below(one.p.pid), **below(two.p.pid)}
        need(f"processes {mine}", sorted(mine.values()).count("junction-net") == 2)
    all_gone(mine)


def publish_transfer(ctx):
    """200 MB each way at once through a published port."""
    port = free_port()
    tool = TRANSFER.program(ctx)
    with private(ctx, "--publish", f"{port}:7000", server=TRANSFER,
                 args=["listen", "7000", "both", "200000000", "99"]) as i:
        i.wait_output(b"ready")
        out = ctx.must([tool, "connect", "127.0.0.1", str(port), "both", "200000000", "99"], timeout=120).out
        need(f"{i.wait()}; {i.describe()}", i.wait() == 0)
        need(f"{out} {i.output()}", sorted(out.replace(b"sent", b"received").splitlines()[:2]) == sorted(
            line for line in i.output().replace(b"sent", b"received").splitlines() if b"received" in line))


def ends(ctx):
    """Ctrl-C, SIGTERM, kill -9 of the runner, death of the helper or of the scheduler: nothing is left."""
    for what in ("ctrl-c", "term", "kill", "helper", "scheduler", "instance"):
        port = free_port()
        with private(ctx, "--publish", f"{port}:8080") as i:
            i.wait_port(port)
            ask("127.0.0.1", port)
            mine = below(i.p.pid)
            names = {n: p for p, n in mine.items()}
            need(f"{mine}", "junction-net" in names and any(n.startswith("junction-sched") for n in names))
            if what == "ctrl-c":
                os.killpg(i.p.pid, signal.SIGINT)
            elif what in ("term", "kill"):
                i.p.send_signal(signal.SIGTERM if what == "term" else signal.SIGKILL)
            elif what == "instance":
                os.kill(i.instance_pid(), signal.SIGKILL)
            else:
                os.kill(names["junction-net"] if what == "helper" else
                        next(p for n, p in names.items() if n.startswith("junction-sched")), signal.SIGKILL)
            code = i.wait(20)
            all_gone(mine)
            expected = {"ctrl-c": -signal.SIGINT, "term": -signal.SIGTERM, "kill": -signal.SIGKILL, "helper": 125,
                        "scheduler": 125, "instance": 128 + signal.SIGKILL}[what]
            need(f"{what}: {code}; {i.describe()}", code == expected)
            lines = i.output().count(b"\n")
            need(f"{what}: {i.describe()}", lines == (what in ("helper", "scheduler", "instance")))
            with socket.socket() as s: # the port is free again
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))


def killed_while_starting(ctx):
    """kill -9 of the runner at any moment of its start."""
    for delay in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4):
        port = free_port()
        with private(ctx, "--publish", f"{port}:8080") as i:
            time.sleep(delay)
            mine = below(i.p.pid)
            i.p.kill()
            i.p.wait()
            all_gone(mine)


def ordinary_user(ctx):
    """All of it without root."""
    folder = ctx.path("bin")
    os.makedirs(folder)
    for name in ("junction", "junction-scheduler"):
        shutil.copy(os.path.realpath(os.path.join(ctx.build, "bin", name)), os.path.join(folder, name))
    shutil.copy(HELLO.image(ctx), folder)
    store = ctx.path("store")
    os.makedirs(store)
    os.chmod(store, 0o700)
    if os.getuid() == 0:
        os.chown(store, 12345, 12345)
    d = folder
    while d not in ("/", "/tmp"):
        if os.stat(d).st_uid == os.getuid():
            os.chmod(d, os.stat(d).st_mode | 0o055)
        d = os.path.dirname(d)
    drop = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"] if os.getuid() == 0 else []
    port = free_port()
    argv = ["env", "-u", "TMPDIR", f"JUNCTION_STORE={store}", *drop, os.path.join(folder, "junction"), "run",
            os.path.join(folder, os.path.basename(HELLO.image(ctx))), "--net", "--publish", f"{port}:8080"]
    with Run(ctx, argv) as i:
        i.wait_port(port)
        for _ in range(10):
            ask("127.0.0.1", port)
        mine = below(i.p.pid)
        i.p.send_signal(signal.SIGTERM)
        need(f"{i.wait()}; {i.describe()}", i.wait() == -signal.SIGTERM)
        all_gone(mine)
    with Run(ctx, [*argv[:-1], "80:8080"]) as i:
        need(f"{i.wait()}; {i.describe()}", i.wait() == 126 and b"need root" in i.output())


def no_scheduler_program(ctx):
    """Without the program beside it, one line says so."""
    alone = ctx.path("junction")
    shutil.copy(os.path.realpath(ctx.junction), alone)
    r = ctx.run([alone, "run", HELLO.image(ctx), "--net"])
    need(r.describe(), r.code == 126 and b"no junction-scheduler beside" in r.err and r.err.count(b"\n") == 1)


def no_network(ctx):
    """Without --net: loopback inside, no descriptor, no helper, nothing to reach."""
    with Run(ctx, [ctx.junction, "run", HELLO.image(ctx)]) as i:
        time.sleep(0.5)
        need(f"{i.describe()}", i.p.poll() is None)
        pid = i.instance_pid()
        need("descriptors", sorted(os.listdir(f"/proc/{pid}/fd")) == ["3", "4", "5"])
        need(f"processes {below(i.p.pid)}", list(below(i.p.pid)) == [pid])


def shared(ctx):
    """A scheduler that runs: wishes, refusals, published ports where they can be reached, and its end."""
    with Network(ctx) as net:
        first = net.start(HELLO, addr="10.77.5.5").wait_port(8080)
        with net.inside():
            ask("10.77.5.5", 8080)
        for addr, word in (("10.77.5.5", b"10.77.5.5"), ("192.0.2.1", b"192.0.2.1"), (GATEWAY, GATEWAY.encode())):
            r = ctx.run(net.run_argv(HELLO.image(ctx), addr))
            need(f"--ip {addr}: {r.describe()}",
                 r.code == 126 and word in r.err and b"refuses" in r.err and r.err.count(b"\n") == 1)
        port = free_port()
        r = ctx.run(net.run_argv(HELLO.image(ctx), "10.77.5.6", options=["--publish", f"{port}:8080"]))
        need(r.describe(), r.code == 126 and b"cannot be reached from here" in r.err and r.err.count(b"\n") == 1)
        with net.inside():
            second = net.start(HELLO, addr="10.77.5.6", options=["--publish", f"{port}:8080"]).wait_port(8080)
            ask("127.0.0.1", port)
        second.p.send_signal(signal.SIGTERM)
        need(second.describe(), second.wait() == -signal.SIGTERM)
        # Its address is free again.
        net.start(HELLO, addr="10.77.5.6").wait_port(8080)
        # The variable names a scheduler as the option does.
        env = dict(os.environ, JUNCTION_SCHEDULER=ctx.path("none.sock"))
        r = ctx.run([ctx.junction, "run", HELLO.image(ctx), "--net"], env=env)
        need(r.describe(), r.code == 126 and b"no scheduler listens" in r.err)
        net.scheduler.terminate()
        net.scheduler.wait(10)
        need(first.describe(), first.wait(10) == 125 and b"the scheduler that it had its network from has gone"
             in first.output())
        net.scheduler = None


def pss_beyond_image(pid):
    """Bytes that the process adds to the host's memory: PSS, without the pages of the image."""
    total, counts = 0, True
    image = os.readlink(f"/proc/{pid}/fd/3")
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
        for line in f:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                counts = len(words) < 6 or words[5] != image
            elif words[0] == "Pss:" and counts:
                total += int(words[1]) * 1024
    return total


def many(ctx, count=200):
    """Many instances: each answers, goes idle, and answers again in random order; what an idle one holds."""
    order = random.Random(2)
    with Network(ctx) as net:
        start = time.monotonic()
        running = [net.start(HELLO, options=["--cores", "1"]) for _ in range(count)]
        for i in running:
            i.wait_port(8080, timeout=120)
        started = time.monotonic() - start
        with net.inside():
            for i in running:
                ask(i.addr, 8080)
            time.sleep(2)
            memory = [pss_beyond_image(i.instance_pid()) for i in running]
            times = []
            for i in order.sample(running, count) + order.sample(running, count):
                before = time.monotonic()
                ask(i.addr, 8080)
                times.append(time.monotonic() - before)
        for i in running:
            i.alive()
        times.sort()
        record(ctx, f"{count} instances", start_seconds=round(started, 2), pss_mean=sum(memory) // count,
               pss_max=max(memory), answer_ms_p50=round(times[count] * 1e3, 3), answer_ms_max=round(times[-1] * 1e3, 3))
        need(f"an idle instance holds {max(memory) / 2**20:.1f} MiB", max(memory) <= 4 << 20)


def cases(build):
    if NATIVE:
        return []
    return [Case("net/run-" + f.__name__.replace("_", "-"), f, serial=True)
            for f in (publish, publish_transfer, ends, killed_while_starting, ordinary_user, no_scheduler_program,
                      no_network, shared, many)]
