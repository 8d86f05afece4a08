# SPDX-License-Identifier: Apache-2.0
"""20 000 descriptors in four threads, while garbage is collected; a forked child; threads that open until the very end."""
import gc
import os
import socket
import threading

counts = [0] * 4


def opens(number, depth):
    if depth > 0:
        opens(number, depth - 1)
        return
    os.close(os.open("/dev/null", os.O_RDONLY))
    with open("/etc/passwd", encoding="ascii") as file:
        file.readline()
    for end in socket.socketpair():
        end.close()
    exec("os.close(os.open('/dev/null', os.O_RDONLY))")
    counts[number] += 5


def work(number):
    for i in range(1000):
        opens(number, i % 40)
        if i % 100 == number:
            gc.collect()


def for_ever():
    while True:
        os.close(os.open("/dev/null", os.O_RDONLY))


class Late:
    def __init__(self):
        self.cycle = self

    def __del__(self, opened=os.open, closed=os.close):
        closed(opened("/dev/null", 0))


workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
child = os.fork()
if child == 0:
    work(0)
    os._exit(7)
print("child", os.WEXITSTATUS(os.waitpid(child, 0)[1]), "opened", sum(counts))
late = Late()
for _ in range(3):
    threading.Thread(target=for_ever, daemon=True).start()
