"""The scheduler process: instances made of Python (harness/nic.py) and, behind a tap, the kernel of a network namespace.

    instance a --+
    instance b --+-- junction-scheduler -- tap "wire" -- network namespace of the test (10.200.0.1)
    instance c --+
"""
import contextlib
import ctypes
import fcntl
import itertools
import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

from harness import nic
from harness.case import Case, Failure
from harness.nic import BROADCAST, Instance, Refused, Stats, arp, ether, ipv4, tcp, udp, wait_for

GATEWAY = "10.200.0.1"
IPV4, ARP = 0x0800, 0x0806
counter = itertools.count()


def need(what, condition):
    if not condition:
        raise Failure(what)


def same(what, got, want):
    if got != want:
        raise Failure(f"{what}: {got!r}, should be {want!r}")


def run(*argv):
    subprocess.run(argv, check=True, timeout=20, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Namespace:
    """A network namespace with nothing in it but loopback."""

    def __init__(self):
        self.name = f"junction-test-{os.getpid()}-{next(counter)}"
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def call(self, func):
        """func() with the calling thread in the namespace: what sockets it opens stay there."""
        libc = ctypes.CDLL(None, use_errno=True)
        home, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            need("setns", libc.setns(there, 0) == 0)
            try:
                return func()
            finally:
                need("setns back", libc.setns(home, 0) == 0)
        finally:
            os.close(home)
            os.close(there)

    def close(self):
        run("ip", "netns", "del", self.name)


class Scheduler:
    """A running junction-scheduler; with `uplink`, its tap "wire" is configured in the namespace."""

    def __init__(self, ctx, *options, uplink=False, ns=None):
        self.socket = ctx.path("s", "scheduler.sock")
        self.log = ctx.path(f"scheduler.{next(counter)}.log")
        argv = [os.path.join(ctx.build, "bin", "junction-scheduler"), "--socket", self.socket, *options]
        if uplink:
            argv += ["--uplink", "tap:wire"]
        if ns:
            argv = ["ip", "netns", "exec", ns.name, *argv]
        with open(self.log, "wb") as err:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        try:
            wait_for(lambda: b"ready" in self.output() or self.process.poll() is not None,
                     "the scheduler does not start", timeout=20)
            need(f"the scheduler ended: {self.output()!r}", self.process.poll() is None)
            if uplink:
                run("ip", "-n", ns.name, "addr", "add", GATEWAY + "/16", "dev", "wire")
                run("ip", "-n", ns.name, "link", "set", "wire", "up")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def output(self):
        with open(self.log, "rb") as f:
            return f.read()

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure("the scheduler does not stop")
        return code


@contextlib.contextmanager
def world(ctx, *options, uplink=False):
    """Yields (scheduler, namespace, add); add(name, ...) attaches an instance. All goes at the end."""
    with contextlib.ExitStack() as stack:
        ns = None
        if uplink:
            ns = Namespace()
            stack.callback(ns.close)
        s = Scheduler(ctx, *options, uplink=uplink, ns=ns)
        stack.callback(lambda: s.process.poll() is None and (s.process.kill(), s.process.wait()))

        def add(name, **kw):
            instance = Instance(s.socket, name, **kw)
            stack.callback(instance.close)
            return instance

        yield s, ns, add
        same("exit status after SIGTERM; " + s.output().decode(), s.stop(), 0)
        need("its folder is still there", not os.path.exists(os.path.dirname(s.socket)))


def datagram(a, b, payload, mac=None, sport=1000, dport=2000, src=None):
    """A frame with a UDP datagram from a to b (instances, or for b an address and a MAC)."""
    ip = b if isinstance(b, str) else b.ip
    return ether(a.mac, mac or b.mac, IPV4, ipv4(src or a.ip, ip, 17, udp(src or a.ip, ip, sport, dport, payload)))


def is_ipv4(frame):
    return frame[12:14] == b"\x08\x00"


def is_arp(frame):
    return frame[12:14] == b"\x08\x06"


def nothing(instance, why):
    got = instance.receive(timeout=0.05, want=lambda f: True)
    need(f"{why}: received {got!r}", got is None)


# Between instances


def forward(ctx):
    with world(ctx, "--allow", "a:b", "--allow", "10.200.7.7:*") as (s, _, add):
        a, b, c, d = add("a"), add("b", pairs=4), add("c"), add("d", ip="10.200.7.7")
        stats = Stats(s.socket)
        same("address asked for", d.ip, "10.200.7.7")
        a.send(ether(a.mac, BROADCAST, ARP, arp(1, a.mac, a.ip, bytes(6), b.ip)))
        got = a.receive()
        need("no answer to ARP", got)
        same("ARP answer", got[2], ether(b.mac, a.mac, ARP, arp(2, b.mac, b.ip, a.mac, a.ip)))
        nothing(b, "b was asked itself")

        # Each flow meets one queue pair, the same for its fragments' packets; all queue pairs are used.
        used = {}
        for i in range(64):
            for _ in range(2):
                frame = datagram(a, b, b"x" * i, sport=3000 + i)
                a.send(frame, piece=17 + i)
                got = b.receive()
                need("nothing received", got)
                same("the frame", got[2], frame)
                same("one queue pair a flow", used.setdefault(i, got[0]), got[0])
        same("queue pairs used", set(used.values()), {0, 1, 2, 3})
        a.send(datagram(a, d, b"to d"))
        need("rule by address and *", d.receive())
        b.send(datagram(b, a, b"back"), pair=3)
        need("the rule holds both ways", a.receive(want=is_ipv4))

        a.send(datagram(a, c, b"no rule"))
        a.send(ether(a.mac, BROADCAST, ARP, arp(1, a.mac, a.ip, bytes(6), c.ip)))
        nothing(c, "no rule allows it")
        nothing(a, "no rule allows it")
        a.send(datagram(a, b, b"wrong MAC address", mac=d.mac))
        nothing(b, "addressed to d's MAC")
        a.send(datagram(a, "10.200.99.99", b"nowhere", mac=b.mac))
        nothing(b, "addressed to nobody's IP address")
        same("drops of a", stats.drops(a.id), {"NOT_ALLOWED": 2, "NO_ROUTE": 2})
        same("drops of all", stats.drops(), {"NOT_ALLOWED": 2, "NO_ROUTE": 2})
        stats.close()


def full(ctx):
    """A receiver that posts no buffers loses its frames, and nobody else's."""
    with world(ctx, "--allow-all") as (s, _, add):
        a, b, c = add("a"), add("b", rx_buffers=2), add("c")
        stats = Stats(s.socket)
        for i in range(10):
            a.send(datagram(a, b, b"x"))
        a.send(datagram(a, c, b"y"))
        need("c waits for b", c.receive())
        same("drops of b", stats.drops(b.id), {"RX_FULL": 8})
        stats.close()


def whole_segments(ctx):
    """Between instances segmentation offload passes whole, over merged buffers, its header checked."""
    with world(ctx, "--allow-all") as (s, _, add):
        a, b = add("a"), add("b")
        stats = Stats(s.socket)
        data = random.Random(1).randbytes(60000)
        frame = ether(a.mac, b.mac, IPV4, ipv4(a.ip, b.ip, 6, tcp(a.ip, b.ip, 1, 2, 7, 0x10, data, finish=False)))
        hdr = nic.HDR.pack(nic.NEEDS_CSUM, nic.GSO_TCPV4, 0, 1460, 34, 16, 0)
        a.send(frame, hdr=hdr)
        got = b.receive()
        need("not received", got)
        same("header", got[1], (nic.NEEDS_CSUM, nic.GSO_TCPV4, 54, 1460, 34, 16, 30))
        need("other bytes", got[2] == frame)
        for bad in (
            nic.HDR.pack(0, nic.GSO_TCPV4, 0, 1460, 34, 16, 0),
            nic.HDR.pack(1, nic.GSO_TCPV4, 0, 0, 34, 16, 0),
            nic.HDR.pack(1, nic.GSO_TCPV4, 0, 1, 34, 16, 0),
            nic.HDR.pack(1, nic.GSO_TCPV4, 0, 65535, 34, 16, 0),
            nic.HDR.pack(1, nic.GSO_TCPV4, 0, 1460, 60000, 16, 0),
            nic.HDR.pack(1, nic.GSO_TCPV4, 0, 1460, 34, 65000, 0),
            nic.HDR.pack(1, 3, 0, 1460, 34, 16, 0),
            nic.HDR.pack(0, 0, 0, 0, 0, 0, 0),
        ):
            a.send(frame, hdr=bad)
        nothing(b, "offload header that does not fit")
        same("drops", stats.drops(a.id), {"MALFORMED": 8})
        stats.close()


# Uplink


def uplink(ctx):
    with world(ctx, uplink=True) as (s, ns, add):
        a, b = add("a", pairs=2), add("b")
        stats = Stats(s.socket)
        with ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.settimeout(5)
            sock.bind((GATEWAY, 5000))
            sock.sendto(b"question", (a.ip, 7000))  # the kernel asks for a's MAC address, and we answer
            got = a.receive(want=is_ipv4)
            need(f"a receives nothing; drops {stats.drops()}", got)
            same("payload", got[2][42:50], b"question")
            same("destination MAC", got[2][:6], a.mac)
            a.send(ether(a.mac, BROADCAST, ARP, arp(1, a.mac, a.ip, bytes(6), GATEWAY)))
            got = a.receive(want=is_arp)
            need("the gateway does not answer ARP", got)
            gateway = got[2][6:12]
            nothing(b, "b saw a's ARP")
            a.send(datagram(a, GATEWAY, b"answer", mac=gateway, sport=7000, dport=5000))
            same("the kernel receives", sock.recvfrom(100), (b"answer", (a.ip, 7000)))
            # A checksum that the device must finish; an odd length.
            head = struct.pack(">HHHH", 7000, 5000, 8 + 5, ~nic.checksum(nic.pseudo(a.ip, GATEWAY, 17, 13)) & 0xFFFF)
            a.send(ether(a.mac, gateway, IPV4, ipv4(a.ip, GATEWAY, 17, head + b"odd!?")),
                   hdr=nic.HDR.pack(nic.NEEDS_CSUM, 0, 0, 0, 34, 6, 0))
            same("the kernel receives", sock.recvfrom(100), (b"odd!?", (a.ip, 7000)))
            # An instance that is not allowed to reach another one cannot by way of the gateway.
            a.send(datagram(a, b.ip, b"round the corner", mac=gateway))
            nothing(b, "reached through the gateway")
            same("drops of a", stats.drops(a.id), {"NOT_ALLOWED": 1})
        stats.close()


def capture(ns):
    """A raw socket on the tap, in the namespace."""

    def make():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.bind(("wire", 0))
        raw.settimeout(0.2)
        return raw

    return ns.call(make)


def read_all(raw, want, count, timeout=5):
    """The first `count` frames that `want` takes; fewer after the timeout."""
    out, end = [], time.monotonic() + timeout
    while len(out) < count and time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            frame = raw.recv(70000)
            if want(frame):
                out.append(frame)
    return out


def segments(ctx):
    """Segmentation offload towards the uplink: cut, with the checksums of each piece right."""
    with world(ctx, uplink=True) as (s, ns, add), capture(ns) as raw:
        a = add("a")
        for size, mss, flags in ((20001, 1460, 0x19), (5000, 536, 0x18), (1461, 1460, 0x99), (1460, 1460, 0x10)):
            data = random.Random(size).randbytes(size)
            packet = ipv4(a.ip, GATEWAY, 6, tcp(a.ip, GATEWAY, 1000, 9, 0xFFFFFF00, flags, data, finish=False), ident=65530)
            a.send(ether(a.mac, b"\x02\0\0\0\0\x01", IPV4, packet),
                   hdr=nic.HDR.pack(nic.NEEDS_CSUM, nic.GSO_TCPV4, 0, mss, 34, 16, 0))
            count = -(-size // mss)
            frames = read_all(raw, lambda f: is_ipv4(f) and f[23] == 6 and f[26:30] == socket.inet_aton(a.ip), count)
            same("segments", len(frames), count)
            got, seq = b"", 0xFFFFFF00
            for i, f in enumerate(frames):
                total, ident = struct.unpack_from(">HH", f, 16)
                body = f[34 : 14 + total]
                same("IPv4 checksum", nic.checksum(f[14:34]), 0)
                same("identification", ident, (65530 + i) & 0xFFFF)
                same("TCP checksum", nic.checksum(nic.pseudo(a.ip, GATEWAY, 6, len(body)) + body), 0)
                same("sequence number", struct.unpack_from(">I", body, 4)[0], seq)
                last = i + 1 == len(frames)
                want = flags if last else flags & ~0x09
                same("TCP flags", body[13], want & ~0x80 if i else want)
                got += body[20:]
                seq = (seq + len(body) - 20) & 0xFFFFFFFF
            need("other data", got == data)


def forged(ctx):
    """Sources that are not the sender's own, and what else is not let through: each counted under its reason."""
    with world(ctx, "--allow-all", uplink=True) as (s, ns, add), capture(ns) as raw:
        a, b = add("a"), add("b")
        stats = Stats(s.socket)
        gateway = b"\x02\0\0\0\0\x01"
        cases = [
            ("SRC_MAC", ether(b.mac, b.mac, IPV4, ipv4(a.ip, b.ip, 17, udp(a.ip, b.ip, 1, 2, b"")))),
            ("SRC_MAC", ether(b.mac, BROADCAST, ARP, arp(1, b.mac, b.ip, bytes(6), GATEWAY))),
            ("SRC_IP", datagram(a, b, b"forged", src="10.200.0.77")),
            ("SRC_IP", datagram(a, GATEWAY, b"forged", mac=gateway, src=b.ip)),
            ("SRC_IP", datagram(a, b, b"forged", src="0.0.0.0")),
            ("ARP", ether(a.mac, BROADCAST, ARP, arp(1, b.mac, a.ip, bytes(6), GATEWAY))),
            ("ARP", ether(a.mac, BROADCAST, ARP, arp(1, a.mac, b.ip, bytes(6), GATEWAY))),
            ("ARP", ether(a.mac, BROADCAST, ARP, arp(1, a.mac, GATEWAY, bytes(6), b.ip))),
            ("ARP", ether(a.mac, b.mac, ARP, arp(2, a.mac, GATEWAY, b.mac, b.ip))),
            ("ARP", ether(a.mac, gateway, ARP, arp(2, a.mac, b.ip, gateway, GATEWAY))),
            ("ARP", ether(a.mac, BROADCAST, ARP, arp(1, a.mac, a.ip, bytes(6), a.ip))),
            ("BROADCAST", datagram(a, "255.255.255.255", b"x", mac=BROADCAST)),
            ("BROADCAST", datagram(a, "10.200.255.255", b"x", mac=gateway)),
            ("BROADCAST", datagram(a, "224.0.0.1", b"x", mac=b"\x01\0\x5e\0\0\x01")),
            ("BROADCAST", datagram(a, b.ip, b"x", mac=BROADCAST)),
            ("PROTOCOL", ether(a.mac, b.mac, 0x86DD, bytes(60))),
            ("PROTOCOL", ether(a.mac, BROADCAST, 0x8100, bytes(60))),
            ("MALFORMED", b""),
            ("MALFORMED", b"\0" * 13),
            ("MALFORMED", ether(a.mac, b.mac, IPV4, bytes(60))),
            ("MALFORMED", ether(a.mac, b.mac, ARP, bytes(20))),
            ("MALFORMED", datagram(a, b, b"x" * 1500)),
        ]
        want = {}
        for why, frame in cases:
            a.send(frame)
            want[why] = want.get(why, 0) + 1
            same(f"drops after {frame[:48].hex()}", stats.drops(a.id), want)
        nothing(b, "got a forged frame")
        got = read_all(raw, lambda f: f[6:12] == a.mac or f[6:12] == b.mac, 1, timeout=0.3)
        same("frames of instances on the uplink", got, [])

        # From the uplink, with the addresses of instances.
        before = stats.drops()
        outside = b"\x02\0\0\0\0\x01"
        for frame in (
            ether(outside, b.mac, IPV4, ipv4(a.ip, b.ip, 17, udp(a.ip, b.ip, 1, 2, b"forged"))),
            ether(a.mac, b.mac, IPV4, ipv4(GATEWAY, b.ip, 17, udp(GATEWAY, b.ip, 1, 2, b"forged"))),
            ether(outside, b.mac, ARP, arp(2, outside, a.ip, b.mac, b.ip)),
            ether(outside, b.mac, IPV4, ipv4(GATEWAY, a.ip, 17, udp(GATEWAY, a.ip, 1, 2, b"mixed up"))),
            ether(outside, BROADCAST, IPV4, ipv4(GATEWAY, b.ip, 17, udp(GATEWAY, b.ip, 1, 2, b"all"))),
            ether(outside, b.mac, 0x86DD, bytes(60)),
            ether(outside, b.mac, IPV4, bytes(60)),
        ):
            raw.send(frame)

        def grown():
            now = stats.drops()
            return {k: now[k] - before.get(k, 0) for k in ("SRC_IP", "SRC_MAC", "ARP", "NO_ROUTE", "BROADCAST", "PROTOCOL",
                                                           "MALFORMED") if now.get(k, 0) > before.get(k, 0)}

        # The kernel of the namespace sends IPv6 and multicast of its own.
        wait_for(lambda: all(grown().get(k, 0) >= 1 for k in ("SRC_IP", "SRC_MAC", "NO_ROUTE", "BROADCAST", "PROTOCOL",
                                                              "MALFORMED", "ARP")), f"drops {grown()}")
        nothing(a, "got a forged frame")
        nothing(b, "got a forged frame")
        stats.close()


# Hostile instances


def bad_ring(ctx):
    """A ring that no driver can have written stops that queue pair, with a reason, and nothing else."""
    with world(ctx, "--allow-all") as (s, _, add):
        a, b, c = add("a"), add("b"), add("c", pairs=2)
        stats = Stats(s.socket)
        q = a.tx[0]
        q.add([(a.size - 10, 100)], 0)
        a.ring()
        wait_for(lambda: stats.stop_reason(a.id), "not stopped")
        same("reason", stats.stop_reason(a.id), "pair 0 tx: descriptor outside the region's buffers")
        b.send(datagram(b, a, b"to the stopped one"))
        same("drops of a", stats.drops(a.id), {"STOPPED": 1})
        # c's first pair is bad, its second works.
        c.tx[0].add([(c.bufs, 100)] * 41, 0)
        c.ring()
        wait_for(lambda: stats.stop_reason(c.id), "not stopped")
        same("reason", stats.stop_reason(c.id), "pair 0 tx: chain too long")
        c.send(datagram(c, b, b"still here"), pair=1)
        need("c's second pair does not work", b.receive())
        stats.close()


def scribble(ctx):
    """Instances that write random bytes over all that they can, while two others go on talking."""
    seed = random.randrange(1 << 30)
    with world(ctx, "--allow-all") as (s, _, add):
        a, b = add("a"), add("b")
        rng = random.Random(seed)
        for i in range(40):
            bad = add(f"bad{i}", pairs=1 + i % 3)
            for _ in range(30):
                at = rng.randrange(0, bad.bufs - 16)
                bad.mem[at : at + 16] = rng.randbytes(16)
                bad.control[rng.randrange(0, 16000)] = rng.randrange(256)
                for q in (bad.rx[0], bad.tx[0]):
                    flags = rng.choice((0x80, 0x81, 0x82, 0x83, 0x8000))
                    struct.pack_into("<QIHH", bad.mem, q.base + 16 * rng.randrange(8), bad.bufs + rng.randrange(1 << 20),
                                     rng.randrange(1, 3000), rng.randrange(256), flags)
                at = 4096 + nic.QUEUE_BYTES + nic.EVENT_OFF + 128
                struct.pack_into("<I", bad.mem, at, rng.randrange(1 << 32))
                nic.futex_wake(bad.mem, at)
            frame = datagram(a, b, b"n%d" % i)
            a.send(frame)
            got = b.receive(want=lambda f, frame=frame: f == frame)
            need(f"seed {seed}: a neighbour's frame {i} did not arrive", got)
            if i % 2:
                bad.close()
        stats = Stats(s.socket)
        same(f"seed {seed}: a and b", (stats.stop_reason(a.id), stats.stop_reason(b.id)), ("", ""))
        stats.close()


# Attach and detach


def steps(ctx):
    """An end at each step of attaching leaves nothing behind, and bad requests get one clear answer."""
    with world(ctx) as (s, _, add):
        stats = Stats(s.socket)
        keep = add("keep")

        def gone(what):
            wait_for(lambda: stats.instances == 1, what + ": still attached")

        nic.Connection(s.socket).close()
        conn = nic.Connection(s.socket)
        conn.send_raw(b"short")
        data, _ = conn.receive()
        need("no answer to a short message", b"not a message" in data)
        same("the connection is closed", conn.receive()[0], b"")
        conn.close()

        conn = nic.Connection(s.socket)
        _, fds = conn.ask(nic.ATTACH, pairs=2, name="x", ip="10.200.3.3")
        same("instances", stats.instances, 2)
        # A region that its owner cannot shrink under the scheduler's feet.
        for size in (0, 1 << 30):
            try:
                os.ftruncate(fds[0], size)
                raise Failure(f"the region can be made {size} bytes long")
            except PermissionError:
                pass
        os.close(fds[0])
        conn.close()
        gone("closed after ATTACH")

        refusals = [
            (dict(kind=nic.ATTACH, pairs=0), "1 to 64"),
            (dict(kind=nic.ATTACH, pairs=65), "1 to 64"),
            (dict(kind=nic.ATTACH, pairs=1, most=2), "maximum cores"),
            (dict(kind=nic.ATTACH, pairs=1, ip="10.201.0.5"), "not in the scheduler's network"),
            (dict(kind=nic.ATTACH, pairs=1, ip=GATEWAY), "is taken"),
            (dict(kind=nic.ATTACH, pairs=1, ip="10.200.0.0"), "is taken"),
            (dict(kind=nic.ATTACH, pairs=1, ip="10.200.255.255"), "is taken"),
            (dict(kind=nic.ATTACH, pairs=1, ip=keep.ip), "is taken"),
            (dict(kind=nic.START), "attach first"),
            (dict(kind=99), "unknown kind"),
        ]
        for kw, text in refusals:
            conn = nic.Connection(s.socket)
            try:
                conn.ask(**kw)
                raise Failure(f"{kw} was not refused")
            except Refused as e:
                need(f"{kw}: the answer {str(e)!r} does not say {text!r}", text in str(e))
            conn.close()

        def memfd(size, seals):
            fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, 1033, seals)
            return fd

        me = os.pidfd_open(os.getpid())
        dead = subprocess.Popen(["true"])
        dead_fd = os.pidfd_open(dead.pid)
        dead.wait()
        good = memfd(nic.CTL_SIZE, 7)
        for fds, text in (
            ([], "two descriptors"),
            ([good], "two descriptors"),
            ([good, me, me], "two descriptors"),
            ([memfd(nic.CTL_SIZE, 0), me], "sealed"),
            ([memfd(4096, 7), me], "too small"),
            ([me, me], "sealed"),
            ([good, good], "not a pidfd"),
            ([good, dead_fd], "not a pidfd"),
        ):
            conn = nic.Connection(s.socket)
            _, got = conn.ask(nic.ATTACH, pairs=1, name="y")
            os.close(got[0])
            try:
                conn.ask(nic.START, fds=fds)
                raise Failure(f"START with {fds} was not refused")
            except Refused as e:
                need(f"START: the answer {str(e)!r} does not say {text!r}", text in str(e))
            conn.close()
            gone("refused START")

        # Death of the process; of the connection; both orders. Then the address can be had again.
        for i in range(3):
            x = add("x", ip="10.200.3.3")
            same("instances", stats.instances, 2)
            if i == 0:
                x.kill()
                same("the scheduler closes the connection", x.conn.receive()[0], b"")
            elif i == 1:
                x.conn.close()
            else:
                x.conn.close()
                x.kill()
            gone("ended")
        try:
            os.close(os.open(f"/proc/self/fd/{stats.fd}", os.O_RDWR))
            rw = os.open(f"/proc/self/fd/{stats.fd}", os.O_RDWR)
            try:
                os.pwrite(rw, b"x", 0)
                raise Failure("the statistics can be written")
            finally:
                os.close(rw)
        except PermissionError:
            pass
        stats.close()


def sockets(ctx):
    """Modes of the socket, a stale one, a second scheduler, and what is left after each kind of end."""
    s = Scheduler(ctx)
    try:
        same("mode", stat.S_IMODE(os.stat(s.socket).st_mode), 0o600)
        same("mode of its folder", stat.S_IMODE(os.stat(os.path.dirname(s.socket)).st_mode), 0o700)
        binary = os.path.join(ctx.build, "bin", "junction-scheduler")
        r = ctx.run([binary, "--socket", s.socket], timeout=10)
        need(f"a second one: {r.describe()}", r.code == 1 and b"answers there already" in r.err and r.err.count(b"\n") == 1)
        s.stop(signal.SIGKILL)
        need("no stale socket", os.path.exists(s.socket))
        s = Scheduler(ctx)
        same("exit status", s.stop(signal.SIGINT), 0)
        need("socket left", not os.path.exists(s.socket))
        plain = ctx.path("plain")
        with open(plain, "w", encoding="ascii") as f:
            f.write("mine")
        for argv, text in (
            (["--socket", plain], b"is no socket"),
            (["--uplink", "tap:much-too-long-a-name"], b"not a name"),
            (["--uplink", "carrier:pigeon"], b"unknown kind"),
            (["--uplink", "af_xdp:nosuch0"], b"no such interface"),
            (["--net", "10.0.0.1/8"], b"bits behind its prefix"),
            (["--net", "10.0.0.0"], b"give a network"),
            (["--fault", "loss=2"], b"not understood"),
            (["--poll", "dedicated"], b"--core N"),
            (["--allow", "a"], b"A:B"),
            (["--pcap", "/nonexistent/x"], b"--pcap"),
            (["extra"], b"no such argument"),
        ):
            r = ctx.run([binary, "--socket", s.socket, *argv] if argv[0] != "--socket" else [binary, *argv], timeout=20)
            need(f"{argv}: {r.describe()}", r.code == 1 and text in r.err and r.err.count(b"\n") == 1)
        same("the plain file", open(plain, encoding="ascii").read(), "mine")
        same("files of DPDK", [f for f in os.listdir(ctx.path()) if f.startswith("junction-eal")], [])
    finally:
        s.stop(signal.SIGKILL)


def client_fd(ctx):
    """--client-fd: one connection, no socket, and the end of it is the end of the scheduler."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    p = subprocess.Popen([os.path.join(ctx.build, "bin", "junction-scheduler"), "--client-fd", str(theirs.fileno())],
                         pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    try:
        theirs.close()
        conn = nic.Connection.__new__(nic.Connection)
        conn.sock = ours
        ours.settimeout(10)
        f, fds = conn.ask(nic.ATTACH, pairs=1, name="only")
        same("address", socket.inet_ntoa(f[5][:4]), "10.200.0.2")
        os.close(fds[0])
        conn.close()
        same("exit status", p.wait(10), 0)
    finally:
        p.kill()
        p.communicate()


def backlog(ctx):
    """Frames wait for an instance without buffers, in order, and segments are put together when it has some."""
    with world(ctx, uplink=True) as (s, ns, add), capture(ns) as raw:
        a, b = add("a", rx_buffers=0), add("b")
        stats = Stats(s.socket)
        out = b"\x02\0\0\0\0\x01"
        data = random.Random(5).randbytes(9 * 1400 + 100)
        frames = [ether(out, a.mac, IPV4, ipv4(GATEWAY, a.ip, 6, tcp(GATEWAY, a.ip, 5, 6, at, 0x10, data[at : at + 1400])))
                  for at in range(0, len(data), 1400)]
        bad = bytearray(ether(out, a.mac, IPV4, ipv4(GATEWAY, a.ip, 6, tcp(GATEWAY, a.ip, 5, 6, len(data), 0x10, b"x" * 100))))
        bad[60] ^= 1
        last = ether(out, a.mac, IPV4, ipv4(GATEWAY, a.ip, 17, udp(GATEWAY, a.ip, 5, 6, b"last")))
        for frame in [*frames, bytes(bad), last]:
            raw.send(frame)
        raw.send(ether(out, b.mac, IPV4, ipv4(GATEWAY, b.ip, 17, udp(GATEWAY, b.ip, 5, 6, b"to b"))))
        need("a neighbour waits for a", b.receive(want=is_ipv4))
        nothing(a, "it has no buffers")
        q = a.rx[0]
        for i in range(nic.RING_SIZE):
            q.add([(q.bufs + i * nic.BUF, nic.BUF)], i)
        got = a.receive(want=is_ipv4)
        need("nothing waited", got)
        same("offload header", got[1], (nic.NEEDS_CSUM, nic.GSO_TCPV4, 54, 1400, 34, 16, 7))
        need("other data", got[2][54:] == data)
        same("total length", struct.unpack_from(">H", got[2], 16)[0], 40 + len(data))
        same("IPv4 checksum", nic.checksum(got[2][14:34]), 0)
        same("pseudo-header", struct.unpack_from(">H", got[2], 50)[0],
             ~nic.checksum(nic.pseudo(GATEWAY, a.ip, 6, 20 + len(data))) & 0xFFFF)
        got = a.receive(want=is_ipv4)
        same("the damaged one, as it was", got and got[2], bytes(bad))
        same("its offload header", got[1][:2], (0, 0))
        got = a.receive(want=is_ipv4)
        same("the last one", got and got[2], last)
        stats.close()


def af_xdp(ctx):
    """The other kind of uplink that needs no hardware: AF_XDP on one end of a veth pair."""
    ns = Namespace()
    s = None
    try:
        run("ip", "-n", ns.name, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        for link in ("v0", "v1"):
            run("ip", "-n", ns.name, "link", "set", link, "up")
        run("ip", "-n", ns.name, "addr", "add", GATEWAY + "/16", "dev", "v1")
        s = Scheduler(ctx, "--uplink", "af_xdp:v0", ns=ns)
        a = Instance(s.socket, "a")
        try:
            with ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
                sock.settimeout(5)
                sock.bind((GATEWAY, 5000))
                sock.sendto(b"question", (a.ip, 7000))
                got = a.receive(want=is_ipv4, timeout=5)
                need("a receives nothing", got)
                a.send(datagram(a, GATEWAY, b"answer", mac=got[2][6:12], sport=7000, dport=5000))
                same("the kernel receives", sock.recvfrom(100), (b"answer", (a.ip, 7000)))
        finally:
            a.close()
        same("exit status", s.stop(), 0)
    finally:
        if s:
            s.stop(signal.SIGKILL)
        ns.close()


# Sleep, faults, capture


def sleeping(ctx):
    """An idle scheduler sleeps; each frame after a rest of random length is taken: no wake-up is lost."""
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    with world(ctx, "--allow-all", uplink=True) as (s, ns, add):
        a, b = add("a"), add("b")
        stats = Stats(s.socket)
        with ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            for i in range(300):
                # Some while it polls, some on the edge to sleep, some while it sleeps.
                time.sleep(rng.choice((0, 0.0002, 0.0004, 0.001, 0.003, 0.01)))
                if i % 3 == 2:
                    sock.sendto(b"%d" % i, (b.ip, 7))
                    need(f"seed {seed}: frame {i} of the uplink was lost", b.receive(want=is_ipv4))
                else:
                    a.send(datagram(a, b, b"%d" % i))
                    need(f"seed {seed}: frame {i} was lost", b.receive(want=is_ipv4))
        before, sleeps = stats.loops, stats.sleeps
        need("it never slept", sleeps > 0)
        time.sleep(0.5)
        # A polling loop turns a million times in half a second.
        need(f"{stats.loops - before} turns while idle", stats.loops - before < 100000)
        stats.close()


def faults(ctx):
    """The same seed loses the same frames; every kind of fault is counted."""

    def lost(seed, count=200):
        with world(ctx, "--fault", f"seed={seed},loss=0.2", uplink=True) as (s, ns, add), capture(ns) as raw:
            a = add("a")
            stats = Stats(s.socket)
            # Frames of the namespace's kernel would draw lots too.
            run("ip", "-n", ns.name, "link", "set", "wire", "arp", "off", "multicast", "off")
            start = stats.uplink()
            for i in range(count):
                a.send(datagram(a, "10.200.50.50", struct.pack("<I", i), mac=b"\x02\0\0\0\0\x01"))
            wait_for(lambda: stats.uplink()[1] - start[1] + stats.drops().get("FAULT", 0) >= count, "frames missing")
            n = stats.drops()["FAULT"]
            frames = read_all(raw, lambda f: is_ipv4(f) and f[26:30] == socket.inet_aton(a.ip), count - n)
            disturbed = stats.uplink()[0]
            stats.close()
            return disturbed, [struct.unpack_from("<I", f, 42)[0] for f in frames]

    for _ in range(4):
        first, second = lost(7), lost(7)
        if first[0] == second[0]:
            break
    need(f"{200 - len(first[1])} of 200 frames lost at 20 %", 120 < len(first[1]) < 190)
    if first[0] == 0 and second[0] == 0:
        same("frames that arrive", first[1], second[1])

    spec = "seed=3,dup=0.3,reorder=0.2,corrupt=0.3,delay_us=2000,jitter_us=3000"
    with world(ctx, "--fault", spec, uplink=True) as (s, ns, add), capture(ns) as raw:
        a = add("a")
        stats = Stats(s.socket)
        for i in range(200):
            a.send(datagram(a, "10.200.50.50", struct.pack("<I", i), mac=b"\x02\0\0\0\0\x01"))
        frames = read_all(raw, lambda f: f[6:12] == a.mac, 200 + 40)
        need(f"{len(frames)} frames: nothing was duplicated", len(frames) == 240)
        f = stats.faults()
        need(f"counters {f}", f["dup"] > 30 and f["corrupt"] > 30 and f["reorder"] > 15 and f["delay"] >= 240)
        order = [struct.unpack_from("<I", x, 42)[0] for x in frames if len(x) >= 46]
        need("nothing was reordered", order != sorted(order))
        stats.close()


def pcap(ctx):
    need("tcpdump is missing", shutil.which("tcpdump"))
    path = ctx.path("capture.pcap")
    with world(ctx, "--allow-all", "--pcap", path, "--pcap-limit", "20000") as (s, _, add):
        a, b = add("a"), add("b")
        for i in range(3):
            a.send(datagram(a, b, b"x" * i, sport=1234))
        for i in range(100):
            a.send(datagram(a, b, b"y" * 1000, sport=1234))
    r = ctx.must(["tcpdump", "-nr", path])
    lines = [x for x in r.out.decode().splitlines() if f"{a.ip}.1234 > {b.ip}.2000: UDP" in x]
    need(f"tcpdump reads {len(lines)} datagrams", 10 < len(lines) < 30)
    need("the limit", os.path.getsize(path) <= 20000)


def logs(ctx):
    import json

    with world(ctx, "--log-format", "json") as (s, _, add):
        add('na"me with\nall\\kinds')
        lines = [json.loads(x) for x in s.output().splitlines()]
    same("event", [(x["event"], x["name"]) for x in lines if x["event"] == "attached"],
         [("attached", "na_me_with_all_kinds")])


def cases(build):
    tests = (forward, full, whole_segments, uplink, segments, backlog, af_xdp, forged, bad_ring, scribble, steps, sockets, client_fd, sleeping,
             faults, pcap, logs)
    return [Case("scheduler/" + f.__name__, f) for f in tests]
