# SPDX-License-Identifier: Apache-2.0
"""A line echo server on asyncio: `asyncio_echo.py epoll|poll|select`, the name of the selector below it.

A line "busy N" blocks the loop for N ms, "file" reads this file in the executor's thread. Prints "READY PORT"; ends on SIGTERM.
"""
import asyncio
import os
import selectors
import signal
import sys
import time

SELECTORS = {"epoll": selectors.EpollSelector, "poll": selectors.PollSelector, "select": selectors.SelectSelector}
served = 0
ticks = 0


def length_of_this_file():
    with open(__file__, "rb") as file:
        return len(file.read())


async def serve(reader, writer):
    global served
    while line := await reader.readline():
        served += 1
        if line.startswith(b"busy "):
            time.sleep(int(line[5:]) / 1000)
        elif line == b"file\n":
            line = b"%d\n" % await asyncio.get_running_loop().run_in_executor(None, length_of_this_file)
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.005)
        # Three turns that do not block: what call_soon makes of a chain of ready tasks.
        for _ in range(3):
            await asyncio.sleep(0)
        ticks += 1


async def main():
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    loop.add_signal_handler(signal.SIGUSR2, lambda: None)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    ticking = asyncio.create_task(tick())
    os.write(1, b"READY %d\n" % server.sockets[0].getsockname()[1])
    await ending.wait()
    ticking.cancel()
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


loop = asyncio.SelectorEventLoop(SELECTORS[sys.argv[1]]())
loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
os.write(1, b"DONE served=%d ticks=%d\n" % (served, ticks))
