"""nic.py - an instance made of Python: attaches to the scheduler and drives its queue pairs (libos/abi/nic.h)."""
import array
import fcntl
import mmap
import os
import re
import select
import socket
import struct
import subprocess
import time

from harness.case import ROOT

MAGIC = 0x3144484353434E4A
ATTACH, ATTACHED, START, STARTED, STATS, ERROR = range(1, 7)
ADDR = "HH16s"
MSG = struct.Struct("<QII" + (ADDR * 3) + "6sH4xQIIII64s256s")

RING_SIZE = 256
QUEUE_BYTES = 8192
EVENT_OFF = 4096
BUF = 2048
NEXT, WRITE, AVAIL, USED = 1, 2, 1 << 7, 1 << 15
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_TCPV4 = 1
HDR = struct.Struct("<BBHHHHH")
CTL_SIZE = 16384 + (256 << 10) + 4 * (64 << 10)


class Refused(Exception):
    """The scheduler answered with an error; the text is its own."""


class Connection:
    """The control socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(10)
        self.sock.connect(path)

    def send_raw(self, data, fds=()):
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], anc)

    def receive(self):
        data, anc, _, _ = self.sock.recvmsg(MSG.size, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for level, kind, payload in anc:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) // 4 * 4])
        return data, list(fds)

    def ask(self, kind, fds=(), pairs=0, ip=None, name="", guaranteed=0, most=0):
        wish = (2, 0, socket.inet_aton(ip)) if ip else (0, 0, b"")
        self.send_raw(MSG.pack(MAGIC, kind, pairs, *wish, 0, 0, b"", 0, 0, b"", b"", 0, 0, guaranteed, most, 0, 0,
                               name.encode(), b""), fds)
        data, got = self.receive()
        if not data:
            raise EOFError("the scheduler closed the connection")
        fields = MSG.unpack(data)
        if fields[1] == ERROR:
            raise Refused(fields[-1].rstrip(b"\0").decode())
        return fields, got

    def close(self):
        self.sock.close()


class Queue:
    """Driver side of one virtqueue; buffers are [addr, addr + n * BUF) of the region."""

    def __init__(self, mem, q, bufs):
        self.mem, self.base, self.bufs, self.receive = mem, 4096 + q * QUEUE_BYTES, bufs, q % 2 == 0
        self.next = self.used = 0
        self.wrap = self.used_wrap = True
        self.chains = {}

    def desc(self, i):
        return self.base + 16 * i

    def add(self, pieces, ident):
        """Makes one chain of [(addr, len)] available, its first descriptor's flags last."""
        head = None
        for k, (addr, size) in enumerate(pieces):
            flags = (NEXT if k + 1 < len(pieces) else 0) | (WRITE if self.receive else 0)
            flags |= AVAIL if self.wrap else USED
            struct.pack_into("<QIH", self.mem, self.desc(self.next), addr, size, ident)
            if k == 0:
                head = (self.desc(self.next), flags)
            else:
                struct.pack_into("<H", self.mem, self.desc(self.next) + 14, flags)
            self.next += 1
            if self.next == RING_SIZE:
                self.next, self.wrap = 0, not self.wrap
        struct.pack_into("<H", self.mem, head[0] + 14, head[1])
        self.chains[ident] = len(pieces)

    def get_used(self):
        """(id, length) of the next returned chain, or None."""
        _, size, ident, flags = struct.unpack_from("<QIHH", self.mem, self.desc(self.used))
        if bool(flags & AVAIL) != self.used_wrap or bool(flags & USED) != self.used_wrap:
            return None
        self.used += self.chains.pop(ident)
        if self.used >= RING_SIZE:
            self.used, self.used_wrap = self.used - RING_SIZE, not self.used_wrap
        return ident, size

    def set_driver_event(self, enable):
        struct.pack_into("<HH", self.mem, self.base + EVENT_OFF, 0, 0 if enable else 1)

    def device_wants_event(self):
        return struct.unpack_from("<H", self.mem, self.base + EVENT_OFF + 66)[0] != 1


