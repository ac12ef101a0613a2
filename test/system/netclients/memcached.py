"""memcached.py - a functional script for memcached, in its text protocol."""
import os

from harness.network import need


class Memcached:
    """One connection."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb", buffering=1 << 16)

    def line(self):
        line = self.file.readline()
        need(f"the connection ended with {line!r}", line.endswith(b"\r\n"))
        return line[:-2]

    def __call__(self, text):
        self.sock.sendall(text.encode() + b"\r\n")
        return self.line()

    def store(self, how, key, value, flags=0, extra=""):
        self.sock.sendall(f"{how} {key} {flags} 0 {len(value)}{extra}\r\n".encode() + value + b"\r\n")
        return self.line()

    def get(self, keys, verb="get"):
        """{key: (flags, value, cas or None)}"""
        self.sock.sendall(f"{verb} {keys}\r\n".encode())
        found = {}
        while (line := self.line()) != b"END":
            words = line.split()
            need(f"{line!r}", words[0] == b"VALUE")
            value = self.file.read(int(words[3]) + 2)
            found[words[1].decode()] = (int(words[2]), value[:-2], words[4] if len(words) > 4 else None)
        return found

    def close(self):
        self.file.close()
        self.sock.close()


def equal(what, got, want):
    need(f"{what}: {got!r}, not {want!r}", got == want)


def basics(m):
    need("version", m("version").startswith(b"VERSION 1."))
    equal("set", m.store("set", "k", b"value", 42), b"STORED")
    equal("get", m.get("k"), {"k": (42, b"value", None)})
    equal("get of nothing", m.get("none"), {})
    equal("add", (m.store("add", "k", b"x"), m.store("add", "new", b"x")), (b"NOT_STORED", b"STORED"))
    equal("replace", (m.store("replace", "none", b"x"), m.store("replace", "new", b"y")), (b"NOT_STORED", b"STORED"))
    equal("append", (m.store("append", "new", b"z"), m.get("new")), (b"STORED", {"new": (0, b"yz", None)}))
    equal("prepend", (m.store("prepend", "new", b"x"), m.get("new")), (b"STORED", {"new": (0, b"xyz", None)}))
    equal("set of a number", m.store("set", "n", b"10"), b"STORED")
    equal("incr, decr", (m("incr n 32"), m("decr n 2"), m("incr none 1")), (b"42", b"40", b"NOT_FOUND"))
    cas = m.get("k", "gets")["k"][2].decode()
    equal("cas", (m.store("cas", "k", b"1", extra=" " + cas), m.store("cas", "k", b"2", extra=" " + cas)),
          (b"STORED", b"EXISTS"))
    equal("delete", (m("delete k"), m("delete k")), (b"DELETED", b"NOT_FOUND"))
    equal("touch", (m("touch n 100"), m("touch none 1")), (b"TOUCHED", b"NOT_FOUND"))
    need("an unknown verb", m("nonsense") == b"ERROR")


def large(m):
    value = os.urandom(1000) * 1000
    equal("set of 1 MB", m.store("set", "large", value), b"STORED")
    need("1 MB differ", m.get("large")["large"][1] == value)
    equal("set of 2 MB", m.store("set", "huge", value * 2), b"SERVER_ERROR object too large for cache")
    need("still serves", m("version").startswith(b"VERSION"))
    equal("delete", m("delete large"), b"DELETED")


def many_keys(m, n=1000):
    m.sock.sendall(b"".join(b"set key%d 0 0 8 noreply\r\n%08d\r\n" % (i, i) for i in range(n)))
    found = m.get(" ".join(f"key{i}" for i in range(0, n, 10)))
    equal("keys of one get", len(found), n // 10)
    for i in range(0, n, 10):
        equal(f"key{i}", found[f"key{i}"][1], b"%08d" % i)


def many_connections(connect, n=300):
    conns = [Memcached(connect()) for _ in range(n)]
    for i, c in enumerate(conns):
        equal("set", c.store("set", f"c{i}", b"%d" % i), b"STORED")
    for i, c in enumerate(conns):
        equal("get", c.get(f"c{n - 1 - i}")[f"c{n - 1 - i}"][1], b"%d" % (n - 1 - i))
        c.close()


def script(connect):
    m = Memcached(connect())
    basics(m)
    many_keys(m)
    large(m)
    many_connections(connect)
    equal("flush_all", (m("flush_all"), m.get("key1")), (b"OK", {}))
    m.close()
