# SPDX-License-Identifier: Apache-2.0
"""make.py BUILD: makes the samples of today's format anew, into this directory.

Only ever for a new format, under its name: what a reader must read for ever is what was landed.
Two programs of known doings, killed in the middle: what they did is what the tests expect."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
FORMAT = "format-3"


def keep(directory, name):
    [recording] = pathlib.Path(directory).glob("*.loopscope")
    with open(HERE / f"{FORMAT}-{name}.loopscope.xz", "wb") as out:
        subprocess.run(["xz", "-9e", "-c", recording], stdout=out, check=True)


def start(directory, argv, **more):
    environment = {"PATH": "/usr/bin:/bin", "LOOPSCOPE_DIR": directory, **more}
    return subprocess.Popen(argv, cwd=os.path.dirname(directory), env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def library(build, directory):
    """Two clients, ten echoes each; one hangs up: 2 + 20 + 1 turns."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shutil.copy(f"{build}/examples/existing", os.path.dirname(directory))
    server = start(directory, ["./existing", str(port)])
    server.stdout.readline()
    clients = []
    for _ in range(2):
        clients.append(socket.create_connection(("127.0.0.1", port)))
        for _ in range(10):
            clients[-1].send(b"hello")
            clients[-1].recv(5, socket.MSG_WAITALL)
    clients[0].shutdown(socket.SHUT_WR)
    clients[0].recv(1)
    time.sleep(0.5)  # until it waits again
    server.send_signal(signal.SIGKILL)
    server.wait()


def probe(build, directory):
    shutil.copy(HERE / "format-2-probe.py", os.path.dirname(directory) + "/server.py")
    start(directory, ["python3", "server.py"], LD_PRELOAD=f"{build}/instrumentation/probe/libloopscope-probe.so",
          LOOPSCOPE_PROBE="stacks=full,closes,scripts,census,stall=50000000").wait()


for make in (library, probe):
    with tempfile.TemporaryDirectory(prefix="sample-") as parent:
        os.mkdir(f"{parent}/recordings", 0o700)
        make(os.path.abspath(sys.argv[1]), f"{parent}/recordings")
        keep(f"{parent}/recordings", make.__name__)