class Instance:
    """An attached instance with its own ring driver, and a sleeping process that stands for it."""

    def __init__(self, path, name="test", pairs=1, ip=None, start=True, rx_buffers=RING_SIZE):
        self.conn = Connection(path)
        self.process = self.pidfd = None
        f, fds = self.conn.ask(ATTACH, pairs=pairs, ip=ip, name=name)
        self.ip = socket.inet_ntoa(f[5][:4])
        self.gateway = socket.inet_ntoa(f[8][:4])
        self.mac, self.mtu, self.size, self.id = f[12], f[13], f[14], f[18]
        self.pairs = pairs
        self.region_fd = fds[0]
        self.mem = mmap.mmap(self.region_fd, self.size)
        self.bufs = struct.unpack_from("<Q", self.mem, 32)[0]
        self.rx, self.tx = [], []
        at = self.bufs
        for p in range(pairs):
            self.rx.append(Queue(self.mem, 2 * p, at))
            at += RING_SIZE * BUF
            self.tx.append(Queue(self.mem, 2 * p + 1, at))
            at += RING_SIZE * BUF
            for i in range(rx_buffers):
                self.rx[p].add([(self.rx[p].bufs + i * BUF, BUF)], i)
        self.got = []
        if start:
            self.start()

    def start(self):
        self.control_fd = os.memfd_create("control", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.control_fd, CTL_SIZE)
        fcntl.fcntl(self.control_fd, 1033, 2 | 4 | 1)  # F_ADD_SEALS: SHRINK, GROW, SEAL
        self.control = mmap.mmap(self.control_fd, CTL_SIZE)
        self.process = subprocess.Popen(["sleep", "600"])
        self.pidfd = os.pidfd_open(self.process.pid)
        self.conn.ask(START, fds=[self.control_fd, self.pidfd])

    def ring(self):
        if not self.tx[0].device_wants_event():
            return
        at = 4096 + QUEUE_BYTES + EVENT_OFF + 128
        old = struct.unpack_from("<I", self.mem, at)[0]
        struct.pack_into("<I", self.mem, at, (old + 1) & 0xFFFFFFFF)
        futex_wake(self.mem, at)

    def send(self, frame, pair=0, hdr=b"\0" * 12, piece=BUF):
        """Puts one frame into a transmit ring and waits until the device has taken it."""
        q = self.tx[pair]
        data = hdr + frame
        pieces = []
        for off in range(0, len(data), piece):
            addr = q.bufs + len(pieces) * BUF
            part = data[off : off + piece]
            self.mem[addr : addr + len(part)] = part
            pieces.append((addr, len(part)))
        q.add(pieces, 0)
        self.ring()
        wait_for(lambda: q.get_used() is not None, "the device takes no packet")

    def poll(self):
        """Moves what has been received into self.got: (pair, header, frame)."""
        for p, q in enumerate(self.rx):
            while True:
                used = q.get_used()
                if used is None:
                    break
                parts, ids = [], []
                count = HDR.unpack_from(self.mem, q.bufs + used[0] * BUF)[6]
                for k in range(count):
                    if k:
                        used = q.get_used()
                    ids.append(used[0])
                    parts.append(self.mem[q.bufs + used[0] * BUF : q.bufs + used[0] * BUF + used[1]])
                data = b"".join(parts)
                self.got.append((p, HDR.unpack_from(data), data[12:]))
                for i in ids:
                    q.add([(q.bufs + i * BUF, BUF)], i)

    def receive(self, timeout=3, want=lambda frame: True):
        """The next received frame that `want` takes, or None."""
        end = time.monotonic() + timeout
        while True:
            self.poll()
            for i, item in enumerate(self.got):
                if want(item[2]):
                    return self.got.pop(i)
            if time.monotonic() > end:
                return None
            time.sleep(0.001)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self):
        self.conn.close()
        self.kill()
        for fd in (self.region_fd, self.pidfd, getattr(self, "control_fd", None)):
            if fd is not None:
                os.close(fd)
        self.region_fd = self.pidfd = self.control_fd = None


