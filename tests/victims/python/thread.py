# SPDX-License-Identifier: Apache-2.0
"""Threads that open an eventfd each and end without closing it."""

import os
import sys
import threading
import time


def work(healthy):
    wakeup = os.eventfd(0)  # LEAK
    if healthy:
        os.close(wakeup)


for _ in range(3):
    thread = threading.Thread(target=work, args=(sys.argv[-1] == "healthy",))
    thread.start()
    thread.join()
    while os.path.exists(f"/proc/self/task/{thread.native_id}"):  # join() returns a moment before the thread is gone
        time.sleep(0.001)
