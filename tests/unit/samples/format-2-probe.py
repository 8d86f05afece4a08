# SPDX-License-Identifier: Apache-2.0
#
# What made format-2-probe.loopscope.xz, see README.md.
import os
import select
import signal
import socket
import time


def mishap():
    number = os.open("/dev/null", os.O_RDONLY)
    os.close(number)
    for call in (lambda: os.close(number), lambda: os.read(number, 1)):
        try:
            call()
        except OSError:
            pass


def leak():
    return os.open("/etc/hostname", os.O_RDONLY)


for _ in range(3):
    mishap()
leaked = [leak() for _ in range(5)]
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
left, right = socket.socketpair()
reader, writer = os.pipe()
if os.fork() == 0:
    os._exit(7)
os.wait()
poll = select.epoll()
for one in (server, left):
    poll.register(one, select.EPOLLIN)
poll.register(reader, select.EPOLLIN)
for turn in range(49):
    if turn % 4 != 3:
        client.send(b"x")
        right.send(b"y")
        os.write(writer, b"z")
    for number, _ in poll.poll(0.01 if turn % 4 != 3 else 0):
        os.read(number, 1)
poll.poll(0)
time.sleep(0.06)  # a stall
poll.poll(0)
os.kill(os.getpid(), signal.SIGKILL)
