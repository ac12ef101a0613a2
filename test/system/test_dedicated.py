"""Dedicated mode, and packets for programs that compute: cores are taken from who has had his share."""
import contextlib
import json
import os
import re
import socket
import struct
import time

from harness.case import Case, Failure
from harness.network import NATIVE, Network, Server, need, record

SPIN = Server("spin", 0, program=lambda ctx: os.path.join(ctx.build, "test", "net", "spin-musl"))
ECHO = Server("udpecho", 7, program=lambda ctx: os.path.join(ctx.build, "test", "net", "udpecho-musl"))


def dedicated(ctx):
    cpus = sorted(os.sched_getaffinity(0))
    need("needs two CPUs", len(cpus) >= 2)
    return Network(ctx, options=["--poll", "dedicated", "--core", str(cpus[0]), "--cores", str(cpus[1])])


def top(net):
    r = net.ctx.must([net.ctx.junction, "top", "--socket", net.socket, "--once", "--json", "--interval", "0.2"])
    data = json.loads(r.out)
    return data, {i["address"]: i for i in data["instances"]}


@contextlib.contextmanager
def first():
    """This thread goes before all others: with two CPUs, one polled and one computed on, a client else waits for its
    own turn, and measures that."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def echo(net, addr, n, gap, timeout=5):
    """Round trips of n datagrams, one after another, in s; a lost one is sent again at most once."""
    times = []
    with net.inside():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s, first():
        s.settimeout(timeout)
        s.connect((addr, ECHO.port))
        for i in range(n):
            data = b"echo %8d" % i + b"x" * 51
            start = time.perf_counter()
            s.send(data)
            while s.recv(200) != data:
                need("answers are late", time.perf_counter() - start < timeout)
            times.append(time.perf_counter() - start)
            time.sleep(gap)
    return sorted(times)


def wait_echo(net, i):
    end = time.monotonic() + 30
    while True:
        try:
            return echo(net, i.addr, 1, 0, timeout=1)
        except OSError:
            need(f"no answer; {i.describe()}", time.monotonic() < end)
            time.sleep(0.05)


def ping(net, addr, n, timeout=5):
    """ICMP echo: answered by the library OS itself, when it looks at its queue."""
    with net.inside():
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    times = []
    with s, first():
        s.settimeout(timeout)
        for i in range(n):
            body = struct.pack(">HH", 4711, i) + b"x" * 16
            sums = sum(struct.unpack(f">{len(body) // 2}H", body)) + 0x0800
            sums = (sums >> 16) + (sums & 0xFFFF)
            start = time.perf_counter()
            s.sendto(struct.pack(">BBH", 8, 0, ~(sums + (sums >> 16)) & 0xFFFF) + body, (addr, 0))
            while True:
                got = s.recv(200)
                if got[20] == 0 and got[24:] == body:
                    break
            times.append(time.perf_counter() - start)
            time.sleep(0.002)
    return sorted(times)


def quantiles(times):
    return {f"p{q}_us": round(times[min(len(times) - 1, len(times) * q // 100)] * 1e6) for q in (50, 99)}


def answers(ctx):
    """One server alone: it parks and is granted a core for each request; its timers run while it is parked."""
    with dedicated(ctx) as net:
        i = net.start(ECHO)
        wait_echo(net, i)
        times = echo(net, i.addr, 300, 0.002)
        _, by = top(net)
        need(f"no wake-ups: {by[i.addr]}", by[i.addr]["wakes"] > 100)
        need(f"no core time: {by[i.addr]}", by[i.addr]["core_ns"] > 0)
        record(ctx, "dedicated-answers", **quantiles(times))


def beside_spin(ctx):
    """One that computes for ever on the only managed core: another is answered all the same, and it gets the rest."""
    with dedicated(ctx) as net:
        spin, i = net.start(SPIN).wait_output(b"spins"), net.start(ECHO)
        wait_echo(net, i)
        # The least of some windows: what else runs on this machine has no part in it.
        best = min((quantiles(echo(net, i.addr, 200, 0.001)) for _ in range(5)), key=lambda q: q["p99_us"])
        data, by = top(net)
        need(f"nothing was taken from it: {by[spin.addr]}", by[spin.addr]["preemptions"] > 0)
        need(f"it got no core: {by[spin.addr]}", by[spin.addr]["core_ns"] > 100_000_000)
        record(ctx, "dedicated-beside-spin", **best, wake_ns_p50=by[i.addr]["wake_ns_p50"],
               wake_ns_p99=by[i.addr]["wake_ns_p99"])
        need(f"cores: {data['cores']}", len(data["cores"]) == 1)


def two_spins(ctx):
    """Two that compute share the core evenly."""
    with dedicated(ctx) as net:
        a, b = (net.start(SPIN).wait_output(b"spins") for _ in range(2))
        _, before = top(net)
        time.sleep(2)
        _, after = top(net)
        got = [after[x.addr]["core_ns"] - before[x.addr]["core_ns"] for x in (a, b)]
        need(f"shares {got}", min(got) > 0.35 * sum(got) and sum(got) > 1_000_000_000)


def threads(ctx):
    """Two threads in an instance with two kthreads and one core: it asks for more than there is."""
    with dedicated(ctx) as net:
        net.start(SPIN, args=["2"], options=["--cores", "2"]).wait_output(b"spins")
        i = net.start(ECHO)
        wait_echo(net, i)
        echo(net, i.addr, 200, 0.001)


def deaths(ctx):
    """kill -9 of instances while they hold the core, or wait for it."""
    with dedicated(ctx) as net:
        i = net.start(ECHO)
        wait_echo(net, i)
        for n in range(6):
            spin = net.start(SPIN).wait_output(b"spins")
            echo(net, i.addr, 20, 0.001)
            os.kill(spin.instance_pid(), 9)
            need("junction run did not see it", spin.wait(20) != 0)
            echo(net, i.addr, 20, 0.001)
        _, by = top(net)
        need(f"left in the table: {list(by)}", list(by) == [i.addr])


def kicked(mode):
    """Packets for a program that computes and never calls are seen all the same."""

    def func(ctx):
        with dedicated(ctx) if mode == "dedicated" else Network(ctx) as net:
            spin = net.start(SPIN).wait_output(b"spins")
            record(ctx, f"kick-{mode}", **quantiles(ping(net, spin.addr, 200)))

    return func


# junction top

def top_errors(ctx):
    r = ctx.run([ctx.junction, "top", "--socket", ctx.path("none.sock"), "--once"])
    if r.code != 1 or r.out or b"no scheduler listens at" not in r.err or b"start one" not in r.err:
        raise Failure(r.describe())
    for args in (["--interval", "x"], ["--what"], ["more"], ["--socket"]):
        r = ctx.run([ctx.junction, "top", *args])
        if r.code != 2 or r.out or r.err.count(b"\n") != 1 or b"see junction top --help" not in r.err:
            raise Failure(f"{args}: {r.describe()}")


def top_pictures(ctx):
    """Text and JSON of the same scheduler; counters that a forged frame has moved."""
    with Network(ctx) as net:
        i = net.start(ECHO)
        wait_echo(net, i)
        echo(net, i.addr, 20, 0)
        data, by = top(net)
        one = by[i.addr]
        need(f"{one}", one["rx_packets"] >= 20 and one["tx_packets"] >= 20 and one["pid"] == i.instance_pid())
        need(f"{data}", data["poll"] == "adaptive" and data["uplink"] == "tap:jt0" and data["cores"] == [])
        text = ctx.must([ctx.junction, "top", "--once", "--interval", "0.1"],
                        env={**os.environ, "JUNCTION_SCHEDULER": net.socket}).out.decode()
        need(text, re.search(rf"\n +{one['id']} .* {re.escape(i.addr)} +{one['pid']} ", text))
        need("control codes in a pipe", "\033" not in text)


def on_terminal(net, end):
    """Runs it on a terminal; end(master, pid) makes it stop. Its output, and whether the terminal is as before."""
    import fcntl
    import pty
    import subprocess
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 70, 0, 0))
    before = termios.tcgetattr(slave)
    p = subprocess.Popen([net.ctx.junction, "top", "--socket", net.socket, "--interval", "0.2"], stdin=slave,
                         stdout=slave, stderr=slave, start_new_session=True,
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    out = b""
    try:
        stop = time.monotonic() + 10
        while out.count(b"scheduler ") < 3:
            need(f"no pictures: {out!r}", time.monotonic() < stop)
            out += os.read(master, 65536)
        end(master, p)
        code = p.wait(10)
        time.sleep(0.05)
        out += os.read(master, 65536)
        need("the terminal is not as it was", termios.tcgetattr(slave) == before)
    finally:
        p.kill()
        p.wait()
        os.close(master)
        os.close(slave)
    return code, out


def top_terminal(ctx):
    with Network(ctx) as net:
        for end in (lambda m, p: os.write(m, b"q"), lambda m, p: os.write(m, b"\x03"), lambda m, p: p.terminate()):
            code, out = on_terminal(net, end)
            need(f"status {code}: {out[-200:]!r}", code == 0 and out.endswith(b"\033[?25h\033[?1049l"))
            lines = [x.split(b"\033[K")[0] for x in out.split(b"\033[H")[1].split(b"\r\n")]
            need(f"wider or higher than the terminal: {lines}", len(lines) <= 12 and max(map(len, lines)) <= 70)


def top_survives(ctx):
    """The scheduler ends: so does top, and says so."""
    import subprocess

    with Network(ctx) as net:
        with subprocess.Popen([ctx.junction, "top", "--socket", net.socket, "--json", "--interval", "0.1"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            need("not JSON", json.loads(p.stdout.readline())["instances"] == [])
            # Not the Network's own process: that is `ip netns exec`, which has become the scheduler.
            net.scheduler.terminate()
            net.scheduler.wait(10)
            _, err = p.communicate(timeout=10)
            net.scheduler = None
            need(f"status {p.returncode}, {err!r}", p.returncode == 1 and b"the scheduler has ended" in err)


def cases(build):
    if NATIVE:
        return []
    out = [Case("dedicated/" + f.__name__.replace("_", "-"), f, serial=True)
           for f in (answers, beside_spin, two_spins, threads, deaths)]
    out += [Case(f"dedicated/kicked-{mode}", kicked(mode), serial=True) for mode in ("adaptive", "dedicated")]
    out += [Case("top/" + f.__name__.removeprefix("top_"), f)
            for f in (top_errors, top_pictures, top_terminal, top_survives)]
    return out
