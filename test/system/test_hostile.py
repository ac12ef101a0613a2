"""Instances that mean harm, beside a neighbour that works: test/programs/netevil.c writes over its own rings, buffers
and control words, forges addresses, floods. The neighbour's transfer must be exact, and the scheduler must go on.
(test_scheduler.py does the same with rings of its own, and dies at each step of attaching.)"""
import json
import os
import re
import socket
import threading
import time

from harness.case import Case, Failure
from harness.network import GATEWAY, Network, Server, need

EVIL = Server("netevil", 0, program=lambda ctx: ctx.program("netevil-musl"))
TRANSFER = Server("transfer", 7000, program=lambda ctx: os.path.join(ctx.build, "test", "net", "transfer-musl"))
VICTIM, ENEMY = "10.77.9.1", "10.77.9.2"


def counters(net):
    return json.loads(net.ctx.must([net.ctx.junction, "top", "--once", "--json", "--socket", net.socket]).out)


def tool(net):
    return os.path.join(net.ctx.build, "test", "net", "transfer-musl")


class Transfer(threading.Thread):
    """Megabytes both ways between the victim and Linux, checked byte by byte."""

    def __init__(self, net, megabytes=200):
        super().__init__()
        self.net, self.size, self.bad = net, str(megabytes << 20), None
        self.victim = net.start(TRANSFER, args=["listen", "7000", "both", self.size, "5"], addr=VICTIM)
        self.victim.wait_output(b"ready")
        self.start()

    def run(self):
        try:
            r = self.net.client([tool(self.net), "connect", VICTIM, "7000", "both", self.size, "5"], timeout=120, must=False)
            self.bad = None if r.code == 0 else r.describe()
        except Failure as e:
            self.bad = str(e)

    def check(self):
        self.join()
        need(f"the neighbour's transfer: {self.bad}; {self.victim.describe()}", self.bad is None)
        need(f"the neighbour: {self.victim.describe()}", self.victim.wait(30) == 0)


def storm(what, seed):
    """Random bytes for two seconds, three times; each enemy may end as it likes, but nobody else may notice."""
    def func(ctx):
        with Network(ctx, options=["--allow-all"]) as net:
            t = Transfer(net)
            for i in range(3):
                enemy = net.start(EVIL, args=[what, str(seed + i), "2", GATEWAY], addr=ENEMY)
                try:
                    enemy.p.wait(8)
                except Exception:
                    enemy.stop()  # it has broken its own library OS: its affair
            t.check()
            # the address is free again, and a good instance works there
            again = net.start(TRANSFER, args=["listen", "7000", "send", "1000000", "3"], addr=ENEMY).wait_output(b"ready")
            net.client([tool(net), "connect", ENEMY, "7000", "recv", "1000000", "3"])
            need(again.describe(), again.wait(30) == 0)
        return 3

    return func


# what netevil forges, by the reason that the switch must give
FORGED = {"forged source MAC": 1, "forged source IP": 2, "forged or useless ARP": 2, "broadcast or multicast": 1,
          "not IPv4 or ARP": 1, "malformed frame": 1}


def neighbour(net):
    """The victim's MAC as Linux knows it."""
    text = net.client(["ip", "neigh", "show", "dev", "jt0"]).out.decode()
    entry = re.search(rf"{re.escape(VICTIM)} lladdr (\S+)", text)
    need(f"neighbours: {text}", entry)
    return entry[1]


def forge(ctx):
    """Each forged frame is dropped and counted, and the victim's address stays the victim's."""
    with Network(ctx, options=["--allow-all"]) as net:
        t = Transfer(net, 100)
        time.sleep(0.5)  # until it has spoken
        before, mac = counters(net)["drops"], neighbour(net)
        enemy = net.start(EVIL, args=["forge", mac, VICTIM, GATEWAY], options=["--cores", "1"], addr=ENEMY)
        need(enemy.describe(), enemy.wait(20) == 0 and b"posted" in enemy.output())
        after = counters(net)["drops"]
        grown = {k: after[k] - before.get(k, 0) for k in after}
        for reason, least in FORGED.items():
            need(f"drops {grown}: {reason} must have grown by {least}", grown.get(reason, 0) >= least)
        need(f"the victim's address was {mac}, is {neighbour(net)}", neighbour(net) == mac)
        t.check()


def flood(ctx):
    """A flood to the uplink and one to the neighbour itself: its transfer is slower, and exact."""
    with Network(ctx, options=["--allow-all"]) as net:
        t = Transfer(net, 100)
        for target in (GATEWAY, VICTIM):
            enemy = net.start(EVIL, args=["flood", "2", target], addr=ENEMY)
            need(enemy.describe(), enemy.wait(30) == 0)
        t.check()


def snoop(ctx):
    """What passes between others never stands in an instance's memory."""
    with Network(ctx) as net:
        enemy = net.start(EVIL, args=["snoop", "4", "JunctionNeighboursSecret"], addr=ENEMY)
        t = Transfer(net, 100)
        with net.inside():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for _ in range(2000):
                s.sendto(b"JunctionNeighboursSecret" * 40, (VICTIM, 9))
            s.close()
        t.check()
        need(enemy.describe(), enemy.wait(20) == 0 and b"nothing seen" in enemy.output())


def cases(build):
    found = [Case(f"hostile/{what}", storm(what, 100 * n), serial=True)
             for n, what in enumerate(("rings", "buffers", "control"))]
    return found + [Case("hostile/forge", forge, serial=True), Case("hostile/flood", flood, serial=True),
                    Case("hostile/snoop", snoop, serial=True)]
