"""The zygote, driven as junctiond drives it (harness/zygote.py).

    the test = junctiond --zygote.sock--> junction-zygote --> instances of zygotefn
                                               |                  |
                                               +------------ junction-scheduler [-- tap jt0 in a namespace]
"""
import contextlib
import fcntl
import glob
import json
import os
import random
import re
import signal
import stat
import subprocess
import time

from harness import zygote
from harness.case import Case, Failure
from harness.images import image
from harness.network import Network
from harness.zygote import ADOPT, ERROR, EXITED, LISTENING, STATS, STOP, Client, Message, Zygote, image_memfd


def need(what, condition):
    if not condition:
        raise Failure(what)


def same(what, got, want):
    if got != want:
        raise Failure(f"{what}: {got!r}, should be {want!r}")


def eventually(what, func, seconds=10):
    end = time.monotonic() + seconds
    while not func():
        need(f"{what}: not within {seconds} s", time.monotonic() < end)
        time.sleep(0.01)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class World:
    """Scheduler, zygote, an image, a client; `net` has an uplink."""

    def __init__(self, ctx, with_net=False):
        self.ctx, self.with_net, self.pids = ctx, with_net, []
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        ctx = self.ctx
        with contextlib.ExitStack() as s:
            if self.with_net:
                self.net = s.enter_context(Network(ctx))
                self.scheduler_socket = self.net.socket
            else:
                self.scheduler_socket = ctx.path("s.sock")
                self.start_scheduler()
                s.callback(self.stop_scheduler)
            self.zygote = Zygote(ctx, self.scheduler_socket)
            s.callback(lambda: self.zygote.stop())
            s.callback(self.kill_all)
            jimg = image(ctx, "zygotefn", os.path.join(ctx.build, "test", "net", "zygotefn-musl"))
            self.image = image_memfd(ctx, jimg)
            s.callback(os.close, self.image)
            self.client = Client(self.zygote.socket)
            s.callback(lambda: self.client.close())
            self.stack = s.pop_all()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def start_scheduler(self):
        with open(self.ctx.path("scheduler.log"), "ab") as f:
            self.scheduler = subprocess.Popen(
                [os.path.join(self.ctx.build, "bin", "junction-scheduler"), "--socket", self.scheduler_socket],
                stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True)

        def answers():
            with contextlib.suppress(OSError), Client(self.scheduler_socket).s:
                return True

        eventually("the scheduler listens", answers)

    def stop_scheduler(self):
        self.scheduler.terminate()
        self.scheduler.wait(10)

    def kill_all(self):
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)

    def start(self, instance, *args, **more):
        m = self.client.started(instance, self.image, args, **more)
        self.pids.append(m.pid)
        m.close()
        return m

    def end(self, instance):
        """(wstatus, text) of EXITED."""
        m = self.client.wait(EXITED, instance=instance)
        return m.wstatus, m.text.decode()


def lifecycle(ctx):
    with World(ctx) as w:
        m = w.client.started(7, w.image, ["say", "hello world", "listen", "8080", "sleep", "100"])
        w.pids.append(m.pid)
        same("descriptors", len(m.fds), 4)
        need("address", m.ip.startswith("10.200."))
        need("times in order", 0 < m.asked_ns <= m.attached_ns <= m.cloned_ns)
        m.close()
        e = w.client.wait(LISTENING)
        same("listening", (e.instance, e.port, e.name), (7, 8080, "fn.test"))
        need("times of a start", m.cloned_ns - 10**9 < e.first_ns <= e.listening_ns and e.first_ns > m.attached_ns)
        found = w.client.list()
        same("listed", [(i.instance, i.pid, i.port, len(i.fds)) for i in found], [(7, m.pid, 8080, 4)])
        for i in found:
            i.close()
        w.client.send(Message(STATS, instance=7, request=99))
        s = w.client.wait(STATS, request=99)
        need(f"memory {s.memory_used}, cpu {s.cpu_ns}", s.memory_used > 100000 and s.cpu_ns > 0)
        w.client.stop(7, 5000)
        same("end", w.end(7), (15, "killed by signal 15 (Terminated)"))
        same("nothing listed", w.client.list(), [])
        need("gone", not alive(m.pid))
        same("log", w.zygote.lines(7), [(b"stdout", b"hello world"),
                                        (b"junction", b"killed by signal 15 (Terminated)")])


