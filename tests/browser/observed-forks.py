# SPDX-License-Identifier: Apache-2.0
#
# A server that forks: it waits in select, its children in epoll, and each child ends in a way of its own.
import os
import select
import signal
import socket
import sys


def work(listener, end):
    """A child: 40 turns, then its end."""
    with select.epoll() as epoll:
        epoll.register(listener, select.EPOLLIN)
        for _ in range(40):
            epoll.poll(0.01)
    end()
    os._exit(9)  # not reached


def become_cat(pipe):
    """Which ends when its parent does, because nobody else can write to the pipe."""
    os.dup2(pipe, 0)
    os.execv("/bin/cat", ["cat"])


with socket.create_server(("127.0.0.1", 0)) as listener:
    pipe, _held = os.pipe()
    for end in (
        lambda: os._exit(3),
        lambda: os._exit(0),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: become_cat(pipe),
    ):
        if os.fork() == 0:
            work(listener, end)
    print("forked", flush=True)
    while os.getppid() != 1:
        select.select([listener], [], [], 0.05)
        # Ended children are buried, or they would be zombies.
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
            pass
sys.exit(1)
