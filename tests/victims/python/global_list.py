# SPDX-License-Identifier: Apache-2.0
"""A forked worker keeps its connections in a global list and ends by os._exit: no finalizer runs."""

import os
import socket
import sys

connections = []


def work(healthy):
    for _ in range(3):
        here, there = socket.socketpair()  # LEAK
        there.close()
        connections.append(here)
    if healthy:
        for connection in connections:
            connection.close()


pid = os.fork()
if pid == 0:
    work(sys.argv[-1] == "healthy")
    os._exit(0)
os.waitpid(pid, 0)
