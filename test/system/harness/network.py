"""network.py - networks of a test's own, servers in instances on them, and clients outside.

    host's namespaces                            network namespace jt-PID-N, made by the test
    ------------------------------------         ------------------------------------------------
    junction run --net --scheduler S.sock        junction-scheduler --uplink tap:jt0
      instance 10.77.1.1  == queue pairs ======    switch == jt0 (10.77.0.1/16)
      instance 10.77.1.2  == queue pairs ======                |
                                                 clients: sockets of the test, curl, wrk, ...

An instance has no network namespace that matters: all that it has are its queue pairs. Only the scheduler must
be in the namespace where its tap shall be.

With JUNCTION_NET_NATIVE=1 the same servers run on Linux instead, to show that a test's clients are right:

    network namespace jt-PID-Nn                  network namespace jt-PID-N
      servers, at 10.77.1.x on eth0 ===veth===   jt0 (10.77.0.1/16), clients
"""
import contextlib
import ctypes
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time

from .case import ROOT, Failure, shorten

GATEWAY, NET = "10.77.0.1", "10.77.0.0/16"
NATIVE = os.environ.get("JUNCTION_NET_NATIVE") == "1"
LOAD_SECONDS = float(os.environ.get("JUNCTION_LOAD_SECONDS", "5"))
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)
_results_lock = threading.Lock()


def need(what, condition):
    if not condition:
        raise Failure(what)


def ip(*args):
    r = subprocess.run(["ip", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if r.returncode:
        raise Failure(f"ip {' '.join(args)}: {r.stdout.strip()}")
    return r.stdout


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(ns):
    """The calling thread is in that network namespace: its new sockets, and the programs that it starts."""
    with open(f"/proc/self/task/{threading.get_native_id()}/ns/net", "rb") as back, \
            open(f"/run/netns/{ns}", "rb") as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(back.fileno())


def record(ctx, name, **figures):
    """Adds figures to BUILD/test-results/net.json: for people to read, never a verdict."""
    folder = os.path.join(ctx.build, "test-results")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "net.json")
    with _results_lock:
        try:
            with open(path, encoding="utf-8") as f:
                data = json.load(f)
        except (OSError, ValueError):
            data = {}
        data[name + (" (native)" if NATIVE else "")] = figures
        with open(path + ".new", "w", encoding="utf-8") as f:
            json.dump(data, f, indent=1, sort_keys=True)
            f.write("\n")
        os.replace(path + ".new", path)


class Instance:
    """A server that runs: `junction run --net`, or the same program on Linux."""

    def __init__(self, net, name, argv, addr):
        self.net, self.name, self.addr = net, name, addr
        self.log = net.ctx.path(f"{name}-{next(_numbers)}.log")
        with open(self.log, "wb") as f:
            self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True)

    def output(self, limit=-1):
        with open(self.log, "rb") as f:
            return f.read(limit)

    def describe(self):
        state = self.p.poll()
        state = "runs" if state is None else f"ended with {state}"
        return f"{self.name} at {self.addr} {state}; it said: {shorten(self.output(2000), 600) or 'nothing'}"

    def wait_port(self, port, timeout=30):
        """Until it accepts connections."""
        end = time.monotonic() + timeout
        while True:
            try:
                with self.net.connect(self.addr, port, timeout=2):
                    return self
            except OSError as e:
                need(f"no connection to port {port} ({e}); {self.describe()}",
                     time.monotonic() < end and self.p.poll() is None)
                time.sleep(0.02)

    def wait_output(self, text, timeout=30):
        end = time.monotonic() + timeout
        while text not in self.output():
            need(f"did not say {text!r}; {self.describe()}", time.monotonic() < end and self.p.poll() is None)
            time.sleep(0.02)
        return self

    def wait(self, timeout=60):
        """Its exit status."""
        try:
            return self.p.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"does not end; {self.describe()}") from None

    def alive(self):
        need(f"has ended; {self.describe()}", self.p.poll() is None)

    def instance_pid(self):
        """The process of the instance below `junction run`."""
        with open(f"/proc/{self.p.pid}/task/{self.p.pid}/children", encoding="ascii") as f:
            for pid in f.read().split():
                with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
                    if any(line.startswith("480000000000-") for line in maps):
                        return int(pid)
        raise Failure(f"no instance below process {self.p.pid}; {self.describe()}")

    def stop(self):
        for sig, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
            if self.p.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.p.pid, sig)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.p.wait(patience)