def ends(ctx):
    with World(ctx) as w:
        cases = [
            (["exit", "0"], (0, "exited with status 0")),
            (["exit", "3"], (3 << 8, "exited with status 3")),
            (["kill", "9"], (9, "killed by signal 9 (Killed)")),
            (["segv"], (11, "killed by signal 11 (Segmentation fault)")),
        ]
        for n, (args, want) in enumerate(cases, 1):
            w.start(n, *args)
            same(" ".join(args), w.end(n), want)
        m = w.start(20, "sleep", "100")
        time.sleep(0.05)
        os.kill(m.pid, signal.SIGKILL)
        same("from outside", w.end(20), (9, "killed from outside (by a user, or the host has no memory left)"))
        w.start(21, "stubborn", "listen", "80", "sleep", "100")
        w.client.wait(LISTENING, instance=21)
        w.client.stop(21, 100)
        same("stubborn", w.end(21), (9, "killed, it had not ended within its grace"))
        w.start(22, "sleep", "100")
        w.client.stop(22)
        same("stopped at once", w.end(22)[0], 9)
        w.start(23, "eat", "2000", memory=48 << 20)
        same("memory", w.end(23), (9, "out of memory, more than 48 MiB in use"))
        same("log of it", w.zygote.lines(23)[-1], (b"junction", b"out of memory, more than 48 MiB in use"))


def wishes(ctx):
    with World(ctx) as w:
        w.start(1, "cat", "/var/openfaas/secrets/key", "cat", "/run/a/b/c", "cat", "/etc/hosts", "env", "A", "env", "B",
                "stdin", env=["A=1", "B=two words"], name="fn.test",
                files=[("/var/openfaas/secrets/key", b"s3cr\0et\n"), ("/run/a/b/c", b""), ("/etc/hosts", b"mine\n")])
        same("end", w.end(1)[0], 0)
        lines = [text for _, text in w.zygote.lines(1)]
        same("what it saw", lines[:-1], [b"600 8 s3cr\0et", b"", b"600 0 ", b"600 5 mine", b"", b"A=1", b"B=two words",
                                         b"stdin 0"])
        big = os.urandom(60000)
        w.start(2, "cat", "/s", files=[("/s", big)], addr=struct_addr("10.200.3.4"))
        same("end", w.end(2)[0], 0)
        with open(w.zygote.logfile(2), "rb") as f:
            need("its bytes", b"stdout" in f.read())


def struct_addr(ip):
    import socket
    import struct

    return struct.pack("=HH", socket.AF_INET, 32) + socket.inet_aton(ip) + bytes(12)


