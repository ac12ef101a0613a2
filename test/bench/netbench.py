"""netbench.py - the same programs in runc containers joined by a Linux bridge, and in instances.

    netns jnb-hub:   br0 10.201.0.1/24                     jt0 10.202.0.1/16 (tap, the scheduler's uplink)
                      |veth            |veth                |
    netns jnb-c1: 10.201.0.11   jnb-c2: 10.201.0.12        scheduler -- queue pairs -- instances 10.202.0.11, .12
                   (runc)               (runc)

The client of HTTP and redis runs in jnb-hub for both, where each packet to or from an instance costs a system call
on the tap; with "client inside", and for ping-pong and bulk, it runs in a container or an instance of its own. Rounds alternate between the two sides, so that what else the machine does hits both.
"""
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

HUB, BRIDGE, TAP = "jnb-hub", "10.201.0.1", "10.202.0.1"
CONTAINERS = {"a": ("jnb-c1", "10.201.0.11"), "b": ("jnb-c2", "10.201.0.12")}
INSTANCES = {"a": "10.202.0.11", "b": "10.202.0.12"}
NGINX_CONF = """user root; daemon off; master_process off; pid /tmp/nginx.pid; error_log /dev/null crit; worker_processes 1;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p;
 fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
 server { listen 8080; location / { return 200 "hello from nginx, as static as can be: 64 bytes of text in all.\\n"; } } }
"""


def sh(*argv, check=True):
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if check and r.returncode:
        raise SystemExit(f"bench: {' '.join(argv)}: exit status {r.returncode}: {r.stderr.decode()[-400:]}")
    return r.stdout.decode()


def in_hub(*argv):
    return ["ip", "netns", "exec", HUB, *argv]


class Stack(contextlib.ExitStack):
    """Processes and namespaces of one run; all of it ends with the block."""

    def netns(self, name):
        sh("ip", "netns", "add", name)
        self.callback(sh, "ip", "netns", "del", name, check=False)
        sh("ip", "-n", name, "link", "set", "lo", "up")

    def process(self, argv, **kw):
        kw.setdefault("stdout", subprocess.DEVNULL)
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, **kw)
        self.callback(self.end, p)
        return p

    @staticmethod
    def end(p):
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
        p.wait()


