# SPDX-License-Identifier: Apache-2.0
"""An HTTP server on Tornado (so on asyncio). "/busy/N" blocks the loop for N ms. Prints "READY PORT"; ends on SIGTERM."""
import asyncio
import os
import signal
import time

import tornado.httpserver
import tornado.ioloop
import tornado.netutil
import tornado.web

served = 0
ticks = 0


class Hello(tornado.web.RequestHandler):
    def get(self, milliseconds=None):
        global served
        served += 1
        if milliseconds:
            time.sleep(int(milliseconds) / 1000)
        self.write("hello\n")


def tick():
    global ticks
    ticks += 1


async def main():
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    loop.add_signal_handler(signal.SIGUSR2, lambda: None)
    application = tornado.web.Application([(r"/busy/(\d+)", Hello), (r"/.*", Hello)])
    server = tornado.httpserver.HTTPServer(application)
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    tornado.ioloop.PeriodicCallback(tick, 5).start()
    os.write(1, b"READY %d\n" % sockets[0].getsockname()[1])
    await ending.wait()
    server.stop()
    await server.close_all_connections()


asyncio.run(main())
os.write(1, b"DONE served=%d ticks=%d\n" % (served, ticks))