def logs(ctx):
    with World(ctx) as w:
        w.start(1, "say", "a", "err", "b", "bytes", "part", "no end")
        same("end", w.end(1)[0], 0)
        every = bytes(b for b in range(256) if b != 10)
        lines = w.zygote.lines(1)
        same("stdout", [t for s, t in lines if s.startswith(b"stdout")], [b"a", every, b"no end"])
        same("stderr", [t for s, t in lines if s == b"stderr"], [b"b"])
        with open(w.zygote.logfile(1), "rb") as f:
            need("time stamps", re.match(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z stdout a\n", f.read()))
        w.start(2, "flood", "30000")
        same("end", w.end(2)[0], 0)
        eventually("rotated", lambda: os.path.exists(w.zygote.logfile(2, old=True)))
        for old in (False, True):
            st = os.stat(w.zygote.logfile(2, old=old))
            same("mode", stat.S_IMODE(st.st_mode), 0o600)
            need(f"size {st.st_size}", st.st_size <= 1 << 20)
        numbers = [int(t[:8]) for s, t in w.zygote.lines(2, old=True) + w.zygote.lines(2) if s == b"stdout"]
        same("the last lines, all of them", numbers, list(range(numbers[0], 30000)))
        same("files", len(glob.glob(os.path.dirname(w.zygote.logfile(2)) + "/2.*")), 2)
        for folder in (w.zygote.logdir, os.path.dirname(w.zygote.logfile(2))):
            same("folder's mode", stat.S_IMODE(os.stat(folder).st_mode), 0o700)
        # Written although the line does not end.
        w.start(3, "part", "prompt> ", "sleep", "100")
        eventually("unfinished line", lambda: (b"stdout+", b"prompt> ") in w.zygote.lines(3), 5)


def many(ctx):
    with World(ctx) as w:
        seed = random.randrange(1 << 30)
        rnd = random.Random(seed)
        living = set()
        for n in range(1, 41):
            w.start(n, "listen", "8080", "say", f"i am {n}", "sleep", "100", name=f"fn{n % 7}.ns{n % 3}")
            living.add(n)
            if rnd.random() < 0.5:
                k = rnd.choice(sorted(living))
                living.remove(k)
                w.client.stop(k, rnd.choice((0, 2000)))
                w.end(k)
        found = w.client.list()
        for m in found:
            m.close()
        same(f"living (seed {seed})", {m.instance for m in found}, living)
        same("addresses", len({m.addr for m in found}), len(living))
        for n in living:
            eventually(f"log of {n}", lambda n=n: w.zygote.lines(n, f"fn{n % 7}.ns{n % 3}") == [
                (b"stdout", f"i am {n}".encode())])


def bad_messages(ctx):
    with World(ctx) as w:
        m = w.start(1, "sleep", "100")
        good = w.client.start_message(50, w.image, ["exit", "0"])
        plain = os.memfd_create("plain")
        os.ftruncate(plain, 1 << 16)
        sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
        os.ftruncate(sealed, 1 << 16)
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, 0xF)

        def refused(words, **changes):
            msg = w.client.start_message(50, w.image, ["exit", "0"])
            for k, v in changes.items():
                setattr(msg, k, v)
            w.client.send(msg)
            answer = w.client.wait(ERROR, zygote.STARTED)
            need(f"{changes}: {answer.text!r}", answer.type == ERROR and words in answer.text.decode())
            same("request", answer.request, msg.request)

        for name in (b"", b"x", b".x", b"x.", b"../../etc.x", b"a/b.c", b"a b.c", "ü.x".encode(), b"..x.y"):
            refused("name", name=name)
        refused("descriptor", fds=[])
        refused("descriptor", fds=[w.image, w.image])
        refused("sealed", fds=[plain])
        refused("not an unpacked image", fds=[sealed])
        refused("add up", nr_args=3)
        refused("add up", nr_args=0)
        refused("add up", nr_files=1)
        refused("more than", nr_args=1 << 31)
        refused("NAME=VALUE", nr_args=1, nr_env=1)
        refused("there already", instance=1)
        refused("no such type", type=77)
        refused("at most 64", nr_kthreads=65)
        big = w.client.start_message(51, w.image, files=[("/x", bytes(270000))])
        w.client.send(big)
        need("too long", b"longer than" in w.client.wait(ERROR).text)
        rel = w.client.start_message(51, w.image, files=[("x", b"y")])
        w.client.send(rel)
        need("relative", b"absolute" in w.client.wait(ERROR).text)
        for kind in (STOP, STATS, ADOPT):
            w.client.send(Message(kind, instance=4711, request=5, name="a.b"))
            same("answered", w.client.wait(ERROR, instance=4711).request, 5)
        # Malformed: the connection ends, the instances do not.
        for data in (b"x", bytes(zygote.SIZE), good.pack()[:-1], good.pack() + b"y",
                     Message(zygote.LIST, name=b"n" * 128).pack(), bytes(300000)):
            c = w.client
            c.s.send(data)
            c.wait(ERROR)
            same("closed", c.receive(), None)
            c.close()
            w.client = Client(w.zygote.socket)
        rnd = random.Random(4)
        for _ in range(300):
            data = bytearray(good.pack())
            for _ in range(rnd.randrange(1, 8)):
                data[rnd.randrange(8, zygote.SIZE)] = rnd.randrange(256)
            try:
                w.client.s.send(bytes(data))
            except OSError:
                w.client.close()
                w.client = Client(w.zygote.socket)
        w.client.close()
        w.client = Client(w.zygote.socket)
        second = Client(w.zygote.socket)
        need("second client", b"another" in second.wait(ERROR).text)
        second.close()
        found = w.client.list()
        need("the first lives on", 1 in [i.instance for i in found])
        for i in found:
            i.close()
        need("alive", alive(m.pid))
        os.close(plain)
        os.close(sealed)


def events_wait(ctx):
    with World(ctx) as w:
        w.start(1, "sleep", "1", "exit", "5")
        w.start(2, "sleep", "1", "listen", "99", "sleep", "100")
        w.start(3, "exit", "4")
        w.end(3)
        w.client.close()
        time.sleep(1.6)
        w.client = Client(w.zygote.socket)
        w.client.s.settimeout(0.3)
        try:
            m = w.client.receive()
            raise Failure(f"came without a list: {m.type}")
        except TimeoutError:
            pass
        w.client.s.settimeout(10)
        w.client.send(Message(zygote.LIST, request=8))
        kinds = []
        while (8, zygote.END) not in kinds:
            m = w.client.receive()
            m.close()
            kinds.append((m.request, m.type) if m.type == zygote.END else (m.instance, m.type, m.port))
        same("list", kinds, [(2, zygote.INSTANCE, 99), (8, zygote.END)])
        same("then the end that nobody saw", w.end(1), (5 << 8, "exited with status 5"))


def zygote_killed(ctx):
    with World(ctx, with_net=True) as w:
        told = {}
        for n in range(1, 4):
            m = w.client.started(n, w.image, ["listen", "8080", "say", f"first {n}", "sleep", "1", "say", f"later {n}",
                                              "sleep", "100"])
            w.pids.append(m.pid)
            e = w.client.wait(LISTENING, instance=n)
            m.port, m.first_ns, m.listening_ns = e.port, e.first_ns, e.listening_ns
            told[n] = m
        w.zygote.kill()
        time.sleep(0.2)
        for m in told.values():
            need("lives on", alive(m.pid))
            with w.net.connect(m.ip, 8080, timeout=5) as s:
                s.sendall(b"without a zygote")
                same("echo", s.recv(100), b"without a zygote")
        time.sleep(1)
        start = time.monotonic()
        w.zygote = Zygote(ctx, w.scheduler_socket)
        w.client.close()
        w.client = Client(w.zygote.socket)
        w.start(9, "say", "new", "exit", "0")
        w.end(9)
        need("starts work again within 1 s", time.monotonic() - start < 5)
        for m in told.values():
            m.type, m.request = ADOPT, 77
            m.name = m.name.encode()
            w.client.send(m)
            m.close()
        found = {m.instance: m for m in w.client.list()}
        same("adopted", sorted(found), [1, 2, 3])
        for n, m in found.items():
            m.close()
            same("as it was", (m.pid, m.port, m.ip), (told[n].pid, 8080, told[n].ip))
            w.client.send(Message(STATS, instance=n, request=n))
            need("memory", w.client.wait(STATS, request=n).memory_used > 100000)
            with w.net.connect(m.ip, 8080, timeout=5) as s:
                s.sendall(b"again")
                same("echo", s.recv(100), b"again")
            eventually("log goes on", lambda n=n: (b"stdout", f"later {n}".encode()) in w.zygote.lines(n))
            same("log is whole", w.zygote.lines(n), [(b"stdout", f"first {n}".encode()),
                                                     (b"stdout", f"later {n}".encode())])
        w.client.stop(1, 2000)
        same("stopped", w.end(1), (15, "killed by signal 15 (Terminated)"))
        os.kill(told[2].pid, signal.SIGKILL)
        status, text = w.end(2)
        need(f"killed from outside: {status} {text}", status == 9 and text.startswith("killed"))
        w.client.stop(3)
        same("killed", w.end(3)[0], 9)


def scheduler_killed(ctx):
    with World(ctx) as w:
        w.start(1, "listen", "8080", "sleep", "100")
        w.client.wait(LISTENING)
        w.scheduler.kill()
        w.scheduler.wait()
        same("end", w.end(1), (9, "killed, the scheduler that it had its network from has gone"))
        m = w.client.start(2, w.image, ["exit", "0"])
        need(f"no scheduler: {m.text}", m.type == ERROR and b"scheduler" in m.text)
        w.start_scheduler()
        w.start(3, "exit", "0")
        same("again", w.end(3)[0], 0)


def prepared(ctx):
    """The second instance of an image starts in an arena made ahead; other limits and images do not take it."""
    with World(ctx) as w:
        for n, memory in enumerate((64 << 20, 64 << 20, 64 << 20, 1 << 30, 64 << 20), 1):
            w.start(n, "listen", "8080", "say", f"i am {n}", "sleep", "100", memory=memory)
            w.client.wait(LISTENING, instance=n)
        for n in range(1, 6):
            eventually(f"log of {n}", lambda n=n: w.zygote.lines(n) == [(b"stdout", f"i am {n}".encode())])
        w.client.stop(2)
        w.end(2)
        w.client.send(Message(STATS, instance=3, request=1))
        need("alive", w.client.wait(STATS, request=1).memory_used > 100000)


def stops_all(ctx):
    with World(ctx) as w:
        pids = [w.start(n, "sleep", "100").pid for n in range(1, 6)]
        w.start(6, "stubborn", "listen", "1", "sleep", "100")
        w.client.wait(LISTENING)
        w.zygote.p.send_signal(signal.SIGTERM)
        same("exit status", w.zygote.p.wait(10), 0)
        need("none left", not any(alive(p) for p in pids))
        need("socket removed", not os.path.exists(w.zygote.socket))


def nothing_left(ctx):
    """Descriptors, mappings and memory of the zygote after many instances are those of before."""
    with World(ctx) as w:
        def count():
            pid = w.zygote.p.pid
            with open(f"/proc/{pid}/maps", encoding="ascii") as f:
                return len(os.listdir(f"/proc/{pid}/fd")), len(f.readlines())

        for n in range(1, 6):
            w.start(n, "say", "x", "exit", "0")
            w.end(n)
        before = count()
        for n in range(10, 60):
            w.start(n, "say", "x", "exit", "0")
            w.end(n)
        same("descriptors", count()[0], before[0])
        need(f"mappings {before[1]}, then {count()[1]}", count()[1] <= before[1] + 2)
        need("no children", not open(f"/proc/{w.zygote.p.pid}/task/{w.zygote.p.pid}/children", "rb").read())


def options(ctx):
    binary = os.path.join(ctx.build, "bin", "junction-zygote")
    need("help", b"--rundir" in ctx.must([binary, "--help"]).out)
    for argv, words in (
        (["--nonsense"], b"no such option"),
        (["--rundir"], b"needs a value"),
        (["extra"], b"no such option"),
        (["--log-format", "xml"], b"text or json"),
        (["--rundir", ctx.path() + "/a/b"], b"make the folder above"),
        (["--rundir", ctx.path(), "--socket", "/" + "x" * 200], b"too long"),
    ):
        r = ctx.run([binary, *argv], timeout=10)
        need(f"{argv}: {r.describe()}", r.code == 1 and words in r.err)
    with World(ctx) as w:
        r = ctx.run([binary, "--rundir", w.zygote.rundir], timeout=10)
        need(f"second: {r.describe()}", r.code == 1 and b"answers there already" in r.err)
    z = Zygote(ctx, ctx.path("none.sock"), "--log-format", "json")
    z.stop()
    json.loads(z.said().splitlines()[-1])


def cases(build):
    tests = [lifecycle, ends, wishes, logs, many, bad_messages, events_wait, zygote_killed, scheduler_killed, prepared,
             stops_all, nothing_left, options]
    return [Case(f"zygote/{t.__name__}", t) for t in tests]
