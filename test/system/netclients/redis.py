"""redis.py - a functional script for redis-server: the protocol by hand, so that every byte is checked."""
import hashlib
import os
import threading
import time

from harness.network import need


class Error(Exception):
    """The server answered with an error."""


class Redis:
    """One connection. A call is a list of arguments; answers are bytes, int, list or None."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb", buffering=1 << 16)

    def send(self, *args):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        head = b"*%d\r\n" % len(parts)
        self.sock.sendall(head + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts))

    def answer(self):
        line = self.file.readline()
        need(f"the connection ended with {line!r}", line.endswith(b"\r\n"))
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            data = self.file.read(int(rest) + 2)
            return data[:-2]
        need(f"answer {line!r}", kind == b"*")
        return None if int(rest) < 0 else [self.answer() for _ in range(int(rest))]

    def __call__(self, *args):
        self.send(*args)
        return self.answer()

    def close(self):
        self.file.close()
        self.sock.close()


def equal(what, got, want):
    need(f"{what}: {got!r}, not {want!r}", got == want)


def basics(r):
    equal("PING", r("PING"), b"PONG")
    equal("SET", r("SET", "k", "v"), b"OK")
    equal("GET", r("GET", "k"), b"v")
    equal("GET of nothing", r("GET", "none"), None)
    equal("INCR", [r("INCR", "n") for _ in range(3)], [1, 2, 3])
    equal("LRANGE", (r("RPUSH", "list", *range(5)), r("LRANGE", "list", 0, -1)), (5, [b"0", b"1", b"2", b"3", b"4"]))
    equal("HGETALL", (r("HSET", "h", "a", 1, "b", 2), r("HGETALL", "h")), (2, [b"a", b"1", b"b", b"2"]))
    equal("ZRANGE", (r("ZADD", "z", 2, "b", 1, "a"), r("ZRANGE", "z", 0, -1)), (2, [b"a", b"b"]))
    equal("SMEMBERS", (r("SADD", "s", "x"), r("SMEMBERS", "s")), (1, [b"x"]))
    equal("DEL", (r("DEL", "k"), r("EXISTS", "k")), (1, 0))
    binary = bytes(range(256)) + b"\r\n\0\r\n"
    equal("binary value", (r("SET", binary, binary), r("GET", binary)), (b"OK", binary))
    try:
        r("INCR", "list")
        need("INCR of a list is no error", False)
    except Error as e:
        need(f"{e}", "WRONGTYPE" in str(e))


def configuration(r):
    equal("nothing is saved", (r("CONFIG", "GET", "save"), r("CONFIG", "GET", "appendonly")),
          ([b"save", b""], [b"appendonly", b"no"]))
    need("INFO has no version", b"redis_version:7" in r("INFO", "server"))


def large_values(r):
    for size in (100_000, 1 << 20, 16 << 20):
        value = os.urandom(1 << 16) * (size // (1 << 16) + 1)
        equal("SET", r("SET", "large", value), b"OK")
        got = r("GET", "large")
        equal(f"hash of {len(value)} bytes", hashlib.sha256(got).digest(), hashlib.sha256(value).digest())
    r("DEL", "large")


def pipeline(r, n=10000):
    """n commands before the first answer is read."""
    t = threading.Thread(target=lambda: [r.send("SET", f"p{i}", f"value {i}") or r.send("GET", f"p{i}")
                                         for i in range(n)])
    t.start()
    for i in range(n):
        equal("SET", r.answer(), b"OK")
        equal("GET", r.answer(), b"value %d" % i)
    t.join()


def lua(r):
    equal("EVAL", r("EVAL", "return {KEYS[1], ARGV[1] * 2}", 1, "key", 21), [b"key", 42])
    script = "local s = 0 for i = 1, ARGV[1] do s = s + i redis.call('SET', KEYS[1], s) end return redis.call('GET', KEYS[1])"
    equal("loop", r("EVAL", script, 1, "sum", 1000), b"500500")
    sha = r("SCRIPT", "LOAD", "return ARGV[1]")
    equal("EVALSHA", r("EVALSHA", sha, 0, "x"), b"x")


def transactions(r, connect):
    other = Redis(connect())
    equal("WATCH", r("WATCH", "w"), b"OK")
    equal("SET elsewhere", other("SET", "w", 1), b"OK")
    equal("MULTI", (r("MULTI"), r("SET", "w", 2), r("EXEC")), (b"OK", b"QUEUED", None))
    equal("MULTI", (r("MULTI"), r("INCR", "w"), r("EXEC")), (b"OK", b"QUEUED", [2]))
    other.close()


def subscriptions(r, connect):
    subs = [Redis(connect()) for _ in range(10)]
    for s in subs:
        equal("SUBSCRIBE", s("SUBSCRIBE", "news"), [b"subscribe", b"news", 1])
    equal("PUBLISH", r("PUBLISH", "news", "hello"), 10)
    for s in subs:
        equal("message", s.answer(), [b"message", b"news", b"hello"])
        s.close()


def blocking(r, connect):
    waiting = Redis(connect())
    waiting.send("BLPOP", "queue", 20)
    time.sleep(0.2)
    equal("RPUSH", r("RPUSH", "queue", "job"), 1)
    equal("BLPOP", waiting.answer(), [b"queue", b"job"])
    start = time.monotonic()
    equal("BLPOP of nothing", waiting("BLPOP", "queue", "0.3"), None)
    need("BLPOP came too early", time.monotonic() - start >= 0.29)
    waiting.close()


def expiry(r):
    equal("SET PX", r("SET", "short", "x", "PX", 100), b"OK")
    time.sleep(0.3)
    equal("GET after its time", r("GET", "short"), None)


def many_connections(connect, n=100, each=50):
    conns = [Redis(connect()) for _ in range(n)]

    def work(some):
        for _ in range(each):
            for c in some:
                c.send("INCR", "shared")
            for c in some:
                c.answer()

    threads = [threading.Thread(target=work, args=(conns[i::4],)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal("shared counter", conns[0]("GET", "shared"), b"%d" % (n * each))
    for c in conns:
        c.close()


def script(connect):
    r = Redis(connect())
    r("FLUSHALL")
    basics(r)
    configuration(r)
    lua(r)
    expiry(r)
    transactions(r, connect)
    subscriptions(r, connect)
    blocking(r, connect)
    pipeline(r)
    many_connections(connect)
    large_values(r)
    r.close()
