"""Published ports: the proxy between two loopback ports, and what `junction run` says of wrong options."""
import contextlib
import hashlib
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import images
from harness.case import Case, Failure

RST = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset


def need(what, condition):
    if not condition:
        raise Failure(what)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def proxied(ctx, listen=True, preexec=None, backlog=128):
    """A listening server and a connected way to it: (function that connects, the server's socket)."""
    server = socket.socket()
    server.settimeout(20)
    server.bind(("127.0.0.1", 0))
    if listen:
        server.listen(backlog)
    port = free_port()
    argv = [os.path.join(ctx.build, "test/net/runproxy"), str(port), str(server.getsockname()[1])]
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, preexec_fn=preexec)
    try:
        need("the proxy does not start", p.stdout.readline() == b"ready\n")
        yield lambda: socket.create_connection(("127.0.0.1", port), timeout=20), server, p
    finally:
        p.kill()
        p.communicate()
        server.close()


def read_all(s):
    h, n = hashlib.sha256(), 0
    while data := s.recv(1 << 16):
        h.update(data)
        n += len(data)
    return n, h.digest()


def copies_both_ways(ctx):
    """64 MiB each way at once, exact, then the end of the stream each way by itself."""
    data = os.urandom(1 << 20)
    want = hashlib.sha256(data * 64).digest()
    with proxied(ctx) as (connect, server, _):
        c = connect()
        s, _ = server.accept()
        got = {}

        def send(sock):
            for _ in range(64):
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        def receive(name, sock):
            got[name] = read_all(sock)

        threads = [threading.Thread(target=send, args=(x,)) for x in (c, s)]
        threads += [threading.Thread(target=receive, args=(n, x)) for n, x in (("client", c), ("server", s))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
        need(f"{got}", got == {"client": (64 << 20, want), "server": (64 << 20, want)})
        c.close()
        s.close()


def half_close(ctx):
    """The end of one direction arrives alone; the other direction goes on after it."""
    with proxied(ctx) as (connect, server, _):
        c = connect()
        s, _ = server.accept()
        s.settimeout(20)
        c.sendall(b"question")
        c.shutdown(socket.SHUT_WR)
        need("the server does not see the end", read_all(s)[0] == 8)
        time.sleep(0.1)
        s.sendall(b"answer")
        need("the client does not get the answer", c.recv(100) == b"answer")
        s.close()
        need("the client does not see the end", c.recv(100) == b"")


def reset(ctx):
    """A reset of either side arrives as a reset at the other."""
    for which in (0, 1):
        with proxied(ctx) as (connect, server, _):
            c = connect()
            s, _ = server.accept()
            s.settimeout(20)
            c.sendall(b"x")
            need("no data", s.recv(10) == b"x")
            a, b = (c, s) if which else (s, c)
            a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            a.close()
            try:
                data = b.recv(10)
                need(f"no reset but {data!r}", False)
            except ConnectionResetError:
                pass


def slow_reader(ctx):
    """A side that does not read stops the other one; the proxy does not grow."""
    with proxied(ctx) as (connect, server, p):
        c = connect()
        s, _ = server.accept()
        c.setblocking(False)
        sent, chunk = 0, b"x" * 65536
        while select.select([], [c], [], 1.0)[1]:
            sent += c.send(chunk)
            need("the client is never stopped", sent < 256 << 20)
        with open(f"/proc/{p.pid}/statm", encoding="ascii") as f:
            need("the proxy grew", int(f.read().split()[1]) < 4096)
        before = cpu_ticks(p.pid)
        time.sleep(0.5)
        need("the proxy spins", cpu_ticks(p.pid) - before < 10)
        c.setblocking(True)
        c.shutdown(socket.SHUT_WR)
        n, digest = read_all(s)
        need(f"{n} of {sent} bytes", n == sent and digest == hashlib.sha256(b"x" * sent).digest())


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def waits_for_the_server(ctx):
    """A server that listens a second later gets the connection that was made before."""
    with proxied(ctx, listen=False) as (connect, server, _):
        c = connect()
        c.sendall(b"early")
        time.sleep(1.0)
        server.listen(8)
        s, _ = server.accept()
        s.settimeout(20)
        need("no data", s.recv(10) == b"early")
        # From now on a refusal is one.
        s.close()
        server.close()
        start = time.monotonic()
        try:
            data = connect().recv(10)
            need(f"a refused connection says {data!r}", False)
        except ConnectionResetError:
            pass
        need("a refusal took its time", time.monotonic() - start < 3)


def gives_up(ctx):
    """Nobody ever listens: the connection ends after five seconds, with a reset."""
    with proxied(ctx, listen=False) as (connect, _, p):
        c = connect()
        start = time.monotonic()
        try:
            data = c.recv(10)
            need(f"{data!r}", False)
        except ConnectionResetError:
            pass
        took = time.monotonic() - start
        need(f"gave up after {took:.1f} s", 4 < took < 15)
        need("the proxy spins", cpu_ticks(p.pid) < 100)


def many_connections(ctx):
    """300 connections at once, each its own bytes, a third of them reset by the client."""
    with proxied(ctx, backlog=512) as (connect, server, _):
        clients = [connect() for _ in range(300)]
        for i, c in enumerate(clients):
            c.sendall(b"%d\n" % i)
        servers = [server.accept()[0] for _ in range(300)]
        for s in servers:
            s.settimeout(20)
            s.sendall(b"got " + s.recv(100))
        for i, c in enumerate(clients):
            need(f"connection {i}", c.recv(100) == b"got %d\n" % i)
            if i % 3 == 0:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            c.close()
        for s in servers:
            with contextlib.suppress(ConnectionResetError):
                need("no end", s.recv(100) == b"")
            s.close()


def out_of_descriptors(ctx):
    """With too few descriptors connections wait until others end; the proxy does not spin."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (84, 84))

    with proxied(ctx, preexec=few) as (connect, server, p):
        clients = [connect() for _ in range(20)]
        served = []
        server.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:
                served.append(server.accept()[0])
        need(f"{len(served)} connections at once", len(served) == 10)
        need("the proxy spins", cpu_ticks(p.pid) < 50)
        server.settimeout(20)
        for s in (*served, *clients[:10]):
            s.close()
        for _ in range(10):
            served.append(server.accept()[0])
        for s in (*served, *clients):
            s.close()


def wrong_options(ctx):
    """Wrong input is one line that names it, and exit status 2 (usage) or 126 (cannot be done here)."""
    img = images.image(ctx, "publish-true", "/usr/bin/true")
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen(1)
    port = taken.getsockname()[1]
    none = ctx.path("no.sock")
    for argv, code, word in (
            (["--ip", "10.0.0.2"], 2, b"only with --net"), (["--publish", "8080:80"], 2, b"only with --net"),
            (["--net", "--ip", "10.0.0"], 2, b"not an IPv4 address"),
            (["--net", "--ip", "::1"], 2, b"not an IPv4 address"),
            (["--net", "--dns", "name"], 2, b"not an IPv4 address"),
            (["--net", "--publish", "8080"], 2, b"as 127.0.0.1:8080:80"),
            (["--net", "--publish", "a:b:c:d"], 2, b"as 127.0.0.1:8080:80"),
            (["--net", "--publish", "8080:0"], 2, b"not a port"), (["--net", "--publish", "65536:80"], 2, b"not a port"),
            (["--net", "--publish", "8080:"], 2, b"not a port"), (["--net", "--publish", "+1:80"], 2, b"not a port"),
            (["--net", "--publish", "localhost:8080:80"], 2, b"not an IPv4 address"),
            (["--net", "--publish", "0.0.0.0:8080:80"], 2, b"--publish-remote"),
            (["--net", "--publish"], 2, b"needs a value"),
            (["--net", "--publish", f"{port}:80"], 126, b"choose another port"),
            (["--net", "--publish-remote", "--publish", "192.0.2.1:8080:80"], 126, b"address of this host"),
            (["--net", "--scheduler", none], 126, b"no scheduler listens at")):
        r = ctx.run([ctx.junction, "run", img, *argv])
        need(f"{argv}: {r.describe()}", r.code == code and word in r.err and r.err.count(b"\n") == 1)
    taken.close()


def cases(build):
    return [Case("publish/" + f.__name__.replace("_", "-"), f)
            for f in (copies_both_ways, half_close, reset, slow_reader, waits_for_the_server, gives_up,
                      many_connections, out_of_descriptors, wrong_options)]
