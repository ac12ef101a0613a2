"""Unmodified servers in instances, real clients of Linux in another network namespace (harness/network.py)."""
import contextlib
import hashlib
import os
import random
import re
import threading
import time

from harness import images
from harness.case import ROOT, Case, Failure, kill_group
from harness.network import GATEWAY, LOAD_SECONDS, NATIVE, Network, Server, need, record
from netclients import http, memcached, redis

_files = {}
_files_lock = threading.Lock()


def www(ctx):
    """The tree with /srv/www, made once."""
    root = os.path.join(ctx.build, "test-images", "www")
    with _files_lock:
        if not _files:
            _files.update(http.make_files(root))
    return root


def program(name):
    return lambda ctx: os.path.join(ctx.build, "test", "net", name)


def conf(name):
    return os.path.join(ROOT, "images", name)


REDIS = Server("redis", 6379, native=["/usr/bin/redis-server", conf("redis/redis.conf")])
MEMCACHED = Server("memcached", 11211, native=["/usr/bin/memcached", "-l", "0.0.0.0", "-p", "11211", "-U", "0", "-m",
                                                "64", "-c", "4096", "-t", "2", "-u", "nobody"])
NGINX = Server("nginx", 8080, native=["/usr/sbin/nginx", "-c", conf("nginx/nginx.conf")], tree=www)
PYTHON = Server("python-http", 8000, tree=www, native=[
    "/usr/bin/python3", "-u", "-m", "http.server", "8000", "--directory", "/srv/www"])
GO = Server("go-http", 8080, native=[os.path.join(ROOT, "build", "images", "go-http")])
HELLO = Server("hello", 8080, program=program("hello-musl"))
TRANSFER = Server("transfer", 7000, program=program("transfer-musl"))


def samples(ctx):
    """The Go server is compiled when it is wanted."""
    with images.lock_of("samples"):
        ctx.must(["ninja", "-C", ctx.build, "samples"], timeout=300)


def serving(net, server, **kw):
    if server is GO:
        samples(net.ctx)
    return net.start(server, **kw).wait_port(server.port)


# ---- functional scripts

def functional(server, script):
    def func(ctx):
        with Network(ctx) as net:
            i = serving(net, server)
            script(lambda: net.connect(i.addr, server.port, timeout=60), net, i)
            i.alive()

    return func


def redis_script(connect, net, i):
    redis.script(connect)
    out = net.client(["redis-cli", "-h", i.addr, "-r", "3", "INCR", "cli"]).out
    need(f"redis-cli: {out}", out.split() == [b"1", b"2", b"3"])


def memcached_script(connect, net, i):
    memcached.script(connect)


def nginx_script(connect, net, i):
    www(net.ctx)
    http.files_script(connect, _files, keeps_open=True, ranges=True)
    unmodified_clients(net, f"http://{i.addr}:{NGINX.port}")


def python_script(connect, net, i):
    www(net.ctx)
    http.files_script(connect, _files, keeps_open=False, ranges=False)
    status, data, _ = http.get(connect, "/dir/")
    need(f"a directory: {status} {data!r}", status == 200 and b'href="page.html"' in data and b'href="deep/"' in data)
    unmodified_clients(net, f"http://{i.addr}:{PYTHON.port}")


def go_script(connect, net, i):
    http.go_script(connect)
    # curl asks before it sends so much: Expect: 100-continue.
    body = os.urandom(3 << 20)
    out = net.client(["curl", "-sS", "--data-binary", "@-", "-H", "Expect: 100-continue",
                      f"http://{i.addr}:{GO.port}/hash"], stdin=body).out
    need(f"curl: {out}", out.split()[1] == hashlib.sha256(body).hexdigest().encode())


def unmodified_clients(net, url):
    for argv in (["curl", "-sS", url + "/large.bin"], ["wget", "-q", "-O", "-", url + "/large.bin"]):
        data = net.client(argv).out
        need(f"{argv[0]}: {len(data)} bytes", http.digest(data) == http.digest(_files["large.bin"]))


# ---- load: no error, whatever the speed

def wrk(net, i, port, path="/", connections=64):
    out = net.client(["wrk", "-t2", f"-c{connections}", f"-d{LOAD_SECONDS:g}s", "--latency", f"http://{i.addr}:{port}{path}"],
                     timeout=LOAD_SECONDS + 60).out.decode()
    requests = int(re.search(r"(\d+) requests in", out)[1])
    bad = re.search(r"Socket errors:.*|Non-2xx.*", out)
    need(f"{bad and bad[0]}\n{out}", not bad and requests > 0)
    return dict(requests=requests, per_second=float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1]),
                p99=re.search(r"99%\s+(\S+)", out)[1])


def hey(net, i, port, path="/", connections=50, options=()):
    out = net.client(["hey", "-z", f"{LOAD_SECONDS:g}s", "-c", str(connections), *options, f"http://{i.addr}:{port}{path}"],
                     timeout=LOAD_SECONDS + 60).out.decode()
    codes = {int(c): int(n) for c, n in re.findall(r"\[(\d+)\]\s+(\d+) responses", out)}
    need(out, "Error distribution" not in out and set(codes) == {200})
    return dict(requests=codes[200], per_second=float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1]))


