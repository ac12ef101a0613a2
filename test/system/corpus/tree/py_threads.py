import concurrent.futures, queue, signal, threading, time

total, lock = 0, threading.Lock()
def add():
    global total
    for _ in range(5000):
        with lock:
            total += 1
ts = [threading.Thread(target=add) for _ in range(8)]
[t.start() for t in ts]
[t.join() for t in ts]
print("total", total)

q, out = queue.Queue(10), []
def worker():
    while (item := q.get()) is not None:
        out.append(item * 2)
        q.task_done()
ws = [threading.Thread(target=worker) for _ in range(4)]
[w.start() for w in ws]
for i in range(500):
    q.put(i)
q.join()
[q.put(None) for _ in ws]
[w.join() for w in ws]
print("queue", len(out), sum(out))

with concurrent.futures.ThreadPoolExecutor(6) as pool:
    print("pool", sum(pool.map(lambda n: pow(3, n, 1000007), range(300))))
    f = pool.submit(lambda: 1 / 0)
    print("exception", type(f.exception()).__name__)

ev, bar = threading.Event(), threading.Barrier(3)
def waiter():
    ev.wait(5)
    bar.wait(5)
ws = [threading.Thread(target=waiter) for _ in range(2)]
[w.start() for w in ws]
ev.set()
bar.wait(5)
[w.join() for w in ws]
print("event and barrier")

cond, turn, order = threading.Condition(), 0, []
def in_turn(me):
    global turn
    for _ in range(5):
        with cond:
            cond.wait_for(lambda: turn % 3 == me, 10)
            order.append(me)
            turn += 1
            cond.notify_all()
ws = [threading.Thread(target=in_turn, args=(i,)) for i in range(3)]
[w.start() for w in ws]
[w.join() for w in ws]
print("order", "".join(map(str, order)))

hits = []
t = threading.Timer(0.02, lambda: hits.append("timer"))
t.start()
t.join()
signal.signal(signal.SIGALRM, lambda *a: hits.append("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.02)
time.sleep(0.06)
signal.raise_signal(signal.SIGALRM)
print(hits)
local = threading.local()
local.x = 1
def other():
    print("local", hasattr(local, "x"))
w = threading.Thread(target=other)
w.start()
w.join()
