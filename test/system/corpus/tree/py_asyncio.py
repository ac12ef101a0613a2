import asyncio, os, signal

async def step(n, gate):
    async with gate:
        await asyncio.sleep(0.001 * (n % 5))
        return n * n

async def producer(q):
    for i in range(50):
        await q.put(i)
    await q.put(None)

async def consumer(q):
    total = 0
    while (v := await q.get()) is not None:
        total += v
    return total

async def main():
    gate = asyncio.Semaphore(4)
    print(sum(await asyncio.gather(*(step(i, gate) for i in range(40)))))
    q = asyncio.Queue(3)
    _, total = await asyncio.gather(producer(q), consumer(q))
    print("queue", total)
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.02)
    except asyncio.TimeoutError:
        print("timeout")
    t = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)
    t.cancel()
    try:
        await t
    except asyncio.CancelledError:
        print("cancelled")
    loop = asyncio.get_running_loop()
    print("executor", await loop.run_in_executor(None, lambda: sum(range(1000))))
    r, w = os.pipe()
    os.set_blocking(r, False)
    got = loop.create_future()
    loop.add_reader(r, lambda: got.done() or got.set_result(os.read(r, 100)))
    os.write(w, b"through the loop")
    print(await got)
    loop.remove_reader(r)
    hit = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, hit.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(hit.wait(), 5)
    print("signal")
    async with asyncio.timeout(5):
        async with asyncio.TaskGroup() as tg:
            ts = [tg.create_task(step(i, gate)) for i in range(5)]
    print([t.result() for t in ts])

asyncio.run(main())
