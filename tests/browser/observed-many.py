# SPDX-License-Identifier: Apache-2.0
#
# Opens so many files as it is told, the last one by a name of its own, and then waits in epoll.
import os
import resource
import select
import sys

wanted = int(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
wanted = min(wanted, hard - 100)
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(wanted - 1)]
held.append(os.open("/dev/zero", os.O_RDONLY))
r, w = os.pipe()
with select.epoll() as epoll:
    epoll.register(r, select.EPOLLIN)
    epoll.poll(0.01)
    print(f"holds {wanted}", flush=True)
    while True:
        epoll.poll(0.05)
