"""zygote.py - junctiond's end of the zygote's socket (junctiond/zygote/protocol.h), and sealed memfds of images."""
import array
import fcntl
import glob
import os
import signal
import socket
import struct
import subprocess
import time

from .case import Failure

MAGIC = 0x3147595A434E554A
START, STARTED, STOP, LIST, INSTANCE, END, ADOPT, LISTENING, EXITED, ERROR, STATS = range(1, 12)
# struct zy_msg
FIELDS = (
    "magic type request instance nr_kthreads guaranteed_cores memory addr pid wstatus port grace_ms nr_args nr_env "
    "nr_files asked_ns attached_ns cloned_ns first_ns listening_ns memory_used cpu_ns name text_len"
).split()
FORMAT = "=QIIQIIQ20siIIIIII7Q128sI4x"
SIZE = struct.calcsize(FORMAT)


class Message:
    """One packet; `fds` are the receiver's to close."""

    def __init__(self, kind=0, text=b"", fds=(), **fields):
        for f in FIELDS:
            setattr(self, f, b"" if f in ("name", "addr") else 0)
        self.magic, self.type, self.text, self.fds = MAGIC, kind, text, list(fds)
        for k, v in fields.items():
            setattr(self, k, v.encode() if k == "name" and isinstance(v, str) else v)
        self.text_len = fields.get("text_len", len(text))

    def pack(self):
        return struct.pack(FORMAT, *(getattr(self, f) for f in FIELDS)) + self.text

    @classmethod
    def unpack(cls, data, fds):
        m = cls(fds=fds)
        for f, v in zip(FIELDS, struct.unpack(FORMAT, data[:SIZE])):
            setattr(m, f, v)
        m.name = m.name.rstrip(b"\0").decode()
        m.text = data[SIZE:]
        return m

    @property
    def ip(self):
        return socket.inet_ntoa(self.addr[4:8])

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Client:
    """A connection. Messages that are waited for by type; others are kept in order."""

    def __init__(self, path, timeout=10):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.s.settimeout(timeout)
        self.s.connect(path)
        self.kept = []
        self.requests = 0

    def send(self, m):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", m.fds))] if m.fds else []
        self.s.sendmsg([m.pack()], rights)

    def receive(self):
        """The next message; None at the end of the connection."""
        data, control, _, _ = self.s.recvmsg(1 << 19, 4096)
        fds = array.array("i")
        for level, kind, value in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
        return Message.unpack(data, list(fds)) if data else None

    def wait(self, *kinds, instance=None, request=None):
        """The next message of one of these types."""
        def fits(m):
            return m.type in kinds and instance in (None, m.instance) and request in (None, m.request)

        for m in self.kept:
            if fits(m):
                self.kept.remove(m)
                return m
        while True:
            try:
                m = self.receive()
            except TimeoutError:
                raise Failure(f"nothing of type {kinds} came, instance {instance}; kept: "
                              f"{[(k.type, k.instance, k.text) for k in self.kept]}") from None
            if m is None:
                raise Failure(f"the zygote closed the connection; a message of type {kinds} was expected")
            if fits(m):
                return m
            self.kept.append(m)

    def start_message(self, instance, image, args=(), env=(), files=(), name="fn.test", **fields):
        text = b"".join(a.encode() + b"\0" for a in [*args, *env])
        for path, data in files:
            text += path.encode() + b"\0" + struct.pack("<I", len(data)) + data
        self.requests += 1
        return Message(START, text, [image], instance=instance, request=self.requests, name=name, nr_args=len(args),
                       nr_env=len(env), nr_files=len(files), **fields)

    def start(self, instance, image, args=(), **more):
        """Starts it: STARTED, or ERROR."""
        m = self.start_message(instance, image, args, **more)
        self.send(m)
        return self.wait(STARTED, ERROR, request=m.request)

    def started(self, *args, **more):
        m = self.start(*args, **more)
        if m.type != STARTED:
            raise Failure(f"not started: {m.text.decode()}")
        return m

    def list(self):
        self.requests += 1
        self.send(Message(LIST, request=self.requests))
        found = []
        while True:
            m = self.wait(INSTANCE, END, request=self.requests)
            if m.type == END:
                return found
            found.append(m)

    def stop(self, instance, grace_ms=0):
        self.send(Message(STOP, instance=instance, grace_ms=grace_ms))

    def close(self):
        self.s.close()
        for m in self.kept:
            m.close()


def image_memfd(ctx, jimg):
    """A sealed memfd of the image, unpacked, as junctiond holds it."""
    store = ctx.path("store")
    if not glob.glob(store + "/*.img"):
        os.makedirs(store, exist_ok=True)
        os.chmod(store, 0o700)
        # It unpacks, and then finds no scheduler.
        ctx.run([ctx.junction, "run", jimg, "--net", "--scheduler", ctx.path("none.sock")],
                env=dict(os.environ, JUNCTION_STORE=store))
    entries = glob.glob(store + "/*.img")
    if len(entries) != 1:
        raise Failure(f"the store has {entries}, one image was expected")
    fd = os.memfd_create("junction-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(entries[0], "rb") as f:
        while os.sendfile(fd, f.fileno(), None, 1 << 24):
            pass
    os.fchmod(fd, 0o444)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    ro = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(fd)
    return ro


class Zygote:
    """A running junction-zygote."""

    def __init__(self, ctx, scheduler, *options):
        self.ctx, self.rundir, self.logdir = ctx, ctx.path("run"), ctx.path("logs")
        self.socket = os.path.join(self.rundir, "zygote.sock")
        self.log = ctx.path("zygote.log")
        argv = [os.path.join(ctx.build, "bin", "junction-zygote"), "--rundir", self.rundir, "--logdir", self.logdir,
                "--scheduler", scheduler, *options]
        before = self.said().count(b"listening")
        with open(self.log, "ab") as f:
            self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True)
        end = time.monotonic() + 10
        while self.said().count(b"listening") == before:
            if time.monotonic() > end or self.p.poll() is not None:
                raise Failure(f"the zygote did not start: {self.said()!r}")
            time.sleep(0.005)

    def said(self):
        try:
            with open(self.log, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def logfile(self, instance, name="fn.test", old=False):
        function, _, namespace = name.rpartition(".")
        return os.path.join(self.logdir, namespace, function, f"{instance}.log{'.1' if old else ''}")

    def lines(self, instance, name="fn.test", old=False):
        """(stream, text) of its log."""
        try:
            with open(self.logfile(instance, name, old), "rb") as f:
                data = f.read()
        except FileNotFoundError:
            return []
        return [tuple(line.split(b" ", 2)[1:]) for line in data.split(b"\n")[:-1]]

    def kill(self):
        self.p.kill()
        self.p.wait()

    def stop(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
            try:
                self.p.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
