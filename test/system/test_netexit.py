"""A program ends with its connections open: peers get all that it sent, and hear the end (libos/net/netexit.c)."""
import os
import socket
import time

from harness.case import Case
from harness.network import GATEWAY, Network, Server, need

FAREWELL = Server("farewell", 0, program=lambda ctx: os.path.join(ctx.build, "test", "net", "farewell-musl"))


def listener(net, kind=socket.SOCK_STREAM):
    with net.inside():
        s = socket.socket(socket.AF_INET, kind)
    s.bind((GATEWAY, 0))
    s.settimeout(20)
    if kind == socket.SOCK_STREAM:
        s.listen()
    return s, str(s.getsockname()[1])


def sends_all(net, size, code, *how):
    lsn, port = listener(net)
    with lsn:
        i = net.start(FAREWELL, [GATEWAY, port, "tcp", str(size), *how], options=["--cores", "2"])
        conn, _ = lsn.accept()
        with conn:
            conn.settimeout(20)
            time.sleep(0.3)  # the program has ended, or waits for room; nobody reads yet
            got = bytearray()
            while part := conn.recv(1 << 20):
                got += part
        want = bytes(k % 251 for k in range(251)) * (size // 251 + 1)
        need(f"{len(got)} bytes of {size} came, or others", got == want[:size])
        status = i.wait()
        need(f"exit status {status}; {i.describe()}", status == code)
        need("a thread ran on after the end", b"late" not in i.output())


def data(ctx):
    """Nothing, a little, and more than windows hold."""
    with Network(ctx) as net:
        for size in (0, 1, 1000, 100000, 3000000):
            sends_all(net, size, 7)
        sends_all(net, 200000, -9, "kill")


def lossy(ctx):
    """The stack stays to retransmit."""
    with Network(ctx, fault="seed=5,loss=0.03") as net:
        sends_all(net, 300000, 7)


def datagram(ctx, fault=None):
    with Network(ctx, fault=fault) as net:
        sock, port = listener(net, socket.SOCK_DGRAM)
        with sock:
            i = net.start(FAREWELL, [GATEWAY, port, "udp"])
            need("the datagram is another", sock.recv(100) == b"farewell")
            need(i.describe(), i.wait() == 7)


def datagram_slow_arp(ctx):
    """The datagram waits for the link-layer address, which comes only after the program has ended."""
    datagram(ctx, fault="seed=1,delay_us=30000")


def silent_peer(ctx):
    """A peer that answers no more does not keep the instance."""
    with Network(ctx) as net:
        lsn, port = listener(net)
        with lsn:
            i = net.start(FAREWELL, [GATEWAY, port, "tcp", "1"])
            conn, _ = lsn.accept()
            with conn:
                net.client(["ip", "link", "set", "jt0", "down"])
                start = time.monotonic()
                need(i.describe(), i.wait(20) == 7)
                need("it took long", time.monotonic() - start < 15)


def cases(build):
    return [Case("net/exit-" + f.__name__.replace("_", "-"), f, serial=True) for f in (data, lossy, datagram, datagram_slow_arp, silent_peer)]
