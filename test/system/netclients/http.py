"""http.py - functional scripts for web servers: files, ranges, connections that stay open, streams, echoes."""
import hashlib
import http.client
import os
import socket
import threading
import time

from harness.network import need

MAX_THREADS = 16


class Client:
    """One connection that stays open; connects again only if told to."""

    def __init__(self, connect, addr="server"):
        self.c = http.client.HTTPConnection(addr)
        self.c.sock = connect()

    def __call__(self, method, path, body=None, headers=None, encode_chunked=False):
        self.c.request(method, path, body, headers or {}, encode_chunked=encode_chunked)
        r = self.c.getresponse()
        data = r.read()
        return r.status, data, r.headers

    def close(self):
        self.c.close()


def get(connect, path, method="GET", **kw):
    c = Client(connect)
    try:
        return c(method, path, **kw)
    finally:
        c.close()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def make_files(root):
    """The files that are asked for below, in root/srv/www. Their content is the same each time."""
    www = os.path.join(root, "srv", "www")
    os.makedirs(os.path.join(www, "dir", "deep"), exist_ok=True)
    files = {"index.html": b"<p>index</p>\n", "small.txt": b"a small file\n", "dir/page.html": b"<p>page</p>\n", "dir/deep/x": b"x", "empty": b"",
             "numbers.txt": b"".join(b"%09d\n" % i for i in range(100_000))}
    # Incompressible, and no two places alike.
    files["large.bin"] = b"".join(hashlib.sha512(b"%d" % i).digest() for i in range((24 << 20) // 64))
    for name, data in files.items():
        with open(os.path.join(www, name), "wb") as f:
            f.write(data)
    return files


def files_script(connect, files, keeps_open, ranges):
    status, data, headers = get(connect, "/small.txt")
    need(f"{status} {data!r}", status == 200 and data == files["small.txt"])
    need(f"type {headers['Content-Type']}", headers["Content-Type"].startswith("text/plain"))
    status, data, headers = get(connect, "/small.txt", "HEAD")
    need(f"HEAD {status} {data!r} {headers['Content-Length']}",
         status == 200 and not data and headers["Content-Length"] == "13")
    need("an empty file", get(connect, "/empty")[:2] == (200, b""))
    need("a file that is not there", get(connect, "/none")[0] == 404)
    need("a way out", get(connect, "/../../etc/passwd")[0] in (400, 404))
    for name in ("numbers.txt", "large.bin", "dir/deep/x", "dir/page.html"):
        status, data, headers = get(connect, "/" + name)
        need(f"{name}: {status}, {len(data)} bytes", status == 200 and digest(data) == digest(files[name]))
    since = {"If-Modified-Since": headers["Last-Modified"]}
    need("not modified", get(connect, "/dir/page.html", headers=since)[0] == 304)
    if keeps_open:
        keep_alive(connect, files)
    if ranges:
        range_requests(connect, files)
    at_once(connect, files)
    aborted(connect, files)


def keep_alive(connect, files, n=300):
    c = Client(connect)
    for i in range(n):
        name = ("small.txt", "dir/page.html", "empty")[i % 3]
        need(f"request {i} of one connection", c("GET", "/" + name)[:2] == (200, files[name]))
    c.close()
    # Requests one behind the other before any answer is read.
    s = connect()
    s.sendall(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n" * 50
              + b"GET /small.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = b""
    while data := s.recv(1 << 16):
        text += data
    s.close()
    need(f"{text.count(files['small.txt'])} answers of 51", text.count(files["small.txt"]) == 51)


def range_requests(connect, files):
    data = files["large.bin"]
    for first, last in ((0, 0), (1, 1000), (len(data) - 5, len(data) - 1), (1 << 20, 3 << 20)):
        status, got, headers = get(connect, "/large.bin", headers={"Range": f"bytes={first}-{last}"})
        need(f"range {first}-{last}: {status}, {len(got)} bytes", status == 206 and got == data[first : last + 1])
        need(headers["Content-Range"], headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}")
    need("the last 100 bytes", get(connect, "/large.bin", headers={"Range": "bytes=-100"})[1] == data[-100:])
    need("a range behind the end",
         get(connect, "/small.txt", headers={"Range": "bytes=1000-"})[0] == 416)


def run_threads(func, n):
    errors = []

    def work(i):
        try:
            func(i)
        except BaseException as e:  # told below
            errors.append(f"{type(e).__name__}: {e}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    need(f"{len(errors)} of {n} failed: {errors[:3]}", not errors)


def at_once(connect, files, n=4):
    """The large file by several clients at the same time."""
    def work(i):
        status, data, _ = get(connect, "/large.bin")
        need(f"client {i}: {status}, {len(data)} bytes", status == 200 and digest(data) == digest(files["large.bin"]))

    run_threads(work, n)


def aborted(connect, files, n=20):
    """Clients that go away in the middle of an answer harm nobody."""
    for i in range(n):
        s = connect()
        s.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        s.recv(1000 * i + 1)
        if i % 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
    need("serves no more", get(connect, "/small.txt")[:2] == (200, files["small.txt"]))


def chunks(data, size):
    for i in range(0, len(data), size):
        yield data[i : i + size]


def go_script(connect):
    need("greeting", get(connect, "/")[:2] == (200, b"hello from Go, inside an instance\n"))
    need("404", get(connect, "/none")[0] == 404)
    need("405", get(connect, "/echo")[0] == 405)
    status, data, headers = get(connect, "/", "HEAD")
    need("HEAD", status == 200 and not data and headers["Content-Length"] == "34")
    for size in (0, 1, 1000, 100_000, 8 << 20):
        body = os.urandom(size)
        status, data, _ = get(connect, "/hash", "POST", body=body)
        need(f"hash of {size}: {status} {data}", data.split() == [b"%d" % size, digest(body).encode()])
    for size in (1, 3000, 200_000):
        body = os.urandom(size)
        need(f"echo of {size}", get(connect, "/echo", "POST", body=body)[:2] == (200, body))
    body = os.urandom(300_000)
    chunked = {"Transfer-Encoding": "chunked"}
    status, data, _ = get(connect, "/hash", "POST", body=chunks(body, 7777), headers=chunked, encode_chunked=True)
    need(f"a body in chunks: {status}", data.split() == [b"300000", digest(body).encode()])
    status, data, headers = get(connect, "/chunked?n=500")
    need("chunks", status == 200 and headers["Transfer-Encoding"] == "chunked"
         and data == b"".join(b"chunk %d\n" % i for i in range(500)))
    status, data, _ = get(connect, f"/bytes?n={20 << 20}")
    need("20 MiB", data == (bytes(i % 251 for i in range(251 * 256)) * 400)[: 20 << 20])
    c = Client(connect)
    for i in range(300):
        need(f"request {i} of one connection", c("POST", "/echo", body=b"%d" % i)[:2] == (200, b"%d" % i))
    c.close()
    start = time.monotonic()
    run_threads(lambda i: need("slow", get(connect, "/slow?ms=1000")[:2] == (200, b"slept\n")), MAX_THREADS)
    need("requests wait for each other", time.monotonic() - start < 8)
