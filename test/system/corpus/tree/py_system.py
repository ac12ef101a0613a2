import ctypes, errno, fcntl, gc, mmap, os, resource, select, shutil, stat, sys, time, traceback

m = mmap.mmap(-1, 8192)
m[0:5] = b"hello"
print(m[0:5], len(m))
with open("map", "wb+") as f:
    f.write(b"0" * 5000)
    f.flush()
    fm = mmap.mmap(f.fileno(), 0)
    fm[4999] = ord("Z")
    fm.flush()
    f.seek(4999)
    print(f.read(1))
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(f, fcntl.LOCK_UN)
os.makedirs("a/b/c")
for i in range(20):
    open(f"a/b/f{i}", "w").close()
os.symlink("b", "a/link")
print(sorted(os.listdir("a")), len(list(os.scandir("a/b"))))
print([(d, sorted(ds), len(fs)) for d, ds, fs in os.walk("a")])
shutil.copytree("a", "copy", symlinks=True)
print(os.readlink("copy/link"), os.path.realpath("a/link") == os.path.realpath("a/b"))
shutil.rmtree("a")
print(os.path.exists("a"), stat.filemode(os.stat("copy").st_mode))
r, w = os.pipe()
print(select.select([r], [w], [], 0)[1] == [w])
p = select.poll()
p.register(r, select.POLLIN)
print(p.poll(1))
os.write(w, b"x")
print(p.poll(1) == [(r, select.POLLIN)])
e = select.epoll()
e.register(r, select.EPOLLIN | select.EPOLLET)
print(len(e.poll(0)), len(e.poll(0)))
libc = ctypes.CDLL(None)
print(libc.abs(-5), ctypes.string_at(b"c string"))
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
def compare(a, b):
    return a[0] - b[0]
arr = (ctypes.c_int * 5)(5, 1, 4, 2, 3)
libc.qsort(arr, 5, 4, compare)
print(list(arr))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 256, gc.collect() >= 0, os.cpu_count() >= 1)
t = time.monotonic()
time.sleep(0.01)
print(time.monotonic() - t >= 0.01)
fd = os.memfd_create("m")
os.write(fd, b"memfd")
print(os.pread(fd, 10, 0), os.fstat(fd).st_size)
try:
    os.rmdir("copy")
except OSError as x:
    print(errno.errorcode[x.errno])
def deep(n):
    return deep(n + 1)
try:
    deep(0)
except RecursionError:
    print("recursion")
try:
    {}["missing"]
except KeyError:
    print(traceback.format_exc().splitlines()[-1])
raise SystemExit("exit with a message")
