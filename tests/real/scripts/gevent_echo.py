# SPDX-License-Identifier: Apache-2.0
"""A line echo server on gevent: `gevent_echo.py epoll|poll|select`, what the libev below it is told to use.

A line "busy N" blocks the loop for N ms, "file" reads this file in gevent's thread pool (whose threads have loops of their own).
Prints "READY PORT"; ends on SIGTERM.
"""
import os
import signal
import sys
import time

import gevent
import gevent.event
import gevent.server
import gevent.threadpool

served = 0
ticks = 0


def length_of_this_file():
    with open(__file__, "rb") as file:
        return len(file.read())


def serve(connection, _address):
    global served
    lines = connection.makefile("rb")
    for line in lines:
        served += 1
        if line.startswith(b"busy "):
            time.sleep(int(line[5:]) / 1000)
        elif line == b"file\n":
            line = b"%d\n" % gevent.get_hub().threadpool.apply(length_of_this_file)
        connection.sendall(line)
    lines.close()
    connection.close()


def tick():
    global ticks
    while True:
        gevent.sleep(0.005)
        gevent.sleep(0)
        ticks += 1


gevent.config.libev_backend = sys.argv[1]
ending = gevent.event.Event()
server = gevent.server.StreamServer(("127.0.0.1", 0), serve)
server.start()
gevent.signal_handler(signal.SIGTERM, ending.set)
gevent.signal_handler(signal.SIGUSR2, lambda: None)
ticking = gevent.spawn(tick)
os.write(1, b"READY %d\n" % server.address[1])
ending.wait()
server.stop()
ticking.kill()
os.write(1, b"DONE served=%d ticks=%d\n" % (served, ticks))