def redis_benchmark(net, i, port):
    """The default tests; their default length where the load is to be that long."""
    n = 100_000 if LOAD_SECONDS >= 30 else max(1000, int(LOAD_SECONDS * 2000))
    r = net.client(["redis-benchmark", "-h", i.addr, "-n", str(n), "--csv"], timeout=LOAD_SECONDS * 40 + 60)
    rows = dict(re.findall(r'^"([^"]+)","([\d.]+)"', r.out.decode(), re.M))
    need(f"{r.describe()}", len(rows) >= 18 and not r.err and b"rror" not in r.out)
    return dict(requests=n, **{k: float(v) for k, v in rows.items()})


def mcload(net, i, port):
    argv = [program("mcload")(net.ctx), i.addr, str(port), "50", f"{LOAD_SECONDS:g}"]
    out = net.client(argv, timeout=LOAD_SECONDS + 60).out.decode()
    n = int(re.search(r"requests (\d+) errors 0", out)[1])
    return dict(requests=n, per_second=n / LOAD_SECONDS)


def load(server, *clients):
    def func(ctx):
        with Network(ctx) as net:
            i = serving(net, server)
            for name, client in clients:
                record(ctx, f"load {server.name} {name}", **client(net, i, server.port))
                i.alive()

    return func


# ---- transfers of known bytes

MB = 1_000_000


def transfer(net, how, megabytes, name, inside_listens=True, timeout=150):
    """`how` is the instance's part: send, recv or both. Linux has the other one."""
    other = {"send": "recv", "recv": "send", "both": "both"}[how]
    size, seed = str(megabytes * MB), str(random.Random(name).randrange(1 << 32))
    tool = program("transfer-musl")(net.ctx)
    if inside_listens:
        i = net.start(TRANSFER, args=["listen", "7000", how, size, seed]).wait_output(b"ready")
        out = net.client([tool, "connect", i.addr, "7000", other, size, seed], timeout=timeout).out
    else:
        result = {}

        def listen():
            result["r"] = net.client([tool, "listen", "7000", other, size, seed], timeout=timeout, must=False)

        t = threading.Thread(target=listen)
        t.start()
        time.sleep(0.3)
        i = net.start(TRANSFER, args=["connect", GATEWAY, "7000", how, size, seed])
        t.join()
        need(f"outside: {result['r'].describe()}", result["r"].code == 0)
        out = result["r"].out
    code = i.wait(60)
    need(f"inside: {i.describe()}", code == 0)
    sent, got = (dict(re.findall(rb"(sent|received) (\d+ \w+)", text)) for text in (i.output(), out))
    for a, b in ((sent, got), (got, sent)):
        if b"sent" in a:
            need(f"sent {a[b'sent']}, received {b.get(b'received')} (seed {seed})", a[b"sent"] == b.get(b"received"))
    seconds = float(re.search(rb"seconds ([\d.]+)", out)[1])
    record(net.ctx, "transfer " + name, megabytes=megabytes, seconds=seconds,
           megabits_per_second=round(megabytes * 8 / max(seconds, 0.001)), fault=net.fault or "")


def transfer_clean(how, megabytes, inside_listens=True):
    def func(ctx):
        with Network(ctx) as net:
            side = "server" if inside_listens else "client"
            transfer(net, how, megabytes, f"{side} {how} {megabytes} MB", inside_listens)

    return func


# name: what the switch does, megabytes
FAULTS = {
    "loss-1": ("loss=0.01", 100),
    "loss-5": ("loss=0.05", 20),
    "reorder": ("reorder=0.05", 100),
    "duplicate": ("dup=0.05", 100),
    "corrupt": ("corrupt=0.01", 50),
    "delay": ("delay_us=5000,jitter_us=2000", 100),
    "everything": ("loss=0.01,reorder=0.02,dup=0.01,corrupt=0.005,delay_us=1000,jitter_us=1000", 10),
}


def transfer_fault(name, how):
    def func(ctx):
        fault, megabytes = FAULTS[name]
        with Network(ctx, fault="seed=7," + fault) as net:
            transfer(net, how, megabytes, f"{name} {how} {megabytes} MB", timeout=150)

    return func


# ---- names and connections to the outside

def start_dns(net, names):
    """A tiny name server at the gateway: A records of `names`; AAAA: none; other names do not exist."""
    import socket
    import struct

    with net.inside():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((GATEWAY, 53))
    asked = []

    def answer(query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]])
            at += 1 + query[at]
        name, kind = b".".join(labels).decode().lower(), struct.unpack(">H", query[at + 1 : at + 3])[0]
        asked.append((name, kind))
        found = names.get(name, []) if kind == 1 else []
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if name in names else 0x8183, 1, len(found), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(a) for a in found)
        return head + query[12 : at + 5] + records

    def serve():
        while True:
            try:
                query, peer = s.recvfrom(512)
            except OSError:
                return
            if query == b"end":
                return
            s.sendto(answer(query), peer)

    t = threading.Thread(target=serve, daemon=True)
    t.start()

    def stop():
        with net.inside():
            e = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        e.sendto(b"end", (GATEWAY, 53))
        e.close()
        t.join(5)
        s.close()

    return asked, stop