def drop_names():
    """The drop reasons, in the order of enum sstats_drop."""
    with open(os.path.join(ROOT, "junctiond", "scheduler", "stats.h"), encoding="utf-8") as f:
        return re.findall(r"^\tD\((\w+),", f.read(), re.M)


class Stats:
    """The scheduler's counters (junctiond/scheduler/stats.h), mapped."""

    INSTANCES = 1344
    INSTANCE = 424

    def __init__(self, path):
        self.conn = Connection(path)
        _, fds = self.conn.ask(STATS)
        self.fd = fds[0]
        self.mem = mmap.mmap(self.fd, 0, prot=mmap.PROT_READ)
        self.names = drop_names()
        if 184 + 8 * len(self.names) + 32 + 1024 != self.INSTANCES:
            raise AssertionError("struct sstats has changed; so must this class")

    def u64(self, at):
        return struct.unpack_from("<Q", self.mem, at)[0]

    loops = property(lambda self: self.u64(112))
    sleeps = property(lambda self: self.u64(128))
    instances = property(lambda self: struct.unpack_from("<I", self.mem, 44)[0])

    def uplink(self):
        """(received, sent) frames."""
        return self.u64(152), self.u64(168)

    def drops(self, ident=0):
        """Reason -> count, without the zeros; of one instance, or of all."""
        at = self.INSTANCES + (ident - 1) * self.INSTANCE + 208 if ident else 184
        return {n: self.u64(at + 8 * i) for i, n in enumerate(self.names) if self.u64(at + 8 * i)}

    def faults(self):
        at = 184 + 8 * len(self.names)
        return dict(zip(("dup", "reorder", "corrupt", "delay"), struct.unpack_from("<4Q", self.mem, at)))

    def stop_reason(self, ident):
        at = self.INSTANCES + (ident - 1) * self.INSTANCE
        return self.mem[at + 104 : at + 168].rstrip(b"\0").decode() if self.mem[at + 87] else ""

    def close(self):
        self.mem.close()
        os.close(self.fd)
        self.conn.close()


def futex_wake(mem, offset):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    word = (ctypes.c_uint32).from_buffer(mem, offset)
    libc.syscall(202, ctypes.byref(word), 1, 2**31 - 1, None, None, 0)
    del word


def wait_for(what, text, timeout=5):
    end = time.monotonic() + timeout
    while not what():
        if time.monotonic() > end:
            raise AssertionError(text)
        time.sleep(0.001)


def readable(fd, timeout):
    return bool(select.select([fd], [], [], timeout)[0])


# Frames


def checksum(data, start=0):
    if len(data) % 2:
        data += b"\0"
    s = start + sum(struct.unpack(f">{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def ipv4(src, dst, proto, payload, ident=1, frag=0):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, frag, 64, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ether(src, dst, kind, payload):
    return dst + src + struct.pack(">H", kind) + payload


def tcp(src, dst, sport, dport, seq, flags, payload, finish=True):
    """finish: with a checksum; else with that of the pseudo-header alone, as for NEEDS_CSUM."""
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, 0, 5 << 4, flags, 65535, 0, 0)
    start = pseudo(src, dst, 6, 20 + len(payload))
    c = checksum(start + head + payload) if finish else ~checksum(start) & 0xFFFF
    return head[:16] + struct.pack(">H", c) + head[18:] + payload


def pseudo(src, dst, proto, size):
    return socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack(">HH", proto, size)


def udp(src, dst, sport, dport, payload):
    head = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    c = checksum(pseudo(src, dst, 17, 8 + len(payload)) + head + payload) or 0xFFFF
    return head[:6] + struct.pack(">H", c) + payload


def arp(op, sha, spa, tha, tpa):
    return struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, op, sha, socket.inet_aton(spa), tha, socket.inet_aton(tpa))


BROADCAST = b"\xff" * 6
