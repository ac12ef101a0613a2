"""UDP, ICMP and ARP between an instance and Linux, over the switch and its uplink (harness/network.py)."""
import os
import random
import socket
import struct

from harness.case import Case
from harness.network import GATEWAY, NET, Network, Server, ip, need

ECHO = Server("udpecho", 7, program=lambda ctx: os.path.join(ctx.build, "test", "net", "udpecho-musl"))


def opened(net, timeout=10):
    with net.inside():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(timeout)
    return s


def exchange(s, to, data):
    s.sendto(data, to)
    answer, sender = s.recvfrom(65536)
    need(f"answer from {sender}, not {to}", sender == to)
    return answer


def echo(ctx):
    """Datagrams of all sizes come back, those in fragments too."""
    rng = random.Random(7)
    with Network(ctx) as net:
        i = net.start(ECHO, ["7000"]).wait_output(b"ready")
        to = (i.addr, 7000)
        with opened(net) as s:
            sizes = [0, 1, 2, 17, 1000, 1471, 1472, 1473, 2048, 8000, 16384, 32768, 50000, 65507]
            for n in sizes + [rng.randrange(65507) for _ in range(40)]:
                data = rng.randbytes(n).replace(b"!", b".")
                need(f"{n} bytes do not come back", exchange(s, to, data) == data)
            need("!info", exchange(s, to, b"!info").decode() == f"to {i.addr} ttl 64 ")
            for _ in range(2000):
                data = rng.randbytes(100).replace(b"!", b".")
                need("100 bytes do not come back", exchange(s, to, data) == data)


def errors(ctx):
    """Closed ports and silent hosts, seen from both sides."""
    with Network(ctx) as net:
        i = net.start(ECHO, ["7000"]).wait_output(b"ready")
        with opened(net) as s:
            s.connect((i.addr, 7001))
            s.send(b"x")
            try:
                s.recv(10)
                need("a closed port answers", False)
            except ConnectionRefusedError:
                pass
        with opened(net) as s:
            to = (i.addr, 7000)
            closed = opened(net)
            with net.inside():
                closed.bind((GATEWAY, 0))
            port = closed.getsockname()[1]
            answer = exchange(s, to, f"!port {port}".encode())
            need(f"an open port: {answer}", answer == b"nothing")
            closed.close()
            answer = exchange(s, to, f"!port {port}".encode())
            need(f"a closed port: {answer}", answer == b"Connection refused")
            # Nobody is there: three questions by ARP, a second apart, and then the sender hears of it.
            answer = exchange(s, to, b"!host 10.77.200.200")
            need(f"a silent neighbour: {answer}", answer in (b"No route to host", b"Host is unreachable"))


def between(ctx):
    """From one instance to another, which no checksum is made for but over fragments."""
    with Network(ctx, options=["--allow-all"]) as net:
        a = net.start(ECHO, ["7000"]).wait_output(b"ready")
        b = net.start(ECHO, ["7000"]).wait_output(b"ready")
        with opened(net) as s:
            for n in [1, 2, 100, 1472, 1473, 5000, 40001, 65507]:
                answer = exchange(s, (a.addr, 7000), f"!relay {b.addr} {n}".encode())
                need(f"{n} bytes: {answer}", answer == str(n).encode())


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(ctx):
    """Echo requests of all sizes, up to what an IP packet holds."""
    rng = random.Random(8)
    with Network(ctx) as net:
        i = net.start(ECHO, ["7000"]).wait_output(b"ready")
        with net.inside():
            s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with s:
            s.settimeout(10)
            for seq, n in enumerate([0, 56, 1472, 1473, 9000, 65507]):
                data = rng.randbytes(n)
                head = struct.pack("!BBHHH", 8, 0, 0, 4711, seq)
                head = struct.pack("!BBHHH", 8, 0, checksum(head + data), 4711, seq)
                s.sendto(head + data, (i.addr, 0))
                while True:
                    packet, sender = s.recvfrom(70000)
                    packet = packet[(packet[0] & 15) * 4 :]
                    if sender[0] == i.addr and packet[0] == 0:
                        break
                need(f"echo of {n} bytes", packet[4:8] == head[4:8] and packet[8:] == data)
                need(f"checksum of {n} bytes", checksum(packet) == 0)


def path_mtu(ctx):
    """A router on the way says that a packet is too long; the instance sends shorter ones."""
    with Network(ctx) as net:
        ns2 = net.ns + "far"
        ip("netns", "add", ns2)
        try:
            ip("link", "add", "far0", "netns", net.ns, "type", "veth", "peer", "name", "far1", "netns", ns2)
            ip("-n", net.ns, "addr", "add", "10.78.0.1/24", "dev", "far0")
            ip("-n", net.ns, "link", "set", "far0", "mtu", "1000", "up")
            ip("-n", ns2, "addr", "add", "10.78.0.2/24", "dev", "far1")
            ip("-n", ns2, "link", "set", "far1", "mtu", "1000", "up")
            ip("-n", ns2, "route", "add", NET, "via", "10.78.0.1")
            ip("netns", "exec", net.ns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            i = net.start(ECHO, ["7000"]).wait_output(b"ready")
            to = (i.addr, 7000)
            old, net.ns = net.ns, ns2
            try:
                s = opened(net, timeout=1)
            finally:
                net.ns = old
            with s:
                need("!mtu before", exchange(s, to, b"!mtu") == b"1500")
                data = bytes(1400)
                for n in range(5):
                    # Ours goes in fragments; its answer is too long for the way, and is lost once.
                    s.sendto(data, to)
                    try:
                        need("1400 bytes", s.recv(65536) == data)
                        break
                    except socket.timeout:
                        pass
                need(f"lost {n} times", n == 1)
                need("!mtu after", exchange(s, to, b"!mtu") == b"1000")
        finally:
            ip("netns", "del", ns2)


def cases(build):
    return [Case("net/udp-" + f.__name__, f, serial=True) for f in (echo, errors, between, ping, path_mtu)]