class Containers:
    name = "containers"
    client = []  # before the client's command

    def __init__(self, stack, work, programs):
        self.stack, self.work = stack, work
        self.address = {k: v[1] for k, v in CONTAINERS.items()}
        sh("ip", "-n", HUB, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", HUB, "addr", "add", BRIDGE + "/24", "dev", "br0")
        sh("ip", "-n", HUB, "link", "set", "br0", "up")
        for i, (ns, addr) in enumerate(CONTAINERS.values()):
            stack.netns(ns)
            sh("ip", "-n", HUB, "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", ns)
            sh("ip", "-n", HUB, "link", "set", f"v{i}", "master", "br0", "up")
            sh("ip", "-n", ns, "addr", "add", addr + "/24", "dev", "eth0")
            sh("ip", "-n", ns, "link", "set", "eth0", "up")
            sh("ip", "-n", ns, "route", "add", "default", "via", BRIDGE)

    def start(self, place, argv, output=False):
        """The program in a container of its own: the host's files, read-only, a /tmp, its network."""
        bundle = tempfile.mkdtemp(prefix="bundle", dir=self.work)
        os.makedirs(os.path.join(bundle, "rootfs"))
        name = f"jnb-{os.path.basename(bundle)}"
        ns = CONTAINERS[place][0]
        sh("runc", "spec", "--bundle", bundle)
        with open(os.path.join(bundle, "config.json"), encoding="utf-8") as f:
            spec = json.load(f)
        spec["process"].update(terminal=False, args=argv, cwd="/", env=["PATH=/usr/bin:/bin"])
        spec["process"].pop("rlimits", None)
        spec["root"] = {"path": "rootfs", "readonly": False}
        for d in ("/usr", "/lib", "/lib64", "/bin", "/etc", self.work):
            spec["mounts"].append({"destination": d, "source": os.path.realpath(d), "type": "none",
                                   "options": ["rbind", "ro"]})
        spec["mounts"].append({"destination": "/tmp", "source": "tmpfs", "type": "tmpfs"})
        spec["mounts"].sort(key=lambda m: m["destination"] == self.work)  # the work folder may stand below /tmp
        for n in spec["linux"]["namespaces"]:
            if n["type"] == "network":
                n["path"] = f"/run/netns/{ns}"
        with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as f:
            json.dump(spec, f)
        self.stack.callback(sh, "runc", "delete", "--force", name, check=False)
        return self.stack.process(["runc", "run", "--bundle", bundle, name],
                                  stdout=subprocess.PIPE if output else subprocess.DEVNULL)


class Instances:
    def __init__(self, stack, work, programs, junction, scheduler, mode):
        self.stack, self.work, self.junction, self.programs = stack, work, junction, programs
        self.name = f"instances, {mode}"
        # a client beside the polling thread would take turns with it
        self.client = ["taskset", "-c", "1"] if mode == "dedicated" else []
        self.address = INSTANCES
        self.socket = os.path.join(work, f"{mode}.sock")
        tap = {"adaptive": "jt0", "dedicated": "jt1"}[mode]
        poll = ["--poll=dedicated", "--core", "0", "--cores", "1"] if mode == "dedicated" else ["--poll=adaptive"]
        stack.process(in_hub(scheduler, "--uplink", f"tap:{tap}", "--socket", self.socket, "--net", "10.202.0.0/16",
                             "--allow-all", *poll), stderr=open(os.path.join(work, f"{mode}.log"), "wb"))
        for _ in range(100):
            if os.path.exists(self.socket):
                break
            time.sleep(0.05)
        sh("ip", "-n", HUB, "addr", "add", TAP + "/16", "dev", tap)
        sh("ip", "-n", HUB, "link", "set", tap, "up")

    def start(self, place, argv, output=False):
        """argv[0] names the image in which the program stands."""
        return self.stack.process([self.junction, "run", self.programs[os.path.basename(argv[0])], "--cores", "1", "--net",
                                   "--scheduler", self.socket, "--ip", INSTANCES[place], "--", *argv[1:]],
                                  stdout=subprocess.PIPE if output else subprocess.DEVNULL)


def busy_seconds():
    """All cores' time but idle time: busy time itself is sampled by ticks, idle time is measured."""
    with open("/proc/stat", encoding="ascii") as f:
        v = [int(x) for x in f.readline().split()[1:6]]
    return time.monotonic() * os.cpu_count() - (v[3] + v[4]) / os.sysconf("SC_CLK_TCK")


def answered(p, timeout=60):
    out, _ = p.communicate(timeout=timeout)
    if p.returncode:
        raise SystemExit(f"bench: {p.args}: exit status {p.returncode}")
    return json.loads(out)


def wait_port(addr, port):
    code = f"import socket,sys,time\nfor i in range(200):\n  try: socket.create_connection(('{addr}',{port}),1); sys.exit(0)\n" \
           "  except OSError: time.sleep(.02)\nsys.exit(1)"
    sh(*in_hub("/usr/bin/python3", "-c", code))


def pingpong(side, work, rounds):
    side.start("a", [os.path.join(work, "pingpong"), "server", "7000"])
    time.sleep(0.5)
    runs = []
    for _ in range(rounds):
        runs.append(answered(side.start("b", [os.path.join(work, "pingpong"), "client", side.address["a"], "7000", "20000", "64"],
                                        output=True)))
    return {k: statistics.median(r[k] for r in runs) for k in ("p50_ns", "p99_ns", "min_ns")}


def bulk(side, work, rounds):
    side.start("a", [os.path.join(work, "pingpong"), "sink", "7001"])
    time.sleep(0.5)
    runs = [answered(side.start("b", [os.path.join(work, "pingpong"), "bulk", side.address["a"], "7001", "500"], output=True))
            for _ in range(rounds)]
    return {"mb_per_s": statistics.median(r["mb_per_s"] for r in runs)}


def outside(side, work, name, args):
    """The client on Linux: its output."""
    exe = os.path.join(work, name) if os.path.exists(os.path.join(work, name)) else name
    return sh(*in_hub(*side.client, exe, *args))


def between(side, work, name, args):
    """The client in a container, or an instance, of its own."""
    exe = os.path.join(work, name) if os.path.exists(os.path.join(work, name)) else "/usr/bin/" + name
    p = side.start("b", [exe, *args], output=True)
    out, _ = p.communicate(timeout=120)
    if p.returncode:
        raise SystemExit(f"bench: {name} in {side.name}: exit status {p.returncode}")
    return out.decode()


def http(side, work, rounds, rates, seconds, client=outside):
    side.start("a", ["/usr/sbin/nginx", "-c", os.path.join(work, "nginx.conf")] if side.name == "containers" else
               ["nginx", "-c", "/etc/nginx/bench.conf"])
    wait_port(side.address["a"], 8080)
    out = {}
    for rate, connections in rates:
        runs = []
        for _ in range(rounds):
            before = busy_seconds()
            r = json.loads(client(side, work, "openloop", [side.address["a"], "8080", "/", str(rate), str(seconds),
                                                           str(connections)]))
            r["cpu_us_per_request"] = (busy_seconds() - before - r["client_cpu_s"]) / max(r["requests"], 1) * 1e6
            runs.append(r)
        out[f"{rate or 'closed'} x {connections}"] = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
    return out


def redis(side, work, rounds, client=outside):
    side.start("a", ["/usr/bin/redis-server" if side.name == "containers" else "redis-server", "--save", "", "--protected-mode", "no", "--bind", "0.0.0.0"])
    wait_port(side.address["a"], 6379)
    runs = {}
    for _ in range(rounds):
        before = busy_seconds()
        csv = client(side, work, "redis-benchmark", ["-h", side.address["a"], "-t", "set,get", "-n", "100000", "-c", "16",
                                                     "--csv"])
        for line in csv.splitlines()[1:]:
            f = [x.strip('"') for x in line.split(",")]
            runs.setdefault(f[0], []).append({"requests_per_s": float(f[1]), "p50_ms": float(f[4]), "p99_ms": float(f[6])})
    return {t: {k: statistics.median(r[k] for r in v) for k in v[0]} for t, v in runs.items()}


RATES = [(0, 1), (0, 16), (5000, 32), (10000, 32), (20000, 32), (30000, 32)]
PARTS = {
    "pingpong": pingpong,
    "bulk": bulk,
    "http": lambda side, work, rounds: http(side, work, rounds, RATES, 2),
    "http, client inside": lambda side, work, rounds: http(side, work, rounds, RATES, 2, between),
    "redis": redis,
    "redis, client inside": lambda side, work, rounds: redis(side, work, rounds, between),
}


def prepare(work, junction, bench_build):
    """Programs and their images: the same binaries on both sides."""
    programs = {}
    for name in ("pingpong", "openloop"):
        shutil.copy(os.path.join(bench_build, name), work)
    with open(os.path.join(work, "nginx.conf"), "w", encoding="utf-8") as f:
        f.write(NGINX_CONF)
    tree = os.path.join(work, "tree")
    os.makedirs(os.path.join(tree, "etc/nginx"), exist_ok=True)
    for d in ("var/log/nginx", "var/lib/nginx", "tmp"):
        os.makedirs(os.path.join(tree, d), exist_ok=True)
    shutil.copy(os.path.join(work, "nginx.conf"), os.path.join(tree, "etc/nginx/bench.conf"))
    for name, exe, extra in (("pingpong", os.path.join(work, "pingpong"), []), ("nginx", "/usr/sbin/nginx", ["--rootfs", tree]),
                             ("redis-server", "/usr/bin/redis-server", []), ("redis-benchmark", "/usr/bin/redis-benchmark", []),
                             ("openloop", os.path.join(work, "openloop"), [])):
        programs[name] = os.path.join(work, name + ".jimg")
        sh(junction, "build", exe, "-o", programs[name], *extra)
    return programs


def net(work, rounds, junction, scheduler, bench_build, parts=PARTS, modes=("adaptive", "dedicated")):
    programs = prepare(work, junction, bench_build)
    sides = [("containers", lambda s: Containers(s, work, programs))]
    sides += [(m, lambda s, m=m: Instances(s, work, programs, junction, scheduler, m)) for m in modes]
    out = {}
    for part in parts:
        for r in range(rounds):
            for name, make in sides:
                with Stack() as stack:
                    stack.netns(HUB)
                    got = PARTS[part](make(stack), work, 1)
                out.setdefault(part, {}).setdefault(name, []).append(got)
    return {part: {side: merge(v) for side, v in s.items()} for part, s in out.items()}


def merge(values):
    """Medians of equal trees of numbers."""
    if isinstance(values[0], dict):
        return {k: merge([v[k] for v in values]) for k in values[0]}
    return statistics.median(values)