class Network:
    """A network namespace with a scheduler's uplink in it. Use as a context manager."""

    def __init__(self, ctx, options=(), fault=None):
        need("network tests make namespaces and need root", os.getuid() == 0)
        self.ctx = ctx
        self.ns = f"jt-{os.getpid()}-{next(_numbers)}"
        self.native_ns = self.ns + "n" if NATIVE else None
        self.socket = ctx.path("s.sock")
        self.log = ctx.path("scheduler.log")
        self.options = [*options] + (["--fault", fault] if fault else [])
        self.fault = fault
        self.scheduler = None
        self.instances = []
        self.hosts = itertools.count(1)

    def __enter__(self):
        try:
            ip("netns", "add", self.ns)
            ip("-n", self.ns, "link", "set", "lo", "up")
            if NATIVE:
                self._native_link()
            else:
                self._start_scheduler()
            ip("-n", self.ns, "addr", "add", GATEWAY + "/16", "dev", "jt0")
            ip("-n", self.ns, "link", "set", "jt0", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _native_link(self):
        ip("netns", "add", self.native_ns)
        ip("-n", self.native_ns, "link", "set", "lo", "up")
        ip("link", "add", "jt0", "netns", self.ns, "type", "veth", "peer", "name", "eth0", "netns", self.native_ns)
        ip("-n", self.native_ns, "link", "set", "eth0", "up")
        ip("-n", self.native_ns, "addr", "add", "10.77.0.2/16", "dev", "eth0")

    def _native_dns(self, options):
        """What --dns does for an instance."""
        if "--dns" not in options:
            return []
        conf = self.ctx.path("resolv.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"nameserver {options[options.index('--dns') + 1]}\n")
        return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', conf]

    def _start_scheduler(self):
        argv = ["ip", "netns", "exec", self.ns, os.path.join(self.ctx.build, "bin", "junction-scheduler"),
                "--uplink", "tap:jt0", "--socket", self.socket, "--net", NET, "--gateway", GATEWAY, *self.options]
        with contextlib.suppress(FileNotFoundError): # of a run that was killed
            os.unlink(self.socket)
        with open(self.log, "wb") as f:
            self.scheduler = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                                              start_new_session=True)
        end = time.monotonic() + 30
        while not os.path.exists(self.socket):
            need(f"the scheduler does not start: {self.scheduler_says()}",
                 time.monotonic() < end and self.scheduler.poll() is None)
            time.sleep(0.01)

    def scheduler_says(self):
        with open(self.log, "rb") as f:
            return f"status {self.scheduler.poll()}, {shorten(f.read())}"

    def __exit__(self, kind, value, trace):
        for i in self.instances:
            with contextlib.suppress(OSError):
                os.killpg(i.p.pid, signal.SIGTERM)
        for i in self.instances:
            i.stop()
        if self.scheduler:
            died = self.scheduler.poll()
            self.scheduler.terminate()
            try:
                self.scheduler.wait(10)
            except subprocess.TimeoutExpired:
                self.scheduler.kill()
                self.scheduler.wait()
        for ns in (self.ns, self.native_ns):
            if ns and os.path.exists(f"/run/netns/{ns}"):
                ip("netns", "del", ns)
        if self.scheduler and died is not None:
            raise Failure(f"the scheduler died: {self.scheduler_says()}\n{value or ''}")
        if kind and issubclass(kind, (Failure, OSError, AssertionError)):
            says = "\n".join(i.describe() for i in self.instances[:5])
            also = f"scheduler: {self.scheduler_says()}\n" if self.scheduler else ""
            raise Failure(f"{kind.__name__}: {value}\n{also}{says}") from value

    def inside(self):
        return inside(self.ns)

    def connect(self, addr, port, timeout=30):
        with self.inside():
            return socket.create_connection((addr, port), timeout=timeout)

    def client(self, argv, timeout=60, must=True, **kw):
        """Runs a command of Linux in the namespace."""
        with self.inside():
            return (self.ctx.must if must else self.ctx.run)(argv, timeout=timeout, **kw)

    def run_argv(self, img, addr, args=None, options=()):
        argv = [self.ctx.junction, "run", img, "--net", "--scheduler", self.socket, "--ip", addr, *options]
        return argv + (["--", *args] if args is not None else [])

    def start(self, server, args=None, options=(), addr=None):
        """Starts a server (Server below) at an address of its own."""
        addr = addr or f"10.77.{1 + (n := next(self.hosts)) // 200}.{1 + n % 200}"
        if NATIVE:
            ip("-n", self.native_ns, "addr", "add", addr + "/16", "dev", "eth0")
            argv = ["ip", "netns", "exec", self.native_ns, *self._native_dns(options), *server.native(self.ctx, args)]
        else:
            argv = self.run_argv(server.image(self.ctx), addr, args, options)
        i = Instance(self, server.name, argv, addr)
        self.instances.append(i)
        return i


class Server:
    """A program to run in an instance: image from images/NAME, or of one binary; and how Linux runs it."""

    def __init__(self, name, port, program=None, native=None, tree=None):
        self.name, self.port, self.program, self.native_argv, self.tree = name, port, program, native, tree

    def image(self, ctx):
        from . import images

        if self.program:
            return images.image(ctx, "net-" + self.name, self.program(ctx))
        recipe = os.path.join(ROOT, "images", self.name, "recipe.yaml")
        return images.image(ctx, "net-" + self.name, None, recipe=recipe, rootfs=self.tree and self.tree(ctx))

    def native(self, ctx, args):
        argv = [self.program(ctx)] if self.program else list(self.native_argv)
        if args is not None:
            argv = argv[:1] + list(args)
        if not self.tree:
            return argv
        # The image's files where the image has them, for this process only.
        script = 'mount -t tmpfs none /srv && mkdir /srv/www && mount --bind "$0" /srv/www && exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, os.path.join(self.tree(ctx), "srv/www"), *argv]


__all__ = ["GATEWAY", "LOAD_SECONDS", "NATIVE", "Instance", "Network", "Server", "inside", "ip", "need", "record"]