def names(ctx):
    """getaddrinfo of glibc and of musl, through /etc/resolv.conf; IPv6 sockets fall back."""
    import socket

    many = [f"192.0.2.{i}" for i in range(1, 21)]
    with Network(ctx) as net:
        asked, stop = start_dns(net, {"one.test": ["192.0.2.7"], "many.test": many, "gate.test": [GATEWAY]})
        with net.inside():
            listener = socket.create_server((GATEWAY, 7777))

        def greet():
            with contextlib.suppress(OSError):
                for _ in range(2):
                    c, _ = listener.accept()
                    c.sendall(b"welcome")
                    c.close()

        t = threading.Thread(target=greet, daemon=True)
        t.start()
        try:
            for variant in ("dyn", "musl"):
                i = net.start(Server("lookup-" + variant, 0, program=program("lookup-" + variant)),
                              args=["localhost", "one.test", "many.test", "none.test", "any:one.test", "tcp:gate.test:7777"],
                              options=["--dns", GATEWAY])
                code = i.wait(60)
                lines = dict(line.split(":", 1) for line in i.output().decode().splitlines())
                need(f"{code} {lines}", code == 0)
                need(f"{variant}: {lines}", lines["localhost"].split() == ["127.0.0.1"]
                     and lines["one.test"].split() == ["192.0.2.7"] and sorted(lines["many.test"].split()) == sorted(many)
                     and lines["none.test"].strip() == "no such name" and lines["tcp gate.test"].strip() == "welcome")
            need(f"asked {asked}", ("none.test", 1) in asked)
        finally:
            stop()
            listener.close()


def outbound(ctx):
    """curl and wget inside fetch from a server outside, by address and by name."""
    data = os.urandom(5 << 20)
    folder = ctx.path("served")
    os.makedirs(folder)
    with open(os.path.join(folder, "file.bin"), "wb") as f:
        f.write(data)
    want = http.digest(data)
    with Network(ctx) as net:
        _, stop = start_dns(net, {"files.test": [GATEWAY]})
        import subprocess

        with net.inside():
            server = subprocess.Popen(["/usr/bin/python3", "-m", "http.server", "8000", "--bind", GATEWAY, "--directory",
                                       folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      start_new_session=True)
        try:
            net_wait(net, GATEWAY, 8000)
            for host in (GATEWAY, "files.test"):
                for name, args in (("curl", ["-sS", "--fail"]), ("wget", ["-q", "-O", "-"])):
                    i = net.start(Server(name, 0, program=lambda ctx, n=name: "/usr/bin/" + n),
                                  args=[*args, f"http://{host}:8000/file.bin"], options=["--dns", GATEWAY])
                    code = i.wait(60)
                    need(f"{name} of {host}: {code}, {len(i.output())} bytes", code == 0 and http.digest(i.output()) == want)
                    i = net.start(Server(name, 0, program=lambda ctx, n=name: "/usr/bin/" + n),
                                  args=[*args, f"http://{host}:8000/none"], options=["--dns", GATEWAY])
                    need(f"{name}: a file that is not there", i.wait(60) != 0)
        finally:
            kill_group(server.pid)
            server.wait()
            stop()


def net_wait(net, addr, port):
    end = time.monotonic() + 20
    while True:
        try:
            net.connect(addr, port, timeout=2).close()
            return
        except OSError:
            need(f"nobody listens at {addr}:{port}", time.monotonic() < end)
            time.sleep(0.05)


def cases(build):
    serial = dict(serial=True)
    out = [Case("net/" + name, functional(server, script), **serial) for name, server, script in (
        ("redis", REDIS, redis_script), ("memcached", MEMCACHED, memcached_script), ("nginx", NGINX, nginx_script),
        ("go-http", GO, go_script), ("python-http", PYTHON, python_script))]
    out += [Case("net/load-" + server.name, load(server, *clients), **serial) for server, *clients in (
        (REDIS, ("redis-benchmark", redis_benchmark)), (MEMCACHED, ("mcload", mcload)),
        (NGINX, ("wrk", wrk), ("wrk 1 MB", lambda n, i, p: wrk(n, i, p, "/numbers.txt", 16)), ("hey", hey)),
        (GO, ("hey", hey), ("wrk", wrk)),
        # One connection a request, and a queue of five for them.
        (PYTHON, ("hey", lambda n, i, p: hey(n, i, p, "/small.txt", 4, ["-disable-keepalive"]))))]
    for how in ("recv", "send"):
        out.append(Case(f"net/transfer-1GB-{how}", transfer_clean(how, 1000), **serial))
        out.append(Case(f"net/transfer-client-{how}", transfer_clean(how, 200, False), **serial))
    out.append(Case("net/transfer-both", transfer_clean("both", 300), **serial))
    out += [Case(f"net/transfer-{name}-{how}", transfer_fault(name, how), **serial)
            for name in FAULTS for how in ("recv", "send")]
    out += [Case("net/names", names, **serial), Case("net/outbound", outbound, **serial)]
    return out
